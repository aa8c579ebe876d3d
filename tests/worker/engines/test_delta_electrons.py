"""The engine's threshold for delta electrons, which makes it quicker, leaves range, fall-off and dose as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import SpotPlan, files
from radiarch_worker.model import FloatVolume, Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import distal_r80_mm, pencil, settings

WATER = Grid((-40.0, 1.0, -40.0), (4.0, 1.0, 4.0), (21, 200, 21))


def depth_dose(folder: Path) -> FloatVolume:
    ct = mcsquare.EngineCt(np.zeros(WATER.shape, dtype=np.float32), WATER, PatientPosition.HFS)
    plan = SpotPlan((pencil(150.0, 0.0, (0.0, 100.0, 0.0)),))
    result = mcsquare.compute_dose(
        *(ct, plan, np.ones(1), WATER, np.ones(WATER.shape, dtype=bool), settings(folder)),
        uncertainty_percent=100.0,
        primaries=30_000,
        min_parts=2,
    )
    return result.dose_gy


@pytest.mark.engine
def test_the_threshold_of_delta_electrons_changes_no_dose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = depth_dose(tmp_path)
    real = files.config_text

    def with_default(scoring: Grid, *, primaries: int, seed: int, extra: Any) -> str:
        return real(scoring, primaries=primaries, seed=seed, extra={**extra, "Te_Min": 0.05})

    monkeypatch.setattr(files, "config_text", with_default)
    default = depth_dose(tmp_path)
    assert not np.array_equal(ours, default)
    assert ours.sum(dtype=np.float64) == pytest.approx(default.sum(dtype=np.float64), rel=0.005)
    assert distal_r80_mm(ours, WATER, 1, True) == pytest.approx(distal_r80_mm(default, WATER, 1, True), abs=0.2)
    depth = [d.sum(axis=(0, 2), dtype=np.float64) for d in (ours, default)]
    assert depth[0][:100].sum() == pytest.approx(depth[1][:100].sum(), rel=0.01)
    assert depth[0].max() == pytest.approx(depth[1].max(), rel=0.02)
