"""RT Plans of other systems are read as they are to be delivered, or refused by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_worker.photon import FluenceMode, PhotonBeam, Rotation
from radiarch_worker.position import PatientPosition
from radiarch_worker.recalculation import read_photon_plan

from tests.worker.recalculation import rt_plans
from tests.worker.recalculation.rt_plans import HD120, MILLENNIUM, Beam, square

UNREADABLE, UNSUPPORTED = ErrorCode.UNREADABLE_RTPLAN, ErrorCode.UNSUPPORTED_PLAN


def read(beam: Beam) -> PhotonBeam:
    (found,) = read_photon_plan(rt_plans.plan(beam)).beams
    return found


def test_a_static_field_is_its_aperture() -> None:
    plan = read_photon_plan(rt_plans.plan(rt_plans.static(couch=15.0, collimator=350.0)))
    (beam,) = plan.beams
    assert (plan.fractions, plan.patient_position, plan.source_distances_mm) == (30, PatientPosition.HFS, (1000, 1000))
    assert (beam.gantry_deg, beam.couch_deg, beam.collimator_deg, beam.energy_mv) == (0, 15, 350, 6)
    assert (beam.fluence, beam.rotation, beam.isocenter_mm) == (FluenceMode.FLATTENED, Rotation.NONE, (1, 2, 3))
    first, last = beam.control_points
    assert (first.cumulative_mu, last.cumulative_mu, last.dose_rate_mu_min) == (0, 100, 600)
    assert first.jaws_x_mm == last.jaws_x_mm == (-50, 50)
    assert last.leaves_mm == pytest.approx(square(MILLENNIUM))


def test_what_a_control_point_does_not_say_is_as_before() -> None:
    beam = read(rt_plans.step_and_shoot())
    assert [p.cumulative_mu for p in beam.control_points] == pytest.approx([0, 40, 40, 100])
    assert [p.gantry_deg for p in beam.control_points] == [30] * 4
    assert beam.control_points[3].leaves_mm == pytest.approx(square(MILLENNIUM, 20.0))
    assert [s.mu for s in beam.exposures()] == pytest.approx([40, 60])
    assert [s.index for s in beam.exposures()] == [0, 2]


def test_leaves_of_a_sliding_window_move_with_the_mu() -> None:
    beam = read(rt_plans.sliding_window())
    leaves = beam.between(0, 0.25).leaves_mm
    assert leaves is not None
    assert leaves[:, 30] == pytest.approx([-40.0, -20.0])


def test_an_arc_turns_the_way_it_says_and_may_shrink() -> None:
    beam = read(rt_plans.arc())
    assert (beam.rotation, beam.collimator_deg, beam.meterset_mu) == (Rotation.CLOCKWISE, 30, 450)
    assert beam.gantry_path_deg == pytest.approx([180.1, 300, 420, 539.9])


def test_an_agility_has_no_jaws_in_x_and_its_weights_are_percent() -> None:
    beam = read(rt_plans.elekta_arc())
    assert beam.rotation is Rotation.COUNTER_CLOCKWISE
    assert beam.gantry_path_deg == pytest.approx([179, 0, -179])
    assert [p.jaws_x_mm for p in beam.control_points] == [None] * 3
    assert [p.jaws_y_mm for p in beam.control_points] == [(-50, 50), (-40, 40), (-30, 30)]
    assert [p.cumulative_mu for p in beam.control_points] == pytest.approx([0, 120, 300])


@pytest.mark.parametrize("names", [("X", "Y"), ("ASYMX", "ASYMY")])
def test_jaws_may_be_called_symmetric(names: tuple[str, ...]) -> None:
    assert read(rt_plans.static(jaws=names)).control_points[0].jaws_y_mm == (-50, 50)


def test_a_field_may_have_no_leaves() -> None:
    beam = rt_plans.static(boundaries=None)
    beam.points[0].mlc = None
    found = read(beam)
    assert (found.leaf_boundaries_mm, found.control_points[0].leaves_mm) == (None, None)


def test_narrow_leaves_lie_where_the_plan_has_them() -> None:
    beam = rt_plans.static(boundaries=HD120)
    beam.points[0].mlc = square(HD120)
    boundaries = read(beam).leaf_boundaries_mm
    assert boundaries is not None
    assert (len(boundaries), boundaries[0], boundaries[14], boundaries[-1]) == (61, -110, -40, 110)


@pytest.mark.parametrize(
    ("fluence", "found"),
    [
        (None, FluenceMode.FLATTENED),
        (("STANDARD", ""), FluenceMode.FLATTENED),
        (("NON_STANDARD", "FFF"), FluenceMode.UNFLATTENED),
        (("NON_STANDARD", "6FFF"), FluenceMode.UNFLATTENED),
    ],
)
def test_beams_without_flattening_filter_are_told_apart(fluence: tuple[str, str] | None, found: FluenceMode) -> None:
    assert read(rt_plans.static(fluence=fluence)).fluence is found


def _device(name: str, count: str) -> Callable[[Dataset], None]:
    def add(ds: Dataset) -> None:
        setattr(ds.BeamSequence[0], count, 1)
        setattr(ds.BeamSequence[0], name, [Dataset()])

    return add


def _set(name: str, value: object, point: int | None = None) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        beam = ds.BeamSequence[0]
        setattr(beam if point is None else beam.ControlPointSequence[point], name, value)

    return change


def _delete(name: str, point: int | None = None) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        beam = ds.BeamSequence[0]
        delattr(beam if point is None else beam.ControlPointSequence[point], name)

    return change


def _y_leaves(ds: Dataset) -> None:
    ds.BeamSequence[0].BeamLimitingDeviceSequence[2].RTBeamLimitingDeviceType = "MLCY"


def _no_meterset(ds: Dataset) -> None:
    del ds.FractionGroupSequence[0].ReferencedBeamSequence[0].BeamMeterset


def _leaf(ds: Dataset, pair: int, x1: float) -> None:
    ds.BeamSequence[0].ControlPointSequence[0].BeamLimitingDevicePositionSequence[2].LeafJawPositions[pair] = x1


def _jaws(ds: Dataset, low: float, high: float) -> None:
    position = ds.BeamSequence[0].ControlPointSequence[0].BeamLimitingDevicePositionSequence[0]
    position.LeafJawPositions = [low, high]


def _without_position(ds: Dataset) -> None:
    del ds.BeamSequence[0].ControlPointSequence[0].BeamLimitingDevicePositionSequence[2]


def _twice(ds: Dataset) -> None:
    ds.BeamSequence.append(ds.BeamSequence[0])


REFUSED: list[tuple[str, Beam, Callable[[Dataset], object], ErrorCode, str]] = [
    ("wedge", rt_plans.static(), _device("WedgeSequence", "NumberOfWedges"), UNSUPPORTED, "has wedges"),
    ("wedge in", rt_plans.static(), _set("WedgePositionSequence", [Dataset()], 0), UNSUPPORTED, "has wedges"),
    ("block", rt_plans.static(), _device("BlockSequence", "NumberOfBlocks"), UNSUPPORTED, "has blocks"),
    (
        "compensator",
        rt_plans.static(),
        _device("CompensatorSequence", "NumberOfCompensators"),
        UNSUPPORTED,
        "has compensators",
    ),
    ("bolus", rt_plans.static(), _device("ReferencedBolusSequence", "NumberOfBoli"), UNSUPPORTED, "has boli"),
    ("cone", rt_plans.static(), _set("ApplicatorSequence", [Dataset()]), UNSUPPORTED, "an applicator"),
    ("electrons", rt_plans.static(), _set("RadiationType", "ELECTRON"), UNSUPPORTED, "'ELECTRON', expected PHOTON"),
    ("minutes", rt_plans.static(), _set("PrimaryDosimeterUnit", "MINUTE"), UNSUPPORTED, "'MINUTE', expected MU"),
    ("leaves in y", rt_plans.static(), _y_leaves, UNSUPPORTED, "'MLCY'; jaws and MLCX are computed"),
    ("no meterset", rt_plans.static(), _no_meterset, UNREADABLE, "Beam Meterset of beam 1 is missing"),
    ("no MU", rt_plans.static(meterset=0.0), lambda ds: None, UNREADABLE, "is 0 MU, expected more than 0"),
    ("number twice", rt_plans.static(), _twice, UNREADABLE, "has beam number 1 twice"),
    (
        "weights fall",
        rt_plans.step_and_shoot(),
        _set("CumulativeMetersetWeight", 0.3, 2),
        UNREADABLE,
        "weights that fall, from 0.4 to 0.3 at control point 2",
    ),
    (
        "weight missing",
        rt_plans.step_and_shoot(),
        _delete("CumulativeMetersetWeight", 1),
        UNREADABLE,
        "Cumulative Meterset Weight is missing",
    ),
    ("weights end", rt_plans.static(), _set("CumulativeMetersetWeight", 0.9, 1), UNREADABLE, "from 0 to 0.9"),
    ("points lost", rt_plans.arc(), lambda ds: ds.BeamSequence[0].ControlPointSequence.pop(1), UNREADABLE, "is 4"),
    ("leaves crossed", rt_plans.static(), lambda ds: _leaf(ds, 29, 51.0), UNREADABLE, "pair 30 is at 51, 50 mm"),
    ("jaws crossed", rt_plans.static(), lambda ds: _jaws(ds, 50, -50), UNREADABLE, "ASYMX is 50, -50 mm"),
    ("outside jaws", rt_plans.static(), lambda ds: _jaws(ds, 60, 90), UNREADABLE, "100 cm² are open between leaves"),
    ("no devices", rt_plans.static(), _set("BeamLimitingDeviceSequence", []), UNREADABLE, "not limited on both axes"),
    ("no leaves", rt_plans.static(), _without_position, UNREADABLE, "no position of MLCX at its first control point"),
    (
        "no direction",
        rt_plans.arc(),
        _set("GantryRotationDirection", "NONE", 0),
        UNSUPPORTED,
        "from 180.1° to 300° at control point 1 without a direction",
    ),
    ("both ways", rt_plans.arc(), _set("GantryRotationDirection", "CC", 1), UNSUPPORTED, "counter-clockwise; arcs of"),
    (
        "no way",
        rt_plans.static(),
        _set("GantryRotationDirection", "CW", 1),
        UNREADABLE,
        "whether by 0 or 360°",
    ),
    ("too far", rt_plans.arc(), _set("GantryAngle", 290.0, 2), UNREADABLE, "goes against the arc's direction"),
    (
        "collimator turns",
        rt_plans.arc(),
        _set("BeamLimitingDeviceAngle", 40.0, 1),
        UNSUPPORTED,
        "(300A,0120) Beam Limiting Device Angle changes",
    ),
    ("couch turns", rt_plans.arc(), _set("PatientSupportAngle", 5.0, 2), UNSUPPORTED, "Patient Support Angle changes"),
    ("isocenter", rt_plans.arc(), _set("IsocenterPosition", [0, 0, 0], 1), UNSUPPORTED, "Isocenter Position changes"),
    ("pitch", rt_plans.static(), _set("TableTopPitchAngle", 2.0, 0), UNSUPPORTED, "the table top's pitch of 2°"),
    ("energy", rt_plans.static(), _set("NominalBeamEnergy", 10.0, 1), UNSUPPORTED, "Nominal Beam Energy changes"),
    ("srs", rt_plans.static(fluence=("NON_STANDARD", "SRS")), lambda ds: None, UNSUPPORTED, "'NON_STANDARD' 'SRS'"),
]


@pytest.mark.parametrize(("beam", "change", "code", "says"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_cannot_be_computed_truthfully_is_refused_by_name(
    beam: Beam, change: Callable[[Dataset], object], code: ErrorCode, says: str
) -> None:
    ds = rt_plans.plan(beam)
    change(ds)
    with pytest.raises(InputRefusedError) as caught:
        read_photon_plan(ds)
    assert says in caught.value.info.message
    assert (caught.value.code, bool(caught.value.info.remedy)) == (code, True)


def test_beams_of_two_source_distances_are_of_two_machines() -> None:
    ds = rt_plans.plan(rt_plans.static(), rt_plans.static(number=2))
    ds.BeamSequence[1].SourceAxisDistance = 800
    with pytest.raises(InputRefusedError, match=r"1000 mm \(beam 1\), 800 mm \(beam 2\)"):
        read_photon_plan(ds)


def test_a_setup_beam_is_left_out_and_said() -> None:
    ds = rt_plans.plan(rt_plans.static(), rt_plans.static(number=2))
    ds.BeamSequence[1].TreatmentDeliveryType = "SETUP"
    plan = read_photon_plan(ds)
    assert [b.number for b in plan.beams] == [1]
    assert plan.notes == ("Beam 2 is not for treatment (SETUP) and was left out.",)


def test_a_leaf_closed_to_the_last_digit_is_closed() -> None:
    beam = rt_plans.static()
    assert beam.points[0].mlc is not None
    beam.points[0].mlc[:, 0] = 10.005, 10.0
    leaves = read(beam).control_points[0].leaves_mm
    assert leaves is not None
    assert (np.diff(leaves, axis=0) >= 0).all()


def test_other_objects_are_refused() -> None:
    ds = rt_plans.plan(rt_plans.static())
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.8"
    with pytest.raises(InputRefusedError, match="is RT Ion Plan Storage, expected RT Plan Storage"):
        read_photon_plan(ds)
