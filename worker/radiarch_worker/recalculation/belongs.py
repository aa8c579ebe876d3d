"""Whether a plan, its dose and a CT belong together; nothing is computed here."""

from __future__ import annotations

from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.evaluation import ReadDose
from radiarch_worker.model import Beam, Patient

from .read_plan import ReadPlan


def check_belongs(plan: ReadPlan[Beam], reference: ReadDose | None, patient: Patient) -> None:
    """Refuse a plan that is not in the CT's frame, and a dose that is not the plan's."""
    frame = patient.ct.frame_of_reference_uid
    if plan.frame_of_reference_uid not in ("", frame):
        raise InputRefusedError(
            f"the plan is in frame of reference {plan.frame_of_reference_uid}, CT and structures are in {frame}",
            remedy="Name the structure set of the CT that the plan was made on.",
            code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
        )
    if not plan.frame_of_reference_uid and patient.rtstruct_sop_instance_uid not in plan.structure_sets:
        raise InputRefusedError(
            "the plan names neither a frame of reference nor this structure set: whether its isocenter is in this CT "
            "is not known",
            remedy="Export the plan with its references.",
            code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
        )
    if reference is None:
        return
    named = {uid for _, uid in reference.referenced_plans}
    if named != {plan.sop_instance_uid}:
        raise InputRefusedError(
            f"the RTDOSE is of plan {', '.join(sorted(named))[:200] or '(none named)'}, "
            f"expected {plan.sop_instance_uid}",
            remedy="Name the dose of this very plan, or none; any two doses are compared by an evaluation.",
            code=ErrorCode.UNSUPPORTED_DOSE,
        )
    if reference.summation != "PLAN":
        raise InputRefusedError(
            f"the RTDOSE has Dose Summation Type {reference.summation}, expected PLAN: the plan is computed whole",
            remedy="Export the dose of the whole plan.",
            code=ErrorCode.UNSUPPORTED_DOSE,
        )


def check_position(plan: ReadPlan[Beam], patient: Patient) -> tuple[str, ...]:
    """Refuse a plan for another patient position than the CT's; a note where it names none."""
    position = patient.ct.patient_position
    if plan.patient_position is None:
        return (
            "The plan does not say how the patient lies ((300A,0180) Patient Setup Sequence has no Patient Position): "
            f"it was computed as on the CT, {position}.",
        )
    if plan.patient_position is not position:
        raise InputRefusedError(
            f"the plan's (0018,5100) Patient Position is {plan.patient_position}, the CT's is {position}: beams would "
            "enter another side of the patient",
            remedy="Name the plan of this CT, or correct the position where it is wrong.",
            code=ErrorCode.UNSUPPORTED_PATIENT_POSITION,
            plan=plan.patient_position.value,
            ct=position.value,
        )
    return ()
