"""Keeping our table of studies the same as Orthanc's index: once as a whole, then by what its change log tells.

Nothing is remembered over a restart but the rows: ids are compared with Orthanc's at each start, which costs one list
of ids for each level, and only what is new is read. A row that a crash has left out is found by that, too.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, Protocol

from radiarch_contract.errors import NotFoundError

from radiarch_plugin.jobs.loop import Loop
from radiarch_plugin.store import Ownership, Store, StudyFacts, StudySeries

log = logging.getLogger(__name__)

PAGE = 1000
AT_ONCE = 50
"""Studies in one transaction."""
INTERVAL_S = 1.0
"""Between two looks while something arrives: a study that grows is read again at each."""
COMPARE_S = 600.0
"""Between two comparisons of all ids; another Orthanc on the same database may have deleted something."""
MAX_DELETED = 10_000
_STANDBY_S = 2.0
_NEW = {"NewStudy": "studies", "NewSeries": "series", "StableStudy": "studies"}


class Orthanc(Protocol):
    """What is asked of Orthanc; `orthanc.client.OrthancClient` is one."""

    def changes(self, since: int, limit: int) -> dict[str, Any]: ...
    def last_change(self) -> int: ...
    def all_ids(self, level: Literal["studies", "series"]) -> set[str]: ...
    def study(self, orthanc_id: str) -> dict[str, Any]: ...
    def study_series(self, orthanc_id: str) -> list[dict[str, Any]]: ...
    def study_of_series(self, series_id: str) -> str: ...


class StudyIndex(Loop):
    """One for each plugin; only the owner of the database acts."""

    def __init__(
        self,
        store: Store,
        orthanc: Orthanc,
        ownership: Ownership,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("studies")
        self._store = store
        self._orthanc = orthanc
        self._ownership = ownership
        self._monotonic = monotonic
        self._cursor: int | None = None
        self._compared = 0.0
        self._deleted: deque[str] = deque()

    def deleted(self, orthanc_id: str) -> None:
        """Something was deleted from Orthanc. For callbacks; waking up is not needed at once."""
        if len(self._deleted) < MAX_DELETED:
            self._deleted.append(orthanc_id)
        else:  # so many that comparing all is less work
            self._compared = -COMPARE_S

    def failed(self) -> None:
        self._cursor = None  # what was being read is not known: compare all

    def turn(self) -> float:
        if not self._ownership.acquire():
            self._cursor = None
            return _STANDBY_S
        if self._cursor is None or self._monotonic() - self._compared > COMPARE_S:
            cursor = self._orthanc.last_change()  # before the lists: what is stored from here on is read after them
            self._compare()
            self._cursor, self._compared = cursor if self._cursor is None else self._cursor, self._monotonic()
        self._drop()
        self._follow()
        return INTERVAL_S

    def _compare(self) -> None:
        """Make the rows those that Orthanc has, by ids alone."""
        studies, series = self._orthanc.all_ids("studies"), self._orthanc.all_ids("series")
        kept_studies, kept_series = self._store.studies.known()
        changed = self._store.studies.drop((kept_studies - studies) | (kept_series - series))
        new = studies - kept_studies
        changed |= new
        # series of new studies are read with these
        known = len(new) == len(studies)
        changed |= set() if known else self._studies_of(series - kept_series, besides=new)
        self._read(changed)

    def _drop(self) -> None:
        gone = [self._deleted.popleft() for _ in range(len(self._deleted))]
        if gone:
            self._read(self._store.studies.drop(gone))

    def _follow(self) -> None:
        """Read again what has got something since."""
        changed: set[str] = set()
        while not self.stopping:
            assert self._cursor is not None
            page = self._orthanc.changes(self._cursor, PAGE)
            found = [(c["ChangeType"], str(c["ID"])) for c in page["Changes"] if c["ChangeType"] in _NEW]
            changed |= {orthanc_id for kind, orthanc_id in found if _NEW[kind] == "studies"}
            changed |= self._studies_of((i for kind, i in found if _NEW[kind] == "series"), besides=())
            if page["Changes"]:
                self._cursor = int(page["Changes"][-1]["Seq"])
            if page["Done"]:
                break
        self._read(changed)

    def _studies_of(self, series: Iterable[str], *, besides: Iterable[str]) -> set[str]:
        found = set()
        for orthanc_id in series:
            with suppress(NotFoundError):  # deleted since
                found.add(self._orthanc.study_of_series(orthanc_id))
        return found - set(besides)

    def _read(self, studies: Iterable[str]) -> None:
        batch: list[tuple[StudyFacts, list[StudySeries]]] = []
        for orthanc_id in sorted(studies):
            if self.stopping:
                return
            with suppress(NotFoundError):  # deleted since, and dropped for that
                found = self._orthanc.study(orthanc_id)
                batch.append((_facts(found), [_series(s) for s in self._orthanc.study_series(orthanc_id)]))
            if len(batch) >= AT_ONCE:
                self._store.studies.keep(batch)
                batch = []
        self._store.studies.keep(batch)


def _facts(study: dict[str, Any]) -> StudyFacts:
    own, patient = _tags(study, "MainDicomTags"), _tags(study, "PatientMainDicomTags")
    return StudyFacts(
        orthanc_id=str(study["ID"]),
        patient_id=patient.get("PatientID", ""),
        patient_name=patient.get("PatientName", ""),
        patient_birth_date=day(patient.get("PatientBirthDate", "")),
        patient_sex=patient.get("PatientSex", "")[:16],
        study_instance_uid=own.get("StudyInstanceUID", ""),
        study_date=day(own.get("StudyDate", "")),
        study_time=own.get("StudyTime", "")[:16],
        description=own.get("StudyDescription", ""),
        accession_number=own.get("AccessionNumber", ""),
    )


def _series(series: dict[str, Any]) -> StudySeries:
    tags = _tags(series, "MainDicomTags")
    return StudySeries(
        orthanc_id=str(series["ID"]),
        series_instance_uid=tags.get("SeriesInstanceUID", ""),
        modality=tags.get("Modality", ""),
    )


def _tags(item: dict[str, Any], group: str) -> dict[str, str]:
    found = item.get(group)
    return {str(k): str(v).strip(" \0") for k, v in found.items()} if isinstance(found, dict) else {}


def day(text: str) -> str:
    """A DICOM date (PS3.5 6.2) as YYYYMMDD, also in its former form; '' for what is no day.

    >>> day("20261130"), day("2026.11.30"), day("20261331")
    ('20261130', '20261130', '')
    """
    plain = text.replace(".", "") if len(text) == 10 else text
    if len(plain) != 8 or not plain.isascii() or not plain.isdigit():
        return ""
    try:
        datetime.strptime(plain, "%Y%m%d")
    except ValueError:
        return ""
    return plain
