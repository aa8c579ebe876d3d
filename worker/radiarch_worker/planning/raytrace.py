"""Straight rays through the CT: depths in water of points and of a target, and rays through what was not scanned."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from radiarch_worker.model import BoolVolume, FloatVolume, Grid

FloatArray = npt.NDArray[np.float64]

_PARTS_MAX = 32
"""Parts of a target along one ray that are distinguished; what lies behind them counts as one with the last."""


@dataclass(frozen=True)
class TargetParts:
    """Where rays are inside a target, in the order in which a proton meets it.

    Attributes
    ----------
    ray : (m,) index of the ray; a ray that misses the target is not there, one through a hole is there twice or more
    entry_mm, exit_mm : (m,) water-equivalent depths
    """

    ray: npt.NDArray[np.int64]
    entry_mm: FloatArray
    exit_mm: FloatArray


def depth_to_points(
    rsp: FloatVolume,
    body: BoolVolume,
    grid: Grid,
    scanned_mm: tuple[FloatArray, FloatArray],
    points_mm: FloatArray,
    direction: FloatArray,
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Walk from each point against the beam's direction to the end of the grid.

    Parameters
    ----------
    rsp, body : (Z, Y, X) on ``grid``
    scanned_mm : lower and upper corner of what was scanned
    points_mm : (n, 3)
    direction : (3,) or (n, 3), unit vectors along which protons travel

    Returns
    -------
    depth_mm : (n,) water-equivalent
    unscanned : (n,) True where the ray is still inside BODY when it leaves what was scanned
    """
    corner, spacing = _corner_mm(grid), np.asarray(grid.spacing_mm)
    depth = np.zeros(len(points_mm))
    unscanned = np.zeros(len(points_mm), dtype=np.bool_)
    _walk_back(
        np.ascontiguousarray(rsp, dtype=np.float32),
        np.ascontiguousarray(body),
        corner,
        spacing,
        np.asarray(scanned_mm[0], dtype=np.float64),
        np.asarray(scanned_mm[1], dtype=np.float64),
        np.ascontiguousarray(points_mm, dtype=np.float64),
        np.ascontiguousarray(np.broadcast_to(-np.asarray(direction, dtype=np.float64), np.shape(points_mm))),
        depth,
        unscanned,
    )
    return depth, unscanned


def target_parts(
    rsp: FloatVolume, target: BoolVolume, grid: Grid, through_mm: FloatArray, directions: FloatArray
) -> TargetParts:
    """Walk along each ray through the whole grid.

    Parameters
    ----------
    rsp, target : (Z, Y, X) on ``grid``
    through_mm : (n, 3) a point of each ray
    directions : (n, 3) unit vectors along which protons travel
    """
    corner, spacing = _corner_mm(grid), np.asarray(grid.spacing_mm)
    start, hits = _grid_entries(corner, grid, through_mm, directions)
    count = np.zeros(len(start), dtype=np.int64)
    entry, leave = np.zeros((len(start), _PARTS_MAX)), np.zeros((len(start), _PARTS_MAX))
    _walk_through(
        np.ascontiguousarray(rsp, dtype=np.float32),
        np.ascontiguousarray(target),
        corner,
        spacing,
        np.ascontiguousarray(start),
        np.ascontiguousarray(directions, dtype=np.float64),
        hits,
        count,
        entry,
        leave,
    )
    there = np.arange(_PARTS_MAX) < count[:, None]
    return TargetParts(np.nonzero(there)[0], entry[there], leave[there])


def _corner_mm(grid: Grid) -> FloatArray:
    corner: FloatArray = np.asarray(grid.origin_mm) - np.asarray(grid.spacing_mm) / 2
    return corner


def _grid_entries(
    corner: FloatArray, grid: Grid, through_mm: FloatArray, directions: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Where each ray enters the grid, just inside it; rays that miss the grid are marked."""
    far_corner = corner + np.asarray(grid.spacing_mm) * np.asarray(grid.shape[::-1])
    enter, leave = np.full(len(through_mm), -np.inf), np.full(len(through_mm), np.inf)
    for axis in range(3):
        d, at = directions[:, axis], through_mm[:, axis]
        along = abs(d) < 1e-9
        beside = along & ((at <= corner[axis]) | (at >= far_corner[axis]))
        safe = np.where(along, 1.0, d)
        t = np.stack([corner[axis] - at, far_corner[axis] - at]) / safe
        enter = np.where(along, enter, np.maximum(enter, t.min(axis=0)))
        leave = np.where(along, np.where(beside, -np.inf, leave), np.minimum(leave, t.max(axis=0)))
    hits = leave - enter > 0.1
    start = through_mm + np.where(hits, enter + 1e-3, 0.0)[:, None] * directions
    return start, hits


@numba.njit(cache=True, nogil=True)
def _step(position, direction, corner, spacing, index):  # type: ignore[no-untyped-def]
    """Length of the way to the next voxel; ``index`` (x, y, z) becomes that of the voxel where ``position`` is."""
    step = 1e30
    for a in range(3):
        index[a] = int(np.floor((position[a] - corner[a]) / spacing[a]))
        if abs(direction[a]) > 1e-9:
            edge = corner[a] + (index[a] + (1 if direction[a] > 0 else 0)) * spacing[a]
            step = min(step, (edge - position[a]) / direction[a])
    return max(step, 0.0) + 1e-4  # just beyond the edge, whatever rounding does


@numba.njit(cache=True, nogil=True)
def _inside(index, shape):  # type: ignore[no-untyped-def]
    return (
        0 <= index[0] < shape[2] and 0 <= index[1] < shape[1] and 0 <= index[2] < shape[0]  # x, y, z in (Z, Y, X)
    )


@numba.njit(cache=True, nogil=True)
def _walk_back(rsp, body, corner, spacing, low, high, points, back, depth, unscanned):  # type: ignore[no-untyped-def]
    position = np.empty(3)
    index = np.empty(3, np.int64)
    for n in range(len(points)):
        position[:] = points[n]
        was_in_body = False
        while True:
            step = _step(position, back[n], corner, spacing, index)
            in_scan = True
            for a in range(3):
                if position[a] < low[a] or position[a] > high[a]:
                    in_scan = False
            if not in_scan and was_in_body:
                unscanned[n] = True
            if not _inside(index, rsp.shape):
                break
            depth[n] += rsp[index[2], index[1], index[0]] * step
            was_in_body = body[index[2], index[1], index[0]]
            for a in range(3):
                position[a] += step * back[n, a]


@numba.njit(cache=True, nogil=True)
def _walk_through(rsp, target, corner, spacing, start, direction, hits, count, entry, leave):  # type: ignore[no-untyped-def]
    position = np.empty(3)
    index = np.empty(3, np.int64)
    most = entry.shape[1]
    for n in range(len(start)):
        if not hits[n]:
            continue
        position[:] = start[n]
        depth = 0.0
        was_in_target = False
        while True:
            step = _step(position, direction[n], corner, spacing, index)
            if not _inside(index, rsp.shape):
                break
            in_target = target[index[2], index[1], index[0]]
            if in_target and not was_in_target and count[n] < most:
                entry[n, count[n]] = depth
                count[n] += 1
            was_in_target = in_target
            depth += rsp[index[2], index[1], index[0]] * step
            if in_target:
                leave[n, count[n] - 1] = depth
            for a in range(3):
                position[a] += step * direction[n, a]
