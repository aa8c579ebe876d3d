"""The dose of photon plans that were read, by the collapsed cone on the CT; reading them lives in `photon_plan`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.states import Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription, RecalculationParameters

from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.collapsedcone.plan import FILE_MODES, plan_dose
from radiarch_worker.engines.photonkernels import point_kernels
from radiarch_worker.evaluation import ReadDose
from radiarch_worker.machines.deliverability import SMALL_CM2, delivery
from radiarch_worker.machines.photon_machine import PhotonMachine, photon_machine
from radiarch_worker.model import Dose, FloatVolume, Grid, Patient, PlanResult, Reporter
from radiarch_worker.photon import Linac
from radiarch_worker.planning.geometry import ScoringLattice
from radiarch_worker.planning.photon.density import patient_density

from .beam_item import unsupported
from .belongs import check_belongs, check_position
from .meterset import Source, machine_scale, meterset_scale
from .photon_plan import SOURCE_TOLERANCE_MM, ReadPhotonPlan
from .recomputed import Recomputed

ENGINE = "Radiarch collapsed cone"
_LISTED = 5


def recompute_photons(
    plan: ReadPhotonPlan,
    reference: ReadDose | None,
    patient: Patient,
    prescription: Prescription | None,
    parameters: RecalculationParameters,
    structures: Mapping[str, StructureRef],
    reporter: Reporter,
    job_dir: Path,
    threads: int,
) -> Recomputed:
    """Dose of a plan that was read, total over all fractions, physical.

    Parameters
    ----------
    reference
        The plan's own dose, if there is one; a scale is derived from it where the plan is of another machine.

    Raises
    ------
    InputRefusedError
        Plan, dose and CT do not belong together, or the plan cannot be computed with this machine.
    EngineError
    """
    check_belongs(plan, reference, patient)
    ready = _prepare(plan, reference, patient, parameters, reporter)
    reporter.stage(Stage.FINAL_DOSE)
    began = time.monotonic()
    beams_gy = _beam_doses(ready, threads, reporter)
    dose_gy = np.sum(beams_gy, axis=0, dtype=np.float32)
    scale, note = meterset_scale(
        *(ready.source, dose_gy, ready.grid, reference, patient, parameters),
        *(plan, ready.machine.name, "dose per MU"),
    )
    factor = np.float32(scale)
    derived = ready.source == "reference"
    return Recomputed(
        plan=PlanResult(
            beams=plan.beams,
            dose=Dose(np.ascontiguousarray(dose_gy * factor), ready.grid, 1.0),
            uncertainty_percent=None,
            machine=_described(ready.machine),
            provenance=_provenance(ready, parameters, scale),
            notes=_notes(ready, note),
            timings_s={"final_dose": time.monotonic() - began},
        ),
        beams_gy=tuple(b * factor for b in beams_gy),
        scale=scale,
        source=ready.source,
        machine_scale=machine_scale(scale, plan, ready.machine.sha256, ready.calibration) if derived else None,
        uncertainty_in="",
        unconfirmed=tuple(
            f"{what} {name}"
            for what, name, confirmation in (
                ("CT calibration", ready.calibration.name, ready.calibration.confirmation),
                ("beam data", ready.machine.name, ready.machine.file.confirmation),
            )
            if confirmation is None
        ),
    )


@dataclass(frozen=True)
class _Ready:
    """What is known before the engine runs.

    Attributes
    ----------
    density : (Z, Y, X) g/cm³ on ``grid``; see `patient_density`
    """

    plan: ReadPhotonPlan
    patient: Patient
    machine: PhotonMachine
    calibration: mcsquare.Calibration
    grid: Grid
    density: FloatVolume
    source: Source
    notes: tuple[str, ...]


def _prepare(
    plan: ReadPhotonPlan,
    reference: ReadDose | None,
    patient: Patient,
    parameters: RecalculationParameters,
    reporter: Reporter,
) -> _Ready:
    position_note = check_position(plan, patient)
    reporter.stage(Stage.BUILDING_PLAN, "reading the plan")
    machine = photon_machine(parameters.linac)
    machine_notes = _check_machine(plan, machine)
    calibration = mcsquare.calibration_for(parameters.ct_calibration, patient.ct)
    lattice = ScoringLattice.of(patient.ct.grid, parameters.scoring_spacing_mm, patient.body.mask)
    grid = lattice.grid(patient.body.mask)
    ct = mcsquare.prepare_ct(patient.ct, patient.body, calibration, cover=grid)
    density = patient_density(patient, ct, calibration, grid)
    mu = sum(b.meterset_mu for b in plan.beams)
    reporter.log(
        f"plan of {plan.manufacturer or 'an unnamed maker'}: {len(plan.beams)} beams, "
        f"{sum(len(b.control_points) for b in plan.beams)} control points, {mu:.1f} MU in each of {plan.fractions} "
        "fractions"
    )
    return _Ready(
        *(plan, patient, machine, calibration, grid, density),
        source=_source(plan, reference, machine, parameters),
        notes=(*position_note, *machine_notes, *ct.notes),
    )


def _source(
    plan: ReadPhotonPlan, reference: ReadDose | None, machine: PhotonMachine, parameters: RecalculationParameters
) -> Source:
    """Where the dose per MU comes from: linacs are calibrated alike, so that it is nearly known without a dose, too."""
    if parameters.meterset_scale is not None:
        return "given"
    return "none" if is_known(plan, machine) or reference is None else "reference"


def is_known(plan: ReadPhotonPlan, machine: PhotonMachine) -> bool:
    """Whether the plan is of the very machine whose data are used: then its MU are theirs."""
    return all(machine.name in (m.name, m.model) for m in plan.machines)


def _check_machine(plan: ReadPhotonPlan, machine: PhotonMachine) -> tuple[str, ...]:
    """Refuse beams that the machine's data do not have; what is to be said of leaves that are others."""
    for beam in plan.beams:
        try:
            machine.energy(beam.energy_mv, FILE_MODES[beam.fluence])
        except InvalidRequestError as e:
            raise unsupported(f"beam {beam.number}: {e}", "Name a machine file (linac) that has its energy.") from None
    distance, own = plan.source_distances_mm, machine.file.source_axis_distance_mm
    if distance is not None and abs(distance[0] - own) > SOURCE_TOLERANCE_MM:
        raise unsupported(
            f"the plan's source-axis distance is {distance[0]:g} mm, machine {machine.name} has {own:g} mm",
            "Name a machine file (linac) of the plan's machine.",
        )
    notes = []
    if not is_known(plan, machine):
        names = ", ".join(sorted({m.text for m in plan.machines}))
        notes.append(
            f"The plan is of machine {names}, and was computed with the beam model of {machine.name}; name its own "
            "machine file (parameter linac) to have its MU and its leaves checked."
        )
    boundaries = [tuple(map(float, b.leaf_boundaries_mm)) for b in plan.beams if b.leaf_boundaries_mm is not None]
    if any(b != machine.file.mlc.boundaries_mm for b in boundaries):
        notes.append(f"Leaves are as wide as the plan has them; those of machine {machine.name} are others.")
    return (*notes, *machine.notes)


def _beam_doses(ready: _Ready, threads: int, reporter: Reporter) -> list[FloatVolume]:
    """Of each beam over all fractions, Gy; unscaled."""
    fractions = np.float32(ready.plan.fractions)
    inside = ready.density > 0
    found = []
    for n, beam in enumerate(ready.plan.beams):

        def done(share: float, before: int = n) -> None:
            reporter.progress((before + share) / len(ready.plan.beams))

        position = ready.patient.ct.patient_position
        dose = plan_dose(ready.density, ready.grid, [beam], position, ready.machine, threads, progress=done)
        found.append(np.where(inside, dose * fractions, np.float32(0.0)))
    return found


def _described(machine: PhotonMachine) -> Linac:
    axes = tuple(axis for axis, jaws in (("X", machine.file.jaws_x), ("Y", machine.file.jaws_y)) if jaws is not None)
    return Linac(machine.name, machine.file.source_axis_distance_mm, machine.file.mlc.boundaries_mm, axes)


def _provenance(ready: _Ready, parameters: RecalculationParameters, scale: float) -> dict[str, Any]:
    plan, kernels = ready.plan, point_kernels()
    return {
        "patient_position": ready.patient.ct.patient_position.value,
        "engine": ENGINE,
        "kernels": {"source": kernels.source, "sha256": kernels.digest},
        "machine": {"name": ready.machine.name, "sha256": ready.machine.sha256, "generic": ready.machine.file.generic},
        "ct_calibration": ready.calibration.provenance,
        "rbe": 1.0,
        "dose_to": "water",
        "dose_grid_mm": list(ready.grid.spacing_mm),
        "meterset_scale": scale,
        "meterset_scale_source": ready.source,
        "recalculated_plan": {
            "sop_instance_uid": plan.sop_instance_uid,
            "label": plan.label,
            "manufacturer": plan.manufacturer,
            "machines": sorted({m.text for m in plan.machines}),
            "fractions": plan.fractions,
        },
    }


def delivery_notes(plan: ReadPhotonPlan, machine: PhotonMachine) -> tuple[str, ...]:
    """Which limits of the machine the plan breaks, how long its beams take, and how complex they are."""
    found = [delivery(beam, machine) for beam in plan.beams]
    seconds, mu = sum(f.time_s for f in found), sum(b.meterset_mu for b in plan.beams)
    modulation = sum(f.modulation * b.meterset_mu for f, b in zip(found, plan.beams, strict=True)) / mu
    small = sum(f.small_aperture_share * b.meterset_mu for f, b in zip(found, plan.beams, strict=True)) / mu
    about = (
        f"By the limits of machine {machine.name} its beams take about {seconds:.0f} s; modulation complexity score "
        f"{modulation:.2f}, {100 * small:.0f} % of the MU through apertures under {SMALL_CM2:g} cm²."
    )
    broken = [b for f in found for b in f.broken]
    listed = (f"Beam {b.beam}, control point {b.index}: {b.message} ({b.limit.value})." for b in broken[:_LISTED])
    more = (f"{len(broken) - _LISTED} more limits of the machine are broken.",) if len(broken) > _LISTED else ()
    return (about, *listed, *more)


def _notes(ready: _Ready, scale_note: str) -> tuple[str, ...]:
    plan = ready.plan
    return (
        f"Plan {plan.label!r} of {plan.manufacturer or 'an unnamed maker'} was recalculated; nothing was planned.",
        *plan.notes,
        *ready.notes,
        *(delivery_notes(plan, ready.machine) if is_known(plan, ready.machine) else ()),
        *([] if ready.source == "none" and not is_known(plan, ready.machine) else [scale_note]),
        "The dose is physical dose to water; its engine has no statistical uncertainty.",
    )
