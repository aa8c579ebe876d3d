"""Orthanc's REST callback turned into ASGI calls, so that an ordinary ASGI app answers; knows no route of ours.

One event loop runs in one daemon thread. Endpoints must be plain ``def``: they run in the thread pool, while an
``async def`` one that blocks would stop every other request (and deadlock where it calls Orthanc back).
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from http import HTTPStatus
from re import Pattern
from typing import Any, Protocol
from urllib.parse import quote

from radiarch_contract.errors import ErrorCode, ErrorInfo

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

# What Orthanc's SendHttpStatus lets through; any other code drops the connection with no answer at all.
_PASSED = frozenset((*range(200, 209), 226, 300, 302, 303, 304, 305, 307)) | frozenset(
    (*range(400, 405), *range(406, 418), 422, 423, 424, 426, *range(500, 508), 509, 510)
)
_MAPPED = {301: 307, 308: 307, 425: 503, 428: 412, 429: 503, 431: 400, 451: 403}
# Orthanc writes these itself
_DROPPED_HEADERS = frozenset({"content-length", "content-type", "connection", "transfer-encoding", "date", "server"})


class RestOutput(Protocol):
    """The part of ``orthanc.RestOutput`` that is used; ``SendHttpStatus`` takes other arguments in 4.0 and 5.0."""

    def AnswerBuffer(self, body: bytes, mime: str) -> None: ...  # noqa: N802
    def SetHttpHeader(self, name: str, value: str) -> None: ...  # noqa: N802
    def SendMethodNotAllowed(self, methods: str) -> None: ...  # noqa: N802

    SendHttpStatus: Callable[..., None]


@dataclass(frozen=True)
class BridgeLimits:
    """Bounds of the bridge.

    ``max_in_flight`` stays below Orthanc's ``HttpThreadsCount``: an endpoint reads from Orthanc's own port, which
    must find a free thread when every bridge request is being worked on.
    """

    timeout_s: float = 60.0
    max_in_flight: int = 32
    max_wait_s: float = 5.0
    max_request_bytes: int = 8 * 1024 * 1024
    max_response_bytes: int = 1024 * 1024 * 1024
    larger_requests: Sequence[tuple[Pattern[str], int]] = ()
    """Paths whose requests may be larger (or must be smaller), with their own bound; the first that fits counts."""

    def request_bytes(self, path: str) -> int:
        """The bound of a request's body."""
        return next((n for pattern, n in self.larger_requests if pattern.fullmatch(path)), self.max_request_bytes)


@dataclass
class Response:
    """What the app answered, collected: Orthanc 1.10 cannot stream."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    started: bool = False
    complete: bool = False


class AsgiBridge:
    """A REST callback for ``orthanc.RegisterRestCallback`` that hands every request to an ASGI app."""

    def __init__(self, app: AsgiApp, limits: BridgeLimits | None = None) -> None:
        self._app = app
        self._limits = limits or BridgeLimits()
        self._slots = threading.BoundedSemaphore(self._limits.max_in_flight)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="radiarch-asgi", daemon=True)
        self._stopped = threading.Event()
        self._under_way: set[Future[None]] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Refuse new requests and end the loop; requests under way are answered with 503."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        for future in list(self._under_way):
            future.cancel()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout_s)

    def __call__(self, output: RestOutput, uri: str, **request: Any) -> None:
        """Answer one request; never raises, and always answers."""
        try:
            self._answer(output, uri, request)
        except Exception:
            log.exception("the bridge failed to answer %s", request.get("method"))
            _send_error(output, 500, ErrorCode.INTERNAL, "the service failed to answer", "Look into Orthanc's log.")

    def _answer(self, output: RestOutput, uri: str, request: Mapping[str, Any]) -> None:
        limits = self._limits
        body = request.get("body") or b""
        if len(body) > (most := limits.request_bytes(uri)):
            message = f"the body has {len(body)} bytes, at most {most} are read"
            _send_error(output, 413, ErrorCode.TOO_LARGE, message, "Send a smaller request.")
            return
        if self._stopped.is_set():
            _send_error(output, 503, ErrorCode.NOT_READY, "the service is stopping", "Ask again when it has started.")
            return
        if not self._slots.acquire(timeout=limits.max_wait_s):
            _send_error(output, 503, ErrorCode.NOT_READY, "too many requests at once", "Ask again in a few seconds.")
            return
        try:
            response = self._call(uri, request, body)
        finally:
            self._slots.release()
        if response is None and self._stopped.is_set():
            _send_error(output, 503, ErrorCode.NOT_READY, "the service is stopping", "Ask again when it has started.")
        elif response is None:
            message = f"no answer within {limits.timeout_s:g} s"
            _send_error(output, 503, ErrorCode.TIME_LIMIT, message, "Ask again; look into Orthanc's log if it stays.")
        else:
            send(output, response.status, response.headers, bytes(response.body))

    def _call(self, uri: str, request: Mapping[str, Any], body: bytes) -> Response | None:
        response = Response()
        future = asyncio.run_coroutine_threadsafe(self._serve(scope(uri, request), body, response), self._loop)
        self._under_way.add(future)
        if self._stopped.is_set():  # `stop` may have looked just before
            future.cancel()
        try:
            future.result(self._limits.timeout_s)
        except CancelledError:
            return None
        except Exception:
            if not future.done():  # our own time limit, not a TimeoutError of the app
                future.cancel()
                return None
            # Starlette answers 500 and raises again, so that a server can log it
            log.exception("%s failed inside the app", request.get("method"))
        finally:
            self._under_way.discard(future)
        if not response.complete:
            raise RuntimeError("the app ended without an answer")
        return response

    async def _serve(self, scope: MutableMapping[str, Any], body: bytes, response: Response) -> None:
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.Event().wait()  # the client is there until it is answered
            raise AssertionError("unreachable")

        async def send_message(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.started = True
                response.status = message["status"]
                response.headers = list(message.get("headers", ()))
            elif message["type"] == "http.response.body":
                chunk = message.get("body", b"")
                if len(response.body) + len(chunk) > self._limits.max_response_bytes:
                    raise RuntimeError(f"the answer is larger than {self._limits.max_response_bytes} bytes")
                response.body += chunk
                response.complete = not message.get("more_body", False)

        await self._app(scope, receive, send_message)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            left = self._loop.run_until_complete(asyncio.wait(tasks, timeout=0.5))[1] if tasks else ()
            if not left:  # an endpoint in the thread pool cannot be cancelled, and reports to the loop when it ends
                self._loop.close()


def scope(uri: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """ASGI scope of one of Orthanc's requests.

    The path comes decoded, the query's values still percent-encoded and only on GET; of a repeated header or key
    one is left.
    """
    query = "&".join(f"{k}={v}" for k, v in (request.get("get") or {}).items())
    headers = [(k.lower().encode("latin-1", "replace"), _bytes(v)) for k, v in (request.get("headers") or {}).items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request["method"],
        "scheme": "http",
        "path": uri,
        "raw_path": quote(uri).encode(),
        "root_path": "",
        "query_string": query.encode("utf-8", "surrogateescape"),
        "headers": headers,
        "client": None,
        "server": None,
        "state": {},
    }


def send(output: RestOutput, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    """Answer through Orthanc, with a status that it lets through."""
    content_type = "application/octet-stream"
    allow = "GET"
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key == "content-type":
            content_type = text
        elif key == "allow":
            allow = text
        elif key not in _DROPPED_HEADERS and "\r" not in text and "\n" not in text:
            output.SetHttpHeader(key, text)
    if status == 200:
        output.AnswerBuffer(body, content_type)
        return
    if status == 405:
        output.SendMethodNotAllowed(allow)  # Orthanc lets no body through with this one
        return
    status = _MAPPED.get(status, status if status in _PASSED else 500)
    if status in (204, 304):
        body = b""  # Orthanc would send it, and the client take it for the next answer
    if body:
        output.SetHttpHeader("Content-Type", content_type)
    try:
        output.SendHttpStatus(status, body)  # plugin 5.0
    except TypeError:  # plugin 4.0: text, with its length in bytes
        text = body.decode("utf-8", "replace").replace("\0", "")
        output.SendHttpStatus(status, text, len(text.encode()))


def _send_error(output: RestOutput, status: int, code: ErrorCode, message: str, remedy: str) -> None:
    body = ErrorInfo(code=code, message=message, remedy=remedy).model_dump(mode="json")
    headers = [(b"content-type", b"application/json")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"2"))
    send(output, status, headers, json.dumps(body).encode())


def _bytes(value: str) -> bytes:
    """A header's value as it was on the wire; Orthanc hands it over as text."""
    return value.encode("utf-8", "surrogateescape")
