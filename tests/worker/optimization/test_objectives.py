"""Laws of the penalties: gradients are the slopes, DVH objectives let go exactly the share they name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from radiarch_contract.objectives import ObjectiveMetric
from radiarch_worker.optimization import FallOffTerm, MetricTerm, Problem

DVH = (ObjectiveMetric.DVH_MIN, ObjectiveMetric.DVH_MAX)


def term(
    metric: ObjectiveMetric, rows: npt.NDArray[np.intp], dose_gy: float = 50.0, volume: float = 30.0
) -> MetricTerm:
    return MetricTerm("X", rows, metric, dose_gy, volume if metric in DVH else None, 3.0)


@given(
    metric=st.sampled_from(ObjectiveMetric),
    seed=st.integers(0, 10_000),
    volume=st.floats(1, 99),
    limit=st.floats(30, 70),
)
def test_gradient_is_the_slope(metric: ObjectiveMetric, seed: int, volume: float, limit: float) -> None:
    rng = np.random.default_rng(seed)
    dose = rng.uniform(20, 80, 60)
    a_term = term(metric, np.arange(60), limit, volume)
    _, gradient = a_term.value_and_gradient(dose)
    direction = rng.normal(size=60)
    h = 1e-6
    up, _ = a_term.value_and_gradient(dose + h * direction)
    down, _ = a_term.value_and_gradient(dose - h * direction)
    assert (up - down) / (2 * h) == pytest.approx(float(gradient @ direction), rel=1e-3, abs=1e-3)


def test_fall_off_gradient_is_the_slope() -> None:
    rng = np.random.default_rng(1)
    dose = rng.uniform(20, 80, 60)
    a_term = FallOffTerm("fall-off", np.arange(60), rng.uniform(30, 60, 60).astype(np.float32), 2.0)
    _, gradient = a_term.value_and_gradient(dose)
    direction = rng.normal(size=60)
    up, _ = a_term.value_and_gradient(dose + 1e-6 * direction)
    down, _ = a_term.value_and_gradient(dose - 1e-6 * direction)
    assert (up - down) / 2e-6 == pytest.approx(float(gradient @ direction), rel=1e-4)


def test_gradient_by_weight_is_the_slope_through_the_matrix() -> None:
    rng = np.random.default_rng(3)
    matrix = scipy.sparse.random(300, 40, 0.2, format="csc", dtype=np.float32, random_state=3)
    terms = [term(m, rng.permutation(300)[:120], 20.0) for m in ObjectiveMetric]
    problem = Problem(matrix, 38.5, terms)
    weights = rng.uniform(0.5, 1.5, 40)
    value, gradient, by_name = problem.evaluate(weights)
    assert by_name == {"X": pytest.approx(value)}
    for spot in range(0, 40, 7):
        step = np.zeros(40)
        step[spot] = 0.01  # matrix and dose are float32
        slope = (problem.evaluate(weights + step)[0] - problem.evaluate(weights - step)[0]) / 0.02
        assert slope == pytest.approx(gradient[spot], rel=0.02, abs=0.02 * np.abs(gradient).max())


@given(st.permutations(list(range(10))))
def test_dvh_max_penalises_all_but_the_hottest_share(order: list[int]) -> None:
    dose = np.array([40.0, 45, 51, 52, 53, 54, 60, 70, 80, 90])[order]
    # 30 % may be above 50 Gy: of the eight that are, the three hottest are let go.
    value, gradient = term(ObjectiveMetric.DVH_MAX, np.arange(10)).value_and_gradient(dose)
    assert sorted(dose[gradient > 0]) == [51, 52, 53, 54, 60]
    assert value == pytest.approx(3 / 10 * (1 + 4 + 9 + 16 + 100))


@given(st.permutations(list(range(10))))
def test_dvh_min_penalises_all_but_the_coldest_share(order: list[int]) -> None:
    dose = np.array([10.0, 20, 44, 45, 46, 47, 48, 49, 55, 60])[order]
    # 80 % shall get 50 Gy: of the eight below, the two coldest are let go.
    value, gradient = term(ObjectiveMetric.DVH_MIN, np.arange(10), volume=80.0).value_and_gradient(dose)
    assert sorted(dose[gradient < 0]) == [44, 45, 46, 47, 48, 49]
    assert value == pytest.approx(3 / 10 * (36 + 25 + 16 + 9 + 4 + 1))


@pytest.mark.parametrize(
    ("metric", "dose_gy", "met"),
    [
        (ObjectiveMetric.DMIN, 60.0, True),
        (ObjectiveMetric.DMIN, 40.0, False),
        (ObjectiveMetric.DMAX, 40.0, True),
        (ObjectiveMetric.DMAX, 60.0, False),
        (ObjectiveMetric.DUNIFORM, 50.0, True),
        (ObjectiveMetric.DUNIFORM, 51.0, False),
        (ObjectiveMetric.DMEAN, 50.0, True),
        (ObjectiveMetric.DMEAN, 49.0, False),
        (ObjectiveMetric.DMEAN_MAX, 40.0, True),
        (ObjectiveMetric.DMEAN_MAX, 60.0, False),
        (ObjectiveMetric.DVH_MIN, 60.0, True),
        (ObjectiveMetric.DVH_MIN, 40.0, False),
        (ObjectiveMetric.DVH_MAX, 40.0, True),
        (ObjectiveMetric.DVH_MAX, 60.0, False),
    ],
)
def test_a_met_objective_costs_nothing(metric: ObjectiveMetric, dose_gy: float, met: bool) -> None:
    value, gradient = term(metric, np.arange(20)).value_and_gradient(np.full(20, dose_gy))
    assert (value == 0 and not gradient.any()) is met
    assert value >= 0


def test_weight_means_the_same_for_any_number_of_voxels() -> None:
    rng = np.random.default_rng(2)
    dose = rng.uniform(20, 80, 50)
    for metric in ObjectiveMetric:
        once, _ = term(metric, np.arange(50)).value_and_gradient(dose)
        thrice, _ = term(metric, np.arange(150)).value_and_gradient(np.tile(dose, 3))
        assert thrice == pytest.approx(once)
