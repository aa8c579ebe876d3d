"""The record of a run: what it is about, what was asked, how it stands; what it gave is `job.RunResult`.

Database views, answers and clients are built of these models, so that a field is named, typed and explained once. What
only one side has (columns of the database, texts for a page) is beside them there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from .errors import ErrorInfo
from .job import JobInput
from .states import Origin, PlanState, Priority, Stage
from .structures import StructureRef
from .workflows import Prescription

M = TypeVar("M", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSubject(_Record):
    """Whose run it is, and of what."""

    origin: Origin
    workflow_id: str
    protocol_id: str | None
    patient_id: str
    patient_name: str | None = Field(
        default=None, description="As DICOM has it (Family^Given); null where it is not known."
    )
    study_instance_uid: str
    rtstruct_sop_instance_uid: str
    prescription: Prescription | None = Field(description="Null where a dose was judged or recalculated without one.")
    parent_id: str | None = None


class RunRequest(RunSubject):
    """What was asked for, with names looked up and defaults filled in."""

    requested_by: str | None = Field(
        default=None, description="The authenticated user, or the AE title that an arrival came from."
    )
    protocol_sha256: str | None = None
    rtstruct_sha256: str
    frame_of_reference_uid: str | None = None
    request: dict[str, Any] = Field(default_factory=dict, description="What was asked for, as it was asked.")
    parameters: dict[str, Any] = Field(description="Of the workflow, defaults filled in.")
    inputs: tuple[JobInput, ...] = Field(
        default=(), description="What it is about, besides the structure set: a dose or a plan of another system."
    )
    structures: tuple[StructureRef, ...] = Field(description="Which ROI each name was taken for.")
    missing_structures: tuple[str, ...] = Field(description="Names for which this structure set has no ROI.")


class RunState(_Record):
    """How it stands."""

    id: str
    state: PlanState
    stage: Stage | None = None
    progress: float = Field(ge=0, le=1)
    eta_s: float | None = None
    message: str = ""
    attempt: int = Field(description="Newest attempt; 0 before the first.")
    priority: Priority = Field(description="Which of the queued ones are taken first.")
    queue_position: int | None = Field(
        default=None, description="While it is queued: its place, 1 for the next; batch runs get a turn now and then."
    )
    error: ErrorInfo | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


def taken(model: type[M], record: BaseModel, **more: Any) -> M:
    """A model made of a record: its fields of the same names, and those that are given.

    A field that neither has fails here, so that none can be forgotten on the way.
    """
    return model(**{name: getattr(record, name) for name in model.model_fields if name not in more}, **more)
