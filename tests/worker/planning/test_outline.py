"""Beams and the patient's outline: no beam passes where the outline lacks what the CT has."""

from __future__ import annotations

from pathlib import Path

import pytest
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Beam, ImptBasicParameters, Prescription
from radiarch_worker.patient import load_patient
from radiarch_worker.planning.proton.steps import ProtonJob, set_up

from phantoms import PhantomStudy, box, faults
from tests.worker.engines.water import Recorder

STUDY = box(seed="outline")


def placed(study: PhantomStudy, tmp_path: Path, beam: Beam) -> None:
    """Place a beam's spots on a study, as any plan begins."""
    patient = load_patient(study.rtstruct, study.images, needed_rois=[2])
    refs = {"PTV": StructureRef(name="PTV", roi_number=2, roi_name="PTV")}
    prescription = Prescription(target="PTV", dose_gy=60.0, fractions=30)
    parameters = ImptBasicParameters(beams=(beam,))
    set_up(ProtonJob(patient, prescription, parameters, refs, Recorder(), tmp_path, 1, None, ()))


def ended_early(slices: int) -> PhantomStudy:
    study = STUDY.copy()
    item = faults.contours_of(study, "BODY")
    item.ContourSequence = item.ContourSequence[:-slices]
    return study


def test_a_beam_through_what_the_outline_lacks_is_refused(tmp_path: Path) -> None:
    oblique = Beam(gantry_deg=90, couch_deg=335)
    placed(STUDY, tmp_path, oblique)
    with pytest.raises(InputRefusedError) as caught:
        placed(ended_early(8), tmp_path, oblique)
    assert caught.value.code is ErrorCode.UNSUPPORTED_GEOMETRY
    assert "the end of BODY where the patient goes on" in caught.value.info.message
    # where it does not pass, a short outline is no harm
    placed(ended_early(8), tmp_path, Beam(gantry_deg=0))
    placed(ended_early(8), tmp_path, Beam(gantry_deg=90, couch_deg=25))
