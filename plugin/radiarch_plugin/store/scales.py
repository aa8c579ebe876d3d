"""Machines' meterset scales: what checks of plans have found of them, and whether a person has confirmed it.

A check is judged by the scales that other plans of the machine had, and adds its own when it ends. An entry counts
where its check did not fail and found nothing else than what was known; a person may confirm an entry, which is then
what the machine's plans are judged by, or delete one.
"""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

from radiarch_contract.errors import NotFoundError
from radiarch_contract.job import JobInput, JobResult, KnownScale
from radiarch_contract.places import Place
from radiarch_contract.verdict import Outcome
from radiarch_contract.workflows import WORKFLOWS
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from . import paging
from .convert import clean, inputs_of
from .database import Database
from .tables import MachineScaleRow, PlanDocumentRow, PlanRow
from .views import MachineScalePage, MachineScaleView

MAX_KNOWN = 200
"""How many machines a job is given: those that were seen last."""
MAX_ENTRIES = 5_000
"""Entries that are looked at for that."""


class MachineScales:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def page(self, *, machine: str | None = None, cursor: str | None = None, limit: int = 100) -> MachineScalePage:
        """Entries, newest first; of one machine, by its text."""
        limit = paging.bounded(limit)
        query = select(MachineScaleRow)
        if machine is not None:
            query = query.where(MachineScaleRow.machine == machine)
        sort = "-created_at"
        query = paging.keyset(query, sort, MachineScaleRow.seq, MachineScaleRow.seq, cursor, is_time=False)
        with self._database.read() as session:
            rows = session.scalars(query.limit(limit + 1)).all()
        shown = rows[:limit]
        more = paging.encode(sort, shown[-1].seq, shown[-1].seq) if len(rows) > limit else None
        return MachineScalePage(items=tuple(map(_view, shown)), next=more)

    def confirm(self, entry_id: str, by: str | None) -> MachineScaleView:
        """A person says that this is the machine's scale. Raises `NotFoundError`."""
        with self._database.write() as session:
            row = _entry(session, entry_id)
            row.confirmed_at, row.confirmed_by = self._now(), None if by is None else clean(by)
            return _view(row)

    def delete(self, entry_id: str) -> MachineScaleView:
        """Forget an entry: plans are no longer judged by it. Raises `NotFoundError`."""
        with self._database.write() as session:
            row = _entry(session, entry_id)
            view = _view(row)
            session.delete(row)
            return view


def known_scales(session: Session, workflow_id: str, inputs: Sequence[JobInput]) -> tuple[KnownScale, ...]:
    """What checks of other plans have found of machines' scales; nothing for a job that derives none."""
    workflow = WORKFLOWS.get(workflow_id)
    if workflow is None or workflow.starts_from != "rtplan":
        return ()
    own = {i.sop_instance_uid for i in inputs if i.kind == "rtplan"}
    rows = session.scalars(
        select(MachineScaleRow)
        .where(
            MachineScaleRow.rtplan_sop_instance_uid.not_in(own),
            or_(MachineScaleRow.counts.is_(True), MachineScaleRow.confirmed_at.is_not(None)),
        )
        .order_by(MachineScaleRow.seq.desc())
        .limit(MAX_ENTRIES)
    ).all()
    machines: dict[tuple[str, str, str], list[MachineScaleRow]] = {}
    for row in rows:
        machines.setdefault((row.machine, row.machine_sha256, row.calibration_sha256), []).append(row)
    return tuple(_known(key, found) for key, found in list(machines.items())[:MAX_KNOWN])


def _known(key: tuple[str, str, str], rows: Sequence[MachineScaleRow]) -> KnownScale:
    """``rows`` newest first: of each plan its last check, or what a person has confirmed last."""
    confirmed = [r for r in rows if r.confirmed_at is not None]
    last = {row.rtplan_sop_instance_uid: row.scale for row in reversed(rows)}
    if confirmed:
        scale = max(confirmed, key=lambda r: (r.confirmed_at, r.seq)).scale
    else:
        scale = statistics.median(last.values())
    return KnownScale(
        machine=key[0],
        machine_sha256=key[1],
        calibration_sha256=key[2],
        scale=scale,
        plans=len(last),
        confirmed=bool(confirmed),
    )


def record_scale(session: Session, row: PlanRow, document: PlanDocumentRow, result: JobResult, now: datetime) -> None:
    """Record what a check that ends now has found of its plan's machine, in the transaction that ends it."""
    found = result.machine_scale
    plan = next((i for i in inputs_of(document) if i.kind == "rtplan"), None)
    if found is None or plan is None or result.verdict is None:
        return
    session.add(
        MachineScaleRow(
            id=uuid.uuid4().hex,
            plan_id=row.id,
            rtplan_sop_instance_uid=plan.sop_instance_uid,
            machine=clean(found.machine, 400),
            machine_sha256=found.machine_sha256,
            calibration_sha256=found.calibration_sha256,
            scale=found.scale,
            counts=found.counts,
            verdict=result.verdict.result.value,
            created_at=now,
        )
    )


def _entry(session: Session, entry_id: str) -> MachineScaleRow:
    row = session.scalar(select(MachineScaleRow).where(MachineScaleRow.id == entry_id).with_for_update())
    if row is None:
        raise NotFoundError("there is no such scale", remedy=f"See {Place.SCALES}.")
    return row


def _view(row: MachineScaleRow) -> MachineScaleView:
    return MachineScaleView(
        id=row.id,
        plan_id=row.plan_id,
        rtplan_sop_instance_uid=row.rtplan_sop_instance_uid,
        machine=row.machine,
        machine_sha256=row.machine_sha256,
        calibration_sha256=row.calibration_sha256,
        scale=row.scale,
        counts=row.counts,
        verdict=Outcome(row.verdict),
        confirmed_at=row.confirmed_at,
        confirmed_by=row.confirmed_by,
        created_at=row.created_at,
    )
