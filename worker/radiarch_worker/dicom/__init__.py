"""Writing results as DICOM: plan, dose and report. Reading patients lives in `radiarch_worker.patient`.

One folder an IOD, as in highdicom: ``sop`` holds the object, ``content`` its parts, `enum` the terms.
"""

from __future__ import annotations

import io

from pydicom.dataset import Dataset
from radiarch_contract.job import JobSpec

from radiarch_worker.evaluation import Evaluation
from radiarch_worker.model import Patient, PlanResult

from .dose import RTDose
from .encapsulated_pdf import EncapsulatedPDF
from .ion_plan import RTIonPlan

__all__ = ["EncapsulatedPDF", "RTDose", "RTIonPlan", "encode", "write_report", "write_rtdose", "write_rtplan"]


def write_rtplan(spec: JobSpec, patient: Patient, plan: PlanResult) -> RTIonPlan:
    """The plan as an RT Ion Plan; see `RTIonPlan`."""
    return RTIonPlan(spec, patient, plan)


def write_rtdose(spec: JobSpec, patient: Patient, plan: PlanResult, evaluation: Evaluation) -> RTDose:
    """The plan's dose as an RT Dose; see `RTDose`."""
    return RTDose(spec, patient, plan, evaluation)


def write_report(spec: JobSpec, patient: Patient, plan: PlanResult, pdf: bytes) -> EncapsulatedPDF:
    """A plan's report; see `EncapsulatedPDF`."""
    return EncapsulatedPDF(spec, patient, plan, pdf)


def encode(dataset: Dataset) -> bytes:
    """A result as the bytes of a DICOM file (PS3.10): equal results give equal bytes."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
