"""Goals on doses whose metrics can be told by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from radiarch_contract.goals import GoalResult
from radiarch_contract.states import GoalStatus
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription
from radiarch_worker.evaluation import evaluate
from radiarch_worker.model import Dose, Patient

from .shapes import CT, coarse, cylinder, dose_of, patient, refs, structure

PRESCRIPTION = Prescription(target="PTV", dose_gy=50.0, fractions=25)
GRID = coarse(stride=(1, 1, 1))
# A plane between two columns of voxels: left of it 40 Gy, right of it 60 Gy.
EDGE_MM = float(CT.axis_mm(0)[35] + 0.9)
RADIUS_MM, SLICES = 15.0, 10
AREA_MM2 = math.pi * RADIUS_MM**2


@pytest.fixture(scope="module")
def target() -> Patient:
    return patient(structure(7, "PTV", cylinder(CT, (EDGE_MM, 0, 0), RADIUS_MM, SLICES)))


@pytest.fixture(scope="module")
def halves() -> Dose:
    return dose_of(GRID, lambda x, y, z: np.where(x < EDGE_MM, 40.0, 60.0) + 0 * y + 0 * z)


def result(target: Patient, dose: Dose, goal: str) -> GoalResult:
    return evaluate(target, dose, PRESCRIPTION, [goal], refs(target)).goals[0]


@pytest.mark.parametrize(
    ("metric", "unit", "expected"),
    [
        ("D95%", "Gy", 40),
        ("D95%", "%", 80),
        ("D49%", "Gy", 60),
        ("D51%", "%", 80),
        ("D2cc", "Gy", 60),
        ("D2cc", "%", 120),
        ("V50Gy", "%", 50),
        ("V40Gy", "%", 100),
        ("V60.01Gy", "%", 0),
        ("V100%", "%", 50),
        ("V80%", "cc", AREA_MM2 * 20 / 1000),
        ("V50Gy", "cc", AREA_MM2 * 10 / 1000),
        ("Dmean", "Gy", 50),
        ("Dmean", "%", 100),
        ("Dmin", "Gy", 40),
        ("Dmax", "%", 120),
        ("Dmax(0.03cc)", "Gy", 60),
        ("HI", "", 20 / 50),
    ],
)
def test_a_metric_has_its_value_in_the_unit_of_the_limit(
    target: Patient, halves: Dose, metric: str, unit: str, expected: float
) -> None:
    found = result(target, halves, f"PTV: {metric} >= 1{unit}")
    assert found.unit == unit
    if metric == "HI":  # D50% lies on the step
        assert found.value == pytest.approx(expected, rel=0.25)
    else:
        assert found.value == pytest.approx(expected, rel=0.01, abs=0.1)


@pytest.mark.parametrize(
    ("goal", "status"),
    [
        ("PTV: D95% >= 40 Gy", GoalStatus.MET),
        ("PTV: D95% >= 39 Gy", GoalStatus.MET),
        ("PTV: D95% >= 40.4 Gy", GoalStatus.NEAR),
        ("PTV: D95% >= 40.6 Gy", GoalStatus.MISSED),
        ("PTV: D95% >= 80.9%", GoalStatus.NEAR),
        ("PTV: D95% >= 81.1%", GoalStatus.MISSED),
        ("PTV: Dmax <= 60 Gy", GoalStatus.MET),
        ("PTV: Dmax <= 59.6 Gy", GoalStatus.NEAR),
        ("PTV: Dmax <= 59.4 Gy", GoalStatus.MISSED),
        ("PTV: V50Gy <= 51%", GoalStatus.MET),
        ("PTV: V50Gy <= 49.4%", GoalStatus.NEAR),
        ("PTV: V50Gy <= 48%", GoalStatus.MISSED),
        ("PTV: V50Gy <= 7.2 cc", GoalStatus.MET),
        ("PTV: V50Gy <= 7.0 cc", GoalStatus.NEAR),
        ("PTV: V50Gy <= 6.8 cc", GoalStatus.MISSED),
    ],
)
def test_a_goal_is_met_near_or_missed(target: Patient, halves: Dose, goal: str, status: GoalStatus) -> None:
    found = result(target, halves, goal)
    assert found.status is status
    assert found.text == goal


def test_paddicks_index_is_one_where_the_isodose_is_the_target(target: Patient) -> None:
    center_gy, radius = 50.0, RADIUS_MM
    z = CT.axis_mm(2)
    inside_z = target.structures[7].mask.any(axis=(1, 2))
    low, high = z[inside_z][0] - 1, z[inside_z][-1] + 1
    dose = dose_of(
        GRID,
        lambda x, y, z: np.where(
            ((x - EDGE_MM) ** 2 + y**2 < radius**2) & (z > low) & (z < high), center_gy, 0.2 * center_gy
        ),
    )
    assert result(target, dose, "PTV: CI >= 0.9").value == pytest.approx(1, abs=0.06)
    twice_the_volume = dose_of(
        GRID,
        lambda x, y, z: np.where(
            ((x - EDGE_MM) ** 2 + y**2 < 2 * radius**2) & (z > low) & (z < high), center_gy, 0.2 * center_gy
        ),
    )
    assert result(target, twice_the_volume, "PTV: CI >= 0.9").value == pytest.approx(0.5, abs=0.03)
    # half of the target covered, nothing else irradiated: (TV/2)² / (TV * TV/2)
    half = dose_of(
        GRID,
        lambda x, y, z: np.where(
            ((x - EDGE_MM) ** 2 + y**2 < radius**2) & (z > low) & (z < high) & (x > EDGE_MM), center_gy, 0.0
        ),
    )
    assert result(target, half, "PTV: CI >= 0.9").value == pytest.approx(0.5, abs=0.04)


def test_the_isodose_of_the_conformity_index_is_95_percent(target: Patient) -> None:
    everywhere = dose_of(GRID, lambda x, y, z: 47.6 + 0 * x)
    nowhere = dose_of(GRID, lambda x, y, z: 47.4 + 0 * x)
    assert (result(target, everywhere, "PTV: CI >= 0").value or 0) > 0
    assert result(target, nowhere, "PTV: CI >= 0").value == 0


@pytest.mark.parametrize(
    ("goal", "why"),
    [
        ("Rectum: Dmean <= 30 Gy", "no such structure"),
        ("PTV: D500cc >= 30 Gy", "less than 500 cc"),
        ("PTV: Dmax(20cc) <= 30 Gy", "less than 20 cc"),
    ],
)
def test_a_goal_that_cannot_be_judged_says_why(target: Patient, halves: Dose, goal: str, why: str) -> None:
    found = result(target, halves, goal)
    assert (found.value, found.status) == (None, None)
    assert why in str(found.note)


def test_a_goal_names_structures_as_the_plan_does(target: Patient, halves: Dose) -> None:
    names = {"Target": StructureRef(name="Target", roi_number=7, roi_name="PTV")}
    goals = ["Target: Dmean >= 1 Gy", "PTV: Dmean >= 1 Gy", "BODY: Dmax <= 70 Gy"]
    found = evaluate(target, halves, PRESCRIPTION, goals, names).goals
    assert [g.value is not None for g in found] == [True, False, True]
    gone = {"PTV": StructureRef(name="PTV", roi_number=99, roi_name="PTV")}
    assert evaluate(target, halves, PRESCRIPTION, ["PTV: Dmean >= 1 Gy"], gone).goals[0].value is None


def test_hi_of_a_structure_without_dose_is_not_defined(target: Patient) -> None:
    dose = dose_of(GRID, lambda x, y, z: np.where(x > 50, 50.0, 0.0) + 0 * y + 0 * z)
    assert "not defined" in str(result(target, dose, "PTV: HI <= 0.1").note)
