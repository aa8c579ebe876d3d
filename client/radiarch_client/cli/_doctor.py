"""The doctor command: what is missing or misconfigured, here and on the server, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

import click
import httpx
from radiarch_contract import __version__
from radiarch_contract.errors import ConflictError, ErrorCode, RadiarchError
from radiarch_contract.transport import LOST_AFTER_S
from rich.table import Table
from rich.text import Text

from radiarch_client import Radiarch, _dicom
from radiarch_client.models import Info, OrthancSystem

from ._base import QUICK, Cli, Exit, RadiarchGroup, cell, count


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


_STYLE = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red", Level.UNKNOWN: "dim"}
_OLDEST_ORTHANC = (1, 10)
_LOW_DISK_GB = 5.0
_SLOW_ECHO_S = 0.03
"""A C-ECHO takes 5 ms on one machine, and 40 ms more where Nagle's algorithm waits for a delayed acknowledgement."""


@dataclass(frozen=True)
class Finding:
    """One check's outcome: what was found, and what to do about it."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def register(root: RadiarchGroup) -> None:
    """Add the command."""

    @root.cmd("doctor")
    @click.option("--dicom-host", metavar="HOST", help="Host of the DICOM port; default: the host of --url.")
    @click.option("--dicom-port", type=click.IntRange(1, 65535), help="Default: what Orthanc tells.")
    def doctor(cli: Cli, dicom_host: str | None, dicom_port: int | None) -> int:
        """Check this installation and the server, and say how to mend what is wrong.

        Exit code 0 when nothing is wrong (warnings allowed), 9 otherwise.
        """
        findings: list[Finding] = []
        for finding in examine(cli, dicom_host, dicom_port):
            findings.append(finding)
            if not cli.as_json:
                cli.show(_line(finding))
        wrong = sum(f.level == Level.PROBLEM for f in findings)
        doubtful = sum(f.level == Level.WARNING for f in findings)
        if cli.as_json:
            cli.emit({"ok": wrong == 0, "findings": [asdict(f) for f in findings]})
        else:
            cli.say(
                f"{count(wrong, 'problem')}, {count(doubtful, 'warning')}."
                if wrong or doubtful
                else "Nothing is wrong."
            )
        return Exit.PROBLEMS if wrong else Exit.OK


def examine(cli: Cli, dicom_host: str | None = None, dicom_port: int | None = None) -> Iterator[Finding]:
    """All checks in order; what depends on a part that is missing is left out."""
    yield from _here()
    yield from _settings(cli)
    with Radiarch(settings=cli.settings, timeout_s=min(cli.timeout_s, 10.0), retry=QUICK) as client:
        system = yield from _orthanc(client)
        if system is None:
            return
        info = yield from _service(client)
        if info is not None:
            yield from _parts(info)
            yield from _workers(client, info)
            yield from _protocols(client)
            yield from _sessions(client)
        host = dicom_host or httpx.URL(cli.settings.url).host
        yield from _dicom_port(host, dicom_port or system.dicom_port, system.dicom_aet)


def _here() -> Iterator[Finding]:
    parts = []
    for name in ("httpx", "pydantic", "pynetdicom", "matplotlib"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                "client", Level.WARNING, f"{name} is not installed here", "Install radiarch with its extra 'client'."
            )
    yield Finding("client", Level.OK, f"radiarch {__version__}, Python {platform.python_version()}, {', '.join(parts)}")


def _settings(cli: Cli) -> Iterator[Finding]:
    s = cli.settings
    yield Finding("address", Level.OK, f"{s.url} ({s.source}), authentication: {s.auth_kind}")
    if s.auth_kind != "none" and s.url.startswith("http://") and not s.is_loopback:
        yield Finding(
            "address",
            Level.WARNING,
            "credentials and patients' data travel unencrypted to another machine",
            "Use https:// (Orthanc's SslEnabled, or a reverse proxy).",
        )


def _orthanc(client: Radiarch) -> Generator[Finding, None, OrthancSystem | None]:
    try:
        system = client.orthanc.system()
        loaded = client.orthanc.plugins()
    except RadiarchError as e:
        yield _failed("Orthanc", e)
        return None
    if _version(system.version) < _OLDEST_ORTHANC:
        oldest = ".".join(map(str, _OLDEST_ORTHANC))
        yield Finding(
            "Orthanc",
            Level.PROBLEM,
            f"version {system.version} is too old: the plugin needs {oldest} or newer",
            "Update Orthanc (Debian 12 and later have it).",
        )
    else:
        yield Finding("Orthanc", Level.OK, f"version {system.version}, AE title {system.dicom_aet}")
    if "dicom-web" not in loaded:
        yield Finding(
            "Orthanc",
            Level.WARNING,
            "the DICOMweb plugin is not loaded: OHIF cannot show the results",
            "Install orthanc-dicomweb and name it under Plugins in Orthanc's configuration.",
        )
    if system.overwrite_instances is False:
        yield Finding(
            "Orthanc",
            Level.WARNING,
            "OverwriteInstances is false: a structure set that is sent again, changed, under its old UID is dropped "
            "by Orthanc, and the plan of the old one stays",
            'Set "OverwriteInstances": true in Orthanc\'s configuration.',
        )
    elif system.overwrite_instances is None:
        yield Finding("Orthanc", Level.UNKNOWN, f"version {system.version} does not tell its OverwriteInstances")
    if _compresses(client):
        yield Finding(
            "Orthanc",
            Level.WARNING,
            "answers are compressed: clients that accept it read images about ten times slower",
            'Set "HttpCompressionEnabled": false in Orthanc\'s configuration.',
        )
    return system


def _compresses(client: Radiarch) -> bool:
    s = client.settings
    try:
        answer = httpx.get(
            f"{s.url}/app/explorer.html",
            auth=s.auth(),
            headers={"Accept-Encoding": "gzip, deflate"},
            trust_env=not s.is_loopback,
            verify=ssl.create_default_context(cafile=s.ca_file) if s.ca_file else True,
        )
    except httpx.HTTPError:
        return False
    return bool(answer.headers.get("Content-Encoding", "identity") != "identity")


def _service(client: Radiarch) -> Generator[Finding, None, Info | None]:
    try:
        info = client.info()
    except RadiarchError as e:
        yield _failed("Radiarch", e)
        return None
    if info.version != __version__:
        yield Finding(
            "Radiarch",
            Level.WARNING,
            f"the server is version {info.version}, this client {__version__}",
            "Install the server's version here.",
        )
    if info.ready:
        yield Finding("Radiarch", Level.OK, f"version {info.version}, ready")
    for problem in info.problems:
        yield Finding("Radiarch", Level.PROBLEM, f"{problem.code}: {problem.message}", problem.remedy)
    if not info.ready and not info.problems:
        yield Finding("Radiarch", Level.PROBLEM, "not ready, without a reason", "Look into Orthanc's log.")
    return info


def _parts(info: Info) -> Iterator[Finding]:
    """What the service stands on; what is wrong with it is among its problems."""
    if info.queue is not None:
        q = info.queue
        plans = f"{q.waiting} plans waiting, {q.queued} queued, {q.running} running"
        yield Finding("database", Level.OK, f"answers: {plans}")
        if q.running + q.queued and info.workers is not None and not info.workers.total:
            yield Finding("queue", Level.WARNING, f"{plans}, and nobody to run them", "Start a worker.")
    if not any(p.code == ErrorCode.QUEUE_UNAVAILABLE for p in info.problems):
        yield Finding("Redis", Level.OK, "answers")
    if info.disk is not None:
        free_gb = info.disk.free_bytes / 1e9
        low = free_gb < _LOW_DISK_GB
        yield Finding(
            "disk",
            Level.WARNING if low else Level.OK,
            f"{free_gb:.1f} GB of {info.disk.total_bytes / 1e9:.0f} GB free for Orthanc's storage",
            "Make room: Orthanc cannot store any more when it is full, and plans then fail with disk_full."
            if low
            else "",
        )


def _workers(client: Radiarch, info: Info) -> Iterator[Finding]:
    for name, engine in info.engines.items():
        if engine.available:
            where = f" on {count(engine.workers, 'worker')}" if engine.workers is not None else ""
            yield Finding("engine", Level.OK, f"{name} {engine.version or ''} runs{where}")
        else:
            yield Finding(
                "engine",
                Level.WARNING,
                f"{name} does not run: {engine.reason or 'no reason given'}",
                "Mend it on the worker's machine and restart the worker.",
            )
    if any(p.code == ErrorCode.QUEUE_UNAVAILABLE for p in info.problems):
        return  # workers are known through Redis
    try:
        workers = client.list_workers()
    except RadiarchError as e:
        yield _failed("workers", e)
        return
    now = datetime.now(UTC)
    for w in workers:
        age_s = (now - w.heartbeat_at).total_seconds() if w.heartbeat_at else 0.0
        if abs(age_s) > LOST_AFTER_S:
            # the server lists living workers only
            yield Finding(
                "workers",
                Level.WARNING,
                f"{w.name} is alive, but its heartbeat is {age_s:.0f} s off this machine's clock",
                "Set the clocks (NTP) here and on the worker's machine.",
            )
        if w.version and w.version != info.version:
            yield Finding(
                "workers",
                Level.WARNING,
                f"{w.name} is version {w.version}, the server {info.version}",
                "Install the same version on both.",
            )
    if workers:
        yield Finding(
            "workers",
            Level.OK,
            f"{count(len(workers), 'worker')} alive, {sum(w.state == 'busy' for w in workers)} busy",
        )


def _protocols(client: Radiarch) -> Iterator[Finding]:
    try:
        protocols = client.list_protocols()
    except RadiarchError as e:
        yield _failed("protocols", e)
        return
    enabled = [p.id for p in protocols if p.enabled]
    if enabled:
        yield Finding("protocols", Level.OK, f"{len(enabled)} in use: {', '.join(enabled)}")
    else:
        yield Finding(
            "protocols",
            Level.WARNING,
            "none is in use: nothing is planned automatically",
            "Put YAML files into the folder of protocols (Radiarch.ProtocolsFolder) and restart Orthanc.",
        )


def _sessions(client: Radiarch) -> Iterator[Finding]:
    try:
        client.session(ttl_s=60, label="radiarch doctor").end()
    except ConflictError as e:
        yield Finding("sessions", Level.WARNING, str(e), e.info.remedy)
    except RadiarchError as e:
        off = e.code in (ErrorCode.NOT_FOUND, ErrorCode.NOT_READY)
        yield Finding("sessions", Level.WARNING if off else Level.PROBLEM, str(e), e.info.remedy)
    else:
        yield Finding("sessions", Level.OK, "can be opened: plan --folder works")


def _dicom_port(host: str, port: int | None, aet: str | None) -> Iterator[Finding]:
    if port is None or aet is None:
        yield Finding("DICOM", Level.UNKNOWN, "Orthanc does not tell its DICOM port")
        return
    try:
        echo = _dicom.echo(host, port, aet)
    except RadiarchError as e:
        yield _failed("DICOM", e)
        return
    took = f"C-ECHO with {host}:{port} as {aet} takes {echo.best_s * 1e3:.0f} ms"
    with socket.socket() as probe:
        start = time.perf_counter()
        probe.settimeout(5)
        probe.connect((host, port))
        network_s = time.perf_counter() - start
    if echo.best_s - network_s < _SLOW_ECHO_S:
        yield Finding("DICOM", Level.OK, took)
    else:
        yield Finding(
            "DICOM",
            Level.WARNING,
            f"{took}, the network only {network_s * 1e3:.0f} ms: every stored object waits that long",
            "Start Orthanc with TCP_NODELAY=1 in its environment (scripts/serve does).",
        )


def _failed(check: str, error: RadiarchError) -> Finding:
    remedy = error.info.remedy.replace(" 'radiarch doctor' looks further.", "").replace(" ('radiarch doctor')", "")
    return Finding(check, Level.PROBLEM, str(error), remedy)


def _version(text: str) -> tuple[int, ...]:
    """1.12.4 as numbers; what is no number ("mainline") is newer than any."""
    parts = text.split(".")
    return tuple(map(int, parts)) if all(p.isdecimal() for p in parts) else (1_000,)


def _line(finding: Finding) -> Table:
    grid = Table(show_header=False, box=None, pad_edge=False)
    grid.add_column(width=8)
    grid.add_column(width=9)
    grid.add_column(overflow="fold")
    text = cell(finding.found)
    if finding.remedy:
        text.append_text(Text.assemble("\n", ("What to do: ", "bold"), cell(finding.remedy)))
    grid.add_row(Text(finding.level.value, style=_STYLE[finding.level]), cell(finding.check), text)
    return grid
