"""A dose beside a reference dose: gamma, mean difference, and the difference dose; judging each lives in `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import GammaResult
from radiarch_contract.workflows import GammaCriteria
from scipy import ndimage

from radiarch_worker.model import BoolVolume, FloatVolume, Grid, Patient, Reporter

from .gamma import MAX_SEARCHED, gamma_index

HIGH_DOSE = 0.5
"""Of the reference's maximum: where mean differences and scales are taken, away from the noise of little dose."""


@dataclass(frozen=True)
class Compared:
    """Two doses on one patient.

    Attributes
    ----------
    gamma : None where there is nothing to judge; ``note`` says why
    mean_difference_gy : dose minus reference, over the points of the reference grid with `HIGH_DOSE`
    difference_gy : (Z, Y, X) float32 on ``grid``, dose minus reference, where both are known
    """

    gamma: GammaResult | None
    note: str | None
    mean_difference_gy: float
    difference_gy: FloatVolume
    grid: Grid


def compare(
    dose_gy: FloatVolume,
    grid: Grid,
    reference_gy: FloatVolume,
    reference: Grid,
    patient: Patient,
    criteria: GammaCriteria,
    folder: Path,
    reporter: Reporter,
) -> Compared:
    """Compare a dose with a reference inside BODY.

    Parameters
    ----------
    dose_gy, reference_gy
        (Z, Y, X) Gy of the same dose type, each on its grid, in the patient's frame of reference.

    Raises
    ------
    InputRefusedError
        (unsupported_geometry) The two grids have nothing in common.
    """
    inside = body_on(patient, reference) & known_on(reference, grid)
    if not inside.any():
        raise InputRefusedError(
            "the two dose grids have no point of the patient in common",
            remedy="Name doses of the same region.",
            code=ErrorCode.UNSUPPORTED_GEOMETRY,
        )
    normalisation_gy = float(reference_gy[inside].max())
    high = inside & (reference_gy >= HIGH_DOSE * normalisation_gy) & (reference_gy > 0)
    at_reference = resampled(dose_gy, grid, reference)
    mean = float((at_reference[high] - reference_gy[high]).mean(dtype=np.float64)) if high.any() else 0.0
    judged = inside & (reference_gy >= criteria.cutoff_percent / 100 * normalisation_gy)
    gamma: GammaResult | None = None
    note: str | None = None
    if normalisation_gy > 0:
        found = gamma_index(
            reference_gy, reference, judged, dose_gy, grid, criteria, normalisation_gy, folder, reporter
        )
        gamma = GammaResult(
            criteria=criteria,
            passed_percent=found.passed_percent,
            points=found.points,
            mean=found.mean,
            max=found.max,
            max_searched=MAX_SEARCHED,
            reference_max_gy=normalisation_gy,
        )
        all_judged = body_on(patient, reference) & (reference_gy >= criteria.cutoff_percent / 100 * normalisation_gy)
        left = 100 * (1 - np.count_nonzero(judged) / np.count_nonzero(all_judged))
        if left > 0.1:
            note = f"{left:.1f} % of the reference's points above the cut-off lie outside of the other dose's grid."
    else:
        note = "the reference has no dose inside BODY where the other dose is known"
    difference, common = _difference(dose_gy, grid, reference_gy, reference)
    return Compared(gamma, note, mean, difference, common)


def _difference(
    dose_gy: FloatVolume, grid: Grid, reference_gy: FloatVolume, reference: Grid
) -> tuple[FloatVolume, Grid]:
    """Dose minus reference on the dose's grid, cropped to where the reference is known."""
    low, high = [], []
    for axis in range(3):
        at, edge = grid.axis_mm(axis), reference.axis_mm(axis)
        kept = np.flatnonzero((at >= edge[0] - 1e-6) & (at <= edge[-1] + 1e-6))
        if kept.size < 2:
            raise InputRefusedError(
                "the two dose grids overlap in less than two planes",
                remedy="Name doses of the same region.",
                code=ErrorCode.UNSUPPORTED_GEOMETRY,
            )
        low.append(int(kept[0]))
        high.append(int(kept[-1]) + 1)
    origin = tuple(float(grid.axis_mm(a)[low[a]]) for a in range(3))
    common = Grid(
        (origin[0], origin[1], origin[2]),
        grid.spacing_mm,
        (high[2] - low[2], high[1] - low[1], high[0] - low[0]),
    )
    part = dose_gy[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    return np.asarray(part - resampled(reference_gy, reference, common), dtype=np.float32), common


def resampled(dose_gy: FloatVolume, grid: Grid, wanted: Grid) -> FloatVolume:
    """A dose at the points of another grid, linear between its own; beyond them as at the edge."""
    places = [(wanted.axis_mm(a) - grid.origin_mm[a]) / grid.spacing_mm[a] for a in (2, 1, 0)]
    points = np.meshgrid(*places, indexing="ij")
    found: FloatVolume = ndimage.map_coordinates(dose_gy, points, order=1, mode="nearest", output=np.float32)
    return found


def known_on(wanted: Grid, grid: Grid) -> BoolVolume:
    """Which points of a grid lie between the outermost points of another one."""
    axes = []
    for axis in (2, 1, 0):
        at, edge = wanted.axis_mm(axis), grid.axis_mm(axis)
        axes.append((at >= edge[0] - 1e-6) & (at <= edge[-1] + 1e-6))
    return np.asarray(axes[0][:, None, None] & axes[1][None, :, None] & axes[2][None, None, :])


def body_on(patient: Patient, wanted: Grid) -> BoolVolume:
    """Which points of a grid lie in a voxel of the patient's outline."""
    ct = patient.ct.grid
    picks: list[npt.NDArray[np.int64]] = []
    inside = []
    for axis in (2, 1, 0):
        index = np.rint((wanted.axis_mm(axis) - ct.origin_mm[axis]) / ct.spacing_mm[axis]).astype(np.int64)
        size = ct.shape[2 - axis]
        inside.append((index >= 0) & (index < size))
        picks.append(np.clip(index, 0, size - 1))
    found = patient.body.mask[np.ix_(*picks)]
    return np.asarray(found & inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :])
