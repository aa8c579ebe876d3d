"""Sessions as flows: opening, uploading, ending; and any other operation's flow, asked under a session's path."""

from __future__ import annotations

import functools
import io
import os
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import InvalidRequestError, NotFoundError
from radiarch_contract.transport import SESSION_HEADER

from . import _dicom
from ._answers import checked, fetch
from ._effects import Effect, Flow, Notify, Parallel, Request, http, run
from ._rest import TRANSFER_TIMEOUT_S, api, segment
from .models import Kept, Page, SessionInfo, SessionResult, SessionUpload

T = TypeVar("T")

_BATCH_BYTES = 32 << 20
"""Of the files that go into one archive."""
ProgressCallback = Callable[[int, int], Awaitable[None] | None]


@dataclass(frozen=True)
class Access:
    """Where a session is, and what opens it."""

    id: str
    secret: str = field(repr=False)

    @property
    def base(self) -> str:
        return api("sessions", segment(self.id))


def within(flow: Flow[T], access: Access) -> Flow[T]:
    """The same operation on the session's plans instead of on everybody's."""
    try:
        effect = next(flow)
        while True:
            try:
                value: Any = yield _moved(effect, access)
            except Exception as e:
                effect = flow.throw(e)
            else:
                effect = flow.send(value)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


def _moved(effect: Effect, access: Access) -> Effect:
    match effect:
        case Request() if effect.path.startswith(f"{API_PREFIX}/"):
            path = access.base + effect.path.removeprefix(API_PREFIX)
            return replace(effect, path=path, headers={**effect.headers, SESSION_HEADER: access.secret})
        case Parallel():
            return Parallel([within(f, access) for f in effect.flows], effect.limit)
        case _:
            return effect


class NewSession(SessionInfo):
    """The answer that has the secret, this once."""

    secret: str = Field(repr=False)


def open_session(*, ttl_s: float | None = None, label: str = "") -> Flow[tuple[Access, SessionInfo]]:
    # not repeatable: a session that was made, but whose answer was lost, would be open for nobody
    request = Request("POST", api("sessions"), json={"ttl_s": ttl_s, "label": label}, repeatable=False)
    made = yield from fetch(request, NewSession)
    info = SessionInfo.model_validate(made.model_dump(exclude={"secret"}))
    return Access(made.id, made.secret), info


def get_session(access: Access) -> Flow[SessionInfo]:
    """What the session holds, and until when."""
    return fetch(_request(access, "GET"), SessionInfo)


def prolong(access: Access, ttl_s: float) -> Flow[SessionInfo]:
    """Let the session live for so long from now."""
    return fetch(_request(access, "PUT", json={"ttl_s": ttl_s}), SessionInfo)


def end_session(access: Access) -> Flow[None]:
    """End the session; one that has ended already is no error."""
    response = yield from http(_request(access, "DELETE"))
    try:
        checked(response)
    except NotFoundError:
        return


def upload(access: Access, data: bytes) -> Flow[SessionUpload]:
    """Add one DICOM file, or a zip archive of such; the very same again changes nothing."""
    kind = "application/zip" if data[:2] == b"PK" and data[128:132] != b"DICM" else "application/dicom"
    request = _request(
        access, "POST", "/instances", content=data, headers={"Content-Type": kind}, timeout_s=TRANSFER_TIMEOUT_S
    )
    return fetch(request, SessionUpload)


def upload_folder(
    access: Access, folder: str | os.PathLike[str], *, progress: ProgressCallback | None = None
) -> Flow[SessionUpload]:
    """Add every DICOM file below a folder (or one file); other files stay where they are.

    Parameters
    ----------
    progress
        Called with how many files are done and how many there are; the async client awaits it.

    Raises
    ------
    InvalidRequestError
        The server has refused one of the files; the others of its batch are there.
    """
    paths, _ = yield from run(lambda: _dicom.dicom_files(Path(folder)))
    done = SessionUpload()
    begun = 0
    for batch in _batches(paths):
        data = yield from run(functools.partial(_archive, batch))
        told = yield from upload(access, data)
        if told.refused:
            first = told.refused[0]
            raise InvalidRequestError(
                f"{batch[first.file]}: {first.message} ({len(told.refused)} files of {len(batch)} were refused)",
                remedy="Leave out or mend these files and upload the folder again.",
                refused=[str(batch[r.file]) for r in told.refused],
            )
        begun += len(batch)
        done = SessionUpload(stored=done.stored + told.stored, unchanged=done.unchanged + told.unchanged)
        if progress is not None:
            yield Notify(lambda n: progress(n, len(paths)), begun)
    return done


def only_structure_set(access: Access) -> Flow[str]:
    """The SOP Instance UID of the one RTSTRUCT that was uploaded. Raises `InvalidRequestError`."""
    info = yield from get_session(access)
    if len(info.structure_sets) != 1:
        raise InvalidRequestError(
            f"the session has {len(info.structure_sets)} structure sets, expected one",
            remedy="Upload the RTSTRUCT, or name which one is meant: " + (", ".join(info.structure_sets) or "none"),
        )
    return info.structure_sets[0]


def list_results(access: Access) -> Flow[list[SessionResult]]:
    """Results that the session holds, of all its plans; `get_artifact` has their bytes."""
    page = yield from fetch(_request(access, "GET", "/results"), Page[SessionResult])
    return list(page.items)


def keep(access: Access, plans: Sequence[str] | None = None, *, inputs: bool = False) -> Flow[Kept]:
    """Store results in Orthanc, where everybody sees them and they stay; nothing is planned of them by itself.

    Parameters
    ----------
    plans
        Their ids; None: all that have succeeded.
    inputs
        Also the structure sets and images that they were made of.
    """
    body = {"plans": None if plans is None else list(plans), "inputs": inputs}
    return fetch(_request(access, "POST", "/keep", json=body, timeout_s=TRANSFER_TIMEOUT_S), Kept)


def _request(access: Access, method: str, path: str = "", **more: Any) -> Request:
    headers = {**more.pop("headers", {}), SESSION_HEADER: access.secret}
    return Request(method, access.base + path, headers=headers, **more)


def _batches(paths: Sequence[Path]) -> list[list[Path]]:
    batches: list[list[Path]] = [[]]
    size = 0
    for path in paths:
        own = path.stat().st_size
        if batches[-1] and size + own > _BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(path)
        size += own
    return batches


def _archive(paths: Sequence[Path]) -> bytes:
    if len(paths) == 1:
        return paths[0].read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, path in enumerate(paths):
            archive.writestr(f"{number}.dcm", path.read_bytes())  # a file's own name may hold the patient's
    return buffer.getvalue()
