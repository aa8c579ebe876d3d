"""A photon plan that is stored, read by a reader of its own and computed anew has the dose that was reported."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.photon import Arc, PhotonImrtParameters, PhotonVmatParameters, StaticField
from radiarch_contract.workflows import Prescription, RecalculationParameters
from radiarch_worker.dicom import encode, write_rtplan
from radiarch_worker.model import Patient, PlanResult
from radiarch_worker.planning.photon.imrt import plan_imrt
from radiarch_worker.planning.photon.setup import PhotonJob
from radiarch_worker.planning.photon.vmat import plan_vmat
from radiarch_worker.position import PatientPosition
from radiarch_worker.recalculation import read_photon_plan
from radiarch_worker.recalculation.photon_compute import recompute_photons

from tests.worker.dicom import waterbox
from tests.worker.engines.water import Recorder, refs

SPACING_MM = 4
QUICK: dict[str, Any] = {
    "objectives": (
        Objective(structure="PTV", metric=ObjectiveMetric.DUNIFORM, dose_gy=60, weight=100),
        Objective(structure="Rectum", metric=ObjectiveMetric.DMEAN_MAX, dose_gy=20, weight=3),
    ),
    "scoring_spacing_mm": SPACING_MM,
    "max_iterations": 20,
    "correction_rounds": 0,
}


def with_bone(position: PatientPosition) -> Patient:
    """Water with bone on one side, so that what is turned is seen."""
    patient = waterbox.patient()
    hu = patient.ct.hu.copy()
    hu[:, 40:50, 8:20] = 800.0
    return replace(patient, ct=replace(patient.ct, hu=hu, patient_position=position))


def imrt(job: Callable[..., PhotonJob]) -> PlanResult:
    beams = tuple(StaticField(gantry_deg=g, couch_deg=c, collimator_deg=k) for g, c, k in ((20, 0, 15), (130, 350, 80)))
    return plan_imrt(job(PhotonImrtParameters(**QUICK, beams=beams, apertures=6)))


def vmat(job: Callable[..., PhotonJob]) -> PlanResult:
    arc = Arc(start_deg=20.0, stop_deg=340.0, direction="counter_clockwise", collimator_deg=30.0)
    return plan_vmat(job(PhotonVmatParameters(**QUICK, arcs=(arc,))))


@pytest.mark.parametrize(
    ("planned", "position"), [(imrt, PatientPosition.HFS), (imrt, PatientPosition.FFP), (vmat, PatientPosition.HFS)]
)
def test_a_stored_plan_has_the_stored_dose(
    planned: Callable[..., PlanResult], position: PatientPosition, tmp_path: Path
) -> None:
    spec, patient = waterbox.case().spec, with_bone(position)
    prescription = Prescription(target="PTV", dose_gy=60.0, fractions=30)

    def job(parameters: Any) -> PhotonJob:
        return PhotonJob(patient, prescription, parameters, refs(patient), Recorder(), tmp_path, 2)

    plan = planned(job)
    stored = pydicom.dcmread(io.BytesIO(encode(write_rtplan(spec, patient, plan))))
    read = read_photon_plan(stored)
    parameters = RecalculationParameters(scoring_spacing_mm=SPACING_MM)
    again = recompute_photons(
        *(read, None, patient, prescription, parameters, refs(patient), Recorder(), tmp_path, 2)
    ).plan.dose
    assert again.grid == plan.dose.grid
    dose_gy = plan.dose.dose_gy
    np.testing.assert_allclose(again.dose_gy, dose_gy, rtol=0, atol=1e-4 * float(dose_gy.max()))
