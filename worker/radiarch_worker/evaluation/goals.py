"""Judging goals on dose samples; their grammar lives in `radiarch_contract.goals`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.states import GoalStatus
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription

from .dvh import dose_at_volume_gy, mean_gy, volume_at_dose
from .sampling import StructureDose

NEAR_DOSE_PERCENT = 1.0
"""A dose goal missed by at most this much of the prescription is near."""
NEAR_VOLUME_PERCENT = 1.0
"""A volume goal missed by at most this much of the structure's volume is near."""
NEAR_INDEX = 0.02
"""A CI or HI missed by at most this is near."""

CI_ISODOSE_PERCENT = 95.0
"""The isodose of the conformity index, of the prescription: the least dose to a target by ICRU 50 and 62."""

KNOWN_ENOUGH = 0.999
"""A goal is judged where the dose is known in at least this fraction of the structure."""

_BODY = "BODY"


@dataclass(frozen=True)
class Judged:
    """What goals are judged on.

    Attributes
    ----------
    samples : by ROI number
    body : of the patient's outline, drawn or found, for isodose volumes
    """

    samples: Mapping[int, StructureDose]
    body: StructureDose
    prescription: Prescription | None


class _UnknownError(Exception):
    """Why a goal has no value."""


def judge(text: str, judged: Judged, structures: Mapping[str, StructureRef]) -> GoalResult:
    """A goal's value in the unit of its limit, and whether it is met.

    Percentages of the prescription are of the structure's own, where it is a target, else of the main target's. Without
    a value where the structure is not in this patient, or the metric is not defined on it; the note says why.
    """
    goal = Goal.parse(text)
    try:
        samples = _find(goal.structure, judged, structures)
        value = _value(goal, samples, judged)
    except _UnknownError as e:
        return GoalResult(
            text=text,
            structure=goal.structure,
            value=None,
            unit=goal.limit_unit,
            status=None,
            note=str(e),
            priority=goal.priority,
        )
    tolerance = _tolerance(goal, samples, judged.prescription) if goal.tolerance is None else goal.tolerance
    status = _status(goal, value, tolerance)
    return GoalResult(
        text=text,
        structure=goal.structure,
        value=value,
        unit=goal.limit_unit,
        status=status,
        priority=goal.priority,
    )


def _find(name: str, judged: Judged, structures: Mapping[str, StructureRef]) -> StructureDose:
    ref = structures.get(name)
    if ref is not None and ref.roi_number in judged.samples:
        samples = judged.samples[ref.roi_number]
    elif ref is None and name == _BODY:
        samples = judged.body
    else:
        raise _UnknownError("the patient has no such structure with contours")
    if not samples.known_fraction >= KNOWN_ENOUGH:
        unknown = 100 * (1 - samples.known_fraction)
        raise _UnknownError(f"{unknown:.1f} % of the structure lies outside the dose grid: its dose is not known")
    return samples


def _value(goal: Goal, samples: StructureDose, judged: Judged) -> float:
    kind, argument = goal.metric.kind, goal.metric.argument
    if kind == "CI":
        return paddick_index(samples, judged.body, _prescribed_gy(goal, judged))
    if kind == "HI":
        return homogeneity_index(samples)
    if kind == "V":
        assert argument is not None
        threshold_gy = argument if goal.metric.argument_unit == "Gy" else argument / 100 * _prescribed_gy(goal, judged)
        fraction = volume_at_dose(samples, threshold_gy)
        return fraction * (100 if goal.limit_unit == "%" else samples.volume_cc)
    dose_gy = goal_dose_gy(goal, samples)
    return dose_gy if goal.limit_unit == "Gy" else 100 * dose_gy / _prescribed_gy(goal, judged)


def goal_dose_gy(goal: Goal, samples: StructureDose) -> float:
    """The dose of a goal's metric (``D``, ``Dmean``, ``Dmin`` or ``Dmax``), Gy."""
    metric = goal.metric
    if metric.kind == "Dmean":
        return mean_gy(samples)
    if metric.kind == "Dmin":
        return float(samples.dose_gy[0])
    if metric.argument is None:
        return float(samples.dose_gy[-1])
    if metric.argument_unit == "%":
        return dose_at_volume_gy(samples, metric.argument / 100)
    if metric.argument > samples.volume_cc:
        raise _UnknownError(f"the structure has {samples.volume_cc:.2g} cc, less than {metric.argument:g} cc")
    return dose_at_volume_gy(samples, metric.argument / samples.volume_cc)


def _prescribed_gy(goal: Goal, judged: Judged) -> float:
    if judged.prescription is None:
        raise _UnknownError("no dose is prescribed to which it could be relative")
    return judged.prescription.dose_of_gy(goal.structure)


def paddick_index(target: StructureDose, body: StructureDose, prescription_gy: float) -> float:
    """Paddick's conformity index (doi:10.3171/jns.2000.93.supplement_3.0219) of the 95 % isodose.

    ``TV_iso² / (TV * V_iso)`` with the target's volume TV, V_iso the volume of the body that gets
    at least 95 % of the prescription, and TV_iso the target's part of it. 1 is perfect.
    """
    if body.known_fraction < KNOWN_ENOUGH:
        raise _UnknownError("the dose grid does not cover the patient: the isodose's volume is not known")
    threshold_gy = CI_ISODOSE_PERCENT / 100 * prescription_gy
    target_iso_cc = volume_at_dose(target, threshold_gy) * target.volume_cc
    # Contours and voxels sample the same target a little differently: its part cannot be more than all.
    iso_cc = max(volume_at_dose(body, threshold_gy) * body.volume_cc, target_iso_cc)
    return target_iso_cc**2 / (target.volume_cc * iso_cc) if iso_cc else 0.0


def homogeneity_index(samples: StructureDose) -> float:
    """``(D2% - D98%) / D50%`` of ICRU 83 (doi:10.1093/jicru/ndq001); 0 is perfect."""
    d50 = dose_at_volume_gy(samples, 0.50)
    if d50 <= 0:
        raise _UnknownError("half of the structure gets no dose: HI is not defined")
    return (dose_at_volume_gy(samples, 0.02) - dose_at_volume_gy(samples, 0.98)) / d50


def _tolerance(goal: Goal, samples: StructureDose, prescription: Prescription | None) -> float:
    """How far a missed goal may be and still count as near, in the unit of its limit."""
    kind = goal.metric.kind
    if kind in ("CI", "HI"):
        return NEAR_INDEX
    if kind == "V":
        whole = 100.0 if goal.limit_unit == "%" else samples.volume_cc
        return NEAR_VOLUME_PERCENT / 100 * whole
    if goal.limit_unit == "%":
        return NEAR_DOSE_PERCENT
    whole = goal.limit if prescription is None else prescription.dose_of_gy(goal.structure)
    return NEAR_DOSE_PERCENT / 100 * whole


def _status(goal: Goal, value: float, tolerance: float) -> GoalStatus:
    missed_by = goal.limit - value if goal.at_least else value - goal.limit
    if missed_by <= 0:
        return GoalStatus.MET
    return GoalStatus.NEAR if missed_by <= tolerance else GoalStatus.MISSED
