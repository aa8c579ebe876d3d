"""A CT series to one volume in HU; identity and references are checked by the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from radiarch_contract.errors import ErrorCode

from radiarch_worker.model import BoolVolume, CtVolume, Scanner

from .attributes import Reader
from .geometry import check_tilt, read_plane, read_position, stack
from .identity import same, study_of
from .pixels import read_pixels


@dataclass(frozen=True)
class LoadedCt:
    """A CT and what was seen while it was read.

    Attributes
    ----------
    padding : (Z, Y, X) bool, voxels without a CT value, or None where there are none
    padding_hu : the highest HU that the padding would have had
    """

    ct: CtVolume
    padding: BoolVolume | None
    padding_hu: float
    notes: tuple[str, ...]


def load_ct(images: Sequence[Reader]) -> LoadedCt:
    """Read a CT series.

    Parameters
    ----------
    images : CT images of one patient and one frame of reference, in any order

    Raises
    ------
    InputRefusedError
        ``unreadable_image``, ``unsupported_geometry``, ``unsupported_patient_position``, ``duplicate_slices``,
        ``non_uniform_slices``, ``unsupported_transfer_syntax`` or ``too_large``.
    """
    split = "Draw the structures on one CT series and send that."
    series = same(images, "SeriesInstanceUID", ErrorCode.UNSUPPORTED_GEOMETRY, split)
    same(images, "StudyInstanceUID", ErrorCode.UNSUPPORTED_GEOMETRY, split)
    frame = images[0].uid("FrameOfReferenceUID")
    position = read_position(images)
    check_tilt(images)
    planes = [read_plane(image) for image in images]
    stacked = stack(planes)

    shape = stacked.grid.shape
    hu = np.empty(shape, dtype=np.float32)
    padding: BoolVolume | None = None
    padding_hu = -np.inf
    lossy = 0
    for k, i in enumerate(stacked.order):
        pixels = read_pixels(images[i], planes[i])
        hu[k] = stacked.turn.apply(pixels.hu)
        lossy += pixels.lossy
        if pixels.padding is not None:
            if padding is None:
                padding = np.zeros(shape, dtype=np.bool_)
            padding[k] = stacked.turn.apply(pixels.padding)
            padding_hu = max(padding_hu, pixels.padding_hu)
    notes = []
    if lossy:
        notes.append(f"{lossy} of {len(images)} CT slices were compressed with loss before they were sent.")
    ct = CtVolume(
        hu=hu,
        grid=stacked.grid,
        frame_of_reference_uid=frame,
        series_instance_uid=series,
        sop_class_uid=images[0].uid("SOPClassUID"),
        sop_instance_uids=tuple(planes[i].uid for i in stacked.order),
        patient_position=position,
        study=study_of(images[0]),
        scanners=tuple(dict.fromkeys(_scanner(images[i]) for i in stacked.order)),
    )
    return LoadedCt(ct, padding, padding_hu, tuple(notes))


def _scanner(image: Reader) -> Scanner:
    """What an image says of its scanner; a tube voltage that is no number is none."""
    try:
        kvp: float | None = float(image.text("KVP"))
    except ValueError:
        kvp = None
    return Scanner(
        image.text("Manufacturer"),
        image.text("ManufacturerModelName"),
        image.text("StationName"),
        kvp if kvp is not None and 0 < kvp < 1000 else None,
    )
