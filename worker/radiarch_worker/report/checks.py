"""What a report has of a check: its verdict, and the comparison with the reference dose."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from radiarch_contract.job import DoseComparison, DoseQuantity, GammaRegion
from radiarch_contract.states import GoalStatus
from radiarch_contract.verdict import Criterion, Outcome, Verdict

from radiarch_worker.evaluation import Evaluation

from .flow import Cell, Column, Flow
from .palette import GOAL_COLORS
from .sections import mark

_COMPARED = {
    "d_mean_gy": "Mean",
    "d98_gy": "D98%",
    "d95_gy": "D95%",
    "d50_gy": "D50%",
    "d2_gy": "D2%",
    "d_max_gy": "Max",
}
_SIGNS: Mapping[Outcome, GoalStatus] = {
    Outcome.PASS: GoalStatus.MET,
    Outcome.LOOK: GoalStatus.NEAR,
    Outcome.FAIL: GoalStatus.MISSED,
}
_SAID: Mapping[Outcome, str] = {
    Outcome.PASS: "Pass: all that was judged lies within its limits.",
    Outcome.LOOK: "Look: a person has to look at what is named here.",
    Outcome.FAIL: "Fail: what is named here lies beyond its limits.",
}


def quantity(flow: Flow, found: DoseQuantity | None) -> None:
    """What the doses of the report are."""
    if found == "RBE_WEIGHTED":
        flow.paragraphs(["Doses are RBE-weighted."])
    elif found == "PHYSICAL":
        flow.paragraphs(["Doses are physical, without RBE."])


def verdict(flow: Flow, found: Verdict | None) -> None:
    """The verdict with its reasons, and every criterion."""
    if found is None:
        return
    flow.heading("Verdict", aside=f"{len(found.criteria)} criteria")
    flow.table([Column("", 160)], [[_worded(found.result, _SAID[found.result])]])
    flow.paragraphs([*found.reasons, *(f"Note: {text}" for text in found.reservations)], marked=True)
    numbers = (Column("Value", 26, "right"), Column("Look", 16, "right"), Column("Fail", 16, "right"))
    flow.table([Column("Criterion", 92), *numbers, Column("", 22)], [_row(c) for c in found.criteria])


def _row(criterion: Criterion) -> list[str | Cell]:
    value = "not judged" if criterion.value is None else f"{criterion.value:.4g} {criterion.unit}".strip()
    bounds = (
        "" if v is None else f"{'<' if criterion.is_least else '>'} {v:g}" for v in (criterion.look, criterion.fail)
    )
    return [criterion.title, value, *bounds, _worded(criterion.result, criterion.result.value)]


def _worded(result: Outcome, word: str) -> Cell:
    status = _SIGNS[result]
    return Cell(word, GOAL_COLORS[status], True, 5, functools.partial(mark, status=status))


def comparison(flow: Flow, evaluation: Evaluation, found: DoseComparison | None) -> None:
    """The dose beside its reference: gamma, and what differs in each structure."""
    if found is None:
        return
    quantity = "RBE-weighted" if found.rbe_weighted else "physical"
    flow.heading("Comparison with the reference dose", aside=f"both {quantity}; differences are dose minus reference")
    reference = found.reference
    what = " ".join(t for t in (reference.manufacturer, reference.label) if t) or "unnamed"
    facts = [("Reference", f"{what}, {reference.sop_instance_uid}")]
    gamma = found.gamma
    if gamma is not None:
        c = gamma.criteria
        facts.append(
            (
                "Gamma",
                f"{gamma.passed_percent:.2f} % of {gamma.points} points pass {c.dose_percent:g} %/{c.distance_mm:g} "
                f"mm, {c.normalization}, above {c.cutoff_percent:g} % of {gamma.reference_max_gy:.2f} Gy; mean "
                f"{gamma.mean:.2f}",
            )
        )
    facts += [("", _region(r)) for r in found.regions]
    if found.gamma_note:
        facts.append(("", found.gamma_note))
    if found.mean_difference_gy is not None:
        where = "where the reference has half of its maximum"
        facts.append(("Mean difference", f"{found.mean_difference_gy:+.3f} Gy {where}"))
    if found.reference_rbe != 1:
        facts.append(("Reference", f"is physical, multiplied by {found.reference_rbe:g}"))
    if found.scale_source == "reference":
        text = f"multiplied by {found.scale:.4f}, derived from the reference: so there is no mean difference"
        facts.append(("Meterset", text))
    elif found.scale_source == "given":
        facts.append(("Meterset", f"multiplied by {found.scale:.4f}, as asked for"))
    for fact in facts:
        flow.facts([fact], columns=1, label_mm=30)
    _beams(flow, found)
    theirs = {m.roi_number: m for m in found.metrics}
    rows: list[list[str | Cell]] = [
        [
            m.structure,
            *(
                f"{getattr(m, name):.2f} ({getattr(m, name) - getattr(theirs[m.roi_number], name):+.2f})"
                for name in _COMPARED
            ),
        ]
        for m in evaluation.metrics
        if m.roi_number in theirs
    ]
    if rows:
        if found.scale_source == "reference":
            flow.paragraphs(["Doses of the structures and their differences, after the computed dose was scaled:"])
        flow.table([Column("Structure", 34), *(Column(n, 24, "right") for n in _COMPARED.values())], rows)


def _region(region: GammaRegion) -> str:
    where = region.structure if region.region == "target" else "where the reference has half of its maximum"
    return f"{region.passed_percent:.2f} % of {region.points} points in {where}".replace("in where", "where")


def _beams(flow: Flow, found: DoseComparison) -> None:
    """What the reference has more of each beam."""
    if not found.beams:
        return
    flow.paragraphs(["What the reference has more of each beam than was computed, fitted:"])
    names = ("Meterset %", "Range mm", "Shift x mm", "Shift y mm", "Shift z mm")
    rows = [
        [
            _with_sigma(b.meterset_percent, b.meterset_uncertainty_percent),
            _with_sigma(b.range_mm, b.range_uncertainty_mm),
            *(_with_sigma(shift, b.shift_uncertainty_mm) for shift in (b.shift_x_mm, b.shift_y_mm, b.shift_z_mm)),
        ]
        for b in found.beams
    ]
    kept = [i for i in range(len(names)) if any(row[i] for row in rows)]
    flow.table(
        [Column("Beam", 50), *(Column(names[i], 120 / len(kept), "right") for i in kept)],
        [[b.name, *(row[i] for i in kept)] for b, row in zip(found.beams, rows, strict=True)],
    )


def _with_sigma(value: float | None, sigma: float | None) -> str:
    return "" if value is None or sigma is None else f"{value:+.2f} ± {sigma:.2f}"
