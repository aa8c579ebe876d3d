"""CT, dose and contours cut along a plane of the patient; colors and pixels of pictures live in `raster` and `png`.

Pictures are seen as radiologists do: axial from the feet (the patient's right on the left), coronal from the front
(right on the left, head up), sagittal from the left (front on the left, head up).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from radiarch_contract.pictures import Plane

from radiarch_worker.model import Dose, FloatVolume, Grid, Patient, PlanResult, Structure, Vector3

from .palette import ISODOSES_PERCENT, Drawn, LineStyle

Line = npt.NDArray[np.float64]
"""(n, 2) points of a line: u, v in mm."""

_MARGIN_MM = 8.0


_AXES = {
    # patient axes (0 = x, 1 = y, 2 = z) across the plane, to the picture's right, and downwards with its sign
    Plane.AXIAL: (2, 0, 1, +1),
    Plane.CORONAL: (1, 0, 2, -1),
    Plane.SAGITTAL: (0, 1, 2, -1),
}
LETTERS = {
    # left, right, top, bottom of the picture
    Plane.AXIAL: ("R", "L", "A", "P"),
    Plane.CORONAL: ("R", "L", "H", "F"),
    Plane.SAGITTAL: ("A", "P", "H", "F"),
}


@dataclass(frozen=True)
class Sheet:
    """A value on a regular grid of a plane; row and column rise with v and u.

    Attributes
    ----------
    values : (V, U) float32
    u_mm, v_mm : of the points' columns and rows, rising
    """

    values: npt.NDArray[np.float32]
    u_mm: npt.NDArray[np.float64]
    v_mm: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """Part of a plane that is shown, mm; v rises downwards."""

    u_min: float
    u_max: float
    v_min: float
    v_max: float

    @property
    def width_mm(self) -> float:
        return self.u_max - self.u_min

    @property
    def height_mm(self) -> float:
        return self.v_max - self.v_min


@dataclass(frozen=True)
class Outline:
    """Where a structure meets the plane; closed lines."""

    name: str
    style: LineStyle
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Isodose:
    percent: float
    dose_gy: float
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Cut:
    """Everything that is shown of one plane.

    Attributes
    ----------
    position_mm : of the plane, along the patient axis across it; the middle of a CT voxel
    percent : dose in % of the prescription, or None where the plane is beyond the dose grid
    centre : u, v of the isocenter
    max_gy : highest dose on the plane, 0 beyond the dose grid
    """

    plane: Plane
    position_mm: float
    window: Window
    hu: Sheet
    percent: Sheet | None
    outlines: tuple[Outline, ...]
    isodoses: tuple[Isodose, ...]
    center: tuple[float, float]
    max_gy: float

    @property
    def title(self) -> str:
        axis = "xyz"[_AXES[self.plane][0]]
        return f"{self.plane.value.capitalize()}  {axis} = {self.position_mm:.1f} mm"


def viewpoint(patient: Patient, plan: PlanResult) -> Vector3:
    """Where the three planes meet: the first beam's isocenter, else the dose's maximum; within the CT."""
    grid = patient.ct.grid
    if plan.beams:
        point = plan.beams[0].isocenter_mm
    else:
        k, j, i = np.unravel_index(int(plan.dose.dose_gy.argmax()), plan.dose.dose_gy.shape)
        point = tuple(float(plan.dose.grid.axis_mm(a)[n]) for a, n in enumerate((i, j, k)))  # type: ignore[assignment]
    inside = (min(max(p, grid.axis_mm(a)[0]), grid.axis_mm(a)[-1]) for a, p in enumerate(point))
    x, y, z = (float(v) for v in inside)
    return x, y, z


def cut(
    patient: Patient, dose: Dose, prescription_gy: float, drawn: Sequence[Drawn], plane: Plane, point: Vector3
) -> Cut:
    """A plane through a point, at the nearest middle of a CT voxel.

    Parameters
    ----------
    prescription_gy
        What 100 % is.
    drawn
        Structures, in the order in which they are drawn.
    point
        x, y, z, mm, patient LPS.
    """
    across, right, down, sign = _AXES[plane]
    grid = patient.ct.grid
    axis_mm = grid.axis_mm(across)
    index = int(np.abs(axis_mm - point[across]).argmin())
    position_mm = float(axis_mm[index])
    gy = _dose_sheet(dose, plane, position_mm)
    percent = None if gy is None else Sheet(gy.values * np.float32(100 / prescription_gy), gy.u_mm, gy.v_mm)
    outlines = tuple(
        Outline(d.structure.name, d.style, lines)
        for d in drawn
        if (lines := _outline(d.structure, grid, plane, index, position_mm))
    )
    return Cut(
        plane=plane,
        position_mm=position_mm,
        window=_window(patient, plane),
        hu=_sheet(patient.ct.hu, grid, plane, index),
        percent=percent,
        outlines=outlines,
        isodoses=_isodoses(percent, prescription_gy),
        center=(point[right], sign * point[down]),
        max_gy=0.0 if gy is None else float(gy.values.max()),
    )


def _take(volume: npt.NDArray[np.generic], plane: Plane, index: int) -> npt.NDArray[np.generic]:
    """The plane's voxels, v then u; rows as in the volume."""
    across = _AXES[plane][0]
    at: list[slice | int] = [slice(None)] * 3
    at[2 - across] = index
    return volume[tuple(at)]


def _oriented(values: npt.NDArray[np.float32], grid: Grid, plane: Plane) -> Sheet:
    _, right, down, sign = _AXES[plane]
    u_mm, v_mm = grid.axis_mm(right), sign * grid.axis_mm(down)
    if sign < 0:
        values, v_mm = values[::-1], v_mm[::-1]
    return Sheet(np.ascontiguousarray(values, np.float32), u_mm, v_mm)


def _sheet(volume: FloatVolume, grid: Grid, plane: Plane, index: int) -> Sheet:
    return _oriented(np.asarray(_take(volume, plane, index), np.float32), grid, plane)


def _dose_sheet(dose: Dose, plane: Plane, position_mm: float) -> Sheet | None:
    """Dose on the plane, linear between the grid's planes."""
    across = _AXES[plane][0]
    at = (position_mm - dose.grid.origin_mm[across]) / dose.grid.spacing_mm[across]
    count = dose.grid.shape[2 - across]
    if not -1e-6 <= at <= count - 1 + 1e-6 or min(dose.grid.shape) < 2:
        return None
    below = min(max(int(np.floor(at)), 0), count - 1)
    weight = np.float32(min(max(at - below, 0.0), 1.0))
    low = np.asarray(_take(dose.dose_gy, plane, below), np.float32)
    if weight == 0:
        return _oriented(low, dose.grid, plane)
    high = np.asarray(_take(dose.dose_gy, plane, min(below + 1, count - 1)), np.float32)
    return _oriented(low + weight * (high - low), dose.grid, plane)


def _window(patient: Patient, plane: Plane) -> Window:
    """The body with a margin, no more than the CT."""
    _, right, down, sign = _AXES[plane]
    grid = patient.ct.grid
    limits = []
    for axis in (right, down):
        others = tuple(2 - a for a in range(3) if a != axis)
        inside = np.flatnonzero(patient.body.mask.any(axis=others))
        centers, half = grid.axis_mm(axis), grid.spacing_mm[axis] / 2
        edges = float(centers[0] - half), float(centers[-1] + half)
        if len(inside):
            low, high = float(centers[inside[0]]) - _MARGIN_MM, float(centers[inside[-1]]) + _MARGIN_MM
            limits.append((max(low, edges[0]), min(high, edges[1])))
        else:
            limits.append(edges)
    (u0, u1), (v0, v1) = limits
    return Window(u0, u1, v0, v1) if sign > 0 else Window(u0, u1, -v1, -v0)


def _outline(structure: Structure, grid: Grid, plane: Plane, index: int, position_mm: float) -> tuple[Line, ...]:
    if plane is Plane.AXIAL:
        near_mm = grid.spacing_mm[2] / 4
        drawn = [np.vstack([xy, xy[:1]]) for z, xy in structure.contours if abs(z - position_mm) <= near_mm]
        if drawn:
            return tuple(drawn)
    mask = _take(structure.mask, plane, index)
    if not mask.any():
        return ()
    # one voxel more on each side closes what touches the CT's edge
    sheet = _oriented(np.asarray(mask, np.float32), grid, plane)
    padded = np.pad(sheet.values, 1)
    u_mm, v_mm = (np.concatenate([[2 * a[0] - a[1]], a, [2 * a[-1] - a[-2]]]) for a in (sheet.u_mm, sheet.v_mm))
    return _level_lines(Sheet(padded, u_mm, v_mm), 0.5)


def _isodoses(percent: Sheet | None, prescription_gy: float) -> tuple[Isodose, ...]:
    if percent is None:
        return ()
    found = ((p, _level_lines(percent, p)) for p in ISODOSES_PERCENT)
    return tuple(Isodose(p, p / 100 * prescription_gy, lines) for p, lines in found if lines)


def _level_lines(sheet: Sheet, level: float) -> tuple[Line, ...]:
    if not sheet.values.min() < level < sheet.values.max():
        return ()
    import contourpy

    generator = contourpy.contour_generator(
        sheet.u_mm, sheet.v_mm, sheet.values, name="serial", line_type=contourpy.LineType.Separate
    )
    return tuple(np.asarray(line, np.float64) for line in generator.lines(level))
