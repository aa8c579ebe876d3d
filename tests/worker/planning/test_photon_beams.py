"""Photon beams as types: arcs without a jump, apertures between control points, axes by IEC 61217."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.photon import ControlPoint, FluenceMode, PhotonBeam, Rotation
from radiarch_worker.position import PatientPosition

ISOCENTER_MM = (10.0, -20.0, 30.0)


def point(gantry_deg: float, mu: float, left_mm: float = -20.0, right_mm: float = 20.0) -> ControlPoint:
    leaves = np.array([[left_mm, left_mm + 1], [right_mm, right_mm + 1]])
    return ControlPoint(gantry_deg, mu, leaves, (-30.0, 30.0), None)


def beam(*points: ControlPoint, rotation: Rotation = Rotation.NONE) -> PhotonBeam:
    return PhotonBeam(
        *(1, "1", points[0].gantry_deg, 0.0, ISOCENTER_MM, 0.0, 6.0, FluenceMode.FLATTENED, rotation, points),
        leaf_boundaries_mm=np.array([-5.0, 0.0, 5.0]),
    )


@pytest.mark.parametrize(
    ("rotation", "angles", "path"),
    [
        (Rotation.CLOCKWISE, [180.1, 270, 0, 90, 179.9], [180.1, 270, 360, 450, 539.9]),
        (Rotation.COUNTER_CLOCKWISE, [179.9, 90, 0, 270, 180.1], [179.9, 90, 0, -90, -179.9]),
        (Rotation.CLOCKWISE, [10, 10, 20], [10, 10, 20]),
        (Rotation.COUNTER_CLOCKWISE, [10, 10 - 1e-13, 0], [10, 10, 0]),
        (Rotation.NONE, [30, 30, 30], [30, 30, 30]),
    ],
)
def test_an_arc_goes_on_over_0_and_over_180(rotation: Rotation, angles: list[float], path: list[float]) -> None:
    arc = beam(*(point(a, i) for i, a in enumerate(angles)), rotation=rotation)
    assert arc.gantry_path_deg == pytest.approx(path)


def test_apertures_between_control_points_move_with_the_mu() -> None:
    arc = beam(point(350, 0), point(10, 40, left_mm=-10, right_mm=40), rotation=Rotation.CLOCKWISE)
    half = arc.between(0, 0.5)
    assert (half.gantry_deg, half.cumulative_mu, half.jaws_x_mm, half.jaws_y_mm) == (0.0, 20.0, (-30.0, 30.0), None)
    assert half.leaves_mm is not None
    assert half.leaves_mm[:, 0].tolist() == [-15.0, 30.0]
    stills = list(arc.exposures(gantry_step_deg=4, leaf_step_mm=100))
    assert [s.point.gantry_deg for s in stills] == pytest.approx([352, 356, 0, 4, 8])
    assert len(list(arc.exposures(gantry_step_deg=100, leaf_step_mm=5))) == 4


@given(
    mu=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    turns=st.lists(st.floats(0, 20), min_size=8, max_size=8),
    step=st.floats(0.5, 10),
)
def test_exposures_give_the_meterset_once(mu: list[float], turns: list[float], step: float) -> None:
    cumulative, angles = np.cumsum([0, *mu]), np.mod(180.0 + np.cumsum([0, *turns]), 360)
    points = [point(float(a), float(m)) for a, m in zip(angles, cumulative, strict=False)]
    arc = beam(*points, rotation=Rotation.CLOCKWISE)
    stills = list(arc.exposures(gantry_step_deg=step))
    assert sum(s.mu for s in stills) == pytest.approx(arc.meterset_mu, rel=1e-9, abs=1e-9)
    assert all(s.mu > 0 for s in stills)


def test_step_and_shoot_delivers_nothing_on_the_way() -> None:
    first, second = point(0, 10), point(0, 10, left_mm=-5)
    fields = beam(replace(first, cumulative_mu=0.0), first, second, replace(second, cumulative_mu=25.0))
    assert [(s.mu, s.index) for s in fields.exposures()] == [(10.0, 0), (15.0, 2)]


@pytest.mark.parametrize("position", list(PatientPosition))
@pytest.mark.parametrize(("gantry", "couch", "collimator"), [(0, 0, 0), (30, 0, 10), (200, 40, 275), (90, 330, 90)])
def test_devices_have_a_right_handed_system_towards_the_source(
    position: PatientPosition, gantry: float, couch: float, collimator: float
) -> None:
    axes = BeamAxes.of(gantry, couch, position).collimated(collimator)
    system = np.stack([axes.x, axes.y, -axes.direction], axis=1)
    assert system.T @ system == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(system) == pytest.approx(1)


@pytest.mark.parametrize(
    ("gantry", "couch", "collimator", "x", "y"),
    [
        (0, 0, 0, (1, 0, 0), (0, 0, 1)),
        (0, 0, 90, (0, 0, 1), (-1, 0, 0)),
        (0, 90, 0, (0, 0, -1), (1, 0, 0)),
        (90, 0, 0, (0, 1, 0), (0, 0, 1)),
        (90, 0, 90, (0, 0, 1), (0, -1, 0)),
    ],
)
def test_devices_of_a_supine_patient(
    gantry: float, couch: float, collimator: float, x: tuple[float, ...], y: tuple[float, ...]
) -> None:
    axes = BeamAxes.of(gantry, couch, PatientPosition.HFS).collimated(collimator)
    assert axes.x == pytest.approx(x, abs=1e-12)
    assert axes.y == pytest.approx(y, abs=1e-12)


def test_points_are_projected_from_the_source() -> None:
    axes = BeamAxes.of(0, 0, PatientPosition.HFS).collimated(90)
    assert axes.source_mm(ISOCENTER_MM, 1000) == pytest.approx((10, -1020, 30))
    halfway = np.array([[10.0, -520.0, 30.0 + 5.0], [10.0 - 7.0, -20.0, 30.0]])  # the first 500 mm from the source
    assert axes.project_mm(halfway, ISOCENTER_MM, 1000) == pytest.approx(np.array([[10.0, 0.0], [0.0, 7.0]]), abs=1e-9)
