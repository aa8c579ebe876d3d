"""Dose of a plan with its statistical uncertainty, run until it is as certain as wanted; planning is elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from .turn import Turn

FIRST_PARTS = 8
"""Parts that always run: enough to measure the spread between them."""
PART_PRIMARIES = (5_000, 400_000)
"""Least and most protons in one part."""
MAX_PRIMARIES = 1_000_000_000
_LEAST_PRIMARIES = 1_000
"""Protons of a beam's process, however small the beam's share is."""
_NOISE_FACTOR = 0.3
"""First guess of the noise: u² = factor * target's voxels / protons. Measured: 0.25 on two lateral beams of a
prostate, 0.3 and 0.5 in small shallow targets. Only the size of the first parts depends on it."""


_NEXT_SHARE = 0.95
"""Of the progress that is left, of a second round; a third one is seldom needed."""


@dataclass(frozen=True)
class DoseResult:
    """Dose of a plan.

    Attributes
    ----------
    dose_gy : (Z, Y, X) float32 on ``grid``, physical Gy for one fraction
    beams_gy : the same of each beam, where that was asked for; they sum to ``dose_gy``
    uncertainty_percent : 1 sigma of the mean over parts, relative, averaged over the target's voxels
    """

    dose_gy: FloatVolume
    grid: Grid
    uncertainty_percent: float
    primaries: int
    parts: int
    engine_s: float
    beams_gy: tuple[FloatVolume, ...] = ()


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
    each_beam: bool = False,
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
    each_beam
        Whether each beam is run by itself, with its share of the protons, so that its own dose is known as well.

    Raises
    ------
    EngineError
    """
    pieces = _pieces(plan, weights_mu, settings, each_beam)
    parts_sum = _PartsSum(scoring, target, [piece.share for piece in pieces])
    turn = Turn.of(ct.patient_position)
    sizes = _first_round(int(np.count_nonzero(target)), uncertainty_percent, primaries, min_parts)
    engine_s = reported = 0.0
    # The first round is about half of all, when the uncertainty decides how many there are.
    share = 0.5 if primaries is None else 1.0
    while True:
        first = len(parts_sum.primaries)
        parts = [_part(piece, size, (first + i) * len(pieces) + k, settings)
                 for i, size in enumerate(sizes) for k, piece in enumerate(pieces)]  # fmt: skip

        def take(index: int, outputs: Path, first: int = first, sizes: list[int] = sizes) -> None:
            at, piece = divmod(index, len(pieces))
            dose = files.read_dose(outputs, scoring, turn, may_be_zero=len(pieces) > 1)
            parts_sum.take(first + at, piece, dose, sizes[at])

        def progress(fraction: float, start: float = reported, share: float = share) -> None:
            nonlocal reported
            reported = max(reported, start + share * fraction)
            settings.reporter.progress(reported)

        engine_s += run_parts(ct, scoring, parts, {}, settings, take, f"dose-{first}", progress)
        measured = parts_sum.uncertainty_percent()
        done = sum(parts_sum.primaries)
        settings.reporter.log(
            f"{LOG_NAME}: {done} protons in {len(parts_sum.primaries)} parts, {measured:.2f} % uncertain"
        )
        if primaries is not None or measured <= uncertainty_percent:
            break
        sizes = _next_round(done, measured, uncertainty_percent, sizes[0])
        share = _NEXT_SHARE * (1 - reported)
    gy_per_unit = float(np.dot(weights_mu, settings.machine.gy_per_mu(plan.energies_mev)))
    return DoseResult(
        dose_gy=(parts_sum.mean() * gy_per_unit).astype(np.float32),
        grid=scoring,
        uncertainty_percent=measured,
        primaries=done,
        parts=len(parts_sum.primaries),
        engine_s=engine_s,
        beams_gy=tuple((m * gy_per_unit).astype(np.float32) for m in parts_sum.piece_means()) if each_beam else (),
    )


@dataclass(frozen=True)
class _Piece:
    """What one engine process runs: the whole plan, or one beam of it.

    Attributes
    ----------
    share : of the plan's protons
    """

    plan: SpotPlan
    weights_mu: npt.NDArray[np.float64]
    share: float


def _pieces(
    plan: SpotPlan, weights_mu: npt.NDArray[np.float64], settings: RunSettings, each_beam: bool
) -> list[_Piece]:
    if not each_beam:
        return [_Piece(plan, weights_mu, 1.0)]
    protons = weights_mu * settings.machine.protons(plan.energies_mev)
    pieces, at = [], 0
    for beam in plan.beams:
        here = slice(at, at + sum(len(layer) for layer in beam.layers))
        pieces.append(_Piece(SpotPlan((beam,)), weights_mu[here], float(protons[here].sum() / protons.sum())))
        at = here.stop
    return pieces


def _part(piece: _Piece, size: int, index: int, settings: RunSettings) -> Part:
    """A part's process for one piece, with its share of the part's protons."""
    primaries = size if piece.share == 1.0 else max(_LEAST_PRIMARIES, round(size * piece.share))
    seed = part_seed(settings.seed, "dose", index)
    return Part(f"dose {index + 1}", piece.plan, piece.weights_mu, primaries, seed, float(primaries))


class _PartsSum:
    """Mean of parts weighted by their protons, and its uncertainty in the target; pieces of a part are summed."""

    def __init__(self, scoring: Grid, target: npt.NDArray[np.bool_], shares: Sequence[float]) -> None:
        self.primaries: list[int] = []
        self._target = target
        self._shares = shares
        self._totals = [np.zeros(scoring.shape, dtype=np.float64) for _ in shares]
        self._in_target: list[npt.NDArray[np.float64]] = []
        self._waiting: dict[tuple[int, int], tuple[FloatVolume, int]] = {}

    def take(self, part: int, piece: int, dose: FloatVolume, primaries: int) -> None:
        """A piece's dose, eV/g for each of its own protons; parts are added in their order, whichever ends first."""
        self._waiting[part, piece] = dose, primaries
        pieces = range(len(self._shares))
        while all((len(self.primaries), k) in self._waiting for k in pieces):
            found = [self._waiting.pop((len(self.primaries), k)) for k in pieces]
            size = found[0][1]
            for total, share, (value, _) in zip(self._totals, self._shares, found, strict=True):
                total += value * np.float64(share * size)
            shared = [v[self._target] * np.float64(share) for share, (v, _) in zip(self._shares, found, strict=True)]
            self._in_target.append(np.sum(shared, axis=0))
            self.primaries.append(size)

    def piece_means(self) -> list[npt.NDArray[np.float64]]:
        """Each piece's part of the mean."""
        return [total / sum(self.primaries) for total in self._totals]

    def mean(self) -> npt.NDArray[np.float64]:
        return np.sum(self.piece_means(), axis=0) if len(self._totals) > 1 else self.piece_means()[0]

    def uncertainty_percent(self) -> float:
        """Mean over voxels of the standard error of the mean over parts, relative to that mean.

        A part's variance goes with the inverse of its protons. The sample's standard deviation is corrected
        for its bias (c4 of normal samples), so that the figure does not depend on the number of parts.
        """
        n = len(self.primaries)
        weights = np.array(self.primaries, dtype=np.float64)
        values = np.stack(self._in_target)
        mean = weights @ values / weights.sum()
        if not (mean > 0).any():
            raise files.invalid_output("no dose reaches the target")
        variance = weights @ (values - mean) ** 2 / (n - 1) / weights.sum()
        c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
        # A voxel that no proton has hit yet is as uncertain as can be.
        relative = np.divide(np.sqrt(variance) / c4, mean, out=np.ones_like(mean), where=mean > 0)
        return float(100 * relative.mean())


def expected_protons(target_voxels: int, uncertainty_percent: float, primaries: int | None = None) -> float:
    """How many protons a dose will need, about: the number given, else by the noise that is usual."""
    if primaries is not None:
        return float(primaries)
    return max(_NOISE_FACTOR * target_voxels / (uncertainty_percent / 100) ** 2, float(FIRST_PARTS * PART_PRIMARIES[0]))


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
