"""The steps that proton workflows share: setting up, beamlets, meterset, final dose, result; objectives are theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.robustness import Robustness
from radiarch_contract.states import Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription, ProtonParameters
from scipy import ndimage

from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.engines.mcsquare.installation import file_sha256, find_installation
from radiarch_worker.ion import IonBeam, Layer
from radiarch_worker.model import BoolVolume, Dose, Grid, Patient, PlanResult, Reporter, Structure
from radiarch_worker.optimization import DoseTerm, Minimized, Problem, Solution, column_norms, make_problem, optimize
from radiarch_worker.patient.body import known_extent_mm
from radiarch_worker.planning import normalize
from radiarch_worker.planning.clock import Clock
from radiarch_worker.planning.geometry import ScoringLattice, center_of_mass_mm, sample_mask
from radiarch_worker.planning.preview import report_preview
from radiarch_worker.planning.sharing import PartOfStage
from radiarch_worker.planning.structures import require_target, united
from radiarch_worker.planning.targets import require_dose_voxels

from .let import SHARE as LET_SHARE
from .let import ScoredLet, extras_of, score_let
from .placement import Placement, PlacementSettings, place_spots

RBE = 1.1
"""Constant relative biological effectiveness of protons (ICRU 78); in the reported dose once."""
JUDGED_PERCENT = 2.0
"""Statistical uncertainty, 1 sigma, above which a dose is too noisy to judge a plan by."""
_LEAST_REACH = 0.05
"""Lower limit of a spot's reach, relative to the largest; 0.02 and 0.2 give the same."""
_MU_DECIMALS = 5
_NORMALIZATION_ROUNDS = 4


@dataclass(frozen=True)
class ProtonJob:
    """One plan to be made."""

    patient: Patient
    prescription: Prescription
    parameters: ProtonParameters
    structures: Mapping[str, StructureRef]
    reporter: Reporter
    job_dir: Path
    threads: int
    cache: ArrayCache | None = None
    goals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What is known before the engine runs.

    Attributes
    ----------
    targets : in the prescription's order
    target : all of them together; spots are placed on it, and the dose's uncertainty is measured in it
    """

    job: ProtonJob
    machine: mcsquare.ProtonMachine
    calibration: mcsquare.Calibration
    ct: mcsquare.EngineCt
    targets: tuple[Structure, ...]
    target: Structure
    lattice: ScoringLattice
    dose_grid: Grid
    placement: Placement
    run: mcsquare.RunSettings
    spot_mu_min: float
    clock: Clock

    @property
    def plan(self) -> mcsquare.SpotPlan:
        return self.placement.plan

    @property
    def gy_per_unit(self) -> float:
        """From physical Gy of one fraction to the reported dose; the one place where RBE and fractions enter."""
        return RBE * self.job.prescription.fractions

    def on(self, mask: BoolVolume, grid: Grid) -> BoolVolume:
        """A structure's mask on a dose grid."""
        return sample_mask(mask, self.job.patient.ct.grid, grid)


def set_up(job: ProtonJob) -> Setup:
    """Machine, CT for the engine, dose grid and spots.

    Raises
    ------
    InputRefusedError, InvalidRequestError, EngineError
    """
    clock = Clock()
    parameters, patient = job.parameters, job.patient
    job.reporter.stage(Stage.BUILDING_PLAN, "placing spots")
    with clock.stage(Stage.BUILDING_PLAN):
        machine = mcsquare.load_machine(parameters.machine)
        calibration = mcsquare.calibration_for(parameters.ct_calibration, patient.ct)
        job.reporter.progress(0.2)
        targets = tuple(require_target(patient, job.structures, t.target) for t in job.prescription.targets)
        target = united(targets)
        lattice = ScoringLattice.of(patient.ct.grid, parameters.scoring_spacing_mm, patient.body.mask)
        dose_grid = lattice.grid(patient.body.mask)
        require_dose_voxels(targets, patient.ct.grid, dose_grid, patient.body.mask)
        ct = mcsquare.prepare_ct(patient.ct, patient.body, calibration, cover=dose_grid)
        job.reporter.progress(0.4)
        placement = place_spots(
            ct,
            patient.body.mask,
            target.mask,
            patient.ct.grid,
            parameters.planned_beams,
            parameters.isocenter_mm or center_of_mass_mm(target.mask, patient.ct.grid),
            PlacementSettings(parameters.spot_spacing_mm, parameters.layer_spacing_mm, parameters.target_margin_mm),
            machine,
            calibration,
            known_extent_mm(patient.ct, patient.body.mask),
        )
        job.reporter.log(_describe(placement))
    setup = Setup(
        job=job,
        machine=machine,
        calibration=calibration,
        ct=ct,
        targets=targets,
        target=target,
        lattice=lattice,
        dose_grid=dose_grid,
        placement=placement,
        run=mcsquare.RunSettings(
            machine, calibration, parameters.seed, job.threads, job.job_dir, job.reporter, cache=job.cache
        ),
        spot_mu_min=machine.limits.spot_mu_min if parameters.spot_mu_min is None else parameters.spot_mu_min,
        clock=clock,
    )
    job.reporter.expect(expected_work(setup))
    return setup


def expected_work(setup: Setup, *, scenarios: int = 1, scenario_percent: float | None = None) -> dict[Stage, float]:
    """Million protons of the engine's stages, with as many error scenarios beside the nominal one."""
    parameters = setup.job.parameters
    voxels = int(np.count_nonzero(setup.on(setup.target.mask, setup.dose_grid)))
    beamlets = setup.plan.spot_count * parameters.beamlet_primaries * scenarios
    final = mcsquare.expected_protons(voxels, parameters.uncertainty_percent, parameters.final_primaries)
    if parameters.let:
        final *= 1 + LET_SHARE
    if scenario_percent is not None:
        final += (scenarios - 1) * mcsquare.expected_protons(voxels, scenario_percent)
    return {Stage.COMPUTING_BEAMLETS: beamlets / 1e6, Stage.FINAL_DOSE: final / 1e6}


def _describe(placement: Placement) -> str:
    beams = (
        f"gantry {b.gantry_deg:g}°: {sum(len(x) for x in b.layers)} spots in {len(b.layers)} layers, "
        f"{b.layers[-1].energy_mev:.1f} to {b.layers[0].energy_mev:.1f} MeV"
        for b in placement.plan.beams
    )
    return f"{placement.plan.spot_count} spots; " + "; ".join(beams)


@dataclass(frozen=True)
class Beamlets:
    """Dose of each spot in all voxels of BODY and of the structures, on the plan's dose grid.

    They do not depend on objectives, so that other objectives find them in the cache.

    Attributes
    ----------
    row_of : (voxels of the dose grid,) row of each voxel, -1 where it has none
    """

    result: mcsquare.BeamletResult
    row_of: npt.NDArray[np.int64]

    @property
    def matrix(self) -> scipy.sparse.csc_matrix:
        """(rows, spots) physical Gy per MU."""
        return self.result.matrix

    def rows(self, mask: BoolVolume) -> npt.NDArray[np.intp]:
        """Rows of the voxels of a mask on the dose grid."""
        found = self.row_of[np.flatnonzero(mask)]
        return found[found >= 0].astype(np.intp)

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "beamlet_primaries": self.result.primaries,
            "beamlet_parts": self.result.parts,
        }


def reporting(setup: Setup, start: float, stop: float) -> Setup:
    """The setup whose engine runs report as a part of their stage."""
    return replace(setup, run=replace(setup.run, reporter=PartOfStage(setup.run.reporter, start, stop)))


def compute_beamlets(setup: Setup) -> Beamlets:
    """Beamlets of the plan's spots, computed or from the cache."""
    job = setup.job
    job.reporter.stage(Stage.COMPUTING_BEAMLETS, f"{setup.plan.spot_count} spots")
    with setup.clock.stage(Stage.COMPUTING_BEAMLETS):
        found = beamlets_of(setup, setup.plan, setup.run)
    result = found.result
    setup.clock.run["beamlets"] = "cached" if result.cached else "computed"
    if result.cached:
        job.reporter.expect({Stage.COMPUTING_BEAMLETS: 0.0})
    job.reporter.log(
        f"{result.matrix.nnz} values for {result.matrix.shape[0]} voxels and {result.matrix.shape[1]} spots, "
        + ("from the cache" if result.cached else f"computed in {result.engine_s:.0f} s")
    )
    return found


def beamlets_of(setup: Setup, plan: mcsquare.SpotPlan, run: mcsquare.RunSettings) -> Beamlets:
    """Beamlets of any spots in the voxels of the patient, with a run's machine and calibration."""
    job, grid = setup.job, setup.dose_grid
    wanted = setup.on(job.patient.body.mask, grid) | setup.on(setup.target.mask, grid)
    for structure in job.patient.structures.values():
        wanted |= setup.on(structure.mask, grid)
    result = mcsquare.compute_beamlets(setup.ct, plan, grid, wanted, job.parameters.beamlet_primaries, run)
    setup.clock.engine(result.engine_s)
    row_of = np.full(wanted.size, -1, dtype=np.int64)
    row_of[result.voxels] = np.arange(len(result.voxels))
    return Beamlets(result, row_of)


def find_meterset(
    setup: Setup, beamlets: Beamlets, terms: Sequence[DoseTerm], *, start: npt.NDArray[np.float64] | None = None
) -> Solution:
    """Meterset of each spot for one fraction; none is below the minimum MU of a spot.

    Parameters
    ----------
    start : (spots,) weights to begin with; None: the same for all, so that the target gets the prescribed mean
    """
    problem = make_problem(beamlets.matrix, setup.gy_per_unit, terms, setup.job.threads)
    return solve(setup, problem, beamlets, f"{len(terms)} objectives", start=start)


def solve(
    setup: Setup,
    problem: Minimized,
    beamlets: Beamlets,
    message: str,
    *,
    start: npt.NDArray[np.float64] | None = None,
) -> Solution:
    """`find_meterset` for any problem over the plan's spots; ``beamlets`` are the nominal ones."""
    parameters, reporter = setup.job.parameters, setup.job.reporter
    reporter.stage(Stage.OPTIMIZING, message)

    def report(iteration: int, objective: float, by_name: Mapping[str, float]) -> None:
        reporter.solver(iteration, objective, by_name)
        reporter.progress(min(1.0, iteration / parameters.max_iterations))

    with setup.clock.stage(Stage.OPTIMIZING):
        solution = optimize(
            problem,
            uniform_start(setup, beamlets) if start is None else start,
            least_weight=setup.spot_mu_min * (normalize.HEADROOM if parameters.normalization else 1.0),
            max_iterations=parameters.max_iterations,
            method=parameters.method,
            on_iteration=report,
            reach=reach(setup, beamlets),
        )
        dose = beamlet_dose(setup, beamlets, solution.weights)
        report_preview(reporter, setup.job.patient, dose, setup.job.structures)
        setup.clock.reached("to_preview")
    reporter.log(
        f"objective {solution.objective:.4g} after {solution.iterations} iterations; "
        f"{solution.removed} of {problem.spots} spots removed (less than {setup.spot_mu_min:g} MU)"
    )
    return solution


def reach(setup: Setup, beamlets: Beamlets) -> npt.NDArray[np.float64]:
    """(spots,) how much of each spot reaches the target, for `optimize`; at least `_LEAST_REACH` of the largest."""
    wanted = np.zeros(beamlets.matrix.shape[0], dtype=np.bool_)
    wanted[beamlets.rows(setup.on(setup.target.mask, setup.dose_grid))] = True
    norms = column_norms(beamlets.matrix, wanted)
    found: npt.NDArray[np.float64] = np.maximum(norms, _LEAST_REACH * norms.max())
    return found


def uniform_start(setup: Setup, beamlets: Beamlets) -> npt.NDArray[np.float64]:
    """Equal weights that give the target the prescribed mean dose."""
    spots = beamlets.matrix.shape[1]
    target_rows = beamlets.rows(setup.on(setup.target.mask, setup.dose_grid))
    dose_gy = Problem(beamlets.matrix, setup.gy_per_unit, (), threads=setup.job.threads).dose_gy(np.ones(spots))
    mean_gy = float(dose_gy[target_rows].mean(dtype=np.float64))
    return np.full(spots, setup.job.prescription.dose_gy / mean_gy)


def beamlet_dose(setup: Setup, beamlets: Beamlets, weights_mu: npt.NDArray[np.float64]) -> Dose:
    """Reported dose of a meterset from the beamlets: as noisy as they are."""
    rows = Problem(beamlets.matrix, setup.gy_per_unit, (), threads=setup.job.threads).dose_gy(weights_mu)
    dose_gy = np.zeros(setup.dose_grid.shape, dtype=np.float32)
    dose_gy.ravel()[beamlets.result.voxels] = rows
    return Dose(dose_gy, setup.dose_grid, RBE)


@dataclass(frozen=True)
class FinalDose:
    """A plan as it is delivered, with its dose.

    Attributes
    ----------
    weights_mu : (all spots,) for one fraction, 0 for spots that are not delivered
    plan, meterset_mu : the spots that are
    dose : as reported
    """

    weights_mu: npt.NDArray[np.float64]
    plan: mcsquare.SpotPlan
    meterset_mu: npt.NDArray[np.float64]
    result: mcsquare.DoseResult
    dose: Dose


def final_dose(
    setup: Setup,
    weights_mu: npt.NDArray[np.float64],
    *,
    uncertainty_percent: float | None = None,
    primaries: int | None = None,
) -> FinalDose:
    """Reported dose of a meterset over the whole BODY, to the uncertainty given, else the one requested."""
    job, grid = setup.job, setup.dose_grid
    keep = weights_mu > 0
    plan = setup.plan.select(keep)
    # Rounded, so that the plan as written in DICOM is the plan that was computed.
    meterset = np.round(weights_mu[keep], _MU_DECIMALS)
    result = mcsquare.compute_dose(
        setup.ct,
        plan,
        meterset,
        grid,
        setup.on(setup.target.mask, grid),
        setup.run,
        uncertainty_percent=uncertainty_percent or job.parameters.uncertainty_percent,
        primaries=job.parameters.final_primaries if uncertainty_percent is None else primaries,
    )
    setup.clock.engine(result.engine_s)
    return FinalDose(weights_mu, plan, meterset, result, reported_dose(setup, result))


def reported_dose(setup: Setup, result: mcsquare.DoseResult) -> Dose:
    """Dose over all fractions, RBE-weighted, of what the engine computed for one."""
    body = ndimage.binary_dilation(setup.on(setup.job.patient.body.mask, result.grid), iterations=1)
    # Dose to the air around the patient is noise of a few protons in almost no mass.
    dose_gy = np.where(body, result.dose_gy * np.float32(setup.gy_per_unit), np.float32(0.0))
    return Dose(np.ascontiguousarray(dose_gy, dtype=np.float32), result.grid, RBE)


def _normalized(setup: Setup, final: FinalDose, text: str) -> tuple[FinalDose, dict[str, Any], list[str]]:
    """Dose and meterset scaled to a normalization, with provenance and notes.

    Spots that would fall below the minimum MU of a spot are left out; the dose of the rest is then computed
    anew, since it is no longer the first one times a factor.
    """
    job = setup.job
    wanted = normalize.wanted(text, job.prescription)
    left_out = 0
    for _ in range(_NORMALIZATION_ROUNDS):
        by = normalize.factor(wanted, final.dose, job.patient, job.structures)
        low = (final.weights_mu > 0) & (final.weights_mu * by < setup.spot_mu_min - 0.5 * 10**-_MU_DECIMALS)
        if not low.any():
            break
        left_out += int(np.count_nonzero(low))
        final = final_dose(setup, np.where(low, 0.0, final.weights_mu * by))
    else:
        raise EngineError(
            f"normalization {wanted.normalization.text!r}: scaled down, ever more spots fall below "
            f"{setup.spot_mu_min:g} MU ({left_out} so far)",
            remedy="Lower the target's objectives to what is normalised to, or use wider spots.",
            code=ErrorCode.OPTIMIZATION_FAILED,
        )
    meterset = np.round(final.meterset_mu * by, _MU_DECIMALS)
    scaled = replace(
        final,
        weights_mu=final.weights_mu * by,
        meterset_mu=meterset,
        dose=replace(final.dose, dose_gy=final.dose.dose_gy * np.float32(by)),
    )
    scaling = [f"Dose and meterset were multiplied by {by:.4f}, so that {wanted.normalization.text}."]
    if left_out:
        scaling.append(
            f"{left_out} spots fell below {setup.spot_mu_min:g} MU by it and were left out; the dose was computed "
            "without them."
        )
    job.reporter.log(scaling[0])
    return scaled, {"normalization": wanted.normalization.text, "normalization_factor": by}, scaling


def finish(
    setup: Setup,
    weights_mu: npt.NDArray[np.float64],
    *,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
    solver_trace: Sequence[Mapping[str, Any]] = (),
) -> PlanResult:
    """Final dose of the meterset over the whole BODY, and the plan.

    Parameters
    ----------
    weights_mu : (spots,) for one fraction, 0 for spots that are not delivered
    """
    setup.job.reporter.stage(Stage.FINAL_DOSE)
    with setup.clock.stage(Stage.FINAL_DOSE):
        final, normalized, scaling = deliver(setup, weights_mu)
    return conclude(
        setup,
        final,
        provenance={**provenance, **normalized},
        notes=[*notes, *scaling],
        solver_trace=solver_trace,
    )


def deliver(setup: Setup, weights_mu: npt.NDArray[np.float64]) -> tuple[FinalDose, dict[str, Any], list[str]]:
    """Final dose of a meterset, normalised where that is asked for, with its provenance and notes."""
    if setup.job.parameters.let:
        setup = reporting(setup, 0.0, 1 / (1 + LET_SHARE))
    final = final_dose(setup, weights_mu)
    text = setup.job.parameters.normalization
    return (final, {}, []) if text is None else _normalized(setup, final, text)


def conclude(
    setup: Setup,
    final: FinalDose,
    *,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
    solver_trace: Sequence[Mapping[str, Any]] = (),
    robustness: Robustness | None = None,
) -> PlanResult:
    """The result of planning, with its notes and provenance."""
    job = setup.job
    plan, meterset, result = final.plan, final.meterset_mu, final.result
    all_notes = [*setup.machine.notes, *setup.ct.notes, *setup.placement.notes, *notes]
    let = _let(setup, final)
    if let is not None:
        all_notes.append(let.note)
    all_notes += noise_notes(result.uncertainty_percent)
    left = {beam.name for beam in plan.beams}
    all_notes += [
        f"Beam {b.name} has no spot left and is not in the plan." for b in setup.plan.beams if b.name not in left
    ]
    if result.uncertainty_percent > job.parameters.uncertainty_percent:
        all_notes.append(
            f"The dose's uncertainty is {result.uncertainty_percent:.2f} %: final_primaries was given, fewer than "
            f"{job.parameters.uncertainty_percent:g} % needs."
        )
    return PlanResult(
        beams=_ion_beams(plan, meterset, setup.machine),
        dose=final.dose,
        uncertainty_percent=result.uncertainty_percent,
        machine=setup.machine.described,
        provenance={**_provenance(setup, result), **provenance, **({} if let is None else let.provenance)},
        notes=tuple(all_notes),
        solver_trace=tuple(solver_trace),
        timings_s=dict(setup.clock.timings_s),
        run=dict(setup.clock.run),
        robustness=robustness,
        extras=extras_of(let),
    )


def noise_notes(uncertainty_percent: float) -> tuple[str, ...]:
    """A note where a dose of this statistical uncertainty, 1 sigma, is too noisy to judge a plan by."""
    if uncertainty_percent <= JUDGED_PERCENT:
        return ()
    return (
        f"Do not judge the plan by this dose: its statistical uncertainty is {uncertainty_percent:.1f} % (1 sigma), "
        f"more than {JUDGED_PERCENT:g} %. Noise lowers a target's minimum dose and raises its maximum; goals met or "
        f"missed by less than that mean nothing. Plan again with uncertainty_percent {JUDGED_PERCENT:g} or less.",
    )


def _let(setup: Setup, final: FinalDose) -> ScoredLet | None:
    """LET of the plan as delivered, where it is asked for."""
    if not setup.job.parameters.let:
        return None
    setup = reporting(setup, 1 / (1 + LET_SHARE), 1.0)
    with setup.clock.stage(Stage.FINAL_DOSE):
        target = setup.on(setup.target.mask, setup.dose_grid)
        scored = score_let(
            *(setup.ct, final.plan, final.meterset_mu, setup.dose_grid, target, setup.run), final.result.primaries
        )
    setup.clock.engine(scored.engine_s)
    return scored


def _ion_beams(
    plan: mcsquare.SpotPlan, meterset: npt.NDArray[np.float64], machine: mcsquare.ProtonMachine
) -> tuple[IonBeam, ...]:
    beams = []
    at = 0
    for number, beam in enumerate(plan.beams, start=1):
        layers = []
        for layer in beam.layers:
            mu = meterset[at : at + len(layer)]
            at += len(layer)
            size = machine.spot_fwhm_mm(layer.energy_mev)
            layers.append(Layer(layer.energy_mev, layer.x_mm, layer.y_mm, mu, size))
        geometry = (beam.gantry_deg, beam.couch_deg, beam.isocenter_mm)
        beams.append(IonBeam(number, beam.name, *geometry, tuple(layers), beam.range_shifter))
    return tuple(beams)


def _provenance(setup: Setup, dose: mcsquare.DoseResult) -> dict[str, Any]:
    parameters = setup.job.parameters
    installation = find_installation()
    return {
        "patient_position": setup.ct.patient_position.value,
        "engine": "MCsquare",
        "engine_version": installation.version,
        "engine_sha256": file_sha256(installation.binary),
        "machine": setup.machine.provenance,
        "ct_calibration": setup.calibration.provenance,
        "rbe": RBE,
        "dose_to": "water",
        "seed": parameters.seed,
        "final_primaries": dose.primaries,
        "final_parts": dose.parts,
        "uncertainty_percent": dose.uncertainty_percent,
        "spot_mu_min": setup.spot_mu_min,
        "dose_grid_mm": list(setup.dose_grid.spacing_mm),
    }
