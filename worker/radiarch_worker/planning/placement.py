"""Places spots and energy layers on the target with OpenTPS's ray tracer and ranges; their weights come later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError
from radiarch_contract.workflows import Beam

from radiarch_worker.engines import opentps
from radiarch_worker.engines.mcsquare import Calibration, EngineCt, PlannedBeam, PlannedLayer, ProtonMachine, SpotPlan
from radiarch_worker.model import BoolVolume, FloatVolume, Grid, RangeShifter, Vector3

from .geometry import BeamAxes, grow_mask, sample_mask, voxel_points_mm
from .raytrace import depth_to_points

_EXTRA_LAYERS = 1
"""Layers before the first and behind the last one in the target, as in OpenTPS."""
_UNREACHED_MAX = 0.002
"""Share of the target's voxels that may lie outside every beam's energies (its outermost skin)."""
_RAYS_CHECKED = 5000
_SHIFTER_GAP_MM = 50.0
"""Air between a range shifter and the patient; our assumption of what a snout keeps."""
_SHIFTER_FIELD_MM = 50.0
"""Around the outermost spots a range shifter must not touch the patient."""


@dataclass(frozen=True)
class PlacementSettings:
    """How densely spots are placed; millimetres, layers in water."""

    spot_spacing_mm: float
    layer_spacing_mm: float
    target_margin_mm: float


@dataclass(frozen=True)
class Placement:
    """Spots of all beams, in the order of ``plan``."""

    plan: SpotPlan
    notes: tuple[str, ...]


def place_spots(
    ct: EngineCt,
    body: BoolVolume,
    target: BoolVolume,
    source: Grid,
    beams: Sequence[Beam],
    isocenter_mm: Vector3,
    settings: PlacementSettings,
    machine: ProtonMachine,
    calibration: Calibration,
) -> Placement:
    """Spots on a hexagonal grid, and layers at equal steps of water-equivalent depth, for each beam.

    Parameters
    ----------
    body, target : (Z, Y, X) on ``source``, the patient's CT

    Raises
    ------
    InputRefusedError
        ``target_out_of_range`` when no beam's energies reach some of the target, or its field is too
        small; ``unsupported_geometry`` when a beam enters through the end of what was scanned.
    """
    rsp = calibration.stopping_power(ct.hu)
    inside = sample_mask(body, source, ct.grid)
    core = sample_mask(target, source, ct.grid)
    grown = grow_mask(core, ct.grid.spacing_mm, settings.target_margin_mm) & inside | core
    rays = _Rays(rsp, inside, core, ct.grid, _extent_mm(source))
    planned, notes = [], []
    reached = np.zeros(rays.points_mm.shape[0], dtype=bool)
    for number, beam in enumerate(beams, start=1):
        axes = BeamAxes.of(beam.gantry_deg, beam.couch_deg)
        depth_mm = rays.depth_mm(axes, number, beam)
        shifter = _range_shifter(beam, number, depth_mm, machine)
        added_mm = 0.0
        if shifter is not None:
            added_mm = machine.range_shifters[shifter]
            notes.append(f"Beam {number} has the range shifter {shifter} ({added_mm:g} mm of water).")
        energy = _energy_mev(depth_mm + added_mm)
        ok = (energy >= machine.energy_min_mev) & (energy <= machine.energy_max_mev)
        reached |= ok
        if not ok.all():
            notes.append(
                f"Beam {number} reaches {100 * ok.mean():.1f} % of the target with the machine's energies "
                f"({machine.energy_min_mev:g} to {machine.energy_max_mev:g} MeV, "
                + ("no range shifter)." if shifter is None else f"range shifter {shifter}).")
            )
        layers = _layers(rsp, grown, ct.grid, axes, isocenter_mm, settings, machine, added_mm)
        if not layers:
            raise InputRefusedError(
                f"beam {number} has no spot within the energies of machine {machine.name} "
                f"({machine.energy_min_mev:g} to {machine.energy_max_mev:g} MeV)",
                remedy="Choose another angle, another machine, or range_shifter: auto.",
                code=ErrorCode.TARGET_OUT_OF_RANGE,
            )
        name = beam.name or f"G{beam.gantry_deg:g}C{beam.couch_deg:g}"[:16]
        placed = None
        if shifter is not None:
            surface_mm = _surface_mm(inside, ct.grid, axes, isocenter_mm, layers)
            placed = RangeShifter(shifter, added_mm, _shifter_distance_mm(surface_mm, number, machine))
        planned.append(PlannedBeam(beam.gantry_deg, beam.couch_deg, isocenter_mm, layers, name, placed))
    missed = 1 - float(reached.mean())
    if missed > _UNREACHED_MAX:
        raise InputRefusedError(
            f"{100 * missed:.1f} % of the target lies where no beam has an energy for it; "
            f"machine {machine.name} has {machine.energy_min_mev:g} to {machine.energy_max_mev:g} MeV",
            remedy="Choose other beam angles, another machine, or range_shifter: auto.",
            code=ErrorCode.TARGET_OUT_OF_RANGE,
            missed_percent=100 * missed,
        )
    return Placement(SpotPlan(tuple(planned)), tuple(notes))


def _range_shifter(beam: Beam, number: int, depth_mm: npt.NDArray[np.float64], machine: ProtonMachine) -> str | None:
    """ID of the range shifter that a beam gets: the one asked for, or the thinnest by which the target is reached."""
    wanted = beam.range_shifter
    if wanted == "none":
        return None
    if wanted != "auto":
        if wanted not in machine.range_shifters:
            known = ", ".join(sorted(machine.range_shifters)) or "none"
            raise InvalidRequestError(
                f"beam {number} asks for range shifter {wanted!r}; machine {machine.name} has {known}",
                remedy="Name one of the machine's range shifters, auto, or none.",
            )
        return wanted
    least_mm = float(opentps.load("processing.rangeEnergy").energyToRangeMM(machine.energy_min_mev))
    if float((depth_mm < least_mm).mean()) <= _UNREACHED_MAX or not machine.range_shifters:
        return None
    by_thickness = sorted(machine.range_shifters.items(), key=lambda item: item[1])
    front_mm = float(np.quantile(depth_mm, _UNREACHED_MAX))
    return next((name for name, wet_mm in by_thickness if front_mm + wet_mm >= least_mm), by_thickness[-1][0])


def _surface_mm(
    body: BoolVolume, grid: Grid, axes: BeamAxes, isocenter_mm: Vector3, layers: tuple[PlannedLayer, ...]
) -> float:
    """How far before the isocenter the patient begins, as far as the beam's field reaches and a little beyond."""
    relative = voxel_points_mm(body, grid) - np.asarray(isocenter_mm)
    u, v = relative @ axes.x, relative @ axes.y
    wide = _SHIFTER_FIELD_MM
    low_u, high_u = min(x.x_mm.min() for x in layers) - wide, max(x.x_mm.max() for x in layers) + wide
    low_v, high_v = min(x.y_mm.min() for x in layers) - wide, max(x.y_mm.max() for x in layers) + wide
    seen = (u >= low_u) & (u <= high_u) & (v >= low_v) & (v <= high_v)
    return float((-(relative[seen] @ axes.direction)).max(initial=0.0))


def _shifter_distance_mm(surface_mm: float, number: int, machine: ProtonMachine) -> float:
    """As near to the patient as its gap of air allows, since protons scatter in it, in steps of a centimetre."""
    distance_mm = 10.0 * math.ceil((surface_mm + _SHIFTER_GAP_MM) / 10.0)
    if distance_mm > machine.nozzle_isocenter_mm:
        raise InputRefusedError(
            f"beam {number}: the patient begins {surface_mm:.0f} mm before the isocenter; a range shifter with "
            f"{_SHIFTER_GAP_MM:g} mm of air does not fit before the nozzle, {machine.nozzle_isocenter_mm:g} mm from it",
            remedy="Move the isocenter towards the surface, or choose another angle.",
            code=ErrorCode.TARGET_OUT_OF_RANGE,
        )
    return distance_mm


class _Rays:
    """Depths of the target's voxels, with the refusal of beams through what was not scanned."""

    def __init__(self, rsp: FloatVolume, body: BoolVolume, target: BoolVolume, grid: Grid, scanned: Any) -> None:
        points = voxel_points_mm(target, grid)
        self.points_mm = points[:: max(1, len(points) // _RAYS_CHECKED)]
        self._rsp, self._body, self._grid, self._scanned = rsp, body, grid, scanned

    def depth_mm(self, axes: BeamAxes, number: int, beam: Beam) -> npt.NDArray[np.float64]:
        depth, unscanned = depth_to_points(
            self._rsp, self._body, self._grid, self._scanned, self.points_mm, axes.direction
        )
        if unscanned.any():
            raise InputRefusedError(
                f"beam {number} (gantry {beam.gantry_deg:g}°, couch {beam.couch_deg:g}°) enters the patient through "
                f"the edge of the CT: for {100 * unscanned.mean():.0f} % of its rays tissue was not scanned",
                remedy="Choose other angles, or a CT that covers the patient where the beam enters.",
                code=ErrorCode.UNSUPPORTED_GEOMETRY,
            )
        return depth


def _extent_mm(grid: Grid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    half = np.asarray(grid.spacing_mm) / 2
    low = np.asarray(grid.origin_mm) - half
    return low, low + np.asarray(grid.spacing_mm) * np.asarray(grid.shape[::-1])


def _energy_mev(range_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    convert = opentps.load("processing.rangeEnergy").rangeMMToEnergy
    result: npt.NDArray[np.float64] = convert(np.array(range_mm, dtype=np.float64))
    return result


def _layers(
    rsp: FloatVolume,
    target: BoolVolume,
    grid: Grid,
    axes: BeamAxes,
    isocenter_mm: Vector3,
    settings: PlacementSettings,
    machine: ProtonMachine,
    added_mm: float,
) -> tuple[PlannedLayer, ...]:
    """Layers of one beam, the highest energy first; ``added_mm`` of water lie in it before the patient."""
    x, y = _hexagonal(target, grid, axes, isocenter_mm, settings.spot_spacing_mm)
    if (abs(x) > machine.limits.field_x_mm).any() or (abs(y) > machine.limits.field_y_mm).any():
        raise InputRefusedError(
            f"the target needs a field of {2 * abs(x).max():.0f} by {2 * abs(y).max():.0f} mm; machine {machine.name} "
            f"scans {2 * machine.limits.field_x_mm:.0f} by {2 * machine.limits.field_y_mm:.0f} mm",
            remedy="Move the isocenter, or choose other angles.",
            code=ErrorCode.TARGET_OUT_OF_RANGE,
        )
    x, y, depths = _layer_depths(rsp, target, grid, axes, isocenter_mm, x, y, settings.layer_spacing_mm)
    if not depths:
        return ()
    first = min(d for ray in depths for d in ray)
    numbers = [_with_extra({round((d - first) / settings.layer_spacing_mm) for d in ray}) for ray in depths]
    layers = []
    for number in sorted(set().union(*numbers), reverse=True):
        range_mm = first + number * settings.layer_spacing_mm
        if range_mm <= 0:
            continue
        energy = round(float(_energy_mev(np.array([range_mm + added_mm]))[0]), 3)
        if not machine.energy_min_mev <= energy <= machine.energy_max_mev:
            continue
        on = np.array([number in ray for ray in numbers])
        layers.append(PlannedLayer(energy, x[on], y[on]))
    return tuple(layers)


def _with_extra(numbers: set[int]) -> set[int]:
    low, high = min(numbers), max(numbers)
    return numbers | set(range(low - _EXTRA_LAYERS, low)) | set(range(high + 1, high + 1 + _EXTRA_LAYERS))


def _hexagonal(
    target: BoolVolume, grid: Grid, axes: BeamAxes, isocenter_mm: Vector3, spacing_mm: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions around the isocenter that cover the target as the beam sees it; the isocenter is one of them."""
    relative = voxel_points_mm(target, grid) - np.asarray(isocenter_mm)
    u, v = relative @ axes.x, relative @ axes.y
    pitch = spacing_mm * math.cos(math.pi / 6)
    rows = np.arange(math.floor(v.min() / pitch) - 1, math.ceil(v.max() / pitch) + 2)
    columns = np.arange(math.floor(u.min() / spacing_mm) - 1, math.ceil(u.max() / spacing_mm) + 2)
    x = columns[None, :] * spacing_mm + (rows[:, None] % 2) * (spacing_mm / 2)
    y = np.broadcast_to(rows[:, None] * pitch, x.shape)
    # Rounded, so that the plan as written in DICOM is the plan that was computed.
    return np.round(x.ravel(), 3), np.round(y.ravel(), 3)


def _layer_depths(
    rsp: FloatVolume,
    target: BoolVolume,
    grid: Grid,
    axes: BeamAxes,
    isocenter_mm: Vector3,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    layer_spacing_mm: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[list[float]]]:
    """Positions whose ray meets the target, and for each the depths (mm, water) at which it has layers in it."""
    tracer = opentps.load("processing.C_libraries.libRayTracing_wrapper")
    ranges = opentps.load("processing.rangeEnergy")
    # OpenTPS's tracer divides by each component of the direction, and takes an image's origin for its corner.
    direction = np.where(abs(axes.direction) < 1e-9, 1e-10, axes.direction)
    corner = np.asarray(grid.origin_mm) - np.asarray(grid.spacing_mm) / 2
    shape = {"origin": corner, "spacing": np.asarray(grid.spacing_mm), "gridSize": np.array(grid.shape[::-1])}
    spr = SimpleNamespace(imageArray=np.ascontiguousarray(rsp.transpose(2, 1, 0)), **shape)
    mask = SimpleNamespace(imageArray=np.ascontiguousarray(target.transpose(2, 1, 0)), **shape)
    start, hits = _entry_points(corner, grid, axes, isocenter_mm, x, y)
    x, y, start = x[hits], y[hits], start[hits]
    spots: dict[str, Any] = {"x": start[:, 0], "y": start[:, 1], "z": start[:, 2], "WET": [], "EnergyLayers": []}
    with opentps.calls():
        tracer.transport_spots_to_target(spr, mask, spots, direction)
        met = np.array(spots["WET"]) >= 0
        if not met.any():
            return x[met], y[met], []
        for key in ("x", "y", "z", "WET"):
            spots[key] = list(np.asarray(spots[key])[met])
        shallowest = float(min(spots["WET"]))
        tracer.transport_spots_inside_target(spr, mask, spots, direction, shallowest, layer_spacing_mm)
    x, y = x[met], y[met]
    # The tracer gives energies; their depths are multiples of the spacing from the shallowest one.
    count = math.ceil(550.0 / layer_spacing_mm) + 2
    table = shallowest + layer_spacing_mm * np.arange(count)
    energies = np.array([ranges.rangeMMToEnergy(float(d)) for d in table])
    depths = [[float(table[int(np.argmin(abs(energies - e)))]) for e in ray] for ray in spots["EnergyLayers"]]
    some = np.array([bool(ray) for ray in depths])
    return x[some], y[some], [ray for ray in depths if ray]


def _entry_points(
    corner: npt.NDArray[np.float64],
    grid: Grid,
    axes: BeamAxes,
    isocenter_mm: Vector3,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Where each ray enters the grid, just inside it; rays that miss the grid are marked.

    OpenTPS starts rays on the planes of the image's faces without looking whether they meet the face; its tracer
    then counts voxels on from row to row and finds targets where there are none.
    """
    through = np.asarray(isocenter_mm) + x[:, None] * axes.x + y[:, None] * axes.y
    far_corner = corner + np.asarray(grid.spacing_mm) * np.asarray(grid.shape[::-1])
    enter, leave = np.full(len(x), -np.inf), np.full(len(x), np.inf)
    for axis in range(3):
        d = axes.direction[axis]
        if abs(d) < 1e-9:
            outside = (through[:, axis] <= corner[axis]) | (through[:, axis] >= far_corner[axis])
            leave[outside] = -np.inf
            continue
        t = np.stack([corner[axis] - through[:, axis], far_corner[axis] - through[:, axis]]) / d
        enter, leave = np.maximum(enter, t.min(axis=0)), np.minimum(leave, t.max(axis=0))
    hits = leave - enter > 0.1
    start = through + np.where(hits, enter + 1e-2, 0.0)[:, None] * axes.direction
    return start, hits
