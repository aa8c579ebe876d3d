"""Photon plans of a water box: the dose is that of what is written, machines can deliver it, and it repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.photon import Arc, PhotonImrtParameters, PhotonVmatParameters, StaticField
from radiarch_contract.states import Stage
from radiarch_contract.workflows import Prescription
from radiarch_worker.engines.collapsedcone import plan_dose
from radiarch_worker.machines.photon_machine import photon_machine
from radiarch_worker.model import Grid, Patient, PlanResult
from radiarch_worker.photon import photon_beams
from radiarch_worker.planning.geometry import sample_mask
from radiarch_worker.planning.photon.imrt import plan_imrt
from radiarch_worker.planning.photon.setup import PhotonJob, set_up
from radiarch_worker.planning.photon.vmat import plan_vmat

from tests.worker.engines.water import Recorder, patient, refs

GRID = Grid((-60.0, -60.0, 700.0), (5.0, 5.0, 5.0), (24, 25, 25))
BODY = ((-58.0, 58.0), (-58.0, 58.0), (702.0, 812.0))
TARGET = ((-17.0, 17.0), (-17.0, 17.0), (740.0, 775.0))
ORGAN = ((-12.0, 12.0), (22.0, 42.0), (740.0, 775.0))
PRESCRIPTION = Prescription(target="PTV", dose_gy=50.0, fractions=25)
OBJECTIVES = (
    Objective(structure="PTV", metric=ObjectiveMetric.DUNIFORM, dose_gy=50, weight=100),
    Objective(structure="Organ", metric=ObjectiveMetric.DMEAN_MAX, dose_gy=15, weight=3),
    Objective(structure="BODY", metric=ObjectiveMetric.DMAX, dose_gy=51, weight=20),
)
QUICK: dict[str, Any] = {"objectives": OBJECTIVES, "scoring_spacing_mm": 5, "max_iterations": 50}
MACHINE = photon_machine("generic-120")


def a_patient() -> Patient:
    return patient(GRID, BODY, {"PTV": TARGET, "Organ": ORGAN})


def job(parameters: PhotonImrtParameters | PhotonVmatParameters, folder: Path, threads: int = 2) -> PhotonJob:
    p = a_patient()
    return PhotonJob(p, PRESCRIPTION, parameters, refs(p), Recorder(), folder, threads)


def imrt(folder: Path) -> PlanResult:
    beams = tuple(StaticField(gantry_deg=g) for g in (0.0, 120.0, 240.0))
    return plan_imrt(job(PhotonImrtParameters(**{**QUICK, "beams": beams, "apertures": 12}), folder))


def vmat(folder: Path) -> PlanResult:
    arcs = (
        Arc(start_deg=345.0, stop_deg=15.0, direction="clockwise", collimator_deg=30.0),
        Arc(start_deg=200.0, stop_deg=188.0, direction="counter_clockwise", name="back"),
    )
    return plan_vmat(job(PhotonVmatParameters(**{**QUICK, "arcs": arcs, "correction_rounds": 0}), folder))


@pytest.fixture(scope="module")
def step_and_shoot(tmp_path_factory: pytest.TempPathFactory) -> PlanResult:
    return imrt(tmp_path_factory.mktemp("imrt"))


@pytest.fixture(scope="module")
def arcs(tmp_path_factory: pytest.TempPathFactory) -> PlanResult:
    return vmat(tmp_path_factory.mktemp("vmat"))


def in_a_hurry(folder: Path, threads: int) -> tuple[PlanResult, Recorder]:
    asked = {
        "beams": (StaticField(gantry_deg=0.0), StaticField(gantry_deg=180.0)),
        "apertures": 4,
        "correction_rounds": 0,
        "normalization": "D50% = 51 Gy",
    }
    made = job(PhotonImrtParameters(**{**QUICK, **asked}), folder, threads)
    assert isinstance(made.reporter, Recorder)
    return plan_imrt(made), made.reporter


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlanResult, Recorder]:
    return in_a_hurry(tmp_path_factory.mktemp("quick"), threads=2)


@pytest.fixture(params=["step_and_shoot", "arcs"])
def planned(request: pytest.FixtureRequest) -> PlanResult:
    result: PlanResult = request.getfixturevalue(request.param)
    return result


def inside(result: PlanResult, number: int) -> npt.NDArray[np.float32]:
    mask = sample_mask(a_patient().structures[number].mask, GRID, result.dose.grid)
    dose: npt.NDArray[np.float32] = result.dose.dose_gy[mask]
    return dose


def test_the_target_gets_what_is_prescribed(planned: PlanResult) -> None:
    target, organ = inside(planned, 2), inside(planned, 3)
    assert target.mean() == pytest.approx(50.0, rel=0.05)
    assert np.percentile(target, 5) > 0.85 * 50
    assert organ.mean() < 0.9 * target.mean()
    assert planned.dose.rbe == 1.0


def test_the_reported_dose_is_that_of_the_beams_as_they_are_written(planned: PlanResult, tmp_path: Path) -> None:
    beams = photon_beams(planned)
    for beam in beams:
        written = beam.as_written()
        for one, other in zip(beam.control_points, written.control_points, strict=True):
            assert one.cumulative_mu == other.cumulative_mu
            assert one.leaves_mm is not None
            assert (one.leaves_mm == other.leaves_mm).all()
    setup = set_up(job(PhotonImrtParameters(**QUICK), tmp_path))
    position = a_patient().ct.patient_position
    again = plan_dose(setup.density, setup.dose_grid, beams, position, MACHINE, 1) * np.float32(25)
    again[setup.density == 0] = 0
    np.testing.assert_array_equal(again, planned.dose.dose_gy)


def test_leaves_and_meterset_keep_the_machine_s_limits(planned: PlanResult) -> None:
    mlc = MACHINE.file.mlc
    for beam in photon_beams(planned):
        leaves = np.stack([p.leaves_mm for p in beam.control_points if p.leaves_mm is not None])
        mu = np.array([p.cumulative_mu for p in beam.control_points])
        assert (leaves[:, 1] - leaves[:, 0]).min() >= mlc.gap_min_mm - 0.011  # both are rounded
        assert leaves.min() >= mlc.range_mm[0]
        assert leaves.max() <= mlc.range_mm[1]
        assert mu[0] == 0
        assert (np.diff(mu) >= 0).all()


def test_apertures_have_the_least_meterset_and_area_that_were_asked_for(step_and_shoot: PlanResult) -> None:
    beams = photon_beams(step_and_shoot)
    assert 3 <= sum(len(b.control_points) // 2 for b in beams) <= 12
    for beam in beams:
        mu = np.array([p.cumulative_mu for p in beam.control_points])
        assert np.diff(mu)[::2].min() >= 2.0 - 2e-4
        assert not np.diff(mu)[1::2].any()


def test_arcs_turn_as_asked_and_leaves_keep_up_at_full_speed(arcs: PlanResult) -> None:
    speed, leaf = MACHINE.file.gantry.speed_deg_s, MACHINE.file.mlc.speed_mm_s
    first, second = photon_beams(arcs)
    assert (first.control_points[0].gantry_deg, first.control_points[-1].gantry_deg) == (345.0, 15.0)
    assert (second.control_points[0].gantry_deg, second.control_points[-1].gantry_deg) == (200.0, 188.0)
    assert len(first.control_points) == 17
    for beam in (first, second):
        leaves = np.stack([p.leaves_mm for p in beam.control_points if p.leaves_mm is not None])
        turned = np.abs(np.diff(beam.gantry_path_deg))
        assert turned.max() <= 2.0 + 0.011
        moves = np.abs(np.diff(leaves, axis=0)).max(axis=(1, 2))
        assert (moves <= turned / speed * leaf + 0.06).all()
        assert np.diff([p.cumulative_mu for p in beam.control_points]).min() >= MACHINE.file.mu_per_control_point


def test_the_number_of_threads_changes_no_bit(quick: tuple[PlanResult, Recorder], tmp_path: Path) -> None:
    one, _ = in_a_hurry(tmp_path, threads=1)
    np.testing.assert_array_equal(one.dose.dose_gy, quick[0].dose.dose_gy)
    assert [b.meterset_mu for b in photon_beams(one)] == [b.meterset_mu for b in photon_beams(quick[0])]


def test_a_normalization_scales_dose_and_meterset_alike(quick: tuple[PlanResult, Recorder], tmp_path: Path) -> None:
    result, _ = quick
    assert np.median(inside(result, 2)) == pytest.approx(51.0, rel=0.01)
    assert result.provenance["normalization_factor"] != pytest.approx(1.0, abs=1e-3)
    setup = set_up(job(PhotonImrtParameters(**QUICK), tmp_path))
    again = 25 * plan_dose(
        setup.density, setup.dose_grid, photon_beams(result), a_patient().ct.patient_position, MACHINE, 2
    )
    again[setup.density == 0] = 0
    np.testing.assert_allclose(again, result.dose.dose_gy, atol=0.01)


def test_stages_and_iterations_are_reported(quick: tuple[PlanResult, Recorder]) -> None:
    result, recorder = quick
    assert recorder.stages == [Stage.BUILDING_PLAN, Stage.COMPUTING_BEAMLETS, Stage.OPTIMIZING, Stage.FINAL_DOSE]
    assert [t["iteration"] for t in result.solver_trace] == list(range(1, len(result.solver_trace) + 1))
    assert {"PTV", "Organ", "BODY"} == set(result.solver_trace[0]["terms"])
    assert len(recorder.previews) == 1
