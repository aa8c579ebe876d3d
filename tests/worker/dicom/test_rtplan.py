"""The RT Ion Plan says what was planned, and nothing that was not."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import timedelta, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.uid import RTIonPlanStorage
from radiarch_contract.errors import EngineError, ErrorCode, InputRefusedError
from radiarch_contract.job import JobSpec
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import TargetDose
from radiarch_worker.dicom import encode, write_rtplan
from radiarch_worker.dicom.base import PRIVATE_CREATOR, PRIVATE_GROUP, PROVENANCE_ELEMENT
from radiarch_worker.ion import IonBeam, Layer, RangeShifter, ion_beams
from radiarch_worker.model import Patient, PlanResult

from . import waterbox
from .dciodvfy import findings
from .independent_reader import read_ion_plan

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Examples for a machine that has other things to do too."""


def read_back(spec: JobSpec, patient: Patient, plan: PlanResult) -> pydicom.Dataset:
    """The plan as another program reads its file."""
    return pydicom.dcmread(io.BytesIO(encode(write_rtplan(spec, patient, plan))))


@pytest.fixture(scope="module")
def case() -> waterbox.Case:
    return waterbox.case()


@pytest.fixture(scope="module")
def rtplan(case: waterbox.Case) -> pydicom.Dataset:
    return read_back(case.spec, case.patient, case.plan)


def test_dciodvfy_finds_nothing(rtplan: pydicom.Dataset, tmp_path: Path) -> None:
    assert findings(rtplan, tmp_path) == []


def test_an_independent_reader_gets_every_spot_and_mu(case: waterbox.Case, rtplan: pydicom.Dataset) -> None:
    read = read_ion_plan(rtplan)
    assert case.spec.prescription is not None
    assert read.fractions == case.spec.prescription.fractions
    assert len(read.beams) == len(ion_beams(case.plan))
    for found, planned in zip(read.beams, ion_beams(case.plan), strict=True):
        assert (found.number, found.name) == (planned.number, planned.name)
        assert (found.gantry_deg, found.couch_deg) == (planned.gantry_deg, planned.couch_deg)
        assert found.isocenter_mm == pytest.approx(planned.isocenter_mm, abs=1e-9)
        assert len(found.layers) == len(planned.layers)
        for layer, wanted in zip(found.layers, planned.layers, strict=True):
            assert layer.energy_mev == pytest.approx(wanted.energy_mev, rel=1e-12)
            assert np.array_equal(layer.x_mm, wanted.x_mm.astype(np.float32))
            assert np.array_equal(layer.y_mm, wanted.y_mm.astype(np.float32))
            assert np.array_equal(layer.meterset_mu, wanted.meterset_mu.astype(np.float32))


def test_metersets_add_up_exactly_as_written(rtplan: pydicom.Dataset) -> None:
    group = rtplan.FractionGroupSequence[0]
    for beam, reference in zip(rtplan.IonBeamSequence, group.ReferencedBeamSequence, strict=True):
        points = beam.IonControlPointSequence
        assert str(reference.BeamMeterset) == str(beam.FinalCumulativeMetersetWeight)
        assert str(points[-1].CumulativeMetersetWeight) == str(beam.FinalCumulativeMetersetWeight)
        assert float(points[0].CumulativeMetersetWeight) == 0
        for first, second in zip(points[::2], points[1::2], strict=True):
            weights = np.atleast_1d(np.array(first.ScanSpotMetersetWeights, np.float64))
            step = float(second.CumulativeMetersetWeight) - float(first.CumulativeMetersetWeight)
            assert step == pytest.approx(weights.sum(), rel=1e-9)
            assert not np.any(second.ScanSpotMetersetWeights)
            assert second.ScanSpotPositionMap == first.ScanSpotPositionMap
            assert second.NominalBeamEnergy == first.NominalBeamEnergy
        for second, following in zip(points[1::2], points[2::2], strict=False):
            assert str(second.CumulativeMetersetWeight) == str(following.CumulativeMetersetWeight)


def test_what_a_plan_has_to_say(case: waterbox.Case, rtplan: pydicom.Dataset) -> None:
    assert rtplan.SOPClassUID == RTIonPlanStorage
    assert rtplan.ApprovalStatus == "UNAPPROVED"
    assert "RADIARCH" in rtplan.SeriesDescription
    assert "UNAPPROVED" in rtplan.SeriesDescription
    assert rtplan.SeriesNumber > 9000
    assert rtplan.RTPlanGeometry == "PATIENT"
    assert rtplan.FrameOfReferenceUID == case.patient.ct.frame_of_reference_uid
    assert rtplan.PatientSetupSequence[0].PatientPosition == "HFS"
    assert rtplan.FractionGroupSequence[0].NumberOfFractionsPlanned == 30
    reference = rtplan.ReferencedStructureSetSequence[0]
    assert reference.ReferencedSOPInstanceUID == case.patient.rtstruct_sop_instance_uid
    dose = rtplan.DoseReferenceSequence[0]
    assert (dose.ReferencedROINumber, dose.DoseReferenceType) == (waterbox.PTV, "TARGET")
    assert dose.TargetPrescriptionDose == 60
    beam = rtplan.IonBeamSequence[0]
    assert (beam.RadiationType, beam.ScanMode, beam.PrimaryDosimeterUnit) == ("PROTON", "MODULATED", "MU")
    assert list(beam.VirtualSourceAxisDistances) == pytest.approx([2234.8, 1859.1])
    first = beam.IonControlPointSequence[0]
    assert first.SnoutPosition == 410
    assert first.NumberOfPaintings == 1
    assert list(first.ScanningSpotSize) == pytest.approx([14.7, 14.9])


def test_the_same_plan_gives_the_same_bytes_in_every_attempt(case: waterbox.Case) -> None:
    again = case.spec.model_copy(update={"attempt": 2})
    assert encode(write_rtplan(case.spec, case.patient, case.plan)) == encode(
        write_rtplan(again, waterbox.patient(), waterbox.plan())
    )


def test_dates_are_those_of_the_plan_in_utc(case: waterbox.Case, rtplan: pydicom.Dataset) -> None:
    assert (rtplan.RTPlanDate, rtplan.RTPlanTime) == ("20240301", "123015.250000")
    assert (rtplan.StudyDate, rtplan.StudyTime) == ("20240229", "101112.5")
    elsewhere = case.spec.created_at.astimezone(timezone(timedelta(hours=9)))
    moved = case.spec.model_copy(update={"created_at": elsewhere})
    assert encode(write_rtplan(moved, case.patient, case.plan)) == encode(
        write_rtplan(case.spec, case.patient, case.plan)
    )


@pytest.mark.parametrize(
    "name", ["Müller^Zoë", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Кузнецов^Иван", "ANONYMOUS", ""]
)
def test_names_in_any_script_survive(case: waterbox.Case, name: str, tmp_path: Path) -> None:
    ct = dataclasses.replace(case.patient.ct, study=waterbox.study(name))
    ds = read_back(case.spec, dataclasses.replace(case.patient, ct=ct), case.plan)
    assert str(ds.PatientName) == name
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert [line for line in findings(ds, tmp_path) if line.startswith("Error")] == []


def test_values_that_break_their_vr_are_copied_as_the_ct_has_them(case: waterbox.Case) -> None:
    study = dataclasses.replace(
        case.patient.ct.study, accession_number="A-VERY-LONG-ACCESSION-NUMBER-1234", study_date="2024.02.29"
    )
    ct = dataclasses.replace(case.patient.ct, study=study)
    ds = write_rtplan(case.spec, dataclasses.replace(case.patient, ct=ct), case.plan)
    assert b"A-VERY-LONG-ACCESSION-NUMBER-1234" in encode(ds)
    assert b"2024.02.29" in encode(ds)


def test_provenance_is_in_standard_attributes_and_complete_in_the_private_block(
    case: waterbox.Case, rtplan: pydicom.Dataset
) -> None:
    assert rtplan.Manufacturer == "Radiarch"
    assert "MCsquare opentps-core 2.0.0, MCsquare_linux_avx2" in rtplan.SoftwareVersions
    equipment = rtplan.ContributingEquipmentSequence[0]
    assert equipment.ManufacturerModelName == "MCsquare"
    for fact in ("ab" * 32, "cd" * 32, "seed=1", "primaries=10000000", "RBE 1.1", "1.8 %"):
        assert fact in equipment.ContributionDescription
    assert "RBE 1.1" in rtplan.RTPlanDescription
    block = rtplan.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)
    record = json.loads(bytes(block[PROVENANCE_ELEMENT].value))
    assert record["provenance"] == dict(case.plan.provenance)
    assert record["plan_id"] == case.spec.plan_id
    assert record["notes"] == ["Nota bene: größer"]


_float32 = st.floats(-400, 400, width=32)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    n = draw(st.integers(1, 12))
    mu = draw(hnp.arrays(np.float64, n, elements=st.floats(1e-4, 500)))
    x, y = (draw(hnp.arrays(np.float64, n, elements=_float32)) for _ in range(2))
    return Layer(draw(st.floats(60, 250)), x, y, mu)


@given(planned=st.lists(layers(), min_size=1, max_size=6), gantry_deg=st.floats(0, 359.999))
@settings(LOADED, max_examples=40)
def test_any_deliverable_beam_round_trips(planned: list[Layer], gantry_deg: float) -> None:
    case = waterbox.case()
    beam = IonBeam(1, "A", gantry_deg, 0.0, (1.0, 2.0, 3.0), tuple(planned))
    found = read_ion_plan(read_back(case.spec, case.patient, dataclasses.replace(case.plan, beams=(beam,)))).beams[0]
    assert found.gantry_deg == pytest.approx(gantry_deg, abs=1e-9)
    for layer, wanted in zip(found.layers, planned, strict=True):
        assert np.array_equal(layer.meterset_mu, wanted.meterset_mu.astype(np.float32))
        assert np.array_equal(layer.x_mm, wanted.x_mm.astype(np.float32))


def test_layers_with_more_spots_than_64_kb_hold(case: waterbox.Case) -> None:
    n = 9000
    big = Layer(150.0, np.linspace(-100, 100, n), np.linspace(100, -100, n), np.full(n, 0.25))
    beam = IonBeam(1, "A", 0.0, 0.0, (0.0, 0.0, 0.0), (big,))
    read = read_ion_plan(read_back(case.spec, case.patient, dataclasses.replace(case.plan, beams=(beam,))))
    assert read.beams[0].layers[0].x_mm.size == n
    assert read.beams[0].total_mu == pytest.approx(0.25 * n)


def with_layer(plan: PlanResult, **changes: object) -> PlanResult:
    """The plan with something changed in the second layer of its first beam."""
    first = ion_beams(plan)[0]
    layer = dataclasses.replace(first.layers[1], **changes)  # type: ignore[arg-type]
    beam = dataclasses.replace(first, layers=(first.layers[0], layer, *first.layers[2:]))
    return dataclasses.replace(plan, beams=(beam, *ion_beams(plan)[1:]))


def _mu(plan: PlanResult, value: float) -> np.ndarray:  # type: ignore[type-arg]
    mu = ion_beams(plan)[0].layers[1].meterset_mu.copy()
    mu[-1] = value
    return mu


@pytest.mark.parametrize("mu", [-0.5, 0.0, np.nan, np.inf, 1e-60])
def test_mu_that_no_machine_delivers_is_refused(case: waterbox.Case, mu: float) -> None:
    with pytest.raises(EngineError, match=r"beam 1, layer 2 \(.*MeV\)") as caught:
        write_rtplan(case.spec, case.patient, with_layer(case.plan, meterset_mu=_mu(case.plan, mu)))
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID
    assert caught.value.info.details == {"beam": 1, "layer": 1}


def test_a_beam_that_makes_no_sense_is_refused(case: waterbox.Case) -> None:
    plan, beam = case.plan, ion_beams(case.plan)[0]
    empty = Layer(150.0, np.zeros(0), np.zeros(0), np.zeros(0))
    wrong: list[PlanResult] = [
        with_layer(plan, x_mm=np.full_like(ion_beams(plan)[0].layers[1].x_mm, np.nan)),
        with_layer(plan, x_mm=np.zeros(77)),
        with_layer(plan, energy_mev=-1.0),
        dataclasses.replace(plan, provenance={**plan.provenance, "objective": np.nan}),
        dataclasses.replace(plan, beams=()),
        dataclasses.replace(plan, beams=(beam, beam)),
        dataclasses.replace(plan, beams=(dataclasses.replace(beam, layers=()),)),
        dataclasses.replace(plan, beams=(dataclasses.replace(beam, layers=(empty,)),)),
        dataclasses.replace(plan, beams=(dataclasses.replace(beam, gantry_deg=np.nan),)),
        dataclasses.replace(plan, beams=(dataclasses.replace(beam, isocenter_mm=(0.0, np.inf, 0.0)),)),
    ]
    for one in wrong:
        with pytest.raises(EngineError) as caught:
            write_rtplan(case.spec, case.patient, one)
        assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID


def test_a_result_without_or_with_another_identity_is_refused(case: waterbox.Case) -> None:
    p = case.patient

    def with_ct(**changes: object) -> Patient:
        return dataclasses.replace(p, ct=dataclasses.replace(p.ct, **changes))  # type: ignore[arg-type]

    def with_study(**changes: str) -> Patient:
        return with_ct(study=dataclasses.replace(p.ct.study, **changes))

    wrong: list[tuple[JobSpec, Patient, ErrorCode]] = [
        (case.spec, with_study(patient_id=""), ErrorCode.PATIENT_MISMATCH),
        (case.spec, with_study(study_instance_uid=""), ErrorCode.PATIENT_MISMATCH),
        (case.spec, with_ct(frame_of_reference_uid=""), ErrorCode.PATIENT_MISMATCH),
        (case.spec, dataclasses.replace(p, rtstruct_sop_instance_uid=""), ErrorCode.PATIENT_MISMATCH),
        (case.spec.model_copy(update={"patient_id": "SOMEONE-ELSE"}), p, ErrorCode.PATIENT_MISMATCH),
        (case.spec.model_copy(update={"rtstruct_sop_instance_uid": "1.2.3"}), p, ErrorCode.INPUT_CHANGED),
        (case.spec.model_copy(update={"structures": ()}), p, ErrorCode.NO_TARGET),
    ]
    for spec, patient, code in wrong:
        with pytest.raises(InputRefusedError) as caught:
            write_rtplan(spec, patient, case.plan)
        assert caught.value.code is code
        assert "SOMEONE-ELSE" not in str(caught.value)


def test_every_target_has_a_dose_reference_and_derived_ones_name_no_roi(case: waterbox.Case, tmp_path: Path) -> None:
    prescription = case.spec.prescribed
    other = next(s for s in case.patient.structures.values() if s.name != prescription.target)
    ref = StructureRef(name="Low", roi_number=other.roi_number, roi_name=other.name)
    more = (TargetDose(target="Low", dose_gy=45), TargetDose(target="Ring", dose_gy=30.5))
    spec = case.spec.model_copy(
        update={
            "prescription": prescription.model_copy(update={"more": more}),
            "structures": (*case.spec.structures, ref),
            "parameters": case.spec.parameters | {"derived": {"Ring": "Low minus PTV"}},
        }
    )
    written = read_back(spec, case.patient, case.plan)
    assert findings(written, tmp_path) == []
    items = written.DoseReferenceSequence
    assert [i.DoseReferenceNumber for i in items] == [1, 2, 3]
    assert [float(i.TargetPrescriptionDose) for i in items] == [prescription.dose_gy, 45, 30.5]
    assert [i.DoseReferenceStructureType for i in items] == ["VOLUME", "VOLUME", "SITE"]
    assert items[1].ReferencedROINumber == other.roi_number
    assert "ReferencedROINumber" not in items[2]
    assert items[2].DoseReferenceDescription == "Ring: Low minus PTV"
    assert len({i.DoseReferenceUID for i in items}) == 3
    referenced = written.FractionGroupSequence[0].ReferencedDoseReferenceSequence
    assert [(r.ReferencedDoseReferenceNumber, float(r.TargetPrescriptionDose)) for r in referenced] == [
        (i.DoseReferenceNumber, float(i.TargetPrescriptionDose)) for i in items
    ]
    assert "45 Gy (RBE-weighted) to Low" in written.PrescriptionDescription


def test_a_range_shifter_is_described_and_set_where_the_beam_has_one(case: waterbox.Case, tmp_path: Path) -> None:
    first, *others = ion_beams(case.plan)
    shifted = dataclasses.replace(first, range_shifter=RangeShifter("RS_Block", 73.1, 180.0))
    plan = dataclasses.replace(case.plan, beams=(shifted, *others))
    written = read_back(case.spec, case.patient, plan)
    assert findings(written, tmp_path) == []
    beam, *plain = written.IonBeamSequence
    assert beam.NumberOfRangeShifters == 1
    (shifter,) = beam.RangeShifterSequence
    assert (shifter.RangeShifterNumber, shifter.RangeShifterID, shifter.RangeShifterType) == (1, "RS_Block", "BINARY")
    settings_of = [p.get("RangeShifterSettingsSequence") for p in beam.IonControlPointSequence]
    assert settings_of[1:] == [None] * (len(settings_of) - 1)
    (setting,) = settings_of[0]
    assert setting.ReferencedRangeShifterNumber == 1
    assert setting.RangeShifterSetting == "IN"
    assert setting.IsocenterToRangeShifterDistance == pytest.approx(180.0)
    assert setting.RangeShifterWaterEquivalentThickness == pytest.approx(73.1)
    for other in plain:
        assert other.NumberOfRangeShifters == 0
        assert "RangeShifterSequence" not in other
    assert read_ion_plan(written).beams[0].total_mu == pytest.approx(
        read_ion_plan(read_back(case.spec, case.patient, case.plan)).beams[0].total_mu
    )
