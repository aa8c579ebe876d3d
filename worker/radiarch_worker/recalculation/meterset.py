"""What an MU of a plan's machine gives: known, given, or derived from the plan's own dose."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import MachineScale
from radiarch_contract.workflows import RecalculationParameters

from radiarch_worker.engines import mcsquare
from radiarch_worker.evaluation import ReadDose
from radiarch_worker.evaluation.comparison import HIGH_DOSE, body_on, known_on, resampled
from radiarch_worker.model import Beam, FloatVolume, Grid, Patient

from .beam_data import is_known
from .beam_item import unsupported
from .ion_plan import ReadIonPlan
from .read_plan import ReadPlan

Source = Literal["none", "given", "reference"]


def scale_source(
    plan: ReadIonPlan, reference: ReadDose | None, machine: mcsquare.ProtonMachine, parameters: RecalculationParameters
) -> Source:
    """Where protons per MU come from; refused where they are not known, since the dose would be arbitrary."""
    if parameters.meterset_scale is not None:
        return "given"
    if is_known(plan, machine):
        return "none"
    if reference is not None:
        return "reference"
    names = ", ".join(sorted({m.text for m in plan.machines}))
    raise unsupported(
        f"the plan's meterset is in MU of machine {names}, the beam data are {machine.name}, and there is no RTDOSE "
        "from which protons per MU could be derived",
        "Name the plan's RTDOSE, or give meterset_scale from a calibration of that machine.",
    )


def meterset_scale(
    source: Source,
    dose_gy: FloatVolume,
    grid: Grid,
    reference: ReadDose | None,
    patient: Patient,
    parameters: RecalculationParameters,
    plan: ReadPlan[Beam],
    machine: str,
    per_mu: str,
) -> tuple[float, str]:
    """The factor on the meterset, and what a reader has to know about it.

    Parameters
    ----------
    machine : name of the beam data
    per_mu : what the machine has other than the beam data, where they are of another machine
    """
    if source == "none":
        return 1.0, f"The plan is of machine data {machine}: its meterset was computed as it stands."
    if source == "given":
        assert parameters.meterset_scale is not None
        return parameters.meterset_scale, f"Its meterset was multiplied by {parameters.meterset_scale:g}, as asked for."
    assert reference is not None
    where = body_on(patient, reference.grid) & known_on(reference.grid, grid)
    where &= reference.dose_gy >= HIGH_DOSE * reference.dose_gy[where].max(initial=0.0)
    computed = float(resampled(dose_gy, grid, reference.grid)[where].sum(dtype=np.float64)) if where.any() else 0.0
    if computed <= 0:
        raise InputRefusedError(
            "the computed dose and the plan's RTDOSE have no high dose in common: a scale cannot be derived",
            remedy="Check that plan, dose and CT belong together.",
            code=ErrorCode.UNSUPPORTED_DOSE,
        )
    # a ratio of means: noise of the computed dose would lower a least-squares factor
    scale = float(reference.dose_gy[where].sum(dtype=np.float64)) / computed
    names = ", ".join(sorted({m.text for m in plan.machines}))
    return scale, (
        f"The plan's machine {names} has other {per_mu} than the beam data {machine}: the computed dose was "
        f"multiplied by {scale:.4f}, so that its mean agrees with the plan's RTDOSE where that has at least half of "
        "its maximum. Differences from it are of the dose's shape; its absolute level is judged by the scale alone."
    )


def machine_scale(
    scale: float, plan: ReadPlan[Beam], machine_sha256: str, calibration: mcsquare.Calibration
) -> MachineScale:
    """A derived factor as a property of the plan's machine."""
    names = sorted({" | ".join((m.name, m.manufacturer, m.model)) for m in plan.machines})
    files = json.dumps(sorted(calibration.sha256.items())).encode()
    return MachineScale(
        machine=" + ".join(names)[:400],
        machine_sha256=machine_sha256,
        calibration_sha256=hashlib.sha256(files).hexdigest(),
        scale=scale,
    )
