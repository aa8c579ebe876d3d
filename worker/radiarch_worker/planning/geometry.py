"""Masks and grids in patient LPS; what is computed on them is decided elsewhere, beams' axes are in `beam_axes`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radiarch_worker.model import BoolVolume, FloatVolume, Grid, Vector3


def voxel_points_mm(mask: BoolVolume, grid: Grid) -> npt.NDArray[np.float64]:
    """(n, 3) x, y, z of the centres of a mask's voxels."""
    index = np.argwhere(mask)[:, ::-1]
    points: npt.NDArray[np.float64] = np.asarray(grid.origin_mm) + index * np.asarray(grid.spacing_mm)
    return points


def center_of_mass_mm(mask: BoolVolume, grid: Grid) -> Vector3:
    """Mean of a mask's voxel centres, to 0.01 mm so that it is written as it is used."""
    x, y, z = (round(float(v), 2) for v in voxel_points_mm(mask, grid).mean(axis=0))
    return (x, y, z)


@dataclass(frozen=True)
class ScoringLattice:
    """The lattice of dose voxels: every ``step``-th voxel centre of the CT from ``first`` on.

    All dose grids of a plan lie on one lattice, so that the optimiser's voxels are voxels of the final dose.

    Attributes
    ----------
    step, first : in CT voxels on x, y, z
    """

    ct: Grid
    step: tuple[int, int, int]
    first: tuple[int, int, int]

    @classmethod
    def of(cls, ct: Grid, wanted_spacing_mm: float, body: BoolVolume) -> ScoringLattice:
        """The whole multiple of the CT's spacing nearest to the wanted one on each axis (ties to the finer)."""
        steps = tuple(nearest_multiple(d, wanted_spacing_mm) for d in ct.spacing_mm)
        box = index_box(body)
        return cls(ct, (steps[0], steps[1], steps[2]), (box[0][0], box[1][0], box[2][0]))

    def grid(self, mask: BoolVolume, margin_mm: float = 0.0) -> Grid:
        """The smallest grid of this lattice whose voxels' centres enclose a mask of the CT, grown by a margin."""
        origin, counts = [], []
        for axis, (low, high) in enumerate(index_box(mask)):
            grow = margin_mm / self.ct.spacing_mm[axis]
            step, first = self.step[axis], self.first[axis]
            start = max(0, math.floor((low - grow - first) / step))
            stop = math.ceil((high + grow - first) / step)
            last = math.ceil((self.ct.shape[2 - axis] - 1 - first) / step)
            stop = max(start, min(stop, last))
            origin.append(self.ct.origin_mm[axis] + (first + start * step) * self.ct.spacing_mm[axis])
            counts.append(stop - start + 1)
        spacing = tuple(s * d for s, d in zip(self.step, self.ct.spacing_mm, strict=True))
        return Grid(
            (origin[0], origin[1], origin[2]),
            (spacing[0], spacing[1], spacing[2]),
            (counts[2], counts[1], counts[0]),
        )


def nearest_multiple(spacing_mm: float, wanted_mm: float) -> int:
    """k ≥ 1 for which ``k * spacing_mm`` is nearest to ``wanted_mm``; of two equally near ones the smaller."""
    low = max(1, math.floor(wanted_mm / spacing_mm))
    return low if wanted_mm - low * spacing_mm <= (low + 1) * spacing_mm - wanted_mm + 1e-9 else low + 1


def index_box(mask: BoolVolume) -> tuple[tuple[int, int], ...]:
    """First and last index that a mask uses, on x, y, z."""
    box = []
    for axis in (2, 1, 0):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append((int(used[0]), int(used[-1])))
    return tuple(box)


def sample_mask(mask: BoolVolume, source: Grid, wanted: Grid) -> BoolVolume:
    """A mask at the voxel centres of a grid whose centres are centres of the mask's grid; outside it False."""
    picks, inside = [], []
    for axis in (2, 1, 0):
        index = (wanted.axis_mm(axis) - source.origin_mm[axis]) / source.spacing_mm[axis]
        rounded = np.rint(index).astype(int)
        ok = (rounded >= 0) & (rounded < source.shape[2 - axis])
        picks.append(np.clip(rounded, 0, source.shape[2 - axis] - 1))
        inside.append(ok)
    result = mask[np.ix_(*picks)]
    valid: BoolVolume = inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    return result & valid


def sample_share(mask: BoolVolume, source: Grid, wanted: Grid) -> npt.NDArray[np.float32]:
    """Of each voxel of a grid, the share that a mask's voxels take."""
    return sample_mean(mask.astype(np.float32), source, wanted)


def sample_mean(values: FloatVolume, source: Grid, wanted: Grid) -> FloatVolume:
    """Mean of a volume over each voxel of a grid; what lies outside of the volume counts as 0."""
    share = values
    for numpy_axis, axis in enumerate((2, 1, 0)):
        (low, high), (start, stop) = (_edges_mm(g, axis) for g in (wanted, source))
        common = np.minimum(high[:, None], stop[None, :]) - np.maximum(low[:, None], start[None, :])
        part = (np.clip(common, 0, None) / wanted.spacing_mm[axis]).astype(np.float32)
        share = np.moveaxis(np.tensordot(part, share, axes=(1, numpy_axis)), 0, numpy_axis)
    return np.ascontiguousarray(share)


def _edges_mm(grid: Grid, axis: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    center, half = grid.axis_mm(axis), grid.spacing_mm[axis] / 2
    return center - half, center + half


def grow_mask(mask: BoolVolume, spacing_mm: Vector3, margin_mm: float) -> BoolVolume:
    """Voxels within a Euclidean distance (mm) of a mask's voxels."""
    if margin_mm <= 0:
        return mask.copy()
    return distance_mm(mask, spacing_mm, margin_mm) <= margin_mm


def distance_mm(mask: BoolVolume, spacing_mm: Vector3, up_to_mm: float) -> npt.NDArray[np.float32]:
    """Distance of each voxel's centre to the nearest voxel of a mask; infinite beyond ``up_to_mm`` (about)."""
    from scipy import ndimage  # slow to import, and only planning needs it

    result = np.full(mask.shape, np.inf, dtype=np.float32)
    slices = []
    for axis, (low, high) in zip((2, 1, 0), index_box(mask), strict=True):
        grow = math.ceil(up_to_mm / spacing_mm[2 - axis]) + 1
        slices.append((axis, slice(max(0, low - grow), min(mask.shape[axis], high + grow + 1))))
    box = tuple(s for _, s in sorted(slices))
    result[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing_mm[::-1])
    return result
