"""A session as an object, blocking or async: plans are asked for in it as of the server; flows are `_sessions`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from radiarch_contract.errors import RadiarchError

from . import _sessions as sessions
from ._drivers import AsyncDriver, SyncDriver
from ._effects import Flow
from ._methods import as_method
from ._plans import AsyncPlans, SyncPlans
from .models import SessionInfo

P = ParamSpec("P")
T = TypeVar("T")
OwnFlow = Callable[Concatenate[sessions.Access, P], Flow[T]]


class _Scoped:
    """A driver that asks everything under a session's path."""

    def __init__(self, driver: Any, access: sessions.Access) -> None:
        self._driver = driver
        self._access = access

    def drive(self, flow: Flow[T]) -> Any:
        return self._driver.drive(sessions.within(flow, self._access))


def _blocking(operation: OwnFlow[P, T]) -> Callable[Concatenate[Session, P], T]:
    def method(self: Session, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._server.drive(operation(self.access, *args, **kwargs))

    as_method(operation, method, skip=1)
    return method


def _awaitable(operation: OwnFlow[P, T]) -> Callable[Concatenate[AsyncSession, P], Awaitable[T]]:
    async def method(self: AsyncSession, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._server.drive(operation(self.access, *args, **kwargs))

    as_method(operation, method, skip=1)
    return method


class Session(SyncPlans):
    """DICOM that is uploaded for planning once: seen by nobody else, gone at the end of the ``with`` block.

    Made by `Radiarch.session`. Plans are asked for, waited for and read with the methods that `Radiarch` has.

    Attributes
    ----------
    access
        Its id and its secret: whoever has both can do everything with it.
    opened
        What the server said when it was opened; None for a session that was open.
    """

    def __init__(self, driver: SyncDriver, access: sessions.Access, opened: SessionInfo | None) -> None:
        self._server = driver
        self._driver = cast("SyncDriver", _Scoped(driver, access))
        self.access = access
        self.opened = opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.end()
        except RadiarchError:
            if e is None:  # else what went wrong first is told; the session ends with its time to live
                raise

    info = _blocking(sessions.get_session)
    upload = _blocking(sessions.upload)
    upload_folder = _blocking(sessions.upload_folder)
    structure_set = _blocking(sessions.only_structure_set)
    results = _blocking(sessions.list_results)
    keep = _blocking(sessions.keep)
    prolong = _blocking(sessions.prolong)
    end = _blocking(sessions.end_session)


class AsyncSession(AsyncPlans):
    """`Session` without blocking; made by ``await AsyncRadiarch(…).session()``."""

    def __init__(self, driver: AsyncDriver, access: sessions.Access, opened: SessionInfo | None) -> None:
        self._server = driver
        self._driver = cast("AsyncDriver", _Scoped(driver, access))
        self.access = access
        self.opened = opened

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        try:
            await self.end()
        except RadiarchError:
            if e is None:
                raise

    info = _awaitable(sessions.get_session)
    upload = _awaitable(sessions.upload)
    upload_folder = _awaitable(sessions.upload_folder)
    structure_set = _awaitable(sessions.only_structure_set)
    results = _awaitable(sessions.list_results)
    keep = _awaitable(sessions.keep)
    prolong = _awaitable(sessions.prolong)
    end = _awaitable(sessions.end_session)
