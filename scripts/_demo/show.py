"""What the demo prints: progress, goals, DVH, where things are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from radiarch_client.cli import show as client_show
from radiarch_client.models import DvhCurve, Plan
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

_LINE_EVERY_S = 15.0


class ProgressDisplay:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._stage = ""
        self._said_at = 0.0
        if console.is_terminal:
            columns = (TextColumn("{task.description:<32}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("queued", total=1.0)
            self._bar.start()

    def __call__(self, plan: Plan) -> None:
        left = f", {client_show.duration(plan.eta_s)} left" if plan.eta_s is not None and not plan.ended else ""
        what = client_show.doing(plan)
        if self._bar is not None:
            self._bar.update(self._task, completed=plan.progress, description=f"{what}{left}")
        elif what != self._stage or time.monotonic() - self._said_at > _LINE_EVERY_S:
            self._stage, self._said_at = what, time.monotonic()
            self._console.print(f"  {plan.progress:4.0%}  {what}{left}", highlight=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def result(console: Console, plan: Plan, curves: Sequence[DvhCurve]) -> None:
    """Goals, metrics and DVH of a plan that succeeded."""
    console.print()
    prescription = plan.prescription
    if prescription is not None:
        console.print(
            f"{prescription.dose_gy:g} Gy (RBE) in {prescription.fractions} fractions to {prescription.target}, "
            f"{len(plan.beams)} beams, protocol {plan.protocol_id or '–'}, workflow {plan.workflow_id}",
            highlight=False,
            markup=False,
        )
    console.print(client_show.goals(plan.goals))
    console.print(client_show.metrics(plan.metrics))
    if plan.uncertainty_percent is not None:
        console.print(
            f"statistical uncertainty in the target: {plan.uncertainty_percent:.1f} % (1 sigma)", highlight=False
        )
    for note in plan.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print()
    console.print(client_show.dvh_in_terminal(curves, width=max(40, min(console.width - 8, 100))))
    console.print()


def dvh_picture(plan: Plan, curves: Sequence[DvhCurve], path: Path) -> None:
    client_show.dvh_to_png([(plan.label or plan.id[:8], curves)], path)


def identities(console: Console, plan: Plan) -> None:
    """The UIDs of what is in the PACS now."""
    rows = [("plan", plan.id), ("study", plan.study_instance_uid), ("RTSTRUCT", plan.rtstruct_sop_instance_uid)]
    rows += [(output.kind.upper(), output.sop_instance_uid) for output in plan.outputs]
    console.print(client_show.facts(rows))


_STEPS = (
    "load",
    "building_plan",
    "computing_beamlets",
    "optimizing",
    "final_dose",
    "evaluate",
    "write",
    "report",
    "store",
)
"""What comes one after the other; the worker's other timings are parts or sums of these."""


def timings(console: Console, plan: Plan, own_s: Mapping[str, float]) -> None:
    inside = [(name, plan.timings_s[name]) for name in _STEPS if name in plan.timings_s]
    rows = [*own_s.items()]
    if (planning := next((i for i, (name, _) in enumerate(rows) if name == "planning"), None)) is not None:
        rows[planning + 1 : planning + 1] = [(f"  {name.replace('_', ' ')}", s) for name, s in inside]
    console.print()
    console.print(client_show.facts([(name, f"{seconds:7.1f} s") for name, seconds in rows]))
    console.print()
