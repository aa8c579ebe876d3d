"""The dose of a plan that was read, by Monte Carlo on the CT; reading it lives in `ion_plan`, comparing elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import MachineScale
from radiarch_contract.states import Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription, RecalculationParameters
from scipy import ndimage

from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare.dose import FIRST_PARTS
from radiarch_worker.engines.mcsquare.installation import file_sha256, find_installation
from radiarch_worker.evaluation import ReadDose
from radiarch_worker.evaluation.comparison import HIGH_DOSE, body_on, known_on, resampled
from radiarch_worker.model import BoolVolume, Dose, FloatVolume, Grid, Patient, PlanResult, Reporter
from radiarch_worker.planning.geometry import ScoringLattice, sample_mask
from radiarch_worker.planning.proton.let import extras_of, score_let
from radiarch_worker.planning.proton.steps import RBE, noise_notes

from .beam_data import check_energies, with_known_shifters, with_the_plans_source, with_the_plans_spots
from .ion_plan import ReadPlan
from .meterset import Source, meterset_scale, scale_source

_LEAST_PARTS = 4
"""Of each beam, so that the spread between parts gives the uncertainty."""
_PILOT_PRIMARIES = 80_000
"""Protons to find the high dose, where neither target nor reference shows it."""


@dataclass(frozen=True)
class Recomputed:
    """A plan computed anew.

    Attributes
    ----------
    plan : beams as read, and the computed dose, scaled
    beams_gy : (Z, Y, X) of each beam, on the dose's grid; they sum to the dose
    scale : factor on the meterset: protons per MU of the plan's machine over those of the beam data
    source : where the factor comes from
    machine_scale : the factor as a property of the plan's machine, where it was derived
    uncertainty_in : where the statistical uncertainty was measured
    unconfirmed : data that the site has not confirmed
    """

    plan: PlanResult
    beams_gy: tuple[FloatVolume, ...]
    scale: float
    source: Source
    machine_scale: MachineScale | None
    uncertainty_in: str
    unconfirmed: tuple[str, ...]


def recompute(
    plan: ReadPlan,
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
    _check_belongs(plan, reference, patient)
    position_note = _check_position(plan, patient)
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
    spots = _spot_plan(plan)
    weights = np.concatenate([layer.meterset_mu for beam in plan.beams for layer in beam.layers])
    reporter.log(
        f"plan of {plan.manufacturer or 'an unnamed maker'}: {len(plan.beams)} beams, {spots.spot_count} spots, "
        f"{weights.sum():.1f} MU in each of {plan.fractions} fractions"
    )
    reporter.stage(Stage.FINAL_DOSE)
    began = time.monotonic()
    judged, where = _uncertainty_region(plan, reference, patient, prescription, structures, grid)
    engine_s = 0.0
    if judged is not None:
        asked = parameters.uncertainty_percent, parameters.final_primaries
        protons = mcsquare.expected_protons(int(np.count_nonzero(judged)), *asked)
        reporter.expect({Stage.FINAL_DOSE: protons / 1e6})
    else:
        pilot = mcsquare.compute_dose(
            ct,
            spots,
            weights,
            grid,
            body_on(patient, grid),
            dataclasses.replace(run, job_dir=_folder(job_dir, "pilot")),
            uncertainty_percent=100.0,
            primaries=_PILOT_PRIMARIES,
        )
        engine_s += pilot.engine_s
        smooth = ndimage.uniform_filter(np.where(body_on(patient, grid), pilot.dose_gy, np.float32(0)), 3)
        judged, where = smooth >= HIGH_DOSE * smooth.max(), "voxels with at least half of the maximum"
    result = mcsquare.compute_dose(
        ct,
        spots,
        weights,
        grid,
        judged,
        run,
        uncertainty_percent=parameters.uncertainty_percent,
        primaries=parameters.final_primaries,
        min_parts=max(_LEAST_PARTS, math.ceil(FIRST_PARTS / len(plan.beams))),
        each_beam=True,
    )
    engine_s += result.engine_s
    let = score_let(ct, spots, weights, grid, judged, run, result.primaries) if parameters.let else None
    engine_s += 0.0 if let is None else let.engine_s
    body = ndimage.binary_dilation(body_on(patient, grid), iterations=1)
    # Dose to the air around the patient is noise of a few protons in almost no mass.
    whole = np.float32(RBE * plan.fractions)
    dose_gy = np.where(body, result.dose_gy * whole, np.float32(0.0))
    scale, note = meterset_scale(source, dose_gy, grid, reference, patient, parameters, plan, machine)
    dose_gy = np.ascontiguousarray(dose_gy * np.float32(scale), dtype=np.float32)
    installation = find_installation()
    return Recomputed(
        plan=PlanResult(
            beams=plan.beams,
            dose=Dose(dose_gy, grid, RBE),
            uncertainty_percent=result.uncertainty_percent,
            machine=machine.described,
            provenance={
                "patient_position": ct.patient_position.value,
                "engine": "MCsquare",
                "engine_version": installation.version,
                "engine_sha256": file_sha256(installation.binary),
                "machine": machine.provenance,
                "ct_calibration": calibration.provenance,
                "rbe": RBE,
                "dose_to": "water",
                "seed": parameters.seed,
                "final_primaries": result.primaries,
                "final_parts": result.parts,
                "uncertainty_percent": result.uncertainty_percent,
                "uncertainty_in": where,
                "dose_grid_mm": list(grid.spacing_mm),
                "spot_size": parameters.spot_size,
                "meterset_scale": scale,
                "meterset_scale_source": source,
                "recalculated_plan": {
                    "sop_instance_uid": plan.sop_instance_uid,
                    "label": plan.label,
                    "manufacturer": plan.manufacturer,
                    "machines": sorted({m.text for m in plan.machines}),
                    "fractions": plan.fractions,
                },
                **({} if let is None else let.provenance),
            },
            notes=(
                f"Plan {plan.label!r} of {plan.manufacturer or 'an unnamed maker'} was computed anew: nothing was "
                "planned.",
                *noise_notes(result.uncertainty_percent),
                *plan.notes,
                *position_note,
                *machine.notes,
                *ct.notes,
                note,
                *spot_note,
                *source_note,
                f"The dose is RBE-weighted (factor {RBE:g}).",
                *(() if let is None else (let.note,)),
            ),
            extras=extras_of(let),
            timings_s={"final_dose": time.monotonic() - began, "engine": engine_s},
        ),
        beams_gy=tuple(np.where(body, beam * (whole * np.float32(scale)), np.float32(0.0)) for beam in result.beams_gy),
        scale=scale,
        source=source,
        machine_scale=_machine_scale(scale, plan, machine, calibration) if source == "reference" else None,
        uncertainty_in=where,
        unconfirmed=tuple(
            f"{what} {data.name}"
            for what, data in (("CT calibration", calibration), ("beam data", machine))
            if data.confirmation is None
        ),
    )


def _machine_scale(
    scale: float, plan: ReadPlan, machine: mcsquare.ProtonMachine, calibration: mcsquare.Calibration
) -> MachineScale:
    """A derived factor as a property of the plan's machine."""
    names = sorted({" | ".join((m.name, m.manufacturer, m.model)) for m in plan.machines})
    files = json.dumps(sorted(calibration.sha256.items())).encode()
    return MachineScale(
        machine=" + ".join(names)[:400],
        machine_sha256=machine.sha256,
        calibration_sha256=hashlib.sha256(files).hexdigest(),
        scale=scale,
    )


def _check_belongs(plan: ReadPlan, reference: ReadDose | None, patient: Patient) -> None:
    """Refuse a plan that is not in the CT's frame, and a dose that is not the plan's."""
    frame = patient.ct.frame_of_reference_uid
    if plan.frame_of_reference_uid not in ("", frame):
        raise InputRefusedError(
            f"the plan is in frame of reference {plan.frame_of_reference_uid}, CT and structures are in {frame}",
            remedy="Name the structure set of the CT that the plan was made on.",
            code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
        )
    if not plan.frame_of_reference_uid and patient.rtstruct_sop_instance_uid not in plan.structure_sets:
        raise InputRefusedError(
            "the plan names neither a frame of reference nor this structure set: whether its isocenter is in this CT "
            "is not known",
            remedy="Export the plan with its references.",
            code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
        )
    if reference is None:
        return
    named = {uid for _, uid in reference.referenced_plans}
    if named != {plan.sop_instance_uid}:
        raise InputRefusedError(
            f"the RTDOSE is of plan {', '.join(sorted(named))[:200] or '(none named)'}, "
            f"expected {plan.sop_instance_uid}",
            remedy="Name the dose of this very plan, or none; any two doses are compared by an evaluation.",
            code=ErrorCode.UNSUPPORTED_DOSE,
        )
    if reference.summation != "PLAN":
        raise InputRefusedError(
            f"the RTDOSE has Dose Summation Type {reference.summation}, expected PLAN: the plan is computed whole",
            remedy="Export the dose of the whole plan.",
            code=ErrorCode.UNSUPPORTED_DOSE,
        )


def _check_position(plan: ReadPlan, patient: Patient) -> tuple[str, ...]:
    """Refuse a plan for a patient who lies otherwise than on the CT; what is to be said where it does not say how."""
    position = patient.ct.patient_position
    if plan.patient_position is None:
        return (
            "The plan does not say how the patient lies ((300A,0180) Patient Setup Sequence has no Patient Position): "
            f"it was computed as on the CT, {position}.",
        )
    if plan.patient_position is not position:
        raise InputRefusedError(
            f"the plan's (0018,5100) Patient Position is {plan.patient_position}, the CT's is {position}: beams would "
            "enter another side of the patient",
            remedy="Name the plan of this CT, or correct the position where it is wrong.",
            code=ErrorCode.UNSUPPORTED_PATIENT_POSITION,
            plan=plan.patient_position.value,
            ct=position.value,
        )
    return ()


def _uncertainty_region(
    plan: ReadPlan,
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


def _spot_plan(plan: ReadPlan) -> mcsquare.SpotPlan:
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
