"""The sum of the doses of two plans of one patient; what is not one quantity is never added."""

from __future__ import annotations

import dataclasses

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError

from .comparison import known_on, resampled
from .rtdose import ReadDose

_WHOLE_PLANS = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")
LOST_SHARE = 0.01
"""Of the added dose's maximum: what may lie outside of the first dose's grid."""


def added(dose: ReadDose, other: ReadDose) -> ReadDose:
    """Both doses together, on the first one's grid: the other one is linear between its points, and 0 beyond them.

    Raises
    ------
    InputRefusedError
        ``unsupported_dose``: one is RBE-weighted and the other physical, or one is not of a whole plan.
        ``unsupported_geometry``: the first grid leaves out a part of the other dose.
    """
    _check(dose, other)
    inside = known_on(dose.grid, other.grid)
    total = np.where(inside, resampled(other.dose_gy, other.grid, dose.grid), np.float32(0)) + dose.dose_gy
    one, two = dose.description, other.description
    notes = [
        f"This is the sum of two doses, RTDOSE {one.sop_instance_uid} and RTDOSE {two.sop_instance_uid}, on the grid "
        "of the first."
    ]
    if not inside.all():
        notes.append("The second dose counts as 0 outside of its grid.")
    label = " + ".join(d.label or "dose" for d in (one, two))[:64]
    return dataclasses.replace(
        dose,
        dose_gy=np.ascontiguousarray(total, dtype=np.float32),
        summation="MULTI_PLAN",
        description=one.model_copy(update={"max_gy": float(total.max()), "label": label}),
        referenced_plans=tuple(dict.fromkeys((*dose.referenced_plans, *other.referenced_plans))),
        notes=tuple(dict.fromkeys((*notes, *dose.notes, *other.notes))),
    )


def _check(dose: ReadDose, other: ReadDose) -> None:
    if dose.weighted != other.weighted:
        weighted, physical = (dose, other) if dose.weighted else (other, dose)
        raise InputRefusedError(
            f"RTDOSE {weighted.description.sop_instance_uid} is RBE-weighted and RTDOSE "
            f"{physical.description.sop_instance_uid} is physical dose (Dose Type (3004,0004)): they are not added",
            remedy="Name two doses of one Dose Type.",
            code=ErrorCode.UNSUPPORTED_DOSE,
        )
    for one in (dose, other):
        if one.summation not in _WHOLE_PLANS:
            raise InputRefusedError(
                f"RTDOSE {one.description.sop_instance_uid} has Dose Summation Type (3004,000A) {one.summation}: only "
                "doses of whole plans are added",
                remedy="Name the doses of two plans.",
                code=ErrorCode.UNSUPPORTED_DOSE,
            )
    lost = other.dose_gy[~known_on(other.grid, dose.grid)]
    lost_gy = float(lost.max()) if lost.size else 0.0
    if lost_gy > LOST_SHARE * other.dose_gy.max():
        raise InputRefusedError(
            f"up to {lost_gy:.1f} Gy of the added RTDOSE {other.description.sop_instance_uid} lie outside of the grid "
            f"of RTDOSE {dose.description.sop_instance_uid}: the sum would be too low there",
            remedy="Name the dose with the larger grid first, or export both on grids that cover the patient.",
            code=ErrorCode.UNSUPPORTED_GEOMETRY,
        )
