"""The function that is minimised: penalties of the dose that spot weights give, with its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse

from .objectives import DoseTerm

FloatVector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Penalties on ``dose = gy_per_unit * matrix @ weights``.

    Attributes
    ----------
    matrix : (rows, spots) float32 CSC
    gy_per_unit : from the matrix's unit to the reported dose (fractions times RBE)
    """

    matrix: scipy.sparse.csc_matrix
    gy_per_unit: float
    terms: Sequence[DoseTerm]

    @cached_property
    def _transposed(self) -> scipy.sparse.csr_matrix:
        return self.matrix.T  # a CSR view of the same numbers

    @property
    def spots(self) -> int:
        return int(self.matrix.shape[1])

    def dose_gy(self, weights: FloatVector) -> npt.NDArray[np.float32]:
        """(rows,) reported dose."""
        dose: npt.NDArray[np.float32] = self.matrix @ (weights * self.gy_per_unit).astype(np.float32)
        return dose

    def evaluate(self, weights: FloatVector) -> tuple[float, FloatVector, Mapping[str, float]]:
        """Value, gradient by weight, and the value of each name's terms."""
        dose = self.dose_gy(weights)
        slope = np.zeros(len(dose), dtype=np.float64)
        total = 0.0
        by_name: dict[str, float] = {}
        for term in self.terms:
            value, gradient = term.value_and_gradient(dose[term.rows])
            total += value
            by_name[term.name] = by_name.get(term.name, 0.0) + value
            slope[term.rows] += gradient  # a term's rows are unique
        gradient_by_weight = self._transposed @ (slope * self.gy_per_unit).astype(np.float32)
        return total, gradient_by_weight.astype(np.float64), by_name

    def select(self, keep: npt.NDArray[np.bool_]) -> Problem:
        """The same penalties with fewer spots."""
        return Problem(self.matrix[:, np.flatnonzero(keep)], self.gy_per_unit, self.terms)
