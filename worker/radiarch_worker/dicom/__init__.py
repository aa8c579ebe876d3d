"""Writing results as DICOM: RT Ion Plan and RT Dose. Reading patients lives in `radiarch_worker.patient`.

One folder an IOD, as in highdicom: ``sop`` holds the object, ``content`` its parts, `enum` the terms.
"""

from __future__ import annotations

import io

from pydicom.dataset import Dataset
from radiarch_contract.job import JobSpec

from radiarch_worker.evaluation import Evaluation
from radiarch_worker.model import Patient, PlanResult

from .dose import RTDose
from .ion_plan import RTIonPlan

__all__ = ["RTDose", "RTIonPlan", "encode", "write_rtdose", "write_rtplan"]


def write_rtplan(spec: JobSpec, patient: Patient, plan: PlanResult) -> RTIonPlan:
    """The plan as an RT Ion Plan; see `RTIonPlan`."""
    return RTIonPlan(spec, patient, plan)


def write_rtdose(spec: JobSpec, patient: Patient, plan: PlanResult, evaluation: Evaluation) -> RTDose:
    """The plan's dose as an RT Dose; see `RTDose`."""
    return RTDose(spec, patient, plan, evaluation)


def encode(dataset: Dataset) -> bytes:
    """A result as the bytes of a DICOM file (PS3.10): equal results give equal bytes."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
