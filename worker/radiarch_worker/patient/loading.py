"""From data sets to `Patient`: what is checked, and in which order; each check lives in its own module."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError, RadiarchError

from radiarch_worker.model import CtVolume, Patient, Structure

from .attributes import Reader
from .body import choose_body
from .ct import load_ct
from .identity import check_all_ct, check_frame, check_patient, check_present, image_reader
from .limits import MAX_MASK_VOXELS, MAX_SLICES
from .rtstruct import RoiContours, StructureSet, read_structure_set
from .structures import build_structure


def load_patient(
    rtstruct: Dataset,
    images: Sequence[Dataset],
    *,
    expected_patient_id: str | None = None,
    needed_rois: Collection[int] = (),
    body_roi: int | None = None,
) -> Patient:
    """Read a CT and its structure set into the patient that is planned on.

    Nothing is guessed: what cannot be read truthfully is refused, and what was decided is in ``notes``.

    Parameters
    ----------
    rtstruct
        The RT Structure Set.
    images
        The CT images that it references, with file meta and pixel data, in any order; other slices of
        the same series may be among them.
    expected_patient_id
        The Patient ID that the plan was asked for; None where that is not known.
    needed_rois
        Numbers of ROIs that the plan cannot do without. Other ROIs that have no usable contours are left out
        of ``structures``, with a note.
    body_roi
        Number of the ROI that is the patient's outline; None to find it by name and interpreted type. Where it
        has no usable contours either, the outline is found from the CT, with a note.

    Returns
    -------
    Patient
        Arrays (Z, Y, X) in patient LPS; structures by ROI number.

    Raises
    ------
    InputRefusedError
        With the code of what is wrong.
    """
    structure_set = read_structure_set(rtstruct)
    used, notes = _used_images(structure_set, images)
    check_all_ct(used)
    check_patient(structure_set.reader, used, expected_patient_id)
    frame = check_frame(structure_set, used)
    loaded = load_ct(used)
    notes += [*loaded.notes, *structure_set.notes]
    structures, unusable = _structures(structure_set, loaded.ct, frame, notes)
    for number in needed_rois:
        _check_needed(number, structures, unusable)
    body = choose_body(loaded, structures, body_roi, notes)
    return Patient(
        ct=loaded.ct,
        structures=structures,
        body=body,
        rtstruct_sop_instance_uid=structure_set.sop_instance_uid,
        rtstruct_sop_class_uid=structure_set.reader.uid("SOPClassUID"),
        notes=tuple(notes),
    )


def _used_images(structure_set: StructureSet, images: Sequence[Dataset]) -> tuple[list[Reader], list[str]]:
    """Images that are planned on: all that were given but localizers that the structure set does not mean."""
    if len(images) > MAX_SLICES:
        raise InputRefusedError(
            f"There are {len(images)} images, at most {MAX_SLICES} are planned on.",
            code=ErrorCode.TOO_LARGE,
            remedy="Draw the structures on one CT series and send that.",
        )
    readers: dict[str, Reader] = {}
    for image in map(image_reader, images):
        uid = image.uid("SOPInstanceUID")
        if uid in readers:
            raise InputRefusedError(
                f"{image.what} is there twice.",
                code=ErrorCode.DUPLICATE_SLICES,
                remedy="Send each slice once.",
                sop_instance_uids=[[uid, uid]],
            )
        readers[uid] = image
    check_present(structure_set.referenced_images, readers)
    referenced = set(structure_set.referenced_images)
    used = [r for uid, r in readers.items() if uid in referenced or not _is_localizer(r)]
    dropped = len(readers) - len(used)
    return used, [f"{dropped} localizer images of the CT series were left out."] if dropped else []


def _is_localizer(image: Reader) -> bool:
    return "LOCALIZER" in image.text("ImageType")


def _structures(
    structure_set: StructureSet, ct: CtVolume, frame: str, notes: list[str]
) -> tuple[dict[int, Structure], dict[int, InputRefusedError]]:
    """Structures by ROI number, and why others cannot be used."""
    structures: dict[int, Structure] = {}
    unusable: dict[int, InputRefusedError] = {}
    z_of_image = dict(zip(ct.sop_instance_uids, ct.grid.axis_mm(2).tolist(), strict=True))
    voxels = 0
    for roi in structure_set.rois:
        try:
            _check_roi_frame(roi, frame)
            structures[roi.number], size = build_structure(roi, ct.grid, z_of_image, notes)
            voxels += size
        except InputRefusedError as e:
            unusable[roi.number] = e
            notes.append(f"Left out: {e.info.message}")
        if voxels > MAX_MASK_VOXELS:
            raise InputRefusedError(
                f"The structures need more than {MAX_MASK_VOXELS} voxels.",
                code=ErrorCode.TOO_LARGE,
                remedy="Export fewer structures.",
            )
    return structures, unusable


def _check_roi_frame(roi: RoiContours, frame: str) -> None:
    if roi.frame_of_reference_uid not in ("", frame):
        raise InputRefusedError(
            f"ROI {roi.name!r} (number {roi.number}) is in frame of reference {roi.frame_of_reference_uid}, "
            f"the CT in {frame}.",
            code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
            remedy="Export the structure in the CT's frame of reference.",
            roi_number=roi.number,
        )


def _check_needed(number: int, structures: Mapping[int, Structure], unusable: Mapping[int, RadiarchError]) -> None:
    if number in structures:
        return
    if number in unusable:
        raise unusable[number]
    raise InputRefusedError(
        f"The structure set has no ROI number {number}.",
        code=ErrorCode.UNKNOWN_STRUCTURE,
        remedy="Ask for a structure of this structure set.",
        roi_number=number,
    )
