"""Virtual sources of another machine's distance: spots off the axis lie where straight lines from there pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from radiarch_contract.errors import EngineError
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import SpotPlan, variations
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import MACHINE, centroid_mm, pencil, settings

DISTANCES_MM = (700.0, 5000.0)
SPOT_MM = 60.0
SURFACE_MM = -150.0
"""Where the beam enters: so far before the isocenter that the lines have parted from those of the beam data."""


def test_only_the_distances_change() -> None:
    machine = mcsquare.load_machine(MACHINE)
    other = variations.with_source_distances(machine, DISTANCES_MM)
    assert (other.smx_mm, other.smy_mm) == DISTANCES_MM
    changed = [
        (a, b) for a, b in zip(machine.bdl_text.splitlines(), other.bdl_text.splitlines(), strict=True) if a != b
    ]
    assert [b for _, b in changed] == ["700", "5000"]
    with pytest.raises(EngineError):
        variations.with_source_distances(replace(machine, bdl_text="nothing"), DISTANCES_MM)


@pytest.mark.engine
def test_the_engine_has_them_as_far_away(tmp_path: Path) -> None:
    """Gantry 0 shines along +y: the beam's x is the patient's, its y the patient's z."""
    grid = Grid((-118.0, SURFACE_MM, -118.0), (4.0, 4.0, 4.0), (60, 6, 60))
    water = mcsquare.EngineCt(np.zeros(grid.shape, dtype=np.float32), grid, PatientPosition.HFS)
    run = settings(tmp_path)
    spots = SpotPlan((pencil(200.0, 0.0, (0.0, 0.0, 0.0), x=SPOT_MM, y=SPOT_MM),))
    for distances in (DISTANCES_MM, (run.machine.smx_mm, run.machine.smy_mm)):
        there = replace(run, machine=variations.with_source_distances(run.machine, distances))
        dose = mcsquare.compute_dose(
            *(water, spots, np.ones(1), grid, np.ones(grid.shape, dtype=bool)),
            replace(there, job_dir=tmp_path / f"{distances[0]:g}"),
            uncertainty_percent=100.0,
            primaries=20_000,
            min_parts=2,
        ).dose_gy
        depth_mm = centroid_mm(dose, grid, 1)
        for axis, distance in ((0, distances[0]), (2, distances[1])):
            assert centroid_mm(dose, grid, axis) == pytest.approx(SPOT_MM * (1 + depth_mm / distance), abs=1.0)
