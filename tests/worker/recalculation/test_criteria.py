"""Criteria of a recalculation alone: each beam's meterset, range and place; scales; fractions. Without an engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radiarch_contract.job import BeamAgreement, DoseDescription, KnownScale, MachineScale
from radiarch_contract.verdict import ActionLevels, Outcome, Verdict
from radiarch_contract.workflows import Prescription
from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.evaluation import ReadDose
from radiarch_worker.ion import IonBeam
from radiarch_worker.model import FloatVolume, Grid
from radiarch_worker.recalculation import verdict
from radiarch_worker.recalculation.displacement import beam_agreement
from radiarch_worker.recalculation.read_plan import ReadPlan, TreatmentMachine

from tests.worker.engines.water import patient

GRID = Grid((-78.0, -78.0, -58.0), (4.0, 4.0, 4.0), (30, 40, 40))
PATIENT = patient(GRID, ((-76, 76), (-76, 76), (-56, 56)), {"PTV": ((-15, 15), (-15, 15), (-15, 15))})
LEVELS = ActionLevels()
GTR2 = TreatmentMachine("GTR2", "Generic", "")


def beam(number: int, gantry_deg: float) -> IonBeam:
    return IonBeam(number, f"G{gantry_deg:g}", gantry_deg, 0.0, (0.0, 0.0, 0.0), ())


BEAMS = (beam(1, 90.0), beam(2, 0.0))


def axes(of: IonBeam) -> BeamAxes:
    return BeamAxes.of(of.gantry_deg, of.couch_deg, PATIENT.ct.patient_position)


SIDE_MM = 12.0
"""Standard deviation of the beams' profiles."""


def field(of: IonBeam, along_mm: float = 0.0, x_mm: float = 0.0, y_mm: float = 0.0) -> FloatVolume:
    """A plateau along the beam with an edge behind the middle, smooth to the sides: (Z, Y, X) Gy."""
    z, y, x = np.meshgrid(*(GRID.axis_mm(a) for a in (2, 1, 0)), indexing="ij")
    points = np.stack([x, y, z], axis=-1)
    u, v, w = (points @ axis for axis in (axes(of).direction, axes(of).x, axes(of).y))
    depth = 1 / (1 + np.exp((u - 16 - along_mm) / 3))
    side: npt.NDArray[np.float64] = np.exp(-((v - x_mm) ** 2 + (w - y_mm) ** 2) / (2 * SIDE_MM**2))
    return np.asarray(20 * depth * side, dtype=np.float32)


def reference(dose_gy: FloatVolume) -> ReadDose:
    said = DoseDescription(sop_instance_uid="1.2", dose_type="EFFECTIVE", max_gy=40, grid_mm=GRID.spacing_mm)
    return ReadDose(dose_gy, GRID, True, "PLAN", "2.25.2", said, ())


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.85, 1.15),
    st.floats(0.85, 1.15),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.integers(0, 99),
)
def test_what_each_beam_has_more_is_found(
    first: float, second: float, along: float, x: float, y: float, seed: int
) -> None:
    """Factors of both beams, and a shift of the first, in noise of 3 % a voxel."""
    noise = np.random.default_rng(seed).normal(1, 0.03, (3, *GRID.shape)).astype(np.float32)
    computed = [field(b) * noise[i] for i, b in enumerate(BEAMS)]
    theirs = (first * field(BEAMS[0], along, x, y) + second * field(BEAMS[1])) * noise[2]
    (one, other), why_not = beam_agreement(BEAMS, computed, GRID, reference(theirs), PATIENT)
    assert why_not is None
    blurred = 100 * (x**2 + y**2) / (2 * SIDE_MM**2)  # what a shift takes from the factor in second order
    assert one.meterset_percent == pytest.approx(100 * (first - 1), abs=1.0 + blurred)
    assert other.meterset_percent == pytest.approx(100 * (second - 1), abs=1.0)
    assert (one.range_mm, one.shift_x_mm, one.shift_y_mm) == pytest.approx((along, x, y), abs=0.35)
    assert (other.range_mm, other.shift_x_mm, other.shift_y_mm) == pytest.approx((0, 0, 0), abs=0.35)


def test_a_beam_that_is_not_there_is_found_by_its_meterset() -> None:
    computed = [field(b) for b in BEAMS]
    (one, other), why_not = beam_agreement(BEAMS, computed, GRID, reference(computed[1]), PATIENT)
    assert why_not is None
    assert one.meterset_percent == pytest.approx(-100, abs=1)
    assert abs(one.range_mm or 0) < 1
    assert other.meterset_percent == pytest.approx(0, abs=1)


def test_beams_of_one_direction_are_told_as_one() -> None:
    beams = (beam(1, 0.0), beam(2, 4.0), beam(3, 180.0))
    doses = [field(b) for b in beams]
    found, why_not = beam_agreement(beams, doses, GRID, reference(np.sum(doses, axis=0)), PATIENT)
    assert why_not is None
    assert [(b.number, b.name) for b in found] == [(1, "beams 1, 2"), (3, "beam 3 (G180)")]
    assert all(abs(b.meterset_percent) < 0.1 for b in found)


def test_a_beam_that_gives_nothing_is_not_passed() -> None:
    nothing = np.zeros_like(field(BEAMS[0]))
    found, why_not = beam_agreement(BEAMS, [field(BEAMS[0]), nothing], GRID, reference(field(BEAMS[0])), PATIENT)
    assert (found, why_not) == ((), "beam 2 (G0) gives no dose to the patient")
    (criterion,) = verdict.beam_criteria(found, why_not, LEVELS)
    assert criterion.result is Outcome.LOOK


def agreement(**values: float) -> BeamAgreement:
    zero = dict.fromkeys(("meterset_percent", "range_mm", "shift_x_mm", "shift_y_mm"), 0.0)
    sigma = dict.fromkeys(("meterset_uncertainty_percent", "range_uncertainty_mm", "shift_uncertainty_mm"), 0.1)
    return BeamAgreement(number=1, name="beam 1", **{**zero, **sigma, **values})


@pytest.mark.parametrize(
    ("values", "outcomes"),
    [
        ({}, ["pass", "pass", "pass"]),
        ({"meterset_percent": -4}, ["look", "pass", "pass"]),
        ({"meterset_percent": 7}, ["fail", "pass", "pass"]),
        ({"range_mm": -2}, ["pass", "look", "pass"]),
        ({"shift_y_mm": -3.5}, ["pass", "pass", "fail"]),
        ({"range_uncertainty_mm": 2.0}, ["pass", "look", "pass"]),  # it could be anything
        ({"range_uncertainty_mm": 2.0, "range_mm": 9}, ["pass", "fail", "pass"]),
    ],
    ids=str,
)
def test_each_beam_is_judged(values: dict[str, float], outcomes: list[str]) -> None:
    assert [c.result for c in verdict.beam_criteria([agreement(**values)], None, LEVELS)] == outcomes


def read_plan(*machines: TreatmentMachine, fractions: int = 10) -> ReadPlan[IonBeam]:
    return ReadPlan("1", "1.2.3", "", "", "", (), fractions, BEAMS, machines or (GTR2, GTR2), None, (2,), ((2, 40.0),))


def derived(scale: float) -> MachineScale:
    return MachineScale(machine="GTR2 | Generic | ", machine_sha256="a", calibration_sha256="b", scale=scale)


def known(scale: float, **changes: str) -> KnownScale:
    of = {**derived(scale).model_dump(exclude={"counts"}), **changes}
    return KnownScale(**of, plans=2, confirmed=False)


@pytest.mark.parametrize(
    ("scale", "remembered", "outcome", "words"),
    [
        (1.0, None, "look", "no other plan"),
        (0.89, None, "look", "no other plan"),
        (0.50, None, "fail", ""),
        (2.0, None, "fail", ""),
        (0.10, None, "fail", ""),
        (0.895, 0.89, "pass", "2 other plans"),
        (0.89, 0.92, "look", ""),
        (0.979, 0.89, "fail", "RBE of 1.1"),
        (0.809, 0.89, "fail", "RBE of 1.1"),
        (0.50, 0.501, "pass", ""),  # as its other plans, and a person has looked at the first of them
    ],
)
def test_a_scale_is_judged_by_what_its_machine_had(
    scale: float, remembered: float | None, outcome: str, words: str
) -> None:
    history = [] if remembered is None else [known(remembered)]
    found = verdict.scale_criterion(derived(scale), history, read_plan(), LEVELS)
    assert (found.result, words in found.note) == (outcome, True), found
    said = Verdict.of([found])
    counts = verdict.counted(derived(scale), verdict.history_of(derived(scale), history), said).counts
    assert counts == (outcome == "pass" or (remembered is None and outcome == "look"))


def test_another_machine_beam_data_or_calibration_tell_nothing() -> None:
    for changes in ({"machine": "GTR3"}, {"machine_sha256": "c"}, {"calibration_sha256": "d"}):
        found = verdict.scale_criterion(derived(0.89), [known(0.89, **changes)], read_plan(), LEVELS)
        assert (found.id, found.result) == ("scale", Outcome.LOOK)


def test_one_scale_for_two_machines_is_not_judged() -> None:
    plan = read_plan(GTR2, replace(GTR2, name="GTR3"))
    found = verdict.scale_criterion(derived(0.89), [known(0.89)], plan, LEVELS)
    assert (found.value, found.result) == (None, Outcome.LOOK)


def test_fractions_and_dose_are_those_of_the_protocol() -> None:
    prescription = Prescription(target="PTV", dose_gy=40, fractions=10)
    for plan, asked, outcomes in (
        (read_plan(), prescription, ["pass", "pass"]),
        (read_plan(fractions=11), prescription, ["fail", "pass"]),
        (read_plan(), prescription.model_copy(update={"dose_gy": 42.0}), ["pass", "fail"]),
        (replace(read_plan(), prescribed=()), prescription, ["pass"]),
    ):
        assert [c.result for c in verdict.plan_criteria(plan, asked, 2)] == outcomes
    assert verdict.plan_criteria(read_plan(), None, 2) == []


def test_noise_and_unconfirmed_data_where_a_site_asks_for_its_own() -> None:
    assert verdict.uncertainty_criteria(1.9, "PTV", LEVELS)[0].result is Outcome.PASS
    assert verdict.uncertainty_criteria(2.1, "PTV", LEVELS)[0].result is Outcome.LOOK
    assert verdict.uncertainty_criteria(None, "PTV", LEVELS) == []
    strict = ActionLevels(confirmed_data=True)
    assert verdict.data_criteria(("beam data X",), LEVELS) == []
    assert verdict.data_criteria((), strict) == []
    (found,) = verdict.data_criteria(("beam data X",), strict)
    assert (found.result, "beam data X is not confirmed" in found.note) == (Outcome.LOOK, True)
