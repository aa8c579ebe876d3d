"""Places the spots of all beams on the target, with range shifters where they are needed; layers are in `layers`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError
from radiarch_contract.workflows import Beam

from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines.mcsquare import Calibration, EngineCt, PlannedBeam, PlannedLayer, ProtonMachine, SpotPlan
from radiarch_worker.ion import RangeShifter
from radiarch_worker.model import BoolVolume, FloatVolume, Grid, Vector3
from radiarch_worker.planning.geometry import grow_mask, sample_mask, voxel_points_mm
from radiarch_worker.planning.raytrace import FloatArray, depth_to_points

from .layers import BeamRays, PlacementSettings, beyond_layers_mm, energy_range_mm, place_layers, range_energy_mev

Extent = tuple[FloatArray, FloatArray]
"""Lower and upper corner (x, y, z), mm."""

__all__ = ["Placement", "PlacementSettings", "place_spots"]

_UNREACHED_MAX = 0.002
"""Share of the target's voxels that may lie beyond every beam's energies (its outermost skin)."""
_BESIDE_MAX = 0.05
"""Share that may lie beyond every beam's layers by more than a step: corners whose rays pass between spots, beside the
target, through what stops much more than it."""
_SAID_MM = 1.0
"""Of water, by which a voxel may lie beyond a layer's range without a note: there the dose has fallen to 80 %."""
_POINTS_CHECKED = 5000
_SHIFTER_GAP_MM = 50.0
"""Air between a range shifter and the patient; our assumption of what a snout keeps."""
_SHIFTER_FIELD_MM = 50.0
"""Around the outermost spots a range shifter must not touch the patient."""


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
    known_mm: Extent | None = None,
) -> Placement:
    """Spots on a hexagonal grid, and layers at equal steps of water-equivalent depth, for each beam.

    Parameters
    ----------
    body, target : (Z, Y, X) on ``source``, the patient's CT
    known_mm : lower and upper corner of where the patient is known; None: all of the CT

    Raises
    ------
    InputRefusedError
        ``target_out_of_range`` when no beam's energies reach some of the target, or its field is too
        small; ``unsupported_geometry`` when a beam enters through the end of what is known of the patient.
    """
    rsp = calibration.stopping_power(ct.hu)
    inside = sample_mask(body, source, ct.grid)
    core = sample_mask(target, source, ct.grid)
    grown = grow_mask(core, ct.grid.spacing_mm, settings.target_margin_mm) & inside | core
    points = _Points(rsp, inside, core, ct.grid, known_mm or _extent_mm(source))
    planned: list[PlannedBeam] = []
    notes: list[str] = []
    within_energies, covered = (np.zeros(len(points.mm), dtype=bool) for _ in range(2))
    for number, beam in enumerate(beams, start=1):
        placed = _place_beam(number, beam, rsp, grown, points, ct, isocenter_mm, settings, machine)
        planned.append(placed.beam)
        notes += placed.notes
        within_energies |= placed.possible
        covered |= placed.covered
    missed, without_energy = 1 - float(covered.mean()), 1 - float(within_energies.mean())
    if without_energy > _UNREACHED_MAX or missed > _BESIDE_MAX:
        raise InputRefusedError(
            f"{100 * missed:.1f} % of the target lies where no beam has a layer for it: " + " ".join(notes),
            remedy="Choose other beam angles, another machine, range_shifter: auto, or closer spots.",
            code=ErrorCode.TARGET_OUT_OF_RANGE,
            missed_percent=100 * missed,
        )
    return Placement(SpotPlan(tuple(planned)), tuple(notes))


@dataclass(frozen=True)
class _PlacedBeam:
    """One beam with its spots; of the points that are checked, (n,), which it reaches."""

    beam: PlannedBeam
    possible: BoolVolume
    covered: BoolVolume
    notes: tuple[str, ...]


def _place_beam(
    number: int,
    beam: Beam,
    rsp: FloatVolume,
    grown: BoolVolume,
    points: _Points,
    ct: EngineCt,
    isocenter_mm: Vector3,
    settings: PlacementSettings,
    machine: ProtonMachine,
) -> _PlacedBeam:
    """Range shifter, layers and spots of one beam, numbered from 1."""
    rays = BeamRays(
        BeamAxes.of(beam.gantry_deg, beam.couch_deg, ct.patient_position),
        isocenter_mm,
        (machine.smx_mm, machine.smy_mm),
    )
    spots_mm, depth_mm = points.seen(rays, number, beam)
    notes: list[str] = []
    shifter = _range_shifter(beam, number, depth_mm, machine)
    added_mm = 0.0
    if shifter is not None:
        added_mm = machine.range_shifters[shifter]
        notes.append(f"Beam {number} has the range shifter {shifter} ({added_mm:g} mm of water).")
    layers = place_layers(rsp, grown, ct.grid, rays, settings, machine, added_mm)
    if not layers:
        raise InputRefusedError(
            f"beam {number} has no spot within the energies of machine {machine.name} "
            f"({machine.energy_min_mev:g} to {machine.energy_max_mev:g} MeV)",
            remedy="Choose another angle, another machine, or range_shifter: auto.",
            code=ErrorCode.TARGET_OUT_OF_RANGE,
        )
    energies = range_energy_mev(depth_mm + added_mm)
    possible = (energies >= machine.energy_min_mev) & (energies <= machine.energy_max_mev)
    beyond_mm = beyond_layers_mm(layers, spots_mm, depth_mm + added_mm, settings.spot_spacing_mm)
    well = possible & (beyond_mm <= _SAID_MM)
    if not well.all():
        notes.append(_unreached(number, well, possible, depth_mm, added_mm, layers, machine, shifter))
    placed = None
    if shifter is not None:
        surface_mm = _surface_mm(points.body, ct.grid, rays, layers)
        placed = RangeShifter(shifter, added_mm, _shifter_distance_mm(surface_mm, number, machine))
    name = beam.name or f"G{beam.gantry_deg:g}C{beam.couch_deg:g}"[:16]
    planned = PlannedBeam(beam.gantry_deg, beam.couch_deg, isocenter_mm, layers, name, placed)
    return _PlacedBeam(planned, possible, possible & (beyond_mm <= settings.layer_spacing_mm), tuple(notes))


def _unreached(
    number: int,
    well: BoolVolume,
    possible: BoolVolume,
    depth_mm: FloatArray,
    added_mm: float,
    layers: Sequence[PlannedLayer],
    machine: ProtonMachine,
    shifter: str | None,
) -> str:
    """What to say of a beam that has no layer for some of the target."""
    high, low = (energy_range_mm(layers[i].energy_mev) - added_mm for i in (0, -1))
    by = "its layers" if possible.all() else "the machine's energies"
    with_shifter = "no range shifter" if shifter is None else f"range shifter {shifter}"
    return (
        f"Beam {number} reaches {100 * well.mean():.1f} % of the target with {by} ({machine.energy_min_mev:g} to "
        f"{machine.energy_max_mev:g} MeV, {with_shifter}): they end at {low:.0f} and {high:.0f} mm of water, and what "
        f"is not reached lies at {depth_mm[~well].min():.0f} to {depth_mm[~well].max():.0f} mm."
    )


def _range_shifter(beam: Beam, number: int, depth_mm: FloatArray, machine: ProtonMachine) -> str | None:
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
    least_mm = energy_range_mm(machine.energy_min_mev)
    if float((depth_mm < least_mm).mean()) <= _UNREACHED_MAX or not machine.range_shifters:
        return None
    by_thickness = sorted(machine.range_shifters.items(), key=lambda item: item[1])
    front_mm = float(np.quantile(depth_mm, _UNREACHED_MAX))
    return next((name for name, wet_mm in by_thickness if front_mm + wet_mm >= least_mm), by_thickness[-1][0])


def _surface_mm(body: BoolVolume, grid: Grid, rays: BeamRays, layers: tuple[PlannedLayer, ...]) -> float:
    """How far before the isocenter the patient begins, as far as the beam's field reaches and a little beyond."""
    relative = voxel_points_mm(body, grid) - np.asarray(rays.isocenter_mm)
    u, v = relative @ rays.axes.x, relative @ rays.axes.y
    wide = _SHIFTER_FIELD_MM
    low_u, high_u = min(x.x_mm.min() for x in layers) - wide, max(x.x_mm.max() for x in layers) + wide
    low_v, high_v = min(x.y_mm.min() for x in layers) - wide, max(x.y_mm.max() for x in layers) + wide
    seen = (u >= low_u) & (u <= high_u) & (v >= low_v) & (v <= high_v)
    return float((-(relative[seen] @ rays.axes.direction)).max(initial=0.0))


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


class _Points:
    """Voxels of the target as beams see them, with the refusal of beams through what is not known."""

    def __init__(self, rsp: FloatVolume, body: BoolVolume, target: BoolVolume, grid: Grid, known_mm: Extent) -> None:
        points = voxel_points_mm(target, grid)
        self.mm = points[:: max(1, len(points) // _POINTS_CHECKED)]
        self._rsp, self.body, self._grid, self._known_mm = rsp, body, grid, known_mm

    def seen(self, rays: BeamRays, number: int, beam: Beam) -> tuple[FloatArray, FloatArray]:
        """(n, 2) where the points' rays cross the isocenter's plane, and (n,) their water-equivalent depths."""
        spots_mm = rays.spots_of(self.mm)
        depth, unscanned = depth_to_points(
            self._rsp, self.body, self._grid, self._known_mm, self.mm, rays.directions(spots_mm)
        )
        if unscanned.any():
            raise InputRefusedError(
                f"beam {number} (gantry {beam.gantry_deg:g}°, couch {beam.couch_deg:g}°) enters the patient through "
                f"the edge of the CT, or the end of BODY where the patient goes on: for "
                f"{100 * unscanned.mean():.0f} % of its rays tissue is not known",
                remedy="Choose other angles, or a CT and a BODY that cover the patient where the beam enters.",
                code=ErrorCode.UNSUPPORTED_GEOMETRY,
            )
        return spots_mm, depth


def _extent_mm(grid: Grid) -> Extent:
    half = np.asarray(grid.spacing_mm) / 2
    low = np.asarray(grid.origin_mm) - half
    return low, low + np.asarray(grid.spacing_mm) * np.asarray(grid.shape[::-1])
