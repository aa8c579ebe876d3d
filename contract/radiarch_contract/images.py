"""Which images a structure set is drawn on, and in which stored series they are: one rule for plugin and worker.

SOP Instance UIDs alone do not tell: copies of a series, for another patient or in another study, keep them. A structure
set names more: its patient, the study and the series of its images, their frame of reference. Here nothing is read from
anywhere; data sets are pydicom's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ErrorCode, InputRefusedError

MAX_REFERENCED_IMAGES = 20_000
MAX_CONTOURS = 500_000
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class WantedImages:
    """The images that a structure set is drawn on; what it does not name is empty.

    Attributes
    ----------
    images : SOP class that the reference says, by SOP Instance UID, in the order of first mention
    study_instance_uid, series_instance_uid, frame_of_reference_uid : of the images
    beside : how many images of other series are merely listed
    """

    images: Mapping[str, str] = field(default_factory=dict)
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    frame_of_reference_uid: str = ""
    beside: int = 0


@dataclass
class _Listed:
    """One series in the Referenced Frame of Reference Sequence."""

    frame: str
    study: str
    series: str
    images: dict[str, str] = field(default_factory=dict)

    @property
    def may_be_ct(self) -> bool:
        return set(self.images.values()) <= {CT_IMAGE, ""}


def wanted_images(dataset: Any) -> WantedImages:
    """The images that a structure set's contours are on; series that are merely listed beside them are left out.

    Parameters
    ----------
    dataset
        A ``pydicom.Dataset`` of an RT Structure Set.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtstruct``; ``ambiguous_instances`` where two series could be meant; ``not_ct`` and
        ``unsupported_geometry`` where contours are on several series.
    """
    listed = _listed(dataset)
    drawn, frames = _drawn(dataset)
    if not drawn:
        return _only_listed(listed, frames)
    holders = [s for s in listed if s.images.keys() & drawn.keys()]
    if not holders:
        bare = [s for s in listed if not s.images]
        if len(listed) == len(bare) == 1:  # the series is named, its images are not
            return _wanted(bare[0], drawn, listed)
        return WantedImages(drawn, frame_of_reference_uid=_single(frames), beside=sum(len(s.images) for s in listed))
    known = drawn.keys() & set().union(*(s.images for s in holders))
    whole = [s for s in holders if known <= s.images.keys()]
    if len(whole) == 1:
        return _wanted(whole[0], drawn, listed)
    if whole:
        raise ambiguous(f"the structure set lists the images of its contours in {len(whole)} series", series=len(whole))
    raise _several([s for s in holders if s.images.keys() & known], drawn)


def _wanted(chosen: _Listed, drawn: Mapping[str, str], listed: Collection[_Listed]) -> WantedImages:
    images = dict(chosen.images)
    for uid, sop_class in drawn.items():
        images[uid] = images.get(uid) or sop_class
    beside = sum(len(s.images) for s in listed if s is not chosen)
    return WantedImages(images, chosen.study, chosen.series, chosen.frame, beside)


def _only_listed(listed: Collection[_Listed], frames: Collection[str]) -> WantedImages:
    """Where contours do not say on which images they are drawn: the only CT series in their frame of reference."""
    named = [s for s in listed if s.images]
    if not named:
        return WantedImages()
    candidates = [s for s in named if s.may_be_ct] or named
    candidates = [s for s in candidates if s.frame in frames] or candidates
    if len(candidates) > 1:
        raise ambiguous(
            f"the structure set lists {len(candidates)} series, and its contours do not say on which they are drawn "
            "(no (3006,0016) Contour Image Sequence)",
            series=len(candidates),
        )
    return _wanted(candidates[0], {}, listed)


def _several(holders: Collection[_Listed], drawn: Mapping[str, str]) -> InputRefusedError:
    count = len(holders)
    if all(s.may_be_ct for s in holders):
        return InputRefusedError(
            f"the structure set has contours on images of {count} series, expected one",
            remedy="Draw the structures on one CT series, or copy them to it, and send that structure set.",
            code=ErrorCode.UNSUPPORTED_GEOMETRY,
            series=count,
        )
    classes = sorted({c for s in holders for u, c in s.images.items() if u in drawn} - {CT_IMAGE, ""})
    return InputRefusedError(
        f"the structure set has contours on images of {count} series, not all of them CT",
        remedy="Dose is computed on CT: copy the structures to the planning CT, and send that structure set.",
        code=ErrorCode.NOT_CT,
        series=count,
        sop_class_uids=classes,
    )


# -- reading the structure set ---------------------------------------------------------------------------------


def _listed(dataset: Any) -> list[_Listed]:
    """Each series once, whatever the number of items it is listed in."""
    found: dict[tuple[str, str], _Listed] = {}
    count = 0
    for frame in _items(dataset, "ReferencedFrameOfReferenceSequence"):
        frame_uid = _uid(frame, "FrameOfReferenceUID")
        for study in _items(frame, "RTReferencedStudySequence"):
            study_uid = _uid(study, "ReferencedSOPInstanceUID")
            for series in _items(study, "RTReferencedSeriesSequence"):
                series_uid = _uid(series, "SeriesInstanceUID")
                into = found.setdefault((study_uid, series_uid), _Listed(frame_uid, study_uid, series_uid))
                count += _add(into.images, series)
                _bound(count)
    return list(found.values())


def _drawn(dataset: Any) -> tuple[dict[str, str], set[str]]:
    """Images that contours say they are drawn on, and frames of reference of ROIs that have contours."""
    images: dict[str, str] = {}
    contoured: set[int] = set()
    contours = 0
    for roi in _items(dataset, "ROIContourSequence"):
        for contour in _items(roi, "ContourSequence"):
            contours += 1
            if contours > MAX_CONTOURS:
                raise _unreadable(f"it has more than {MAX_CONTOURS} contours")
            contoured.add(_number(roi, "ReferencedROINumber"))
            _add(images, contour)
        _bound(len(images))
    frames = {
        _uid(roi, "ReferencedFrameOfReferenceUID")
        for roi in _items(dataset, "StructureSetROISequence")
        if _number(roi, "ROINumber") in contoured
    }
    return images, frames - {""}


def _add(images: dict[str, str], holder: Any) -> int:
    """Add the images of a Contour Image Sequence; how many are new."""
    before = len(images)
    for item in _items(holder, "ContourImageSequence"):
        if uid := _uid(item, "ReferencedSOPInstanceUID"):
            images[uid] = images.get(uid) or _uid(item, "ReferencedSOPClassUID")
    return len(images) - before


def _items(dataset: Any, keyword: str) -> Iterator[Any]:
    yield from dataset.get(keyword) or ()


def _number(dataset: Any, keyword: str) -> int:
    value = dataset.get(keyword)
    return -1 if value is None else int(value)


def _uid(dataset: Any, keyword: str) -> str:
    """A UID as text; '' where absent. Anything but digits and dots is refused: it goes into queries later."""
    value = str(dataset.get(keyword) or "").strip(" \0")
    if value and (len(value) > 64 or not set(value) <= set("0123456789.")):
        raise _unreadable(f"its {keyword} is not a UID (digits and dots, at most 64 characters)", element=keyword)
    return value


def _bound(count: int) -> None:
    if count > MAX_REFERENCED_IMAGES:
        raise _unreadable(f"it references more than {MAX_REFERENCED_IMAGES} images")


def _single(values: Collection[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""


def _unreadable(what: str, **details: Any) -> InputRefusedError:
    return InputRefusedError(
        f"the RTSTRUCT cannot be read: {what}",
        remedy="Export the structure set again from the system that made it.",
        code=ErrorCode.UNREADABLE_RTSTRUCT,
        **details,
    )


# -- finding the images ----------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class SeriesKey:
    """What tells one stored series from all others: its UID alone does not where copies keep it."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class Located:
    """Where wanted images are stored.

    Attributes
    ----------
    candidates : series that the structure set can mean and that hold any of the images
    missing : images that none of them holds
    elsewhere : of those, how many are stored only ``for another patient``, ``in another study``, ``in another series``
    wanted : how many images there are in all
    """

    candidates: tuple[SeriesKey, ...]
    missing: tuple[str, ...]
    elsewhere: Mapping[str, int]
    wanted: int

    @property
    def elsewhere_text(self) -> str:
        """Such as ``30 are stored for another patient``; empty where none is stored elsewhere."""
        return ", ".join(f"{n} {'is' if n == 1 else 'are'} stored {where}" for where, n in self.elsewhere.items())


def locate(
    wanted: WantedImages, patient_id: str, study_instance_uid: str, stored: Mapping[str, Collection[SeriesKey]]
) -> Located:
    """Which stored series a structure set means.

    The patient has to be its own, the study and the series those that it names. Where it names no study, its own is
    taken before others.

    Parameters
    ----------
    patient_id, study_instance_uid : the structure set's own
    stored : the series in which each image is, by SOP Instance UID
    """
    keys = {key for found in stored.values() for key in found if may_be(wanted, patient_id, key)}
    if not wanted.study_instance_uid:
        keys = {k for k in keys if k.study_instance_uid == study_instance_uid} or keys
    missing = [uid for uid in wanted.images if keys.isdisjoint(stored.get(uid, ()))]
    elsewhere: dict[str, int] = {}
    for uid in missing:
        # of several copies, the one that is most nearly what is meant
        reasons = [_why_not(wanted, patient_id, key) for key in stored.get(uid, ())]
        if reason := max((r for r in reasons if r), key=_NEARER.index, default=""):
            elsewhere[reason] = elsewhere.get(reason, 0) + 1
    return Located(tuple(sorted(keys)), tuple(missing), elsewhere, len(wanted.images))


def may_be(wanted: WantedImages, patient_id: str, key: SeriesKey) -> bool:
    """Whether a stored series can be the one that is meant, by what is named."""
    return not _why_not(wanted, patient_id, key)


def same_patient(one: str, other: str) -> bool:
    """Whether two Patient IDs can be one.

    Characters beyond ASCII may be decoded in two ways, several values may be joined in two ways: where there are such,
    only letters and digits of ASCII are compared.

    Examples
    --------
    >>> same_patient("P1 ", "P1"), same_patient("P1", "P2"), same_patient("M\u00fcller1", "M\u00c3\u00bcller1")
    (True, False, True)
    """
    one, other = one.strip(" \0"), other.strip(" \0")
    unsure = not (one + other).isascii() or "\\" in one + other
    return one == other or (unsure and _ascii(one) == _ascii(other))


def _ascii(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isalnum())


_NEARER = ("for another patient", "in another study", "in another series")


def _why_not(wanted: WantedImages, patient: str, key: SeriesKey) -> str:
    if not same_patient(key.patient_id, patient):
        return _NEARER[0]
    if wanted.study_instance_uid and key.study_instance_uid != wanted.study_instance_uid:
        return _NEARER[1]
    if wanted.series_instance_uid and key.series_instance_uid != wanted.series_instance_uid:
        return _NEARER[2]
    return ""


def decide(
    wanted: WantedImages, located: Located, stored: Mapping[str, Collection[SeriesKey]], frames: Mapping[SeriesKey, str]
) -> SeriesKey:
    """The one series, where no image is missing.

    Parameters
    ----------
    frames : Frame of Reference UID of each candidate, where there is more than one

    Raises
    ------
    InputRefusedError
        ``ambiguous_instances`` where several hold the images, ``unsupported_geometry`` where none holds them all.
    """
    candidates = located.candidates
    if len(candidates) > 1 and wanted.frame_of_reference_uid:
        fitting = [k for k in candidates if frames.get(k) == wanted.frame_of_reference_uid]
        candidates = tuple(fitting) or candidates
    whole = [k for k in candidates if all(k in stored.get(uid, ()) for uid in wanted.images)]
    if len(candidates) == len(whole) == 1:
        return whole[0]
    if not whole:
        raise InputRefusedError(
            f"the images that the structure set names lie in {len(located.candidates)} series, expected one",
            remedy="Draw the structures on one CT series and send that.",
            code=ErrorCode.UNSUPPORTED_GEOMETRY,
            series=len(located.candidates),
        )
    studies = len({k.study_instance_uid for k in candidates})
    raise ambiguous(
        f"images that the structure set names are stored in {len(candidates)} series of {studies} "
        f"{'study' if studies == 1 else 'studies'} of this patient, and it does not name the series",
        series=len(candidates),
        studies=studies,
    )


def ambiguous(message: str, **details: Any) -> InputRefusedError:
    """The refusal of what several stored objects could be."""
    return InputRefusedError(
        message,
        remedy="Delete the copies that are wrong, or export the structure set with the Series Instance UID of its "
        "images.",
        code=ErrorCode.AMBIGUOUS_INSTANCES,
        **details,
    )
