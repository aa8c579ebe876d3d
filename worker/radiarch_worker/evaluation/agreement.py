"""Criteria of every check: how well a dose agrees with its reference, and with what is prescribed.

What only a recalculation has (beams, meterset, fractions) lives with it; limits are `ActionLevels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from radiarch_contract.goals import GoalResult
from radiarch_contract.job import StructureMetrics
from radiarch_contract.states import GoalStatus
from radiarch_contract.structures import StructureRef
from radiarch_contract.verdict import ActionLevels, Criterion, Outcome
from radiarch_contract.workflows import Prescription

from radiarch_worker.model import Patient, Structure

from .comparison import LEFT_OUT_PERCENT, Compared
from .result import Evaluation

TARGET_TYPES = ("PTV", "CTV", "GTV")
"""RT ROI Interpreted Types of targets, the one that is prescribed to first."""
_NO_ORGANS = (
    *TARGET_TYPES,
    "EXTERNAL",
    "SUPPORT",
    "BOLUS",
    "MARKER",
    "FIXATION",
    "CONTROL",
    "REGISTRATION",
    "ISOCENTER",
)
_NAMED = 5
"""Structures that a note names."""
RBE_LIKE_PERCENT = 2.0
"""How near a ratio is to 1.1, or its inverse, to be named as a mistaken RBE."""
PROTON_RBE = 1.1


@dataclass(frozen=True)
class Subject:
    """What a dose is judged for.

    Attributes
    ----------
    targets : those that are prescribed to, the main one first; empty where none is known
    prescribed_gy : of the main target, total over all fractions; None where it is not known
    """

    patient: Patient
    targets: tuple[Structure, ...]
    prescribed_gy: float | None


def find_targets(
    patient: Patient, prescription: Prescription | None, structures: Mapping[str, StructureRef], others: Iterable[int]
) -> tuple[Structure, ...]:
    """The targets: those prescribed, else those of the plan (ROI numbers), else those that their type says are."""
    if prescription is not None:
        named = [structures[t.target].roi_number for t in prescription.targets if t.target in structures]
    else:
        named = list(dict.fromkeys(others))
    found = tuple(patient.structures[n] for n in named if n in patient.structures)
    for kind in TARGET_TYPES if not found else ():
        found = tuple(s for s in patient.structures.values() if s.interpreted_type == kind and s.definition is None)
        if found:
            break
    return found


def agreement(
    compared: Compared,
    judged: Evaluation,
    of_reference: Evaluation,
    subject: Subject,
    levels: ActionLevels,
    *,
    fitted: bool,
) -> list[Criterion]:
    """Gamma and mean doses, of the target, the high dose and the organs.

    Parameters
    ----------
    judged, of_reference : both doses, as the same quantity
    fitted : whether the dose was scaled to the reference: then no mean difference of the high dose is left to judge
    """
    criteria = _gammas(compared, subject, levels)
    ours = {m.roi_number: m for m in judged.metrics}
    theirs = {m.roi_number: m for m in of_reference.metrics}
    if not fitted:
        criteria += _target_means(ours, theirs, subject, levels)
        criteria.append(_high_dose(compared, levels))
    criteria += _organs(ours, theirs, compared, subject, levels, fitted=fitted)
    if compared.left_out_percent > LEFT_OUT_PERCENT:
        criteria.append(
            Criterion(
                id="coverage",
                title="Points of the reference above the cut-off that lie outside of the dose's grid",
                value=compared.left_out_percent,
                unit="%",
                look=LEFT_OUT_PERCENT,
                result=Outcome.LOOK,
            )
        )
    return criteria + _changed_goals(judged.goals, of_reference.goals)


def dose_level(
    dose: Evaluation, what: str, subject: Subject, levels: ActionLevels, *, says_physical: bool | None
) -> list[Criterion]:
    """The target's mean dose beside what is prescribed.

    Parameters
    ----------
    what : the dose, as the criterion calls it
    says_physical : whether its object says PHYSICAL rather than EFFECTIVE; None where it is our own
    """
    title = f"Mean dose of the target in {what} against the prescription"
    if subject.prescribed_gy is None:
        return [Criterion.unjudged("prescription.dose", title, "neither plan nor request says what is prescribed")]
    target = subject.targets[0] if subject.targets else None
    metrics = None if target is None else next((m for m in dose.metrics if m.roi_number == target.roi_number), None)
    if metrics is None:
        return [Criterion.unjudged("prescription.dose", title, "the target or its dose is not known")]
    ratio = metrics.d_mean_gy / subject.prescribed_gy
    note = f"{metrics.d_mean_gy:.2f} Gy to {metrics.structure}, prescribed are {subject.prescribed_gy:g} Gy"
    if says_physical and is_like_rbe(ratio):
        note += "; that is as if the RBE of 1.1 were in it, though it says PHYSICAL (then give rbe: 1)"
    elif says_physical is False and is_like_rbe(1 / ratio if ratio else 0.0):
        note += "; that is as if the RBE of 1.1 were not in it, though it says EFFECTIVE"
    return [Criterion.at_most("prescription.dose", title, 100 * (ratio - 1), "%", levels.prescription_percent, note)]


def is_like_rbe(ratio: float) -> bool:
    """Whether a ratio is what a constant RBE makes that is in one dose and not in the other."""
    return abs(100 * (ratio / PROTON_RBE - 1)) <= RBE_LIKE_PERCENT


def _gammas(compared: Compared, subject: Subject, levels: ActionLevels) -> list[Criterion]:
    if compared.gamma is None:
        return [Criterion.unjudged("gamma.body", "Gamma in BODY", compared.note or "there is none")]
    found = [
        Criterion.at_least("gamma.body", "Gamma in BODY", compared.gamma.passed_percent, "%", levels.gamma_percent)
    ]
    regions = {(r.region, r.structure): r for r in compared.regions}
    for target in subject.targets:
        title = f"Gamma in {target.name}"
        region = regions.get(("target", target.name))
        if region is None:
            why = "no point of the reference's grid lies in it where both doses are known"
            found.append(Criterion.unjudged("gamma.target", title, why))
        else:
            found.append(Criterion.at_least("gamma.target", title, region.passed_percent, "%", levels.gamma_percent))
    if not subject.targets:
        found.append(Criterion.unjudged("gamma.target", "Gamma in the target", "no target is known"))
    high = regions.get(("high_dose", ""))
    if high is not None:
        title = "Gamma where the reference has half of its maximum or more"
        found.append(Criterion.at_least("gamma.high_dose", title, high.passed_percent, "%", levels.gamma_percent))
    return found


def _target_means(
    ours: Mapping[int, StructureMetrics],
    theirs: Mapping[int, StructureMetrics],
    subject: Subject,
    levels: ActionLevels,
) -> list[Criterion]:
    found = []
    for target in subject.targets:
        title, n = f"Mean dose of {target.name}", target.roi_number
        if n not in ours or n not in theirs or theirs[n].d_mean_gy <= 0:
            found.append(Criterion.unjudged("mean.target", title, "its dose is not known in both, or there is none"))
            continue
        percent = 100 * (ours[n].d_mean_gy / theirs[n].d_mean_gy - 1)
        note = f"{ours[n].d_mean_gy:.2f} Gy, in the reference {theirs[n].d_mean_gy:.2f} Gy"
        found.append(Criterion.at_most("mean.target", title, percent, "%", levels.mean_percent, note))
    if not found:
        found.append(Criterion.unjudged("mean.target", "Mean dose of the target", "no target is known"))
    return found


def _high_dose(compared: Compared, levels: ActionLevels) -> Criterion:
    title = "Mean dose where the reference has half of its maximum or more"
    if compared.high_dose_gy <= 0:
        return Criterion.unjudged("mean.high_dose", title, "the reference has no dose there")
    percent = 100 * compared.mean_difference_gy / compared.high_dose_gy
    return Criterion.at_most("mean.high_dose", title, percent, "%", levels.mean_percent)


def _organs(
    ours: Mapping[int, StructureMetrics],
    theirs: Mapping[int, StructureMetrics],
    compared: Compared,
    subject: Subject,
    levels: ActionLevels,
    *,
    fitted: bool,
) -> list[Criterion]:
    """One criterion: the organ that differs most; the note names all that do."""
    whole_gy = subject.prescribed_gy or compared.high_dose_gy
    left_out = {t.roi_number for t in subject.targets} | {subject.patient.body.roi_number}
    percent = {
        n: 100 * (ours[n].d_mean_gy - theirs[n].d_mean_gy) / whole_gy
        for n, s in subject.patient.structures.items()
        if n in ours and n in theirs and n not in left_out and _is_organ(s)
    }
    if not percent or whole_gy <= 0:
        return []
    worst = max(percent, key=lambda n: abs(percent[n]))
    beyond = sorted((n for n in percent if abs(percent[n]) > levels.organ_percent.look), key=lambda n: -abs(percent[n]))
    named = [f"{ours[n].structure} {ours[n].d_mean_gy - theirs[n].d_mean_gy:+.2f} Gy" for n in (beyond or [worst])]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    after = "after the fit of the scale: " if fitted else ""
    title = f"Mean dose of organs, the largest difference of {len(percent)}"
    note = f"{after}{', '.join(named[:_NAMED])}{more}"
    return [
        Criterion.at_most("mean.organs", title, percent[worst], "% of the prescription", levels.organ_percent, note)
    ]


def _is_organ(structure: Structure) -> bool:
    return structure.interpreted_type not in _NO_ORGANS and structure.definition is None


def _changed_goals(ours: Sequence[GoalResult], theirs: Sequence[GoalResult]) -> list[Criterion]:
    """Goals that one dose meets and the other misses."""
    if not ours:
        return []
    missed = (GoalStatus.MISSED,)
    changed = [
        a.text
        for a, b in zip(ours, theirs, strict=True)
        if (a.status is None) != (b.status is None) or (a.status in missed) != (b.status in missed)
    ]
    note = "; ".join(changed[:_NAMED])
    result = Outcome.LOOK if changed else Outcome.PASS
    title = "Goals that one dose meets and the other misses"
    return [Criterion(id="goals", title=title, value=float(len(changed)), look=0.0, result=result, note=note)]
