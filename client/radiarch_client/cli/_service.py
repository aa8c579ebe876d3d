"""Commands about the service: info, workflows, protocols, arrivals, workers, completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class
from radiarch_contract.errors import ErrorCode
from radiarch_contract.states import ArrivalState
from rich.text import Text

from radiarch_client.models import Info

from . import _tables
from ._base import Cli, Exit, RadiarchGroup, table

if TYPE_CHECKING:
    from radiarch_contract.protocol_file import LoadedProtocol, Problem

_GOOD, _BAD = Text("yes", style="green"), Text("no", style="red")


def register(root: RadiarchGroup) -> None:
    """Add the commands."""

    @root.cmd("info")
    def info(cli: Cli) -> None:
        """What the server is, and whether it can work now."""
        answer = cli.client.info()
        if cli.as_json:
            cli.emit(answer)
        else:
            cli.show(*_info(answer))

    @root.cmd("workflows")
    @click.argument("workflow", required=False)
    def workflows(cli: Cli, workflow: str | None) -> None:
        """Ways of planning; with an id, its parameters and their defaults."""
        if workflow is None:
            found = cli.client.list_workflows()
            if cli.as_json:
                cli.emit({"items": found})
            else:
                cli.show(table("workflow", "modality", "title", rows=((w.id, w.modality, w.title) for w in found)))
            return
        one = cli.client.get_workflow(workflow)
        if cli.as_json:
            cli.emit(one)
        else:
            cli.show(f"{one.title}\n{one.description}\n", _parameters(one.parameters, one.defaults))

    @root.cmd("arrivals")
    @click.option("--state", type=click.Choice([s.value for s in ArrivalState]))
    @click.option("-n", "--limit", default=50, type=click.IntRange(0), show_default=True, help="0: all.")
    def arrivals(cli: Cli, state: str | None, limit: int) -> None:
        """Every RTSTRUCT that was seen, and what became of it."""
        found = list(islice(cli.client.list_arrivals(state=state), limit or None))
        if cli.as_json:
            cli.emit({"items": found})
            return
        rows = (
            (
                _tables.moment(a.first_seen_at),
                a.state,
                a.patient_id,
                a.sop_instance_uid,
                a.plan_id
                or (f"{a.missing_instances} images missing" if a.missing_instances else None)
                or (f"{a.error.code}: {a.error.message}" if a.error else None),
            )
            for a in found
        )
        cli.show(table("seen", "state", "patient", "RTSTRUCT", "plan, or why not", rows=rows, whole=("RTSTRUCT",)))

    @root.cmd("workers")
    def workers(cli: Cli) -> None:
        """Workers, what each is doing and which engines it can run."""
        found = cli.client.list_workers()
        if cli.as_json:
            cli.emit({"items": found})
            return
        rows = (
            (
                w.name,
                w.host,
                w.version,
                w.state,
                w.plan_id,
                _tables.ago(w.heartbeat_at),
                ", ".join(name for name, e in w.engines.items() if e.available),
            )
            for w in found
        )
        columns = ("worker", "host", "version", "state", "plan", "heartbeat", "engines")
        cli.show(table(*columns, rows=rows, whole=("plan",)))

    @root.cmd("completion")
    @click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "powershell"]))
    def completion(_: Cli, shell: str) -> None:
        """Print the script that makes SHELL complete this command.

        For bash: radiarch completion bash > ~/.local/share/bash-completion/completions/radiarch
        """
        cls = get_completion_class(shell)
        if cls is None:
            raise click.UsageError(f"no completion for {shell}")
        click.echo(cls(root, {}, "radiarch", "_RADIARCH_COMPLETE").source())

    _protocols(root)


def _protocols(root: RadiarchGroup) -> None:
    protocols = RadiarchGroup("protocols", help="What is planned automatically.")
    root.add_command(protocols)

    @protocols.cmd("list")
    def list_protocols(cli: Cli) -> None:
        """Protocols that the server uses, in the order in which they are tried."""
        found = cli.client.list_protocols()
        if cli.as_json:
            cli.emit({"items": found})
            return
        rows = (
            (
                p.id,
                p.priority,
                "yes" if p.enabled else "no",
                p.workflow,
                f"{rx.dose_gy:g} Gy in {rx.fractions} to {rx.target}" if (rx := p.prescription) else "–",
                p.title,
            )
            for p in found
        )
        columns = ("protocol", "priority", "enabled", "workflow", "prescription", "title")
        cli.show(table(*columns, rows=rows, right=("priority",)))
        for problem in cli.client.info().problems:
            if problem.code == ErrorCode.INVALID_PROTOCOL:
                cli.say(f"Not in use: {problem.message}. {problem.remedy}")

    @protocols.cmd("show")
    @click.argument("protocol")
    def show(cli: Cli, protocol: str) -> None:
        """One protocol, whole, as YAML (or JSON)."""
        one = cli.client.get_protocol(protocol)
        if cli.as_json:
            cli.emit(one)
            return
        import yaml

        value = one.model_dump(mode="json", exclude_none=True, exclude={"file", "sha256"})
        cli.show(f"# {one.file}, sha256 {one.sha256}")
        # escapes what a terminal would obey; a reader of YAML gets the same text back
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110), nl=False)

    @protocols.cmd("check")
    @click.argument("folder", type=click.Path(exists=True, path_type=Path))
    def check(cli: Cli, folder: Path) -> int:
        """Check protocols without a server: a folder of YAML files, or one file.

        Every mistake is named with file, line and field, and objectives and goals on structures that are nowhere
        defined; the exit code is then 9. The schema is that of this installation: it should be of the server's version.
        """
        loaded, problems = _checked(folder)
        found = [{"id": p.protocol.id, "file": p.file, "sha256": p.sha256} for p in loaded]
        wrong = {p.file for p in problems}
        if cli.as_json:
            cli.emit({"ok": not problems, "protocols": found, "problems": [asdict(p) for p in problems]})
        elif found or problems:
            cli.show(
                *map(str, problems), *(f"{p['file']}: {p['id']} is right" for p in found if p["file"] not in wrong)
            )
        else:
            cli.say(f"{folder} has no *.yaml file: nothing would be planned automatically.")
        if problems and not cli.as_json:
            cli.say("Correct what is named; docs/protocols.md describes the fields.")
        return Exit.PROBLEMS if problems else Exit.OK


def _checked(folder: Path) -> tuple[Sequence[LoadedProtocol], Sequence[Problem]]:
    """Protocols of a folder, or of one file, that can be used, every mistake in the others, and undefined names."""
    from radiarch_contract.protocol_file import InvalidProtocolsError, read_folder, read_protocol, undefined_in

    loaded: Sequence[LoadedProtocol] = ()
    problems: Sequence[Problem] = ()
    if folder.is_file():
        try:
            loaded = [read_protocol(folder)]
        except InvalidProtocolsError as e:
            problems = e.problems
        parent = folder.parent
    else:
        read = read_folder(folder)
        loaded, problems, parent = read.loaded, read.problems, folder
    return loaded, [*problems, *(u for p in loaded for u in undefined_in(parent / p.file, p.protocol))]


def _info(info: Info) -> list[Any]:
    orthanc = info.orthanc
    q = info.queue
    workers = info.workers
    parts: list[Any] = [
        _tables.facts(
            [
                ("service", f"{info.name} {info.version}"),
                ("ready", _GOOD if info.ready else _BAD),
                ("Orthanc", f"{orthanc.version}, AE title {orthanc.dicom_aet}" if orthanc else None),
                ("workers", f"{workers.total}, {workers.busy} busy" if workers else None),
                (
                    "queue",
                    f"{q.waiting} waiting, {q.queued} queued, {q.running} running" if q else None,
                ),
                ("disk", f"{info.disk.free_bytes / 1e9:.1f} GB free" if info.disk else None),
                ("protocols", info.protocols),
                ("workflows", ", ".join(info.workflows)),
            ]
        )
    ]
    if info.engines:
        rows = ((n, _GOOD if e.available else _BAD, e.version, e.reason) for n, e in info.engines.items())
        parts += ["", table("engine", "runs", "version", "reason", rows=rows)]
    for problem in info.problems:
        parts += ["", f"Problem: {problem.message}\nWhat to do: {problem.remedy}"]
    return parts


def _parameters(schema: dict[str, Any], defaults: dict[str, Any]) -> Any:
    properties: dict[str, Any] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    rows = (
        (
            name,
            "required" if name in required else defaults.get(name),
            _range(p),
            p.get("description", ""),
        )
        for name, p in properties.items()
        if isinstance(p, dict)
    )
    return table("parameter", "default", "range", "what", rows=rows)


def _range(schema: dict[str, Any]) -> str | None:
    for option in (schema, *schema.get("anyOf", ())):
        low, high = option.get("minimum", option.get("exclusiveMinimum")), option.get("maximum")
        if low is not None or high is not None:
            return f"{'' if low is None else low} … {'' if high is None else high}"
        if "enum" in option:
            return ", ".join(map(str, option["enum"]))
    return None
