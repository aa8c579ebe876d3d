"""A stored plan computed anew, and compared with its dose where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from radiarch_contract import __version__
from radiarch_contract.job import DoseComparison, DoseDescription, JobResult, MachineScale
from radiarch_contract.states import OutputKind, Stage
from radiarch_contract.verdict import Criterion, Verdict
from radiarch_contract.workflows import RecalculationParameters

from radiarch_worker import dicom, evaluation, planning
from radiarch_worker.dicom import Provenance
from radiarch_worker.dicom.enum import DoseSummationTypeValues
from radiarch_worker.evaluation import Evaluation, ReadDose
from radiarch_worker.evaluation.agreement import Subject, agreement, dose_level, find_targets
from radiarch_worker.evaluation.quantity import weighted_by
from radiarch_worker.model import Beam
from radiarch_worker.recalculation import ReadPlan, Recomputed, recalculation_of, verdict
from radiarch_worker.recalculation.displacement import beam_agreement

from .run import Computed, Datasets, Run


@dataclass(frozen=True)
class _Reference:
    """The plan's dose: as its object has it, and RBE-weighted by the constant that the plan's modality has here."""

    stored: ReadDose
    weighted: ReadDose
    factor: float

    @classmethod
    def of(cls, stored: ReadDose, parameters: RecalculationParameters, rbe: float) -> _Reference:
        factor = 1.0 if stored.weighted else rbe if parameters.rbe is None else parameters.rbe
        return cls(stored, weighted_by(stored, factor), factor)

    @property
    def says_physical(self) -> bool | None:
        """What its Dose Type says; None where that was not believed, as asked for."""
        return None if not self.stored.weighted and self.factor == 1.0 else not self.stored.weighted

    @property
    def notes(self) -> tuple[str, ...]:
        if self.stored.weighted:
            own = self.stored.description.manufacturer == "Radiarch"
            unknown_rbe = "" if own else "; by which RBE it was weighted it does not say"
            return (*self.stored.notes, f"The plan's RTDOSE is compared as it is, RBE-weighted{unknown_rbe}.")
        if self.factor == 1.0:
            how = "was taken for RBE-weighted as it is, though it says PHYSICAL, as asked for"
        else:
            how = f"is physical, and was multiplied by the constant RBE of {self.factor:g} to be compared"
        return (*self.stored.notes, f"The plan's RTDOSE {how}.")


@dataclass(frozen=True)
class _Done:
    """A plan that was computed anew, with what it is judged by."""

    run: Run
    parameters: RecalculationParameters
    plan: ReadPlan[Beam]
    computed: Recomputed
    judged: Evaluation
    subject: Subject
    description: DoseDescription

    def compare(self, reference: _Reference, datasets: Datasets) -> tuple[DoseComparison, list[Criterion]]:
        """The comparison and its criteria; the difference dose is added to what is stored."""
        made, levels = self.computed.plan, self.parameters.levels
        compared, of_reference = self.run.compare(
            *(made.dose.dose_gy, made.dose.grid, reference.weighted, self.subject.targets, self.parameters.gamma)
        )
        beams, why_not = beam_agreement(
            made.beams, self.computed.beams_gy, made.dose.grid, reference.weighted, self.run.patient
        )
        fitted = self.computed.source == "reference"
        self.run.add_optional(
            datasets,
            OutputKind.DOSE_DIFFERENCE,
            "dose difference",
            lambda: dicom.write_dose_difference(
                self.run.spec,
                self.run.patient,
                Provenance.of(made),
                compared.difference_gy,
                compared.grid,
                dose=self.description,
                reference_dose=reference.stored.description,
                weighted=made.dose.rbe != 1,
                summation=DoseSummationTypeValues.PLAN,
                rtplan=(self.plan.sop_class_uid, self.plan.sop_instance_uid),
            ),
        )
        comparison = evaluation.as_comparison(
            *(compared, reference.stored, of_reference, reference.factor, made.dose.rbe != 1),
            beams=beams,
            scale=self.computed.scale,
            source=self.computed.source,
        )
        criteria = agreement(compared, self.judged, of_reference, self.subject, levels, fitted=fitted)
        criteria += verdict.beam_criteria(beams, why_not, levels)
        says_physical = reference.says_physical
        criteria += dose_level(of_reference, "the RTDOSE", self.subject, levels, says_physical=says_physical)
        return comparison, criteria

    def verdict(self, criteria: list[Criterion], compared: bool) -> tuple[Verdict, MachineScale | None]:
        """All criteria together, and the scale as a property of the machine."""
        spec, levels, computed = self.run.spec, self.parameters.levels, self.computed
        target = self.subject.targets[0].roi_number if self.subject.targets else None
        found = [*verdict.reference_criterion(spec), *criteria]
        if not compared:
            found += dose_level(self.judged, "the dose computed anew", self.subject, levels, says_physical=None)
        found += verdict.plan_criteria(self.plan, spec.prescription, target)
        found += verdict.uncertainty_criteria(computed.plan.uncertainty_percent, computed.uncertainty_in, levels)
        found += verdict.data_criteria(computed.unconfirmed, levels)
        derived = computed.machine_scale
        if derived is not None:
            found.append(verdict.scale_criterion(derived, spec.scales, self.plan, levels))
        said = Verdict.of(found, self._reservations())
        if derived is None or len(set(self.plan.machines)) > 1:
            return said, None
        return said, verdict.counted(derived, verdict.history_of(derived, spec.scales), said)

    def _reservations(self) -> list[str]:
        found = [f"Computed with {name}, not confirmed by this site." for name in self.computed.unconfirmed]
        if self.run.spec.prescription is None:
            found.append("No prescription was given: fractions were not compared with one.")
        if self.computed.source == "reference":
            found.append(
                f"The computed dose was multiplied by {self.computed.scale:.4f}, which the RTDOSE itself gave: doses "
                "and differences after that are of the dose's shape alone, and MU were not checked."
            )
        elif self.computed.source == "given":
            found.append(f"The meterset was multiplied by {self.computed.scale:g}, as asked for.")
        return found


def recalculate(run: Run, parameters: RecalculationParameters) -> Computed:
    """Compute the plan anew, and compare it."""
    spec, link = run.spec, run.here.link
    with run.timed("read_plan"):
        modality = recalculation_of(run.inputs["rtplan"])
        plan = modality.read(run.inputs["rtplan"])
        reference = None
        if "reference_rtdose" in run.inputs:
            reference = _Reference.of(run.read_dose("reference_rtdose", "The plan's RTDOSE"), parameters, modality.rbe)
    computed = modality.compute(
        plan,
        None if reference is None else reference.weighted,
        run.patient,
        spec.prescription,
        parameters,
        run.structures,
        link,
        run.here.folder / "work",
        run.here.settings.threads,
    )
    made = computed.plan
    link.stage(Stage.EXPORTING)
    with run.timed("evaluate"):
        judged = run.judge(made.dose.dose_gy, made.dose.grid, made.dose.rbe)
    notes = (*(reference.notes if reference else ()), *made.notes, *judged.notes)
    datasets: Datasets = {}
    with run.timed("write"):
        datasets[OutputKind.RTDOSE] = run.write_dose(made, judged, rtplan=(plan.sop_class_uid, plan.sop_instance_uid))
        run.add_extras(datasets, made)
    done = _Done(run, parameters, plan, computed, judged, _subject(run, plan), _description(run, computed))
    comparison: DoseComparison | None = None
    criteria: list[Criterion] = []
    if reference is not None:
        link.progress(0.2, "gamma")
        with run.timed("compare"):
            comparison, criteria = done.compare(reference, datasets)
    said, scale = done.verdict(criteria, compared=reference is not None)
    result = JobResult(
        plan_id=spec.plan_id,
        attempt=spec.attempt,
        beams=planning.beam_results(made.beams),
        dvh=judged.dvh,
        metrics=judged.metrics,
        goals=judged.goals,
        uncertainty_percent=made.uncertainty_percent,
        dose=done.description,
        dose_quantity="RBE_WEIGHTED" if made.dose.rbe != 1 else "PHYSICAL",
        comparison=comparison,
        verdict=said,
        machine_scale=scale,
        provenance={**{str(k): v for k, v in made.provenance.items()}, "worker_version": __version__},
        timings_s=dict(made.timings_s),
    )
    run.report(made, judged, datasets, result)
    return Computed(result.model_copy(update={"notes": run.all_notes(notes)}), datasets)


def _subject(run: Run, plan: ReadPlan[Beam]) -> Subject:
    """The targets, and what is prescribed to the main one: as it was asked, else as the plan says."""
    prescription = run.spec.prescription
    targets = find_targets(run.patient, prescription, run.structures, plan.targets)
    if prescription is not None:
        return Subject(run.patient, targets, prescription.dose_gy)
    return Subject(run.patient, targets, verdict.planned_gy(plan, targets[0].roi_number if targets else None))


def _description(run: Run, computed: Recomputed) -> DoseDescription:
    dose = computed.plan.dose
    return DoseDescription(
        sop_instance_uid=dicom.result_uid(run.spec, OutputKind.RTDOSE),
        dose_type="EFFECTIVE" if dose.rbe != 1 else "PHYSICAL",
        max_gy=float(dose.dose_gy.max()),
        grid_mm=dose.grid.spacing_mm,
        manufacturer="Radiarch",
        label="recalculated",
    )
