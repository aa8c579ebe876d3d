"""Reading answers: status, JSON, model; sending them off is not done here."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from . import _errors
from ._effects import Flow, Request, http

M = TypeVar("M")


def checked(response: httpx.Response) -> httpx.Response:
    """The same answer, or the exception that it stands for."""
    if response.status_code >= 400:
        raise _errors.from_response(response)
    if response.status_code >= 300:
        raise _errors.unreadable(response, f"a redirect (HTTP {response.status_code}), which is not followed")
    return response


def as_json(response: httpx.Response) -> Any:
    try:
        return json.loads(checked(response).content)
    except ValueError as e:
        raise _errors.unreadable(response, f"not JSON ({e})") from None


def parsed(response: httpx.Response, model: type[M], value: Any = None) -> M:
    """The answer (or ``value``, a part of it) as a model."""
    data = as_json(response) if value is None else value
    try:
        if isinstance(model, type) and issubclass(model, BaseModel):
            return model.model_validate(data)
        return TypeAdapter(model).validate_python(data)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(p) for p in first["loc"]) or "the whole"
        raise _errors.unreadable(response, f"{where}: {first['msg']}") from None


def fetch(request: Request, model: type[M]) -> Flow[M]:
    """Ask, check, read."""
    response = yield from http(request)
    return parsed(response, model)
