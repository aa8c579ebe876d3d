"""Keeping what a session has made: results, and if asked what they were made of, go into Orthanc with their record.

The record comes first: Orthanc's change log then tells of objects that are known, and nothing is planned by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pydicom
from pydantic import BaseModel, Field
from radiarch_contract.errors import ConflictError, ErrorCode, NotFoundError, RadiarchError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.states import ArrivalState, PlanState
from radiarch_contract.strict import Asked
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import undefer

from radiarch_plugin.dicom.images import Search
from radiarch_plugin.dicom.rtstruct import RtstructFacts, read_rtstruct
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.services import Services
from radiarch_plugin.store import EventKind, LogPosition, PlanView, Store
from radiarch_plugin.store.lifecycle import add_event
from radiarch_plugin.store.tables import ArrivalContentRow, ArrivalRow, OutputRow, PlanDocumentRow, PlanRow

from .catalog import StoredFile
from .session import Session

log = logging.getLogger(__name__)


class KeepRequest(Asked):
    """What is to stay in Orthanc when the session has ended."""

    plans: tuple[str, ...] | None = Field(default=None, max_length=1000, description="Null: all that succeeded.")
    inputs: bool = Field(default=False, description="Also the structure sets, images and doses they were made of.")


class KeptObject(BaseModel):
    """An object that is in Orthanc now; ``new`` is False where the very same was there."""

    sop_instance_uid: str
    orthanc_id: str
    new: bool


class KeepAnswer(BaseModel):
    """The plans are among those of GET /plans from now on."""

    plans: tuple[str, ...]
    objects: tuple[KeptObject, ...]


@dataclass
class _Done:
    """What has to be undone where the rest fails."""

    plans: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)


def keep(session: Session, whole: Services, request: KeepRequest) -> KeepAnswer:
    """Store in Orthanc, all or nothing.

    Parameters
    ----------
    whole
        The services outside of any session.

    Raises
    ------
    NotFoundError, ConflictError
        A plan does not exist or has not succeeded; Orthanc has another content under one of the UIDs: what is stored
        there is never replaced from a session.
    ServiceError
        Orthanc does not answer, or does not take an object.
    """
    plans = _chosen(session, request)
    files = _files(session, plans, inputs=request.inputs)
    there = _in_orthanc(session, files, whole.orthanc)
    done = _Done()
    try:
        for plan in plans:
            _copy_plan(session, plan, whole.store, done)
        if request.inputs:
            _admit(session, plans, files, whole.store)
        objects = tuple(_store(session, file, there, whole.orthanc, done) for file in files)
        _set_ids(whole.store, objects)
    except BaseException:
        _undo(done, whole)
        raise
    whole.wake()
    log.info("session %s: %d plans are kept", session.record.id, len(plans))
    return KeepAnswer(plans=tuple(p.id for p in plans), objects=objects)


def _chosen(session: Session, request: KeepRequest) -> list[PlanView]:
    if request.plans is None:
        found = list(session.store.plans.get_many(list(session.attempts())).values())
        found = [p for p in found if p.state is PlanState.SUCCEEDED]
        if not found:
            raise ConflictError("no plan of the session has succeeded", remedy="Wait for one, then keep it.")
        return sorted(found, key=lambda p: p.created_at)
    wanted = list(dict.fromkeys(request.plans))
    by_id = session.store.plans.get_many(wanted)
    for plan_id in wanted:
        if plan_id not in by_id:
            raise NotFoundError(f"the session has no plan {plan_id[:64]!r}", remedy="List the session's plans.")
        if by_id[plan_id].state is not PlanState.SUCCEEDED:
            raise ConflictError(
                f"plan {plan_id} has no results to keep: its state is {by_id[plan_id].state}",
                remedy="Keep it when it has succeeded.",
                plan_id=plan_id,
            )
    return [by_id[i] for i in wanted]


def _files(session: Session, plans: Sequence[PlanView], *, inputs: bool) -> list[StoredFile]:
    """What is to be stored: images first and the structure set behind them, results last."""
    images: dict[str, None] = {}
    others: dict[str, None] = {}
    if inputs:
        for uid in dict.fromkeys(p.rtstruct_sop_instance_uid for p in plans):
            if not uid:
                continue
            facts = read_rtstruct(session.orthanc.instance_file(session.orthanc.find_instance(uid)))
            images |= dict.fromkeys(_series(session, facts))
            others[uid] = None
        others |= dict.fromkeys(i.sop_instance_uid for p in plans for i in p.inputs)
    results = [o.sop_instance_uid for p in plans for o in p.outputs if o.orthanc_id is not None]
    found: list[StoredFile] = []
    for uid in (*images, *others, *results):
        file = session.catalog.by_uid(uid)
        if file is None:
            raise ConflictError(
                f"the session no longer has {uid}, which belongs to what is to be kept",
                remedy="Keep the results without their inputs, or make the plan again.",
                code=ErrorCode.MISSING_INSTANCES,
            )
        found.append(file)
    return found


def _series(session: Session, facts: RtstructFacts) -> list[str]:
    """All images of the series that a structure set is drawn on: a plan is made on all of them."""
    search = Search.of(facts)
    located = search.look(session.orthanc)
    named = list(facts.images.images)
    if located.missing or not named:
        return named
    slices = session.orthanc.series_slices(search.chosen(session.orthanc, located).series_id)
    return list(dict.fromkeys([*named, *(s.sop_instance_uid for s in slices)]))


def _in_orthanc(session: Session, files: Sequence[StoredFile], orthanc: OrthancClient) -> dict[str, str]:
    """Orthanc's ids of the objects that it has already. Raises `ConflictError` where it has another content."""
    found = orthanc.find_instances([f.header.sop_instance_uid for f in files])
    there: dict[str, str] = {}
    for file in files:
        uid = file.header.sop_instance_uid
        if uid not in found:
            continue
        own = _sha256(session.catalog.read(file))
        same = [i for i in found[uid] if _sha256(orthanc.instance_file(i)) == own]
        if not same:
            raise ConflictError(
                f"SOP Instance UID {uid} is stored in Orthanc with another content; nothing was kept",
                remedy="Keep the results without their inputs; Orthanc's objects are never replaced from a session.",
                sop_instance_uid=uid,
            )
        there[uid] = same[0]
    return there


def _sha256(data: bytes) -> str:
    try:
        return dataset_sha256(pydicom.dcmread(BytesIO(data)))
    except Exception as e:  # hostile files raise nearly anything; what cannot be compared is another content
        return f"unreadable ({type(e).__name__})"


def _store(
    session: Session, file: StoredFile, there: dict[str, str], orthanc: OrthancClient, done: _Done
) -> KeptObject:
    uid = file.header.sop_instance_uid
    if uid in there:
        return KeptObject(sop_instance_uid=uid, orthanc_id=there[uid], new=False)
    done.stored.append(uid)
    orthanc_id = orthanc.store(session.catalog.read(file))
    for number, data in session.catalog.attachments(file.header.orthanc_id).items():
        orthanc.attach(orthanc_id, number, data)
    return KeptObject(sop_instance_uid=uid, orthanc_id=orthanc_id, new=True)


# -- the record -------------------------------------------------------------------------------------------------


def _values(row: Any, *, without: str) -> dict[str, Any]:
    return {a.key: getattr(row, a.key) for a in type(row).__mapper__.column_attrs if a.key != without}


def _copy_plan(session: Session, plan: PlanView, target: Store, done: _Done) -> None:
    """The plan as it is, with its curves and its log, into the store that everybody sees."""
    with session.store.database.read() as source:
        row = source.scalars(select(PlanRow).where(PlanRow.id == plan.id)).one()
        document = source.scalars(
            select(PlanDocumentRow).where(PlanDocumentRow.plan_seq == row.seq).options(undefer(PlanDocumentRow.curves))
        ).one()
        outputs = source.scalars(select(OutputRow).where(OutputRow.plan_seq == row.seq)).all()
    with target.database.write() as into:
        if _exists(into, plan.id):
            return  # it was kept before
        copied = PlanRow(**_values(row, without="seq"))
        copied.idempotency_key = copied.request_sha256 = None
        copied.unclean = False
        copied.log_lines, copied.log_run, copied.log_taken = 0, "", 0
        if copied.parent_id and not _exists(into, copied.parent_id):
            copied.parent_id = None
        into.add(copied)
        into.flush()
        into.add(PlanDocumentRow(plan_seq=copied.seq, **_values(document, without="plan_seq")))
        into.add_all(OutputRow(plan_seq=copied.seq, **_values(o, without="plan_seq")) for o in outputs)
        add_event(into, copied, target.plans.now(), EventKind.STATE, state=copied.state, reason="kept from a session")
    done.plans.append(plan.id)
    line = 0
    while lines := (page := session.store.journal.log_since(plan.id, line)).lines:
        target.journal.append_log(plan.id, plan.attempt, LogPosition(taken=line), lines)
        line = page.next


def _admit(session: Session, plans: Sequence[PlanView], files: Sequence[StoredFile], target: Store) -> None:
    """Record the inputs that start plans when they arrive, as planned already by what was kept."""
    for plan in plans:
        inputs = {plan.rtstruct_sop_instance_uid: "rtstruct"} | {
            i.sop_instance_uid: i.kind.removeprefix("reference_") for i in plan.inputs
        }
        for file in files:
            if file.header.sop_instance_uid in inputs:
                sha256 = _sha256(session.catalog.read(file))
                _admit_one(target, file, inputs[file.header.sop_instance_uid], sha256, plan)


def _admit_one(target: Store, file: StoredFile, kind: str, sha256: str, plan: PlanView) -> None:
    now = target.plans.now()
    header = file.header
    with target.database.write() as into:
        of_object = {name: getattr(header, name) for name in ("sop_instance_uid", "patient_id", "study_instance_uid")}
        row = into.scalar(select(ArrivalRow).filter_by(**of_object))
        if row is not None and row.sha256 == sha256 and row.plan_id is not None:
            return
        if row is None:
            row = ArrivalRow(**of_object, contents=1, first_seen_at=now, structures="[]")
            into.add(row)
        row.kind, row.orthanc_id, row.sha256 = kind, header.orthanc_id, sha256
        row.series_instance_uid, row.patient_name = header.series_instance_uid, plan.patient_name
        row.state, row.plan_id, row.protocol_id = ArrivalState.PLANNED.value, plan.id, plan.protocol_id
        row.error, row.missing_count, row.missing_uids, row.updated_at = None, 0, None, now
        into.flush()
        into.add(
            ArrivalContentRow(
                arrival_seq=row.seq, sha256=sha256, orthanc_id=header.orthanc_id, seen_at=now, plan_id=plan.id
            )
        )


def _exists(into: Transaction, plan_id: str) -> bool:
    return into.scalar(select(PlanRow.seq).where(PlanRow.id == plan_id)) is not None


def _set_ids(target: Store, objects: Sequence[KeptObject]) -> None:
    """Results by the ids that Orthanc has given them."""
    with target.database.write() as into:
        for kept in objects:
            into.execute(
                update(OutputRow)
                .where(OutputRow.sop_instance_uid == kept.sop_instance_uid)
                .values(orthanc_id=kept.orthanc_id)
            )


def _undo(done: _Done, whole: Services) -> None:
    """As it was before; where Orthanc does not answer, what it has stored already stays there."""
    try:
        whole.orthanc.remove(done.stored)
    except RadiarchError as e:
        log.error("what was stored of a session could not be taken back: %s", e.info.message)
    with whole.store.database.write() as into:
        into.execute(delete(ArrivalRow).where(ArrivalRow.plan_id.in_(done.plans)))
        into.execute(delete(PlanRow).where(PlanRow.id.in_(done.plans)))
