"""Solvers for weights that are not negative, and the minimum MU of a spot; penalties are defined elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize
from radiarch_contract.errors import EngineError, ErrorCode

from .problem import Minimized

FloatVector = npt.NDArray[np.float64]
Method = Literal["L-BFGS-B", "projected-gradient"]
OnIteration = Callable[[int, float, Mapping[str, float]], None]

_MEMORY = 20
_RELATIVE_TOLERANCE = 1e-5
"""An iteration that lowers the objective by less, relative, is the last."""
_SECOND_SHARE = 1 / 3
"""Share of the iterations after spots below the minimum MU were removed."""
_OVERLOOKED = 1e-3
"""Share of the objective that may come from voxels that were left out."""
_REPEATS = 2


@dataclass(frozen=True)
class Solution:
    """Weights that were found.

    Attributes
    ----------
    weights : (spots,) 0 for removed spots, else at least the least weight
    trace : for each iteration ``{iteration, objective, terms}``, the terms' values by structure
    """

    weights: FloatVector
    objective: float
    iterations: int
    removed: int
    trace: tuple[Mapping[str, Any], ...]


class _Trace:
    """Numbers iterations over both phases and reports each."""

    def __init__(self, on_iteration: OnIteration) -> None:
        self.items: list[Mapping[str, Any]] = []
        self._tell = on_iteration

    def __call__(self, objective: float, terms: Mapping[str, float]) -> None:
        iteration = len(self.items) + 1
        self.items.append({"iteration": iteration, "objective": objective, "terms": dict(terms)})
        self._tell(iteration, objective, terms)


def optimize(
    problem: Minimized,
    start: FloatVector,
    *,
    least_weight: float,
    max_iterations: int,
    method: Method,
    on_iteration: OnIteration,
    reach: FloatVector | None = None,
) -> Solution:
    """Minimise over weights that are 0 or at least ``least_weight``.

    First all spots with weights from 0 up; then spots below ``least_weight`` are removed, and the rest is
    optimised again with ``least_weight`` as its lower bound, so that the removed spots' dose is made up for and
    no weight is too small to be delivered.

    Each phase looks only at the voxels that may come to matter (`Minimized.near`). Where others came to matter all
    the same, the last phase is repeated with them, beyond ``max_iterations``; the objective that is returned is that
    of all voxels.

    Parameters
    ----------
    start : (spots,)
    reach : (spots,) above 0, in any unit: how much of a spot reaches what matters. Steps are measured in it, so that a
        spot that mostly misses the target is not held back by those that hit it; None: all alike

    Raises
    ------
    EngineError
        ``optimization_failed``, when the objective is not finite or no spot is left.
    """
    trace = _Trace(on_iteration)
    reach = np.ones(problem.spots) if reach is None else reach
    second = math.ceil(max_iterations * _SECOND_SHARE) if max_iterations > 1 and least_weight > 0 else 0
    freely = partial(_minimize, reach=reach, lower=0.0, iterations=max_iterations - second, method=method, trace=trace)
    weights, objective = _look(problem, start, freely, repeats=0 if second else _REPEATS)
    keep = weights >= least_weight
    if not keep.any():
        raise EngineError(
            f"no spot reaches the minimum of {least_weight:g} MU",
            remedy="Raise the prescription or the target's objectives, use a wider spot spacing, or lower spot_mu_min.",
            code=ErrorCode.OPTIMIZATION_FAILED,
        )
    kept, rest = weights[keep], problem.select(keep)
    if second:
        bounded = partial(
            _minimize, reach=reach[keep], lower=least_weight, iterations=second, method=method, trace=trace
        )
        kept, objective = _look(rest, kept, bounded, repeats=_REPEATS)
    elif not keep.all():
        objective, _, _ = rest.evaluate(kept)
    result = np.zeros(problem.spots)
    result[keep] = kept
    return Solution(result, objective, len(trace.items), int(np.count_nonzero(~keep)), tuple(trace.items))


def _look(
    problem: Minimized, start: FloatVector, minimize: Callable[[Minimized, FloatVector], FloatVector], *, repeats: int
) -> tuple[FloatVector, float]:
    """Minimise with the voxels that matter, at the last try with all; weights, and the objective of all voxels."""
    found = start
    for repeat in range(1 + repeats):
        near = problem if repeat == repeats > 0 else problem.near(found)
        found = minimize(near, found)
        objective, _, _ = problem.evaluate(found)
        if near is problem or objective <= (1 + _OVERLOOKED) * near.evaluate(found)[0]:
            break
    return found, objective


def _minimize(
    problem: Minimized,
    start: FloatVector,
    reach: FloatVector,
    lower: float,
    iterations: int,
    method: Method,
    trace: _Trace,
) -> FloatVector:
    # Scaled to numbers around 1, as line searches expect.
    scale = (float(start.mean()) or 1.0) * float(reach.mean()) / reach

    def function(y: FloatVector) -> tuple[float, FloatVector, Mapping[str, float]]:
        value, gradient, terms = problem.evaluate(y * scale)
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            raise EngineError(
                "the optimiser's objective is not finite",
                remedy="Check the objectives' doses and weights; report it with the job's log.",
                code=ErrorCode.OPTIMIZATION_FAILED,
            )
        return value, gradient * scale, terms

    solver = _lbfgsb if method == "L-BFGS-B" else _projected_gradient
    found = solver(function, np.maximum(start, lower) / scale, lower / scale, iterations, trace)
    return np.maximum(found * scale, lower)


_Function = Callable[[FloatVector], tuple[float, FloatVector, Mapping[str, float]]]


def _lbfgsb(function: _Function, start: FloatVector, lower: FloatVector, iterations: int, trace: _Trace) -> FloatVector:
    latest: dict[str, Any] = {"value": math.inf, "terms": {}}

    def tracked(y: FloatVector) -> tuple[float, FloatVector]:
        value, gradient, terms = function(y)
        latest.update(value=value, terms=terms)
        return value, gradient

    def callback(_: FloatVector) -> None:
        trace(latest["value"], latest["terms"])

    result = scipy.optimize.minimize(
        tracked,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(lower, np.inf),
        callback=callback,
        options={
            "maxiter": iterations,
            "maxfun": 10 * iterations,
            "maxcor": _MEMORY,
            "ftol": _RELATIVE_TOLERANCE,
            "gtol": 0.0,
        },
    )
    found: FloatVector = result.x
    return found


def _projected_gradient(
    function: _Function, start: FloatVector, lower: FloatVector, iterations: int, trace: _Trace
) -> FloatVector:
    """Spectral projected gradient (Birgin, Martínez, Raydan 2000, doi:10.1137/S1052623497330963), monotone."""
    y = start
    value, gradient, _ = function(y)
    step = 1.0 / max(float(np.abs(gradient).max()), 1e-30)
    for _ in range(iterations):
        direction = np.maximum(y - step * gradient, lower) - y
        slope = float(np.dot(direction, gradient))
        if slope >= 0.0:
            break
        length = 1.0
        while True:
            trial = y + length * direction
            new_value, new_gradient, terms = function(trial)
            if new_value <= value + 1e-4 * length * slope or length < 1e-10:
                break
            length /= 2
        if new_value > value:
            break
        moved, turned = trial - y, new_gradient - gradient
        curvature = float(np.dot(moved, turned))
        step = float(np.dot(moved, moved)) / curvature if curvature > 0 else step * 2
        gained = value - new_value
        y, value, gradient = trial, new_value, new_gradient
        trace(value, terms)
        if gained <= _RELATIVE_TOLERANCE * value:
            break
    return y
