from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radiarch_contract.states import Stage
from radiarch_worker.runtime.progress import STAGES, TYPICAL_S, Progress

_EVENT = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(STAGES)),
    st.tuples(st.just("report"), st.floats(-1, 2)),
    st.tuples(st.just("wait"), st.floats(0, 1000)),
    st.tuples(st.just("expect"), st.dictionaries(st.sampled_from(STAGES), st.floats(0, 1e4))),
)
_EXPECTED = st.fixed_dictionaries({s: st.floats(0, 10_000) for s in STAGES})


@settings(deadline=None)
@given(st.lists(_EVENT, max_size=60), _EXPECTED)
def test_it_never_falls_and_is_a_fraction(events: list[tuple[str, object]], expected: dict[Stage, float]) -> None:
    now = 100.0
    progress = Progress(expected, now=now)
    last = progress.fraction(now)
    for kind, value in events:
        match kind, value:
            case "enter", Stage() as stage:
                progress.enter(stage, now)
            case "report", float(fraction):
                progress.report(fraction, now)
            case "expect", dict(work):
                progress.expect(work, now)
            case "wait", float(seconds):
                now += seconds
        fraction = progress.fraction(now)
        assert 0 <= last <= fraction < 1
        last = fraction
        eta_s = progress.eta_s(now)
        assert eta_s is None or (math.isfinite(eta_s) and eta_s >= 0)
    progress.finish(now)
    assert progress.fraction(now) == 1.0


def test_it_moves_between_reports_but_not_past_the_next_one() -> None:
    progress = Progress(now=0.0)
    progress.enter(Stage.COMPUTING_BEAMLETS, 10.0)
    progress.report(0.1, 16.0)
    at_report, soon, late, later = (progress.fraction(t) for t in (16.0, 18.0, 30.0, 300.0))
    assert at_report < soon < late
    assert later == late
    progress.report(0.2, 301.0)
    assert progress.fraction(301.0) >= later


def test_a_plan_that_goes_as_expected_is_estimated_right() -> None:
    progress = Progress(now=0.0)
    now = 0.0
    total_s = sum(TYPICAL_S.values())
    for stage in STAGES:
        progress.enter(stage, now)
        for step in range(1, 11):
            now += TYPICAL_S[stage] / 10
            progress.report(step / 10, now)
            eta_s = progress.eta_s(now)
            if now > 5:
                assert eta_s is not None
                assert abs(eta_s - (total_s - now)) < 0.1 * total_s
            assert abs(progress.fraction(now) - now / total_s) < 0.01


def test_a_slow_machine_is_noticed() -> None:
    progress = Progress(now=0.0)
    now = 0.0
    for stage in (Stage.LOADING_DATA, Stage.BUILDING_PLAN):
        progress.enter(stage, now)
        now += 4 * TYPICAL_S[stage]
    progress.enter(Stage.COMPUTING_BEAMLETS, now)
    now += 2 * TYPICAL_S[Stage.COMPUTING_BEAMLETS]
    progress.report(0.5, now)
    eta_s = progress.eta_s(now)
    left_s = 2 * TYPICAL_S[Stage.COMPUTING_BEAMLETS] + 4 * sum(TYPICAL_S[s] for s in STAGES[3:])
    assert eta_s is not None
    assert abs(eta_s - left_s) < 0.25 * left_s


def test_an_earlier_stage_again_is_no_progress() -> None:
    progress = Progress(now=0.0)
    progress.enter(Stage.FINAL_DOSE, 1.0)
    progress.enter(Stage.OPTIMIZING, 2.0)
    assert progress.stage is Stage.FINAL_DOSE


def test_work_that_is_told_decides_the_shares_and_the_estimate() -> None:
    """A plan with much more protons in its final dose, on a machine of half the speed."""
    progress = Progress(now=0.0, s_per_unit=dict.fromkeys((Stage.COMPUTING_BEAMLETS, Stage.FINAL_DOSE), 10.0))
    for stage, at in ((Stage.BUILDING_PLAN, 2.0), (Stage.COMPUTING_BEAMLETS, 8.0)):
        progress.enter(stage, at)
    progress.expect({Stage.COMPUTING_BEAMLETS: 4.0, Stage.FINAL_DOSE: 40.0}, 8.0)
    ends_s = 8.0 + 80.0 + TYPICAL_S[Stage.OPTIMIZING] + 800.0 + TYPICAL_S[Stage.EXPORTING]
    now = 8.0
    for step in range(1, 81):
        now += 1.0
        progress.report(step / 80, now)
        eta_s = progress.eta_s(now)
        assert eta_s is not None
        if step > 40:
            assert abs(now + eta_s - ends_s) < 0.1 * ends_s
    assert progress.fraction(now) < 0.2


def test_a_stage_that_has_nothing_to_do_does_not_move_the_bar_far() -> None:
    progress = Progress(now=0.0)
    progress.enter(Stage.COMPUTING_BEAMLETS, 8.0)
    before = progress.fraction(8.0)
    progress.expect({Stage.COMPUTING_BEAMLETS: 0.0}, 8.5)
    progress.enter(Stage.OPTIMIZING, 8.5)
    assert progress.fraction(8.5) < before + 0.05
    eta_s = progress.eta_s(8.5)
    assert eta_s is not None
    assert eta_s < 1.5 * sum(TYPICAL_S[s] for s in STAGES[3:])


def prostate(slowness: float, startup_s: float) -> list[tuple[float, Stage, float]]:
    """Reports of a plan like the prostate protocol's: the time, the stage and its fraction."""
    found, now = [(0.0, Stage.LOADING_DATA, 0.0), (1.0, Stage.BUILDING_PLAN, 0.0)], 3.2 * slowness
    for stage, seconds, parts in ((Stage.COMPUTING_BEAMLETS, 42.0, 300), (Stage.FINAL_DOSE, 94.0, 160)):
        found.append((now, stage, 0.0))
        now += startup_s
        for part in range(1, parts + 1):
            now += slowness * seconds / parts
            # the second round of the final dose is shorter than the first, and half of the bar
            done = part / parts
            bent = (
                done
                if stage is Stage.COMPUTING_BEAMLETS
                else (done / 0.58 if done < 0.58 else 1 + (done - 0.58) / 0.42) / 2
            )
            found.append((now, stage, bent))
        if stage is Stage.COMPUTING_BEAMLETS:
            found.append((now, Stage.OPTIMIZING, 0.0))
            now += 3.0 * slowness
    return [*found, (now, Stage.EXPORTING, 0.0), (now + 1.0, Stage.EXPORTING, 1.0)]


@pytest.mark.parametrize(("slowness", "startup_s"), [(1.0, 1.0), (3.0, 5.0), (0.4, 0.5)])
def test_the_bar_never_stands_and_the_estimate_holds_from_the_tenth_second_on(
    slowness: float, startup_s: float
) -> None:
    """First plan of a worker on a machine of any speed."""
    events = prostate(slowness, startup_s)
    end_s = events[-1][0]
    progress = Progress(now=0.0)
    moved_at, shown, now = 0.0, 0.0, 0.0
    while now < end_s:
        while events and events[0][0] <= now:
            at, stage, fraction = events.pop(0)
            progress.enter(stage, at)
            if stage is Stage.COMPUTING_BEAMLETS and fraction == 0.0:
                progress.expect({Stage.COMPUTING_BEAMLETS: 1.8, Stage.FINAL_DOSE: 5.0}, at)
            progress.report(fraction, at)
        if round(progress.fraction(now), 4) > shown:
            moved_at, shown = now, round(progress.fraction(now), 4)
        assert now - moved_at < 10
        eta_s = progress.eta_s(now)
        if now >= max(10.0, 3.2 * slowness + startup_s + 3.0) and end_s - now > 3.0:
            assert eta_s is not None
            assert abs(now + eta_s - end_s) < 0.3 * end_s
        now += 0.25
