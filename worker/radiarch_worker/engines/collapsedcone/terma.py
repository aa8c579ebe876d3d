"""What beams release in a volume: depths along rays from the source, attenuation that hardens, and contamination."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from radiarch_worker.engines.photonkernels import BeamQuality
from radiarch_worker.machines.photon_machine import PhotonEnergy
from radiarch_worker.model import Grid

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]

_TABLE_CM = 0.1
_TABLE_LENGTH = 1500
_SLABS = 16


@dataclass(frozen=True)
class View:
    """Where a beam comes from; unit vectors in patient LPS.

    Attributes
    ----------
    source_mm : (3,)
    direction : (3,) from the source to the isocenter
    x, y : (3,) of the collimator
    axis_mm : distance from source to isocenter
    """

    source_mm: FloatArray
    direction: FloatArray
    x: FloatArray
    y: FloatArray
    axis_mm: float

    @property
    def rotation(self) -> FloatArray:
        return np.stack([self.x, self.y, self.direction])


@dataclass(frozen=True)
class Lattice:
    """Points at the isocenter plane in the beam's coordinates: of maps (y, x) and of rays.

    Attributes
    ----------
    first_mm : x, y of the first point
    """

    first_mm: tuple[float, float]
    step_mm: float
    shape: tuple[int, int]

    @classmethod
    def over(cls, x: tuple[float, float], y: tuple[float, float], step_mm: float) -> Lattice:
        counts = [int(np.ceil((high - low) / step_mm)) + 1 for low, high in (y, x)]
        return cls((x[0], y[0]), step_mm, (max(counts[0], 2), max(counts[1], 2)))

    def axis_mm(self, axis: int) -> FloatArray:
        """Points along x (0) or y (1)."""
        points: FloatArray = self.first_mm[axis] + self.step_mm * np.arange(self.shape[1 - axis])
        return points


@dataclass(frozen=True)
class Released:
    """What all beams of a sweep release, on the volume's grid.

    Attributes
    ----------
    primary, scatter : energy that TERMA gives to primary electrons and to scatter
    electrons : dose by contaminating electrons, in the same unit
    """

    primary: Volume
    scatter: Volume
    electrons: Volume

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Released:
        return cls(*(np.zeros(shape, dtype=np.float32) for _ in range(3)))


def attenuation_tables(quality: BeamQuality) -> npt.NDArray[np.float32]:
    """(2, n) at depths in steps of 1 mm of water: energy released to primary electrons and to scatter, cm²/g."""
    released = quality.spectral_terma(_TABLE_CM * np.arange(_TABLE_LENGTH))
    kernels = quality.kernels
    primary = kernels.primary.sum(axis=(1, 2))
    scatter = (kernels.total - kernels.primary).sum(axis=(1, 2))
    table: npt.NDArray[np.float32] = np.stack([released @ primary, released @ scatter]).astype(np.float32)
    return table


def ray_depths(
    density: Volume, grid: Grid, view: View, rays: Lattice, from_mm: float, step_mm: float, count: int
) -> Volume:
    """(count, rays y, rays x) g/cm² from the source to planes across the beam, ``from_mm`` from the source on."""
    depths = np.zeros((count, *rays.shape), dtype=np.float32)
    _depths(
        density,
        np.asarray(grid.origin_mm),
        np.asarray(grid.spacing_mm),
        view.source_mm,
        view.rotation,
        view.axis_mm,
        np.array([*rays.first_mm, rays.step_mm]),
        from_mm,
        step_mm,
        depths,
    )
    return depths


def release(
    into: Released,
    density: Volume,
    grid: Grid,
    view: View,
    fluence: npt.NDArray[np.float32],
    electrons: npt.NDArray[np.float32],
    lattice: Lattice,
    energy: PhotonEnergy,
    tables: npt.NDArray[np.float32],
    crop: tuple[slice, slice, slice],
    pool: ThreadPoolExecutor,
) -> None:
    """Add what one beam releases in the part ``crop`` of the volume.

    Parameters
    ----------
    density : (Z, Y, X) g/cm³ of all that the beam passes, on ``grid``
    fluence, electrons : (y, x) on ``lattice``, MU included
    """
    corners = _corners(grid)
    along = (corners - view.source_mm) @ view.direction
    step = float(min(grid.spacing_mm))
    first = max(float(along.min()), 1.0)
    count = int(np.ceil((float(along.max()) - first) / step)) + 2
    used = _corners(_cropped(grid, crop))
    from_source = used - view.source_mm
    scale = view.axis_mm / np.maximum(from_source @ view.direction, 1.0)
    at = [(from_source @ axis) * scale for axis in (view.x, view.y)]
    box = [
        (max(float(a.min()), p[0]) - 2 * step, min(float(a.max()), p[-1]) + 2 * step)
        for a, p in zip(at, (lattice.axis_mm(0), lattice.axis_mm(1)), strict=True)
    ]
    if any(low >= high for low, high in box):
        return
    rays = Lattice.over(box[0], box[1], step)
    depths = ray_depths(density, grid, view, rays, first, step, count)
    softening = np.asarray(energy.softening)
    slabs = np.array_split(np.arange(crop[0].start, crop[0].stop), _SLABS)

    def slab(planes: npt.NDArray[np.int64]) -> None:
        _release(
            into.primary,
            into.scatter,
            into.electrons,
            np.array([crop[0].start, crop[1].start, crop[2].start]),
            density,
            np.array([planes[0], planes[-1] + 1, crop[1].start, crop[1].stop, crop[2].start, crop[2].stop]),
            np.asarray(grid.origin_mm),
            np.asarray(grid.spacing_mm),
            view.source_mm,
            view.rotation,
            view.axis_mm,
            fluence,
            electrons,
            np.array([*lattice.first_mm, lattice.step_mm]),
            depths,
            np.array([*rays.first_mm, rays.step_mm]),
            np.array([first, step]),
            tables,
            softening[:, 0].copy(),
            softening[:, 1].copy(),
            1.0 / energy.electrons.decay_mm,
        )

    list(pool.map(slab, [s for s in slabs if len(s)]))


def _corners(grid: Grid) -> FloatArray:
    low = np.asarray(grid.origin_mm) - np.asarray(grid.spacing_mm) / 2
    high = low + np.asarray(grid.spacing_mm) * np.asarray(grid.shape[::-1])
    ends = np.stack([low, high])
    index = np.indices((2, 2, 2)).reshape(3, -1).T
    corners: FloatArray = np.stack([ends[index[:, a], a] for a in range(3)], axis=1)
    return corners


def _cropped(grid: Grid, crop: tuple[slice, slice, slice]) -> Grid:
    z, y, x = crop
    first = [o + s * c.start for o, s, c in zip(grid.origin_mm, grid.spacing_mm, (x, y, z), strict=True)]
    return Grid(
        (first[0], first[1], first[2]),
        grid.spacing_mm,
        (z.stop - z.start, y.stop - y.start, x.stop - x.start),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _depths(density, origin, spacing, source, rotation, axis_mm, rays, first, step, depths):  # type: ignore[no-untyped-def]
    count, rows, columns = depths.shape
    nz, ny, nx = density.shape
    for r in range(rows):
        v = (rays[1] + rays[2] * r) / axis_mm
        for c in range(columns):
            u = (rays[0] + rays[2] * c) / axis_mm
            way_cm = step / 10.0 * np.sqrt(1.0 + u * u + v * v)
            dx = rotation[0, 0] * u + rotation[1, 0] * v + rotation[2, 0]
            dy = rotation[0, 1] * u + rotation[1, 1] * v + rotation[2, 1]
            dz = rotation[0, 2] * u + rotation[1, 2] * v + rotation[2, 2]
            passed, before = 0.0, 0.0
            for k in range(count):
                t = first + step * k
                x = (source[0] + t * dx - origin[0]) / spacing[0]
                y = (source[1] + t * dy - origin[1]) / spacing[1]
                z = (source[2] + t * dz - origin[2]) / spacing[2]
                here = 0.0
                if -0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5 and -0.5 <= z <= nz - 0.5:
                    i = min(max(int(np.floor(x)), 0), nx - 2)
                    j = min(max(int(np.floor(y)), 0), ny - 2)
                    m = min(max(int(np.floor(z)), 0), nz - 2)
                    a = min(max(x - i, 0.0), 1.0)
                    b = min(max(y - j, 0.0), 1.0)
                    d = min(max(z - m, 0.0), 1.0)
                    low = (density[m, j, i] * (1 - a) + density[m, j, i + 1] * a) * (1 - b) + (
                        density[m, j + 1, i] * (1 - a) + density[m, j + 1, i + 1] * a
                    ) * b
                    high = (density[m + 1, j, i] * (1 - a) + density[m + 1, j, i + 1] * a) * (1 - b) + (
                        density[m + 1, j + 1, i] * (1 - a) + density[m + 1, j + 1, i + 1] * a
                    ) * b
                    here = low * (1 - d) + high * d
                passed += 0.5 * (before + here) * way_cm
                before = here
                depths[k, r, c] = passed


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bilinear(values, x, y):  # type: ignore[no-untyped-def]
    rows, columns = values.shape
    i = min(max(int(np.floor(x)), 0), columns - 2)
    j = min(max(int(np.floor(y)), 0), rows - 2)
    a = min(max(x - i, 0.0), 1.0)
    b = min(max(y - j, 0.0), 1.0)
    return (values[j, i] * (1 - a) + values[j, i + 1] * a) * (1 - b) + (
        values[j + 1, i] * (1 - a) + values[j + 1, i + 1] * a
    ) * b


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _release(  # type: ignore[no-untyped-def]
    primary,
    scatter,
    electrons,
    shift,
    density,
    part,
    origin,
    spacing,
    source,
    rotation,
    axis_mm,
    fluence,
    electron_fluence,
    lattice,
    depths,
    rays,
    planes,
    tables,
    soft_mm,
    soft_factor,
    electron_slope,
):
    height, width = fluence.shape
    last_entry = tables.shape[1] - 2
    for z in range(part[0], part[1]):
        pz = origin[2] + spacing[2] * z - source[2]
        for y in range(part[2], part[3]):
            py = origin[1] + spacing[1] * y - source[1]
            for x in range(part[4], part[5]):
                if density[z, y, x] <= 0.0:
                    continue
                px = origin[0] + spacing[0] * x - source[0]
                along = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * pz
                if along <= 1.0:
                    continue
                scale = axis_mm / along
                u = (rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * pz) * scale
                v = (rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * pz) * scale
                column, row = (u - lattice[0]) / lattice[2], (v - lattice[1]) / lattice[2]
                if column < 0.0 or row < 0.0 or column > width - 1 or row > height - 1:
                    continue
                k = (along - planes[0]) / planes[1]
                below = min(max(int(np.floor(k)), 0), depths.shape[0] - 2)
                share = min(max(k - below, 0.0), 1.0)
                ray_column, ray_row = (u - rays[0]) / rays[2], (v - rays[1]) / rays[2]
                depth = _bilinear(depths[below], ray_column, ray_row) * (1 - share) + (
                    _bilinear(depths[below + 1], ray_column, ray_row) * share
                )
                given = _bilinear(fluence, column, row) * scale * scale
                entry = depth * np.interp(np.sqrt(u * u + v * v), soft_mm, soft_factor) * 10.0
                low = min(int(entry), last_entry)
                part_of = min(entry - low, 1.0)
                at = (z - shift[0], y - shift[1], x - shift[2])
                primary[at] += given * (tables[0, low] * (1 - part_of) + tables[0, low + 1] * part_of)
                scatter[at] += given * (tables[1, low] * (1 - part_of) + tables[1, low + 1] * part_of)
                bare = _bilinear(electron_fluence, column, row) * scale * scale
                electrons[at] += bare * np.exp(-depth * 10.0 * electron_slope)
