"""Contours of one ROI to a mask on the CT's grid; which ROIs there are, and what filling means, live elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError
from scipy import ndimage

from radiarch_worker.model import BoolVolume, Grid, Structure

from . import limits
from .raster import FloatArray, Region, TooLargeError, fill
from .rtstruct import RoiContours


@dataclass(frozen=True)
class _Planes:
    """A ROI's polygons by plane.

    Attributes
    ----------
    z_mm : (planes,) rising
    polygons : (n, 2) each, (x, y) in voxels of the grid
    plane : (len(polygons),) index into ``z_mm``
    """

    z_mm: FloatArray
    polygons: list[FloatArray]
    plane: npt.NDArray[np.int64]


def build_structure(
    roi: RoiContours, grid: Grid, z_of_image: Mapping[str, float], notes: list[str]
) -> tuple[Structure, int]:
    """A structure from its contours.

    Contours on one plane are combined by the even-odd rule: an inner one is a hole. Contours between
    slices, or on every n-th slice only, are interpolated by their signed distance.

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
        ``empty_structure``, ``structure_outside_image``, ``unsupported_geometry`` or ``too_large``.
    """
    if not roi.contours:
        other = ", ".join(f"{n} of {kind}" for kind, n in roi.ignored) or "none at all"
        raise _error(
            roi, ErrorCode.EMPTY_STRUCTURE, f"has no closed contours ({other})", "Contour it, or leave it out."
        )
    if roi.ignored:
        ignored = ", ".join(f"{n} of {kind}" for kind, n in roi.ignored)
        notes.append(f"{_name(roi)}: contours that are not closed were left out ({ignored}).")
    planes = _planes(roi, grid, z_of_image)
    step_mm, on_slices = _drawn_on(planes, grid)
    # Distances between planes that were left out are told from those by which the ROI was drawn.
    try:
        if on_slices and step_mm < 1.5 * grid.spacing_mm[2]:
            region = _fill_slices(planes, grid)
            if len(planes.z_mm) > 1 and (gaps := int(np.rint(np.diff(planes.z_mm) / grid.spacing_mm[2] - 1).sum())):
                notes.append(f"{_name(roi)}: {gaps} slices between its ends have no contour and were left empty.")
        else:
            region = _interpolate(roi, planes, grid, step_mm)
            notes.append(
                f"{_name(roi)}: its contours are {step_mm:.2f} mm apart and not one on each slice of "
                f"{grid.spacing_mm[2]:.2f} mm; slices between them were interpolated."
            )
        _check_crossing(roi, planes, region, notes)
    except TooLargeError as e:
        raise _error(
            roi, ErrorCode.TOO_LARGE, f"is too large ({e})", "Export it with fewer points, inside the image."
        ) from e
    mask = _place(roi, planes, region, grid, notes)
    contours = tuple((float(np.mean(c.points_mm[:, 2])), c.points_mm[:, :2]) for c in roi.contours)
    return Structure(roi.number, roi.name, roi.interpreted_type, mask, contours), region.inside.size


def _planes(roi: RoiContours, grid: Grid, z_of_image: Mapping[str, float]) -> _Planes:
    heights = []
    for contour in roi.contours:
        z = contour.points_mm[:, 2]
        if np.ptp(z) > limits.PLANE_TOLERANCE_MM:
            raise _error(
                roi,
                ErrorCode.UNSUPPORTED_GEOMETRY,
                f"has a contour that is not axial: its z goes from {z.min():.2f} to {z.max():.2f} mm",
                "Export the structures as axial contours on the CT's slices.",
            )
        height = float(z.mean())
        drawn_on = z_of_image.get(contour.image_uid)
        if drawn_on is not None and abs(height - drawn_on) > grid.spacing_mm[2] + limits.PLANE_TOLERANCE_MM:
            raise _error(
                roi,
                ErrorCode.UNSUPPORTED_GEOMETRY,
                f"has a contour at z = {height:.2f} mm that references the image at z = {drawn_on:.2f} mm",
                "Structure set and CT contradict each other: export both again from where they were drawn.",
            )
        heights.append(height)
    z_mm = np.array(heights)
    order = np.argsort(z_mm, kind="stable")
    new = np.concatenate([[True], np.diff(z_mm[order]) > limits.PLANE_TOLERANCE_MM / 3])
    plane = np.empty(len(order), dtype=np.int64)
    plane[order] = np.cumsum(new) - 1
    x0, y0, _ = grid.origin_mm
    dx, dy, _ = grid.spacing_mm
    polygons = [(c.points_mm[:, :2] - (x0, y0)) / (dx, dy) for c in roi.contours]
    return _Planes(z_mm[order][new], polygons, plane)


def _drawn_on(planes: _Planes, grid: Grid) -> tuple[float, bool]:
    """Usual distance between planes, and whether each plane is a slice's."""
    at = (planes.z_mm - grid.origin_mm[2]) / grid.spacing_mm[2]
    off_mm = np.abs(at - np.rint(at)) * grid.spacing_mm[2]
    tolerance = min(limits.PLANE_TOLERANCE_MM, grid.spacing_mm[2] / 4)
    step = float(np.median(np.diff(planes.z_mm))) if len(planes.z_mm) > 1 else grid.spacing_mm[2]
    return step, bool(off_mm.max() <= tolerance)


def _bounds(grid: Grid) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The image and as much again on each side, so that what lies off it can be told."""
    nz, ny, nx = grid.shape
    return (-nz, -ny, -nx), (2 * nz, 2 * ny, 2 * nx)


def _fill_slices(planes: _Planes, grid: Grid) -> Region:
    slices = np.rint((planes.z_mm - grid.origin_mm[2]) / grid.spacing_mm[2]).astype(np.int64)
    low, high = _bounds(grid)
    return _fill(planes.polygons, slices[planes.plane], low, high)


def _fill(
    polygons: Sequence[FloatArray],
    planes: npt.NDArray[np.int64],
    low: tuple[int, int, int],
    high: tuple[int, int, int],
) -> Region:
    return fill(
        polygons,
        planes,
        low=low,
        high=high,
        max_crossings=limits.MAX_CROSSINGS,
        max_voxels=limits.MAX_REGION_VOXELS,
    )


def _interpolate(roi: RoiContours, planes: _Planes, grid: Grid, step_mm: float) -> Region:
    """Shape-based interpolation (Raya and Udupa 1990, doi:10.1109/42.52980) between the drawn planes.

    Planes farther apart than one and a half usual steps are two parts of the ROI, with nothing between.
    """
    if step_mm > limits.MAX_CONTOUR_STEP_MM:
        raise _error(
            roi,
            ErrorCode.UNSUPPORTED_GEOMETRY,
            f"has contours {step_mm:.1f} mm apart, at most {limits.MAX_CONTOUR_STEP_MM:g} mm can be interpolated",
            "Contour it on more slices.",
        )
    low, high = _bounds(grid)
    drawn = _fill(planes.polygons, planes.plane, (0, *low[1:]), (len(planes.z_mm), *high[1:]))
    if drawn.inside.size == 0:
        return drawn
    z_mm = planes.z_mm[drawn.start[0] : drawn.start[0] + drawn.inside.shape[0]]
    z0, dz = grid.origin_mm[2], grid.spacing_mm[2]
    half = 0.5 * step_mm * (1 - 1e-6)  # a slice just half a step beyond the last contour is outside
    first = max(int(np.ceil((z_mm[0] - half - z0) / dz)), low[0])
    last = min(int(np.floor((z_mm[-1] + half - z0) / dz)), high[0] - 1)
    count = max(last - first + 1, 0)
    if count * drawn.inside[0].size > limits.MAX_REGION_VOXELS:
        raise TooLargeError(f"{count * drawn.inside[0].size} voxels")
    inside = np.zeros((count, *drawn.inside.shape[1:]), dtype=np.bool_)
    distance = _distances(drawn.inside, grid)
    for k in range(count):
        z = z0 + (first + k) * dz
        above = int(np.searchsorted(z_mm, z))
        below = above - 1
        nearest = above if below < 0 or (above < len(z_mm) and z_mm[above] - z < z - z_mm[below]) else below
        between = below >= 0 and above < len(z_mm) and z_mm[above] - z_mm[below] <= 1.5 * step_mm
        if abs(z - z_mm[nearest]) <= limits.PLANE_TOLERANCE_MM:
            inside[k] = drawn.inside[nearest]
        elif between:
            weight = (z - z_mm[below]) / (z_mm[above] - z_mm[below])
            inside[k] = (1 - weight) * distance(below) + weight * distance(above) > 0
        elif abs(z - z_mm[nearest]) <= half:
            inside[k] = drawn.inside[nearest]
    return Region((first, *drawn.start[1:]), inside)


def _distances(inside: BoolVolume, grid: Grid) -> Callable[[int], FloatArray]:
    """Signed distance from the edge of a plane's shape, mm, inside positive; the two latest planes are kept."""
    kept: dict[int, FloatArray] = {}
    sampling = (grid.spacing_mm[1], grid.spacing_mm[0])

    def distance(plane: int) -> FloatArray:
        if plane not in kept:
            while len(kept) > 1:
                del kept[min(kept)]
            shape = np.pad(inside[plane], 1)
            both = ndimage.distance_transform_edt(shape, sampling) - ndimage.distance_transform_edt(~shape, sampling)
            kept[plane] = np.asarray(both[1:-1, 1:-1])
        return kept[plane]

    return distance


def _check_crossing(roi: RoiContours, planes: _Planes, region: Region, notes: list[str]) -> None:
    """Refuse contours that cross others of their plane: nested ones are holes, side by side they are parts."""
    claimed_twice = 0
    for plane in np.flatnonzero(np.bincount(planes.plane) > 1):
        polygons = [planes.polygons[i] for i in np.flatnonzero(planes.plane == plane)]
        claimed_twice += _crossing_voxels(polygons)
    if not claimed_twice:
        return
    text = f"has contours on one slice that cross each other ({claimed_twice} voxels lie in both)"
    if claimed_twice > limits.MAX_CROSSING_FRACTION * max(region.count, 1):
        raise _error(
            roi,
            ErrorCode.UNSUPPORTED_GEOMETRY,
            f"{text}: whether these are holes or belong to it is not known",
            "Join the contours that cross, or cut them apart, and send the structure set again.",
        )
    notes.append(f"{_name(roi)} {text}; they count as outside.")


def _crossing_voxels(polygons: Sequence[FloatArray]) -> int:
    if len(polygons) > limits.MAX_CONTOURS_ON_PLANE:
        raise TooLargeError(f"{len(polygons)} contours on one slice")
    low = np.array([p.min(axis=0) for p in polygons])
    high = np.array([p.max(axis=0) for p in polygons])
    apart = (low[:, None] > high[None, :]).any(axis=2)
    pairs = np.argwhere(np.triu(~(apart | apart.T), 1))
    if len(pairs) > limits.MAX_OVERLAPS_ON_PLANE:
        raise TooLargeError(f"{len(pairs)} overlaps of contours on one slice")
    found = 0
    for i, j in pairs.tolist():
        # Only the boxes' overlap is looked at; a nested one is wholly in it.
        corner = np.floor(np.maximum(low[i], low[j])).astype(int)
        end = np.ceil(np.minimum(high[i], high[j])).astype(int) + 1
        both = [_whole(polygons[k], (int(corner[1]), int(corner[0])), (int(end[1]), int(end[0]))) for k in (i, j)]
        common = int(np.count_nonzero(both[0] & both[1]))
        nested = common == 0 or common in (_area(polygons[i]), _area(polygons[j]))
        found += 0 if nested else common
    return found


def _whole(polygon: FloatArray, low: tuple[int, int], high: tuple[int, int]) -> BoolVolume:
    """The polygon's voxels in the box ``low`` to ``high``, (y, x)."""
    region = _fill([polygon], np.zeros(1, dtype=np.int64), (0, *low), (1, *high))
    mask = np.zeros((high[0] - low[0], high[1] - low[1]), dtype=np.bool_)
    if region.inside.size:
        y, x = region.start[1] - low[0], region.start[2] - low[1]
        ny, nx = region.inside.shape[1:]
        # The column after the last one closes a row and may lie beyond the box.
        cut = region.inside[0][:, : mask.shape[1] - x]
        mask[y : y + ny, x : x + nx] = cut
    return mask


def _area(polygon: FloatArray) -> int:
    low, high = np.floor(polygon.min(axis=0)).astype(int), np.ceil(polygon.max(axis=0)).astype(int) + 1
    return int(np.count_nonzero(_whole(polygon, (int(low[1]), int(low[0])), (int(high[1]), int(high[0])))))


def _place(roi: RoiContours, planes: _Planes, region: Region, grid: Grid, notes: list[str]) -> BoolVolume:
    """The region on the image's grid; what lies off the image is measured."""
    start = np.array(region.start)
    low = np.maximum(start, 0)
    high = np.minimum(start + region.inside.shape, grid.shape)
    # calloc'ed pages that nothing is written to take no memory: a small structure costs little.
    mask = np.zeros(grid.shape, dtype=np.bool_)
    if (high > low).all():
        a, b = low - start, high - start
        part = region.inside[a[0] : b[0], a[1] : b[1], a[2] : b[2]]
        mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = part
        kept = int(np.count_nonzero(part))
    else:
        kept = 0
    total = region.count
    if kept == 0 and (total > 0 or _off_image(planes, grid)):
        raise _error(
            roi,
            ErrorCode.STRUCTURE_OUTSIDE_IMAGE,
            "lies wholly outside of the CT",
            "Send the CT that the structures were drawn on.",
        )
    if total == 0:
        raise _error(
            roi, ErrorCode.EMPTY_STRUCTURE, "is smaller than one voxel of the CT", "Contour it larger, or leave it out."
        )
    outside = 1 - kept / total
    if outside > limits.MAX_OUTSIDE_FRACTION:
        raise _error(
            roi,
            ErrorCode.STRUCTURE_OUTSIDE_IMAGE,
            f"lies outside of the CT with {100 * outside:.1f} % of its volume",
            "Send a CT that contains the structure.",
            outside_percent=round(100 * outside, 2),
        )
    if outside > 0:
        notes.append(f"{_name(roi)}: {100 * outside:.2f} % of its volume lies outside of the CT and was left out.")
    return mask


def _off_image(planes: _Planes, grid: Grid) -> bool:
    """Whether the contours' box and the image's have nothing in common."""
    points = np.concatenate(planes.polygons)
    z = (planes.z_mm - grid.origin_mm[2]) / grid.spacing_mm[2]
    low = (z.min(), points[:, 1].min(), points[:, 0].min())
    high = (z.max(), points[:, 1].max(), points[:, 0].max())
    return any(h < -0.5 or lo > n - 0.5 for lo, h, n in zip(low, high, grid.shape, strict=True))


def _name(roi: RoiContours) -> str:
    return f"ROI {roi.name!r} (number {roi.number})"


def _error(roi: RoiContours, code: ErrorCode, problem: str, remedy: str, **details: object) -> InputRefusedError:
    return InputRefusedError(
        f"{_name(roi)} {problem}.", code=code, remedy=remedy, roi_number=roi.number, roi_name=roi.name, **details
    )
