"""Polygons to voxels: even-odd filling on a regular grid, exact to the voxel centre; nothing of DICOM lives here.

Own code, since the libraries' fillers decide voxel centres on an edge by rounding (matplotlib), take both sides
(scikit-image) or round the vertices (Pillow), and look at every voxel once for each vertex. Here an edge belongs to
one side only, so structures that share a border share no voxel and leave none out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radiarch_worker.model import BoolVolume

from .limits import MAX_CROSSINGS

FloatArray = npt.NDArray[np.float64]


class TooLargeError(Exception):
    """The polygons need more memory than the caller allows."""


@dataclass(frozen=True)
class Region:
    """A box of voxels that may reach outside of the image.

    Attributes
    ----------
    start : (z, y, x) index of the box's first voxel in the grid
    inside : (Z, Y, X) bool
    """

    start: tuple[int, int, int]
    inside: BoolVolume

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.inside))


def fill(
    polygons: Sequence[FloatArray],
    planes: npt.NDArray[np.int64],
    *,
    low: tuple[int, int, int],
    high: tuple[int, int, int],
    max_crossings: int,
    max_voxels: int,
) -> Region:
    """Fill polygons by the even-odd rule, all those of a plane together.

    Parameters
    ----------
    polygons : (n, 2) each, (x, y) in voxels: integers are voxel centres
    planes : (len(polygons),) plane index z of each polygon
    low, high : (z, y, x) bounds: what lies outside ``low <= index < high`` is cut off
    max_crossings, max_voxels : bounds on memory

    Returns
    -------
    Region
        Voxels whose centre is inside, a centre on the lower edge of x or y counting as inside.

    Raises
    ------
    TooLargeError
        Beyond one of the bounds.
    """
    x, y, z, x_next, y_next = _edges(polygons, planes)
    # Each edge is taken from its lower end, so that an edge shared by two polygons crosses at the very same x.
    down = y > y_next
    x, x_next = np.where(down, x_next, x), np.where(down, x, x_next)
    y, y_next = np.where(down, y_next, y), np.where(down, y, y_next)
    first = np.clip(np.ceil(y), low[1], high[1]).astype(np.int64)
    last = np.clip(np.ceil(y_next), low[1], high[1]).astype(np.int64)  # exclusive
    keep = (z >= low[0]) & (z < high[0]) & (last > first)
    x, y, x_next, y_next = (a[keep] for a in (x, y, x_next, y_next))
    z, first, last = z[keep], first[keep], last[keep]
    rows = last - first
    total = int(rows.sum())
    if total > max_crossings:
        raise TooLargeError(f"{total} crossings")
    if total == 0:
        return Region(low, np.zeros((0, 0, 0), dtype=np.bool_))
    edge = np.repeat(np.arange(rows.size), rows)
    row = np.arange(total) - np.repeat(np.cumsum(rows) - rows, rows) + first[edge]
    crossing = x[edge] + (row - y[edge]) / (y_next[edge] - y[edge]) * (x_next[edge] - x[edge])
    column = np.clip(np.ceil(crossing), low[2], high[2]).astype(np.int64)
    return _between(z[edge], row, column, max_voxels)


def fill_points(
    outlines: Sequence[FloatArray], y_mm: FloatArray, x_mm: FloatArray, *, max_crossings: int = MAX_CROSSINGS
) -> npt.NDArray[np.bool_]:
    """Which points of a plane are inside outlines, by the even-odd rule.

    Parameters
    ----------
    outlines : (n, 2) x, y in mm
    y_mm, x_mm : evenly spaced, rising

    Returns
    -------
    (Y, X) bool
    """
    inside = np.zeros((len(y_mm), len(x_mm)), np.bool_)
    if not inside.size:
        return inside
    first = np.array([x_mm[0], y_mm[0]])
    step = np.array([axis[1] - axis[0] if len(axis) > 1 else 1.0 for axis in (x_mm, y_mm)])
    region = fill(
        [(xy - first) / step for xy in outlines],
        np.zeros(len(outlines), np.int64),
        low=(0, 0, 0),
        high=(1, len(y_mm), len(x_mm)),
        max_crossings=max_crossings,
        max_voxels=len(y_mm) * (len(x_mm) + 1),  # a row's last crossing may lie on the upper bound
    )
    if region.inside.size:
        _, y, x = region.start
        rows, columns = region.inside.shape[1:]
        inside[y : y + rows, x : x + columns] = region.inside[0][: len(y_mm) - y, : len(x_mm) - x]
    return inside


def _edges(
    polygons: Sequence[FloatArray], planes: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64], FloatArray, FloatArray]:
    points = np.concatenate(polygons) if polygons else np.empty((0, 2))
    after = np.concatenate([np.roll(p, -1, axis=0) for p in polygons]) if polygons else points
    z = np.repeat(np.asarray(planes, dtype=np.int64), [len(p) for p in polygons])
    return points[:, 0], points[:, 1], z, after[:, 0], after[:, 1]


def _between(
    z: npt.NDArray[np.int64], row: npt.NDArray[np.int64], column: npt.NDArray[np.int64], max_voxels: int
) -> Region:
    """Voxels that lie after an odd number of crossings of their row."""
    start = (int(z.min()), int(row.min()), int(column.min()))
    shape = (int(z.max()) - start[0] + 1, int(row.max()) - start[1] + 1, int(column.max()) - start[2] + 1)
    voxels = shape[0] * shape[1] * shape[2]
    if voxels > max_voxels:
        raise TooLargeError(f"{voxels} voxels")
    flat = ((z - start[0]) * shape[1] + (row - start[1])) * shape[2] + (column - start[2])
    index, times = np.unique(flat, return_counts=True)
    toggle = np.zeros(voxels, dtype=np.bool_)
    toggle[index[times % 2 == 1]] = True
    # Along each row the last crossing closes: its column and what follows it are outside.
    inside = np.logical_xor.accumulate(toggle.reshape(shape), axis=2)
    return Region(start, inside)
