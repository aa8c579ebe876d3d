"""Photon plans made by hand: what the writer is tested on, without an engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from radiarch_worker.model import Dose, PlanResult
from radiarch_worker.photon import ControlPoint, FluenceMode, Linac, PhotonBeam, Rotation

from . import waterbox

BOUNDARIES = np.array([*range(-200, -100, 10), *range(-100, 100, 5), *range(100, 201, 10)], dtype=np.float64)
PAIRS = len(BOUNDARIES) - 1
LINAC = Linac("generic-120", 1000.0, tuple(BOUNDARIES.tolist()))


def leaves(half_mm: float, shift_mm: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    inside = (BOUNDARIES[1:] > -half_mm) & (BOUNDARIES[:-1] < half_mm)
    return np.where(inside, [[shift_mm - half_mm], [shift_mm + half_mm]], shift_mm)


def point(gantry_deg: float, mu: float, half_mm: float = 30.0, shift_mm: float = 0.0) -> ControlPoint:
    jaws = (-60.0, 60.0)
    return ControlPoint(gantry_deg, mu, leaves(half_mm, shift_mm), jaws, jaws, 600.0)


def beam(
    number: int, points: tuple[ControlPoint, ...], rotation: Rotation = Rotation.NONE, collimator_deg: float = 0.0
) -> PhotonBeam:
    return PhotonBeam(
        number=number,
        name=f"Field {number}",
        gantry_deg=points[0].gantry_deg,
        couch_deg=0.0,
        isocenter_mm=(-0.125, -110.0, 1 / 3),
        collimator_deg=collimator_deg,
        energy_mv=6.0,
        fluence=FluenceMode.FLATTENED,
        rotation=rotation,
        control_points=points,
        leaf_boundaries_mm=BOUNDARIES,
    )


def static(number: int = 1) -> PhotonBeam:
    return beam(number, (point(40.0, 0.0), point(40.0, 123.456789)))


def step_and_shoot(number: int = 2) -> PhotonBeam:
    wide, narrow = point(200.0, 0.0), point(200.0, 40.0, 12.5, 7.123)
    return beam(number, (wide, replace(wide, cumulative_mu=40.0), narrow, replace(narrow, cumulative_mu=95.5)))


def arc(number: int = 3, rotation: Rotation = Rotation.CLOCKWISE) -> PhotonBeam:
    sign = 1 if rotation is Rotation.CLOCKWISE else -1
    angles = [(180.0 + sign * (0.1 + 3.994 * k)) % 360 for k in range(91)]
    points = tuple(point(a, 4.9 * k, 20 + k / 9, 10 * np.sin(k / 7)) for k, a in enumerate(angles))
    return beam(number, points, rotation, 30.0)


def plan(*beams: PhotonBeam) -> PlanResult:
    made = beams or (static(), step_and_shoot(), arc(), arc(4, Rotation.COUNTER_CLOCKWISE))
    grid = waterbox.DOSE_GRID
    return PlanResult(
        beams=made,
        dose=Dose(waterbox.smooth_dose(grid), grid, 1.0),
        uncertainty_percent=None,
        machine=LINAC,
        provenance={"engine": "collapsed cone", "engine_version": "1", "machine": {"name": LINAC.name}},
    )
