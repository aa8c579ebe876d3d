"""LET of protons in water at their entrance against NIST's stopping powers, and its rise towards their end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import SpotPlan
from radiarch_worker.engines.mcsquare import let as scoring
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import MACHINE, pencil

from .section import Section
from .water import mean_energy_mev, settings_in_water

ENERGIES_MEV = (100.0, 150.0, 200.0)
PROTONS = 16_000
TOLERANCE_PERCENT = 3.0
ENTRANCE_MM = slice(1, 6)

# NIST PSTAR, liquid water, total stopping power in MeV cm²/g (ICRU 49); 1 MeV cm²/g is 0.1 keV/um in water
PSTAR_MEV = (80.0, 90.0, 100.0, 125.0, 150.0, 175.0, 200.0, 225.0)
PSTAR_MEV_CM2_G = (8.625, 7.888, 7.289, 6.192, 5.445, 4.903, 4.492, 4.170)


def stopping_power_kev_um(energy_mev: float) -> float:
    """PSTAR's, between its energies by the power law that it follows."""
    return float(0.1 * np.exp(np.interp(np.log(energy_mev), np.log(PSTAR_MEV), np.log(PSTAR_MEV_CM2_G))))


def let_in_water() -> Section:
    """Pencil beams in a box of water, slices of 1 mm; LET in the 20 mm around the axis."""
    rows, worst = [], 0.0
    machine = mcsquare.load_machine(MACHINE)
    rises = True
    for energy in ENERGIES_MEV:
        primaries, dose = _along_the_axis(machine, energy, nuclear=False)
        everything, _ = _along_the_axis(machine, energy, nuclear=True)
        # the beam loses about 2 MeV on the way to the middle of what is looked at
        mean = mean_energy_mev(machine, energy)
        lost = stopping_power_kev_um(mean) * (ENTRANCE_MM.start + ENTRANCE_MM.stop) / 2
        expected = stopping_power_kev_um(mean - lost)
        found = float(primaries[ENTRANCE_MM].mean())
        difference = 100 * (found / expected - 1)
        worst = max(worst, abs(difference))
        peak = int(np.argmax(dose))
        distal = peak + int(np.flatnonzero(dose[peak:] < 0.5 * dose[peak])[0])
        entrance, at_peak, at_end = (
            float(everything[s].mean()) for s in (ENTRANCE_MM, slice(peak - 1, peak + 2), slice(distal, distal + 2))
        )
        rises &= entrance < at_peak < at_end
        rows.append(
            [
                f"{energy:g}",
                f"{expected:.3f}",
                f"{found:.3f}",
                f"{difference:+.1f} %",
                f"{entrance:.2f}",
                f"{at_peak:.1f}",
                f"{at_end:.1f}",
            ]
        )
    return Section(
        title="LET in water",
        how=f"Dose-averaged LET along the axis of pencil beams of machine `{MACHINE}` in water, {PROTONS} protons "
        "each. At the entrance, without nuclear interactions, it has to be the stopping power of the beam's energy "
        "(NIST PSTAR, ICRU 49). As computed for patients it is that of primary and secondary protons, heavier "
        "secondaries left out.",
        header=(
            "nominal energy, MeV",
            "PSTAR, keV/um",
            "primaries, keV/um",
            "difference",
            "entrance, all protons",
            "at the peak",
            "where dose has fallen to half",
        ),
        rows=rows,
        demands=[
            (
                f"primaries' LET within {TOLERANCE_PERCENT:g} % of PSTAR",
                f"at most {worst:.1f} %",
                worst <= TOLERANCE_PERCENT,
            ),
            ("LET rises from the entrance over the peak to the distal edge", "yes" if rises else "no", rises),
        ],
        note="LET beside a plan's dose is asked for with `let: true`; it needs runs of its own, so that the dose is "
        "the same bits with and without it.",
        workflows=("proton-impt-basic", "proton-impt-optimized", "proton-robust", "recalculation"),
    )


def _along_the_axis(
    machine: mcsquare.ProtonMachine, energy_mev: float, *, nuclear: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """LET near the axis and dose over all of each slice, by depth in mm."""
    grid = Grid((0.0, 0.0, 0.0), (4.0, 1.0, 4.0), (17, 300, 17))
    ct = mcsquare.EngineCt(np.zeros(grid.shape, dtype=np.float32), grid, PatientPosition.HFS)
    plan = SpotPlan((pencil(energy_mev, 0.0, (32.0, 150.0, 32.0)),))
    everywhere = np.ones(grid.shape, dtype=bool)
    extra = {} if nuclear else {"Simulate_Nuclear_Interactions": False}
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as name, mock.patch.dict(scoring._EXTRA, extra):
        run = settings_in_water(Path(name), machine)
        found = mcsquare.compute_let(ct, plan, np.ones(1), grid, everywhere, run, primaries=PROTONS)
        dose = mcsquare.compute_dose(
            ct, plan, np.ones(1), grid, everywhere, run, uncertainty_percent=100.0, primaries=PROTONS, min_parts=2
        ).dose_gy
    core = found.kev_um[6:11, :, 6:11].astype(np.float64)
    told = np.count_nonzero(core, axis=(0, 2))
    along = np.divide(core.sum(axis=(0, 2)), told, out=np.zeros(grid.shape[1]), where=told > 0)
    return along, dose.sum(axis=(0, 2), dtype=np.float64)
