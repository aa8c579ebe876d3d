"""Plans side by side: differences of metrics and goals, and what else they differ in; no I/O, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from radiarch_contract.goals import GoalResult
from radiarch_contract.job import StructureMetrics

from radiarch_plugin.store import PlanView

from .answers import ComparedGoal, ComparedGoals, ComparedMetrics, ComparedStructure

_DOSES = ("d_mean_gy", "d_min_gy", "d_max_gy", "d98_gy", "d95_gy", "d50_gy", "d2_gy")


@dataclass(frozen=True)
class Quantity:
    """What a plan's Gy are.

    Attributes
    ----------
    weighted : RBE-weighted, else physical dose
    rbe : the constant by which physical dose was multiplied; None where it is not known
    """

    weighted: bool
    rbe: float | None

    @classmethod
    def of(cls, plan: PlanView) -> Quantity | None:
        """None where nothing says so."""
        rbe: object = plan.provenance.get("rbe")
        constant = float(rbe) if isinstance(rbe, int | float) and not isinstance(rbe, bool) and rbe > 0 else None
        if plan.dose_quantity is not None:
            return cls(plan.dose_quantity == "RBE_WEIGHTED", constant)
        if plan.dose is not None:  # of a check that an earlier version made
            return cls(plan.dose.dose_type == "EFFECTIVE", constant)
        return None if constant is None else cls(constant != 1, constant)

    def per_physical_gy(self) -> float | None:
        """How many of these Gy one Gy of physical dose is; None where that is not known."""
        return self.rbe if self.weighted else 1.0


def _to_subtract(plans: Sequence[PlanView]) -> tuple[float | None, ...]:
    """By what each plan's doses are divided before they are subtracted; None: they cannot be."""
    quantities = [Quantity.of(p) for p in plans]
    if len({q.weighted for q in quantities if q is not None}) < 2:
        return (1.0,) * len(plans)
    return tuple(None if q is None else q.per_physical_gy() for q in quantities)


def structures(plans: Sequence[PlanView]) -> tuple[ComparedStructure, ...]:
    """Every structure that one of the plans has metrics of, in the order of first mention."""
    by_plan = [{m.structure: m for m in reversed(p.metrics)} for p in plans]
    divisors = _to_subtract(plans)
    names = dict.fromkeys(m.structure for p in plans for m in p.metrics)
    return tuple(
        ComparedStructure(
            structure=name,
            plans=tuple(
                ComparedMetrics(
                    plan_id=plan.id,
                    metrics=metrics.get(name),
                    difference=None
                    if i == 0
                    else _difference(metrics.get(name), by_plan[0].get(name), (divisors[i], divisors[0])),
                )
                for i, (plan, metrics) in enumerate(zip(plans, by_plan, strict=True))
            ),
        )
        for name in names
    )


def _difference(
    one: StructureMetrics | None, first: StructureMetrics | None, divisors: tuple[float | None, float | None]
) -> dict[str, float] | None:
    by, first_by = divisors
    if one is None or first is None or by is None or first_by is None:
        return None
    doses = {name: getattr(one, name) / by - getattr(first, name) / first_by for name in _DOSES}
    return {**doses, "volume_cc": one.volume_cc - first.volume_cc}


def goals(plans: Sequence[PlanView]) -> tuple[ComparedGoals, ...]:
    """Every goal that one of the plans has, by its text: the same words are the same goal."""
    by_plan = [{g.text: g for g in reversed(p.goals)} for p in plans]
    first = {g.text: g for p in reversed(plans) for g in reversed(p.goals)}
    texts = dict.fromkeys(g.text for p in plans for g in p.goals)
    # a volume at a dose, or a percentage of a prescription, is not made another by dividing it
    alike = all(divisor == 1 for divisor in _to_subtract(plans))
    return tuple(
        ComparedGoals(
            text=text,
            structure=first[text].structure,
            unit=first[text].unit,
            plans=tuple(
                _compared(plan.id, found.get(text), by_plan[0].get(text) if i and alike else None)
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
    ):
        if len(values) > 1:
            found.append(note)
    divisors = _to_subtract(plans)
    if any(divisor != 1 for divisor in divisors):
        found.append(_mixed(divisors))
    found += [
        f"Plan {p.id} was superseded: its structure set has another content now." for p in plans if p.superseded_at
    ]
    return tuple(found)


def _values(plans: Sequence[PlanView], of: Callable[[PlanView], object]) -> set[object]:
    return {value for p in plans if (value := of(p)) is not None}


def _mixed(divisors: Sequence[float | None]) -> str:
    """Of plans whose Gy are not the same."""
    says = "One dose is RBE-weighted and another is physical: their Gy are not the same. "
    if None in divisors:
        return says + "By what constant the one was weighted is not known: nothing is subtracted."
    constants = ", ".join(f"{d:g}" for d in sorted({d for d in divisors if d is not None and d != 1}))
    return (
        f"{says}Differences of doses are of physical dose, the RBE-weighted one divided by its constant {constants}; "
        "goals are not subtracted."
    )
