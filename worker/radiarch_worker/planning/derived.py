"""Derived structures as voxels of the CT: set operations and margins; their grammar is `radiarch_contract.derived`.

The patient is head first supine, so that left is +x, posterior +y and superior +z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from radiarch_contract.derived import Combined, Expression, Margins, Named, WithMargin, in_order, parse
from radiarch_contract.structures import StructureRef

from radiarch_worker.model import BoolVolume, Grid, Patient, Structure

from .geometry import index_box
from .structures import find_structure

FIRST_NUMBER = -1000
"""ROI number of the first derived structure, downwards: a structure set has none below 0 (and -1 is a BODY found)."""
INTERPRETED_TYPE = "DERIVED"
"""Ours; DICOM never sees it."""


@dataclass(frozen=True)
class WithDerived:
    """A patient with derived structures among its own.

    Attributes
    ----------
    structures : what each name stands for, those of derived structures included
    """

    patient: Patient
    structures: Mapping[str, StructureRef]


def add_derived(
    patient: Patient, structures: Mapping[str, StructureRef], definitions: Mapping[str, str]
) -> WithDerived:
    """Make derived structures from a patient's own.

    One whose parts are not all in this patient is not made, never made from the rest; a note says so. So is one that
    comes out empty.

    Raises
    ------
    InvalidRequestError
        A definition that cannot be read.
    """
    masks: dict[str, BoolVolume] = {}
    made: dict[int, Structure] = {}
    refs = dict(structures)
    notes: list[str] = []
    for name in in_order(definitions):
        expression = parse(definitions[name])
        refs.pop(name, None)  # the definition counts, whatever the structure set calls so
        found: dict[str, BoolVolume] = {}
        for part in expression.names:
            if part in definitions:
                part_mask = masks.get(part)
            else:
                structure = find_structure(patient, structures, part)
                part_mask = None if structure is None else structure.mask
            if part_mask is not None:
                found[part] = part_mask
        absent = [p for p in expression.names if p not in found]
        if absent:
            notes.append(f"Derived structure {name} was not made: the patient has no {', '.join(absent)}.")
            continue
        mask = mask_of(expression, found.__getitem__, patient.ct.grid)
        if not mask.any():
            notes.append(f"Derived structure {name} ({definitions[name]}) is empty and was left out.")
            continue
        number = FIRST_NUMBER - len(made)
        masks[name] = mask
        made[number] = Structure(number, name, INTERPRETED_TYPE, mask, definition=definitions[name])
        refs[name] = StructureRef(name=name, roi_number=number, roi_name=name)
        volume_cc = np.count_nonzero(mask) * patient.ct.grid.voxel_cc
        notes.append(f"{name} is derived: {definitions[name]}; {volume_cc:.1f} cc, from CT voxels.")
    extended = replace(patient, structures={**patient.structures, **made}, notes=(*patient.notes, *notes))
    return WithDerived(extended, refs)


def mask_of(expression: Expression, find: Callable[[str], BoolVolume], grid: Grid) -> BoolVolume:
    """Voxels of an expression.

    Parameters
    ----------
    find
        The mask (Z, Y, X) on ``grid`` of a name.
    """
    match expression:
        case Named(name):
            return find(name)
        case Combined(word, left, right):
            a, b = mask_of(left, find, grid), mask_of(right, find, grid)
            return a & b if word == "and" else a | b if word == "or" else a & ~b
        case WithMargin(of, grown, margins_mm):
            change = grow if grown else shrink
            return change(mask_of(of, find, grid), grid, margins_mm)
    raise AssertionError(expression)


def grow(mask: BoolVolume, grid: Grid, margins_mm: Margins) -> BoolVolume:
    """A mask and all voxels whose centre is within the margins of one of its voxels' centres.

    Parameters
    ----------
    mask : (Z, Y, X) on ``grid``, patient LPS head first supine
    margins_mm : left, right, anterior, posterior, superior, inferior; between two of them an ellipsoid
    """
    if not mask.any():
        return mask.copy()
    left, right, anterior, posterior, superior, inferior = margins_mm
    sides = ((right, left), (anterior, posterior), (inferior, superior))  # towards lower, higher x, y, z
    result = mask.copy()
    box = []
    for axis, (low, high) in zip((2, 1, 0), index_box(mask), strict=True):
        lower, higher = (math.floor(m / grid.spacing_mm[2 - axis] + 1e-9) for m in sides[2 - axis])
        box.append(slice(max(0, low - lower), min(mask.shape[axis], high + higher + 1)))
    window = tuple(reversed(box))
    # The squared distance in units of the margins is a sum over axes: one axis after the other gives its minimum.
    distance = np.where(mask[window], np.float32(0), np.float32(np.inf))
    for axis in range(3):
        distance = _nearest_along(distance, 2 - axis, grid.spacing_mm[axis], sides[axis])
    result[window] |= distance <= 1 + 1e-5
    return result


def shrink(mask: BoolVolume, grid: Grid, margins_mm: Margins) -> BoolVolume:
    """Voxels of a mask from which every voxel within the margins is in it too; what lies off the image is not.

    The margin ``left`` is how far the left side moves in, and so on: what `grow` does to everything
    else, seen from there.
    """
    left, right, anterior, posterior, superior, inferior = margins_mm
    outside = ~np.pad(mask, 1)
    x, y, z = (o - d for o, d in zip(grid.origin_mm, grid.spacing_mm, strict=True))
    wide = Grid((x, y, z), grid.spacing_mm, (outside.shape[0], outside.shape[1], outside.shape[2]))
    near = grow(outside, wide, (right, left, posterior, anterior, inferior, superior))
    inside: BoolVolume = ~near[1:-1, 1:-1, 1:-1]
    return inside


def _nearest_along(
    distance: npt.NDArray[np.float32], axis: int, spacing_mm: float, sides_mm: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Least of ``distance`` and that of neighbours along an axis plus their own squared distance, in margins."""
    result = distance.copy()
    size = distance.shape[axis]
    for sign, margin_mm in ((-1, sides_mm[0]), (1, sides_mm[1])):
        for steps in range(1, min(math.floor(margin_mm / spacing_mm + 1e-9), size - 1) + 1):
            here: list[slice] = [slice(None)] * 3
            there: list[slice] = [slice(None)] * 3
            here[axis], there[axis] = slice(steps, None), slice(None, -steps)
            if sign < 0:
                here, there = there, here
            added = np.float32((steps * spacing_mm / margin_mm) ** 2)
            np.minimum(result[tuple(here)], distance[tuple(there)] + added, out=result[tuple(here)])
    return result
