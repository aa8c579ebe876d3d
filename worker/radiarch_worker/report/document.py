"""The report of one plan as PDF, and its dose pictures: everything in order; nothing is stored here."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC

from radiarch_contract.job import DoseComparison, DoseQuantity, JobResult, JobSpec
from radiarch_contract.pictures import Plane
from radiarch_contract.verdict import Verdict

from radiarch_worker.evaluation import Evaluation
from radiarch_worker.model import Patient, PlanResult

from . import checks, sections
from .flow import Flow
from .page import Pages
from .palette import drawn_structures
from .planes import cut, viewpoint
from .png import png


@dataclass(frozen=True)
class Checked:
    """What a check says besides its dose."""

    quantity: DoseQuantity | None
    comparison: DoseComparison | None
    verdict: Verdict | None

    @classmethod
    def of(cls, result: JobResult) -> Checked:
        return cls(result.dose_quantity, result.comparison, result.verdict)


@dataclass(frozen=True)
class Report:
    """What was drawn.

    Attributes
    ----------
    pdf : the report; the same arguments give the same bytes on machines with the same fonts
    pictures : PNG by plane; a check has none
    notes : what a user has to know about the drawing itself
    """

    pdf: bytes
    pictures: Mapping[Plane, bytes]
    notes: tuple[str, ...]


def draw(
    spec: JobSpec,
    patient: Patient,
    plan: PlanResult,
    evaluation: Evaluation,
    checked: Checked | None = None,
) -> Report:
    """Draw a plan's report and pictures.

    Parameters
    ----------
    spec
        What was asked; ``created_at`` is the document's date.
    plan
        Its dose: Gy, (Z, Y, X), total over all fractions.
    evaluation
        Of that dose.
    checked
        Of a check: its verdict, and the comparison with a reference dose.
    """
    drawn = drawn_structures(spec, patient)
    point = viewpoint(patient, plan)
    whole_gy = reference_gy(spec, plan)
    cuts = {p: cut(patient, plan.dose, whole_gy, drawn, p, point) for p in Plane}
    created = spec.created_at if spec.created_at.tzinfo else spec.created_at.replace(tzinfo=UTC)
    pages = Pages(
        title=f"Radiarch {sections.subject(spec)} {spec.plan_label} {spec.plan_id}, UNAPPROVED",
        created_at=created,
        decorate=functools.partial(sections.decorate, spec, patient),
    )
    flow = Flow(pages)
    sections.identity(flow, spec, patient)
    sections.prescription(flow, spec, plan)
    if checked is not None:
        checks.quantity(flow, checked.quantity)
        checks.verdict(flow, checked.verdict)
        checks.comparison(flow, evaluation, checked.comparison)
    sections.goals(flow, spec, evaluation.goals)
    sections.robustness(flow, plan.robustness)
    sections.beams(flow, plan, patient.ct.patient_position)
    sections.notes(flow, tuple(dict.fromkeys((*patient.notes, *plan.notes, *evaluation.notes))))
    sections.objectives(flow, spec)
    sections.pictures(flow, cuts, plan)
    sections.dvhs(flow, whole_gy, plan, evaluation, drawn, prescribed=spec.prescription is not None)
    sections.provenance(flow, spec, plan)
    sections.unprintable_characters(flow)
    notes = _font_notes(pages)
    # beside a check's dose no pictures are kept
    pictures = {} if checked is not None else {plane: png(c) for plane, c in cuts.items()}
    return Report(pages.done(), pictures, notes)


def reference_gy(spec: JobSpec, plan: PlanResult) -> float:
    """What 100 % is: the prescription, else the highest dose."""
    if spec.prescription is not None:
        return spec.prescription.dose_gy
    return max(float(plan.dose.dose_gy.max()), 1e-3)


def _font_notes(pages: Pages) -> tuple[str, ...]:
    if not pages.unprintable:
        return ()
    return (
        f"The report prints {len(pages.unprintable)} kinds of characters as code points: this worker has no font "
        "for them (Debian's fonts-droid-fallback has Chinese, Japanese and Korean).",
    )
