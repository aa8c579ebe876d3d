"""Densities other than the CT's: what a structure is counted as (metal, bolus, a couch), and what notes say of it.

What is said by a protocol or request comes after, and so over, what the structure set says (`materials`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import DensityOverride

from radiarch_worker.engines.mcsquare import Calibration
from radiarch_worker.engines.mcsquare.ct import HU_ABSURD
from radiarch_worker.engines.mcsquare.metals import METAL_HU, metal_of
from radiarch_worker.model import BoolVolume, Patient
from radiarch_worker.patient.materials import BOLUS

from .materials import Counted, stated_materials, title
from .structures import find_structure


def override_densities(
    patient: Patient,
    structures: Mapping[str, StructureRef],
    overrides: Sequence[DensityOverride],
    calibration: Calibration,
) -> Patient:
    """The patient with other CT numbers inside of some structures, and notes that say so.

    First what the structure set says of its ROIs counts, then overrides in their order: where structures overlap, the
    later one does. A bolus belongs to the patient's outline.

    Raises
    ------
    InvalidRequestError
        Where the calibration does not reach the value of an override.
    InputRefusedError
        Where it does not reach what the structure set says, or what a bolus consists of is not known.
    """
    calibration = calibration.with_metals()
    asked, notes = _asked(patient, structures, overrides, calibration)
    overridden = {c.structure.roi_number for c in asked}
    stated, said = stated_materials(patient, calibration, overridden)
    counting = _Counting(patient, calibration, notes)
    for counted in (*stated, *asked):
        counting.add(counted)
    counting.notes += said
    return counting.result()


def _asked(
    patient: Patient,
    structures: Mapping[str, StructureRef],
    overrides: Sequence[DensityOverride],
    calibration: Calibration,
) -> tuple[list[Counted], list[str]]:
    found, notes = [], []
    for override in overrides:
        structure = find_structure(patient, structures, override.structure)
        if structure is None or not structure.mask.any():
            notes.append(f"The patient has no structure {override.structure}: its density override was left out.")
            continue
        extend_body = override.extend_body or structure.interpreted_type == BOLUS
        found.append(Counted(structure, _hu(override, calibration), extend_body, "Density override"))
    return found, notes


@dataclass
class _Counting:
    """The CT and the outline while structures are counted, one after the other."""

    patient: Patient
    calibration: Calibration
    notes: list[str]
    touched: BoolVolume = field(init=False)

    def __post_init__(self) -> None:
        # What no CT has stands for metals from here on.
        self.hu = np.minimum(self.patient.ct.hu, np.float32(HU_ABSURD + 1))
        self.outline = self.patient.body.mask.copy()
        self.touched = np.zeros_like(self.outline)

    def add(self, counted: Counted) -> None:
        structure, mask = counted.structure, counted.structure.mask
        patient, voxel_cc = self.patient, self.patient.ct.grid.voxel_cc
        added_cc = 0.0
        if counted.extend_body:
            added_cc = int(np.count_nonzero(mask & ~self.outline)) * voxel_cc
            self.outline |= mask
        before = patient.ct.hu[mask]
        seen = f"the CT has {before.min():.0f} to {before.max():.0f} HU there"
        inside_cc = int(np.count_nonzero(mask & self.outline)) * voxel_cc
        as_what = f"as the CT has it ({seen})" if counted.hu is None else f"{self._words(counted.hu)} ({seen})"
        added = f"; {added_cc:.1f} cc of it lay outside and belong to the patient's outline" if added_cc else ""
        self.notes.append(f"{counted.why}: {inside_cc:.1f} cc of {title(structure)} count {as_what}{added}.")
        left_out_cc = int(np.count_nonzero(mask & ~self.outline)) * voxel_cc
        if left_out_cc:
            self.notes.append(
                f"{left_out_cc:.1f} cc of {structure.name} lie outside {patient.body.name} and count as air; "
                "extend_body: true would take them in."
            )
        if counted.hu is None:
            return
        self.hu[mask] = counted.hu
        if (self.touched & mask).any():
            self.notes.append(
                f"{structure.name} overlaps structures whose density was overridden before it: there it counts."
            )
        self.touched |= mask

    def result(self) -> Patient:
        patient, body = self.patient, self.patient.body
        if (self.outline & ~body.mask).any():
            body = replace(body, mask=self.outline)
        ct = patient.ct
        if self.touched.any():
            ct = replace(ct, hu=self.hu, has_metals=bool((self.hu >= METAL_HU).any()))
        return replace(patient, ct=ct, body=body, notes=(*patient.notes, *self.notes))

    def _words(self, hu: float) -> str:
        calibration = self.calibration
        rsp = float(calibration.stopping_power(np.full((1, 1, 1), hu, dtype=np.float32))[0, 0, 0])
        density = f"{calibration.density_g_cm3(hu):.3f} g/cm³, relative stopping power {rsp:.3f}"
        if hu >= METAL_HU:
            return f"as {metal_of(hu)} of {density}"
        return f"as {hu:.0f} HU, {density} by calibration {calibration.name}"


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
