"""The function that is minimised: penalties of the dose that spot weights give, with its gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse

from .objectives import DoseTerm
from .products import SpotProducts, keep_rows

FloatVector = npt.NDArray[np.float64]


class Minimized(Protocol):
    """What the solvers minimise."""

    @property
    def spots(self) -> int:
        """Number of weights."""

    def evaluate(self, weights: FloatVector) -> tuple[float, FloatVector, Mapping[str, float]]:
        """Value, gradient by weight, and the value of each name's terms."""

    def select(self, keep: npt.NDArray[np.bool_]) -> Self:
        """The same penalties with fewer spots."""

    def near(self, weights: FloatVector) -> Self:
        """The same, perhaps without voxels whose dose is of no concern as long as weights are not far from these."""


@dataclass(frozen=True)
class Problem:
    """Penalties on ``dose = gy_per_unit * matrix @ weights``.

    Attributes
    ----------
    matrix : (rows, all spots) float32 CSC; may be mapped from a file
    gy_per_unit : from the matrix's unit to the reported dose (fractions times RBE)
    columns : the spots that count, rising; None: all
    threads : cores to use; does not change any bit of a result
    """

    matrix: scipy.sparse.csc_matrix
    gy_per_unit: float
    terms: Sequence[DoseTerm]
    columns: npt.NDArray[np.int64] | None = None
    threads: int = 1

    @cached_property
    def _products(self) -> SpotProducts:
        columns = np.arange(self.matrix.shape[1]) if self.columns is None else self.columns
        return SpotProducts(self.matrix, columns, self.threads)

    @property
    def spots(self) -> int:
        return int(self.matrix.shape[1]) if self.columns is None else len(self.columns)

    def dose_gy(self, weights: FloatVector) -> npt.NDArray[np.float32]:
        """(rows,) reported dose."""
        return self._products.dose((weights * self.gy_per_unit).astype(np.float32))

    def evaluate(self, weights: FloatVector) -> tuple[float, FloatVector, Mapping[str, float]]:
        """Value, gradient by weight, and the value of each name's terms."""
        value, slope, by_name = penalties(self.dose_gy(weights), self.terms)
        return value, self.pull_back(slope), by_name

    def pull_back(self, slope: FloatVector) -> FloatVector:
        """From the derivative by dose to that by weight."""
        return self._products.gradient((slope * self.gy_per_unit).astype(np.float32))

    def select(self, keep: npt.NDArray[np.bool_]) -> Problem:
        """The same penalties with fewer spots."""
        columns = np.arange(self.spots) if self.columns is None else self.columns
        return replace(self, columns=columns[keep])

    def near(self, weights: FloatVector) -> Problem:
        """The same without the voxels that could only count if they got much more dose than these weights give."""
        dose_gy = self.dose_gy(weights)
        near = [term.near(dose_gy[term.rows]) for term in self.terms]
        if all(keep.all() for keep in near):
            return self
        terms = [term.only(keep) for term, keep in zip(self.terms, near, strict=True)]
        return replace(make_problem(self.matrix, self.gy_per_unit, terms, self.threads), columns=self.columns)


def penalties(
    dose_gy: npt.NDArray[np.float32], terms: Iterable[DoseTerm]
) -> tuple[float, FloatVector, dict[str, float]]:
    """Sum of the terms, its derivative by each voxel's dose, and the value of each name's terms."""
    slope = np.zeros(len(dose_gy), dtype=np.float64)
    total = 0.0
    by_name: dict[str, float] = {}
    for term in terms:
        value, gradient = term.value_and_gradient(dose_gy[term.rows])
        total += value
        by_name[term.name] = by_name.get(term.name, 0.0) + value
        slope[term.rows] += gradient  # a term's rows are unique
    return total, slope, by_name


_WORTH_CUTTING = 0.8
"""Share of the rows that terms look at, below which the others are taken out of the matrix."""


def make_problem(
    matrix: scipy.sparse.csc_matrix, gy_per_unit: float, terms: Sequence[DoseTerm], threads: int = 1
) -> Problem:
    """A problem without the rows that no term looks at, where that makes it much smaller."""
    used = np.zeros(matrix.shape[0], dtype=np.bool_)
    for term in terms:
        used[term.rows] = True
    if used.mean() > _WORTH_CUTTING:
        return Problem(matrix, gy_per_unit, terms, threads=threads)
    number = np.cumsum(used) - 1
    moved = [term.with_rows(number[term.rows].astype(np.intp)) for term in terms]
    return Problem(keep_rows(matrix, used, threads), gy_per_unit, moved, threads=threads)
