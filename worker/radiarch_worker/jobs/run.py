"""A run whose inputs were read, and its results: what all kinds of runs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import JobResult, JobSpec
from radiarch_contract.pictures import Plane
from radiarch_contract.states import OutputKind
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import GammaCriteria

from radiarch_worker import dicom, evaluation
from radiarch_worker.evaluation import Compared, Evaluation, ReadDose
from radiarch_worker.model import Dose, FloatVolume, Grid, Patient, PlanResult, Structure
from radiarch_worker.runtime.context import JobContext
from radiarch_worker.runtime.extras import attempted

Timed = Callable[[str], AbstractContextManager[None]]
"""Measures a step under its name."""
Datasets = dict[OutputKind, Dataset]
T = TypeVar("T")


@dataclass(frozen=True)
class Computed:
    """Results of a run.

    Attributes
    ----------
    result : of the run, without its outputs
    datasets : what is to be stored, in this order
    pictures : PNG by plane, to be kept beside the dose
    """

    result: JobResult
    datasets: Datasets
    pictures: Mapping[Plane, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run after its input was read.

    Attributes
    ----------
    inputs : what it is about besides the structure set, by its kind in `JobSpec.inputs`
    notes : for the user; they become the result's notes
    """

    spec: JobSpec
    here: JobContext
    patient: Patient
    inputs: Mapping[str, Dataset]
    structures: Mapping[str, StructureRef]
    timed: Timed
    notes: list[str]

    def judge(self, dose_gy: FloatVolume, grid: Grid, rbe: float) -> Evaluation:
        """DVHs, metrics and goals of a dose, (Z, Y, X) on ``grid``."""
        return evaluation.evaluate(
            self.patient, Dose(dose_gy, grid, rbe), self.spec.prescription, self.spec.goals, self.structures
        )

    def optional(self, what: str, make: Callable[[], T]) -> T | None:
        """An optional result; None and a note where it cannot be made."""
        return attempted(what, make, self.here.link.log, self.notes)

    def write_dose(self, plan: PlanResult, judged: Evaluation, *, rtplan: tuple[str, str] | None = None) -> Dataset:
        """The dose as an RT Dose with its DVHs, or without them and a note."""
        dose = dicom.write_rtdose(self.spec, self.patient, plan, None, rtplan=rtplan)
        self.optional("DVH Sequence in the RT Dose", lambda: dicom.add_dvh(dose, self.patient, judged))
        return dose

    def add_optional(self, datasets: Datasets, kind: OutputKind, what: str, write: Callable[[], Dataset]) -> None:
        """Add an optional object to what is stored, or a note."""
        if (written := self.optional(what, write)) is not None:
            datasets[kind] = written

    def add_extras(self, datasets: Datasets, plan: PlanResult) -> None:
        """What the plan's modality has beside the dose, or notes."""
        provenance = dicom.Provenance.of(plan)
        for kind, extra in plan.extras.items():
            write = partial(dicom.write_extra, kind, self.spec, self.patient, provenance, extra)
            self.add_optional(datasets, kind, dicom.EXTRAS[kind], write)

    def read_dose(self, kind: str, what: str) -> ReadDose:
        """A dose among the inputs, in the CT's frame of reference."""
        read = evaluation.read_rtdose(self.inputs[kind], what=what)
        frame = self.patient.ct.frame_of_reference_uid
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
            *(dose_gy, grid, reference.dose_gy, reference.grid, self.patient),
            *(targets, criteria, folder, self.here.link),
        )
        return compared, self.judge(reference.dose_gy, reference.grid, 1.0)

    def report(
        self, plan: PlanResult, judged: Evaluation, datasets: Datasets, checked: JobResult | None = None
    ) -> Mapping[Plane, bytes]:
        """Add the report to what is stored, drawn from what is known so far; its pictures.

        Parameters
        ----------
        checked
            The result of a check, whose verdict and comparison are drawn as well.
        """
        from radiarch_worker import report

        about = () if checked is None else (report.Checked.of(checked),)
        # a check's dose may not be stored, or not be of this service: then it is reported on without a reference
        reports_on = tuple(k for k in (OutputKind.RTPLAN, OutputKind.RTDOSE) if k in datasets)

        def draw() -> report.Report:
            drawn = report.draw(self.spec, self.patient, plan, judged, *about)
            datasets[OutputKind.REPORT] = dicom.write_report(
                self.spec, self.patient, plan, drawn.pdf, reports_on=reports_on
            )
            return drawn

        with self.timed("report"):
            drawn = self.optional("report", draw)
        if drawn is None:
            return {}
        self.notes.extend(drawn.notes)
        return drawn.pictures

    def all_notes(self, *more: Sequence[str]) -> tuple[str, ...]:
        """Notes of the input and ``more``, then the run's own, each once."""
        return tuple(dict.fromkeys((*self.patient.notes, *(n for notes in more for n in notes), *self.notes)))
