"""Looks up the patient's structures by the names that prescription and objectives use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError
from radiarch_contract.structures import StructureRef

from radiarch_worker.model import Patient, Structure


def find_structure(patient: Patient, structures: Mapping[str, StructureRef], name: str) -> Structure | None:
    """The structure that a name stands for, or None where the patient has none of that name."""
    ref = structures.get(name)
    if ref is None:
        # BODY may have been found from the CT, and then no ROI stands for it.
        return patient.body if name in ("BODY", patient.body.name) else None
    structure = patient.structures.get(ref.roi_number)
    if structure is None and ref.roi_number == patient.body.roi_number:
        return patient.body
    return structure


def united(targets: Sequence[Structure]) -> Structure:
    """All targets as one; a single one is itself."""
    first = targets[0]
    if len(targets) == 1:
        return first
    mask = first.mask.copy()
    for other in targets[1:]:
        mask |= other.mask
    return replace(first, name=" or ".join(t.name for t in targets), mask=mask, contours=())


def require_target(patient: Patient, structures: Mapping[str, StructureRef], name: str) -> Structure:
    """The target.

    Raises
    ------
    InputRefusedError
        ``no_target``, ``empty_structure``, or ``structure_outside_image`` where it leaves BODY.
    InvalidRequestError
        ``unknown_structure`` where the name stands for nothing.
    """
    if name not in structures:
        raise InvalidRequestError(
            f"no structure stands for the target {name!r}",
            remedy="Name one of the RTSTRUCT's structures, or a derived one whose parts the patient has.",
            code=ErrorCode.UNKNOWN_STRUCTURE,
        )
    target = find_structure(patient, structures, name)
    if target is None:
        raise InputRefusedError(
            f"target {name!r} has no contours in the RTSTRUCT",
            remedy="Contour the target.",
            code=ErrorCode.NO_TARGET,
        )
    if not target.mask.any():
        raise InputRefusedError(
            f"target {target.name!r} holds no voxel of the CT",
            remedy="Check the target's contours against the CT's slices.",
            code=ErrorCode.EMPTY_STRUCTURE,
        )
    outside = int((target.mask & ~patient.body.mask).sum())
    if outside > 0.01 * target.mask.sum():
        raise InputRefusedError(
            f"{100 * outside / target.mask.sum():.1f} % of target {target.name!r} lies outside {patient.body.name!r}",
            remedy="Correct the patient's outline or the target's contours.",
            code=ErrorCode.STRUCTURE_OUTSIDE_IMAGE,
        )
    return target
