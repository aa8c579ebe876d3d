"""Orthanc's REST interface as a job uses it: bounded, and tried again; what the objects mean is not known here."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx
from radiarch_contract.errors import ErrorCode, InputRefusedError, RadiarchError, ServiceError
from radiarch_contract.images import SeriesKey
from radiarch_contract.job import JobSpec, SessionRef
from radiarch_contract.transport import STORE_HEADER, result_store_path, session_store_path

from radiarch_worker.runtime.link import JobLink
from radiarch_worker.settings import Settings

MAX_INSTANCE_BYTES = 256 << 20
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_SERVER_FAULT_TRIES = 4
"""A 500 may be a restart, or Orthanc's steady answer to this request: it is not waited for as long as a restart."""


class Orthanc:
    """A connection to Orthanc that outlasts a restart of it.

    Parameters
    ----------
    settings
        Address, credentials, and for how long a request is tried again.
    log
        Called with a line when there is something to wait for.
    session
        Whose store is meant instead of Orthanc's own; it answers the same requests.
    results
        Path below which results are stored: the plugin's, which takes those of the attempt that counts.
    """

    def __init__(
        self,
        settings: Settings,
        log: Callable[[str], None],
        session: SessionRef | None = None,
        *,
        results: str = "",
    ) -> None:
        auth = (settings.orthanc_user, settings.orthanc_password or "") if settings.orthanc_user else None
        self._client = httpx.Client(
            base_url=settings.orthanc_url + (session_store_path(session.id) if session else ""),
            auth=auth,
            # Orthanc 1.10 compresses at 10 times the cost of sending
            headers={"Accept-Encoding": "identity"} | ({STORE_HEADER: session.token} if session else {}),
            timeout=httpx.Timeout(60.0, connect=5.0),
            trust_env=False,
            verify=settings.orthanc_url.startswith("https"),  # certificates take longer to load than a CT does
        )
        self._patience_s = settings.patience_s
        self._log = log
        self._series: dict[str, SeriesKey] = {}
        self._results = results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    def find_instances(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """Instances that fit, with Orthanc's ids and main tags."""
        response = self._request(
            "POST",
            "/tools/find",
            json={"Level": "Instance", "Query": query, "Expand": True, "CaseSensitive": True},
        )
        found = response.json()
        return [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []

    def series_key(self, item: dict[str, Any]) -> SeriesKey | None:
        """Patient, study and series of an instance that was found; None where it was deleted since."""
        series_id = str(item.get("ParentSeries", ""))
        if series_id not in self._series:
            series = self._parent("series", series_id)
            study = self._parent("studies", str(series.get("ParentStudy", ""))) if series else {}
            if not study:
                return None
            self._series[series_id] = SeriesKey(
                patient_id=tag_of(study, "PatientMainDicomTags", "PatientID"),
                study_instance_uid=tag_of(study, "MainDicomTags", "StudyInstanceUID"),
                series_instance_uid=tag_of(series, "MainDicomTags", "SeriesInstanceUID"),
            )
        return self._series[series_id]

    def _parent(self, level: str, orthanc_id: str) -> dict[str, Any]:
        if not is_orthanc_id(orthanc_id):
            return {}
        response = self._request("GET", f"/{level}/{orthanc_id}", missing_ok=True)
        found = response.json() if response.status_code == 200 else {}
        return found if isinstance(found, dict) else {}

    def instance(self, orthanc_id: str) -> bytes | None:
        """The DICOM file of an instance, at most `MAX_INSTANCE_BYTES`; None where Orthanc does not have it."""
        response = self._request("GET", f"/instances/{orthanc_id}/file", missing_ok=True)
        return None if response.status_code == 404 else response.content

    def post_instance(self, data: bytes) -> dict[str, Any]:
        """Store one result; the answer, as Orthanc gives it.

        Raises
        ------
        RadiarchError
            ``cancelled``: the attempt does not count any more.
        """
        path = f"{self._results}/instances"
        response = self._request("POST", path, content=data, headers={"Content-Type": "application/dicom"})
        answer = response.json()
        return answer if isinstance(answer, dict) else {}

    def put_attachment(self, orthanc_id: str, number: int, data: bytes) -> None:
        """Keep bytes beside a result, under a number from 1024 on; what was there is replaced. Raises as above."""
        self._request("PUT", f"{self._results}/instances/{orthanc_id}/attachments/{number}", content=data)

    def _request(self, method: str, path: str, *, missing_ok: bool = False, **kwargs: Any) -> httpx.Response:
        began = time.monotonic()
        pause_s = _FIRST_PAUSE_S
        faults = 0
        while True:
            try:
                response = self._bounded(method, path, **kwargs)
                if response.status_code not in _RETRIED_STATUS:
                    return self._checked(response, method, path, missing_ok)
                what = f"HTTP status {response.status_code}"
                faults += response.status_code == 500
            except httpx.TransportError as e:
                what = type(e).__name__
            waited_s = time.monotonic() - began
            if waited_s + pause_s > self._patience_s or faults >= _SERVER_FAULT_TRIES:
                raise ServiceError(
                    f"Orthanc did not serve {method} {_kind_of(path)}: {what}, tried for {waited_s:.0f} s",
                    remedy="See that Orthanc runs and is reachable from the worker at RADIARCH_ORTHANC_URL.",
                    code=ErrorCode.ORTHANC_UNAVAILABLE,
                )
            self._log(f"Orthanc does not serve {method} {_kind_of(path)} ({what}); trying again in {pause_s:.1f} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _bounded(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """A response whose body is read up to a bound."""
        with self._client.stream(method, path, **kwargs) as response:
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > MAX_INSTANCE_BYTES:
                    raise InputRefusedError(
                        f"an answer of Orthanc to {_kind_of(path)} is larger than {MAX_INSTANCE_BYTES >> 20} MB",
                        remedy="Such objects are not planned on; split or reduce the series.",
                        code=ErrorCode.UNREADABLE_IMAGE,
                    )
            return httpx.Response(response.status_code, content=bytes(body))

    def _checked(self, response: httpx.Response, method: str, path: str, missing_ok: bool) -> httpx.Response:
        status = response.status_code
        if status < 300 or (status == 404 and missing_ok):
            return response
        if status == 409 and _code_of(response) == ErrorCode.CANCELLED:
            raise RadiarchError(
                "cancelled or replaced by another attempt before its results were complete; nothing of it is kept",
                remedy="Ask for the plan again if it is wanted.",
                code=ErrorCode.CANCELLED,
            )
        refused = status in (401, 403)
        raise RadiarchError(
            f"Orthanc answered {method} {_kind_of(path)} with HTTP status {status}",
            remedy="Set RADIARCH_ORTHANC_USER and RADIARCH_ORTHANC_PASSWORD_FILE to a user that may read and store."
            if refused
            else "See Orthanc's log; RADIARCH_ORTHANC_URL has to be the Orthanc that Radiarch's plugin runs in.",
            code=ErrorCode.ORTHANC_UNAVAILABLE if refused else ErrorCode.STORE_FAILED,
            status=status,
        )


def connect(settings: Settings, link: JobLink, spec: JobSpec) -> Orthanc:
    """Where a job reads and stores: in its session, or in Orthanc, whose plugin takes the results of its attempt."""
    results = "" if spec.session else result_store_path(spec.plan_id, spec.attempt)
    return Orthanc(settings, link.log, spec.session, results=results)


def tag_of(item: dict[str, Any], group: str, name: str) -> str:
    """One of the main tags of what was found; '' where it has none."""
    return str((item.get(group) or {}).get(name, "")).strip(" \0")


def orthanc_id_of(item: dict[str, Any]) -> str:
    """Orthanc's own id of an instance that was found."""
    orthanc_id = str(item.get("ID", ""))
    if not is_orthanc_id(orthanc_id):
        raise ServiceError(
            "an answer of Orthanc has no instance id",
            remedy="See that RADIARCH_ORTHANC_URL is Orthanc's address.",
            code=ErrorCode.ORTHANC_UNAVAILABLE,
        )
    return orthanc_id


def is_orthanc_id(text: str) -> bool:
    return len(text) == 44 and set(text) <= set("0123456789abcdef-")


def _code_of(response: httpx.Response) -> str:
    """Of an error of the plugin; '' where it is another's."""
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _kind_of(path: str) -> str:
    """A path without ids, for messages."""
    return "/".join("…" if is_orthanc_id(part) else part for part in path.split("/"))
