"""Dose of plans' beams: IEC 61217 angles for every patient position, sums over control points, and arcs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from radiarch_contract.errors import InvalidRequestError
from radiarch_worker.engines.collapsedcone import plan_dose
from radiarch_worker.machines.photon_machine import GENERIC_LINAC, photon_machine
from radiarch_worker.model import FloatVolume, Grid
from radiarch_worker.photon import ControlPoint, FluenceMode, PhotonBeam, Rotation
from radiarch_worker.position import PatientPosition

MACHINE = photon_machine(GENERIC_LINAC)
GRID = Grid((-75.0, -75.0, -75.0), (5.0, 5.0, 5.0), (31, 31, 31))
WATER: FloatVolume = np.ones(GRID.shape, dtype=np.float32)
HFS = PatientPosition.HFS


def beam(gantry_deg: float, couch_deg: float = 0.0, collimator_deg: float = 0.0) -> PhotonBeam:
    """Open from x 10 to 40 and y -10 to 10 of the collimator."""
    points = tuple(ControlPoint(gantry_deg, mu, None, (10.0, 40.0), (-10.0, 10.0)) for mu in (0.0, 100.0))
    return PhotonBeam(
        number=1,
        name="1",
        gantry_deg=gantry_deg,
        couch_deg=couch_deg,
        isocenter_mm=(0.0, 0.0, 0.0),
        collimator_deg=collimator_deg,
        energy_mv=6.0,
        fluence=FluenceMode.FLATTENED,
        rotation=Rotation.NONE,
        control_points=points,
        leaf_boundaries_mm=None,
    )


def middle_mm(dose: FloatVolume) -> list[float]:
    """Center of the dose on the plane through the isocenter, to 5 mm; along the beam it is near the entrance."""
    index = np.argwhere(dose > 0.6 * dose.max()).mean(axis=0)[::-1]
    return [GRID.origin_mm[a] + GRID.spacing_mm[a] * float(index[a]) for a in range(3)]


@pytest.mark.parametrize(
    ("gantry", "couch", "collimator", "position", "axis", "entry", "side"),
    [
        # axis and sign of the side that the beam enters, axis and sign to which the field is shifted (LPS)
        (0, 0, 0, HFS, 1, -1, (0, 1)),  # from the front; X of the collimator is the patient's left
        (90, 0, 0, HFS, 0, 1, (1, 1)),  # from the left; X points down, to the back
        (180, 0, 0, HFS, 1, 1, (0, -1)),
        (270, 0, 0, HFS, 0, -1, (1, -1)),
        (0, 0, 90, HFS, 1, -1, (2, 1)),  # X of the collimator points to the head
        (0, 90, 0, HFS, 1, -1, (2, -1)),  # the couch turns the head away from X
        (90, 0, 0, PatientPosition.FFS, 0, -1, (1, 1)),  # from the right
        (0, 0, 0, PatientPosition.FFS, 1, -1, (0, -1)),
        (0, 0, 0, PatientPosition.HFP, 1, 1, (0, -1)),
    ],
)
def test_angles_are_those_of_iec_61217(
    gantry: float,
    couch: float,
    collimator: float,
    position: PatientPosition,
    axis: int,
    entry: int,
    side: tuple[int, int],
) -> None:
    found = middle_mm(plan_dose(WATER, GRID, [beam(gantry, couch, collimator)], position, MACHINE))
    assert found[axis] * entry > 20.0
    assert found[side[0]] * side[1] == pytest.approx(23.0, abs=4.0)
    other = 3 - axis - side[0]
    assert found[other] == pytest.approx(0.0, abs=2.0)


def test_directions_of_an_arc_that_are_swept_together_cost_little() -> None:
    still = beam(0.0)
    points = tuple(
        ControlPoint(float(g), 10.0 * n, None, (-20.0, 20.0), (-20.0, 20.0)) for n, g in enumerate(range(0, 60, 6))
    )
    arc = replace(still, rotation=Rotation.CLOCKWISE, control_points=points)
    each = plan_dose(WATER, GRID, [arc], HFS, MACHINE, threads=2, together_deg=0.0)
    together = plan_dose(WATER, GRID, [arc], HFS, MACHINE, threads=2)
    assert np.abs(together - each).max() < 0.015 * each.max()  # here and there, between rays
    assert abs(together.sum() / each.sum() - 1) < 1e-3


def test_an_energy_that_the_machine_does_not_have_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="18 MV"):
        plan_dose(WATER, GRID, [replace(beam(0.0), energy_mv=18.0)], HFS, MACHINE)
