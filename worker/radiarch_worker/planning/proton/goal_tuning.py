"""Plans whose objectives are tuned to goals: solve, judge, correct the beamlets, deliver; the rules are `tuning`'s.

Beamlets are noisy and a little blurred, and the optimiser finds what is wrong with them: the dose that is computed in
the end is less even. So the tuned plan's dose is computed with few protons, what it differs by from the beamlets'
dose is added to them, as far as that is not its own noise, and tuning goes on from there. Then comes the final dose,
and the same once more where goals are missed in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.objectives import Objective
from radiarch_contract.states import GoalStatus, Stage
from radiarch_contract.workflows import GoalTuning

from radiarch_worker.engines.mcsquare.runs import part_seed
from radiarch_worker.evaluation.goals import Judged, judge
from radiarch_worker.evaluation.sampling import covers, sample
from radiarch_worker.model import Dose, PlanResult, Structure
from radiarch_worker.optimization import DoseTerm, Problem, make_problem, optimize
from radiarch_worker.planning import normalize
from radiarch_worker.planning.preview import report_preview
from radiarch_worker.planning.sharing import PartOfStage
from radiarch_worker.planning.structures import find_structure
from radiarch_worker.planning.tuning.correction import CorrectedTerm, correction
from radiarch_worker.planning.tuning.rules import AIM, Aim, Round, asks_the_same, better, made_from, score, serves, tune

from .steps import (
    RBE,
    Beamlets,
    FinalDose,
    Setup,
    beamlet_dose,
    conclude,
    deliver,
    final_dose,
    reporting,
    uniform_start,
)

Terms = Callable[[Setup, Beamlets, Sequence[Objective]], tuple[list[DoseTerm], list[str]]]

_FINALS = 2
"""Final doses that are computed at most; the second follows tuning with what the first corrected."""
_CHECK_PERCENT = 3.0
"""Uncertainty of the dose that corrects the beamlets before the final one, where that is more certain."""
_FIRST_SHARE = 0.6
"""Of the rounds, at most, before the beamlets are corrected."""
_HELD = 0.99
"""Share of a structure that another has to have in it to hold it."""
_WORSE_POINTS = 0.2
_AFTER_CHECK, _AFTER_ROUNDS = 0.15, 0.5
"""Of the stage of the final dose: what the check takes, and the rounds after it."""
_FINAL_PARTS = ((_AFTER_ROUNDS, 0.9), (0.9, 1.0))
"""Parts of that stage for each of the final doses; the second is seldom computed."""


@dataclass(frozen=True)
class _Delivered:
    """A final dose, what was done to it, and how its goals are met."""

    final: FinalDose
    normalized: Mapping[str, Any]
    said: tuple[str, ...]
    results: tuple[GoalResult, ...]
    round: Round


class GoalJudge:
    """Judges the plan's goals on any dose of its grid, looking at their structures only."""

    def __init__(self, setup: Setup, goals: Sequence[str]) -> None:
        job = setup.job
        self._job, self._goals = job, tuple(goals)
        names = {Goal.parse(g).structure for g in goals}
        refs = [job.structures[n] for n in sorted(names) if n in job.structures]
        self._structures = {r.roi_number: s for r in refs if (s := job.patient.structures.get(r.roi_number))}
        whole = any(Goal.parse(g).metric.kind == "CI" or Goal.parse(g).structure == "BODY" for g in goals)
        # Where no goal looks at the patient as a whole, the target stands for it: it is never asked.
        self._body = replace(job.patient.body, contours=()) if whole else setup.target

    def __call__(self, dose: Dose) -> tuple[GoalResult, ...]:
        ct = self._job.patient.ct.grid
        covered = covers(dose.grid, self._job.patient.body, ct)
        found: dict[int, Structure] = {**self._structures, _BODY_KEY: self._body}
        samples = sample(found, ct, dose, zero_outside=covered)
        body = samples.pop(_BODY_KEY)
        judged = Judged(samples, body, self._job.prescription)
        return tuple(judge(g, judged, self._job.structures) for g in self._goals)


_BODY_KEY = -(10**9)


class GoalTuner:
    """Tunes the objectives of one plan to its goals, and keeps the record of it."""

    def __init__(self, setup: Setup, beamlets: Beamlets, limits: GoalTuning, terms: Terms) -> None:
        self._setup, self._beamlets, self._limits, self._terms = setup, beamlets, limits, terms
        job = setup.job
        self._judge = GoalJudge(setup, job.goals)
        self._all = Problem(beamlets.matrix, setup.gy_per_unit, (), threads=job.threads)
        self._added = np.zeros(beamlets.matrix.shape[0], dtype=np.float32)
        self.trace: list[Mapping[str, Any]] = []
        self.notes: list[str] = []
        self._written: tuple[Objective, ...] = ()
        self._aims: tuple[Aim, ...] = ()
        self._rounds: list[Round] = []
        self._best: Round | None = None
        self._first_round, self._rounds_at_most = 1, 1
        self._bar = setup.job.reporter
        """Where rounds report to: the stage, or after the check a part of it."""

    def run(self, objectives: Sequence[Objective]) -> PlanResult:
        """Tune, correct, tune, deliver; the plan whose final dose is best by priorities."""
        self._begin(objectives)
        limit = self._limits.max_rounds
        self._tune(math.ceil(_FIRST_SHARE * limit))
        if len(self._rounds) < limit:
            self._check()
        delivered: list[_Delivered] = []
        for number in range(_FINALS):
            if len(self._rounds) < limit:
                self._tune(limit - len(self._rounds))
            delivered.append(self._deliver(number))
            last = number + 1 == _FINALS or len(self._rounds) >= limit
            if last or not any(self._estimated(delivered[-1])):
                break
        return self._conclude(delivered)

    def _tune(self, rounds: int) -> None:
        """From the best round so far on."""
        best, number = self._best, len(self._rounds) + 1
        self._setup.job.reporter.stage(Stage.OPTIMIZING, f"tuning to goals, at most {rounds} rounds")
        self._first_round, self._rounds_at_most = number, rounds
        with self._setup.clock.stage(Stage.OPTIMIZING):
            tuned = tune(
                self._solve,
                lambda w: self._judge(self._dose(w)),
                self._written if best is None else best.objectives,
                self._written,
                self._aims,
                self._limits,
                rounds=rounds,
                first=number,
                start=None if best is None else best.weights,
                on_round=self._record,
            )
        self._rounds += tuned.rounds
        self._best = tuned.best
        if len(self._rounds) == len(tuned.rounds):
            weights = self._latest.weights
            dose = beamlet_dose(self._setup, self._beamlets, weights)
            job = self._setup.job
            report_preview(job.reporter, job.patient, dose, job.structures)
            self._setup.clock.reached("to_preview")

    @property
    def _latest(self) -> Round:
        assert self._best is not None  # a round is always made
        return self._best

    def _check(self) -> None:
        """Correct the beamlets by a dose with few protons."""
        parameters, setup = self._setup.job.parameters, self._setup
        percent = max(_CHECK_PERCENT, parameters.uncertainty_percent)
        primaries = parameters.final_primaries
        setup.job.reporter.stage(Stage.FINAL_DOSE, "checking the beamlets")
        with setup.clock.stage(Stage.FINAL_DOSE):
            final = final_dose(
                reporting(_with_own_noise(setup, "check"), 0.0, _AFTER_CHECK),
                self._latest.weights,
                uncertainty_percent=percent,
                primaries=None if primaries is None else max(10_000, primaries // 4),
            )
        self._record_check("check", self._judge(final.dose), final.result.uncertainty_percent)
        self._correct(final)
        self._bar = PartOfStage(setup.job.reporter, _AFTER_CHECK, _AFTER_ROUNDS)

    def _deliver(self, number: int) -> _Delivered:
        setup = self._setup if number == 0 else _with_own_noise(self._setup, f"final dose {number + 1}")
        setup.job.reporter.stage(Stage.FINAL_DOSE)
        with setup.clock.stage(Stage.FINAL_DOSE):
            final, normalized, said = deliver(reporting(setup, *_FINAL_PARTS[number]), self._latest.weights)
        results = self._judge(final.dose)
        self._record_check("final dose", results, final.result.uncertainty_percent)
        return _Delivered(final, normalized, tuple(said), results, self._latest)

    def _estimated(self, delivered: _Delivered) -> tuple[float, ...]:
        """What is missed without the final dose's noise, which makes any dose look less even."""
        aims = self._correct(delivered.final)
        return score(aims, self._judge(self._dose(delivered.final.weights_mu)))

    def _begin(self, objectives: Sequence[Objective]) -> None:
        setup = self._setup
        prescription = setup.job.prescription
        written = list(objectives)
        weight = float(np.median([o.weight for o in objectives]))
        parsed = [Goal.parse(g) for g in setup.job.goals]
        for goal in parsed:
            if any(asks_the_same(o, goal) for o in written) or self._mask(goal.structure) is None:
                continue
            prescribed_gy = prescription.dose_of_gy(goal.structure)
            added = made_from(goal, prescribed_gy, weight)
            if added is not None:
                written.append(added)
                self.notes.append(f"For {goal.text} the objective {_described(added)} was added.")
            elif not any(serves(o, goal, prescribed_gy, self._holds) for o in written):
                self.notes.append(f"No objective serves {goal.text}, and none can be made from it: it is not tuned to.")
        self._written = tuple(written)
        self._aims = tuple(
            Aim(
                goal,
                gy := prescription.dose_of_gy(goal.structure),
                frozenset(i for i, o in enumerate(written) if serves(o, goal, gy, self._holds)),
                frozenset(i for i, o in enumerate(written) if asks_the_same(o, goal)),
            )
            for goal in parsed
        )

    def _mask(self, name: str) -> npt.NDArray[np.bool_] | None:
        found = find_structure(self._setup.job.patient, self._setup.job.structures, name)
        return None if found is None or not found.mask.any() else found.mask

    def _holds(self, outer: str, inner: str) -> bool:
        a, b = self._mask(outer), self._mask(inner)
        return a is not None and b is not None and float(a[b].mean()) >= _HELD

    def _solve(
        self, objectives: Sequence[Objective], start: npt.NDArray[np.float64] | None, number: int
    ) -> npt.NDArray[np.float64]:
        setup, parameters = self._setup, self._setup.job.parameters
        terms, notes = self._terms(setup, self._beamlets, objectives)
        self.notes += [n for n in notes if n not in self.notes]
        corrected = [CorrectedTerm(t, self._added[t.rows]) for t in terms]
        problem = make_problem(self._beamlets.matrix, setup.gy_per_unit, corrected, setup.job.threads)
        done = len(self.trace)

        limit = parameters.max_iterations if start is None else max(12, parameters.max_iterations // 3)

        def report(iteration: int, objective: float, by_name: Mapping[str, float]) -> None:
            setup.job.reporter.solver(done + iteration, objective, by_name)
            self._bar.progress((number - self._first_round + min(1.0, iteration / limit)) / self._rounds_at_most)

        headroom = normalize.HEADROOM if parameters.normalization else 1.0
        solution = optimize(
            problem,
            uniform_start(setup, self._beamlets) if start is None else start,
            least_weight=setup.spot_mu_min * headroom,
            # A round begins where the last one ended: a third of the iterations takes it to its new place.
            max_iterations=limit,
            method=parameters.method,
            on_iteration=report,
        )
        self.trace += [{**t, "iteration": done + i, "round": number} for i, t in enumerate(solution.trace, start=1)]
        return solution.weights

    def _rows_gy(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        return np.asarray(self._all.dose_gy(weights), dtype=np.float32)

    def _dose(self, weights: npt.NDArray[np.float64]) -> Dose:
        """The beamlets' dose with the correction."""
        grid = self._setup.dose_grid
        dose_gy = np.zeros(grid.shape, dtype=np.float32)
        dose_gy.ravel()[self._beamlets.result.voxels] = np.maximum(self._rows_gy(weights) + self._added, 0)
        return Dose(dose_gy, grid, RBE)

    def _correct(self, final: FinalDose) -> tuple[Aim, ...]:
        """Correct the beamlets; the aims with the margins that this very plan needs for what is still unseen in it."""
        setup = self._setup
        voxels = self._beamlets.result.voxels
        computed_gy = final.dose.dose_gy.ravel()[voxels]
        rows = self._beamlets.rows(setup.on(setup.target.mask, setup.dose_grid))
        noise_gy = final.result.uncertainty_percent / 100 * float(computed_gy[rows].mean())
        difference = computed_gy - self._rows_gy(final.weights_mu)
        found = correction(difference, voxels, setup.dose_grid, rows, noise_gy)
        self._added = found.added_gy
        setup.job.reporter.log(found.said)
        dose_gy = self._rows_gy(final.weights_mu) + found.added_gy
        self._aims = tuple(replace(a, margin=AIM + self._unseen(a, dose_gy, found.spread_gy)) for a in self._aims)
        return tuple(replace(a, margin=self._unseen(a, dose_gy, found.left_gy)) for a in self._aims)

    def _unseen(self, aim: Aim, dose_gy: npt.NDArray[np.float32], spread_gy: float) -> float:
        mask = self._mask(aim.goal.structure)
        if mask is None:
            return 0.0
        rows = self._beamlets.rows(self._setup.on(mask, self._setup.dose_grid))
        return aim.unseen(float(dose_gy[rows].std()), spread_gy) if len(rows) else 0.0

    def _record(self, here: Round, won: bool) -> None:
        record = {
            "round": here.number,
            "of": "beamlets",
            "kept": won,
            "changed": [dict(c) for c in here.changed],
            "goals": _values(here.results),
        }
        self._attach(record)
        met = sum(r.status is GoalStatus.MET for r in here.results)
        missed = ", ".join(f"{x:.2f}" for x in here.score)
        line = f"round {here.number}: {met} of {len(here.results)} goals met, missed by priority {missed}"
        self._setup.job.reporter.log(line + (", best so far" if won else ""))

    def _record_check(self, of: str, results: Sequence[GoalResult], uncertainty_percent: float) -> None:
        self._attach({"of": of, "uncertainty_percent": round(uncertainty_percent, 3), "goals": _values(results)})
        met = sum(r.status is GoalStatus.MET for r in results)
        self._setup.job.reporter.log(f"{of} ({uncertainty_percent:.1f} %): {met} of {len(results)} goals met")

    def _attach(self, record: Mapping[str, Any]) -> None:
        """Record a step with the solver's last iteration before it."""
        last = self.trace[-1]
        self.trace[-1] = {**last, "tuning": [*last.get("tuning", ()), dict(record)]}

    def _conclude(self, delivered: Sequence[_Delivered]) -> PlanResult:
        chosen = delivered[0]
        for other in delivered[1:]:
            if better(*(score(self._aims, d.results, beyond=False) for d in (other, chosen))):
                chosen = other
        final, best = chosen.final, chosen.round
        parameters = self._setup.job.parameters
        return conclude(
            self._setup,
            final,
            provenance={
                **self._beamlets.provenance,
                **chosen.normalized,
                "method": parameters.method,
                "iterations": len(self.trace),
                "tuning_rounds": len(self._rounds),
                "tuning_final_doses": len(delivered),
                "objectives": [_described(o) for o in best.objectives],
            },
            notes=[*self.notes, *self._outcome(self._rounds[0], best, chosen.results), *chosen.said],
            solver_trace=self.trace,
        )

    def _outcome(self, first: Round, best: Round, results: Sequence[GoalResult]) -> list[str]:
        """What tuning changed, and at the cost of which goals."""
        before = sum(r.status is GoalStatus.MET for r in first.results)
        after = sum(r.status is GoalStatus.MET for r in results)
        moved = [
            f"{_described(a)} → dose {b.dose_gy:.4g} Gy, weight {b.weight:.3g}"
            for a, b in zip(self._written, best.objectives, strict=True)
            if a != b
        ]
        lines = [
            f"Tuned to goals: {after} of {len(results)} goals met in the final dose, {before} on the beamlets with the "
            "objectives as written."
        ]
        if moved:
            lines.append(f"Objectives were tuned: {'; '.join(moved)}.")
        worse = [
            f"{a.goal.text}: {_value(r0)} → {_value(r1)}"
            for a, r0, r1 in zip(self._aims, first.results, results, strict=True)
            if a.shortfall(r1.value) - a.shortfall(r0.value) > _WORSE_POINTS
        ]
        if worse and moved:
            lines.append(f"What gave way: {'; '.join(worse)}.")
        missed = [f"{r.text}: {_value(r)}" for r in results if r.status in (GoalStatus.NEAR, GoalStatus.MISSED)]
        if missed:
            lines.append(f"No more could be had within the limits: {'; '.join(missed)}.")
        return lines


def _with_own_noise(setup: Setup, purpose: str) -> Setup:
    """Other random numbers: a plan that was fitted to a dose's noise must not be judged by the same noise."""
    return replace(setup, run=replace(setup.run, seed=part_seed(setup.run.seed, purpose, 0)))


def _described(objective: Objective) -> str:
    volume = "" if objective.volume_percent is None else f" to {objective.volume_percent:g} %"
    metric = objective.metric.value
    return f"{objective.structure} {metric} {objective.dose_gy:.4g} Gy{volume}, weight {objective.weight:.3g}"


def _value(result: GoalResult) -> str:
    return "no value" if result.value is None else f"{result.value:.1f}{result.unit and ' ' + result.unit}"


def _values(results: Sequence[GoalResult]) -> list[dict[str, Any]]:
    return [
        {"text": r.text, "value": None if r.value is None else round(r.value, 3), "status": r.status and r.status.value}
        for r in results
    ]
