"""Ranges in what a calibration makes of CT numbers: the engine's, and those by which spots are placed, are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from radiarch_worker.engines import mcsquare
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition
from radiarch_worker.site_folders import Folders, site_folders, use_folders

from tests.worker.engines.runs import distal_r80_mm, pencil, settings
from tests.worker.machines.test_calibrations import table

GRID = Grid((0.0, 0.0, 0.0), (4.0, 1.0, 4.0), (26, 260, 26))
PSTAR_MM = 159.4
"""CSDA range in water of the machine's protons of nominal 150 MeV, 150.9 MeV: NIST PSTAR (ICRU 49)."""
PROTONS = 4000


def range_mm(calibration: mcsquare.Calibration, hu: float, folder: Path) -> float:
    """R80 of 150 MeV in a phantom of one CT number."""
    ct = mcsquare.EngineCt(np.full(GRID.shape, hu, dtype=np.float32), GRID, PatientPosition.HFS)
    spots = mcsquare.SpotPlan((pencil(150.0, 0.0, (50.0, 60.0, 50.0)),))
    folder.mkdir()
    run = replace(settings(folder), calibration=calibration)
    found = mcsquare.compute_beamlets(ct, spots, GRID, np.ones(GRID.shape, dtype=bool), PROTONS, run)
    dose = np.zeros(GRID.shape, dtype=np.float32)
    dose.ravel()[found.voxels] = found.matrix[:, 0].toarray().ravel()
    return distal_r80_mm(dose, GRID, 1, True) + GRID.spacing_mm[1] / 2


@pytest.mark.engine
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        # 200 HU is where UCL_Toshiba's materials change: the engine has the one before there
        ("UCL_Toshiba", (-100, 0, 40, 200, 201, 1000)),
        ("generic-icru", (-200, -70, 0, 40, 110, 250, 800, 1524, 2500)),
    ],
)
def test_the_engine_stops_protons_as_spots_are_placed(tmp_path: Path, name: str, numbers: tuple[float, ...]) -> None:
    calibration = mcsquare.load_calibration(name)
    for hu in numbers:
        ours = float(calibration.stopping_power(np.full(1, hu, dtype=np.float32))[0])
        assert range_mm(calibration, hu, tmp_path / str(hu)) == pytest.approx(PSTAR_MM / ours, rel=0.004), hu


@pytest.mark.engine
def test_a_sites_table_reaches_the_engine(tmp_path: Path) -> None:
    """Materials by name and by composition, and a density that is the site's own."""
    before = site_folders()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.yaml").write_text(table("mine"))
    use_folders(Folders(calibrations=tmp_path / "site"))
    try:
        calibration = mcsquare.load_calibration("mine")
    finally:
        use_folders(before)
    for hu in (-60, 0, 60, 1200):
        ours = float(calibration.stopping_power(np.full(1, hu, dtype=np.float32))[0])
        assert range_mm(calibration, hu, tmp_path / str(hu)) == pytest.approx(PSTAR_MM / ours, rel=0.004), hu
    denser = calibration.denser(4.0)
    water = range_mm(denser, 0, tmp_path / "denser")
    assert water == pytest.approx(PSTAR_MM / 1.04, rel=0.004)
