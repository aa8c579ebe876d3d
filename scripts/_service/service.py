"""The service as programs to run: Redis, Orthanc with the plugin, workers; and whether it is ready."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from . import ports
from .errors import ScriptError
from .orthanc import PLUGINS_FOLDER, DicomPeer, OrthancSettings, check_installed, configuration, write_private_json
from .supervisor import Program, Supervisor

CHECKOUT = Path(__file__).resolve().parents[2]
PLUGIN_PATH = "/radiarch/api/v1"


@dataclass(frozen=True)
class ServiceSettings:
    """What `scripts/serve` was asked for."""

    state: Path
    http_port: int
    dicom_port: int
    workers: int = 1
    threads: int | None = None
    protocols: Path = CHECKOUT / "orthanc-config" / "protocols"
    machines: Path = CHECKOUT / "orthanc-config" / "machines"
    calibrations: Path = CHECKOUT / "orthanc-config" / "calibrations"
    aet: str = "RADIARCH"
    remote_access: bool = False
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    dicom_peers: tuple[DicomPeer, ...] = ()
    known_hosts: tuple[str, ...] = ()
    orthanc_extra: Mapping[str, Any] = field(default_factory=dict)


class Service:
    """Redis, Orthanc and workers on one state folder, from ``with`` to its end.

    Redis listens on a socket in a folder of its own that only this user may enter: no port to be found by others.
    """

    def __init__(self, settings: ServiceSettings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.http_port}"
        self._say = say
        self._supervisor = Supervisor(say)
        self._lock: IO[bytes] | None = None
        self._socket_folder: Path | None = None
        self._patient = True

    def __enter__(self) -> Self:
        settings = self.settings
        _check_python_fits()
        check_installed()
        ports.check_free(settings.http_port, "HTTP", "--http-port")
        ports.check_free(settings.dicom_port, "DICOM", "--dicom-port")
        for name in ("protocols", "machines", "calibrations"):
            folder = getattr(settings, name)
            if not folder.is_dir():
                raise ScriptError(f"{folder} is not a folder", remedy=f"Name one with --{name}.")
        self._claim_state()
        try:
            for program in self._programs():
                self._supervisor.start(program)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def step(self) -> None:
        """See `Supervisor.step`."""
        self._supervisor.step()

    def ready(self) -> None:
        self._supervisor.ready()

    def hurry(self) -> None:
        """Make a running or later `stop` kill instead of wait."""
        self._patient = False

    def stop(self) -> None:
        """End everything; nothing is left running."""
        self._supervisor.stop(patient=lambda: self._patient)
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def info(self) -> dict[str, Any] | None:
        """What ``/info`` says, or None while it does not answer."""
        answer = self.get(f"{PLUGIN_PATH}/info")
        return answer if isinstance(answer, dict) else None

    def broken(self) -> str | None:
        """Why the plugin cannot work, in its own words; None where it can, and while nothing answers.

        Where it could not start, that is what it says until Orthanc is started anew.
        """
        status, answer = self._ask(f"{PLUGIN_PATH}/info")
        if status != HTTPStatus.SERVICE_UNAVAILABLE or not isinstance(answer, dict):
            return None
        return str(answer["message"]) if answer.get("code") == "not_ready" else None

    def problems(self, info: Mapping[str, Any] | None) -> str:
        """Why the service is not ready, in its own words."""
        if info is None:
            return self.broken() or "its REST interface does not answer"
        problems = [str(p.get("message")) for p in info.get("problems", [])]
        if not problems and not info.get("workers", {}).get("total"):
            problems = ["no worker has said that it is there"]
        return "; ".join(problems) or "it does not say why"

    def get(self, path: str, *, timeout_s: float = 5.0) -> Any:
        """JSON from Orthanc, or None while it does not answer with success."""
        status, answer = self._ask(path, timeout_s=timeout_s)
        return answer if status is not None and status < HTTPStatus.BAD_REQUEST else None

    def _ask(self, path: str, *, timeout_s: float = 5.0) -> tuple[int | None, Any]:
        """Status and JSON of an answer; None in the place of either that there is not."""
        request = urllib.request.Request(self.url + path, headers=self.authorization())  # noqa: S310 - an http URL
        status: int | None = None
        try:
            with _DIRECT.open(request, timeout=timeout_s) as answer:
                status = answer.status
                return status, json.load(answer)
        except urllib.error.HTTPError as e:
            with e:
                try:
                    return e.code, json.load(e)
                except (OSError, ValueError):
                    return e.code, None
        except (OSError, ValueError):
            return status, None

    def authorization(self) -> dict[str, str]:
        for name, password in self.settings.users.items():
            return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
        return {}

    # -- setting up ------------------------------------------------------------------------------------------------

    def _claim_state(self) -> None:
        state = self.settings.state
        for folder in (state, *(state / name for name in ("orthanc", "redis", "work", "logs"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (state / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScriptError(
                f"another service runs on {state}", remedy="Stop that one first, or name another folder with --state."
            ) from None

    def _programs(self) -> list[Program]:
        settings, state = self.settings, self.settings.state
        self._socket_folder = Path(tempfile.mkdtemp(prefix="radiarch-"))  # a socket's path has 107 characters at most
        socket = self._socket_folder / "redis.sock"
        redis_url = f"unix://{socket}"
        write_private_json(state / "orthanc.json", configuration(self._orthanc_settings(redis_url)))
        env = _child_environment()
        programs = [
            Program("redis", _redis_command(socket, state / "redis"), env, state / "logs" / "redis.log"),
            Program(
                "orthanc",
                ["/usr/sbin/Orthanc", str(state / "orthanc.json")],
                # Nagle's algorithm makes C-STORE ten times slower; arenas as Orthanc's own book advises
                {**env, "TCP_NODELAY": "1", "MALLOC_ARENA_MAX": "5"},
                state / "logs" / "orthanc.log",
                stop_grace_s=20,
            ),
        ]
        for number in range(1, settings.workers + 1):
            programs.append(
                Program(
                    f"worker {number}",
                    [sys.executable, "-m", "radiarch_worker"],
                    {**env, **self._worker_environment(redis_url, number)},
                    state / "logs" / f"worker-{number}.log",
                    stop_grace_s=25,  # it may be storing results, which it ends properly
                )
            )
        return programs

    def _orthanc_settings(self, redis_url: str) -> OrthancSettings:
        settings = self.settings
        return OrthancSettings(
            checkout=CHECKOUT,
            storage=settings.state / "orthanc",
            http_port=settings.http_port,
            dicom_port=settings.dicom_port,
            redis_url=redis_url,
            site_packages=Path(sysconfig.get_path("purelib")),
            protocols=settings.protocols,
            aet=settings.aet,
            remote_access=settings.remote_access,
            users=settings.users,
            dicom_peers=settings.dicom_peers,
            known_hosts=settings.known_hosts,
            extra=settings.orthanc_extra,
        )

    def _worker_environment(self, redis_url: str, number: int) -> dict[str, str]:
        settings = self.settings
        threads = settings.threads or max(1, len(os.sched_getaffinity(0)) // max(1, settings.workers))
        env = {
            "PYTHONPATH": os.pathsep.join(str(CHECKOUT / part) for part in ("contract", "worker")),
            "RADIARCH_REDIS_URL": redis_url,
            "RADIARCH_ORTHANC_URL": self.url,
            "RADIARCH_WORK_DIR": str(settings.state / "work"),
            "RADIARCH_THREADS": str(threads),
            "RADIARCH_WORKER_NAME": f"worker-{number}",
            "RADIARCH_MACHINES_FOLDER": str(settings.machines),
            "RADIARCH_CALIBRATIONS_FOLDER": str(settings.calibrations),
        }
        for name, password in settings.users.items():
            secret = settings.state / "orthanc.password"
            secret.unlink(missing_ok=True)
            secret.touch(mode=0o600)
            secret.write_text(password, encoding="utf-8")
            return env | {"RADIARCH_ORTHANC_USER": name, "RADIARCH_ORTHANC_PASSWORD_FILE": str(secret)}
        return env


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy to this machine


def _redis_command(socket: Path, folder: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    return ["redis-server", *(part for name, value in options.items() for part in (f"--{name}", value))]


def _child_environment() -> dict[str, str]:
    env = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME") and not k.startswith("RADIARCH_")
    }
    return env | {"PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def _check_python_fits() -> None:
    """Compiled packages load only into the Python that they were installed for.

    Raises
    ------
    ScriptError
        This Python is not the one that Orthanc's plugin embeds.
    """
    plugin = PLUGINS_FOLDER / "libOrthancPython.so"
    found = re.search(rb"libpython(3\.\d+)", plugin.read_bytes()) if plugin.exists() else None
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if found is not None and found[1].decode() != here:
        raise ScriptError(
            f"Orthanc's plugin embeds Python {found[1].decode()}, and this environment is Python {here}",
            remedy="Use Debian 12, whose Orthanc and Python fit, or the images (docker-compose.yml).",
        )
