"""What an RTSTRUCT says: ROIs, their contours and the images they were drawn on; masks are made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError

from .attributes import Reader
from .limits import MAX_CONTOURS, MAX_COORDINATE_MM, MAX_POINTS, MAX_ROI_NAME, MAX_ROIS

# CLOSEDPLANAR_XOR (standard's term since 2020) says of itself what is the convention for CLOSED_PLANAR.
_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
_CONTOUR_DATA = 0x30060050


@dataclass(frozen=True)
class Contour:
    """One closed contour.

    Attributes
    ----------
    points_mm : (n, 3) float64, patient LPS
    image_uid : the image that it says it was drawn on, empty where it does not say
    """

    points_mm: npt.NDArray[np.float64]
    image_uid: str


@dataclass(frozen=True)
class RoiContours:
    """One ROI; ``ignored`` counts what was not read, by geometric type."""

    number: int
    name: str
    interpreted_type: str
    frame_of_reference_uid: str
    contours: tuple[Contour, ...]
    ignored: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class StructureSet:
    """An RTSTRUCT as read.

    Attributes
    ----------
    referenced_images : SOP Instance UIDs, in the order of first mention
    frame_of_reference_uids : of the frames whose series are referenced
    """

    reader: Reader
    sop_instance_uid: str
    rois: tuple[RoiContours, ...]
    referenced_images: tuple[str, ...]
    frame_of_reference_uids: frozenset[str]
    notes: tuple[str, ...]


def read_structure_set(dataset: Dataset) -> StructureSet:
    """Read an RTSTRUCT.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtstruct`` where it is none, or says two things at once; ``too_large`` beyond the bounds.
    """
    reader = Reader(dataset, "The structure set", ErrorCode.UNREADABLE_RTSTRUCT)
    sop_class = reader.text("SOPClassUID")
    if sop_class != RTStructureSetStorage:
        raise _unreadable(f"its SOP class is {sop_class[:64] or 'missing'}, expected {RTStructureSetStorage}")
    try:
        return _read(reader)
    except InputRefusedError:
        raise
    # A hostile object can raise nearly anything from pydicom; its text may quote values, so only the kind is told.
    except Exception as e:
        raise _unreadable(f"reading it failed with {type(e).__name__}") from e


def _read(reader: Reader) -> StructureSet:
    notes: list[str] = []
    frames: dict[str, None] = {}
    images: dict[str, None] = {}
    for frame in _children(reader, "ReferencedFrameOfReferenceSequence"):
        if uid := frame.text("FrameOfReferenceUID"):
            frames.setdefault(uid)
        for study in _children(frame, "RTReferencedStudySequence"):
            for series in _children(study, "RTReferencedSeriesSequence"):
                for image in _children(series, "ContourImageSequence"):
                    images.setdefault(image.uid("ReferencedSOPInstanceUID"))
    types = _interpreted_types(reader)
    named = _children(reader, "StructureSetROISequence")
    if not named:
        raise reader.error("StructureSetROISequence", "is missing or empty: there are no structures")
    if len(named) > MAX_ROIS:
        raise _too_large(f"{len(named)} ROIs", MAX_ROIS)
    contours = _Contours(reader)
    rois: dict[int, RoiContours] = {}
    for item in named:
        number = item.integer("ROINumber", -(1 << 31), 1 << 31)
        if number in rois:
            raise _unreadable(f"ROI number {number} is used twice", roi_number=number)
        closed, ignored = contours.of(number)
        rois[number] = RoiContours(
            number=number,
            name=item.text("ROIName")[:MAX_ROI_NAME],
            interpreted_type=types.get(number, ""),
            frame_of_reference_uid=item.text("ReferencedFrameOfReferenceUID"),
            contours=closed,
            ignored=ignored,
        )
        for contour in closed:
            if contour.image_uid:
                images.setdefault(contour.image_uid)
    if unknown := contours.numbers - set(rois):
        notes.append(f"Contours of ROI numbers that have no name were left out: {sorted(unknown)[:10]}.")
    numbers: dict[str, list[int]] = {}
    for roi in rois.values():
        numbers.setdefault(roi.name, []).append(roi.number)
    for name, same in numbers.items():
        if len(same) > 1:
            listed = ", ".join(map(str, same[:10]))
            notes.append(f"The name {name!r} is used by {len(same)} ROIs (numbers {listed}).")
    return StructureSet(
        reader=reader,
        sop_instance_uid=reader.uid("SOPInstanceUID"),
        rois=tuple(rois.values()),
        referenced_images=tuple(images),
        frame_of_reference_uids=frozenset(frames),
        notes=tuple(notes),
    )


def _children(reader: Reader, keyword: str) -> list[Reader]:
    return [Reader(item, reader.what, reader.code) for item in reader.items(keyword)]


def _interpreted_types(reader: Reader) -> dict[int, str]:
    types: dict[int, str] = {}
    for item in _children(reader, "RTROIObservationsSequence"):
        number = item.integer("ReferencedROINumber", -(1 << 31), 1 << 31)
        text = item.text("RTROIInterpretedType").upper()[:16]
        if text:  # an ROI may be observed several times
            types.setdefault(number, text)
    return types


class _Contours:
    """Contours by ROI number; their counts over the whole structure set are bounded."""

    def __init__(self, reader: Reader) -> None:
        self._items: dict[int, Reader] = {}
        self._contours = self._points = 0
        for item in _children(reader, "ROIContourSequence"):
            number = item.integer("ReferencedROINumber", -(1 << 31), 1 << 31)
            if number in self._items:
                raise _unreadable(f"ROI number {number} has two items of contours", roi_number=number)
            self._items[number] = item

    @property
    def numbers(self) -> set[int]:
        return set(self._items)

    def of(self, number: int) -> tuple[tuple[Contour, ...], tuple[tuple[str, int], ...]]:
        """Closed contours of one ROI, and counts of what is not closed, by geometric type."""
        item = self._items.get(number)
        closed: list[Contour] = []
        ignored: Counter[str] = Counter()
        for contour in self._counted(item):
            kind = contour.text("ContourGeometricType").upper()[:16]
            if kind not in _CLOSED:
                ignored[kind or "no type"] += 1
                continue
            points = self._coordinates(contour, number)
            if len(points) < 3:
                ignored["fewer than 3 points"] += 1
                continue
            references = _children(contour, "ContourImageSequence")
            uid = references[0].text("ReferencedSOPInstanceUID") if len(references) == 1 else ""
            closed.append(Contour(points, uid))
        return tuple(closed), tuple(ignored.items())

    def _counted(self, item: Reader | None) -> Iterator[Reader]:
        for contour in _children(item, "ContourSequence") if item is not None else []:
            self._contours += 1
            if self._contours > MAX_CONTOURS:
                raise _too_large(f"more than {MAX_CONTOURS} contours", MAX_CONTOURS)
            yield contour

    def _coordinates(self, contour: Reader, number: int) -> npt.NDArray[np.float64]:
        values = _decimals(contour)
        if values.size % 3:
            raise _unreadable(f"a contour of ROI {number} has {values.size} coordinates, no multiple of 3")
        if contour.value("NumberOfContourPoints") is not None:
            count = contour.integer("NumberOfContourPoints", 0, 1 << 31)
            if count * 3 != values.size:
                raise _unreadable(f"a contour of ROI {number} says {count} points and has {values.size // 3}")
        self._points += values.size // 3
        if self._points > MAX_POINTS:
            raise _too_large(f"more than {MAX_POINTS} contour points", MAX_POINTS)
        if values.size and not np.abs(values).max() <= MAX_COORDINATE_MM:  # NaN too
            raise _unreadable(f"a contour of ROI {number} has a coordinate beyond {MAX_COORDINATE_MM:g} mm")
        return values.reshape(-1, 3)


def _decimals(contour: Reader) -> npt.NDArray[np.float64]:
    """Contour Data as numbers.

    Through pydicom a million decimal strings take seconds; the undecoded bytes take a tenth of that.
    """
    dataset = contour.dataset
    if _CONTOUR_DATA not in dataset:
        return np.empty(0)
    raw = dataset.get_item(_CONTOUR_DATA)
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        text = raw.value.rstrip(b" \0")
        if not text:
            return np.empty(0)
        if b"_" in text:  # Python's numbers allow it, DICOM's do not
            raise contour.error("ContourData", "is not a number")
        try:
            return np.array([float(v) for v in text.split(b"\\")])
        except ValueError as e:
            raise contour.error("ContourData", "is not a number") from e
    value = contour.value("ContourData")
    return np.empty(0) if value is None else np.atleast_1d(np.asarray(value, dtype=np.float64))


def _unreadable(problem: str, **details: object) -> InputRefusedError:
    return InputRefusedError(
        f"The structure set cannot be read: {problem}.",
        code=ErrorCode.UNREADABLE_RTSTRUCT,
        remedy="Export the structure set again, as a valid RT Structure Set.",
        **details,
    )


def _too_large(found: str, limit: int) -> InputRefusedError:
    return InputRefusedError(
        f"The structure set has {found}, at most {limit} are read.",
        code=ErrorCode.TOO_LARGE,
        remedy="Export fewer or simpler structures.",
        limit=limit,
    )
