"""What an RTSTRUCT says: ROIs, their contours and the images they were drawn on; masks are made elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.images import WantedImages, wanted_images
from radiarch_contract.structure_colors import Rgb, as_color, structure_colors

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
class Ignored:
    """A contour that encloses nothing that is known.

    Attributes
    ----------
    kind : its geometric type, or what else it lacks
    z_mm : of its first point, NaN where it has none
    points : how many it has
    """

    kind: str
    z_mm: float
    points: int


@dataclass(frozen=True)
class RoiContours:
    """One ROI.

    Attributes
    ----------
    contours : those that are closed
    ignored : all others
    properties : physical properties that it is said to have, by DICOM's term (REL_MASS_DENSITY …)
    color : that pages and reports draw it with
    """

    number: int
    name: str
    interpreted_type: str
    frame_of_reference_uid: str
    contours: tuple[Contour, ...]
    ignored: tuple[Ignored, ...] = ()
    properties: Mapping[str, float] = field(default_factory=dict)
    color: Rgb | None = None

    @property
    def title(self) -> str:
        """How messages call it."""
        return roi_title(self.name, self.number)

    @property
    def kinds_ignored(self) -> str:
        """What ``ignored`` has, by kind: ``2 of POINT``."""
        return ", ".join(f"{n} of {kind}" for kind, n in Counter(i.kind for i in self.ignored).items())


def roi_title(name: str, number: int) -> str:
    """``ROI 'PTV' (number 2)``."""
    return f"ROI {name!r} (number {number})"


@dataclass(frozen=True)
class StructureSet:
    """An RTSTRUCT as read.

    Attributes
    ----------
    wanted : the images that it is drawn on
    frame_of_reference_uids : of the frames whose series are referenced
    """

    reader: Reader
    sop_instance_uid: str
    rois: tuple[RoiContours, ...]
    wanted: WantedImages
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
    # A hostile object can raise nearly anything from pydicom; its text may quote values, so only its type is shown.
    except Exception as e:
        raise _unreadable(f"reading it failed with {type(e).__name__}") from e


def _read(reader: Reader) -> StructureSet:
    notes: list[str] = []
    frames: dict[str, None] = {}
    for frame in _children(reader, "ReferencedFrameOfReferenceSequence"):
        if uid := frame.text("FrameOfReferenceUID"):
            frames.setdefault(uid)
    wanted = wanted_images(reader.dataset)
    observed = _observations(reader)
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
        name = item.text("ROIName")[:MAX_ROI_NAME]
        title = roi_title(name, number)
        observations = observed.get(number, [])
        closed, ignored = contours.of(number, title)
        rois[number] = RoiContours(
            number=number,
            name=name,
            interpreted_type=_interpreted_type(observations),
            frame_of_reference_uid=item.text("ReferencedFrameOfReferenceUID"),
            contours=closed,
            ignored=ignored,
            properties=_properties(observations, title),
        )
    colors = structure_colors(
        {number: contours.color(number) for number in rois},
        outlines=[roi.number for roi in rois.values() if roi.interpreted_type == "EXTERNAL"],
    )
    rois = {number: replace(roi, color=colors[number]) for number, roi in rois.items()}
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
        wanted=wanted,
        frame_of_reference_uids=frozenset(frames),
        notes=tuple(notes),
    )


def _children(reader: Reader, keyword: str) -> list[Reader]:
    return [Reader(item, reader.what, reader.code) for item in reader.items(keyword)]


def _observations(reader: Reader) -> dict[int, list[Reader]]:
    """Items of RT ROI Observations by ROI number; an ROI may be observed several times."""
    found: dict[int, list[Reader]] = {}
    for item in _children(reader, "RTROIObservationsSequence"):
        found.setdefault(item.integer("ReferencedROINumber", -(1 << 31), 1 << 31), []).append(item)
    return found


def _interpreted_type(observations: Sequence[Reader]) -> str:
    texts = (item.text("RTROIInterpretedType").upper()[:16] for item in observations)
    return next((text for text in texts if text), "")


def _properties(observations: Sequence[Reader], title: str) -> dict[str, float]:
    """Physical properties by DICOM's term; what has no value is left out."""
    found: dict[str, float] = {}
    for observation in observations:
        for item in _children(observation, "ROIPhysicalPropertiesSequence"):
            reader = Reader(item.dataset, title, item.code)
            term = reader.text("ROIPhysicalProperty").upper()[:32]
            if not term or reader.value("ROIPhysicalPropertyValue") is None:
                continue
            (value,) = reader.floats("ROIPhysicalPropertyValue", 1)
            if found.setdefault(term, value) != value:
                problem = f"has two values for {term}: {found[term]:g} and {value:g}"
                raise reader.error("ROIPhysicalPropertyValue", problem)
    return found


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

    def color(self, number: int) -> Rgb | None:
        """ROI Display Color; None where it is absent or broken, since nothing but looks depends on it."""
        item = self._items.get(number)
        try:
            return None if item is None else as_color(item.value("ROIDisplayColor"))
        except Exception:  # as `Reader.value` says of broken elements
            return None

    def of(self, number: int, title: str) -> tuple[tuple[Contour, ...], tuple[Ignored, ...]]:
        """Closed contours of one ROI, and all others."""
        closed: list[Contour] = []
        ignored: list[Ignored] = []
        for contour in self._counted(self._items.get(number), title):
            kind = contour.text("ContourGeometricType").upper()[:16]
            if kind not in _CLOSED:
                ignored.append(_ignored(kind or "no type", contour))
                continue
            points = self._coordinates(contour)
            if len(points) < 3:
                ignored.append(Ignored("fewer than 3 points", points[0, 2] if len(points) else math.nan, len(points)))
                continue
            references = _children(contour, "ContourImageSequence")
            uid = references[0].text("ReferencedSOPInstanceUID") if len(references) == 1 else ""
            closed.append(Contour(points, uid))
        return tuple(closed), tuple(ignored)

    def _counted(self, item: Reader | None, title: str) -> Iterator[Reader]:
        contours = item.items("ContourSequence") if item is not None else []
        for k, contour in enumerate(contours, start=1):
            self._contours += 1
            if self._contours > MAX_CONTOURS:
                raise _too_large(f"more than {MAX_CONTOURS} contours", MAX_CONTOURS)
            yield Reader(contour, f"{title}, contour {k} of {len(contours)}", ErrorCode.UNREADABLE_RTSTRUCT)

    def _coordinates(self, contour: Reader) -> npt.NDArray[np.float64]:
        values = _decimals(contour)
        if values.size % 3:
            raise contour.error("ContourData", f"has {values.size} values, expected a multiple of 3 (x, y, z)")
        if contour.value("NumberOfContourPoints") is not None:
            count = contour.integer("NumberOfContourPoints", 0, 1 << 31)
            if count * 3 != values.size:
                raise contour.error(
                    "ContourData", f"has {values.size // 3} points, (3006,0046) Number of Contour Points says {count}"
                )
        self._points += values.size // 3
        if self._points > MAX_POINTS:
            raise _too_large(f"more than {MAX_POINTS} contour points", MAX_POINTS)
        if not np.isfinite(values).all():
            wrong = values[~np.isfinite(values)][0]
            raise contour.error("ContourData", f"has {wrong} among its values, expected decimal numbers in mm")
        if values.size and np.abs(values).max() > MAX_COORDINATE_MM:
            farthest = values[np.abs(values).argmax()]
            raise contour.error("ContourData", f"has {farthest:g} mm, expected at most {MAX_COORDINATE_MM:g} mm")
        return values.reshape(-1, 3)


def _ignored(kind: str, contour: Reader) -> Ignored:
    """Where a contour lies that is not closed; what it says there may be anything."""
    try:
        values = _decimals(contour)
    except InputRefusedError:
        return Ignored(kind, math.nan, 0)
    z_mm = float(values[2]) if values.size > 2 and abs(values[2]) <= MAX_COORDINATE_MM else math.nan
    return Ignored(kind, z_mm, values.size // 3)


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
        words = text.split(b"\\")
        try:
            if b"_" in text:  # Python's numbers allow it, DICOM's do not
                raise ValueError
            return np.array([float(v) for v in words])
        except ValueError as e:
            raise contour.error("ContourData", f"has {_no_number(words)} among its values, expected numbers") from e
    value = contour.value("ContourData")
    return np.empty(0) if value is None else np.atleast_1d(np.asarray(value, dtype=np.float64))


def _no_number(words: Sequence[bytes]) -> str:
    """The first value that is no number, as messages may show it."""
    for k, word in enumerate(words, start=1):
        try:
            if b"_" in word:
                raise ValueError
            float(word)
        except ValueError:
            return f"{word[:16].decode('ascii', 'replace')!r} (value {k} of {len(words)})"
    raise AssertionError("all values are numbers")


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
