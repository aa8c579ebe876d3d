"""Penalties on dose with their gradients; quadratic in Gy, averaged over the structure's voxels.

A term's value is ``weight * mean(deviation²)`` in Gy², so that neither the number of voxels nor the grid
changes what a weight means. DVH terms penalise, as usual, only the voxels between the dose asked for and
the dose that the asked-for volume has now; sorted by dose that is a fixed share of the voxels, so value and
gradient stay consistent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from radiarch_contract.objectives import ObjectiveMetric

FloatVector = npt.NDArray[Any]


class DoseTerm(Protocol):
    """One penalty on the dose of some voxels."""

    @property
    def name(self) -> str:
        """What reports call it: the structure's name."""

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """The voxels it looks at, as rows of the dose vector."""

    def value_and_gradient(self, dose_gy: FloatVector) -> tuple[float, FloatVector]:
        """Penalty, and its derivative by the dose of each of ``rows``."""

    def with_rows(self, rows: npt.NDArray[np.intp]) -> Self:
        """The same penalty where its voxels have other rows."""

    def near(self, dose_gy: FloatVector) -> npt.NDArray[np.bool_]:
        """Which of its voxels may come to matter, where dose is not far from that of each of ``rows``."""

    def only(self, keep: npt.NDArray[np.bool_]) -> Self:
        """The same penalty without the other voxels, as long as their dose stays acceptable."""


_NEAR = 0.6
"""Of the highest dose that is allowed: a voxel with less before an optimisation seldom has more than it after one."""


@dataclass(frozen=True)
class MetricTerm:
    """An objective of the request on one structure.

    Attributes
    ----------
    rows : rows of the structure's voxels
    dose_gy : total, as reported
    """

    name: str
    rows: npt.NDArray[np.intp]
    metric: ObjectiveMetric
    dose_gy: float
    volume_percent: float | None
    weight: float

    def with_rows(self, rows: npt.NDArray[np.intp]) -> Self:
        return replace(self, rows=rows)

    def near(self, dose_gy: FloatVector) -> npt.NDArray[np.bool_]:
        if self.metric is ObjectiveMetric.DMAX:
            return _near(dose_gy, self.dose_gy)
        return np.ones(len(dose_gy), dtype=np.bool_)

    def only(self, keep: npt.NDArray[np.bool_]) -> Self:
        return replace(self, rows=self.rows[keep], weight=self.weight * float(keep.mean()))

    def value_and_gradient(self, dose_gy: FloatVector) -> tuple[float, FloatVector]:
        if self.metric in (ObjectiveMetric.DMEAN, ObjectiveMetric.DMEAN_MAX):
            return self._mean(dose_gy)
        deviation = self._deviation(dose_gy)
        scale = self.weight / len(dose_gy)
        return scale * float(np.dot(deviation, deviation)), 2 * scale * deviation

    def _mean(self, dose_gy: FloatVector) -> tuple[float, FloatVector]:
        over = float(dose_gy.mean(dtype=np.float64)) - self.dose_gy
        if self.metric is ObjectiveMetric.DMEAN_MAX:
            over = max(0.0, over)
        slope = 2 * self.weight * over / len(dose_gy)
        return self.weight * over**2, np.full(len(dose_gy), slope, dtype=np.float64)

    def _deviation(self, dose_gy: FloatVector) -> FloatVector:
        difference = dose_gy.astype(np.float64) - self.dose_gy
        match self.metric:
            case ObjectiveMetric.DUNIFORM:
                return difference
            case ObjectiveMetric.DMIN:
                return np.minimum(difference, 0.0)
            case ObjectiveMetric.DMAX:
                return np.maximum(difference, 0.0)
            case ObjectiveMetric.DVH_MIN:
                difference[difference > 0.0] = 0.0
                difference[self._spared(-difference)] = 0.0
                return difference
            case ObjectiveMetric.DVH_MAX:
                difference[difference < 0.0] = 0.0
                difference[self._spared(difference)] = 0.0
                return difference
        raise AssertionError(self.metric)

    def _spared(self, violation: FloatVector) -> npt.NDArray[np.intp]:
        """The voxels with the greatest violation, as many as the objective lets go."""
        assert self.volume_percent is not None
        allowed = self.volume_percent / 100
        if self.metric is ObjectiveMetric.DVH_MIN:
            allowed = 1 - allowed
        count = int(np.floor(allowed * len(violation) + 1e-9))
        if count == 0:
            return np.zeros(0, dtype=np.intp)
        return np.argpartition(violation, len(violation) - count)[len(violation) - count :]


@dataclass(frozen=True)
class FallOffTerm:
    """Dose outside the target held below a limit that falls with the distance from it.

    Attributes
    ----------
    limit_gy : (rows,) total dose, as reported
    """

    name: str
    rows: npt.NDArray[np.intp]
    limit_gy: npt.NDArray[np.float32]
    weight: float

    def with_rows(self, rows: npt.NDArray[np.intp]) -> Self:
        return replace(self, rows=rows)

    def near(self, dose_gy: FloatVector) -> npt.NDArray[np.bool_]:
        return _near(dose_gy, self.limit_gy)

    def only(self, keep: npt.NDArray[np.bool_]) -> Self:
        weight = self.weight * float(keep.mean())
        return replace(self, rows=self.rows[keep], limit_gy=self.limit_gy[keep], weight=weight)

    def value_and_gradient(self, dose_gy: FloatVector) -> tuple[float, FloatVector]:
        over = np.maximum(dose_gy.astype(np.float64) - self.limit_gy, 0.0)
        scale = self.weight / len(dose_gy)
        return scale * float(np.dot(over, over)), 2 * scale * over


def _near(dose_gy: FloatVector, limit_gy: FloatVector | float) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = dose_gy > _NEAR * limit_gy
    near[np.argmax(dose_gy)] = True  # a mean needs a voxel
    return near
