"""Laws of robust plans: scenarios are shifted CTs, robust plans keep coverage under errors, all of it is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from radiarch_contract.errors import EngineError, InvalidRequestError
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.workflows import ImptOptimizedParameters, ImptRobustParameters, parse_parameters
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.engines.mcsquare import SpotPlan, variations
from radiarch_worker.ion import ion_beams
from radiarch_worker.model import Grid, PlanResult
from radiarch_worker.planning import plan
from radiarch_worker.planning.proton import robust as robust_module
from radiarch_worker.planning.proton.robust import _groups, scenario_beamlets
from radiarch_worker.planning.proton.scenarios import NOMINAL, Scenario, select_scenarios
from radiarch_worker.planning.proton.steps import ProtonJob, set_up
from radiarch_worker.position import PatientPosition
from scipy.sparse.linalg import norm

from tests.worker.engines.runs import distal_r80_mm, pencil, settings
from tests.worker.engines.water import Recorder, refs
from tests.worker.planning.test_cache import COARSE
from tests.worker.planning.test_plans import PRESCRIPTION, a_patient

ROBUST = (
    Objective(structure="PTV", metric=ObjectiveMetric.DUNIFORM, dose_gy=54, weight=100, robust=True),
    Objective(structure="PTV", metric=ObjectiveMetric.DMIN, dose_gy=53, weight=100, robust=True),
    Objective(structure="Organ", metric=ObjectiveMetric.DMEAN_MAX, dose_gy=5, weight=1),
)
ERRORS: dict[str, Any] = {"setup_systematic_mm": (5.0, 0.0, 0.0), "range_percent": 0.0}


def parameters(**changes: Any) -> ImptRobustParameters:
    given = {**COARSE, "objectives": ROBUST, **ERRORS, "scenario_uncertainty_percent": 6, **changes}
    return ImptRobustParameters(**given)


def job(folder: Path, **changes: Any) -> ProtonJob:
    p = a_patient()
    folder.mkdir(parents=True, exist_ok=True)
    cache = ArrayCache(folder / "cache", 1 << 30)
    return ProtonJob(p, PRESCRIPTION, parameters(**changes), refs(p), Recorder(), folder, 2, cache)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"setup_systematic_mm": (3, 3, 3), "range_percent": 3}, 21),
        ({"setup_systematic_mm": (3, 0, 3), "range_percent": 3}, 15),
        ({"setup_systematic_mm": (3, 3, 3), "range_percent": 0}, 7),
        ({"setup_systematic_mm": (0, 0, 0), "range_percent": 3}, 3),
        ({"setup_systematic_mm": (3, 3, 3), "range_percent": 3, "setup_random_mm": (1, 1, 1)}, 22),
        ({"setup_systematic_mm": (3, 3, 3), "range_percent": 3, "strategy": "ALL"}, 81),
        ({"setup_systematic_mm": (3, 3, 0), "range_percent": 0, "strategy": "ALL"}, 9),
        ({"setup_systematic_mm": (3, 3, 3), "range_percent": 3, "strategy": "RANDOM", "scenario_count": 7}, 8),
    ],
)
def test_scenarios_are_those_of_the_strategy(changes: dict[str, Any], count: int) -> None:
    scenarios = select_scenarios(parameters(**changes))
    assert len(scenarios) == count
    assert scenarios[0] == NOMINAL
    assert len({(s.shift_mm, s.range_percent, s.random_mm) for s in scenarios}) == count
    assert len({s.name for s in scenarios}) == count
    assert scenarios == select_scenarios(parameters(**changes))
    if changes.get("strategy") != "RANDOM":
        for s in scenarios:
            assert all(abs(v) in (0, e) for v, e in zip(s.shift_mm, changes["setup_systematic_mm"], strict=True))
            assert not np.signbit([v for v in s.isocenter_shift_mm if v == 0.0]).any()
    else:
        assert scenarios != select_scenarios(parameters(**changes, seed=2))


def test_parameters_without_sense_are_refused() -> None:
    given = {"objectives": [o.model_dump(mode="json") for o in ROBUST]}
    assert parse_parameters("proton-robust", given)
    nominal = {"objectives": [{**o, "robust": False} for o in given["objectives"]]}
    zero = {**given, "setup_systematic_mm": [0, 0, 0], "range_percent": 0}
    for wrong in (nominal, zero, {**given, "strategy": "RANDOM"}, {**given, "scenario_count": 3}):
        with pytest.raises(InvalidRequestError):
            parse_parameters("proton-robust", wrong)
    with pytest.raises(InvalidRequestError, match="proton-robust"):
        parse_parameters("proton-impt-optimized", given)


@pytest.mark.engine
def test_a_shift_is_the_ct_shifted_by_hand(tmp_path: Path) -> None:
    """The patient displaced, with all that belongs to it; the beams stay where they are in the room."""
    shift = (4.0, -3.0, 5.0)
    nominal = job(tmp_path, beamlet_primaries=1000, spot_spacing_mm=15, layer_spacing_mm=20)
    setup = set_up(nominal)
    found = scenario_beamlets(setup, Scenario("shifted", shift))

    def moved(g: Grid) -> Grid:
        x, y, z = (o + s for o, s in zip(g.origin_mm, shift, strict=True))
        return dataclasses.replace(g, origin_mm=(x, y, z))

    by_hand_ct = dataclasses.replace(setup.ct, grid=moved(setup.ct.grid))
    by_hand = dataclasses.replace(setup, ct=by_hand_ct, dose_grid=moved(setup.dose_grid))
    by_hand = dataclasses.replace(
        by_hand,
        job=dataclasses.replace(
            nominal,
            patient=dataclasses.replace(
                nominal.patient, ct=dataclasses.replace(nominal.patient.ct, grid=moved(nominal.patient.ct.grid))
            ),
        ),
    )
    expected = scenario_beamlets(by_hand, NOMINAL)
    assert np.array_equal(found.result.voxels, expected.result.voxels)
    # the same protons meet the same voxels; rounding in the engine's files turns a few of them another way
    assert norm(found.matrix - expected.matrix) <= 0.05 * norm(expected.matrix)
    assert norm(found.matrix - scenario_beamlets(setup, NOMINAL).matrix) > 0.5 * norm(expected.matrix)


WATER = Grid((-40.0, 0.0, -40.0), (2.0, 2.0, 2.0), (41, 110, 41))


def pencil_dose(
    folder: Path, run: mcsquare.RunSettings, y_mm: float = 0.0, primaries: int = 60_000
) -> np.ndarray[Any, np.dtype[np.float32]]:
    ct = mcsquare.EngineCt(np.zeros(WATER.shape, dtype=np.float32), WATER, PatientPosition.HFS)
    plan_ = SpotPlan((pencil(150.0, 0.0, (0.0, 100.0 + y_mm, 0.0)),))
    everywhere = np.ones(WATER.shape, dtype=bool)
    result = mcsquare.compute_dose(
        ct, plan_, np.ones(1), WATER, everywhere, run, uncertainty_percent=100.0, primaries=primaries, min_parts=2
    )
    return result.dose_gy


@pytest.mark.engine
def test_a_denser_patient_shortens_the_range_by_as_much(tmp_path: Path) -> None:
    run = settings(tmp_path)
    plain = distal_r80_mm(pencil_dose(tmp_path, run), WATER, 1, forward=True) + 1.0
    for percent in (-5.0, 5.0):
        changed = dataclasses.replace(run, calibration=run.calibration.denser(percent))
        assert changed.calibration.sha256 != run.calibration.sha256
        found = distal_r80_mm(pencil_dose(tmp_path, changed), WATER, 1, forward=True) + 1.0
        assert found == pytest.approx(plain / (1 + percent / 100), abs=0.6)


@pytest.mark.engine
def test_random_errors_widen_spots_by_their_variance(tmp_path: Path) -> None:
    run = settings(tmp_path, seed=2)
    blurred = dataclasses.replace(run, machine=variations.blurred(run.machine, 6.0, 3.0))
    core = {}
    for name, one in (("plain", run), ("blurred", blurred)):
        dose = pencil_dose(tmp_path, one, primaries=250_000)[:, 20:60]
        for axis, over in (("x", (0, 1)), ("z", (1, 2))):
            profile = dose.sum(axis=over, dtype=np.float64)
            where = WATER.axis_mm(0 if axis == "x" else 2)
            high = where[profile > profile.max() / 2]
            near = abs(where) < 0.55 * (high[-1] - high[0])  # the core, where the halo is almost nothing
            weight = np.sqrt(profile[near])
            terms = np.column_stack([np.ones(near.sum()), where[near] ** 2]) * weight[:, None]
            _, curve = np.linalg.lstsq(terms, np.log(profile[near]) * weight, rcond=None)[0]
            core[name, axis] = -0.5 / curve  # variance
    for axis, sigma in (("x", 6.0), ("z", 3.0)):
        grown = core["blurred", axis] - core["plain", axis]
        assert grown == pytest.approx(sigma**2, rel=0.2)


def test_beams_get_the_random_error_across_them(tmp_path: Path) -> None:
    setup = set_up(job(tmp_path))
    two = SpotPlan((pencil(150.0, 0.0, (0.0, 0.0, 0.0)), pencil(150.0, 90.0, (0.0, 0.0, 0.0))))
    parts = list(_groups(setup, two, Scenario("r", random_mm=(1.0, 2.0, 3.0))))
    assert [p.beams[0].gantry_deg for p, *_ in parts] == [0.0, 90.0]
    assert parts[0][1].machine.bdl_text == variations.blurred(setup.machine, 1.0, 3.0).bdl_text
    assert parts[1][1].machine.bdl_text == variations.blurred(setup.machine, 2.0, 3.0).bdl_text
    assert [where for *_, where in parts] == [slice(0, 1), slice(1, 2)]
    assert len(list(_groups(setup, two, Scenario("r", random_mm=(2.0, 2.0, 2.0))))) == 1


def planned(folder: Path, workflow: str, given: Any, cache: ArrayCache) -> tuple[PlanResult, Recorder]:
    p, recorder = a_patient(), Recorder()
    folder.mkdir()
    goals = ("PTV: D95% ≥ 95%", "Organ: Dmean ≤ 10 Gy")
    return plan(workflow, p, PRESCRIPTION, given, refs(p), recorder, folder, 2, cache, goals), recorder


def engine_fails(*args: object) -> None:
    raise EngineError("MCsquare ended with signal 9", remedy="y")


@pytest.mark.engine
def test_coverage_under_error_is_better_than_the_nominal_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a scenario in which the engine fails costs the evaluation over scenarios, and a note: not the plan."""
    cache = ArrayCache(tmp_path / "cache", 1 << 30)
    fine = {"spot_spacing_mm": 8, "beamlet_primaries": 300, "max_iterations": 60, "final_primaries": 60_000}
    robust, recorder = planned(tmp_path / "1", "proton-robust", parameters(**fine), cache)
    plain = [o.model_copy(update={"robust": False}) for o in ROBUST]
    given = ImptOptimizedParameters(**{**COARSE, **fine, "objectives": plain})
    nominal, _ = planned(tmp_path / "2", "proton-impt-optimized", given, cache)
    found = robust.robustness
    assert found is not None
    assert [s.shift_mm for s in found.scenarios] == [(0, 0, 0), (-5, 0, 0), (5, 0, 0)]
    band = next(m for m in found.metrics if (m.structure, m.metric) == ("PTV", "D95%"))
    assert band.low_gy <= band.nominal_gy <= band.high_gy
    goal = found.goals[0]
    assert goal.scenarios == 3
    assert goal.worst == pytest.approx(100 * band.low_gy / 54)
    dvh = next(b for b in found.bands if b.structure == "PTV")
    assert all(low <= high for low, high in zip(dvh.low_percent, dvh.high_percent, strict=True))
    for stage in set(recorder.stages):
        told = [f for s, f in recorder.fractions if s is stage]
        assert told == sorted(told)

    monkeypatch.setattr(robust_module, "scenario_dose", engine_fails)
    again, recorder = planned(tmp_path / "4", "proton-robust", parameters(**fine), cache)
    monkeypatch.undo()
    assert again.robustness is None
    assert np.array_equal(again.dose.dose_gy, robust.dose.dose_gy)
    (note,) = [n for n in again.notes if n not in robust.notes]
    assert all(part in note for part in ("scenario 2 of 3", found.scenarios[1].name, "MCsquare ended"))
    assert any("Traceback" in line for line in recorder.lines)

    worst_of_nominal = worst_d95(nominal, tmp_path / "3")
    assert band.low_gy > worst_of_nominal + 2.0


def worst_d95(result: PlanResult, folder: Path) -> float:
    """Least D95% of the target when the plan's patient is shifted by hand, Gy."""
    from radiarch_worker.evaluation import evaluate
    from radiarch_worker.planning.proton.robust import scenario_dose

    a_job = job(folder, target_margin_mm=5)
    setup = set_up(a_job)
    final = final_of(setup, result)
    worst = np.inf
    for x in (-5.0, 5.0):
        dose, _ = scenario_dose(setup, final, Scenario("by hand", (x, 0.0, 0.0)), 6.0)
        judged = evaluate(a_job.patient, dose, PRESCRIPTION, (), a_job.structures)
        worst = min(worst, next(m.d95_gy for m in judged.metrics if m.structure == "PTV"))
    return float(worst)


def final_of(setup: Any, result: PlanResult) -> Any:
    from types import SimpleNamespace

    beams = tuple(
        mcsquare.PlannedBeam(
            b.gantry_deg,
            b.couch_deg,
            b.isocenter_mm,
            tuple(mcsquare.PlannedLayer(layer.energy_mev, layer.x_mm, layer.y_mm) for layer in b.layers),
            b.name,
        )
        for b in ion_beams(result)
    )
    meterset = np.concatenate([layer.meterset_mu for b in ion_beams(result) for layer in b.layers])
    return SimpleNamespace(plan=SpotPlan(beams), meterset_mu=meterset)
