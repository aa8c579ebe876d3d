"""Straight rays from points back to a beam's source, through density; what lies on them is not decided here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np
import numpy.typing as npt

from radiarch_worker.model import FloatVolume, Grid

FloatArray = npt.NDArray[np.float64]

_SURFACE = 0.3
"""Relative density from which on a voxel is the patient, for distances from source to surface."""


def radiological_depths(
    density: FloatVolume, grid: Grid, points_mm: FloatArray, source_mm: FloatArray, threads: int = 1
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Depth in water of points as seen from the source, and their distances from the surface on the same rays.

    Parameters
    ----------
    density : (Z, Y, X) relative to water
    points_mm : (n, 3) patient LPS, on ``grid``
    source_mm : (3,)

    Returns
    -------
    depth_mm : (n,) density times length
    inside_mm : (n,) from the point to the farthest voxel of the patient that the ray crosses
    """
    depth = np.zeros(len(points_mm), dtype=np.float32)
    inside = np.zeros(len(points_mm), dtype=np.float32)
    spacing = np.asarray(grid.spacing_mm)
    corner = np.asarray(grid.origin_mm) - spacing / 2
    volume, points = np.ascontiguousarray(density, dtype=np.float32), np.ascontiguousarray(points_mm, dtype=np.float64)
    source = np.asarray(source_mm, dtype=np.float64)

    def part(first: int, stop: int) -> None:
        _walk_to_source(
            volume, corner, spacing, points[first:stop], source, depth[first:stop], inside[first:stop], _SURFACE
        )

    in_parts(part, len(points), threads)
    return depth, inside


def in_parts(work: Callable[[int, int], None], count: int, threads: int, parts: int = 16) -> None:
    """Do ``work(first, stop)`` for parts of a range; parts do not depend on the number of threads."""
    edges = [count * i // parts for i in range(parts + 1)]
    ranges = [(a, b) for a, b in pairwise(edges) if b > a]
    if threads <= 1 or len(ranges) <= 1:
        for first, stop in ranges:
            work(first, stop)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda r: work(*r), ranges))


@numba.njit(cache=True, nogil=True)
def _walk_to_source(volume, corner, spacing, points, source, depth, inside, surface):  # type: ignore[no-untyped-def]
    shape = (volume.shape[2], volume.shape[1], volume.shape[0])
    index = np.empty(3, np.int64)
    to_edge = np.empty(3)
    for n in range(len(points)):
        way = source - points[n]
        length = np.sqrt((way * way).sum())
        for a in range(3):
            index[a] = int(np.floor((points[n, a] - corner[a]) / spacing[a]))
            d = way[a] / length
            if abs(d) < 1e-12:
                to_edge[a] = 1e30
            else:
                edge = corner[a] + (index[a] + (1 if d > 0 else 0)) * spacing[a]
                to_edge[a] = (edge - points[n, a]) / d
        at = 0.0
        sum_mm = 0.0
        while at < length:
            out = False
            for a in range(3):
                if index[a] < 0 or index[a] >= shape[a]:
                    out = True
            if out:
                break
            nearest = 0
            if to_edge[1] < to_edge[0]:
                nearest = 1
            if to_edge[2] < to_edge[nearest]:
                nearest = 2
            end = min(to_edge[nearest], length)
            value = volume[index[2], index[1], index[0]]
            sum_mm += value * (end - at)
            if value > surface:
                inside[n] = end
            at = end
            d = way[nearest] / length
            index[nearest] += 1 if d > 0 else -1
            to_edge[nearest] += spacing[nearest] / abs(d)
        depth[n] = sum_mm
