"""Checks of targets before anything is computed: that the dose grid sees each, and which others are not treated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from radiarch_contract.derived import leaves
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.structures import StructureRef, looks_like_target
from radiarch_contract.workflows import Prescription

from radiarch_worker.model import BoolVolume, Grid, Patient, Structure

from .geometry import ScoringLattice, sample_mask
from .structures import find_structure

LEAST_SPACING_MM = 1.0
"""Of a dose grid, as `ProtonParameters.scoring_spacing_mm` has it."""
CONTAINED = 0.98
"""Share of a structure inside of the planned targets from which it is treated with them."""
MAX_LISTED = 20


def require_dose_voxels(targets: Sequence[Structure], ct: Grid, dose_grid: Grid, body: BoolVolume) -> None:
    """Refuse targets that lie between the dose grid's voxel centres: nothing could be optimised in them.

    Raises
    ------
    InputRefusedError
        ``target_without_dose_voxels``, with the coarsest spacing that would do.
    """
    for target in targets:
        if sample_mask(target.mask, ct, dose_grid).any():
            continue
        spacing = " × ".join(f"{s:g}" for s in dose_grid.spacing_mm)
        volume_cc = float(np.count_nonzero(target.mask)) * ct.voxel_cc
        finer = next(_spacings_that_see(target, ct, dose_grid, body), None)
        raise InputRefusedError(
            f"target {target.name!r} (ROI {target.roi_number}, {volume_cc:.2g} cc) holds no voxel centre of the dose "
            f"grid, which has {spacing} mm",
            remedy=f"Ask for scoring_spacing_mm {finer:g}."
            if finer is not None
            else f"Check the target's contours: it is smaller than a dose grid of {LEAST_SPACING_MM:g} mm can see.",
            code=ErrorCode.TARGET_WITHOUT_DOSE_VOXELS,
            roi_number=target.roi_number,
            roi_name=target.name,
            volume_cc=round(volume_cc, 4),
            dose_grid_mm=list(dose_grid.spacing_mm),
            scoring_spacing_mm=finer,
        )


def _spacings_that_see(target: Structure, ct: Grid, dose_grid: Grid, body: BoolVolume) -> Iterator[float]:
    """Wanted spacings, from coarse to fine, with which a dose grid has a voxel in the target."""
    spacing_mm = np.ceil(2 * max(dose_grid.spacing_mm)) / 2 - 0.5
    while spacing_mm >= LEAST_SPACING_MM:
        grid = ScoringLattice.of(ct, float(spacing_mm), body).grid(body)
        if sample_mask(target.mask, ct, grid).any():
            yield float(spacing_mm)
        spacing_mm -= 0.5


def untreated_notes(
    patient: Patient,
    prescription: Prescription,
    structures: Mapping[str, StructureRef],
    definitions: Mapping[str, str],
) -> tuple[str, ...]:
    """A note that names what looks like a target and is not treated; nothing where there is no such structure.

    What lies within the planned targets is treated with them, and what a derived target is made of is its part.
    """
    names = [t.target for t in prescription.targets]
    found = (find_structure(patient, structures, name) for name in (*names, *leaves(names, definitions)))
    planned = {s.roi_number: s for s in found if s is not None}
    treated = np.zeros_like(patient.body.mask)
    for name in names:
        target = find_structure(patient, structures, name)
        if target is not None:
            treated |= target.mask
    untreated: list[str] = []
    for structure in patient.structures.values():
        derived = structure.definition is not None
        if (
            derived
            or structure.roi_number in planned
            or not looks_like_target(structure.name, structure.interpreted_type)
        ):
            continue
        voxels = int(np.count_nonzero(structure.mask))
        inside = int(np.count_nonzero(structure.mask & treated))
        if voxels and inside < CONTAINED * voxels:
            outside = 100.0 * (1 - inside / voxels)
            size = f"{voxels * patient.ct.grid.voxel_cc:.3g} cc, {outside:.0f} % of it outside of the planned targets"
            untreated.append(f"{structure.name!r} (ROI {structure.roi_number}, {size})")
    if not untreated:
        return ()
    listed = "; ".join(untreated[:MAX_LISTED]) + (
        f"; and {len(untreated) - MAX_LISTED} more" if len(untreated) > MAX_LISTED else ""
    )
    return (f"Not treated by this plan, though they look like targets by name or interpreted type: {listed}.",)
