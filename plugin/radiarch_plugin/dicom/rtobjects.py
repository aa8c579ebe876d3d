"""What the plugin needs to know of RTDOSE and RT Ion Plan objects; their values are the worker's business."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage, RTIonPlanStorage, RTPlanStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.identity import dataset_sha256

from .rtstruct import MAX_BYTES, MAX_TEXT, patient_name, refuse_inflating

Kind = Literal["rtplan", "rtdose"]
MAX_REFERENCES = 1_000
WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")
"""Dose Summation Types (3004,000A) of whole plans."""
_CLASSES: dict[str, Kind] = {RTDoseStorage: "rtdose", RTIonPlanStorage: "rtplan", RTPlanStorage: "rtplan"}
_NAMES = {"rtplan": "RT plan", "rtdose": "RTDOSE"}
KIND_OF_CLASS: dict[str, Kind] = {str(k): v for k, v in _CLASSES.items()}
"""What can start a job besides a structure set, by its SOP class."""


@dataclass(frozen=True)
class ObjectFacts:
    """A dose or a plan, as matching and requests need it.

    ``referenced_plans`` and ``referenced_structure_sets`` are SOP Instance UIDs, ``created`` DICOM's date and time of
    the object's creation, empty where it does not tell. ``calling_ae`` is not in the object:
    Orthanc's metadata has it (None where it came by REST).
    """

    kind: Kind
    sop_class_uid: str
    sop_instance_uid: str
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    sha256: str
    label: str = ""
    manufacturer: str = ""
    study_description: str = ""
    series_description: str = ""
    referenced_plans: tuple[str, ...] = ()
    referenced_structure_sets: tuple[str, ...] = ()
    dose_type: str = ""
    dose_summation: str = ""
    created: str = ""
    calling_ae: str | None = None
    patient_name: str | None = None

    @property
    def is_whole_dose(self) -> bool:
        """Whether it is the dose of whole plans: none of a beam or a fraction, and no difference of doses."""
        return self.dose_summation in WHOLE and self.dose_type != "ERROR"

    @property
    def is_plan_dose(self) -> bool:
        """Whether it is the dose of one plan, all fractions of it: what a plan that is computed whole compares with."""
        return self.dose_summation == "PLAN" and self.dose_type != "ERROR"


def read_object(data: bytes, kind: Kind, *, calling_ae: str | None = None) -> ObjectFacts:
    """Read a dose's or a plan's facts from its DICOM file.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtdose``, ``unreadable_rtplan``: the bytes are none, are broken, or beyond the bounds.
    """
    if len(data) > MAX_BYTES:
        raise _unreadable(kind, f"it has {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        refuse_inflating(data)
        return _facts(pydicom.dcmread(BytesIO(data)), kind, calling_ae)
    except InputRefusedError as e:
        if e.code is ErrorCode.UNREADABLE_RTSTRUCT:
            raise _unreadable(kind, "its deflated data set is too large") from None
        raise
    # A hostile file can raise nearly anything from pydicom; its text may quote values: only its type is named.
    except Exception as e:
        raise _unreadable(kind, f"reading it as DICOM failed with {type(e).__name__}") from e


def _facts(ds: Dataset, kind: Kind, calling_ae: str | None) -> ObjectFacts:
    sop_class = str(ds.get("SOPClassUID", ""))
    if KIND_OF_CLASS.get(sop_class) != kind:
        raise _unreadable(kind, f"its SOP class is {sop_class[:64] or 'missing'}")
    # First of all: a value that was decoded would be hashed in another form.
    sha256 = dataset_sha256(ds)
    return ObjectFacts(
        kind=kind,
        sop_class_uid=sop_class,
        sop_instance_uid=_uid(ds, "SOPInstanceUID", kind),
        patient_id=_text(ds, "PatientID"),
        study_instance_uid=_uid(ds, "StudyInstanceUID", kind),
        series_instance_uid=_uid(ds, "SeriesInstanceUID", kind),
        frame_of_reference_uid=_uid(ds, "FrameOfReferenceUID", kind, required=False),
        sha256=sha256,
        label=_text(ds, "RTPlanLabel") or _text(ds, "SeriesDescription"),
        manufacturer=_text(ds, "Manufacturer"),
        study_description=_text(ds, "StudyDescription"),
        series_description=_text(ds, "SeriesDescription"),
        referenced_plans=_references(ds, "ReferencedRTPlanSequence", kind),
        referenced_structure_sets=_references(ds, "ReferencedStructureSetSequence", kind),
        dose_type=_text(ds, "DoseType")[:16],
        dose_summation=_text(ds, "DoseSummationType")[:16],
        created=_text(ds, "InstanceCreationDate") + _text(ds, "InstanceCreationTime"),
        calling_ae=calling_ae,
        patient_name=patient_name(ds),
    )


def _references(ds: Dataset, keyword: str, kind: Kind) -> tuple[str, ...]:
    items: Iterator[Dataset] = iter(ds.get(keyword) or ())
    found: dict[str, None] = {}
    for item in items:
        if uid := _uid(item, "ReferencedSOPInstanceUID", kind, required=False):
            found[uid] = None
        if len(found) > MAX_REFERENCES:
            raise _unreadable(kind, f"it references more than {MAX_REFERENCES} objects")
    return tuple(found)


def _uid(ds: Dataset, keyword: str, kind: Kind, *, required: bool = True) -> str:
    value = str(ds.get(keyword) or "").strip(" \0")
    if not value and required:
        raise _unreadable(kind, f"it has no {keyword}")
    if len(value) > 64 or not all(c in "0123456789." for c in value):
        raise _unreadable(kind, f"its {keyword} is not a UID (digits and dots, at most 64 characters)")
    return value


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip(" \0")[:MAX_TEXT]


def _unreadable(kind: Kind, what: str, **details: Any) -> InputRefusedError:
    return InputRefusedError(
        f"the {_NAMES[kind]} cannot be read: {what}",
        remedy="Export it again from the system that made it.",
        code=ErrorCode.UNREADABLE_RTPLAN if kind == "rtplan" else ErrorCode.UNREADABLE_RTDOSE,
        **details,
    )
