"""From planes to slices of the CT: what is drawn, what is interpolated between planes, where a structure ends.

Shape-based interpolation (Raya and Udupa 1990, doi:10.1109/42.52980). What outlines of one plane mean is settled
before (`planes`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from radiarch_worker.model import BoolVolume, Grid, Structure

from . import limits
from .planes import Planes
from .raster import FloatArray, Region, TooLargeError, fill

TIE_MM = 0.05
"""Slices this close to where a structure ends lie on its end."""


@dataclass(frozen=True)
class Gap:
    """A stretch without a contour.

    Attributes
    ----------
    low_mm, high_mm : z of the contours on either side
    missing_mm : how much more they are apart than two slices
    """

    low_mm: float
    high_mm: float
    missing_mm: float


@dataclass
class Filled:
    """What planes enclose, slice by slice.

    Attributes
    ----------
    region : on the CT's grid, and as much again on each side
    planes : those that count: without inner ones that enclose no voxel
    interpolated_mm : z of slices that were made from their neighbours
    open : gaps that were left, since they are too long or what lies on either side has nothing in common
    hollow_mm : z of inner planes that enclose no voxel
    between_slices : how many planes are no slice's
    """

    region: Region
    planes: Planes
    interpolated_mm: list[float] = field(default_factory=list)
    open: list[Gap] = field(default_factory=list)
    hollow_mm: list[float] = field(default_factory=list)
    between_slices: int = 0


def fill_slices(planes: Planes, grid: Grid, *, max_gap_mm: float, other_mm: Sequence[float] = ()) -> Filled:
    """Fill the slices that planes are drawn on, and those between them.

    A slice between two contours is interpolated where at most ``max_gap_mm`` without a contour lie there; else the
    ROI has two parts. At each end it reaches half as far as the next contour is away, so that contours on every n-th
    slice stand for n slices. An end in the middle of a slice takes that slice in or not such that the whole length is
    kept, to half a slice.

    Parameters
    ----------
    other_mm : z of contours that enclose nothing that is known: they tell how closely the ROI was drawn

    Raises
    ------
    TooLargeError
    """
    low, high = _bounds(grid)
    drawn = _fill(planes, (0, *low[1:]), (len(planes.z_mm), *high[1:]), grid)
    hollow = _hollow(drawn, len(planes.z_mm))
    hollow_mm = [float(planes.z_mm[i]) for i in hollow]
    if hollow:
        planes = planes.without(hollow)
        drawn = _fill(planes, (0, *low[1:]), (len(planes.z_mm), *high[1:]), grid)
    if drawn.inside.size == 0:
        return Filled(drawn, planes, hollow_mm=hollow_mm)
    inside = np.zeros((len(planes.z_mm), *drawn.inside.shape[1:]), dtype=np.bool_)
    inside[drawn.start[0] : drawn.start[0] + drawn.inside.shape[0]] = drawn.inside
    stack = _Stack(planes, inside, (drawn.start[2], drawn.start[1]), grid, max_gap_mm, tuple(other_mm))
    first, slices = stack.slices(low[0], high[0])
    return Filled(
        region=Region((first, *drawn.start[1:]), slices),
        planes=planes,
        interpolated_mm=stack.interpolated_mm,
        open=stack.open,
        hollow_mm=hollow_mm,
        between_slices=int(np.count_nonzero(off_slice_mm(planes.z_mm, grid) > tolerance_mm(grid))),
    )


def outlines_by_slice(structure: Structure, grid: Grid) -> dict[int, list[FloatArray]]:
    """Outlines by the slice on which they lie; none where one lies between slices (the mask then says more)."""
    if not structure.contours:
        return {}
    z_mm = np.array([z for z, _ in structure.contours])
    if off_slice_mm(z_mm, grid).max() > tolerance_mm(grid):
        return {}
    found: dict[int, list[FloatArray]] = {}
    for k, (_, xy) in zip(np.rint((z_mm - grid.origin_mm[2]) / grid.spacing_mm[2]), structure.contours, strict=True):
        found.setdefault(int(k), []).append(xy)
    return found


def off_slice_mm(z_mm: FloatArray, grid: Grid) -> FloatArray:
    """How far heights are from the nearest slice."""
    at = (np.asarray(z_mm) - grid.origin_mm[2]) / grid.spacing_mm[2]
    return np.asarray(np.abs(at - np.rint(at)) * grid.spacing_mm[2])


def tolerance_mm(grid: Grid) -> float:
    """Up to which distance a plane is a slice's."""
    return min(limits.PLANE_TOLERANCE_MM, grid.spacing_mm[2] / 4)


def _bounds(grid: Grid) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The image and as much again on each side, so that what lies off it can be told."""
    nz, ny, nx = grid.shape
    return (-nz, -ny, -nx), (2 * nz, 2 * ny, 2 * nx)


def _fill(planes: Planes, low: tuple[int, int, int], high: tuple[int, int, int], grid: Grid) -> Region:
    x0, y0, _ = grid.origin_mm
    dx, dy, _ = grid.spacing_mm
    plane = np.repeat(np.arange(len(planes.z_mm)), [len(drawn) for drawn in planes.outlines])
    return fill(
        [(xy - (x0, y0)) / (dx, dy) for drawn in planes.outlines for xy in drawn],
        plane,
        low=low,
        high=high,
        max_crossings=limits.MAX_CROSSINGS,
        max_voxels=limits.MAX_REGION_VOXELS,
    )


def _hollow(drawn: Region, count: int) -> list[int]:
    """Planes that enclose no voxel between others that do: as good as not drawn."""
    full = np.zeros(count, dtype=np.bool_)
    if drawn.inside.size:
        full[drawn.start[0] : drawn.start[0] + drawn.inside.shape[0]] = drawn.inside.any(axis=(1, 2))
    used = np.flatnonzero(full)
    return [i for i in range(used[0], used[-1]) if not full[i]] if used.size else []


@dataclass
class _Stack:
    """Planes as bitmaps, and the slices that are made of them.

    Attributes
    ----------
    inside : (planes, Y, X)
    corner : (x, y) index in the grid of the bitmaps' first voxel
    """

    planes: Planes
    inside: BoolVolume
    corner: tuple[int, int]
    grid: Grid
    max_gap_mm: float
    other_mm: tuple[float, ...]
    interpolated_mm: list[float] = field(default_factory=list)
    open: list[Gap] = field(default_factory=list)

    def slices(self, lowest: int, highest: int) -> tuple[int, BoolVolume]:
        """Index of the first slice, and the slices; ``lowest <= index < highest``."""
        z0, dz = self.grid.origin_mm[2], self.grid.spacing_mm[2]
        parts = self._parts()
        wanted: dict[int, tuple[int, int, float]] = {}  # slice: plane below, plane above, weight of the one above
        for begin, end in parts:
            for k in self._indices(begin, end):
                if lowest <= k < highest:
                    wanted[k] = self._sources(z0 + k * dz, begin, end)
        if not wanted:
            return lowest, np.zeros((0, *self.inside.shape[1:]), dtype=np.bool_)
        first, last = min(wanted), max(wanted)
        if (last - first + 1) * self.inside[0].size > limits.MAX_REGION_VOXELS:
            raise TooLargeError(f"{(last - first + 1) * self.inside[0].size} voxels")
        result = np.zeros((last - first + 1, *self.inside.shape[1:]), dtype=np.bool_)
        distance = self._distances()
        torn: set[int] = set()
        for k, (below, above, weight) in sorted(wanted.items()):
            if weight in (0.0, 1.0):
                result[k - first] = self.inside[above if weight else below]
                continue
            result[k - first] = (1 - weight) * distance(below) + weight * distance(above) > 0
            if result[k - first].any():
                self.interpolated_mm.append(z0 + k * dz)
            else:
                torn.add(below)
        self.open += [self._gap(below) for below in sorted(torn)]
        self.open.sort(key=lambda gap: gap.low_mm)
        return first, result

    def _gap(self, below: int) -> Gap:
        low, high = (float(z) for z in self.planes.z_mm[below : below + 2])
        return Gap(low, high, high - low - self.grid.spacing_mm[2])

    def _parts(self) -> list[tuple[int, int]]:
        """First and last plane of each part that is filled without a gap."""
        gaps = [self._gap(i) for i in range(len(self.planes.z_mm) - 1)]
        wide = [i for i, gap in enumerate(gaps) if gap.missing_mm > self.max_gap_mm + TIE_MM]
        # Slices on both sides of a gap may touch where planes lie between slices.
        self.open += [gaps[i] for i in wide]
        edges = [-1, *wide, len(self.planes.z_mm) - 1]
        return [(a + 1, b) for a, b in itertools.pairwise(edges)]

    def _indices(self, begin: int, end: int) -> range:
        """Slices of a part: those whose middle lies between its ends."""
        z0, dz = self.grid.origin_mm[2], self.grid.spacing_mm[2]
        low_mm = self.planes.z_mm[begin] - self._half_mm(begin, end, 1)
        high_mm = self.planes.z_mm[end] + self._half_mm(end, begin, -1)
        low, high = (low_mm - z0) / dz, (high_mm - z0) / dz
        tie = TIE_MM / dz
        ends_on_slices = abs(low - np.rint(low)) <= tie and abs(high - np.rint(high)) <= tie
        first = int(np.ceil(low - tie)) if ends_on_slices else int(np.floor(low + tie)) + 1
        last = int(np.ceil(high - tie)) - 1
        # A contour on a slice is always that slice's.
        near = tolerance_mm(self.grid)
        on_first, on_last = (round((self.planes.z_mm[i] - z0) / dz) for i in (begin, end))
        if abs(z0 + on_first * dz - self.planes.z_mm[begin]) <= near:
            first = min(first, on_first)
        if abs(z0 + on_last * dz - self.planes.z_mm[end]) <= near:
            last = max(last, on_last)
        return range(first, last + 1)

    def _half_mm(self, plane: int, other_end: int, inwards: int) -> float:
        """How far a part reaches beyond its last contour: half of the smaller of the last two steps.

        A single long step is a slice that is missing, not how the ROI was drawn. Where there is no step, a part
        reaches as far as is usual in this ROI, and else half a slice.
        """
        z_mm = self.planes.z_mm
        low, high = sorted((float(z_mm[plane]), float(z_mm[other_end])))
        heights = {*z_mm[min(plane, other_end) : max(plane, other_end) + 1].tolist()}
        heights |= {z for z in self.other_mm if low < z < high}
        ordered = sorted(heights, reverse=inwards < 0)
        steps = np.abs(np.diff(ordered[:3]))
        if not steps.size:
            every = np.diff(z_mm)
            usual = every[every - self.grid.spacing_mm[2] <= self.max_gap_mm + TIE_MM]
            return float(np.median(usual)) / 2 if usual.size else self.grid.spacing_mm[2] / 2
        return float(steps.min()) / 2

    def _sources(self, z: float, begin: int, end: int) -> tuple[int, int, float]:
        """Planes from which a slice is made, and the weight of the upper one; 0 or 1 where it is one plane's."""
        z_mm = self.planes.z_mm
        near = tolerance_mm(self.grid)
        above = int(np.clip(np.searchsorted(z_mm, z), begin, end))
        below = max(above - 1, begin)
        if above == begin or z >= z_mm[end] or abs(z - z_mm[above]) <= near:
            return above, above, 1.0
        if abs(z - z_mm[below]) <= near:
            return below, below, 0.0
        return below, above, float((z - z_mm[below]) / (z_mm[above] - z_mm[below]))

    def _distances(self) -> Callable[[int], npt.NDArray[np.float64]]:
        """Signed distance from the edge of a plane's shape, mm, inside positive; the two latest planes are kept."""
        kept: dict[int, npt.NDArray[np.float64]] = {}
        sampling = (self.grid.spacing_mm[1], self.grid.spacing_mm[0])

        def distance(plane: int) -> npt.NDArray[np.float64]:
            if plane not in kept:
                while len(kept) > 1:
                    del kept[min(kept)]
                shape = np.pad(self.inside[plane], 1)
                if not shape.any():
                    shape[self._middle(plane)] = True
                edt = ndimage.distance_transform_edt
                kept[plane] = np.asarray((edt(shape, sampling) - edt(~shape, sampling))[1:-1, 1:-1])
            return kept[plane]

        return distance

    def _middle(self, plane: int) -> tuple[int, int]:
        """The voxel of a padded bitmap that is nearest to outlines which enclose none."""
        x, y = np.concatenate(self.planes.outlines[plane]).mean(axis=0)
        at = [
            round((v - o) / d) - c + 1
            for v, o, d, c in zip((x, y), self.grid.origin_mm, self.grid.spacing_mm, self.corner, strict=False)
        ]
        rows, columns = self.inside.shape[1:]
        return int(np.clip(at[1], 1, rows)), int(np.clip(at[0], 1, columns))
