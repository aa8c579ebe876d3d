"""What holds for the DVH of any structure and dose."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.workflows import Prescription
from radiarch_worker.evaluation import Evaluation, dvh, evaluate
from radiarch_worker.evaluation.dvh import MIN_BINS, bin_width_gy
from radiarch_worker.model import Dose, Grid, Structure

from .shapes import CT, Floats, circle, coarse, cylinder, dose_of, patient, refs, sphere, structure

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Examples for a machine that has other things to do too."""

PRESCRIPTION = Prescription(target="PTV", dose_gy=60.0, fractions=30)
BALL = structure(7, "PTV", sphere(CT, (0, 0, 0), 18.0))


def judged(dose: Dose, *structures: Structure, goals: tuple[str, ...] = ()) -> Evaluation:
    p = patient(*(structures or (BALL,)))
    return evaluate(p, dose, PRESCRIPTION, goals, refs(p))


def bumpy(grid: Grid, seed: int = 3) -> Dose:
    rng = np.random.default_rng(seed)
    return Dose(rng.uniform(20, 70, grid.shape).astype(np.float32), grid, 1.1)


def hot_spot(x: Floats, y: Floats, z: Floats) -> Floats:
    return np.asarray(66 * np.exp(-(((x - 4) ** 2 + (y + 3) ** 2 + (z - 2) ** 2) / (2 * 15.0**2))))


def test_a_uniform_dose_gives_itself_everywhere() -> None:
    m = judged(dose_of(coarse(), lambda x, y, z: 61.25 + 0 * x)).metrics[0]
    values = (m.d_min_gy, m.d98_gy, m.d95_gy, m.d50_gy, m.d_mean_gy, m.d2_gy, m.d_max_gy)
    assert values == pytest.approx([61.25] * 7)


@given(factor=st.floats(0.05, 3.0))
@settings(LOADED, max_examples=4)
def test_metrics_scale_with_the_dose(factor: float) -> None:
    dose = dose_of(coarse(), hot_spot)
    scaled = Dose(dose.dose_gy * np.float32(factor), dose.grid, dose.rbe)
    one, other = judged(dose).metrics[0], judged(scaled).metrics[0]
    for name in ("d_min_gy", "d98_gy", "d95_gy", "d50_gy", "d_mean_gy", "d2_gy", "d_max_gy"):
        assert getattr(other, name) == pytest.approx(factor * getattr(one, name), rel=1e-4)
    assert other.volume_cc == one.volume_cc


def test_moving_patient_and_dose_together_changes_nothing() -> None:
    moved = Grid((CT.origin_mm[0] + 133.7, CT.origin_mm[1] - 41.9, CT.origin_mm[2] + 512.25), CT.spacing_mm, CT.shape)
    contours = [(z + 512.25, xy + np.array([133.7, -41.9])) for z, xy in BALL.contours]
    here = judged(bumpy(coarse())).metrics[0]
    p = patient(structure(7, "PTV", contours, moved), grid=moved)
    there = evaluate(p, bumpy(coarse(moved)), PRESCRIPTION, [], refs(p)).metrics[0]
    for name in ("volume_cc", "d98_gy", "d50_gy", "d2_gy", "d_mean_gy"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=2e-3)


def test_a_curve_falls_from_100_to_0_and_agrees_with_the_metrics() -> None:
    result = judged(dose_of(coarse(), hot_spot))
    curve, m = result.dvh[0], result.metrics[0]
    dose, volume = np.array(curve.dose_gy), np.array(curve.volume_percent)
    assert volume[0] == 100
    assert volume[-1] == 0
    assert (np.diff(volume) <= 0).all()
    assert np.diff(dose) == pytest.approx(bin_width_gy(60.0))
    for percent, expected in ((98, m.d98_gy), (95, m.d95_gy), (50, m.d50_gy), (2, m.d2_gy)):
        assert np.interp(-percent, -volume, dose) == pytest.approx(expected, abs=2 * bin_width_gy(60.0))
    mean = np.sum(volume[:-1] / 100 * np.diff(dose))  # the area under a cumulative DVH
    assert mean == pytest.approx(m.d_mean_gy, abs=2 * bin_width_gy(60.0))
    assert dose[-2] <= m.d_max_gy <= dose[-1]


def test_no_point_has_more_than_the_hottest_or_less_than_the_coldest_voxel() -> None:
    dose = bumpy(coarse())
    m = judged(dose).metrics[0]
    assert m.d_max_gy <= dose.dose_gy.max()
    assert m.d_min_gy >= 0
    assert m.d_min_gy <= m.d98_gy <= m.d95_gy <= m.d50_gy <= m.d2_gy <= m.d_max_gy


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 1), (3, 3, 1)])
def test_the_noise_of_a_dose_is_neither_hidden_nor_raised(stride: tuple[int, int, int]) -> None:
    grid = coarse(stride=stride)
    rng = np.random.default_rng(5)
    dose = Dose((60 * (1 + 0.02 * rng.standard_normal(grid.shape))).astype(np.float32), grid, 1.1)
    m = judged(dose, structure(7, "PTV", sphere(CT, (0, 0, 0), 25.0))).metrics[0]
    sigma = 0.02 * 60
    assert m.d2_gy == pytest.approx(60 + 2.054 * sigma, abs=0.3)
    assert m.d98_gy == pytest.approx(60 - 2.054 * sigma, abs=0.3)
    assert m.d_mean_gy == pytest.approx(60, abs=0.1)


def test_a_hole_is_outside() -> None:
    outer = cylinder(CT, (0, 0, 0), 20.0, 9)
    inner = cylinder(CT, (0, 0, 0), 12.0, 9)
    ring = structure(7, "PTV", [*outer, *inner])
    hot_inside = dose_of(coarse(stride=(1, 1, 1)), lambda x, y, z: np.where(x**2 + y**2 < 9.0**2, 60.0, 10.0) + 0 * z)
    m = judged(hot_inside, ring).metrics[0]
    assert m.volume_cc == pytest.approx(math.pi * (20**2 - 12**2) * 18 / 1000, rel=0.01)
    assert m.d_max_gy == pytest.approx(10)


def test_a_mask_without_contours_is_measured_by_its_voxels() -> None:
    drawn = judged(dose_of(coarse(), hot_spot)).metrics[0]
    masked = structure(7, "PTV", sphere(CT, (0, 0, 0), 18.0), keep_contours=False)
    m = judged(dose_of(coarse(), hot_spot), masked).metrics[0]
    assert m.volume_cc == pytest.approx(int(masked.mask.sum()) * CT.voxel_cc)
    for name in ("d95_gy", "d50_gy", "d2_gy", "d_mean_gy"):
        assert getattr(m, name) == pytest.approx(getattr(drawn, name), abs=0.3)


def test_slices_that_only_the_mask_has_count_too() -> None:
    """Where contours were drawn on every other slice, the loader fills the mask between them."""
    ball = structure(7, "PTV", sphere(CT, (0, 0, 0), 18.0))
    every_other = Structure(7, "PTV", "", ball.mask, ball.contours[::2])
    assert judged(bumpy(coarse()), every_other).metrics[0].volume_cc == pytest.approx(
        judged(bumpy(coarse()), ball).metrics[0].volume_cc, rel=0.02
    )


def _body(mask: npt.NDArray[np.bool_]) -> Structure:
    return Structure(1, "BODY", "EXTERNAL", mask)


def test_beyond_a_grid_that_covers_the_patient_the_dose_is_zero() -> None:
    mask = np.zeros(CT.shape, np.bool_)
    mask[10:40, 15:50, 15:50] = True
    couch = structure(2, "Couch", [(float(z), circle((0, 55), 8.0)) for z in CT.axis_mm(2)[10:40]])
    p = patient(_body(mask), couch, body=_body(mask))
    dose = dose_of(coarse(margin=10), lambda x, y, z: 50 + 0 * x)
    result = evaluate(p, dose, PRESCRIPTION, ["Couch: Dmean <= 1 Gy"], refs(p))
    couch_metrics = next(m for m in result.metrics if m.structure == "Couch")
    assert couch_metrics.d_min_gy == 0
    assert couch_metrics.volume_cc == pytest.approx(math.pi * 64 * 60 / 1000, rel=0.01)
    assert result.goals[0].value is not None
    assert result.notes == ()


def test_beyond_a_grid_that_does_not_cover_the_patient_the_dose_is_unknown() -> None:
    mask = np.zeros(CT.shape, np.bool_)
    mask[2:-2, 4:-4, 4:-4] = True
    p = patient(_body(mask), BALL, body=_body(mask))
    dose = dose_of(coarse(margin=12), hot_spot)
    goals = ["BODY: Dmean <= 20 Gy", "PTV: D50% >= 10 Gy", "PTV: CI >= 0.1"]
    result = evaluate(p, dose, PRESCRIPTION, goals, refs(p))
    assert [m.structure for m in result.metrics] == ["PTV"]
    assert [g.value is None for g in result.goals] == [True, False, True]
    assert "outside the dose grid" in str(result.goals[0].note)
    assert "BODY" in result.notes[0]
    curve = next(c for c in result.dvh if c.structure == "BODY")
    inside = dose.grid.shape[0] * dose.grid.shape[1] * dose.grid.shape[2] * dose.grid.voxel_cc
    assert curve.volume_percent[0] == pytest.approx(100 * inside / curve.volume_cc, abs=2)
    assert curve.volume_cc == pytest.approx(mask.sum() * CT.voxel_cc)


def test_a_body_whose_holes_were_filled_counts_with_them() -> None:
    """The loader fills an outline drawn as a ring; the conformity index needs the volume inside of it."""
    mask = np.zeros(CT.shape, np.bool_)
    mask[2:-2, 4:-4, 4:-4] = True
    ring = [(float(z), circle((0, 0), r)) for z in CT.axis_mm(2)[2:-2] for r in (55.0, 50.0)]
    drawn = structure(1, "BODY", ring)
    p = patient(drawn, BALL, body=Structure(1, "BODY", "EXTERNAL", mask, drawn.contours))
    dose = dose_of(coarse(), lambda x, y, z: np.where(x**2 + y**2 + z**2 < 25.0**2, 60.0, 6.0))
    value = evaluate(p, dose, PRESCRIPTION, ["PTV: CI >= 0.5"], refs(p)).goals[0].value
    assert value == pytest.approx((18 / 25) ** 3, rel=0.1)


def test_a_dose_that_is_not_finite_is_refused() -> None:
    dose = dose_of(coarse(), hot_spot)
    dose.dose_gy[3, 4, 5] = np.nan
    with pytest.raises(EngineError) as caught:
        judged(dose)
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID


@settings(LOADED)
@given(prescription_gy=st.floats(0.01, 120))
def test_bins_are_round_and_fine(prescription_gy: float) -> None:
    width = bin_width_gy(prescription_gy)
    assert prescription_gy / (2.5 * MIN_BINS) * 0.999 <= width <= prescription_gy / MIN_BINS * 1.001
    assert round(width / 10 ** math.floor(math.log10(width) + 1e-9), 6) in (1, 2, 5)


def test_of_many_structures_those_that_are_named_have_fine_curves_and_the_others_coarser_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, other = BALL, replace(BALL, roi_number=8, name="Other")
    p = patient(target, other)
    fine = {c.roi_number: c for c in evaluate(p, bumpy(coarse()), PRESCRIPTION, [], refs(p)).dvh}
    monkeypatch.setattr(dvh, "MAX_POINTS", 1000)
    named = {"PTV": refs(p)["PTV"]}
    result = evaluate(p, bumpy(coarse()), PRESCRIPTION, [], named)
    curves = {c.roi_number: c for c in result.dvh}
    assert curves[7] == fine[7]
    width = 5 * bin_width_gy(60.0)
    assert np.diff(curves[8].dose_gy) == pytest.approx(width)
    for dose, percent in list(zip(curves[8].dose_gy, curves[8].volume_percent, strict=True))[:-1]:
        assert percent == pytest.approx(np.interp(dose, fine[8].dose_gy, fine[8].volume_percent), abs=1e-3)
    assert result.metrics == evaluate(p, bumpy(coarse()), PRESCRIPTION, [], refs(p)).metrics
    assert any(f"each {width:g} Gy" in note for note in result.notes)
