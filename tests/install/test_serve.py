"""`scripts/serve` as a user runs it: it becomes ready, mends itself, plans, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from phantoms import box
from scripts._service.processes import descendants
from tests.system.processes import FRESH, alive, command_name, free_port, wait_for
from tests.system.service import BOX_PROTOCOLS

pytestmark = [pytest.mark.system, pytest.mark.engine]
CHECKOUT = Path(__file__).resolve().parents[2]


class Serve:
    """One `scripts/serve`, without the installing in front of it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.http_port, self.dicom_port = free_port(), free_port()
        self.state, self.log = folder / "state", folder / "serve.log"
        self.options = options
        self.process: subprocess.Popen[bytes]
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.http_port}", timeout=20, trust_env=False, limits=FRESH
        )

    def start(self) -> None:
        ports = ["--http-port", str(self.http_port), "--dicom-port", str(self.dicom_port)]
        command = [sys.executable, "-m", "scripts._service", "--state", str(self.state), *ports, *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                cwd=CHECKOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait_until_ready(self) -> None:
        wait_for(
            lambda: "ready after" in self.said(), "it says ready", within_s=120, describe=self.said, check=self.check
        )

    def check(self) -> None:
        assert self.process.poll() is None, self.said()

    def pid(self, name: str) -> int:
        """Of the one process of that name below it."""
        return wait_for(
            lambda: next((p for p in descendants(self.process.pid) if command_name(p) == name), None), f"{name} runs"
        )


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Serve]:
    serve = Serve(folder, "--protocols", str(BOX_PROTOCOLS), "--threads", "2", *options)
    serve.start()
    yield serve
    left = descendants(serve.process.pid)
    serve.process.send_signal(signal.SIGTERM)
    try:
        assert serve.process.wait(60) == 0, serve.said()
    finally:
        serve.process.kill()
        serve.http.close()
    assert [command_name(p) for p in left if alive(p)] == []


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with serving(tmp_path) as serve:
        yield serve


def test_it_plans_what_arrives_also_after_its_parts_were_killed(serve: Serve, tmp_path: Path) -> None:
    serve.wait_until_ready()
    for name in ("Orthanc", "redis-server"):
        pid = serve.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid, name=name: serve.pid(name) != pid, f"another {name} runs", describe=serve.said)  # type: ignore[misc]
    wait_for(lambda: _ready(serve), "it is ready again", within_s=120, describe=serve.said, check=serve.check)

    study = box(shape=(16, 56, 56), target_mm=24)  # deep enough for the least energy
    subprocess.run(
        ["/usr/bin/storescu", "-aec", "RADIARCH", "127.0.0.1", str(serve.dicom_port)]
        + [str(p) for p in study.save(tmp_path / "study")],
        check=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "TCP_NODELAY": "1"},
    )

    def ended() -> str | None:
        uid = str(study.rtstruct.SOPInstanceUID)
        items = serve.http.get("/radiarch/api/v1/plans", params={"rtstruct_uid": uid}).json()["items"]
        return items[0]["state"] if items and items[0]["ended_at"] else None

    assert wait_for(ended, "the plan has ended", within_s=180, describe=serve.said, check=serve.check) == "succeeded"


def _ready(serve: Serve) -> bool:
    try:
        return bool(serve.http.get("/radiarch/api/v1/info").json().get("ready"))
    except (httpx.TransportError, json.JSONDecodeError):
        return False


def test_it_says_why_the_plugin_cannot_start(tmp_path: Path) -> None:
    configuration = tmp_path / "orthanc.json"
    configuration.write_text(json.dumps({"Radiarch": {"SitePackages": str(tmp_path / "nowhere")}}))
    with serving(tmp_path, "--workers", "0", "--orthanc-config", str(configuration)) as serve:
        says = "not ready after .* s: Radiarch cannot start: ModuleNotFoundError"
        wait_for(lambda: re.search(says, serve.said()), "it says why", describe=serve.said, check=serve.check)


def test_one_state_folder_has_one_service_and_ports_are_asked_for(serve: Serve, tmp_path: Path) -> None:
    wait_for(lambda: (serve.state / "orthanc.json").exists(), "it has claimed its folder")
    second = Serve(tmp_path)
    second.log = tmp_path / "second.log"
    second.start()
    assert second.process.wait(60) == 1
    assert "another service runs on" in second.said()

    wait_for(lambda: serve.http_port in _listening(serve), "Orthanc listens", check=serve.check)
    third = Serve(tmp_path)
    third.state, third.log, third.http_port = tmp_path / "other", tmp_path / "third.log", serve.http_port
    third.start()
    assert third.process.wait(60) == 1
    assert f"port {serve.http_port} for HTTP is in use" in third.said()
    assert "--http-port" in third.said()


def _listening(serve: Serve) -> list[int]:
    try:
        serve.http.get("/system")
    except httpx.TransportError:
        return []
    return [serve.http_port]
