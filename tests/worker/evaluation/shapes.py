"""Patients made of spheres and cylinders, and doses that vary linearly: where DVHs are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from radiarch_contract.structures import StructureRef
from radiarch_worker.model import CtVolume, Dose, Grid, Patient, PatientStudy, Structure
from radiarch_worker.patient.raster import fill_points
from radiarch_worker.position import PatientPosition

Floats = npt.NDArray[np.float64]
Contours = list[tuple[float, Floats]]

CT = Grid((-63.2, -61.7, -50.0), (1.8, 1.8, 2.0), (51, 70, 71))


def coarse(ct: Grid = CT, stride: tuple[int, int, int] = (2, 2, 1), margin: int = 0) -> Grid:
    """A dose grid on CT voxel centres with whole multiples (x, y, z) of its spacing, ``margin`` CT voxels inside it."""
    origin = tuple(o + margin * s for o, s in zip(ct.origin_mm, ct.spacing_mm, strict=True))
    spacing = tuple(s * n for s, n in zip(ct.spacing_mm, stride, strict=True))
    nx, ny, nz = ((n - 2 * margin - 1) // k + 1 for n, k in zip(ct.shape[::-1], stride, strict=True))
    return Grid(origin, spacing, (nz, ny, nx))  # type: ignore[arg-type]


def circle(center_mm: tuple[float, float], radius_mm: float, points: int = 720) -> Floats:
    angle = 2 * np.pi * np.arange(points) / points
    return np.stack([center_mm[0] + radius_mm * np.cos(angle), center_mm[1] + radius_mm * np.sin(angle)], axis=1)


def sphere(grid: Grid, center_mm: tuple[float, float, float], radius_mm: float) -> Contours:
    heights = ((z, radius_mm**2 - (z - center_mm[2]) ** 2) for z in grid.axis_mm(2))
    return [(float(z), circle(center_mm[:2], math.sqrt(h))) for z, h in heights if h > 0]


def cylinder(grid: Grid, center_mm: tuple[float, float, float], radius_mm: float, slices: int) -> Contours:
    middle = round((center_mm[2] - grid.origin_mm[2]) / grid.spacing_mm[2])
    first = middle - slices // 2
    return [(float(z), circle(center_mm[:2], radius_mm)) for z in grid.axis_mm(2)[first : first + slices]]


def structure(number: int, name: str, contours: Contours, grid: Grid = CT, *, keep_contours: bool = True) -> Structure:
    mask = np.zeros(grid.shape, np.bool_)
    for k, z in enumerate(grid.axis_mm(2)):
        drawn = [xy for z_mm, xy in contours if abs(z_mm - z) < 0.1]
        if drawn:
            mask[k] = fill_points(drawn, grid.axis_mm(1), grid.axis_mm(0))
    return Structure(number, name, "", mask, tuple(contours) if keep_contours else ())


def patient(*structures: Structure, grid: Grid = CT, body: Structure | None = None) -> Patient:
    whole = np.zeros(grid.shape, np.bool_)
    whole[2:-2, 4:-4, 4:-4] = True
    ct = CtVolume(
        np.zeros(grid.shape, np.float32),
        grid,
        "1.2.3",
        "1.2.4",
        "1.2.840.10008.5.1.4.1.1.2",
        tuple(f"1.2.5.{k}" for k in range(grid.shape[0])),
        PatientPosition.HFS,
        PatientStudy("P", "", "", "", "1.2.6", "", "", "", "", "", ""),
    )
    body = body or Structure(0, "BODY", "EXTERNAL", whole)
    return Patient(ct, {s.roi_number: s for s in structures}, body, "1.2.7", "1.2.840.10008.5.1.4.1.1.481.3")


def dose_of(grid: Grid, function: Callable[[Floats, Floats, Floats], Floats]) -> Dose:
    """Dose from a function of x, y, z in mm."""
    x, y, z = (grid.axis_mm(a) for a in range(3))
    values = function(x[None, None, :], y[None, :, None], z[:, None, None])
    return Dose(np.broadcast_to(values, grid.shape).astype(np.float32), grid, 1.1)


def refs(patient: Patient) -> Mapping[str, StructureRef]:
    return {
        s.name: StructureRef(name=s.name, roi_number=s.roi_number, roi_name=s.name) for s in patient.structures.values()
    }
