"""A stored dose judged, or the sum of two: DVHs, metrics, goals; beside a reference dose where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from radiarch_contract import __version__
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import DoseComparison, JobResult
from radiarch_contract.states import OutputKind, Stage
from radiarch_contract.verdict import Criterion, Verdict
from radiarch_contract.workflows import EvaluationParameters

from radiarch_worker import dicom, evaluation
from radiarch_worker.dicom import Provenance
from radiarch_worker.dicom.enum import DoseSummationTypeValues
from radiarch_worker.evaluation import Evaluation, ReadDose
from radiarch_worker.evaluation.agreement import Subject, agreement, dose_level, find_targets
from radiarch_worker.evaluation.plansum import added
from radiarch_worker.evaluation.quantity import Settled, settle
from radiarch_worker.evaluation.rtdose import SummationType
from radiarch_worker.model import Dose, Machine, PlanResult

from .run import Computed, Datasets, Run


def evaluate(run: Run, parameters: EvaluationParameters) -> Computed:
    """Judge the dose, and compare it with its reference."""
    spec, link = run.spec, run.here.link
    link.stage(Stage.EXPORTING, "judging the dose")
    with run.timed("evaluate"):
        doses = [run.read_dose("rtdose", "The RTDOSE")]
        if "added_rtdose" in run.inputs:
            doses = [added(doses[0], run.read_dose("added_rtdose", "The added RTDOSE"))]
        if "reference_rtdose" in run.inputs:
            doses.append(run.read_dose("reference_rtdose", "The reference RTDOSE"))
            _check_alike(*doses)
        settled = settle(doses, parameters.rbe, prescribed=bool(spec.goals) or spec.prescription is not None)
        dose = settled.doses[0]
        judged = run.judge(dose.dose_gy, dose.grid, 1.0)
    notes = (*(n for d in doses for n in d.notes), *settled.notes, *judged.notes)
    provenance: dict[str, Any] = {"engine": "none: stored doses are judged", "worker_version": __version__}
    if settled.weighted and not dose.weighted:
        provenance["rbe"] = settled.factors[0]
    datasets: Datasets = {}
    comparison, criteria = _compare(run, parameters, settled, judged, provenance, notes, datasets)
    criteria += _level(run, parameters, settled, doses[0], judged)
    result = JobResult(
        plan_id=spec.plan_id,
        attempt=spec.attempt,
        dvh=judged.dvh,
        metrics=judged.metrics,
        goals=judged.goals,
        dose=dose.description,
        dose_quantity=settled.quantity,
        comparison=comparison,
        verdict=Verdict.of(criteria, _reservations(run)),
        provenance=provenance,
    )
    # nothing was computed: a dose without a plan, for the report
    shown = PlanResult(
        beams=(),
        dose=Dose(dose.dose_gy, dose.grid, 1.0),
        uncertainty_percent=None,
        machine=Machine(""),
        provenance=provenance,
        notes=run.all_notes(notes),
    )
    run.report(shown, judged, datasets, result)
    return Computed(result.model_copy(update={"notes": run.all_notes(notes)}), datasets)


def _compare(
    run: Run,
    parameters: EvaluationParameters,
    settled: Settled,
    judged: Evaluation,
    provenance: dict[str, Any],
    notes: Sequence[str],
    datasets: Datasets,
) -> tuple[DoseComparison | None, list[Criterion]]:
    """The comparison and its criteria; the difference dose is added to what is stored."""
    if len(settled.doses) == 1:
        return None, [_alone(judged.goals)]
    dose, reference = settled.doses
    subject = _subject(run)
    with run.timed("compare"):
        run.here.link.progress(0.2, "gamma")
        compared, of_reference = run.compare(dose.dose_gy, dose.grid, reference, subject.targets, parameters.gamma)
    with run.timed("write"):
        run.add_optional(
            datasets,
            OutputKind.DOSE_DIFFERENCE,
            "dose difference",
            lambda: dicom.write_dose_difference(
                run.spec,
                run.patient,
                Provenance(provenance, run.all_notes(notes), ("difference of two stored doses",)),
                compared.difference_gy,
                compared.grid,
                dose=dose.description,
                reference_dose=reference.description,
                weighted=settled.weighted,
                summation=_written(dose.summation),
                rtplan=dose.referenced_plans[0] if dose.referenced_plans else None,
            ),
        )
    comparison = evaluation.as_comparison(compared, reference, of_reference, settled.factors[1], settled.weighted)
    criteria = agreement(compared, judged, of_reference, subject, parameters.levels, fitted=False)
    return comparison, criteria


def _subject(run: Run) -> Subject:
    prescription = run.spec.prescription
    targets = find_targets(run.patient, prescription, run.structures, ())
    return Subject(run.patient, targets, None if prescription is None else prescription.dose_gy)


def _alone(goals: tuple[GoalResult, ...]) -> Criterion:
    counted = {word: sum(g.status == word for g in goals) for word in ("met", "near", "missed")}
    said = ", ".join(f"{n} {word}" for word, n in counted.items() if n) or "none has a value"
    judged_by = f"its goals alone ({said})" if goals else "nothing: there are no goals either"
    return Criterion.unjudged("reference", "The dose to compare with", f"there is none: it was judged by {judged_by}")


def _level(
    run: Run, parameters: EvaluationParameters, settled: Settled, stored: ReadDose, judged: Evaluation
) -> list[Criterion]:
    """The dose beside the prescription, where it is the whole of what is prescribed and one was given."""
    if stored.summation != "PLAN":
        why = f"its Dose Summation Type is {stored.summation}: it need not be all of a plan's dose"
        return [Criterion.unjudged("summation", "What the dose is of", why)]
    if run.spec.prescription is None:
        return []
    photons = not stored.weighted and settled.factors[0] == 1.0
    says_physical = None if photons else not stored.weighted
    return dose_level(judged, "the RTDOSE", _subject(run), parameters.levels, says_physical=says_physical)


def _reservations(run: Run) -> list[str]:
    if run.spec.prescription is not None:
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
