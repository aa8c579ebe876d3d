"""Jobs that plan nothing: reading what they are about, and what they share; each kind has a module of its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import JobResult, JobSpec, Output
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
from .evaluation import Compared, Evaluation, ReadDose
from .extras import attempted
from .model import Dose, FloatVolume, Grid, Patient, PlanResult, Structure

Timed = Callable[[str], AbstractContextManager[None]]
Store = Callable[[pacs.Orthanc, Mapping[OutputKind, Dataset]], tuple[Output, ...]]
Datasets = dict[OutputKind, Dataset]


@dataclass(frozen=True)
class Check:
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
        self,
        dose_gy: FloatVolume,
        grid: Grid,
        reference: ReadDose,
        targets: Sequence[Structure],
        criteria: GammaCriteria,
    ) -> tuple[Compared, Evaluation]:
        """A dose beside a reference of the same quantity, and the reference judged."""
        folder = self.here.folder / "work"
        folder.mkdir(parents=True, exist_ok=True)
        compared = evaluation.compare(
            *(dose_gy, grid, reference.dose_gy, reference.grid, self.subject),
            *(targets, criteria, folder, self.here.link),
        )
        return compared, self.judge(reference.dose_gy, reference.grid, 1.0)

    def report(self, plan: PlanResult, judged: Evaluation, result: JobResult, datasets: Datasets) -> tuple[str, ...]:
        """Add the report to the results; notes about it. What cannot be drawn is told, and never costs the check."""
        from . import report

        reports_on = tuple(kind for kind in (OutputKind.RTDOSE,) if kind in datasets)
        with self.timed("report"):
            try:
                drawn = report.draw(self.spec, self.subject, plan, judged, report.Checked.of(result))
                datasets[OutputKind.REPORT] = dicom.write_report(
                    self.spec, self.subject, plan, drawn.pdf, reports_on=reports_on
                )
            except Exception as e:
                for line in traceback.format_exc().splitlines():
                    self.here.link.log(line)
                return (
                    f"There is no report: it could not be drawn ({type(e).__name__}, see the job's log). Everything "
                    "else is complete.",
                )
        return drawn.notes


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
        job = Check(spec, here, subject, fetched.inputs, refs, timed)
        del fetched
        if isinstance(parameters, EvaluationParameters):
            from .evaluationjob import evaluate

            result, datasets = evaluate(job, parameters)
        elif isinstance(parameters, RecalculationParameters):
            from .recalculationjob import recalculate

            result, datasets = recalculate(job, parameters)
        else:
            raise AssertionError(f"workflow {spec.workflow_id} is no check")
        here.link.progress(0.9)
        with timed("store"):
            outputs = store(orthanc, datasets)
    ct = patient.ct_used(subject)
    shown = None if ct is None else ct.model_dump(mode="json")
    return result.model_copy(update={"outputs": outputs, "ct": ct, "provenance": {**result.provenance, "ct": shown}})
