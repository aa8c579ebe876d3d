"""DICOM files as bytes (PS3.10), read and written; what they hold is not known here."""

from __future__ import annotations

from io import BytesIO

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError

# pydicom's warnings repeat the values it dislikes; a patient's name must not reach the log that way.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE


def read(data: bytes, code: ErrorCode, what: str) -> Dataset:
    """A file as a dataset; one that cannot be read is refused by the code."""
    try:
        return pydicom.dcmread(BytesIO(data))
    # A hostile file can raise nearly anything from pydicom; its text may quote values, so only its type is shown.
    except Exception as e:
        raise InputRefusedError(
            f"{what} cannot be read as DICOM ({type(e).__name__})",
            remedy="Export it again from the system that made it.",
            code=code,
        ) from e


def encoded(dataset: Dataset) -> bytes:
    """A dataset with its file meta information, as a file."""
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
