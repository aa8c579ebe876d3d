"""Where slices lie: positions and orientations become one axial grid, or a refusal; pixels are read elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import Grid, Vector3
from radiarch_worker.position import PatientPosition

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

_Scalar = TypeVar("_Scalar", bound=np.generic)


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
    turn : of the pixels of each slice
    """

    grid: Grid
    order: tuple[int, ...]
    turn: InPlaneTurn


@dataclass(frozen=True)
class InPlaneTurn:
    """How an axial slice was stored.

    Attributes
    ----------
    swapped : rows run along the patient's y, as scanners store patients who lie on their side
    flip_x, flip_y : x, y fall along the rows or columns that run along them
    """

    swapped: bool
    flip_x: bool
    flip_y: bool

    def apply(self, pixels: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """A view of (rows, columns) as (Y, X), both rising."""
        upright = pixels.T if self.swapped else pixels
        return upright[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


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


def read_position(images: Sequence[Reader]) -> PatientPosition:
    """How the patient lay, the same in all images.

    The images are placed right without it (positions are in patient coordinates), but beams have the machine's angles:
    gantry 90° comes from the patient's left only for HFS and FFP. So where it is missing, nothing is assumed.

    Raises
    ------
    InputRefusedError
        ``unsupported_patient_position``.
    """
    found = sorted({image.text("PatientPosition") for image in images})
    known = [p.value for p in PatientPosition]
    if len(found) == 1 and found[0] in known:
        return PatientPosition(found[0])
    shown = ", ".join(p[:16] or "none" for p in found[:4])
    raise InputRefusedError(
        f"(0018,5100) Patient Position is {shown}; one of {', '.join(known)} was expected, the same in all images, "
        "since beams have the machine's angles and enter the side of the patient that lies there.",
        code=ErrorCode.UNSUPPORTED_PATIENT_POSITION,
        remedy="Correct the attribute where it is wrong or missing, and send the CT again; other positions are planned "
        "elsewhere.",
        found=[p[:16] for p in found[:4]],
        expected=known,
    )


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
    turn = _axial(first)
    z = np.array([p.position_mm[2] for p in planes])
    order = np.argsort(z, kind="stable")
    spacing_z = _slice_spacing([planes[i] for i in order], z[order])
    y_spacing, x_spacing = reversed(first.spacing_mm) if turn.swapped else first.spacing_mm
    ny, nx = (first.columns, first.rows) if turn.swapped else (first.rows, first.columns)
    x0, y0 = np.median([p.position_mm[:2] for p in planes], axis=0)
    origin = (
        float(x0) - (nx - 1) * x_spacing * turn.flip_x,
        float(y0) - (ny - 1) * y_spacing * turn.flip_y,
        float(z[order[0]]),
    )
    grid = Grid(origin, (x_spacing, y_spacing, spacing_z), (len(planes), ny, nx))
    return Stack(grid, tuple(int(i) for i in order), turn)


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


def _axial(plane: SlicePlane) -> InPlaneTurn:
    """How rows and columns run along x and y; refuse any other orientation than axial."""
    row, column = np.array(plane.row_direction), np.array(plane.column_direction)
    swapped = bool(abs(row[1]) > abs(row[0]))
    along_x, along_y = (column, row) if swapped else (row, column)
    axes = np.abs(np.concatenate([along_x, along_y])) - np.array([1.0, 0, 0, 0, 1.0, 0])
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
    return InPlaneTurn(swapped, bool(along_x[0] < 0), bool(along_y[1] < 0))


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
