"""Arcs: apertures that leaves can reach from each other while the gantry turns, and MU between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .columns import Columns, Report, Window, best_aperture
from .leaves import Aperture
from .problem import ApertureProblem, Shape

FloatArray = npt.NDArray[np.float64]

_AT_A_TIME = 6
"""Apertures that are placed before MU are solved for again."""
_PROJECTIONS = 20


def travel_limits_mm(gantry_deg: FloatArray, gantry_deg_s: float, leaf_mm_s: float) -> FloatArray:
    """(control points - 1,) how far leaves get while the gantry turns from each to the next at full speed."""
    limits: FloatArray = np.abs(np.diff(gantry_deg)) / gantry_deg_s * leaf_mm_s
    return limits


def interval_parts(control_points: int) -> FloatArray:
    """(control points, intervals) share that an aperture has in the MU of the intervals beside it.

    What is delivered between two control points is, nearly, half by the one's aperture and half by the other's.
    """
    parts = np.zeros((control_points, control_points - 1))
    index = np.arange(control_points - 1)
    parts[index, index] = 0.5
    parts[index + 1, index] = 0.5
    return parts


def arc_apertures(
    problem: ApertureProblem, outlines: Sequence[Aperture], limits_mm: FloatArray, report: Report
) -> list[Shape]:
    """One aperture for each view along an arc, in its order.

    Parameters
    ----------
    outlines : for each view what leaves may open; all with the same jaws
    limits_mm : (views - 1,) by which leaves may move from one to the next
    """
    columns = Columns(problem)
    windows = [Window.of(o, problem.head.machine.mlc.gap_min_mm) for o in outlines]
    placed: dict[int, Shape] = {}
    count = len(outlines)
    while len(placed) < count:
        waiting = [v for v in range(count) if v not in placed]
        maps = columns.by_fluence(waiting)
        values = {}
        for view in waiting:
            values[view], _ = best_aperture(problem, _reachable(windows, placed, view, limits_mm), view, maps[view])
        apart = max(1, len(waiting) // (2 * _AT_A_TIME))
        taken: list[int] = []
        for view in sorted(waiting, key=lambda v: (values[v], v)):
            if len(taken) < _AT_A_TIME and all(abs(view - t) >= apart for t in taken):
                window = _reachable(windows, placed, view, limits_mm)
                _, shape = best_aperture(problem, window, view, maps[view])
                jaws = outlines[view]
                placed[view] = replace(shape, aperture=replace(shape.aperture, x_mm=jaws.x_mm, y_mm=jaws.y_mm))
                taken.append(view)
        columns.add([placed[v] for v in taken])
        report(len(placed) / count, columns.objective)
    return sorted(columns.shapes, key=lambda s: s.view)


def interval_mu(mu: FloatArray) -> FloatArray:
    """(intervals,) MU between control points that have about these shares; their sum is kept."""
    found = (mu[1:] + mu[:-1]) / 2
    kept: FloatArray = found * (mu.sum() / max(found.sum(), 1e-9))
    return kept


def within_travel(leaves_mm: FloatArray, limits_mm: FloatArray) -> FloatArray:
    """(control points, 2, pairs) leaves moved by little, so that no move is longer than its limit; gaps stay.

    Moves that are too long are shortened at both ends some times, and what is left at their later end.
    """
    found = leaves_mm.copy()
    limits = limits_mm[:, None, None]
    for _ in range(_PROJECTIONS):
        for first in (0, 1):
            move = found[first + 1 :: 2][: len(limits[first::2])] - found[first:-1:2]
            over = np.sign(move) * np.maximum(np.abs(move) - limits[first::2], 0.0) / 2
            found[first:-1:2] += over
            found[first + 1 :: 2] -= over
    for i in range(1, len(found)):
        found[i] = np.clip(found[i], found[i - 1] - limits_mm[i - 1], found[i - 1] + limits_mm[i - 1])
    return found


def _reachable(windows: Sequence[Window], placed: dict[int, Shape], view: int, limits_mm: FloatArray) -> Window:
    """Where leaves may be in a view, as far as they get there from the nearest placed ones."""
    low, high = windows[view].low_mm, windows[view].high_mm
    before, after = (
        max((p for p in placed if p < view), default=None),
        min((p for p in placed if p > view), default=None),
    )
    for neighbor in (before, after):
        if neighbor is None:
            continue
        reach = float(limits_mm[min(neighbor, view) : max(neighbor, view)].sum())
        there = placed[neighbor].aperture.leaves_mm
        low = np.clip(low, there - reach, there + reach)
        high = np.clip(high, there - reach, there + reach)
    return Window(windows[view].outline, low, high)
