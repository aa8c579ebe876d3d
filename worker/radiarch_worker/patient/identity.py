"""Whose images these are: one patient, one study, one frame of reference, and the CT that the structure set means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import PatientStudy

from .attributes import Reader, tag_name
from .rtstruct import StructureSet

_ENHANCED = {str(EnhancedCTImageStorage), str(LegacyConvertedEnhancedCTImageStorage)}
_LISTED = 10  # UIDs in an error's details


def image_reader(dataset: Dataset) -> Reader:
    """A reader whose messages name the image by its SOP Instance UID."""
    uid = Reader(dataset, "An image", ErrorCode.UNREADABLE_IMAGE).uid("SOPInstanceUID")
    return Reader(dataset, f"Image {uid}", ErrorCode.UNREADABLE_IMAGE)


def check_all_ct(images: Sequence[Reader]) -> None:
    """Refuse anything but classic CT images."""
    others: dict[str, int] = {}
    for image in images:
        sop_class = image.uid("SOPClassUID")
        if sop_class != CTImageStorage or image.text("Modality") not in ("CT", ""):
            name = UID(sop_class).name if sop_class != CTImageStorage else f"Modality {image.text('Modality')[:16]}"
            others[name] = others.get(name, 0) + 1
        if sop_class in _ENHANCED:
            raise InputRefusedError(
                f"{image.what} is an {UID(sop_class).name} object; one CT Image Storage instance a slice was expected.",
                code=ErrorCode.UNREADABLE_IMAGE,
                remedy="Send the CT as classic CT Image Storage instances and the structure set that references them.",
                sop_class_uid=sop_class,
            )
    if others:
        found = ", ".join(f"{n} of {name}" for name, n in others.items())
        raise InputRefusedError(
            f"The structure set is on {found}, among {len(images)} images; CT Image Storage was expected throughout.",
            code=ErrorCode.NOT_CT,
            remedy="Draw the structures on the planning CT, or copy them to it, and send that structure set.",
            found=others,
        )


def check_present(referenced: Sequence[str], images: Mapping[str, Reader]) -> None:
    """Refuse where an image that the structure set references was not given."""
    if not referenced:
        raise InputRefusedError(
            "The structure set references no images (Contour Image Sequence), so its CT is not known.",
            code=ErrorCode.NO_IMAGE_REFERENCE,
            remedy="Export the structure set together with the CT that it was drawn on.",
        )
    missing = [uid for uid in referenced if uid not in images]
    if missing:
        raise InputRefusedError(
            f"{len(missing)} of {len(referenced)} images that the structure set references are missing.",
            code=ErrorCode.MISSING_INSTANCES,
            remedy="Send the missing CT images; all of them are needed.",
            missing=len(missing),
            expected=len(referenced),
            missing_sop_instance_uids=missing[:_LISTED],
        )


def same(images: Sequence[Reader], keyword: str, code: ErrorCode, remedy: str, *, show: bool = True) -> str:
    """The text that all images have in common, or a refusal; ``show`` False keeps values out of it."""
    values: dict[str, int] = {}
    for image in images:
        text = image.text(keyword)
        values[text] = values.get(text, 0) + 1
    if len(values) > 1:
        listed = ": " + ", ".join(f"{v or 'none'} ({n} images)" for v, n in list(values.items())[:4]) if show else ""
        raise InputRefusedError(
            f"The images have {len(values)} values of {tag_name(keyword)}, expected one{listed}.",
            code=code,
            remedy=remedy,
            attribute=keyword,
            values=len(values),
        )
    return next(iter(values))


def check_patient(rtstruct: Reader, images: Sequence[Reader], expected_patient_id: str | None) -> None:
    """Refuse where images, structure set and what was asked for are not of one patient.

    IDs are compared as they are, but for surrounding spaces. Names are spelt differently by different
    systems and are not compared; two birth dates are two people.
    """
    remedy = "Find out whose images and structures these are, correct the wrong object and send it again."
    for keyword in ("PatientID", "PatientBirthDate"):
        of_images = same(images, keyword, ErrorCode.PATIENT_MISMATCH, remedy, show=False)
        of_structures = rtstruct.text(keyword)
        both_given = bool(of_images and of_structures) or keyword == "PatientID"
        if both_given and of_images != of_structures:
            raise InputRefusedError(
                f"Structure set and images have different {tag_name(keyword)}.",
                code=ErrorCode.PATIENT_MISMATCH,
                remedy=remedy,
                attribute=keyword,
            )
    if expected_patient_id is not None and rtstruct.text("PatientID") != expected_patient_id.strip(" \0"):
        raise InputRefusedError(
            f"The {tag_name('PatientID')} of structure set and images is not the one that the plan was asked for.",
            code=ErrorCode.PATIENT_MISMATCH,
            remedy=remedy,
            attribute="PatientID",
        )


def check_frame(structure_set: StructureSet, images: Sequence[Reader]) -> str:
    """The one frame of reference of images and structures."""
    remedy = "Draw the structures on the CT that is sent, or register the series and send structures in the CT's frame."
    same(images, "FrameOfReferenceUID", ErrorCode.FRAME_OF_REFERENCE_MISMATCH, remedy)
    frame = images[0].uid("FrameOfReferenceUID")
    of_rois = {r.frame_of_reference_uid for r in structure_set.rois if r.contours} - {""}
    told = structure_set.frame_of_reference_uids
    if (told and frame not in told) or (of_rois and frame not in of_rois) or not (told or of_rois):
        found = sorted(told | of_rois)[:_LISTED]
        raise InputRefusedError(
            f"The structure set is in frame of reference {', '.join(found) or '(none)'}, its images are in {frame}.",
            code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
            remedy=remedy,
            structures=found,
            images=frame,
        )
    return frame


def study_of(image: Reader) -> PatientStudy:
    """Identity of patient and study, as the CT has it."""
    return PatientStudy(
        patient_id=image.text("PatientID"),
        patient_name=image.text("PatientName"),
        patient_birth_date=image.text("PatientBirthDate"),
        patient_sex=image.text("PatientSex"),
        study_instance_uid=image.uid("StudyInstanceUID"),
        study_id=image.text("StudyID"),
        study_date=image.text("StudyDate"),
        study_time=image.text("StudyTime"),
        study_description=image.text("StudyDescription"),
        accession_number=image.text("AccessionNumber"),
        referring_physician_name=image.text("ReferringPhysicianName"),
    )
