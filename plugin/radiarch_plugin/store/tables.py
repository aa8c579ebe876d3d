"""The tables; what is asked of them lives in the modules beside this one, their history in `migrations`.

A plan is split in two: ``plans`` has narrow rows that lists filter and sort, ``plan_documents`` the wide JSON.
JSON is kept as ASCII text, not as the database's own type: PostgreSQL's refuses characters that DICOM can hold.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    event,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from .paging import searched


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC on both databases; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


BigInt = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime(), str: Text(), int: BigInt}  # noqa: RUF012 - SQLAlchemy's API


class PlanRow(Base):
    """What lists filter and sort by, and what the reconcile loop reads; ``seq`` is the order of creation."""

    __tablename__ = "plans"
    __table_args__ = (
        Index("ix_plans_state", "state", "seq"),
        Index("ix_plans_patient_id", "patient_id", "seq"),
        Index("ix_plans_study_instance_uid", "study_instance_uid", "seq"),
        Index("ix_plans_rtstruct_sop_instance_uid", "rtstruct_sop_instance_uid", "seq"),
        Index("ix_plans_workflow_id", "workflow_id", "seq"),
        Index("ix_plans_protocol_id", "protocol_id", "seq"),
        Index("ix_plans_created_at", "created_at", "seq"),
        Index("ix_plans_updated_at", "updated_at", "seq"),
        Index("ix_plans_unclean", "unclean"),
        Index("ix_plans_superseded_at", "superseded_at"),
        Index("ix_plans_image_series", "image_series"),
        Index("ix_plans_search", "search"),  # not to seek in, but smaller to look through than the table
        Index("ix_plans_queue", "state", "priority", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(BigInt, Identity(), primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str]
    stage: Mapped[str | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    eta_s: Mapped[float | None]
    message: Mapped[str] = mapped_column(default="")
    origin: Mapped[str]
    requested_by: Mapped[str | None]
    workflow_id: Mapped[str]
    protocol_id: Mapped[str | None]
    protocol_sha256: Mapped[str | None]
    priority: Mapped[str] = mapped_column(default="batch", server_default="batch")
    patient_id: Mapped[str]
    patient_name: Mapped[str | None]  # None: not known yet
    study_instance_uid: Mapped[str]
    rtstruct_sop_instance_uid: Mapped[str]
    rtstruct_sha256: Mapped[str]
    frame_of_reference_uid: Mapped[str | None]
    plan_label: Mapped[str]
    parent_id: Mapped[str | None]
    supersedes: Mapped[str | None]
    superseded_by: Mapped[str | None]
    superseded_at: Mapped[datetime | None]
    superseded_results: Mapped[str | None]  # a `views.SupersededResults`
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    request_sha256: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    enqueued: Mapped[bool] = mapped_column(default=False)
    time_limit_s: Mapped[float]
    missing_count: Mapped[int] = mapped_column(default=0)
    image_series: Mapped[str | None]
    image_count: Mapped[int | None]
    worker: Mapped[str | None]
    error_code: Mapped[str | None]
    search: Mapped[str]
    log_lines: Mapped[int] = mapped_column(default=0)
    log_run: Mapped[str] = mapped_column(default="")
    log_taken: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
    unclean: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It ended without results, and its processes may still be there."""


class PlanDocumentRow(Base):
    """The wide part of a plan, each column a JSON text; ``curves`` (DVH, solver trace) is only read when asked for."""

    __tablename__ = "plan_documents"

    plan_seq: Mapped[int] = mapped_column(ForeignKey("plans.seq", ondelete="CASCADE"), primary_key=True)
    request: Mapped[str]
    prescription: Mapped[str]
    parameters: Mapped[str]
    structures: Mapped[str]
    missing_structures: Mapped[str]
    goals: Mapped[str]
    inputs: Mapped[str | None]
    approvals: Mapped[str | None]
    error: Mapped[str | None]
    solver: Mapped[str | None]
    brief: Mapped[str | None]  # a `views.Brief`: what lists show of the result
    result: Mapped[str | None]
    curves: Mapped[str | None] = mapped_column(deferred=True)


class OutputRow(Base):
    """A result's UID, known when its plan is made; ``orthanc_id`` is there once it was stored."""

    __tablename__ = "outputs"

    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    plan_seq: Mapped[int] = mapped_column(ForeignKey("plans.seq", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_class_uid: Mapped[str | None]
    orthanc_id: Mapped[str | None]


class WaitRow(Base):
    """The images that a plan needs until it has ended, and while it waits the first of those that are missing.

    Both are JSON lists of SOP Instance UIDs.
    """

    __tablename__ = "waits"

    plan_seq: Mapped[int] = mapped_column(ForeignKey("plans.seq", ondelete="CASCADE"), primary_key=True)
    image_uids: Mapped[str]
    image_study_uid: Mapped[str] = mapped_column(default="", server_default="")
    image_series_uid: Mapped[str] = mapped_column(default="", server_default="")
    missing_uids: Mapped[str | None]


class ArrivalRow(Base):
    """An object of one patient and study that can start a job, with its newest content.

    ``waits_for`` is a UID that it lacks.
    """

    __tablename__ = "arrivals"
    __table_args__ = (
        Index("ix_arrivals_state", "state", "seq"),
        Index("ix_arrivals_patient_id", "patient_id", "seq"),
        Index("ix_arrivals_study_instance_uid", "study_instance_uid", "seq"),
        Index("ix_arrivals_plan_id", "plan_id"),
        Index("ix_arrivals_first_seen_at", "first_seen_at", "seq"),
        UniqueConstraint("sop_instance_uid", "patient_id", "study_instance_uid", name="uq_arrivals_object"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(BigInt, Identity(), primary_key=True)
    sop_instance_uid: Mapped[str]
    kind: Mapped[str] = mapped_column(default="rtstruct", server_default="rtstruct")
    waits_for: Mapped[str | None]
    awaits_dose: Mapped[bool] = mapped_column(default=False, server_default=false())
    orthanc_id: Mapped[str]
    series_instance_uid: Mapped[str]
    study_instance_uid: Mapped[str]
    patient_id: Mapped[str]
    patient_name: Mapped[str | None]
    search: Mapped[str] = mapped_column(default="", server_default="")
    sha256: Mapped[str | None]
    calling_ae: Mapped[str | None]
    structures: Mapped[str]
    state: Mapped[str]
    error: Mapped[str | None]
    protocol_id: Mapped[str | None]
    plan_id: Mapped[str | None]
    referenced_count: Mapped[int] = mapped_column(default=0)
    missing_count: Mapped[int] = mapped_column(default=0)
    missing_uids: Mapped[str | None]
    contents: Mapped[int] = mapped_column(default=1)
    first_seen_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ArrivalContentRow(Base):
    """One content that an RTSTRUCT has had; the newest is last."""

    __tablename__ = "arrival_contents"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(BigInt, Identity(), primary_key=True)
    arrival_seq: Mapped[int] = mapped_column(ForeignKey("arrivals.seq", ondelete="CASCADE"), index=True)
    sha256: Mapped[str | None]
    orthanc_id: Mapped[str]
    seen_at: Mapped[datetime]
    plan_id: Mapped[str | None]
    error_code: Mapped[str | None]


class EventRow(Base):
    """What happened to a plan; ``cursor`` rises within a plan, as its row is locked while one is written."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_plan", "plan_seq", "cursor"), {"sqlite_autoincrement": True})

    cursor: Mapped[int] = mapped_column(BigInt, Identity(), primary_key=True)
    plan_seq: Mapped[int] = mapped_column(ForeignKey("plans.seq", ondelete="CASCADE"))
    at: Mapped[datetime]
    kind: Mapped[str]
    data: Mapped[str]


class LogChunkRow(Base):
    """Lines of a plan's log as they were fetched from Redis; lines count from 0 over all attempts."""

    __tablename__ = "log_chunks"

    plan_seq: Mapped[int] = mapped_column(ForeignKey("plans.seq", ondelete="CASCADE"), primary_key=True)
    first_line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line_count: Mapped[int]
    attempt: Mapped[int]
    text: Mapped[str]


class MachineScaleRow(Base):
    """What one check has found of its plan's machine; see `scales`."""

    __tablename__ = "machine_scales"
    __table_args__ = (Index("ix_machine_scales_machine", "machine", "seq"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(BigInt, Identity(), primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    plan_id: Mapped[str] = mapped_column(unique=True)
    rtplan_sop_instance_uid: Mapped[str]
    machine: Mapped[str]
    machine_sha256: Mapped[str]
    calibration_sha256: Mapped[str]
    scale: Mapped[float]
    counts: Mapped[bool]
    verdict: Mapped[str]
    confirmed_at: Mapped[datetime | None]
    confirmed_by: Mapped[str | None]
    created_at: Mapped[datetime]


class StudyRow(Base):
    """A study in Orthanc, by what its index has of it; texts are '' where it has nothing. See `studies`."""

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_study_date", "study_date", "seq"),
        Index("ix_studies_patient_id", "patient_id", "seq"),
        Index("ix_studies_patient_name", "patient_name", "seq"),
        Index("ix_studies_study_instance_uid", "study_instance_uid", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(BigInt, Identity(), primary_key=True)
    orthanc_id: Mapped[str] = mapped_column(unique=True)
    patient_id: Mapped[str]
    patient_name: Mapped[str]
    patient_birth_date: Mapped[str]
    patient_sex: Mapped[str]
    study_instance_uid: Mapped[str]
    study_date: Mapped[str]  # YYYYMMDD, or ''
    study_time: Mapped[str]
    description: Mapped[str]
    accession_number: Mapped[str]
    modalities: Mapped[str]  # " CT RTSTRUCT ": each has a space on both sides
    series_count: Mapped[int]
    search: Mapped[str]


class StudySeriesRow(Base):
    """A series in Orthanc: by its id a study is known that has lost or got one."""

    __tablename__ = "study_series"

    orthanc_id: Mapped[str] = mapped_column(primary_key=True)
    study_seq: Mapped[int] = mapped_column(ForeignKey("studies.seq", ondelete="CASCADE"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    modality: Mapped[str]


class MeasurementRow(Base):
    """A measurement; ``current`` is a `measurements.Version` as JSON, ``former`` a list of such. See `measurements`."""

    __tablename__ = "measurements"
    __table_args__ = (
        Index("ix_measurements_study", "study_instance_uid", "patient_id", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(BigInt, Identity(), primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    patient_id: Mapped[str]
    study_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    frame_of_reference_uid: Mapped[str]
    type: Mapped[str]
    version: Mapped[int]
    current: Mapped[str]
    former: Mapped[str]
    deleted: Mapped[bool]


@event.listens_for(PlanRow, "before_insert")
@event.listens_for(PlanRow, "before_update")
def _plan_search(_mapper: Any, _connection: Any, row: PlanRow) -> None:
    """All that a plan is looked for by, kept with the row so that no write forgets it."""
    row.search = searched(
        row.id,
        row.patient_id,
        row.protocol_id,
        row.workflow_id,
        row.plan_label,
        row.rtstruct_sop_instance_uid,
        row.study_instance_uid,
        row.patient_name,
    )


@event.listens_for(ArrivalRow, "before_insert")
@event.listens_for(ArrivalRow, "before_update")
def _arrival_search(_mapper: Any, _connection: Any, row: ArrivalRow) -> None:
    row.search = searched(
        row.patient_id,
        row.sop_instance_uid,
        row.study_instance_uid,
        row.protocol_id,
        row.calling_ae,
        row.patient_name,
    )


@event.listens_for(StudyRow, "before_insert")
@event.listens_for(StudyRow, "before_update")
def _study_search(_mapper: Any, _connection: Any, row: StudyRow) -> None:
    row.search = searched(
        row.patient_id, row.patient_name, row.description, row.accession_number, row.study_instance_uid
    )


class MetaRow(Base):
    """Single facts, such as how far Orthanc's change log was read; the value is JSON."""

    __tablename__ = "meta"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
