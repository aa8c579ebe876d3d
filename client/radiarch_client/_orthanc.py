"""Operations on Orthanc's own REST interface: browsing, search, download, upload; Radiarch's are in `_operations`."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from radiarch_contract.errors import ErrorCode, InvalidRequestError, RadiarchError

from . import _dicom
from ._answers import as_json, checked, fetch, parsed
from ._archive import Archive
from ._effects import Flow, Notify, Request, http, parallel, run
from ._rest import PLAIN, TRANSFER_TIMEOUT_S, segment
from .models import Failure, OrthancResource, OrthancSystem, Page, SendReport, SentFile

Progress = Callable[[SentFile], Awaitable[None] | None] | None
Level = Literal["Patient", "Study", "Series", "Instance"]
_FOLDER: Mapping[str, str] = {
    "Patient": "patients",
    "Study": "studies",
    "Series": "series",
    "Instance": "instances",
}
_PAGE = 200
_STATUS = {"Success": "stored", "AlreadyStored": "already_stored", "FilteredOut": "filtered_out"}


def system() -> Flow[OrthancSystem]:
    """Orthanc's version, AE title, ports."""
    return fetch(Request("GET", "/system"), OrthancSystem)


def plugins() -> Flow[list[str]]:
    """Names of the plugins that Orthanc has loaded."""
    return fetch(Request("GET", "/plugins"), list[str])


def find_page(
    cursor: str | None, /, level: Level, *, limit: int | None = None, **tags: str
) -> Flow[Page[OrthancResource]]:
    """Search by DICOM tags, named by keyword; ``*`` and ``?`` are wildcards, ``a-b`` a range of dates.

    Parameters
    ----------
    level
        ``Patient``, ``Study``, ``Series`` or ``Instance``.
    limit
        At most so many; None: all.
    tags
        Such as ``PatientID="HN*"``, ``StudyDate="20260101-"``, ``Modality="RTSTRUCT"``.
    """
    return _find(cursor, level, tags, limit)


def _find(cursor: str | None, level: Level, tags: Mapping[str, str], limit: int | None) -> Flow[Page[OrthancResource]]:
    since = int(cursor or 0)
    want = _PAGE if limit is None else min(_PAGE, limit - since)
    if want <= 0:
        return Page[OrthancResource](items=())
    body = {"Level": level, "Query": dict(tags), "Expand": True, "Limit": want, "Since": since, "CaseSensitive": False}
    items = yield from fetch(Request("POST", "/tools/find", json=body), list[OrthancResource])
    more = len(items) == want and (limit is None or since + want < limit)
    return Page[OrthancResource](items=tuple(items), next=str(since + len(items)) if more else None)


def patients_page(cursor: str | None, /, **tags: str) -> Flow[Page[OrthancResource]]:
    """All patients, or those that fit the tags."""
    return _find(cursor, "Patient", tags, None)


def studies_page(cursor: str | None, /, **tags: str) -> Flow[Page[OrthancResource]]:
    """All studies, or those that fit the tags (``PatientID=…``)."""
    return _find(cursor, "Study", tags, None)


def series_page(cursor: str | None, /, **tags: str) -> Flow[Page[OrthancResource]]:
    """All series, or those that fit the tags (``StudyInstanceUID=…``, ``Modality=…``)."""
    return _find(cursor, "Series", tags, None)


def instances_page(cursor: str | None, /, **tags: str) -> Flow[Page[OrthancResource]]:
    """All instances, or those that fit the tags (``SeriesInstanceUID=…``)."""
    return _find(cursor, "Instance", tags, None)


def get_resource(level: Level, orthanc_id: str) -> Flow[OrthancResource]:
    """One patient, study, series or instance by Orthanc's own identifier."""
    return fetch(Request("GET", _path(level, orthanc_id)), OrthancResource)


def lookup(uid: str) -> Flow[list[OrthancResource]]:
    """What has this PatientID, StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID."""
    found = yield from fetch(Request("POST", "/tools/lookup", content=uid.encode()), list[dict[str, Any]])
    resources = []
    for item in found:
        level: Level = item["Type"]
        resources.append((yield from get_resource(level, str(item["ID"]))))
    return resources


def instance_tags(orthanc_id: str) -> Flow[dict[str, Any]]:
    """All tags of an instance by keyword, long values left out by Orthanc."""
    return fetch(Request("GET", _path("Instance", orthanc_id) + "/simplified-tags"), dict[str, Any])


def instance_file(orthanc_id: str) -> Flow[bytes]:
    """An instance's DICOM file."""
    request = Request("GET", _path("Instance", orthanc_id) + "/file", headers=PLAIN, timeout_s=TRANSFER_TIMEOUT_S)
    response = yield from http(request)
    return checked(response).content


def download(level: Level, orthanc_id: str, target: str | os.PathLike[str]) -> Flow[Path]:
    """Write an instance as a DICOM file, anything larger as a zip; the file appears when it is whole.

    Raises
    ------
    ConflictError
        There is a file of this name with other content already; it stays as it is.
    """
    what = "file" if level == "Instance" else "archive"
    path = Path(target)
    request = Request(
        "GET",
        f"{_path(level, orthanc_id)}/{what}",
        headers=PLAIN,
        timeout_s=TRANSFER_TIMEOUT_S,
        save_to=path,
    )
    checked((yield from http(request)))
    return path


def upload(data: bytes) -> Flow[str]:
    """Store one DICOM file; returns Orthanc's identifier of the instance. A repeat changes nothing.

    Raises
    ------
    InvalidRequestError
        Orthanc cannot read it, or a filter of the server refused it.
    """
    sent = yield from _store("the data", data)
    if sent.error is not None:
        raise sent.error.as_error()
    return sent.orthanc_id or ""


def send_folder(
    folder: str | os.PathLike[str],
    *,
    parallel_uploads: int = 4,
    progress: Callable[[SentFile], Awaitable[None] | None] | None = None,
) -> Flow[SendReport]:
    """Store every DICOM file below a folder (or one file, or all in a zip) over REST, several at once.

    What is stored already stays as it is. Files that are not DICOM are listed as skipped; a file that
    fails does not stop the others: look at the report's ``ok``.
    """
    path = Path(folder)
    if path.is_file() and path.suffix.lower() == ".zip":
        return (yield from _send_zip(path, parallel_uploads, progress))
    paths, skipped = yield from run(lambda: _dicom.dicom_files(path))
    results = yield from parallel([_send_file(str(p), p.read_bytes, progress) for p in paths], parallel_uploads)
    return SendReport(files=tuple(results), skipped=tuple(str(p) for p in skipped))


def send_folder_dicom(
    folder: str | os.PathLike[str],
    *,
    host: str,
    port: int,
    called_aet: str,
    calling_aet: str = "RADIARCH",
    progress: Callable[[SentFile], None] | None = None,
) -> Flow[SendReport]:
    """Send every DICOM file below a folder by C-STORE, as a scanner or a planning system would.

    ``progress`` is called in the sending thread.
    """
    return (
        yield from run(
            lambda: _dicom.store_folder(
                Path(folder), host=host, port=port, called_aet=called_aet, calling_aet=calling_aet, progress=progress
            )
        )
    )


def _send_zip(path: Path, parallel_uploads: int, progress: Progress) -> Flow[SendReport]:
    archive = yield from run(lambda: Archive(path))
    with archive:
        flows = [
            _send_file(f"{path}/{m.filename}", functools.partial(archive.read, m), progress) for m in archive.dicom
        ]
        results = yield from parallel(flows, parallel_uploads)
    return SendReport(files=tuple(results), skipped=tuple(archive.other))


def _send_file(name: str, read: Callable[[], bytes], progress: Progress) -> Flow[SentFile]:
    try:
        data = yield from run(read)
        sent = yield from _store(name, data)
    except (OSError, RadiarchError) as e:
        info = e.info.model_dump(mode="json") if isinstance(e, RadiarchError) else _unreadable(e)
        sent = SentFile(path=name, status="failed", error=Failure.model_validate(info))
    if progress is not None:
        yield Notify(progress, sent)
    return sent


def _store(name: str, data: bytes) -> Flow[SentFile]:
    request = Request(
        "POST",
        "/instances",
        content=data,
        headers={"Content-Type": "application/dicom"},
        timeout_s=TRANSFER_TIMEOUT_S,
    )
    response = yield from http(request)
    if response.status_code == 400:
        return SentFile(path=name, status="refused", error=_refused("Orthanc cannot read it as DICOM"))
    answer = as_json(response)
    stored = parsed(response, dict[str, Any], answer[0] if isinstance(answer, list) and answer else answer)
    status = _STATUS.get(str(stored.get("Status")), "refused")
    error = _refused("a filter of the server dropped it") if status == "filtered_out" else None
    return SentFile(path=name, status=status, orthanc_id=stored.get("ID") or None, error=error)


def _refused(why: str) -> Failure:
    return Failure(
        code=ErrorCode.INVALID_REQUEST,
        message=f"not stored: {why}",
        remedy="See that it is a complete DICOM file of a kind that the server takes.",
    )


def _unreadable(e: OSError) -> dict[str, Any]:
    return {
        "code": ErrorCode.INVALID_REQUEST,
        "message": f"the file cannot be read: {e.strerror or type(e).__name__}",
        "remedy": "See that it exists and may be read.",
    }


def _path(level: str, orthanc_id: str) -> str:
    try:
        folder = _FOLDER[level]
    except KeyError:
        raise InvalidRequestError(f"level {level!r} is not known", remedy=f"Levels are {', '.join(_FOLDER)}.") from None
    return f"/{folder}/{segment(orthanc_id)}"
