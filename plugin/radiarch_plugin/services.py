"""What the routes work with, and whether it is there; starting and stopping it is `plugin`'s business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import ErrorCode, ErrorInfo, ServiceError
from radiarch_contract.job import WorkerStatus
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from .auth.signin import Mode
from .jobs.outages import queue_outage
from .jobs.queue import JobQueue
from .jobs.results import Results
from .orthanc.client import OrthancClient
from .protocols.loaded import ProtocolSet
from .store import Store

if TYPE_CHECKING:
    from .sessions import Sessions

SESSION_PARAMETER = "session_id"
"""In the path of everything that belongs to a session."""


@dataclass(frozen=True)
class Services:
    """The parts of a service that runs.

    ``wake`` asks the threads behind it to look now instead of at their next turn.
    """

    store: Store
    orthanc: OrthancClient
    results: Results
    queue: JobQueue
    wake: Callable[[], None]
    health: Callable[[], Sequence[ErrorInfo]] = tuple
    """What is wrong with the threads behind the service."""
    base: str = API_PREFIX
    """Where what these services serve is found."""
    sessions: Sessions | None = None

    def workers(self) -> list[WorkerStatus]:
        """Heartbeats that have not expired, by name; plans that are not of this store (a session's) are not named.

        Raises
        ------
        ServiceError
            ``queue_unavailable``
        """
        try:
            found = self.queue.workers()
        except RedisError as e:
            raise queue_outage(e) from e
        try:
            known = self.store.attempts.current([w.plan_id for w in found if w.plan_id])
        except DBAPIError:
            known = {}  # the workers are there all the same; which plans they run is not known now
        return [w if w.plan_id in known else w.model_copy(update={"plan_id": None}) for w in found]


class Runtime:
    """The service as it is at this moment: starting, running, or broken and why.

    Everything is set by `plugin` and read by the routes; each attribute is replaced as a whole.
    """

    def __init__(self) -> None:
        self.protocols: ProtocolSet | None = None
        """Those in use, and the files that cannot be used; None where the settings do not say where they are."""
        self.settings_problems: tuple[ErrorInfo, ...] = ()
        """Settings that are wrong, and have their defaults instead."""
        self.services: Services | None = None
        self.authenticates = False
        """Whether Orthanc knows its users: only then a user's name in a request is one."""
        self.known_hosts: tuple[str, ...] = ()
        """By which names Orthanc may be asked, see `auth.filter`."""
        self.sign_in = Mode.NONE
        """How people and programs sign in."""
        self.storage: Path | None = None
        """Orthanc's storage folder."""
        self.problems: tuple[ErrorInfo, ...] = (
            ErrorInfo(
                code=ErrorCode.NOT_READY, message="the service is starting", remedy="Ask again in a few seconds."
            ),
        )

    def not_ready(self) -> ServiceError:
        first = self.problems[0] if self.problems else None
        return ServiceError(
            first.message if first else "the service is not ready",
            remedy=first.remedy if first else "Ask again in a few seconds.",
            code=ErrorCode.NOT_READY,
            problems=[p.model_dump(mode="json") for p in self.problems],
        )


# async, as they never block: a plain def would cost a turn through the thread pool
async def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]


async def _services(request: Request, runtime: RuntimeDep) -> Services:
    if runtime.services is None:
        raise runtime.not_ready()
    if SESSION_PARAMETER in request.path_params:
        # set by the dependency that has checked the secret: no route under a session's path is served without it
        scoped: Services = request.state.session_services
        return scoped
    return runtime.services


async def _protocols(runtime: RuntimeDep) -> ProtocolSet:
    if runtime.protocols is None:
        raise runtime.not_ready()
    return runtime.protocols


ServicesDep = Annotated[Services, Depends(_services)]
ProtocolsDep = Annotated[ProtocolSet, Depends(_protocols)]
