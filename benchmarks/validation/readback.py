"""Plans as they are exported, read back from their bytes and computed anew."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from radiarch_contract.job import JobSpec
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import (
    Beam,
    GammaCriteria,
    ImptBasicParameters,
    Prescription,
    RecalculationParameters,
)
from radiarch_worker.dicom import encode, write_rtdose, write_rtplan
from radiarch_worker.evaluation import compare, evaluate, read_rtdose
from radiarch_worker.ion import ion_beams
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import plan
from radiarch_worker.planning.geometry import sample_mask
from radiarch_worker.recalculation import read_ion_plan, recompute

from phantoms import box
from tests.worker.engines.water import Recorder
from tests.worker.runtime.conftest import make_spec

from .section import Section

UNCERTAINTY_PERCENT = 1.5
TOLERANCE_PERCENT = 1.0
GAMMA_PERCENT = 99.0
CRITERIA = GammaCriteria()
BEAMS: dict[str, tuple[Beam, ...]] = {
    "gantry 90°": (Beam(gantry_deg=90),),
    "gantry 30° and 250°, couch 20°": (Beam(gantry_deg=30, couch_deg=20), Beam(gantry_deg=250, couch_deg=20)),
    "gantry 0° behind the range shifter": (Beam(gantry_deg=0, range_shifter="RS_Block"),),
}


def read_back() -> Section:
    """`proton-impt-basic` on a water box, whose RT Ion Plan and RTDOSE are all that the recalculation knows."""
    study = box(shape=(24, 46, 46), target_mm=28.0, margin_mm=8.0)
    patient = load_patient(study.rtstruct, study.images)
    prescription = Prescription(target="PTV", dose_gy=60, fractions=30)
    refs, _ = resolve(["PTV"], {}, [Roi(number=n, name=s.name) for n, s in patient.structures.items()])
    cores = len(os.sched_getaffinity(0))
    rows, worst, least = [], 0.0, 100.0
    for n, (title, beams) in enumerate(BEAMS.items()):
        parameters = ImptBasicParameters(
            beams=beams,
            spot_spacing_mm=6,
            layer_spacing_mm=6,
            scoring_spacing_mm=4,
            beamlet_primaries=300,
            uncertainty_percent=UNCERTAINTY_PERCENT,
            max_iterations=60,
        )
        spec = _spec(study.rtstruct, prescription, refs, parameters, n)
        with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as name:
            folder = Path(name)
            made = plan(
                *(spec.workflow_id, patient, prescription, parameters, refs, Recorder(), folder / "plan", cores)
            )
            judged = evaluate(patient, made.dose, prescription, [], refs)
            rtplan = _through_bytes(write_rtplan(spec, patient, made))
            rtdose = _through_bytes(write_rtdose(spec, patient, made, judged))
            reference = read_rtdose(rtdose, what="the plan's RTDOSE")
            anew = recompute(
                read_ion_plan(rtplan),
                *(reference, patient, None, RecalculationParameters(seed=77, scoring_spacing_mm=4)),
                *({}, Recorder(), folder / "again", cores),
            ).plan.dose
            gamma = compare(
                anew.dose_gy, anew.grid, reference.dose_gy, reference.grid, patient, (), CRITERIA, folder, Recorder()
            ).gamma
        assert gamma is not None
        target = patient.structures[refs["PTV"].roi_number].mask
        means = [
            float(d[sample_mask(target, patient.ct.grid, g)].mean(dtype=np.float64))
            for d, g in ((anew.dose_gy, anew.grid), (made.dose.dose_gy, made.dose.grid))
        ]
        difference = 100 * abs(means[0] / means[1] - 1)
        worst, least = max(worst, difference), min(least, gamma.passed_percent)
        spots = sum(len(x.meterset_mu) for b in ion_beams(made) for x in b.layers)
        rows.append(
            [
                title,
                str(spots),
                f"{means[0]:.2f} / {means[1]:.2f}",
                f"{difference:.2f} %",
                f"{gamma.passed_percent:.2f} %",
            ]
        )
    return Section(
        title="Exported plans read back and computed anew",
        how="A water box, planned with `proton-impt-basic`; its RT Ion Plan and RTDOSE as bytes of DICOM files; read "
        "by the reader for plans of other systems and computed with other protons. Target's mean: anew / as planned, "
        "Gy. Gamma: 3 %/3 mm, global, above 10 %.",
        header=("beams", "spots", "target's mean", "difference", "gamma"),
        rows=rows,
        demands=[
            (f"target's mean within {TOLERANCE_PERCENT:g} %", f"at most {worst:.2f} %", worst <= TOLERANCE_PERCENT),
            (f"gamma at least {GAMMA_PERCENT:g} %", f"at least {least:.2f} %", least >= GAMMA_PERCENT),
        ],
        note="The same for the prostate case, with stock OpenTPS and a reader of its own, is in "
        "`tests/cases/test_real_cases.py`.",
        workflows=("proton-impt-basic", "recalculation"),
    )


def _spec(rtstruct: pydicom.Dataset, prescription: Prescription, refs: Any, parameters: Any, n: int) -> JobSpec:
    return make_spec(
        plan_id=f"{n:032x}",
        rtstruct_sop_instance_uid=str(rtstruct.SOPInstanceUID),
        patient_id=str(rtstruct.PatientID),
        study_instance_uid=str(rtstruct.StudyInstanceUID),
        workflow_id="proton-impt-basic",
        prescription=prescription,
        structures=tuple(refs.values()),
        parameters=parameters.model_dump(mode="json"),
    )


def _through_bytes(dataset: pydicom.Dataset) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(encode(dataset)))
