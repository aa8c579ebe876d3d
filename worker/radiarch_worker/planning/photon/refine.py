"""Leaves and MU of apertures moved together along the gradient, within what the machine can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .leaves import Aperture
from .problem import ApertureProblem, Shape, minimize

FloatArray = npt.NDArray[np.float64]
OnIteration = Callable[[float, Mapping[str, float]], None]

_LEAF_UNIT_MM = 60.0
"""What a leaf moves while MU change by their mean. On a prostate, 24 iterations of an arc of 90 apertures ended at 1120
with 5 mm, at 760 with 15 mm, at 407 with 30 mm and at 399 with 60 mm: a single leaf changes little, and goes far."""


@dataclass(frozen=True)
class Limits:
    """What leaves and MU are held to.

    Attributes
    ----------
    low_mm, high_mm : (shapes, 2, pairs) where tips may be
    least_mu : of each shape
    """

    low_mm: FloatArray
    high_mm: FloatArray
    gap_mm: float
    least_mu: float

    @classmethod
    def within(cls, outlines: Sequence[Aperture], gap_mm: float, least_mu: float) -> Limits:
        """Leaves that stay within an outline for each shape."""
        ends = np.stack([o.leaves_mm for o in outlines])
        low = np.repeat(ends[:, :1], 2, axis=1)
        high = np.repeat(ends[:, 1:], 2, axis=1)
        return cls(low, high, gap_mm, least_mu)


@dataclass(frozen=True)
class Travel:
    """Moves between neighbors along an arc that are penalised where they are too long.

    Attributes
    ----------
    limit_mm : (shapes - 1,)
    weight : for the square of each mm too many
    """

    limit_mm: FloatArray
    weight: float

    def penalty(self, leaves_mm: FloatArray) -> tuple[float, FloatArray]:
        """Value, and derivative by each leaf, of (shapes, 2, pairs)."""
        moves = np.diff(leaves_mm, axis=0)
        over = np.maximum(np.abs(moves) - self.limit_mm[:, None, None], 0.0)
        slope = 2 * self.weight * over * np.sign(moves)
        by_leaf = np.zeros_like(leaves_mm)
        by_leaf[1:] += slope
        by_leaf[:-1] -= slope
        return self.weight * float((over**2).sum()), by_leaf


def refine(
    problem: ApertureProblem,
    shapes: Sequence[Shape],
    limits: Limits,
    iterations: int,
    on_iteration: OnIteration,
    travel: Travel | None = None,
) -> list[Shape]:
    """Leaves and MU of all shapes, from where they are; jaws stay. See `refined`."""
    mu = np.array([s.mu for s in shapes])
    found, _ = refined(problem, shapes, mu, np.eye(len(mu)), limits, iterations, on_iteration, travel)
    return found


def refined(
    problem: ApertureProblem,
    shapes: Sequence[Shape],
    mu: FloatArray,
    parts: FloatArray,
    limits: Limits,
    iterations: int,
    on_iteration: OnIteration,
    travel: Travel | None = None,
) -> tuple[list[Shape], FloatArray]:
    """Leaves of shapes and MU of intervals, with which the shapes have the MU ``parts @ mu``.

    The variables are the tip of bank X1, the opening of the pair, and the MU.

    Parameters
    ----------
    mu : (intervals,)
    parts : (shapes, intervals)
    """
    leaves = np.stack([s.aperture.leaves_mm for s in shapes])
    mu_unit = float(mu.mean())
    moving = limits.high_mm[:, 1] - limits.low_mm[:, 0] > 2 * limits.gap_mm  # (shapes, pairs)
    width_most = (limits.high_mm[:, 1] - limits.low_mm[:, 0])[moving]
    right_most = limits.high_mm[:, 1][moving]
    latest: dict[str, object] = {}

    def unpacked(x: FloatArray) -> list[Shape]:
        placed = leaves.copy()
        count = int(moving.sum())
        left, width = x[:count] * _LEAF_UNIT_MM, x[count : 2 * count] * _LEAF_UNIT_MM
        placed[:, 0][moving] = left
        placed[:, 1][moving] = np.minimum(left + width, right_most)
        found = parts @ (x[2 * count :] * mu_unit)
        return [
            Shape(s.view, replace(s.aperture, leaves_mm=one), float(m))
            for s, one, m in zip(shapes, placed, found, strict=True)
        ]

    def function(x: FloatArray) -> tuple[float, FloatArray]:
        placed = unpacked(x)
        values = problem.evaluate(placed)
        by_leaf, value = values.by_leaf, values.value
        if travel is not None:
            added, more = travel.penalty(np.stack([s.aperture.leaves_mm for s in placed]))
            value, by_leaf = value + added, by_leaf + more
        latest.update(value=value, by_name=values.by_name)
        left, right = by_leaf[:, 0][moving], by_leaf[:, 1][moving]
        count = len(left)
        right = np.where((x[:count] + x[count : 2 * count]) * _LEAF_UNIT_MM > right_most, 0.0, right)
        by_mu = parts.T @ values.by_mu
        slope = np.concatenate([(left + right) * _LEAF_UNIT_MM, right * _LEAF_UNIT_MM, by_mu * mu_unit])
        return value, slope

    def report() -> None:
        on_iteration(latest["value"], latest["by_name"])  # type: ignore[arg-type]

    start = np.concatenate(
        [
            leaves[:, 0][moving] / _LEAF_UNIT_MM,
            (leaves[:, 1] - leaves[:, 0])[moving] / _LEAF_UNIT_MM,
            mu / mu_unit,
        ]
    )
    low = np.concatenate(
        [
            limits.low_mm[:, 0][moving] / _LEAF_UNIT_MM,
            np.full(len(width_most), limits.gap_mm / _LEAF_UNIT_MM),
            np.full(len(mu), limits.least_mu / mu_unit),
        ]
    )
    high = np.concatenate(
        [
            (limits.high_mm[:, 0][moving] - limits.gap_mm) / _LEAF_UNIT_MM,
            width_most / _LEAF_UNIT_MM,
            np.full(len(mu), np.inf),
        ]
    )
    x = minimize(function, start, low, high, iterations, report)
    return unpacked(x), x[2 * int(moving.sum()) :] * mu_unit
