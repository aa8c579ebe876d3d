"""How effects are carried out over httpx, blocking or not; what an operation is lives in `_operations`, `_orthanc`."""

from __future__ import annotations

import inspect
import ssl
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import httpx

from . import _errors
from ._config import Settings
from ._effects import Notify, Parallel, Request, Run, Sleep
from ._files import whole_or_nothing

P = ParamSpec("P")
T = TypeVar("T")

_BUSY = frozenset({502, 503, 504})
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a repeatable request is sent again."""

    attempts: int = 4
    first_pause_s: float = 0.25

    def pause_s(self, attempt: int, response: httpx.Response | None) -> float:
        """Doubling; a server's Retry-After wins, within reason."""
        asked = response.headers.get("Retry-After", "") if response is not None else ""
        wanted = float(asked) if asked.isdecimal() else self.first_pause_s * 2**attempt
        return min(wanted, _LONGEST_PAUSE_S)


@dataclass(frozen=True)
class _Exchange:
    """One request, sent once."""

    request: Request


def _sending(request: Request, retry: Retry) -> Generator[_Exchange | Sleep, Any, httpx.Response]:
    """One request, sent again where that is harmless."""
    attempts = retry.attempts if request.repeatable else 1
    for attempt in range(attempts):
        last = attempt + 1 == attempts
        response: httpx.Response | None = None
        try:
            response = yield _Exchange(request)
        except httpx.TransportError as e:
            # a server too slow for one wait will hardly be quicker when asked four times
            if last or isinstance(e, (httpx.TimeoutException, httpx.UnsupportedProtocol)):
                raise
        if response is not None and (last or response.status_code not in _BUSY):
            return response
        yield Sleep(retry.pause_s(attempt, response))
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as e:
        raise _errors.from_transport(e, url) from e


def _arguments(settings: Settings, timeout_s: float) -> dict[str, Any]:
    verify: bool | ssl.SSLContext = True
    if settings.ca_file is not None:
        verify = ssl.create_default_context(cafile=str(settings.ca_file))
    return {
        "base_url": settings.url,
        "auth": settings.auth(),
        "verify": verify,
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
        # Orthanc closes a connection that was idle for a second: a request that meets that moment is lost
        "limits": httpx.Limits(max_connections=16, max_keepalive_connections=16, keepalive_expiry=0.5),
        "headers": {"User-Agent": "radiarch-client"},
        # a proxy from the environment is never meant for this machine itself
        "trust_env": not settings.is_loopback,
        "follow_redirects": False,
    }


def _built(client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    timeout: Any = httpx.USE_CLIENT_DEFAULT if request.timeout_s is None else httpx.Timeout(request.timeout_s)
    return client.build_request(
        request.method,
        request.path,
        params=list(request.params) or None,
        json=request.json,
        content=request.content,
        headers=dict(request.headers),
        timeout=timeout,
    )


class SyncDriver:
    """Carries out effects, blocking; may be used from several threads."""

    def __init__(self, settings: Settings, timeout_s: float, retry: Retry, transport: httpx.BaseTransport | None):
        self.settings = settings
        self._retry = retry
        self._http = httpx.Client(**_arguments(settings, timeout_s), transport=transport)

    def close(self) -> None:
        self._http.close()

    def drive(self, flow: Generator[Any, Any, T]) -> T:
        try:
            effect: Any = next(flow)
            while True:
                try:
                    value = self._perform(effect)
                except Exception as e:
                    effect = flow.throw(e)
                else:
                    effect = flow.send(value)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

    def _perform(self, effect: Any) -> Any:
        match effect:
            case Request():
                with _connection_errors(self.settings.url):
                    return self.drive(_sending(effect, self._retry))
            case _Exchange():
                return self._exchange(effect.request)
            case Sleep():
                return time.sleep(effect.seconds)
            case Run():
                return effect.function()
            case Notify():
                return effect.callback(effect.value)
            case Parallel():
                return self._parallel(effect)
            case _:
                raise TypeError(f"not an effect: {type(effect).__name__}")

    def _parallel(self, effect: Parallel) -> list[Any]:
        pool = ThreadPoolExecutor(effect.limit)
        try:
            return list(pool.map(self.drive, effect.flows))
        finally:
            pool.shutdown(cancel_futures=True)

    def _exchange(self, request: Request) -> httpx.Response:
        response = self._http.send(_built(self._http, request), stream=True)
        try:
            if request.save_to is not None and response.status_code == httpx.codes.OK:
                with whole_or_nothing(request.save_to) as f:
                    for chunk in response.iter_bytes():
                        f.write(chunk)
            else:
                response.read()
        finally:
            response.close()
        return response


class AsyncDriver:
    """Carries out effects in asyncio or trio."""

    def __init__(self, settings: Settings, timeout_s: float, retry: Retry, transport: httpx.AsyncBaseTransport | None):
        self.settings = settings
        self._retry = retry
        self._http = httpx.AsyncClient(**_arguments(settings, timeout_s), transport=transport)

    async def close(self) -> None:
        await self._http.aclose()

    async def drive(self, flow: Generator[Any, Any, T]) -> T:
        try:
            effect: Any = next(flow)
            while True:
                try:
                    value = await self._perform(effect)
                except Exception as e:
                    effect = flow.throw(e)
                else:
                    effect = flow.send(value)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

    async def _perform(self, effect: Any) -> Any:
        match effect:
            case Request():
                with _connection_errors(self.settings.url):
                    return await self.drive(_sending(effect, self._retry))
            case _Exchange():
                return await self._exchange(effect.request)
            case Sleep():
                return await anyio.sleep(effect.seconds)
            case Run():
                return await anyio.to_thread.run_sync(effect.function)
            case Notify():
                answer = effect.callback(effect.value)
                return await answer if inspect.isawaitable(answer) else answer
            case Parallel():
                return await self._parallel(effect)
            case _:
                raise TypeError(f"not an effect: {type(effect).__name__}")

    async def _parallel(self, effect: Parallel) -> list[Any]:
        results: list[Any] = [None] * len(effect.flows)
        places = anyio.Semaphore(effect.limit)

        async def one(index: int) -> None:
            async with places:
                results[index] = await self.drive(effect.flows[index])

        try:
            async with anyio.create_task_group() as tasks:
                for i in range(len(results)):
                    tasks.start_soon(one, i)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return results

    async def _exchange(self, request: Request) -> httpx.Response:
        response = await self._http.send(_built(self._http, request), stream=True)
        try:
            if request.save_to is not None and response.status_code == httpx.codes.OK:
                with whole_or_nothing(request.save_to) as f:
                    async for chunk in response.aiter_bytes():
                        await anyio.to_thread.run_sync(f.write, chunk)
            else:
                await response.aread()
        finally:
            await response.aclose()
        return response
