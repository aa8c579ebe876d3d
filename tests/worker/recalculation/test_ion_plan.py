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
from radiarch_worker.ion import IonMachine, RangeShifter
from radiarch_worker.position import PatientPosition
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
    assert {m.model for m in read.machines} == {CASE.plan.machine.name}
    assert isinstance(CASE.plan.machine, IonMachine)
    assert read.source_distances_mm == pytest.approx(CASE.plan.machine.virtual_source_axis_distance_mm)
    assert (read.targets, read.prescribed) == ((waterbox.PTV,), ((waterbox.PTV, 60.0),))
    assert read.notes == ()
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


@pytest.mark.parametrize("with_meterset", [True, False])
def test_a_setup_beam_is_left_out_and_said(with_meterset: bool) -> None:
    ds = plan()
    ds.IonBeamSequence[1].TreatmentDeliveryType = "SETUP"
    if not with_meterset:
        del ds.FractionGroupSequence[0].ReferencedBeamSequence[1].BeamMeterset
    read = read_ion_plan(ds)
    assert [b.number for b in read.beams] == [1]
    assert any("Beam 2" in note and "SETUP" in note for note in read.notes)


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


def device(keyword: str, number: int | None, sequence: str | None) -> Callable[[Dataset], Any]:
    """A device in the first beam: by its number, by the sequence that describes it, or both."""

    def change(ds: Dataset) -> None:
        first = ds.IonBeamSequence[0]
        setattr(first, keyword, number)
        if sequence is not None:
            setattr(first, sequence, [Dataset()])

    return change


def setups(*positions: str, numbered: bool = True, **more: str) -> Callable[[Dataset], Any]:
    """A setup for each beam, the last one for those that are left; without numbers, no beam says which is its own."""

    def change(ds: Dataset) -> None:
        ds.PatientSetupSequence = []
        for number, position in enumerate(positions, start=1):
            item = Dataset()
            item.PatientSetupNumber, item.PatientPosition = number, position
            for keyword, value in more.items():
                setattr(item, keyword, value)
            ds.PatientSetupSequence.append(item)
        for n, b in enumerate(ds.IonBeamSequence, start=1):
            b.ReferencedPatientSetupNumber = min(n, len(positions)) if numbered else None

    return change


DEVICES = (
    ("NumberOfWedges", "IonWedgeSequence", "wedges"),
    ("NumberOfWedges", "WedgeSequence", "wedges"),
    ("NumberOfCompensators", "IonRangeCompensatorSequence", "compensators"),
    ("NumberOfCompensators", "CompensatorSequence", "compensators"),
    ("NumberOfBoli", "ReferencedBolusSequence", "boli"),
    ("NumberOfBlocks", "IonBlockSequence", "blocks"),
    ("NumberOfBlocks", "BlockSequence", "blocks"),
    ("NumberOfLateralSpreadingDevices", "LateralSpreadingDeviceSequence", "spreading"),
    ("NumberOfRangeModulators", "RangeModulatorSequence", "modulators"),
)

UNSUPPORTED: dict[str, tuple[Callable[[Dataset], Any], str]] = {
    **{
        f"{sequence}, number {number}": (device(keyword, number, sequence), word)
        for keyword, sequence, word in DEVICES
        for number in (None, 0, 1)
    },
    **{f"{keyword} alone": (device(keyword, 1, None), word) for keyword, _, word in DEVICES},
    "an applicator": (beam(lambda b: setattr(b, "ApplicatorSequence", [Dataset()])), "applicator"),
    "a collimator": (point(0, BeamLimitingDevicePositionSequence=[Dataset()]), "collimator"),
    "a wedge at a point": (point(2, IonWedgePositionSequence=[Dataset()]), "wedges"),
    "a spreading device at a point": (point(0, LateralSpreadingDeviceSettingsSequence=[Dataset()]), "spreading"),
    "a modulator at a point": (point(0, RangeModulatorSettingsSequence=[Dataset()]), "modulators"),
    "two range shifters": (beam(lambda b: setattr(b, "NumberOfRangeShifters", 2)), "2 range shifters"),
    "an analog range shifter": (shifted(RangeShifterType="ANALOG"), "ANALOG"),
    "a range shifter without thickness": (shifted(RangeShifterWaterEquivalentThickness=None), "thickness"),
    "a range shifter somewhere": (shifted(IsocenterToRangeShifterDistance=None), "distance"),
    "a range shifter half in": (shifted(RangeShifterSetting="A"), "'A'"),
    "uniform scanning": (beam(lambda b: setattr(b, "ScanMode", "UNIFORM")), "Scan Mode"),
    "no scanning": (beam(lambda b: setattr(b, "ScanMode", "NONE")), "Scan Mode"),
    "lines between spots": (beam(lambda b: setattr(b, "ModulatedScanModeType", "LINEAR")), "Modulated Scan Mode"),
    "carbon": (beam(lambda b: setattr(b, "RadiationType", "ION")), "Radiation Type"),
    "no radiation": (beam(lambda b: setattr(b, "RadiationType", "")), "Radiation Type"),
    "arc": (beam(lambda b: setattr(b, "BeamType", "DYNAMIC")), "Beam Type"),
    "particles": (beam(lambda b: setattr(b, "PrimaryDosimeterUnit", "NP")), "Primary Dosimeter Unit"),
    "energy of each nucleon": (point(0, NominalBeamEnergyUnit="MEV/U"), "Energy Unit"),
    "gantry moves": (point(2, GantryAngle=100.0), "Gantry Angle"),
    "gantry is to move": (point(0, GantryRotationDirection="CW"), "Gantry Rotation Direction"),
    "couch moves": (point(2, PatientSupportAngle=5.0), "Patient Support Angle"),
    "isocenter moves": (point(2, IsocenterPosition=[-27.2, -110.125, 3.0]), "Isocenter Position"),
    "table moves": (
        lambda ds: (point(0, TableTopLateralPosition=0.0)(ds), point(2, TableTopLateralPosition=40.0)(ds)),
        "Table Top Lateral",
    ),
    "tilted table": (point(0, TableTopPitchAngle=2.0), "pitch"),
    "sitting": (setups("SITTING"), "SITTING"),
    "standing, as text": (setups("", PatientAdditionalPosition="STANDING"), "STANDING"),
    "turned between beams": (setups("HFP", "FFP"), "FFP, HFP"),
    "turned between beams that do not say which setup is theirs": (setups("HFP", "HFS", numbered=False), "HFP, HFS"),
    "two groups": (lambda ds: ds.FractionGroupSequence.append(ds.FractionGroupSequence[0]), "2 fraction groups"),
    "no group": (lambda ds: setattr(ds, "FractionGroupSequence", []), "0 fraction groups"),
    "sources": (lambda ds: setattr(ds.FractionGroupSequence[0], "NumberOfBrachyApplicationSetups", 1), "Brachy"),
    "device": (lambda ds: setattr(ds, "RTPlanGeometry", "TREATMENT_DEVICE"), "Geometry"),
    "a port film": (beam(lambda b: setattr(b, "TreatmentDeliveryType", "TRMT_PORTFILM")), "TRMT_PORTFILM"),
    "two machines": (beam(lambda b: setattr(b, "VirtualSourceAxisDistances", [1000.0, 900.0])), "Virtual Source"),
}


@pytest.mark.parametrize("position", PatientPosition)
def test_the_position_is_that_of_the_beams_setups(position: PatientPosition) -> None:
    ds = plan()
    setups(position, position)(ds)
    unused = copy.deepcopy(ds.PatientSetupSequence[0])
    unused.PatientSetupNumber, unused.PatientPosition = 99, "SITTING"
    ds.PatientSetupSequence.append(unused)
    assert read_ion_plan(ds).patient_position is position


def test_a_plan_need_not_say_how_the_patient_lies() -> None:
    ds = plan()
    ds.PatientSetupSequence[0].PatientPosition = ""
    assert read_ion_plan(ds).patient_position is None
    del ds.PatientSetupSequence
    assert read_ion_plan(ds).patient_position is None


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
    "a range shifter of another number": shifted(ReferencedRangeShifterNumber=2),
    "a beam that is absent": lambda ds: ds.IonBeamSequence.pop(1),
    "a group that names one beam of two": lambda ds: [
        ds.FractionGroupSequence[0].ReferencedBeamSequence.pop(1),
        ds.FractionGroupSequence[0].__setattr__("NumberOfBeams", 1),
    ],
    "a group with fewer beams than it says": lambda ds: ds.FractionGroupSequence[0].ReferencedBeamSequence.pop(1),
    "a beam named twice": lambda ds: setattr(
        ds.FractionGroupSequence[0].ReferencedBeamSequence[1], "ReferencedBeamNumber", 1
    ),
    "a beam without meterset": lambda ds: delattr(
        ds.FractionGroupSequence[0].ReferencedBeamSequence[1], "BeamMeterset"
    ),
    "an empty meterset": lambda ds: setattr(
        ds.FractionGroupSequence[0].ReferencedBeamSequence[1], "BeamMeterset", None
    ),
    "no MU": lambda ds: setattr(ds.FractionGroupSequence[0].ReferencedBeamSequence[1], "BeamMeterset", 0),
    "no fractions": lambda ds: setattr(ds.FractionGroupSequence[0], "NumberOfFractionsPlanned", 0),
    "fractions missing": lambda ds: delattr(ds.FractionGroupSequence[0], "NumberOfFractionsPlanned"),
    "half a fraction": lambda ds: setattr(ds.FractionGroupSequence[0], "NumberOfFractionsPlanned", 2.5),
    "two beams of one number": lambda ds: setattr(ds.IonBeamSequence[1], "BeamNumber", 1),
    "control points in another order": lambda ds: ds.IonBeamSequence[0].IonControlPointSequence.reverse(),
    "a control point missing": lambda ds: ds.IonBeamSequence[0].IonControlPointSequence.pop(-1),
    "a weight that is no number": point(0, NumberOfScanSpotPositions=1, ScanSpotMetersetWeights=float("nan")),
    "no source": beam(lambda b: setattr(b, "VirtualSourceAxisDistances", [0.0, 0.0])),
    "protons of charge 6": beam(lambda b: setattr(b, "RadiationAtomicNumber", 6)),
    "a prescription of nothing": lambda ds: setattr(ds.DoseReferenceSequence[0], "TargetPrescriptionDose", 0),
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


def test_negative_weights_that_sum_up_are_refused() -> None:
    ds = plan()
    first = ds.IonBeamSequence[0].IonControlPointSequence[0]
    weights = list(np.atleast_1d(first.ScanSpotMetersetWeights))
    assert len(weights) > 1
    first.ScanSpotMetersetWeights = [weights[0] + 2 * weights[1], -weights[1], *weights[2:]]
    assert "negative" in refusal(ds).info.message


def test_a_gantry_at_zero_and_at_full_turn_is_one_gantry() -> None:
    ds = plan()
    point(0, GantryAngle=0.0)(ds)
    point(2, GantryAngle=360.0)(ds)
    assert read_ion_plan(ds).beams[0].gantry_deg == 0.0


Path = tuple[str | int, ...]


def elements(ds: Dataset, at: Path = ()) -> list[Path]:
    """Every element of a plan, down to its second control point: what follows is more of the same."""
    found: list[Path] = []
    for element in ds:
        here = (*at, element.keyword)
        found.append(here)
        if element.VR == "SQ":
            for i, item in enumerate(element.value[: 3 if element.keyword == "IonControlPointSequence" else 2]):
                found += elements(item, (*here, i))
    return [path for path in found if path[-1]]


def holder(ds: Dataset, path: Path) -> tuple[Dataset, str]:
    inside: Any = ds
    for step in path[:-1]:
        inside = getattr(inside, step) if isinstance(step, str) else inside[step]
    return inside, str(path[-1])


def delivered(ds: Dataset) -> list[Any]:
    """All that makes the dose of a plan."""
    read = read_ion_plan(ds)
    beams = [
        (b.number, b.gantry_deg, b.couch_deg, b.isocenter_mm, b.range_shifter,
         [(x.energy_mev, x.x_mm.tolist(), x.y_mm.tolist(), x.meterset_mu.tolist(), x.spot_fwhm_mm) for x in b.layers])
        for b in read.beams
    ]  # fmt: skip
    return [read.fractions, read.machines, read.source_distances_mm, beams]


def told(ds: Dataset) -> tuple[InputRefusedError | None, list[Any]]:
    try:
        return None, delivered(ds)
    except InputRefusedError as e:
        return e, []


UNTOLD = {"ScanningSpotSize", "TreatmentMachineName", "ManufacturerModelName", "VirtualSourceAxisDistances"}
"""Without these a plan is computed with what the beam data have, and notes say so."""


@pytest.mark.parametrize("how", ["absent", "empty"])
@pytest.mark.parametrize("path", elements(PLAN), ids=lambda p: ".".join(map(str, p)))
def test_whatever_a_plan_lacks_it_is_refused_or_delivered_as_before(path: Path, how: str) -> None:
    ds = plan()
    inside, keyword = holder(ds, path)
    if how == "absent":
        delattr(inside, keyword)
    else:
        setattr(inside, keyword, [] if inside[keyword].VR == "SQ" else None)
    if (keyword, how) == ("NominalBeamEnergy", "absent") and path[-2] != 0:
        assert delivered(ds)[0] == 30  # PS3.3: the energy is as before, which nobody can tell from one left out
        return
    refused, found = told(ds)
    if refused is None:
        assert found == delivered(PLAN) or keyword in UNTOLD
    else:
        assert refused.code in (ErrorCode.UNREADABLE_RTPLAN, ErrorCode.UNSUPPORTED_PLAN)
        assert refused.info.remedy


IGNORED = {
    "BeamLimitingDeviceAngle",  # without a collimator it turns nothing
    "DoseReferenceNumber",
    "FractionGroupNumber",
    "InstanceNumber",
    "NumberOfPaintings",  # how often the weights' parts are given
    "PatientSetupNumber",
    "ReferencedDoseReferenceNumber",
    "ReferencedPatientSetupNumber",
    "ReferencedROINumber",
    "SeriesNumber",
    "SnoutPosition",  # nothing is on the snout
    "TargetPrescriptionDose",  # compared, not computed with
}
"""Numbers that have no part in a plan's dose."""
NUMBERS = [p for p in elements(PLAN) if holder(PLAN, p)[0][str(p[-1])].VR in ("DS", "IS", "FL", "FD", "US")]


@pytest.mark.parametrize("path", NUMBERS, ids=lambda p: ".".join(map(str, p)))
def test_no_other_number_is_read_over(path: Path) -> None:
    """A number that changes is refused, or another dose is computed."""
    ds = plan()
    inside, keyword = holder(ds, path)
    element = inside[keyword]
    if element.VM == 0:
        pytest.skip("it has no value")
    values = np.atleast_1d(np.array(element.value, dtype=float))
    changed = values * 1.05 + 5 if element.VR in ("DS", "FL", "FD") else values + 1
    element.value = changed.tolist() if len(changed) > 1 else changed[0] if element.VR != "IS" else int(changed[0])
    refused, found = told(ds)
    if refused is None:
        gives_nothing = "IonControlPointSequence" in path and int(path[-2]) % 2 == 1  # the end of a layer
        assert (found == delivered(PLAN)) == (keyword in IGNORED or gives_nothing)
