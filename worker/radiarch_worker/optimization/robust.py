"""Penalties over error scenarios, with their gradient: nominal ones, worst case and expected value together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .objectives import DoseTerm
from .problem import Problem, penalties

FloatVector = npt.NDArray[np.float64]

POWER = 10
"""Of the smooth maximum ``(Σ f^p)^(1/p)``: never less than the worst scenario, and at most 1.35 times it for 20 equal.
The plain maximum has kinks at which quasi-Newton methods stop."""


@dataclass(frozen=True)
class ScenarioProblem:
    """One scenario's doses with the terms that look at it; `Problem.terms` is not used.

    Attributes
    ----------
    nominal : terms that count in this scenario alone
    expected : terms whose mean over all scenarios counts
    worst : terms whose sum, in the worst scenario, counts
    """

    problem: Problem
    nominal: Sequence[DoseTerm]
    expected: Sequence[DoseTerm]
    worst: Sequence[DoseTerm]


@dataclass(frozen=True)
class RobustProblem:
    """The sum of nominal terms, the mean of expected ones, and the smooth maximum of worst-case ones over scenarios."""

    scenarios: tuple[ScenarioProblem, ...]

    @property
    def spots(self) -> int:
        return self.scenarios[0].problem.spots

    def evaluate(self, weights: FloatVector) -> tuple[float, FloatVector, Mapping[str, float]]:
        """Value, gradient by weight, and each name's share of the value."""
        count = len(self.scenarios)
        value = 0.0
        by_name: dict[str, float] = {}
        slopes: list[tuple[FloatVector, FloatVector]] = []
        worst: list[tuple[float, Mapping[str, float]]] = []
        for scenario in self.scenarios:
            dose_gy = scenario.problem.dose_gy(weights)
            of_nominal, slope, names = penalties(dose_gy, scenario.nominal)
            of_expected, expected_slope, expected_names = penalties(dose_gy, scenario.expected)
            of_worst, worst_slope, of_names = penalties(dose_gy, scenario.worst)
            value += of_nominal + of_expected / count
            _add(by_name, names, 1.0)
            _add(by_name, expected_names, 1.0 / count)
            slopes.append((slope + expected_slope / count, worst_slope))
            worst.append((of_worst, of_names))
        highest, shares = smooth_maximum(np.array([v for v, _ in worst]))
        value += highest
        # Each scenario's terms by their share of the smooth maximum, so that the names' values add up to the value.
        inside = float(sum(share * v for share, (v, _) in zip(shares, worst, strict=True)))
        gradient = np.zeros(self.spots)
        for scenario, (slope, worst_slope), share, (_, worst_names) in zip(
            self.scenarios, slopes, shares, worst, strict=True
        ):
            total = slope + share * worst_slope
            if total.any():
                gradient += scenario.problem.pull_back(total)
            _add(by_name, worst_names, share * highest / inside if inside else 0.0)
        return value, gradient, by_name

    def select(self, keep: npt.NDArray[np.bool_]) -> RobustProblem:
        """The same penalties with fewer spots."""
        return RobustProblem(tuple(replace(s, problem=s.problem.select(keep)) for s in self.scenarios))

    def near(self, weights: FloatVector) -> RobustProblem:
        """All of it: scenarios' matrices may be mapped from files that together are larger than the memory."""
        return self


def smooth_maximum(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    """``(Σ v^p)^(1/p)`` of values that are not negative, and its derivative by each of them."""
    most = float(values.max())
    if most <= 0.0:
        return 0.0, np.zeros(len(values))
    relative = values / most
    total = float((relative**POWER).sum())
    return most * total ** (1 / POWER), relative ** (POWER - 1) * total ** (1 / POWER - 1)


def _add(by_name: dict[str, float], names: Mapping[str, float], factor: float) -> None:
    for name, value in names.items():
        by_name[name] = by_name.get(name, 0.0) + factor * value
