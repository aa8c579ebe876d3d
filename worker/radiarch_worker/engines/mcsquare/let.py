"""Dose-averaged LET of a plan's protons, in water; runs of their own, so that asking for it changes no dose.

LET_d is averaged over primary and secondary protons and given in water of unit density, as radiobiology reports it
(Kalholm 2021, doi:10.1016/j.radonc.2021.04.007). The engine averages the stopping power over everything that it
transports, and takes it in the voxel's own medium. So the heavier secondaries (deuterons, alphas: little dose, much
LET) are left out of these runs, and what is found is divided by the medium's stopping power relative to water.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from radiarch_worker.model import BoolVolume, FloatVolume, Grid

from . import files
from .calibration import Calibration
from .ct import EngineCt
from .runs import LOG_NAME, Part, RunSettings, part_seed, run_parts
from .spots import SpotPlan
from .turn import Turn

PARTS = 8
DOSE_FLOOR = 0.01
"""Of the highest dose: below it LET is not reported. It would be noise, of so few protons that it has no effect."""
LEAST_STOPPING_POWER = 0.1
"""Relative to water: in gas LET is not reported (its voxels' edges are tissue)."""
_EXTRA = {
    "LET_MHD_Output": True,
    "LET_Calculation_Method": "StopPow",
    "Simulate_Secondary_Deuterons": False,
    "Simulate_Secondary_Alphas": False,
}


@dataclass(frozen=True)
class LetResult:
    """LET of a plan.

    Attributes
    ----------
    kev_um : (Z, Y, X) float32 on ``grid``, dose-averaged, in water; 0 where it is not reported
    uncertainty_percent : 1 sigma, relative, averaged over the target's voxels
    """

    kev_um: FloatVolume
    grid: Grid
    uncertainty_percent: float
    primaries: int
    engine_s: float


def compute_let(
    ct: EngineCt,
    plan: SpotPlan,
    weights_mu: npt.NDArray[np.float64],
    scoring: Grid,
    target: BoolVolume,
    settings: RunSettings,
    *,
    primaries: int,
) -> LetResult:
    """Dose-averaged LET of a plan with given meterset.

    Parameters
    ----------
    weights_mu : (spots,), in the plan's order
    scoring : centres on those of the CT's voxels, spacing a whole multiple of theirs
    target : (Z, Y, X) bool on ``scoring``; where the uncertainty is measured
    primaries
        Total number of protons.

    Raises
    ------
    EngineError
    """
    size = max(1000, 1000 * math.ceil(primaries / PARTS / 1000))
    parts = [
        Part(f"LET {i + 1}", plan, weights_mu, size, part_seed(settings.seed, "let", i), 1.0) for i in range(PARTS)
    ]
    turn = Turn.of(ct.patient_position)
    scored: dict[int, tuple[FloatVolume, FloatVolume]] = {}

    def take(index: int, outputs: Path) -> None:
        scored[index] = files.read_dose(outputs, scoring, turn), files.read_let(outputs, scoring, turn)

    engine_s = run_parts(ct, scoring, parts, _EXTRA, settings, take, "let", settings.reporter.progress)
    dose = np.zeros(scoring.shape)
    dose_let = np.zeros(scoring.shape)
    for i in range(PARTS):  # in the parts' order, whichever ended first
        dose += scored[i][0]
        dose_let += scored[i][0].astype(np.float64) * scored[i][1]
    water = relative_stopping_power(ct, settings.calibration, scoring)
    reported = (dose >= DOSE_FLOOR * dose.max()) & (water >= LEAST_STOPPING_POWER)
    mean = np.divide(dose_let, dose, out=np.zeros_like(dose), where=reported)
    uncertainty = _uncertainty_percent([scored[i] for i in range(PARTS)], dose, mean, target & reported)
    settings.reporter.log(f"{LOG_NAME}: LET of {size * PARTS} protons, {uncertainty:.2f} % uncertain")
    kev_um = np.divide(mean, water, out=np.zeros_like(mean), where=reported).astype(np.float32)
    return LetResult(kev_um, scoring, uncertainty, size * PARTS, engine_s)


def relative_stopping_power(ct: EngineCt, calibration: Calibration, scoring: Grid) -> npt.NDArray[np.float64]:
    """Stopping power relative to water, mean over each scoring voxel.

    Returns
    -------
    (Z, Y, X) float64 on ``scoring``
    """
    power = calibration.stopping_power(ct.hu).astype(np.float64)
    picks = []
    for axis in (2, 1, 0):
        steps = round(scoring.spacing_mm[axis] / ct.grid.spacing_mm[axis])
        # an even number of voxels around a voxel's centre: half of the outermost ones on either side
        kernel = np.ones(steps) if steps % 2 else np.concatenate([[0.5], np.ones(steps - 1), [0.5]])
        power = ndimage.convolve1d(power, kernel / steps, axis=2 - axis, mode="nearest")
        index = np.rint((scoring.axis_mm(axis) - ct.grid.origin_mm[axis]) / ct.grid.spacing_mm[axis]).astype(int)
        picks.append(np.clip(index, 0, ct.grid.shape[2 - axis] - 1))
    sampled: npt.NDArray[np.float64] = power[np.ix_(*picks)]
    return sampled


def _uncertainty_percent(
    parts: list[tuple[FloatVolume, FloatVolume]],
    dose: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64],
    where: BoolVolume,
) -> float:
    """Standard error of the ratio of sums over parts (Cochran 1977, 6.4), relative, mean over voxels."""
    if not where.any():
        return 100.0
    n = len(parts)
    spread = np.zeros(int(np.count_nonzero(where)))
    for part_dose, part_let in parts:
        spread += (part_dose[where].astype(np.float64) * (part_let[where] - mean[where])) ** 2
    error = np.sqrt(spread * n / (n - 1)) / dose[where]
    return float(100 * np.mean(error / mean[where]))
