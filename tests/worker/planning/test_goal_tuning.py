"""Tuning meets goals in the order of their priority, within its limits, and records what it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.states import GoalStatus
from radiarch_contract.workflows import GoalTuning, ImptOptimizedParameters
from radiarch_worker.evaluation import evaluate
from radiarch_worker.optimization import MetricTerm, Problem, optimize
from radiarch_worker.planning import plan
from radiarch_worker.planning.tuning.rules import (
    Aim,
    Round,
    Tuned,
    Weights,
    asks_the_same,
    better,
    made_from,
    serves,
    tune,
)

from tests.worker.engines.water import Recorder, refs

from .test_plans import OBJECTIVES, PRESCRIPTION, QUICK, a_patient

PRESCRIBED_GY = 60.0
TARGET = np.arange(40)
ORGAN = np.arange(40, 70)
WRITTEN = (
    Objective(structure="T", metric=ObjectiveMetric.DMIN, dose_gy=60, weight=10),
    Objective(structure="O", metric=ObjectiveMetric.DMEAN_MAX, dose_gy=20, weight=10),
)


def matrix() -> scipy.sparse.csc_matrix:
    """Dose of 12 spots; what the target gets, the organ gets a part of."""
    rng = np.random.default_rng(4)
    values = np.vstack([rng.uniform(0.5, 1.0, (40, 12)), rng.uniform(0.2, 0.7, (30, 12))])
    return scipy.sparse.csc_matrix(values.astype(np.float32))


class Toy:
    """A plan of a few numbers, solved by the real optimiser and judged by its own arithmetic."""

    def __init__(self, goals: Sequence[str], limits: GoalTuning | None = None) -> None:
        self.problem = Problem(matrix(), 1.0, ())
        self.goals = [Goal.parse(g) for g in goals]
        self.limits = limits or GoalTuning()
        self.rounds: list[tuple[Round, bool]] = []

    def solve(self, objectives: Sequence[Objective], start: Weights | None, number: int) -> Weights:
        rows = {"T": TARGET, "O": ORGAN}
        terms = [MetricTerm(o.structure, rows[o.structure], o.metric, o.dose_gy, None, o.weight) for o in objectives]
        problem = Problem(self.problem.matrix, 1.0, terms)
        found = optimize(
            problem,
            np.ones(12) if start is None else start,
            least_weight=0.0,
            max_iterations=200,
            method="L-BFGS-B",
            on_iteration=lambda *_: None,
        )
        return found.weights

    def judge(self, weights: Weights) -> tuple[GoalResult, ...]:
        dose = self.problem.dose_gy(weights)
        results = []
        for goal in self.goals:
            value = float(dose[ORGAN].mean() if goal.structure == "O" else dose[TARGET].min())
            met = value >= goal.limit if goal.at_least else value <= goal.limit
            status = GoalStatus.MET if met else GoalStatus.MISSED
            results.append(GoalResult(text=goal.text, structure=goal.structure, value=value, unit="Gy", status=status))
        return tuple(results)

    def tuned(self, rounds: int = 30) -> Tuned:
        aims = [
            Aim(g, PRESCRIBED_GY, serving, serving)
            for g in self.goals
            for serving in [frozenset(i for i, o in enumerate(WRITTEN) if o.structure == g.structure)]
        ]

        def on_round(here: Round, won: bool) -> None:
            self.rounds.append((here, won))

        return tune(self.solve, self.judge, WRITTEN, WRITTEN, aims, self.limits, rounds=rounds, on_round=on_round)


def values(tuned: Tuned) -> dict[str, float]:
    assert tuned.best is not None
    return {r.structure: r.value or 0.0 for r in tuned.best.results}


def test_the_goal_of_higher_priority_is_met_where_both_cannot_be() -> None:
    wide = GoalTuning(weight_limits=(1e-3, 1e3))
    target_first = values(Toy(["T: Dmin ≥ 57 Gy, priority 1", "O: Dmean ≤ 20 Gy, priority 2"], wide).tuned())
    organ_first = values(Toy(["T: Dmin ≥ 57 Gy, priority 2", "O: Dmean ≤ 20 Gy, priority 1"], wide).tuned())
    assert target_first["T"] >= 57
    assert target_first["O"] > 20
    assert organ_first["O"] <= 20
    assert organ_first["T"] < 57


def test_goals_that_are_met_change_nothing() -> None:
    toy = Toy(["T: Dmin ≥ 10 Gy", "O: Dmean ≤ 90 Gy"])
    tuned = toy.tuned()
    assert len(tuned.rounds) == 1
    assert tuned.rounds[0].objectives == WRITTEN


def test_limits_hold_and_every_step_is_recorded() -> None:
    limits = GoalTuning(weight_limits=(0.5, 2.0), dose_limits=(0.95, 1.02))
    toy = Toy(["T: Dmin ≥ 59.9 Gy, priority 1", "O: Dmean ≤ 15 Gy, priority 2"], limits)
    tuned = toy.tuned()
    assert [r.number for r in tuned.rounds] == list(range(1, len(tuned.rounds) + 1))
    for here in tuned.rounds:
        for objective, base in zip(here.objectives, WRITTEN, strict=True):
            assert 0.5 <= objective.weight / base.weight <= 2.0
            assert 0.95 <= objective.dose_gy / base.dose_gy <= 1.02
            assert (objective.structure, objective.metric) == (base.structure, base.metric)
    for before, after in zip(tuned.rounds, tuned.rounds[1:], strict=False):
        moved = {
            f"{b.structure} {b.metric.value}"
            for a, b in zip(before.objectives, after.objectives, strict=True)
            if a != b
        }
        assert {c["objective"] for c in after.changed} == moved
        assert moved
    # The best is kept, whichever came last.
    assert tuned.best is not None
    assert all(not better(r.score, tuned.best.score) for r in tuned.rounds)
    assert [r for r, won in toy.rounds if won][-1] is tuned.best


@pytest.mark.parametrize(
    ("goal", "sign", "volume"),
    [("T: D95% ≥ 57 Gy", -1, 95), ("T: D2% ≤ 63 Gy", 1, 2), ("T: D98% ≥ 95%", -1, 98)],
)
def test_a_margin_is_what_an_unseen_variation_takes(goal: str, sign: int, volume: float) -> None:
    rng = np.random.default_rng(6)
    seen, unseen = rng.normal(60, 0.9, 200_000), rng.normal(0, 0.7, 200_000)
    before, after = (np.percentile(dose, 100 - volume) for dose in (seen, seen + unseen))
    points = Aim(Goal.parse(goal), PRESCRIBED_GY, frozenset()).unseen(0.9, 0.7)
    assert points == pytest.approx(sign * 100 * (after - before) / PRESCRIBED_GY, rel=0.03)


@pytest.mark.parametrize(
    "goal", ["T: D95% ≤ 63 Gy", "T: D2% ≥ 57 Gy", "O: Dmean ≤ 20 Gy", "O: V20Gy ≤ 30%", "T: D2cc ≤ 63 Gy"]
)
def test_goals_that_an_unseen_variation_does_not_worsen_keep_their_margin(goal: str) -> None:
    assert Aim(Goal.parse(goal), PRESCRIBED_GY, frozenset()).unseen(0.9, 0.7) == 0.0


def test_which_objectives_serve_a_goal() -> None:
    def objective(structure: str, metric: ObjectiveMetric, dose_gy: float, volume: float | None = None) -> Objective:
        return Objective(structure=structure, metric=metric, dose_gy=dose_gy, volume_percent=volume)

    def holds(outer: str, inner: str) -> bool:
        return (outer, inner) in (("BODY", "PTV"), ("BODY", "Cord"), ("Wide", "PTV"))

    metric = ObjectiveMetric
    for goal, one, does in (
        ("PTV: D95% ≥ 95%", objective("PTV", metric.DMIN, 58), True),
        ("PTV: D95% ≥ 95%", objective("Wide", metric.DMIN, 58), True),
        ("PTV: D95% ≥ 95%", objective("PTV", metric.DMAX, 62), False),
        ("PTV: D2% ≤ 105%", objective("BODY", metric.DMAX, 62), True),
        ("Cord: D2% ≤ 40 Gy", objective("BODY", metric.DMAX, 62), False),  # far above what the goal is about
        ("Cord: Dmean ≤ 40 Gy", objective("BODY", metric.DMAX, 40), False),
        ("Cord: Dmean ≤ 40 Gy", objective("Cord", metric.DMEAN_MAX, 40), True),
        ("PTV: HI ≤ 0.1", objective("PTV", metric.DUNIFORM, 60), True),
        ("PTV: CI ≥ 0.8", objective("PTV", metric.DUNIFORM, 60), False),
    ):
        assert serves(one, Goal.parse(goal), PRESCRIBED_GY, holds) is does, (goal, one)


@pytest.mark.parametrize(
    ("goal", "metric", "dose_gy", "volume"),
    [
        ("PTV: D95% ≥ 95%", ObjectiveMetric.DVH_MIN, 57.0, 95.0),
        ("Cord: Dmax(0.03cc) ≤ 45 Gy", ObjectiveMetric.DMAX, 45.0, None),
        ("Lung: V20Gy ≤ 30%", ObjectiveMetric.DVH_MAX, 20.0, 30.0),
        ("Lung: Dmean ≤ 20%", ObjectiveMetric.DMEAN_MAX, 12.0, None),
    ],
)
def test_an_objective_is_made_from_a_goal_that_none_serves(
    goal: str, metric: ObjectiveMetric, dose_gy: float, volume: float | None
) -> None:
    made = made_from(Goal.parse(goal), PRESCRIBED_GY, 3.0)
    assert made is not None
    assert (made.metric, made.volume_percent) == (metric, volume)
    # where it looks at part of the voxels, it weighs as much more
    part = {None: 1.0, 95.0: 0.05, 30.0: 0.3}[volume]
    assert made.weight == pytest.approx(3.0 / part)
    assert asks_the_same(made, Goal.parse(goal))
    assert made.dose_gy == pytest.approx(dose_gy)
    assert made_from(Goal.parse("PTV: CI ≥ 0.8"), PRESCRIBED_GY, 3.0) is None


GOALS = ("PTV: D95% ≥ 94%, priority 1", "Organ: Dmean ≤ 5 Gy, priority 2", "PTV: D2% ≤ 112%, priority 3")


@pytest.mark.engine
def test_an_adapted_plan_comes_nearer_to_what_the_written_objectives_miss(tmp_path: Path) -> None:
    p = a_patient()
    weak = tuple(o.model_copy(update={"weight": 0.3}) if o.structure == "Organ" else o for o in OBJECTIVES)
    judged: dict[bool, Any] = {}
    for tuned in (False, True):
        parameters = ImptOptimizedParameters(
            **{**QUICK, "objectives": weak, "tune_to_goals": tuned and {"max_rounds": 8}, "final_primaries": 200_000}
        )
        folder = tmp_path / str(tuned)
        folder.mkdir()
        result = plan("proton-impt-optimized", p, PRESCRIPTION, parameters, refs(p), Recorder(), folder, 2, None, GOALS)
        judged[tuned] = (result, evaluate(p, result.dose, PRESCRIPTION, GOALS, refs(p)).goals)
    fixed, better_plan = judged[False][1], judged[True][1]
    assert fixed[0].status is not GoalStatus.MET
    before, after = fixed[0].value, better_plan[0].value
    assert before is not None
    assert after is not None
    assert after > before + 2
    result = judged[True][0]
    steps = [a for t in result.solver_trace for a in t.get("tuning", ())]
    assert [t["iteration"] for t in result.solver_trace] == list(range(1, len(result.solver_trace) + 1))
    assert steps[0]["round"] == 1
    assert any(s["changed"] for s in steps if "round" in s)
    assert [s["of"] for s in steps if "round" not in s] == ["check", "final dose"]
    assert steps[-1]["of"] == "final dose"
    assert {g["text"] for g in steps[-1]["goals"]} == set(GOALS)
    said = " ".join(result.notes)
    assert "Tuned to goals:" in said
    assert "Objectives were tuned: " in said
