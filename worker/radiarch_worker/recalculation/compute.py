"""The dose of a plan that was read, by Monte Carlo on the CT; reading it lives in `ion_plan`, comparing elsewhere."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.states import Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription, RecalculationParameters
from scipy import ndimage

from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare.dose import FIRST_PARTS
from radiarch_worker.engines.mcsquare.installation import file_sha256, find_installation
from radiarch_worker.evaluation import ReadDose
from radiarch_worker.evaluation.comparison import HIGH_DOSE, body_on, known_on, resampled
from radiarch_worker.model import BoolVolume, Dose, Grid, Patient, PlanResult, Reporter
from radiarch_worker.planning.geometry import ScoringLattice, sample_mask
from radiarch_worker.planning.proton.let import ScoredLet, extras_of, score_let
from radiarch_worker.planning.proton.steps import RBE, noise_notes

from .beam_data import check_energies, with_known_shifters, with_the_plans_source, with_the_plans_spots
from .belongs import check_belongs, check_position
from .ion_plan import ReadIonPlan
from .meterset import Source, machine_scale, meterset_scale, scale_source
from .recomputed import Recomputed

_LEAST_PARTS = 4
"""Of each beam, so that the spread between parts gives the uncertainty."""
_PILOT_PRIMARIES = 80_000
"""Protons to find the high dose, where neither target nor reference shows it."""


def recompute(
    plan: ReadIonPlan,
    reference: ReadDose | None,
    patient: Patient,
    prescription: Prescription | None,
    parameters: RecalculationParameters,
    structures: Mapping[str, StructureRef],
    reporter: Reporter,
    job_dir: Path,
    threads: int,
) -> Recomputed:
    """Dose of a plan that was read, total over all fractions, RBE-weighted.

    Parameters
    ----------
    reference
        The plan's own dose, RBE-weighted, if there is one; a scale is derived from it where the plan is of another
        machine model.

    Raises
    ------
    InputRefusedError
        Plan, dose and CT do not belong together, or the plan cannot be computed with this machine.
    EngineError
    """
    check_belongs(plan, reference, patient)
    ready = _prepare(plan, reference, patient, parameters, reporter, job_dir, threads)
    reporter.stage(Stage.FINAL_DOSE)
    began = time.monotonic()
    region = _uncertainty_region(ready.plan, reference, patient, prescription, structures, ready.grid)
    scored = _score(ready, patient, region, parameters)
    body = ndimage.binary_dilation(body_on(patient, ready.grid), iterations=1)
    # Dose to the air around the patient is noise of a few protons in almost no mass.
    whole = np.float32(RBE * ready.plan.fractions)
    dose_gy = np.where(body, scored.result.dose_gy * whole, np.float32(0.0))
    scale, note = meterset_scale(
        *(ready.source, dose_gy, ready.grid, reference, patient, parameters),
        *(ready.plan, ready.machine.name, "protons per MU"),
    )
    dose_gy = np.ascontiguousarray(dose_gy * np.float32(scale), dtype=np.float32)
    beams_gy = tuple(np.where(body, b * (whole * np.float32(scale)), np.float32(0.0)) for b in scored.result.beams_gy)
    derived = ready.source == "reference"
    return Recomputed(
        plan=PlanResult(
            beams=ready.plan.beams,
            dose=Dose(dose_gy, ready.grid, RBE),
            uncertainty_percent=scored.result.uncertainty_percent,
            machine=ready.machine.described,
            provenance=_provenance(ready, scored, parameters, scale),
            notes=_notes(ready, scored, note),
            extras=extras_of(scored.let),
            timings_s={"final_dose": time.monotonic() - began, "engine": scored.engine_s},
        ),
        beams_gy=beams_gy,
        scale=scale,
        source=ready.source,
        machine_scale=machine_scale(scale, ready.plan, ready.machine.sha256, ready.calibration) if derived else None,
        uncertainty_in=scored.where,
        unconfirmed=tuple(
            f"{what} {data.name}"
            for what, data in (("CT calibration", ready.calibration), ("beam data", ready.machine))
            if data.confirmation is None
        ),
    )


@dataclass(frozen=True)
class _Ready:
    """What is known before the engine runs.

    Attributes
    ----------
    plan : with range shifters as the beam data have them
    machine : with the plan's spots and virtual sources, where those count
    source : where protons per MU come from
    """

    plan: ReadIonPlan
    machine: mcsquare.ProtonMachine
    calibration: mcsquare.Calibration
    ct: mcsquare.EngineCt
    grid: Grid
    run: mcsquare.RunSettings
    source: Source
    position_note: tuple[str, ...]
    data_notes: tuple[str, ...]

    @property
    def spots(self) -> mcsquare.SpotPlan:
        return _spot_plan(self.plan)

    @property
    def weights_mu(self) -> npt.NDArray[np.float64]:
        """(spots,) for one fraction."""
        return np.concatenate([layer.meterset_mu for beam in self.plan.beams for layer in beam.layers])


def _prepare(
    plan: ReadIonPlan,
    reference: ReadDose | None,
    patient: Patient,
    parameters: RecalculationParameters,
    reporter: Reporter,
    job_dir: Path,
    threads: int,
) -> _Ready:
    position_note = check_position(plan, patient)
    reporter.stage(Stage.BUILDING_PLAN, "reading the plan")
    machine = mcsquare.load_machine(parameters.machine)
    calibration = mcsquare.calibration_for(parameters.ct_calibration, patient.ct)
    source = scale_source(plan, reference, machine, parameters)
    check_energies(plan, machine)
    plan = with_known_shifters(plan, machine)
    machine, spot_note = with_the_plans_spots(plan, machine, parameters)
    machine, source_note = with_the_plans_source(plan, machine)
    lattice = ScoringLattice.of(patient.ct.grid, parameters.scoring_spacing_mm, patient.body.mask)
    grid = lattice.grid(patient.body.mask)
    ct = mcsquare.prepare_ct(patient.ct, patient.body, calibration, cover=grid)
    job_dir.mkdir(parents=True, exist_ok=True)
    run = mcsquare.RunSettings(machine, calibration, parameters.seed, threads, job_dir, reporter)
    ready = _Ready(
        *(plan, machine, calibration, ct, grid, run, source), position_note, data_notes=(*spot_note, *source_note)
    )
    reporter.log(
        f"plan of {plan.manufacturer or 'an unnamed maker'}: {len(plan.beams)} beams, {ready.spots.spot_count} spots, "
        f"{ready.weights_mu.sum():.1f} MU in each of {plan.fractions} fractions"
    )
    return ready


@dataclass(frozen=True)
class _Scored:
    """What the engine computed.

    Attributes
    ----------
    where : the uncertainty was measured
    """

    result: mcsquare.DoseResult
    let: ScoredLet | None
    where: str
    engine_s: float


def _score(
    ready: _Ready, patient: Patient, region: tuple[BoolVolume | None, str], parameters: RecalculationParameters
) -> _Scored:
    judged, where = region
    spots, weights = ready.spots, ready.weights_mu
    engine_s = 0.0
    if judged is not None:
        asked = parameters.uncertainty_percent, parameters.final_primaries
        protons = mcsquare.expected_protons(int(np.count_nonzero(judged)), *asked)
        ready.run.reporter.expect({Stage.FINAL_DOSE: protons / 1e6})
    else:
        judged, where, engine_s = _high_dose(ready, patient)
    result = mcsquare.compute_dose(
        ready.ct,
        spots,
        weights,
        ready.grid,
        judged,
        ready.run,
        uncertainty_percent=parameters.uncertainty_percent,
        primaries=parameters.final_primaries,
        min_parts=max(_LEAST_PARTS, math.ceil(FIRST_PARTS / len(ready.plan.beams))),
        each_beam=True,
    )
    let = None
    if parameters.let:
        let = score_let(ready.ct, spots, weights, ready.grid, judged, ready.run, result.primaries)
    engine_s += result.engine_s + (0.0 if let is None else let.engine_s)
    return _Scored(result, let, where, engine_s)


def _high_dose(ready: _Ready, patient: Patient) -> tuple[BoolVolume, str, float]:
    """Where the dose is high, by a few protons, and the engine's seconds."""
    pilot = mcsquare.compute_dose(
        ready.ct,
        ready.spots,
        ready.weights_mu,
        ready.grid,
        body_on(patient, ready.grid),
        dataclasses.replace(ready.run, job_dir=_folder(ready.run.job_dir, "pilot")),
        uncertainty_percent=100.0,
        primaries=_PILOT_PRIMARIES,
    )
    smooth = ndimage.uniform_filter(np.where(body_on(patient, ready.grid), pilot.dose_gy, np.float32(0)), 3)
    return smooth >= HIGH_DOSE * smooth.max(), "voxels with at least half of the maximum", pilot.engine_s


def _provenance(ready: _Ready, scored: _Scored, parameters: RecalculationParameters, scale: float) -> dict[str, Any]:
    installation, result, plan = find_installation(), scored.result, ready.plan
    return {
        "patient_position": ready.ct.patient_position.value,
        "engine": "MCsquare",
        "engine_version": installation.version,
        "engine_sha256": file_sha256(installation.binary),
        "machine": ready.machine.provenance,
        "ct_calibration": ready.calibration.provenance,
        "rbe": RBE,
        "dose_to": "water",
        "seed": parameters.seed,
        "final_primaries": result.primaries,
        "final_parts": result.parts,
        "uncertainty_percent": result.uncertainty_percent,
        "uncertainty_in": scored.where,
        "dose_grid_mm": list(ready.grid.spacing_mm),
        "spot_size": parameters.spot_size,
        "meterset_scale": scale,
        "meterset_scale_source": ready.source,
        "recalculated_plan": {
            "sop_instance_uid": plan.sop_instance_uid,
            "label": plan.label,
            "manufacturer": plan.manufacturer,
            "machines": sorted({m.text for m in plan.machines}),
            "fractions": plan.fractions,
        },
        **({} if scored.let is None else scored.let.provenance),
    }


def _notes(ready: _Ready, scored: _Scored, scale_note: str) -> tuple[str, ...]:
    plan = ready.plan
    return (
        f"Plan {plan.label!r} of {plan.manufacturer or 'an unnamed maker'} was recalculated; nothing was planned.",
        *noise_notes(scored.result.uncertainty_percent),
        *plan.notes,
        *ready.position_note,
        *ready.machine.notes,
        *ready.ct.notes,
        scale_note,
        *ready.data_notes,
        f"The dose is RBE-weighted (factor {RBE:g}).",
        *(() if scored.let is None else (scored.let.note,)),
    )


def _uncertainty_region(
    plan: ReadIonPlan,
    reference: ReadDose | None,
    patient: Patient,
    prescription: Prescription | None,
    structures: Mapping[str, StructureRef],
    grid: Grid,
) -> tuple[BoolVolume | None, str]:
    """Where the statistical uncertainty is measured: the target, else the high dose of the reference, else None."""
    numbers = list(plan.targets)
    if prescription is not None and prescription.target in structures:
        numbers.insert(0, structures[prescription.target].roi_number)
    for number in numbers:
        if number in patient.structures:
            found = sample_mask(patient.structures[number].mask, patient.ct.grid, grid)
            if found.any():
                return found, f"structure {patient.structures[number].name}"
    if reference is not None:
        known = body_on(patient, grid) & known_on(grid, reference.grid)
        at = resampled(reference.dose_gy, reference.grid, grid)
        high: BoolVolume = known & (at >= HIGH_DOSE * at[known].max(initial=0.0)) & (at > 0)
        if high.any():
            return high, "voxels with at least half of the RTDOSE's maximum"
    return None, ""


def _spot_plan(plan: ReadIonPlan) -> mcsquare.SpotPlan:
    return mcsquare.SpotPlan(
        tuple(
            mcsquare.PlannedBeam(
                beam.gantry_deg,
                beam.couch_deg,
                beam.isocenter_mm,
                tuple(mcsquare.PlannedLayer(x.energy_mev, _plain(x.x_mm), _plain(x.y_mm)) for x in beam.layers),
                beam.name,
                beam.range_shifter,
            )
            for beam in plan.beams
        )
    )


def _plain(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir(exist_ok=True)
    return folder
