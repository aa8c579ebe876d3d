"""What a check of photon plans says to errors in what arrives: through the job, with the real engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from radiarch_contract.states import OutputKind
from radiarch_contract.verdict import Outcome
from radiarch_worker import report
from radiarch_worker.report import Report

from phantoms import PhantomStudy
from tests.worker.recalculation import rt_plans
from tests.worker.recalculation.checks import Ran, run_check
from tests.worker.recalculation.rt_plans import MILLENNIUM, Beam, Point, item
from tests.worker.recalculation.sensitivity import body_with_bone

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PRESCRIPTION = {"target": "PTV", "dose_gy": 36.0, "fractions": 10}
PARAMETERS = {"scoring_spacing_mm": 4, "gamma": {"dose_percent": 2.0, "distance_mm": 1.0}}
Leaves = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def shape(left_mm: float, right_mm: float, low_mm: float, high_mm: float, slope: float) -> Leaves:
    """Leaves of a slanted field."""
    y = (np.array(MILLENNIUM)[1:] + np.array(MILLENNIUM)[:-1]) / 2
    return np.where((y > low_mm) & (y < high_mm), [left_mm + slope * y, right_mm + slope * y], 0.0)


def field(number: int, gantry: float, first: Leaves, second: Leaves) -> Beam:
    """Two apertures, step and shoot."""
    jaws = (-50.0, 50.0)
    points = [Point(0.0, gantry, "NONE", first, jaws, jaws), Point(0.6), Point(0.6, mlc=second), Point(1.0)]
    return Beam(points, number=number, meterset=150.0, collimator=10.0)


def arrived(study: PhantomStudy, machine: str = "generic-120") -> Dataset:
    """A plan of three fields and an arc."""
    arc = rt_plans.arc(number=4, meterset=90.0)
    for k, point in enumerate(arc.points):
        point.gantry = (340.0, 350.0, 10.0, 20.0)[k]
        point.mlc, point.x, point.y = shape(-24.0 + 2 * k, 22.0, -20, 24, 0.2), None, None
    arc.points[0].x = arc.points[0].y = (-50.0, 50.0)
    ds = rt_plans.plan(
        field(1, 0.0, shape(-26, 20, -22, 26, 0.3), shape(-10, 24, -22, 12, 0.0)),
        field(2, 120.0, shape(-22, 24, -24, 20, -0.3), shape(-24, 5, -10, 20, 0.1)),
        field(3, 240.0, shape(-24, 26, -26, 24, 0.2), shape(0, 26, -26, 8, -0.2)),
        arc,
        fractions=10,
    )
    ds.FrameOfReferenceUID = study.images[0].FrameOfReferenceUID
    ds.ReferencedStructureSetSequence = Sequence([item(ReferencedSOPInstanceUID=study.rtstruct.SOPInstanceUID)])
    for beam in ds.BeamSequence:
        beam.TreatmentMachineName = machine
        beam.ControlPointSequence[0].IsocenterPosition = [0.0, 0.0, 0.0]
    return ds


@dataclass
class Bench:
    study: PhantomStudy
    dose: Dataset
    monkeypatch: pytest.MonkeyPatch

    def check(self, plan: Dataset, folder: Path, dose: Dataset | None = None, study: PhantomStudy | None = None) -> Ran:
        inputs = {"rtplan": plan, "reference_rtdose": self.dose if dose is None else dose}
        refs = {"prescription": PRESCRIPTION, "parameters": PARAMETERS}
        return run_check(self.monkeypatch, folder, study or self.study, "recalculation", inputs, **refs)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", lambda *a: Report(b"%PDF-", {}, ()))
        study = body_with_bone()
        inputs = {"rtplan": arrived(study)}
        ran = run_check(patch, tmp_path_factory.mktemp("bench"), study, "recalculation", inputs, parameters=PARAMETERS)
        assert ran.result.error is None, ran.result.error
        yield Bench(study, ran.stored[OutputKind.RTDOSE], patch)


def _beam(ds: Dataset, number: int = 1) -> Dataset:
    beam: Dataset = ds.BeamSequence[number - 1]
    return beam


def _meterset(factor: float) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for beam in ds.FractionGroupSequence[0].ReferencedBeamSequence:
            beam.BeamMeterset = float(beam.BeamMeterset) * factor

    return change


def _pair_off(ds: Dataset) -> None:
    """The pair across the target's center, in every field."""
    for beam in ds.BeamSequence:
        for point in beam.ControlPointSequence:
            for device in point.get("BeamLimitingDevicePositionSequence", ()):
                if device.RTBeamLimitingDeviceType == "MLCX":
                    device.LeafJawPositions[30] = float(device.LeafJawPositions[30]) + 5.0
                    device.LeafJawPositions[90] = float(device.LeafJawPositions[90]) + 5.0


def _collimator(ds: Dataset) -> None:
    for beam in ds.BeamSequence:
        first = beam.ControlPointSequence[0]
        first.BeamLimitingDeviceAngle = float(first.BeamLimitingDeviceAngle) + 2.0


def _gantry(ds: Dataset) -> None:
    for beam in ds.BeamSequence:
        for point in beam.ControlPointSequence:
            if "GantryAngle" in point:
                point.GantryAngle = (float(point.GantryAngle) + 3.0) % 360


def _isocenter(axis: int) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for beam in ds.BeamSequence:
            beam.ControlPointSequence[0].IsocenterPosition[axis] = 3.0

    return change


def _banks_swapped(ds: Dataset) -> None:
    """As a system does that takes bank X2 for the first one: mirrored, so that no leaves cross."""
    for beam in ds.BeamSequence:
        for point in beam.ControlPointSequence:
            for device in point.get("BeamLimitingDevicePositionSequence", ()):
                if device.RTBeamLimitingDeviceType == "MLCX":
                    x1, x2 = np.array(device.LeafJawPositions, dtype=float).reshape(2, -1)
                    device.LeafJawPositions = np.concatenate([-x2, -x1]).tolist()


def _point_lost(ds: Dataset) -> None:
    """An aperture of the first field is gone, and its MU are given through the other one."""
    beam = _beam(ds)
    del beam.ControlPointSequence[2].BeamLimitingDevicePositionSequence


def _fractions(ds: Dataset) -> None:
    ds.FractionGroupSequence[0].NumberOfFractionsPlanned = 11


NOT_PASSED = {Outcome.LOOK, Outcome.FAIL}
ERRORS: dict[str, tuple[Callable[[Dataset], None], set[Outcome]]] = {
    "none": (lambda ds: None, {Outcome.PASS}),
    "MU + 3 %": (_meterset(1.03), NOT_PASSED),
    "one leaf pair 5 mm off": (_pair_off, NOT_PASSED),
    # the edges of fields of 50 mm move by 0.9 mm: docs/checks.md says that it is hardly seen
    "collimator 2°": (_collimator, {Outcome.PASS, Outcome.LOOK}),
    "gantry 3°": (_gantry, NOT_PASSED),
    "isocenter x 3 mm": (_isocenter(0), NOT_PASSED),
    "isocenter y 3 mm": (_isocenter(1), NOT_PASSED),
    "isocenter z 3 mm": (_isocenter(2), NOT_PASSED),
    "swapped banks": (_banks_swapped, {Outcome.FAIL}),
    "lost control point": (_point_lost, NOT_PASSED),
    "fractions": (_fractions, {Outcome.FAIL}),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_not_passed_and_what_is_right_is(bench: Bench, tmp_path: Path, name: str) -> None:
    change, expected = ERRORS[name]
    plan = arrived(bench.study)
    change(plan)
    result = bench.check(plan, tmp_path).result
    assert result.verdict is not None, result.error
    assert result.verdict.result in expected


def test_another_ct_is_not_passed(bench: Bench, tmp_path: Path) -> None:
    """The body is a fifth denser; that the slab of bone is missing would be less than 1 % of the target's dose."""
    study = copy.deepcopy(bench.study)
    for image in study.images:
        hu = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        denser = np.where(hu > -500, hu + 200, hu)
        stored = (denser - float(image.RescaleIntercept)) / float(image.RescaleSlope)
        image.PixelData = np.rint(stored).astype(image.pixel_array.dtype).tobytes()
    result = bench.check(arrived(study), tmp_path, study=study).result
    assert result.verdict is not None, result.error
    assert result.verdict.result in NOT_PASSED
    assert any(c.id == "mean.target" and c.result is not Outcome.PASS for c in result.verdict.criteria)


@pytest.mark.parametrize("factor", [1.0, 1.03, 1.2])
def test_an_unknown_machine_never_hides_an_error_of_mu(bench: Bench, tmp_path: Path, factor: float) -> None:
    plan = arrived(bench.study, "LINAC1")
    _meterset(factor)(plan)
    result = bench.check(plan, tmp_path).result
    assert result.verdict is not None, result.error
    assert result.comparison is not None
    assert result.comparison.scale == pytest.approx(1 / factor, rel=2e-3)
    assert result.verdict.result is not Outcome.PASS
    assert any("MU were not checked" in text for text in result.verdict.reservations)
