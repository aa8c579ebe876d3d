"""How objectives are tuned until goals are met: pure rules on numbers; solving and judging are the caller's.

Goals of one priority after the other. While some of one are missed, what serves them gains weight by how far they
are missed and its dose moves beyond the limit; what only serves later goals, or goals with room to spare, gives way a
little. The state that is kept is the best by priorities, not the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.workflows import GoalTuning

Weights = npt.NDArray[np.float64]
Solve = Callable[[Sequence[Objective], Weights | None, int], Weights]
Judge = Callable[[Weights], "tuple[GoalResult, ...]"]

AIM = 0.3
"""Points beyond a limit that tuning aims for at least: the final dose is not quite the beamlets'."""
_WORTH = 0.2
"""Points by which a priority's goals must get better to outweigh later ones."""
_ROOM = 0.7
"""Points beyond the aim from which a met goal has room to spare."""
_GIVE_WAY = 0.25
_INDIRECT = 0.3
"""Growth of what only helps a goal, as a share of what asks for the very same."""
_FURTHEST = 4.0
"""Percent of the prescription by which an objective's dose may go beyond its goal's limit."""
_STALE_ROUNDS = 5
_LEAST_SHARE = 0.02
_LOWER = frozenset({ObjectiveMetric.DMIN, ObjectiveMetric.DUNIFORM, ObjectiveMetric.DVH_MIN, ObjectiveMetric.DMEAN})
_UPPER = frozenset(
    {
        ObjectiveMetric.DMAX,
        ObjectiveMetric.DUNIFORM,
        ObjectiveMetric.DVH_MAX,
        ObjectiveMetric.DMEAN,
        ObjectiveMetric.DMEAN_MAX,
    }
)


@dataclass(frozen=True)
class Aim:
    """A goal as tuning sees it.

    Attributes
    ----------
    prescribed_gy : what its percentages are of
    serving : the objectives, by number, that push towards it
    direct : those of them that ask for the very same; only their doses are moved
    margin : points beyond the limit that tuning aims for
    """

    goal: Goal
    prescribed_gy: float
    serving: frozenset[int]
    direct: frozenset[int] = frozenset()
    margin: float = AIM

    def unseen(self, deviation_gy: float, spread_gy: float) -> float:
        """Points by which it is missed by more than it seems where dose varies by more than is seen.

        Doses at the least or most of a volume are taken as those of normal distributions; others do not change.

        Parameters
        ----------
        deviation_gy, spread_gy : of the dose in the goal's structure as it is seen, and unseen, 1 sigma
        """
        metric, volume = self.goal.metric, self.goal.metric.argument
        if metric.kind != "D" or metric.argument_unit != "%" or volume is None or not 0 < volume < 100:
            return 0.0
        if self.goal.at_least == (volume < 50):
            return 0.0
        wider_gy = math.hypot(deviation_gy, spread_gy) - deviation_gy
        return 100 * abs(NormalDist().inv_cdf(volume / 100)) * wider_gy / self.prescribed_gy

    def shortfall(self, value: float | None) -> float:
        """By how much it is missed, negative where there is room: percent of dose or volume, or 100 times an index.

        A goal without a value asks for nothing.
        """
        if value is None:
            return -math.inf
        goal = self.goal
        missed = goal.limit - value if goal.at_least else value - goal.limit
        if goal.metric.kind in ("CI", "HI"):
            return 100 * missed
        if goal.limit_unit == "Gy":
            return 100 * missed / self.prescribed_gy
        if goal.limit_unit == "cc":
            return 100 * missed / max(goal.limit, 1.0)
        return missed

    def shortfall_gy(self, points: float) -> float:
        """Dose by which an objective has to move for that many points."""
        return points * self.prescribed_gy / 100


@dataclass(frozen=True)
class Round:
    """One round: the objectives that were solved for, and what came of it."""

    number: int
    objectives: tuple[Objective, ...]
    weights: Weights
    results: tuple[GoalResult, ...]
    score: tuple[float, ...]
    changed: tuple[Mapping[str, Any], ...] = ()


@dataclass
class Tuned:
    """All rounds, and which was the best."""

    rounds: list[Round] = field(default_factory=list)
    best: Round | None = None


def score(aims: Sequence[Aim], results: Sequence[GoalResult], *, beyond: bool = True) -> tuple[float, ...]:
    """Sum of what is missed for each priority, the first first; 0 where all is met, ``beyond``: by its margin."""
    ranks = sorted({a.goal.rank for a in aims})
    missed = [max(0.0, a.shortfall(r.value) + a.margin * beyond) for a, r in zip(aims, results, strict=True)]
    return tuple(sum(m for m, a in zip(missed, aims, strict=True) if a.goal.rank == rank) for rank in ranks)


def better(new: Sequence[float], old: Sequence[float]) -> bool:
    """Whether the first priority that differs is missed by less."""
    for a, b in zip(new, old, strict=True):
        if abs(a - b) > _WORTH:
            return a < b
    return sum(new) < sum(old)


def tune(
    solve: Solve,
    judge: Judge,
    objectives: Sequence[Objective],
    written: Sequence[Objective],
    aims: Sequence[Aim],
    limits: GoalTuning,
    *,
    rounds: int,
    first: int = 1,
    start: Weights | None = None,
    on_round: Callable[[Round, bool], None],
) -> Tuned:
    """Solve, judge and move objectives until every goal is met or nothing more is gained.

    Parameters
    ----------
    written : what ``objectives`` were before any tuning; limits are factors of it
    rounds, first : at most how many, and the first one's number
    """
    tuned = Tuned()
    state, weights = tuple(objectives), start
    changed: tuple[Mapping[str, Any], ...] = ()
    eagerness, stale = 1.0, 0
    for number in range(first, first + rounds):
        weights = solve(state, weights, number)
        results = judge(weights)
        here = Round(number, state, weights, results, score(aims, results), changed)
        tuned.rounds.append(here)
        won = tuned.best is None or better(here.score, tuned.best.score)
        if won:
            tuned.best, stale = here, 0
        else:
            stale, eagerness = stale + 1, eagerness * 0.8
        on_round(here, won)
        if not any(here.score) or stale >= _STALE_ROUNDS:
            break
        moved = step(state, written, aims, results, limits, eagerness)
        changed = changes(state, moved)
        if not changed:
            break
        state = moved
    return tuned


def step(
    objectives: Sequence[Objective],
    written: Sequence[Objective],
    aims: Sequence[Aim],
    results: Sequence[GoalResult],
    limits: GoalTuning,
    eagerness: float,
) -> tuple[Objective, ...]:
    """Objectives of the next round."""
    missed = [a.shortfall(r.value) + a.margin for a, r in zip(aims, results, strict=True)]
    rank = min((a.goal.rank for a, m in zip(aims, missed, strict=True) if m > 0), default=None)
    if rank is None:
        return tuple(objectives)
    moved = []
    for i, (objective, base) in enumerate(zip(objectives, written, strict=True)):
        served = [(a, m) for a, m in zip(aims, missed, strict=True) if i in a.serving]
        urgent = [(a, m) for a, m in served if m > 0 and a.goal.rank <= rank]
        direct = [(a, m) for a, m in urgent if i in a.direct]
        factor, shift_gy = 1.0, 0.0
        if urgent:
            growth = eagerness * min(1.2, 0.3 + 0.5 * max(m for _, m in urgent))
            factor = math.exp(growth if direct else _INDIRECT * growth)
        elif served and all(m > 0 or m < -_ROOM for _, m in served):
            factor = math.exp(-eagerness * _GIVE_WAY)
        low, high = (base.weight * f for f in limits.weight_limits)
        weight = min(max(objective.weight * factor, low), high, 1e6)
        dose_gy = objective.dose_gy
        if direct:
            shift_gy = eagerness * 0.5 * sum(_shift_gy(a, m) for a, m in direct) / len(direct)
            # further beyond the limit than this, it would ask for another plan, not for the goal
            furthest = _FURTHEST * min(a.prescribed_gy for a, _ in direct) / 100
            dose_gy = min(max(dose_gy + shift_gy, base.dose_gy - furthest), base.dose_gy + furthest)
        least, most = (base.dose_gy * f for f in limits.dose_limits)
        dose_gy = min(max(dose_gy, least), most, 200.0)
        moved.append(objective.model_copy(update={"weight": weight, "dose_gy": dose_gy}))
    return tuple(moved)


def _shift_gy(aim: Aim, missed: float) -> float:
    if aim.goal.metric.kind in ("CI", "HI", "V"):
        return 0.0
    by_gy = aim.shortfall_gy(min(missed, 5.0))
    return by_gy if aim.goal.at_least else -by_gy


def changes(before: Sequence[Objective], after: Sequence[Objective]) -> tuple[Mapping[str, Any], ...]:
    """What a step did, for the record."""
    found = []
    for a, b in zip(before, after, strict=True):
        if abs(b.weight / a.weight - 1) > 1e-3 or abs(b.dose_gy - a.dose_gy) > 1e-3:
            found.append(
                {
                    "objective": f"{b.structure} {b.metric.value}",
                    "weight": float(f"{b.weight:.4g}"),
                    "dose_gy": round(b.dose_gy, 3),
                }
            )
    return tuple(found)


def serves(objective: Objective, goal: Goal, prescribed_gy: float, holds: Callable[[str, str], bool]) -> bool:
    """Whether an objective pushes towards a goal.

    Parameters
    ----------
    holds
        Whether the first structure holds the second.
    """
    kind = goal.metric.kind
    same = objective.structure == goal.structure
    if kind == "CI":
        return False
    if kind == "HI":
        return same and objective.metric in (_LOWER | _UPPER) - {ObjectiveMetric.DMEAN_MAX}
    if objective.metric not in (_LOWER if goal.at_least else _UPPER):
        return False
    if same:
        return True
    if kind == "Dmean" or objective.metric in (ObjectiveMetric.DMEAN, ObjectiveMetric.DMEAN_MAX):
        return False
    level_gy = _level_gy(goal, prescribed_gy)
    near = abs(objective.dose_gy - level_gy) <= 0.15 * level_gy
    return near and holds(objective.structure, goal.structure)


def asks_the_same(objective: Objective, goal: Goal) -> bool:
    """Whether an objective is a goal in other words, whatever its dose."""
    same = made_from(goal, 60.0, 1.0)
    return (
        same is not None
        and (objective.structure, objective.metric) == (same.structure, same.metric)
        and objective.volume_percent == same.volume_percent
    )


def _level_gy(goal: Goal, prescribed_gy: float) -> float:
    """The dose that a goal is about."""
    if goal.metric.kind == "V":
        assert goal.metric.argument is not None
        return goal.metric.argument if goal.metric.argument_unit == "Gy" else goal.metric.argument / 100 * prescribed_gy
    return goal.limit if goal.limit_unit == "Gy" else goal.limit / 100 * prescribed_gy


def made_from(goal: Goal, prescribed_gy: float, weight: float) -> Objective | None:
    """The objective that asks for what a goal asks for; None for indices, which no single objective pushes.

    One on a part of a structure's voxels weighs as much more as they are fewer.
    """
    metric, argument = goal.metric, goal.metric.argument
    volume: float | None = None
    if metric.kind in ("CI", "HI"):
        return None
    if metric.kind == "Dmean":
        kind = ObjectiveMetric.DMEAN if goal.at_least else ObjectiveMetric.DMEAN_MAX
    elif metric.kind == "D" and metric.argument_unit == "%" and argument is not None and argument < 100:
        kind, volume = (ObjectiveMetric.DVH_MIN if goal.at_least else ObjectiveMetric.DVH_MAX), argument
    elif metric.kind == "V" and goal.limit_unit == "%" and 0 < goal.limit < 100:
        kind, volume = (ObjectiveMetric.DVH_MIN if goal.at_least else ObjectiveMetric.DVH_MAX), goal.limit
    else:
        kind = ObjectiveMetric.DMIN if goal.at_least else ObjectiveMetric.DMAX
    dose_gy = min(_level_gy(goal, prescribed_gy), 200.0)
    if volume is not None:
        weight /= max(_LEAST_SHARE, (100 - volume if goal.at_least else volume) / 100)
    return Objective(
        structure=goal.structure,
        metric=kind,
        dose_gy=dose_gy,
        volume_percent=volume,
        weight=min(max(weight, 1e-3), 1e6),
    )
