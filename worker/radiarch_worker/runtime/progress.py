"""Progress of one attempt: a fraction that never falls and moves steadily, and the time that is left; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from radiarch_contract.states import Stage

STAGES = tuple(Stage)

TYPICAL_S: Mapping[Stage, float] = MappingProxyType(
    {
        Stage.LOADING_DATA: 2.0,
        Stage.BUILDING_PLAN: 6.0,
        Stage.COMPUTING_BEAMLETS: 60.0,
        Stage.OPTIMIZING: 8.0,
        Stage.FINAL_DOSE: 40.0,
        Stage.EXPORTING: 3.0,
    }
)
"""Stages' durations of a plan like the prostate protocol's; only their ratios matter once something was measured."""

_MOST_UNREPORTED = 0.9
"""How far a stage that reports nothing is taken to have come, at most."""
_MEASURABLE_S = 2.0
"""Rates from less than this are no ground for an estimate."""


class Progress:
    """What is told of a running attempt.

    A stage's share of the whole is its expected share of the time. Between two reports the fraction goes on at the
    measured rate, never further than one step ahead, so that it moves without claiming what was not reported.

    Parameters
    ----------
    expected_s
        Durations of the stages, measured on earlier plans of this kind if there were any.
    now
        Any clock in seconds that does not go back.

    Examples
    --------
    >>> p = Progress({s: 10.0 for s in STAGES}, now=0.0)
    >>> p.enter(Stage.COMPUTING_BEAMLETS, now=20.0)
    >>> p.report(0.5, now=25.0)
    >>> round(p.fraction(25.0), 3), round(p.eta_s(25.0))
    (0.417, 35)
    """

    def __init__(self, expected_s: Mapping[Stage, float] = TYPICAL_S, *, now: float) -> None:
        self._expected_s = {s: max(expected_s.get(s, TYPICAL_S[s]), 0.01) for s in STAGES}
        self._total_s = sum(self._expected_s.values())
        self.stage = STAGES[0]
        self.durations_s: dict[Stage, float] = {}
        """Of the stages that have ended."""
        self._began = self._entered = self._reported_at = now
        self._reported = self._step = 0.0
        self._highest = 0.0

    def enter(self, stage: Stage, now: float) -> None:
        """``stage`` begins, which ends the one before; going back to an earlier one is not progress and is ignored."""
        if STAGES.index(stage) <= STAGES.index(self.stage):
            return
        self.durations_s[self.stage] = now - self._entered
        self.stage = stage
        self._entered = self._reported_at = now
        self._reported = self._step = 0.0

    def report(self, fraction: float, now: float) -> None:
        """``fraction`` of the present stage is done."""
        fraction = min(max(fraction, 0.0), 1.0)
        if fraction > self._reported:
            self._step = fraction - self._reported
            self._reported, self._reported_at = fraction, now

    def finish(self, now: float) -> None:
        """The last stage ended."""
        self.durations_s[self.stage] = now - self._entered
        self._highest = 1.0

    def fraction(self, now: float) -> float:
        """Of the whole plan, 0 to 1; never less than it was."""
        before = sum(self._expected_s[s] for s in STAGES[: STAGES.index(self.stage)])
        done = before + self._in_stage(now) * self._expected_s[self.stage]
        self._highest = max(self._highest, min(done / self._total_s, 0.999))
        return self._highest

    def eta_s(self, now: float) -> float | None:
        """Seconds to the end; None where nothing was measured yet."""
        elapsed = now - self._began
        if elapsed < _MEASURABLE_S:
            return None
        index = STAGES.index(self.stage)
        in_stage = self._in_stage(now)
        if self._reported > 0.02 and now - self._entered > _MEASURABLE_S / 2:
            left_in_stage = (now - self._entered) / in_stage * (1 - in_stage)
        else:
            left_in_stage = self._expected_s[self.stage] * (1 - in_stage)
        return left_in_stage + sum(self._expected_s[s] for s in STAGES[index + 1 :]) * self._slowness(now)

    def _slowness(self, now: float) -> float:
        """Measured time over expected time, of what is done; between 1/20 and 20."""
        expected = sum(self._expected_s[s] for s in STAGES[: STAGES.index(self.stage)])
        expected += self._in_stage(now) * self._expected_s[self.stage]
        # a little of the expectation stays in, so that the first short stages do not decide alone
        anchor = 0.05 * self._total_s
        return min(max((now - self._began + anchor) / (expected + anchor), 0.05), 20.0)

    def _in_stage(self, now: float) -> float:
        since = now - self._entered
        if self._reported == 0.0:  # nothing reported: by the clock, slower and slower, never to the end
            expected = self._expected_s[self.stage]
            return _MOST_UNREPORTED * since / (since + expected)
        pace = self._reported / max(self._reported_at - self._entered, 1e-3)
        ahead = min(pace * (now - self._reported_at), self._step, _MOST_UNREPORTED * (1 - self._reported))
        return self._reported + ahead
