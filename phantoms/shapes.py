"""Shapes whose volumes and axial cross-sections are known exactly; nothing of DICOM lives here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Vector3 = tuple[float, float, float]


class Shape(Protocol):
    """A solid in patient LPS millimetres."""

    def moved(self, shift_mm: Vector3) -> Shape:
        """The same solid elsewhere."""

    @property
    def volume_cc(self) -> float:
        """The exact volume."""

    def contains(self, x_mm: FloatArray, y_mm: FloatArray, z_mm: FloatArray) -> BoolArray:
        """Whether points lie inside; the arrays broadcast."""

    def contour(self, z_mm: float, points: int) -> FloatArray | None:
        """The (n, 2) xy outline at height z, or None where the shape is not."""


def vector(values: FloatArray) -> Vector3:
    """Three numbers of an array."""
    x, y, z = (float(v) for v in values)
    return x, y, z


def _plus(a: Vector3, b: Vector3) -> Vector3:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _ellipse(centre_mm: Vector3, a_mm: float, b_mm: float, points: int) -> FloatArray:
    """A polygon of the very area of the ellipse: its vertices lie outside by a factor that makes up for the chords."""
    step = 2 * pi / points
    grow = sqrt(step / np.sin(step))
    angle = step * (np.arange(points) + 0.5)
    return np.stack([centre_mm[0] + grow * a_mm * np.cos(angle), centre_mm[1] + grow * b_mm * np.sin(angle)], axis=1)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with axes along x, y, z."""

    centre_mm: Vector3
    semi_axes_mm: Vector3

    def moved(self, shift_mm: Vector3) -> Ellipsoid:
        return replace(self, centre_mm=_plus(self.centre_mm, shift_mm))

    @property
    def volume_cc(self) -> float:
        a, b, c = self.semi_axes_mm
        return 4 / 3 * pi * a * b * c / 1000

    def contains(self, x_mm: FloatArray, y_mm: FloatArray, z_mm: FloatArray) -> BoolArray:
        a, b, c = self.semi_axes_mm
        x0, y0, z0 = self.centre_mm
        inside: BoolArray = ((x_mm - x0) / a) ** 2 + ((y_mm - y0) / b) ** 2 + ((z_mm - z0) / c) ** 2 < 1
        return inside

    def contour(self, z_mm: float, points: int) -> FloatArray | None:
        a, b, c = self.semi_axes_mm
        rest = 1 - ((z_mm - self.centre_mm[2]) / c) ** 2
        if rest <= 0:
            return None
        return _ellipse(self.centre_mm, a * sqrt(rest), b * sqrt(rest), points)


@dataclass(frozen=True)
class Cylinder:
    """An elliptic cylinder along z; its length is ``length_mm``, half of it on either side of the centre."""

    centre_mm: Vector3
    semi_axes_mm: tuple[float, float]
    length_mm: float

    def moved(self, shift_mm: Vector3) -> Cylinder:
        return replace(self, centre_mm=_plus(self.centre_mm, shift_mm))

    @property
    def volume_cc(self) -> float:
        a, b = self.semi_axes_mm
        return pi * a * b * self.length_mm / 1000

    def contains(self, x_mm: FloatArray, y_mm: FloatArray, z_mm: FloatArray) -> BoolArray:
        a, b = self.semi_axes_mm
        x0, y0, z0 = self.centre_mm
        inside: BoolArray = (((x_mm - x0) / a) ** 2 + ((y_mm - y0) / b) ** 2 < 1) & (
            np.abs(z_mm - z0) < self.length_mm / 2
        )
        return inside

    def contour(self, z_mm: float, points: int) -> FloatArray | None:
        if abs(z_mm - self.centre_mm[2]) >= self.length_mm / 2:
            return None
        return _ellipse(self.centre_mm, *self.semi_axes_mm, points)


@dataclass(frozen=True)
class Box:
    """A cuboid with faces along x, y, z."""

    centre_mm: Vector3
    size_mm: Vector3

    def moved(self, shift_mm: Vector3) -> Box:
        return replace(self, centre_mm=_plus(self.centre_mm, shift_mm))

    @property
    def volume_cc(self) -> float:
        x, y, z = self.size_mm
        return x * y * z / 1000

    def contains(self, x_mm: FloatArray, y_mm: FloatArray, z_mm: FloatArray) -> BoolArray:
        (x0, y0, z0), (dx, dy, dz) = self.centre_mm, self.size_mm
        inside: BoolArray = (np.abs(x_mm - x0) < dx / 2) & (np.abs(y_mm - y0) < dy / 2) & (np.abs(z_mm - z0) < dz / 2)
        return inside

    def contour(self, z_mm: float, points: int) -> FloatArray | None:
        (x0, y0, z0), (dx, dy, dz) = self.centre_mm, self.size_mm
        if abs(z_mm - z0) >= dz / 2:
            return None
        signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
        corners: FloatArray = np.array([x0, y0]) + signs * np.array([dx / 2, dy / 2])
        return corners
