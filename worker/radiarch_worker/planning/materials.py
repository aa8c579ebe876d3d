"""What ROIs count as in the dose by what the structure set itself says of them: densities, boluses, couches.

What a protocol or request says of a ROI wins; that, and how it is put into the CT, lives in `overrides`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.engines.mcsquare import Calibration
from radiarch_worker.model import BoolVolume, Patient, Structure
from radiarch_worker.patient.materials import BOLUS, DENSITY_TERMS, DEVICES, stated_density

_AIR_LIKE_HU = -300.0
"""Below this there is no bolus in the CT: gels and wax have more than -200 HU."""
_MAX_AIR = 0.5
"""Of a bolus without a density: if more of it is air, it is not in the CT."""
_PROPERTIES = "(3006,00B0) ROI Physical Properties Sequence"
_LISTED = 10


@dataclass(frozen=True)
class Counted:
    """A structure that counts with another density than the CT's, or belongs to the patient's outline.

    Attributes
    ----------
    hu : what its voxels count as; None: as the CT has them
    extend_body : whether it belongs to the outline where it lies outside
    why : who says so, as a note begins
    """

    structure: Structure
    hu: float | None
    extend_body: bool
    why: str


def title(structure: Structure) -> str:
    """How notes call a structure: ``'Bolus' (ROI 7, type BOLUS)``."""
    kind = f", type {structure.interpreted_type}" if structure.interpreted_type else ""
    return f"{structure.name!r} (ROI {structure.roi_number}{kind})"


def states_material(patient: Patient) -> bool:
    """Whether the structure set says anything of this kind."""
    return any(
        s.properties or s.interpreted_type == BOLUS or s.interpreted_type in DEVICES
        for s in patient.structures.values()
    )


def stated_materials(
    patient: Patient, calibration: Calibration, overridden: Collection[int]
) -> tuple[list[Counted], list[str]]:
    """ROIs that count as the structure set says, by rising number, and notes on what is not used.

    Parameters
    ----------
    calibration : with metals
    overridden : numbers of the ROIs whose density is overridden, which counts instead

    Raises
    ------
    InputRefusedError
        ``hu_out_of_calibration`` for a density that no material has; ``incomplete_structure`` for a bolus of which
        it is not known what it consists of.
    """
    found: list[Counted] = []
    notes: list[str] = []
    unused: list[str] = []
    for number, structure in sorted(patient.structures.items()):
        term = stated_density(structure.properties)
        others = {t: v for t, v in structure.properties.items() if t != term}
        used = None
        if term is not None:
            value = structure.properties[term]
            said = f"{title(structure)} {term} {value:g}"
            if number in overridden:
                unused.append(f"{said} (its density is overridden)")
            elif number == patient.body.roi_number or structure.interpreted_type == "EXTERNAL":
                unused.append(f"{said} (it would make the whole patient alike; an override can)")
            elif structure.interpreted_type in DEVICES:
                unused.append(f"{said} (a device: outside of the patient it is not in the dose)")
            else:
                used = Counted(
                    structure,
                    hu=_hu(structure, term, value, calibration),
                    extend_body=structure.interpreted_type == BOLUS,
                    why=f"By the structure set ({DENSITY_TERMS[term]} {value:g}, {term} in {_PROPERTIES})",
                )
                found.append(used)
        unused += [f"{title(structure)} {t} {v:g}" for t, v in others.items()]
        if number in overridden:
            continue
        if structure.interpreted_type == BOLUS and used is None:
            _check_in_ct(patient, structure)
            found.append(Counted(structure, None, True, "By its type"))
        elif structure.interpreted_type in DEVICES:
            notes += _device(patient, structure)
    if unused:
        more = f" and {len(unused) - _LISTED} more" if len(unused) > _LISTED else ""
        notes.append(f"Not used of {_PROPERTIES}: {'; '.join(unused[:_LISTED])}{more}.")
    return found, notes


def _hu(structure: Structure, term: str, value: float, calibration: Calibration) -> float:
    most = {
        "REL_STOP_RATIO": float(calibration.rsp.max()),
        "REL_STOP_PWR_RATIO": float(calibration.rsp.max()),
        "REL_ELEC_DENSITY": float(calibration.electrons.max()),
        "REL_MASS_DENSITY": float(calibration.density[:, 1].max()),
    }[term]
    if not 0 <= value <= most:
        raise InputRefusedError(
            f"ROI {structure.name!r} (number {structure.roi_number}) has the {DENSITY_TERMS[term]} {value:g} "
            f"({term} in (3006,00B4) ROI Physical Property Value), expected 0 to {most:.3g}",
            remedy="Correct the ROI's physical property, or override its density in the protocol.",
            code=ErrorCode.HU_OUT_OF_CALIBRATION,
            roi_number=structure.roi_number,
        )
    if term.startswith("REL_STOP"):
        return calibration.hu_of_stopping_power(value)
    if term == "REL_ELEC_DENSITY":
        return calibration.hu_of_electron_density(value)
    return calibration.hu_of_density(value)  # relative to water's 1 g/cm³


def _outside(patient: Patient, structure: Structure) -> BoolVolume:
    outside: BoolVolume = structure.mask & ~patient.body.mask
    return outside


def _check_in_ct(patient: Patient, structure: Structure) -> None:
    """Refuse a bolus that is neither in the CT nor has a density."""
    hu = patient.ct.hu[_outside(patient, structure)]
    if hu.size and float(np.mean(hu < _AIR_LIKE_HU)) > _MAX_AIR:
        raise InputRefusedError(
            f"ROI {structure.name!r} (number {structure.roi_number}) is a BOLUS of which "
            f"{hu.size * patient.ct.grid.voxel_cc:.1f} cc lie outside {patient.body.name!r}, where the CT has air, and "
            f"it has no density in {_PROPERTIES}",
            remedy="Give the bolus a density in the structure set, or override it in the protocol (with a CT number of "
            "-1000 HU it is not there).",
            code=ErrorCode.INCOMPLETE_STRUCTURE,
            roi_number=structure.roi_number,
        )


def _device(patient: Patient, structure: Structure) -> list[str]:
    outside_cc = int(np.count_nonzero(_outside(patient, structure))) * patient.ct.grid.voxel_cc
    if not outside_cc:
        return []
    return [
        f"{title(structure)}: {outside_cc:.1f} cc of it lie outside {patient.body.name!r} and are not in the dose; an "
        "override with extend_body: true takes them in."
    ]
