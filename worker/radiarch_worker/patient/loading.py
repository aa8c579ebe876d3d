"""From data sets to `Patient`: what is checked, and in which order; each check lives in its own module."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError, RadiarchError
from radiarch_contract.workflows import DEFAULT_MAX_CONTOUR_GAP_MM

from radiarch_worker.model import CtVolume, Patient, SeriesUse, Structure

from .body import choose_body, find_body_roi
from .ct import load_ct
from .identity import check_all_ct, check_frame, check_patient
from .limits import MAX_MASK_VOXELS
from .materials import DEVICES, counts_in_dose
from .rtstruct import RoiContours, StructureSet, read_structure_set
from .series import choose_slices
from .structures import Rules, build_structure

_MAX_NOTES = 100
_LISTED = 10


def load_patient(
    rtstruct: Dataset,
    images: Sequence[Dataset],
    *,
    expected_patient_id: str | None = None,
    needed_rois: Collection[int] = (),
    body_roi: int | None = None,
    max_contour_gap_mm: float = DEFAULT_MAX_CONTOUR_GAP_MM,
    computes_dose: bool = True,
    overridden_rois: Collection[int] = (),
) -> Patient:
    """Read a CT and its structure set into the patient that is planned on.

    Nothing is guessed: what cannot be read truthfully is refused, and what was decided is in ``notes``.

    Parameters
    ----------
    rtstruct
        The RT Structure Set.
    images
        All images of the CT series that it is drawn on, with file meta and pixel data, in any order.
    expected_patient_id
        The Patient ID that the plan was asked for; None where that is not known.
    needed_rois
        Numbers of ROIs that the plan cannot do without: they have to be there, and whole. Other ROIs that have no
        usable contours are left out of ``structures``, with a note.
    body_roi
        Number of the ROI that is the patient's outline; None to find it by name and interpreted type. Where it
        has no closed contours either, the outline is found from the CT, with a note.
    max_contour_gap_mm
        Slices without a contour are interpolated where at most this is missing between two contours. The patient's
        outline and ``needed_rois`` are refused where more is.
    computes_dose
        Whether a dose is computed on the patient: then a ROI that counts in it by what the structure set says of its
        material, or by an override, may not be left out for the way in which it is drawn.
    overridden_rois
        Numbers of ROIs whose density is overridden.

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
    used, said = choose_slices(tuple(structure_set.wanted.images), images, structure_set.wanted.beside)
    notes = list(said)
    check_all_ct(used)
    check_patient(structure_set.reader, used, expected_patient_id)
    frame = check_frame(structure_set, used)
    loaded = load_ct(used)
    notes += [*loaded.notes, *structure_set.notes]
    body_number = find_body_roi(structure_set.rois, body_roi)
    asked = _Asked(
        needed=frozenset(needed_rois),
        body=body_number,
        counted=_counted(structure_set) | frozenset(overridden_rois) if computes_dose else frozenset(),
        max_gap_mm=max_contour_gap_mm,
    )
    structures, unusable = _structures(structure_set, loaded.ct, frame, asked, notes)
    for number in needed_rois:
        _check_needed(number, structures, unusable)
    body = choose_body(loaded, None if body_number is None else structures.get(body_number), notes)
    return Patient(
        ct=loaded.ct,
        structures=structures,
        body=body,
        rtstruct_sop_instance_uid=structure_set.sop_instance_uid,
        rtstruct_sop_class_uid=structure_set.reader.uid("SOPClassUID"),
        notes=tuple(notes),
        series=SeriesUse(len(structure_set.wanted.images), len(images)),
    )


@dataclass(frozen=True)
class _Asked:
    """What the plan asks of the structures, by ROI number.

    Attributes
    ----------
    needed : without which there is no plan
    body : the patient's outline, None where no ROI is it
    counted : which count in the dose by their material, and so may not be left out for how they are drawn
    """

    needed: frozenset[int]
    body: int | None
    counted: frozenset[int]
    max_gap_mm: float

    def rules(self, roi: RoiContours) -> Rules:
        is_body, is_needed = roi.number == self.body, roi.number in self.needed
        counts = roi.number in self.counted or roi.interpreted_type in DEVICES
        return Rules(
            max_gap_mm=self.max_gap_mm,
            is_whole=is_body or is_needed,
            is_outline=is_body,
            is_cut=is_body or (counts and not is_needed),
        )

    def may_lack(self, number: int, error: InputRefusedError) -> bool:
        """Whether a plan can be made without a ROI that cannot be used."""
        if error.code is ErrorCode.EMPTY_STRUCTURE:
            return True
        return number != self.body and number not in self.counted


def _counted(structure_set: StructureSet) -> frozenset[int]:
    return frozenset(r.number for r in structure_set.rois if counts_in_dose(r.interpreted_type, r.properties))


def _structures(
    structure_set: StructureSet, ct: CtVolume, frame: str, asked: _Asked, notes: list[str]
) -> tuple[dict[int, Structure], dict[int, InputRefusedError]]:
    """Structures by ROI number, and why others cannot be used."""
    structures: dict[int, Structure] = {}
    unusable: dict[int, InputRefusedError] = {}
    told = _Told()
    z_of_image = dict(zip(ct.sop_instance_uids, ct.grid.axis_mm(2).tolist(), strict=True))
    voxels = 0
    for roi in structure_set.rois:
        of_roi: list[str] = []
        try:
            _check_roi_frame(roi, frame)
            structures[roi.number], size = build_structure(roi, ct.grid, z_of_image, asked.rules(roi), of_roi)
            voxels += size
        except InputRefusedError as e:
            if not asked.may_lack(roi.number, e):
                raise
            unusable[roi.number] = e
            of_roi.append(f"Left out: {e.info.message}")
        told.add(roi, of_roi, matters=roi.number == asked.body or roi.number in asked.needed | asked.counted)
        if voxels > MAX_MASK_VOXELS:
            raise InputRefusedError(
                f"The structures need more than {MAX_MASK_VOXELS} voxels.",
                code=ErrorCode.TOO_LARGE,
                remedy="Export fewer structures.",
            )
    notes += told.notes()
    return structures, unusable


@dataclass
class _Told:
    """Notes on structures: all on those that matter, and of the others as many as somebody reads."""

    first: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def add(self, roi: RoiContours, notes: Sequence[str], *, matters: bool) -> None:
        if matters:
            self.first += notes
        elif not roi.contours and not roi.ignored:
            self.empty.append(roi.title)
        else:
            self.others += notes

    def notes(self) -> list[str]:
        told = [*self.first, *self.others[:_MAX_NOTES]]
        if len(self.others) > _MAX_NOTES:
            told.append(f"{len(self.others) - _MAX_NOTES} more notes of these kinds on other structures are not shown.")
        if self.empty:
            more = f" and {len(self.empty) - _LISTED} more" if len(self.empty) > _LISTED else ""
            told.append(f"Left out, since they have no contours: {', '.join(self.empty[:_LISTED])}{more}.")
        return told


def _check_roi_frame(roi: RoiContours, frame: str) -> None:
    if roi.frame_of_reference_uid not in ("", frame):
        raise InputRefusedError(
            f"{roi.title} is in frame of reference {roi.frame_of_reference_uid} "
            f"((3006,0024) Referenced Frame of Reference UID), the CT in {frame}.",
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
