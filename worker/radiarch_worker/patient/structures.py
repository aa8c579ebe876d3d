"""One ROI of the structure set to a structure on the CT's grid: its checks, and what is said of it.

Which outlines of a plane count is decided in `planes`, what lies between planes in `slices`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import BoolVolume, Grid, Structure

from . import limits
from .planes import Found, Planes, on_planes
from .raster import FloatArray, TooLargeError
from .rtstruct import RoiContours
from .slices import TIE_MM, Filled, Gap, fill_slices, off_slice_mm, tolerance_mm

_LISTED = 10
"""Heights in a message."""


@dataclass(frozen=True)
class Rules:
    """What is asked of a structure.

    Attributes
    ----------
    max_gap_mm : slices without a contour are interpolated where no more than this is missing between two contours
    is_whole : whether it may not have longer gaps (a target, the patient's outline): else it then has two parts
    is_outline : whether it is the patient's outline: holes in it mean nothing
    is_cut : whether what reaches beyond the CT is cut off, however much it is
    """

    max_gap_mm: float
    is_whole: bool = False
    is_outline: bool = False
    is_cut: bool = False


def build_structure(
    roi: RoiContours, grid: Grid, z_of_image: Mapping[str, float], rules: Rules, notes: list[str]
) -> tuple[Structure, int]:
    """A structure from its contours.

    Contours on one plane are combined by the even-odd rule: an inner one is a hole. One that is stored twice counts
    once. Contours between slices, or not on every slice, are interpolated by their signed distance.

    Parameters
    ----------
    grid : of the CT
    z_of_image : z of each image by SOP Instance UID, mm
    notes : what the user should know is added here

    Returns
    -------
    structure, voxels
        ``voxels`` is the size of the box round it, which its mask takes in memory.

    Raises
    ------
    InputRefusedError
        ``empty_structure``, ``ambiguous_structure``, ``incomplete_structure``, ``structure_outside_image``,
        ``unsupported_geometry`` or ``too_large``.
    """
    if not roi.contours:
        other = roi.kinds_ignored or "none at all"
        raise refusal(
            roi, ErrorCode.EMPTY_STRUCTURE, f"has no closed contours ({other})", "Contour it, or leave it out."
        )
    outlines = [c.points_mm[:, :2] for c in roi.contours]
    z_mm = _heights(roi, grid, z_of_image)
    remarks: list[str] = []
    try:
        planes, found = on_planes(outlines, z_mm, grid, is_filled=rules.is_outline)
        _check_clear(roi, found)
        _check_crossing(roi, planes, found, remarks)
        others = [i.z_mm for i in roi.ignored if np.isfinite(i.z_mm)]
        filled = fill_slices(planes, grid, max_gap_mm=rules.max_gap_mm, other_mm=others)
    except TooLargeError as e:
        raise refusal(
            roi, ErrorCode.TOO_LARGE, f"is too large ({e})", "Export it with fewer points, inside the image."
        ) from e
    _check_whole(roi, filled, rules, grid)
    mask = _place(roi, filled, grid, rules, remarks)
    _check_winding(roi, filled, grid)
    notes += [f"{roi.title}: {text}." for text in (*_remarks(roi, found, filled, grid), *remarks)]
    structure = Structure(
        roi.number,
        roi.name,
        roi.interpreted_type,
        mask,
        filled.planes.contours,
        properties=roi.properties,
        color=roi.color,
    )
    return structure, filled.region.inside.size


def _heights(roi: RoiContours, grid: Grid, z_of_image: Mapping[str, float]) -> FloatArray:
    heights = []
    for k, contour in enumerate(roi.contours, start=1):
        z = contour.points_mm[:, 2]
        if np.ptp(z) > limits.PLANE_TOLERANCE_MM:
            raise refusal(
                roi,
                ErrorCode.UNSUPPORTED_GEOMETRY,
                f"has a closed contour ({k} of {len(roi.contours)}, (3006,0050) Contour Data) that is not axial: "
                f"its z goes from {z.min():.2f} to {z.max():.2f} mm",
                "Export the structures as axial contours on the CT's slices.",
            )
        height = float(z.mean())
        drawn_on = z_of_image.get(contour.image_uid)
        if drawn_on is not None and abs(height - drawn_on) > grid.spacing_mm[2] + limits.PLANE_TOLERANCE_MM:
            raise refusal(
                roi,
                ErrorCode.UNSUPPORTED_GEOMETRY,
                f"has a contour at z = {height:.2f} mm ((3006,0050) Contour Data) that references the image at "
                f"z = {drawn_on:.2f} mm ((3006,0016) Contour Image Sequence)",
                "Structure set and CT contradict each other: export both again from where they were drawn.",
            )
        heights.append(height)
    return np.array(heights)


def _check_clear(roi: RoiContours, found: Found) -> None:
    if not found.unclear:
        return
    where = heights_text([z for z, _ in found.unclear])
    raise refusal(
        roi,
        ErrorCode.AMBIGUOUS_STRUCTURE,
        f"has contours of which it is not known whether they are holes, on {where}: {found.unclear[0][1]}",
        "Store each contour once, or draw the hole farther from the edge, and send the structure set again.",
    )


def _check_crossing(roi: RoiContours, planes: Planes, found: Found, remarks: list[str]) -> None:
    """Refuse contours that cross others of their plane: nested ones are holes, side by side they are parts."""
    crossing = np.flatnonzero(found.crossing_mm2)
    if not crossing.size:
        return
    share = found.crossing_mm2.sum() / max(found.area_mm2.sum(), 1e-9)
    of_slice = (found.crossing_mm2[crossing] / np.maximum(found.area_mm2[crossing], 1e-9)).max()
    text = (
        f"contours on one slice that cross each other, so that two enclose {max(100 * share, 0.01):.2f} % of it, on "
        f"{heights_text(planes.z_mm[crossing].tolist())}"
    )
    if share > limits.MAX_CROSSING_FRACTION or of_slice > limits.MAX_CROSSING_FRACTION_OF_SLICE:
        raise refusal(
            roi,
            ErrorCode.AMBIGUOUS_STRUCTURE,
            f"has {text}: whether these are holes or belong to it is not known",
            "Join the contours that cross, or cut them apart, and send the structure set again.",
        )
    remarks.append(f"has {text}; that counts as outside")


def _check_winding(roi: RoiContours, filled: Filled, grid: Grid) -> None:
    """Refuse an outline that goes round more than once: even-odd leaves out what lies within both rounds."""
    dx, dy, _ = grid.spacing_mm
    on_slice = off_slice_mm(filled.planes.z_mm, grid) <= tolerance_mm(grid)
    for z, drawn, is_slice in zip(filled.planes.z_mm, filled.planes.outlines, on_slice, strict=True):
        if len(drawn) != 1 or not is_slice:
            continue
        closed = np.vstack([drawn[0], drawn[0][:1]]) - drawn[0][0]
        x, y = closed.T
        wound_mm2 = float(abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2)
        edge_mm2 = float(np.hypot(*np.diff(closed, axis=0).T).sum()) * max(dx, dy)
        if wound_mm2 <= edge_mm2:
            continue
        k = round((float(z) - grid.origin_mm[2]) / grid.spacing_mm[2]) - filled.region.start[0]
        if not 0 <= k < filled.region.inside.shape[0]:  # far beyond the CT
            continue
        enclosed_mm2 = int(np.count_nonzero(filled.region.inside[k])) * dx * dy
        if enclosed_mm2 < limits.MIN_ENCLOSED_FRACTION * wound_mm2:
            raise refusal(
                roi,
                ErrorCode.AMBIGUOUS_STRUCTURE,
                f"has a contour at z = {z:.2f} mm that goes round more than once: it encloses "
                f"{enclosed_mm2 / 100:.1f} cm² where it winds round {wound_mm2 / 100:.1f} cm²",
                "Draw it as a simple outline, and send the structure set again.",
            )


def _check_whole(roi: RoiContours, filled: Filled, rules: Rules, grid: Grid) -> None:
    """Refuse where too much is missing between contours, or where what is drawn is not known."""
    dz = grid.spacing_mm[2]
    steps = np.diff(filled.planes.z_mm)
    wide = steps - dz > rules.max_gap_mm + TIE_MM
    if steps.size > 1 and np.count_nonzero(wide) > steps.size / 2:
        raise refusal(
            roi,
            ErrorCode.INCOMPLETE_STRUCTURE,
            f"has contours {np.median(steps):.1f} mm apart on slices of {dz:g} mm; at most {rules.max_gap_mm:g} mm "
            "without a contour are interpolated (max_contour_gap_mm)",
            "Contour it on more slices, or raise max_contour_gap_mm in the protocol.",
        )
    if not rules.is_whole:
        return
    if filled.open:
        raise refusal(
            roi,
            ErrorCode.INCOMPLETE_STRUCTURE,
            f"has no contour {_gaps_text(filled.open)}; at most {rules.max_gap_mm:g} mm are interpolated "
            "(max_contour_gap_mm)",
            "Contour the slices between, or raise max_contour_gap_mm in the protocol. Parts that are meant to be apart "
            "need a ROI each; a derived structure 'A or B' joins them.",
            gaps_mm=[[gap.low_mm, gap.high_mm] for gap in filled.open[:_LISTED]],
        )
    drawn = filled.planes.z_mm
    lost = [
        i
        for i in roi.ignored
        if i.points > 2
        and np.isfinite(i.z_mm)
        and (
            i.z_mm < drawn[0]
            or i.z_mm > drawn[-1]
            or (not rules.is_outline and np.abs(drawn - i.z_mm).min() <= limits.PLANE_TOLERANCE_MM)
        )
    ]
    if lost:
        raise refusal(
            roi,
            ErrorCode.INCOMPLETE_STRUCTURE,
            f"has contours that are not closed ({roi.kinds_ignored}; (3006,0042) Contour Geometric Type), on "
            f"{heights_text([i.z_mm for i in lost])}: at its ends or beside closed ones, where what they enclose "
            "cannot be interpolated",
            "Close the contours (CLOSED_PLANAR), or remove them, and send the structure set again.",
        )


def _remarks(roi: RoiContours, found: Found, filled: Filled, grid: Grid) -> list[str]:
    """What was decided about a ROI, for the user."""
    remarks = []
    if roi.ignored:
        at = [i.z_mm for i in roi.ignored if np.isfinite(i.z_mm)]
        where = f", on {heights_text(at)}" if at else ""
        remarks.append(f"contours that are not closed were left out ({roi.kinds_ignored}{where})")
    if found.doubled_mm:
        remarks.append(
            f"contours that are stored more than once were counted once, on {heights_text(found.doubled_mm)}"
        )
    if found.joined_mm:
        remarks.append(
            f"contours at {heights_text(found.joined_mm)} lie beside a slice that has its own: they count on it"
        )
    if filled.hollow_mm:
        remarks.append(f"contours that enclose nothing were left out, on {heights_text(filled.hollow_mm)}")
    if filled.between_slices:
        remarks.append(
            f"{filled.between_slices} of {len(filled.planes.z_mm)} contoured planes are not on one of the CT's slices "
            f"of {grid.spacing_mm[2]:.2f} mm; slices were interpolated between them"
        )
    elif filled.interpolated_mm:
        remarks.append(
            f"{len(filled.interpolated_mm)} slices without a contour were interpolated between their neighbours, "
            f"{heights_text(filled.interpolated_mm)}"
        )
    if filled.open:
        remarks.append(f"has no contour {_gaps_text(filled.open)}; it counts as parts with nothing between")
    return remarks


def _gaps_text(gaps: Sequence[Gap]) -> str:
    named = [
        f"between z = {g.low_mm:.2f} and {g.high_mm:.2f} mm ({g.missing_mm:.1f} mm missing)" for g in gaps[:_LISTED]
    ]
    return ", ".join(named) + (f" and {len(gaps) - _LISTED} more gaps" if len(gaps) > _LISTED else "")


def heights_text(z_mm: Sequence[float]) -> str:
    """``z = -14.00, -10.00 mm``, at most `_LISTED` of them."""
    ordered = sorted({round(z, 2) for z in z_mm})
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return f"z = {', '.join(f'{z:.2f}' for z in ordered[:_LISTED])} mm{more}"


def _place(roi: RoiContours, filled: Filled, grid: Grid, rules: Rules, remarks: list[str]) -> BoolVolume:
    """The region on the image's grid; what lies off the image is measured."""
    region = filled.region
    start = np.array(region.start)
    low = np.maximum(start, 0)
    high = np.minimum(start + region.inside.shape, grid.shape)
    # calloc'ed pages that nothing is written to take no memory: a small structure costs little.
    mask = np.zeros(grid.shape, dtype=np.bool_)
    kept = in_height = 0
    if (high > low).all():
        a, b = low - start, high - start
        part = region.inside[a[0] : b[0], a[1] : b[1], a[2] : b[2]]
        mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = part
        kept = int(np.count_nonzero(part))
        in_height = int(np.count_nonzero(region.inside[a[0] : b[0]]))
    total = region.count
    if kept == 0 and (total > 0 or _off_image(filled.planes, grid)):
        raise refusal(
            roi,
            ErrorCode.STRUCTURE_OUTSIDE_IMAGE,
            "lies wholly outside of the CT",
            "Send the CT that the structures were drawn on.",
        )
    if total == 0:
        raise refusal(
            roi, ErrorCode.EMPTY_STRUCTURE, "is smaller than one voxel of the CT", "Contour it larger, or leave it out."
        )
    _check_outside(roi, filled, (total, in_height, kept), grid, rules, remarks)
    return mask


def _check_outside(
    roi: RoiContours, filled: Filled, voxels: tuple[int, int, int], grid: Grid, rules: Rules, remarks: list[str]
) -> None:
    """Refuse, or note, what of a ROI lies off the image; ``voxels``: all, on the CT's slices, on the image."""
    total, in_height, kept = voxels
    outside, beside = 1 - kept / total, 1 - kept / max(in_height, 1)
    # The outline may go on above and below what was scanned; one that is off to the side is another patient's.
    too_much = beside if rules.is_outline else 0.0 if rules.is_cut else outside
    if too_much > (limits.MAX_OUTLINE_BESIDE_FRACTION if rules.is_outline else limits.MAX_OUTSIDE_FRACTION):
        raise refusal(
            roi,
            ErrorCode.STRUCTURE_OUTSIDE_IMAGE,
            f"lies outside of the CT with {100 * too_much:.1f} % of its volume",
            "Send a CT that contains the structure.",
            outside_percent=round(100 * too_much, 2),
        )
    if outside > 0:
        drawn, slices = filled.planes.z_mm, grid.axis_mm(2)
        remarks.append(
            f"{max(100 * outside, 0.01):.2f} % of its volume lies outside of the CT and was left out (contours from "
            f"z = {drawn[0]:.2f} to {drawn[-1]:.2f} mm, the CT from {slices[0]:.2f} to {slices[-1]:.2f} mm)"
        )


def _off_image(planes: Planes, grid: Grid) -> bool:
    """Whether the contours' box and the image's have nothing in common."""
    points = np.concatenate([xy for drawn in planes.outlines for xy in drawn])
    low_mm = (*points.min(axis=0).tolist(), float(planes.z_mm[0]))
    high_mm = (*points.max(axis=0).tolist(), float(planes.z_mm[-1]))
    for axis in range(3):
        centers, half = grid.axis_mm(axis), grid.spacing_mm[axis] / 2
        if high_mm[axis] < centers[0] - half or low_mm[axis] > centers[-1] + half:
            return True
    return False


def refusal(roi: RoiContours, code: ErrorCode, problem: str, remedy: str, **details: object) -> InputRefusedError:
    """Why a ROI cannot be used."""
    return InputRefusedError(
        f"{roi.title} {problem}.", code=code, remedy=remedy, roi_number=roi.number, roi_name=roi.name, **details
    )
