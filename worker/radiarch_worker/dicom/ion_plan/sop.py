"""The RT Ion Plan object; its items live in `content`."""

from __future__ import annotations

import radiarch_contract
from pydicom.uid import RTIonPlanStorage
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind

from radiarch_worker.dicom.base import ResultSOPClass, invalid_result, physics_lines, reference
from radiarch_worker.dicom.enum import ApprovalStatusValues, PlanIntentValues, RTPlanGeometryValues
from radiarch_worker.dicom.valuerep import text
from radiarch_worker.ion import IonMachine, ion_beams
from radiarch_worker.model import Patient, PlanResult

from .content import beam_item, dose_reference_items, encode_beam, fraction_group_item, patient_setup_item


class RTIonPlan(ResultSOPClass):
    """A pencil-beam scanning proton plan as it was planned: deliverable, and UNAPPROVED.

    Spot positions and metersets are float32 (VR FL); cumulative metersets are sums of those rounded
    values, and the final cumulative meterset weight is the beam's MU for one fraction, so that
    ``weight * BeamMeterset / FinalCumulativeMetersetWeight`` is the weight itself.
    """

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
            sop_class_uid=RTIonPlanStorage,
            modality="RTPLAN",
            series_description=f"RADIARCH plan UNAPPROVED {spec.workflow_id}",
        )
        self._add_general_plan(spec, patient, plan)
        self._add_beams(spec, patient, plan)
        self.ApprovalStatus = ApprovalStatusValues.UNAPPROVED.value

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
        self.TreatmentProtocols = "PencilBeamScanning"
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

    def _add_beams(self, spec: JobSpec, patient: Patient, plan: PlanResult) -> None:
        if not plan.beams:
            raise invalid_result("the plan has no beams, expected at least one")
        assert isinstance(plan.machine, IonMachine)
        machine = plan.machine
        numbers = [beam.number for beam in plan.beams]
        if len(set(numbers)) != len(numbers):
            raise invalid_result(f"beam numbers {numbers} are not unique")
        beams = tuple(encode_beam(beam) for beam in ion_beams(plan))
        self.FractionGroupSequence = [fraction_group_item(spec, beams)]
        self.PatientSetupSequence = [patient_setup_item(patient.ct.patient_position)]
        description = "; ".join([f"machine data {plan.machine.name}", *physics_lines(plan)])
        self.IonBeamSequence = [beam_item(beam, machine, description) for beam in beams]
