"""The IMPT workflows: which voxels count and which penalties are put on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.workflows import ImptOptimizedParameters

from radiarch_worker.model import BoolVolume, Grid, PlanResult
from radiarch_worker.optimization import DoseTerm, FallOffTerm, MetricTerm

from .geometry import distance_mm
from .proton import Beamlets, ProtonJob, Setup, compute_beamlets, find_meterset, finish, set_up
from .structures import find_structure

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
    """`proton-impt-optimized`: the objectives as given."""
    assert isinstance(job.parameters, ImptOptimizedParameters)
    setup = set_up(job)
    beamlets = compute_beamlets(setup)
    terms, notes = objective_terms(setup, beamlets, job.parameters.objectives)
    return _solve_and_finish(setup, beamlets, terms, notes)


def basic_terms(setup: Setup, beamlets: Beamlets) -> list[DoseTerm]:
    """Penalties of the basic workflow."""
    job, grid = setup.job, setup.dose_grid
    prescribed = job.prescription.dose_gy
    near = distance_mm(setup.target.mask, job.patient.ct.grid.spacing_mm, FALL_OFF_MM)
    target = setup.on(setup.target.mask, grid)
    outside = setup.on((near <= FALL_OFF_MM) & job.patient.body.mask, grid) & ~target
    terms: list[DoseTerm] = [
        MetricTerm(
            job.prescription.target,
            beamlets.rows(target),
            ObjectiveMetric.DUNIFORM,
            prescribed,
            None,
            _UNIFORM_WEIGHT,
        ),
    ]
    if outside.any():
        distance = _sampled_distance(setup, near, grid).ravel()[np.flatnonzero(outside)]
        share = np.clip(1 - (1 - FALL_OFF_FRACTION) * distance / FALL_OFF_MM, FALL_OFF_FRACTION, 1.0)
        limit_gy = (prescribed * share).astype(np.float32)
        terms.append(FallOffTerm("fall-off", beamlets.rows(outside), limit_gy, _FALL_OFF_WEIGHT))
    return terms


def objective_terms(
    setup: Setup, beamlets: Beamlets, objectives: Sequence[Objective]
) -> tuple[list[DoseTerm], list[str]]:
    """Penalties of objectives, and notes on those that were left out."""
    masks, notes = _objective_masks(setup.job, objectives)
    terms: list[DoseTerm] = []
    for objective in objectives:
        if objective.structure not in masks:
            continue
        rows = beamlets.rows(setup.on(masks[objective.structure], setup.dose_grid))
        if not len(rows):
            notes.append(f"{objective.structure} holds no voxel of the dose grid: its objectives were left out.")
            continue
        terms.append(
            MetricTerm(
                objective.structure,
                rows,
                objective.metric,
                objective.dose_gy,
                objective.volume_percent,
                objective.weight,
            )
        )
    return terms, notes


def _objective_masks(job: ProtonJob, objectives: Sequence[Objective]) -> tuple[dict[str, BoolVolume], list[str]]:
    masks: dict[str, BoolVolume] = {}
    notes = []
    for name in dict.fromkeys(o.structure for o in objectives):
        structure = find_structure(job.patient, job.structures, name)
        if structure is None or not structure.mask.any():
            notes.append(f"The patient has no structure {name}: its objectives were left out.")
        else:
            masks[name] = structure.mask
    return masks, notes


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
