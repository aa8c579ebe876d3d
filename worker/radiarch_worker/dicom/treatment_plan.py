"""What treatment plans of all modalities say: prescription, fractions, setup; their beams are in a folder for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import radiarch_contract
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind

from radiarch_worker.model import Beam, Patient, PlanResult
from radiarch_worker.position import PatientPosition

from .base import ResultSOPClass, dose_reference_uid, invalid_result, physics_lines, reference, target_roi_number
from .enum import (
    ApprovalStatusValues,
    DoseReferenceStructureTypeValues,
    DoseReferenceTypeValues,
    PlanIntentValues,
    RotationDirectionValues,
    RTPlanGeometryValues,
)
from .valuerep import decimal_string, decimal_strings, text

PATIENT_SETUP_NUMBER = 1
DOSE_REFERENCE_NUMBER = 1
FRACTION_GROUP_NUMBER = 1


def add_patient_place(point: Dataset, beam: Beam) -> None:
    """Where the patient is at a control point, by couch angle and isocenter (PS3.3 C.8.8.14 and C.8.8.25)."""
    still = RotationDirectionValues.NONE.value
    point.GantryPitchAngle = 0.0
    point.GantryPitchRotationDirection = still
    point.PatientSupportAngle = decimal_string(beam.couch_deg)
    point.PatientSupportRotationDirection = still
    # Where the table top stands is not planned: empty, not zero.
    point.TableTopVerticalPosition = None
    point.TableTopLongitudinalPosition = None
    point.TableTopLateralPosition = None
    point.TableTopPitchAngle = 0.0
    point.TableTopPitchRotationDirection = still
    point.TableTopRollAngle = 0.0
    point.TableTopRollRotationDirection = still
    point.IsocenterPosition = decimal_strings(beam.isocenter_mm)


class TreatmentPlan(ResultSOPClass):
    """A treatment plan, UNAPPROVED; a modality's object adds its beams."""

    SOP_CLASS: ClassVar[str]
    TREATMENT_PROTOCOLS: ClassVar[str]

    def __init__(self, spec: JobSpec, patient: Patient, plan: PlanResult) -> None:
        """
        Parameters
        ----------
        spec
            The request.
        patient
            The CT and structures it was planned on.
        plan
            Beams in IEC 61217 angles, isocenter in patient LPS mm, MU for one fraction.

        Raises
        ------
        EngineError
            (engine_output_invalid) where a beam holds values that cannot be delivered.
        InputRefusedError
            Where patient, study, frame of reference or target cannot be named.
        """
        super().__init__(
            spec,
            patient,
            plan,
            kind=OutputKind.RTPLAN,
            sop_class_uid=self.SOP_CLASS,
            modality="RTPLAN",
            series_description=f"RADIARCH plan UNAPPROVED {spec.workflow_id}",
        )
        self._add_general_plan(spec, patient, plan)
        if not plan.beams:
            raise invalid_result("the plan has no beams, expected at least one")
        numbers = [beam.number for beam in plan.beams]
        if len(set(numbers)) != len(numbers):
            raise invalid_result(f"beam numbers {numbers} are not unique")
        self.PatientSetupSequence = [patient_setup_item(patient.ct.patient_position)]
        description = "; ".join([f"machine data {plan.machine.name}", *physics_lines(plan)])
        self.FractionGroupSequence = [fraction_group_item(spec, self._add_beams(plan, description))]
        self.ApprovalStatus = ApprovalStatusValues.UNAPPROVED.value

    def _add_beams(self, plan: PlanResult, description: str) -> Mapping[int, DSfloat]:
        """Add the beams; MU of each in one fraction, by its number."""
        raise NotImplementedError

    def _add_general_plan(self, spec: JobSpec, patient: Patient, plan: PlanResult) -> None:
        prescription = spec.prescribed
        self.RTPlanLabel = text(spec.plan_label, 16) or "RADIARCH"
        self.RTPlanName = text(f"{spec.protocol_id or spec.workflow_id} UNAPPROVED", 64)
        described = [
            "UNAPPROVED, automatic plan for research and quality assurance",
            f"Radiarch {radiarch_contract.__version__}, workflow {spec.workflow_id}, "
            f"protocol {spec.protocol_id or 'none'}",
            *physics_lines(plan),
            f"machine data {plan.machine.name}",
            f"plan id {spec.plan_id}",
            *patient.notes,
            *plan.notes,
        ]
        self.RTPlanDescription = text(". ".join(described), 1024)
        self.RTPlanDate, self.RTPlanTime = self.InstanceCreationDate, self.InstanceCreationTime
        self.TreatmentProtocols = self.TREATMENT_PROTOCOLS
        self.PlanIntent = PlanIntentValues.RESEARCH.value
        self.RTPlanGeometry = RTPlanGeometryValues.PATIENT.value
        self.ReferencedStructureSetSequence = [
            reference(patient.rtstruct_sop_class_uid, patient.rtstruct_sop_instance_uid)
        ]
        weighted = " (RBE-weighted)" if plan.dose.rbe != 1 else ""
        doses = ", ".join(f"{t.dose_gy:g} Gy{weighted} to {t.target}" for t in prescription.targets)
        self.PrescriptionDescription = text(
            f"{doses} in {prescription.fractions} fractions",
            1024,
        )
        self.DoseReferenceSequence = dose_reference_items(spec, patient)


def dose_reference_items(spec: JobSpec, patient: Patient) -> list[Dataset]:
    """Items of the Dose Reference Sequence: what is prescribed to each target, total over all fractions."""
    items = []
    for index, target in enumerate(spec.prescribed.targets):
        item = Dataset()
        number = target_roi_number(spec, patient, target.target)
        if number is None:
            # Only POINT and VOLUME may name a ROI (PS3.3 C.8.8.10), and no ROI is a derived structure.
            definition = spec.parameters["derived"][target.target]
            item.DoseReferenceStructureType = DoseReferenceStructureTypeValues.SITE.value
            item.DoseReferenceDescription = text(f"{target.target}: {definition}", 64)
        else:
            item.ReferencedROINumber = number
            item.DoseReferenceStructureType = DoseReferenceStructureTypeValues.VOLUME.value
            item.DoseReferenceDescription = text(target.target, 64)
        item.DoseReferenceNumber = DOSE_REFERENCE_NUMBER + index
        item.DoseReferenceUID = dose_reference_uid(spec, index)
        item.DoseReferenceType = DoseReferenceTypeValues.TARGET.value
        item.TargetPrescriptionDose = decimal_string(target.dose_gy)
        items.append(item)
    return items


def fraction_group_item(spec: JobSpec, metersets_mu: Mapping[int, DSfloat]) -> Dataset:
    """Item of the Fraction Group Sequence, with the MU of one fraction by beam number."""
    item = Dataset()
    item.FractionGroupNumber = FRACTION_GROUP_NUMBER
    item.NumberOfFractionsPlanned = spec.prescribed.fractions
    item.NumberOfBeams = len(metersets_mu)
    item.NumberOfBrachyApplicationSetups = 0
    item.ReferencedBeamSequence = []
    for number, meterset_mu in metersets_mu.items():
        beam = Dataset()
        beam.BeamMeterset = meterset_mu
        beam.ReferencedBeamNumber = number
        item.ReferencedBeamSequence.append(beam)
    item.ReferencedDoseReferenceSequence = []
    for index, target in enumerate(spec.prescribed.targets):
        dose = Dataset()
        dose.TargetPrescriptionDose = decimal_string(target.dose_gy)
        dose.ReferencedDoseReferenceNumber = DOSE_REFERENCE_NUMBER + index
        item.ReferencedDoseReferenceSequence.append(dose)
    return item


def patient_setup_item(patient_position: PatientPosition) -> Dataset:
    """Item of the Patient Setup Sequence: the position of the CT."""
    item = Dataset()
    item.PatientPosition = patient_position.value
    item.PatientSetupNumber = PATIENT_SETUP_NUMBER
    return item
