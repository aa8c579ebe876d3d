"""Planning what is not to stay in Orthanc: a folder at once (`plan --folder`), or a session of one's own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from radiarch_contract.errors import ConflictError, ErrorCode, NotFoundError, ServiceError
from radiarch_contract.states import OutputKind
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from radiarch_client import Session
from radiarch_client._files import require_free, write
from radiarch_client.models import Kept, Plan, SessionInfo

from . import _tables
from ._base import SESSION_VARIABLE, Cli, Exit, RadiarchGroup, count, jsonable, table
from ._complete import plan_id
from ._watch import wait

_REPORT = "report.pdf"
_LEASE_S = 900.0
"""How long the session of a folder goes on when nobody hears of the command any more."""


def plan_folder(cli: Cli, folder: Path, request: dict[str, Any], *, to: Path | None, keep: str | None) -> int:
    """Plan a folder's RTSTRUCT in a session of its own, which ends with this command, whatever happens."""
    if to is not None:
        require_free(to / name for name in (*(f"{kind.value}.dcm" for kind in OutputKind), _REPORT))
    with cli.client.session(label="radiarch plan --folder") as session:
        _upload(cli, session, folder)
        made = session.create_plan(session.structure_set(), **request)
        ended = _wait(cli, session, made.id)
        files: list[Path] = []
        kept: Kept | None = None
        if ended.succeeded:
            own = Path(f"radiarch-{ended.id[:8]}")
            try:
                files = _write(session, ended, to or own)
            except ConflictError as e:  # somebody else's since; what was planned must not be lost with the session
                cli.say(f"{e}. They are written to {own}.")
                files = _write(session, ended, own)
            if keep is not None:
                kept = session.keep([ended.id], inputs=keep == "all")
    if cli.as_json:
        stored = [] if kept is None else kept.objects
        cli.emit_line(jsonable(ended) | {"files": [str(f) for f in files], "kept": jsonable(stored)})
    else:
        if kept is None:  # ids of the session, which is gone
            outputs = tuple(o.model_copy(update={"orthanc_id": None}) for o in ended.outputs)
            ended = ended.model_copy(update={"outputs": outputs})
        cli.show(*(_tables.whole_plan(ended) if ended.succeeded else [_tables.status(ended)]))
        if files:
            cli.show("", *map(str, files))
        stays = "Nothing of it is" if kept is None else f"{count(len(kept.objects), 'object')} of it are"
        cli.say(f"{stays} in Orthanc.")
    return Exit.OK if ended.succeeded else Exit.PLAN_FAILED


def _wait(cli: Cli, session: Session, plan_id: str) -> Plan:
    """Wait with a session that lives a little longer than this command, even where it is killed."""
    lease_s = _LEASE_S
    if session.opened is not None:
        lease_s = min(lease_s, (session.opened.expires_at - session.opened.created_at).total_seconds())
    while True:
        session.prolong(lease_s)
        try:
            return wait(cli, session, plan_id, timeout_s=lease_s / 3)
        except ServiceError as e:
            if e.code is not ErrorCode.TIME_LIMIT:
                raise


def register(root: RadiarchGroup) -> None:
    """Add the commands."""
    group = RadiarchGroup(
        "session", help=f"Planning without leaving anything in Orthanc; {SESSION_VARIABLE} says in which session."
    )
    root.add_command(group)

    @group.cmd("open")
    @click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
    @click.option("--ttl", "ttl_s", type=click.FloatRange(min=1), help="Ends by itself after so many seconds.")
    @click.option("--label", default="", help="For whoever looks at it; not the patient's name.")
    def open_session(cli: Cli, folder: Path | None, ttl_s: float | None, label: str) -> None:
        """Open a session, upload FOLDER if one is given, and print the line that makes commands work in it.

        In bash or zsh: eval "$(radiarch session open case)"
        """
        session = cli.client.session(ttl_s=ttl_s, label=label)
        try:
            if folder is not None:
                _upload(cli, session, folder)
            info = session.info()
        except BaseException:
            session.end()
            raise
        access = f"{session.access.id}:{session.access.secret}"
        if cli.as_json:
            cli.emit(jsonable(info) | {"secret": session.access.secret})
        else:
            click.echo(f"export {SESSION_VARIABLE}={shlex.quote(access)}")
            cli.say(f"Open until {_tables.moment(info.expires_at)}; 'radiarch session end' ends it.")

    @group.cmd("show")
    def show(cli: Cli) -> None:
        """What the session holds, and until when."""
        session = _session(cli)
        info, results = session.info(), session.results()
        if cli.as_json:
            cli.emit(jsonable(info) | {"results": jsonable(results)})
            return
        cli.show(_facts(info))
        if info.series:
            rows = ((s.modality, s.instances, s.series_instance_uid) for s in info.series)
            cli.show("", table("modality", "instances", "series", rows=rows, right=("instances",), whole=("series",)))
        if results:
            found = ((r.plan_id, r.kind, _size(r.bytes), r.sop_instance_uid) for r in results)
            cli.show("", table("plan", "result", "size", "SOPInstanceUID", rows=found, right=("size",)))

    @group.cmd("add")
    @click.argument("folder", type=click.Path(exists=True, path_type=Path))
    def add(cli: Cli, folder: Path) -> None:
        """Upload every DICOM file below FOLDER into the session."""
        told = _upload(cli, _session(cli), folder)
        if cli.as_json:
            cli.emit(told)

    @group.cmd("keep")
    @click.argument("plans", nargs=-1, metavar="[PLAN]...")
    @click.option("--inputs", is_flag=True, help="Also the CT and the RTSTRUCT that they were made of.")
    def keep(cli: Cli, plans: tuple[str, ...], inputs: bool) -> None:
        """Store results in Orthanc for good: of the named plans, or of all that have succeeded."""
        kept = _session(cli).keep([plan_id(cli, p) for p in plans] or None, inputs=inputs)
        if cli.as_json:
            cli.emit(kept)
            return
        rows = ((k.sop_instance_uid, k.orthanc_id, "yes" if k.new else "no") for k in kept.objects)
        cli.show(table("SOPInstanceUID", "Orthanc", "new", rows=rows, whole=("Orthanc",)))

    @group.cmd("prolong")
    @click.argument("ttl_s", metavar="SECONDS", type=click.FloatRange(min=1))
    def prolong(cli: Cli, ttl_s: float) -> None:
        """Let the session end so many seconds from now."""
        info = _session(cli).prolong(ttl_s)
        cli.emit(info) if cli.as_json else cli.show(_facts(info))

    @group.cmd("end")
    def end(cli: Cli) -> None:
        """End the session: its plans are stopped, everything in it is deleted; what was kept stays."""
        session = _session(cli)
        session.info()  # a wrong secret is told, not taken for an ended session
        session.end()
        if cli.as_json:
            cli.emit({"id": session.access.id, "ended": True})
        else:
            cli.say(f"Ended. Forget it with: unset {SESSION_VARIABLE}")


def _session(cli: Cli) -> Session:
    if cli.session is None:
        raise click.UsageError(f'{SESSION_VARIABLE} is not set; open one with: eval "$(radiarch session open FOLDER)"')
    return cli.session


@contextmanager
def _bar(cli: Cli) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), MofNCompleteColumn())
    with Progress(*columns, console=cli.err, transient=True, disable=not cli.err.is_terminal) as bar:
        task = bar.add_task("uploading files", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _upload(cli: Cli, session: Session, folder: Path) -> Any:
    with _bar(cli) as progress:
        told = session.upload_folder(folder, progress=progress)
    if not cli.as_json:
        cli.say(f"{count(told.stored, 'file')} uploaded, {told.unchanged} there before.")
    return told


def _write(session: Session, plan: Plan, folder: Path) -> list[Path]:
    """The results as DICOM, and the report as a PDF that any program opens."""
    files = session.download_outputs(plan.id, folder)
    if any(o.kind == OutputKind.REPORT for o in plan.outputs):
        report = folder / _REPORT
        try:
            data = session.get_report(plan.id)
        except NotFoundError:  # a plan without a report is whole; its notes say why
            return files
        write({report: data})
        files.append(report)
    return files


def _facts(info: SessionInfo) -> Any:
    limits = info.limits
    plans = ", ".join(f"{n} {state}" for state, n in info.plans.items())
    return _tables.facts(
        [
            ("session", info.id),
            ("label", info.label),
            ("open until", _tables.moment(info.expires_at)),
            ("uploaded", f"{info.instances} of {limits.max_instances} files, {_size(info.bytes)} of "
             f"{_size(limits.max_bytes)}"),
            ("plans", plans or None),
            ("structure sets", ", ".join(info.structure_sets)),
        ]
    )  # fmt: skip


def _size(count_bytes: int) -> str:
    return f"{count_bytes / 1e6:.1f} MB"
