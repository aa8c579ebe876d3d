"""Density overrides: what a structure is counted as, instead of what its CT numbers say (metal, bolus, a couch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import DensityOverride

from radiarch_worker.engines.mcsquare import Calibration
from radiarch_worker.model import Patient

from .structures import find_structure


def override_densities(
    patient: Patient,
    structures: Mapping[str, StructureRef],
    overrides: Sequence[DensityOverride],
    calibration: Calibration,
) -> Patient:
    """The patient with other CT numbers inside of some structures, and notes that say so.

    Overrides count in their order: where structures overlap, the later one does.

    Raises
    ------
    InvalidRequestError
        Where the calibration does not reach the value.
    """
    hu, outline = patient.ct.hu.copy(), patient.body.mask.copy()
    touched = np.zeros_like(outline)
    notes: list[str] = []
    for override in overrides:
        name = override.structure
        structure = find_structure(patient, structures, name)
        if structure is None or not structure.mask.any():
            notes.append(f"The patient has no structure {name}: its density override was left out.")
            continue
        value = _hu(override, calibration)
        mask = structure.mask
        if override.extend_body:
            outline |= mask
        inside = mask & outline
        left_out_cc = int(np.count_nonzero(mask & ~outline)) * patient.ct.grid.voxel_cc
        before = patient.ct.hu[mask]
        hu[mask] = value
        notes.append(
            f"Density override: {np.count_nonzero(inside) * patient.ct.grid.voxel_cc:.1f} cc of {name} count as "
            f"{value:.0f} HU, {calibration.density_g_cm3(value):.3f} g/cm³ by calibration {calibration.name} "
            f"(the CT has {before.min():.0f} to {before.max():.0f} HU there)"
            + (", and belong to the patient's outline." if override.extend_body else ".")
        )
        if left_out_cc:
            notes.append(
                f"{left_out_cc:.1f} cc of {name} lie outside {patient.body.name} and count as air; "
                "extend_body: true would take them in."
            )
        if (touched & mask).any():
            notes.append(f"{name} overlaps structures whose density was overridden before it: there it counts.")
        touched |= mask
    body = patient.body
    if (outline & ~body.mask).any():
        body = replace(body, mask=outline)
    return replace(patient, ct=replace(patient.ct, hu=hu), body=body, notes=(*patient.notes, *notes))


def _hu(override: DensityOverride, calibration: Calibration) -> float:
    if override.density_g_cm3 is not None:
        low, high = calibration.density[0, 1], calibration.density[:, 1].max()
        if not low <= override.density_g_cm3 <= high:
            raise _beyond(override, f"{override.density_g_cm3:g} g/cm³", f"{low:.4g} to {high:.4g} g/cm³", calibration)
        return calibration.hu_of_density(override.density_g_cm3)
    assert override.hu is not None
    if not calibration.hu_min <= override.hu <= calibration.hu_max:
        reach = f"{calibration.hu_min:g} to {calibration.hu_max:g} HU"
        raise _beyond(override, f"{override.hu:g} HU", reach, calibration)
    return override.hu


def _beyond(override: DensityOverride, asked: str, reach: str, calibration: Calibration) -> InvalidRequestError:
    return InvalidRequestError(
        f"override of {override.structure!r} asks for {asked}; calibration {calibration.name} goes from {reach}",
        remedy="Give a value within the calibration, or choose a calibration that reaches it.",
        code=ErrorCode.HU_OUT_OF_CALIBRATION,
        structure=override.structure,
    )
