"""Dose at evenly spread points of a structure: from contours and a dose grid to samples; what is made of them lives in `dvh`.

A structure is what its contours enclose (even-odd), each slice as thick as the CT's; where it has no
contours, the CT voxels of its mask. Every CT voxel is divided, finer for small structures, and the
dose at each point inside is interpolated trilinearly between dose grid points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..model import Dose, Grid, Structure

SAMPLES = 200_000
"""Wanted number of points in a structure; voxels of large structures are not divided."""

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


def sample(structure: Structure, ct: Grid, dose: Dose, *, zero_outside: bool) -> StructureDose:
    """Dose at evenly spread points of a structure.

    Parameters
    ----------
    structure
        On the grid ``ct``.
    dose
        Gy on its own grid; known within half a spacing of its outermost points (each is the middle of a voxel).
    zero_outside
        Whether points beyond the dose grid have dose 0 (true where the grid covers the whole patient)
        or are unknown.
    """
    divisions = _divisions(structure, ct)
    cell_cc = ct.voxel_cc / math.prod(divisions)
    parts: list[npt.NDArray[np.float32]] = []
    total = known = 0
    interpolator = _Interpolator(dose)
    for z_mm, y_mm, x_mm, inside in _slices(structure, ct, divisions):
        count = int(inside.sum())
        total += count * len(z_mm)
        x_known, y_known = interpolator.covered(0, x_mm), interpolator.covered(1, y_mm)
        inside_known = inside & y_known[:, None] & x_known[None, :]
        for z in z_mm[interpolator.covered(2, z_mm)]:
            values = interpolator.plane(z, y_mm, x_mm)[inside_known]
            known += values.size
            parts.append(values)
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if zero_outside and known < total:
        samples = np.concatenate([samples, np.zeros(total - known, np.float32)])
        known = total
    samples.sort()
    return StructureDose(samples, total * cell_cc, known / total if total else 0.0)


def covers(dose: Grid, structure: Structure, ct: Grid) -> bool:
    """Whether every voxel of a structure lies within the dose grid's voxels."""
    for axis, box in enumerate(_bounding_box(structure.mask)[::-1]):
        centres = ct.axis_mm(axis)[box]
        half = dose.spacing_mm[axis] / 2 + 1e-6
        low, high = dose.axis_mm(axis)[[0, -1]]
        if centres[0] < low - half or centres[-1] > high + half:
            return False
    return True


def _divisions(structure: Structure, ct: Grid) -> tuple[int, int, int]:
    """Into how many parts a CT voxel is divided, (z, y, x), so that the structure has about `SAMPLES` points."""
    volume_mm3 = max(int(structure.mask.sum()), 1) * ct.voxel_cc * 1000
    wanted_mm = (volume_mm3 / SAMPLES) ** (1 / 3)
    x, y, z = (min(max(math.ceil(s / wanted_mm - 1e-9), 1), MAX_DIVISION) for s in ct.spacing_mm)
    return z, y, x


def _slices(
    structure: Structure, ct: Grid, divisions: tuple[int, int, int]
) -> Iterator[tuple[_Floats, _Floats, _Floats, _Bools]]:
    """For each CT slice of the structure: z of its sub-slices, y and x of the fine points, and which are inside."""
    box_z, box_y, box_x = _bounding_box(structure.mask)
    # One voxel more on each side: a contour may enclose part of a voxel, but not its centre.
    box_y, box_x = _grown(box_y, ct.shape[1]), _grown(box_x, ct.shape[2])
    y_mm = _divided(ct.axis_mm(1)[box_y], ct.spacing_mm[1], divisions[1])
    x_mm = _divided(ct.axis_mm(0)[box_x], ct.spacing_mm[0], divisions[2])
    by_slice = _contours_by_slice(structure, ct)
    for k in range(box_z.start, box_z.stop):
        coarse = structure.mask[k, box_y, box_x]
        if not coarse.any():
            continue
        z_mm = _divided(ct.axis_mm(2)[k : k + 1], ct.spacing_mm[2], divisions[0])
        if k in by_slice:
            inside = fill_even_odd(by_slice[k], y_mm, x_mm)
        else:
            inside = coarse.repeat(divisions[1], axis=0).repeat(divisions[2], axis=1)
        yield z_mm, y_mm, x_mm, inside


def _contours_by_slice(structure: Structure, ct: Grid) -> dict[int, list[_Floats]]:
    """Contours by the CT slice on which they lie; none where one lies between slices (its mask then says more)."""
    found: dict[int, list[_Floats]] = {}
    for z_mm, xy in structure.contours:
        position = (z_mm - ct.origin_mm[2]) / ct.spacing_mm[2]
        k = round(position)
        if abs(position - k) > 0.25:
            return {}
        found.setdefault(k, []).append(xy)
    return found


def fill_even_odd(contours: Sequence[_Floats], y_mm: _Floats, x_mm: _Floats) -> _Bools:
    """Which points of a plane are inside closed contours, those inside two of them counting as outside.

    Parameters
    ----------
    contours
        (n, 2) x, y in mm.
    y_mm, x_mm
        Evenly spaced, rising.

    Returns
    -------
    (Y, X) bool
    """
    toggles = np.zeros((len(y_mm), len(x_mm) + 1), np.int32)
    y0, dy = y_mm[0], y_mm[1] - y_mm[0] if len(y_mm) > 1 else 1.0
    for xy in contours:
        start, end = xy, np.roll(xy, -1, axis=0)
        low_y, high_y = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
        # Rows with low_y <= y < high_y: each vertex belongs to one of its two edges.
        first = np.clip(np.ceil((low_y - y0) / dy), 0, len(y_mm)).astype(np.int64)
        last = np.clip(np.ceil((high_y - y0) / dy), 0, len(y_mm)).astype(np.int64)
        counts = last - first
        edge = np.repeat(np.arange(len(xy)), counts)
        if not edge.size:
            continue
        row = np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        run = (y_mm[row] - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
        crossing = start[edge, 0] + run * (end[edge, 0] - start[edge, 0])
        np.add.at(toggles, (row, np.searchsorted(x_mm, crossing)), 1)
    return (np.cumsum(toggles[:, :-1], axis=1) & 1).astype(np.bool_)


class _Interpolator:
    """Trilinear interpolation on planes of constant z; beyond the outermost points, up to half a voxel, the edge's."""

    def __init__(self, dose: Dose) -> None:
        self._dose = dose

    def covered(self, axis: int, at_mm: _Floats) -> _Bools:
        grid = self._dose.grid
        half = grid.spacing_mm[axis] / 2 + 1e-6
        low, high = grid.axis_mm(axis)[[0, -1]]
        return np.asarray((at_mm >= low - half) & (at_mm <= high + half))

    def plane(self, z_mm: float, y_mm: _Floats, x_mm: _Floats) -> npt.NDArray[np.float32]:
        """(Y, X) float32 Gy."""
        volume = self._dose.dose_gy
        k, dk = self._weights(2, np.array([z_mm]))
        j, dj = self._weights(1, y_mm)
        i, di = self._weights(0, x_mm)
        j_box, i_box = slice(j[0], j[-1] + 2), slice(i[0], i[-1] + 2)
        below, above = volume[k[0], j_box, i_box], volume[min(k[0] + 1, volume.shape[0] - 1), j_box, i_box]
        plane = below + dk[0] * (above - below)
        j, i = j - j[0], i - i[0]
        j_next, i_next = np.minimum(j + 1, plane.shape[0] - 1), np.minimum(i + 1, plane.shape[1] - 1)
        rows = plane[j] + dj[:, None] * (plane[j_next] - plane[j])
        return np.asarray(rows[:, i] + di[None, :] * (rows[:, i_next] - rows[:, i]))

    def _weights(self, axis: int, at_mm: _Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        grid = self._dose.grid
        n = grid.shape[2 - axis]
        position = np.clip((at_mm - grid.origin_mm[axis]) / grid.spacing_mm[axis], 0, n - 1)
        index = np.minimum(position.astype(np.int64), max(n - 2, 0))
        return index, (position - index).astype(np.float32)


def _divided(centres_mm: _Floats, spacing_mm: float, parts: int) -> _Floats:
    """Centres of the parts into which voxels are divided."""
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * spacing_mm
    return np.asarray((centres_mm[:, None] + offsets[None, :]).ravel())


def _bounding_box(mask: _Bools) -> tuple[slice, slice, slice]:
    """(z, y, x) slices around the true voxels."""
    boxes = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        boxes.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    return boxes[0], boxes[1], boxes[2]


def _grown(box: slice, size: int) -> slice:
    return slice(max(box.start - 1, 0), min(box.stop + 1, size))
