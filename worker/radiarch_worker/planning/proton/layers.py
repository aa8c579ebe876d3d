"""Spots and energy layers of one beam, and which of the target they reach; weights come later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError
from scipy.spatial import KDTree

from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines import opentps
from radiarch_worker.engines.mcsquare import PlannedLayer, ProtonMachine
from radiarch_worker.model import BoolVolume, FloatVolume, Grid, Vector3
from radiarch_worker.planning.geometry import voxel_points_mm
from radiarch_worker.planning.raytrace import FloatArray, TargetParts, target_parts

_EXTRA_LAYERS = 1
"""Layers before each part of the target along a ray and behind it: a Bragg peak at the very edge leaves it at 80 %."""
_LEAST_STEP_MEV = 0.3
"""Of a layer at the end of the machine's energies to its neighbour; about 0.7 mm of water."""
_NEIGHBOURS = 7
"""A spot of the hexagonal grid and those around it."""
_NEIGHBOURHOOD = 1.5
"""How many spot spacings from the nearest spot a voxel may lie."""


@dataclass(frozen=True)
class PlacementSettings:
    """How densely spots are placed; millimetres, layers in water."""

    spot_spacing_mm: float
    layer_spacing_mm: float
    target_margin_mm: float


@dataclass(frozen=True)
class BeamRays:
    """The rays of one beam, as the machine's scanning magnets spread them.

    Attributes
    ----------
    source_mm : distance from the isocenter at which spots are deflected along x and along y
    """

    axes: BeamAxes
    isocenter_mm: Vector3
    source_mm: tuple[float, float]

    def spots_of(self, points_mm: FloatArray) -> FloatArray:
        """(n, 2) where the rays through (n, 3) points cross the isocenter's plane."""
        relative = points_mm - np.asarray(self.isocenter_mm)
        height = -(relative @ self.axes.direction)
        sideways = np.stack([relative @ self.axes.x, relative @ self.axes.y], axis=1)
        spots: FloatArray = sideways / (1 - height[:, None] / np.asarray(self.source_mm))
        return spots

    def directions(self, spots_mm: FloatArray) -> FloatArray:
        """(n, 3) unit vectors along which the protons of (n, 2) spots travel."""
        slope = spots_mm / np.asarray(self.source_mm)
        ways = self.axes.direction + slope[:, :1] * self.axes.x + slope[:, 1:] * self.axes.y
        directions: FloatArray = ways / np.linalg.norm(ways, axis=1, keepdims=True)
        return directions

    def points_mm(self, spots_mm: FloatArray) -> FloatArray:
        """(n, 3) of (n, 2) spots in the isocenter's plane."""
        points: FloatArray = (
            np.asarray(self.isocenter_mm) + spots_mm[:, :1] * self.axes.x + spots_mm[:, 1:] * self.axes.y
        )
        return points


def range_energy_mev(range_mm: FloatArray) -> FloatArray:
    """Energy of protons with a range in water."""
    convert = opentps.load("processing.rangeEnergy").rangeMMToEnergy
    result: FloatArray = convert(np.array(range_mm, dtype=np.float64))
    return result


def energy_range_mm(energy_mev: float) -> float:
    """Range in water of protons."""
    return float(opentps.load("processing.rangeEnergy").energyToRangeMM(energy_mev))


def place_layers(
    rsp: FloatVolume,
    target: BoolVolume,
    grid: Grid,
    rays: BeamRays,
    settings: PlacementSettings,
    machine: ProtonMachine,
    added_mm: float,
) -> tuple[PlannedLayer, ...]:
    """Layers of one beam, the highest energy first.

    They lie at equal steps of water-equivalent depth from the shallowest point of the target on. Each spot has those
    between the water-equivalent depths at which its ray enters each part of the target and leaves it, and
    `_EXTRA_LAYERS` on either side. Where the machine's energies end between two of them, there is one at their end.

    Parameters
    ----------
    target : (Z, Y, X) what is to be covered, with its margin
    added_mm : water in the beam before the patient

    Raises
    ------
    InputRefusedError
        ``target_out_of_range``, when the field is larger than the machine's.
    """
    spots = _hexagonal(target, grid, rays, settings.spot_spacing_mm)
    _check_field(spots, machine)
    parts = target_parts(rsp, target, grid, rays.points_mm(spots), rays.directions(spots))
    if not len(parts.ray):
        return ()
    first_mm = float(parts.entry_mm.min())
    numbers = _numbers(parts, first_mm, settings.layer_spacing_mm)
    wanted = np.array(sorted(set().union(*numbers.values()), reverse=True))
    depth_mm = first_mm + wanted * settings.layer_spacing_mm + added_mm
    energies = _within_machine(range_energy_mev(np.maximum(depth_mm, 0.0)), machine)
    layers = []
    for number, energy in zip(wanted, energies, strict=True):
        if not math.isnan(energy):
            on = [ray for ray, of_ray in numbers.items() if number in of_ray]
            layers.append(PlannedLayer(float(energy), spots[on, 0], spots[on, 1]))
    return tuple(layers)


def _check_field(spots: FloatArray, machine: ProtonMachine) -> None:
    wide = abs(spots).max(axis=0)
    if wide[0] > machine.limits.field_x_mm or wide[1] > machine.limits.field_y_mm:
        raise InputRefusedError(
            f"the target needs a field of {2 * wide[0]:.0f} by {2 * wide[1]:.0f} mm; machine {machine.name} "
            f"scans {2 * machine.limits.field_x_mm:.0f} by {2 * machine.limits.field_y_mm:.0f} mm",
            remedy="Move the isocenter, or choose other angles.",
            code=ErrorCode.TARGET_OUT_OF_RANGE,
        )


def _numbers(parts: TargetParts, first_mm: float, spacing_mm: float) -> dict[int, set[int]]:
    """The numbers of each ray's layers, counted from ``first_mm``."""
    low = np.ceil((parts.entry_mm - first_mm) / spacing_mm - 1e-6).astype(int) - _EXTRA_LAYERS
    high = np.floor((parts.exit_mm - first_mm) / spacing_mm + 1e-6).astype(int) + _EXTRA_LAYERS
    numbers: dict[int, set[int]] = {}
    for ray, a, b in zip(parts.ray, low, high, strict=True):
        numbers.setdefault(int(ray), set()).update(range(int(a), int(b) + 1))
    return numbers


def _within_machine(energies_mev: FloatArray, machine: ProtonMachine) -> FloatArray:
    """Energies, falling, to 1 keV; NaN where the machine has none.

    The first one beyond each end becomes that end, so that what lies between the last layer and the end is reached.
    """
    low, high = machine.energy_min_mev, machine.energy_max_mev
    # to 1 keV, so that the plan as written in DICOM is the plan that was computed
    result = np.round(energies_mev, 3)
    inside = (result >= low) & (result <= high)
    result = np.where(inside, result, np.nan)
    above, below = np.flatnonzero(energies_mev > high), np.flatnonzero(energies_mev < low)
    for beyond, end, neighbor in ((above[-1:], high, 1), (below[:1], low, -1)):
        for i in beyond:
            other = i + neighbor
            if 0 <= other < len(result) and abs(energies_mev[other] - end) >= _LEAST_STEP_MEV and inside[other]:
                result[i] = end
    return result


def _hexagonal(target: BoolVolume, grid: Grid, rays: BeamRays, spacing_mm: float) -> FloatArray:
    """(n, 2) positions around the isocenter that cover the target as the beam sees it; the isocenter is one of them."""
    seen = rays.spots_of(voxel_points_mm(target, grid))
    (low_u, low_v), (high_u, high_v) = seen.min(axis=0), seen.max(axis=0)
    pitch = spacing_mm * math.cos(math.pi / 6)
    rows = np.arange(math.floor(low_v / pitch) - 1, math.ceil(high_v / pitch) + 2)
    columns = np.arange(math.floor(low_u / spacing_mm) - 1, math.ceil(high_u / spacing_mm) + 2)
    x = columns[None, :] * spacing_mm + (rows[:, None] % 2) * (spacing_mm / 2)
    y = np.broadcast_to(rows[:, None] * pitch, x.shape)
    # Rounded, so that the plan as written in DICOM is the plan that was computed.
    spots: FloatArray = np.round(np.stack([x.ravel(), y.ravel()], axis=1), 3)
    return spots


def beyond_layers_mm(
    layers: Sequence[PlannedLayer], spots_mm: FloatArray, depth_mm: FloatArray, spot_spacing_mm: float
) -> FloatArray:
    """(n,) how much water lies between points and the layers of the spots around their rays; 0 between layers.

    Counted from the layers that were placed and from the points' own rays, so that a layer that is missing is seen.
    Infinite where there is no spot around.

    Parameters
    ----------
    spots_mm : (n, 2) where the points' rays cross the isocenter's plane
    depth_mm : (n,) water-equivalent, with what lies in the beam before the patient
    """
    ranges_mm = [energy_range_mm(layer.energy_mev) for layer in layers]
    at = np.concatenate([np.stack([layer.x_mm, layer.y_mm], axis=1) for layer in layers])
    range_mm = np.repeat(ranges_mm, [len(layer) for layer in layers])
    places, which = np.unique(at, axis=0, return_inverse=True)
    shallow, deep = np.full(len(places), np.inf), np.full(len(places), -np.inf)
    np.minimum.at(shallow, which.ravel(), range_mm)
    np.maximum.at(deep, which.ravel(), range_mm)
    near_mm, near = KDTree(places).query(spots_mm, k=range(1, min(_NEIGHBOURS, len(places)) + 1))
    there = near_mm <= _NEIGHBOURHOOD * spot_spacing_mm
    deepest = np.where(there, deep[near], -np.inf).max(axis=1)
    shallowest = np.where(there, shallow[near], np.inf).min(axis=1)
    result: FloatArray = np.maximum(np.maximum(depth_mm - deepest, shallowest - depth_mm), 0.0)
    return result
