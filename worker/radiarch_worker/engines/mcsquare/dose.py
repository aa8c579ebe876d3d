"""Dose of a plan with its statistical uncertainty, run until it is as certain as wanted; planning is elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import EngineError, ErrorCode

from radiarch_worker.model import FloatVolume, Grid

from . import files
from .ct import EngineCt
from .runs import LOG_NAME, Part, RunSettings, part_seed, run_parts
from .spots import SpotPlan

FIRST_PARTS = 8
"""Parts that always run: enough to measure the spread between them."""
PART_PRIMARIES = (5_000, 400_000)
"""Least and most protons in one part."""
MAX_PRIMARIES = 1_000_000_000
_NOISE_FACTOR = 0.3
"""First guess of the noise: u² = factor * target's voxels / protons. Measured: 0.25 on two lateral beams of a
prostate, 0.3 and 0.5 in small shallow targets. Only the size of the first parts depends on it."""


@dataclass(frozen=True)
class DoseResult:
    """Dose of a plan.

    Attributes
    ----------
    dose_gy : (Z, Y, X) float32 on ``grid``, physical Gy for one fraction
    uncertainty_percent : 1 sigma of the mean over parts, relative, averaged over the target's voxels
    """

    dose_gy: FloatVolume
    grid: Grid
    uncertainty_percent: float
    primaries: int
    parts: int
    engine_s: float


def compute_dose(
    ct: EngineCt,
    plan: SpotPlan,
    weights_mu: npt.NDArray[np.float64],
    scoring: Grid,
    target: npt.NDArray[np.bool_],
    settings: RunSettings,
    *,
    uncertainty_percent: float,
    primaries: int | None = None,
    min_parts: int = FIRST_PARTS,
) -> DoseResult:
    """Dose of a plan with given meterset.

    Parameters
    ----------
    weights_mu : (spots,) for one fraction, in the plan's order
    target : (Z, Y, X) bool on ``scoring``; where the uncertainty is measured
    uncertainty_percent
        Wanted, 1 sigma. Parts are added until what is measured is not more than this.
    primaries
        Total number of protons instead of a wanted uncertainty.
    min_parts
        Parts of the first round, at least 2.

    Raises
    ------
    EngineError
    """
    parts_sum = _PartsSum(scoring, target)
    sizes = _first_round(int(np.count_nonzero(target)), uncertainty_percent, primaries, min_parts)
    # The first round is about half of all, when the uncertainty decides how many there are.
    expected = float(sum(sizes)) * (2 if primaries is None else 1)
    engine_s = told = 0.0
    while True:
        first = len(parts_sum.primaries)
        before = sum(parts_sum.primaries)
        expected = max(expected, float(before + sum(sizes)))
        parts = [
            Part(
                f"dose {first + i + 1}",
                plan,
                weights_mu,
                size,
                part_seed(settings.seed, "dose", first + i),
                float(size),
            )
            for i, size in enumerate(sizes)
        ]
        waiting: dict[int, FloatVolume] = {}

        def take(
            index: int,
            outputs: Path,
            waiting: dict[int, FloatVolume] = waiting,
            first: int = first,
            sizes: list[int] = sizes,
        ) -> None:
            waiting[first + index] = files.read_dose(outputs, scoring)
            while (n := len(parts_sum.primaries)) in waiting:  # in the parts' order, whichever ends first
                parts_sum.add(waiting.pop(n), sizes[n - first])

        def progress(fraction: float, before: int = before, here: int = sum(sizes), all_: float = expected) -> None:
            nonlocal told
            told = max(told, (before + fraction * here) / all_)
            settings.reporter.progress(told)

        engine_s += run_parts(ct, scoring, parts, {}, settings, take, f"dose-{first}", progress)
        measured = parts_sum.uncertainty_percent()
        done = sum(parts_sum.primaries)
        settings.reporter.log(
            f"{LOG_NAME}: {done} protons in {len(parts_sum.primaries)} parts, {measured:.2f} % uncertain"
        )
        if primaries is not None or measured <= uncertainty_percent:
            break
        sizes = _next_round(done, measured, uncertainty_percent, sizes[0])
    gy_per_unit = float(np.dot(weights_mu, settings.machine.gy_per_mu(plan.energies_mev)))
    return DoseResult(
        dose_gy=(parts_sum.mean() * gy_per_unit).astype(np.float32),
        grid=scoring,
        uncertainty_percent=measured,
        primaries=done,
        parts=len(parts_sum.primaries),
        engine_s=engine_s,
    )


class _PartsSum:
    """Mean of parts weighted by their protons, and its uncertainty in the target."""

    def __init__(self, scoring: Grid, target: npt.NDArray[np.bool_]) -> None:
        self.primaries: list[int] = []
        self._target = target
        self._total = np.zeros(scoring.shape, dtype=np.float64)
        self._in_target: list[npt.NDArray[np.float32]] = []

    def add(self, dose: FloatVolume, primaries: int) -> None:
        self._total += dose * np.float64(primaries)
        self._in_target.append(dose[self._target])
        self.primaries.append(primaries)

    def mean(self) -> npt.NDArray[np.float64]:
        return self._total / sum(self.primaries)

    def uncertainty_percent(self) -> float:
        """Mean over voxels of the standard error of the mean over parts, relative to that mean.

        A part's variance goes with the inverse of its protons. The sample's standard deviation is corrected
        for its bias (c4 of normal samples), so that the figure does not depend on the number of parts.
        """
        n = len(self.primaries)
        weights = np.array(self.primaries, dtype=np.float64)
        values = np.stack(self._in_target).astype(np.float64)
        mean = weights @ values / weights.sum()
        if not (mean > 0).any():
            raise files.invalid_output("no dose reaches the target")
        variance = weights @ (values - mean) ** 2 / (n - 1) / weights.sum()
        c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
        # A voxel that no proton has hit yet is as uncertain as can be.
        relative = np.divide(np.sqrt(variance) / c4, mean, out=np.ones_like(mean), where=mean > 0)
        return float(100 * relative.mean())


def _first_round(target_voxels: int, uncertainty_percent: float, primaries: int | None, min_parts: int) -> list[int]:
    """Protons of each part: all of them where their number is given, else about half of what will be needed."""
    if primaries is None:
        wanted = 0.5 * _NOISE_FACTOR * target_voxels / (uncertainty_percent / 100) ** 2
    else:
        wanted = float(primaries)
    return _split(wanted, min_parts)


def _next_round(done: int, measured: float, wanted: float, size: int) -> list[int]:
    # Noise falls with the square root of the number of protons; 3 % more, so that one further round mostly suffices.
    needed = 1.03 * done * (measured / wanted) ** 2
    if needed > MAX_PRIMARIES:
        raise EngineError(
            f"an uncertainty of {wanted:g} % needs {needed:.2g} protons; at most {MAX_PRIMARIES:.2g} are run",
            remedy="Ask for a higher uncertainty_percent or a coarser scoring_spacing_mm.",
            code=ErrorCode.ENGINE_FAILED,
        )
    rest = needed - done
    return _split(rest, min(FIRST_PARTS, max(2, math.ceil(rest / size))))


def _split(protons: float, min_parts: int) -> list[int]:
    low, high = PART_PRIMARIES
    count = max(min_parts, math.ceil(protons / high))
    return [int(max(low, 1000 * math.ceil(protons / count / 1000)))] * count
