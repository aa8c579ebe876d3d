"""Commands about plans: asking, watching, listing, showing, cancelling, logs, results; DVHs live in `_dvh`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.pictures import Plane
from radiarch_contract.states import PlanState

from radiarch_client._files import write
from radiarch_client.models import PlanSummary

from . import _tables
from ._base import Cli, Exit, RadiarchGroup, clean
from ._complete import plan_argument, plan_id, protocol_option, workflow_option
from ._request import KEYS, read, read_file
from ._session import plan_folder
from ._watch import follow_or_tell, watch

_FILE = click.Path(dir_okay=False, path_type=Path)
_STATES = [s.value for s in PlanState]


def register(root: RadiarchGroup) -> None:
    """Add the commands."""

    @root.cmd("plan")
    @click.argument("rtstruct", required=False, metavar="[RTSTRUCT_UID]")
    @click.option("--study", metavar="UID", help="Plan the one RTSTRUCT of this study instead of naming it.")
    @click.option(
        "--folder",
        type=click.Path(exists=True, path_type=Path),
        help="Plan the CT and the one RTSTRUCT of this folder; nothing of it stays in Orthanc.",
    )
    @click.option(
        "--to",
        type=click.Path(file_okay=False, path_type=Path),
        help="With --folder: where to write the results; default radiarch-PLAN.",
    )
    @click.option(
        "--keep",
        type=click.Choice(["results", "all"]),
        help="With --folder: store the results, or also the CT and RTSTRUCT, in Orthanc.",
    )
    @protocol_option
    @workflow_option
    @click.option("--target", help="Name of the target structure.")
    @click.option("--dose", "dose_gy", type=click.FloatRange(min=0, min_open=True), help="Total dose, Gy.")
    @click.option("--fractions", type=click.IntRange(1))
    @click.option("--beams", metavar="ANGLES", help="Gantry angles such as 90,270; with the couch 90:10,270:350.")
    @click.option(
        "--structure",
        "structures",
        multiple=True,
        metavar="NAME=ROI",
        help="Which ROI a name stands for, by its name or as #12 by its number; again.",
    )
    @click.option("--label", help="RT Plan Label, at most 16 characters.")
    @click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the workflow; again.")
    @click.option("--goal", "goals", multiple=True, metavar="GOAL", help="Such as 'PTV: D95% >= 95%'; may be repeated.")
    @click.option(
        "--file",
        "request_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"YAML or JSON with any of {', '.join(sorted(KEYS))}; options win.",
    )
    @click.option(
        "--batch", is_flag=True, help="One of many: runs that somebody waits for may be taken from the queue before it."
    )
    @click.option("--key", metavar="TEXT", help="Idempotency key: asked twice with the same key, one plan is made.")
    @click.option("--watch", "wait", is_flag=True, help="Wait for the plan's end and show its progress.")
    def plan(
        cli: Cli,
        rtstruct: str | None,
        study: str | None,
        folder: Path | None,
        to: Path | None,
        keep: str | None,
        wait: bool,
        key: str | None,
        **given: Any,
    ) -> int:
        """Ask for a plan of an RTSTRUCT that is stored in Orthanc, or of a folder on this machine.

        With --folder its CT and RTSTRUCT are uploaded for this plan alone: nobody else sees them, the results are
        written to --to, and nothing of it stays in Orthanc unless --keep says so.
        """
        request = read(**given)
        if folder is not None:
            if rtstruct is not None or study is not None or key is not None:
                raise click.UsageError("--folder names what is planned: no RTSTRUCT_UID, --study or --key beside it")
            return plan_folder(cli, folder, request, to=to, keep=keep)
        if to is not None or keep is not None:
            raise click.UsageError("--to and --keep go with --folder; 'radiarch download' fetches a plan's results")
        uid = _structure_set(cli, rtstruct, study)
        made = cli.plans.create_plan(uid, idempotency_key=key, **request)
        return follow_or_tell(cli, made, wait)

    @root.cmd("status")
    @plan_argument
    @click.option("--watch", "wait", is_flag=True, help="Wait for the plan's end and show its progress.")
    def status(cli: Cli, plan: str, wait: bool) -> int:
        """State, stage, progress and time left of a plan.

        With --watch the exit code is 5 when the plan failed or was cancelled; with --json too, each change is one
        line of JSON.
        """
        identifier = plan_id(cli, plan)
        if wait:
            return watch(cli, identifier)
        now = cli.plans.get_plan(identifier)
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
    @click.option("-q", "--query", "q", metavar="TEXT", help="Words, or parts of them: name, id, label, UID.")
    @click.option("--since", "created_from", metavar="DATE", help="Made on that day (or at that time, UTC) or later.")
    @click.option("--until", "created_to", metavar="DATE", help="Made on that day (or at that time, UTC) or earlier.")
    @click.option("-n", "--limit", default=50, type=click.IntRange(0), show_default=True, help="0: all.")
    def list_plans(cli: Cli, limit: int, **filters: Any) -> None:
        """Plans, newest first."""
        found: list[PlanSummary] = list(islice(cli.plans.list_plans(**filters), limit or None))
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
        whole = cli.plans.get_plan(plan_id(cli, plan))
        if cli.as_json:
            cli.emit(whole)
        else:
            cli.show(*_tables.whole_plan(whole))

    @root.cmd("cancel")
    @plan_argument
    def cancel(cli: Cli, plan: str) -> None:
        """Cancel a plan; its engines are stopped."""
        ended = cli.plans.cancel_plan(plan_id(cli, plan))
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
    @click.option("--watch", "wait", is_flag=True, help="Wait for the new plan's end and show its progress.")
    def reoptimize(cli: Cli, plan: str, request_file: Path, wait: bool) -> int:
        """Another plan of the same structure set that differs in what the file says; stored beamlets are used again."""
        keys = frozenset({"objectives", "goals", "prescription", "parameters", "label"})
        request = read_file(request_file, keys)
        made = cli.plans.reoptimize(plan_id(cli, plan), **request)
        if wait:
            return watch(cli, made.id)
        cli.emit(made) if cli.as_json else cli.show(f"{made.id}  {made.state}")
        return Exit.OK

    @root.cmd("log")
    @plan_argument
    @click.option("-f", "--follow", is_flag=True, help="Go on until the plan has ended.")
    @click.option("--interval", default=1.0, type=click.FloatRange(min=0.1), help="Seconds between two looks.")
    def log(cli: Cli, plan: str, follow: bool, interval: float) -> None:
        """The log of a plan's job, the engine's own lines included."""
        _log(cli, cli.plans.get_plan(plan_id(cli, plan)).job_id, follow, interval)

    @root.cmd("download")
    @plan_argument
    @click.option(
        "--to",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder to write into; default radiarch-PLAN.",
    )
    def download(cli: Cli, plan: str, folder: Path | None) -> None:
        """Write a plan's results (RTDOSE, RTPLAN, report) as DICOM files; other plans' files are not replaced."""
        identifier = plan_id(cli, plan)
        written = cli.plans.download_outputs(identifier, folder or Path(f"radiarch-{identifier[:8]}"))
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
        data = cli.plans.get_report(identifier)
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
        drawn = {target / f"{plane.value}.png": cli.plans.get_picture(identifier, plane) for plane in Plane}
        target.mkdir(parents=True, exist_ok=True)
        _written(cli, drawn)


def _written(cli: Cli, files: Mapping[Path, bytes]) -> None:
    write(files)
    if cli.as_json:
        cli.emit({"files": [str(p) for p in files]})
    else:
        cli.show(*map(str, files))


def _log(cli: Cli, job_id: str, follow: bool, interval_s: float) -> None:
    offset = 0
    while True:
        chunk = cli.plans.job_log(job_id, offset)
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
    if rtstruct is None and study is None and cli.session is not None:
        return cli.session.structure_set()
    if study is not None and cli.session is not None:
        raise click.UsageError("--study looks in Orthanc, not in the session: name the RTSTRUCT, or nothing")
    if (rtstruct is None) == (study is None):
        raise click.UsageError("name the RTSTRUCT's SOPInstanceUID, a study with --study, or a folder with --folder")
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
