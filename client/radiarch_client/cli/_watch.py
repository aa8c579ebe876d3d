"""Waiting for a plan's end: a progress bar, lines for a log file, or JSON."""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from radiarch_client.models import Plan

from . import _tables
from ._base import Cli, Exit, Plans, clean


def watch(cli: Cli, identifier: str) -> int:
    """Wait, show how it ended, and answer with the exit code."""
    ended = wait(cli, cli.plans, identifier)
    if not cli.as_json:
        cli.show(_tables.status(ended))
    return Exit.OK if ended.succeeded else Exit.PLAN_FAILED


def wait(cli: Cli, plans: Plans, identifier: str, *, timeout_s: float | None = None) -> Plan:
    """Show the progress until the end. Raises `ServiceError`, ``time_limit``, after ``timeout_s``."""
    if cli.as_json:
        return plans.poll_until_done(identifier, progress=cli.emit_line, timeout_s=timeout_s)
    if cli.err.is_terminal:
        return _with_bar(cli, plans, identifier, timeout_s)
    return plans.poll_until_done(identifier, progress=_by_lines(cli), timeout_s=timeout_s)


def _by_lines(cli: Cli) -> Callable[[Plan], None]:
    """For a log file: a line for each stage, and for each 5 % of the whole."""
    before: list[object] = []

    def tell(plan: Plan) -> None:
        now = [plan.state, plan.stage, int(plan.progress * 20)]
        if now != before:
            before[:] = now
            cli.say(_tables.progress_line(plan))

    return tell


def _with_bar(cli: Cli, plans: Plans, identifier: str, timeout_s: float | None) -> Plan:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    with Progress(*columns, console=cli.err, transient=True) as bar:
        task = bar.add_task("", total=1.0, eta="")

        def update(plan: Plan) -> None:
            bar.update(
                task,
                completed=plan.progress,
                description=clean(_tables.doing(plan)),
                eta=f"{_tables.duration(plan.eta_s)} left" if plan.eta_s is not None else "",
            )

        return plans.poll_until_done(identifier, progress=update, timeout_s=timeout_s)


def follow_or_tell(cli: Cli, made: Plan, wait: bool) -> int:
    """What was asked for has been taken: follow it, or tell how to; the exit code."""
    if wait:
        return watch(cli, made.id)
    if cli.as_json:
        cli.emit(made)
    else:
        cli.show(f"{made.id}  {made.state}")
        cli.say(f"Watch it with: radiarch status {made.id} --watch")
    return Exit.OK
