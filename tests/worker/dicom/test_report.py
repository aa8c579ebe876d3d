"""The report as an Encapsulated PDF is valid DICOM, the patient's, and the same each time."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.uids import series_instance_uid, sop_instance_uid
from radiarch_worker.dicom import encode, write_report

from . import waterbox
from .dciodvfy import findings

PDF = b"%PDF-1.3 odd"  # an even number of bytes


@pytest.fixture(scope="module", params=[PDF, PDF + b"!"], ids=["even", "odd"])
def document(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


@pytest.fixture(scope="module")
def report(document: bytes) -> pydicom.Dataset:
    case = waterbox.case()
    return pydicom.dcmread(io.BytesIO(encode(write_report(case.spec, case.patient, case.plan, document))))


def test_dciodvfy_finds_nothing(report: pydicom.Dataset, tmp_path: Path) -> None:
    assert findings(report, tmp_path) == []


def test_the_document_reads_back(report: pydicom.Dataset, document: bytes) -> None:
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert report.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert bytes(report.EncapsulatedDocument)[: report.EncapsulatedDocumentLength] == document
    assert len(report.EncapsulatedDocument) % 2 == 0


def test_it_is_in_the_patients_study_and_names_what_it_reports_on(report: pydicom.Dataset) -> None:
    case = waterbox.case()
    study = case.patient.ct.study
    assert (report.PatientID, str(report.PatientName)) == (study.patient_id, study.patient_name)
    assert report.StudyInstanceUID == study.study_instance_uid
    assert report.SOPInstanceUID == sop_instance_uid(case.spec.plan_id, "report")
    assert report.SeriesInstanceUID == series_instance_uid(case.spec.plan_id, "report")
    assert {s.ReferencedSOPInstanceUID for s in report.SourceInstanceSequence} == {
        sop_instance_uid(case.spec.plan_id, "rtplan"),
        sop_instance_uid(case.spec.plan_id, "rtdose"),
        case.patient.rtstruct_sop_instance_uid,
    }
    assert "UNAPPROVED" in report.SeriesDescription
    assert "UNAPPROVED" in report.DocumentTitle
    assert (report.ContentDate, report.ContentTime) == ("20240301", "123015.250000")


def test_the_same_report_gives_the_same_bytes() -> None:
    first, second = (encode(write_report(c.spec, c.patient, c.plan, PDF)) for c in (waterbox.case(), waterbox.case()))
    assert first == second


def test_what_is_no_pdf_is_refused() -> None:
    case = waterbox.case()
    with pytest.raises(EngineError) as caught:
        write_report(case.spec, case.patient, case.plan, b"<html>")
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID
