"""Commands about dose: dvh and compare; drawing lives in `_plot`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from radiarch_contract.curves_csv import curves_csv
from radiarch_contract.errors import ErrorCode, NotFoundError
from radiarch_contract.near import suggestion
from rich.text import Text

from radiarch_client._files import write
from radiarch_client.models import Comparison, DvhCurve, GoalResult

from . import _plot, _tables
from ._base import Cli, RadiarchGroup, cell, table
from ._complete import plan_argument, plan_id

_FILE = click.Path(dir_okay=False, path_type=Path)
_FILE_OR_STDOUT = click.Path(dir_okay=False, allow_dash=True)
_COMPARED = ("d_mean_gy", "d98_gy", "d95_gy", "d50_gy", "d2_gy", "d_max_gy")


def register(root: RadiarchGroup) -> None:
    """Add the commands."""

    @root.cmd("dvh")
    @plan_argument
    @click.option("-s", "--structure", "structures", multiple=True, metavar="NAME", help="Only this one; again.")
    @click.option("--plot", is_flag=True, help="Draw it in the terminal.")
    @click.option("--png", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw it into a file.")
    @click.option(
        "--csv",
        "table_file",
        type=click.Path(dir_okay=False, allow_dash=True),
        metavar="FILE",
        help="Write the curves; - is stdout.",
    )
    def dvh(
        cli: Cli, plan: str, structures: tuple[str, ...], plot: bool, png: Path | None, table_file: str | None
    ) -> None:
        """Metrics and cumulative DVH of every structure on the final dose."""
        identifier = plan_id(cli, plan)
        answer = cli.plans.dvh(identifier)
        curves = _chosen(answer.curves, structures)
        if png is not None:
            _plot.to_png([(identifier[:8], curves)], png, bands=answer.bands)
            cli.say(f"wrote {png}")
        if table_file is not None:
            if table_file == "-":
                click.echo(curves_csv(curves), nl=False)
            else:
                write({Path(table_file): curves_csv(curves).encode()})
        if cli.as_json:
            cli.emit(answer.model_copy(update={"curves": curves}))
            return
        if table_file == "-":
            return
        whole = cli.plans.get_plan(identifier)
        names = {c.structure for c in curves}
        cli.show(_tables.metrics([m for m in whole.metrics if m.structure in names]))
        if plot:
            cli.show("", _plot.in_terminal(curves, width=max(30, min(cli.out.width - 8, 100))))

    @root.cmd("compare")
    @click.argument("plans", nargs=-1, required=True, metavar="PLAN PLAN...")
    @click.option(
        "--png", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw the DVHs into a file."
    )
    def compare(cli: Cli, plans: tuple[str, ...], png: Path | None) -> None:
        """Metrics and goals of plans side by side, as differences from the first."""
        if len(plans) < 2:
            raise click.UsageError("name two plans or more")
        answer = cli.plans.compare(*(plan_id(cli, p) for p in plans))
        if png is not None:
            _plot.to_png([(d.plan_id[:8], d.curves) for d in answer.dvh], png)
            cli.say(f"wrote {png}")
        if cli.as_json:
            cli.emit(answer)
            return
        cli.show(_metrics_table(answer), "", _goals_table(answer))
        for note in answer.notes:
            cli.show(f"Note: {note}")


def _metrics_table(answer: Comparison) -> Any:
    rows: list[list[object]] = []
    for structure in answer.structures:
        for i, one in enumerate(structure.plans):
            row: list[object] = [structure.structure if i == 0 else Text(""), one.plan_id[:8]]
            for attribute in _COMPARED:
                text = cell(_tables.number(getattr(one.metrics, attribute, None)))
                if one.difference is not None and attribute in one.difference:
                    text.append(f" {one.difference[attribute]:+.2f}", style="dim")
                row.append(text)
            rows.append(row)
    columns = ("structure", "plan", "mean Gy", "D98 Gy", "D95 Gy", "D50 Gy", "D2 Gy", "max Gy")
    return table(*columns, rows=rows, right=columns[2:])


def _goals_table(answer: Comparison) -> Any:
    rows = []
    for goal in answer.goals:
        values = [GoalResult(text=goal.text, unit=goal.unit, value=p.value, status=p.status) for p in goal.plans]
        rows.append([goal.text, *map(_tables.goal_value, values)])
    return table("goal", *(p.id[:8] for p in answer.plans), rows=rows)


def _chosen(curves: Sequence[DvhCurve], names: Sequence[str]) -> tuple[DvhCurve, ...]:
    if not names:
        return tuple(curves)
    known = {c.structure for c in curves}
    missing = [n for n in names if n not in known]
    if missing:
        raise NotFoundError(
            f"no DVH for {', '.join(missing)}{suggestion(missing[0], known)}",
            remedy=f"There are: {', '.join(sorted(known))}.",
            code=ErrorCode.UNKNOWN_STRUCTURE,
        )
    return tuple(c for c in curves if c.structure in names)
