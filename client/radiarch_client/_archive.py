"""A zip with DICOM files, read one member at a time: nothing of it is written to disk."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

from radiarch_contract.errors import InvalidRequestError

MAX_MEMBER_BYTES = 1024 * 1024 * 1024
MAX_MEMBERS = 200_000
_PREAMBLE = 128
_BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, zlib.error)
"""What a broken, encrypted or oddly compressed member raises."""


class Archive:
    """A zip file that is open for reading; several threads may read of it.

    Raises
    ------
    InvalidRequestError
        It is no zip, or has no DICOM file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN as e:
            raise InvalidRequestError(
                f"{path} cannot be read as a zip: {e}", remedy="Name a folder, a DICOM file or a zip of such."
            ) from e
        members = [m for m in self._zip.infolist() if not m.is_dir()]
        self.dicom: list[zipfile.ZipInfo] = []
        self.other: list[str] = []
        for member in members[:MAX_MEMBERS]:
            if self._is_dicom(member):
                self.dicom.append(member)
            else:
                self.other.append(f"{path}/{member.filename}")
        if not self.dicom or len(members) > MAX_MEMBERS:
            self._zip.close()
            raise InvalidRequestError(
                f"{path}: {len(self.dicom)} DICOM files among {len(members)}, expected some, and at most {MAX_MEMBERS}",
                remedy="Zip the files themselves, without a password; DICOM files have 'DICM' at byte 128.",
            )

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """A member's bytes. Raises `InvalidRequestError`."""
        try:
            with self._zip.open(member) as file:
                data = file.read(MAX_MEMBER_BYTES + 1)  # what the zip says of its size may be wrong
        except _BROKEN as e:
            raise InvalidRequestError(
                f"the zip's member cannot be read: {e}", remedy="Make the zip again, without a password."
            ) from e
        if len(data) > MAX_MEMBER_BYTES:
            raise InvalidRequestError(
                f"the file has more than {MAX_MEMBER_BYTES} bytes", remedy="Send it without a zip."
            )
        return data

    def close(self) -> None:
        self._zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _is_dicom(self, member: zipfile.ZipInfo) -> bool:
        try:
            with self._zip.open(member) as file:
                head = file.read(_PREAMBLE + 4)
        except _BROKEN:
            return False
        return head[_PREAMBLE:] == b"DICM" and Path(member.filename).name.upper() != "DICOMDIR"
