"""Each limit of a machine is found where a control point breaks it, and what is deliverable breaks none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from radiarch_worker.machines.deliverability import Limit, area_cm2, delivery, modulation_score, small_aperture_share
from radiarch_worker.machines.photon_machine import PhotonMachine, photon_machine
from radiarch_worker.photon import ControlPoint, PhotonBeam, Rotation
from radiarch_worker.recalculation import read_photon_plan
from radiarch_worker.recalculation.photon_compute import delivery_notes

from tests.worker.dicom import photon_plans
from tests.worker.dicom.photon_plans import point
from tests.worker.recalculation import rt_plans

MACHINE = photon_machine("generic-120")


def machine(**mlc: Any) -> PhotonMachine:
    file = MACHINE.file
    return MACHINE.model_copy(update={"file": file.model_copy(update={"mlc": file.mlc.model_copy(update=mlc)})})


def limits(beam: PhotonBeam, of: PhotonMachine = MACHINE) -> set[Limit]:
    return {b.limit for b in delivery(beam, of).broken}


def arc(*points: ControlPoint, rotation: Rotation = Rotation.CLOCKWISE) -> PhotonBeam:
    return photon_plans.beam(1, points, rotation)


def apart(beam: PhotonBeam) -> tuple[ControlPoint, ...]:
    """Its control points with no leaf closed: leaves that move need a gap."""
    half = np.array([[-0.3], [0.3]])
    return tuple(p if p.leaves_mm is None else replace(p, leaves_mm=p.leaves_mm + half) for p in beam.control_points)


def test_what_is_deliverable_breaks_nothing() -> None:
    turning = photon_plans.arc()
    for beam in (photon_plans.static(), photon_plans.step_and_shoot(), replace(turning, control_points=apart(turning))):
        assert delivery(beam, MACHINE).broken == ()


def test_an_arc_takes_as_long_as_what_is_slowest() -> None:
    mlc, (energy,) = MACHINE.file.mlc, MACHINE.file.energies[:1]
    speed, rate = MACHINE.file.gantry.speed_deg_s, energy.dose_rate_mu_min[1] / 60
    little = arc(point(0, 0), point(12, 1.0))
    much = arc(point(0, 0), point(12, 100.0))
    far = arc(point(0, 0), point(12, 20.0, shift_mm=100.0))
    assert delivery(little, MACHINE).time_s == pytest.approx(12 / speed)
    assert delivery(much, MACHINE).time_s == pytest.approx(max(12 / speed, 100 / rate))
    assert delivery(far, MACHINE).time_s == pytest.approx(max(12 / speed, 100 / mlc.speed_mm_s, 20 / rate))


def test_each_limit_is_found_and_named() -> None:
    static = photon_plans.static()
    first, last = static.control_points
    assert first.leaves_mm is not None
    far = first.leaves_mm.copy()
    far[:, 30] += 1000.0
    crossing = first.leaves_mm.copy()
    crossing[:, 30], crossing[:, 31] = (-20.0, -10.0), (10.0, 20.0)
    moved = replace(last, leaves_mm=photon_plans.leaves(30.0, 20.0))
    wide = (-1000.0, 1000.0)
    cases: dict[Limit, tuple[PhotonBeam, PhotonMachine]] = {
        Limit.ENERGY: (replace(static, energy_mv=49.0), MACHINE),
        Limit.LEAF_RANGE: (replace(static, control_points=(replace(first, leaves_mm=far), last)), MACHINE),
        Limit.LEAF_SPAN: (replace(static, control_points=(replace(first, leaves_mm=far), last)), MACHINE),
        Limit.INTERDIGITATION: (
            replace(static, control_points=(replace(first, leaves_mm=crossing), last)),
            machine(interdigitation=False),
        ),
        Limit.LEAF_GAP: (replace(static, control_points=(first, moved)), machine(gap_min_mm=5.0)),
        Limit.JAW_RANGE: (replace(static, control_points=(replace(first, jaws_x_mm=wide), last)), MACHINE),
        Limit.DOSE_RATE: (replace(static, control_points=(replace(first, dose_rate_mu_min=9e4), last)), MACHINE),
        Limit.GANTRY_STOP: (arc(point(170, 0), point(190, 50)), MACHINE),
        Limit.GANTRY_SPEED: (arc(point(0, 0), point(100, 0.2)), MACHINE),
        Limit.LEAF_SPEED: (arc(point(0, 0), point(0.5, 0.2, shift_mm=100.0)), MACHINE),
        Limit.MU: (arc(point(0, 0), point(0.01, 1e-3), point(4, 20)), MACHINE),
    }
    for limit, (beam, of) in cases.items():
        assert limit in limits(beam, of), limit
    other = replace(static, leaf_boundaries_mm=np.arange(0.0, 55.0, 5.0))
    fewer = tuple(replace(p, leaves_mm=photon_plans.leaves(30.0)[:, :10]) for p in static.control_points)
    assert Limit.LEAF_COUNT in limits(replace(other, control_points=fewer))


def test_an_open_square_is_not_complex_and_a_ragged_one_is() -> None:
    static = photon_plans.static()
    assert modulation_score(static) == pytest.approx(1.0)
    assert area_cm2(static, static.control_points[0]) == pytest.approx(36.0)
    first, last = static.control_points
    assert first.leaves_mm is not None
    ragged = first.leaves_mm.copy()
    ragged[1, 28:31] -= 15
    ragged[0, 33] += 20
    complex_beam = replace(static, control_points=(replace(first, leaves_mm=ragged), replace(last, leaves_mm=ragged)))
    assert 0 < modulation_score(complex_beam) < 0.8


def test_a_check_says_what_a_plan_of_the_machine_breaks() -> None:
    beam = rt_plans.static()
    beam.points[0].rate = 9e4
    plan = read_photon_plan(rt_plans.plan(beam))
    about, first, *more = delivery_notes(plan, MACHINE)
    assert "about 10 s; modulation complexity score 1.00, 0 % of the MU" in about
    assert (first.startswith("Beam 1, control point 0: 90000 MU/min"), more) == (True, [])


def test_small_apertures_count_by_their_mu() -> None:
    small, large = point(0, 0, half_mm=5.0), point(0, 30.0, half_mm=30.0)
    beam = photon_plans.beam(1, (small, replace(small, cumulative_mu=30.0), large, replace(large, cumulative_mu=120.0)))
    assert small_aperture_share(beam) == pytest.approx(0.25)
