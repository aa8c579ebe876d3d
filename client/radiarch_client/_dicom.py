"""DICOM files on disk, and the DICOM network (C-ECHO, C-STORE) through pynetdicom; nothing goes over HTTP here."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiarch_contract.errors import ErrorCode, InvalidRequestError, ServiceError

from .models import Failure, SendReport, SentFile

_PREAMBLE = 128
_CONNECT_S = 10
_VERIFICATION = "1.2.840.10008.1.1"
_CONTEXT_LIMIT = 128  # presentation contexts of one association (PS3.8 9.3.2.2)


def dicom_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files below a folder (or the one file given) that are DICOM by their preamble, and those that are not.

    Links to folders are not followed. DICOMDIR files are indexes, not patients' data, and count as not DICOM.
    """
    if not folder.exists():
        raise InvalidRequestError(f"{folder} does not exist", remedy="Name a folder with DICOM files, or one file.")
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    dicom: list[Path] = []
    other: list[Path] = []
    for path in files:
        (dicom if _is_dicom(path) else other).append(path)
    if not dicom:
        raise InvalidRequestError(
            f"{folder}: no DICOM file among {len(files)} files",
            remedy="Name the folder that holds the CT and the RTSTRUCT; DICOM files have 'DICM' at byte 128.",
        )
    return dicom, other


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as f:
            f.seek(_PREAMBLE)
            return f.read(4) == b"DICM" and path.name.upper() != "DICOMDIR"
    except OSError:
        return False


@dataclass(frozen=True)
class Echo:
    """What a DICOM port answered: seconds of each C-ECHO on one association."""

    times_s: tuple[float, ...]

    @property
    def best_s(self) -> float:
        """The quickest: a machine with other work slows some of them, a wait of the protocol all."""
        return min(self.times_s)


def echo(host: str, port: int, called_aet: str, calling_aet: str = "RADIARCH", repeats: int = 8) -> Echo:
    """C-ECHO several times on one association.

    Raises
    ------
    ServiceError
        Nobody listens, or the association is refused.
    """
    entity = _entity(calling_aet)
    entity.add_requested_context(_VERIFICATION)
    association = _associate(entity, host, port, called_aet)
    try:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            status = association.send_c_echo()
            times.append(time.perf_counter() - start)
            if getattr(status, "Status", None) != 0:
                raise ServiceError(
                    f"{host}:{port} answered C-ECHO with {_status(status)}",
                    remedy="Look into the server's log.",
                    code=ErrorCode.ORTHANC_UNAVAILABLE,
                )
    finally:
        association.release()
    return Echo(tuple(times))


def store_folder(
    folder: Path,
    *,
    host: str,
    port: int,
    called_aet: str,
    calling_aet: str,
    progress: Callable[[SentFile], None] | None,
) -> SendReport:
    """C-STORE everything below a folder, each object in the transfer syntax that it has."""
    from pydicom import dcmread

    paths, skipped = dicom_files(folder)
    kinds: dict[Path, tuple[str, str]] = {}
    results: list[SentFile] = []
    for path in paths:
        try:
            meta = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
            kinds[path] = (str(meta.SOPClassUID), str(meta.file_meta.TransferSyntaxUID))
        except Exception as e:  # pydicom raises nearly everything on damaged files
            results.append(_failed(path, "refused", f"cannot be read as DICOM ({type(e).__name__})"))
    contexts = sorted(set(kinds.values()))
    for start in range(0, len(contexts), _CONTEXT_LIMIT):
        batch = contexts[start : start + _CONTEXT_LIMIT]
        entity = _entity(calling_aet)
        for sop_class, syntax in batch:
            entity.add_requested_context(sop_class, syntax)
        association = _associate(entity, host, port, called_aet)
        try:
            for path in [p for p, kind in kinds.items() if kind in batch]:
                results.append(sent := _store(association, path))
                if progress is not None:
                    progress(sent)
        finally:
            association.release()
    order = {str(p): i for i, p in enumerate(paths)}
    results.sort(key=lambda r: order[r.path])
    return SendReport(files=tuple(results), skipped=tuple(str(p) for p in skipped))


def _store(association: Any, path: Path) -> SentFile:
    if not association.is_established:
        return _failed(path, "failed", "the association was ended by the other side")
    try:
        status = association.send_c_store(path)
    except Exception as e:  # no accepted context, or a data set that cannot be encoded
        return _failed(path, "refused", str(e))
    code = getattr(status, "Status", None)
    # PS3.4 table B.2-1: 0000 success, Bxxx warning and stored all the same
    if code is not None and (code == 0 or code & 0xF000 == 0xB000):
        return SentFile(path=str(path), status="stored")
    return _failed(path, "refused", f"C-STORE answered {_status(status)}")


def _failed(path: Path, status: str, why: str) -> SentFile:
    failure = Failure(
        code=ErrorCode.INVALID_REQUEST if status == "refused" else ErrorCode.ORTHANC_UNAVAILABLE,
        message=f"not stored: {why}",
        remedy="See that the file is whole and that the server takes objects of its kind.",
    )
    return SentFile(path=str(path), status=status, error=failure)


def _status(status: Any) -> str:
    code = getattr(status, "Status", None)
    return "no answer" if code is None else f"status 0x{code:04X}"


def _entity(calling_aet: str) -> Any:
    from pynetdicom import AE

    entity = AE(ae_title=calling_aet)
    entity.acse_timeout = entity.connection_timeout = _CONNECT_S
    entity.dimse_timeout = entity.network_timeout = 60
    return entity


def _give_back_answers(association: Any) -> None:
    """Keep pynetdicom's reactor from dropping what we wait for.

    It pauses its reactor before a message is sent, but may take it for paused a moment too early, above all on a busy
    machine (pydicom/pynetdicom#875); the reactor then takes the answer, drops it as unexpected, and the message fails
    after its whole timeout.
    """
    serve = association._serve_request

    def serve_or_give_back(message: Any, context_id: int) -> None:
        if message.is_valid_request:
            serve(message, context_id)
        else:
            association.dimse.msg_queue.put((context_id, message))

    association._serve_request = serve_or_give_back


def _associate(entity: Any, host: str, port: int, called_aet: str) -> Any:
    try:
        # asked first: pynetdicom leaves a socket open where nobody listens
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as e:
        raise ServiceError(
            f"no connection to the DICOM port {host}:{port}: {e.strerror or e}",
            remedy="See that Orthanc's DicomPort is open, and host and port right (--dicom-host, --dicom-port).",
            code=ErrorCode.ORTHANC_UNAVAILABLE,
        ) from None
    association = entity.associate(host, port, ae_title=called_aet)
    if association.is_established:
        _give_back_answers(association)
        return association
    association.abort()
    raise ServiceError(
        f"{host}:{port} refused the association (called AE title {called_aet})",
        remedy="See that the AE title is right and that the server accepts this caller (DicomCheckCalledAet, "
        "DicomAlwaysAllowStore, DicomModalities).",
        code=ErrorCode.ORTHANC_UNAVAILABLE,
    )
