"""Where slices lie: positions and orientations become one axial grid, or a refusal; pixels are read elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import Grid, Vector3

from .attributes import Reader
from .limits import (
    DIRECTION_TOLERANCE,
    MAX_COORDINATE_MM,
    MAX_ROWS_COLUMNS,
    MAX_SLICES,
    MAX_SPACING_MM,
    MAX_TILT_DEG,
    MAX_VOXELS,
    MIN_SLICES,
    MIN_SPACING_MM,
    POSITION_TOLERANCE_MM,
    SPACING_TOLERANCE_MM,
)


@dataclass(frozen=True)
class SlicePlane:
    """Geometry of one image as its header has it.

    Attributes
    ----------
    position_mm : (x, y, z) of the first pixel's centre
    row_direction, column_direction : along a row (column index rises), along a column (row index rises)
    spacing_mm : (between rows, between columns)
    """

    uid: str
    position_mm: Vector3
    row_direction: Vector3
    column_direction: Vector3
    spacing_mm: tuple[float, float]
    rows: int
    columns: int


@dataclass(frozen=True)
class Stack:
    """Slices in the order of z and how to turn their pixels so that x and y rise.

    Attributes
    ----------
    order : indices into the given images, from the lowest slice up
    flip_x, flip_y : whether columns, rows have to be reversed
    """

    grid: Grid
    order: tuple[int, ...]
    flip_x: bool
    flip_y: bool


def read_plane(image: Reader) -> SlicePlane:
    """Read one image's geometry; sizes are bounded here, before any pixel is decoded."""
    orientation = image.floats("ImageOrientationPatient", 6)
    position = image.floats("ImagePositionPatient", 3)
    if max(abs(v) for v in position) > MAX_COORDINATE_MM:
        raise image.error("ImagePositionPatient", f"is beyond {MAX_COORDINATE_MM:g} mm")
    spacing = image.floats("PixelSpacing", 2)
    if not all(MIN_SPACING_MM <= s <= MAX_SPACING_MM for s in spacing):
        raise image.error(
            "PixelSpacing", f"is {spacing[0]:g} x {spacing[1]:g} mm, expected {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g}"
        )
    return SlicePlane(
        uid=image.uid("SOPInstanceUID"),
        position_mm=(position[0], position[1], position[2]),
        row_direction=(orientation[0], orientation[1], orientation[2]),
        column_direction=(orientation[3], orientation[4], orientation[5]),
        spacing_mm=(spacing[0], spacing[1]),
        rows=image.integer("Rows", 1, MAX_ROWS_COLUMNS),
        columns=image.integer("Columns", 1, MAX_ROWS_COLUMNS),
    )


def check_position(images: Sequence[Reader]) -> str:
    """Refuse patients that do not lie head first supine.

    The images would still be placed right (positions are in patient coordinates), but beams are told in the
    machine's: gantry 90° comes from the patient's left only for HFS.
    """
    positions = sorted({image.text("PatientPosition") for image in images})
    if positions != ["HFS"]:
        found = ", ".join(p or "none" for p in positions)
        raise InputRefusedError(
            f"(0018,5100) Patient Position is {found}; only HFS (head first, supine) is planned, since beam angles are "
            "the machine's and would enter another side of this patient.",
            code=ErrorCode.UNSUPPORTED_PATIENT_POSITION,
            remedy="Plan this patient elsewhere; where the attribute is wrong or missing, correct it and send again.",
            found=positions,
            expected=["HFS"],
        )
    return "HFS"


def check_tilt(images: Sequence[Reader]) -> None:
    """Refuse series that say of themselves that the gantry was tilted."""
    for image in images:
        if image.value("GantryDetectorTilt") is None:
            continue
        (tilt,) = image.floats("GantryDetectorTilt", 1)
        if abs(tilt) > MAX_TILT_DEG:
            raise InputRefusedError(
                f"{image.what} has (0018,1120) Gantry/Detector Tilt {tilt:g}°, expected 0.",
                code=ErrorCode.UNSUPPORTED_GEOMETRY,
                remedy="Scan without gantry tilt, or resample the series to axial slices.",
                tilt_deg=tilt,
            )


def stack(planes: Sequence[SlicePlane]) -> Stack:
    """Put slices together to one regular axial grid.

    Raises
    ------
    InputRefusedError
        ``unsupported_geometry``, ``duplicate_slices`` or ``non_uniform_slices``.
    """
    if not MIN_SLICES <= len(planes) <= MAX_SLICES:
        raise _unsupported(f"The series has {len(planes)} slices, expected {MIN_SLICES} to {MAX_SLICES}.")
    first = planes[0]
    _check_alike(planes)
    if first.rows * first.columns * len(planes) > MAX_VOXELS:
        raise InputRefusedError(
            f"The CT has {first.columns} x {first.rows} x {len(planes)} voxels, at most {MAX_VOXELS} are planned on.",
            code=ErrorCode.TOO_LARGE,
            remedy="Resample the CT or leave out slices far from the target.",
        )
    flip_x, flip_y = _axial(first)
    z = np.array([p.position_mm[2] for p in planes])
    order = np.argsort(z, kind="stable")
    spacing_z = _slice_spacing([planes[i] for i in order], z[order])
    row_spacing, column_spacing = first.spacing_mm
    x0, y0 = np.median([p.position_mm[:2] for p in planes], axis=0)
    origin = (
        float(x0) - (first.columns - 1) * column_spacing * flip_x,
        float(y0) - (first.rows - 1) * row_spacing * flip_y,
        float(z[order[0]]),
    )
    grid = Grid(origin, (column_spacing, row_spacing, spacing_z), (len(planes), first.rows, first.columns))
    return Stack(grid, tuple(int(i) for i in order), flip_x, flip_y)


def _check_alike(planes: Sequence[SlicePlane]) -> None:
    first = planes[0]
    for p in planes:
        if (p.rows, p.columns) != (first.rows, first.columns):
            raise _unsupported(
                f"Slices have different sizes: {first.columns} x {first.rows} and {p.columns} x {p.rows} pixels "
                f"(image {p.uid}).",
                sop_instance_uid=p.uid,
            )
        if np.abs(np.subtract(p.spacing_mm, first.spacing_mm)).max() > SPACING_TOLERANCE_MM:
            raise _unsupported(
                f"Slices have different (0028,0030) Pixel Spacing: {first.spacing_mm} and {p.spacing_mm} mm "
                f"(image {p.uid}).",
                sop_instance_uid=p.uid,
            )
        directions = np.subtract(p.row_direction + p.column_direction, first.row_direction + first.column_direction)
        if np.abs(directions).max() > DIRECTION_TOLERANCE:
            raise _unsupported(
                f"Slices have different (0020,0037) Image Orientation (Patient) (image {p.uid}).",
                sop_instance_uid=p.uid,
            )


def _axial(plane: SlicePlane) -> tuple[bool, bool]:
    """Whether x and y fall along the rows and columns; refuse any other orientation than axial."""
    row, column = np.array(plane.row_direction), np.array(plane.column_direction)
    axes = np.abs(np.concatenate([row, column])) - np.array([1.0, 0, 0, 0, 1.0, 0])
    if np.abs(axes).max() > DIRECTION_TOLERANCE:
        orientation = [round(float(v), 6) for v in (*row, *column)]
        normal = np.cross(row, column)
        kind = "oblique or with a tilted gantry"
        if np.isclose(np.abs(normal).max(), 1.0, atol=DIRECTION_TOLERANCE):
            kind = ("sagittal", "coronal", "axial, but turned in its plane")[int(np.abs(normal).argmax())]
        raise _unsupported(
            f"The slices are {kind}: (0020,0037) Image Orientation (Patient) is {orientation}, "
            "expected axial slices along the patient's axes.",
            orientation=orientation,
        )
    return bool(row[0] < 0), bool(column[1] < 0)


def _slice_spacing(planes: Sequence[SlicePlane], z: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """The spacing of slices that lie straight above one another at even distances."""
    steps = np.diff(z)
    twice = np.flatnonzero(steps < MIN_SPACING_MM)
    if twice.size:
        pairs = [[planes[i].uid, planes[i + 1].uid] for i in twice[:5]]
        raise InputRefusedError(
            f"{twice.size} slices lie where another one lies, the first at z = {z[twice[0]]:.2f} mm.",
            code=ErrorCode.DUPLICATE_SLICES,
            remedy="Send one reconstruction of the CT, each slice once.",
            duplicates=int(twice.size),
            z_mm=[round(float(z[i]), 3) for i in twice[:5]],
            sop_instance_uids=pairs,
        )
    xy = np.array([p.position_mm[:2] for p in planes])
    drift = float(np.abs(xy - xy[0]).max())
    if drift > POSITION_TOLERANCE_MM:
        raise _unsupported(
            f"The slices are shifted against each other by up to {drift:.2f} mm in x or y, as with a tilted gantry; "
            "expected slices straight above one another.",
            shift_mm=round(drift, 3),
        )
    spacing = float(z[-1] - z[0]) / (len(z) - 1)
    off = np.abs(z - (z[0] + spacing * np.arange(len(z))))
    if off.max() > POSITION_TOLERANCE_MM:
        usual = float(np.median(steps))
        odd = np.flatnonzero(np.abs(steps - usual) > POSITION_TOLERANCE_MM)
        gaps = [{"z_mm": round(float(z[i]), 3), "step_mm": round(float(steps[i]), 3)} for i in odd[:5]]
        raise InputRefusedError(
            f"Slices are not evenly spaced: the usual step is {usual:.2f} mm, {odd.size} steps differ, from "
            f"{steps.min():.2f} to {steps.max():.2f} mm.",
            code=ErrorCode.NON_UNIFORM_SLICES,
            remedy="Send the slices that are missing, or a CT reconstructed at one spacing.",
            usual_step_mm=round(usual, 3),
            odd_steps=gaps,
        )
    if spacing > MAX_SPACING_MM:
        raise _unsupported(f"Slices are {spacing:.1f} mm apart, at most {MAX_SPACING_MM:g} mm is planned on.")
    return spacing


def _unsupported(message: str, **details: object) -> InputRefusedError:
    return InputRefusedError(
        message,
        code=ErrorCode.UNSUPPORTED_GEOMETRY,
        remedy="Send an axial CT series with evenly spaced slices of one size.",
        **details,
    )
