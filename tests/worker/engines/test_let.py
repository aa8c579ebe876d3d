"""LET in water: what stopping power tables say at the entrance, rising to the distal edge, whatever the density."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import SpotPlan
from radiarch_worker.engines.mcsquare.let import relative_stopping_power
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import pencil, settings

WATER = Grid((-32.0, 1.0, -32.0), (4.0, 1.0, 4.0), (17, 200, 17))
PSTAR_150_MEV_KEV_UM = 0.5445
"""Stopping power of water, liquid, at 150 MeV, 5.445 MeV cm²/g: NIST PSTAR (ICRU 49)."""
R80_MM = 160.0


def depth_let(folder: Path, hu: float, *, density_g_cm3: float | None = None) -> npt.NDArray[np.float64]:
    """LET along the axis of a pencil beam of 150 MeV, by depth in mm from the entrance."""
    folder.mkdir(exist_ok=True)
    run = settings(folder)
    if density_g_cm3 is not None:
        run = replace(run, calibration=dense_water(density_g_cm3))
    ct = mcsquare.EngineCt(np.full(WATER.shape, hu, dtype=np.float32), WATER, PatientPosition.HFS)
    plan = SpotPlan((pencil(150.0, 0.0, (0.0, 100.0, 0.0)),))
    found = mcsquare.compute_let(ct, plan, np.ones(1), WATER, np.ones(WATER.shape, dtype=bool), run, primaries=16_000)
    assert found.uncertainty_percent < 20
    center = found.kev_um[6:11, :, 6:11].astype(np.float64)
    told = np.count_nonzero(center, axis=(0, 2))
    return np.divide(center.sum(axis=(0, 2)), told, out=np.zeros(WATER.shape[1]), where=told > 0)


def dense_water(density_g_cm3: float) -> mcsquare.Calibration:
    """Water's elements at another density, by number of the engine's material 17."""
    power = np.full(2, density_g_cm3, dtype=np.float32)
    return replace(
        mcsquare.load_calibration("generic-icru"),
        density=np.array([[-1000.0, density_g_cm3], [2000.0, density_g_cm3]]),
        materials=((-1000.0, 17),),
        rsp_hu=np.array([0.0, 1.0]),
        rsp=power,
    )


@pytest.mark.engine
def test_let_in_water(tmp_path: Path) -> None:
    let = depth_let(tmp_path, 0.0, density_g_cm3=1.0)
    # secondary protons are slower than the primaries: they add, and never take away
    entrance = let[2:12].mean()
    assert PSTAR_150_MEV_KEV_UM < entrance < 2 * PSTAR_150_MEV_KEV_UM
    rising = [let[a : a + 10].mean() for a in (5, 60, 120, 150)]
    assert rising == sorted(rising)
    at_peak, distal = let[156:159].mean(), let[161:164].mean()
    assert 5 <= at_peak <= 7
    assert distal >= 8
    assert let[180:].max() == 0, "no dose, no LET"


@pytest.mark.engine
def test_let_is_that_of_water_whatever_the_density(tmp_path: Path) -> None:
    """Twice as dense: the same LET at half the depth."""
    dense = depth_let(tmp_path / "a", 0.0, density_g_cm3=2.0)
    water = depth_let(tmp_path / "b", 0.0, density_g_cm3=1.0)
    for depth_mm in (5, 40, 60):
        assert dense[depth_mm : depth_mm + 5].mean() == pytest.approx(
            water[2 * depth_mm : 2 * depth_mm + 10].mean(), rel=0.15
        )


def test_stopping_power_of_a_dose_voxel_is_the_mean_of_its_ct_voxels() -> None:
    calibration = mcsquare.load_calibration("generic-icru")
    ct_grid = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (12, 12, 12))
    hu = np.zeros(ct_grid.shape, dtype=np.float32)
    hu[:, :, 6:] = 1000.0
    low, high = (float(calibration.stopping_power(np.full(1, v, dtype=np.float32))[0]) for v in (0, 1000))
    ct = mcsquare.EngineCt(hu, ct_grid, PatientPosition.HFS)
    threes = relative_stopping_power(ct, calibration, Grid((2.0, 2.0, 2.0), (6.0, 6.0, 6.0), (3, 3, 3)))
    assert threes[1, 1] == pytest.approx([low, low, high])
    twos = relative_stopping_power(ct, calibration, Grid((2.0, 2.0, 2.0), (4.0, 4.0, 4.0), (3, 3, 5)))
    # its box ends in the middle of the voxels beside its centre: centres at x = 2, 6, 10, 14 …; the step lies at 11
    assert twos[1, 1, :4] == pytest.approx([low, low, 0.75 * low + 0.25 * high, high])
