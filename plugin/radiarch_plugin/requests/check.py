"""Requests to judge a stored dose, or to compute a stored plan anew: from names of objects to a job; stores nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Protocol

from pydantic import Field
from radiarch_contract.derived import leaves
from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError, NotFoundError
from radiarch_contract.goals import Goal
from radiarch_contract.images import same_patient
from radiarch_contract.job import JobInput
from radiarch_contract.protocol import GoalText
from radiarch_contract.states import Origin, Priority
from radiarch_contract.strict import Asked, PlainObject
from radiarch_contract.structures import StructureRef
from radiarch_contract.verdict import ActionLevels
from radiarch_contract.workflows import GammaCriteria, Prescription, parse_parameters

from radiarch_plugin.dicom.images import Orthanc as Images
from radiarch_plugin.dicom.images import structure_set_fields
from radiarch_plugin.dicom.rtobjects import Kind, ObjectFacts, read_object
from radiarch_plugin.dicom.rtstruct import RtstructFacts
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.store import NewPlan

from .plan import (
    GivenStructures,
    RequestPriority,
    Uid,
    given_structures,
    goal_structures,
    override_structures,
    structure_refs,
    structure_set_facts,
    unknown_structures,
)

MAX_CANDIDATES = 50
"""Doses of a study that are looked at for one that names a plan."""


class StoredObjects(Images, Protocol):
    """What is asked of Orthanc; `OrthancClient` answers it."""

    def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, ...]]: ...
    def find_instance(
        self, sop_instance_uid: str, *, patient_id: str | None = None, study_instance_uid: str = ""
    ) -> str: ...
    def find_doses(self, study_instance_uid: str) -> list[str]: ...
    def instance_file(self, orthanc_id: str) -> bytes: ...


Label = Annotated[str | None, Field(pattern=r"^[ -~]{1,16}$", description="Shown in lists.")]


class _CheckRequest(Asked):
    rtstruct_sop_instance_uid: Uid | None = Field(
        default=None, description="Null: the one that the object, or the plan of the dose, names."
    )
    prescription: Prescription | None = Field(default=None, description="Needed for goals in % of it.")
    goals: tuple[GoalText, ...] = Field(default=(), max_length=200)
    structures: GivenStructures = Field(default_factory=dict)
    label: Label = None
    priority: RequestPriority = Priority.INTERACTIVE

    def as_asked(self) -> dict[str, Any]:
        """What was given, without defaults."""
        return self.model_dump(mode="json", exclude_unset=True)


class EvaluationRequest(_CheckRequest):
    """Judge a dose that is stored in Orthanc, of whatever system: DVH, metrics, goals."""

    rtdose_sop_instance_uid: Uid
    added_rtdose_sop_instance_uid: Uid | None = Field(
        default=None,
        description="The dose of another whole plan, of the same Dose Type: the sum of both is judged (a plan sum).",
    )
    reference_rtdose_sop_instance_uid: Uid | None = Field(
        default=None, description="Another dose to compare with: gamma, differences, a difference dose."
    )
    gamma: GammaCriteria = GammaCriteria()
    levels: ActionLevels = Field(default=ActionLevels(), description="What the verdict is judged by.")
    rbe: float | None = Field(
        default=None, ge=1, le=2, description="Constant RBE of doses that are physical: see the workflow evaluation."
    )


class RecalculationRequest(_CheckRequest):
    """Compute a plan that is stored in Orthanc anew, of protons or photons, and compare it with its dose."""

    rtplan_sop_instance_uid: Uid
    rtdose_sop_instance_uid: Uid | None = Field(
        default=None,
        description="What to compare with; null: a dose in the study that names the plan and is of all of it.",
    )
    parameters: PlainObject = Field(
        default_factory=dict, max_length=100, description="Of the workflow recalculation, such as gamma or machine."
    )


def make_evaluation(
    request: EvaluationRequest,
    *,
    orthanc: OrthancClient,
    idempotency_key: str | None = None,
    requested_by: str | None = None,
) -> NewPlan:
    """The job that is asked for.

    Raises
    ------
    InvalidRequestError
        What it names does not exist, or a goal needs a prescription and none is given.
    InputRefusedError
        The objects cannot be read or do not belong together.
    ServiceError
        Orthanc does not answer.
    """
    given = request.model_dump(include={"gamma", "levels", "rbe"})
    parameters = parse_parameters("evaluation", given).model_dump(mode="json")
    dose = read_stored(orthanc, request.rtdose_sop_instance_uid, "rtdose")
    inputs = [JobInput(kind="rtdose", sop_instance_uid=dose.sop_instance_uid, sha256=dose.sha256)]
    if request.added_rtdose_sop_instance_uid is not None:
        inputs.append(_added(request, dose, request.added_rtdose_sop_instance_uid, orthanc))
    if request.reference_rtdose_sop_instance_uid is not None:
        reference = read_stored(orthanc, request.reference_rtdose_sop_instance_uid, "rtdose")
        check_together(dose, reference)
        inputs.append(
            JobInput(kind="reference_rtdose", sop_instance_uid=reference.sop_instance_uid, sha256=reference.sha256)
        )
    facts = structure_set_facts(request.rtstruct_sop_instance_uid or structure_set_of(dose, orthanc), orthanc)
    return new_check(
        "evaluation",
        request,
        facts,
        [dose],
        inputs,
        parameters,
        orthanc,
        idempotency_key=idempotency_key,
        requested_by=requested_by,
    )


def _added(request: EvaluationRequest, dose: ObjectFacts, uid: str, orthanc: OrthancClient) -> JobInput:
    if uid == dose.sop_instance_uid:
        raise InvalidRequestError(
            f"rtdose_sop_instance_uid and added_rtdose_sop_instance_uid are one RTDOSE, {uid}: it would count double",
            remedy="Name the doses of two plans.",
        )
    if request.reference_rtdose_sop_instance_uid is not None:
        raise InvalidRequestError(
            "a sum of two doses is not compared with a reference",
            remedy="Leave out reference_rtdose_sop_instance_uid, or added_rtdose_sop_instance_uid.",
        )
    other = read_stored(orthanc, uid, "rtdose")
    check_together(dose, other)
    return JobInput(kind="added_rtdose", sop_instance_uid=other.sop_instance_uid, sha256=other.sha256)


def make_recalculation(
    request: RecalculationRequest,
    *,
    orthanc: OrthancClient,
    recalculated: Callable[[str], bool],
    idempotency_key: str | None = None,
    requested_by: str | None = None,
) -> NewPlan:
    """The job that is asked for; raises as `make_evaluation` does.

    Parameters
    ----------
    recalculated
        Whether a dose, by its SOP Instance UID, is itself the result of a recalculation.
    """
    parameters = parse_parameters("recalculation", request.parameters).model_dump(mode="json")
    plan = read_stored(orthanc, request.rtplan_sop_instance_uid, "rtplan")
    inputs = [JobInput(kind="rtplan", sop_instance_uid=plan.sop_instance_uid, sha256=plan.sha256)]
    objects = [plan]
    if request.rtdose_sop_instance_uid is not None:
        doses = [read_stored(orthanc, request.rtdose_sop_instance_uid, "rtdose")]
    else:
        doses = doses_of_plan(plan, orthanc, recalculated)
    if doses:
        check_together(plan, doses[0])
        objects.append(doses[0])
        inputs.append(as_reference(doses))
    facts = structure_set_facts(request.rtstruct_sop_instance_uid or structure_set_of(plan, orthanc), orthanc)
    return new_check(
        "recalculation",
        request,
        facts,
        objects,
        inputs,
        parameters,
        orthanc,
        idempotency_key=idempotency_key,
        requested_by=requested_by,
    )


def new_check(
    workflow_id: str,
    request: EvaluationRequest | RecalculationRequest,
    facts: RtstructFacts,
    objects: Sequence[ObjectFacts],
    inputs: Sequence[JobInput],
    parameters: Mapping[str, Any],
    orthanc: OrthancClient,
    *,
    idempotency_key: str | None,
    requested_by: str | None,
) -> NewPlan:
    """The job about these objects with this structure set."""
    check_structure_set(facts, objects)
    check_goals(request.goals, request.prescription)
    target = [] if request.prescription is None else [request.prescription.target]
    definitions: Mapping[str, str] = parameters.get("derived", {})
    used = leaves(
        [*target, *goal_structures(request.goals), *override_structures(parameters), *definitions], definitions
    )
    refs, missing = structure_refs(used, given_structures(request.structures, facts.rois), {}, facts)
    unknown = [n for n in missing if n != "BODY"]
    if unknown:
        raise unknown_structures(unknown, facts.rois)
    structures: tuple[StructureRef, ...] = tuple(refs.values())
    return NewPlan(
        origin=Origin.REQUEST,
        workflow_id=workflow_id,
        prescription=request.prescription,
        parameters=dict(parameters),
        inputs=tuple(inputs),
        structures=structures,
        missing_structures=tuple(missing),
        goals=request.goals,
        **structure_set_fields(facts, orthanc),
        request={"workflow_id": workflow_id, **request.as_asked()},
        requested_by=requested_by,
        idempotency_key=idempotency_key,
        plan_label=request.label or workflow_id.upper(),
        priority=request.priority,
    )


def check_goals(goals: Sequence[str], prescription: Prescription | None) -> None:
    """Refuse goals that are relative to a prescription where there is none."""
    wrong = [g for g in goals if Goal.parse(g).needs_prescription] if prescription is None else []
    if wrong:
        raise InvalidRequestError(
            f"goal {wrong[0]!r} is relative to the prescribed dose, and no prescription is given",
            remedy="Give a prescription (target, dose_gy, fractions), or goals in Gy.",
            goals=wrong,
        )


def read_stored(orthanc: OrthancClient, sop_instance_uid: str, kind: Kind) -> ObjectFacts:
    """A dose or plan that a request names."""
    try:
        return read_object(orthanc.instance_file(orthanc.find_instance(sop_instance_uid)), kind)
    except NotFoundError as e:  # 404 is for paths; here a field of the body is wrong
        raise InvalidRequestError(str(e), remedy=e.info.remedy, code=ErrorCode.NOT_FOUND, **e.info.details) from None


def structure_set_of(thing: ObjectFacts, orthanc: StoredObjects) -> str:
    """UID of the structure set that an object names, itself or through its plan.

    Raises
    ------
    InputRefusedError
        ``no_image_reference``: it names none, or more than one.
    """
    found = set(thing.referenced_structure_sets)
    if not found:
        for plan_uid in thing.referenced_plans:
            with suppress(NotFoundError):
                plan_id = orthanc.find_instance(
                    plan_uid, patient_id=thing.patient_id, study_instance_uid=thing.study_instance_uid
                )
                found |= set(read_object(orthanc.instance_file(plan_id), "rtplan").referenced_structure_sets)
    if len(found) != 1:
        raise InputRefusedError(
            f"{thing.sop_instance_uid} and its plan name {len(found)} structure sets, expected one",
            remedy="Name it with rtstruct_sop_instance_uid.",
            code=ErrorCode.NO_IMAGE_REFERENCE,
            structure_sets=sorted(found)[:10],
        )
    return found.pop()


def doses_of_plan(plan: ObjectFacts, orthanc: StoredObjects, recalculated: Callable[[str], bool]) -> list[ObjectFacts]:
    """The doses of the whole plan in its study, the one to compare with first.

    That is an RBE-weighted one, as prescriptions and goals are; of several the one that was created last, then the one
    that was stored last.
    """
    found: list[ObjectFacts] = []
    for orthanc_id in orthanc.find_doses(plan.study_instance_uid)[-MAX_CANDIDATES:]:
        try:
            dose = read_object(orthanc.instance_file(orthanc_id), "rtdose")
        except (InputRefusedError, NotFoundError):
            continue
        of_plan = dose.referenced_plans == (plan.sop_instance_uid,) and dose.is_plan_dose
        of_plan &= same_patient(dose.patient_id, plan.patient_id)
        if of_plan and not recalculated(dose.sop_instance_uid):
            found.append(dose)
    found.sort(key=lambda d: (d.dose_type == "EFFECTIVE", d.created))
    return found[::-1]


def as_reference(doses: Sequence[ObjectFacts]) -> JobInput:
    """The first of the doses as what a plan is compared with, and the others by name."""
    return JobInput(
        kind="reference_rtdose",
        sop_instance_uid=doses[0].sop_instance_uid,
        sha256=doses[0].sha256,
        alternatives=tuple(d.sop_instance_uid for d in doses[1:]),
    )


def check_together(one: ObjectFacts, other: ObjectFacts) -> None:
    """Refuse objects of different patients or frames of reference."""
    if one.patient_id != other.patient_id:
        raise InputRefusedError(
            "the objects are of different patients",
            remedy="Name objects of one patient.",
            code=ErrorCode.PATIENT_MISMATCH,
        )
    frames = {one.frame_of_reference_uid, other.frame_of_reference_uid} - {""}
    if len(frames) > 1:
        raise _other_frames(sorted(frames))


def check_structure_set(facts: RtstructFacts, objects: Sequence[ObjectFacts]) -> None:
    """Refuse a structure set of another patient or frame of reference than the objects."""
    for thing in objects:
        if thing.patient_id != facts.patient_id:
            raise InputRefusedError(
                "structure set and dose or plan are of different patients",
                remedy="Name objects of one patient.",
                code=ErrorCode.PATIENT_MISMATCH,
            )
        frames = set(facts.frame_of_reference_uids)
        if thing.frame_of_reference_uid and frames and thing.frame_of_reference_uid not in frames:
            raise _other_frames(sorted(frames | {thing.frame_of_reference_uid}))


def _other_frames(frames: Sequence[str]) -> InputRefusedError:
    return InputRefusedError(
        f"the objects are in different frames of reference: {', '.join(frames)}",
        remedy="Name objects of one frame of reference.",
        code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
        frames=list(frames),
    )
