"""Proton ranges in water: the engine with the machine's data against NIST's PSTAR tables."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import RunSettings, SpotPlan
from radiarch_worker.machines.calibration import GENERIC
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import MACHINE, distal_r80_mm, pencil
from tests.worker.engines.water import Recorder

from .section import Section

ENERGIES_MEV = (100.0, 115.0, 130.0, 150.0, 175.0, 200.0, 220.0)
PROTONS = 20_000
TOLERANCE_MM = 1.0

# NIST PSTAR, liquid water, CSDA range in g/cm² (https://physics.nist.gov/PhysRefData/Star/Text/PSTAR.html; ICRU 49)
PSTAR_MEV = (70.0, 80.0, 90.0, 100.0, 125.0, 150.0, 175.0, 200.0, 225.0, 250.0)
PSTAR_G_CM2 = (4.080, 5.184, 6.398, 7.718, 11.46, 15.77, 20.62, 25.96, 31.74, 37.94)


def csda_range_mm(energy_mev: float) -> float:
    """PSTAR's range in water of density 1, between its energies by the power law that ranges follow."""
    return float(10 * np.exp(np.interp(np.log(energy_mev), np.log(PSTAR_MEV), np.log(PSTAR_G_CM2))))


def mean_energy_mev(machine: mcsquare.ProtonMachine, nominal_mev: float) -> float:
    """The energy that the machine's data give a beam of this name."""
    table = machine.bdl_text.splitlines()[-len(machine.energies_mev) :]
    return float(np.interp(nominal_mev, machine.energies_mev, [float(line.split()[1]) for line in table]))


def water_ranges() -> Section:
    """Pencil beams in a box of 0 HU, slices of 1 mm."""
    grid = Grid((0.0, 0.0, 0.0), (4.0, 1.0, 4.0), (30, 360, 30))
    ct = mcsquare.EngineCt(np.zeros(grid.shape, dtype=np.float32), grid, PatientPosition.HFS)
    machine = mcsquare.load_machine(MACHINE)
    isocenter = (58.0, 180.0, 58.0)
    spots = SpotPlan(tuple(pencil(e, 0.0, isocenter) for e in ENERGIES_MEV))
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as name:
        folder = Path(name)
        result = mcsquare.compute_beamlets(
            ct, spots, grid, np.ones(grid.shape, dtype=bool), PROTONS, settings_in_water(folder, machine)
        )
    rows, differences = [], []
    for column, nominal in enumerate(ENERGIES_MEV):
        dose = np.zeros(grid.shape, dtype=np.float32)
        dose.ravel()[result.voxels] = result.matrix[:, column].toarray().ravel()
        r80_mm = distal_r80_mm(dose, grid, 1, True) + grid.spacing_mm[1] / 2  # from the box's face
        energy = mean_energy_mev(machine, nominal)
        expected = csda_range_mm(energy)
        differences.append(r80_mm - expected)
        rows.append([f"{nominal:g}", f"{energy:.2f}", f"{expected:.1f}", f"{r80_mm:.1f}", f"{differences[-1]:+.2f}"])
    worst = max(map(abs, differences))
    return Section(
        title="Proton ranges in water",
        how=f"The depth at which the dose of a pencil beam of machine `{MACHINE}` at 0 HU, with the calibration "
        f"`{GENERIC}`, falls to 80 % behind its peak, summed over the lateral directions, against the CSDA range of "
        f"the beam's mean energy in NIST's PSTAR (ICRU 49). {PROTONS} protons each.",
        header=("nominal energy, MeV", "mean energy, MeV", "PSTAR, mm", "MCsquare R80, mm", "difference, mm"),
        rows=rows,
        demands=[(f"within {TOLERANCE_MM:g} mm", f"at most {worst:.2f} mm", worst <= TOLERANCE_MM)],
        workflows=("proton-impt-basic", "proton-impt-optimized", "proton-robust", "recalculation"),
    )


def settings_in_water(folder: Path, machine: mcsquare.ProtonMachine) -> RunSettings:
    """Runs with the calibration that ships: 0 HU is water in it."""
    cores = len(os.sched_getaffinity(0))
    calibration = mcsquare.load_calibration(GENERIC)
    return RunSettings(
        machine, calibration, seed=1, threads=cores, job_dir=folder, reporter=Recorder(), timeout_s=900.0
    )
