"""A dose beside a reference dose: gamma, mean difference, and the difference dose; judging each lives in `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import BeamAgreement, DoseComparison, GammaRegion, GammaResult
from radiarch_contract.workflows import GammaCriteria
from scipy import ndimage

from radiarch_worker.model import BoolVolume, FloatVolume, Grid, Patient, Reporter, Structure

from .gamma import MAX_SEARCHED, GammaValues, gamma_index
from .result import Evaluation
from .rtdose import ReadDose

HIGH_DOSE = 0.5
"""Of the reference's maximum: where mean differences and scales are taken, away from the noise of little dose."""


LEFT_OUT_PERCENT = 0.1
"""Share of the points above the cut-off that may lie outside of the other dose's grid without a note."""


class GammaRegionName(NamedTuple):
    """A part of BODY."""

    region: Literal["target", "high_dose"]
    structure: str


@dataclass(frozen=True)
class Compared:
    """Two doses on one patient.

    Attributes
    ----------
    gamma : None where there is nothing to judge; ``note`` says why
    regions : gamma of the targets and of the high dose, where they have points
    left_out_percent : of the reference's points above the cut-off, those where the dose is not known
    mean_difference_gy : dose minus reference, over the points of the reference grid with `HIGH_DOSE`
    high_dose_gy : mean of the reference over those points
    difference_gy : (Z, Y, X) float32 on ``grid``, dose minus reference, where both are known
    """

    gamma: GammaResult | None
    note: str | None
    regions: tuple[GammaRegion, ...]
    left_out_percent: float
    mean_difference_gy: float
    high_dose_gy: float
    difference_gy: FloatVolume
    grid: Grid


def compare(
    dose_gy: FloatVolume,
    grid: Grid,
    reference_gy: FloatVolume,
    reference: Grid,
    patient: Patient,
    targets: Sequence[Structure],
    criteria: GammaCriteria,
    folder: Path,
    reporter: Reporter,
) -> Compared:
    """Compare a dose with a reference inside BODY.

    Parameters
    ----------
    dose_gy, reference_gy
        (Z, Y, X) Gy of the same dose type, each on its grid, in the patient's frame of reference.
    targets
        Have a gamma of their own, of all of their points, whatever their dose.

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
    normalization_gy = float(reference_gy[inside].max())
    high = inside & (reference_gy >= HIGH_DOSE * normalization_gy) & (reference_gy > 0)
    at_reference = resampled(dose_gy, grid, reference)
    mean = float((at_reference[high] - reference_gy[high]).mean(dtype=np.float64)) if high.any() else 0.0
    difference, common = _difference(dose_gy, grid, reference_gy, reference)
    note = None
    gamma: GammaResult | None = None
    regions: tuple[GammaRegion, ...] = ()
    left_out = 0.0
    if normalization_gy > 0:
        above = body_on(patient, reference) & (reference_gy >= criteria.cutoff_percent / 100 * normalization_gy)
        left_out = 100 * (1 - np.count_nonzero(above & inside) / np.count_nonzero(above))
        if left_out > LEFT_OUT_PERCENT:
            note = f"{left_out:.1f} % of the reference's points above the cut-off lie outside of the other dose's grid."
        named = {GammaRegionName("target", t.name): inside & mask_on(t.mask, patient, reference) for t in targets}
        named[GammaRegionName("high_dose", "")] = high
        wanted = {name: mask for name, mask in named.items() if mask.any()}
        whole, *parts = gamma_index(
            *(reference_gy, reference, [above & inside, *wanted.values()], dose_gy, grid),
            *(criteria, normalization_gy, folder, reporter),
        )
        gamma = _gamma_result(whole, criteria, normalization_gy)
        regions = tuple(
            GammaRegion(region=region, structure=name, **asdict(found))
            for (region, name), found in zip(wanted, parts, strict=True)
        )
    else:
        note = "the reference has no dose inside BODY where the other dose is known"
    return Compared(
        gamma=gamma,
        note=note,
        regions=regions,
        left_out_percent=left_out,
        mean_difference_gy=mean,
        high_dose_gy=float(reference_gy[high].mean(dtype=np.float64)) if high.any() else 0.0,
        difference_gy=difference,
        grid=common,
    )


def as_comparison(
    compared: Compared,
    reference: ReadDose,
    judged: Evaluation,
    reference_rbe: float,
    weighted: bool,
    *,
    beams: tuple[BeamAgreement, ...] = (),
    scale: float = 1.0,
    source: Literal["none", "given", "reference"] = "none",
) -> DoseComparison:
    """What answers have of a comparison.

    Parameters
    ----------
    reference : as its object has it
    judged : of the reference, as the quantity that is compared
    """
    return DoseComparison(
        reference=reference.description,
        rbe_weighted=weighted,
        reference_rbe=reference_rbe,
        scale=scale,
        scale_source=source,
        gamma=compared.gamma,
        gamma_note=compared.note,
        regions=compared.regions,
        beams=beams,
        # where the scale was fitted to this very dose, nothing of its level is left to differ
        mean_difference_gy=None if source == "reference" else compared.mean_difference_gy,
        metrics=judged.metrics,
        goals=judged.goals,
        dvh=judged.dvh,
    )


def _gamma_result(whole: GammaValues, criteria: GammaCriteria, normalization_gy: float) -> GammaResult:
    return GammaResult(
        criteria=criteria,
        passed_percent=whole.passed_percent,
        points=whole.points,
        mean=whole.mean,
        max=whole.max,
        max_searched=MAX_SEARCHED,
        reference_max_gy=normalization_gy,
    )


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
    return mask_on(patient.body.mask, patient, wanted)


def mask_on(mask: BoolVolume, patient: Patient, wanted: Grid) -> BoolVolume:
    """Which points of a grid lie in a voxel of a mask, which is on the CT's grid."""
    ct = patient.ct.grid
    picks: list[npt.NDArray[np.int64]] = []
    inside = []
    for axis in (2, 1, 0):
        index = np.rint((wanted.axis_mm(axis) - ct.origin_mm[axis]) / ct.spacing_mm[axis]).astype(np.int64)
        size = ct.shape[2 - axis]
        inside.append((index >= 0) & (index < size))
        picks.append(np.clip(index, 0, size - 1))
    found = mask[np.ix_(*picks)]
    return np.asarray(found & inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :])
