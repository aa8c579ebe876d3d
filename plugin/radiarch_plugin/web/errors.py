"""Every error as ``{code, message, remedy, details}`` with a status that Orthanc lets through; never a traceback."""

from __future__ import annotations

import json
import logging
from typing import Any, Union

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from radiarch_contract.errors import (
    ConflictError,
    ErrorCode,
    ErrorInfo,
    NotFoundError,
    RadiarchError,
    ServiceError,
)
from radiarch_contract.findings import findings
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from radiarch_plugin.jobs.outages import database_outage

log = logging.getLogger(__name__)

_BY_CODE = {
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.NOT_READY: 503,
    ErrorCode.INTERNAL: 500,
}
MAX_FINDINGS = 20


class JsonResponse(JSONResponse):
    """JSON in ASCII, so that nothing a client sent (a lone surrogate) can make the answer itself fail."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def status_of(error: RadiarchError) -> int:
    """HTTP status of one of our errors: 404, 409, 422 (the rest that the client can mend), 503 or 500."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, ServiceError):
        return 503
    return 422


def answer(info: ErrorInfo, status: int, headers: dict[str, str] | None = None) -> Response:
    """An error as a response."""
    headers = dict(headers or {})
    if status == 503:
        headers.setdefault("Retry-After", "2")
    return JsonResponse(info.model_dump(mode="json"), status_code=status, headers=headers)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(RadiarchError, _radiarch_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(Exception, _unexpected)


async def _radiarch_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RadiarchError)
    status = status_of(exc)
    if status >= 500 and exc.code is not ErrorCode.NOT_READY:  # why it is not ready is in the log already
        log.error("%s %s: %s: %s", request.method, request.url.path, exc.code, exc)
    return answer(exc.info, status)


async def _validation_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    # Neither the values nor the context are repeated: they may hold patient data.
    errors = [{**item, "loc": item["loc"][1:] or item["loc"][:1]} for item in exc.errors()[:MAX_FINDINGS]]
    found = findings(errors, _asked_of(request))
    if any(item["type"] == "json_invalid" for item in exc.errors()):
        found = [{"field": "body", "message": "not JSON"}]
    text = "; ".join(f"{x['field']}: {x['message']}" for x in found[:3])
    info = ErrorInfo(
        code=ErrorCode.INVALID_REQUEST,
        message=f"the request is wrong: {text}",
        remedy="Correct the named fields; /radiarch/api/docs shows what is expected.",
        details={"errors": found},
    )
    return answer(info, 422)


def _asked_of(request: Request) -> Any:
    """The models of what a route is asked: of its body and of its query."""
    route = request.scope.get("route")
    dependant = getattr(route, "dependant", None)
    fields = [] if dependant is None else [*dependant.body_params, *dependant.query_params]
    return Union[tuple(f.field_info.annotation for f in fields)] if fields else None  # noqa: UP007


async def _http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if exc.status_code == 404:
        code, message = ErrorCode.NOT_FOUND, "there is nothing at this path"
    elif exc.status_code == 405:
        code, message = ErrorCode.METHOD_NOT_ALLOWED, f"{request.method} is not possible here"
    else:
        code, message = ErrorCode.INVALID_REQUEST, str(exc.detail)
    info = ErrorInfo(code=code, message=message, remedy="/radiarch/api/docs lists what there is.")
    return answer(info, exc.status_code, dict(exc.headers or {}))


async def _database_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, DBAPIError)
    info = database_outage(exc).info
    log.error("%s %s: %s", request.method, request.url.path, info.message)
    return answer(info, 503)


async def _unexpected(request: Request, exc: Exception) -> Response:
    # Starlette raises it again after this answer; the bridge logs the traceback.
    info = ErrorInfo(
        code=ErrorCode.INTERNAL,
        message="the service failed unexpectedly",
        remedy="Look into Orthanc's log for the traceback, and report it.",
        details={"error": type(exc).__name__},
    )
    return answer(info, 500)
