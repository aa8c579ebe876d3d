"""Dose at evenly spread points of structures: from contours and a dose grid to samples; DVHs and metrics live in `dvh`.

A structure is what its contours enclose, those that its mask is made of and by the same filling, each slice as thick as
the CT's; where a slice has no contours, the CT voxels of its mask. Every CT voxel is divided, the finer the smaller the
structure. The dose at a point comes from `field`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from radiarch_worker.model import Dose, Grid, Structure
from radiarch_worker.patient.raster import fill_points
from radiarch_worker.patient.slices import outlines_by_slice

from .field import SliceDose, slice_doses

SAMPLES = 200_000
"""Wanted number of points in a structure, at least; voxels of large structures are not divided."""

MAX_DIVISION = 8
"""A CT voxel is divided into at most this many along each axis."""

_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StructureDose:
    """Dose samples of equal volume.

    Attributes
    ----------
    dose_gy : (n,) float32, rising, Gy total over all fractions; only points where the dose is known
    volume_cc : of the whole structure
    known_fraction : of the volume, 1 where the dose grid covers the structure
    """

    dose_gy: npt.NDArray[np.float32]
    volume_cc: float
    known_fraction: float


def sample(
    structures: Mapping[int, Structure], ct: Grid, dose: Dose, *, zero_outside: bool
) -> dict[int, StructureDose]:
    """Dose at evenly spread points of each structure.

    Parameters
    ----------
    structures
        By any key, on the grid ``ct``.
    dose
        Gy on its own grid; known within half a spacing of its outermost points (each is the middle of a voxel).
    zero_outside
        Whether points beyond the dose grid have dose 0 (true where the grid covers the whole patient)
        or are unknown.
    """
    gathered = {key: _Gathered(_Points(structure, ct)) for key, structure in structures.items()}
    for k, slice_dose in slice_doses(dose, ct):
        for one in gathered.values():
            one.add(k, slice_dose)
    return {key: one.result(zero_outside) for key, one in gathered.items()}


def covers(dose: Grid, structure: Structure, ct: Grid) -> bool:
    """Whether every voxel centre of a structure lies within the dose grid's voxels."""
    for axis in range(3):
        hit = np.flatnonzero(structure.mask.any(axis=tuple(a for a in range(3) if a != 2 - axis)))
        centers = ct.axis_mm(axis)[hit]
        half = dose.spacing_mm[axis] / 2 + 1e-6
        low, high = dose.axis_mm(axis)[[0, -1]]
        if centers.size and (centers[0] < low - half or centers[-1] > high + half):
            return False
    return True


@dataclass(frozen=True)
class _PlanePoints:
    """Points of one sub-slice.

    Attributes
    ----------
    z_offsets : from the CT slice's middle, in slices; neighbouring points take them in turn
    inside : (Y, X) on ``y_mm`` and ``x_mm``
    """

    z_offsets: _Floats
    y_mm: _Floats
    x_mm: _Floats
    inside: _Bools


class _Points:
    """Where a structure's samples are, slice by slice."""

    def __init__(self, structure: Structure, ct: Grid) -> None:
        self._mask = structure.mask
        self._contours = outlines_by_slice(structure, ct)
        self._division = _division(structure, ct)
        self._box_y, self._box_x = self._boxes(ct)
        division_z, division_y, division_x = self._division
        self._y_mm = _divided(ct.axis_mm(1)[self._box_y], ct.spacing_mm[1], division_y)
        self._x_mm = _divided(ct.axis_mm(0)[self._box_x], ct.spacing_mm[0], division_x)
        cell_y, cell_x = ct.spacing_mm[1] / division_y, ct.spacing_mm[0] / division_x
        self._offsets = _staggered(division_z) * (1.0, cell_y, cell_x)
        self._z_turns = _divided(np.zeros(1), 1.0 / division_z, 4)
        self.cell_cc = ct.voxel_cc / math.prod(self._division)

    def planes(self, k: int) -> Iterator[_PlanePoints]:
        """Points of CT slice ``k``, sub-slice by sub-slice; nothing where the structure has nothing there."""
        coarse = self._mask[k, self._box_y, self._box_x]
        drawn = self._contours.get(k)
        if drawn is None and not coarse.any():
            return
        for z, y, x in self._offsets:
            y_mm, x_mm = self._y_mm + y, self._x_mm + x
            if drawn is not None:
                inside = fill_points(drawn, y_mm, x_mm)
            else:
                inside = coarse.repeat(self._division[1], axis=0).repeat(self._division[2], axis=1)
            yield _PlanePoints(z + self._z_turns, y_mm, x_mm, inside)

    def _boxes(self, ct: Grid) -> tuple[slice, slice]:
        """(y, x) voxels around mask and contours: a small contour may enclose no voxel's centre."""
        boxes = []
        for axis in (1, 0):
            hit = np.flatnonzero(self._mask.any(axis=(0, 2) if axis == 1 else (0, 1)))
            ends = [hit[0], hit[-1]] if hit.size else []
            for contours in self._contours.values():
                for xy in contours:
                    places = (xy[:, axis] - ct.origin_mm[axis]) / ct.spacing_mm[axis]
                    ends += [math.floor(places.min() + 0.5), math.ceil(places.max() - 0.5)]
            last = ct.shape[2 - axis] - 1
            boxes.append(slice(max(min(ends), 0), min(max(ends), last) + 1) if ends else slice(0, 0))
        return boxes[0], boxes[1]


@dataclass
class _Gathered:
    """Samples of one structure while slices go by."""

    points: _Points
    parts: list[npt.NDArray[np.float32]] = field(default_factory=list)
    total: int = 0

    def add(self, k: int, slice_dose: SliceDose | None) -> None:
        for plane in self.points.planes(k):
            self.total += int(plane.inside.sum())
            if slice_dose is not None:
                known_y, known_x = slice_dose.known(plane.y_mm, plane.x_mm)
                inside = plane.inside & known_y[:, None] & known_x[None, :]
                self.parts.append(slice_dose.at(inside, plane.y_mm, plane.x_mm, plane.z_offsets))

    def result(self, zero_outside: bool) -> StructureDose:
        samples = np.concatenate(self.parts) if self.parts else np.zeros(0, np.float32)
        if zero_outside:
            samples = np.concatenate([samples, np.zeros(self.total - samples.size, np.float32)])
        samples.sort()
        known = samples.size / self.total if self.total else 0.0
        return StructureDose(samples, self.total * self.points.cell_cc, known)


def _division(structure: Structure, ct: Grid) -> tuple[int, int, int]:
    """Into how many parts a CT voxel is divided, (z, y, x), so that the structure has about `SAMPLES` points.

    More along z than across: sub-slices are staggered, so they refine x and y too.
    """
    wanted = SAMPLES / max(int(structure.mask.sum()), 1)
    if wanted < 1.5:
        return 1, 1, 1
    z = MAX_DIVISION if wanted > MAX_DIVISION**3 / 2 else 4
    across = min(math.ceil(math.sqrt(wanted / z) - 1e-9), MAX_DIVISION)
    return z, across, across


def _staggered(parts: int) -> _Floats:
    """Offsets of the sub-slices' points, (parts, 3) z, y, x in cells.

    Each sub-slice's points lie elsewhere in their cell: else a gradient along rows becomes stairs, and contours that
    were traced along voxels meet all points of an edge, or none.
    """
    places = (np.arange(parts) + 0.5) / parts - 0.5
    stride = next(n for n in range(max(round(0.38 * parts), 1), parts + 1) if math.gcd(n, parts) == 1)
    return np.stack([places, places[np.arange(parts) * stride % parts], places], axis=1)


def _divided(centers: _Floats, spacing: float, parts: int) -> _Floats:
    """Centres of the parts into which voxels are divided."""
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * spacing
    return np.asarray((centers[:, None] + offsets[None, :]).ravel())
