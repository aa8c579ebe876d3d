"""Whether MCsquare really runs here: a tiny simulation in water, its peak where physics puts it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from radiarch_contract.errors import RadiarchError

from radiarch_worker.engines import opentps
from radiarch_worker.machines.calibration import GENERIC
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from .calibration import load_calibration
from .ct import EngineCt
from .dose import compute_dose
from .installation import find_installation
from .machine import load_machine
from .runs import RunSettings
from .spots import PlannedBeam, PlannedLayer, SpotPlan

_ENERGY_MEV = 120.0
_RANGE_MM = (95.0, 115.0)
"""The Bragg peak of 120 MeV protons in water lies near 106 mm (ICRU 49)."""


class _Silent:
    def stage(self, stage: object, message: str = "") -> None: ...
    def expect(self, work: object) -> None: ...
    def progress(self, fraction: float, message: str = "") -> None: ...
    def log(self, line: str) -> None: ...
    def solver(self, iteration: int, objective: float, terms: object) -> None: ...
    def preview(self, dvh: object) -> None: ...


def probe(job_dir: Path) -> dict[str, Any]:
    """Run MCsquare once, on one pencil beam in a water box.

    Returns
    -------
    dict
        ``available`` (True only when the run gave the right range), ``version``, ``reason``.
    """
    version = None
    try:
        version = find_installation().version
        opentps.check_compiled()
        depth_mm = _peak_depth_mm(job_dir)
    except RadiarchError as e:
        return {"available": False, "version": version, "reason": str(e)}
    except OSError as e:
        return {"available": False, "version": version, "reason": f"{type(e).__name__}: {e.strerror}"}
    if not _RANGE_MM[0] <= depth_mm <= _RANGE_MM[1]:
        reason = f"Bragg peak of {_ENERGY_MEV:g} MeV at {depth_mm:.0f} mm in water, expected {_RANGE_MM}"
        return {"available": False, "version": version, "reason": reason}
    return {"available": True, "version": version, "reason": None}


def _peak_depth_mm(job_dir: Path) -> float:
    grid = Grid((0.0, 0.0, 0.0), (4.0, 2.0, 4.0), (16, 75, 16))
    water = EngineCt(np.zeros(grid.shape, dtype=np.float32), grid, PatientPosition.HFS)
    layer = PlannedLayer(_ENERGY_MEV, np.zeros(1), np.zeros(1))
    plan = SpotPlan((PlannedBeam(0.0, 0.0, (30.0, 0.0, 30.0), (layer,)),))
    job_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=job_dir) as folder:
        settings = RunSettings(
            machine=load_machine("BDL_default_UN_RangeShifter"),
            calibration=load_calibration(GENERIC),
            seed=1,
            threads=1,
            job_dir=Path(folder),
            reporter=_Silent(),
            timeout_s=60.0,
        )
        everywhere = np.ones(grid.shape, dtype=bool)
        dose = compute_dose(
            water, plan, np.ones(1), grid, everywhere, settings, uncertainty_percent=100.0, primaries=4000, min_parts=2
        )
    # The beam comes from anterior, so the depth counts along +y from the box's face.
    profile = dose.dose_gy.sum(axis=(0, 2))
    return float(np.argmax(profile)) * grid.spacing_mm[1] + grid.spacing_mm[1] / 2
