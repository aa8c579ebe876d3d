"""How a plan's row changes state: the only place that does, so that each change has its times and its event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from radiarch_contract.errors import ErrorInfo, NotFoundError
from radiarch_contract.places import Place
from radiarch_contract.states import PlanState
from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from .convert import dumps
from .tables import ArrivalRow, EventRow, PlanDocumentRow, PlanRow, WaitRow
from .views import EventKind

_ALLOWED: dict[PlanState, frozenset[PlanState]] = {
    PlanState.WAITING: frozenset({PlanState.QUEUED, PlanState.FAILED, PlanState.CANCELLED}),
    PlanState.QUEUED: frozenset({PlanState.RUNNING, PlanState.SUCCEEDED, PlanState.FAILED, PlanState.CANCELLED}),
    PlanState.RUNNING: frozenset({PlanState.QUEUED, PlanState.SUCCEEDED, PlanState.FAILED, PlanState.CANCELLED}),
    PlanState.SUCCEEDED: frozenset(),
    PlanState.FAILED: frozenset(),
    PlanState.CANCELLED: frozenset(),
}


def lock_plan(session: Session, plan_id: str) -> PlanRow:
    """The plan's row, locked until the transaction ends (SQLite has one writer anyway).

    Raises
    ------
    NotFoundError
    """
    row = session.scalar(select(PlanRow).where(PlanRow.id == plan_id).with_for_update())
    if row is None:
        raise unknown_plan(plan_id)
    return row


def unknown_plan(plan_id: str) -> NotFoundError:
    return NotFoundError(f"plan {plan_id[:64]!r} does not exist", remedy=f"See {Place.PLANS}.")


def add_event(session: Session, row: PlanRow, at: datetime, kind: EventKind, **data: Any) -> None:
    row.updated_at = at
    session.add(EventRow(plan_seq=row.seq, at=at, kind=kind.value, data=dumps(data)))


def set_state(
    session: Session,
    row: PlanRow,
    state: PlanState,
    now: datetime,
    *,
    error: ErrorInfo | None = None,
    reason: str | None = None,
) -> None:
    """Move a plan on. An end is final: nothing that comes late can change it."""
    before = PlanState(row.state)
    if state not in _ALLOWED[before]:
        raise AssertionError(f"a plan cannot go from {before} to {state}")
    row.state = state.value
    if state is PlanState.QUEUED:
        row.queued_at = row.queued_at or now
        row.stage, row.progress, row.eta_s, row.message, row.started_at = None, 0.0, None, "", None
        session.execute(update(WaitRow).where(WaitRow.plan_seq == row.seq).values(missing_uids=None))
        row.missing_count = 0
    elif state is PlanState.RUNNING:
        row.started_at = now
    if state.ended:
        _end(session, row, now, may_have_run=row.attempt > 0 and state is not PlanState.SUCCEEDED)
    if error is not None:
        row.error_code = error.code.value
        session.execute(update(PlanDocumentRow).where(PlanDocumentRow.plan_seq == row.seq).values(error=dumps(error)))
    data: dict[str, Any] = {"state": state.value}
    if error is not None:
        data["error"] = error.model_dump(mode="json")
    if reason is not None:
        data["reason"] = reason
    add_event(session, row, now, EventKind.STATE, **data)


def _end(session: Session, row: PlanRow, now: datetime, *, may_have_run: bool) -> None:
    row.ended_at = now
    row.eta_s = None
    row.enqueued = False
    row.unclean = may_have_run
    session.execute(delete(WaitRow).where(WaitRow.plan_seq == row.seq))
    session.execute(delete(EventRow).where(EventRow.plan_seq == row.seq, EventRow.kind == EventKind.PROGRESS.value))


def supersede(
    session: Session,
    rtstruct_sop_instance_uid: str,
    owner: tuple[str, str],
    now: datetime,
    *,
    by: str | None,
    error: ErrorInfo,
) -> list[str]:
    """The structure set has another content: mark all its plans, and cancel those that have not ended.

    A plan of the former content would be stored beside structures that it was not made for.

    Parameters
    ----------
    owner
        Patient ID and Study Instance UID: copies elsewhere are other structure sets.
    """
    which = and_(
        PlanRow.rtstruct_sop_instance_uid == rtstruct_sop_instance_uid,
        PlanRow.patient_id == owner[0],
        PlanRow.study_instance_uid == owner[1],
    )
    return _supersede(session, which, now, by, error)


def supersede_check(session: Session, plan_id: str, now: datetime, *, error: ErrorInfo) -> None:
    """The plan or dose that was checked has another content: the same for its one job."""
    supersede_plan(session, plan_id, now, by=None, error=error)


def supersede_plan(session: Session, plan_id: str, now: datetime, *, by: str | None, error: ErrorInfo) -> None:
    """The same for one plan."""
    _supersede(session, PlanRow.id == plan_id, now, by, error)


def _supersede(
    session: Session, which: ColumnElement[bool], now: datetime, by: str | None, error: ErrorInfo
) -> list[str]:
    query = select(PlanRow).where(which, PlanRow.superseded_at.is_(None)).order_by(PlanRow.seq)
    rows = session.scalars(query.with_for_update()).all()
    changed: list[str] = []
    for row in rows:
        if row.id == by:
            continue
        row.superseded_by, row.superseded_at = by, now
        changed.append(row.id)
        add_event(session, row, now, EventKind.SUPERSEDED, by=by)
        if not PlanState(row.state).ended:
            set_state(session, row, PlanState.CANCELLED, now, error=error, reason="superseded")
    return changed


def arrival_of(session: Session, plan_id: str) -> ArrivalRow | None:
    """The arrival that a plan was made for, where the plan is of the arrival's newest content."""
    return session.scalar(select(ArrivalRow).where(ArrivalRow.plan_id == plan_id).with_for_update())
