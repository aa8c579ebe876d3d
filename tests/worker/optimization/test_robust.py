"""Laws of robust problems: gradients are derivatives, the smooth maximum bounds the worst, names add up."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from radiarch_contract.objectives import ObjectiveMetric
from radiarch_worker.optimization import MetricTerm, Problem, optimize
from radiarch_worker.optimization.robust import POWER, RobustProblem, ScenarioProblem, smooth_maximum

SPOTS, ROWS = 8, 40


def robust(seed: int, scenarios: int = 4, *, expected: bool = True) -> RobustProblem:
    rng = np.random.default_rng(seed)
    base = np.abs(rng.normal(size=(ROWS, SPOTS)))
    target, organ = np.arange(20), np.arange(20, 40)
    found = []
    for i in range(scenarios):
        matrix = scipy.sparse.csc_matrix((base * (1 + 0.3 * rng.random((ROWS, SPOTS)) * (i > 0))).astype(np.float32))
        nominal = [MetricTerm("O", organ, ObjectiveMetric.DMAX, 10.0, None, 1.0)] if i == 0 else []
        mean = [MetricTerm("O", organ, ObjectiveMetric.DMEAN_MAX, 5.0, None, 2.0)] if expected else []
        worst = [
            MetricTerm("T", target, ObjectiveMetric.DMIN, 60.0, None, 10.0),
            MetricTerm("T", target, ObjectiveMetric.DMAX, 65.0, None, 10.0),
        ]
        found.append(ScenarioProblem(Problem(matrix, 30.0, ()), nominal, mean, worst))
    return RobustProblem(tuple(found))


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_the_derivative_and_names_add_up(seed: int) -> None:
    problem = robust(seed)
    rng = np.random.default_rng(seed)
    weights = rng.random(SPOTS)
    value, gradient, names = problem.evaluate(weights)
    assert sum(names.values()) == pytest.approx(value, rel=1e-6)
    assert set(names) == {"T", "O"}
    for i in range(SPOTS):
        step = np.zeros(SPOTS)
        step[i] = 1e-3
        slope = (problem.evaluate(weights + step)[0] - problem.evaluate(weights - step)[0]) / 2e-3
        assert gradient[i] == pytest.approx(slope, rel=2e-2, abs=1e-2 * abs(gradient).max())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=30))
def test_smooth_maximum_bounds_the_worst(values: list[float]) -> None:
    found, shares = smooth_maximum(np.array(values))
    assert max(values) <= found * (1 + 1e-12) <= max(values) * len(values) ** (1 / POWER) * (1 + 1e-9)
    assert (shares >= 0).all()
    assert (shares <= 1 + 1e-12).all()


def test_one_scenario_is_the_nominal_problem() -> None:
    one = robust(0, 1, expected=False)
    (only,) = one.scenarios
    plain = Problem(only.problem.matrix, 30.0, [*only.nominal, *only.worst])
    weights = np.full(SPOTS, 0.3)
    assert one.evaluate(weights)[0] == pytest.approx(plain.evaluate(weights)[0])
    assert np.allclose(one.evaluate(weights)[1], plain.evaluate(weights)[1], rtol=1e-4)


def fragile() -> RobustProblem:
    """Two families of spots reach the target alike; one loses half its dose in an error, the other doses an organ."""
    rng = np.random.default_rng(0)
    half = np.eye(20)[:, :4].repeat(5, axis=0)[:20] + 0.1 * rng.random((20, 4))
    nominal = np.block([[half, half], [np.zeros((20, 4)), np.full((20, 4), 0.2)]])
    error = nominal * np.repeat([0.5, 1.0], 4)
    found = []
    for i, matrix in enumerate((nominal, error)):
        organ = [MetricTerm("O", np.arange(20, 40), ObjectiveMetric.DMAX, 0.0, None, 0.5)] if i == 0 else []
        target = [MetricTerm("T", np.arange(20), ObjectiveMetric.DUNIFORM, 60.0, None, 10.0)]
        sparse = scipy.sparse.csc_matrix(matrix.astype(np.float32))
        found.append(ScenarioProblem(Problem(sparse, 30.0, ()), organ, [], target))
    return RobustProblem(tuple(found))


def test_the_worst_scenario_is_better_than_when_only_the_nominal_one_counts() -> None:
    problem = fragile()
    nominal = RobustProblem(problem.scenarios[:1])

    def worst_after(p: RobustProblem) -> float:
        start = np.full(SPOTS, 0.2)
        weights = optimize(
            p, start, least_weight=0.0, max_iterations=300, method="L-BFGS-B", on_iteration=lambda *_: None
        ).weights
        return max(RobustProblem((s,)).evaluate(weights)[0] for s in problem.scenarios)

    assert worst_after(problem) < 0.5 * worst_after(nominal)
