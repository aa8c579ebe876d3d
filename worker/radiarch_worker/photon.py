"""The frozen types that photon plans have of their own; what all plans have is in `model`.

Conventions, for all photon code: angles are IEC 61217, degrees. Leaf and jaw positions are mm in the isocenter plane,
on the axes of the beam limiting device system (`beam_axes.BeamAxes.collimated`); of a pair, the first is the bank or
jaw on the negative side (X1, Y1). Leaves move along X; leaf 0 is that at the smallest Y. MU are of one fraction, and
cumulative: what has been delivered when a control point is reached. Between two control points all moves in
proportion to MU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .model import Beam, Machine, PlanResult, beams_of

LeafPositions = npt.NDArray[np.float64]
"""(2, pairs) mm: bank X1, then bank X2."""
Opening = tuple[float, float]
"""Positions of two opposed jaws, mm: the one on the negative side first."""


class FluenceMode(StrEnum):
    """Whether the beam is flattened."""

    FLATTENED = "flattened"
    UNFLATTENED = "unflattened"  # flattening filter free, FFF


class Rotation(StrEnum):
    """How the gantry turns; clockwise for one who faces it is towards larger angles."""

    NONE = "none"
    CLOCKWISE = "clockwise"
    COUNTER_CLOCKWISE = "counter_clockwise"


@dataclass(frozen=True)
class ControlPoint:
    """The machine at one moment of a beam.

    Attributes
    ----------
    cumulative_mu : delivered from the beam's start until here, one fraction
    leaves_mm : None where the beam has no multileaf collimator
    jaws_x_mm, jaws_y_mm : None where the machine has no such jaws
    dose_rate_mu_min : as it is set; None where that is not known
    """

    gantry_deg: float
    cumulative_mu: float
    leaves_mm: LeafPositions | None
    jaws_x_mm: Opening | None
    jaws_y_mm: Opening | None
    dose_rate_mu_min: float | None = None


@dataclass(frozen=True)
class PhotonBeam(Beam):
    """A static field, a sequence of apertures, or an arc. ``gantry_deg`` is that of the first control point.

    Attributes
    ----------
    control_points
        At least two, with MU that never fall, the first at 0; a static field has two that are alike. Step and shoot has
        two for each aperture, and none of its MU between one aperture and the next.
    leaf_boundaries_mm : (pairs + 1,) Y of the leaves' sides, ascending; None where there is no multileaf collimator

    Examples
    --------
    >>> def at(gantry, mu):
    ...     return ControlPoint(gantry, mu, None, (-50.0, 50.0), (-50.0, 50.0))
    >>> points = at(350.0, 0.0), at(10.0, 30.0)
    >>> arc = PhotonBeam(1, "1", 350.0, 0.0, (0.0, 0.0, 0.0), 0.0, 6.0, FluenceMode.FLATTENED,
    ...                  Rotation.CLOCKWISE, points, None)
    >>> arc.gantry_path_deg.tolist(), arc.between(0, 0.75).gantry_deg
    ([350.0, 370.0], 5.0)
    """

    collimator_deg: float
    energy_mv: float
    fluence: FluenceMode
    rotation: Rotation
    control_points: tuple[ControlPoint, ...]
    leaf_boundaries_mm: npt.NDArray[np.float64] | None

    @property
    def meterset_mu(self) -> float:
        """MU of the whole beam in one fraction."""
        return self.control_points[-1].cumulative_mu

    @cached_property
    def gantry_path_deg(self) -> npt.NDArray[np.float64]:
        """(control points,) gantry angles without the jump at 360: they ascend in a clockwise arc."""
        angles = np.array([p.gantry_deg for p in self.control_points], dtype=np.float64)
        if self.rotation is Rotation.NONE:
            return angles
        sign = 1.0 if self.rotation is Rotation.CLOCKWISE else -1.0
        steps = np.mod(sign * np.diff(angles), 360.0)
        steps[steps > 360.0 - 1e-6] = 0.0  # no step backwards, but the noise of one that does not move
        path: npt.NDArray[np.float64] = angles[0] + sign * np.concatenate([[0.0], np.cumsum(steps)])
        return path

    def as_written(self) -> PhotonBeam:
        """The beam as an RT Plan has it: positions to 0.01 mm, angles to 0.01 degrees, MU to 0.0001.

        A plan's dose is to be computed from this.
        """
        points = tuple(
            replace(
                p,
                gantry_deg=round(p.gantry_deg, 2) % 360.0,
                cumulative_mu=round(p.cumulative_mu, 4),
                leaves_mm=None if p.leaves_mm is None else np.round(p.leaves_mm, 2) + 0.0,
                jaws_x_mm=_rounded(p.jaws_x_mm),
                jaws_y_mm=_rounded(p.jaws_y_mm),
            )
            for p in self.control_points
        )
        x, y, z = (round(v, 2) for v in self.isocenter_mm)
        return replace(
            self,
            gantry_deg=points[0].gantry_deg if points else round(self.gantry_deg, 2) % 360.0,
            couch_deg=round(self.couch_deg, 2) % 360.0,
            collimator_deg=round(self.collimator_deg, 2) % 360.0,
            isocenter_mm=(x, y, z),
            control_points=points,
        )

    def between(self, index: int, share: float) -> ControlPoint:
        """The machine between control points ``index`` and ``index + 1``, after a share (0 to 1) of the MU there."""
        a, b = self.control_points[index], self.control_points[index + 1]
        path = self.gantry_path_deg
        return replace(
            a,
            gantry_deg=float(np.mod(path[index] + share * (path[index + 1] - path[index]), 360.0)),
            cumulative_mu=a.cumulative_mu + share * (b.cumulative_mu - a.cumulative_mu),
            leaves_mm=_mean(a.leaves_mm, b.leaves_mm, share),
            jaws_x_mm=_opening(a.jaws_x_mm, b.jaws_x_mm, share),
            jaws_y_mm=_opening(a.jaws_y_mm, b.jaws_y_mm, share),
        )

    def exposures(self, gantry_step_deg: float = 2.0, leaf_step_mm: float = 5.0) -> Iterator[Exposure]:
        """The beam as still apertures: each stands for no more than a step of the gantry or of any leaf or jaw.

        The MU of all sum to `meterset_mu`; where none is delivered, there is no exposure.
        """
        path = self.gantry_path_deg
        for index, (a, b) in enumerate(zip(self.control_points, self.control_points[1:], strict=False)):
            mu = b.cumulative_mu - a.cumulative_mu
            if mu <= 0:
                continue
            turn, travel = abs(path[index + 1] - path[index]), _travel_mm(a, b)
            parts = max(1, int(np.ceil(max(turn / gantry_step_deg, travel / leaf_step_mm) - 1e-6)))
            for part in range(parts):
                yield Exposure(mu / parts, self.between(index, (part + 0.5) / parts), index)


@dataclass(frozen=True)
class Exposure:
    """MU of one fraction that a still aperture delivers.

    Attributes
    ----------
    point : gantry, leaves and jaws
    index : the control point that it follows
    """

    mu: float
    point: ControlPoint
    index: int


@dataclass(frozen=True)
class Linac(Machine):
    """What of a linear accelerator is written into a plan.

    Attributes
    ----------
    leaf_boundaries_mm : (pairs + 1,) Y of the leaves' sides, ascending
    jaw_axes : "X", "Y": those that it has jaws on
    """

    source_axis_distance_mm: float
    leaf_boundaries_mm: tuple[float, ...]
    jaw_axes: tuple[str, ...] = ("X", "Y")


def photon_beams(plan: PlanResult) -> tuple[PhotonBeam, ...]:
    """The beams of a photon plan; see `beams_of`."""
    return beams_of(plan, PhotonBeam, "photons")


def _mean(a: LeafPositions | None, b: LeafPositions | None, share: float) -> LeafPositions | None:
    return None if a is None or b is None else a + share * (b - a)


def _opening(a: Opening | None, b: Opening | None, share: float) -> Opening | None:
    return None if a is None or b is None else (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))


def _rounded(jaws: Opening | None) -> Opening | None:
    return None if jaws is None else (round(jaws[0], 2) + 0.0, round(jaws[1], 2) + 0.0)


def _travel_mm(a: ControlPoint, b: ControlPoint) -> float:
    """The longest way of any leaf or jaw."""
    longest = 0.0
    for before, after in (
        (a.leaves_mm, b.leaves_mm),
        (a.jaws_x_mm, b.jaws_x_mm),
        (a.jaws_y_mm, b.jaws_y_mm),
    ):
        if before is not None and after is not None:
            longest = max(longest, float(np.max(np.abs(np.subtract(after, before)))))
    return longest
