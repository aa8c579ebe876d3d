"""A range shifter takes its water-equivalent thickness from a pencil beam's range, wherever it stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from radiarch_worker.engines import mcsquare
from radiarch_worker.ion import RangeShifter
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from .runs import distal_r80_mm, dose_of_each, pencil

CT = Grid((-58.0, -99.0, -28.0), (4.0, 2.0, 4.0), (15, 125, 30))
SCORED = Grid((-58.0, -99.5, -28.0), (116.0, 1.0, 56.0), (1, 200, 1))
ISO = (0.0, 0.0, 0.0)


@pytest.mark.engine
@pytest.mark.parametrize("gantry_deg", [0.0, 180.0])
def test_the_distal_edge_comes_nearer_by_the_thickness_in_water(tmp_path: Path, gantry_deg: float) -> None:
    water = mcsquare.EngineCt(np.zeros(CT.shape, dtype=np.float32), CT, PatientPosition.HFS)
    wet_mm = mcsquare.load_machine("BDL_default_UN_RangeShifter").range_shifters["RS_Block"]
    open_beam = pencil(150.0, gantry_deg, ISO)
    beams = [open_beam]
    beams += [replace(open_beam, range_shifter=RangeShifter("RS_Block", wet_mm, d)) for d in (170.0, 300.0)]
    doses = dose_of_each(water, beams, SCORED, 6000, tmp_path)
    forward = gantry_deg == 0.0
    ends = [distal_r80_mm(dose, SCORED, 1, forward) for dose in doses]
    calibration = mcsquare.load_calibration("generic-icru")
    stopping_power = float(calibration.stopping_power(np.zeros((1, 1, 1), dtype=np.float32))[0, 0, 0])
    for end in ends[1:]:
        assert abs(ends[0] - end) == pytest.approx(wet_mm / stopping_power, abs=1.2)
