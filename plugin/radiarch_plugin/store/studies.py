"""Studies as Orthanc's index has them, for lists and search; `record` keeps them the same as Orthanc.

Orthanc itself looks through all of its studies for every search that has a wildcard, and has no pages by key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, TypeVarTuple

from pydantic import BaseModel, ConfigDict
from radiarch_contract.errors import ConflictError, NotFoundError
from sqlalchemy import ColumnElement, Select, delete, func, select

from . import paging
from .convert import clean
from .database import Database
from .tables import EventRow, OutputRow, PlanDocumentRow, PlanRow, StudyRow, StudySeriesRow
from .views import Approval, EventKind

StudySort = Literal["-study_date", "study_date", "patient_name", "-patient_name"]
AT_ONCE = 500
Row = TypeVarTuple("Row")
MAX_EVENTS = 500
STRUCTURES, PLAN, DOSE = "RTSTRUCT", "RTPLAN", "RTDOSE"


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudySeries(_View):
    """A series of a study."""

    orthanc_id: str
    series_instance_uid: str
    modality: str


class StudyFacts(_View):
    """A study as Orthanc's index has it; texts are '' where it has nothing, dates YYYYMMDD."""

    orthanc_id: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_instance_uid: str
    study_date: str
    study_time: str
    description: str
    accession_number: str


class StudyView(StudyFacts):
    """The same, as lists show it."""

    modalities: tuple[str, ...]
    series_count: int

    @property
    def has_structures(self) -> bool:
        return STRUCTURES in self.modalities

    @property
    def has_plan(self) -> bool:
        return PLAN in self.modalities

    @property
    def has_dose(self) -> bool:
        return DOSE in self.modalities


class StudyFilter(_View):
    """All that are given must hold; dates YYYYMMDD, both included."""

    q: str | None = None
    patient_id: str | None = None
    study_instance_uid: str | None = None
    date_from: str | None = None
    date_to: str | None = None
    modality: str | None = None
    structures: bool | None = None
    plan: bool | None = None
    dose: bool | None = None


class StudyPage(_View):
    items: tuple[StudyView, ...]
    next: str | None


class PatientView(_View):
    """All studies under one Patient ID; more than one name under it is worth a look."""

    patient_id: str
    patient_name: str
    """The last one by alphabet, where there are several."""
    names: int
    studies: int
    first_study_date: str
    last_study_date: str


class PatientPage(_View):
    items: tuple[PatientView, ...]
    next: str | None


class StudyEvent(_View):
    """A state that a plan of a study has come to."""

    at: datetime
    state: str
    plan_id: str
    label: str
    workflow_id: str


class StudyApproval(_View):
    """A person's decision about a plan of a study."""

    approval: Approval
    plan_id: str
    label: str


class Studies:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- keeping them --------------------------------------------------------------------------------------------

    def known(self) -> tuple[set[str], set[str]]:
        """Orthanc's ids of all studies and of all series that are kept."""
        with self._database.read() as session:
            return (
                set(session.scalars(select(StudyRow.orthanc_id))),
                set(session.scalars(select(StudySeriesRow.orthanc_id))),
            )

    def keep(self, studies: Sequence[tuple[StudyFacts, Sequence[StudySeries]]]) -> None:
        """Add studies, or replace what was kept of them."""
        if not studies:
            return
        with self._database.write() as session:
            ids = [facts.orthanc_id for facts, _ in studies]
            rows = {r.orthanc_id: r for r in session.scalars(select(StudyRow).where(StudyRow.orthanc_id.in_(ids)))}
            for facts, _ in studies:
                if facts.orthanc_id not in rows:
                    rows[facts.orthanc_id] = StudyRow(orthanc_id=facts.orthanc_id)
                    session.add(rows[facts.orthanc_id])
            for facts, series in studies:
                row = rows[facts.orthanc_id]
                for name, value in facts.model_dump().items():
                    setattr(row, name, clean(value))
                modalities = sorted({_code(s.modality) for s in series} - {""})
                row.modalities = f" {' '.join(modalities)} "
                row.series_count = len(series)
            session.flush()
            seqs = {orthanc_id: row.seq for orthanc_id, row in rows.items()}
            session.execute(delete(StudySeriesRow).where(StudySeriesRow.study_seq.in_(seqs.values())))
            session.add_all(
                StudySeriesRow(
                    orthanc_id=s.orthanc_id,
                    study_seq=seqs[facts.orthanc_id],
                    series_instance_uid=clean(s.series_instance_uid, 64),
                    modality=_code(s.modality),
                )
                for facts, series in studies
                for s in series
            )

    def drop(self, orthanc_ids: Iterable[str]) -> set[str]:
        """Forget studies and series that Orthanc no longer has.

        Returns the ids of the studies that were meant, or have lost a series. They
        are to be looked at again: what was deleted may have been sent again meanwhile.
        """
        ids, touched = list(orthanc_ids), set[str]()
        for chunk in (ids[i : i + AT_ONCE] for i in range(0, len(ids), AT_ONCE)):
            with self._database.write() as session:
                touched |= set(session.scalars(select(StudyRow.orthanc_id).where(StudyRow.orthanc_id.in_(chunk))))
                session.execute(delete(StudyRow).where(StudyRow.orthanc_id.in_(chunk)))
                touched |= set(
                    session.scalars(
                        select(StudyRow.orthanc_id)
                        .join(StudySeriesRow, StudySeriesRow.study_seq == StudyRow.seq)
                        .where(StudySeriesRow.orthanc_id.in_(chunk))
                    )
                )
                session.execute(delete(StudySeriesRow).where(StudySeriesRow.orthanc_id.in_(chunk)))
        return touched

    # -- asking --------------------------------------------------------------------------------------------------

    def page(
        self, where: StudyFilter, *, sort: StudySort = "-study_date", cursor: str | None = None, limit: int = 50
    ) -> StudyPage:
        """Studies that fit. Raises `InvalidRequestError`."""
        limit = paging.bounded(limit)
        column = StudyRow.patient_name if sort.endswith("patient_name") else StudyRow.study_date
        query = paging.keyset(_filtered(select(StudyRow), where), sort, column, StudyRow.seq, cursor, is_time=False)
        with self._database.read() as session:
            rows = session.scalars(query.limit(limit + 1)).all()
        shown = rows[:limit]
        more = paging.encode(sort, getattr(shown[-1], column.key), shown[-1].seq) if len(rows) > limit else None
        return StudyPage(items=tuple(map(_view, shown)), next=more)

    def get(self, study_instance_uid: str, *, patient_id: str | None = None) -> StudyView:
        """The one study with this UID, of this patient where one is given.

        Raises
        ------
        NotFoundError
        ConflictError
            Several patients have a study with this UID.
        """
        where = StudyFilter(study_instance_uid=study_instance_uid, patient_id=patient_id)
        found = self.page(where, limit=10).items
        if not found:
            raise NotFoundError(
                "no study with this Study Instance UID is in Orthanc"
                + ("" if patient_id is None else " for this patient"),
                remedy="GET /studies has the list; what has just arrived is in it after a second or two.",
            )
        if len(found) > 1:
            raise ConflictError(
                f"{len(found)} patients have a study with this Study Instance UID, expected one",
                remedy="Say which one is meant by patient_id.",
                patient_ids=[s.patient_id for s in found],
            )
        return found[0]

    def of_series(self, series_instance_uid: str, *, patient_id: str | None = None) -> tuple[StudyView, str]:
        """The study of the one series with this UID, and Orthanc's id of the series; raises as `get`."""
        query = (
            select(StudyRow, StudySeriesRow.orthanc_id)
            .join(StudySeriesRow, StudySeriesRow.study_seq == StudyRow.seq)
            .where(StudySeriesRow.series_instance_uid == series_instance_uid)
        )
        if patient_id is not None:
            query = query.where(StudyRow.patient_id == patient_id)
        with self._database.read() as session:
            found = session.execute(query.limit(10)).all()
        if not found:
            raise NotFoundError(
                "no series with this Series Instance UID is in Orthanc",
                remedy="GET /studies/{uid} lists the series of a study.",
            )
        if len(found) > 1:
            raise ConflictError(
                f"{len(found)} patients or studies have a series with this Series Instance UID, expected one",
                remedy="Say whose is meant by patient_id, or delete the copies that are wrong.",
                patient_ids=[row.patient_id for row, _ in found],
            )
        return _view(found[0][0]), found[0][1]

    def patients(self, where: StudyFilter, *, cursor: str | None = None, limit: int = 50) -> PatientPage:
        """Patients who have a study that fits, by Patient ID."""
        limit, sort = paging.bounded(limit), "patient_id"
        query = _filtered(
            select(
                StudyRow.patient_id,
                func.max(StudyRow.patient_name),
                func.count(StudyRow.patient_name.distinct()),
                func.count(),
                # a study without a date is neither the first nor the last
                func.min(func.nullif(StudyRow.study_date, "")),
                func.max(StudyRow.study_date),
            ),
            where,
        )
        if cursor is not None:
            query = query.where(StudyRow.patient_id > str(paging.decode(cursor, sort, is_time=False)[0]))
        query = query.group_by(StudyRow.patient_id).order_by(StudyRow.patient_id)
        with self._database.read() as session:
            rows = session.execute(query.limit(limit + 1)).all()
        items = tuple(
            PatientView(
                patient_id=r[0],
                patient_name=r[1],
                names=r[2],
                studies=r[3],
                first_study_date=r[4] or "",
                last_study_date=r[5],
            )
            for r in rows[:limit]
        )
        more = paging.encode(sort, items[-1].patient_id, 0) if len(rows) > limit else None
        return PatientPage(items=items, next=more)

    def names_of(self, patient_id: str) -> tuple[str, ...]:
        """All names that a patient's studies have, at most 20."""
        query = select(StudyRow.patient_name).where(StudyRow.patient_id == patient_id).distinct()
        with self._database.read() as session:
            return tuple(session.scalars(query.order_by(StudyRow.patient_name).limit(20)))

    def results_in(self, series_instance_uids: Sequence[str]) -> dict[str, str]:
        """Ids of our plans by the SOP Instance UIDs of their results in these series."""
        found: dict[str, str] = {}
        uids = list(series_instance_uids)
        with self._database.read() as session:
            for chunk in (uids[i : i + AT_ONCE] for i in range(0, len(uids), AT_ONCE)):
                query = (
                    select(OutputRow.sop_instance_uid, PlanRow.id)
                    .join(PlanRow, OutputRow.plan_seq == PlanRow.seq)
                    .where(OutputRow.series_instance_uid.in_(chunk))
                )
                found.update((uid, plan_id) for uid, plan_id in session.execute(query))
        return found

    def events(self, patient_id: str, study_instance_uid: str | None = None) -> list[StudyEvent]:
        """States that plans of a patient, or of one study, have come to: the newest `MAX_EVENTS`."""
        query = (
            select(EventRow.at, EventRow.data, PlanRow.id, PlanRow.plan_label, PlanRow.workflow_id)
            .join(PlanRow, EventRow.plan_seq == PlanRow.seq)
            .where(EventRow.kind == EventKind.STATE.value, *_plans_of(patient_id, study_instance_uid))
        )
        with self._database.read() as session:
            rows = session.execute(query.order_by(EventRow.cursor.desc()).limit(MAX_EVENTS)).all()
        return [
            StudyEvent(at=at, state=str(json.loads(data)["state"]), plan_id=plan, label=label, workflow_id=workflow)
            for at, data, plan, label, workflow in rows
        ]

    def approvals(self, patient_id: str, study_instance_uid: str | None = None) -> list[StudyApproval]:
        """Decisions about a patient's plans, or those of one study; of the newest `MAX_EVENTS` plans that have any."""
        query = (
            select(PlanRow.id, PlanRow.plan_label, PlanDocumentRow.approvals)
            .join(PlanDocumentRow, PlanDocumentRow.plan_seq == PlanRow.seq)
            .where(PlanDocumentRow.approvals.is_not(None), *_plans_of(patient_id, study_instance_uid))
        )
        with self._database.read() as session:
            rows = session.execute(query.order_by(PlanRow.seq.desc()).limit(MAX_EVENTS)).all()
        return [
            StudyApproval(approval=Approval.model_validate(found), plan_id=plan, label=label)
            for plan, label, approvals in rows
            for found in json.loads(approvals or "[]")
        ]


def _plans_of(patient_id: str, study_instance_uid: str | None) -> list[ColumnElement[bool]]:
    study = [] if study_instance_uid is None else [PlanRow.study_instance_uid == study_instance_uid]
    return [PlanRow.patient_id == patient_id, *study]


def _filtered(query: Select[*Row], where: StudyFilter) -> Select[*Row]:
    if where.q:
        query = query.where(*paging.words_in(StudyRow.search, where.q))
    if where.patient_id is not None:
        query = query.where(StudyRow.patient_id == clean(where.patient_id))
    if where.study_instance_uid is not None:
        query = query.where(StudyRow.study_instance_uid == where.study_instance_uid)
    if where.date_from is not None:
        query = query.where(StudyRow.study_date >= where.date_from)
    if where.date_to is not None:
        query = query.where(StudyRow.study_date <= where.date_to, StudyRow.study_date != "")
    wanted = [(where.modality, True), (STRUCTURES, where.structures), (PLAN, where.plan), (DOSE, where.dose)]
    for modality, has in wanted:
        if modality is not None and has is not None:
            there = StudyRow.modalities.contains(f" {_code(modality)} ", autoescape=True)
            query = query.where(there if has else ~there)
    return query


def _code(modality: str) -> str:
    """A code string (PS3.5 6.2): what is none cannot make two of one in a list of them."""
    return "".join(clean(modality, 16).upper().split())


def _view(row: StudyRow) -> StudyView:
    facts = {name: getattr(row, name) for name in StudyFacts.model_fields}
    return StudyView(**facts, modalities=tuple(row.modalities.split()), series_count=row.series_count)
