"""RT Ion Plans of other systems are read as they are to be delivered, or refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_worker.dicom import encode, write_rtplan
from radiarch_worker.model import RangeShifter
from radiarch_worker.recalculation import read_ion_plan

from tests.worker.dicom import waterbox
from tests.worker.dicom.independent_reader import read_ion_plan as read_independently

CASE = waterbox.case()
PLAN = pydicom.dcmread(BytesIO(encode(write_rtplan(CASE.spec, CASE.patient, CASE.plan))))


def plan() -> Dataset:
    return copy.deepcopy(PLAN)


def refusal(dataset: Dataset) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        read_ion_plan(dataset)
    assert caught.value.info.remedy
    return caught.value


def test_a_plan_of_ours_reads_back_as_it_was_written() -> None:
    read = read_ion_plan(plan())
    independent = read_independently(plan())
    assert read.fractions == independent.fractions == 30
    assert read.sop_instance_uid == PLAN.SOPInstanceUID
    assert {model for _, model in read.machines} == {CASE.plan.machine.name}
    assert read.targets == (waterbox.PTV,)
    for beam, other in zip(read.beams, independent.beams, strict=True):
        assert (beam.gantry_deg, beam.couch_deg, beam.isocenter_mm) == (
            other.gantry_deg,
            other.couch_deg,
            other.isocenter_mm,
        )
        for layer, same in zip(beam.layers, other.layers, strict=True):
            assert layer.energy_mev == same.energy_mev
            for name in ("x_mm", "y_mm", "meterset_mu"):
                assert np.allclose(getattr(layer, name), getattr(same, name), rtol=1e-6)


def test_meterset_is_the_beams_share_whatever_the_weights_unit() -> None:
    """Weights in percent, as some systems write them."""
    ds = plan()
    for beam in ds.IonBeamSequence:
        factor = 100.0 / float(beam.FinalCumulativeMetersetWeight)
        beam.FinalCumulativeMetersetWeight = 100.0
        for point in beam.IonControlPointSequence:
            point.CumulativeMetersetWeight = float(point.CumulativeMetersetWeight) * factor
            weights = np.atleast_1d(point.ScanSpotMetersetWeights) * factor
            point.ScanSpotMetersetWeights = weights.tolist()
    for beam, same in zip(read_ion_plan(ds).beams, read_ion_plan(plan()).beams, strict=True):
        for layer, other in zip(beam.layers, same.layers, strict=True):
            assert layer.meterset_mu == pytest.approx(other.meterset_mu, rel=1e-5)


def test_what_is_not_for_treatment_is_left_out_and_said() -> None:
    ds = plan()
    ds.IonBeamSequence[1].TreatmentDeliveryType = "SETUP"
    read = read_ion_plan(ds)
    assert [b.number for b in read.beams] == [1]
    assert any("Beam 2" in note for note in read.notes)


def beam(change: Callable[[Dataset], Any]) -> Callable[[Dataset], Any]:
    return lambda ds: change(ds.IonBeamSequence[0])


def point(index: int, **values: Any) -> Callable[[Dataset], Any]:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds.IonBeamSequence[0].IonControlPointSequence[index], keyword, value)

    return change


def shifted(**changes: Any) -> Callable[[Dataset], Any]:
    """The first beam behind a range shifter, as our writer writes it, with changes."""

    def change(ds: Dataset) -> None:
        first = ds.IonBeamSequence[0]
        first.NumberOfRangeShifters, first.RangeShifterSequence = 1, [Dataset()]
        slab, setting = first.RangeShifterSequence[0], Dataset()
        slab.RangeShifterNumber, slab.RangeShifterID, slab.RangeShifterType = 1, "RS_other", "BINARY"
        setting.ReferencedRangeShifterNumber, setting.RangeShifterSetting = 1, "IN"
        setting.IsocenterToRangeShifterDistance, setting.RangeShifterWaterEquivalentThickness = 180.0, 40.0
        first.IonControlPointSequence[0].RangeShifterSettingsSequence = [setting]
        for keyword, value in changes.items():
            holder = slab if keyword in slab else setting
            setattr(holder, keyword, value)

    return change


def test_a_range_shifter_is_read_with_its_thickness_and_place() -> None:
    ds = plan()
    shifted()(ds)
    first, second = read_ion_plan(ds).beams
    assert first.range_shifter == RangeShifter("RS_other", 40.0, 180.0)
    assert second.range_shifter is None
    shifted(RangeShifterSetting="OUT")(ds)
    assert read_ion_plan(ds).beams[0].range_shifter is None


UNSUPPORTED: dict[str, tuple[Callable[[Dataset], Any], str]] = {
    "photons": (lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.481.5"), "photons"),
    "two range shifters": (beam(lambda b: setattr(b, "NumberOfRangeShifters", 2)), "2 range shifters"),
    "an analog range shifter": (shifted(RangeShifterType="ANALOG"), "ANALOG"),
    "a range shifter without thickness": (shifted(RangeShifterWaterEquivalentThickness=None), "thickness"),
    "a range shifter somewhere": (shifted(IsocenterToRangeShifterDistance=None), "distance"),
    "a range shifter half in": (shifted(RangeShifterSetting="A"), "'A'"),
    "wedges": (beam(lambda b: setattr(b, "NumberOfWedges", 1)), "wedges"),
    "compensators": (beam(lambda b: setattr(b, "NumberOfCompensators", 2)), "compensators"),
    "blocks": (beam(lambda b: setattr(b, "NumberOfBlocks", 1)), "blocks"),
    "uniform scanning": (beam(lambda b: setattr(b, "ScanMode", "UNIFORM")), "ScanMode"),
    "no scanning": (beam(lambda b: setattr(b, "ScanMode", "NONE")), "ScanMode"),
    "carbon": (beam(lambda b: setattr(b, "RadiationType", "ION")), "RadiationType"),
    "arc": (beam(lambda b: setattr(b, "BeamType", "DYNAMIC")), "BeamType"),
    "particles": (beam(lambda b: setattr(b, "PrimaryDosimeterUnit", "NP")), "PrimaryDosimeterUnit"),
    "gantry moves": (point(2, GantryAngle=100.0), "GantryAngle"),
    "couch moves": (point(2, PatientSupportAngle=5.0), "PatientSupportAngle"),
    "tilted table": (point(0, TableTopPitchAngle=2.0), "pitch"),
    "prone": (lambda ds: setattr(ds.PatientSetupSequence[0], "PatientPosition", "HFP"), "HFP"),
    "two groups": (lambda ds: ds.FractionGroupSequence.append(ds.FractionGroupSequence[0]), "2 fraction groups"),
    "device": (lambda ds: setattr(ds, "RTPlanGeometry", "TREATMENT_DEVICE"), "Geometry"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_computed_truthfully_is_named(name: str) -> None:
    change, word = UNSUPPORTED[name]
    ds = plan()
    change(ds)
    error = refusal(ds)
    assert (error.code, word in error.info.message) == (ErrorCode.UNSUPPORTED_PLAN, True), error.info.message


BROKEN: dict[str, Callable[[Dataset], Any]] = {
    "a range shifter that nothing describes": beam(lambda b: setattr(b, "NumberOfRangeShifters", 1)),
    "a dose": lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.481.2"),
    "no beams": lambda ds: setattr(ds, "IonBeamSequence", []),
    "no meterset": lambda ds: setattr(ds.FractionGroupSequence[0], "ReferencedBeamSequence", []),
    "weights and meterset contradict": point(0, ScanSpotMetersetWeights=[5.0] * 4),
    "cumulative falls": point(2, CumulativeMetersetWeight=0.0),
    "no energy": beam(lambda b: b.IonControlPointSequence[0].__delattr__("NominalBeamEnergy")),
    "fewer positions": point(0, ScanSpotPositionMap=[1.0, 2.0]),
    "spots beyond the room": point(0, NumberOfScanSpotPositions=1, ScanSpotPositionMap=[1e6, 0.0]),
    "negative meterset": lambda ds: setattr(ds.FractionGroupSequence[0].ReferencedBeamSequence[0], "BeamMeterset", -5),
    "isocenter in another town": point(0, IsocenterPosition=[1e9, 0, 0]),
    "no isocenter": beam(lambda b: b.IonControlPointSequence[0].__delattr__("IsocenterPosition")),
    "text for an angle": point(0, GantryAngle=None),
    "a hundred beams": lambda ds: setattr(ds, "IonBeamSequence", [ds.IonBeamSequence[0]] * 100),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_contradicts_itself_is_refused(name: str) -> None:
    ds = plan()
    BROKEN[name](ds)
    assert refusal(ds).code is ErrorCode.UNREADABLE_RTPLAN


def test_spot_sizes_are_read_where_they_are_told() -> None:
    ds = plan()
    for a_beam in ds.IonBeamSequence:
        for a_point in a_beam.IonControlPointSequence:
            a_point.ScanningSpotSize = [8.5, 9.0]
    assert {layer.spot_fwhm_mm for b in read_ion_plan(ds).beams for layer in b.layers} == {(8.5, 9.0)}
    for a_beam in ds.IonBeamSequence:
        for a_point in a_beam.IonControlPointSequence:
            a_point.ScanningSpotSize = [0.0, 9.0]
    assert {layer.spot_fwhm_mm for b in read_ion_plan(ds).beams for layer in b.layers} == {None}
