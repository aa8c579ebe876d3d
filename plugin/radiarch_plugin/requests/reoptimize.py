"""From a plan to another one that differs in what a request says; reads the RTSTRUCT again, stores nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError
from radiarch_contract.derived import leaves
from radiarch_contract.errors import ConflictError, ErrorCode, InvalidRequestError, NotFoundError
from radiarch_contract.objectives import Objective
from radiarch_contract.places import Place
from radiarch_contract.protocol import Goals
from radiarch_contract.states import Origin, Priority
from radiarch_contract.strict import Asked, PlainObject
from radiarch_contract.structures import StructureRef, StructureSelector
from radiarch_contract.workflows import Prescription, get_workflow, parse_parameters, validation_error

from radiarch_plugin.dicom.images import structure_set_fields
from radiarch_plugin.dicom.rtstruct import RtstructFacts, read_rtstruct, require_plannable
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.protocols.loaded import ProtocolSet
from radiarch_plugin.store import NewPlan, PlanView

from .plan import (
    PrescriptionRequest,
    RequestPriority,
    goal_structures,
    objective_structures,
    override_structures,
    structure_refs,
    unknown_structures,
)


class ReoptimizeRequest(Asked):
    """What is to be different from the parent; everything else stays as the parent has it.

    A list that is given replaces the parent's; of ``parameters`` and ``prescription``, those that are given.
    """

    objectives: tuple[Objective, ...] | None = Field(default=None, max_length=100)
    goals: Goals | None = None
    prescription: PrescriptionRequest | None = None
    parameters: PlainObject = Field(default_factory=dict, max_length=100)
    label: Annotated[str | None, Field(pattern=r"^[ -~]{1,16}$", description="RT Plan Label (300A,0002).")] = None
    priority: RequestPriority = Priority.INTERACTIVE

    def as_asked(self, parent_id: str) -> dict[str, Any]:
        """What was given, without defaults."""
        return {"parent_id": parent_id, **self.model_dump(mode="json", exclude_unset=True)}


def make_child(
    request: ReoptimizeRequest,
    parent: PlanView,
    *,
    protocols: ProtocolSet,
    orthanc: OrthancClient,
    idempotency_key: str | None = None,
    requested_by: str | None = None,
) -> NewPlan:
    """The plan that is asked for.

    Raises
    ------
    ConflictError
        The parent is no treatment plan, or its structure set is gone or has another content now.
    InvalidRequestError
        Values that do not fit the parent's workflow, or name a structure that does not exist.
    ServiceError
        Orthanc does not answer.
    """
    if not get_workflow(parent.workflow_id).plans or parent.prescription is None:
        raise ConflictError(
            f"plan {parent.id} is of workflow {parent.workflow_id}, which has nothing to optimise",
            remedy=f"Re-optimise a plan of a planning workflow; see {Place.WORKFLOWS}.",
            workflow_id=parent.workflow_id,
        )
    given: dict[str, Any] = dict(request.parameters)
    if request.objectives is not None:
        given["objectives"] = [o.model_dump(mode="json") for o in request.objectives]
    joined = _same_calibration(parent, _joined(parent.parameters, given), given)
    parameters = parse_parameters(parent.workflow_id, joined).model_dump(mode="json")
    prescription = _prescription(request, parent.prescription)
    goals = parent.goal_texts if request.goals is None else request.goals
    facts = _same_structure_set(parent, orthanc)
    definitions: Mapping[str, str] = parameters.get("derived", {})
    targets = [t.target for t in prescription.targets]
    used = [*targets, *objective_structures(parameters), *goal_structures(goals), *override_structures(parameters)]
    used = leaves([*used, *definitions], definitions)
    refs, missing = _structures(used, parent, _selectors(parent, protocols), facts)
    own = [*objective_structures(given), *goal_structures(request.goals or ()), *override_structures(given)]
    own += given["derived"] if isinstance(given.get("derived"), Mapping) else ()
    asked = set(leaves([*targets, *own], definitions))
    unknown = [n for n in dict.fromkeys(used) if n in missing and n in asked and n != "BODY"]
    if unknown:
        raise unknown_structures(unknown, facts.rois)
    return NewPlan(
        origin=Origin.REQUEST,
        workflow_id=parent.workflow_id,
        protocol_id=parent.protocol_id,
        protocol_sha256=parent.protocol_sha256,
        prescription=prescription,
        parameters=parameters,
        structures=refs,
        missing_structures=missing,
        goals=goals,
        **structure_set_fields(facts, orthanc),
        request=request.as_asked(parent.id),
        requested_by=requested_by,
        idempotency_key=idempotency_key,
        plan_label=request.label or parent.plan_label,
        time_limit_s=parent.time_limit_s,
        priority=request.priority,
        parent_id=parent.id,
    )


def _joined(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(before)
    for one, other in (("beams", "beam_count"), ("beam_count", "beams")):
        if one in given and other not in given:
            kept.pop(other, None)
    return kept | dict(given)


def _same_calibration(parent: PlanView, joined: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """With the CT calibration by name that the parent was made with, where no other is asked for.

    The site may have added one for the scanner meanwhile: other objectives must not come with other physics.
    """
    used = parent.provenance.get("ct_calibration")
    name = used.get("name") if isinstance(used, Mapping) else None
    if "ct_calibration" in given or not isinstance(name, str):
        return joined
    return {**joined, "ct_calibration": name}


def _prescription(request: ReoptimizeRequest, before: Prescription) -> Prescription:
    if request.prescription is None:
        return before
    try:
        return Prescription.model_validate(before.model_dump() | request.prescription.model_dump(exclude_none=True))
    except ValidationError as e:
        raise validation_error(e, "prescription", Prescription) from None


def _same_structure_set(parent: PlanView, orthanc: OrthancClient) -> RtstructFacts:
    """The parent's structure set, as Orthanc has it now."""
    uid = parent.rtstruct_sop_instance_uid
    try:
        facts = read_rtstruct(orthanc.instance_file(orthanc.find_instance(uid)))
    except NotFoundError:
        raise ConflictError(
            f"the RTSTRUCT {uid} of plan {parent.id} is no longer in Orthanc",
            remedy="Send the structure set again.",
            code=ErrorCode.INPUT_CHANGED,
        ) from None
    except InvalidRequestError as e:  # stored for more than one patient
        raise ConflictError(str(e), remedy=e.info.remedy, code=e.code, **e.info.details) from None
    if facts.sha256 != parent.rtstruct_sha256:
        raise ConflictError(
            f"the RTSTRUCT {uid} has another content now than when plan {parent.id} was made of it",
            remedy=f"Ask for a plan of the new content: {Place.NEW_PLAN}.",
            code=ErrorCode.INPUT_CHANGED,
            superseded_by=parent.superseded_by,
        )
    require_plannable(facts)
    return facts


def _selectors(parent: PlanView, protocols: ProtocolSet) -> Mapping[str, StructureSelector]:
    """How the parent's protocol finds structures, where it is still the one that the parent was made with."""
    for loaded in protocols.items:
        if loaded.protocol.id == parent.protocol_id and loaded.sha256 == parent.protocol_sha256:
            return loaded.protocol.structures
    return {}


def _structures(
    used: list[str], parent: PlanView, selectors: Mapping[str, StructureSelector], facts: RtstructFacts
) -> tuple[tuple[StructureRef, ...], tuple[str, ...]]:
    """What names stood for in the parent they stand for still; new names are looked for."""
    known = {ref.name: ref for ref in parent.structures}
    refs, missing = structure_refs(used, known, selectors, facts)
    left = [n for n in dict.fromkeys([*parent.missing_structures, *missing]) if n not in refs]
    return tuple(refs.values()), tuple(left)
