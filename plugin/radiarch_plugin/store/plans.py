"""Plans as clients see them: making, reading, listing, cancelling; attempts at them live in `attempts`."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from radiarch_contract.errors import ConflictError, ErrorCode, ErrorInfo
from radiarch_contract.places import Place
from radiarch_contract.states import ArrivalState, PlanState
from radiarch_contract.uids import series_instance_uid, sop_class_uid, sop_instance_uid
from radiarch_contract.workflows import get_workflow
from sqlalchemy import Select, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, load_only, undefer

from . import paging
from .convert import clean, clean_name, dumps, missing_text, plan_brief, plan_view
from .database import Database
from .lifecycle import add_event, arrival_of, lock_plan, set_state, supersede_plan, unknown_plan
from .tables import OutputRow, PlanDocumentRow, PlanRow, WaitRow
from .views import (
    Approval,
    Curves,
    EventKind,
    NewPlan,
    PlanBrief,
    PlanFilter,
    PlanPage,
    PlanSort,
    PlanView,
    SupersededResults,
    WaitingPlan,
)

MAX_APPROVALS = 100
MAX_COMMENT = 2_000
_LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)
_LACK_IMAGES = tuple(
    c.value
    for c in (
        ErrorCode.MISSING_INSTANCES,
        ErrorCode.NON_UNIFORM_SLICES,
        ErrorCode.UNSUPPORTED_GEOMETRY,
        ErrorCode.STRUCTURE_OUTSIDE_IMAGE,
    )
)
"""What a CT without its last images is refused with."""

_SORTS: dict[str, tuple[InstrumentedAttribute[Any], bool]] = {
    "created_at": (PlanRow.seq, False),
    "updated_at": (PlanRow.updated_at, True),
    "patient_id": (PlanRow.patient_id, False),
}


class Plans:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def create(self, new: NewPlan) -> tuple[PlanView, bool]:
        """Make a plan.

        Returns
        -------
        tuple
            The plan, and whether it is new: False where the idempotency key was seen before with the same plan.

        Raises
        ------
        ConflictError
            ``idempotency_mismatch``: the key was used for another request.
        """
        request_sha256 = _request_sha256(new)
        try:
            with self._database.write() as session:
                row = self._by_key(session, new.idempotency_key)
                created = row is None
                if row is None:
                    row = insert_plan(session, new, self._now(), request_sha256=request_sha256)
                elif row.request_sha256 != request_sha256:
                    raise _mismatch(row.id)
                plan_id = row.id
        except IntegrityError:
            # another Orthanc on the same database made it between our look and our insert
            with self._database.read() as session:
                row = self._by_key(session, new.idempotency_key)
                if row is None:
                    raise
                if row.request_sha256 != request_sha256:
                    raise _mismatch(row.id) from None
                plan_id, created = row.id, False
        return self.get(plan_id), created

    @staticmethod
    def _by_key(session: Session, key: str | None) -> PlanRow | None:
        return None if key is None else session.scalar(select(PlanRow).where(PlanRow.idempotency_key == key))

    def find_by_idempotency_key(self, key: str) -> PlanView | None:
        with self._database.read() as session:
            row = self._by_key(session, key)
            return None if row is None else _views(session, [row])[0]

    def get(self, plan_id: str) -> PlanView:
        """Raises `NotFoundError`."""
        with self._database.read() as session:
            row = session.scalar(select(PlanRow).where(PlanRow.id == plan_id))
            if row is None:
                raise unknown_plan(plan_id)
            return _views(session, [row])[0]

    def ids_beginning(self, prefix: str, limit: int) -> list[str]:
        """Ids of plans that begin with ``prefix`` (lower case hexadecimal), in their order."""
        query = select(PlanRow.id).where(PlanRow.id >= prefix, PlanRow.id < f"{prefix}g").order_by(PlanRow.id)
        with self._database.read() as session:
            return list(session.scalars(query.limit(limit)))

    def get_many(self, plan_ids: Sequence[str]) -> dict[str, PlanView]:
        """Those that exist."""
        with self._database.read() as session:
            rows = session.scalars(select(PlanRow).where(PlanRow.id.in_(plan_ids))).all()
            return {v.id: v for v in _views(session, rows)}

    def state(self, plan_id: str) -> PlanState:
        """Only the state: for polls. Raises `NotFoundError`."""
        with self._database.read() as session:
            found = session.scalar(select(PlanRow.state).where(PlanRow.id == plan_id))
        if found is None:
            raise unknown_plan(plan_id)
        return PlanState(found)

    def curves(self, plan_id: str) -> Curves:
        """DVH and solver trace; empty before the plan has succeeded. Raises `NotFoundError`."""
        with self._database.read() as session:
            document = session.scalar(
                select(PlanDocumentRow)
                .join(PlanRow, PlanRow.seq == PlanDocumentRow.plan_seq)
                .where(PlanRow.id == plan_id)
                .options(undefer(PlanDocumentRow.curves))
            )
            if document is None:
                raise unknown_plan(plan_id)
            if document.curves is None:
                return Curves()
            found = json.loads(document.curves)
            return Curves.model_validate(found)

    def page(
        self,
        where: PlanFilter | None = None,
        *,
        sort: PlanSort = "-created_at",
        cursor: str | None = None,
        limit: int = 50,
    ) -> PlanPage:
        """One page; ``next`` is None on the last. Raises `InvalidRequestError` for a bad cursor or limit."""
        limit = paging.bounded(limit)
        where = where or PlanFilter()
        column, is_time = _SORTS[sort.removeprefix("-")]
        order: str = sort
        if column is PlanRow.seq and (where.created_from or where.created_to):
            # the order of creation twice: by number for every other filter's index, by time for a range of dates
            column, is_time, order = PlanRow.created_at, True, f"{sort}/date"
        query = _filtered(select(PlanRow), where)
        query = paging.keyset(query, order, column, PlanRow.seq, cursor, is_time=is_time).limit(limit + 1)
        with self._database.read() as session:
            rows = session.scalars(query).all()
            briefs = _briefs(session, rows[:limit])
        more = None
        if len(rows) > limit:
            last = rows[limit - 1]
            more = paging.encode(order, getattr(last, column.key), last.seq)
        return PlanPage(items=briefs, next=more)

    def counts(self) -> dict[PlanState, int]:
        """How many plans are in each state."""
        with self._database.read() as session:
            found = dict(session.execute(select(PlanRow.state, func.count()).group_by(PlanRow.state)).all())
        return {state: found.get(state.value, 0) for state in PlanState}

    def cancel(self, plan_id: str, *, reason: str = "requested") -> PlanView:
        """Cancel: the state is `cancelled` from here on, whatever comes from a worker.

        Cancelling a cancelled plan changes nothing. The reconcile loop has to be woken up by the caller; it
        stops the processes.

        Raises
        ------
        NotFoundError
        ConflictError
            It has ended already.
        """
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            state = PlanState(row.state)
            if state in (PlanState.SUCCEEDED, PlanState.FAILED):
                raise ConflictError(
                    f"plan {plan_id} has {state.value}, only a plan that has not ended can be cancelled",
                    remedy=f"Nothing is left to cancel; what it gave is with {Place.PLAN}.",
                    state=state.value,
                )
            if state is not PlanState.CANCELLED:
                now = self._now()
                waiting_arrival = arrival_of(session, plan_id)
                if waiting_arrival is not None and waiting_arrival.state == ArrivalState.WAITING.value:
                    # a plan was made for it; that it was cancelled is recorded with the plan
                    waiting_arrival.state, waiting_arrival.updated_at = ArrivalState.PLANNED.value, now
                set_state(session, row, PlanState.CANCELLED, now, reason=reason)
        return self.get(plan_id)

    def decide(self, plan_id: str, approval: Approval) -> PlanView:
        """Record a person's decision about a result; the last one counts, none is forgotten.

        Raises
        ------
        NotFoundError
        ConflictError
            There is no result to decide on.
        """
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.state != PlanState.SUCCEEDED.value:
                raise ConflictError(
                    f"plan {plan_id} has no result to decide on: its state is {row.state}",
                    remedy="Decide when it has succeeded.",
                    state=row.state,
                )
            document = session.get_one(PlanDocumentRow, row.seq)
            before = json.loads(document.approvals or "[]")
            if len(before) >= MAX_APPROVALS:
                raise ConflictError(
                    f"{len(before)} decisions about plan {plan_id} are recorded, no more are kept",
                    remedy="Look at who decides so often.",
                )
            kept = approval.model_copy(
                update={
                    "by": None if approval.by is None else clean(approval.by),
                    "comment": clean(approval.comment, MAX_COMMENT),
                }
            )
            document.approvals = dumps([*before, kept.model_dump(mode="json")])
            add_event(session, row, self._now(), EventKind.APPROVAL, decision=kept.decision)
        return self.get(plan_id)

    def now(self) -> datetime:
        """The store's clock, UTC."""
        return self._now()

    def plan_of_output(self, sop_instance_uid: str) -> str | None:
        """The id of the plan that has, or will have, a result with this UID."""
        with self._database.read() as session:
            return session.scalar(
                select(PlanRow.id)
                .join(OutputRow, OutputRow.plan_seq == PlanRow.seq)
                .where(OutputRow.sop_instance_uid == sop_instance_uid)
            )

    def is_recalculated(self, sop_instance_uid: str) -> bool:
        """Whether this is a result of a check, such as a recalculation: no dose to compare another one with."""
        with self._database.read() as session:
            found = session.scalar(
                select(PlanRow.workflow_id)
                .join(OutputRow, OutputRow.plan_seq == PlanRow.seq)
                .where(OutputRow.sop_instance_uid == sop_instance_uid)
            )
        return found is not None and not get_workflow(found).plans

    def own_outputs(self, sop_instance_uids: Iterable[str]) -> frozenset[str]:
        """Those of the UIDs that are results of ours."""
        wanted = list(sop_instance_uids)
        with self._database.read() as session:
            return frozenset(
                session.scalars(select(OutputRow.sop_instance_uid).where(OutputRow.sop_instance_uid.in_(wanted)))
            )

    # Superseded plans: the reconcile loop's part

    def superseded_open(self, limit: int = 20) -> list[str]:
        """Plans that succeeded and were superseded, whose stored results nothing has become of yet."""
        query = (
            select(PlanRow.id)
            .where(
                PlanRow.superseded_at > _LONG_AGO,  # not IS NOT NULL: only so SQLite takes the index
                PlanRow.superseded_results.is_(None),
                PlanRow.state == PlanState.SUCCEEDED.value,
            )
            .limit(limit)
        )
        with self._database.read() as session:
            return list(session.scalars(query))

    def set_superseded_results(self, plan_id: str, what: SupersededResults, uids: Sequence[str]) -> None:
        """Record what became of a superseded plan's results, and of which."""
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.superseded_at is None or row.superseded_results is not None:
                return
            row.superseded_results = what.value
            if what is SupersededResults.REMOVED:
                session.execute(update(OutputRow).where(OutputRow.plan_seq == row.seq).values(orthanc_id=None))
            add_event(session, row, self._now(), EventKind.SUPERSEDED, results=what.value, sop_instance_uids=list(uids))

    # Waiting for images: the trigger's part

    def waiting(self) -> list[WaitingPlan]:
        """Every plan that waits for images, oldest first."""
        with self._database.read() as session:
            rows = session.execute(
                select(PlanRow, WaitRow)
                .join(WaitRow, WaitRow.plan_seq == PlanRow.seq)
                .where(PlanRow.state == PlanState.WAITING.value)
                .order_by(PlanRow.seq)
            )
            return [
                WaitingPlan(
                    id=row.id,
                    rtstruct_sop_instance_uid=row.rtstruct_sop_instance_uid,
                    rtstruct_sha256=row.rtstruct_sha256,
                    patient_id=row.patient_id,
                    study_instance_uid=row.study_instance_uid,
                    frame_of_reference_uid=row.frame_of_reference_uid,
                    image_uids=tuple(json.loads(wait.image_uids)),
                    image_study_uid=wait.image_study_uid,
                    image_series_uid=wait.image_series_uid,
                    missing_count=row.missing_count,
                    message=row.message,
                )
                for row, wait in rows
            ]

    def waiting_ids(self) -> set[str]:
        with self._database.read() as session:
            return set(session.scalars(select(PlanRow.id).where(PlanRow.state == PlanState.WAITING.value)))

    def set_missing(self, missing: Mapping[str, Sequence[str]], messages: Mapping[str, str] | None = None) -> None:
        """Which images each waiting plan still lacks; plans that no longer wait are left alone.

        Parameters
        ----------
        messages
            What to say of it, where that is to change.
        """
        with self._database.write() as session:
            now = self._now()
            for plan_id, uids in missing.items():
                row = session.scalar(select(PlanRow).where(PlanRow.id == plan_id).with_for_update())
                if row is None or row.state != PlanState.WAITING.value:
                    continue
                text, wait = missing_text(uids), session.get_one(WaitRow, row.seq)
                message = (messages or {}).get(plan_id, row.message)
                if (row.missing_count, wait.missing_uids, row.message) == (len(uids), text, message):
                    continue
                row.missing_count, wait.missing_uids, row.message = len(uids), text, message
                add_event(session, row, now, EventKind.MISSING, missing=len(uids))
                arrival = arrival_of(session, plan_id)
                if arrival is not None:
                    arrival.missing_count, arrival.missing_uids, arrival.updated_at = len(uids), text, now

    def promote(self, plan_id: str, image_series: str | None = None, image_count: int | None = None) -> bool:
        """All images are stored: waiting → queued. False where it no longer waits.

        Parameters
        ----------
        image_series, image_count
            Orthanc's id of their series, and of how many instances.
        """
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.state != PlanState.WAITING.value:
                return False
            now = self._now()
            row.image_series, row.image_count = image_series, image_count
            set_state(session, row, PlanState.QUEUED, now)
            arrival = arrival_of(session, plan_id)
            if arrival is not None:
                arrival.state, arrival.missing_count = ArrivalState.PLANNED.value, 0
                arrival.missing_uids = None
                arrival.updated_at = now
            return True

    def of_image_series(self, image_series: Collection[str]) -> list[tuple[PlanView, int]]:
        """Plans that were queued with one of these series, with how many images it had; none that is superseded."""
        ended_well = PlanState.SUCCEEDED.value
        live = (PlanState.QUEUED.value, PlanState.RUNNING.value)
        for_want_of_images = and_(PlanRow.state == PlanState.FAILED.value, PlanRow.error_code.in_(_LACK_IMAGES))
        with self._database.read() as session:
            rows = session.scalars(
                select(PlanRow)
                .where(
                    PlanRow.image_series.in_(list(image_series)),
                    PlanRow.superseded_at.is_(None),
                    or_(PlanRow.state.in_((*live, ended_well)), for_want_of_images),
                )
                .order_by(PlanRow.seq)
            ).all()
            counts = [row.image_count or 0 for row in rows]
            return list(zip(_views(session, rows), counts, strict=True))

    def live_image_series(self) -> set[str]:
        """Series of the plans that are queued or run."""
        live = (PlanState.QUEUED.value, PlanState.RUNNING.value)
        with self._database.read() as session:
            found = session.scalars(select(PlanRow.image_series).where(PlanRow.state.in_(live)).distinct())
            return {series for series in found if series}

    def outgrown(self, plan_id: str, again: NewPlan, error: ErrorInfo) -> str | None:
        """More images of a plan's series have come: it is superseded, and cancelled with ``error`` if it has not ended.

        It is made again where somebody still waits for it: it has not ended, or is what became of an arrival.

        Returns
        -------
        str or None
            The new plan's id.
        """
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.superseded_at is not None:
                return None
            now = self._now()
            arrival = arrival_of(session, plan_id)
            made: str | None = None
            if arrival is not None or not PlanState(row.state).ended:
                made = insert_plan(session, again, now, supersedes=plan_id).id
            supersede_plan(session, plan_id, now, by=made, error=error)
            if arrival is not None:
                arrival.plan_id, arrival.state, arrival.error = made, ArrivalState.WAITING.value, None
                arrival.updated_at = now
            return made

    def refuse_waiting(
        self, plan_id: str, error: ErrorInfo, *, arrival_state: ArrivalState, state: PlanState = PlanState.FAILED
    ) -> bool:
        """A waiting plan cannot be made after all: the plan and its arrival say why."""
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.state != PlanState.WAITING.value:
                return False
            now = self._now()
            arrival = arrival_of(session, plan_id)
            if arrival is not None:
                arrival.state, arrival.error, arrival.updated_at = arrival_state.value, dumps(error), now
                if arrival_state is ArrivalState.DELETED:
                    arrival.plan_id = None  # sent again, it is new
            set_state(session, row, state, now, error=error)
            return True


def insert_plan(
    session: Session,
    new: NewPlan,
    now: datetime,
    *,
    request_sha256: str | None = None,
    supersedes: str | None = None,
) -> PlanRow:
    """Add a plan with its documents, its results' UIDs and what it waits for."""
    row = _plan_row(new, now, request_sha256, supersedes)
    session.add(row)
    session.flush()
    session.add(
        PlanDocumentRow(
            plan_seq=row.seq,
            request=dumps(new.request),
            prescription=dumps(new.prescription),
            parameters=dumps(new.parameters),
            structures=dumps(list(new.structures)),
            missing_structures=dumps(list(new.missing_structures)),
            goals=dumps(list(new.goals)),
            inputs=dumps(list(new.inputs)) if new.inputs else None,
        )
    )
    workflow = get_workflow(new.workflow_id)
    for kind in workflow.possible_outputs:
        session.add(
            OutputRow(
                sop_instance_uid=sop_instance_uid(row.id, kind.value),
                plan_seq=row.seq,
                kind=kind.value,
                series_instance_uid=series_instance_uid(row.id, kind.value),
                sop_class_uid=sop_class_uid(kind, workflow.modality),
            )
        )
    if new.image_uids or not new.complete:
        images = dumps(list(new.image_uids))
        missing = None if new.complete else missing_text(new.image_uids)
        session.add(
            WaitRow(
                plan_seq=row.seq,
                image_uids=images,
                image_study_uid=clean(new.image_study_uid, 64),
                image_series_uid=clean(new.image_series_uid, 64),
                missing_uids=missing,
            )
        )
    add_event(session, row, now, EventKind.STATE, state=row.state)
    return row


def _plan_row(new: NewPlan, now: datetime, request_sha256: str | None, supersedes: str | None) -> PlanRow:
    return PlanRow(
        id=uuid.uuid4().hex,
        state=(PlanState.QUEUED if new.complete else PlanState.WAITING).value,
        origin=new.origin.value,
        requested_by=None if new.requested_by is None else clean(new.requested_by),
        workflow_id=new.workflow_id,
        protocol_id=new.protocol_id,
        protocol_sha256=new.protocol_sha256,
        priority=new.priority.value,
        patient_id=clean(new.patient_id),
        patient_name=clean_name(new.patient_name),
        study_instance_uid=clean(new.study_instance_uid),
        rtstruct_sop_instance_uid=clean(new.rtstruct_sop_instance_uid),
        rtstruct_sha256=new.rtstruct_sha256,
        frame_of_reference_uid=None if new.frame_of_reference_uid is None else clean(new.frame_of_reference_uid, 64),
        plan_label=clean(new.plan_label),
        parent_id=new.parent_id,
        supersedes=supersedes,
        idempotency_key=new.idempotency_key,
        request_sha256=request_sha256,
        time_limit_s=new.time_limit_s,
        missing_count=0 if new.complete else len(new.image_uids),
        image_series=new.image_series,
        image_count=new.image_count,
        created_at=now,
        updated_at=now,
        queued_at=now if new.complete else None,
    )


def _views(session: Session, rows: Sequence[PlanRow]) -> list[PlanView]:
    seqs = [row.seq for row in rows]
    documents = {
        d.plan_seq: d for d in session.scalars(select(PlanDocumentRow).where(PlanDocumentRow.plan_seq.in_(seqs)))
    }
    outputs: dict[int, list[OutputRow]] = {seq: [] for seq in seqs}
    for output in session.scalars(select(OutputRow).where(OutputRow.plan_seq.in_(seqs))):
        outputs[output.plan_seq].append(output)
    missing = _missing([row.seq for row in rows if row.state == PlanState.WAITING.value], session)
    positions = _queue_positions([row.seq for row in rows if row.state == PlanState.QUEUED.value], session)
    return [
        plan_view(row, documents[row.seq], outputs[row.seq], missing.get(row.seq), positions.get(row.seq))
        for row in rows
    ]


def _briefs(session: Session, rows: Sequence[PlanRow]) -> tuple[PlanBrief, ...]:
    shown = load_only(
        PlanDocumentRow.prescription, PlanDocumentRow.solver, PlanDocumentRow.error, PlanDocumentRow.brief
    )
    query = select(PlanDocumentRow).where(PlanDocumentRow.plan_seq.in_([row.seq for row in rows])).options(shown)
    documents = {d.plan_seq: d for d in session.scalars(query)}
    positions = _queue_positions([row.seq for row in rows if row.state == PlanState.QUEUED.value], session)
    return tuple(plan_brief(row, documents[row.seq], positions.get(row.seq)) for row in rows)


def _missing(seqs: Sequence[int], session: Session) -> dict[int, str | None]:
    if not seqs:
        return {}
    query = select(WaitRow.plan_seq, WaitRow.missing_uids).where(WaitRow.plan_seq.in_(seqs))
    return dict(session.execute(query).all())


def _queue_positions(seqs: Sequence[int], session: Session) -> dict[int, int]:
    """Places of queued plans: interactive ones first, in the order in which they were asked for."""
    if not seqs:
        return {}
    place = func.row_number().over(order_by=(PlanRow.priority.desc(), PlanRow.seq))  # "interactive" > "batch"
    queued = select(PlanRow.seq, place.label("place")).where(PlanRow.state == PlanState.QUEUED.value).subquery()
    return dict(session.execute(select(queued).where(queued.c.seq.in_(seqs))).all())


def _filtered(query: Select[PlanRow], where: PlanFilter) -> Select[PlanRow]:
    for column, value in (
        (PlanRow.patient_id, where.patient_id),
        (PlanRow.study_instance_uid, where.study_instance_uid),
        (PlanRow.rtstruct_sop_instance_uid, where.rtstruct_sop_instance_uid),
        (PlanRow.workflow_id, where.workflow_id),
        (PlanRow.protocol_id, where.protocol_id),
        (PlanRow.origin, where.origin.value if where.origin else None),
        (PlanRow.parent_id, where.parent_id),
    ):
        if value is not None:
            query = query.where(column == clean(value))
    if where.states:
        query = query.where(PlanRow.state.in_([s.value for s in where.states]))
    if where.created_from is not None:
        query = query.where(PlanRow.created_at >= where.created_from)
    if where.created_to is not None:
        query = query.where(PlanRow.created_at < where.created_to)
    if where.q:
        found = aliased(PlanRow)
        query = query.where(PlanRow.seq.in_(select(found.seq).where(*paging.words_in(found.search, clean(where.q)))))
    return query


def _request_sha256(new: NewPlan) -> str:
    """Hash of what was asked; what was found out about it meanwhile may differ when the request is repeated."""
    asked: dict[str, Any] = {
        "request": new.request,
        "rtstruct": new.rtstruct_sop_instance_uid,
        "workflow": new.workflow_id,
        "parent": new.parent_id,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def _mismatch(plan_id: str) -> ConflictError:
    return ConflictError(
        f"the idempotency key was used for another request, which made plan {plan_id}",
        remedy="Give each new request a key of its own; repeat a request unchanged.",
        code=ErrorCode.IDEMPOTENCY_MISMATCH,
        plan_id=plan_id,
    )
