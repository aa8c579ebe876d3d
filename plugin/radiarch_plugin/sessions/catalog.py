"""The DICOM files of one session: kept in its own folder under running numbers, found by what their headers say."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from radiarch_contract.errors import ConflictError, ErrorCode, InvalidRequestError, NotFoundError, ServiceError
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, delete, insert, select

from radiarch_plugin.dicom.header import Header
from radiarch_plugin.settings import SessionSettings
from radiarch_plugin.store import Database

from .limits import MB

MAX_ATTACHMENTS = 16
MAX_ATTACHMENT_BYTES = 16 * MB

_META = MetaData()
_FILES = Table(
    "session_files",
    _META,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sop_instance_uid", Text, nullable=False, unique=True),
    Column("sop_class_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("plan_id", Text),
)


@dataclass(frozen=True)
class StoredFile:
    """One object; ``plan_id`` is None for what was uploaded, else the plan that it is a result of."""

    number: int
    header: Header
    bytes: int
    sha256: str
    plan_id: str | None


class Budget:
    """Bytes that all sessions together may take."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Raises `ServiceError`, ``too_large``."""
        with self._lock:
            if self._taken + count > self._limit:
                raise ServiceError(
                    f"all sessions together may hold {self._limit} bytes, and hold {self._taken}",
                    remedy="Ask again when others have ended their sessions.",
                    code=ErrorCode.TOO_LARGE,
                )
            self._taken += count

    def give(self, count: int) -> None:
        with self._lock:
            self._taken -= count


class Catalog:
    """Safe in any thread. Reading does not wait; one batch is added at a time."""

    def __init__(self, database: Database, folder: Path, settings: SessionSettings, budget: Budget) -> None:
        self._database = database
        self._folder = folder
        self._settings = settings
        self._budget = budget
        self._lock = threading.Lock()
        self._closed = False
        self._by_uid: dict[str, StoredFile] = {}
        self._by_id: dict[str, StoredFile] = {}
        self._next = 1
        folder.mkdir(mode=0o700, exist_ok=True)
        self._load()

    def _load(self) -> None:
        """What the table and the disk agree on; the rest was half done when the process ended."""
        with self._database.write() as session:
            _META.create_all(session.connection())
            rows = session.execute(select(_FILES)).all()
            lost: list[int] = []
            for row in rows:
                file = StoredFile(
                    number=row.number,
                    header=Header(
                        sop_class_uid=row.sop_class_uid,
                        sop_instance_uid=row.sop_instance_uid,
                        series_instance_uid=row.series_instance_uid,
                        study_instance_uid=row.study_instance_uid,
                        patient_id=row.patient_id,
                        modality=row.modality,
                    ),
                    bytes=row.bytes,
                    sha256=row.sha256,
                    plan_id=row.plan_id,
                )
                try:
                    whole = self._path(file.number).stat().st_size == file.bytes
                except OSError:
                    whole = False
                if whole:
                    self._add(file)
                else:
                    lost.append(file.number)
            session.execute(delete(_FILES).where(_FILES.c.number.in_(lost)))
        known = {f"{f.number:08d}" for f in self._by_uid.values()}
        for path in self._folder.iterdir():
            if path.name.partition("-")[0] not in known:
                path.unlink()
        self._budget.take(sum(f.bytes for f in self._by_uid.values()))

    # -- reading ------------------------------------------------------------------------------------------------

    def files(self) -> list[StoredFile]:
        """All, in the order in which they came."""
        return list(self._by_uid.values())

    def by_uid(self, sop_instance_uid: str) -> StoredFile | None:
        return self._by_uid.get(sop_instance_uid)

    def by_id(self, orthanc_id: str) -> StoredFile:
        """Raises `NotFoundError`."""
        found = self._by_id.get(orthanc_id)
        if found is None:
            raise _gone()
        return found

    def read(self, file: StoredFile) -> bytes:
        """Raises `NotFoundError` where it was deleted meanwhile."""
        try:
            return self._path(file.number).read_bytes()
        except FileNotFoundError:
            raise _gone() from None

    def input_bytes(self) -> int:
        return sum(f.bytes for f in self.files() if f.plan_id is None)

    # -- writing ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def adding(self, plan_id: str | None = None) -> Iterator[Batch]:
        """Add files, all or none: an error within leaves the session as it was."""
        with self._lock:
            if self._closed:
                raise _gone()
            batch = Batch(self, plan_id)
            try:
                yield batch
                self._commit(list(batch.new.values()))
            except BaseException:
                for file in batch.new.values():
                    self._path(file.number).unlink(missing_ok=True)
                self._budget.give(batch.bytes)
                raise

    def remove(self, orthanc_id: str) -> None:
        """Delete one object with its attachments. Raises `NotFoundError`."""
        with self._lock:
            file = self.by_id(orthanc_id)
            with self._database.write() as session:
                session.execute(delete(_FILES).where(_FILES.c.number == file.number))
            del self._by_uid[file.header.sop_instance_uid], self._by_id[orthanc_id]
            self._budget.give(file.bytes)
            for path in self._folder.glob(f"{file.number:08d}*"):
                path.unlink(missing_ok=True)

    def attach(self, orthanc_id: str, number: int, data: bytes) -> None:
        """Keep bytes beside an object, under a number as Orthanc's attachments have."""
        with self._lock:
            if self._closed:
                raise _gone()
            file = self.by_id(orthanc_id)
            if not 1024 <= number <= 65535 or len(data) > MAX_ATTACHMENT_BYTES:
                raise InvalidRequestError("not an attachment of a session", remedy="Use 1024 to 65535, small ones.")
            if len(list(self._folder.glob(f"{file.number:08d}-*"))) >= MAX_ATTACHMENTS:
                raise ConflictError("the object has too many attachments", remedy="Replace one of them.")
            _write(self._folder / f"{file.number:08d}-{number}", data)

    def attachments(self, orthanc_id: str) -> Mapping[int, bytes]:
        """By number. Raises `NotFoundError`."""
        file = self.by_id(orthanc_id)
        paths = self._folder.glob(f"{file.number:08d}-*")
        return {int(p.name.partition("-")[2]): p.read_bytes() for p in sorted(paths)}

    def close(self) -> None:
        """Wait for a batch under way; nothing is added or found any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._budget.give(sum(f.bytes for f in self._by_uid.values()))
            self._by_uid, self._by_id = {}, {}

    # -- inside -------------------------------------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}"

    def _add(self, file: StoredFile) -> None:
        self._next = max(self._next, file.number + 1)
        self._by_uid[file.header.sop_instance_uid] = file
        self._by_id[file.header.orthanc_id] = file

    def _commit(self, new: Sequence[StoredFile]) -> None:
        if not new:
            return
        with self._database.write() as session:
            session.execute(
                insert(_FILES),
                [
                    {
                        **{k: getattr(f.header, k) for k in f.header.__dataclass_fields__},
                        "number": f.number,
                        "bytes": f.bytes,
                        "sha256": f.sha256,
                        "plan_id": f.plan_id,
                    }
                    for f in new
                ],
            )
        for file in new:
            self._add(file)

    def check_room(self, instances: int, total: int) -> None:
        """Whether so many instances and bytes may have been uploaded. Raises `InvalidRequestError`."""
        settings = self._settings
        if instances > settings.max_instances:
            raise _full(f"a session holds at most {settings.max_instances} instances")
        if total > settings.max_megabytes * MB:
            raise _full(f"a session holds at most {settings.max_megabytes} MB")

    def reserve(self, count: int) -> int:
        """Room for so many bytes, and a number for the file; the caller holds the lock. Raises `ServiceError`."""
        if shutil.disk_usage(self._folder).free - count < self._settings.min_free_megabytes * MB:
            raise ServiceError(
                "the disk with the sessions is nearly full",
                remedy="Make room on Orthanc's disk, or wait until other sessions have ended.",
                code=ErrorCode.DISK_FULL,
            )
        self._budget.take(count)
        self._next += 1
        return self._next - 1

    def write(self, file: StoredFile, data: bytes) -> None:
        _write(self._path(file.number), data)


class Batch:
    """Files being added, by SOP Instance UID; made by `Catalog.adding`, which holds the catalog's lock."""

    def __init__(self, catalog: Catalog, plan_id: str | None) -> None:
        self._catalog = catalog
        self._plan_id = plan_id
        self._inputs = [f.bytes for f in catalog.files() if f.plan_id is None] if plan_id is None else []
        self._input_bytes = sum(self._inputs)
        self.new: dict[str, StoredFile] = {}
        self.bytes = 0

    def add(self, header: Header, data: bytes) -> bool:
        """True where it is new, False where this very file is there.

        Raises
        ------
        ConflictError
            Another content is there under the same SOP Instance UID.
        InvalidRequestError, ServiceError
            ``too_large``, ``disk_full``: the session, or all of them, may not hold more.
        """
        uid, sha256 = header.sop_instance_uid, hashlib.sha256(data).hexdigest()
        found = self._catalog.by_uid(uid) or self.new.get(uid)
        if found is not None and found.sha256 == sha256:
            return False
        if found is not None:
            raise ConflictError(
                f"SOP Instance UID {uid} is in the session with another content",
                remedy="Each object needs a UID of its own; for another version of the data open another session.",
                sop_instance_uid=uid,
            )
        if self._plan_id is None:
            self._catalog.check_room(len(self._inputs) + len(self.new) + 1, self._input_bytes + len(data))
            self._input_bytes += len(data)
        file = StoredFile(self._catalog.reserve(len(data)), header, len(data), sha256, self._plan_id)
        self.new[uid] = file
        self.bytes += file.bytes
        self._catalog.write(file, data)
        return True


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as f:
        f.write(data)


def _full(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{what}; nothing of this request was stored",
        remedy="Upload only the planning CT and what belongs to it; limits are in Radiarch.Sessions.",
        code=ErrorCode.TOO_LARGE,
    )


def _gone() -> NotFoundError:
    return NotFoundError("the session has no such object", remedy="GET /sessions/{id} tells what it has.")
