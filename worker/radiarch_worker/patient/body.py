"""The patient's outline: the structure set's, or found from the CT; other structures live elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.structures import Roi, look_up
from scipy import ndimage

from radiarch_worker.model import BoolVolume, CtVolume, Structure

from . import limits
from .ct import LoadedCt
from .rtstruct import RoiContours

FOUND_ROI_NUMBER = -1
"""ROI number of a body that no ROI stands for."""

_TISSUE_HU = -300.0  # skin and fat are above, clothes, foam and mattresses below
_COUCH_RADIUS_MM = 6.0  # thinner things, such as a couch's shell, are no patient
_MIN_BODY_CC = 100.0
_GOES_ON_FRACTION = 0.2  # of the outline's last slice that has tissue on the next one: no tip of it, and no couch
_MIN_TISSUE_FRACTION = 0.3  # a chest is more than half tissue; an outline beside the patient is air


def find_body_roi(rois: Sequence[RoiContours], given: int | None) -> int | None:
    """Number of the ROI that is the patient's outline: the one given, else by its name, else by its type EXTERNAL.

    Raises
    ------
    InputRefusedError
        ``ambiguous_structure`` where several could be it.
    """
    drawn = [r for r in rois if r.contours]
    if any(r.number == given for r in drawn):
        return given
    known = [Roi(number=r.number, name=r.name, interpreted_type=r.interpreted_type) for r in drawn]
    found = look_up(["BODY"], {}, known)  # by name, else by type EXTERNAL
    found.require_clear()
    return found.found["BODY"].roi_number if found.found else None


def choose_body(loaded: LoadedCt, drawn: Structure | None, notes: list[str]) -> Structure:
    """The outline that is drawn, its holes filled, else what is found from the CT.

    Raises
    ------
    InputRefusedError
        ``no_body`` where neither is there; ``unreadable_image`` or ``structure_outside_image`` where part of it has
        no CT values.
    """
    if drawn is not None:
        _check_padding(loaded, drawn.name, drawn.mask, notes)
        body = _drawn(loaded.ct, drawn, notes)
    else:
        # With nothing drawn, padding that may be tissue could be anywhere.
        everywhere = np.ones_like(loaded.ct.hu, dtype=np.bool_)
        if loaded.padding_hu > limits.AIR_LIKE_HU:
            _check_padding(loaded, "the CT", everywhere, notes)
        mask = find_body(loaded.ct, notes)
        body = Structure(FOUND_ROI_NUMBER, "BODY", "EXTERNAL", mask)
        notes.append(
            "The structure set has no BODY (or EXTERNAL) with contours; the outline was found from the CT at "
            f"{_TISSUE_HU:g} HU: {np.count_nonzero(mask) * loaded.ct.grid.voxel_cc:.0f} cc."
        )
    _note_edges(loaded.ct, body, notes)
    return body


def find_body(ct: CtVolume, notes: list[str]) -> BoolVolume:
    """The patient's outline from the CT.

    The largest connected tissue that is thicker than a couch's shell, with its holes filled slice by slice.
    Large tissue apart from it is named in ``notes``.

    Returns
    -------
    (Z, Y, X) bool

    Raises
    ------
    InputRefusedError
        ``no_body`` where there is no tissue of a patient's size.
    """
    tissue = ct.hu > _TISSUE_HU
    core = np.stack([_opened(s, ct) for s in tissue])
    labels, count = ndimage.label(core)
    if count == 0:
        raise _no_body("no tissue was found in the CT")
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    patient = labels == int(sizes.argmax())
    other_cc = float(sizes.sum() - sizes.max()) * ct.grid.voxel_cc
    del labels
    if other_cc > _MIN_BODY_CC:
        notes.append(
            f"{other_cc:.0f} cc of tissue apart from the outline that was found were left out: "
            "a couch or supports, or else an arm or a leg; beams must not pass there."
        )
    # Skin that the opening took: tissue next to what is left of it.
    grown = np.stack([ndimage.binary_dilation(s, np.ones((3, 3))) for s in patient]) & tissue
    body: BoolVolume = np.stack([_filled(s) for s in grown])
    volume_cc = np.count_nonzero(body) * ct.grid.voxel_cc
    if volume_cc < _MIN_BODY_CC:
        raise _no_body(f"the largest tissue in the CT has {volume_cc:.0f} cc, expected at least {_MIN_BODY_CC:g}")
    return body


def _opened(tissue: BoolVolume, ct: CtVolume) -> BoolVolume:
    """A slice without what is thinner than a couch's shell; at the image's edge tissue is taken to go on."""
    dx, dy, _ = ct.grid.spacing_mm
    steps = max(int(_COUCH_RADIUS_MM / max(dx, dy)), 1)
    wide = np.pad(tissue, steps, mode="edge")
    # Step by step only edges are looked at: at 512 x 512 ten times quicker than with one disk.
    opened: BoolVolume = ndimage.binary_opening(wide, iterations=steps)[steps:-steps, steps:-steps]
    return opened


def _filled(mask: BoolVolume) -> BoolVolume:
    """A slice with its holes: all that cannot be reached from outside, which labels find faster than dilations."""
    outside, _ = ndimage.label(~np.pad(mask, 1))
    filled: BoolVolume = (outside != outside[0, 0])[1:-1, 1:-1]
    return filled


def _drawn(ct: CtVolume, roi: Structure, notes: list[str]) -> Structure:
    """A drawn body with its holes filled: outlines drawn as a ring of skin mean the whole patient."""
    mask = roi.mask.copy()
    for k in np.flatnonzero(roi.mask.any(axis=(1, 2))):
        mask[k] = _filled(roi.mask[k])
    filled = np.count_nonzero(mask) - np.count_nonzero(roi.mask)
    if filled:
        notes.append(f"Holes of {roi.name!r} were filled for planning: {filled * ct.grid.voxel_cc:.1f} cc.")
    tissue = float(np.mean(ct.hu[mask] > _TISSUE_HU))
    if tissue < _MIN_TISSUE_FRACTION:
        raise _no_body(
            f"{roi.name!r} (ROI {roi.roi_number}) is no outline of this patient: {100 * tissue:.0f} % of it is tissue"
        )
    _note_ends(ct, roi, mask, notes)
    return replace(roi, mask=mask)


def known_extent_mm(ct: CtVolume, body: BoolVolume) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lower and upper corner (x, y, z) of where the patient is known: the CT, up to where the outline ends too early.

    Outside of the outline all counts as air. Where it ends though the patient goes on, a beam must not enter.
    """
    spacing = np.asarray(ct.grid.spacing_mm)
    low = np.asarray(ct.grid.origin_mm) - spacing / 2
    high = low + spacing * np.asarray(ct.grid.shape[::-1])
    for k, step in _early_ends(ct, body):
        if step < 0:
            low[2] += k * spacing[2]
        else:
            high[2] = low[2] + (k + 1) * spacing[2]
    return low, high


def _early_ends(ct: CtVolume, body: BoolVolume) -> list[tuple[int, int]]:
    """Last slices of an outline (and -1 or 1, towards what is not drawn) beyond which the patient goes on."""
    drawn = np.flatnonzero(body.any(axis=(1, 2)))
    ends = [(int(drawn[-1]), 1), (int(drawn[0]), -1)] if drawn.size else []
    return [
        (k, step)
        for k, step in ends
        if 0 <= k + step < ct.grid.shape[0] and np.mean(ct.hu[k + step][body[k]] > _TISSUE_HU) > _GOES_ON_FRACTION
    ]


def _note_ends(ct: CtVolume, roi: Structure, mask: BoolVolume, notes: list[str]) -> None:
    """Note slices without an outline, and whether there is more of the patient there."""
    missing = np.flatnonzero(~mask.any(axis=(1, 2)))
    if not missing.size:
        return
    z_mm = ct.grid.axis_mm(2)
    text = f"{roi.name!r} is not drawn on {missing.size} of {ct.grid.shape[0]} CT slices"
    ends = _early_ends(ct, mask)
    if ends:
        at = " and ".join(f"z = {z_mm[k]:.2f} mm" for k, _ in sorted(ends))
        text += f"; the patient goes on beyond its end at {at}: that counts as air, and beams must not pass there"
    notes.append(f"{text}.")


def _check_padding(loaded: LoadedCt, name: str, body: BoolVolume, notes: list[str]) -> None:
    """Refuse where a part of the body has no CT values: how protons stop there is not known."""
    if loaded.padding is None:
        return
    padded = int(np.count_nonzero(loaded.padding & body))
    volume_cc = padded * loaded.ct.grid.voxel_cc
    if not padded:
        return
    text = f"{volume_cc:.1f} cc inside of {name!r} are padding ((0028,0120) Pixel Padding Value), without CT values"
    if loaded.padding_hu > limits.AIR_LIKE_HU:
        raise InputRefusedError(
            f"{text}; the padding value stands for {loaded.padding_hu:.0f} HU, so it may as well be tissue.",
            code=ErrorCode.UNREADABLE_IMAGE,
            remedy="Export the CT with a padding value outside of the range of CT values.",
            padding_hu=loaded.padding_hu,
            volume_cc=round(volume_cc, 2),
        )
    if volume_cc > limits.MAX_PADDING_IN_BODY_CC:
        raise InputRefusedError(
            f"{text}: the patient reaches out of the scanned field of view.",
            code=ErrorCode.STRUCTURE_OUTSIDE_IMAGE,
            remedy="Reconstruct the CT with a field of view that holds the patient, or draw BODY inside of it.",
            volume_cc=round(volume_cc, 2),
        )
    notes.append(f"{text}; they count as air.")


def _note_edges(ct: CtVolume, body: Structure, notes: list[str]) -> None:
    """Note a patient cut off at the image's sides: a beam through there would miss tissue."""
    sides = {"right": (2, 0), "left": (2, -1), "anterior": (1, 0), "posterior": (1, -1)}
    cut = [
        name
        for name, (axis, index) in sides.items()
        if (body.mask.take(index, axis) & (ct.hu.take(index, axis) > _TISSUE_HU)).any()
    ]
    if cut:
        notes.append(
            f"The patient reaches the CT's edge ({', '.join(cut)}); tissue beyond it is not known, "
            "so beams must not enter there."
        )


def _no_body(problem: str) -> InputRefusedError:
    return InputRefusedError(
        f"There is no outline of the patient: {problem}.",
        code=ErrorCode.NO_BODY,
        remedy="Contour the patient's outline as BODY (interpreted type EXTERNAL) and send the structure set again.",
    )
