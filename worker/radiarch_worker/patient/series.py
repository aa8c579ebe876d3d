"""Which slices of a CT series are planned on: those that the structure set names, and the others of the same stack.

A structure set may name only the slices that have contours. A CT that ended where they end would count the rest of the
patient as air.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import CtUsed

from radiarch_worker.model import Patient

from .attributes import Reader
from .geometry import SlicePlane, read_plane
from .identity import check_present, image_reader
from .limits import DIRECTION_TOLERANCE, MAX_SLICES, POSITION_TOLERANCE_MM, SPACING_TOLERANCE_MM

_MADE_BY = ("ImageType", "ConvolutionKernel", "SliceThickness", "KVP", "AcquisitionNumber")
"""What distinguishes reconstructions, as far as the named slices have it in common."""


def choose_slices(
    named: Sequence[str], images: Sequence[Dataset], beside: int = 0
) -> tuple[list[Reader], tuple[str, ...]]:
    """The slices that are planned on, and what is to be said of it.

    Parameters
    ----------
    named : SOP Instance UIDs of the images that the structure set is drawn on
    images : of their series, these among them, in any order
    beside : how many images of other series the structure set merely lists

    Raises
    ------
    InputRefusedError
        ``too_large``, ``duplicate_slices``, ``no_image_reference`` or ``missing_instances``.
    """
    readers = _by_uid(images)
    check_present(named, readers)
    used = [readers[uid] for uid in named]
    notes: list[str] = []
    if beside:
        notes.append(
            f"{beside} images of other series that the structure set lists were not used: it is not drawn on them."
        )
    wanted = set(named)
    rest = [r for uid, r in readers.items() if uid not in wanted]
    left_out: Counter[str] = Counter()
    more = _of_the_stack(used, rest, left_out)
    if more:
        total = len(used) + len(more)
        notes.append(
            f"The structure set names {len(used)} images of the CT series; all {total} slices of its stack were used."
        )
    notes += [f"Of the CT series, {count} images {why} were left out." for why, count in left_out.items() if count]
    return [*used, *more], tuple(notes)


def ct_used(patient: Patient) -> CtUsed | None:
    """What a result says of its CT; None where the patient is of no series."""
    if patient.series is None:
        return None
    return CtUsed(
        series_instance_uid=patient.ct.series_instance_uid,
        patient_position=patient.ct.patient_position.value,
        slices=len(patient.ct.sop_instance_uids),
        named=patient.series.named,
        stored=patient.series.stored,
    )


def _by_uid(images: Sequence[Dataset]) -> dict[str, Reader]:
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
    return readers


def _of_the_stack(named: Sequence[Reader], rest: Sequence[Reader], left_out: Counter[str]) -> list[Reader]:
    """Of the other images those that belong to the named ones' stack; the others are counted by reason."""
    if not rest:
        return []
    try:
        planes = [read_plane(r) for r in named]
    except InputRefusedError:
        return []  # what is wrong with the named ones is said where they are read
    frames = {r.text("FrameOfReferenceUID") for r in named}
    taken = np.array([p.position_mm[2] for p in planes])
    found: list[tuple[Reader, float]] = []
    for reader in rest:
        why, plane = _misfit(reader, planes[0], frames)
        if plane is not None and np.abs(taken - plane.position_mm[2]).min() <= POSITION_TOLERANCE_MM:
            why, plane = "that lie where a named one lies", None
        if plane is None:
            left_out[why] += 1
        else:
            found.append((reader, plane.position_mm[2]))
    if not _even([*taken, *(z for _, z in found)]):
        # a second reconstruction, say, between or beyond the slices of the first
        common = _common(named)
        alike = [(r, z) for r, z in found if _made_alike(r, common)]
        if _even([*taken, *(z for _, z in alike)]):
            left_out["that were made otherwise (kernel, thickness, acquisition …)"] += len(found) - len(alike)
            found = alike
    return [reader for reader, _ in found]


def _misfit(reader: Reader, first: SlicePlane, frames: set[str]) -> tuple[str, SlicePlane | None]:
    """Why an image is none of the stack of the first, or where it is."""
    if "LOCALIZER" in reader.text("ImageType"):
        return "that are localizers", None
    if reader.text("SOPClassUID") != CTImageStorage or reader.text("Modality") not in ("CT", ""):
        return "that are no CT images", None
    if reader.text("FrameOfReferenceUID") not in frames:
        return "of another frame of reference", None
    try:
        plane = read_plane(reader)
    except InputRefusedError:
        return "whose place cannot be read", None
    turned = np.abs(
        np.subtract(plane.row_direction + plane.column_direction, first.row_direction + first.column_direction)
    ).max()
    resized = np.abs(np.subtract(plane.spacing_mm, first.spacing_mm)).max()
    shifted = np.abs(np.subtract(plane.position_mm[:2], first.position_mm[:2])).max()
    if turned > DIRECTION_TOLERANCE:
        return "of another orientation", None
    if (plane.rows, plane.columns) != (first.rows, first.columns) or resized > SPACING_TOLERANCE_MM:
        return "of another size", None
    if shifted > POSITION_TOLERANCE_MM:
        return "that are shifted in x or y", None
    return "", plane


def _even(z_mm: Sequence[float]) -> bool:
    z = np.sort(np.asarray(z_mm))
    if len(z) < 2:
        return True
    return bool(np.abs(z - np.linspace(z[0], z[-1], len(z))).max() <= POSITION_TOLERANCE_MM)


def _common(named: Sequence[Reader]) -> Mapping[str, str]:
    """How the named slices were made, as far as they have it in common."""
    values = {keyword: {r.text(keyword) for r in named} for keyword in _MADE_BY}
    return {keyword: next(iter(found)) for keyword, found in values.items() if len(found) == 1}


def _made_alike(reader: Reader, common: Mapping[str, str]) -> bool:
    return all(reader.text(keyword) == value for keyword, value in common.items())
