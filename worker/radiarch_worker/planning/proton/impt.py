"""The IMPT workflows: which voxels count and which penalties are put on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from radiarch_contract.objectives import ObjectiveMetric
from radiarch_contract.workflows import ImptOptimizedParameters

from radiarch_worker.model import Grid, PlanResult
from radiarch_worker.optimization import DoseTerm, FallOffTerm, MetricTerm
from radiarch_worker.planning.geometry import distance_mm
from radiarch_worker.planning.objectives import objective_terms, require_objectives

from .goal_tuning import GoalTuner
from .steps import Beamlets, ProtonJob, Setup, compute_beamlets, find_meterset, finish, set_up

FALL_OFF_MM = 30.0
"""Dose outside the target falls from the prescription to `FALL_OFF_FRACTION` of it over this distance."""
FALL_OFF_FRACTION = 0.4
_UNIFORM_WEIGHT = 100.0
_FALL_OFF_WEIGHT = 30.0


def plan_basic(job: ProtonJob) -> PlanResult:
    """`proton-impt-basic`: a uniform target, and dose outside of it that falls off with distance."""
    setup = set_up(job)
    beamlets = compute_beamlets(setup)
    return _solve_and_finish(setup, beamlets, basic_terms(setup, beamlets), [])


def plan_optimized(job: ProtonJob) -> PlanResult:
    """`proton-impt-optimized`: the objectives as given, or tuned to goals."""
    assert isinstance(job.parameters, ImptOptimizedParameters)
    setup = set_up(job)
    require_objectives(setup, job.parameters.objectives)
    beamlets = compute_beamlets(setup)
    tuning = job.parameters.tuning
    if tuning is not None and job.goals:
        return GoalTuner(setup, beamlets, tuning, objective_terms).run(job.parameters.objectives)
    terms, notes = objective_terms(setup, beamlets, job.parameters.objectives)
    if tuning is not None:
        notes.append("There are no goals to tune to: the objectives stayed as written.")
    return _solve_and_finish(setup, beamlets, terms, notes)


def basic_terms(setup: Setup, beamlets: Beamlets) -> list[DoseTerm]:
    """Penalties of the basic workflow: voxels of several targets belong to the one with the highest dose.

    Outside of them the limit is the highest that any target allows at its distance.
    """
    job, grid = setup.job, setup.dose_grid
    terms: list[DoseTerm] = []
    limit_gy = np.zeros(grid.shape, dtype=np.float32)
    taken = np.zeros(grid.shape, dtype=np.bool_)
    prescribed = sorted(zip(setup.targets, job.prescription.targets, strict=True), key=lambda t: -t[1].dose_gy)
    for structure, target in prescribed:
        mask = setup.on(structure.mask, grid)
        near = distance_mm(structure.mask, job.patient.ct.grid.spacing_mm, FALL_OFF_MM)
        distance = _sampled_distance(setup, near, grid)
        share = np.clip(1 - (1 - FALL_OFF_FRACTION) * distance / FALL_OFF_MM, FALL_OFF_FRACTION, 1.0)
        allowed = np.where(distance <= FALL_OFF_MM, np.float32(target.dose_gy) * share, np.float32(0))
        np.maximum(limit_gy, allowed, out=limit_gy)
        rows = beamlets.rows(mask & ~taken)
        taken |= mask
        if len(rows):
            dose_gy, metric = target.dose_gy, ObjectiveMetric.DUNIFORM
            terms.append(MetricTerm(target.target, rows, metric, dose_gy, None, _UNIFORM_WEIGHT))
    outside = (limit_gy > 0) & setup.on(job.patient.body.mask, grid) & ~taken
    if outside.any():
        terms.append(FallOffTerm("fall-off", beamlets.rows(outside), limit_gy[outside], _FALL_OFF_WEIGHT))
    return terms


def _sampled_distance(setup: Setup, distance: npt.NDArray[np.float32], grid: Grid) -> npt.NDArray[np.float32]:
    ct = setup.job.patient.ct.grid
    index = [
        np.clip(
            np.rint((grid.axis_mm(axis) - ct.origin_mm[axis]) / ct.spacing_mm[axis]).astype(int),
            0,
            ct.shape[2 - axis] - 1,
        )
        for axis in (2, 1, 0)
    ]
    return distance[np.ix_(*index)]


def _solve_and_finish(setup: Setup, beamlets: Beamlets, terms: Sequence[DoseTerm], notes: Sequence[str]) -> PlanResult:
    solution = find_meterset(setup, beamlets, terms)
    return finish(
        setup,
        solution.weights,
        notes=notes,
        solver_trace=solution.trace,
        provenance={
            **beamlets.provenance,
            "method": setup.job.parameters.method,
            "iterations": solution.iterations,
            "objective": solution.objective,
            "spots_removed": solution.removed,
        },
    )
