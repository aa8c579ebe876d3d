"""Scaling of a finished plan to a dose asked for, in dose and meterset alike; computing doses is elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from radiarch_contract.errors import EngineError, ErrorCode, InputRefusedError
from radiarch_contract.normalization import Normalization
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription

from radiarch_worker.evaluation.goals import goal_dose_gy
from radiarch_worker.evaluation.sampling import sample
from radiarch_worker.model import Dose, Patient

from .structures import find_structure

FACTOR_RANGE = (0.5, 2.0)
"""A plan that would be scaled by more than this has missed its objectives."""
HEADROOM = 1.1
"""The optimizer's minimum MU of a spot over the machine's: plans scaled down by less lose no spot."""


@dataclass(frozen=True)
class Wanted:
    """What a plan is scaled to.

    Attributes
    ----------
    dose_gy : total over all fractions, as reported
    """

    normalization: Normalization
    dose_gy: float


def wanted(text: str, prescription: Prescription) -> Wanted:
    """The dose that a normalization asks for."""
    found = Normalization.parse(text, target=prescription.target)
    unit_gy = 1.0 if found.unit == "Gy" else prescription.dose_of_gy(found.structure) / 100
    return Wanted(found, found.value * unit_gy)


def factor(wanted: Wanted, dose: Dose, patient: Patient, structures: Mapping[str, StructureRef]) -> float:
    """By what dose and meterset have to be multiplied, as the final evaluation will measure it.

    Raises
    ------
    InputRefusedError
        The structure is not in this patient.
    EngineError
        ``optimization_failed`` where the dose is too far from what is asked for.
    """
    name = wanted.normalization.structure
    structure = find_structure(patient, structures, name)
    if structure is None or not structure.mask.any():
        raise InputRefusedError(
            f"normalization {wanted.normalization.text!r}: the patient has no structure {name!r} with contours",
            remedy="Normalise to a structure of this patient, such as the target.",
            code=ErrorCode.UNKNOWN_STRUCTURE,
        )
    samples = sample({0: structure}, patient.ct.grid, dose, zero_outside=True)[0]
    found_gy = goal_dose_gy(wanted.normalization.goal, samples)
    found = wanted.dose_gy / found_gy if found_gy > 0 else math.inf
    low, high = FACTOR_RANGE
    if not low <= found <= high:
        raise EngineError(
            f"normalization {wanted.normalization.text!r}: {wanted.normalization.metric} is {found_gy:.2f} Gy, "
            f"{wanted.dose_gy:.2f} Gy would need a factor outside {low:g} to {high:g}",
            remedy="Correct the objectives or the normalization: the optimised dose is far from what it asks for.",
            code=ErrorCode.OPTIMIZATION_FAILED,
        )
    return found
