"""Where a beam comes from and how its devices lie, in patient LPS: IEC 61217 angles turned into vectors, here alone.

Angles are IEC 61217: gantry 0 shines from above, gantry 90 from +Xf (the right of one who faces the gantry); couch
angles turn the patient counter-clockwise as seen from above, collimator angles the beam limiting devices
counter-clockwise as seen from the source. Where that is in the patient depends on how he lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radiarch_worker.model import Vector3
from radiarch_worker.position import PatientPosition, support_axes

Directions = npt.NDArray[np.float64]
"""(3,) unit vector in patient LPS."""


@dataclass(frozen=True)
class BeamAxes:
    """Unit vectors in patient LPS.

    Attributes
    ----------
    direction : along which particles travel on the beam's axis
    x, y : of the IEC gantry system; of the beam limiting device system where `collimated` made it
    """

    direction: Directions
    x: Directions
    y: Directions

    @classmethod
    def of(cls, gantry_deg: float, couch_deg: float, position: PatientPosition) -> BeamAxes:
        axes = support_axes(position).astype(np.float64)
        return cls(
            axes @ -_gantry_to_support((0.0, 0.0, 1.0), gantry_deg, couch_deg),
            axes @ _gantry_to_support((1.0, 0.0, 0.0), gantry_deg, couch_deg),
            axes @ _gantry_to_support((0.0, 1.0, 0.0), gantry_deg, couch_deg),
        )

    def collimated(self, collimator_deg: float) -> BeamAxes:
        """The axes of the beam limiting devices, in which leaves and jaws have their positions.

        Examples
        --------
        >>> at_90 = BeamAxes.of(0, 0, PatientPosition.HFS).collimated(90)
        >>> at_90.x.round(9).tolist()  # X of the devices points to the head
        [0.0, 0.0, 1.0]
        """
        c = math.radians(collimator_deg)
        x, y = self.x * math.cos(c) + self.y * math.sin(c), -self.x * math.sin(c) + self.y * math.cos(c)
        return BeamAxes(self.direction, x, y)

    def source_mm(self, isocenter_mm: Vector3, distance_mm: float) -> npt.NDArray[np.float64]:
        """(3,) patient LPS of a point source at a distance from the isocenter."""
        return np.asarray(isocenter_mm, dtype=np.float64) - distance_mm * self.direction

    def project_mm(
        self, points_mm: npt.NDArray[np.float64], isocenter_mm: Vector3, distance_mm: float
    ) -> npt.NDArray[np.float64]:
        """(n, 2) x and y at the isocenter plane where rays from the source through (n, 3) points meet it.

        Points have to lie on the patient's side of the source.
        """
        relative = points_mm - np.asarray(isocenter_mm, dtype=np.float64)
        scale = distance_mm / (distance_mm + relative @ self.direction)
        return np.stack([relative @ self.x * scale, relative @ self.y * scale], axis=1)


def _gantry_to_support(vector: Vector3, gantry_deg: float, couch_deg: float) -> npt.NDArray[np.float64]:
    xg, yg, zg = vector
    g, c = math.radians(gantry_deg), math.radians(couch_deg)
    xf, yf, zf = xg * math.cos(g) + zg * math.sin(g), yg, -xg * math.sin(g) + zg * math.cos(g)
    xs, ys, zs = xf * math.cos(c) + yf * math.sin(c), -xf * math.sin(c) + yf * math.cos(c), zf
    return np.array([xs, ys, zs])
