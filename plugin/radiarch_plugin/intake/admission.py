"""What is made of one RTSTRUCT that arrived: a plan, or the reason why there is none; no I/O."""

from __future__ import annotations

from radiarch_contract.errors import ErrorCode, ErrorInfo, InputRefusedError, RadiarchError
from radiarch_contract.states import Origin, Priority
from radiarch_contract.workflows import parse_parameters

from radiarch_plugin.dicom.images import structure_set_fields
from radiarch_plugin.dicom.rtstruct import MAX_BYTES, RtstructFacts, read_rtstruct, require_plannable
from radiarch_plugin.protocols.loaded import ProtocolSet
from radiarch_plugin.protocols.matching import Matched, match
from radiarch_plugin.store import NewArrival, NewPlan


def consider(
    data: bytes, protocols: ProtocolSet, *, orthanc_id: str, sop_instance_uid: str, calling_ae: str | None
) -> NewArrival:
    """Read an RTSTRUCT and decide what becomes of it.

    Parameters
    ----------
    data
        The DICOM file.
    sop_instance_uid
        As Orthanc indexed it: what there is to go by where the file cannot be read.
    """
    try:
        facts = read_rtstruct(data, calling_ae=calling_ae)
    except RadiarchError as e:
        return unread(e.info, orthanc_id=orthanc_id, sop_instance_uid=sop_instance_uid, calling_ae=calling_ae)
    planned = plan_for(facts, protocols)
    return NewArrival(
        sop_instance_uid=facts.sop_instance_uid,
        orthanc_id=orthanc_id,
        series_instance_uid=facts.series_instance_uid,
        study_instance_uid=facts.study_instance_uid,
        patient_id=facts.patient_id,
        patient_name=facts.patient_name,
        sha256=facts.sha256,
        calling_ae=calling_ae,
        structures=tuple(roi.name for roi in facts.rois),
        referenced_count=len(facts.images.images),
        plan=planned if isinstance(planned, NewPlan) else None,
        error=planned if isinstance(planned, ErrorInfo) else None,
    )


def unread(error: ErrorInfo, *, orthanc_id: str, sop_instance_uid: str, calling_ae: str | None) -> NewArrival:
    """An arrival of which nothing is known but that it came."""
    return NewArrival(sop_instance_uid=sop_instance_uid, orthanc_id=orthanc_id, calling_ae=calling_ae, error=error)


def too_large(size: int) -> ErrorInfo:
    return InputRefusedError(
        f"the RTSTRUCT has {size} bytes, at most {MAX_BYTES} are read",
        remedy="Export the structure set with fewer contours.",
        code=ErrorCode.UNREADABLE_RTSTRUCT,
        bytes=size,
    ).info


def plan_for(facts: RtstructFacts, protocols: ProtocolSet) -> NewPlan | ErrorInfo:
    """The plan that the protocols ask for, or why there is none."""
    try:
        require_plannable(facts)
    except InputRefusedError as e:
        return e.info
    found = match(protocols, facts)
    if not isinstance(found, Matched):
        return found.error.info
    return planned_by(found, facts)


def planned_by(found: Matched, facts: RtstructFacts) -> NewPlan:
    """What a protocol asks for on a structure set that arrived."""
    protocol = found.protocol
    parameters = parse_parameters(protocol.workflow, protocol.parameters())
    return NewPlan(
        origin=Origin.ARRIVAL,
        priority=Priority.BATCH,
        workflow_id=protocol.workflow,
        protocol_id=protocol.id,
        protocol_sha256=found.loaded.sha256,
        prescription=protocol.prescription,
        parameters=parameters.model_dump(mode="json"),
        structures=found.structures,
        missing_structures=found.missing,
        goals=protocol.goals,
        **structure_set_fields(facts),
        request={"protocol_id": protocol.id},
    )


def deleted(sop_instance_uid: str) -> ErrorInfo:
    return InputRefusedError(
        f"the RTSTRUCT {sop_instance_uid} was deleted from Orthanc before all of its images had come",
        remedy="Send it again where it is still to be planned.",
        code=ErrorCode.INPUT_CHANGED,
    ).info
