"""From objectives to a plan whose reported dose is the collapsed cone's, of the beams as they are written.

The pencil beams by which apertures are optimised are corrected by the collapsed cone of the apertures that they lead
to, so that both agree where the plan ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from radiarch_contract import __version__
from radiarch_contract.states import Stage
from scipy import ndimage

from radiarch_worker.engines.collapsedcone import plan_dose
from radiarch_worker.model import Dose, PlanResult
from radiarch_worker.photon import Linac, PhotonBeam
from radiarch_worker.planning import normalize
from radiarch_worker.planning.objectives import objective_terms, require_objectives
from radiarch_worker.planning.preview import preview_dvh

from .problem import ApertureProblem, Shape
from .setup import Beams, Direction, GridRows, PhotonJob, Setup, look, set_up


@dataclass(frozen=True)
class Found:
    """Apertures that were optimised.

    Attributes
    ----------
    shapes : with the MU that each has in the pencil beams' dose
    mu : what the beams are made of: MU of each shape, or of each interval between two
    """

    shapes: tuple[Shape, ...]
    mu: npt.NDArray[np.float64]


class Delivery(Protocol):
    """How apertures are delivered: step and shoot, or along arcs."""

    directions: Sequence[Direction]

    def begin(self, beams: Beams, progress: Progress) -> Found:
        """The first apertures."""

    def improve(self, beams: Beams, found: Found, progress: Progress) -> Found:
        """From apertures to better ones, after the pencil beams were corrected."""

    def beams(self, setup: Setup, found: Found, factor: float) -> tuple[PhotonBeam, ...]:
        """Beams of apertures, with all MU times a factor."""


class Progress:
    """Reports what the optimiser does, and keeps the trace of it."""

    def __init__(self, setup: Setup) -> None:
        self._reporter = setup.job.reporter
        self.trace: list[Mapping[str, Any]] = []
        self._start, self._stop = 0.0, 1.0

    def part(self, start: float, stop: float) -> None:
        """What comes next is this part of the stage."""
        self._start, self._stop = start, stop

    def share(self, share: float) -> None:
        self._reporter.progress(self._start + min(1.0, share) * (self._stop - self._start))

    def iteration(self, objective: float, by_name: Mapping[str, float]) -> None:
        self.trace.append({"iteration": len(self.trace) + 1, "objective": objective, "terms": dict(by_name)})
        self._reporter.solver(len(self.trace), objective, by_name)


@dataclass(frozen=True)
class _Final:
    """A plan as it is written, with its dose.

    Attributes
    ----------
    objective : of the collapsed cone's dose
    """

    found: Found
    beams: tuple[PhotonBeam, ...]
    dose: Dose
    objective: float


def plan(job: PhotonJob, delivery: Delivery) -> PlanResult:
    """Optimise, compute the dose of what would be written, correct, and again; the best by the objectives' value."""
    setup = set_up(job)
    objectives = job.parameters.objectives
    require_objectives(setup, objectives)
    terms, notes = objective_terms(setup, GridRows(), objectives)
    beams = look(setup, delivery.directions, terms)
    progress = Progress(setup)
    job.reporter.stage(Stage.OPTIMIZING, f"{len(terms)} objectives, {len(beams.voxels)} voxels")
    with setup.clock.stage(Stage.OPTIMIZING):
        found = delivery.begin(beams, progress)
        _preview(setup, beams, found)
    rounds = job.parameters.correction_rounds
    job.reporter.stage(Stage.FINAL_DOSE)
    finals = [_final(setup, delivery, beams, found, (0.0, 1 / (1 + 1.3 * rounds)))]
    added = beams.problem.added_gy
    for number in range(rounds):
        at = [(1 + 1.3 * (number + part)) / (1 + 1.3 * rounds) for part in (0.0, 0.25, 1.0)]
        last = finals[-1]
        added = last.dose.dose_gy.ravel()[beams.voxels] - beams.problem.dose_gy(last.found.shapes)
        corrected = replace(beams, problem=replace(beams.problem, added_gy=added))
        job.reporter.log(_difference(corrected.problem, added))
        progress.part(at[0], at[1])
        with setup.clock.stage(Stage.OPTIMIZING):
            found = delivery.improve(corrected, last.found, progress)
        finals.append(_final(setup, delivery, beams, found, (at[1], at[2])))
    best = min(finals, key=lambda f: f.objective)
    left = best.dose.dose_gy.ravel()[beams.voxels] - beams.problem.dose_gy(best.found.shapes) - added
    return _conclude(setup, delivery, best, beams, progress, notes, _agreement(beams.problem, left))


def _preview(setup: Setup, beams: Beams, found: Found) -> None:
    """DVHs of the pencil beams, where objectives look."""
    dose_gy = np.full(setup.dose_grid.shape, 0.0, dtype=np.float32)
    dose_gy.ravel()[beams.voxels] = beams.problem.dose_gy(found.shapes)
    seen = np.zeros(setup.dose_grid.shape, dtype=np.bool_)
    seen.ravel()[beams.voxels] = True
    # what was not computed has the dose of the nearest voxel that was
    nearest = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    dose = Dose(dose_gy[tuple(nearest)], setup.dose_grid, 1.0)
    setup.job.reporter.preview(preview_dvh(setup.job.patient, dose, setup.job.structures))
    setup.clock.reached("to_preview")


def _final(
    setup: Setup, delivery: Delivery, beams: Beams, found: Found, part: tuple[float, float], factor: float = 1.0
) -> _Final:
    """The collapsed cone of the beams as they are written, over the whole patient."""
    job = setup.job
    written = tuple(b.as_written() for b in delivery.beams(setup, found, factor))
    with setup.clock.stage(Stage.FINAL_DOSE):
        one = plan_dose(
            *(setup.density, setup.dose_grid, written, job.patient.ct.patient_position, setup.machine, job.threads),
            progress=lambda share: job.reporter.progress(part[0] + share * (part[1] - part[0])),
        )
    dose_gy = one * np.float32(job.prescription.fractions)
    dose_gy[setup.density == 0] = 0.0
    value, _, _ = replace(beams.problem, added_gy=np.zeros(len(beams.voxels), dtype=np.float32)).penalties(
        dose_gy.ravel()[beams.voxels]
    )
    job.reporter.log(f"objective {value:.5g} by the collapsed cone; {sum(b.meterset_mu for b in written):.1f} MU")
    return _Final(found, written, Dose(dose_gy, setup.dose_grid, 1.0), value)


def _difference(problem: ApertureProblem, added: npt.NDArray[np.float32]) -> str:
    target = added[problem.terms[0].rows]
    return (
        f"in {problem.terms[0].name} the collapsed cone differs from the pencil beams by "
        f"{float(target.mean()):+.2f} Gy, standard deviation {float(target.std()):.2f} Gy: it is "
        "added to them"
    )


def _agreement(problem: ApertureProblem, left: npt.NDArray[np.float32]) -> dict[str, float]:
    """How far the corrected pencil beams are from the collapsed cone in the end, in the first objective's structure."""
    target = left[problem.terms[0].rows]
    return {"mean_gy": round(float(target.mean()), 4), "sd_gy": round(float(target.std()), 4)}


def _conclude(
    setup: Setup,
    delivery: Delivery,
    final: _Final,
    beams: Beams,
    progress: Progress,
    notes: Sequence[str],
    left: Mapping[str, float],
) -> PlanResult:
    said = [*setup.notes, *notes]
    provenance = _provenance(setup, len(progress.trace), final.objective, beams, left)
    text = setup.job.parameters.normalization
    if text is not None:
        by = normalize.factor(
            *(normalize.wanted(text, setup.job.prescription), final.dose, setup.job.patient, setup.job.structures)
        )
        written = tuple(b.as_written() for b in delivery.beams(setup, final.found, by))
        scaled = replace(final.dose, dose_gy=final.dose.dose_gy * np.float32(by))
        final = replace(final, beams=written, dose=scaled)
        said.append(f"Dose and meterset were multiplied by {by:.4f}, so that {text}.")
        provenance |= {"normalization": text, "normalization_factor": by}
    file = setup.machine.file
    axes = [name for name, jaws in (("X", file.jaws_x), ("Y", file.jaws_y)) if jaws is not None]
    return PlanResult(
        beams=final.beams,
        dose=final.dose,
        uncertainty_percent=None,
        machine=Linac(setup.machine.name, file.source_axis_distance_mm, file.mlc.boundaries_mm, tuple(axes)),
        provenance=provenance,
        notes=tuple(said),
        solver_trace=tuple(progress.trace),
        timings_s=dict(setup.clock.timings_s),
        run=dict(setup.clock.run),
    )


def _provenance(
    setup: Setup, iterations: int, objective: float, beams: Beams, left: Mapping[str, float]
) -> dict[str, Any]:
    parameters = setup.job.parameters
    kernels = beams.problem.beams.model.quality.kernels
    return {
        "patient_position": setup.job.patient.ct.patient_position.value,
        "engine": "collapsed cone",
        "engine_version": __version__,
        "kernels": {"source": kernels.source, "sha256": kernels.digest},
        "machine": {"name": setup.machine.name, "sha256": setup.machine.sha256, "generic": setup.machine.file.generic},
        "ct_calibration": setup.calibration.provenance,
        "energy_mv": parameters.energy_mv,
        "rbe": 1.0,
        "dose_to": "water",
        "seed": parameters.seed,
        "dose_grid_mm": list(setup.dose_grid.spacing_mm),
        "iterations": iterations,
        "objective": objective,
        "voxels_optimized": len(beams.voxels),
        "correction_left": dict(left),
    }
