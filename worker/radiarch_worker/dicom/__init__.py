"""Writing results as DICOM: plan, dose and report. Reading patients lives in `radiarch_worker.patient`.

One folder an IOD, as in highdicom: ``sop`` holds the object, ``content`` its parts, `enum` the terms.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset
from radiarch_contract.job import DoseDescription, JobSpec
from radiarch_contract.states import OutputKind

from radiarch_worker.evaluation import Evaluation
from radiarch_worker.ion import IonBeam, Let
from radiarch_worker.model import Beam, FloatVolume, Grid, Patient, PlanResult
from radiarch_worker.photon import PhotonBeam

from .base import Provenance, invalid_result, result_uid
from .dose import RTDose, RTDoseDifference, add_dvh
from .encapsulated_pdf import EncapsulatedPDF
from .enum import DoseSummationTypeValues
from .ion_plan import RTIonPlan
from .let_map import LetMap
from .photon_plan import RTPhotonPlan
from .treatment_plan import TreatmentPlan

__all__ = [
    "EXTRAS",
    "PLAN_OBJECTS",
    "EncapsulatedPDF",
    "LetMap",
    "Provenance",
    "RTDose",
    "RTDoseDifference",
    "RTIonPlan",
    "RTPhotonPlan",
    "TreatmentPlan",
    "add_dvh",
    "encode",
    "result_uid",
    "write_dose_difference",
    "write_extra",
    "write_let",
    "write_report",
    "write_rtdose",
    "write_rtplan",
]


PLAN_OBJECTS: Mapping[type[Beam], type[TreatmentPlan]] = {IonBeam: RTIonPlan, PhotonBeam: RTPhotonPlan}
"""What a plan is written as, by the type of its beams; each modality registers its own."""


def write_rtplan(spec: JobSpec, patient: Patient, plan: PlanResult) -> TreatmentPlan:
    """The plan as the object of its modality, such as `RTIonPlan`."""
    if not plan.beams:
        raise invalid_result("the plan has no beams, expected at least one")
    return PLAN_OBJECTS[type(plan.beams[0])](spec, patient, plan)


def write_rtdose(
    spec: JobSpec,
    patient: Patient,
    plan: PlanResult,
    evaluation: Evaluation | None,
    *,
    rtplan: tuple[str, str] | None = None,
) -> RTDose:
    """The plan's dose as an RT Dose, with the DVHs of an evaluation of it where one is given; see `RTDose`."""
    dose = RTDose(spec, patient, plan, rtplan=rtplan)
    if evaluation is not None:
        add_dvh(dose, patient, evaluation)
    return dose


def write_dose_difference(
    spec: JobSpec,
    patient: Patient,
    provenance: Provenance,
    difference_gy: FloatVolume,
    grid: Grid,
    *,
    dose: DoseDescription,
    reference_dose: DoseDescription,
    weighted: bool,
    summation: DoseSummationTypeValues,
    rtplan: tuple[str, str] | None,
) -> RTDoseDifference:
    """The difference of two doses; see `RTDoseDifference`."""
    return RTDoseDifference(
        spec,
        patient,
        provenance,
        difference_gy,
        grid,
        dose=dose,
        reference_dose=reference_dose,
        weighted=weighted,
        summation=summation,
        rtplan=rtplan,
    )


def write_let(spec: JobSpec, patient: Patient, provenance: Provenance, let: Let) -> LetMap:
    """LET beside the dose; see `LetMap`."""
    return LetMap(spec, patient, provenance, let)


EXTRAS: Mapping[OutputKind, str] = {OutputKind.LET: "LET map"}
"""What modalities may have beside plan and dose, as notes name it."""


def write_extra(kind: OutputKind, spec: JobSpec, patient: Patient, provenance: Provenance, extra: Any) -> Dataset:
    """One of `PlanResult.extras` as its object."""
    writers = {OutputKind.LET: write_let}
    return writers[kind](spec, patient, provenance, extra)


def write_report(
    spec: JobSpec,
    patient: Patient,
    plan: PlanResult,
    pdf: bytes,
    *,
    reports_on: Sequence[OutputKind] = (OutputKind.RTPLAN, OutputKind.RTDOSE),
) -> EncapsulatedPDF:
    """The report of a plan or a check; see `EncapsulatedPDF`."""
    return EncapsulatedPDF(spec, patient, plan, pdf, reports_on=reports_on)


def encode(dataset: Dataset) -> bytes:
    """A result as the bytes of a DICOM file (PS3.10): equal results give equal bytes."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
