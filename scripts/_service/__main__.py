"""`scripts/serve`: the whole service in the foreground, until a signal."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from .errors import ScriptError
from .orthanc import DicomPeer, read_json
from .processes import adopt_orphans
from .service import CHECKOUT, Service, ServiceSettings

VIEWER = CHECKOUT / "ohif" / "node_modules" / "@ohif" / "app"
_CHECK_S = 0.1
_INFO_S = 0.3
_WARN_AFTER_S, _WARN_AGAIN_S = 15.0, 60.0


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return run(_settings(options))
    except ScriptError as e:
        print(f"scripts/serve: {e}\n  {e.remedy}", file=sys.stderr)
        return 1


def run(settings: ServiceSettings) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; a second signal does not wait any more."""
    signals = 0
    service = Service(settings, _say)

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            service.hurry()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    adopt_orphans()
    with service:
        _say(f"starting in {settings.state}")
        watch = _Readiness(service)
        while not signals:
            service.step()
            watch.step()
            time.sleep(_CHECK_S)
        _say("stopping")
    _say("stopped")
    return 0


class _Readiness:
    """Says so when the service becomes ready, and why not when that takes long."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._since = time.monotonic()
        self._warn_at = self._since + _WARN_AFTER_S
        self._asked_at = 0.0
        self._said = ""
        self._done = False

    def step(self) -> None:
        now = time.monotonic()
        if self._done or now - self._asked_at < _INFO_S:
            return
        self._asked_at = now
        info = self._service.info()
        if info is not None and info.get("ready") is True:
            self._done = True
            self._service.ready()
            settings = self._service.settings
            _say(f"ready after {now - self._since:.1f} s")
            for line in addresses(settings):
                _say("  " + line)
            return
        broken = self._service.broken() if info is None else None
        if now > self._warn_at or (broken is not None and broken != self._said):
            self._warn_at = now + _WARN_AGAIN_S
            self._said = broken or ""
            why = self._service.problems(info)
            _say(f"not ready after {now - self._since:.0f} s: {why} (logs: {self._service.settings.state / 'logs'})")


def addresses(settings: ServiceSettings) -> list[str]:
    """Where the service is found, one line each."""
    base = f"http://127.0.0.1:{settings.http_port}"
    senders = "from the given peers only" if settings.dicom_peers else "any AE title; keep the port behind a firewall"
    viewer = f"   viewer: {base}/ohif/" if VIEWER.is_dir() else ""
    return [
        f"Look at {base}/radiarch/ui/{viewer}",
        f"DICOM   {settings.aet}@127.0.0.1:{settings.dicom_port}  ({senders})",
        f"REST    {base}/radiarch/api/v1/info   documentation: {base}/radiarch/api/docs",
        f"Orthanc {base}/app/explorer.html   logs: {settings.state / 'logs'}",
        f"Command RADIARCH_URL={base} {CHECKOUT / '.venv' / 'bin' / 'radiarch'} --help",
    ]


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/serve", description="Run Orthanc with Radiarch, Redis and workers in the foreground."
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of everything that is kept; made if missing")
    parser.add_argument("--http-port", type=_port, required=True, help="REST, DICOMweb and pages")
    parser.add_argument("--dicom-port", type=_port, required=True, help="C-STORE")
    parser.add_argument(
        "--workers", type=int, default=1, help="how many plans run at once (default 1; 0: workers elsewhere)"
    )
    parser.add_argument("--threads", type=int, help="cores for one plan (default: all cores shared among the workers)")
    for name in ("protocols", "machines", "calibrations"):
        parser.add_argument(f"--{name}", type=Path, default=CHECKOUT / "orthanc-config" / name, help="folder")
    parser.add_argument("--aet", default="RADIARCH", help="Orthanc's AE title")
    parser.add_argument(
        "--dicom-peer",
        type=_peer,
        action="append",
        default=[],
        metavar="AET@HOST[:PORT]",
        help="node that may send, others are refused; may be repeated (default: anyone who reaches the port)",
    )
    parser.add_argument("--remote", action="store_true", help="let other machines use REST; needs --users-file")
    parser.add_argument("--users-file", type=Path, help='JSON, user names and passwords: {"name": "password"}')
    parser.add_argument(
        "--known-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name by which other machines ask for REST and pages, or https://name of a proxy in front; may be repeated"
        " (default with --remote: this machine's name)",
    )
    parser.add_argument("--orthanc-config", type=Path, help="JSON that is merged into Orthanc's configuration")
    return parser


def _settings(options: argparse.Namespace) -> ServiceSettings:
    users = read_json(options.users_file) if options.users_file else {}
    if not all(isinstance(v, str) and v for v in users.values()):
        raise ScriptError("the users file has an empty password", remedy='Write { "name": "password" }.')
    if options.workers < 0 or options.workers > 64 or (options.threads is not None and options.threads < 1):
        raise ScriptError("--workers or --threads is out of range", remedy="Use 0 to 64 workers and 1 or more threads.")
    if not 1 <= len(options.aet) <= 16:
        raise ScriptError("--aet is not 1 to 16 characters long", remedy="Give a shorter AE title.")
    return ServiceSettings(
        state=options.state.absolute(),
        http_port=options.http_port,
        dicom_port=options.dicom_port,
        workers=options.workers,
        threads=options.threads,
        protocols=options.protocols.absolute(),
        machines=options.machines.absolute(),
        calibrations=options.calibrations.absolute(),
        aet=options.aet,
        remote_access=options.remote,
        users=users,
        dicom_peers=tuple(options.dicom_peer),
        known_hosts=tuple(options.known_host or ([socket.gethostname()] if options.remote else [])),
        orthanc_extra=read_json(options.orthanc_config) if options.orthanc_config else {},
    )


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return port


def _peer(text: str) -> DicomPeer:
    aet, at, address = text.partition("@")
    host, colon, port = address.partition(":")
    if not (at and host and 1 <= len(aet) <= 16):
        raise argparse.ArgumentTypeError("expected AET@HOST or AET@HOST:PORT")
    return DicomPeer(aet, host, _port(port) if colon else 104)


if __name__ == "__main__":
    sys.exit(main())
