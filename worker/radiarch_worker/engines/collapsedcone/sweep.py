"""Energy carried along lines through a grid, one direction after another: numba's part, and its shares of the cores.

For one direction the voxels are parted into lines that step along the axis that the direction is nearest to; in the
other two they step to the nearest voxel, so that each voxel is on one line. Lines carry the energy of each exponential.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from .cones import TERMS, Cones

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]

BLOCKS = 4
"""Shares of the directions along one axis whose doses are summed apart: fixed, so that no bit depends on the cores."""
_THICKEST = np.float32(16.0)
"""Most mean free paths in a voxel that are told apart."""


@dataclass(frozen=True)
class Sweep:
    """The directions of one beam.

    Attributes
    ----------
    direction : (n, 3) x, y, z
    ring : (n,) of the cones
    """

    cones: Cones
    direction: FloatArray
    ring: npt.NDArray[np.int64]

    @classmethod
    def about(cls, cones: Cones, beam: FloatArray) -> Sweep:
        directions = cones.directions(beam)
        ring = np.repeat(np.arange(directions.shape[0]), directions.shape[1])
        return cls(cones, directions.reshape(-1, 3), ring)


def deposit(
    density: Volume,
    primary: Volume,
    scatter: Volume,
    spacing_mm: tuple[float, float, float],
    sweep: Sweep,
    pool: ThreadPoolExecutor,
) -> Volume:
    """Dose of released energy.

    Parameters
    ----------
    density : (Z, Y, X) g/cm³
    primary, scatter : (Z, Y, X) energy that each voxel's TERMA gives to primary electrons and to scatter, per mass
    spacing_mm : x, y, z

    Returns
    -------
    (Z, Y, X) in the unit of what is released
    """
    total = np.zeros(density.shape, dtype=np.float32)
    axis_of = np.argmax(np.abs(sweep.direction) / np.asarray(spacing_mm), axis=1)
    for axis in range(3):
        chosen = np.flatnonzero(axis_of == axis)
        if not len(chosen):
            continue
        order = {0: (2, 0, 1), 1: (1, 0, 2), 2: (0, 1, 2)}[axis]  # of (Z, Y, X): the axis first
        volumes = tuple(np.ascontiguousarray(v.transpose(order)) for v in (density, primary, scatter))
        xyz = tuple(2 - o for o in order)
        steps = np.array([spacing_mm[a] for a in xyz])
        parts = np.array_split(chosen, min(BLOCKS, len(chosen)))

        def share(part: npt.NDArray[np.int64]) -> Volume:
            dose = np.zeros(volumes[0].shape, dtype=np.float32)  # noqa: B023 - used before the next axis
            for n in part:
                ring = sweep.ring[n]
                _along(
                    *volumes,  # noqa: B023
                    sweep.direction[n][list(xyz)],  # noqa: B023
                    steps,  # noqa: B023
                    sweep.cones.share[ring].astype(np.float32),
                    sweep.cones.slope_cm2_g[ring],
                    dose,
                )
            return dose

        back = np.argsort(order)
        for dose in pool.map(share, parts):
            total += dose.transpose(back)
    return total


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _along(density, primary, scatter, direction, steps, share, slope, dose):  # type: ignore[no-untyped-def]
    planes, rows, columns = density.shape
    length_cm = steps[0] / abs(direction[0]) / 10.0
    row_slope = direction[1] / abs(direction[0]) * steps[0] / steps[1]
    column_slope = direction[2] / abs(direction[0]) * steps[0] / steps[2]
    last_row = int(np.rint(row_slope * (planes - 1)))
    last_column = int(np.rint(column_slope * (planes - 1)))
    before_row, before_column = max(last_row, 0), max(last_column, 0)
    state = np.zeros((TERMS, rows + abs(last_row), columns + abs(last_column)), np.float32)
    for n in range(planes):
        plane = n if direction[0] > 0 else planes - 1 - n
        row_at = before_row - int(np.rint(row_slope * n))
        column_at = before_column - int(np.rint(column_slope * n))
        for r in range(rows):
            rho, into = density[plane, r], dose[plane, r]
            for k in range(TERMS):
                source = primary[plane, r] if k == 0 else scatter[plane, r]
                line = state[k, r + row_at, column_at : column_at + columns]
                _step(rho, source, share[k], np.float32(slope[k] * length_cm), line, into)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def _step(rho, source, share, thickness, line, dose):  # type: ignore[no-untyped-def]
    one, half, sixth, last = np.float32(1.0), np.float32(0.5), np.float32(1.0 / 6.0), np.float32(1.0 / 24.0)
    for c in range(len(rho)):
        # stays = (1 - exp(-x)) / x, from a sixteenth of x by f(2y) = f(y) (1 + exp(-y)) / 2
        y = min(thickness * rho[c], _THICKEST) * np.float32(1.0 / 16.0)
        stays = one - y * (half - y * (sixth - y * last))
        passes = one - y * stays
        stays *= (one + passes) * half
        passes *= passes
        stays *= (one + passes) * half
        passes *= passes
        stays *= (one + passes) * half
        passes *= passes
        stays *= (one + passes) * half
        passes *= passes
        carried = line[c]
        released = share * source[c]
        dose[c] += thickness * carried * stays + released * (one - stays)
        line[c] = carried * passes + released * rho[c] * stays
