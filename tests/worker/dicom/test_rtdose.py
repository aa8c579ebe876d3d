"""The RT Dose is the dose that was computed, where it was computed."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import EngineError, ErrorCode, InputRefusedError
from radiarch_worker.dicom import encode, write_rtdose, write_rtplan
from radiarch_worker.dicom.dose.content import MAX_STORED_VALUE, encode_dose
from radiarch_worker.dicom.valuerep import decimal_string, decimal_string_at_least
from radiarch_worker.evaluation import Evaluation, evaluate
from radiarch_worker.model import Dose, Grid

from tests.worker.evaluation.peers import dicompyler_stored

from . import waterbox
from .dciodvfy import findings

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Examples for a machine that has other things to do too."""

NOTHING = Evaluation((), (), ())


def evaluation_of(case: waterbox.Case) -> Evaluation:
    refs = {r.name: r for r in case.spec.structures}
    return evaluate(case.patient, case.plan.dose, case.spec.prescription, case.spec.goals, refs)


def read_back(case: waterbox.Case, evaluation: Evaluation) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(encode(write_rtdose(case.spec, case.patient, case.plan, evaluation))))


@pytest.fixture(scope="module")
def case() -> waterbox.Case:
    return waterbox.case()


@pytest.fixture(scope="module")
def evaluation(case: waterbox.Case) -> Evaluation:
    return evaluation_of(case)


@pytest.fixture(scope="module")
def rtdose(case: waterbox.Case, evaluation: Evaluation) -> pydicom.Dataset:
    return read_back(case, evaluation)


def with_dose(case: waterbox.Case, dose_gy: npt.NDArray[np.float32], grid: Grid | None = None) -> waterbox.Case:
    dose = Dose(dose_gy, grid or case.plan.dose.grid, case.plan.dose.rbe)
    return dataclasses.replace(case, plan=dataclasses.replace(case.plan, dose=dose))


def test_dciodvfy_finds_nothing(rtdose: pydicom.Dataset, tmp_path: Path) -> None:
    assert findings(rtdose, tmp_path) == []


def test_the_dose_reads_back_within_half_a_step(case: waterbox.Case, rtdose: pydicom.Dataset) -> None:
    scaling = float(rtdose.DoseGridScaling)
    read_gy = rtdose.pixel_array.astype(np.float64) * scaling
    written_gy = case.plan.dose.dose_gy.astype(np.float64)
    assert rtdose.pixel_array.dtype == np.uint32
    assert np.abs(read_gy - written_gy).max() <= 0.5 * scaling * (1 + 1e-6)
    # finer than the float32 it came from
    assert np.array_equal(read_gy.astype(np.float32)[written_gy > 1], case.plan.dose.dose_gy[written_gy > 1])
    assert rtdose.pixel_array.max() > 0.99 * MAX_STORED_VALUE


@given(most_gy=st.floats(1e-3, 200), seed=st.integers(0, 99))
@settings(LOADED, max_examples=50)
def test_any_dose_uses_the_range_and_survives_its_decimal_scaling(most_gy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, most_gy, (3, 4, 5)).astype(np.float32)
    values[0, 0, 0] = 0
    encoded = encode_dose(Dose(values, Grid((0, 0, 0), (1, 1, 1), (3, 4, 5)), 1.1))
    text = str(encoded.scaling)
    assert len(text) <= 16
    assert float(text) == float(encoded.scaling)
    assert encoded.stored.max() <= MAX_STORED_VALUE
    assert encoded.stored.max() > 0.99 * MAX_STORED_VALUE
    assert np.abs(encoded.stored * float(text) - values.astype(np.float64)).max() <= 0.5 * float(text) * (1 + 1e-6)
    assert encoded.stored[0, 0, 0] == 0


@settings(LOADED)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_decimal_string_in_memory_is_what_its_16_characters_say(value: float) -> None:
    ds = decimal_string(value)
    assert len(str(ds)) <= 16
    assert float(str(ds)) == float(ds)
    assert float(ds) == pytest.approx(value, rel=1e-8, abs=1e-300)


@settings(LOADED)
@given(st.floats(1e-15, 1e3))
def test_a_decimal_string_rounded_up_is_never_below(value: float) -> None:
    ds = decimal_string_at_least(value)
    assert len(str(ds)) <= 16
    assert value <= float(ds) <= value * (1 + 1e-8)


def test_every_grid_point_is_the_center_of_a_ct_voxel(case: waterbox.Case, rtdose: pydicom.Dataset) -> None:
    ct = case.patient.ct.grid
    position = [float(v) for v in rtdose.ImagePositionPatient]
    dy, dx = (float(v) for v in rtdose.PixelSpacing)
    offsets = np.array(rtdose.GridFrameOffsetVector, float)
    axes = (
        position[0] + dx * np.arange(rtdose.Columns),
        position[1] + dy * np.arange(rtdose.Rows),
        position[2] + offsets,
    )
    for axis, points in enumerate(axes):
        centers = ct.axis_mm(axis)
        assert np.abs(points[:, None] - centers[None, :]).min(axis=1).max() < 1e-3
    assert offsets[0] == 0
    assert np.diff(offsets) == pytest.approx(float(rtdose.SliceThickness))
    assert rtdose.NumberOfFrames == len(offsets) == case.plan.dose.grid.shape[0]


def test_what_a_dose_has_to_say(case: waterbox.Case, rtdose: pydicom.Dataset) -> None:
    assert (rtdose.DoseUnits, rtdose.DoseSummationType, rtdose.DoseType) == ("GY", "PLAN", "EFFECTIVE")
    assert (rtdose.BitsAllocated, rtdose.BitsStored, rtdose.HighBit, rtdose.PixelRepresentation) == (32, 32, 31, 0)
    assert "UNAPPROVED" in rtdose.SeriesDescription
    assert "UNAPPROVED" in rtdose.DoseComment
    assert "RBE 1.1" in rtdose.DoseComment
    assert rtdose.DoseComment.endswith("uncertainty 1.8 % (1 sigma)")
    assert rtdose.FrameOfReferenceUID == case.patient.ct.frame_of_reference_uid
    assert rtdose.SeriesNumber > 9000
    physical = dataclasses.replace(case, plan=waterbox.plan(rbe=1.0))
    assert read_back(physical, NOTHING).DoseType == "PHYSICAL"


def test_dose_plan_structure_set_and_study_refer_to_each_other(case: waterbox.Case, rtdose: pydicom.Dataset) -> None:
    rtplan = write_rtplan(case.spec, case.patient, case.plan)
    reference = rtdose.ReferencedRTPlanSequence[0]
    assert reference.ReferencedSOPInstanceUID == rtplan.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == rtplan.SOPClassUID
    for ds in (rtdose, rtplan):
        structures = ds.ReferencedStructureSetSequence[0]
        assert structures.ReferencedSOPInstanceUID == case.patient.rtstruct_sop_instance_uid
        assert ds.StudyInstanceUID == case.patient.ct.study.study_instance_uid
        assert ds.FrameOfReferenceUID == case.patient.ct.frame_of_reference_uid
        assert str(ds.PatientName) == case.patient.ct.study.patient_name
        assert ds.PatientID == case.patient.ct.study.patient_id
    uids = {rtdose.SOPInstanceUID, rtplan.SOPInstanceUID, rtdose.SeriesInstanceUID, rtplan.SeriesInstanceUID}
    assert len(uids) == 4


def test_the_same_dose_gives_the_same_bytes_in_every_attempt(case: waterbox.Case, evaluation: Evaluation) -> None:
    again = case.spec.model_copy(update={"attempt": 2})
    first = encode(write_rtdose(case.spec, case.patient, case.plan, evaluation))
    second = waterbox.case()
    assert first == encode(write_rtdose(again, second.patient, second.plan, evaluation_of(second)))


def test_the_dvhs_inside_are_those_of_the_evaluation(
    case: waterbox.Case, evaluation: Evaluation, rtdose: pydicom.Dataset
) -> None:
    metrics = {m.roi_number: m for m in evaluation.metrics}
    curves = {c.roi_number: c for c in evaluation.dvh}
    items = {int(i.DVHReferencedROISequence[0].ReferencedROINumber): i for i in rtdose.DVHSequence}
    assert set(items) == set(metrics)
    assert waterbox.BODY not in items  # this dose grid does not cover it
    for number, item in items.items():
        curve, m = curves[number], metrics[number]
        data = np.array(item.DVHData, float).reshape(-1, 2)
        assert len(data) == item.DVHNumberOfBins
        assert np.cumsum(data[:, 0])[:-1] == pytest.approx(np.array(curve.dose_gy)[1:], abs=1e-6)
        assert data[:, 1] == pytest.approx(np.array(curve.volume_percent) / 100 * curve.volume_cc, abs=1e-4)
        assert float(item.DVHMeanDose) == pytest.approx(m.d_mean_gy, rel=1e-6)
        assert float(item.DVHMinimumDose) == pytest.approx(m.d_min_gy, rel=1e-6)
        assert float(item.DVHMaximumDose) == pytest.approx(m.d_max_gy, rel=1e-6)
        assert (item.DVHType, item.DVHVolumeUnits, item.DoseUnits, item.DoseType) == (
            "CUMULATIVE",
            "CM3",
            "GY",
            "EFFECTIVE",
        )


def test_dicompyler_reads_the_dvhs_inside(evaluation: Evaluation, rtdose: pydicom.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "rtdose.dcm"
    rtdose.save_as(path, enforce_file_format=True)
    read = dicompyler_stored(path, [m.roi_number for m in evaluation.metrics])
    for m in evaluation.metrics:
        assert read[m.roi_number].volume_cc == pytest.approx(m.volume_cc, rel=1e-4)
        assert read[m.roi_number].d95_gy == pytest.approx(m.d95_gy, abs=0.005 * 60)
        assert read[m.roi_number].d2_gy == pytest.approx(m.d2_gy, abs=0.005 * 60)


def test_a_dose_without_curves_is_still_written(case: waterbox.Case) -> None:
    assert "DVHSequence" not in read_back(case, NOTHING)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.25])
def test_a_dose_that_cannot_be_is_refused(case: waterbox.Case, value: float) -> None:
    dose_gy = case.plan.dose.dose_gy.copy()
    dose_gy[3, 4, 5] = value
    with pytest.raises(EngineError) as caught:
        write_rtdose(case.spec, case.patient, with_dose(case, dose_gy).plan, NOTHING)
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID


def test_an_empty_dose_and_one_of_another_shape_are_refused(case: waterbox.Case) -> None:
    dose_gy = case.plan.dose.dose_gy
    for wrong in (np.zeros_like(dose_gy), dose_gy[1:]):
        with pytest.raises(EngineError):
            write_rtdose(case.spec, case.patient, with_dose(case, wrong).plan, NOTHING)


@pytest.mark.parametrize(
    ("origin_shift_mm", "spacing_mm", "what"),
    [
        ((0.9, 0, 0), (3.6, 3.6, 2.0), "x axis"),
        ((0, 0.01, 0), (3.6, 3.6, 2.0), "y axis"),
        ((0, 0, 1.0), (3.6, 3.6, 2.0), "z axis"),
        ((0, 0, 0), (3.0, 3.6, 2.0), "x axis"),
        ((0, 0, 0), (3.6, 3.6001, 2.0), "y axis"),
        ((0, 0, 0), (0.9, 3.6, 2.0), "x axis"),
        ((-7.2, 0, 0), (3.6, 3.6, 2.0), "beyond the CT along x"),
        ((0, 0, 6.0), (3.6, 3.6, 2.0), "beyond the CT along z"),
    ],
)
def test_a_grid_that_is_not_on_ct_voxels_is_refused(
    case: waterbox.Case,
    origin_shift_mm: tuple[float, float, float],
    spacing_mm: tuple[float, float, float],
    what: str,
) -> None:
    grid = case.plan.dose.grid
    x, y, z = (o + s for o, s in zip(grid.origin_mm, origin_shift_mm, strict=True))
    off = with_dose(case, case.plan.dose.dose_gy, Grid((x, y, z), spacing_mm, grid.shape))
    with pytest.raises(EngineError, match=what) as caught:
        write_rtdose(off.spec, off.patient, off.plan, NOTHING)
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID


def test_a_dose_of_nobody_is_refused(case: waterbox.Case) -> None:
    other = case.spec.model_copy(update={"patient_id": "SOMEONE-ELSE"})
    with pytest.raises(InputRefusedError):
        write_rtdose(other, case.patient, case.plan, NOTHING)
