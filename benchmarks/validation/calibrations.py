"""The calibrations that ship: what they make of tissues, and how far protons go in what they make of CT numbers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import EngineCt, RunSettings, SpotPlan
from radiarch_worker.machines.calibration import GENERIC
from radiarch_worker.machines.stoichiometry import Attenuation
from radiarch_worker.machines.tissues import TISSUES
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import MACHINE, distal_r80_mm, pencil
from tests.worker.engines.water import Recorder

from .section import Section
from .water import csda_range_mm, mean_energy_mev

SHIPPED = (GENERIC, "UCL_Toshiba")
SCANNER = Attenuation(coherent=1.24e-3, photoelectric=3.06e-5)
"""Schneider, Bortfeld and Schlegel 2000, 120 kV."""
_SHOWN = (
    *("lung", "adipose tissue 3", "adipose tissue 2", "adipose tissue 1", "yellow and red marrow", "mammary gland 2"),
    *(
        "water",
        "cerebrospinal fluid",
        "urine",
        "small intestine",
        "brain, grey",
        "brain, white",
        "prostate",
        "muscle 2",
    ),
    *("kidney 2", "liver 2", "blood", "skin 2", "cartilage", "connective tissue", "spongiosa", "vertebra D6 or L3"),
    *("femur, head", "rib 2 or 6", "cranium", "mandible", "cortical bone"),
)
_ORGANS = ("brain, grey", "brain, white", "prostate", "muscle 2", "kidney 2", "liver 2", "blood", "small intestine")
ORGAN_PERCENT, BONE_PERCENT = 1.0, 1.0
NUMBERS_HU = (-700.0, -300.0, -100.0, -50.0, 0.0, 20.0, 40.0, 60.0, 200.0, 300.0, 700.0, 1000.0, 1500.0)
PROTONS = 10_000
RANGE_PERCENT = 0.5
_NOMINAL_MEV = 150.0
_LIGHT_MEV, _LIGHT_HU = 100.0, -400.0
"""In what is lighter than this, protons of less energy, so that the phantom is not half a metre long."""


def tissues() -> Section:
    """Each tissue's CT number on a scanner, and what calibrations make of it; nothing is simulated."""
    calibrations = [mcsquare.load_calibration(name) for name in SHIPPED]
    rows = []
    worst = dict.fromkeys(SHIPPED, 0.0)
    worst_bone = 0.0
    for name in _SHOWN:
        tissue = TISSUES[name]
        hu = SCANNER.hu(tissue.composition, tissue.density_g_cm3)
        true = tissue.density_g_cm3 * float(tissue.composition.mass_stopping_ratio())
        row = [name, f"{hu:.0f}", f"{true:.3f}"]
        for calibration in calibrations:
            found = float(calibration.stopping_power(np.full(1, hu, dtype=np.float32))[0])
            percent = 100 * (found / true - 1)
            row.append(f"{found:.3f} ({percent:+.1f} %)")
            if name in _ORGANS:
                worst[calibration.name] = max(worst[calibration.name], abs(percent))
            if tissue.kind == "bone" and calibration.name == GENERIC:
                worst_bone = max(worst_bone, abs(percent))
        rows.append(row)
    organs = ", ".join(_ORGANS)
    return Section(
        title="Stopping power of tissues by the calibrations that ship",
        how="Tissues of ICRU 44 and 46 (Woodard and White 1986): the CT number that each has on a scanner of 120 kV by "
        "Schneider's parametrisation (2000, their coefficients), what a calibration makes of that number, and the "
        "tissue's stopping power relative to water at 100 MeV by Bethe's formula from its composition and density "
        "(mean excitation energies of ICRU 37 and 49; water 75 eV).",
        header=("tissue", "HU", "by Bethe", *(f"`{name}`" for name in SHIPPED)),
        rows=rows,
        demands=[
            (
                f"`{GENERIC}`: {organs} within {ORGAN_PERCENT:g} %",
                f"at most {worst[GENERIC]:.1f} %",
                worst[GENERIC] <= ORGAN_PERCENT,
            ),
            (
                f"`{GENERIC}`: bones within {BONE_PERCENT:g} %",
                f"at most {worst_bone:.1f} %",
                worst_bone <= BONE_PERCENT,
            ),
            (
                "`UCL_Toshiba`: the same organs (told, not demanded: it is of another scanner)",
                f"at most {worst['UCL_Toshiba']:.1f} %",
                True,
            ),
        ],
        note="Marrow, gland and skin lie off any curve: fat with little water has more stopping power than its CT "
        "number tells, by up to 2.3 %. What a scanner of another make or voltage does comes on top: see "
        "[machines.md](machines.md) for how a site makes its own.",
        workflows=("proton-impt-basic", "proton-impt-optimized", "proton-robust", "recalculation"),
    )


def ranges() -> Section:
    """Pencil beams in phantoms of one CT number each, with the calibrations as plans get them."""
    machine = mcsquare.load_machine(MACHINE)
    rows, worst = [], 0.0
    for hu in NUMBERS_HU:
        nominal = _LIGHT_MEV if hu < _LIGHT_HU else _NOMINAL_MEV
        in_water = csda_range_mm(mean_energy_mev(machine, nominal))
        row = [f"{hu:g}", f"{nominal:g}"]
        for name in SHIPPED:
            calibration = mcsquare.load_calibration(name)
            ours = float(calibration.stopping_power(np.full(1, hu, dtype=np.float32))[0])
            found = _range_mm(machine, calibration, hu, nominal, 1.3 * in_water / ours)
            percent = 100 * (found * ours / in_water - 1)
            worst = max(worst, abs(percent))
            row.append(f"{ours:.3f}: {in_water / ours:.1f} / {found:.1f} mm ({percent:+.2f} %)")
        rows.append(row)
    return Section(
        title="Proton ranges by the calibrations that ship",
        how="Phantoms of one CT number each, as plans are computed in them. Each cell: the stopping power relative to "
        "water by which spots are placed: the range of the beam's mean energy in water (NIST PSTAR) divided by it / "
        f"the depth at which the engine's dose has fallen to 80 % behind its peak. {PROTONS} protons each, machine "
        f"`{MACHINE}`.",
        header=("HU", "nominal energy, MeV", *(f"`{name}`" for name in SHIPPED)),
        rows=rows,
        demands=[(f"within {RANGE_PERCENT:g} %", f"at most {worst:.2f} %", worst <= RANGE_PERCENT)],
        workflows=("proton-impt-basic", "proton-impt-optimized", "proton-robust", "recalculation"),
    )


def _range_mm(
    machine: mcsquare.ProtonMachine, calibration: mcsquare.Calibration, hu: float, nominal_mev: float, long_mm: float
) -> float:
    # slices of a whole part of the length, so that the peak is resolved as well in lung as in bone
    thick_mm = max(0.5, round(long_mm / 250, 2))
    grid = Grid((0.0, 0.0, 0.0), (4.0, thick_mm, 4.0), (30, 260, 30))
    ct = EngineCt(np.full(grid.shape, hu, dtype=np.float32), grid, PatientPosition.HFS)
    spots = SpotPlan((pencil(nominal_mev, 0.0, (58.0, long_mm / 2, 58.0)),))
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as folder:
        cores = len(os.sched_getaffinity(0))
        run = RunSettings(machine, calibration, 1, cores, Path(folder), Recorder(), timeout_s=900.0)
        result = mcsquare.compute_beamlets(ct, spots, grid, np.ones(grid.shape, dtype=bool), PROTONS, run)
    dose = np.zeros(grid.shape, dtype=np.float32)
    dose.ravel()[result.voxels] = result.matrix[:, 0].toarray().ravel()
    return distal_r80_mm(dose, grid, 1, True) + thick_mm / 2
