"""What an operation may ask of the outside world, as plain data; carrying it out is `_client`'s business.

An operation is a generator (a `Flow`) that yields effects and is sent their results, so that one
text of its logic serves the sync and the async client alike. ``value = yield from ask(effect)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One HTTP request; its result is an `httpx.Response` whose body is read (or stored, see ``save_to``)."""

    method: str
    path: str
    """Absolute path on the server, percent-encoded."""
    params: tuple[tuple[str, str], ...] = ()
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    """The same request may be sent again after a lost connection or a 503 without doing anything twice."""
    timeout_s: float | None = None
    """Wait for the answer; None: the client's own."""
    save_to: Path | None = None
    """Write the body of a 200 there, whole or not at all, and never over other content."""


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Run(Generic[T]):
    """A blocking function; the async client runs it in a thread."""

    function: Callable[[], T]


@dataclass(frozen=True)
class Notify:
    """A user's callback; the async client awaits what it returns."""

    callback: Callable[[Any], Awaitable[None] | None]
    value: Any


@dataclass(frozen=True)
class Parallel:
    """Several flows at once; the result is a list in the same order."""

    flows: Sequence[Flow[Any]]
    limit: int


Effect = Request | Sleep | Run[Any] | Notify | Parallel
Flow = Generator[Effect, Any, T]


def http(request: Request) -> Flow[httpx.Response]:
    response: httpx.Response = yield request
    return response


def run(function: Callable[[], T]) -> Flow[T]:
    value: T = yield Run(function)
    return value


def parallel(flows: Sequence[Flow[T]], limit: int) -> Flow[list[T]]:
    values: list[T] = yield Parallel(flows, limit)
    return values
