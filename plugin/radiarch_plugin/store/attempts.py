"""Attempts at plans: what the reconcile loop reads and writes; every write names the attempt that it is about.

A write about another attempt than the newest, or about a plan that has ended, does nothing and says so: whoever
is late (a worker that was thought lost, a second plugin) cannot change what was decided since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from radiarch_contract.errors import ErrorInfo
from radiarch_contract.job import JobResult, JobSpec
from radiarch_contract.states import ArrivalState, PlanState, Priority, Stage
from radiarch_contract.structures import StructureRef
from sqlalchemy import select, true, update
from sqlalchemy.orm import Session

from .convert import brief_text, dumps, inputs_of, prescription_of, result_texts
from .database import Database
from .lifecycle import add_event, arrival_of, lock_plan, set_state
from .scales import known_scales, record_scale
from .tables import OutputRow, PlanDocumentRow, PlanRow, WaitRow
from .views import ActivePlan, EndedPlan, EventKind, LogPosition, PlanInputs, ProgressUpdate

PROGRESS_STEP = 0.01
"""Progress that rose by less makes no event."""


class Attempts:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def enqueued(self) -> list[ActivePlan]:
        """Plans that the queue or a worker should have."""
        with self._database.read() as session:
            rows = session.scalars(
                select(PlanRow)
                .where(PlanRow.state.in_([PlanState.QUEUED.value, PlanState.RUNNING.value]), PlanRow.enqueued.is_(True))
                .order_by(PlanRow.seq)
            ).all()
            return [_active(row) for row in rows]

    def due(self, limit: int, priority: Priority, without: Collection[str] = ()) -> list[ActivePlan]:
        """Plans that should be given to the queue, oldest first, but for those that are to wait still."""
        if limit <= 0:
            return []
        with self._database.read() as session:
            rows = session.scalars(
                select(PlanRow)
                .where(
                    PlanRow.state == PlanState.QUEUED.value,
                    PlanRow.priority == priority.value,
                    PlanRow.enqueued.is_(False),
                )
                .order_by(PlanRow.seq)
                .limit(limit + len(without))
            ).all()
            return [_active(row) for row in rows if row.id not in without][:limit]

    def begin(self, plan_id: str) -> JobSpec | None:
        """Number a new attempt and give what its worker needs; None where nothing is to be enqueued any more.

        The number is kept before the job is given away: should this process end between the two, the next look finds an
        attempt that nobody has, and numbers another one.
        """
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.state != PlanState.QUEUED.value or row.enqueued:
                return None
            row.attempt += 1
            row.enqueued = True
            row.log_run, row.log_taken = "", 0
            add_event(session, row, self._now(), EventKind.ATTEMPT, attempt=row.attempt)
            return _spec(session, row)

    def spec(self, plan_id: str) -> JobSpec:
        """The newest attempt's. Raises `NotFoundError`."""
        with self._database.read() as session:
            row = lock_plan(session, plan_id)
            return _spec(session, row)

    def progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Keep what workers tell: queued plans become running, a fraction never falls within an attempt."""
        if not updates:
            return
        with self._database.write() as session:
            now = self._now()
            for update_ in updates:
                row = _current(session, update_.plan_id, update_.attempt)
                if row is not None:
                    _progress(session, row, update_, now)

    def succeed(self, result: JobResult) -> bool:
        """Take a result without error. False where it comes too late."""
        with self._database.write() as session:
            row = _current(session, result.plan_id, result.attempt)
            if row is None:
                return False
            now = self._now()
            text, curves = result_texts(result)
            session.execute(
                update(PlanDocumentRow)
                .where(PlanDocumentRow.plan_seq == row.seq)
                .values(result=text, curves=curves, brief=brief_text(result))
            )
            for output in result.outputs:
                session.execute(
                    update(OutputRow)
                    .where(OutputRow.sop_instance_uid == output.sop_instance_uid, OutputRow.plan_seq == row.seq)
                    .values(orthanc_id=output.orthanc_id, sop_class_uid=output.sop_class_uid)
                )
            record_scale(session, row, session.get_one(PlanDocumentRow, row.seq), result, now)
            row.progress = 1.0
            row.worker = result.worker or row.worker
            if row.started_at is None:  # it was quicker than we looked
                row.started_at = row.queued_at
            set_state(session, row, PlanState.SUCCEEDED, now)
            return True

    def fail(self, plan_id: str, attempt: int, error: ErrorInfo, *, worker: str | None = None) -> bool:
        """The plan has failed for good."""
        with self._database.write() as session:
            row = _current(session, plan_id, attempt)
            if row is None:
                return False
            row.failures += 1
            row.worker = worker or row.worker
            set_state(session, row, PlanState.FAILED, self._now(), error=error)
            return True

    def given_back(self, plan_id: str, attempt: int) -> bool:
        """The worker was stopped and the job is in the queue again: the same attempt, from its beginning."""
        with self._database.write() as session:
            row = _current(session, plan_id, attempt)
            if row is None or row.state != PlanState.RUNNING.value:
                return False
            set_state(session, row, PlanState.QUEUED, self._now(), reason="the worker was stopped")
            return True

    def current(self, plan_ids: Sequence[str]) -> dict[str, int | None]:
        """Of the plans that exist: the number of the attempt that may go on, None where none may."""
        live = (PlanState.QUEUED.value, PlanState.RUNNING.value)
        with self._database.read() as session:
            rows = session.execute(
                select(PlanRow.id, PlanRow.state, PlanRow.attempt, PlanRow.enqueued).where(PlanRow.id.in_(plan_ids))
            )
            return {id_: attempt if state in live and enqueued else None for id_, state, attempt, enqueued in rows}

    def live(self) -> list[tuple[str, PlanState, str]]:
        """Plans that are queued or run: id, state, SOP Instance UID of the structure set."""
        live = (PlanState.QUEUED.value, PlanState.RUNNING.value)
        with self._database.read() as session:
            rows = session.execute(
                select(PlanRow.id, PlanRow.state, PlanRow.rtstruct_sop_instance_uid)
                .where(PlanRow.state.in_(live))
                .order_by(PlanRow.seq)
            )
            return [(id_, PlanState(state), uid) for id_, state, uid in rows]

    def inputs(self, plan_id: str) -> PlanInputs | None:
        """What a plan is made of; None where it does not exist or has ended."""
        with self._database.read() as session:
            row = session.scalar(select(PlanRow).where(PlanRow.id == plan_id))
            if row is None or PlanState(row.state).ended:
                return None
            document = session.get_one(PlanDocumentRow, row.seq)
            images = session.scalar(select(WaitRow.image_uids).where(WaitRow.plan_seq == row.seq))
            return PlanInputs(
                patient_id=row.patient_id,
                rtstruct_sop_instance_uid=row.rtstruct_sop_instance_uid,
                object_uids=tuple(i.sop_instance_uid for i in inputs_of(document)),
                image_uids=tuple(json.loads(images or "[]")),
            )

    def cancel_deleted(self, plan_id: str, error: ErrorInfo, deleted: Sequence[str]) -> bool:
        """Cancel a plan of which inputs were deleted; what it was made for is new when it is sent again.

        Parameters
        ----------
        deleted
            SOP Instance UIDs of what is not there.
        """
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if PlanState(row.state).ended:
                return False
            now = self._now()
            arrival = arrival_of(session, plan_id)
            if arrival is not None:
                itself = arrival.sop_instance_uid in deleted
                arrival.state = (ArrivalState.DELETED if itself else ArrivalState.NOT_PLANNED).value
                arrival.error, arrival.plan_id, arrival.updated_at = dumps(error), None, now
            set_state(session, row, PlanState.CANCELLED, now, error=error, reason="deleted")
            return True

    def retry(
        self, plan_id: str, attempt: int, *, error: ErrorInfo | None, delay_s: float = 0.0, reason: str = ""
    ) -> bool:
        """This attempt is over, another one is to follow.

        Parameters
        ----------
        error
            Why it failed; None where nobody had begun it (the queue lost it), which does not count as a failure.
        """
        with self._database.write() as session:
            row = _current(session, plan_id, attempt)
            if row is None:
                return False
            now = self._now()
            row.enqueued = False
            if error is not None:
                row.failures += 1
            shown = None if error is None else error.model_dump(mode="json")
            add_event(session, row, now, EventKind.RETRY, attempt=attempt, error=shown, delay_s=delay_s, reason=reason)
            if row.state == PlanState.RUNNING.value:
                set_state(session, row, PlanState.QUEUED, now)
            return True

    def ended_unclean(self) -> list[EndedPlan]:
        """Plans that ended without results a short while ago: their processes may still be there."""
        with self._database.read() as session:
            # no order: only so SQLite takes the index
            rows = session.scalars(select(PlanRow).where(PlanRow.unclean == true()).limit(1000)).all()
            return [
                EndedPlan(
                    id=row.id,
                    state=PlanState(row.state),
                    attempt=row.attempt,
                    ended_at=row.ended_at or row.updated_at,
                    stopped_at=row.stopped_at,
                    log=LogPosition(run=row.log_run, taken=row.log_taken),
                )
                for row in rows
            ]

    def stopped(self, plan_id: str) -> None:
        """The worker was seen to have ended an ended plan's processes."""
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.stopped_at is None and row.ended_at is not None:
                row.stopped_at = now = self._now()
                after_s = round((now - row.ended_at).total_seconds(), 3)
                if row.state == PlanState.CANCELLED.value:
                    add_event(session, row, now, EventKind.STOPPED, after_s=after_s)

    def finish_cleanup(self, plan_ids: Sequence[str]) -> None:
        """Nothing of these is left: `ended_unclean` does not list them any more."""
        if not plan_ids:
            return
        with self._database.write() as session:
            session.execute(update(PlanRow).where(PlanRow.id.in_(plan_ids)).values(unclean=False))


def _current(session: Session, plan_id: str, attempt: int) -> PlanRow | None:
    """The plan's row, where ``attempt`` is its newest, is with the queue or a worker, and the plan has not ended."""
    row = session.scalar(select(PlanRow).where(PlanRow.id == plan_id).with_for_update())
    if row is None or row.attempt != attempt or not row.enqueued or PlanState(row.state).ended:
        return None
    return row


def _progress(session: Session, row: PlanRow, new: ProgressUpdate, now: datetime) -> None:
    if row.state == PlanState.QUEUED.value:
        set_state(session, row, PlanState.RUNNING, now)
    began = row.stage != new.stage.value and (row.stage is None or _order(new.stage) > _order(Stage(row.stage)))
    progress = max(row.progress, new.progress)
    if began:
        row.stage = new.stage.value
        add_event(session, row, now, EventKind.STAGE, stage=row.stage, progress=progress, attempt=row.attempt)
    elif int(progress / PROGRESS_STEP) > int(row.progress / PROGRESS_STEP):
        add_event(
            session, row, now, EventKind.PROGRESS,
            stage=row.stage, progress=progress, eta_s=new.eta_s, attempt=row.attempt,
        )  # fmt: skip
    row.progress, row.eta_s, row.message, row.worker = progress, new.eta_s, new.message, new.worker
    row.updated_at = now
    if new.solver is not None:
        session.execute(
            update(PlanDocumentRow).where(PlanDocumentRow.plan_seq == row.seq).values(solver=dumps(new.solver))
        )


_STAGES = list(Stage)


def _order(stage: Stage) -> int:
    return _STAGES.index(stage)


def _active(row: PlanRow) -> ActivePlan:
    return ActivePlan(
        id=row.id,
        workflow_id=row.workflow_id,
        state=PlanState(row.state),
        attempt=row.attempt,
        log=LogPosition(run=row.log_run, taken=row.log_taken),
        enqueued=row.enqueued,
        failures=row.failures,
        started_at=row.started_at,
        queued_at=row.queued_at,
        time_limit_s=row.time_limit_s,
        stage=Stage(row.stage) if row.stage else None,
        progress=row.progress,
        eta_s=row.eta_s,
        priority=Priority(row.priority),
    )


def _spec(session: Session, row: PlanRow) -> JobSpec:
    document = session.get_one(PlanDocumentRow, row.seq)
    inputs = inputs_of(document)
    return JobSpec(
        plan_id=row.id,
        attempt=row.attempt,
        created_at=row.created_at,
        rtstruct_sop_instance_uid=row.rtstruct_sop_instance_uid,
        rtstruct_sha256=row.rtstruct_sha256,
        patient_id=row.patient_id,
        study_instance_uid=row.study_instance_uid,
        workflow_id=row.workflow_id,
        protocol_id=row.protocol_id,
        protocol_sha256=row.protocol_sha256,
        prescription=prescription_of(document),
        parameters=json.loads(document.parameters),
        goals=tuple(json.loads(document.goals)),
        structures=tuple(StructureRef.model_validate(s) for s in json.loads(document.structures)),
        inputs=inputs,
        scales=known_scales(session, row.workflow_id, inputs),
        plan_label=row.plan_label,
    )
