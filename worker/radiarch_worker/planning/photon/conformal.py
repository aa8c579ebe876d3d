"""Apertures around what a target looks like from the source; weights and doses are found elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.machines.photon_machine import PhotonMachineFile

from .leaves import Aperture

FloatArray = npt.NDArray[np.float64]

JAW_MARGIN_MM = 2.0
"""By which jaws across the leaves' way stay behind the tips."""


def fitted(seen_mm: FloatArray, margin_mm: float, machine: PhotonMachineFile) -> Aperture:
    """The smallest opening of each pair that leaves a margin around all points; jaws follow the leaves.

    Pairs beside the target are closed, at the middle of the nearest open pair, behind the jaws.

    Parameters
    ----------
    seen_mm : (n, 2) points in the isocenter plane

    Raises
    ------
    InputRefusedError
        The machine's leaves do not reach around the target.
    """
    sides = np.asarray(machine.mlc.boundaries_mm, dtype=np.float64)
    left, right = _hull(seen_mm, margin_mm, sides)
    open_pairs = np.flatnonzero(np.isfinite(left))
    low, high = seen_mm[:, 1].min() - margin_mm, seen_mm[:, 1].max() + margin_mm
    reach = machine.mlc.range_mm
    if low < sides[0] or high > sides[-1] or left.min() < reach[0] or right[open_pairs].max() > reach[1]:
        raise InputRefusedError(
            f"the target is seen from {seen_mm[:, 0].min():.0f} to {seen_mm[:, 0].max():.0f} mm along the leaves and "
            f"from {seen_mm[:, 1].min():.0f} to {seen_mm[:, 1].max():.0f} mm across them; with a margin of "
            f"{margin_mm:g} mm it is larger than the machine's field",
            remedy="Turn the collimator, move the isocenter, or use more than one isocenter.",
            code=ErrorCode.UNSUPPORTED_GEOMETRY,
        )
    offset = machine.mlc.leaf_offset_mm
    leaves = np.stack([left + offset, right - offset])
    closed(leaves, open_pairs, machine.mlc.gap_min_mm)
    return Aperture(leaves, jaws_x(leaves[:, open_pairs], machine), (float(low), float(high)))


def closed(leaves_mm: FloatArray, open_pairs: npt.NDArray[np.intp], gap_mm: float) -> None:
    """Close, in place, the pairs that are not open: in the middle of the nearest open one."""
    for pair in range(leaves_mm.shape[1]):
        nearest = open_pairs[np.argmin(np.abs(open_pairs - pair))]
        if nearest != pair:
            middle = leaves_mm[:, nearest].mean()
            leaves_mm[:, pair] = middle - gap_mm / 2, middle + gap_mm / 2


def jaws_x(leaves_mm: FloatArray, machine: PhotonMachineFile) -> tuple[float, float]:
    """Jaws behind the tips of the outermost leaves, as far as they go."""
    low, high = (-1e3, 1e3) if machine.jaws_x is None else machine.jaws_x.range_mm
    margin = JAW_MARGIN_MM + machine.mlc.leaf_offset_mm
    return (
        float(np.clip(leaves_mm[0].min() - margin, low, high)),
        float(np.clip(leaves_mm[1].max() + margin, low, high)),
    )


def _hull(seen_mm: FloatArray, margin_mm: float, sides_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(pairs,) ends of the disks about all points within each pair's strip; infinite where there is none."""
    pairs = len(sides_mm) - 1
    left, right = np.full(pairs, np.inf), np.full(pairs, -np.inf)
    x, y = seen_mm.T
    for pair in range(pairs):
        beside = np.maximum(np.maximum(sides_mm[pair] - y, y - sides_mm[pair + 1]), 0.0)
        near = beside < margin_mm if margin_mm > 0 else (y >= sides_mm[pair]) & (y < sides_mm[pair + 1])
        if near.any():
            half = np.sqrt(margin_mm**2 - beside[near] ** 2)
            left[pair], right[pair] = (x[near] - half).min(), (x[near] + half).max()
    return left, right
