"""Jobs that plan nothing: a stored dose judged, a stored plan computed anew; each beside a reference dose, if any."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from pydicom.dataset import Dataset
from radiarch_contract import __version__
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import DoseComparison, DoseDescription, JobResult, JobSpec, Output
from radiarch_contract.states import OutputKind, Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import (
    EvaluationParameters,
    GammaCriteria,
    RecalculationParameters,
    parse_parameters,
)

from . import dicom, evaluation, pacs, patient
from .context import JobContext
from .dicom import Made
from .dicom.enum import DoseSummationTypeValues
from .evaluation import Compared, Evaluation, ReadDose
from .evaluation.rtdose import SummationType
from .extras import attempted
from .model import Dose, FloatVolume, Grid, Machine, Patient, PlanResult

Timed = Callable[[str], AbstractContextManager[None]]
Store = Callable[[pacs.Orthanc, Mapping[OutputKind, Dataset]], tuple[Output, ...]]
Datasets = dict[OutputKind, Dataset]


@dataclass(frozen=True)
class _Check:
    """One such job after its input was read."""

    spec: JobSpec
    here: JobContext
    subject: Patient
    inputs: Mapping[str, Dataset]
    structures: Mapping[str, StructureRef]
    timed: Timed

    def judge(self, dose_gy: FloatVolume, grid: Grid, rbe: float) -> Evaluation:
        return evaluation.evaluate(
            self.subject, Dose(dose_gy, grid, rbe), self.spec.prescription, self.spec.goals, self.structures
        )

    def optional(self, kind: OutputKind, write: Callable[[], Dataset], notes: list[str]) -> Datasets:
        """A result that the check can do without, or a note."""
        written = attempted(kind.replace("_", " "), write, self.here.link.log, notes)
        return {} if written is None else {kind: written}

    def read_dose(self, kind: str, what: str) -> ReadDose:
        """A dose among the inputs, in the CT's frame of reference."""
        read = evaluation.read_rtdose(self.inputs[kind], what=what)
        frame = self.subject.ct.frame_of_reference_uid
        if read.frame_of_reference_uid != frame:
            raise InputRefusedError(
                f"{what} is in frame of reference {read.frame_of_reference_uid}, CT and structures are in {frame}",
                remedy="Name a dose that was computed on this CT, or a structure set of the dose's frame.",
                code=ErrorCode.FRAME_OF_REFERENCE_MISMATCH,
            )
        return read

    def compare(
        self, dose_gy: FloatVolume, grid: Grid, reference: ReadDose, criteria: GammaCriteria
    ) -> tuple[Compared, Evaluation]:
        folder = self.here.folder / "work"
        folder.mkdir(parents=True, exist_ok=True)
        compared = evaluation.compare(
            dose_gy, grid, reference.dose_gy, reference.grid, self.subject, criteria, folder, self.here.link
        )
        return compared, self.judge(reference.dose_gy, reference.grid, 1.0)


def check(spec: JobSpec, here: JobContext, timed: Timed, store: Store) -> JobResult:
    """Run the job, and store what it gives.

    Parameters
    ----------
    timed
        Measures a step under its name.
    store
        Stores all results or, for an attempt that no longer counts, none.

    Raises
    ------
    RadiarchError
    """
    from .planning import overridden_rois, prepare

    parameters = parse_parameters(spec.workflow_id, spec.parameters, stored=True)
    structures = {ref.name: ref for ref in spec.structures}
    with pacs.connect(here.settings, here.link, spec) as orthanc:
        here.link.stage(Stage.LOADING_DATA)
        with timed("fetch"):
            fetched = pacs.fetch(orthanc, spec, here.link)
        with timed("load"):
            outline = structures.get("BODY")
            subject = patient.load_patient(
                fetched.rtstruct,
                fetched.images,
                expected_patient_id=spec.patient_id,
                body_roi=None if outline is None else outline.roi_number,
                max_contour_gap_mm=parameters.max_contour_gap_mm,
                computes_dose=isinstance(parameters, RecalculationParameters),
                overridden_rois=overridden_rois(structures, parameters),
            )
            subject, refs = prepare(subject, structures, parameters)
        job = _Check(spec, here, subject, fetched.inputs, refs, timed)
        del fetched
        if isinstance(parameters, EvaluationParameters):
            result, datasets = _evaluate(job, parameters)
        elif isinstance(parameters, RecalculationParameters):
            result, datasets = _recalculate(job, parameters)
        else:
            raise AssertionError(f"workflow {spec.workflow_id} is no check")
        here.link.progress(0.9)
        with timed("store"):
            outputs = store(orthanc, datasets)
    ct = patient.ct_used(subject)
    shown = None if ct is None else ct.model_dump(mode="json")
    return result.model_copy(update={"outputs": outputs, "ct": ct, "provenance": {**result.provenance, "ct": shown}})


def _evaluate(job: _Check, parameters: EvaluationParameters) -> tuple[JobResult, Datasets]:
    """A stored dose: DVHs, metrics, goals; and beside a reference."""
    spec, link = job.spec, job.here.link
    link.stage(Stage.EXPORTING, "judging the dose")
    with job.timed("evaluate"):
        dose = job.read_dose("rtdose", "The RTDOSE")
        judged = job.judge(dose.dose_gy, dose.grid, 1.0)
    notes = [*job.subject.notes, *dose.notes, *judged.notes]
    comparison: DoseComparison | None = None
    datasets: Datasets = {}
    provenance: dict[str, Any] = {"engine": "none: stored doses are judged", "worker_version": __version__}
    if "reference_rtdose" in job.inputs:
        with job.timed("compare"):
            reference = job.read_dose("reference_rtdose", "The reference RTDOSE")
            _check_alike(dose, reference)
            link.progress(0.2, "gamma")
            compared, of_reference = job.compare(dose.dose_gy, dose.grid, reference, parameters.gamma)
        notes += reference.notes
        comparison = _comparison(compared, reference, of_reference)
        with job.timed("write"):
            made = Made(provenance, tuple(notes), ("difference of two stored doses",))
            datasets |= job.optional(
                OutputKind.DOSE_DIFFERENCE,
                lambda: dicom.write_dose_difference(
                    spec,
                    job.subject,
                    made,
                    compared.difference_gy,
                    compared.grid,
                    dose=dose.description,
                    reference_dose=reference.description,
                    summation=_written(dose.summation),
                    rtplan=dose.referenced_plans[0] if dose.referenced_plans else None,
                ),
                notes,
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
    notes += _report(job, shown, judged, comparison, datasets, ())
    result = JobResult(
        plan_id=spec.plan_id,
        attempt=spec.attempt,
        dvh=judged.dvh,
        metrics=judged.metrics,
        goals=judged.goals,
        dose=dose.description,
        comparison=comparison,
        notes=tuple(dict.fromkeys(notes)),
        provenance=provenance,
    )
    return result, datasets


def _written(summation: SummationType) -> DoseSummationTypeValues:
    """What a difference is written as: PLAN_OVERVIEW asks for a sequence that only the doses themselves can have."""
    return DoseSummationTypeValues("MULTI_PLAN" if summation == "PLAN_OVERVIEW" else summation)


def _check_alike(dose: ReadDose, reference: ReadDose) -> None:
    for what, one, other in (
        ("Dose Type", dose.description.dose_type, reference.description.dose_type),
        ("Dose Summation Type", dose.summation, reference.summation),
    ):
        if one != other:
            raise InputRefusedError(
                f"the dose has {what} {one} and its reference {other}: they are not the same quantity",
                remedy="Compare physical with physical and RBE-weighted with RBE-weighted dose, of the same extent.",
                code=ErrorCode.UNSUPPORTED_DOSE,
            )


def _comparison(
    compared: Compared,
    reference: ReadDose,
    judged: Evaluation,
    *,
    scale: float = 1.0,
    source: Literal["none", "given", "reference"] = "none",
) -> DoseComparison:
    return DoseComparison(
        reference=reference.description,
        rbe_weighted=reference.weighted,
        scale=scale,
        scale_source=source,
        gamma=compared.gamma,
        gamma_note=compared.note,
        mean_difference_gy=compared.mean_difference_gy,
        metrics=judged.metrics,
        goals=judged.goals,
        dvh=judged.dvh,
    )


def _report(
    job: _Check,
    plan: PlanResult,
    judged: Evaluation,
    comparison: DoseComparison | None,
    datasets: Datasets,
    reports_on: tuple[OutputKind, ...],
) -> tuple[str, ...]:
    """Add the report to the results; notes about it. What cannot be drawn is told, and never costs the check."""
    from . import report

    with job.timed("report"):
        try:
            drawn = report.draw(job.spec, job.subject, plan, judged, comparison)
            datasets[OutputKind.REPORT] = dicom.write_report(
                job.spec, job.subject, plan, drawn.pdf, reports_on=reports_on
            )
        except Exception as e:
            for line in traceback.format_exc().splitlines():
                job.here.link.log(line)
            return (
                f"There is no report: it could not be drawn ({type(e).__name__}, see the job's log). Everything else "
                "is complete.",
            )
    return drawn.notes


def _recalculate(job: _Check, parameters: RecalculationParameters) -> tuple[JobResult, Datasets]:
    """A stored plan computed anew; and beside its dose."""
    from .recalculation import beam_results, read_ion_plan, recompute

    spec, link = job.spec, job.here.link
    with job.timed("read_plan"):
        plan = read_ion_plan(job.inputs["rtplan"])
        reference = None
        if "reference_rtdose" in job.inputs:
            reference = job.read_dose("reference_rtdose", "The plan's RTDOSE")
    computed = recompute(
        plan,
        reference,
        job.subject,
        spec.prescription,
        parameters,
        job.structures,
        link,
        job.here.folder / "work",
        job.here.settings.threads,
    )
    made = computed.plan
    link.stage(Stage.EXPORTING)
    with job.timed("evaluate"):
        judged = job.judge(made.dose.dose_gy, made.dose.grid, made.dose.rbe)
    notes = [*job.subject.notes, *(reference.notes if reference else ()), *made.notes, *judged.notes]
    datasets: Datasets = {}
    comparison: DoseComparison | None = None
    description = DoseDescription(
        sop_instance_uid=dicom.result_uid(spec, OutputKind.RTDOSE),
        dose_type="PHYSICAL" if made.dose.rbe == 1 else "EFFECTIVE",
        max_gy=float(made.dose.dose_gy.max()),
        grid_mm=made.dose.grid.spacing_mm,
        manufacturer="Radiarch",
        label="recalculated",
    )
    with job.timed("write"):
        datasets[OutputKind.RTDOSE] = dicom.write_rtdose(
            spec, job.subject, made, judged, rtplan_sop_instance_uid=plan.sop_instance_uid
        )
        if (let := made.let) is not None:
            datasets |= job.optional(
                OutputKind.LET, lambda: dicom.write_let(spec, job.subject, Made.of(made), let), notes
            )
    if reference is not None:
        link.progress(0.2, "gamma")
        with job.timed("compare"):
            compared, of_reference = job.compare(made.dose.dose_gy, made.dose.grid, reference, parameters.gamma)
        comparison = _comparison(compared, reference, of_reference, scale=computed.scale, source=computed.source)
        datasets |= job.optional(
            OutputKind.DOSE_DIFFERENCE,
            lambda: dicom.write_dose_difference(
                spec,
                job.subject,
                Made.of(made),
                compared.difference_gy,
                compared.grid,
                dose=description,
                reference_dose=reference.description,
                summation=DoseSummationTypeValues.PLAN,
                rtplan=(plan.sop_class_uid, plan.sop_instance_uid),
            ),
            notes,
        )
    notes += _report(job, made, judged, comparison, datasets, (OutputKind.RTDOSE,))
    result = JobResult(
        plan_id=spec.plan_id,
        attempt=spec.attempt,
        beams=beam_results(made.beams),
        dvh=judged.dvh,
        metrics=judged.metrics,
        goals=judged.goals,
        uncertainty_percent=made.uncertainty_percent,
        dose=description,
        comparison=comparison,
        notes=tuple(dict.fromkeys(notes)),
        provenance={**{str(k): v for k, v in made.provenance.items()}, "worker_version": __version__},
        timings_s=dict(made.timings_s),
    )
    return result, datasets
