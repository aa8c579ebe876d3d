"""Spots of another machine's width: as wide as asked for where the engine lets them meet the isocenter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import SpotPlan, variations
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import MACHINE, pencil, settings

SIZES = [(120.0, 9.0, 12.0), (200.0, 5.0, 7.0)]


def test_widths_lie_between_those_that_are_given() -> None:
    machine = mcsquare.load_machine(MACHINE)
    other = variations.with_spot_sizes(machine, SIZES)
    for energy, x_mm, y_mm in SIZES:
        assert other.spot_fwhm_mm(energy) == pytest.approx((x_mm, y_mm), rel=1e-6)
    assert 5.0 < other.spot_fwhm_mm(160.0)[0] < 9.0
    assert (other.protons_per_mu == machine.protons_per_mu).all()
    ratio = other.spot_fwhm_mm(220.0)[0] / machine.spot_fwhm_mm(220.0)[0]
    assert ratio == pytest.approx(5.0 / machine.spot_fwhm_mm(200.0)[0], rel=1e-6), "beyond: by the same factor"


@pytest.mark.engine
def test_the_engine_makes_them_as_wide(tmp_path: Path) -> None:
    energy, *wanted = SIZES[0]
    grid = Grid((-40.0, 0.0, -40.0), (1.0, 2.0, 1.0), (81, 10, 81))
    run = settings(tmp_path)
    run = replace(run, machine=variations.with_spot_sizes(run.machine, SIZES))
    surface = mcsquare.EngineCt(np.zeros(grid.shape, dtype=np.float32), grid, PatientPosition.HFS)
    dose = mcsquare.compute_dose(
        *(surface, SpotPlan((pencil(energy, 0.0, (0.0, 0.0, 0.0)),)), np.ones(1), grid),
        *(np.ones(grid.shape, dtype=bool), run),
        uncertainty_percent=100.0,
        primaries=40_000,
        min_parts=2,
    ).dose_gy
    entrance = dose[:, :3].sum(axis=1, dtype=np.float64)
    x, z = np.meshgrid(grid.axis_mm(0), grid.axis_mm(2))
    near = np.hypot(x / wanted[0], z / wanted[1]) < 0.65  # of the core, where the halo is almost nothing
    terms = np.column_stack([np.ones(near.sum()), x[near] ** 2, z[near] ** 2]) * np.sqrt(entrance[near])[:, None]
    _, in_x, in_y = np.linalg.lstsq(terms, np.log(entrance[near]) * np.sqrt(entrance[near]), rcond=None)[0]
    assert np.sqrt(4 * np.log(2) / -in_x) == pytest.approx(wanted[0], rel=0.05)
    assert np.sqrt(4 * np.log(2) / -in_y) == pytest.approx(wanted[1], rel=0.05)
