"""One session: its files, and a store, queue and loop of its own, so that nothing else can see its plans."""

from __future__ import annotations

import hashlib
import hmac
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydicom.uid import CTImageStorage
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import ConflictError, InvalidRequestError, NotFoundError, RadiarchError
from radiarch_contract.job import JobSpec, SessionRef
from radiarch_contract.states import PlanState
from redis import Redis

from radiarch_plugin.dicom.header import Header, read_header
from radiarch_plugin.intake.growth import LOOK_S, GrowthWatch
from radiarch_plugin.intake.waiting import WaitingRoom
from radiarch_plugin.jobs.queue import JobQueue
from radiarch_plugin.jobs.reconcile import Reconciler
from radiarch_plugin.jobs.results import Results
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.services import Services
from radiarch_plugin.settings import SessionSettings
from radiarch_plugin.store import NewPlan, Ownership, PlanView, Store, default_url, open_database
from radiarch_plugin.store.plans import Plans

from .catalog import Budget, Catalog
from .limits import MAX_UPLOAD_BYTES, MB
from .pacs import SessionRest
from .unpack import Bounds, unpack

RECORD = "session.json"
DATA = "data"


class Record(BaseModel):
    """What is kept of a session itself; the secret is not, only its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    worker_key: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    label: str
    owner: str | None
    created_at: datetime
    expires_at: datetime

    @classmethod
    def new(cls, *, label: str, owner: str | None, created_at: datetime, expires_at: datetime) -> tuple[Record, str]:
        """A record, and the secret that is shown once."""
        secret = secrets.token_urlsafe(32)
        record = cls(
            id=secrets.token_hex(16),
            secret_sha256=_sha256(secret),
            worker_key=secrets.token_hex(32),
            label=label,
            owner=owner,
            created_at=created_at,
            expires_at=expires_at,
        )
        return record, secret

    def knows(self, secret: str) -> bool:
        """In the same time for every secret."""
        return hmac.compare_digest(_sha256(secret), self.secret_sha256)

    def token(self, plan_id: str, attempt: int) -> str:
        """What the worker of an attempt shows to the session's store."""
        whose = f"{plan_id}.{attempt}"
        return f"{whose}.{hmac.new(bytes.fromhex(self.worker_key), whose.encode(), hashlib.sha256).hexdigest()}"

    def save(self, folder: Path) -> None:
        write_json(folder / RECORD, self.model_dump_json())

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """None where there is none that can be read: such a session cannot be used."""
        try:
            return cls.model_validate_json((folder / RECORD).read_text("utf-8"))
        except (OSError, ValueError, ValidationError):
            return None


class SessionQueue(JobQueue):
    """The queue that all plans share; those of a session say where their worker finds what it needs."""

    def __init__(self, client: Redis, record: Record) -> None:
        super().__init__(client)
        self._record = record

    def enqueue(self, spec: JobSpec, *, time_limit_s: float, at_front: bool = False) -> None:
        session = SessionRef(id=self._record.id, token=self._record.token(spec.plan_id, spec.attempt))
        spec = spec.model_copy(update={"session": session})
        super().enqueue(spec, time_limit_s=time_limit_s, at_front=at_front)


class SessionPlans(Plans):
    """Plans of a session: a bounded number."""

    limit = 0

    def create(self, new: NewPlan) -> tuple[PlanView, bool]:
        if sum(self.counts().values()) >= self.limit:
            raise ConflictError(
                f"a session has at most {self.limit} plans", remedy="End it and open another one, or use Orthanc."
            )
        return super().create(new)


class Refusal(BaseModel):
    """A file of an upload that was not taken; ``file`` is its number in the request, from 0."""

    file: int
    code: str
    message: str


class Upload(BaseModel):
    """What became of the files of one request."""

    stored: int = 0
    unchanged: int = 0
    refused: list[Refusal] = []


class Session:
    """Safe in any thread.

    Parameters
    ----------
    record, folder
        Saved there already.
    client
        Redis, for the thread that calls `turn` alone.
    """

    def __init__(
        self,
        record: Record,
        folder: Path,
        *,
        settings: SessionSettings,
        budget: Budget,
        client: Redis,
        now: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self.record = record
        self.folder = folder
        self._settings = settings
        self._wake = wake
        data = folder / DATA
        data.mkdir(mode=0o700, exist_ok=True)
        self._database = open_database(default_url(data))
        try:
            self.catalog = Catalog(self._database, data / "instances", settings, budget)
        except BaseException:
            self._database.dispose()
            raise
        self.store = Store(self._database, now)
        self.store.plans = SessionPlans(self._database, now)
        self.store.plans.limit = settings.max_plans
        self.rest = SessionRest(self.catalog)
        self.orthanc = OrthancClient(self.rest)
        self._ownership = Ownership(self._database)
        self.results = Results(self.store, self.orthanc, put=self._put_result)
        self._reconciler = Reconciler(self.store, SessionQueue(client, record), self._ownership, results=self.results)
        self._room = WaitingRoom(self.store, self.orthanc, lambda: None, time.monotonic)
        self._growth = GrowthWatch(self.store, self.orthanc, lambda: None, time.monotonic)
        self._arrived: queue.SimpleQueue[Header] = queue.SimpleQueue()
        self._turning = threading.Lock()
        self._awake = True
        self._closed = False

    @property
    def base(self) -> str:
        return f"{API_PREFIX}/sessions/{self.record.id}"

    def services(self, whole: Services) -> Services:
        """What routes about plans work with, where they are asked under this session's path."""
        return replace(
            whole,
            store=self.store,
            orthanc=self.orthanc,
            results=self.results,
            wake=self.wake,
            health=tuple,
            base=self.base,
            sessions=None,
        )

    def wake(self) -> None:
        """Something is to be done: a plan was made or cancelled, files have come."""
        self._awake = True
        self._wake()

    def upload(self, body: bytes) -> Upload:
        """Take a DICOM file or an archive of such.

        Files that cannot be read, or that are here with another content, are reported and left out; where a bound is
        passed nothing of the request is taken.

        Raises
        ------
        InvalidRequestError
            The body is neither, no file of it can be taken, or ``too_large``.
        ServiceError
            ``too_large``, ``disk_full``
        """
        bounds = Bounds(files=self._settings.max_instances, total_bytes=self._settings.max_megabytes * MB)
        answer = Upload()
        first: RadiarchError | None = None
        taken: list[Header] = []
        with self.catalog.adding() as batch:
            for number, found in unpack(body, bounds):
                try:
                    if isinstance(found, InvalidRequestError):
                        raise found
                    header = read_header(found)
                    if batch.add(header, found):
                        answer.stored += 1
                        taken.append(header)
                    else:
                        answer.unchanged += 1
                except (InvalidRequestError, ConflictError) as e:
                    if e.info.code == "too_large":
                        raise
                    first = first or e
                    answer.refused.append(Refusal(file=number, code=e.code, message=e.info.message))
        if first is not None and not answer.stored and not answer.unchanged:
            raise first
        for header in taken:
            self._arrived.put(header)
        self.wake()
        return answer

    def _put_result(self, plan_id: str, data: bytes) -> str:
        header = read_header(data)
        with self.catalog.adding(plan_id) as batch:
            batch.add(header, data)
        return header.orthanc_id

    def attempt_of_token(self, token: str) -> tuple[str, int] | None:
        """The plan and attempt whose worker may read and store now; None where the token is of none that counts."""
        plan_id, _, rest = token.partition(".")
        number = rest.partition(".")[0]
        attempt = int(number) if number.isdecimal() and len(number) < 7 else 0
        if not hmac.compare_digest(self.record.token(plan_id, attempt).encode(), token.encode("utf-8", "replace")):
            return None
        return (plan_id, attempt) if self.store.attempts.current([plan_id]).get(plan_id) == attempt else None

    def prolong(self, expires_at: datetime) -> None:
        self.record = self.record.model_copy(update={"expires_at": expires_at})
        self.record.save(self.folder)
        self._wake()

    def turn(self) -> float | None:
        """Look after its plans; for how many seconds nothing will be to do, None: until woken up."""
        with self._turning:
            if self._closed or not self._awake:
                return None
            self._awake = False
            try:
                self._room.refresh_now()
                soon = self._room.look(self._take_arrived()) | self._growth.look()
                rest_s = self._reconciler.turn()
            except BaseException:
                self._awake = True
                self._reconciler.failed()
                self._room.forget()
                self._growth.forget()
                raise
            counts = self.store.plans.counts()
            if counts[PlanState.QUEUED] or counts[PlanState.RUNNING] or self.store.attempts.ended_unclean():
                self._awake = True
                return min(rest_s, LOOK_S) if soon else rest_s
            self._awake |= soon
            return LOOK_S if soon else None

    def _take_arrived(self) -> bool:
        """Have the series looked at of which images were uploaded; True where anything was."""
        any_stored = False
        with suppress(queue.Empty):
            while True:
                header = self._arrived.get_nowait()
                any_stored = True
                if header.sop_class_uid == CTImageStorage:
                    self._growth.stored(header.orthanc_id)
        return any_stored

    def attempts(self) -> dict[str, int]:
        """Of each plan that a worker may have been given, the number of its newest attempt."""
        found: dict[str, int] = {}
        cursor = None
        while True:
            page = self.store.plans.page(cursor=cursor, limit=500)
            found |= {p.id: p.attempt for p in page.items if p.attempt}
            cursor = page.next
            if cursor is None:
                return found

    def close(self) -> None:
        """Give everything back that is open; what is asked of it from here on fails."""
        with self._turning:
            self._closed = True
            self.catalog.close()
            self._ownership.release()
            self._database.dispose()

    def limits(self) -> dict[str, int]:
        settings = self._settings
        return {
            "max_request_bytes": MAX_UPLOAD_BYTES,
            "max_bytes": settings.max_megabytes * MB,
            "max_instances": settings.max_instances,
            "max_plans": settings.max_plans,
        }


def write_json(path: Path, text: str) -> None:
    """A file that is there whole or not at all, for its owner alone."""
    part = path.with_name(f"{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    part.replace(path)


def unknown_session() -> NotFoundError:
    """The one answer to whoever may not see a session, or asks for one that is not there."""
    return NotFoundError(
        "there is no such session, or it has ended, or this is not its secret",
        remedy="Send the secret that POST /sessions gave as the header Radiarch-Session; or open another session.",
    )


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
