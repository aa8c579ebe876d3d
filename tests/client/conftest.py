"""One Orthanc with Redis for all tests of the client, a phantom in it, and the app in front of it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from radiarch_client import Radiarch, Retry
from radiarch_client.cli._base import run
from radiarch_client.cli._main import root
from radiarch_contract.states import PlanState

from phantoms import PhantomStudy, box
from tests.system.processes import wait_for
from tests.system.service import BOX_PROTOCOLS, Service

from .served import Served, serve

QUICK = Retry(attempts=2, first_pause_s=0.01)


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have a configuration of their own."""
    for name in ("URL", "USER", "PASSWORD", "PASSWORD_FILE", "TOKEN", "TOKEN_FILE", "CA_FILE", "CONFIG"):
        monkeypatch.delenv(f"RADIARCH_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Orthanc with the plugin, and Redis; no worker."""
    with Service(tmp_path_factory.mktemp("real")) as service:
        service.start(workers=0)
        yield service


@dataclass(frozen=True)
class Stored:
    """A phantom that is in Orthanc."""

    study: PhantomStudy
    folder: Path
    rtstruct_uid: str
    rtstruct_orthanc_id: str

    @property
    def study_uid(self) -> str:
        return str(self.study.rtstruct.StudyInstanceUID)


@pytest.fixture(scope="session")
def stored(real: Service, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    study = box(shape=(6, 16, 16), spacing_mm=(8.0, 8.0, 8.0), patient_id="CLIENT-BOX")
    folder = tmp_path_factory.mktemp("phantom")
    study.save(folder)
    uid = str(study.rtstruct.SOPInstanceUID)
    with Radiarch(real.orthanc_url) as client:
        assert client.orthanc.send_folder(folder).ok
        (found,) = client.orthanc.lookup(uid)
    return Stored(study, folder, uid, found.id)


@pytest.fixture(scope="session")
def served(real: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    before = set(threading.enumerate())
    folder = tmp_path_factory.mktemp("served")
    with serve(folder, BOX_PROTOCOLS, real.orthanc_url, real.dicom_port, real.redis) as running:
        yield running
    # those that answered requests end by themselves soon after
    wait_for(
        lambda: not [t for t in set(threading.enumerate()) - before if not t.daemon],
        "no thread is left", within_s=10, describe=lambda: str(threading.enumerate()),
    )  # fmt: skip


@pytest.fixture
def client(served: Served) -> Iterator[Radiarch]:
    with Radiarch(served.url, retry=QUICK) as one:
        yield one


@pytest.fixture
def worker(served: Served, stored: Stored) -> Iterator[None]:
    """Plans everything that is queued."""
    ended = threading.Event()

    def queued(one: Served) -> list[str]:
        return [p.id for p in one.store.plans.page().items if p.state == PlanState.QUEUED]

    def work() -> None:
        while not ended.wait(0.05):
            served.sessions.turn()
            for plan in queued(served):
                served.start(plan)
                served.succeed(plan, dose_orthanc_id=stored.rtstruct_orthanc_id)
            for session in served.live_sessions():
                for plan in queued(served.within(session)):
                    served.plan_in(session, plan)

    def work_or_cancel() -> None:
        try:
            work()
        except BaseException:
            for one in (served, *map(served.within, served.live_sessions())):
                for plan in one.store.plans.page().items:
                    one.store.plans.cancel(plan.id)  # whoever waits for it is told
            raise

    thread = threading.Thread(target=work_or_cancel)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.fixture
def study(tmp_path: Path) -> PhantomStudy:
    made = box(shape=(6, 16, 16), spacing_mm=(8.0, 8.0, 8.0), patient_id="SESSION-BOX")
    made.save(tmp_path / "case")
    (tmp_path / "case" / "notes.txt").write_text("no DICOM")
    return made


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Result]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process."""

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["radiarch", *arguments])
        capsys.readouterr()
        code = run(root)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def radiarch(bare: Command, served: Served, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in this process, with the served app's address in the environment."""
    monkeypatch.setenv("RADIARCH_URL", served.url)
    return bare
