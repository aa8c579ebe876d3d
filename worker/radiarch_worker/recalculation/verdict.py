"""The verdict of a recalculation: what every check is judged by, and the plan's beams, meterset and fractions."""

from __future__ import annotations

from collections.abc import Sequence

from radiarch_contract.job import BeamAgreement, JobSpec, KnownScale, MachineScale
from radiarch_contract.verdict import ActionLevels, Criterion, Outcome, Verdict
from radiarch_contract.workflows import Prescription

from radiarch_worker.evaluation.agreement import is_like_rbe
from radiarch_worker.model import Beam

from .read_plan import ReadPlan

_SCALE_TITLE = "Scale of the meterset, derived from the RTDOSE"


def plan_criteria(plan: ReadPlan[Beam], prescription: Prescription | None, target_roi: int | None) -> list[Criterion]:
    """Fractions and prescribed dose of the plan beside what the request or protocol prescribes, where it does."""
    if prescription is None:
        return []
    same = plan.fractions == prescription.fractions
    found = [
        Criterion(
            id="prescription.fractions",
            title="Fractions of the plan",
            value=float(plan.fractions),
            result=Outcome.PASS if same else Outcome.FAIL,
            note=f"{prescription.fractions} are prescribed",
        )
    ]
    plans_gy = planned_gy(plan, target_roi)
    if plans_gy is not None:
        percent = 100 * (plans_gy / prescription.dose_gy - 1)
        result = Outcome.PASS if abs(percent) <= 0.1 else Outcome.FAIL
        note = f"{prescription.dose_gy:g} Gy are prescribed"
        title = "Dose that the plan prescribes to its target"
        found.append(
            Criterion(id="prescription.plan", title=title, value=plans_gy, unit="Gy", result=result, note=note)
        )
    return found


def planned_gy(plan: ReadPlan[Beam], target_roi: int | None) -> float | None:
    """What the plan itself prescribes to a target; None where it does not say, or says several things."""
    doses_gy = {gy for roi, gy in plan.prescribed if target_roi is not None and roi == target_roi}
    if not doses_gy:
        doses_gy = {gy for _, gy in plan.prescribed}
    return doses_gy.pop() if len(doses_gy) == 1 else None


def beam_criteria(found: Sequence[BeamAgreement], why_not: str | None, levels: ActionLevels) -> list[Criterion]:
    """Meterset, range and place of each beam."""
    if why_not is not None:
        return [Criterion.unjudged("beams", "Meterset, range and place of each beam", why_not)]
    criteria = []
    for beam in found:
        shift = max(beam.shift_x_mm, beam.shift_y_mm, beam.shift_z_mm or 0.0, key=abs)
        for id_, title, value, sigma, unit, limits in (
            ("beam.meterset", "Meterset", beam.meterset_percent, beam.meterset_uncertainty_percent, "%",
             levels.beam_meterset_percent),
            ("beam.range", "Range", beam.range_mm, beam.range_uncertainty_mm, "mm", levels.beam_range_mm),
            ("beam.shift", "Place to the side", shift, beam.shift_uncertainty_mm, "mm", levels.beam_shift_mm),
        ):  # fmt: skip
            if value is None or sigma is None:
                continue
            whole = f"{title} of {beam.name} in the reference, more than computed"
            if sigma > limits.look and limits.judge(value) is Outcome.PASS:
                why = f"it is {value:+.2f} {unit}, but uncertain to {sigma:.2f} {unit}"
                criteria.append(Criterion.unjudged(id_, whole, why))
            else:
                criteria.append(Criterion.at_most(id_, whole, value, unit, limits))
    return criteria


def scale_criterion(
    derived: MachineScale, known: Sequence[KnownScale], plan: ReadPlan[Beam], levels: ActionLevels
) -> Criterion:
    """The fitted scale, beside what the machine's other plans had."""
    if len(set(plan.machines)) > 1:
        why = f"the beams are of {len(set(plan.machines))} machines, and one scale was derived for all"
        return Criterion.unjudged("scale", _SCALE_TITLE, why)
    history = history_of(derived, known)
    scale = derived.scale
    if history is None:
        percent = 100 * (max(scale, 1 / scale) - 1)
        note = f"{scale:.4f}; no other plan of {derived.machine} was checked, so that its level is not judged"
        found = Criterion.at_most("scale", f"{_SCALE_TITLE}: away from 1", percent, "%", levels.scale, note)
        return found.model_copy(update={"result": Outcome.LOOK}) if found.result is Outcome.PASS else found
    ratio = scale / history.scale
    whose = "as a person has confirmed it" if history.confirmed else f"as {history.plans} other plans had it"
    note = f"{scale:.4f}, {derived.machine} has {history.scale:.4f} {whose}"
    if is_like_rbe(ratio) or is_like_rbe(1 / ratio):
        note += "; that is as if the RBE of 1.1 were in one of the two doses only"
    title = f"{_SCALE_TITLE}: change against its machine's"
    return Criterion.at_most("scale.change", title, 100 * (ratio - 1), "%", levels.scale_change_percent, note)


def history_of(derived: MachineScale, known: Sequence[KnownScale]) -> KnownScale | None:
    """What is known of the very machine, with the same beam data and calibration."""
    wanted = (derived.machine, derived.machine_sha256, derived.calibration_sha256)
    return next((k for k in known if (k.machine, k.machine_sha256, k.calibration_sha256) == wanted), None)


def counted(derived: MachineScale, history: KnownScale | None, verdict: Verdict) -> MachineScale:
    """The scale, with whether other plans are judged by it: not where the check failed or the scale has changed."""
    changes = [c for c in verdict.criteria if c.id == "scale.change"]
    changed = history is not None and any(c.result is not Outcome.PASS for c in changes)
    return derived.model_copy(update={"counts": verdict.result is not Outcome.FAIL and not changed})


def uncertainty_criteria(percent: float | None, where: str, levels: ActionLevels) -> list[Criterion]:
    """Noise widens what gamma tolerates: a noisy recalculation proves nothing. Without noise nothing is judged."""
    if percent is None or not where:
        return []
    found = Criterion(
        id="uncertainty",
        title=f"Statistical uncertainty of the recalculation in {where}",
        value=percent,
        unit="%",
        look=levels.uncertainty_percent,
        result=Outcome.PASS if percent <= levels.uncertainty_percent else Outcome.LOOK,
    )
    return [found]


def data_criteria(unconfirmed: Sequence[str], levels: ActionLevels) -> list[Criterion]:
    """Generic data, where the site asks for data of its own machine and scanner."""
    if not unconfirmed or not levels.confirmed_data:
        return []
    why = f"{' and '.join(unconfirmed)} {'is' if len(unconfirmed) == 1 else 'are'} not confirmed by this site"
    return [Criterion.unjudged("data", "The data that the plan was computed with", why)]


def reference_criterion(spec: JobSpec) -> list[Criterion]:
    """There is a reference, and only one that could be meant."""
    reference = next((i for i in spec.inputs if i.kind == "reference_rtdose"), None)
    title = "The RTDOSE that the plan is compared with"
    if reference is None:
        return [Criterion.unjudged("reference", title, "there is none: the dose was computed, and nothing compared")]
    if not reference.alternatives:
        return []
    others = ", ".join(reference.alternatives[:3]) + (" …" if len(reference.alternatives) > 3 else "")
    why = (
        f"{1 + len(reference.alternatives)} doses of this plan are stored; {reference.sop_instance_uid} was taken, "
        f"not {others}"
    )
    return [Criterion.unjudged("reference", title, why)]
