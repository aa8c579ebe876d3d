"""A clinical plan of another system, computed anew from its RT Ion Plan and compared with its RTDOSE."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from radiarch_contract.job import StructureMetrics
from radiarch_contract.workflows import GammaCriteria, Prescription, RecalculationParameters
from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.evaluation import ReadDose, compare, evaluate, read_rtdose
from radiarch_worker.evaluation.comparison import resampled
from radiarch_worker.evaluation.quantity import weighted_by
from radiarch_worker.ion import ion_beams
from radiarch_worker.machines.calibration import GENERIC
from radiarch_worker.model import Dose, Patient
from radiarch_worker.patient import load_patient
from radiarch_worker.planning.proton.steps import RBE
from radiarch_worker.recalculation import ReadIonPlan, Recomputed, read_ion_plan, recompute
from radiarch_worker.recalculation.displacement import beam_agreement
from scipy.ndimage import shift

from tests.worker.engines.water import Recorder

from .calibrations import SHIPPED
from .section import Section

PRESCRIBED = Prescription(target="PTV", dose_gy=76.0, fractions=35)
PASSED_PERCENT = 95.0
CRITERIA = (GammaCriteria(), GammaCriteria(dose_percent=2, distance_mm=2))
UNCERTAINTY_PERCENT = 2.0
_METRICS = ("d_mean_gy", "d98_gy", "d95_gy", "d50_gy", "d2_gy")


def read_case(case: Path) -> Patient:
    """CT and structures of a case, as a worker reads them."""
    images = [pydicom.dcmread(path) for path in sorted((case / "CT").iterdir())]
    return load_patient(pydicom.dcmread(case / "RTSTRUCT.dcm"), images)


def recomputed(case: Path) -> Section:
    """The clinical plan of the prostate case, with each calibration that ships."""
    patient = read_case(case)
    plan = read_ion_plan(pydicom.dcmread(case / "RTPLAN.dcm"))
    # it says PHYSICAL, and has 77 Gy where 76 Gy (RBE) are prescribed: whatever it is, the scale is fitted to it
    reference = weighted_by(read_rtdose(pydicom.dcmread(case / "RTDOSE.dcm"), what="the plan's RTDOSE"), RBE)
    found = {name: _anew(patient, plan, reference, name) for name in SHIPPED}
    theirs = metrics(patient, Dose(reference.dose_gy, reference.grid, 1.0))
    ours = {name: metrics(patient, made.plan.dose) for name, (made, _) in found.items()}
    rows = [
        [name, *(" / ".join(f"{getattr(m[name], key):.1f}" for m in (*ours.values(), theirs)) for key in _METRICS)]
        for name in theirs
    ]
    demands = []
    for name, (_, passed) in found.items():
        for criteria, (percent, points) in zip(CRITERIA, passed, strict=True):
            what = f"gamma {criteria.dose_percent:g} %/{criteria.distance_mm:g} mm, global, above "
            what += f"{criteria.cutoff_percent:g} %, `{name}`"
            said = f"{percent:.2f} % of {points} points"
            demands.append((f"{what} (for information)", said, True))
    first = found[GENERIC][0]
    demands.append(_ranges(found, patient, reference))
    scales = ", ".join(f"{made.scale:.4f} with `{name}`" for name, (made, _) in found.items())
    return Section(
        title="A clinical plan computed anew",
        how=f"Case `prostate`: the RT Ion Plan of {plan.manufacturer} ({len(plan.beams)} beams, "
        f"{sum(len(x.meterset_mu) for b in plan.beams for x in b.layers)} spots), read from DICOM and computed with "
        "the default machine and each calibration that ships, "
        f"{first.plan.provenance['final_primaries'] / 1e6:.1f} million protons "
        f"({first.plan.uncertainty_percent:.2f} % in the target), against its RTDOSE, which says that it is "
        "physical: both RBE-weighted by 1.1. "
        f"Each cell, Gy: ours with {' / '.join(f'`{n}`' for n in SHIPPED)} / theirs.",
        header=("structure", "mean", "D98%", "D95%", "D50%", "D2%"),
        rows=rows,
        demands=demands,
        note="The plan's machine is not in the beam data: its protons per MU were derived from the RTDOSE (scale "
        f"{scales}; mean dose where the RTDOSE has at least half of its maximum). So the shape of the dose is "
        "compared, not its absolute level. The images were written by a research program and name no scanner, so that "
        "their calibration is not known, and the plan's machine may define energies otherwise than the beam data do. "
        "That shows as ranges that differ alike for both beams, and as nothing else: with both moved by as much, gamma "
        "passes. " + " ".join(n for n in first.plan.notes if n.startswith("Spots are")),
        workflows=("recalculation",),
    )


def _anew(
    patient: Patient, plan: ReadIonPlan, reference: ReadDose, calibration: str
) -> tuple[Recomputed, list[tuple[float, int]]]:
    """The plan's dose with a calibration, and by `CRITERIA` what share of how many points passes."""
    cores = len(os.sched_getaffinity(0))
    parameters = RecalculationParameters(uncertainty_percent=UNCERTAINTY_PERCENT, ct_calibration=calibration)
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as name:
        folder = Path(name)
        found = recompute(*(plan, reference, patient, None, parameters), *({}, Recorder(), folder / "work", cores))
        made = found.plan.dose
        passed = []
        for criteria in CRITERIA:
            compared = compare(
                made.dose_gy, made.grid, reference.dose_gy, reference.grid, patient, (), criteria, folder, Recorder()
            )
            assert compared.gamma is not None
            passed.append((compared.gamma.passed_percent, compared.gamma.points))
    return found, passed


def _ranges(
    found: Mapping[str, tuple[Recomputed, Sequence[tuple[float, int]]]], patient: Patient, reference: ReadDose
) -> tuple[str, str, bool]:
    """By how much each beam reaches farther in the RTDOSE; gamma of the generic one's beams moved by as much."""
    said = []
    for name, (computed, _) in found.items():
        made = computed.plan
        beams, _ = beam_agreement(ion_beams(made), computed.beams_gy, made.dose.grid, reference, patient)
        said.append(f"{', '.join(f'{b.range_mm or 0.0:+.1f}' for b in beams)} mm with `{name}`")
        if name == GENERIC:
            moved_mm = -sum(b.range_mm or 0.0 for b in beams) / len(beams)
            percent = _gamma_when_moved(computed, moved_mm, patient, reference)
    text = f"{'; '.join(said)}; `{GENERIC}` with both beams moved back by {moved_mm:.1f} mm: {percent:.2f} % pass"
    what = (
        f"ranges in the RTDOSE against those computed, and gamma without the difference: at least {PASSED_PERCENT:g} %"
    )
    return what, text, percent >= PASSED_PERCENT


def _gamma_when_moved(computed: Recomputed, back_mm: float, patient: Patient, reference: ReadDose) -> float:
    """Gamma of the dose with each beam moved against its direction, scaled anew where the dose is high."""
    made = computed.plan
    grid = made.dose.grid
    moved = np.zeros_like(made.dose.dose_gy)
    for beam, dose_gy in zip(ion_beams(made), computed.beams_gy, strict=True):
        direction = BeamAxes.of(beam.gantry_deg, beam.couch_deg, patient.ct.patient_position).direction
        voxels = [-back_mm * direction[axis] / grid.spacing_mm[axis] for axis in (2, 1, 0)]
        moved += shift(dose_gy, voxels, order=1)
    high = reference.dose_gy >= 0.5 * reference.dose_gy.max()
    here = resampled(moved, grid, reference.grid)
    moved *= reference.dose_gy[high].mean() / here[high].mean()
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as name:
        compared = compare(
            moved, grid, reference.dose_gy, reference.grid, patient, (), CRITERIA[0], Path(name), Recorder()
        )
    assert compared.gamma is not None
    return compared.gamma.passed_percent


def metrics(patient: Patient, dose: Dose) -> dict[str, StructureMetrics]:
    """Of every structure but the outline, by name."""
    found = evaluate(patient, dose, PRESCRIBED, [], {}).metrics
    return {m.structure: m for m in found if m.structure != "BODY"}
