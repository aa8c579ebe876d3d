"""From the body of an upload to single files, within bounds; names inside archives are never looked at."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from radiarch_contract.errors import ErrorCode, InvalidRequestError

from radiarch_plugin.dicom.header import is_dicom

from .limits import MAX_INSTANCE_BYTES, MAX_UPLOAD_BYTES

_END = struct.Struct("<4s4H2LH")  # end of central directory, APPNOTE 4.3.16
_ENTRY_BYTES = 46 + 1024
"""Of an entry in the central directory, with a name of the usual length; what is far larger is an attack."""
_HEADER_BYTES = 30
"""Of a file inside the archive, without its name (APPNOTE 4.3.7)."""
_READABLE = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


@dataclass(frozen=True)
class Bounds:
    """Of one request."""

    files: int
    total_bytes: int
    file_bytes: int = MAX_INSTANCE_BYTES


def unpack(body: bytes, bounds: Bounds) -> Iterator[tuple[int, bytes | InvalidRequestError]]:
    """The files of a body with their number from 0: bytes, or why a file of an archive cannot be read.

    A file is unpacked when it is asked for and never beyond ``bounds``, whatever the archive says of itself.

    Raises
    ------
    InvalidRequestError
        The body is neither a DICOM file nor an archive, or ``too_large``.
    """
    if len(body) > MAX_UPLOAD_BYTES:
        raise _too_large(f"the body has {len(body)} bytes, at most {MAX_UPLOAD_BYTES} are read")
    if is_dicom(body):
        yield 0, body
    elif body[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        yield from _unzip(body, bounds)
    else:
        raise InvalidRequestError(
            f"the body ({len(body)} bytes) is neither a DICOM file (DICM after 128 bytes) nor a zip archive",
            remedy="Send one DICOM file or one zip archive as the body of the request, not as a form.",
        )


def _unzip(body: bytes, bounds: Bounds) -> Iterator[tuple[int, bytes | InvalidRequestError]]:
    _check_directory(body, bounds)
    try:
        archive = zipfile.ZipFile(BytesIO(body))
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as e:
        raise _broken(type(e).__name__) from None
    with archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        if not files:
            raise _broken("it holds no file")
        if len(files) > bounds.files:
            raise _too_large(f"the archive holds {len(files)} files, at most {bounds.files} are taken")
        # what zipfile gives out of an entry is never more than its directory says here
        total = sum(info.file_size for info in files)
        if total > bounds.total_bytes:
            raise _too_large(f"the archive unpacks to {total} bytes, at most {bounds.total_bytes} are taken")
        _check_apart(files)
        for number, info in enumerate(files):
            yield number, _entry(archive, info, bounds)


def _check_directory(body: bytes, bounds: Bounds) -> None:
    """Look at the archive's end before zipfile reads its directory, all of which it would hold in memory."""
    end = body[-_END.size :]
    if len(end) != _END.size or end[:4] != b"PK\x05\x06":
        raise _broken("its end is not the end of an archive, or has a comment")
    _, disk, first_disk, here, entries, size, offset, comment = _END.unpack(end)
    zip64 = body[-_END.size - 20 : -_END.size][:4] == b"PK\x06\x07" or 0xFFFFFFFF in (size, offset)
    if zip64 or disk or first_disk or here != entries or comment:
        raise _broken("archives of several parts, with a comment, or in zip64 form are not read")
    if entries > 4 * bounds.files or size > (entries + 1) * _ENTRY_BYTES:
        raise _too_large(f"its directory has {entries} entries in {size} bytes, at most {bounds.files} files are taken")


def _check_apart(files: list[zipfile.ZipInfo]) -> None:
    """Refuse entries that share bytes of the archive: newer zipfiles give the first of them, older ones all."""
    ends = 0
    for info in sorted(files, key=lambda info: info.header_offset):
        if info.header_offset < ends:
            raise _broken("its files overlap")
        ends = info.header_offset + _HEADER_BYTES + info.compress_size


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, bounds: Bounds) -> bytes | InvalidRequestError:
    if info.file_size > bounds.file_bytes:
        return _too_large(f"the file unpacks to {info.file_size} bytes, at most {bounds.file_bytes} are taken")
    if info.flag_bits & 1 or info.compress_type not in _READABLE:
        return InvalidRequestError(
            "the file is encrypted or compressed by another method than deflate",
            remedy="Make the archive without a password, with the usual compression.",
        )
    try:
        with archive.open(info) as stream:
            data = stream.read(info.file_size + 1)
            whole = len(data) == info.file_size
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError, RuntimeError) as e:
        return _broken(type(e).__name__)
    return data if whole else _broken("a file is shorter than its directory says")


def _broken(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the zip archive cannot be read: {why}",
        remedy="Make it anew with a common program, without comment and password; or send the files one by one.",
    )


def _too_large(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        what, remedy="Send less at once: several archives, or the files one by one.", code=ErrorCode.TOO_LARGE
    )
