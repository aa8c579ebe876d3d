"""LET of a plan, with note and provenance; how the engine scores it lives in `engines.mcsquare.let`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.states import OutputKind

from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare.let import DOSE_FLOOR
from radiarch_worker.ion import Let
from radiarch_worker.model import BoolVolume, Grid
from radiarch_worker.runtime.extras import attempted

SHARE = 0.5
"""Of the dose's protons: LET is a mean over the protons that come, and so less noisy than how many come."""
LEAST_PRIMARIES = 8_000


@dataclass(frozen=True)
class ScoredLet:
    """LET and where it comes from; ``let`` is None where it could not be scored, which ``failure`` explains."""

    let: Let | None
    provenance: Mapping[str, Any]
    engine_s: float
    failure: str = ""

    @property
    def note(self) -> str:
        if self.let is None:
            return self.failure
        return (
            "Dose-averaged LET of the protons, in water, is stored beside the dose as a Parametric Map "
            f"(uncertainty {self.let.uncertainty_percent:.1f} %; not reported below {100 * self.let.dose_floor:g} % of "
            "the highest dose)."
        )


def extras_of(scored: ScoredLet | None) -> Mapping[OutputKind, Let]:
    """For the result of planning: the LET where there is one."""
    return {} if scored is None or scored.let is None else {OutputKind.LET: scored.let}


def score_let(
    ct: mcsquare.EngineCt,
    plan: mcsquare.SpotPlan,
    weights_mu: npt.NDArray[np.float64],
    grid: Grid,
    target: BoolVolume,
    run: mcsquare.RunSettings,
    dose_primaries: int,
) -> ScoredLet:
    """Dose-averaged LET on the dose's grid, with about half as many protons as the dose took.

    It never raises: a plan is not lost for its LET.
    """
    primaries = max(LEAST_PRIMARIES, int(SHARE * dose_primaries))
    notes: list[str] = []
    found = attempted(
        "LET map",
        lambda: mcsquare.compute_let(ct, plan, weights_mu, grid, target, run, primaries=primaries),
        run.reporter.log,
        notes,
    )
    if found is None:
        return ScoredLet(None, {}, 0.0, notes[0])
    provenance = {
        "let": {
            "quantity": "dose-averaged LET of primary and secondary protons, in water of unit density",
            "unit": "keV/um",
            "primaries": found.primaries,
            "uncertainty_percent": found.uncertainty_percent,
            "told_from_percent_of_maximum_dose": 100 * DOSE_FLOOR,
        }
    }
    return ScoredLet(Let(found.kev_um, grid, DOSE_FLOOR, found.uncertainty_percent), provenance, found.engine_s)
