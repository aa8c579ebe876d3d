"""Laws of cached beamlets: the same bits as computed ones, also for other objectives; and all that enters counts."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.workflows import Beam, ImptOptimizedParameters
from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.engines.mcsquare import beamlets as module
from radiarch_worker.ion import ion_beams
from radiarch_worker.model import Patient, PlanResult
from radiarch_worker.planning import plan
from radiarch_worker.planning.proton.steps import ProtonJob, compute_beamlets, set_up
from radiarch_worker.position import PatientPosition

from tests.worker.engines.water import Recorder, refs
from tests.worker.planning.test_plans import OBJECTIVES, PRESCRIPTION, QUICK, a_patient

COARSE: dict[str, Any] = {
    **QUICK,
    "spot_spacing_mm": 10,
    "layer_spacing_mm": 10,
    "beamlet_primaries": 100,
    "max_iterations": 20,
    "final_primaries": 40_000,
}
OTHERS = (
    Objective(structure="PTV", metric=ObjectiveMetric.DUNIFORM, dose_gy=54, weight=50),
    Objective(structure="Organ", metric=ObjectiveMetric.DMAX, dose_gy=3, weight=500),
)


def planned(
    job_dir: Path, cache: ArrayCache | None, objectives: tuple[Objective, ...] = OBJECTIVES
) -> tuple[PlanResult, Recorder]:
    recorder, p = Recorder(), a_patient()
    parameters = ImptOptimizedParameters(**{**COARSE, "objectives": objectives})
    job_dir.mkdir()
    return plan("proton-impt-optimized", p, PRESCRIPTION, parameters, refs(p), recorder, job_dir, 2, cache), recorder


def assert_same_plan(a: PlanResult, b: PlanResult) -> None:
    assert np.array_equal(a.dose.dose_gy, b.dose.dose_gy)
    for x, y in zip(ion_beams(a)[0].layers, ion_beams(b)[0].layers, strict=True):
        assert x.energy_mev == y.energy_mev
        assert np.array_equal(x.meterset_mu, y.meterset_mu)
    assert a.solver_trace == b.solver_trace
    assert dict(a.provenance) == dict(b.provenance)


@pytest.mark.engine
def test_a_plan_with_cached_beamlets_is_the_same_plan(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path / "cache", 1 << 30)
    computed, _ = planned(tmp_path / "1", cache)
    cached, recorder = planned(tmp_path / "2", cache)
    assert [r.run["beamlets"] for r in (computed, cached)] == ["computed", "cached"]
    assert_same_plan(computed, cached)
    assert any("from the cache" in line for line in recorder.lines)
    # DVHs of the optimised beamlets are told before the final dose
    (preview,) = recorder.previews
    assert {c.structure for c in preview} == {"BODY", "PTV", "Organ"}
    assert "to_preview" in cached.timings_s

    # other objectives, on another structure: no beamlet is computed, and the plan is the one without a cache
    again, _ = planned(tmp_path / "3", cache, OTHERS)
    assert again.run["beamlets"] == "cached"
    fresh, _ = planned(tmp_path / "4", None, OTHERS)
    assert_same_plan(again, fresh)
    for step in again.solver_trace:
        assert set(step["terms"]) == {"PTV", "Organ"}
        assert sum(step["terms"].values()) == pytest.approx(step["objective"])


AGAIN = """
import sys
from pathlib import Path
from radiarch_worker.jobs.preload import preload

folder = Path(sys.argv[1])
preload(2, folder / "preloaded")

def compiled():
    modules = [m for name, m in sys.modules.items() if name.startswith("radiarch_worker.")]
    found = {f"{m.__name__}.{k}": v for m in modules for k, v in vars(m).items() if hasattr(v, "nopython_signatures")}
    return {name: list(function.nopython_signatures) for name, function in found.items()}

before = compiled()
from tests.worker.planning.test_cache import ArrayCache, planned
result, _ = planned(folder / "again", ArrayCache(folder / "cache", 1 << 30))
assert result.run["beamlets"] == "cached"
assert sum(map(len, before.values())) > 5, before
assert compiled() == before, (before, compiled())
"""


@pytest.mark.engine
def test_a_worker_has_compiled_all_that_a_plan_with_cached_beamlets_needs(tmp_path: Path) -> None:
    """Jobs are forked from it: none of them has to wait for numba."""
    planned(tmp_path / "first", ArrayCache(tmp_path / "cache", 1 << 30))
    checkout = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", AGAIN, str(tmp_path)]
    path = os.pathsep.join([str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(command, cwd=checkout, check=True, env={**os.environ, "PYTHONPATH": path}, timeout=300)


def key_of(folder: Path, monkeypatch: pytest.MonkeyPatch, p: Patient, **changes: Any) -> str:
    """The key under which a plan's beamlets would be kept; nothing is run."""

    class KeyedError(Exception):
        pass

    class Asked:
        def get(self, key: str, *_: object) -> None:
            raise KeyedError(key)

    parameters = ImptOptimizedParameters(**{**COARSE, "objectives": OBJECTIVES, **changes})
    job = ProtonJob(p, PRESCRIPTION, parameters, refs(p), Recorder(), folder, 1, Asked())  # type: ignore[arg-type]
    with pytest.raises(KeyedError) as caught:
        compute_beamlets(set_up(job))
    return str(caught.value)


def test_everything_that_enters_is_in_the_key_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = a_patient()
    seen = {"base": key_of(tmp_path, monkeypatch, p)}
    same = key_of(tmp_path, monkeypatch, p, objectives=OTHERS, max_iterations=3, uncertainty_percent=5, spot_mu_min=1)
    assert same == seen["base"]
    changes: dict[str, dict[str, Any]] = {
        "seed": {"seed": 2},
        "primaries": {"beamlet_primaries": 101},
        "spots": {"spot_spacing_mm": 9},
        "grid": {"scoring_spacing_mm": 6},
        "machine": {"machine": "BDL_default_DN_RangeShifter"},
        "gantry": {"beams": (Beam(gantry_deg=10),)},
        "couch": {"beams": (Beam(gantry_deg=0, couch_deg=5),)},
        "isocenter": {"isocenter_mm": (1.0, 0.0, 750.0)},
    }
    for name, change in changes.items():
        seen[name] = key_of(tmp_path, monkeypatch, p, **change)
    hu = p.ct.hu.copy()
    hu[16, 20, 12] += 1
    seen["one voxel"] = key_of(tmp_path, monkeypatch, dataclasses.replace(p, ct=dataclasses.replace(p.ct, hu=hu)))
    moved = dataclasses.replace(p.ct.grid, origin_mm=(p.ct.grid.origin_mm[0] + 0.5, *p.ct.grid.origin_mm[1:]))
    shifted = dataclasses.replace(p, ct=dataclasses.replace(p.ct, grid=moved))
    seen["place"] = key_of(tmp_path, monkeypatch, shifted)
    prone = dataclasses.replace(p, ct=dataclasses.replace(p.ct, patient_position=PatientPosition.HFP))
    seen["patient position"] = key_of(tmp_path, monkeypatch, prone)
    mask = p.body.mask.copy()
    mask[np.flatnonzero(mask.any(axis=(1, 2)))[-1]] = False
    body = dataclasses.replace(p.body, mask=mask)
    seen["body"] = key_of(
        tmp_path, monkeypatch, dataclasses.replace(p, body=body, structures={**p.structures, 1: body})
    )
    monkeypatch.setattr(module, "PART_PRIMARIES", 1000)
    seen["split"] = key_of(tmp_path, monkeypatch, p)
    monkeypatch.undo()
    monkeypatch.setattr(module, "file_sha256", lambda _: "another engine")
    seen["engine"] = key_of(tmp_path, monkeypatch, p)
    monkeypatch.undo()
    assert len(set(seen.values())) == len(seen), seen
    assert key_of(tmp_path, monkeypatch, p) == seen["base"]
