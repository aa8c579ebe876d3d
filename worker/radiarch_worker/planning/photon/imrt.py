"""Step and shoot: apertures of beams that stand still."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.photon import PhotonImrtParameters

from radiarch_worker.machines.photon_machine import PhotonMachineFile
from radiarch_worker.model import PlanResult
from radiarch_worker.photon import ControlPoint, FluenceMode, PhotonBeam, Rotation

from .columns import open_pairs, static_apertures
from .conformal import jaws_x
from .leaves import Aperture
from .problem import ApertureProblem, Shape, with_mu
from .refine import Limits, refine
from .setup import Beams, Direction, PhotonJob, Setup
from .steps import Found, Progress, plan

_FIRST_MU = 0.3
"""Apertures with less after they were found are not refined."""


def plan_imrt(job: PhotonJob) -> PlanResult:
    """`photon-imrt`."""
    assert isinstance(job.parameters, PhotonImrtParameters)
    return plan(job, StepAndShoot(job.parameters))


class StepAndShoot:
    """Apertures that are irradiated one after the other."""

    def __init__(self, parameters: PhotonImrtParameters) -> None:
        self._parameters = parameters
        self.directions: Sequence[Direction] = tuple(
            Direction(b.gantry_deg, b.couch_deg, b.collimator_deg) for b in parameters.planned_beams
        )

    def begin(self, beams: Beams, progress: Progress) -> Found:
        parameters = self._parameters
        rounds = math.ceil(parameters.apertures / len(self.directions))
        progress.part(0.0, 0.3)
        shapes = static_apertures(
            *(beams.problem, beams.outlines, rounds, parameters.apertures),
            lambda share, value: progress.share(share),
        )
        iterations = max(4, parameters.max_iterations // 5)
        progress.part(0.3, 0.65)
        shapes = self._refined(beams, [s for s in shapes if s.mu > _FIRST_MU], 0.0, iterations, progress)
        progress.part(0.65, 1.0)
        return self._finished(beams, shapes, iterations, progress)

    def improve(self, beams: Beams, found: Found, progress: Progress) -> Found:
        return self._finished(beams, found.shapes, max(4, self._parameters.max_iterations // 6), progress)

    def _finished(self, beams: Beams, shapes: Sequence[Shape], iterations: int, progress: Progress) -> Found:
        """Without what is too small to be delivered, refined, behind jaws that follow the leaves."""
        least = self._parameters.aperture_mu_min
        kept = [s for s in shapes if s.mu >= least and self._large(beams.problem, s)]
        if not kept:
            raise EngineError(
                f"no aperture has {least:g} MU and {self._parameters.aperture_area_min_cm2:g} cm²",
                remedy="Ask for fewer apertures or beams, or lower aperture_mu_min or aperture_area_min_cm2.",
                code=ErrorCode.OPTIMIZATION_FAILED,
            )
        refined = self._refined(beams, kept, least, iterations, progress)
        refined = [s for s in refined if self._large(beams.problem, s)] or refined
        closed = [replace(s, aperture=behind_jaws(s.aperture, beams.problem)) for s in refined]
        mu = np.array([s.mu for s in closed])
        mu, _ = beams.problem.solve_mu(beams.problem.each_gy(closed), mu, least, 20)
        return Found(tuple(with_mu(closed, mu)), mu)

    def _refined(
        self, beams: Beams, shapes: Sequence[Shape], least: float, iterations: int, progress: Progress
    ) -> list[Shape]:
        outlines = [beams.outlines[s.view] for s in shapes]
        wide = [
            replace(s, aperture=replace(s.aperture, x_mm=o.x_mm, y_mm=o.y_mm))
            for s, o in zip(shapes, outlines, strict=True)
        ]
        limits = Limits.within(outlines, beams.problem.head.machine.mlc.gap_min_mm, least)
        done = len(progress.trace)

        def report(value: float, by_name: object) -> None:
            progress.iteration(value, by_name)  # type: ignore[arg-type]
            progress.share((len(progress.trace) - done) / iterations)

        return refine(beams.problem, wide, limits, iterations, report)

    def _large(self, problem: ApertureProblem, shape: Shape) -> bool:
        return open_area_cm2(shape.aperture, problem.head.machine) >= self._parameters.aperture_area_min_cm2

    def beams(self, setup: Setup, found: Found, factor: float) -> tuple[PhotonBeam, ...]:
        made: list[PhotonBeam] = []
        for view, asked in enumerate(self._parameters.planned_beams):
            shapes = [(s.aperture, s.mu * factor) for s in found.shapes if s.view == view]
            if not shapes:
                continue
            number = len(made) + 1
            points: list[ControlPoint] = []
            total = 0.0
            for aperture, mu in shapes:
                for _ in range(2):
                    points.append(control_point(aperture, asked.gantry_deg, total, setup))
                    total += mu if len(points) % 2 else 0.0
            name = asked.name or f"G{asked.gantry_deg:g}C{asked.couch_deg:g}"[:16]
            made.append(
                PhotonBeam(
                    *(number, name, asked.gantry_deg, asked.couch_deg, setup.isocenter_mm, asked.collimator_deg),
                    *(setup.energy.nominal_mv, FluenceMode(setup.job.parameters.fluence), Rotation.NONE),
                    *(tuple(points), np.asarray(setup.machine.file.mlc.boundaries_mm)),
                )
            )
        return tuple(made)


def control_point(aperture: Aperture, gantry_deg: float, mu: float, setup: Setup) -> ControlPoint:
    """An aperture as a control point; with jaws that the machine has."""
    file = setup.machine.file
    return ControlPoint(
        gantry_deg % 360.0,
        mu,
        aperture.leaves_mm,
        None if file.jaws_x is None else aperture.x_mm,
        None if file.jaws_y is None else aperture.y_mm,
        setup.energy.dose_rate_mu_min[1],
    )


def behind_jaws(aperture: Aperture, problem: ApertureProblem) -> Aperture:
    """Jaws as near to the open pairs as they may be."""
    head = problem.head
    pairs = np.flatnonzero(open_pairs(aperture, head.machine.mlc.gap_min_mm))
    if not len(pairs):
        return aperture
    sides = head.boundaries_mm
    low, high = max(aperture.y_mm[0], float(sides[pairs[0]])), min(aperture.y_mm[1], float(sides[pairs[-1] + 1]))
    return replace(aperture, x_mm=jaws_x(aperture.leaves_mm[:, pairs], head.machine), y_mm=(low, high))


def open_area_cm2(aperture: Aperture, machine: PhotonMachineFile) -> float:
    """Between the leaves and within the jaws, in the isocenter plane."""
    sides = np.asarray(machine.mlc.boundaries_mm)
    wide = np.clip(aperture.leaves_mm, *aperture.x_mm)
    high = np.clip(sides, *aperture.y_mm)
    return float((wide[1] - wide[0]) @ np.diff(high)) / 100
