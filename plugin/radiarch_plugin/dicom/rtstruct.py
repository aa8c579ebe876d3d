"""What the plugin needs to know of an RTSTRUCT, read from its bytes; contours' geometry is the worker's business."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, DeflatedExplicitVRLittleEndian, RTStructureSetStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.images import MAX_CONTOURS, WantedImages, wanted_images
from radiarch_contract.structure_colors import as_color
from radiarch_contract.structures import Roi

MAX_BYTES = 256 * 1024 * 1024
MAX_ROIS = 4_000
MAX_ROI_NAME = 256  # LO allows 64; some systems write more
MAX_TEXT = 1_024

# pydicom's warnings repeat the values it dislikes; a patient's name must not reach the log that way.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE


@dataclass(frozen=True)
class RtstructFacts:
    """What matching, the trigger and a plan's record need of one RTSTRUCT.

    ``images`` are those that it is drawn on, empty where ``problem`` says why they are not known.
    ``sha256`` is `radiarch_contract.identity.dataset_sha256`.
    ``calling_ae`` is not in the object: Orthanc's metadata has it (None where it came by REST).
    ``patient_name`` is as DICOM has it (``Family^Given``), '' where it is empty, None where it cannot be decoded.
    """

    sop_instance_uid: str
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sha256: str
    rois: tuple[Roi, ...] = ()
    frame_of_reference_uids: tuple[str, ...] = ()
    images: WantedImages = field(default_factory=WantedImages)
    problem: InputRefusedError | None = None
    study_description: str = ""
    series_description: str = ""
    structure_set_label: str = ""
    calling_ae: str | None = None
    patient_name: str | None = None

    @property
    def frame_of_reference_uid(self) -> str | None:
        """That of the images, else the only one; None where that is not known."""
        only = self.frame_of_reference_uids[0] if len(self.frame_of_reference_uids) == 1 else None
        return self.images.frame_of_reference_uid or only

    @property
    def referenced_sop_class_uids(self) -> frozenset[str]:
        return frozenset(self.images.images.values()) - {""}


def read_rtstruct(data: bytes, *, calling_ae: str | None = None) -> RtstructFacts:
    """Read an RTSTRUCT's facts from its DICOM file.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtstruct`` where the bytes are no RTSTRUCT, are broken, or are beyond the bounds of this module.
    """
    if len(data) > MAX_BYTES:
        raise _unreadable(f"it has {len(data)} bytes, at most {MAX_BYTES} are read", bytes=len(data))
    try:
        refuse_inflating(data)
        return _facts(pydicom.dcmread(BytesIO(data)), calling_ae)
    except InputRefusedError:
        raise
    # A hostile file can raise nearly anything from pydicom (struct.error, KeyError, RecursionError, ...). Its text may
    # quote values, so only the exception's type is named.
    except Exception as e:
        raise _unreadable(f"reading it as DICOM failed with {type(e).__name__}") from e


def require_plannable(facts: RtstructFacts) -> None:
    """Refuse a structure set that says itself that no plan can be made on what it references.

    Raises
    ------
    InputRefusedError
        ``no_image_reference``, ``not_ct`` where it is drawn on another SOP class than CT, and what `wanted_images`
        refuses.
    """
    if facts.problem is not None:
        raise facts.problem
    if not facts.images.images:
        raise InputRefusedError(
            "the RTSTRUCT references no image (no Contour Image Sequence (3006,0016))",
            remedy="Export it again with its image references.",
            code=ErrorCode.NO_IMAGE_REFERENCE,
        )
    if others := facts.referenced_sop_class_uids - {CTImageStorage}:
        raise not_ct(others)


def not_ct(sop_class_uids: Iterable[str]) -> InputRefusedError:
    """The refusal of a structure set that is drawn on, or said to be drawn on, images of these SOP classes."""
    names = ", ".join(sorted(UID(uid).name for uid in sop_class_uids))
    return InputRefusedError(
        f"the RTSTRUCT is drawn on {names}, expected {CTImageStorage.name}",
        remedy="Dose is computed on CT: send the structure set that is drawn on the planning CT.",
        code=ErrorCode.NOT_CT,
        sop_class_uids=sorted(sop_class_uids),
    )


def refuse_inflating(data: bytes) -> None:
    """Refuse a deflated file that would become huge; pydicom itself inflates without a bound."""
    if DeflatedExplicitVRLittleEndian.encode() not in data[:8192] or data[128:132] != b"DICM":
        return
    stream = BytesIO(data)
    stream.seek(132)
    meta = pydicom.filereader._read_file_meta_info(stream)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(data[stream.tell() :], MAX_BYTES)
    if inflater.unconsumed_tail:
        raise _unreadable(f"its deflated data set is larger than {MAX_BYTES} bytes")


def _facts(ds: Dataset, calling_ae: str | None) -> RtstructFacts:
    sop_class = str(ds.get("SOPClassUID", ""))
    if sop_class != RTStructureSetStorage:
        raise _unreadable(
            f"its SOP class is {sop_class[:64] or 'missing'}, expected {RTStructureSetStorage} (RT Structure Set)",
            sop_class_uid=sop_class[:64],
        )
    # First of all: a value that was decoded (a name in another character set) would be hashed in another form.
    sha256 = dataset_sha256(ds)
    frames: dict[str, None] = {}
    for item in _items(ds, "ReferencedFrameOfReferenceSequence"):
        _add_uid(frames, item, "FrameOfReferenceUID")
    for roi in _items(ds, "StructureSetROISequence"):
        _add_uid(frames, roi, "ReferencedFrameOfReferenceUID")
    contours: Counter[int] = Counter()
    colors: dict[int, tuple[int, int, int]] = {}
    total = 0
    for roi_contour in _items(ds, "ROIContourSequence"):
        number = _number(roi_contour, "ReferencedROINumber")
        if color := _color(roi_contour):
            colors.setdefault(number, color)
        for _ in _items(roi_contour, "ContourSequence"):
            contours[number] += 1
            total += 1
            if total > MAX_CONTOURS:
                raise _unreadable(f"it has more than {MAX_CONTOURS} contours")
    images, problem = _images(ds)
    return RtstructFacts(
        sop_instance_uid=_required_uid(ds, "SOPInstanceUID"),
        patient_id=_text(ds, "PatientID"),
        study_instance_uid=_required_uid(ds, "StudyInstanceUID"),
        series_instance_uid=_required_uid(ds, "SeriesInstanceUID"),
        sha256=sha256,
        rois=_rois(ds, contours, colors),
        frame_of_reference_uids=tuple(frames),
        images=images,
        problem=problem,
        study_description=_text(ds, "StudyDescription"),
        series_description=_text(ds, "SeriesDescription"),
        structure_set_label=_text(ds, "StructureSetLabel"),
        calling_ae=calling_ae,
        patient_name=patient_name(ds),
    )


def patient_name(ds: Dataset) -> str | None:
    """Patient's Name (0010,0010) in its character set; None where it cannot be decoded: no reason to refuse."""
    try:
        name = _text(ds, "PatientName")
        if ds.get("SpecificCharacterSet"):
            return name
        # UTF-8 that is not declared, as Orthanc reads it by the DefaultEncoding that we ship; pydicom takes Latin-1
        with suppress(UnicodeError):
            return name.encode("iso8859-1").decode("utf-8")
        return name
    except Exception:  # a hostile value can raise nearly anything from pydicom
        return None


def _images(ds: Dataset) -> tuple[WantedImages, InputRefusedError | None]:
    """The images, or why they are not known: the rest of the structure set is known all the same."""
    try:
        return wanted_images(ds), None
    except InputRefusedError as e:
        if e.code is ErrorCode.UNREADABLE_RTSTRUCT:
            raise
        return WantedImages(), e


def _rois(ds: Dataset, contours: Mapping[int, int], colors: Mapping[int, tuple[int, int, int]]) -> tuple[Roi, ...]:
    types: dict[int, str] = {}
    for item in _items(ds, "RTROIObservationsSequence"):
        text = str(item.get("RTROIInterpretedType") or "").strip(" \0").upper()[:16]
        if text and item.get("ReferencedROINumber") is not None:  # a ROI may be observed several times
            types.setdefault(_number(item, "ReferencedROINumber"), text)
    rois: dict[int, Roi] = {}
    for item in _items(ds, "StructureSetROISequence"):
        if len(rois) >= MAX_ROIS:
            raise _unreadable(f"it has more than {MAX_ROIS} ROIs")
        number = _number(item, "ROINumber")
        name = str(item.get("ROIName") or "").strip(" \0")
        if len(name) > MAX_ROI_NAME:
            raise _unreadable(f"the name of ROI {number} has {len(name)} characters, at most {MAX_ROI_NAME} are read")
        if number in rois:
            raise _unreadable(f"ROI number {number} (3006,0022) occurs twice, expected once", roi_number=number)
        rois[number] = Roi(
            number=number,
            name=name,
            interpreted_type=types.get(number, ""),
            contours=contours.get(number, 0),
            display_color=colors.get(number),
        )
    return tuple(rois.values())


def _color(roi_contour: Dataset) -> tuple[int, int, int] | None:
    """ROI Display Color; None where it is absent or is no color: nothing depends on it but how it looks."""
    try:
        return as_color(roi_contour.get("ROIDisplayColor"))
    except Exception:  # a broken element can raise nearly anything from pydicom
        return None


def _number(item: Dataset, keyword: str) -> int:
    value = item.get(keyword)
    if not isinstance(value, int):
        tag = pydicom.tag.Tag(keyword)
        raise _unreadable(f"an item has no {keyword} {tag} that is a whole number, expected one", element=keyword)
    return int(value)


def _items(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    value: Any = ds.get(keyword)
    yield from value or ()


def _add_uid(into: dict[str, None], ds: Dataset, keyword: str) -> None:
    uid = _uid(ds, keyword)
    if uid:
        into[uid] = None


def _uid(ds: Dataset, keyword: str) -> str:
    """A UID as text; '' where absent. Anything but digits and dots is refused: it goes into queries later."""
    value = str(ds.get(keyword) or "").strip(" \0")
    if value and (len(value) > 64 or not all(c in "0123456789." for c in value)):
        raise _unreadable(f"its {keyword} is not a UID (digits and dots, at most 64 characters)", element=keyword)
    return value


def _required_uid(ds: Dataset, keyword: str) -> str:
    value = _uid(ds, keyword)
    if not value:
        raise _unreadable(f"it has no {keyword}", element=keyword)
    return value


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip(" \0")[:MAX_TEXT]


def _unreadable(what: str, **details: Any) -> InputRefusedError:
    return InputRefusedError(
        f"the RTSTRUCT cannot be read: {what}",
        remedy="Export the structure set again from the system that made it.",
        code=ErrorCode.UNREADABLE_RTSTRUCT,
        **details,
    )
