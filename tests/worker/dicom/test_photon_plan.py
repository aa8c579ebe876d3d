"""The RT Plan says what was planned: a reader that shares no code with its writer gets the same beams."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.uid import RTPlanStorage
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_worker.dicom import encode, write_rtplan
from radiarch_worker.photon import ControlPoint, FluenceMode, PhotonBeam, Rotation
from radiarch_worker.recalculation import ReadPhotonPlan, read_photon_plan

from . import photon_plans, waterbox
from .dciodvfy import findings

CASE = waterbox.case()


def written(*beams: PhotonBeam) -> pydicom.Dataset:
    plan = photon_plans.plan(*beams)
    return pydicom.dcmread(io.BytesIO(encode(write_rtplan(CASE.spec, CASE.patient, plan))))


def read_back(*beams: PhotonBeam) -> ReadPhotonPlan:
    return read_photon_plan(written(*beams))


def assert_same(found: PhotonBeam, planned: PhotonBeam) -> None:
    for name in ("number", "name", "energy_mv", "fluence", "rotation"):
        assert getattr(found, name) == getattr(planned, name)
    for name in ("gantry_deg", "couch_deg", "collimator_deg"):
        assert getattr(found, name) == pytest.approx(getattr(planned, name), abs=0.0051)
    assert found.isocenter_mm == pytest.approx(planned.isocenter_mm, abs=0.0051)
    for point, wanted in zip(found.control_points, planned.control_points, strict=True):
        assert point.gantry_deg == pytest.approx(wanted.gantry_deg, abs=0.0051)
        assert point.cumulative_mu == pytest.approx(wanted.cumulative_mu, abs=1e-4)
        assert point.dose_rate_mu_min == wanted.dose_rate_mu_min
        for axis in ("jaws_x_mm", "jaws_y_mm", "leaves_mm"):
            a, b = getattr(point, axis), getattr(wanted, axis)
            assert (a is None) == (b is None)
            assert a is None or np.allclose(a, b, rtol=0, atol=0.0051)


def test_dciodvfy_finds_nothing(tmp_path: Path) -> None:
    assert findings(written(), tmp_path) == []


def test_every_aperture_and_mu_is_read_back() -> None:
    planned = photon_plans.plan().beams
    read = read_back()
    assert (read.fractions, read.targets, read.prescribed) == (30, (waterbox.PTV,), ((waterbox.PTV, 60.0),))
    assert {m.model for m in read.machines} == {"generic-120"}
    assert read.source_distances_mm == (1000, 1000)
    for found, beam in zip(read.beams, planned, strict=True):
        assert isinstance(beam, PhotonBeam)
        assert_same(found, beam)
        assert found.gantry_path_deg == pytest.approx(beam.gantry_path_deg, abs=0.0051)


def test_what_is_written_is_what_its_dose_is_computed_from() -> None:
    """To the bit: the dose of a plan is that of the beams as written."""
    for found, beam in zip(read_back().beams, photon_plans.plan().beams, strict=True):
        assert isinstance(beam, PhotonBeam)
        for point, wanted in zip(found.control_points, beam.as_written().control_points, strict=True):
            assert (point.gantry_deg, point.jaws_x_mm) == (wanted.gantry_deg, wanted.jaws_x_mm)
            assert point.cumulative_mu == pytest.approx(wanted.cumulative_mu, rel=1e-14)
            assert point.leaves_mm is not None
            assert wanted.leaves_mm is not None
            assert (point.leaves_mm == wanted.leaves_mm).all()


def test_what_a_plan_has_to_say() -> None:
    ds = written()
    assert ds.SOPClassUID == RTPlanStorage
    assert ds.ApprovalStatus == "UNAPPROVED"
    assert [b.BeamType for b in ds.BeamSequence] == ["STATIC", "DYNAMIC", "DYNAMIC", "DYNAMIC"]
    assert [i.RTBeamLimitingDeviceType for i in ds.BeamSequence[0].BeamLimitingDeviceSequence] == [
        *("ASYMX", "ASYMY", "MLCX")
    ]
    clockwise = [p.GantryRotationDirection for p in ds.BeamSequence[2].ControlPointSequence]
    assert (clockwise[0], clockwise[1], clockwise[-2], clockwise[-1]) == ("CW", "CW", "CW", "NONE")
    assert ds.BeamSequence[3].ControlPointSequence[0].GantryRotationDirection == "CC"
    assert "BeamLimitingDevicePositionSequence" not in ds.BeamSequence[0].ControlPointSequence[1]
    for beam, referenced in zip(ds.BeamSequence, ds.FractionGroupSequence[0].ReferencedBeamSequence, strict=True):
        assert referenced.BeamMeterset == beam.FinalCumulativeMetersetWeight
        assert beam.ControlPointSequence[-1].CumulativeMetersetWeight == beam.FinalCumulativeMetersetWeight
    assert "no RBE included" in ds.RTPlanDescription


def test_unflattened_beams_and_machines_without_jaws_in_x() -> None:
    points = tuple(replace(p, jaws_x_mm=None) for p in photon_plans.static().control_points)
    beam = replace(photon_plans.static(), fluence=FluenceMode.UNFLATTENED, control_points=points)
    (found,) = read_back(beam).beams
    assert_same(found, beam)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    left=hnp.arrays(np.float64, (4, photon_plans.PAIRS), elements=st.floats(-150, 100)),
    wide=hnp.arrays(np.float64, (4, photon_plans.PAIRS), elements=st.floats(0, 100)),
    mu=st.lists(st.floats(0, 400), min_size=3, max_size=3).filter(lambda v: sum(v) > 0.01),
    turns=st.none() | st.lists(st.floats(1, 119), min_size=3, max_size=3),
    start=st.floats(0, 359.99),
    clockwise=st.booleans(),
)
def test_any_deliverable_beam_round_trips(
    left: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    wide: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    mu: list[float],
    turns: list[float] | None,
    start: float,
    clockwise: bool,
) -> None:
    rotation = Rotation.NONE if turns is None else Rotation.CLOCKWISE if clockwise else Rotation.COUNTER_CLOCKWISE
    angles = start + (1 if clockwise else -1) * np.concatenate([[0.0], np.cumsum(turns or [0, 0, 0])])
    points = tuple(
        ControlPoint(float(a % 360), float(m), np.stack([x, x + w]), None, (-200.0, 200.0))
        for a, m, x, w in zip(angles, np.concatenate([[0.0], np.cumsum(mu)]), left, wide, strict=True)
    )
    beam = photon_plans.beam(1, points, rotation, 275.25)
    (found,) = read_back(beam).beams
    written_beam = beam.as_written()
    assert_same(found, replace(beam, gantry_deg=written_beam.gantry_deg, control_points=written_beam.control_points))
    assert found.gantry_path_deg == pytest.approx(written_beam.gantry_path_deg, abs=1e-9)


def _points(**changes: object) -> PhotonBeam:
    beam = photon_plans.static()
    first, last = beam.control_points
    return replace(beam, control_points=(first, replace(last, **changes)))  # type: ignore[arg-type]


CROSSED = photon_plans.leaves(30.0)[::-1]


@pytest.mark.parametrize(
    ("beam", "says"),
    [
        (replace(photon_plans.static(), control_points=()), "has 0 control points"),
        (_points(cumulative_mu=0.0), "end at 0"),
        (_points(cumulative_mu=float("nan")), "no finite numbers"),
        (_points(gantry_deg=50.0), "rotation 'none' and a moving gantry"),
        (replace(photon_plans.static(), rotation=Rotation.CLOCKWISE), "'clockwise' and a still gantry"),
        (_points(leaves_mm=CROSSED), "has MLCX that are crossed"),
        (_points(leaves_mm=photon_plans.leaves(30.0)[:, 1:]), "of shape (2, 59) at control point 1, and 60 pairs"),
        (_points(jaws_x_mm=(10.0, -10.0)), "has ASYMX that are crossed"),
        (_points(jaws_x_mm=None), "has other devices at control point 1"),
        (replace(photon_plans.static(), energy_mv=0.0), "an energy of 0 MV"),
    ],
)
def test_what_no_machine_delivers_is_not_written(beam: PhotonBeam, says: str) -> None:
    with pytest.raises(EngineError) as caught:
        written(beam)
    assert says in caught.value.info.message
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID


def test_two_beams_of_one_number_are_not_written() -> None:
    with pytest.raises(EngineError, match="not unique"):
        written(photon_plans.static(1), photon_plans.static(1))
