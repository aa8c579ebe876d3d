"""Penalties of a request's objectives on a plan's dose voxels, for every modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription

from radiarch_worker.model import BoolVolume, Grid, Patient
from radiarch_worker.optimization import DoseTerm, MetricTerm

from .geometry import sample_share
from .structures import find_structure

PARTLY = 0.2
"""Share of a dose voxel that has to lie in a target."""


class Job(Protocol):
    """What of a job is looked at."""

    @property
    def patient(self) -> Patient: ...
    @property
    def prescription(self) -> Prescription: ...
    @property
    def structures(self) -> Mapping[str, StructureRef]: ...


class Planned(Protocol):
    """What of a modality's setup is looked at."""

    @property
    def job(self) -> Job: ...
    @property
    def dose_grid(self) -> Grid: ...
    def on(self, mask: BoolVolume, grid: Grid) -> BoolVolume:
        """A structure's mask on a dose grid."""


class DoseRows(Protocol):
    """Where the dose vector has the voxels of the dose grid."""

    def rows(self, mask: BoolVolume) -> npt.NDArray[np.intp]:
        """Rows of the voxels of a mask on the dose grid."""


def require_objectives(setup: Planned, objectives: Sequence[Objective]) -> None:
    """Refuse objectives of which none is left for this patient: there would be nothing to optimize.

    Raises
    ------
    InputRefusedError
        ``empty_structure``
    """
    masks, _ = _objective_masks(setup.job, objectives)
    if any(setup.on(mask, setup.dose_grid).any() for mask in masks.values()):
        return
    names = ", ".join(dict.fromkeys(repr(o.structure) for o in objectives))
    raise InputRefusedError(
        f"none of the structures with objectives ({names}) is in this patient and holds a voxel centre of the dose "
        f"grid, which has {' × '.join(f'{s:g}' for s in setup.dose_grid.spacing_mm)} mm",
        remedy="Give an objective on the target, or ask for a finer scoring_spacing_mm.",
        code=ErrorCode.EMPTY_STRUCTURE,
    )


def objective_terms(
    setup: Planned, voxels: DoseRows, objectives: Sequence[Objective]
) -> tuple[list[DoseTerm], list[str]]:
    """Penalties of objectives, and notes on those that were left out."""
    masks, notes = _objective_masks(setup.job, objectives)
    terms: list[DoseTerm] = []
    for objective in objectives:
        if objective.structure not in masks:
            continue
        rows = voxels.rows(_voxels(setup, objective, masks[objective.structure]))
        if not len(rows):
            notes.append(
                f"{objective.structure} holds no voxel centre of the dose grid: its objectives were left out; a finer "
                "scoring_spacing_mm takes them in."
            )
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


def _voxels(setup: Planned, objective: Objective, mask: BoolVolume) -> BoolVolume:
    """The dose voxels that an objective looks at: those whose centre is in the structure.

    For a target's least dose also those that are partly in it: its DVH is the structure's, and dose falls at its end.
    """
    grid = setup.dose_grid
    inside = setup.on(mask, grid)
    least = objective.metric in (ObjectiveMetric.DMIN, ObjectiveMetric.DVH_MIN)
    if not least or objective.structure not in {t.target for t in setup.job.prescription.targets}:
        return inside
    return inside | (sample_share(mask, setup.job.patient.ct.grid, grid) >= PARTLY)


def _objective_masks(job: Job, objectives: Sequence[Objective]) -> tuple[dict[str, BoolVolume], list[str]]:
    masks: dict[str, BoolVolume] = {}
    notes = []
    for name in dict.fromkeys(o.structure for o in objectives):
        structure = find_structure(job.patient, job.structures, name)
        if structure is None or not structure.mask.any():
            notes.append(f"The patient has no structure {name}: its objectives were left out.")
        else:
            masks[name] = structure.mask
    return masks, notes
