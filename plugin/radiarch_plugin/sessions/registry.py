"""All sessions: opening, finding by secret, ending when their time is over; what one session does is `session`'s."""

from __future__ import annotations

import fcntl
import logging
import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import redis
from radiarch_contract.errors import ConflictError, ErrorCode, InvalidRequestError, ServiceError
from redis import Redis
from sqlalchemy.exc import DBAPIError

from radiarch_plugin.jobs.loop import Loop
from radiarch_plugin.settings import SessionSettings
from radiarch_plugin.store.store import steady_clock

from .catalog import Budget
from .ended import Ended, stop_and_forget
from .limits import MB
from .session import DATA, RECORD, Record, Session, unknown_session

log = logging.getLogger(__name__)

FOLDER_NAME = "radiarch-sessions"
_IDLE_S = 5.0
_ENDING_S = 0.25
_NOBODY = Record(
    id="0" * 32,
    secret_sha256="0" * 64,
    worker_key="0" * 64,
    label="",
    owner=None,
    created_at=datetime.min,
    expires_at=datetime.min,
)


class Sessions(Loop):
    """One for each plugin; its folder belongs to one process at a time.

    Parameters
    ----------
    client
        Redis, for the thread of this loop alone.
    now
        UTC; by the wall clock when the process starts, as times to live go on while Orthanc is down, and steady after.
    """

    def __init__(
        self, folder: Path, settings: SessionSettings, client: Redis, *, now: Callable[[], datetime] | None = None
    ) -> None:
        super().__init__("sessions")
        self._folder = folder
        self.settings = settings
        self._client = client
        self._now = now or steady_clock()
        self._budget = Budget(settings.max_total_megabytes * MB)
        self._guard = threading.RLock()
        self._live: dict[str, Session] = {}
        self._ended: dict[str, Ended] = {}
        self._lock: IO[bytes] | None = None

    def open(self) -> None:
        """Take the folder, and up again the sessions that a restart has interrupted.

        Raises
        ------
        ServiceError
            ``not_ready``: the folder cannot be used, or another Orthanc uses it.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self._lock = (self._folder / "owner").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if self._lock is not None:
                self._lock.close()
            busy = isinstance(e, BlockingIOError)
            raise ServiceError(
                f"the sessions' folder is used by another Orthanc: {self._folder}"
                if busy
                else f"the sessions' folder {self._folder} cannot be used: {e.strerror}",
                remedy="Give each Orthanc a folder of its own in Radiarch.Sessions.Folder, writable for its user.",
                code=ErrorCode.NOT_READY,
            ) from None
        for folder in sorted(p for p in self._folder.iterdir() if p.is_dir()):
            self._take_up(folder)
        if self._live or self._ended:
            log.info("sessions: %d taken up, %d being ended", len(self._live), len(self._ended))

    def close(self) -> None:
        """After the thread has stopped; sessions stay on disk."""
        with self._guard:
            for session in self._live.values():
                session.close()
            self._live.clear()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    # -- for routes ---------------------------------------------------------------------------------------------

    def create(self, *, ttl_s: float | None, label: str, owner: str | None) -> tuple[Session, str]:
        """A new session and its secret.

        Raises
        ------
        ConflictError
            There are as many as may be.
        InvalidRequestError
            ``ttl_s`` is too long.
        """
        now = self._now()
        expires_at = self._expiry(now, now, self.settings.default_ttl_s if ttl_s is None else ttl_s)
        record, secret = Record.new(label=label, owner=owner, created_at=now, expires_at=expires_at)
        with self._guard:
            own = sum(s.record.owner == owner for s in self._live.values()) if owner is not None else 0
            if len(self._live) >= self.settings.max_sessions or own >= self.settings.max_sessions_per_user:
                raise ConflictError(
                    f"{len(self._live)} sessions are open, {own} of them yours; at most "
                    f"{self.settings.max_sessions} and {self.settings.max_sessions_per_user} may be",
                    remedy="End sessions that are not needed any more, or wait until one has expired.",
                )
            folder = self._folder / record.id
            folder.mkdir(mode=0o700)
            try:
                record.save(folder)
                session = self._open(record, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._live[record.id] = session
        self.wake()
        return session, secret

    def find(self, session_id: str, secret: str | None) -> Session:
        """The session; `NotFoundError`, always the same, for whoever does not know its secret."""
        session = self._current(session_id)
        record = _NOBODY if session is None else session.record
        if not record.knows(secret or "") or session is None:
            raise unknown_session()
        return session

    def of_worker(self, session_id: str, token: str | None) -> tuple[Session, str, int]:
        """The session, and the plan and attempt whose worker asks. Raises `NotFoundError`."""
        session = self._current(session_id)
        asks = None if session is None or not token else session.attempt_of_token(token)
        if session is None or asks is None:
            raise unknown_session()
        return session, *asks

    def prolong(self, session: Session, ttl_s: float) -> None:
        """Let it end ``ttl_s`` from now. Raises `InvalidRequestError` beyond what a session may live."""
        with self._guard:
            session.prolong(self._expiry(session.record.created_at, self._now(), ttl_s))
        self.wake()

    def end(self, session: Session) -> None:
        """End it: it is no longer found, its files are deleted, its plans are stopped soon after."""
        with self._guard:
            if self._live.pop(session.record.id, None) is None:
                return
            try:
                attempts = session.attempts()
            except DBAPIError:  # its files go all the same; its workers find nothing to store into
                log.exception("session %s: its plans cannot be read", session.record.id)
                attempts = {}
            ended = Ended(ended_at=self._now(), attempts=attempts)
            ended.save(session.folder)
            self._ended[session.record.id] = ended
        session.close()
        _empty(session.folder)
        log.info("session %s: ended", session.record.id)
        self.wake()

    def _current(self, session_id: str) -> Session | None:
        session = self._live.get(session_id)
        return session if session is not None and session.record.expires_at > self._now() else None

    def _expiry(self, created_at: datetime, now: datetime, ttl_s: float) -> datetime:
        latest = created_at + timedelta(seconds=self.settings.max_ttl_s)
        expires_at = now + timedelta(seconds=min(ttl_s, 1e9))
        if expires_at > latest:
            raise InvalidRequestError(
                f"ttl_s is {ttl_s:g}; a session lives for at most {self.settings.max_ttl_s:g} s from its creation",
                remedy="Ask for less, and keep in Orthanc what is to stay.",
            )
        return expires_at

    # -- the thread ---------------------------------------------------------------------------------------------

    def turn(self) -> float:
        now = self._now()
        with self._guard:
            live = list(self._live.values())
        for session in live:
            if session.record.expires_at <= now:
                log.info("session %s: its time is over", session.record.id)
                self.end(session)
        rest_s = _IDLE_S
        for session_id, ended in list(self._ended.items()):
            if stop_and_forget(ended, self._client, now):
                shutil.rmtree(self._folder / session_id, ignore_errors=True)
                del self._ended[session_id]
            else:
                rest_s = _ENDING_S
        for session in live:
            rest_s = min(rest_s, self._look_after(session))
        with self._guard:
            left = [(s.record.expires_at - self._now()).total_seconds() for s in self._live.values()]
        return max(0.05, min([rest_s, *left]))

    def _look_after(self, session: Session) -> float:
        try:
            rest_s = session.turn()
        except (redis.RedisError, DBAPIError):
            if session.record.id in self._live:
                raise
            return _IDLE_S  # it was ended meanwhile
        return _IDLE_S if rest_s is None else rest_s

    # -- after a restart ----------------------------------------------------------------------------------------

    def _open(self, record: Record, folder: Path) -> Session:
        return Session(
            record,
            folder,
            settings=self.settings,
            budget=self._budget,
            client=self._client,
            now=self._now,
            wake=self.wake,
        )

    def _take_up(self, folder: Path) -> None:
        ended = Ended.load(folder)
        if ended is not None:
            _empty(folder)
            self._ended[folder.name] = ended
            return
        record = Record.load(folder)
        if record is None or record.id != folder.name:
            log.error("sessions: %s is not a session and is deleted", folder.name)
            shutil.rmtree(folder, ignore_errors=True)
            return
        try:
            session = self._open(record, folder)
        except Exception as e:
            log.error("session %s: cannot be taken up (%s) and is deleted", record.id, type(e).__name__)
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._live[record.id] = session


def _empty(folder: Path) -> None:
    """Delete everything but what is left to do; first out of the way, so that nothing is written into it meanwhile."""
    (folder / RECORD).unlink(missing_ok=True)
    gone = folder / "gone"
    shutil.rmtree(gone, ignore_errors=True)
    try:
        (folder / DATA).replace(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)
