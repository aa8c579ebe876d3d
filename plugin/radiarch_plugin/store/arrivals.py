"""Arrivals: what was seen that can start a job, and what became of it; deciding that is the trigger's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from radiarch_contract.errors import ErrorCode, ErrorInfo, NotFoundError
from radiarch_contract.places import Place
from radiarch_contract.states import ArrivalState
from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from . import paging
from .convert import arrival_view, clean, clean_name, dumps, missing_text
from .database import Database
from .lifecycle import supersede, supersede_check
from .plans import insert_plan
from .tables import ArrivalContentRow, ArrivalRow, PlanRow
from .views import Admission, ArrivalFilter, ArrivalPage, ArrivalView, NewArrival, NewPlan

MAX_STRUCTURES = 200
_SORT = "-first_seen_at"


class Arrivals:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def find(
        self, sop_instance_uid: str, *, patient_id: str | None = None, study_instance_uid: str | None = None
    ) -> ArrivalView | None:
        """The record of this UID, of this patient and study where they are given; of several the one that came last."""
        copies = self.copies(sop_instance_uid, patient_id=patient_id, study_instance_uid=study_instance_uid)
        return copies[0] if copies else None

    def copies(
        self, sop_instance_uid: str, *, patient_id: str | None = None, study_instance_uid: str | None = None
    ) -> tuple[ArrivalView, ...]:
        """All records of this UID: one for each patient and study; whose newest content came last is first."""
        newest = (
            select(func.max(ArrivalContentRow.id))
            .where(ArrivalContentRow.arrival_seq == ArrivalRow.seq)
            .scalar_subquery()
        )
        where = ArrivalFilter(
            sop_instance_uid=clean(sop_instance_uid, 64), patient_id=patient_id, study_instance_uid=study_instance_uid
        )
        query = _filtered(select(ArrivalRow), where).order_by(newest.desc(), ArrivalRow.seq.desc())
        with self._database.read() as session:
            return tuple(map(arrival_view, session.scalars(query)))

    def get(
        self, sop_instance_uid: str, *, patient_id: str | None = None, study_instance_uid: str | None = None
    ) -> ArrivalView:
        """`find`; raises `NotFoundError`."""
        found = self.find(sop_instance_uid, patient_id=patient_id, study_instance_uid=study_instance_uid)
        if found is None:
            raise NotFoundError(
                f"no RTSTRUCT with SOP Instance UID {sop_instance_uid[:64]!r} was seen",
                remedy=f"See {Place.ARRIVALS}.",
            )
        return found

    def admit(self, new: NewArrival) -> Admission:
        """Record a content, with its plan or the reason why there is none.

        The newest content counts: plans of a former one are marked, and cancelled where they have not ended.
        The same content again changes nothing where it has a plan; where it had none, what is said now replaces what
        was said then (a protocol may have been added). A copy for another patient, or in another study, is another
        object, with a record and plans of its own.
        """
        with self._database.write() as session:
            now = self._now()
            row = _record_of(session, new)
            if row is not None and _same(row, new) and row.plan_id is not None:
                row.orthanc_id = new.orthanc_id
                return Admission(arrival=arrival_view(row), plan_id=None)
            changed = row is not None and not _same(row, new)
            former_plan = row.plan_id if row is not None and changed else None
            if row is None:
                row = ArrivalRow(sop_instance_uid=clean(new.sop_instance_uid, 64), contents=1, first_seen_at=now)
                session.add(row)
            elif changed:
                row.contents += 1
            _fill(row, new, now)
            superseded: list[str] = []
            plan_id: str | None = None
            if new.plan is not None:
                plan = insert_plan(session, new.plan, now, supersedes=former_plan)
                plan_id = row.plan_id = plan.id
            if changed and row.kind == "rtstruct":
                error = _content_changed(row.sop_instance_uid)
                owner = (row.patient_id, row.study_instance_uid)
                superseded = supersede(session, row.sop_instance_uid, owner, now, by=plan_id, error=error)
            elif former_plan is not None:
                supersede_check(session, former_plan, now, error=_content_changed(row.sop_instance_uid))
            session.flush()
            session.add(
                ArrivalContentRow(
                    arrival_seq=row.seq,
                    sha256=new.sha256,
                    orthanc_id=new.orthanc_id,
                    seen_at=now,
                    plan_id=plan_id,
                    error_code=new.error.code.value if new.error else None,
                )
            )
            return Admission(arrival=arrival_view(row), plan_id=plan_id, superseded=tuple(superseded))

    def pending(self, limit: int) -> list[ArrivalView]:
        """Plans and doses that wait to be checked, those that came last first."""
        query = (
            select(ArrivalRow)
            .where(ArrivalRow.state == ArrivalState.WAITING.value, ArrivalRow.kind != "rtstruct")
            .order_by(ArrivalRow.seq.desc())
            .limit(limit)
        )
        with self._database.read() as session:
            return [arrival_view(row) for row in session.scalars(query)]

    def wait(self, seq: int, *, waits_for: str | None, referenced: int, missing: Sequence[str]) -> None:
        """What a pending check lacks."""
        with self._database.write() as session:
            row = session.get(ArrivalRow, seq, with_for_update=True)
            if row is not None and row.state == ArrivalState.WAITING.value:
                row.waits_for = waits_for
                row.referenced_count, row.missing_count, row.updated_at = referenced, len(missing), self._now()
                row.missing_uids = missing_text(missing)

    def begin(self, seq: int, sha256: str | None, outcome: NewPlan | ErrorInfo) -> str | None:
        """A pending check gets its job, or the reason why there is none.

        Returns
        -------
        str or None
            The job's plan id; None where there is none, or where the arrival is no longer that one.
        """
        with self._database.write() as session:
            row = session.get(ArrivalRow, seq, with_for_update=True)
            if row is None or row.state != ArrivalState.WAITING.value or row.sha256 != sha256:
                return None
            now = self._now()
            row.waits_for, row.awaits_dose, row.missing_count, row.updated_at = None, False, 0, now
            row.missing_uids = None
            contents = session.scalars(
                select(ArrivalContentRow)
                .where(ArrivalContentRow.arrival_seq == row.seq)
                .order_by(ArrivalContentRow.id.desc())
            ).all()
            if isinstance(outcome, ErrorInfo):
                row.state, row.error = ArrivalState.NOT_PLANNED.value, dumps(outcome)
                contents[0].error_code = outcome.code.value
                return None
            former = _former_check(session, contents, (row.patient_id, row.study_instance_uid))
            plan_id: str = insert_plan(session, outcome, now, supersedes=former).id
            if former is not None:
                session.execute(update(PlanRow).where(PlanRow.id == former).values(superseded_by=plan_id))
            row.state, row.plan_id, row.protocol_id = ArrivalState.PLANNED.value, plan_id, outcome.protocol_id
            contents[0].plan_id = plan_id
            return plan_id

    def reopen(self, seq: int, error: ErrorInfo) -> None:
        """A check is to be made once more; its job is superseded, and cancelled with ``error`` if it has not ended."""
        with self._database.write() as session:
            row = session.get(ArrivalRow, seq, with_for_update=True)
            if row is None or row.kind == "rtstruct" or row.plan_id is None:
                return
            now = self._now()
            supersede_check(session, row.plan_id, now, error=error)
            row.state, row.plan_id, row.waits_for, row.awaits_dose = ArrivalState.WAITING.value, None, None, False
            row.updated_at = now

    def mark_deleted(self, seq: int) -> None:
        """It was deleted from Orthanc before it was planned; sent again, it is new."""
        with self._database.write() as session:
            row = session.get(ArrivalRow, seq, with_for_update=True)
            if row is not None and row.state != ArrivalState.PLANNED.value:
                row.state, row.plan_id, row.updated_at = ArrivalState.DELETED.value, None, self._now()

    def page(self, where: ArrivalFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> ArrivalPage:
        """One page, newest first; ``next`` is None on the last. Raises `InvalidRequestError`."""
        limit = paging.bounded(limit)
        query = _filtered(select(ArrivalRow), where or ArrivalFilter())
        query = paging.keyset(query, _SORT, ArrivalRow.seq, ArrivalRow.seq, cursor, is_time=False).limit(limit + 1)
        with self._database.read() as session:
            rows = session.scalars(query).all()
        more = paging.encode(_SORT, rows[limit - 1].seq, rows[limit - 1].seq) if len(rows) > limit else None
        return ArrivalPage(items=tuple(arrival_view(r) for r in rows[:limit]), next=more)

    def counts(self) -> dict[ArrivalState, int]:
        with self._database.read() as session:
            query = select(ArrivalRow.state, func.count()).group_by(ArrivalRow.state)
            found = dict(session.execute(query).all())
        return {state: found.get(state.value, 0) for state in ArrivalState}


def _record_of(session: Session, new: NewArrival) -> ArrivalRow | None:
    """The record of the same object, locked: of this UID, patient and study.

    A content that could not be read says neither; Orthanc's id, which is made of all of them, finds it.
    """
    query = select(ArrivalRow).where(ArrivalRow.sop_instance_uid == clean(new.sop_instance_uid, 64)).with_for_update()
    by_id = session.scalar(query.where(ArrivalRow.orthanc_id == new.orthanc_id).order_by(ArrivalRow.seq).limit(1))
    unread = query.where(ArrivalRow.patient_id == "", ArrivalRow.study_instance_uid == "")
    if not new.study_instance_uid:
        return by_id or session.scalar(unread)
    owner = (clean(new.patient_id), clean(new.study_instance_uid, 64))
    known = session.scalar(query.where(ArrivalRow.patient_id == owner[0], ArrivalRow.study_instance_uid == owner[1]))
    return known or by_id  # which could not be read then, or whose Patient ID was decoded otherwise


def _former_check(session: Session, contents: Sequence[ArrivalContentRow], owner: tuple[str, str]) -> str | None:
    """The newest check of an earlier content, of the same patient and study: that of a copy takes no other's place."""
    ids = [c.plan_id for c in contents if c.plan_id is not None]
    patient_id, study_instance_uid = owner
    query = (
        select(PlanRow.id)
        .where(PlanRow.id.in_(ids), PlanRow.patient_id == patient_id)
        .where(PlanRow.study_instance_uid == study_instance_uid)
        .order_by(PlanRow.seq.desc())
        .limit(1)
    )
    return session.scalar(query)


def _same(row: ArrivalRow, new: NewArrival) -> bool:
    return row.sha256 is not None and row.sha256 == new.sha256


def _fill(row: ArrivalRow, new: NewArrival, now: datetime) -> None:
    row.kind, row.waits_for, row.awaits_dose = new.kind, new.waits_for, new.awaits_dose
    row.orthanc_id = new.orthanc_id
    if new.study_instance_uid or not row.study_instance_uid:  # else unreadable, and it stays its owner's
        row.series_instance_uid = clean(new.series_instance_uid, 64)
        row.study_instance_uid = clean(new.study_instance_uid, 64)
        row.patient_id, row.patient_name = clean(new.patient_id), clean_name(new.patient_name)
    row.sha256 = new.sha256
    row.calling_ae = None if new.calling_ae is None else clean(new.calling_ae, 64)
    row.structures = dumps([clean(name, 64) for name in new.structures[:MAX_STRUCTURES]])
    row.error = None if new.error is None else dumps(new.error)
    row.referenced_count = new.referenced_count
    row.updated_at = now
    row.plan_id = None
    plan = new.plan
    row.protocol_id = None if plan is None else plan.protocol_id
    missing = () if plan is None or plan.complete else plan.image_uids
    row.missing_count, row.missing_uids = len(missing), missing_text(missing) if missing else None
    if plan is None:
        waits = new.kind != "rtstruct" and new.error is None
        row.state = (ArrivalState.WAITING if waits else ArrivalState.NOT_PLANNED).value
    else:
        row.state = (ArrivalState.PLANNED if plan.complete else ArrivalState.WAITING).value


def _content_changed(sop_instance_uid: str) -> ErrorInfo:
    return ErrorInfo(
        code=ErrorCode.INPUT_CHANGED,
        message=f"the object {sop_instance_uid} was stored again with another content before this plan ended",
        remedy="See the plan of the new content (superseded_by), or the arrival for why there is none.",
    )


def _filtered(query: Select[ArrivalRow], where: ArrivalFilter) -> Select[ArrivalRow]:
    for column, value in (
        (ArrivalRow.patient_id, where.patient_id),
        (ArrivalRow.study_instance_uid, where.study_instance_uid),
        (ArrivalRow.sop_instance_uid, where.sop_instance_uid),
    ):
        if value is not None:
            query = query.where(column == clean(value))
    if where.states:
        query = query.where(ArrivalRow.state.in_([s.value for s in where.states]))
    if where.seen_from is not None:
        query = query.where(ArrivalRow.first_seen_at >= where.seen_from)
    if where.seen_to is not None:
        query = query.where(ArrivalRow.first_seen_at < where.seen_to)
    if where.q:
        query = query.where(*paging.words_in(ArrivalRow.search, clean(where.q)))
    return query
