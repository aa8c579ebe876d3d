"""The difference of a computed dose and the beamlets' dose, without its noise, and penalties corrected by it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from radiarch_worker.model import Grid
from radiarch_worker.optimization import DoseTerm

_SMOOTH_MM = 4.0
"""Errors of beamlets over more than this are more easily separated from the noise of the dose that corrects them."""
_NOISE_LEFT = 1.3


@dataclass(frozen=True)
class CorrectedTerm:
    """A penalty on a dose to which something is added.

    Attributes
    ----------
    added_gy : for each of the term's rows
    """

    term: DoseTerm
    added_gy: npt.NDArray[np.float32]

    @property
    def name(self) -> str:
        return self.term.name

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        return self.term.rows

    def value_and_gradient(self, dose_gy: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any]]:
        return self.term.value_and_gradient(dose_gy + self.added_gy)

    def with_rows(self, rows: npt.NDArray[np.intp]) -> CorrectedTerm:
        return replace(self, term=self.term.with_rows(rows))

    def near(self, dose_gy: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return np.ones(len(dose_gy), dtype=np.bool_)  # tuning was validated with all voxels

    def only(self, keep: npt.NDArray[np.bool_]) -> CorrectedTerm:
        return replace(self, term=self.term.only(keep), added_gy=self.added_gy[keep])


@dataclass(frozen=True)
class Correction:
    """What was found.

    Attributes
    ----------
    added_gy : (rows,) to be added to the beamlets' dose
    spread_gy
        How much the dose in the target varies from voxel to voxel by what the beamlets do not show, noise apart, 1
        sigma. The plan that is fitted to the beamlets next hides as much again.
    left_gy : the part of it that is not in ``added_gy``, since it could as well be noise
    said : the same in words
    """

    added_gy: npt.NDArray[np.float32]
    spread_gy: float
    left_gy: float
    said: str


def correction(
    difference_gy: npt.NDArray[np.float32],
    voxels: npt.NDArray[np.int64],
    grid: Grid,
    target: npt.NDArray[np.intp],
    noise_gy: float,
) -> Correction:
    """Of what is smooth in a difference, and of the rest, each the share that is not noise.

    Parameters
    ----------
    difference_gy : (rows,) a computed dose less the beamlets'
    voxels : (rows,) flat index of each row's voxel in ``grid``
    target : rows in which noise is separated from the rest
    noise_gy
        Of the computed dose in the target, 1 sigma.
    """
    smooth = _smoothed(difference_gy, voxels, grid)
    fine = difference_gy - smooth
    # white noise averaged over a Gaussian; a proton's voxels are not independent, so that more of it is left
    left = _NOISE_LEFT * math.prod((2 * math.sqrt(math.pi) * _SMOOTH_MM / s) ** -0.5 for s in grid.spacing_mm)
    shares = [_share(part[target], part_gy) for part, part_gy in ((smooth, left * noise_gy), (fine, noise_gy))]
    said = (
        f"in the target the computed dose differs from the beamlets' by {float(smooth[target].std()):.2f} Gy over more "
        f"than {_SMOOTH_MM:g} mm, and by {float(fine[target].std()):.2f} Gy from voxel to voxel, {noise_gy:.2f} Gy of "
        f"that noise: {100 * shares[0]:.0f} % and {100 * shares[1]:.0f} % of it are taken into account"
    )
    added = (shares[0] * smooth + shares[1] * fine).astype(np.float32)
    spread_gy = float(fine[target].std()) * math.sqrt(shares[1])
    return Correction(added, spread_gy, spread_gy * math.sqrt(1 - shares[1]), said)


def _share(values: npt.NDArray[np.float32], noise_gy: float) -> float:
    """Of values' variance, what is not noise."""
    return max(0.0, 1 - (noise_gy / max(float(values.std()), 1e-9)) ** 2)


def _smoothed(values: npt.NDArray[np.float32], voxels: npt.NDArray[np.int64], grid: Grid) -> npt.NDArray[np.float32]:
    """Values of some voxels averaged with those around them."""
    sigma = [_SMOOTH_MM / s for s in reversed(grid.spacing_mm)]
    field, there = (np.zeros(grid.shape, dtype=np.float32) for _ in range(2))
    field.ravel()[voxels], there.ravel()[voxels] = values, 1.0
    summed, counted = (ndimage.gaussian_filter(a, sigma, truncate=2.5).ravel()[voxels] for a in (field, there))
    smooth: npt.NDArray[np.float32] = summed / counted
    return smooth
