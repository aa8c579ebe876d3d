"""Reading RTDOSE objects of any system into a dose on an axial grid; comparing them lives in `comparison`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID, RLELossless, RTDoseStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import DoseDescription

from radiarch_worker.model import FloatVolume, Grid
from radiarch_worker.patient.attributes import Reader
from radiarch_worker.patient.limits import (
    DIRECTION_TOLERANCE,
    MAX_COORDINATE_MM,
    MAX_ROWS_COLUMNS,
    MAX_SLICES,
    MAX_SPACING_MM,
    MAX_VOXELS,
    MIN_SPACING_MM,
)

MAX_DOSE_GY = 1_000.0
"""Ten times what is ever prescribed: more is a wrong scaling."""
OFFSET_TOLERANCE_MM = 0.01
"""Of planes' places: decimal strings are rounded."""

SummationType = Literal["PLAN", "MULTI_PLAN", "PLAN_OVERVIEW", "FRACTION", "BEAM"]
_SUMMATIONS: dict[str, SummationType] = {
    "PLAN": "PLAN",
    "MULTI_PLAN": "MULTI_PLAN",
    "PLAN_OVERVIEW": "PLAN_OVERVIEW",
    "FRACTION": "FRACTION",
    "BEAM": "BEAM",
}
_SUMMATION_NOTES = {
    "MULTI_PLAN": "Dose Summation Type is MULTI_PLAN: it is the sum of several plans.",
    "PLAN_OVERVIEW": "Dose Summation Type is PLAN_OVERVIEW: it is the dose of the fractions that its Plan Overview "
    "Sequence (300C,0116) names, which need not be all of the plan's.",
    "FRACTION": "Dose Summation Type is FRACTION: it is the dose of one fraction group, not of the whole plan.",
    "BEAM": "Dose Summation Type is BEAM: it is the dose of one or several beams, not of the whole plan.",
}


@dataclass(frozen=True)
class ReadDose:
    """A dose as its object has it.

    Attributes
    ----------
    dose_gy : (Z, Y, X) float32, Gy, in the object's own dose type
    grid : patient LPS mm; x, y and z rise
    weighted : whether the dose is RBE-weighted (Dose Type EFFECTIVE) rather than physical
    summation : of what it is the dose
    referenced_plans : (SOP Class UID, SOP Instance UID)
    """

    dose_gy: FloatVolume
    grid: Grid
    weighted: bool
    summation: SummationType
    frame_of_reference_uid: str
    description: DoseDescription
    referenced_plans: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def read_rtdose(dataset: Dataset, *, what: str = "The RTDOSE") -> ReadDose:
    """Read an RTDOSE.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtdose`` where an attribute is missing or makes no sense, ``unsupported_dose`` where the dose is in
        other units than Gy or of a kind that cannot be judged, ``unsupported_geometry`` where its grid is not
        axial and regular, ``unsupported_transfer_syntax``, ``too_large``.
    """
    reader = Reader(dataset, what, ErrorCode.UNREADABLE_RTDOSE)
    sop_class = reader.text("SOPClassUID")
    if sop_class != RTDoseStorage:
        raise reader.error("SOPClassUID", f"is {UID(sop_class).name[:64] or 'empty'}, expected RT Dose Storage")
    units = reader.text("DoseUnits")
    if units != "GY":
        raise _unsupported(
            f"{what}: (3004,0002) Dose Units is {units[:16] or 'empty'!r}, expected GY",
            "Export the dose in Gy: a relative dose cannot be judged.",
        )
    kind = reader.text("DoseType")
    if kind not in ("PHYSICAL", "EFFECTIVE"):
        raise _unsupported(
            f"{what}: (3004,0004) Dose Type is {kind[:16] or 'empty'!r}, expected PHYSICAL or EFFECTIVE",
            "Name an object that holds a dose, not a difference of doses.",
        )
    summation = _SUMMATIONS.get(reader.text("DoseSummationType"))
    if summation is None:
        raise _unsupported(
            f"{what}: (3004,000A) Dose Summation Type is {reader.text('DoseSummationType')[:20] or 'empty'!r}, "
            f"expected {', '.join(_SUMMATIONS)}",
            "Export the dose of the plan.",
        )
    grid, turn = _geometry(reader)
    dose_gy = _values(reader, grid)[turn]
    spacing = grid.spacing_mm
    return ReadDose(
        dose_gy=np.ascontiguousarray(dose_gy),
        grid=grid,
        weighted=kind == "EFFECTIVE",
        summation=summation,
        frame_of_reference_uid=reader.uid("FrameOfReferenceUID"),
        description=DoseDescription(
            sop_instance_uid=reader.uid("SOPInstanceUID"),
            dose_type="EFFECTIVE" if kind == "EFFECTIVE" else "PHYSICAL",
            max_gy=float(dose_gy.max()),
            grid_mm=spacing,
            manufacturer=reader.text("Manufacturer")[:64],
            label=reader.text("SeriesDescription")[:64],
        ),
        referenced_plans=tuple(
            (item.uid("ReferencedSOPClassUID"), item.uid("ReferencedSOPInstanceUID"))
            for item in (Reader(i, what, reader.code) for i in reader.items("ReferencedRTPlanSequence"))
        ),
        notes=(f"{what}: {_SUMMATION_NOTES[summation]}",) if summation in _SUMMATION_NOTES else (),
    )


def _geometry(reader: Reader) -> tuple[Grid, tuple[slice, slice, slice]]:
    """The grid with rising axes, and how stored values (frame, row, column) are turned onto it."""
    rows = reader.integer("Rows", 2, MAX_ROWS_COLUMNS)
    columns = reader.integer("Columns", 2, MAX_ROWS_COLUMNS)
    frames = reader.integer("NumberOfFrames", 1, MAX_SLICES)
    if frames < 2:
        raise _geometry_error(reader, "has one plane only: between planes its dose is not known")
    if rows * columns * frames > MAX_VOXELS:
        raise InputRefusedError(
            f"{reader.what} has {columns} x {rows} x {frames} voxels, at most {MAX_VOXELS} are read",
            remedy="Export the dose on a coarser grid.",
            code=ErrorCode.TOO_LARGE,
        )
    orientation = np.array(reader.floats("ImageOrientationPatient", 6))
    signs = np.sign(orientation[[0, 4]])
    axial = np.array([signs[0], 0, 0, 0, signs[1], 0])
    if not signs.all() or np.abs(orientation - axial).max() > DIRECTION_TOLERANCE:
        raise _geometry_error(reader, f"is not axial: its orientation is {[round(float(v), 4) for v in orientation]}")
    row_mm, column_mm = reader.floats("PixelSpacing", 2)
    if not all(MIN_SPACING_MM <= s <= MAX_SPACING_MM for s in (row_mm, column_mm)):
        raise reader.error("PixelSpacing", f"is {row_mm:g} x {column_mm:g} mm")
    position = reader.floats("ImagePositionPatient", 3)
    if max(abs(v) for v in position) > MAX_COORDINATE_MM:
        raise reader.error("ImagePositionPatient", f"is beyond {MAX_COORDINATE_MM:g} mm")
    z_mm = _plane_places(reader, frames, position[2], float(signs[0] * signs[1]))
    steps = np.diff(z_mm)
    step = float((z_mm[-1] - z_mm[0]) / (frames - 1))
    if not MIN_SPACING_MM <= abs(step) <= MAX_SPACING_MM or np.abs(steps - step).max() > OFFSET_TOLERANCE_MM:
        raise _geometry_error(
            reader,
            f"has planes {np.abs(steps).min():.3f} to {np.abs(steps).max():.3f} mm apart, expected one distance from "
            f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm",
        )
    flip_x, flip_y, flip_z = bool(signs[0] < 0), bool(signs[1] < 0), step < 0
    origin = (
        position[0] - (columns - 1) * column_mm * flip_x,
        position[1] - (rows - 1) * row_mm * flip_y,
        float(z_mm[-1] if flip_z else z_mm[0]),
    )
    turn = tuple(slice(None, None, -1 if flip else 1) for flip in (flip_z, flip_y, flip_x))
    return Grid(origin, (column_mm, row_mm, abs(step)), (frames, rows, columns)), (turn[0], turn[1], turn[2])


def _plane_places(reader: Reader, frames: int, z_mm: float, normal: float) -> npt.NDArray[np.float64]:
    """z of each frame, from the Grid Frame Offset Vector in either of its two forms (PS3.3 C.8.8.3.2).

    Offsets from the first plane along the normal of the planes (its first value is 0), or the z coordinates of the
    planes themselves (its first value is the z of Image Position).
    """
    offsets = np.array(reader.floats("GridFrameOffsetVector", frames))
    if np.abs(offsets).max() > MAX_COORDINATE_MM:
        raise reader.error("GridFrameOffsetVector", f"is beyond {MAX_COORDINATE_MM:g} mm")
    relative, absolute = abs(offsets[0]) < 1e-6, abs(offsets[0] - z_mm) < OFFSET_TOLERANCE_MM
    if relative and absolute and normal < 0:
        raise _geometry_error(
            reader,
            "may go up or down: the first value of its Grid Frame Offset Vector is 0 and so is its z, and its planes' "
            "normal points to the feet",
        )
    if relative:
        return z_mm + normal * offsets
    if absolute:
        return offsets
    raise reader.error(
        "GridFrameOffsetVector",
        f"begins with {offsets[0]:g}, expected 0 (offsets) or {z_mm:g} (the z of Image Position)",
    )


def _values(reader: Reader, grid: Grid) -> FloatVolume:
    """Stored values times Dose Grid Scaling, (frame, row, column) as stored."""
    dataset = reader.dataset
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", ""))) if hasattr(dataset, "file_meta") else UID("")
    if syntax.is_compressed and syntax != RLELossless:
        raise InputRefusedError(
            f"{reader.what} is stored as {syntax.name[:64]}, expected an uncompressed dose",
            remedy="Send the dose uncompressed.",
            code=ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX,
        )
    (scaling,) = reader.floats("DoseGridScaling", 1)
    if not scaling > 0:
        raise reader.error("DoseGridScaling", f"is {scaling:g}, expected a positive number")
    bits = reader.integer("BitsAllocated", 1, 64)
    if bits not in (16, 32) or reader.integer("BitsStored", 1, 64) != bits:
        raise reader.error("BitsAllocated", "and Bits Stored are not both 16 or both 32")
    if reader.integer("PixelRepresentation", 0, 1) != 0:
        raise reader.error("PixelRepresentation", "is 1: a dose is never negative")
    if reader.integer("SamplesPerPixel", 1, 4) != 1:
        raise reader.error("SamplesPerPixel", "is not 1")
    pixels = reader.value("PixelData")
    expected = bits // 8 * int(np.prod(grid.shape))
    if not isinstance(pixels, bytes) or (not syntax.is_compressed and len(pixels) not in (expected, expected + 1)):
        raise reader.error("PixelData", f"does not have the {expected} bytes that rows, columns and frames ask for")
    try:
        stored = dataset.pixel_array
    except Exception as e:  # a broken object can raise nearly anything
        raise reader.error("PixelData", f"cannot be read ({type(e).__name__})") from e
    if stored.shape != grid.shape:
        raise reader.error("PixelData", "does not have the size that rows, columns and frames say")
    most = float(stored.max()) * scaling
    if not 0 < most <= MAX_DOSE_GY:
        raise _unsupported(
            f"{reader.what}: its highest dose is {most:g} Gy, expected more than 0 and at most {MAX_DOSE_GY:g} Gy",
            "Check Dose Grid Scaling (3004,000E) and export the dose again.",
        )
    return np.asarray(stored * scaling, dtype=np.float32)


def _geometry_error(reader: Reader, problem: str) -> InputRefusedError:
    return InputRefusedError(
        f"{reader.what} {problem}",
        remedy="Export the dose on a regular axial grid.",
        code=ErrorCode.UNSUPPORTED_GEOMETRY,
    )


def _unsupported(message: str, remedy: str) -> InputRefusedError:
    return InputRefusedError(message, remedy=remedy, code=ErrorCode.UNSUPPORTED_DOSE)
