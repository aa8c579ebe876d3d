"""Products of a beamlet matrix with weights and with voxels' slopes, on all cores, in the same order on any number.

The matrix may be mapped from a file and is never copied for a choice of spots: spots that do not count are skipped.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse

BLOCKS = 8
"""Parts of the spots whose doses are summed apart: fixed, so that sums do not depend on the number of cores."""


@dataclass(frozen=True)
class SpotProducts:
    """A matrix (rows, spots) of which the spots in ``columns`` count.

    Attributes
    ----------
    matrix : (rows, spots) float32 CSC with rising row numbers
    columns : (n,) rising column numbers
    threads : cores to use; does not change any bit of a result
    """

    matrix: scipy.sparse.csc_matrix
    columns: npt.NDArray[np.int64]
    threads: int = 1

    def dose(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(rows,) ``matrix[:, columns] @ weights``."""
        parts = np.zeros((BLOCKS, self.matrix.shape[0]), dtype=np.float32)

        def block(b: int) -> None:
            first, stop = self._edges[b], self._edges[b + 1]
            _add_columns(*self._arrays, self.columns[first:stop], weights[first:stop], parts[b])

        self._each(block, BLOCKS)
        dose: npt.NDArray[np.float32] = parts.sum(axis=0, dtype=np.float32)
        return dose

    def gradient(self, slope: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(n,) ``matrix[:, columns].T @ slope``."""
        result = np.zeros(len(self.columns), dtype=np.float64)

        def block(b: int) -> None:
            first, stop = self._edges[b], self._edges[b + 1]
            _dot_columns(*self._arrays, self.columns[first:stop], slope, result[first:stop])

        self._each(block, BLOCKS)
        return result

    def _each(self, work: Any, count: int) -> None:
        if self.threads <= 1:
            for b in range(count):
                work(b)
        else:
            list(self._pool.map(work, range(count)))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads)

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        # plain arrays: numba does not know mapped ones
        data, rows, start = (np.asarray(a) for a in (self.matrix.data, self.matrix.indices, self.matrix.indptr))
        # unsigned: numba would look at every index whether it counts from the end
        return data, rows.view(f"u{rows.itemsize}"), start.view(f"u{start.itemsize}")

    @cached_property
    def _edges(self) -> npt.NDArray[np.int64]:
        """Blocks of about equally many values."""
        indptr = np.asarray(self.matrix.indptr)
        values = np.concatenate(([0], np.cumsum(indptr[self.columns + 1] - indptr[self.columns])))
        edges: npt.NDArray[np.int64] = np.searchsorted(values, values[-1] * np.arange(BLOCKS + 1) / BLOCKS).astype(
            np.int64
        )
        edges[0], edges[-1] = 0, len(self.columns)
        return edges


def keep_rows(
    matrix: scipy.sparse.csc_matrix, keep: npt.NDArray[np.bool_], threads: int = 1
) -> scipy.sparse.csc_matrix:
    """The rows for which ``keep`` is true, in their order."""
    number = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
    data, indices, indptr = (np.asarray(a) for a in (matrix.data, matrix.indices, matrix.indptr))
    start = np.zeros(len(indptr), dtype=np.int64)
    edges = np.linspace(0, matrix.shape[1], BLOCKS + 1).astype(np.int64)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda b: _count_kept(indices, indptr, number, edges[b], edges[b + 1], start), range(BLOCKS)))
        np.cumsum(start, out=start)
        values, rows = np.empty(start[-1], dtype=np.float32), np.empty(start[-1], dtype=np.int32)
        copied = (data, indices, indptr, number, start)
        list(pool.map(lambda b: _copy_kept(*copied, edges[b], edges[b + 1], values, rows), range(BLOCKS)))
    kept = scipy.sparse.csc_matrix(
        (values, rows, start), shape=(int(np.count_nonzero(keep)), matrix.shape[1]), copy=False
    )
    kept.has_sorted_indices = True
    return kept


def column_norms(matrix: scipy.sparse.csc_matrix, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(columns,) root of the sum of squares over the rows for which ``wanted`` is true."""
    data, indices, indptr = (np.asarray(a) for a in (matrix.data, matrix.indices, matrix.indptr))
    norms = np.zeros(matrix.shape[1], dtype=np.float64)
    _add_squares(data, indices, indptr, wanted, norms)
    return np.sqrt(norms)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _add_columns(data, rows, start, columns, weights, out):  # type: ignore[no-untyped-def]
    for i in range(len(columns)):
        w = weights[i]
        if w != 0.0:
            for k in range(start[columns[i]], start[columns[i] + 1]):
                out[rows[k]] += w * data[k]


@numba.njit(cache=True, nogil=True, boundscheck=False, fastmath={"reassoc", "contract"})
def _dot_columns(data, rows, start, columns, slope, out):  # type: ignore[no-untyped-def]
    for i in range(len(columns)):
        total = np.float32(0.0)
        for k in range(start[columns[i]], start[columns[i] + 1]):
            total += data[k] * slope[rows[k]]
        out[i] = total


@numba.njit(cache=True, nogil=True)
def _count_kept(rows, start, number, first, stop, out):  # type: ignore[no-untyped-def]
    for spot in range(first, stop):
        n = 0
        for k in range(start[spot], start[spot + 1]):
            if number[rows[k]] >= 0:
                n += 1
        out[spot + 1] = n


@numba.njit(cache=True, nogil=True)
def _copy_kept(data, rows, start, number, out_start, first, stop, values, out_rows):  # type: ignore[no-untyped-def]
    for spot in range(first, stop):
        at = out_start[spot]
        for k in range(start[spot], start[spot + 1]):
            row = number[rows[k]]
            if row >= 0:
                values[at] = data[k]
                out_rows[at] = row
                at += 1


@numba.njit(cache=True, nogil=True)
def _add_squares(data, rows, start, wanted, out):  # type: ignore[no-untyped-def]
    for spot in range(len(start) - 1):
        total = 0.0
        for k in range(start[spot], start[spot + 1]):
            if wanted[rows[k]]:
                total += data[k] * data[k]
        out[spot] = total
