"""From a request for a plan to a plan that can be made, or the reason why not; reads the RTSTRUCT, stores nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from radiarch_contract.derived import Definitions, leaves
from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError, NotFoundError
from radiarch_contract.goals import Goal
from radiarch_contract.near import did_you_mean, nearest
from radiarch_contract.objectives import Objective
from radiarch_contract.protocol import Goals, WorkflowId
from radiarch_contract.states import Origin, Priority
from radiarch_contract.strict import Asked, PlainObject
from radiarch_contract.structures import (
    Ambiguity,
    Rank,
    Roi,
    StructureRef,
    StructureSelector,
    ambiguous_structures,
    look_up,
    named_for_another_dose,
    spelled,
)
from radiarch_contract.workflows import (
    Beam,
    Prescription,
    TargetDose,
    get_workflow,
    parse_parameters,
    validation_error,
)

from radiarch_plugin.dicom.images import structure_set_fields
from radiarch_plugin.dicom.rtstruct import RtstructFacts, read_rtstruct, require_plannable
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.protocols.loaded import LoadedProtocol, ProtocolSet
from radiarch_plugin.protocols.matching import outline_ambiguity
from radiarch_plugin.store import NewPlan

MAX_NAMED = 60

Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$", description="A DICOM UID.")]
Name = Annotated[str, Field(min_length=1, max_length=64)]
RequestPriority = Annotated[
    Priority, Field(description="batch: one of many, which runs that somebody waits for may overtake in the queue.")
]
RoiNumber = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
GivenStructures = Annotated[
    dict[Name, Annotated[str, Field(min_length=1, max_length=256)] | RoiNumber],
    Field(max_length=200, description="The ROI's own name, or its number, for a name used here or in the protocol."),
]


class PrescriptionRequest(Asked):
    """What to prescribe; with a protocol, what is left out is taken from it."""

    target: Name | None = None
    dose_gy: float | None = Field(default=None, gt=0, le=120, description="Total over all fractions, Gy.")
    fractions: int | None = Field(default=None, ge=1, le=60)
    more: tuple[TargetDose, ...] | None = Field(
        default=None, max_length=9, description="Further targets with doses of their own."
    )


class PlanRequest(Asked):
    """Ask for a plan of a structure set that is stored in Orthanc.

    Start from a protocol, a workflow, or a protocol with another workflow; what is given here takes the place of
    what the protocol says.
    """

    rtstruct_sop_instance_uid: Uid
    protocol_id: str | None = Field(default=None, max_length=63)
    workflow_id: WorkflowId | None = None
    prescription: PrescriptionRequest = PrescriptionRequest()
    structures: GivenStructures = Field(default_factory=dict)
    beams: tuple[Beam, ...] | None = Field(default=None, min_length=1, max_length=9)
    beam_count: int | None = Field(default=None, ge=1, le=9, description="Evenly spaced from gantry 0.")
    objectives: tuple[Objective, ...] | None = Field(default=None, max_length=100)
    goals: Goals | None = None
    derived: Definitions | None = Field(default=None, description="Structures made of others, by name.")
    parameters: PlainObject = Field(
        default_factory=dict, max_length=100, description="Further parameters of the workflow, over the protocol's."
    )
    label: str | None = Field(default=None, pattern=r"^[ -~]{1,16}$", description="RT Plan Label (300A,0002).")
    priority: RequestPriority = Priority.INTERACTIVE

    @model_validator(mode="after")
    def _start_somewhere(self) -> Self:
        if self.protocol_id is None and self.workflow_id is None:
            raise ValueError("give protocol_id or workflow_id")
        if self.workflow_id is not None and not get_workflow(self.workflow_id).plans:
            raise ValueError(f"{self.workflow_id} does not plan; ask for a check: {check_of(self.workflow_id)}")
        if self.beams is not None and self.beam_count is not None:
            raise ValueError("give beams or beam_count, not both")
        return self

    def as_asked(self) -> dict[str, Any]:
        """What was given, without defaults."""
        return self.model_dump(mode="json", exclude_unset=True)


def check_of(workflow_id: str) -> str:
    """How a check of a workflow is asked for."""
    command = {"evaluation": "evaluate", "recalculation": "recalculate"}.get(workflow_id, workflow_id)
    return f"`radiarch {command}`, POST /{workflow_id}s"


def make_plan(
    request: PlanRequest,
    *,
    protocols: ProtocolSet,
    orthanc: OrthancClient,
    idempotency_key: str | None = None,
    requested_by: str | None = None,
) -> NewPlan:
    """The plan that is asked for.

    Raises
    ------
    InvalidRequestError
        What it names does not exist (protocol, RTSTRUCT, structure), or its values do not fit.
    InputRefusedError
        The RTSTRUCT cannot be read, references no image, or something else than CT.
    ServiceError
        Orthanc does not answer.
    """
    loaded = _protocol(request, protocols)
    workflow_id, parameters = _parameters(request, loaded)
    prescription = _prescription(request, loaded)
    facts = structure_set_facts(request.rtstruct_sop_instance_uid, orthanc)
    goals = request.goals if request.goals is not None else (loaded.protocol.goals if loaded else ())
    refs, missing = _structures(request, loaded, prescription, parameters, goals, facts)
    return NewPlan(
        origin=Origin.REQUEST,
        workflow_id=workflow_id,
        protocol_id=loaded.protocol.id if loaded else None,
        protocol_sha256=loaded.sha256 if loaded else None,
        prescription=prescription,
        parameters=parameters,
        structures=tuple(refs.values()),
        missing_structures=tuple(missing),
        goals=goals,
        **structure_set_fields(facts, orthanc),
        request=request.as_asked(),
        requested_by=requested_by,
        idempotency_key=idempotency_key,
        plan_label=request.label or "RADIARCH",
        priority=request.priority,
    )


def _protocol(request: PlanRequest, protocols: ProtocolSet) -> LoadedProtocol | None:
    if request.protocol_id is None:
        return None
    try:
        loaded = protocols.get(request.protocol_id)
    except NotFoundError as e:  # 404 is for paths; here a field of the body is wrong
        raise InvalidRequestError(str(e), remedy=e.info.remedy, code=e.code) from None
    if not loaded.protocol.plans:
        raise InvalidRequestError(
            f"protocol {loaded.protocol.id!r} is for {loaded.protocol.workflow}, which plans nothing",
            remedy=f"Ask for a check with it: {check_of(loaded.protocol.workflow)}.",
        )
    return loaded


def _parameters(request: PlanRequest, loaded: LoadedProtocol | None) -> tuple[str, dict[str, Any]]:
    """Workflow and its parameters, validated, with defaults filled in."""
    workflow_id = request.workflow_id or (loaded.protocol.workflow if loaded else "")
    given: dict[str, Any] = loaded.protocol.parameters() if loaded else {}
    own = dict(request.parameters)
    if request.beams is not None:
        own["beams"] = [b.model_dump(mode="json", exclude_defaults=True) for b in request.beams]
    if request.beam_count is not None:
        own["beam_count"] = request.beam_count
    if request.objectives is not None:
        own["objectives"] = [o.model_dump(mode="json") for o in request.objectives]
    if request.derived is not None:
        own["derived"] = dict(request.derived)
    if isinstance(own.get("derived"), dict):  # definitions are added to the protocol's, each under its own name
        own["derived"] = given.get("derived", {}) | own["derived"]
    for one, other in (("beams", "beam_count"), ("beam_count", "beams")):
        if one in own and other not in own:
            given.pop(other, None)
    return workflow_id, parse_parameters(workflow_id, given | own).model_dump(mode="json")


def _prescription(request: PlanRequest, loaded: LoadedProtocol | None) -> Prescription:
    base = loaded.protocol.prescribed.model_dump() if loaded else {}
    try:
        return Prescription.model_validate(base | request.prescription.model_dump(exclude_none=True))
    except ValidationError as e:
        raise validation_error(e, "prescription", Prescription) from None


def structure_set_facts(sop_instance_uid: str, orthanc: OrthancClient) -> RtstructFacts:
    """A structure set that a request names."""
    try:
        orthanc_id = orthanc.find_instance(sop_instance_uid)
        facts = read_rtstruct(orthanc.instance_file(orthanc_id))
    except NotFoundError as e:
        raise InvalidRequestError(str(e), remedy=e.info.remedy, code=ErrorCode.NOT_FOUND, **e.info.details) from None
    require_plannable(facts)
    return facts


def _structures(
    request: PlanRequest,
    loaded: LoadedProtocol | None,
    prescription: Prescription,
    parameters: Mapping[str, Any],
    goals: Sequence[str],
    facts: RtstructFacts,
) -> tuple[dict[str, StructureRef], list[str]]:
    """Which ROI each name stands for. Names that the request itself uses must exist; a protocol's may be missing."""
    definitions: Mapping[str, str] = parameters.get("derived", {})
    targets = [t.target for t in prescription.targets]
    used = [*targets, *objective_structures(parameters), *goal_structures(goals), *override_structures(parameters)]
    if loaded:
        used += loaded.protocol.structures
    used = leaves([*used, *definitions], definitions)
    selectors = loaded.protocol.structures if loaded else {}
    refs, missing = structure_refs(used, given_structures(request.structures, facts.rois), selectors, facts)
    asked = set(leaves([*targets, *_own_names(request)], definitions))
    if loaded:
        asked |= {n for n, s in loaded.protocol.structures.items() if s.required}
    unknown = [n for n in dict.fromkeys(used) if n in missing and n in asked and n != "BODY"]
    if unknown:
        raise unknown_structures(unknown, facts.rois)
    doses_gy = {t.target: t.dose_gy for t in prescription.targets if t.target not in request.structures}
    if other := named_for_another_dose(doses_gy, refs, selectors):
        raise InputRefusedError(
            other,
            remedy="Correct the prescription, or say with 'structures' that this ROI is meant.",
            code=ErrorCode.AMBIGUOUS_STRUCTURE,
        )
    return refs, missing


def objective_structures(parameters: Mapping[str, Any]) -> list[str]:
    """Names that the objectives of parameters use, validated or not."""
    found = parameters.get("objectives")
    return [str(o.get("structure")) for o in found if isinstance(o, Mapping)] if isinstance(found, list) else []


def override_structures(parameters: Mapping[str, Any]) -> list[str]:
    """Names that the density overrides of parameters use, validated or not."""
    found = parameters.get("overrides")
    return [str(o.get("structure")) for o in found if isinstance(o, Mapping)] if isinstance(found, list) else []


def goal_structures(goals: Sequence[str]) -> list[str]:
    return [Goal.parse(g).structure for g in goals]


def _own_names(request: PlanRequest) -> list[str]:
    names = [o.structure for o in request.objectives or ()]
    names += goal_structures(request.goals or ()) + objective_structures(request.parameters)
    names += override_structures(request.parameters)
    more = request.parameters.get("derived")
    return [*names, *(request.derived or {}), *(more if isinstance(more, Mapping) else {})]


def structure_refs(
    used: Sequence[str],
    known: Mapping[str, StructureRef],
    selectors: Mapping[str, StructureSelector],
    facts: RtstructFacts,
) -> tuple[dict[str, StructureRef], list[str]]:
    """Which ROI each name stands for, those that are known already among them, and names without a ROI.

    Raises
    ------
    InputRefusedError
        ``ambiguous_structure``: several ROIs could stand for a name, or be the patient's outline.
    """
    result = look_up([n for n in used if n not in known], selectors, facts.rois)
    outline = outline_ambiguity([*used, *known], selectors, facts)
    if ambiguous := [*result.ambiguous, *outline]:
        raise ambiguous_structures(ambiguous)
    return dict(known) | result.found, result.missing


def given_structures(given: Mapping[str, str | int], rois: Sequence[Roi]) -> dict[str, StructureRef]:
    """Which ROI each name stands for, as a request says it: the ROI's name exactly, or its number."""
    found: dict[str, StructureRef] = {}
    for name, wanted in given.items():
        if isinstance(wanted, int):
            same = [r for r in rois if r.number == wanted]
        else:
            same = [r for r in rois if spelled(r.name) == spelled(wanted)]
        if not same:
            raise unknown_structures([f"ROI number {wanted}" if isinstance(wanted, int) else wanted], rois)
        if len(same) > 1:
            raise ambiguous_structures([Ambiguity(name, Rank.EXACT, tuple(same))])
        found[name] = StructureRef(name=name, roi_number=same[0].number, roi_name=same[0].name)
    return found


def unknown_structures(names: Sequence[str], rois: Sequence[Roi]) -> InvalidRequestError:
    """The refusal of names for which a structure set has no ROI."""
    exist = [r.name for r in rois][:MAX_NAMED]
    all_names = [r.name for r in rois]
    meant = did_you_mean(dict.fromkeys(n for name in names for n in nearest(name, all_names, count=1)))
    return InvalidRequestError(
        f"the structure set has no structure for {', '.join(repr(n) for n in names)}; "
        f"it has {', '.join(repr(n) for n in exist) or 'none at all'}{meant}",
        remedy="Use one of the names that exist, or choose which ROI the name stands for (page New plan, "
        "`radiarch plan --structure NAME=ROI`, field structures).",
        code=ErrorCode.UNKNOWN_STRUCTURE,
        unknown=list(names),
        structures=exist,
    )
