"""Plans side by side: differences of metrics and goals, and what else they differ in; no I/O, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from radiarch_contract.goals import GoalResult
from radiarch_contract.job import StructureMetrics

from .answers import ComparedGoal, ComparedGoals, ComparedMetrics, ComparedStructure
from .store import PlanView

_NUMBERS = ("d_mean_gy", "d_min_gy", "d_max_gy", "d98_gy", "d95_gy", "d50_gy", "d2_gy", "volume_cc")


def structures(plans: Sequence[PlanView]) -> tuple[ComparedStructure, ...]:
    """Every structure that one of the plans has metrics of, in the order of first mention."""
    by_plan = [{m.structure: m for m in reversed(p.metrics)} for p in plans]
    names = dict.fromkeys(m.structure for p in plans for m in p.metrics)
    return tuple(
        ComparedStructure(
            structure=name,
            plans=tuple(
                ComparedMetrics(
                    plan_id=plan.id,
                    metrics=metrics.get(name),
                    difference=None if i == 0 else _difference(metrics.get(name), by_plan[0].get(name)),
                )
                for i, (plan, metrics) in enumerate(zip(plans, by_plan, strict=True))
            ),
        )
        for name in names
    )


def _difference(one: StructureMetrics | None, first: StructureMetrics | None) -> dict[str, float] | None:
    if one is None or first is None:
        return None
    return {name: getattr(one, name) - getattr(first, name) for name in _NUMBERS}


def goals(plans: Sequence[PlanView]) -> tuple[ComparedGoals, ...]:
    """Every goal that one of the plans has, by its text: the same words are the same goal."""
    by_plan = [{g.text: g for g in reversed(p.goals)} for p in plans]
    first = {g.text: g for p in reversed(plans) for g in reversed(p.goals)}
    texts = dict.fromkeys(g.text for p in plans for g in p.goals)
    return tuple(
        ComparedGoals(
            text=text,
            structure=first[text].structure,
            unit=first[text].unit,
            plans=tuple(
                _compared(plan.id, found.get(text), by_plan[0].get(text) if i else None)
                for i, (plan, found) in enumerate(zip(plans, by_plan, strict=True))
            ),
        )
        for text in texts
    )


def _compared(plan_id: str, goal: GoalResult | None, first: GoalResult | None) -> ComparedGoal:
    value = None if goal is None else goal.value
    known = value is not None and first is not None and first.value is not None
    return ComparedGoal(
        plan_id=plan_id,
        value=value,
        status=None if goal is None else goal.status,
        difference=value - first.value if known else None,  # type: ignore[operator, union-attr]
    )


def notes(plans: Sequence[PlanView]) -> tuple[str, ...]:
    """What a reader of the differences has to know."""
    found = []
    for values, note in (
        (_values(plans, lambda p: p.patient_id), "The plans are of different patients: their differences mean little."),
        (
            _values(plans, lambda p: p.frame_of_reference_uid),
            "The plans are in different frames of reference: their doses cannot be laid over each other.",
        ),
        (
            _values(plans, lambda p: (p.rtstruct_sop_instance_uid, p.rtstruct_sha256)),
            "The plans were judged on different structure sets (or contents of one): a structure of one name may have "
            "another shape.",
        ),
        (
            _values(plans, lambda p: None if p.prescription is None else p.prescription.dose_gy),
            "The plans have different prescribed doses: values in % are each of their own.",
        ),
        (
            _values(plans, lambda p: None if p.prescription is None else p.prescription.fractions),
            "The plans have different numbers of fractions: doses are totals.",
        ),
        (
            _values(plans, lambda p: None if p.prescription is None else p.prescription.target),
            "The plans have different targets.",
        ),
        (
            _values(plans, _is_weighted),
            "One dose is RBE-weighted and another is physical: their Gy are not the same.",
        ),
    ):
        if len(values) > 1:
            found.append(note)
    found += [
        f"Plan {p.id} was superseded: its structure set has another content now." for p in plans if p.superseded_at
    ]
    return tuple(found)


def _values(plans: Sequence[PlanView], of: Callable[[PlanView], object]) -> set[object]:
    return {value for p in plans if (value := of(p)) is not None}


def _is_weighted(plan: PlanView) -> bool | None:
    """Whether a plan's dose is RBE-weighted; None where nothing says so."""
    if plan.dose is not None:
        return plan.dose.dose_type == "EFFECTIVE"
    rbe: Mapping[str, object] | object = plan.provenance.get("rbe")
    return rbe != 1 if isinstance(rbe, int | float) else None
