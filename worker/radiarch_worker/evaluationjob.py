"""A stored dose judged: DVHs, metrics, goals; beside a reference dose where there is one."""

from __future__ import annotations

from typing import Any

from radiarch_contract import __version__
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import DoseComparison, JobResult
from radiarch_contract.states import OutputKind, Stage
from radiarch_contract.verdict import Criterion, Verdict
from radiarch_contract.workflows import EvaluationParameters

from . import dicom, evaluation
from .checkjob import Check, Datasets
from .dicom import Made
from .dicom.enum import DoseSummationTypeValues
from .evaluation import Evaluation, ReadDose
from .evaluation.agreement import Subject, agreement, dose_level, find_targets
from .evaluation.quantity import Settled, settle
from .evaluation.rtdose import SummationType
from .model import Dose, Machine, PlanResult


def evaluate(job: Check, parameters: EvaluationParameters) -> tuple[JobResult, Datasets]:
    """Judge the dose, and compare it with its reference; what is to be stored."""
    spec, link = job.spec, job.here.link
    link.stage(Stage.EXPORTING, "judging the dose")
    with job.timed("evaluate"):
        doses = [job.read_dose("rtdose", "The RTDOSE")]
        if "reference_rtdose" in job.inputs:
            doses.append(job.read_dose("reference_rtdose", "The reference RTDOSE"))
            _check_alike(*doses)
        settled = settle(doses, parameters.rbe, prescribed=bool(spec.goals) or spec.prescription is not None)
        dose = settled.doses[0]
        judged = job.judge(dose.dose_gy, dose.grid, 1.0)
    notes = [*job.subject.notes, *(n for d in doses for n in d.notes), *settled.notes, *judged.notes]
    provenance: dict[str, Any] = {"engine": "none: stored doses are judged", "worker_version": __version__}
    if settled.weighted and not dose.weighted:
        provenance["rbe"] = settled.factors[0]
    datasets: Datasets = {}
    comparison, criteria = _compare(job, parameters, settled, judged, (provenance, notes), datasets)
    criteria += _level(job, parameters, settled, doses[0], judged)
    result = JobResult(
        plan_id=spec.plan_id,
        attempt=spec.attempt,
        dvh=judged.dvh,
        metrics=judged.metrics,
        goals=judged.goals,
        dose=dose.description,
        dose_quantity=settled.quantity,
        comparison=comparison,
        verdict=Verdict.of(criteria, _reservations(job)),
        provenance=provenance,
    )
    # nothing was computed: a dose without a plan, for the report
    shown = PlanResult(
        beams=(),
        dose=Dose(dose.dose_gy, dose.grid, 1.0),
        uncertainty_percent=0.0,
        machine=Machine("", (0.0, 0.0), 0.0),
        provenance=provenance,
        notes=tuple(notes),
    )
    notes += job.report(shown, judged, result, datasets)
    return result.model_copy(update={"notes": tuple(dict.fromkeys(notes))}), datasets


def _compare(
    job: Check,
    parameters: EvaluationParameters,
    settled: Settled,
    judged: Evaluation,
    made: tuple[dict[str, Any], list[str]],
    datasets: Datasets,
) -> tuple[DoseComparison | None, list[Criterion]]:
    """The comparison and its criteria; the difference dose is added to what is stored."""
    if len(settled.doses) == 1:
        return None, [_alone(judged.goals)]
    dose, reference = settled.doses
    subject = _subject(job)
    with job.timed("compare"):
        job.here.link.progress(0.2, "gamma")
        compared, of_reference = job.compare(dose.dose_gy, dose.grid, reference, subject.targets, parameters.gamma)
    provenance, notes = made
    with job.timed("write"):
        datasets |= job.optional(
            OutputKind.DOSE_DIFFERENCE,
            lambda: dicom.write_dose_difference(
                job.spec,
                job.subject,
                Made(provenance, tuple(notes), ("difference of two stored doses",)),
                compared.difference_gy,
                compared.grid,
                dose=dose.description,
                reference_dose=reference.description,
                weighted=settled.weighted,
                summation=_written(dose.summation),
                rtplan=dose.referenced_plans[0] if dose.referenced_plans else None,
            ),
            notes,
        )
    comparison = evaluation.as_comparison(compared, reference, of_reference, settled.factors[1], settled.weighted)
    criteria = agreement(compared, judged, of_reference, subject, parameters.levels, fitted=False)
    return comparison, criteria


def _subject(job: Check) -> Subject:
    prescription = job.spec.prescription
    targets = find_targets(job.subject, prescription, job.structures, ())
    return Subject(job.subject, targets, None if prescription is None else prescription.dose_gy)


def _alone(goals: tuple[GoalResult, ...]) -> Criterion:
    counted = {word: sum(g.status == word for g in goals) for word in ("met", "near", "missed")}
    said = ", ".join(f"{n} {word}" for word, n in counted.items() if n) or "none has a value"
    judged_by = f"its goals alone ({said})" if goals else "nothing: there are no goals either"
    return Criterion.unjudged("reference", "The dose to compare with", f"there is none: it was judged by {judged_by}")


def _level(
    job: Check, parameters: EvaluationParameters, settled: Settled, stored: ReadDose, judged: Evaluation
) -> list[Criterion]:
    """The dose beside the prescription, where it is the whole of what is prescribed and one was given."""
    if stored.summation != "PLAN":
        why = f"its Dose Summation Type is {stored.summation}: it need not be all of a plan's dose"
        return [Criterion.unjudged("summation", "What the dose is of", why)]
    if job.spec.prescription is None:
        return []
    photons = not stored.weighted and settled.factors[0] == 1.0
    says_physical = None if photons else not stored.weighted
    return dose_level(judged, "the RTDOSE", _subject(job), parameters.levels, says_physical=says_physical)


def _reservations(job: Check) -> list[str]:
    if job.spec.prescription is not None:
        return []
    return ["No prescription was given: the dose was not compared with one."]


def _check_alike(dose: ReadDose, reference: ReadDose) -> None:
    if dose.summation != reference.summation:
        raise InputRefusedError(
            f"the dose has Dose Summation Type {dose.summation} and its reference {reference.summation}: they are not "
            "of the same",
            remedy="Compare doses of the same extent: of a whole plan, or of one and the same beam.",
            code=ErrorCode.UNSUPPORTED_DOSE,
        )


def _written(summation: SummationType) -> DoseSummationTypeValues:
    """What a difference is written as: PLAN_OVERVIEW asks for a sequence that only the doses themselves can have."""
    return DoseSummationTypeValues("MULTI_PLAN" if summation == "PLAN_OVERVIEW" else summation)
