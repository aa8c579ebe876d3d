"""Measurements and their versions: who made and changed what, when; what they measure is computed elsewhere."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from radiarch_contract.errors import ConflictError, NotFoundError
from sqlalchemy import select
from sqlalchemy.orm import Session

from . import paging
from .convert import clean, dumps
from .database import Database
from .tables import MeasurementRow

MAX_FORMER = 100


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasurementVersion(_View):
    """What a person may change, with the value that follows from it."""

    version: int
    label: str
    description: str
    points_mm: tuple[tuple[float, float, float], ...]
    value: float
    unit: str
    by: str | None
    at: datetime


class NewMeasurement(_View):
    """What a measurement is of; this never changes."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    frame_of_reference_uid: str
    type: str


class MeasurementView(NewMeasurement):
    id: str
    current: MeasurementVersion
    former: tuple[MeasurementVersion, ...]


class MeasurementPage(_View):
    items: tuple[MeasurementView, ...]
    next: str | None


class Measurements:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def add(self, new: NewMeasurement, first: MeasurementVersion) -> MeasurementView:
        """Keep a measurement; the time is the store's."""
        row = MeasurementRow(
            id=uuid.uuid4().hex,
            **{name: clean(value) for name, value in new.model_dump().items()},
            version=1,
            current=_text(first.model_copy(update={"version": 1, "at": self._now()})),
            former="[]",
            deleted=False,
        )
        with self._database.write() as session:
            session.add(row)
        return _view(row)

    def change(self, measurement_id: str, changed: MeasurementVersion) -> MeasurementView:
        """Another version after the one that ``changed.version`` names.

        Raises
        ------
        NotFoundError
        ConflictError
            Somebody has changed it meanwhile, or it has `MAX_FORMER` versions.
        """
        with self._database.write() as session:
            row = _row(session, measurement_id, lock=True)
            _require(row, changed.version)
            former = json.loads(row.former)
            if len(former) >= MAX_FORMER:
                raise ConflictError(
                    f"the measurement has been changed {len(former)} times, no more versions are kept",
                    remedy="Make another one.",
                )
            row.former = dumps([*former, json.loads(row.current)])
            row.version += 1
            row.current = _text(changed.model_copy(update={"version": row.version, "at": self._now()}))
            return _view(row)

    def delete(self, measurement_id: str, version: int | None) -> None:
        """Take it from the lists; of ``version`` where one is given. Raises `NotFoundError`, `ConflictError`."""
        with self._database.write() as session:
            row = _row(session, measurement_id, lock=True)
            if version is not None:
                _require(row, version)
            row.deleted = True

    def get(self, measurement_id: str) -> MeasurementView:
        """One with its versions. Raises `NotFoundError`."""
        with self._database.read() as session:
            return _view(_row(session, measurement_id))

    def page(
        self,
        *,
        study_instance_uid: str | None = None,
        patient_id: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> MeasurementPage:
        """In the order in which they were made."""
        limit, sort = paging.bounded(limit), "created"
        query = select(MeasurementRow).where(MeasurementRow.deleted.is_(False))
        if study_instance_uid is not None:
            query = query.where(MeasurementRow.study_instance_uid == study_instance_uid)
        if patient_id is not None:
            query = query.where(MeasurementRow.patient_id == clean(patient_id))
        query = paging.keyset(query, sort, MeasurementRow.seq, MeasurementRow.seq, cursor, is_time=False)
        with self._database.read() as session:
            rows = session.scalars(query.limit(limit + 1)).all()
        more = paging.encode(sort, rows[limit - 1].seq, rows[limit - 1].seq) if len(rows) > limit else None
        return MeasurementPage(items=tuple(map(_view, rows[:limit])), next=more)


def _row(session: Session, measurement_id: str, *, lock: bool = False) -> MeasurementRow:
    query = select(MeasurementRow).where(MeasurementRow.id == measurement_id, MeasurementRow.deleted.is_(False))
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError("there is no such measurement", remedy="GET /measurements has the list.")
    return row


def _require(row: MeasurementRow, version: int) -> None:
    if row.version != version:
        raise ConflictError(
            f"the measurement is at version {row.version}, expected {version}: somebody has changed it meanwhile",
            remedy="Read it again, and send the change with the version that you have seen.",
            version=row.version,
        )


def _text(version: MeasurementVersion) -> str:
    kept = {
        "label": clean(version.label),
        "description": clean(version.description, 2000),
        "by": None if version.by is None else clean(version.by),
    }
    return dumps(version.model_copy(update=kept))


def _view(row: MeasurementRow) -> MeasurementView:
    return MeasurementView(
        **{name: getattr(row, name) for name in NewMeasurement.model_fields},
        id=row.id,
        current=MeasurementVersion.model_validate_json(row.current),
        former=tuple(MeasurementVersion.model_validate(f) for f in json.loads(row.former)),
    )
