"""Shortcuts for tests that run the real engine on a few pencil beams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import PlannedBeam, PlannedLayer, SpotPlan
from radiarch_worker.model import FloatVolume, Grid, Vector3

from tests.worker.engines.water import Recorder

MACHINE = "BDL_default_UN_RangeShifter"


def settings(job_dir: Path, *, threads: int = 2, seed: int = 1) -> mcsquare.RunSettings:
    return mcsquare.RunSettings(
        machine=mcsquare.load_machine(MACHINE),
        calibration=mcsquare.load_calibration("generic-icru"),
        seed=seed,
        threads=threads,
        job_dir=job_dir,
        reporter=Recorder(),
        timeout_s=120.0,
    )


def pencil(
    energy_mev: float,
    gantry_deg: float,
    isocenter_mm: Vector3,
    *,
    couch_deg: float = 0.0,
    x: float = 0.0,
    y: float = 0.0,
) -> PlannedBeam:
    layer = PlannedLayer(energy_mev, np.array([x]), np.array([y]))
    return PlannedBeam(gantry_deg, couch_deg, isocenter_mm, (layer,))


def dose_of_each(
    ct: mcsquare.EngineCt, beams: Sequence[PlannedBeam], scoring: Grid, primaries: int, job_dir: Path
) -> list[FloatVolume]:
    """(Z, Y, X) physical Gy per MU of each spot."""
    everywhere = np.ones(scoring.shape, dtype=bool)
    result = mcsquare.compute_beamlets(ct, SpotPlan(tuple(beams)), scoring, everywhere, primaries, settings(job_dir))
    doses = []
    for column in range(result.matrix.shape[1]):
        dose = np.zeros(scoring.shape, dtype=np.float32)
        dose.ravel()[result.voxels] = result.matrix[:, column].toarray().ravel()
        doses.append(dose)
    return doses


def centroid_mm(dose: FloatVolume, grid: Grid, axis: int) -> float:
    """Dose-weighted mean coordinate along axis 0 = x, 1 = y, 2 = z."""
    profile = dose.sum(axis=tuple(a for a in range(3) if a != 2 - axis), dtype=np.float64)
    return float(np.dot(profile, grid.axis_mm(axis)) / profile.sum())


def distal_r80_mm(dose: FloatVolume, grid: Grid, axis: int, forward: bool) -> float:
    """Coordinate along an axis at which the laterally summed dose falls to 80 % behind its peak."""
    profile = dose.sum(axis=tuple(a for a in range(3) if a != 2 - axis), dtype=np.float64)
    where = grid.axis_mm(axis)
    if not forward:
        profile, where = profile[::-1], where[::-1]
    peak = int(np.argmax(profile))
    level = 0.8 * profile[peak]
    i = peak + int(np.flatnonzero(profile[peak:] < level)[0])
    share = (profile[i - 1] - level) / (profile[i - 1] - profile[i])
    return float(where[i - 1] + share * (where[i] - where[i - 1]))
