"""What goes into the store and what comes out: frozen models without behaviour; rows never leave the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from radiarch_contract.errors import ErrorInfo
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import BeamResult, DvhCurve, RunResult
from radiarch_contract.robustness import DvhBand
from radiarch_contract.run import RunRequest, RunState, RunSubject
from radiarch_contract.states import ArrivalState, Origin, OutputKind, PlanState, Priority, Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.verdict import Outcome

MAX_MISSING = 20
"""SOP Instance UIDs that a list of missing ones has at most; how many are missing is said beside it."""
DEFAULT_TIME_LIMIT_S = 4 * 3600.0

PlanSort = Literal["created_at", "-created_at", "updated_at", "-updated_at", "patient_id", "-patient_id"]
"""A leading minus is newest or last first."""


class EventKind(StrEnum):
    """What an event tells."""

    STATE = "state"  # {state, error?, reason?}
    MISSING = "missing"  # {missing}: of the images that a waiting plan needs
    ATTEMPT = "attempt"  # {attempt}: given to the queue
    STAGE = "stage"  # {stage, progress, attempt}
    PROGRESS = "progress"  # {stage, progress, eta_s, attempt}; dropped when the plan has ended
    RETRY = "retry"  # {attempt, error, delay_s}: this attempt failed, another one follows
    SUPERSEDED = (
        "superseded"  # {by?}: the structure set has a new content; {results, sop_instance_uids}: of those stored
    )
    APPROVAL = "approval"  # {decision}: a person has decided about the result
    STOPPED = "stopped"  # {after_s?}: the worker has ended a cancelled plan's processes


class SupersededResults(StrEnum):
    """What became of the stored results of a superseded plan."""

    MARKED = "marked"
    REMOVED = "removed"


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Approval(_View):
    """A person's decision about a plan's result; the DICOM objects stay UNAPPROVED."""

    decision: Literal["approved", "rejected", "withdrawn"]
    by: str | None = Field(description="The user who was authenticated; None where the service asks nobody.")
    at: datetime
    comment: str = ""


class NewPlan(RunRequest):
    """A plan to be made. Everything is validated by the caller; the store only keeps it.

    ``image_uids`` are the images that the plan needs, ``image_study_uid`` and ``image_series_uid`` what the structure
    set says where they are ('' where it does not). ``complete`` says that the caller has seen all of them in Orthanc,
    in the series that has Orthanc's id ``image_series`` and so many instances: the plan is queued at once; else it
    waits and the trigger looks for them.
    """

    protocol_id: str | None = None
    priority: Priority = Priority.INTERACTIVE
    structures: tuple[StructureRef, ...] = ()
    missing_structures: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    image_uids: tuple[str, ...] = ()
    image_study_uid: str = ""
    image_series_uid: str = ""
    image_series: str | None = None
    image_count: int | None = None
    complete: bool = False
    plan_label: str = "RADIARCH"
    time_limit_s: float = DEFAULT_TIME_LIMIT_S
    idempotency_key: str | None = Field(default=None, max_length=200)


class OutputView(_View):
    """A result; ``orthanc_id`` is None until it was stored."""

    kind: OutputKind
    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str | None = None
    orthanc_id: str | None = None


class GoalCounts(_View):
    """How many goals came out how; ``unjudged`` where the structure does not exist."""

    met: int = 0
    near: int = 0
    missed: int = 0
    unjudged: int = 0

    @classmethod
    def of(cls, goals: Sequence[GoalResult]) -> Self:
        by_status = Counter(g.status for g in goals)
        return cls(unjudged=by_status.pop(None, 0), **{s.value: n for s, n in by_status.items() if s is not None})


class Brief(_View):
    """What lists show of a result, kept apart: reading all of fifty results to count their goals takes too long."""

    goal_counts: GoalCounts | None = Field(default=None, description="Null until the goals were judged.")
    outcome: Outcome | None = Field(default=None, description="Of a check that has ended: pass, look or fail.")

    @classmethod
    def of(cls, result: RunResult) -> Self:
        return cls(
            goal_counts=GoalCounts.of(result.goals) if result.goals else None,
            outcome=None if result.verdict is None else result.verdict.result,
        )


class PlanBrief(RunState, RunSubject, Brief):
    """A plan as lists show it."""

    plan_label: str
    supersedes: str | None
    superseded_by: str | None
    superseded_at: datetime | None
    """When the structure set got another content; ``superseded_by`` is None where that one was not planned."""
    superseded_results: SupersededResults | None = None
    """What became of the stored results since; None: nothing yet, or there are none."""
    missing_count: int
    worker: str | None
    solver: dict[str, Any] | None
    queued_at: datetime | None


class PlanView(PlanBrief, RunRequest, RunResult):
    """All of a plan but its curves and its log."""

    approvals: tuple[Approval, ...] = ()
    goal_texts: tuple[str, ...]
    failures: int
    time_limit_s: float
    missing_uids: tuple[str, ...] = ()
    """The first `MAX_MISSING` of them."""
    outputs: tuple[OutputView, ...]
    """All that the plan has or will have; see ``orthanc_id``."""
    beams: tuple[BeamResult, ...] = ()
    stopped_at: datetime | None
    """When the worker was seen to have ended a cancelled plan's processes."""

    @property
    def objectives(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.parameters.get("objectives", [])
        return found


class MachineScaleView(_View):
    """What one check has found of its plan's machine."""

    id: str
    plan_id: str
    rtplan_sop_instance_uid: str
    machine: str
    machine_sha256: str
    calibration_sha256: str
    scale: float
    counts: bool
    verdict: Outcome
    confirmed_at: datetime | None
    confirmed_by: str | None
    created_at: datetime


class MachineScalePage(_View):
    items: tuple[MachineScaleView, ...]
    next: str | None


class Curves(_View):
    """The large part of a result."""

    dvh: tuple[DvhCurve, ...] = ()
    reference_dvh: tuple[DvhCurve, ...] = ()
    bands: tuple[DvhBand, ...] = ()
    solver_trace: tuple[dict[str, Any], ...] = ()


class PlanFilter(_View):
    """All that is given must hold.

    ``created_from`` is the first moment, ``created_to`` the first one after it. Every word of ``q`` has to be in an
    id, the patient's name, protocol, workflow or label.
    """

    states: tuple[PlanState, ...] = ()
    patient_id: str | None = None
    study_instance_uid: str | None = None
    rtstruct_sop_instance_uid: str | None = None
    workflow_id: str | None = None
    protocol_id: str | None = None
    origin: Origin | None = None
    parent_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    q: str | None = Field(default=None, max_length=100)


class PlanPage(_View):
    items: tuple[PlanBrief, ...]
    next: str | None


class NewArrival(_View):
    """An object's content as it was found: with a plan, or with the reason why there is none.

    A plan or dose that is to be checked has neither at first: it waits for what it names; see `Arrivals.begin`.
    """

    sop_instance_uid: str
    kind: str = Field(default="rtstruct", description="Or rtplan, rtdose: what a protocol checks when it arrives.")
    waits_for: str | None = Field(default=None, description="SOP Instance UID of what a check lacks, as far as known.")
    awaits_dose: bool = Field(default=False, description="Whether a plan's dose is waited for, for a while.")
    orthanc_id: str
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""
    patient_name: str | None = None
    sha256: str | None = Field(default=None, description="None where it could not be read.")
    calling_ae: str | None = None
    structures: tuple[str, ...] = Field(default=(), description="Names of its ROIs.")
    referenced_count: int = 0
    plan: NewPlan | None = None
    error: ErrorInfo | None = None


class ArrivalView(_View):
    seq: int
    """Names the record: several patients may have copies under one UID."""
    sop_instance_uid: str
    kind: str
    waits_for: str | None = None
    awaits_dose: bool = False
    orthanc_id: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    patient_name: str | None
    sha256: str | None
    calling_ae: str | None
    structures: tuple[str, ...]
    state: ArrivalState
    error: ErrorInfo | None
    protocol_id: str | None
    plan_id: str | None
    referenced_count: int
    missing_count: int
    missing_uids: tuple[str, ...] = ()
    contents: int
    """How many different contents were seen under this UID, one after the other."""
    first_seen_at: datetime
    updated_at: datetime


class ArrivalFilter(_View):
    states: tuple[ArrivalState, ...] = ()
    patient_id: str | None = None
    study_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    seen_from: datetime | None = None
    seen_to: datetime | None = None
    q: str | None = Field(default=None, max_length=100)


class ArrivalPage(_View):
    items: tuple[ArrivalView, ...]
    next: str | None


class Admission(_View):
    """What `Arrivals.admit` made of a content."""

    arrival: ArrivalView
    plan_id: str | None
    superseded: tuple[str, ...] = ()


class WaitingPlan(_View):
    """A plan whose images are not all stored."""

    id: str
    rtstruct_sop_instance_uid: str
    rtstruct_sha256: str
    patient_id: str
    study_instance_uid: str
    frame_of_reference_uid: str | None
    image_uids: tuple[str, ...]
    image_study_uid: str
    image_series_uid: str
    missing_count: int
    message: str


class EventView(_View):
    cursor: int
    at: datetime
    kind: EventKind
    data: dict[str, Any]


class EventPage(_View):
    """``next`` is the cursor to ask with the next time; it is always given."""

    items: tuple[EventView, ...]
    next: int


class ChangesView(_View):
    """Plans that something happened to; ``arrivals`` rises with each content of an RTSTRUCT that is seen.

    Where ``complete`` is False there was too much to tell.
    """

    next: int
    arrivals: int
    complete: bool
    plan_ids: tuple[str, ...] = ()


class LogPage(_View):
    """``next`` is the line to ask with the next time; lines count from 0 over all attempts of a plan."""

    lines: tuple[str, ...]
    next: int
    complete: bool
    """Nothing more will come."""


class LogPosition(_View):
    """How much of the newest attempt's log was taken from Redis; ``run`` names the worker's run that wrote it."""

    run: str = ""
    taken: int = 0


class ActivePlan(_View):
    """What the reconcile loop needs of a plan that has not ended."""

    id: str
    workflow_id: str
    state: PlanState
    attempt: int
    log: LogPosition
    enqueued: bool
    failures: int
    started_at: datetime | None
    queued_at: datetime | None
    time_limit_s: float
    stage: Stage | None
    progress: float
    eta_s: float | None
    priority: Priority


class PlanInputs(_View):
    """What a plan that has not ended is made of; ``object_uids`` are those besides structure set and images."""

    patient_id: str
    rtstruct_sop_instance_uid: str
    object_uids: tuple[str, ...]
    image_uids: tuple[str, ...]


class EndedPlan(_View):
    """A plan that ended without results, whose processes may still be stopping."""

    id: str
    state: PlanState
    attempt: int
    ended_at: datetime
    stopped_at: datetime | None
    log: LogPosition


class ProgressUpdate(_View):
    """Progress of one attempt, as its worker tells."""

    plan_id: str
    attempt: int
    stage: Stage
    progress: float
    eta_s: float | None
    message: str
    worker: str
    solver: dict[str, Any] | None = None
