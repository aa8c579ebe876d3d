"""DVHs of spheres and cylinders in linear gradients, which are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from radiarch_contract.job import DvhCurve, StructureMetrics
from radiarch_contract.workflows import Prescription
from radiarch_worker.evaluation import evaluate
from radiarch_worker.model import Grid
from radiarch_worker.patient.raster import fill_points
from scipy.optimize import brentq

from .shapes import CT, coarse, cylinder, dose_of, patient, refs, sphere, structure

PRESCRIPTION = Prescription(target="PTV", dose_gy=60.0, fractions=30)
TOLERANCE_GY = 0.005 * 60.0
CENTER_MM = (1.3, -0.4, 0.7)

DIRECTIONS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0), "oblique": (0.48, 0.6, 0.64)}


def sphere_above(t: float) -> float:
    """Fraction of a unit sphere beyond the plane at ``t`` from its centre."""
    return (1 - t) ** 2 * (2 + t) / 4


def disc_above(t: float) -> float:
    """Fraction of a unit disc beyond the line at ``t`` from its centre."""
    return (math.acos(t) - t * math.sqrt(1 - t * t)) / math.pi


def place_of(fraction: float, above: Callable[[float], float]) -> float:
    return float(brentq(lambda t: above(t) - fraction, -1, 1))


def metrics_of(
    contours: list[tuple[float, np.ndarray]],  # type: ignore[type-arg]
    direction: tuple[float, float, float],
    gradient_gy_mm: float,
    dose_grid: Grid,
) -> tuple[StructureMetrics, DvhCurve]:
    p = patient(structure(7, "PTV", contours))
    dx, dy, dz = direction
    dose = dose_of(
        dose_grid,
        lambda x, y, z: np.maximum(  # zero far from the structure, where a straight line would go below
            60 + gradient_gy_mm * (dx * (x - CENTER_MM[0]) + dy * (y - CENTER_MM[1]) + dz * (z - CENTER_MM[2])), 0
        ),
    )
    result = evaluate(p, dose, PRESCRIPTION, [], refs(p))
    return result.metrics[0], result.dvh[0]


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 1)])
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_a_sphere_in_a_linear_gradient(direction: tuple[float, float, float], stride: tuple[int, int, int]) -> None:
    radius_mm, gradient = 16.0, 0.6  # 1 % of the prescription a millimetre
    contours = sphere(CT, CENTER_MM, radius_mm)
    m, _ = metrics_of(contours, direction, gradient, coarse(stride=stride))
    assert m.volume_cc == pytest.approx(4 / 3 * math.pi * radius_mm**3 / 1000, rel=0.01)
    for found, fraction in ((m.d98_gy, 0.98), (m.d95_gy, 0.95), (m.d50_gy, 0.5), (m.d2_gy, 0.02)):
        expected = 60 + gradient * radius_mm * place_of(fraction, sphere_above)
        assert found == pytest.approx(expected, abs=TOLERANCE_GY)
    assert m.d_mean_gy == pytest.approx(60, abs=0.05)


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 1), (2, 2, 2)])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_cylinder_in_a_steep_gradient_across(axis: str, stride: tuple[int, int, int]) -> None:
    radius_mm, gradient = 15.0, 1.8  # 3 % of the prescription a millimetre
    contours = cylinder(CT, CENTER_MM, radius_mm, 12)
    m, _ = metrics_of(contours, DIRECTIONS[axis], gradient, coarse(stride=stride))
    assert m.volume_cc == pytest.approx(math.pi * radius_mm**2 * 24 / 1000, rel=0.01)
    for found, fraction in ((m.d98_gy, 0.98), (m.d95_gy, 0.95), (m.d50_gy, 0.5), (m.d2_gy, 0.02)):
        expected = 60 + gradient * radius_mm * place_of(fraction, disc_above)
        assert found == pytest.approx(expected, abs=TOLERANCE_GY)


def test_a_cylinder_along_the_gradient_has_a_straight_dvh() -> None:
    gradient, slices = 1.8, 14
    contours = cylinder(CT, CENTER_MM, 12.0, slices)
    m, curve = metrics_of(contours, DIRECTIONS["z"], gradient, coarse())
    z = np.array([z for z, _ in contours])
    low, high = (z.min() - 1 - CENTER_MM[2]) * gradient + 60, (z.max() + 1 - CENTER_MM[2]) * gradient + 60
    expected = np.clip((high - np.array(curve.dose_gy)) / (high - low), 0, 1) * 100
    assert np.abs(np.array(curve.volume_percent) - expected).max() < 1.0
    assert m.d95_gy == pytest.approx(low + 0.05 * (high - low), abs=TOLERANCE_GY)
    assert m.d2_gy == pytest.approx(low + 0.98 * (high - low), abs=TOLERANCE_GY)


@pytest.mark.parametrize("radius_mm", [2.5, 4.0, 8.0])
def test_small_structures_have_their_volume(radius_mm: float) -> None:
    m, _ = metrics_of(sphere(CT, CENTER_MM, radius_mm), DIRECTIONS["x"], 0.5, coarse())
    # the stack of slices is itself only near a sphere
    slices_cc = sum((radius_mm**2 - (z - CENTER_MM[2]) ** 2) for z, _ in sphere(CT, CENTER_MM, radius_mm))
    assert m.volume_cc == pytest.approx(math.pi * slices_cc * 2 / 1000, rel=0.01)


def test_a_structure_that_holds_no_voxel_center_is_still_measured() -> None:
    x, y = CT.axis_mm(0)[30] + 0.9, CT.axis_mm(1)[30] + 0.9
    contours = [(float(CT.axis_mm(2)[20]), circle_at(x, y, 0.7))]
    p = patient(structure(7, "Seed", contours))
    assert not p.structures[7].mask.any()
    result = evaluate(p, dose_of(coarse(), lambda x, y, z: 40 + 0 * x), PRESCRIPTION, [], refs(p))
    assert result.metrics[0].volume_cc == pytest.approx(math.pi * 0.7**2 * 2 / 1000, rel=0.1)
    assert result.metrics[0].d_mean_gy == pytest.approx(40)


def circle_at(x: float, y: float, radius_mm: float) -> np.ndarray:  # type: ignore[type-arg]
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return np.stack([x + radius_mm * np.cos(angle), y + radius_mm * np.sin(angle)], axis=1)


def test_contours_may_reach_beyond_the_points_they_are_filled_on() -> None:
    y, x = np.arange(10.0), np.arange(12.0)
    whole = fill_points([np.array([[-50.0, -50.0], [50.0, -50.0], [50.0, 50.0], [-50.0, 50.0]])], y, x)
    assert whole.all()
    right = fill_points([np.array([[5.5, -50.0], [50.0, -50.0], [50.0, 50.0], [5.5, 50.0]])], y, x)
    assert np.array_equal(right, np.broadcast_to(x > 5.5, right.shape))
    beside = fill_points([np.array([[20.0, 2.0], [30.0, 2.0], [30.0, 8.0]])], y, x)
    assert not beside.any()
