"""The JSON that REST answers, as models; how the store's views become these lives beside the routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from radiarch_contract.errors import ErrorCode, ErrorInfo
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import (
    BeamResult,
    DvhCurve,
    RunResult,
    StructureMetrics,
    WorkerStatus,
)
from radiarch_contract.objectives import Objective
from radiarch_contract.protocol import Protocol
from radiarch_contract.robustness import DvhBand
from radiarch_contract.run import RunRequest, RunState, RunSubject
from radiarch_contract.states import ArrivalState, GoalStatus, OutputKind
from radiarch_contract.strict import Asked, Lines
from radiarch_contract.structures import Roi, StructureRef
from radiarch_contract.verdict import Outcome
from radiarch_contract.workflows import Beam

from radiarch_plugin.auth.signin import Mode
from radiarch_plugin.store import MAX_MISSING, Approval, Brief, OutputView, SupersededResults

T = TypeVar("T")
PATIENT_NAME = Field(default=None, description="As DICOM has it (Family^Given); null where it is not known.")


class View(BaseModel):
    """Base of all views."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class ErrorAnswer(ErrorInfo):
    """An error: what was found and expected, and what to do."""


class Page(View, Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    next: str | None = Field(default=None, description="Cursor of the next page; null on the last.")


class EngineAnswer(View):
    """A dose engine; available means that a worker really ran it."""

    available: bool
    version: str | None = None
    reason: str | None = None
    workers: int = Field(default=0, description="Workers on which it runs.")


class WorkerCounts(View):
    total: int
    idle: int
    busy: int


class QueueAnswer(View):
    """Plans by state that are not at their end."""

    waiting: int
    queued: int
    running: int


class OrthancAnswer(View):
    name: str
    version: str
    dicom_aet: str
    dicom_port: int


class DiskAnswer(View):
    """The disk that has Orthanc's storage folder."""

    free_bytes: int
    total_bytes: int


class InfoAnswer(View):
    """The service; ``ready`` means that a structure set that arrives now is planned. ``problems`` says why not."""

    name: str
    version: str
    ready: bool
    problems: tuple[ErrorInfo, ...] = ()
    workflows: tuple[str, ...]
    protocols: int
    engines: dict[str, EngineAnswer]
    workers: WorkerCounts
    queue: QueueAnswer | None
    orthanc: OrthancAnswer | None
    disk: DiskAnswer | None = None
    known_hosts: tuple[str, ...] = Field(
        default=(), description="By which hosts and origins the service may be asked; requests by others are refused."
    )
    sign_in: Mode = Field(default=Mode.NONE, description="basic: Orthanc's users, each with a role; none: no roles.")


class WorkflowAnswer(View):
    """A way of planning; ``parameters`` is the JSON schema with defaults."""

    id: str
    title: str
    description: str
    modality: str
    starts_from: str = Field(description="What a job of it is made for: rtstruct, rtplan or rtdose.")
    parameters: dict[str, Any]
    defaults: dict[str, Any] = Field(description="Every parameter that has a default, with it.")


class ProtocolAnswer(Protocol):
    """A protocol as the running service uses it."""

    file: str
    sha256: str = Field(description="Of the file's bytes.")


class ProtocolsAnswer(Page[ProtocolAnswer]):
    """The protocols in use, and what is to be mended: an error for each file that cannot be used."""

    problems: tuple[ErrorInfo, ...] = ()


class PlanSummary(RunState, RunSubject, Brief):
    """A plan as lists show it."""

    job_id: str = Field(description="Of the computation, for /jobs; the same for all attempts.")
    label: str
    missing_instances: int = Field(default=0, description="Referenced images not yet stored, while waiting.")
    supersedes: str | None = None
    superseded_by: str | None = None
    superseded_at: datetime | None = Field(
        default=None,
        description="When its structure set got another content; superseded_by is null where that was not planned.",
    )
    superseded_results: SupersededResults | None = Field(
        default=None, description="What became of its stored results since: kept with a mark in Orthanc, or removed."
    )
    results: dict[OutputKind, str] = Field(
        default_factory=dict,
        description="SOP Instance UIDs that results of each kind have, made or not: by them an object is known as this "
        "plan's.",
    )


class PlanAnswer(PlanSummary, RunRequest, RunResult):
    """Everything about a plan. Goals have no value, and outputs are not listed, before they exist."""

    approval: Approval | None = Field(default=None, description="The last decision of a person about the result.")
    approvals: tuple[Approval, ...] = Field(default=(), description="All decisions, oldest first.")
    objectives: tuple[Objective, ...]
    goals: tuple[GoalResult, ...]
    missing_sop_instance_uids: tuple[str, ...] = Field(
        default=(),
        max_length=MAX_MISSING,
        description="While it waits: the first of the images that are not stored; missing_instances counts all.",
    )
    outputs: tuple[OutputView, ...] = ()
    beams: tuple[BeamResult | Beam, ...] = Field(default=(), description="As asked for; with spots when planned.")
    worker: str | None = None
    queued_at: datetime | None = None
    stopped_at: datetime | None = Field(default=None, description="When a cancelled plan's processes had ended.")


class MachineScaleAnswer(View):
    """What one check has found of its plan's machine: protons per MU over those of our beam data."""

    id: str
    plan_id: str = Field(description="The check.")
    rtplan_sop_instance_uid: str
    machine: str = Field(description="Name, manufacturer and model, as the plan has them.")
    machine_sha256: str = Field(description="Of our beam data.")
    calibration_sha256: str = Field(description="Of our CT calibration.")
    scale: float
    counts: bool = Field(description="Whether other plans of the machine are judged by it.")
    verdict: Outcome = Field(description="Of that check.")
    confirmed_at: datetime | None = Field(description="When a person said that it is the machine's scale.")
    confirmed_by: str | None
    created_at: datetime


class DvhAnswer(View):
    """Cumulative DVHs of a plan's final dose."""

    plan_id: str
    curves: tuple[DvhCurve, ...]
    reference_curves: tuple[DvhCurve, ...] = Field(
        default=(), description="Of the reference dose, where the plan was compared with one."
    )
    bands: tuple[DvhBand, ...] = Field(
        default=(), description="Of a robust plan: between which volumes each curve lies over all scenarios."
    )


class TraceAnswer(View):
    """The optimiser's iterations: number, objective value and what each structure adds to it."""

    plan_id: str
    iterations: tuple[dict[str, Any], ...]


class PlanCurves(View):
    """A plan's DVHs."""

    plan_id: str
    curves: tuple[DvhCurve, ...]


class ComparedMetrics(View):
    """One plan's metrics of a structure; null where it has none. Differences are from the first plan's."""

    plan_id: str
    metrics: StructureMetrics | None
    difference: dict[str, float] | None = Field(
        default=None, description="By metric, such as d95_gy; null for the first, and where one of the two has none."
    )


class ComparedStructure(View):
    """A structure in all plans, found by its ROI's name."""

    structure: str
    plans: tuple[ComparedMetrics, ...]


class ComparedGoal(View):
    """One plan's value of a goal; null where it was not judged."""

    plan_id: str
    value: float | None
    status: GoalStatus | None
    difference: float | None = None


class ComparedGoals(View):
    """A goal in all plans, in the unit of its limit."""

    text: str
    structure: str
    unit: str
    plans: tuple[ComparedGoal, ...]


class ComparisonAnswer(View):
    """Plans side by side, in the order asked; differences are from the first."""

    plans: tuple[PlanSummary, ...]
    dvh: tuple[PlanCurves, ...] = Field(default=(), description="Empty where they were not wanted.")
    structures: tuple[ComparedStructure, ...]
    goals: tuple[ComparedGoals, ...]
    notes: tuple[str, ...] = Field(description="In what they differ besides, and what that means.")


class ApprovalRequest(Asked):
    """A person's decision about a result."""

    decision: Literal["approved", "rejected", "withdrawn"]
    comment: Annotated[str, Field(max_length=2000), Lines()] = ""


class JobAnswer(RunState):
    """The computation of a plan over all of its attempts; it has the plan's id."""

    plan_id: str
    worker: str | None = None
    solver: dict[str, Any] | None = Field(default=None, description="Latest iteration: number, objective value.")
    queued_at: datetime | None = None


class LogAnswer(View):
    """Lines of a job's log from ``offset``, over all attempts; ask again from ``next_offset``."""

    offset: int
    next_offset: int
    lines: tuple[str, ...]
    complete: bool = Field(description="Nothing more will come.")


class EventAnswer(View):
    """Something that happened to a job."""

    cursor: str
    at: datetime
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


class EventsAnswer(View):
    """Events after a cursor; ask again with ``next``, which is always given."""

    items: tuple[EventAnswer, ...]
    next: str


class ArrivalAnswer(View):
    """An RTSTRUCT (or a plan or dose that a protocol checks) that was seen, and what became of it."""

    id: str
    state: ArrivalState
    kind: str = Field(default="rtstruct", description="Or rtplan, rtdose, where a protocol checks such.")
    sop_instance_uid: str
    orthanc_id: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    patient_name: str | None = PATIENT_NAME
    calling_ae: str | None = None
    structures: tuple[str, ...] = Field(description="Names of its ROIs.")
    protocol_id: str | None = None
    plan_id: str | None = None
    referenced_instances: int
    missing_instances: int
    missing_sop_instance_uids: tuple[str, ...] = Field(
        default=(), max_length=MAX_MISSING, description="The first of them, while it waits."
    )
    contents: int = Field(description="How many different contents were seen under this UID.")
    error: ErrorInfo | None = None
    first_seen_at: datetime
    updated_at: datetime


class ChangesAnswer(View):
    """What happened to plans since the last time."""

    next: str
    arrivals: str = Field(description="Another one than the last time: something arrived.")
    complete: bool = Field(description="False: too much happened to list it here; read the lists again.")
    plans: tuple[PlanSummary, ...] = ()
    ask_again_s: float = Field(description="When to ask again; given so that all who ask come one after the other.")


class StructureSetSummary(View):
    """An RTSTRUCT as Orthanc has indexed it."""

    sop_instance_uid: str
    orthanc_id: str
    series_instance_uid: str
    series_description: str = ""


class RoiAnswer(Roi):
    """A structure of an RTSTRUCT."""

    color: str = Field(
        description="#rrggbb to draw it with: its own, made readable on white and on dark, and unlike the others."
    )


class StructureSetAnswer(View):
    """What a request for a plan can name."""

    sop_instance_uid: str
    orthanc_id: str
    patient_id: str
    patient_name: str | None = PATIENT_NAME
    study_instance_uid: str
    label: str
    structures: tuple[RoiAnswer, ...]
    repeated_names: dict[str, tuple[int, ...]] = Field(
        default={}, description="Names that several ROIs have, with their numbers: what needs such a name is refused."
    )
    referenced_instances: int
    missing_instances: int = Field(description="Of the referenced images, not stored in Orthanc.")
    missing_sop_instance_uids: tuple[str, ...] = Field(
        default=(), max_length=MAX_MISSING, description="The first of them."
    )
    problem: ErrorInfo | None = Field(default=None, description="Why no plan can be made of it.")


class MatchAnswer(View):
    """Whether a protocol fits a structure set, and if not, why."""

    protocol_id: str
    enabled: bool
    fits: bool
    code: ErrorCode | None = Field(
        default=None, description="Why it does not fit: no_protocol, no_target, ambiguous_structure."
    )
    reason: str | None = None
    structures: tuple[StructureRef, ...] = ()
    missing: tuple[str, ...] = Field(default=(), description="Names of objectives and goals without a ROI.")


class MatchesAnswer(View):
    """What would become of a structure set."""

    sop_instance_uid: str
    chosen: str | None = Field(description="The protocol it would be planned with; null: it would not be planned.")
    problem: ErrorInfo | None = None
    protocols: tuple[MatchAnswer, ...]


class WorkerAnswer(WorkerStatus):
    """A worker's last heartbeat."""
