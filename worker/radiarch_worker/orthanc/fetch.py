"""What a job is made on, read from Orthanc and held against what was asked for; how it is asked for is the client's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.images import SeriesKey, decide, locate, wanted_images
from radiarch_contract.job import JobInput, JobSpec

from radiarch_worker.runtime.link import JobLink

from .client import Orthanc, orthanc_id_of, tag_of
from .part10 import read

MAX_TOTAL_BYTES = 8 << 30
MAX_IMAGES = 20_000
_FIND_CHUNK = 500
_LISTED = 10
"""UIDs in an error's details."""
_INPUT_NAMES = {
    "rtplan": "RT plan",
    "rtdose": "RTDOSE",
    "added_rtdose": "added RTDOSE",
    "reference_rtdose": "reference RTDOSE",
}


@dataclass(frozen=True)
class Fetched:
    """What a plan is made on, as stored."""

    rtstruct: Dataset
    images: tuple[Dataset, ...]
    inputs: Mapping[str, Dataset] = field(default_factory=dict)
    """What else the job is about, by its kind in `JobSpec.inputs`."""


def fetch_inputs(orthanc: Orthanc, spec: JobSpec, link: JobLink) -> Fetched:
    """Read the RTSTRUCT, and all images of the series that it is drawn on.

    Raises
    ------
    InputRefusedError
        ``input_changed`` where the stored RTSTRUCT is not the one the plan was asked for, ``patient_mismatch``,
        ``missing_instances`` with how many, ``ambiguous_instances``, ``no_image_reference``, or what cannot be read.
    """
    rtstruct = _rtstruct(orthanc, spec)
    link.private(_private_words(rtstruct))
    inputs: dict[str, Dataset] = {i.kind: _input(orthanc, i, spec) for i in spec.inputs}
    images: list[Dataset] = []
    total = 0
    orthanc_ids = _images(orthanc, rtstruct, spec)
    for n, orthanc_id in enumerate(orthanc_ids):
        data = orthanc.instance(orthanc_id)
        if data is None:
            raise InputRefusedError(
                "an image of the CT was deleted from Orthanc while the CT was read",
                remedy="Send the series again; the plan is made when it is there.",
                code=ErrorCode.MISSING_INSTANCES,
            )
        total += len(data)
        if total > MAX_TOTAL_BYTES:
            raise InputRefusedError(
                f"the images of the CT series have more than {MAX_TOTAL_BYTES >> 30} GB together",
                remedy="Plan on a smaller series.",
                code=ErrorCode.UNREADABLE_IMAGE,
            )
        images.append(read(data, ErrorCode.UNREADABLE_IMAGE, "an image of the CT series"))
        link.progress((n + 1) / len(orthanc_ids) * 0.5)
    link.log(f"read the RTSTRUCT and {len(images)} images, {total / 1e6:.1f} MB")
    return Fetched(rtstruct, tuple(images), inputs)


def _images(orthanc: Orthanc, rtstruct: Dataset, spec: JobSpec) -> list[str]:
    """Orthanc's ids of all images of the series that the RTSTRUCT is drawn on, those that it names first.

    Raises
    ------
    InputRefusedError
        ``no_image_reference``, ``missing_instances``, ``ambiguous_instances``, and what `wanted_images` refuses.
    """
    wanted = wanted_images(rtstruct)
    if not wanted.images:
        raise InputRefusedError(
            "the RTSTRUCT references no images (no ContourImageSequence (3006,0016) has an item)",
            remedy="Export the structure set with its image references.",
            code=ErrorCode.NO_IMAGE_REFERENCE,
        )
    stored: dict[str, dict[SeriesKey, dict[str, Any]]] = {}
    for chunk in _chunks(tuple(wanted.images), _FIND_CHUNK):
        for item in orthanc.find_instances({"SOPInstanceUID": "\\".join(chunk)}):
            if (key := orthanc.series_key(item)) is not None:
                stored.setdefault(_uid_of(item), {})[key] = item
    located = locate(wanted, spec.patient_id, spec.study_instance_uid, stored)
    if located.missing:
        elsewhere = f"; {located.elsewhere_text}" if located.elsewhere else ""
        raise InputRefusedError(
            f"{len(located.missing)} of the {located.wanted} images that the RTSTRUCT references are not in Orthanc "
            f"where it says{elsewhere}",
            remedy="Send the missing images; the plan is made when they are there.",
            code=ErrorCode.MISSING_INSTANCES,
            missing=len(located.missing),
            referenced=located.wanted,
            missing_sop_instance_uids=list(located.missing[:_LISTED]),
        )
    frames: dict[SeriesKey, str] = {}
    if len(located.candidates) > 1:
        examples = {key: item for found in stored.values() for key, item in found.items()}
        frames = {key: _frame_of_reference(orthanc, examples[key]) for key in located.candidates}
    chosen = decide(wanted, located, stored, frames)
    named = {uid: orthanc_id_of(stored[uid][chosen]) for uid in wanted.images}
    series_id = next(iter(stored[uid][chosen] for uid in wanted.images)).get("ParentSeries")
    others = [
        orthanc_id_of(item)
        for item in orthanc.find_instances({"SeriesInstanceUID": chosen.series_instance_uid})
        if item.get("ParentSeries") == series_id and _uid_of(item) not in named
    ]
    if len(named) + len(others) > MAX_IMAGES:
        raise InputRefusedError(
            f"the CT series has more than {MAX_IMAGES} images",
            remedy="Plan on a smaller series.",
            code=ErrorCode.TOO_LARGE,
        )
    return [*named.values(), *others]


def _frame_of_reference(orthanc: Orthanc, item: dict[str, Any]) -> str:
    data = orthanc.instance(orthanc_id_of(item))
    if data is None:
        return ""
    dataset = read(data, ErrorCode.UNREADABLE_IMAGE, "a referenced image")
    return str(dataset.get("FrameOfReferenceUID") or "").strip(" \0")


def _uid_of(item: dict[str, Any]) -> str:
    return tag_of(item, "MainDicomTags", "SOPInstanceUID")


def _rtstruct(orthanc: Orthanc, spec: JobSpec) -> Dataset:
    """The RTSTRUCT that the plan was asked for: the same UID, patient, study and content."""
    uid = spec.rtstruct_sop_instance_uid
    found = orthanc.find_instances({"SOPInstanceUID": uid})
    others: list[str] = []
    for item in found:
        data = orthanc.instance(orthanc_id_of(item))
        if data is None:
            continue
        dataset = read(data, ErrorCode.UNREADABLE_RTSTRUCT, "the RTSTRUCT")
        # first of all: values that were decoded hash differently
        sha256 = dataset_sha256(dataset)
        if dataset.get("SOPClassUID") != RTStructureSetStorage:
            raise _unreadable_rtstruct("its SOP class is not RT Structure Set Storage")
        if sha256 == spec.rtstruct_sha256:
            _check_identity(dataset, spec)
            return dataset
        others.append(sha256)
    raise InputRefusedError(
        f"the RTSTRUCT {uid} in Orthanc has other content than the one the plan was asked for"
        if others
        else f"the RTSTRUCT {uid} is no longer in Orthanc",
        remedy="Nothing, if a plan for the new content is on its way; otherwise send the structure set again.",
        code=ErrorCode.INPUT_CHANGED,
        expected_sha256=spec.rtstruct_sha256,
        found_sha256=others[:5],
    )


def _input(orthanc: Orthanc, wanted: JobInput, spec: JobSpec) -> Dataset:
    """Another object that the job was asked for: the same UID, patient and content."""
    name = _INPUT_NAMES[wanted.kind]
    code = ErrorCode.UNREADABLE_RTPLAN if wanted.kind == "rtplan" else ErrorCode.UNREADABLE_RTDOSE
    found = of_others = False
    for item in orthanc.find_instances({"SOPInstanceUID": wanted.sop_instance_uid}):
        data = orthanc.instance(orthanc_id_of(item))
        if data is None:
            continue
        dataset = read(data, code, f"the {name}")
        # first of all: values that were decoded hash differently
        sha256 = dataset_sha256(dataset)
        found = True
        if wanted.sha256 not in (None, sha256):
            continue
        if str(dataset.get("PatientID") or "").strip(" \0") == spec.patient_id.strip(" \0"):
            return dataset
        of_others = True
    if of_others:
        raise InputRefusedError(
            f"the {name}'s PatientID is not that of the structure set",
            remedy="Name objects of one patient.",
            code=ErrorCode.PATIENT_MISMATCH,
            element="PatientID",
        )
    raise InputRefusedError(
        f"the {name} {wanted.sop_instance_uid} in Orthanc has other content than the one the job was asked for"
        if found
        else f"the {name} {wanted.sop_instance_uid} is no longer in Orthanc",
        remedy="Ask again, for what is stored now.",
        code=ErrorCode.INPUT_CHANGED,
    )


def _check_identity(dataset: Dataset, spec: JobSpec) -> None:
    for keyword, expected in (("PatientID", spec.patient_id), ("StudyInstanceUID", spec.study_instance_uid)):
        if str(dataset.get(keyword) or "").strip(" \0") != expected.strip(" \0"):
            raise InputRefusedError(
                f"the RTSTRUCT's {keyword} is not the one the plan was asked for",
                remedy="Ask for the plan again.",
                code=ErrorCode.PATIENT_MISMATCH,
                element=keyword,
            )


def _private_words(dataset: Dataset) -> Iterator[str]:
    """The patient's name and identifiers, whole and in parts, as they might turn up in a message."""
    for keyword in ("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "OtherPatientNames"):
        text = str(dataset.get(keyword) or "")
        yield text
        if "Name" in keyword:
            yield from text.replace("=", "^").replace(" ", "^").split("^")


def _chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _unreadable_rtstruct(what: str) -> InputRefusedError:
    return InputRefusedError(
        f"the RTSTRUCT cannot be read: {what}",
        remedy="Export the structure set again from the system that made it.",
        code=ErrorCode.UNREADABLE_RTSTRUCT,
    )
