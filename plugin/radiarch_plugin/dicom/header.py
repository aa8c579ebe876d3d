"""The identity of a DICOM file, from its first elements; hostile bytes are refused, nothing is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from radiarch_contract.errors import ErrorCode, InvalidRequestError, RadiarchError

_AFTER = Tag("SeriesInstanceUID")
_PREAMBLE = 128
MAX_TEXT = 64

# pydicom's warnings repeat the values it dislikes; a patient's name must not reach the log that way.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE


@dataclass(frozen=True)
class Header:
    """Identity of one object; UIDs are made of digits and dots only."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    modality: str

    @property
    def orthanc_id(self) -> str:
        """The identifier that Orthanc itself would give the object."""
        return _identifier(self.patient_id, self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)

    @property
    def series_id(self) -> str:
        """The same for its series."""
        return _identifier(self.patient_id, self.study_instance_uid, self.series_instance_uid)

    @property
    def study_id(self) -> str:
        """The same for its study."""
        return _identifier(self.patient_id, self.study_instance_uid)


def _identifier(*parts: str) -> str:
    digest = hashlib.sha1("|".join(parts).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return "-".join(digest[i : i + 8] for i in range(0, 40, 8))


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does (PS3.10 7.1)."""
    return data[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def read_header(data: bytes) -> Header:
    """Read the identity of an object; pixels and contours are not looked at.

    Raises
    ------
    InvalidRequestError
        It is no DICOM file, cannot be read, lacks an identifying UID, or is deflated.
    """
    if not is_dicom(data):
        raise _refused("it is not a DICOM file (no DICM after the preamble)")
    try:
        return _header(data)
    except RadiarchError:
        raise
    # A hostile file can raise nearly anything from pydicom; its text may quote values: only its type is named.
    except Exception as e:
        raise _refused(f"reading it as DICOM failed with {type(e).__name__}") from e


def _header(data: bytes) -> Header:
    stream = BytesIO(data)
    stream.seek(_PREAMBLE + 4)
    meta = _read_file_meta_info(stream)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        # pydicom inflates all of it before it looks at anything
        raise InvalidRequestError(
            "it is deflated (Deflated Explicit VR Little Endian), which sessions do not take",
            remedy="Send it in another transfer syntax, such as Explicit VR Little Endian; a zip may be compressed.",
            code=ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX,
        )
    stream.seek(0)
    dataset = read_partial(stream, stop_when=_stop)
    return Header(
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        patient_id=str(dataset.get("PatientID") or "").strip(" \0")[:MAX_TEXT],
        modality=str(dataset.get("Modality") or "").strip(" \0")[:16],
    )


def _stop(tag: BaseTag, vr: str | None, length: int) -> bool:
    return bool(tag > _AFTER)


def _uid(dataset: Dataset, keyword: str) -> str:
    value = str(dataset.get(keyword) or "").strip(" \0")
    if not value or len(value) > 64 or not set(value) <= set("0123456789."):
        raise _refused(f"its {keyword} is {'missing' if not value else 'not a UID'}")
    return value


def _refused(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"this file cannot be taken: {what}", remedy="Send complete DICOM files, or zip archives of such."
    )
