"""How an operation becomes a method of a client, blocking or async, with its documentation and signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from ._drivers import AsyncDriver, SyncDriver
from ._effects import Flow
from .models import Page

P = ParamSpec("P")
T = TypeVar("T")

PageFlow = Callable[Concatenate[str | None, P], Flow[Page[T]]]


class Sync:
    _driver: SyncDriver


class Async:
    _driver: AsyncDriver


def as_method(operation: Callable[..., Any], method: Callable[..., Any], *, skip: int = 0) -> None:
    """Give a method its operation's documentation and signature, with ``self`` in front."""
    functools.update_wrapper(method, operation)
    own = inspect.signature(operation)
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [this, *list(own.parameters.values())[skip:]]
    method.__signature__ = own.replace(parameters=parameters, return_annotation=own.empty)  # type: ignore[attr-defined]


def blocking(operation: Callable[P, Flow[T]]) -> Callable[Concatenate[Sync, P], T]:
    def method(self: Sync, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._driver.drive(operation(*args, **kwargs))

    as_method(operation, method)
    return method


def awaitable(operation: Callable[P, Flow[T]]) -> Callable[Concatenate[Async, P], Awaitable[T]]:
    async def method(self: Async, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._driver.drive(operation(*args, **kwargs))

    as_method(operation, method)
    return method


def blocking_pages(operation: PageFlow[P, T]) -> Callable[Concatenate[Sync, P], Iterator[T]]:
    def method(self: Sync, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        page = self._driver.drive(operation(None, *args, **kwargs))
        yield from page.items
        while page.next is not None:
            page = self._driver.drive(operation(page.next, *args, **kwargs))
            yield from page.items

    as_method(operation, method, skip=1)
    return method


def awaitable_pages(operation: PageFlow[P, T]) -> Callable[Concatenate[Async, P], AsyncIterator[T]]:
    async def method(self: Async, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        page = await self._driver.drive(operation(None, *args, **kwargs))
        for item in page.items:
            yield item
        while page.next is not None:
            page = await self._driver.drive(operation(page.next, *args, **kwargs))
            for item in page.items:
                yield item

    as_method(operation, method, skip=1)
    return method
