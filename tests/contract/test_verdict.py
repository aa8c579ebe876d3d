"""A verdict is as bad as its worst criterion, and nothing passes that was not judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from radiarch_contract.verdict import ActionLevels, AtLeast, AtMost, Criterion, Outcome, Verdict

ORDER = [Outcome.PASS, Outcome.LOOK, Outcome.FAIL]
LIMITS = AtMost(look=2, fail=5)
SHARES = AtLeast(look=95, fail=90)

criteria = st.lists(
    st.one_of(
        st.floats(-20, 20).map(lambda v: Criterion.at_most("mean", "Mean", v, "%", LIMITS)),
        st.floats(0, 100).map(lambda v: Criterion.at_least("gamma", "Gamma", v, "%", SHARES)),
        st.just(Criterion.unjudged("target", "Target", "no target is known")),
    )
)


@given(criteria)
def test_the_worst_counts(found: list[Criterion]) -> None:
    verdict = Verdict.of(found)
    worst = max((ORDER.index(c.result) for c in found), default=ORDER.index(Outcome.LOOK))
    assert verdict.result is ORDER[worst]
    assert (verdict.reasons == ()) == (verdict.result is Outcome.PASS)
    assert len(verdict.reasons) == (sum(c.result is not Outcome.PASS for c in found) or (0 if found else 1))
    if any(c.value is None for c in found):
        assert verdict.result is not Outcome.PASS


@given(st.floats(-100, 100), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_difference_is_never_better(value: float, look: float, more: float) -> None:
    limits = AtMost(look=look, fail=look + more)
    assert limits.judge(value) is limits.judge(-value)
    assert ORDER.index(limits.judge(value * 1.5)) >= ORDER.index(limits.judge(value))
    assert limits.judge(look) is Outcome.PASS


@pytest.mark.parametrize(("value", "outcome"), [(95, "pass"), (94.9, "look"), (90, "look"), (89.9, "fail")])
def test_a_smaller_share_is_worse(value: float, outcome: str) -> None:
    assert SHARES.judge(value) == outcome


def test_a_reason_has_the_value_its_limits_and_the_note() -> None:
    assert Criterion.at_most("a", "Mean dose of PTV", -7.34, "%", LIMITS, "41 Gy").reason == (
        "Mean dose of PTV: -7.34 % (look above 2 %, fail above 5 %); 41 Gy"
    )
    assert "look below 95 %" in Criterion.at_least("a", "Gamma", 80, "%", SHARES).reason
    assert Criterion.unjudged("a", "Gamma in PTV", "it has no point").reason == "Gamma in PTV: it has no point"


def test_limits_that_contradict_each_other_are_refused() -> None:
    for wrong in ({"mean_percent": {"look": 3, "fail": 2}}, {"gamma_percent": {"look": 80, "fail": 90}}):
        with pytest.raises(ValidationError):
            ActionLevels.model_validate(wrong)


def test_an_error_as_large_as_clinical_action_levels_is_at_least_looked_at() -> None:
    """AAPM TG-219: 3 to 5 % of the target's mean dose."""
    levels = ActionLevels()
    assert levels.mean_percent.judge(3.0) is Outcome.LOOK
    assert levels.mean_percent.judge(5.1) is Outcome.FAIL
