"""The IMPT workflows: which voxels count and which penalties are put on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.workflows import ImptOptimizedParameters

from radiarch_worker.engines.mcsquare import BeamletResult
from radiarch_worker.model import BoolVolume, Grid, PlanResult
from radiarch_worker.optimization import DoseTerm, FallOffTerm, MetricTerm

from .geometry import distance_mm
from .proton import ProtonJob, Setup, beamlets, find_meterset, finish, set_up
from .structures import find_structure

_TARGET_MARGIN_MM = 15.0
"""Voxels around the target that the optimiser sees at least."""
FALL_OFF_MM = 30.0
"""Dose outside the target falls from the prescription to `FALL_OFF_FRACTION` of it over this distance."""
FALL_OFF_FRACTION = 0.4
_UNIFORM_WEIGHT = 100.0
_FALL_OFF_WEIGHT = 30.0


@dataclass(frozen=True)
class _Voxels:
    """The voxels that the optimiser sees, and rows for structures among them."""

    grid: Grid
    wanted: BoolVolume
    row_of: npt.NDArray[np.int64]

    def rows(self, mask: BoolVolume) -> npt.NDArray[np.intp]:
        found = self.row_of[np.flatnonzero(mask)]
        return found[found >= 0].astype(np.intp)


def plan_basic(job: ProtonJob) -> PlanResult:
    """`proton-impt-basic`: a uniform target, and dose outside of it that falls off with distance."""
    setup = set_up(job)
    prescribed = job.prescription.dose_gy
    near = distance_mm(setup.target.mask, job.patient.ct.grid.spacing_mm, FALL_OFF_MM + _TARGET_MARGIN_MM)
    seen = (near <= FALL_OFF_MM) & job.patient.body.mask | setup.target.mask
    grid = setup.lattice.grid(seen)
    wanted = setup.on(seen, grid)
    result = beamlets(setup, grid, wanted)
    voxels = _Voxels(grid, wanted, _row_of(result.voxels, wanted.size))
    target_rows = voxels.rows(setup.on(setup.target.mask, grid))
    outside = wanted & ~setup.on(setup.target.mask, grid)
    outside_rows = voxels.rows(outside)
    distance = _sampled_distance(setup, near, grid)[outside]
    share = np.clip(1 - (1 - FALL_OFF_FRACTION) * distance / FALL_OFF_MM, FALL_OFF_FRACTION, 1.0)
    limit = np.empty(len(outside_rows), dtype=np.float32)
    limit[:] = prescribed * share
    terms: list[DoseTerm] = [
        MetricTerm(job.prescription.target, target_rows, ObjectiveMetric.DUNIFORM, prescribed, None, _UNIFORM_WEIGHT),
    ]
    if len(outside_rows):
        terms.append(FallOffTerm("fall-off", outside_rows, limit, _FALL_OFF_WEIGHT))
    return _solve_and_finish(setup, result, terms, target_rows, [])


def plan_optimized(job: ProtonJob) -> PlanResult:
    """`proton-impt-optimized`: the objectives as given."""
    assert isinstance(job.parameters, ImptOptimizedParameters)
    setup = set_up(job)
    masks, notes = _objective_masks(job, job.parameters.objectives)
    near = distance_mm(setup.target.mask, job.patient.ct.grid.spacing_mm, _TARGET_MARGIN_MM) <= _TARGET_MARGIN_MM
    seen = near & job.patient.body.mask | setup.target.mask
    for mask in masks.values():
        seen = seen | mask
    grid = setup.lattice.grid(seen)
    wanted = setup.on(setup.target.mask, grid)
    for mask in masks.values():
        wanted = wanted | setup.on(mask, grid)
    result = beamlets(setup, grid, wanted)
    voxels = _Voxels(grid, wanted, _row_of(result.voxels, wanted.size))
    target_rows = voxels.rows(setup.on(setup.target.mask, grid))
    terms: list[DoseTerm] = []
    for objective in job.parameters.objectives:
        if objective.structure not in masks:
            continue
        rows = voxels.rows(setup.on(masks[objective.structure], grid))
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
    return _solve_and_finish(setup, result, terms, target_rows, notes)


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


def _row_of(voxels: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    row_of = np.full(size, -1, dtype=np.int64)
    row_of[voxels] = np.arange(len(voxels))
    return row_of


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


def _solve_and_finish(
    setup: Setup,
    result: BeamletResult,
    terms: Sequence[DoseTerm],
    target_rows: npt.NDArray[np.intp],
    notes: Sequence[str],
) -> PlanResult:
    solution = find_meterset(setup, result, terms, target_rows)
    return finish(
        setup,
        solution.weights,
        notes=notes,
        solver_trace=solution.trace,
        provenance={
            "beamlet_primaries": result.primaries,
            "beamlet_parts": result.parts,
            "method": setup.job.parameters.method,
            "iterations": solution.iterations,
            "objective": solution.objective,
            "spots_removed": solution.removed,
        },
    )
