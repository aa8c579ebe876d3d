"""LET as a Parametric Map: valid, on the dose's grid, in keV/um by a code, and nothing that could be taken for dose."""

from __future__ import annotations

import io
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.uids import series_instance_uid, sop_instance_uid
from radiarch_worker.dicom import Provenance, encode, write_let, write_rtdose
from radiarch_worker.evaluation import evaluate
from radiarch_worker.ion import Let

from . import waterbox
from .dciodvfy import findings


def made_let() -> Let:
    grid = waterbox.DOSE_GRID
    dose = waterbox.smooth_dose(grid)
    rising = 1 + 9 * np.arange(grid.shape[2], dtype=np.float32) / grid.shape[2]
    return Let(np.where(dose > 0.6, rising, 0).astype(np.float32), grid, 0.01, 1.2)


def written() -> bytes:
    case = waterbox.case()
    return encode(write_let(case.spec, case.patient, Provenance.of(case.plan), made_let()))


@pytest.fixture(scope="module")
def let() -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(written()))


def test_dciodvfy_finds_no_error(let: pydicom.Dataset, tmp_path: Path) -> None:
    assert [line for line in findings(let, tmp_path) if line.startswith("Error")] == []


def test_it_is_no_dose(let: pydicom.Dataset) -> None:
    assert let.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
    assert let.Modality == "OT"
    assert "DoseUnits" not in let
    assert "LET" in let.SeriesDescription


def test_values_and_places_read_back(let: pydicom.Dataset) -> None:
    made = made_let()
    read = highdicom.pm.ParametricMap.from_dataset(let).get_volume(apply_real_world_transform=True)
    for index in ((0, 0, 0), (18, 15, 16), (36, 30, 32)):
        x, y, z = read.map_indices_to_reference(np.array([index]))[0]
        place = [
            round((v - o) / d)
            for v, o, d in zip((z, y, x), made.grid.origin_mm[::-1], made.grid.spacing_mm[::-1], strict=True)
        ]
        assert np.allclose((x, y, z), [made.grid.axis_mm(a)[place[2 - a]] for a in range(3)], atol=1e-3)
        assert read.array[index] == made.kev_um[tuple(place)]
    assert np.count_nonzero(read.array) == np.count_nonzero(made.kev_um) > 1000
    (mapping,) = let.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "keV/um"
    (quantity,) = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodingSchemeDesignator.startswith("99")


def test_it_lies_where_the_dose_does(let: pydicom.Dataset) -> None:
    case = waterbox.case()
    dose = write_rtdose(case.spec, case.patient, case.plan, evaluate(case.patient, case.plan.dose, None, [], {}))
    shared = let.SharedFunctionalGroupsSequence[0]
    places = [f.PlanePositionSequence[0].ImagePositionPatient for f in let.PerFrameFunctionalGroupsSequence]
    assert min(places, key=lambda p: float(p[2])) == dose.ImagePositionPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == dose.PixelSpacing
    assert (let.NumberOfFrames, let.Rows, let.Columns) == (dose.NumberOfFrames, dose.Rows, dose.Columns)
    assert let.FrameOfReferenceUID == dose.FrameOfReferenceUID


def test_it_is_the_patients_and_the_same_each_time(let: pydicom.Dataset) -> None:
    case = waterbox.case()
    study = case.patient.ct.study
    assert (let.PatientID, str(let.PatientName)) == (study.patient_id, study.patient_name)
    assert let.StudyInstanceUID == study.study_instance_uid
    assert let.SOPInstanceUID == sop_instance_uid(case.spec.plan_id, "let")
    assert let.SeriesInstanceUID == series_instance_uid(case.spec.plan_id, "let")
    assert (let.ContentDate, let.ContentTime) == ("20240301", "123015.250000")
    assert written() == written()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_values_that_are_none_are_not_written(value: float) -> None:
    case, good = waterbox.case(), made_let()
    values = good.kev_um.copy()
    values[3, 3, 3] = value
    with pytest.raises(EngineError) as caught:
        write_let(case.spec, case.patient, Provenance.of(case.plan), Let(values, good.grid, 0.01, 1.0))
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID
