"""Commands about plans and doses of other systems: evaluate and recalculate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ._base import Cli, RadiarchGroup
from ._request import gamma as read_gamma
from ._request import pairs, rois, value_of
from ._watch import follow_or_tell

F = TypeVar("F", bound=Callable[..., Any])


def _common(command: F) -> F:
    options: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--target",), {"help": "Structure that the prescription is for; goals in % need one."}),
        (("--dose", "dose_gy"), {"type": click.FloatRange(min=0, min_open=True), "help": "Prescribed dose, Gy."}),
        (("--fractions",), {"type": click.IntRange(1)}),
        (
            ("--goal", "goals"),
            {"multiple": True, "metavar": "GOAL", "help": "Such as 'PTV: D95% >= 95%'; may be repeated."},
        ),
        (
            ("--structure", "structures"),
            {"multiple": True, "metavar": "NAME=ROI", "help": "Which ROI a name stands for; again."},
        ),
        (("--gamma",), {"metavar": "%/MM", "help": "Criteria such as 3/2 or 2/2/local; default 3/3 global."}),
        (("--label",), {"help": "At most 16 characters."}),
        (
            ("--batch",),
            {"is_flag": True, "help": "One of many: what somebody waits for may be taken from the queue before it."},
        ),
        (("--key",), {"metavar": "TEXT", "help": "Idempotency key: asked twice with the same key, it is made once."}),
        (("--watch", "wait"), {"is_flag": True, "help": "Wait for its end and show its progress."}),
    ]
    for names, settings in reversed(options):
        command = click.option(*names, **settings)(command)
    return command


def register(root: RadiarchGroup) -> None:
    """Add the commands."""

    @root.cmd("evaluate")
    @click.argument("rtdose", metavar="RTDOSE_UID")
    @click.option("--rtstruct", metavar="UID", help="Structure set; default: the one that the dose or its plan names.")
    @click.option("--plus", metavar="UID", help="The RTDOSE of another plan: the sum of both is judged.")
    @click.option("--reference", metavar="UID", help="Another RTDOSE to compare with: gamma, differences.")
    @_common
    def evaluate(
        cli: Cli,
        rtdose: str,
        rtstruct: str | None,
        plus: str | None,
        reference: str | None,
        gamma: str | None,
        wait: bool,
        **given: Any,
    ) -> int:
        """DVH, metrics and goals of an RTDOSE that is stored, of whatever system; nothing is planned."""
        asked = _asked(**given)
        criteria = read_gamma(gamma)
        made = cli.plans.create_evaluation(
            rtdose,
            rtstruct,
            added_rtdose_sop_instance_uid=plus,
            reference_rtdose_sop_instance_uid=reference,
            gamma=criteria,
            **asked,
        )
        return follow_or_tell(cli, made, wait)

    @root.cmd("recalculate")
    @click.argument("rtplan", metavar="RTPLAN_UID")
    @click.option("--rtstruct", metavar="UID", help="Structure set; default: the one that the plan names.")
    @click.option("--rtdose", metavar="UID", help="Dose to compare with; default: the newest of the plan.")
    @click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of recalculation; again.")
    @_common
    def recalculate(
        cli: Cli,
        rtplan: str,
        rtstruct: str | None,
        rtdose: str | None,
        params: tuple[str, ...],
        gamma: str | None,
        wait: bool,
        **given: Any,
    ) -> int:
        """Second check: a plan that is stored, computed anew and compared with its dose."""
        parameters: dict[str, Any] = {name: value_of(text) for name, text in pairs("--param", params)}
        if gamma is not None:
            parameters["gamma"] = read_gamma(gamma)
        made = cli.plans.create_recalculation(
            rtplan,
            rtstruct_sop_instance_uid=rtstruct,
            rtdose_sop_instance_uid=rtdose,
            parameters=parameters or None,
            **_asked(**given),
        )
        return follow_or_tell(cli, made, wait)


def _asked(
    *,
    target: str | None,
    dose_gy: float | None,
    fractions: int | None,
    goals: tuple[str, ...],
    structures: tuple[str, ...],
    label: str | None,
    batch: bool,
    key: str | None,
) -> dict[str, Any]:
    prescription = {"target": target, "dose_gy": dose_gy, "fractions": fractions}
    given = {k: v for k, v in prescription.items() if v is not None}
    if given and len(given) < len(prescription):
        raise click.UsageError("a prescription is --target, --dose and --fractions together")
    return {
        "prescription": given or None,
        "goals": list(goals) or None,
        "structures": rois(structures) or None,
        "label": label,
        "priority": "batch" if batch else None,
        "idempotency_key": key,
    }
