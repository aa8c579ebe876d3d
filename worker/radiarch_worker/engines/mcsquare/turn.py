"""Any patient as MCsquare knows patients, head first supine: grids, volumes and points turned there and back, exactly.

The engine's angles are those of a patient who lies head first supine. Another one, with CT and isocenter turned so that
each voxel is where it would be if that patient lay so in the same place of the room, is irradiated alike. Voxels only
change their order, so that nothing is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from radiarch_worker.model import Grid, Vector3
from radiarch_worker.position import PatientPosition, support_axes

from .spots import SpotPlan

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class Turn:
    """A rotation that takes each axis to an axis.

    Attributes
    ----------
    source : for x, y, z of the turned frame, which axis of the patient's it is
    sign : +1 where it runs the same way, -1 where it is reversed
    """

    source: tuple[int, int, int]
    sign: tuple[int, int, int]

    @classmethod
    def of(cls, position: PatientPosition) -> Turn:
        """From the patient LPS of a patient in this position to that of one head first supine in the same place."""
        rotation = support_axes(PatientPosition.HFS) @ support_axes(position).T
        x, y, z = (int(np.flatnonzero(row)[0]) for row in rotation)
        return cls((x, y, z), (int(rotation[0, x]), int(rotation[1, y]), int(rotation[2, z])))

    def point(self, point_mm: Vector3) -> Vector3:
        x, y, z = (s * point_mm[a] for a, s in zip(self.source, self.sign, strict=True))
        return (x, y, z)

    def grid(self, grid: Grid) -> Grid:
        """The same voxels in the turned frame."""
        counts = [grid.shape[2 - a] for a in self.source]
        spacing = [grid.spacing_mm[a] for a in self.source]
        ends = [(grid.origin_mm[a], float(grid.axis_mm(a)[-1])) for a in self.source]
        origin = [low if s > 0 else -high for s, (low, high) in zip(self.sign, ends, strict=True)]
        return Grid(
            (origin[0], origin[1], origin[2]),
            (spacing[0], spacing[1], spacing[2]),
            (counts[2], counts[1], counts[0]),
        )

    def volume(self, values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """A view of (Z, Y, X) values as (Z, Y, X) of the turned frame."""
        turned = values.transpose([2 - a for a in self.source[::-1]])
        return turned[_flips(self.sign)]

    def back(self, values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """A view of (Z, Y, X) values of the turned frame as the patient's."""
        order: list[Any] = [2 - a for a in self.source[::-1]]
        return values[_flips(self.sign)].transpose(np.argsort(order))

    def plan(self, plan: SpotPlan) -> SpotPlan:
        """The same beams on the turned patient: angles and spots stay, isocenters move with the patient."""
        return SpotPlan(tuple(replace(b, isocenter_mm=self.point(b.isocenter_mm)) for b in plan.beams))


def _flips(sign: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(None, None, s) for s in sign[::-1])
    return (z, y, x)
