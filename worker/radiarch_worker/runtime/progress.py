"""Progress of one attempt: a fraction that never falls and moves steadily, and the time that is left; no I/O."""

from __future__ import annotations

from collections import deque
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
"""Durations of the stages of a plan like the prostate protocol's, until some were measured."""
TYPICAL_S_PER_UNIT: Mapping[Stage, float] = MappingProxyType({Stage.COMPUTING_BEAMLETS: 25.0, Stage.FINAL_DOSE: 22.0})
"""Seconds for each unit of work (`Progress.expect`), a million protons on two cores, until some were measured."""

_MOST_UNREPORTED = 0.9
"""Upper limit of the fraction of a stage that reports nothing."""
_MEASURABLE_S = 2.0
"""Elapsed time before which nothing is estimated."""
_TRUSTED = 0.1
"""Fraction of a stage from which its own pace alone counts."""
_STARTUP = 0.02
"""A first report of less than this ends a startup."""
_WINDOW_S, _WINDOW_SHARE = 10.0, 0.3
"""The pace is that of the latest seconds, and of this share of the stage's time at least."""
_ANCHOR_S = 4.0
_ANCHOR_TOLD_S = 1.0
"""What is added to measured and expected time, so that the first seconds do not decide alone; less where work is told,
whose progress is reported often."""


class Progress:
    """Fraction and remaining time of a running attempt.

    A stage's share of the bar is its share of the time that is expected from its beginning to the end. Between two
    reports the fraction goes on at the measured pace, at most as far as one step.

    Parameters
    ----------
    expected_s
        Durations of the stages, measured on earlier plans of this workflow if there were any.
    s_per_unit
        Measured seconds for each unit of work of a stage (`expect`).
    now
        Seconds of any clock that does not go back.

    Examples
    --------
    >>> p = Progress({s: 10.0 for s in STAGES}, now=0.0)
    >>> p.enter(Stage.COMPUTING_BEAMLETS, now=20.0)
    >>> p.report(0.5, now=25.0)
    >>> round(p.eta_s(25.0))
    35
    """

    def __init__(
        self,
        expected_s: Mapping[Stage, float] = TYPICAL_S,
        *,
        now: float,
        s_per_unit: Mapping[Stage, float] = TYPICAL_S_PER_UNIT,
    ) -> None:
        self._expected_s = {s: max(expected_s.get(s, TYPICAL_S[s]), 0.01) for s in STAGES}
        self._s_per_unit = {**TYPICAL_S_PER_UNIT, **s_per_unit}
        self.work: dict[Stage, float] = {}
        """Work of the stages that have reported theirs."""
        self.stage = STAGES[0]
        self.durations_s: dict[Stage, float] = {}
        """Of the stages that have ended."""
        self._began = self._entered = self._reported_at = now
        self._reported = self._step = 0.0
        self._reports: deque[tuple[float, float]] = deque(maxlen=5000)
        self._highest = self._base = self._base_in_stage = 0.0
        self._first: tuple[float, float] | None = None
        """Since when the stage's pace is measured, and its fraction then: an engine's startup does not count."""

    def enter(self, stage: Stage, now: float) -> None:
        """``stage`` begins, which ends the one before; going back to an earlier one is not progress and is ignored."""
        if STAGES.index(stage) <= STAGES.index(self.stage):
            return
        self._base = self.fraction(now)
        self.durations_s[self.stage] = now - self._entered
        self.stage = stage
        self._entered = self._reported_at = now
        self._reported = self._step = self._base_in_stage = 0.0
        self._reports.clear()
        self._first = None

    def expect(self, work: Mapping[Stage, float], now: float) -> None:
        """How much there is to do in stages that have not ended, in units of the stage's own."""
        self._base, self._base_in_stage = self.fraction(now), self._in_stage(now)
        for stage, units in work.items():
            if stage in self._s_per_unit and stage not in self.durations_s:
                self.work[stage] = max(units, 0.0)
                self._expected_s[stage] = max(units * self._s_per_unit[stage], 0.01)

    def report(self, fraction: float, now: float) -> None:
        """``fraction`` of the present stage is done."""
        fraction = min(max(fraction, 0.0), 1.0)
        if fraction > self._reported:
            if self._first is None:
                self._first = (now, fraction) if fraction <= _STARTUP else (self._entered, 0.0)
                if self._in_stage(now) > fraction:  # until now the bar moved by the clock; it goes on from where it is
                    self._base, self._base_in_stage = self.fraction(now), fraction
            self._step = fraction - self._reported
            self._reported, self._reported_at = fraction, now
            self._reports.append((now, fraction))

    def finish(self, now: float) -> None:
        """The last stage ended."""
        self.durations_s[self.stage] = now - self._entered
        self._highest = 1.0

    def fraction(self, now: float) -> float:
        """Of the whole attempt, 0 to 1; never less than it was."""
        if self._highest == 1.0:
            return 1.0
        here = self._expected_s[self.stage]
        left_at_base = here * (1 - self._base_in_stage) + sum(self._expected_s[s] for s in self._later)
        done = here * max(self._in_stage(now) - self._base_in_stage, 0.0) / max(left_at_base, 1e-9)
        self._highest = max(self._highest, min(self._base + (1 - self._base) * done, 0.999))
        return self._highest

    def eta_s(self, now: float) -> float | None:
        """Seconds to the end; None where nothing was measured yet."""
        if now - self._began < _MEASURABLE_S:
            return None
        return self._left_in_stage(now) + sum(self._expected_s[s] * self._slowness(s, now) for s in self._later)

    @property
    def _later(self) -> tuple[Stage, ...]:
        return STAGES[STAGES.index(self.stage) + 1 :]

    def _left_in_stage(self, now: float) -> float:
        left = 1 - self._in_stage(now)
        expected_s = self._expected_s[self.stage] * left * self._slowness(self.stage, now)
        pace = self._pace(now)
        if pace is None:
            return expected_s
        trust = min(self._reported / _TRUSTED, 1.0)
        return trust * left / pace + (1 - trust) * expected_s

    def _pace(self, now: float) -> float | None:
        """Fraction of the stage in each second, of late; None where that was not measured."""
        elapsed_s = now - self._entered
        if self._first is None or self._reported <= self._first[1] or elapsed_s < _MEASURABLE_S / 2:
            return None
        since = now - max(_WINDOW_S, _WINDOW_SHARE * elapsed_s)
        start, before = self._first
        for at, fraction in self._reports:
            if at > since:
                break
            start, before = at, fraction
        pace = (self._in_stage(now) - before) / max(now - start, 1e-3)
        return pace if pace > 1e-6 else None

    def _slowness(self, stage: Stage, now: float) -> float:
        """Measured over expected time of what is done of the same kind: with reported work, or without."""
        has_work = stage in self.work
        measured = expected = _ANCHOR_TOLD_S if has_work else _ANCHOR_S
        for ended in STAGES[: STAGES.index(self.stage)]:  # one that was left out took no time
            if (ended in self.work) == has_work:
                measured += self.durations_s.get(ended, 0.0)
                expected += self._expected_s[ended]
        if (self.stage in self.work) == has_work:
            start, before = self._first or (self._entered, 0.0)
            measured += now - start
            expected += (self._in_stage(now) - before) * self._expected_s[self.stage]
        return min(max(measured / expected, 0.05), 20.0)

    def _in_stage(self, now: float) -> float:
        since = now - self._entered
        if self._reported == 0.0:  # nothing reported: by the clock, slower and slower, never to the end
            return _MOST_UNREPORTED * since / (since + self._expected_s[self.stage])
        pace = self._reported / max(self._reported_at - self._entered, 1e-3)
        ahead = min(pace * (now - self._reported_at), self._step, _MOST_UNREPORTED * (1 - self._reported))
        return self._reported + ahead
