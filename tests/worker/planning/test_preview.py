"""The live DVHs: of what was asked for first, and never more than can be told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from radiarch_contract.structures import StructureRef
from radiarch_worker.model import Dose
from radiarch_worker.patient import load_patient
from radiarch_worker.planning.preview import MAX_CURVES, preview_dvh, report_preview

from phantoms import box
from tests.worker.engines.water import Recorder


def test_named_structures_come_first_and_there_are_not_too_many() -> None:
    study = box(shape=(4, 16, 16))
    patient = load_patient(study.rtstruct, study.images)
    target = next(s for s in patient.structures.values() if s.name == "PTV")
    many = {n: replace(target, roi_number=n, name=f"copy {n}") for n in range(1000, 1000 + 3 * MAX_CURVES)}
    patient = replace(patient, structures={**patient.structures, **many})
    dose = Dose(np.full(patient.ct.grid.shape, 30.0, np.float32), patient.ct.grid, 1.1)
    last = StructureRef(name="Organ", roi_number=max(many), roi_name="copy")
    absent = StructureRef(name="Absent", roi_number=5_000, roi_name="none")
    curves = preview_dvh(patient, dose, {"Organ": last, "Absent": absent})
    assert len(curves) == MAX_CURVES
    assert curves[0].roi_number == max(many)
    assert [c.roi_number for c in curves[1:4]] == sorted(patient.structures)[:3]
    assert all(np.interp(29.0, c.dose_gy, c.volume_percent) == 100 for c in curves)


def test_a_preview_that_fails_does_not_stop_planning() -> None:
    study = box(shape=(4, 16, 16))
    patient, recorder = load_patient(study.rtstruct, study.images), Recorder()
    other_grid = replace(patient.ct.grid, spacing_mm=(1.7, 1.7, 1.7), origin_mm=(0.3, 0.3, 0.3))
    report_preview(recorder, patient, Dose(np.ones((2, 2, 2), np.float32), other_grid, 1.1), {})
    assert recorder.previews == []
    assert any("Traceback" in line for line in recorder.lines)
