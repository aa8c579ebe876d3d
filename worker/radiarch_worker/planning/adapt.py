"""Adapted plans: objectives tuned on the beamlets, checked by the final dose, corrected by it; rules are `tuning`'s.

Beamlets are noisy and the optimiser finds their noise: the dose that is computed in the end is less even. Where it
misses goals, what it differs by from the beamlets' dose is added to them, as far as that is not the final dose's own
noise, and tuning goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.objectives import Objective
from radiarch_contract.states import GoalStatus, Stage
from radiarch_contract.workflows import Adaptation

from radiarch_worker.evaluation.goals import Judged, judge
from radiarch_worker.evaluation.sampling import covers, sample
from radiarch_worker.model import Dose, PlanResult, Structure
from radiarch_worker.optimization import DoseTerm, Problem, make_problem, optimize

from . import normalise
from .proton import RBE, Beamlets, FinalDose, Setup, conclude, deliver, uniform_start
from .structures import find_structure
from .tuning import Aim, Round, Tuned, better, made_from, score, serves, tune

Terms = Callable[[Setup, Beamlets, Sequence[Objective]], tuple[list[DoseTerm], list[str]]]

_CHECKS = 2
"""Final doses that are computed at most; each after the first follows tuning with what the one before corrected."""
_HELD = 0.99
"""Share of a structure that another has to have in it to hold it."""
_WORSE_POINTS = 0.2


@dataclass(frozen=True)
class CorrectedTerm:
    """A penalty on a dose to which something is added.

    Attributes
    ----------
    added_gy : for each of the term's rows
    """

    term: DoseTerm
    added_gy: npt.NDArray[np.float32]

    @property
    def name(self) -> str:
        return self.term.name

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        return self.term.rows

    def value_and_gradient(self, dose_gy: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any]]:
        return self.term.value_and_gradient(dose_gy + self.added_gy)

    def with_rows(self, rows: npt.NDArray[np.intp]) -> CorrectedTerm:
        return replace(self, term=self.term.with_rows(rows))


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


class Adapter:
    """One plan that is adapted: what it is tuned to, and its record."""

    def __init__(self, setup: Setup, beamlets: Beamlets, limits: Adaptation, terms: Terms) -> None:
        self._setup, self._beamlets, self._limits, self._terms = setup, beamlets, limits, terms
        job = setup.job
        self._judge = GoalJudge(setup, job.goals)
        self._all = Problem(beamlets.matrix, setup.gy_per_unit, (), threads=job.threads)
        self._added = np.zeros(beamlets.matrix.shape[0], dtype=np.float32)
        self.trace: list[Mapping[str, Any]] = []
        self.notes: list[str] = []
        self._written: tuple[Objective, ...] = ()
        self._aims: tuple[Aim, ...] = ()

    def run(self, objectives: Sequence[Objective]) -> PlanResult:
        """Tune, check, correct, tune; the plan whose final dose is best by priorities."""
        self._begin(objectives)
        reporter = self._setup.job.reporter
        state, weights = self._written, None
        delivered: list[tuple[FinalDose, dict[str, Any], list[str], tuple[GoalResult, ...], Round]] = []
        rounds_left = self._limits.max_rounds
        first: Round | None = None
        for check in range(1, _CHECKS + 1):
            reporter.stage(Stage.OPTIMIZING, f"adapting, at most {rounds_left} rounds")
            with self._setup.clock.stage(Stage.OPTIMIZING):
                tuned = tune(
                    self._solve,
                    lambda w: self._judge(self._dose(w)),
                    state,
                    self._written,
                    self._aims,
                    self._limits,
                    rounds=rounds_left,
                    start=weights,
                    on_round=self._record,
                )
            best = _best(tuned)
            first = first or tuned.rounds[0]
            final, normalised, said = deliver(self._setup, best.weights)
            results = self._judge(final.dose)
            delivered.append((final, normalised, said, results, best))
            self._record_check(check, results)
            rounds_left -= len(tuned.rounds)
            if not any(score(self._aims, results, 0.0)) or rounds_left < 1 or check == _CHECKS:
                break
            self._correct(best.weights, final)
            state, weights = best.objectives, best.weights
        assert first is not None  # a round is always made
        return self._conclude(delivered, first)

    def _begin(self, objectives: Sequence[Objective]) -> None:
        setup = self._setup
        prescription = setup.job.prescription
        written = list(objectives)
        weight = float(np.median([o.weight for o in objectives]))
        parsed = [Goal.parse(g) for g in setup.job.goals]
        for goal in parsed:
            prescribed_gy = prescription.dose_of_gy(goal.structure)
            if any(serves(o, goal, prescribed_gy, self._holds) for o in written):
                continue
            if self._mask(goal.structure) is None:
                continue
            made = made_from(goal, prescribed_gy, weight)
            if made is None:
                self.notes.append(f"No objective serves {goal.text}, and none can be made from it: it is not tuned to.")
            else:
                written.append(made)
                self.notes.append(f"No objective served {goal.text}: {_described(made)} was added.")
        self._written = tuple(written)
        self._aims = tuple(
            Aim(
                goal,
                gy := prescription.dose_of_gy(goal.structure),
                frozenset(i for i, o in enumerate(written) if serves(o, goal, gy, self._holds)),
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

        def tell(iteration: int, objective: float, by_name: Mapping[str, float]) -> None:
            setup.job.reporter.solver(done + iteration, objective, by_name)

        headroom = normalise.HEADROOM if parameters.normalisation else 1.0
        solution = optimize(
            problem,
            uniform_start(setup, self._beamlets) if start is None else start,
            least_weight=setup.spot_mu_min * headroom,
            # A round begins where the last one ended: a third of the iterations takes it to its new place.
            max_iterations=parameters.max_iterations if start is None else max(12, parameters.max_iterations // 3),
            method=parameters.method,
            on_iteration=tell,
        )
        self.trace += [{**t, "iteration": done + i, "round": number} for i, t in enumerate(solution.trace, start=1)]
        setup.job.reporter.progress(min(1.0, number / self._limits.max_rounds))
        return solution.weights

    def _rows_gy(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        return np.asarray(self._all.dose_gy(weights), dtype=np.float32)

    def _dose(self, weights: npt.NDArray[np.float64]) -> Dose:
        """The beamlets' dose with the correction."""
        grid = self._setup.dose_grid
        dose_gy = np.zeros(grid.shape, dtype=np.float32)
        dose_gy.ravel()[self._beamlets.result.voxels] = np.maximum(self._rows_gy(weights) + self._added, 0)
        return Dose(dose_gy, grid, RBE)

    def _correct(self, weights: npt.NDArray[np.float64], final: FinalDose) -> None:
        """What the final dose has more than the beamlets, weighed by how much of it is not its own noise."""
        setup = self._setup
        difference = final.dose.dose_gy.ravel()[self._beamlets.result.voxels] - self._rows_gy(final.weights_mu)
        rows = self._beamlets.rows(setup.on(setup.target.mask, setup.dose_grid))
        level_gy = float(final.dose.dose_gy.ravel()[self._beamlets.result.voxels][rows].mean())
        noise_gy = final.result.uncertainty_percent / 100 * level_gy
        spread_gy = float(difference[rows].std())
        share = min(max(1 - (noise_gy / max(spread_gy, 1e-9)) ** 2, 0.1), 1.0)
        self._added = (share * difference).astype(np.float32)
        setup.job.reporter.log(
            f"final dose differs from the beamlets by {spread_gy:.2f} Gy in the target (its own noise {noise_gy:.2f} "
            f"Gy): {100 * share:.0f} % of the difference is taken into account"
        )

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

    def _record_check(self, check: int, results: Sequence[GoalResult]) -> None:
        self._attach({"check": check, "of": "final dose", "goals": _values(results)})
        met = sum(r.status is GoalStatus.MET for r in results)
        self._setup.job.reporter.log(f"final dose {check}: {met} of {len(results)} goals met")

    def _attach(self, record: Mapping[str, Any]) -> None:
        """A step is told with the solver's last iteration before it."""
        last = self.trace[-1]
        self.trace[-1] = {**last, "adapt": [*last.get("adapt", ()), dict(record)]}

    def _conclude(
        self,
        delivered: Sequence[tuple[FinalDose, dict[str, Any], list[str], tuple[GoalResult, ...], Round]],
        first: Round,
    ) -> PlanResult:
        chosen = delivered[0]
        for other in delivered[1:]:
            if better(score(self._aims, other[3], 0.0), score(self._aims, chosen[3], 0.0)):
                chosen = other
        final, normalised, said, results, best = chosen
        parameters = self._setup.job.parameters
        return conclude(
            self._setup,
            final,
            provenance={
                **self._beamlets.provenance,
                **normalised,
                "method": parameters.method,
                "iterations": len(self.trace),
                "adapt_rounds": sum(1 for t in self.trace for a in t.get("adapt", ()) if "round" in a),
                "adapt_checks": len(delivered),
                "objectives": [_described(o) for o in best.objectives],
            },
            notes=[*self.notes, *self._told(first, best, results), *said],
            solver_trace=self.trace,
        )

    def _told(self, first: Round, best: Round, results: Sequence[GoalResult]) -> list[str]:
        """What adapting did, and at whose cost."""
        before = sum(r.status is GoalStatus.MET for r in first.results)
        after = sum(r.status is GoalStatus.MET for r in results)
        moved = [
            f"{_described(a)} → dose {b.dose_gy:.4g} Gy, weight {b.weight:.3g}"
            for a, b in zip(self._written, best.objectives, strict=True)
            if a != b
        ]
        told = [
            f"Adapted: {after} of {len(results)} goals met in the final dose, {before} on the beamlets with the "
            "objectives as written."
        ]
        if moved:
            told.append(f"Objectives were tuned: {'; '.join(moved)}.")
        worse = [
            f"{a.goal.text}: {_value(r0)} → {_value(r1)}"
            for a, r0, r1 in zip(self._aims, first.results, results, strict=True)
            if a.shortfall(r1.value) - a.shortfall(r0.value) > _WORSE_POINTS
        ]
        if worse and moved:
            told.append(f"What gave way: {'; '.join(worse)}.")
        missed = [f"{r.text}: {_value(r)}" for r in results if r.status in (GoalStatus.NEAR, GoalStatus.MISSED)]
        if missed:
            told.append(f"No more could be had within the limits: {'; '.join(missed)}.")
        return told


def _best(tuned: Tuned) -> Round:
    assert tuned.best is not None  # a round is always made
    return tuned.best


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
