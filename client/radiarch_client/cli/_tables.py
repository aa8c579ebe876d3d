"""How plans and other answers look in the terminal; nothing is fetched here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from radiarch_contract.states import GoalStatus, PlanState
from radiarch_contract.verdict import Outcome
from rich.table import Table
from rich.text import Text

from radiarch_client.models import (
    Approval,
    DoseComparison,
    Failure,
    GoalResult,
    Plan,
    PlanSummary,
    Robustness,
    StructureMetrics,
    Verdict,
)

from ._base import cell, clean, table

_STATE_STYLE: dict[str, str] = {
    PlanState.SUCCEEDED: "green",
    PlanState.FAILED: "red",
    PlanState.CANCELLED: "yellow",
    PlanState.RUNNING: "cyan",
}
_OUTCOME_STYLE: dict[str, str] = {Outcome.PASS: "green", Outcome.LOOK: "yellow", Outcome.FAIL: "red"}
_GOAL_STYLE: dict[str | None, str] = {GoalStatus.MET: "green", GoalStatus.NEAR: "yellow", GoalStatus.MISSED: "red"}


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(time: datetime | None) -> str | None:
    return None if time is None else f"{duration((datetime.now(UTC) - time).total_seconds())} ago"


def number(value: float | None, digits: int = 2) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def state(value: str) -> Text:
    text = cell(value)
    text.stylize(_STATE_STYLE.get(value, ""))
    return text


def _state_of(plan: PlanSummary) -> Text:
    """A plan's state; of a check that has ended what it says as well."""
    found = outcome(plan.outcome)
    return state(plan.state) if found is None else Text.assemble(state(plan.state), ": ", found)


def _patient(plan: PlanSummary) -> str | None:
    """Name and id, as a list has them: 'Family, Given (id)'."""
    parts = [part for part in (plan.patient_name or "").split("=")[0].split("^") if part]
    return f"{', '.join(parts)} ({plan.patient_id})" if parts else plan.patient_id


def doing(plan: PlanSummary) -> str:
    if plan.state == PlanState.QUEUED and plan.queue_position is not None:
        return f"queued, place {plan.queue_position}"
    if plan.state == PlanState.WAITING and plan.missing_instances:
        return f"waiting for {plan.missing_instances} images"
    return f"{plan.state}: {plan.stage}" if plan.stage and not plan.ended else plan.state


def progress_line(plan: PlanSummary) -> str:
    left = f", {duration(plan.eta_s)} left" if plan.eta_s is not None and not plan.ended else ""
    return f"{doing(plan)}, {plan.progress:.0%}{left}"


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values below each other; what has no value is left out."""
    t = Table(show_header=False, box=None, pad_edge=False)
    t.add_column(style="bold", no_wrap=True)
    t.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and value != "" and value != ():
            t.add_row(name, value if isinstance(value, Text) else cell(value))
    return t


def failure(error: Failure | None) -> list[tuple[str, object]]:
    if error is None:
        return []
    return [("error", f"{error.code}: {error.message}"), ("what to do", error.remedy)]


def status(plan: PlanSummary) -> Table:
    running = not plan.ended
    return facts(
        [
            ("plan", plan.id),
            ("state", state(plan.state)),
            ("missing", f"{plan.missing_instances} images" if plan.missing_instances else None),
            *_missing(plan),
            ("stage", plan.stage if running else None),
            ("progress", f"{plan.progress:.0%}" if running else None),
            ("time left", duration(plan.eta_s) if running and plan.eta_s is not None else None),
            ("took", _took(plan)),
            ("verdict", outcome(plan.outcome)),
            (
                "superseded by",
                plan.superseded_by or ("a structure set that was not planned" if plan.superseded_at else None),
            ),
            ("its results", f"{plan.superseded_results}: superseded" if plan.superseded_results else None),
            *failure(plan.error),
        ]
    )


def _missing(plan: PlanSummary) -> list[tuple[str, object]]:
    """SOP Instance UIDs of images that a waiting plan lacks, a line each."""
    uids = plan.missing_sop_instance_uids if isinstance(plan, Plan) else ()
    if not uids:
        return []
    more = plan.missing_instances - len(uids)
    return [("", "\n".join([*uids, *([f"and {more} more"] if more > 0 else [])]))]


def plans(found: Sequence[PlanSummary]) -> Table:
    rows = (
        (
            p.id,
            _state_of(p),
            f"{p.progress:.0%}" if p.state == PlanState.RUNNING else None,
            _patient(p),
            p.protocol_id or p.workflow_id,
            moment(p.created_at),
            _took(p),
        )
        for p in found
    )
    columns = ("plan", "state", "progress", "patient", "protocol", "made", "took")
    return table(*columns, rows=rows, right=("progress", "took"))


def goals(found: Sequence[GoalResult]) -> Table:
    rows = ((g.text, goal_value(g), g.note) for g in found)
    return table("goal", "value", "note", rows=rows)


def goal_value(goal: GoalResult) -> Text:
    """Value and status: 96.31 % met."""
    value = "" if goal.value is None else f"{goal.value:.2f} {goal.unit}".rstrip() + " "
    return Text.assemble(clean(value), (clean(goal.status or "–"), _GOAL_STYLE.get(goal.status, "")))


def metrics(found: Sequence[StructureMetrics]) -> Table:
    rows = (
        (
            m.structure,
            number(m.volume_cc, 1),
            *(number(d) for d in (m.d_mean_gy, m.d_min_gy, m.d98_gy, m.d95_gy, m.d50_gy, m.d2_gy, m.d_max_gy)),
        )
        for m in found
    )
    columns = ("structure", "cc", "mean Gy", "min Gy", "D98 Gy", "D95 Gy", "D50 Gy", "D2 Gy", "max Gy")
    return table(*columns, rows=rows, right=columns[1:])


def whole_plan(plan: Plan) -> list[Any]:
    """Everything about a plan, section by section."""
    rx = plan.prescription
    parts: list[Any] = [
        status(plan),
        facts(
            [
                ("made", moment(plan.created_at)),
                ("asked by", plan.origin),
                ("patient", plan.patient_id),
                ("study", plan.study_instance_uid),
                ("structure set", plan.rtstruct_sop_instance_uid),
                ("protocol", plan.protocol_id),
                ("workflow", plan.workflow_id),
                ("prescription", f"{rx.dose_gy:g} Gy in {rx.fractions} fractions to {rx.target}" if rx else None),
                ("decision", _decision(plan.approval)),
                ("uncertainty", f"{plan.uncertainty_percent:.2f} %" if plan.uncertainty_percent is not None else None),
                ("worker", plan.worker),
                ("attempts", plan.attempt),
            ]
        ),
    ]
    if plan.verdict is not None:
        parts += ["", *_verdict(plan.verdict)]
    if plan.goals:
        parts += ["", goals(plan.goals)]
    if plan.metrics:
        parts += ["", metrics(plan.metrics)]
    if plan.comparison is not None:
        parts += ["", *_comparison(plan.comparison)]
    if plan.robustness is not None:
        parts += ["", *_robustness(plan.robustness)]
    if plan.beams:
        parts += ["", _beams(plan)]
    if plan.outputs:
        rows = ((o.kind, o.sop_instance_uid, o.orthanc_id) for o in plan.outputs)
        parts += ["", table("result", "SOPInstanceUID", "Orthanc", rows=rows, whole=("SOPInstanceUID", "Orthanc"))]
    if plan.timings_s:
        steps = ((name, f"{s:.1f}") for name, s in plan.timings_s.items())
        parts += ["", table("step", "seconds", rows=steps, right=("seconds",))]
    if plan.notes:
        parts += ["", *(f"Note: {n}" for n in plan.notes)]
    if plan.outputs:
        parts += ["", "UNAPPROVED: for research and quality assurance only."]
    return parts


def _beams(plan: Plan) -> Table:
    rows = (
        (
            b.number,
            b.name,
            f"{b.gantry_deg:g}" + ("" if b.gantry_stop_deg is None else f" – {b.gantry_stop_deg:g}"),
            f"{b.couch_deg:g}",
            None if b.collimator_deg is None else f"{b.collimator_deg:g}",
            None if b.energy_mv is None else f"{b.energy_mv:g}" + (" FFF" if b.fluence == "unflattened" else ""),
            b.control_points,
            b.layers,
            b.spots,
            None if b.energy_min_mev is None else f"{b.energy_min_mev:.1f}–{b.energy_max_mev or 0:.1f}",
            number(b.meterset_mu, 1),
        )
        for b in plan.beams
    )
    columns = ("beam", "name", "gantry °", "couch °", "collimator °", "energy MV", "control points", "layers", "spots")
    last = ("energy MeV", "MU/fraction")
    return _filled((*columns, *last), rows, right=(*columns[2:], *last))


def _filled(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str]) -> Table:
    """A table of the columns in which some row has something: other modalities have others."""
    found = [list(row) for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in found)]
    names = [columns[i] for i in kept]
    return table(*names, rows=([row[i] for i in kept] for row in found), right=[n for n in names if n in right])


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.2f}"


def _decision(approval: Approval | None) -> str | None:
    if approval is None:
        return None
    comment = f": {approval.comment}" if approval.comment else ""
    return f"{approval.decision} by {approval.by or 'somebody'}, {moment(approval.at)}{comment}"


def outcome(result: str | None) -> Text | None:
    """pass, look or fail, in the colors of goals."""
    return None if result is None else Text(clean(result), style=_OUTCOME_STYLE.get(result, ""))


def _verdict(found: Verdict) -> list[Any]:
    """What a check says: its reasons, then every criterion."""
    rows = (
        (
            c.title,
            "not judged" if c.value is None else f"{c.value:.4g} {c.unit}".rstrip(),
            None if c.look is None else f"{c.look:g}",
            None if c.fail is None else f"{c.fail:g}",
            outcome(c.result),
        )
        for c in found.criteria
    )
    return [
        Text.assemble("Verdict: ", outcome(found.result) or ""),
        *(f"- {clean(reason)}" for reason in found.reasons),
        *(f"Note: {clean(text)}" for text in found.reservations),
        "",
        table("criterion", "value", "look", "fail", "result", rows=rows, right=("value", "look", "fail")),
    ]


def _comparison(found: DoseComparison) -> list[Any]:
    """A dose beside its reference: gamma, and the reference's metrics below the dose's own."""
    reference, gamma = found.reference, found.gamma
    c = gamma.criteria if gamma else {}
    judged = (
        f"{gamma.passed_percent:.1f} % of {gamma.points} points pass {c.get('dose_percent', 0):g} % / "
        f"{c.get('distance_mm', 0):g} mm, {c.get('normalization')}, above {c.get('cutoff_percent', 0):g} %"
        if gamma
        else found.gamma_note
    )
    scale = f"{found.scale:.4f} ({found.scale_source})" if found.scale_source != "none" else None
    if found.scale_source == "reference":
        scale = f"{found.scale:.4f}, derived from the reference: differences tell of the dose's shape alone"
    mean = found.mean_difference_gy
    parts: list[Any] = [
        facts(
            [
                ("compared with", f"{reference.sop_instance_uid} ({reference.label or reference.dose_type})"),
                ("gamma", judged),
                *((r.structure or "in the high dose", f"{r.passed_percent:.1f} % pass") for r in found.regions),
                ("mean difference", None if mean is None else f"{mean:+.3f} Gy where the dose is high"),
                ("scaled by", scale),
            ]
        )
    ]
    if found.beams:
        more = (
            (b.name, *map(_signed, (b.meterset_percent, b.range_mm, b.shift_x_mm, b.shift_y_mm, b.shift_z_mm)))
            for b in found.beams
        )
        columns = ("beam", "meterset %", "range mm", "x mm", "y mm", "z mm")
        parts += ["", "What the reference has more of each beam:", _filled(columns, more, right=columns[1:])]
    if found.metrics:
        parts += ["", "Of the reference:", metrics(found.metrics)]
    return parts


def _robustness(found: Robustness) -> list[Any]:
    """What the plan is worth under errors: the range of each metric, and each goal's worst case."""
    systematic, random = ("/".join(f"{v:g}" for v in mm) for mm in (found.setup_systematic_mm, found.setup_random_mm))
    parts: list[Any] = [
        facts(
            [
                (
                    "robustness",
                    f"{len(found.scenarios)} scenarios: setup {systematic} mm, random {random} mm, "
                    f"range {found.range_percent:g} %",
                )
            ]
        )
    ]
    if found.metrics:
        rows = (
            (m.structure, m.metric, number(m.low_gy), number(m.nominal_gy), number(m.high_gy)) for m in found.metrics
        )
        columns = ("structure", "metric", "lowest Gy", "nominal Gy", "highest Gy")
        parts += ["", table(*columns, rows=rows, right=columns[2:])]
    if found.goals:
        goals_of = (
            (
                g.text,
                f"{g.met} of {g.scenarios}",
                goal_value(GoalResult(text=g.text, value=g.worst, unit=g.unit, status=g.worst_status)),
                g.worst_scenario,
            )
            for g in found.goals
        )
        parts += ["", table("goal", "met in", "worst", "scenario", rows=goals_of)]
    return parts


def _took(plan: PlanSummary) -> str | None:
    if plan.started_at is None or plan.ended_at is None:
        return None
    return duration((plan.ended_at - plan.started_at).total_seconds())
