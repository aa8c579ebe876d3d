"""Straight rays through the CT: water-equivalent depths, and whether a ray enters where nothing was scanned."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from radiarch_worker.model import BoolVolume, FloatVolume, Grid


def depth_to_points(
    rsp: FloatVolume,
    body: BoolVolume,
    grid: Grid,
    scanned_mm: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    points_mm: npt.NDArray[np.float64],
    direction: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Walk from each point against the beam's direction to the end of the grid.

    Parameters
    ----------
    rsp, body : (Z, Y, X) on ``grid``
    scanned_mm : lower and upper corner of what was scanned
    points_mm : (n, 3)
    direction : unit vector along which protons travel

    Returns
    -------
    depth_mm : (n,) water-equivalent
    unscanned : (n,) True where the ray is still inside BODY when it leaves what was scanned
    """
    half = np.asarray(grid.spacing_mm) / 2
    corner = np.asarray(grid.origin_mm) - half
    depth = np.zeros(len(points_mm))
    unscanned = np.zeros(len(points_mm), dtype=np.bool_)
    _walk(
        np.ascontiguousarray(rsp, dtype=np.float32),
        np.ascontiguousarray(body),
        corner,
        np.asarray(grid.spacing_mm),
        np.asarray(scanned_mm[0], dtype=np.float64),
        np.asarray(scanned_mm[1], dtype=np.float64),
        np.ascontiguousarray(points_mm, dtype=np.float64),
        -np.asarray(direction, dtype=np.float64),
        depth,
        unscanned,
    )
    return depth, unscanned


@numba.njit(cache=True, nogil=True)
def _walk(rsp, body, corner, spacing, low, high, points, back, depth, unscanned):  # type: ignore[no-untyped-def]
    shape = (rsp.shape[2], rsp.shape[1], rsp.shape[0])
    position = np.empty(3)
    index = np.empty(3, np.int64)
    for n in range(len(points)):
        for a in range(3):
            position[a] = points[n, a]
        was_in_body = False
        while True:
            inside = True
            in_scan = True
            step = 1e30
            for a in range(3):
                index[a] = int(np.floor((position[a] - corner[a]) / spacing[a]))
                if index[a] < 0 or index[a] >= shape[a]:
                    inside = False
                if position[a] < low[a] or position[a] > high[a]:
                    in_scan = False
                if abs(back[a]) > 1e-9:
                    edge = corner[a] + (index[a] + (1 if back[a] > 0 else 0)) * spacing[a]
                    step = min(step, (edge - position[a]) / back[a])
            if not in_scan and was_in_body:
                unscanned[n] = True
            if not inside:
                break
            step = max(step, 0.0) + 1e-4
            depth[n] += rsp[index[2], index[1], index[0]] * step
            was_in_body = body[index[2], index[1], index[0]]
            for a in range(3):
                position[a] += step * back[a]
