"""Turns what a server answered, or the lack of an answer, into the contract's exceptions; raises nothing itself."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import httpx
from radiarch_contract.errors import (
    ConflictError,
    EngineError,
    ErrorCode,
    InputRefusedError,
    InvalidRequestError,
    NotFoundError,
    RadiarchError,
    ServiceError,
)

C = ErrorCode
_CODES: dict[type[RadiarchError], tuple[ErrorCode, ...]] = {
    NotFoundError: (C.NOT_FOUND,),
    InvalidRequestError: (
        C.INVALID_REQUEST,
        C.INVALID_PROTOCOL,
        C.INVALID_MACHINE_DATA,
        C.UNKNOWN_WORKFLOW,
        C.UNKNOWN_PROTOCOL,
        C.UNKNOWN_STRUCTURE,
        C.METHOD_NOT_ALLOWED,
        C.TOO_LARGE,
        C.UNAUTHORIZED,
        C.FORBIDDEN,
    ),
    ConflictError: (C.CONFLICT, C.IDEMPOTENCY_MISMATCH, C.CANCELLED),
    InputRefusedError: (
        C.NO_PROTOCOL,
        C.NO_TARGET,
        C.NO_BODY,
        C.AMBIGUOUS_STRUCTURE,
        C.EMPTY_STRUCTURE,
        C.INCOMPLETE_STRUCTURE,
        C.STRUCTURE_OUTSIDE_IMAGE,
        C.UNREADABLE_RTSTRUCT,
        C.UNREADABLE_IMAGE,
        C.UNREADABLE_RTDOSE,
        C.UNREADABLE_RTPLAN,
        C.UNSUPPORTED_DOSE,
        C.UNSUPPORTED_PLAN,
        C.NO_IMAGE_REFERENCE,
        C.MISSING_INSTANCES,
        C.AMBIGUOUS_INSTANCES,
        C.NOT_CT,
        C.PATIENT_MISMATCH,
        C.FRAME_OF_REFERENCE_MISMATCH,
        C.UNSUPPORTED_GEOMETRY,
        C.UNSUPPORTED_PATIENT_POSITION,
        C.UNSUPPORTED_TRANSFER_SYNTAX,
        C.NON_UNIFORM_SLICES,
        C.DUPLICATE_SLICES,
        C.AMBIGUOUS_CALIBRATION,
        C.HU_OUT_OF_CALIBRATION,
        C.TARGET_OUT_OF_RANGE,
        C.TARGET_WITHOUT_DOSE_VOXELS,
        C.INPUT_CHANGED,
    ),
    EngineError: (C.ENGINE_MISSING, C.ENGINE_FAILED, C.ENGINE_OUTPUT_INVALID, C.OPTIMIZATION_FAILED),
    ServiceError: (
        C.ORTHANC_UNAVAILABLE,
        C.STORE_FAILED,
        C.OUTPUTS_MISSING,
        C.QUEUE_UNAVAILABLE,
        C.WORKER_LOST,
        C.TIME_LIMIT,
        C.OUT_OF_MEMORY,
        C.DISK_FULL,
        C.VERSION_MISMATCH,
        C.NOT_READY,
        C.INTERNAL,
    ),
}
CLASS_OF: dict[ErrorCode, type[RadiarchError]] = {code: cls for cls, codes in _CODES.items() for code in codes}

_NO_REMEDY = "Look into the server's log."


def from_info(info: dict[str, Any], status: int | None = None) -> RadiarchError:
    """Rebuild an error from ``{code, message, remedy, details}``.

    A code that this version does not know is kept in ``details["server_code"]``, and the class then
    follows from the HTTP status.
    """
    message = str(info.get("message") or "the server gave no message")
    remedy = str(info.get("remedy") or _NO_REMEDY)
    given = info.get("details")
    details = {str(k): v for k, v in given.items()} if isinstance(given, dict) else {}
    for name in ("remedy", "code", "message", "self"):  # arguments of the exception itself
        if name in details:
            details[f"_{name}"] = details.pop(name)
    try:
        code = ErrorCode(str(info.get("code")))
    except ValueError:
        cls = _class_of_status(status)
        return cls(message, remedy=remedy, server_code=info.get("code"), **details)
    cls = CLASS_OF.get(code) or _class_of_status(status)
    if status == httpx.codes.NOT_FOUND and issubclass(NotFoundError, cls):
        cls = NotFoundError  # unknown_workflow and the like, asked for by address
    return cls(message, remedy=remedy, code=code, **details)


def from_response(response: httpx.Response) -> RadiarchError:
    """The error that an answer with a status of 400 and above stands for."""
    status = response.status_code
    body = _json(response)
    # plugin 5.0 labels our JSON text/plain: the body decides, not the content type
    if isinstance(body, dict) and "code" in body and "message" in body:
        return from_info(body, status)
    where = f"{response.request.method} {response.request.url.path}"
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return InvalidRequestError(
            f"{where}: the server refused the credentials (HTTP {status})",
            remedy="Give a user and password, or a token: --user/--password-file/--token-file, RADIARCH_USER, "
            "RADIARCH_PASSWORD_FILE, RADIARCH_TOKEN_FILE, or the configuration file.",
            code=ErrorCode.UNAUTHORIZED,
            status=status,
        )
    if status == httpx.codes.NOT_FOUND and isinstance(body, dict) and "OrthancStatus" in body:
        if "/radiarch/" in response.request.url.path:
            return ServiceError(
                f"{where}: an Orthanc answers there, but without the Radiarch plugin",
                remedy="Start Orthanc with plugin/radiarch_orthanc.py as its PythonScript, and look into its log for "
                "the reason if it is configured already.",
                code=ErrorCode.NOT_READY,
            )
        return NotFoundError(f"{where}: Orthanc has nothing there", remedy="Check the identifier.")
    text = str(body.get("Message") or body.get("HttpError")) if isinstance(body, dict) else ""
    cls = _class_of_status(status)
    return cls(f"{where}: HTTP {status}{': ' + text if text else ''}", remedy=_NO_REMEDY, status=status)


def from_transport(error: httpx.HTTPError | httpx.InvalidURL, url: str) -> ServiceError:
    """No answer at all."""
    where = _without_credentials(url)
    if isinstance(error, httpx.TimeoutException):
        return ServiceError(
            f"{where} did not answer in time ({type(error).__name__})",
            remedy="See whether the server is overloaded; a longer timeout may help (--timeout).",
            code=ErrorCode.TIME_LIMIT,
        )
    reason = str(error) or type(error).__name__
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return ServiceError(
            f"{where} is not an address: {reason}",
            remedy="Give an address such as http://127.0.0.1:8042 (--url or RADIARCH_URL).",
            code=ErrorCode.ORTHANC_UNAVAILABLE,
        )
    return ServiceError(
        f"no connection to {where}: {reason}",
        remedy="See that Orthanc runs and listens there (scripts/serve starts one), and that the address is right "
        "(--url or RADIARCH_URL). 'radiarch doctor' looks further.",
        code=ErrorCode.ORTHANC_UNAVAILABLE,
    )


def unreadable(response: httpx.Response, why: str) -> ServiceError:
    """An answer with a good status that is not what the interface promises."""
    return ServiceError(
        f"{response.request.method} {response.request.url.path}: the answer cannot be understood: {why}",
        remedy="See that the address is a Radiarch server's and no proxy answers in its place; client and server "
        "may be of versions that do not fit ('radiarch doctor').",
        code=ErrorCode.INTERNAL,
    )


def _class_of_status(status: int | None) -> type[RadiarchError]:
    if status == httpx.codes.NOT_FOUND:
        return NotFoundError
    if status == httpx.codes.CONFLICT:
        return ConflictError
    if status is not None and 400 <= status < 500:
        return InvalidRequestError
    return ServiceError


def _json(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the address given"
    return f"{parts.scheme}://{host}{port}" if host else url
