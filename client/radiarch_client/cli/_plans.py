"""Commands about plans: asking, watching, listing, showing, cancelling, logs, results; DVHs live in `_dvh`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import yaml
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.pictures import Plane
from radiarch_contract.states import PlanState
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from radiarch_client.models import Plan, PlanSummary

from . import _tables
from ._base import Cli, Exit, RadiarchGroup, clean
from ._complete import plan_argument, plan_id, protocol_option, workflow_option

_FILE_LIMIT_BYTES = 1024 * 1024
_REQUEST_KEYS = frozenset(
    {"protocol", "workflow", "prescription", "beams", "beam_count", "objectives", "goals", "parameters", "structures"}
)
_FILE = click.Path(dir_okay=False, path_type=Path)
_STATES = [s.value for s in PlanState]


def register(root: RadiarchGroup) -> None:
    """Add the commands."""

    @root.cmd("plan")
    @click.argument("rtstruct", required=False, metavar="[RTSTRUCT_UID]")
    @click.option("--study", metavar="UID", help="Plan the one RTSTRUCT of this study instead of naming it.")
    @protocol_option
    @workflow_option
    @click.option("--target", help="Name of the target structure.")
    @click.option("--dose", "dose_gy", type=click.FloatRange(min=0, min_open=True), help="Total dose, Gy.")
    @click.option("--fractions", type=click.IntRange(1))
    @click.option("--beams", metavar="ANGLES", help="Gantry angles such as 90,270; with the couch 90:10,270:350.")
    @click.option(
        "--structure", "structures", multiple=True, metavar="NAME=ROI", help="Which ROI a name stands for; again."
    )
    @click.option("--label", help="RT Plan Label, at most 16 characters.")
    @click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the workflow; again.")
    @click.option("--goal", "goals", multiple=True, metavar="GOAL", help="Such as 'PTV: D95% >= 95%'; may be repeated.")
    @click.option(
        "--file",
        "request_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"YAML or JSON with any of {', '.join(sorted(_REQUEST_KEYS))}; options win.",
    )
    @click.option("--key", metavar="TEXT", help="Idempotency key: asked twice with the same key, one plan is made.")
    @click.option("--watch", is_flag=True, help="Wait for the plan's end and show its progress.")
    def plan(cli: Cli, rtstruct: str | None, study: str | None, watch: bool, key: str | None, **given: Any) -> int:
        """Ask for a plan of an RTSTRUCT that is stored in Orthanc."""
        request = _request(**given)
        uid = _structure_set(cli, rtstruct, study)
        made = cli.client.create_plan(uid, idempotency_key=key, **request)
        if watch:
            return _watch(cli, made.id)
        if cli.as_json:
            cli.emit(made)
        else:
            cli.show(f"{made.id}  {made.state}")
            cli.say(f"Watch it with: radiarch status {made.id} --watch")
        return Exit.OK

    @root.cmd("status")
    @plan_argument
    @click.option("--watch", is_flag=True, help="Wait for the plan's end and show its progress.")
    def status(cli: Cli, plan: str, watch: bool) -> int:
        """State, stage, progress and time left of a plan.

        With --watch the exit code is 5 when the plan failed or was cancelled; with --json too, each change is one
        line of JSON.
        """
        identifier = plan_id(cli, plan)
        if watch:
            return _watch(cli, identifier)
        now = cli.client.get_plan(identifier)
        if cli.as_json:
            cli.emit(now)
        else:
            cli.show(_tables.status(now))
        return Exit.OK

    @root.cmd("list")
    @click.option("--state", type=click.Choice(_STATES), help="Only plans in this state.")
    @click.option("--patient", "patient_id", metavar="ID", help="Only plans of this PatientID.")
    @click.option("--study", "study_uid", metavar="UID")
    @click.option("--rtstruct", "rtstruct_uid", metavar="UID")
    @protocol_option
    @workflow_option
    @click.option("-q", "--query", "q", metavar="TEXT", help="Free text.")
    @click.option("--since", "created_after", type=click.DateTime(), help="Made at that time (UTC) or later.")
    @click.option("--until", "created_before", type=click.DateTime(), help="Made before that time (UTC).")
    @click.option("-n", "--limit", default=50, type=click.IntRange(0), show_default=True, help="0: all.")
    def list_plans(cli: Cli, limit: int, **filters: Any) -> None:
        """Plans, newest first."""
        found: list[PlanSummary] = list(islice(cli.client.list_plans(**filters), limit or None))
        if cli.as_json:
            cli.emit({"items": found})
        elif found:
            cli.show(_tables.plans(found))
        else:
            cli.say("No plan fits.")

    @root.cmd("show")
    @plan_argument
    def show(cli: Cli, plan: str) -> None:
        """Everything about a plan: goals, metrics, beams, results, where it came from."""
        whole = cli.client.get_plan(plan_id(cli, plan))
        if cli.as_json:
            cli.emit(whole)
        else:
            cli.show(*_tables.whole_plan(whole))

    @root.cmd("cancel")
    @plan_argument
    def cancel(cli: Cli, plan: str) -> None:
        """Cancel a plan; its engines are stopped."""
        ended = cli.client.cancel_plan(plan_id(cli, plan))
        if cli.as_json:
            cli.emit(ended)
        else:
            cli.show(f"{ended.id}  {ended.state}")

    @root.cmd("reoptimize")
    @plan_argument
    @click.option(
        "--file",
        "request_file",
        required=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="YAML or JSON with what is to be different: objectives, goals, prescription, parameters.",
    )
    @click.option("--watch", is_flag=True, help="Wait for the new plan's end and show its progress.")
    def reoptimize(cli: Cli, plan: str, request_file: Path, watch: bool) -> int:
        """Another plan of the same structure set that differs in what the file says; stored beamlets are used again."""
        keys = frozenset({"objectives", "goals", "prescription", "parameters", "label"})
        request = _read_request(request_file, keys)
        made = cli.client.reoptimize(plan_id(cli, plan), **request)
        if watch:
            return _watch(cli, made.id)
        cli.emit(made) if cli.as_json else cli.show(f"{made.id}  {made.state}")
        return Exit.OK

    @root.cmd("log")
    @plan_argument
    @click.option("-f", "--follow", is_flag=True, help="Go on until the plan has ended.")
    @click.option("--interval", default=1.0, type=click.FloatRange(min=0.1), help="Seconds between two looks.")
    def log(cli: Cli, plan: str, follow: bool, interval: float) -> None:
        """The log of a plan's job, the engine's own lines included."""
        _log(cli, cli.client.get_plan(plan_id(cli, plan)).job_id, follow, interval)

    @root.cmd("download")
    @plan_argument
    @click.option(
        "--to",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder to write into; default radiarch-PLAN.",
    )
    def download(cli: Cli, plan: str, folder: Path | None) -> None:
        """Write a plan's results (RTDOSE, RTPLAN, report) as DICOM files."""
        identifier = plan_id(cli, plan)
        written = cli.client.download_outputs(identifier, folder or Path(f"radiarch-{identifier[:8]}"))
        if cli.as_json:
            cli.emit({"files": [str(p) for p in written]})
        else:
            cli.show(*map(str, written))

    @root.cmd("report")
    @plan_argument
    @click.option("-o", "--output", type=_FILE, help="File to write; default radiarch-PLAN-report.pdf.")
    def report(cli: Cli, plan: str, output: Path | None) -> None:
        """Write a plan's report as PDF."""
        identifier = plan_id(cli, plan)
        data = cli.client.get_report(identifier)
        _written(cli, {output or Path(f"radiarch-{identifier[:8]}-report.pdf"): data})

    @root.cmd("pictures")
    @plan_argument
    @click.option(
        "--to",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder to write into; default radiarch-PLAN.",
    )
    def pictures(cli: Cli, plan: str, folder: Path | None) -> None:
        """Write the dose on three planes as PNG: axial.png, coronal.png, sagittal.png."""
        identifier = plan_id(cli, plan)
        target = folder or Path(f"radiarch-{identifier[:8]}")
        drawn = {target / f"{plane.value}.png": cli.client.get_picture(identifier, plane) for plane in Plane}
        target.mkdir(parents=True, exist_ok=True)
        _written(cli, drawn)


def _written(cli: Cli, files: Mapping[Path, bytes]) -> None:
    for path, data in files.items():
        path.write_bytes(data)
    if cli.as_json:
        cli.emit({"files": [str(p) for p in files]})
    else:
        cli.show(*map(str, files))


def _watch(cli: Cli, identifier: str) -> int:
    if cli.as_json:
        ended = cli.client.poll_until_done(identifier, progress=cli.emit_line)
    elif cli.err.is_terminal:
        ended = _with_bar(cli, identifier)
    else:
        ended = cli.client.poll_until_done(identifier, progress=_by_lines(cli))
    if not cli.as_json:
        cli.show(_tables.status(ended))
    return Exit.OK if ended.succeeded else Exit.PLAN_FAILED


def _by_lines(cli: Cli) -> Callable[[Plan], None]:
    """For a log file: a line for each stage, and for each 5 % of the whole."""
    before: list[object] = []

    def tell(plan: Plan) -> None:
        now = [plan.state, plan.stage, int(plan.progress * 20)]
        if now != before:
            before[:] = now
            cli.say(_tables.progress_line(plan))

    return tell


def _with_bar(cli: Cli, identifier: str) -> Plan:
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

        return cli.client.poll_until_done(identifier, progress=update)


def _log(cli: Cli, job_id: str, follow: bool, interval_s: float) -> None:
    offset = 0
    while True:
        chunk = cli.client.job_log(job_id, offset)
        offset = chunk.next_offset
        if cli.as_json:
            cli.emit_line(chunk)
        else:
            for line in chunk.lines:
                click.echo(clean(line))
        if chunk.lines and not chunk.complete:
            continue  # a long log comes in pieces
        if chunk.complete or not follow:
            return
        time.sleep(interval_s)


def _structure_set(cli: Cli, rtstruct: str | None, study: str | None) -> str:
    if (rtstruct is None) == (study is None):
        raise click.UsageError("name the RTSTRUCT's SOPInstanceUID, or a study with --study")
    if rtstruct is not None:
        return rtstruct
    found = list(cli.client.orthanc.instances(StudyInstanceUID=str(study), Modality="RTSTRUCT"))
    uids = [uid for r in found if (uid := r.tag("SOPInstanceUID"))]
    if len(uids) == 1:
        return uids[0]
    raise InvalidRequestError(
        f"the study has {len(uids)} RTSTRUCT instances, expected one" + (f": {', '.join(uids[:20])}" if uids else ""),
        remedy="Name the one to plan by its SOPInstanceUID." if uids else "Send its RTSTRUCT first (radiarch send).",
    )


def _request(
    *,
    request_file: Path | None,
    target: str | None,
    dose_gy: float | None,
    fractions: int | None,
    beams: str | None,
    params: tuple[str, ...],
    goals: tuple[str, ...],
    structures: tuple[str, ...],
    label: str | None,
    protocol: str | None,
    workflow: str | None,
) -> dict[str, Any]:
    """What is asked for: the file's content, with the options over it."""
    request = _read_request(request_file, _REQUEST_KEYS) if request_file else {}
    options: dict[str, Any] = {"protocol": protocol, "workflow": workflow, "goals": list(goals) or None, "label": label}
    if beams is not None:
        options["beams"] = _beams(beams)
        request.pop("beam_count", None)
    request |= {k: v for k, v in options.items() if v is not None}
    prescription = {"target": target, "dose_gy": dose_gy, "fractions": fractions}
    over = {
        "prescription": {k: v for k, v in prescription.items() if v is not None},
        "parameters": {name: _value(text) for name, text in _pairs("--param", params)},
        "structures": dict(_pairs("--structure", structures)),
    }
    return request | {k: _mapping(request, k) | v for k, v in over.items() if v}


def _mapping(request: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = request.get(key) or {}
    if not isinstance(value, dict):
        raise click.UsageError(f"{key} in the file has to be a mapping")
    return dict(value)


def _read_request(path: Path, allowed: frozenset[str]) -> dict[str, Any]:
    data = path.read_bytes()
    if len(data) > _FILE_LIMIT_BYTES:
        raise click.UsageError(f"{path}: {len(data)} bytes, at most {_FILE_LIMIT_BYTES} are read")
    try:
        value = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise click.UsageError(f"{path}: neither YAML nor JSON: {e}") from None
    if not isinstance(value, dict) or not set(value) <= allowed:
        raise click.UsageError(f"{path}: expected a mapping with some of {', '.join(sorted(allowed))}")
    return value


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [(name.strip(), equals, value) for name, equals, value in (text.partition("=") for text in given)]
    for text, (name, equals, _) in zip(given, pairs, strict=True):
        if not equals or not name:
            raise click.UsageError(f"{option} {text!r}: expected NAME=VALUE")
    return [(name, value) for name, _, value in pairs]


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _beams(text: str) -> list[dict[str, float]]:
    beams = []
    for part in text.split(","):
        gantry, _, couch = part.partition(":")
        try:
            beams.append({"gantry_deg": float(gantry), "couch_deg": float(couch or 0)})
        except ValueError:
            raise click.UsageError(f"--beams {part!r}: expected an angle, or gantry:couch, in degrees") from None
    return beams
