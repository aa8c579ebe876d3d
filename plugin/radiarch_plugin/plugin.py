"""Starting and stopping inside Orthanc: callbacks only hand over, threads of our own do the work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiarch_contract import __version__
from radiarch_contract.errors import ErrorCode, ErrorInfo, RadiarchError
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import DBAPIError

from .auth.filter import InvalidKnownHostsError, KnownHosts
from .auth.signin import SignIn, authenticates
from .intake.names import fill_names
from .intake.trigger import Trigger
from .jobs.inputs import Inputs
from .jobs.loop import Loop
from .jobs.queue import JobQueue, connect
from .jobs.reconcile import Reconciler
from .jobs.results import Results
from .orthanc.bridge import AsgiBridge, BridgeLimits
from .orthanc.client import HttpRest, InProcessRest, OrthancClient
from .protocols.loaded import ProtocolSet, load_protocols
from .record.index import StudyIndex
from .services import Runtime, Services
from .sessions import FOLDER_NAME, Sessions
from .settings import InvalidSettingsError, Settings, usable_settings
from .store import Ownership, Store, default_url, open_database
from .web.app import create_app
from .web.routes import result_store
from .web.routes.sessions import LARGER_REQUESTS

log = logging.getLogger(__name__)

RETRY_S = 3.0
STOP_S = 3.0


class Plugin:
    """What `radiarch_orthanc` registers with Orthanc.

    Settings and protocols are read at once, when Orthanc loads us; what is wrong with them is logged, and `/info` tells
    it: the PACS itself must not go down for a typing error. A mistake in a protocol stops planning by that protocol, a
    wrong setting has its default, and only one that says where plans are kept stops everything until it is mended.
    Everything that needs Orthanc's own database waits for ``ORTHANC_STARTED``.
    """

    def __init__(self, orthanc: Any, configuration: Mapping[str, Any], *, checkout: Path) -> None:
        self._orthanc = orthanc
        _log_to_orthanc(orthanc)
        self._stopping = threading.Event()
        self._starter: threading.Thread | None = None
        self._background: _Background | None = None
        self.runtime = Runtime()
        self.runtime.authenticates = authenticates(configuration)
        self.runtime.known_hosts = known_hosts(configuration)
        self.runtime.sign_in = SignIn.read_or_closed(configuration).mode
        self.settings: Settings | None = None
        try:
            self.settings, self.runtime.settings_problems = usable_settings(configuration, checkout=checkout)
            for problem in self.runtime.settings_problems:
                log.error("configuration: %s. %s", problem.message, problem.remedy)
            self.runtime.storage = self.settings.storage_directory
            self.runtime.protocols = load_protocols(self.settings.protocols_folder)
            for problem in self.runtime.protocols.problems:
                log.error("protocol: %s. %s", problem.message, problem.remedy)
        except RadiarchError as e:
            log.error("configuration: %s", e)
            self.runtime.problems = (e.info,)
        threads = self.settings.http_threads if self.settings else 50
        limits = BridgeLimits(
            timeout_s=self.settings.request_timeout_s if self.settings else 60.0,
            max_in_flight=max(1, min(32, threads // 2)),
            larger_requests=(*LARGER_REQUESTS, *result_store.LARGER_REQUESTS),
        )
        app = create_app(self.runtime)
        app.state.viewer.compress = configuration.get("HttpCompressionEnabled") is False  # else Orthanc does it again
        with suppress(RadiarchError):  # it is logged, and /ohif says it
            app.state.viewer.get()
        self._bridge = AsgiBridge(app, limits)
        self._bridge.start()

    def on_request(self, output: Any, uri: str, **request: Any) -> None:
        """Orthanc's REST callback, in one of its HTTP threads."""
        self._bridge(output, uri, **request)

    def on_change(self, change: int, level: int, resource: str) -> None:
        """Orthanc's change callback, in its one thread for events: nothing here may take time."""
        kinds = self._orthanc.ChangeType
        if change == kinds.ORTHANC_STARTED:
            self._start()
        elif change == kinds.ORTHANC_STOPPED:
            self.stop()
        elif self._background is not None:
            if change == kinds.NEW_INSTANCE:
                self._background.trigger.wake()
            elif change == kinds.DELETED:
                self._background.trigger.deleted()
                self._background.studies.deleted(resource)

    def stop(self) -> None:
        self._stopping.set()
        if self._starter is not None:
            self._starter.join(STOP_S)
        if self._background is not None:
            self._background.stop()
        self._bridge.stop()

    def _start(self) -> None:
        if self.settings is None or self.runtime.protocols is None:
            log.error("Radiarch %s plans nothing until its configuration is mended", __version__)
            return
        args = (self.settings, self.runtime.protocols, self._last_change())
        self._starter = threading.Thread(target=self._run, args=args, name="radiarch-start", daemon=True)
        self._starter.start()

    def _last_change(self) -> int | None:
        """Where Orthanc's change log is now: what is stored from here on is planned, even by the first start ever."""
        try:
            return OrthancClient(InProcessRest(self._orthanc)).last_change()
        except RadiarchError as e:
            log.error("Orthanc's change log: %s", e)
            return None

    def _run(self, settings: Settings, protocols: ProtocolSet, first_cursor: int | None) -> None:
        """Open what the service needs, again and again until it is there."""
        told: ErrorInfo | None = None
        while not self._stopping.is_set():
            try:
                self._background = self._open(settings, protocols, first_cursor)
                self._background.start()
                self.runtime.services = self._background.services
                self.runtime.problems = ()
                log.warning("Radiarch %s has started", __version__)
                self._fill_names(self._background.services)
                return
            except RadiarchError as e:
                info = e.info
            except Exception as e:
                log.exception("Radiarch cannot start")
                info = ErrorInfo(
                    code=ErrorCode.INTERNAL, message=f"starting failed: {type(e).__name__}", remedy="See Orthanc's log."
                )
            if info != told:
                log.error("Radiarch cannot start yet: %s. %s", info.message, info.remedy)
                told = info
            self.runtime.problems = (info,)
            self._stopping.wait(RETRY_S)

    def _fill_names(self, services: Services) -> None:
        """What older versions have stored gets its patients' names; a service without them works all the same."""
        while not self._stopping.is_set():
            try:
                if filled := fill_names(services.store, services.orthanc):
                    log.info("%d plans and arrivals of older versions have got their patients' names", filled)
                return
            except (RadiarchError, DBAPIError):
                self._stopping.wait(RETRY_S)
            except Exception:
                log.exception("patients' names of older versions' plans could not be looked up")
                return

    def _open(self, settings: Settings, protocols: ProtocolSet, first_cursor: int | None) -> _Background:
        redis = connect_redis(settings.redis_url)
        loop_redis = connect(settings.redis_url)
        token = self._orthanc.GenerateRestApiAuthorizationToken()
        # Orthanc's certificate is for its name in the network; the loopback interface needs none
        own = settings.orthanc_url.startswith("https://127.0.0.1")
        rest = HttpRest(settings.orthanc_url, authorization=lambda: token, verify=not own)
        orthanc = OrthancClient(InProcessRest(self._orthanc), rest)
        database = open_database(settings.database_url or default_url(settings.storage_directory))
        store, ownership = Store(database), Ownership(database)
        inputs = Inputs(store, orthanc, time.monotonic, lambda: trigger.look_at_inputs())
        results = Results(store, orthanc, inputs=inputs)
        reconciler = Reconciler(
            store,
            JobQueue(loop_redis),
            ownership,
            results=results,
            inputs=inputs,
            remove_superseded=settings.superseded == "remove",
        )
        trigger = Trigger(
            store,
            orthanc,
            ownership,
            lambda: protocols,
            reconciler.wake,
            first_cursor=first_cursor,
            inputs=inputs,
        )

        session_redis = connect(settings.redis_url)
        sessions = _sessions(settings, session_redis)
        studies = StudyIndex(store, orthanc, ownership)
        loops: list[Loop] = [reconciler, trigger, studies, *([sessions] if sessions else [])]

        def wake() -> None:
            trigger.wake()
            reconciler.wake()

        def health() -> list[ErrorInfo]:
            return [loop.problem for loop in loops if loop.problem is not None]

        services = Services(
            store=store,
            orthanc=orthanc,
            results=results,
            queue=JobQueue(redis),
            wake=wake,
            health=health,
            sessions=sessions,
        )

        def close() -> None:
            if sessions is not None:
                sessions.close()
            ownership.release()
            database.dispose()
            rest.close()
            redis.close()
            loop_redis.close()
            session_redis.close()

        return _Background(services, trigger, reconciler, studies, sessions, close)


@dataclass(frozen=True)
class _Background:
    """The service with its threads."""

    services: Services
    trigger: Trigger
    reconciler: Reconciler
    studies: StudyIndex
    sessions: Sessions | None
    close: Callable[[], None]

    def start(self) -> None:
        self.reconciler.start()
        self.trigger.start()
        self.studies.start()
        if self.sessions is not None:
            self.sessions.start()

    def stop(self) -> None:
        self.trigger.stop(STOP_S)
        self.studies.stop(STOP_S)
        self.reconciler.stop(STOP_S)
        if self.sessions is not None:
            self.sessions.stop(STOP_S)
        self.close()


def _sessions(settings: Settings, client: Redis) -> Sessions | None:
    """None where they are switched off, or their folder cannot be used: arrivals are planned all the same."""
    if not settings.sessions.enabled:
        return None
    folder = Path(settings.sessions.folder or settings.storage_directory / FOLDER_NAME)
    sessions = Sessions(folder, settings.sessions, client)
    try:
        sessions.open()
    except RadiarchError as e:
        log.error("no sessions: %s. %s", e.info.message, e.info.remedy)
        return None
    return sessions


def known_hosts(configuration: Mapping[str, Any]) -> tuple[str, ...]:
    """What the request filter goes by: the loopback names alone where the setting is wrong (`settings` reports it)."""
    try:
        return KnownHosts.read(configuration).names
    except InvalidKnownHostsError:
        return KnownHosts().names


def connect_redis(url: str) -> Redis:
    """A client for the routes: it gives up soon, and a connection that was lost meanwhile is made anew once."""
    try:
        return Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 1))
    except ValueError:  # its text would repeat the URL, which may hold a password
        raise InvalidSettingsError(
            "Radiarch.RedisUrl is not a Redis URL, expected redis://[user:password@]host:port/number",
            remedy="Correct Orthanc's configuration and restart it.",
        ) from None


class _OrthancHandler(logging.Handler):
    """Python's log records in Orthanc's log."""

    def __init__(self, orthanc: Any) -> None:
        super().__init__(logging.INFO)
        self._orthanc = orthanc
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record).replace("\0", "")
            if record.levelno >= logging.ERROR:
                self._orthanc.LogError(text)
            elif record.levelno >= logging.WARNING:
                self._orthanc.LogWarning(text)
            else:
                self._orthanc.LogInfo(text)
        except Exception:
            self.handleError(record)


def _log_to_orthanc(orthanc: Any) -> None:
    root = logging.getLogger()
    root.addHandler(_OrthancHandler(orthanc))
    root.setLevel(logging.WARNING)  # libraries
    logging.getLogger("radiarch_plugin").setLevel(logging.INFO)
