"""The whole service for tests: real Redis, real Orthanc with our plugin, real workers, on private loopback ports.

::

    with Service(folder, protocols=BOX_PROTOCOLS) as service:
        service.start()
        service.send(study.save(folder / "study"))
        plan = service.wait_for_plan(study.rtstruct.SOPInstanceUID, "succeeded")

With ``RADIARCH_ORTHANC_ROOT`` Orthanc runs in that root (a Debian of another release, see `orthanc_command`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import pydicom
import redis
from pydicom.dataset import Dataset
from radiarch_contract import API_PREFIX, transport

from .processes import FRESH, Server, alive, children, command_name, descendants, free_port, processes_in, wait_for

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[2]
BOX_PROTOCOLS = Path(__file__).parent / "protocols"
AET = "RADIARCH"
ENDED = ("succeeded", "failed", "cancelled")

START_S = 300.0
PLAN_S = 240.0
"""Bounds, not expectations: a plan of the box takes some seconds, on a machine with other work some more."""


class Service:
    """Redis, Orthanc and workers in one folder.

    Parameters
    ----------
    folder : empty; everything that the servers write goes into it
    protocols : folder of protocols for the plugin
    orthanc : merged over Orthanc's configuration
    worker_env : more environment for the workers
    redis_keeps : whether Redis has its data after a restart
    """

    def __init__(
        self,
        folder: Path,
        *,
        protocols: Path = BOX_PROTOCOLS,
        orthanc: Mapping[str, Any] | None = None,
        worker_env: Mapping[str, str] | None = None,
        redis_keeps: bool = False,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "redis").mkdir()
        (folder / "orthanc").mkdir()
        self.work_dir = folder / "work"
        self.redis_port, self.http_port, self.dicom_port = free_port(), free_port(), free_port()
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.orthanc_url = f"http://127.0.0.1:{self.http_port}"
        self._worker_env = dict(worker_env or {})
        self.redis_server = Server("redis", _redis_command(self.redis_port, redis_keeps), folder=folder / "redis")
        self._configuration = self._configure(protocols, orthanc or {})
        self.orthanc_server = Server(
            "orthanc", orthanc_command(self._configuration), folder=folder, env={"TCP_NODELAY": "1"}
        )
        self.workers: list[Server] = []
        self.redis = redis.Redis(port=self.redis_port, socket_timeout=5)
        self.http = httpx.Client(
            base_url=self.orthanc_url,
            headers={"Accept-Encoding": "identity"},
            timeout=30,
            trust_env=False,
            limits=FRESH,
        )

    # -- starting and stopping ------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self, *, workers: int = 1) -> None:
        """Start everything and wait until the service says that it is ready (with ``workers=0``: that it answers)."""
        self.start_redis()
        self.orthanc_server.start()
        started = [self.add_worker(wait=False) for _ in range(workers)]
        self.wait_for_orthanc()
        for worker in started:
            self.wait_for_worker(worker)
        if workers:
            self.wait_until_ready()

    def start_redis(self) -> None:
        self.redis_server.start()
        self._wait(lambda: _answers(self.redis), "Redis answers", within_s=START_S, servers=[self.redis_server])

    def start_orthanc(self) -> None:
        self.orthanc_server.start()
        self.wait_for_orthanc()

    def start_orthanc_without_plugin(self) -> None:
        """Orthanc alone on the same storage, as when the plugin is broken; stop it, then `start_orthanc` again."""
        configuration = json.loads(self._configuration.read_text())
        del configuration["PythonScript"]
        alone = self.folder / "orthanc-alone.json"
        alone.write_text(json.dumps(configuration))
        self.orthanc_server.start(orthanc_command(alone))
        self._wait(
            lambda: self._status("/system") == 200,
            "Orthanc answers",
            within_s=START_S,
            servers=[self.orthanc_server],
        )

    def wait_for_orthanc(self) -> None:
        self._wait(
            lambda: self._status("/system") == 200 and self._status(f"{API_PREFIX}/plans") == 200,
            "Orthanc and the plugin answer",
            within_s=START_S,
            servers=[self.orthanc_server],
        )

    def add_worker(self, *, wait: bool = True, env: Mapping[str, str] | None = None) -> Server:
        """Start one more worker."""
        worker = Server(
            f"worker-{len(self.workers) + 1}",
            [sys.executable, "-m", "radiarch_worker"],
            folder=self.folder,
            env={
                "PYTHONPATH": os.pathsep.join(str(CHECKOUT / p) for p in ("contract", "worker")),
                "RADIARCH_REDIS_URL": self.redis_url,
                "RADIARCH_ORTHANC_URL": self.orthanc_url,
                "RADIARCH_WORK_DIR": str(self.work_dir),
                "RADIARCH_PATIENCE_S": "60",
                "RADIARCH_THREADS": "2",
                # what numba compiled is the same for every service; compiling takes longer than a plan
                "NUMBA_CACHE_DIR": str(Path(tempfile.gettempdir()) / f"radiarch-test-numba-{os.getuid()}"),
                **self._worker_env,
                **(env or {}),
            },
        )
        worker.start()
        self.workers.append(worker)
        if wait:
            self.wait_for_worker(worker)
        return worker

    def wait_for_worker(self, worker: Server) -> dict[str, Any]:
        """Until this worker says that its engines run; its status."""
        return self._wait(
            lambda: self.worker_status(worker, "idle", "busy"),
            f"{worker.name} is fit",
            within_s=START_S,
            servers=[worker],
        )

    def wait_until_ready(self) -> dict[str, Any]:
        """Until ``/info`` says that what arrives now is planned."""

        def ready() -> dict[str, Any] | None:
            info: dict[str, Any] = self.api("/info")
            return info if info["ready"] else None

        return self._wait(ready, "the service is ready", within_s=START_S)

    def stop(self) -> None:
        """Stop everything; asserts that nothing is left running."""
        self.http.close()
        failures: list[str] = []
        for server in [*self.workers, self.orthanc_server, self.redis_server]:
            try:
                server.stop()
            except AssertionError as e:
                failures.append(str(e))
        left = processes_in(self.folder)
        for pid, _ in left:
            os.kill(pid, 9)
        self.redis.close()
        if left:
            failures.append(f"still running after the service was stopped: {left}")
        assert not failures, "\n".join(failures)

    # -- DICOM ----------------------------------------------------------------------------------------------------

    def send(self, files: Iterable[Path], *, aet: str = "SENDER") -> None:
        """C-STORE files over one association, in this order."""
        subprocess.run(
            ["/usr/bin/storescu", "-R", "-aet", aet, "-aec", AET, "127.0.0.1", str(self.dicom_port), *map(str, files)],
            check=True,
            capture_output=True,
            timeout=120,
            env={**os.environ, "TCP_NODELAY": "1"},
        )

    def instances(self, query: Mapping[str, str]) -> list[str]:
        """Orthanc's ids of the instances that fit."""
        found = self.http.post("/tools/find", json={"Level": "Instance", "Query": dict(query)}).raise_for_status()
        ids: list[str] = found.json()
        return ids

    def instance(self, orthanc_id: str) -> Dataset:
        return pydicom.dcmread(BytesIO(self.http.get(f"/instances/{orthanc_id}/file").raise_for_status().content))

    def results(self, study_instance_uid: str) -> dict[str, list[Dataset]]:
        """What was planned in a study: RTDOSE and RTPLAN instances by modality."""
        return {
            modality: [
                self.instance(i) for i in self.instances({"StudyInstanceUID": study_instance_uid, "Modality": modality})
            ]
            for modality in ("RTDOSE", "RTPLAN")
        }

    def delete(self, level: str, orthanc_id: str) -> None:
        self.http.delete(f"/{level}/{orthanc_id}").raise_for_status()

    # -- the plugin's REST ----------------------------------------------------------------------------------------

    def api(self, path: str, **query: str) -> Any:
        """GET a route of the plugin; its JSON."""
        response = self.http.get(f"{API_PREFIX}{path}", params=query)
        assert response.status_code == 200, f"GET {path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def plans(self, rtstruct_uid: str) -> list[dict[str, Any]]:
        """Every plan of a structure set, newest first."""
        items: list[dict[str, Any]] = self.api("/plans", rtstruct_uid=rtstruct_uid)["items"]
        return items

    def plan(self, plan_id: str) -> dict[str, Any]:
        view: dict[str, Any] = self.api(f"/plans/{plan_id}")
        return view

    def cancel(self, plan_id: str) -> dict[str, Any]:
        response = self.http.delete(f"{API_PREFIX}/plans/{plan_id}")
        assert response.status_code < 300, f"DELETE: {response.status_code} {response.text[:500]}"
        view: dict[str, Any] = response.json()
        return view

    def log_of(self, plan_id: str) -> str:
        return json.dumps(self.api(f"/jobs/{plan_id}/log"), indent=1)

    def wait_for_plan(self, rtstruct_uid: str, *states: str, within_s: float = PLAN_S) -> dict[str, Any]:
        """Until the newest plan of a structure set is in one of ``states`` (default: exists); everything about it."""

        def newest() -> dict[str, Any] | None:
            plans = self.plans(rtstruct_uid)
            return self.plan(plans[0]["id"]) if plans and (not states or plans[0]["state"] in states) else None

        return self._wait(newest, f"the plan is {' or '.join(states) or 'made'}", within_s=within_s)

    def wait_for_end(self, plan_id: str, *, within_s: float = PLAN_S) -> dict[str, Any]:
        """Until a plan has ended in any way."""

        def ended() -> dict[str, Any] | None:
            plan = self.plan(plan_id)
            return plan if plan["state"] in ENDED else None

        return self._wait(ended, f"plan {plan_id} has ended", within_s=within_s)

    def wait_for_stage(self, plan_id: str, *stages: str, within_s: float = PLAN_S) -> dict[str, Any]:
        """Until a plan runs and is in one of ``stages``."""

        def at_stage() -> dict[str, Any] | None:
            plan = self.plan(plan_id)
            assert plan["state"] not in ENDED, f"it is {plan['state']}: {plan['error']}"
            return plan if plan["state"] == "running" and plan["stage"] in stages else None

        return self._wait(at_stage, f"plan {plan_id} is in {' or '.join(stages)}", within_s=within_s)

    def wait(self, condition: Callable[[], T | None], what: str, *, within_s: float = 60.0) -> T:
        """`processes.wait_for` with the servers' logs in the error."""
        return self._wait(condition, what, within_s=within_s)

    # -- processes ------------------------------------------------------------------------------------------------

    def worker_status(self, worker: Server, *states: str) -> dict[str, Any] | None:
        """What a worker says of itself; None where it says nothing, or is in another state than ``states``."""
        for key in self.redis.scan_iter(transport.worker_key("*")):
            text = self.redis.get(key)
            status: dict[str, Any] = json.loads(text) if isinstance(text, bytes) else {}
            if status.get("pid") == worker.pid and (not states or status["state"] in states):
                return status
        return None

    def job_process(self, worker: Server) -> int | None:
        """Pid of the process of the worker's running job (RQ's horse)."""
        return next((p for p in children(worker.pid) if command_name(p) == "radiarch-job" and alive(p)), None)

    def engine_processes(self, worker: Server) -> list[int]:
        """Pids of the engine processes of the worker's running job."""
        job = self.job_process(worker)
        return [p for p in (descendants(job) if job else []) if command_name(p).startswith("MCsquare") and alive(p)]

    # -- inside ---------------------------------------------------------------------------------------------------

    def _configure(self, protocols: Path, over: Mapping[str, Any]) -> Path:
        radiarch = {
            "SitePackages": site_packages(),
            "RedisUrl": self.redis_url,
            "ProtocolsFolder": str(protocols),
            **over.get("Radiarch", {}),
        }
        configuration = {
            "Name": "radiarch-test",
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": AET,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpCompressionEnabled": False,
            "StorageDirectory": str(self.folder / "orthanc"),
            "IndexDirectory": str(self.folder / "orthanc"),
            "Plugins": [f"/usr/share/orthanc/plugins/libOrthanc{name}.so" for name in ("Python", "DicomWeb")],
            "PythonScript": str(CHECKOUT / "plugin/radiarch_orthanc.py"),
            **over,
            "Radiarch": radiarch,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration, indent=2))
        return path

    def _status(self, path: str) -> int:
        try:
            return self.http.get(path).status_code
        except httpx.TransportError:
            return 0

    def _wait(
        self,
        condition: Callable[[], T | None],
        what: str,
        *,
        within_s: float = 60.0,
        servers: Sequence[Server] | None = None,
    ) -> T:
        def check() -> None:
            for server in servers or ():
                assert server.running, f"{server.name} ended with {server.exit_code}\n{server.tail()}"

        def describe() -> str:
            return "\n".join(s.tail() for s in [self.redis_server, self.orthanc_server, *self.workers])

        return wait_for(condition, what, within_s=within_s, describe=describe, check=check)


def site_packages() -> str:
    """The Python packages for the plugin, as the path that Orthanc sees; they must fit Orthanc's own Python."""
    if named := os.environ.get("RADIARCH_ORTHANC_SITE_PACKAGES"):
        return named
    if root := os.environ.get("RADIARCH_ORTHANC_ROOT"):
        (found,) = Path(root).glob("opt/radiarch/venv/lib/python3*/site-packages")
        return f"/{found.relative_to(root)}"
    return sysconfig.get_paths()["purelib"]


def orthanc_command(configuration: Path) -> list[str]:
    """Start Orthanc here, or in the root that ``RADIARCH_ORTHANC_ROOT`` names.

    There it sees the checkout and the test's folder under the same paths as here, by mounts that end with it
    (in a mount namespace of its own: root is needed). ``RADIARCH_ORTHANC_SITE_PACKAGES`` names the plugin's packages
    as a path inside that root, if they are not in ``/opt/radiarch/venv``.
    """
    root = os.environ.get("RADIARCH_ORTHANC_ROOT")
    if not root:
        return [shutil.which("Orthanc") or "/usr/sbin/Orthanc", str(configuration)]
    script = """
    set -e
    root=$1 config=$2; shift 2
    mount --make-rprivate /
    for folder in "$@"; do mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; done
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    exec chroot "$root" Orthanc "$config"
    """
    folders = [str(CHECKOUT), str(configuration.parent)]
    return ["unshare", "--mount", "sh", "-c", script, "sh", root, str(configuration), *folders]


def _redis_command(port: int, keeps: bool) -> list[str]:
    return [
        "redis-server",
        *("--port", str(port), "--bind", "127.0.0.1", "--save", ""),
        *("--appendonly", "yes" if keeps else "no", "--appendfsync", "always"),
    ]


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
