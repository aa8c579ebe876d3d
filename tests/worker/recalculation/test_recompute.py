"""Laws of a recalculation with the real engine: our own plan gives its own dose, another machine's a derived scale."""

from __future__ import annotations

import copy
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pypdf
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode
from radiarch_contract.states import OutputKind
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription, RecalculationParameters
from radiarch_worker.dicom import encode, write_rtplan
from radiarch_worker.engines.mcsquare import load_machine
from radiarch_worker.ion import IonBeam, IonMachine, Layer
from radiarch_worker.model import Dose, Grid, PlanResult
from radiarch_worker.patient import load_patient
from radiarch_worker.recalculation import read_ion_plan
from radiarch_worker.recalculation.beam_data import with_the_plans_spots

from phantoms import box
from tests.worker.dicom.dciodvfy import findings
from tests.worker.recalculation.checks import Ran, run_check
from tests.worker.runtime.conftest import make_spec

pytestmark = pytest.mark.engine

MACHINE = "BDL_default_UN_RangeShifter"
FRACTIONS = 20
STUDY = box(shape=(16, 24, 40), target_mm=24.0, margin_mm=8.0)
QUICK = {"final_primaries": 80_000, "scoring_spacing_mm": 4}
Run = Callable[..., Ran]


def reread(ds: Dataset) -> Dataset:
    return pydicom.dcmread(BytesIO(encode(ds)))


def text_of(report: Dataset) -> str:
    pages = pypdf.PdfReader(BytesIO(bytes(report.EncapsulatedDocument))).pages
    return " ".join(" ".join(page.extract_text().split()) for page in pages)


@pytest.fixture(scope="module")
def plan() -> Dataset:
    """Two opposed beams with a few spots each, as our writer writes them."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-8, 8, 3), np.linspace(-8, 8, 3)))
    beams = tuple(
        IonBeam(
            n, f"G{gantry:g}", gantry, 0.0, (0.0, 0.0, 0.0), tuple(Layer(e, x, y, np.full(9, 4.0)) for e in (104, 100))
        )
        for n, gantry in ((1, 90.0), (2, 270.0))
    )
    spec = make_spec(
        rtstruct_sop_instance_uid=str(STUDY.rtstruct.SOPInstanceUID),
        patient_id=str(STUDY.rtstruct.PatientID),
        study_instance_uid=str(STUDY.rtstruct.StudyInstanceUID),
        prescription=Prescription(target="PTV", dose_gy=40, fractions=FRACTIONS),
        structures=(StructureRef(name="PTV", roi_number=2, roi_name="PTV"),),
    )
    made = PlanResult(
        beams=beams,
        dose=Dose(np.ones((2, 2, 2), np.float32), Grid((0, 0, 0), (4, 4, 4), (2, 2, 2)), 1.1),
        uncertainty_percent=1.0,
        machine=IonMachine(MACHINE, (2000.0, 2000.0), 400.0),
        provenance={"engine": "none"},
    )
    return reread(write_rtplan(spec, load_patient(STUDY.rtstruct, STUDY.images), made))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    def run_with(plan: Dataset, dose: Dataset | None = None, **parameters: Any) -> Ran:
        inputs = {"rtplan": plan} | ({} if dose is None else {"reference_rtdose": dose})
        return run_check(monkeypatch, tmp_path, STUDY, "recalculation", inputs, parameters={**QUICK, **parameters})

    return run_with


@pytest.fixture(scope="module")
def first(plan: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The plan's dose, with a seed of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("first")
        return run_check(patch, folder, STUDY, "recalculation", {"rtplan": plan}, parameters={**QUICK, "seed": 5})


def other_machine(plan: Dataset) -> Dataset:
    changed = copy.deepcopy(plan)
    for beam in changed.IonBeamSequence:
        beam.TreatmentMachineName, beam.ManufacturerModelName = "GTR2", ""
    return changed


def test_a_plan_without_a_dose_is_computed_alone(plan: Dataset, first: Ran, tmp_path: Path) -> None:
    assert first.result.error is None, first.result.error
    assert (first.result.comparison, list(first.stored)) == (None, [OutputKind.RTDOSE, OutputKind.REPORT])
    written = reread(first.stored[OutputKind.RTDOSE])
    assert written.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    assert (written.DoseType, written.DoseSummationType) == ("EFFECTIVE", "PLAN")
    assert findings(written, tmp_path) == []
    assert findings(reread(first.stored[OutputKind.REPORT]), tmp_path) == []
    assert [b.meterset_mu for b in first.result.beams] == pytest.approx([72, 72])
    assert first.result.provenance["recalculated_plan"]["fractions"] == FRACTIONS
    assert first.result.uncertainty_percent is not None
    assert first.result.uncertainty_percent > 2
    assert any("Do not judge" in note for note in first.result.notes)
    assert any("CT calibration generic-icru" in n and "not confirmed" in n for n in first.result.notes)


def test_our_own_plan_gives_its_own_dose(plan: Dataset, first: Ran, run: Run) -> None:
    ran = run(plan, reread(first.stored[OutputKind.RTDOSE]), seed=6)
    assert ran.result.error is None, ran.result.error
    found = ran.result.comparison
    assert found is not None
    assert (found.scale, found.scale_source, found.rbe_weighted) == (1.0, "none", True)
    assert found.gamma is not None
    assert found.gamma.passed_percent >= 95
    assert found.mean_difference_gy is not None
    assert abs(found.mean_difference_gy) <= 0.01 * found.reference.max_gy
    printed = text_of(reread(ran.stored[OutputKind.REPORT]))
    assert "Radiarch plan recalculation report" in printed
    assert f"{found.gamma.passed_percent:.2f} % of {found.gamma.points} points pass" in printed
    target = next(m for m in ran.result.metrics if m.structure == "PTV")
    same = next(m for m in found.metrics if m.structure == "PTV")
    assert target.d_mean_gy == pytest.approx(same.d_mean_gy, rel=0.01)


def test_another_machines_meterset_is_scaled_to_its_physical_dose(plan: Dataset, first: Ran, run: Run) -> None:
    """The reference says physical dose, 20 % more: what is derived is that factor, whatever the RBE."""
    physical = reread(first.stored[OutputKind.RTDOSE])
    physical.DoseType = "PHYSICAL"
    physical.DoseGridScaling = float(physical.DoseGridScaling) * 1.2 / 1.1
    physical.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = plan.SOPInstanceUID
    ran = run(other_machine(plan), physical, seed=7)
    found = ran.result.comparison
    assert found is not None
    assert (found.scale_source, found.rbe_weighted, found.reference_rbe) == ("reference", True, 1.1)
    assert found.scale == pytest.approx(1.2, rel=0.01)
    assert found.mean_difference_gy is None, "it was fitted away"
    assert ran.stored[OutputKind.RTDOSE].DoseType == "EFFECTIVE"
    assert "RBE-weighted" in ran.stored[OutputKind.DOSE_DIFFERENCE].DoseComment
    assert any("level is judged by the scale alone" in note for note in ran.result.notes)
    assert any("does not say how wide" in note for note in ran.result.notes)


def test_spots_are_as_wide_as_a_plan_of_another_machine_says(plan: Dataset) -> None:
    machine = load_machine(MACHINE)

    def widths(size: list[float], **given: Any) -> tuple[tuple[float, float], str]:
        changed = other_machine(plan)
        for n, beam in enumerate(changed.IonBeamSequence):
            for point in beam.IonControlPointSequence:
                point.ScanningSpotSize = [size[n], size[n]]
        found, notes = with_the_plans_spots(read_ion_plan(changed), machine, RecalculationParameters(**given))
        return found.spot_fwhm_mm(100.0), " ".join(notes)

    own = machine.spot_fwhm_mm(100.0)
    assert widths([9.0, 9.0])[0] == pytest.approx((9.0, 9.0))
    assert "9.0 to 9.0 mm" in widths([9.0, 9.0])[1]
    assert widths([9.0, 9.0], spot_size="machine") == (own, "")
    assert widths([9.0, 12.0])[0] == own
    assert "different widths" in widths([9.0, 12.0])[1]
    assert with_the_plans_spots(read_ion_plan(plan), machine, RecalculationParameters()) == (machine, ())


def test_a_meterset_that_nothing_translates_is_refused(plan: Dataset, run: Run) -> None:
    ran = run(other_machine(plan))
    assert ran.result.error is not None
    assert ran.result.error.code is ErrorCode.UNSUPPORTED_PLAN
    assert "GTR2" in ran.result.error.message
    assert "meterset_scale" in ran.result.error.remedy
    assert ran.stored == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p, d: setattr(p, "FrameOfReferenceUID", "1.2.3"), ErrorCode.FRAME_OF_REFERENCE_MISMATCH),
        (lambda p, d: setattr(d, "FrameOfReferenceUID", "1.2.3"), ErrorCode.FRAME_OF_REFERENCE_MISMATCH),
        (lambda p, d: setattr(d, "DoseSummationType", "BEAM"), ErrorCode.UNSUPPORTED_DOSE),
        (lambda p, d: setattr(p, "SOPInstanceUID", "1.2.3"), ErrorCode.UNSUPPORTED_DOSE),
        (
            lambda p, d: setattr(p.IonBeamSequence[0].IonControlPointSequence[0], "NominalBeamEnergy", 400.0),
            ErrorCode.UNSUPPORTED_PLAN,
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(
    plan: Dataset, first: Ran, run: Run, change: Callable[[Dataset, Dataset], Any], code: ErrorCode
) -> None:
    p, d = copy.deepcopy(plan), reread(first.stored[OutputKind.RTDOSE])
    change(p, d)
    ran = run(p, d)
    assert ran.result.error is not None
    assert (ran.result.error.code, ran.stored) == (code, {})
