"""A clinical plan of another system, computed anew from its RT Ion Plan and compared with its RTDOSE."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pydicom
from radiarch_contract.job import StructureMetrics
from radiarch_contract.workflows import GammaCriteria, Prescription, RecalculationParameters
from radiarch_worker.evaluation import compare, evaluate, read_rtdose
from radiarch_worker.model import Dose, Patient
from radiarch_worker.patient import load_patient
from radiarch_worker.recalculation import read_ion_plan, recompute

from tests.worker.engines.water import Recorder

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
    """The clinical plan of the prostate case."""
    patient = read_case(case)
    plan = read_ion_plan(pydicom.dcmread(case / "RTPLAN.dcm"))
    reference = read_rtdose(pydicom.dcmread(case / "RTDOSE.dcm"), what="the plan's RTDOSE")
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as name:
        folder = Path(name)
        found = recompute(
            *(plan, reference, patient, None, RecalculationParameters(uncertainty_percent=UNCERTAINTY_PERCENT)),
            *({}, Recorder(), folder / "work", cores),
        )
        made = found.plan.dose
        compared = [
            compare(made.dose_gy, made.grid, reference.dose_gy, reference.grid, patient, c, folder, Recorder())
            for c in CRITERIA
        ]
    ours = metrics(patient, made)
    theirs = metrics(patient, Dose(reference.dose_gy, reference.grid, 1.0))
    rows = [
        [name, *(f"{getattr(ours[name], m):.1f} / {getattr(theirs[name], m):.1f}" for m in _METRICS)] for name in ours
    ]
    primaries = found.plan.provenance["final_primaries"]
    demands = []
    for n, (criteria, result) in enumerate(zip(CRITERIA, compared, strict=True)):
        assert result.gamma is not None
        passed = result.gamma.passed_percent
        what = f"{criteria.dose_percent:g} %/{criteria.distance_mm:g} mm, global, above {criteria.cutoff_percent:g} %"
        said = f"{passed:.2f} % of {result.gamma.points} points"
        demands.append((f"gamma {what}: at least {PASSED_PERCENT:g} %", said, passed >= PASSED_PERCENT))
        if n:  # what is not demanded is told all the same
            demands[-1] = (f"gamma {what} (told, not demanded)", said, True)
    return Section(
        title="A clinical plan computed anew",
        how=f"Case `prostate`: the RT Ion Plan of {plan.manufacturer} ({len(plan.beams)} beams, "
        f"{sum(len(x.meterset_mu) for b in plan.beams for x in b.layers)} spots), read from DICOM and computed with "
        f"the default machine and calibration, {primaries / 1e6:.1f} million protons "
        f"({found.plan.uncertainty_percent:.2f} % in the target), against its RTDOSE: physical dose with physical "
        "dose. Each cell: ours / theirs, Gy.",
        header=("structure", "mean", "D98%", "D95%", "D50%", "D2%"),
        rows=rows,
        demands=demands,
        note=f"The plan's machine is not in the beam data: its protons per MU were derived from the RTDOSE (scale "
        f"{found.scale:.4f}, mean dose where the RTDOSE has at least half of its maximum). So the shape of the dose is "
        "compared, not its absolute level. " + " ".join(n for n in found.plan.notes if n.startswith("Spots are")),
        workflows=("recalculation",),
    )


def metrics(patient: Patient, dose: Dose) -> dict[str, StructureMetrics]:
    """Of every structure but the outline, by name."""
    found = evaluate(patient, dose, PRESCRIBED, [], {}).metrics
    return {m.structure: m for m in found if m.structure != "BODY"}
