"""What operations on REST share: paths, bodies, queries, and routes that only some servers have."""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from pydantic import BaseModel
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import ErrorCode, InvalidRequestError, NotFoundError

from ._answers import as_json
from ._effects import Flow, Request, http

P = ParamSpec("P")
T = TypeVar("T")

TRANSFER_TIMEOUT_S = 600.0
PLAIN = {"Accept-Encoding": "identity"}
"""Orthanc 1.10 compresses every answer by default, which makes pixel data ten times slower."""

_OPENAPI = "/radiarch/api/openapi.json"


def segment(identifier: str) -> str:
    """An identifier as one segment of a path; Orthanc decodes slashes before routing, so none may be in it."""
    if not identifier or "/" in identifier or identifier in (".", ".."):
        raise InvalidRequestError(
            f"{identifier!r} is not an identifier", remedy="Give the id as the server shows it, without '/'."
        )
    return quote(identifier, safe="")


def api(*parts: str) -> str:
    return "/".join((API_PREFIX, *parts))


def optional(method: str, template: str, what: str) -> Callable[[Callable[P, Flow[T]]], Callable[P, Flow[T]]]:
    """Marks an operation that some servers do not offer: a 404 is then told apart from a missing plan."""

    def decorate(operation: Callable[P, Flow[T]]) -> Callable[P, Flow[T]]:
        @functools.wraps(operation)
        def asking(*args: P.args, **kwargs: P.kwargs) -> Flow[T]:
            try:
                return (yield from operation(*args, **kwargs))
            except NotFoundError as e:
                if (yield from _offers(method, template)):
                    raise
                raise NotFoundError(
                    f"this server does not offer {what} ({method} {template})",
                    remedy="Update the server; 'radiarch info' shows its version.",
                    code=ErrorCode.NOT_FOUND,
                ) from e

        return asking

    return decorate


def _offers(method: str, template: str) -> Flow[bool]:
    response = yield from http(Request("GET", _OPENAPI))
    if response.status_code != 200:
        return True
    document = as_json(response)
    paths = document.get("paths", {}) if isinstance(document, dict) else {}
    named = re.compile(r"\{[^}]*\}")
    wanted = named.sub("{}", API_PREFIX + template)
    return any(
        wanted.endswith(named.sub("{}", path)) and method.lower() in operations for path, operations in paths.items()
    )


def post(path: str, body: Mapping[str, Any], key: str | None) -> Request:
    """A request that may be sent again: the server takes the same key once."""
    return Request("POST", path, json=dict(body), headers={"Idempotency-Key": key or uuid.uuid4().hex})


def plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def query(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((k, _text(v)) for k, v in values.items() if v is not None)


def _text(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    # of a repeated parameter Orthanc hands over only the last: several values go into one
    return str(value) if isinstance(value, (str, int, float)) else ",".join(map(str, value))
