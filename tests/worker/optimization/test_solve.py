"""Laws of the solvers: they find the known optimum, and leave no weight between 0 and the least one."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import scipy.optimize
import scipy.sparse
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.objectives import ObjectiveMetric
from radiarch_worker.optimization import Method, MetricTerm, Problem, Solution, column_norms, optimize

METHODS = get_args(Method)


def problem(seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.csc_matrix(np.abs(rng.normal(size=(80, 12))).astype(np.float32))
    terms = [
        MetricTerm("T", np.arange(40), ObjectiveMetric.DUNIFORM, 60.0, None, 10.0),
        MetricTerm("O", np.arange(40, 80), ObjectiveMetric.DMAX, 20.0, None, 1.0),
    ]
    return Problem(matrix, 1.1 * 30, terms)


def solve(
    a_problem: Problem,
    method: Method,
    least: float = 0.0,
    iterations: int = 600,
    reach: npt.NDArray[np.float64] | None = None,
    start: float = 0.2,
) -> Solution:
    told: list[tuple[int, float]] = []
    solution = optimize(
        a_problem,
        np.full(a_problem.spots, start),
        least_weight=least,
        max_iterations=iterations,
        method=method,
        on_iteration=lambda n, value, terms: told.append((n, value)),
        reach=reach,
    )
    assert [n for n, _ in told] == list(range(1, solution.iterations + 1))
    assert [t["objective"] for t in solution.trace] == [value for _, value in told]
    return solution


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_least_squares_optimum(method: Method) -> None:
    a_problem = problem()
    uniform = Problem(a_problem.matrix, a_problem.gy_per_unit, a_problem.terms[:1])
    dense = a_problem.matrix.toarray()[:40].astype(np.float64) * a_problem.gy_per_unit
    _, residual = scipy.optimize.nnls(dense, np.full(40, 60.0))
    found = solve(uniform, method)
    assert found.objective == pytest.approx(10 / 40 * residual**2, rel=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_no_weight_lies_between_zero_and_the_least(method: Method) -> None:
    free = solve(problem(), method)
    least = float(np.median(free.weights[free.weights > 0]))
    found = solve(problem(), method, least)
    kept = found.weights > 0
    assert found.removed == np.count_nonzero(~kept) > 0
    assert (found.weights[kept] >= least).all()
    # The rest makes up for what was removed: better than only cutting the small weights off.
    cut = np.where(free.weights >= least, free.weights, 0.0)
    assert found.objective <= problem().evaluate(cut)[0] + 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_same_input_gives_the_same_bits(method: Method) -> None:
    assert np.array_equal(solve(problem(), method, 0.01).weights, solve(problem(), method, 0.01).weights)


@pytest.mark.parametrize("method", METHODS)
def test_iterations_are_bounded(method: Method) -> None:
    assert solve(problem(), method, iterations=7).iterations <= 7


def test_refuses_when_no_spot_reaches_the_least_weight() -> None:
    with pytest.raises(EngineError) as caught:
        solve(problem(), "L-BFGS-B", least=1e6)
    assert caught.value.code is ErrorCode.OPTIMIZATION_FAILED


@pytest.mark.parametrize("method", METHODS)
def test_spots_that_differ_in_reach_do_not_hold_each_other_back(method: Method) -> None:
    """Steps measured in reach: the same optimum, and nearer to it after few iterations."""
    alike = problem()
    factors = np.geomspace(0.05, 1, alike.spots)
    uneven = Problem(scipy.sparse.csc_matrix(alike.matrix.multiply(factors)), alike.gy_per_unit, alike.terms)
    reach = column_norms(uneven.matrix, np.arange(80) < 40)
    assert reach == pytest.approx(np.sqrt((uneven.matrix.toarray()[:40] ** 2).sum(axis=0)))
    best = solve(alike, method, iterations=2000).objective
    with_reach, without = (solve(uneven, method, iterations=15, reach=r).objective for r in (reach, None))
    assert with_reach - best < 0.2 * (without - best)
    assert solve(uneven, method, iterations=2000, reach=reach).objective == pytest.approx(best, rel=2e-3)


@pytest.mark.parametrize("least", [0.0, 0.05])
@pytest.mark.parametrize("method", METHODS)
def test_voxels_that_were_of_no_concern_at_the_start_count_in_the_end(method: Method, least: float) -> None:
    """At the start no voxel of the organ has nearly as much dose as it may have, at the optimum many have more."""
    a_problem = problem()
    low = np.full(a_problem.spots, 1e-3)
    assert a_problem.near(low).matrix.shape[0] == 41  # the target, and the hottest voxel of the organ
    assert a_problem.near(np.full(a_problem.spots, 0.2)) is a_problem
    value, _, by_name = a_problem.evaluate(solve(a_problem, method, least, start=1e-3).weights)
    assert by_name["O"] > 0.1 * value
    assert value == pytest.approx(solve(a_problem, method, least).objective, rel=5e-3)


class Blind(Problem):
    """Takes voxels that matter for such that do not."""

    def near(self, weights: npt.NDArray[np.float64]) -> Problem:
        return Problem(self.matrix, self.gy_per_unit, self.terms[:1], self.columns)


@pytest.mark.parametrize("method", METHODS)
def test_a_limit_is_kept_where_its_voxels_are_overlooked_again_and_again(method: Method) -> None:
    a_problem = problem()
    blind = Blind(a_problem.matrix, a_problem.gy_per_unit, a_problem.terms)
    assert solve(blind, method, 0.05).objective == pytest.approx(solve(a_problem, method, 0.05).objective, rel=5e-3)


def test_without_voxels_of_no_concern_the_problem_is_the_same() -> None:
    a_problem = problem()
    weights = np.full(a_problem.spots, 0.01)
    near = a_problem.near(weights)
    assert near.matrix.shape[0] < a_problem.matrix.shape[0]
    value, gradient, by_name = a_problem.evaluate(weights)
    same, same_gradient, same_by_name = near.evaluate(weights)
    assert same == pytest.approx(value)
    assert same_by_name == pytest.approx(by_name)
    assert same_gradient == pytest.approx(gradient)
