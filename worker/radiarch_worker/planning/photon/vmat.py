"""Arcs: one aperture at each control point, and MU between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from radiarch_contract.photon import Arc, PhotonVmatParameters

from radiarch_worker.model import PlanResult
from radiarch_worker.photon import ControlPoint, FluenceMode, PhotonBeam, Rotation

from .arc import arc_apertures, interval_mu, interval_parts, travel_limits_mm, within_travel
from .imrt import control_point
from .leaves import Aperture
from .problem import Shape, with_mu
from .refine import Limits, Travel, refined
from .setup import Beams, Direction, PhotonJob, Setup
from .steps import Found, Progress, plan

FloatArray = npt.NDArray[np.float64]

_OPTIMIZED_DEG = 4.0
"""Of the gantry between two apertures that are optimised; finer control points lie on the way from one to the next."""
_TRAVEL_WEIGHTS = ((0.02, 0.65), (0.2, 0.35))
"""Of moves that are too long, and the share of the iterations with it."""
_LEAF_DIGIT_MM = 0.02
"""By which rounded positions may differ more than they did."""
_APART_MM = 1e6


@dataclass(frozen=True)
class _Path:
    """One arc's part of all directions."""

    asked: Arc
    first: int
    gantry_deg: FloatArray

    @property
    def stop(self) -> int:
        return self.first + len(self.gantry_deg)


def plan_vmat(job: PhotonJob) -> PlanResult:
    """`photon-vmat`."""
    assert isinstance(job.parameters, PhotonVmatParameters)
    return plan(job, Arcs(job.parameters))


class Arcs:
    """Apertures along arcs; jaws stand still."""

    def __init__(self, parameters: PhotonVmatParameters) -> None:
        self._parameters = parameters
        self._finer = round(_OPTIMIZED_DEG / parameters.control_point_spacing_deg)
        self._paths: list[_Path] = []
        directions: list[Direction] = []
        for arc in parameters.arcs:
            count = math.ceil(arc.turn_deg / _OPTIMIZED_DEG - 1e-9)
            sign = 1.0 if arc.direction == "clockwise" else -1.0
            gantry = arc.start_deg + sign * np.linspace(0.0, arc.turn_deg, count + 1)
            self._paths.append(_Path(arc, len(directions), gantry))
            directions += [Direction(float(g) % 360.0, arc.couch_deg, arc.collimator_deg) for g in gantry]
        self.directions: Sequence[Direction] = tuple(directions)

    def begin(self, beams: Beams, progress: Progress) -> Found:
        problem, outlines = beams.problem, self._outlines(beams)
        progress.part(0.0, 0.25)
        limits = self._limits_mm(beams)
        shapes = arc_apertures(problem, outlines, limits, lambda share, value: progress.share(share))
        mu = np.concatenate([interval_mu(np.array([s.mu for s in shapes[p.first : p.stop]])) for p in self._paths])
        progress.part(0.25, 1.0)
        return self._finished(beams, Found(tuple(shapes), mu), max(6, self._parameters.max_iterations // 3), progress)

    def improve(self, beams: Beams, found: Found, progress: Progress) -> Found:
        return self._finished(beams, found, max(6, self._parameters.max_iterations // 6), progress)

    def _finished(self, beams: Beams, found: Found, iterations: int, progress: Progress) -> Found:
        problem, outlines, parts = beams.problem, self._outlines(beams), self._parts()
        limits_mm = self._limits_mm(beams)
        # cumulative MU are rounded
        least = self._finer * (problem.head.machine.mu_per_control_point + 2e-4)
        limits = Limits.within(outlines, problem.head.machine.mlc.gap_min_mm, least)
        shapes, mu = list(found.shapes), np.maximum(found.mu, least)
        done = len(progress.trace)

        def report(value: float, by_name: object) -> None:
            progress.iteration(value, by_name)  # type: ignore[arg-type]
            progress.share((len(progress.trace) - done) / iterations)

        for weight, share in _TRAVEL_WEIGHTS:
            travel = Travel(limits_mm, weight)
            count = math.ceil(share * iterations)
            shapes, mu = refined(problem, shapes, mu, parts, limits, count, report, travel)
        leaves = within_travel(np.stack([s.aperture.leaves_mm for s in shapes]), limits_mm)
        shapes = [
            replace(s, aperture=replace(s.aperture, leaves_mm=one)) for s, one in zip(shapes, leaves, strict=True)
        ]
        doses = parts.T.astype(np.float32) @ problem.each_gy(shapes)
        mu, _ = problem.solve_mu(doses, mu, least, 20)
        return Found(tuple(with_mu(shapes, parts @ mu)), mu)

    def _outlines(self, beams: Beams) -> list[Aperture]:
        """With the jaws of each arc around all that it shows."""
        found: list[Aperture] = []
        for path in self._paths:
            of_arc = beams.outlines[path.first : path.stop]
            x = min(o.x_mm[0] for o in of_arc), max(o.x_mm[1] for o in of_arc)
            y = min(o.y_mm[0] for o in of_arc), max(o.y_mm[1] for o in of_arc)
            found += [replace(o, x_mm=x, y_mm=y) for o in of_arc]
        return found

    def _limits_mm(self, beams: Beams) -> FloatArray:
        """By which leaves may move from one direction to the next; any way between two arcs."""
        file = beams.problem.head.machine
        found: list[float] = []
        for path in self._paths:
            if found:
                found.append(_APART_MM)
            limits = travel_limits_mm(path.gantry_deg, file.gantry.speed_deg_s, file.mlc.speed_mm_s)
            found += list(limits - _LEAF_DIGIT_MM)
        return np.array(found)

    def _parts(self) -> FloatArray:
        parts = np.zeros((len(self.directions), len(self.directions) - len(self._paths)))
        for number, path in enumerate(self._paths):
            columns = slice(path.first - number, path.stop - number - 1)
            parts[path.first : path.stop, columns] = interval_parts(len(path.gantry_deg))
        return parts

    def beams(self, setup: Setup, found: Found, factor: float) -> tuple[PhotonBeam, ...]:
        made = []
        for number, path in enumerate(self._paths):
            shapes = found.shapes[path.first : path.stop]
            mu = found.mu[path.first - number : path.stop - number - 1] * factor
            points = _control_points(setup, shapes, path.gantry_deg, mu, self._finer)
            asked = path.asked
            turn = Rotation.CLOCKWISE if asked.direction == "clockwise" else Rotation.COUNTER_CLOCKWISE
            name = asked.name or f"A{number + 1}"
            made.append(
                PhotonBeam(
                    *(number + 1, name, asked.start_deg, asked.couch_deg, setup.isocenter_mm, asked.collimator_deg),
                    *(setup.energy.nominal_mv, FluenceMode(setup.job.parameters.fluence), turn),
                    *(points, np.asarray(setup.machine.file.mlc.boundaries_mm)),
                )
            )
        return tuple(made)


def _control_points(
    setup: Setup, shapes: Sequence[Shape], gantry_deg: FloatArray, mu: FloatArray, finer: int
) -> tuple[ControlPoint, ...]:
    """Control points of an arc: at each aperture, and evenly between them, on the way that leaves and gantry take."""
    points = []
    total = 0.0
    for i in range(len(mu)):
        here, there = shapes[i].aperture, shapes[i + 1].aperture
        for step in range(finer):
            share = step / finer
            between = replace(here, leaves_mm=(1 - share) * here.leaves_mm + share * there.leaves_mm)
            gantry = float((1 - share) * gantry_deg[i] + share * gantry_deg[i + 1])
            points.append(control_point(between, gantry, total + share * float(mu[i]), setup))
        total += float(mu[i])
    points.append(control_point(shapes[-1].aperture, float(gantry_deg[-1]), total, setup))
    return tuple(points)
