"""Arguments that many commands share, with completion that asks the server briefly; commands live elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from radiarch_contract.errors import NotFoundError, RadiarchError

from radiarch_client import Radiarch, Retry

from ._base import Cli

F = TypeVar("F", bound=Callable[..., Any])
_LIMIT = 50


def plan_id(cli: Cli, given: str) -> str:
    """The id itself, or the newest plan's for ``last``."""
    if given != "last":
        return given
    newest = next(iter(cli.plans.list_plans(page_size=1)), None)
    if newest is None:
        raise NotFoundError("there is no plan yet", remedy="Ask for one with 'radiarch plan', or send an RTSTRUCT.")
    return newest.id


def _completion(
    items: Callable[[Radiarch], Iterable[tuple[str, str]]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # options of the line are not stored while it is being completed: environment and file have to do
        try:
            with Radiarch(timeout_s=1.5, retry=Retry(attempts=1)) as client:
                found = list(islice(items(client), _LIMIT))
        except RadiarchError:
            return []
        return [CompletionItem(value, help=text) for value, text in found if value.startswith(incomplete)]

    return complete


def plan_argument(command: F) -> F:
    complete = _completion(lambda c: ((p.id, f"{p.state} {p.workflow_id}") for p in c.list_plans(page_size=_LIMIT)))
    return click.argument("plan", metavar="PLAN", shell_complete=complete)(command)


def protocol_option(command: F) -> F:
    complete = _completion(lambda c: ((p.id, p.title) for p in c.list_protocols()))
    return click.option("--protocol", metavar="ID", help="A protocol's id.", shell_complete=complete)(command)


def workflow_option(command: F) -> F:
    complete = _completion(lambda c: ((w.id, w.title) for w in c.list_workflows()))
    return click.option("--workflow", metavar="ID", help="A workflow's id.", shell_complete=complete)(command)
