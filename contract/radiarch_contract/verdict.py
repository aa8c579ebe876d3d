"""The verdict of a second check: criteria with their limits, each judged; measuring them is the worker's business.

A check passes where everything that belongs to it was judged and lies within its limits. What could not be judged, and
what lies beyond the first limit, is for a person to look at; what lies beyond the second one fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from .strict import Asked, Strict


class Outcome(StrEnum):
    """Of a criterion, and of a check: the worst of its criteria."""

    PASS = "pass"  # noqa: S105 - no password
    LOOK = "look"
    FAIL = "fail"


_WORST_FIRST = (Outcome.FAIL, Outcome.LOOK, Outcome.PASS)
Limit = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class AtMost(Asked):
    """How large a difference, up or down, may be."""

    look: Limit = Field(description="More than this is for a person to look at.")
    fail: Limit = Field(description="More than this fails.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.fail < self.look:
            raise ValueError(f"fail is {self.fail:g}, less than look, {self.look:g}")
        return self

    def judge(self, value: float) -> Outcome:
        size = abs(value)
        return Outcome.PASS if size <= self.look else Outcome.LOOK if size <= self.fail else Outcome.FAIL


class AtLeast(Asked):
    """How small a share may be."""

    look: Percent = Field(description="Less than this is for a person to look at.")
    fail: Percent = Field(description="Less than this fails.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.fail > self.look:
            raise ValueError(f"fail is {self.fail:g}, more than look, {self.look:g}")
        return self

    def judge(self, value: float) -> Outcome:
        return Outcome.PASS if value >= self.look else Outcome.LOOK if value >= self.fail else Outcome.FAIL


class ActionLevels(Asked):
    """What a check is judged by. The defaults lie inside the action levels of AAPM TG-219 (mean dose of the target and
    points within 3 to 5 %), so that an error as large as those is not lost in the noise of a measurement.
    """

    gamma_percent: AtLeast = Field(
        default=AtLeast(look=95, fail=90),
        description="Points that pass gamma: in BODY, in the target, and where the dose is high, each.",
    )
    mean_percent: AtMost = Field(
        default=AtMost(look=2, fail=5),
        description="Difference of the mean dose of each target, and of the high dose, in % of the reference's.",
    )
    organ_percent: AtMost = Field(
        default=AtMost(look=2, fail=5),
        description="Difference of each organ's mean dose, in % of the prescribed dose.",
    )
    beam_meterset_percent: AtMost = Field(
        default=AtMost(look=3, fail=6),
        description="How much more or less of each beam the reference has than the plan's meterset gives.",
    )
    beam_range_mm: AtMost = Field(
        default=AtMost(look=1, fail=4), description="How much farther or less far each beam reaches."
    )
    beam_shift_mm: AtMost = Field(
        default=AtMost(look=1, fail=3), description="How far each beam's dose lies to the side."
    )
    scale: AtMost = Field(
        default=AtMost(look=10, fail=25),
        description="How far a meterset scale that was derived from the reference may be from 1, in %, where nothing "
        "is known of the plan's machine.",
    )
    scale_change_percent: AtMost = Field(
        default=AtMost(look=2, fail=5),
        description="How far such a scale may be from what the machine's other plans had.",
    )
    prescription_percent: AtMost = Field(
        default=AtMost(look=7, fail=25),
        description="How far the target's mean dose in the reference may be from what is prescribed.",
    )
    uncertainty_percent: Limit = Field(
        default=2.0, gt=0, description="Statistical uncertainty of the recalculation beyond which nothing passes."
    )
    confirmed_data: bool = Field(
        default=False,
        description="Whether nothing passes that was computed with a CT calibration or beam data that the site has not "
        "confirmed; false: that is told with the verdict.",
    )


class Criterion(Strict):
    """One thing that was judged, or could not be.

    ``value``, ``look`` and ``fail`` are in ``unit``; without a value the note says why there is none.
    """

    id: str = Field(description="Such as gamma.target; the same for the same thing in every check.")
    title: str = Field(description="In words, with the structure or beam that it is about.")
    value: float | None
    unit: str = ""
    look: float | None = Field(default=None, description="The limit beyond which it is to be looked at.")
    fail: float | None = Field(default=None, description="The limit beyond which it fails.")
    result: Outcome
    note: str = ""

    @property
    def reason(self) -> str:
        """Why it does not pass, in a sentence."""
        if self.value is None:
            return f"{self.title}: {self.note or 'not judged'}"
        limits = ", ".join(
            f"{word} {'below' if self.is_least else 'above'} {limit:g}{_spaced(self.unit)}"
            for word, limit in (("look", self.look), ("fail", self.fail))
            if limit is not None
        )
        text = f"{self.title}: {self.value:.4g}{_spaced(self.unit)}" + (f" ({limits})" if limits else "")
        return f"{text}; {self.note}" if self.note else text

    @property
    def is_least(self) -> bool:
        """Whether less is worse."""
        return self.look is not None and self.fail is not None and self.fail < self.look

    @classmethod
    def at_most(cls, id_: str, title: str, value: float, unit: str, limits: AtMost, note: str = "") -> Self:
        result = limits.judge(value)
        return cls(
            id=id_, title=title, value=value, unit=unit, look=limits.look, fail=limits.fail, result=result, note=note
        )

    @classmethod
    def at_least(cls, id_: str, title: str, value: float, unit: str, limits: AtLeast, note: str = "") -> Self:
        result = limits.judge(value)
        return cls(
            id=id_, title=title, value=value, unit=unit, look=limits.look, fail=limits.fail, result=result, note=note
        )

    @classmethod
    def unjudged(cls, id_: str, title: str, why: str) -> Self:
        """What belongs to the check and could not be judged: never passed over."""
        return cls(id=id_, title=title, value=None, result=Outcome.LOOK, note=why)


class Verdict(Strict):
    """What a check says, the reasons first."""

    result: Outcome
    reasons: tuple[str, ...] = Field(description="Of everything that does not pass, the worst first.")
    criteria: tuple[Criterion, ...]
    reservations: tuple[str, ...] = Field(
        default=(), description="What a reader of the result has to know, though it is no reason against it."
    )

    @classmethod
    def of(cls, criteria: Sequence[Criterion], reservations: Sequence[str] = ()) -> Self:
        """The worst of its criteria; of none at all, nothing was judged."""
        worst = [c for outcome in _WORST_FIRST for c in criteria if c.result is outcome]
        return cls(
            result=worst[0].result if worst else Outcome.LOOK,
            reasons=tuple(c.reason for c in worst if c.result is not Outcome.PASS) or _nothing(criteria),
            criteria=tuple(criteria),
            reservations=tuple(reservations),
        )


def _nothing(criteria: Sequence[Criterion]) -> tuple[str, ...]:
    return () if criteria else ("nothing was judged",)


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""
