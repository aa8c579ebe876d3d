"""The best opening of each pair of leaves for a derivative by fluence, exactly, within what the leaves can reach."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def best_openings(
    gained: FloatArray, edges_mm: FloatArray, low_mm: FloatArray, high_mm: FloatArray, gap_mm: float
) -> tuple[FloatArray, FloatArray]:
    """For each pair the opening with the lowest sum of what is gained by opening it.

    Parameters
    ----------
    gained : (pairs, columns) derivative of the objective by opening a whole cell
    edges_mm : (columns + 1,)
    low_mm, high_mm : (2, pairs) where each leaf's tip may be
    gap_mm : least opening

    Returns
    -------
    tips_mm : (2, pairs)
    values : (pairs,) the sums, below 0 where opening is worth it
    """
    tips = np.zeros((2, len(gained)))
    values = np.zeros(len(gained))
    _best(
        np.ascontiguousarray(gained, dtype=np.float64),
        np.ascontiguousarray(edges_mm, dtype=np.float64),
        np.ascontiguousarray(low_mm, dtype=np.float64),
        np.ascontiguousarray(high_mm, dtype=np.float64),
        float(gap_mm),
        tips,
        values,
    )
    return tips, values


@numba.njit(cache=True, nogil=True)
def _sum_to(sums, edges, at):  # type: ignore[no-untyped-def]
    cell = edges[1] - edges[0]
    place = min(max((at - edges[0]) / cell, 0.0), float(len(sums) - 1))
    i = min(int(place), len(sums) - 2)
    return sums[i] + (place - i) * (sums[i + 1] - sums[i])


@numba.njit(cache=True, nogil=True)
def _candidates(edges, low, high, gap, bank, out):  # type: ignore[no-untyped-def]
    """A sum that is linear between edges is least at an edge, at a limit, or where the other tip is and the gap."""
    count = 0
    out[count] = low
    count += 1
    if high > low:
        out[count] = high
        count += 1
    for edge in edges:
        for at in (edge, edge - gap if bank == 0 else edge + gap):
            if low < at < high:
                out[count] = at
                count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _best(gained, edges, low, high, gap, tips, values):  # type: ignore[no-untyped-def]
    pairs, columns = gained.shape
    sums = np.zeros(columns + 1)
    lefts = np.empty(2 * columns + 4)
    rights = np.empty(2 * columns + 4)
    behind = np.empty(2 * columns + 4)
    for pair in range(pairs):
        for c in range(columns):
            sums[c + 1] = sums[c] + gained[pair, c]
        n_left = _candidates(edges, low[0, pair], high[0, pair], gap, 0, lefts)
        n_right = _candidates(edges, low[1, pair], high[1, pair], gap, 1, rights)
        for j in range(n_right):
            behind[j] = _sum_to(sums, edges, rights[j])
        best, found = 0.0, False
        for i in range(n_left):
            before = _sum_to(sums, edges, lefts[i])
            for j in range(n_right):
                if rights[j] - lefts[i] < gap - 1e-9:
                    continue
                value = behind[j] - before
                if not found or value < best - 1e-15:
                    best, found = value, True
                    tips[0, pair], tips[1, pair] = lefts[i], rights[j]
        if not found:  # the limits leave no opening of the gap: as near as they let it
            tips[0, pair], tips[1, pair] = low[0, pair], high[1, pair]
            best = _sum_to(sums, edges, high[1, pair]) - _sum_to(sums, edges, low[0, pair])
        values[pair] = best
