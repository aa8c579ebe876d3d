"""Dose of a list of fields in a volume; absolute by the machine's calibration condition, computed by the same code."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import EngineError

from radiarch_worker.engines.photonkernels import Spectrum, beam_quality
from radiarch_worker.machines.photon_machine import PhotonEnergy, PhotonMachineFile
from radiarch_worker.model import Grid

from .cones import Cones, cones
from .fluence import Aperture, fluence_map
from .sweep import Sweep, deposit
from .terma import Lattice, Released, View, attenuation_tables, release

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]
Crop = tuple[slice, slice, slice]

MARGIN_MM = 120.0
"""Beyond what is open at the isocenter plane: dose is computed there, and neglected farther away."""
_WATER_MM = 60.0
"""Water beside a field where depth doses are computed in it."""
_MAP_MM = 1.0
_THIN_G_CM3 = 0.02


@dataclass(frozen=True)
class Field:
    """An aperture that is irradiated from one place.

    Attributes
    ----------
    direction, x, y : (3,) unit vectors in patient LPS: of the beam, and of the collimator's axes
    """

    isocenter_mm: tuple[float, float, float]
    direction: FloatArray
    x: FloatArray
    y: FloatArray
    aperture: Aperture
    mu: float


def compute_dose(
    density: Volume,
    grid: Grid,
    fields: Sequence[Field],
    machine: PhotonMachineFile,
    energy: PhotonEnergy,
    threads: int = 1,
    together_deg: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> Volume:
    """Dose of fields.

    Parameters
    ----------
    density : (Z, Y, X) g/cm³ on ``grid``; 0 outside of what is irradiated
    threads : cores to use; no bit of the result depends on it
    together_deg : successive fields whose directions differ by no more are swept with their mean direction

    Returns
    -------
    dose_gy : (Z, Y, X) float32, Gy to water
    """
    factor = gy_per_mu(machine, energy, round(float(np.prod(grid.spacing_mm)) ** (1 / 3), 1))
    raw = relative_dose(density, grid, fields, machine, energy, threads, together_deg, progress)
    dose: Volume = raw * np.float32(factor)
    if not np.isfinite(dose).all():
        raise EngineError("the collapsed cone's dose has values that are no numbers", remedy="Report this plan.")
    return dose


def relative_dose(
    density: Volume,
    grid: Grid,
    fields: Sequence[Field],
    machine: PhotonMachineFile,
    energy: PhotonEnergy,
    threads: int = 1,
    together_deg: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> Volume:
    """As `compute_dose`, for one unit of energy fluence a MU instead of the machine's."""
    density = np.ascontiguousarray(density, dtype=np.float32)
    total = np.zeros(density.shape, dtype=np.float32)
    shape, tables = _kernel(energy)
    groups = _groups([f for f in fields if f.mu > 0], together_deg)
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for n, group in enumerate(groups):
            crop = _crop(density, grid, group, machine)
            if crop is None:
                continue
            released = Released.nothing(tuple(c.stop - c.start for c in crop))
            for alike in _alike(group):
                _release_fields(released, density, grid, alike, machine, energy, tables, crop, pool)
            mean = np.sum([f.direction * f.mu for f in group], axis=0)
            sweep = Sweep.about(shape, mean / np.linalg.norm(mean))
            inside = np.ascontiguousarray(density[crop])
            total[crop] += released.electrons
            total[crop] += deposit(inside, released.primary, released.scatter, grid.spacing_mm, sweep, pool)
            if progress is not None:
                progress((n + 1) / len(groups))
    return total


def _alike(fields: Sequence[Field]) -> list[list[Field]]:
    """Successive fields from one place, as of step and shoot: only their fluences differ."""
    found: list[list[Field]] = []
    for field in fields:
        if found and found[-1][0].isocenter_mm == field.isocenter_mm and _same_axes(found[-1][0], field):
            found[-1].append(field)
        else:
            found.append([field])
    return found


def _same_axes(a: Field, b: Field) -> bool:
    return all(np.array_equal(u, v) for u, v in ((a.direction, b.direction), (a.x, b.x), (a.y, b.y)))


def _release_fields(
    released: Released,
    density: Volume,
    grid: Grid,
    fields: Sequence[Field],
    machine: PhotonMachineFile,
    energy: PhotonEnergy,
    tables: npt.NDArray[np.float32],
    crop: Crop,
    pool: ThreadPoolExecutor,
) -> None:
    """Add what fields from one place release."""
    first = fields[0]
    source = np.asarray(first.isocenter_mm) - machine.source_axis_distance_mm * first.direction
    view = View(source, first.direction, first.x, first.y, machine.source_axis_distance_mm)
    boxes = np.array([_limited(field.aperture.box(machine)) for field in fields])
    (x0, y0), (x1, y1) = boxes[:, :, 0].min(axis=0), boxes[:, :, 1].max(axis=0)
    lattice = Lattice.over((x0 - MARGIN_MM, x1 + MARGIN_MM), (y0 - MARGIN_MM, y1 + MARGIN_MM), _MAP_MM)
    x, y = lattice.axis_mm(0), lattice.axis_mm(1)
    voxel = float(np.prod(grid.spacing_mm)) ** (1 / 3)
    fluence, bare = np.zeros(lattice.shape), np.zeros(lattice.shape)
    for field, box in zip(fields, boxes, strict=True):
        fluence += field.mu * fluence_map(machine, energy, field.aperture, x, y, voxel)
        bare += field.mu * _electrons(energy, box[0], box[1], x, y)
    release(
        released,
        density,
        grid,
        view,
        fluence.astype(np.float32),
        (bare * float(tables[:, 0].sum())).astype(np.float32),
        lattice,
        energy,
        tables,
        crop,
        pool,
    )


def _electrons(energy: PhotonEnergy, x: FloatArray, y: FloatArray, x_mm: FloatArray, y_mm: FloatArray) -> FloatArray:
    """Contamination of the rectangle that is open: broad, so that leaves within it are not told apart."""
    from scipy.special import ndtr

    given = energy.electrons
    along = [
        ndtr((at - low) / given.sigma_mm) - ndtr((at - high) / given.sigma_mm)
        for at, (low, high) in ((y_mm, y), (x_mm, x))
    ]
    spread: FloatArray = given.share * np.outer(along[0], along[1])
    return spread


def _limited(box: tuple[tuple[float, float], tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    (x0, x1), (y0, y1) = box
    return (max(x0, -250.0), min(x1, 250.0)), (max(y0, -250.0), min(y1, 250.0))


def _groups(fields: Sequence[Field], together_deg: float) -> list[list[Field]]:
    """Successive fields of about one direction; a group begins where the next field is too far from its first."""
    groups: list[list[Field]] = []
    nearest = math.cos(math.radians(together_deg)) - 1e-9
    for field in fields:
        if groups and float(groups[-1][0].direction @ field.direction) >= nearest:
            groups[-1].append(field)
        else:
            groups.append([field])
    return groups


def _crop(density: Volume, grid: Grid, fields: Sequence[Field], machine: PhotonMachineFile) -> Crop | None:
    """The part of the grid that holds matter and is not far from what the fields irradiate."""
    matter = density > _THIN_G_CM3
    if not matter.any():
        return None
    box = []
    for axis in range(3):
        used = np.flatnonzero(matter.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append([int(used[0]), int(used[-1])])
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    ends = [np.asarray(grid.origin_mm)[a] + np.asarray(grid.spacing_mm)[a] * np.array(box[2 - a]) for a in range(3)]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    for field in fields:
        distance = machine.source_axis_distance_mm
        source = np.asarray(field.isocenter_mm) - distance * field.direction
        along = (corners - source) @ field.direction
        (x0, x1), (y0, y1) = _limited(field.aperture.box(machine))
        for t in (max(float(along.min()), 1.0), float(along.max())):
            for x in (x0, x1):
                for y in (y0, y1):
                    at = source + t * (field.direction + (x * field.x + y * field.y) / distance)
                    low, high = np.minimum(low, at), np.maximum(high, at)
    crop = []
    for axis in range(3):
        first, last = box[axis]
        origin, spacing = grid.origin_mm[2 - axis], grid.spacing_mm[2 - axis]
        start = max(first, math.floor((low[2 - axis] - MARGIN_MM - origin) / spacing))
        stop = min(last, math.ceil((high[2 - axis] + MARGIN_MM - origin) / spacing)) + 1
        if stop <= start:
            return None
        crop.append(slice(start, stop))
    return (crop[0], crop[1], crop[2])


def _kernel(energy: PhotonEnergy) -> tuple[Cones, npt.NDArray[np.float32]]:
    return _fitted(energy.spectrum)


@functools.lru_cache(maxsize=8)
def _fitted(spectrum: tuple[tuple[float, float], ...]) -> tuple[Cones, npt.NDArray[np.float32]]:
    quality = beam_quality(Spectrum(tuple(e for e, _ in spectrum), tuple(n for _, n in spectrum)))
    return cones(quality), attenuation_tables(quality)


@functools.lru_cache(maxsize=16)
def gy_per_mu(machine: PhotonMachineFile, energy: PhotonEnergy, spacing_mm: float) -> float:
    """Gy a MU for one unit of energy fluence, by the calibration condition in water on voxels of that size."""
    given = energy.calibration
    half = given.field_mm / 2
    leaves = np.empty((2, len(machine.mlc.boundaries_mm) - 1))
    edges = np.asarray(machine.mlc.boundaries_mm)
    inside = (edges[1:] > -half) & (edges[:-1] < half)
    leaves[0], leaves[1] = np.where(inside, -half, 0.0), np.where(inside, half, 0.0)
    # where there are jaws, the field is theirs; the leaves stand behind them
    jaws_x = (-half, half) if machine.jaws_x is not None else None
    jaws_y = (-half, half) if machine.jaws_y is not None else None
    aperture = Aperture(None if jaws_x and jaws_y else leaves, jaws_x, jaws_y)
    dose, depth_mm = water_depth_dose(machine, energy, aperture, given.ssd_mm, given.depth_mm + 100.0, spacing_mm)
    return given.gy_per_mu / float(np.interp(given.depth_mm, depth_mm, dose))


def water_depth_dose(
    machine: PhotonMachineFile,
    energy: PhotonEnergy,
    aperture: Aperture,
    ssd_mm: float,
    depth_mm: float,
    spacing_mm: float,
    threads: int = 1,
) -> tuple[FloatArray, FloatArray]:
    """Dose on the axis in water for one unit of energy fluence, and the depths of the voxels, down to ``depth_mm``."""
    volume, grid = water_dose(machine, energy, aperture, ssd_mm, depth_mm, spacing_mm, threads)
    middle = volume[:, grid.shape[1] // 2, grid.shape[2] // 2].astype(np.float64)
    return middle[::-1], -grid.axis_mm(2)[::-1]


def water_dose(
    machine: PhotonMachineFile,
    energy: PhotonEnergy,
    aperture: Aperture,
    ssd_mm: float,
    depth_mm: float,
    spacing_mm: float,
    threads: int = 1,
) -> tuple[Volume, Grid]:
    """Dose in a box of water for one unit of energy fluence; the beam comes along -Z and enters it at z = 0."""
    (x0, x1), (y0, y1) = _limited(aperture.box(machine))
    scale = (ssd_mm + depth_mm) / machine.source_axis_distance_mm
    half = max(abs(v) for v in (x0, x1, y0, y1)) * scale + _WATER_MM
    n = 2 * math.ceil(half / spacing_mm) + 1
    nz = math.ceil(depth_mm / spacing_mm)
    origin = (-(n // 2) * spacing_mm, -(n // 2) * spacing_mm, -(nz - 0.5) * spacing_mm)
    grid = Grid(origin, (spacing_mm, spacing_mm, spacing_mm), (nz, n, n))
    field = Field(
        (0.0, 0.0, ssd_mm - machine.source_axis_distance_mm),
        np.array([0.0, 0.0, -1.0]),
        np.array([1.0, 0.0, 0.0]),
        np.array([0.0, 1.0, 0.0]),
        aperture,
        1.0,
    )
    return relative_dose(np.ones(grid.shape, dtype=np.float32), grid, [field], machine, energy, threads), grid
