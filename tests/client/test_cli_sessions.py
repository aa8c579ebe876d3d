"""Commands that leave nothing in Orthanc: `plan --folder` and `session`; and those about others' doses and plans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from radiarch_client import Radiarch, Session
from radiarch_client.cli._base import Exit
from radiarch_client.models import SessionInfo

from phantoms import PhantomStudy
from tests.system.processes import wait_for
from tests.system.service import CHECKOUT

from .conftest import Command, Stored
from .served import Served

pytestmark = pytest.mark.slow


def in_orthanc(client: Radiarch) -> list[str | None]:
    return [r.tag("PatientID") for r in client.orthanc.patients()]


@pytest.fixture
def case(study: PhantomStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RADIARCH_SESSION", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "case"


def test_a_folder_is_planned_and_nothing_stays(
    radiarch: Command,
    client: Radiarch,
    served: Served,
    worker: None,
    case: Path,
) -> None:
    before = in_orthanc(client)
    result = radiarch("plan", "--folder", str(case), "--protocol", "test-box", "--to", "out")
    assert result.code == Exit.OK, result.err
    assert "out/rtdose.dcm" in result.out
    assert "96.50 % met" in result.out
    assert "Nothing of it is in Orthanc" in result.err
    assert Path("out/rtdose.dcm").read_bytes()[128:132] == b"DICM"
    assert in_orthanc(client) == before
    assert served.live_sessions() == []


def test_a_folder_is_not_planned_where_its_results_could_not_be_written(
    radiarch: Command, served: Served, case: Path
) -> None:
    Path("out").mkdir()
    Path("out/report.pdf").write_bytes(b"of another plan")
    result = radiarch("plan", "--folder", str(case), "--protocol", "test-box", "--to", "out")
    assert result.code == Exit.CONFLICT
    assert "out/report.pdf" in result.err
    assert [p.name for p in Path("out").iterdir()] == ["report.pdf"]
    assert served.live_sessions() == []


def test_a_folder_is_planned_for_a_script(
    radiarch: Command,
    client: Radiarch,
    worker: None,
    case: Path,
) -> None:
    last = radiarch("plan", "--folder", str(case), "--protocol", "test-box", "--json").lines[-1]
    assert last["state"] == "succeeded"
    assert [Path(f).name for f in last["files"]] == ["rtdose.dcm"]
    assert last["kept"] == []
    assert last["id"] not in {p.id for p in client.list_plans()}


def test_a_folder_that_is_refused_leaves_no_session(
    radiarch: Command,
    served: Served,
    case: Path,
) -> None:
    result = radiarch("plan", "--folder", str(case), "--protocol", "no-such", "--json")
    assert result.code in (Exit.REFUSED, Exit.NOT_FOUND)
    assert result.json["error"]["code"] == "unknown_protocol"
    assert served.live_sessions() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_leaves_no_session(served: Served, case: Path, number: int) -> None:
    # whoever runs the tests in the background may have them ignore signals, which programs inherit
    command = ["env", "--default-signal=INT,TERM,HUP", sys.executable, "-m", "radiarch_client"]
    command += ["plan", "--folder", str(case), "--protocol", "test-box"]
    path = os.pathsep.join(str(CHECKOUT / p) for p in ("contract", "client"))
    env = {**os.environ, "PYTHONPATH": path, "RADIARCH_URL": served.url}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        wait_for(lambda: any(s.store.plans.page().items for s in served.live_sessions()), "it is planned", within_s=60)
        running.send_signal(number)
        try:
            assert running.wait(60) == Exit.INTERRUPTED
        finally:
            running.kill()
    assert served.live_sessions() == []


def test_a_command_that_is_killed_leaves_a_session_for_minutes(
    radiarch: Command, served: Served, worker: None, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session is prolonged while it waits, by far less than a session lives otherwise."""
    asked: list[float] = []
    prolong = Session.prolong

    def noting(self: Session, ttl_s: float) -> SessionInfo:
        asked.append(ttl_s)
        return prolong(self, ttl_s)

    monkeypatch.setattr(Session, "prolong", noting)
    monkeypatch.setattr("radiarch_client.cli._session._LEASE_S", 6.0)
    plan_in = served.plan_in
    monkeypatch.setattr(type(served), "plan_in", lambda _, s, p: plan_in(s, p) if len(asked) > 1 else b"")
    assert radiarch("plan", "--folder", str(case), "--protocol", "test-box").code == Exit.OK
    assert len(asked) > 1
    assert set(asked) == {6.0}


def test_a_session_of_ones_own(
    radiarch: Command,
    client: Radiarch,
    served: Served,
    worker: None,
    case: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = radiarch("session", "open", str(case), "--ttl", "600", "--label", "mine")
    name, _, access = opened.out.strip().removeprefix("export ").partition("=")
    assert name == "RADIARCH_SESSION"
    monkeypatch.setenv(name, access)
    planned = radiarch("plan", "--protocol", "test-box", "--watch", "--json").lines[-1]
    assert planned["state"] == "succeeded"
    assert radiarch("list", "--json").json["items"][0]["id"] == planned["id"]
    assert radiarch("show", "last", "--json").json["id"] == planned["id"]
    assert "Organ" in radiarch("dvh", "last").out
    shown = radiarch("session", "show").out
    assert "mine" in shown
    assert planned["id"] in shown
    assert radiarch("session", "add", str(case), "--json").json["stored"] == 0
    assert radiarch("plan", "--study", "1.2", "--protocol", "test-box").code == Exit.USAGE
    assert radiarch("session", "prolong", "60", "--json").json["label"] == "mine"
    assert radiarch("session", "end").code == Exit.OK
    assert served.live_sessions() == []
    assert radiarch("session", "show").code == Exit.NOT_FOUND
    monkeypatch.delenv(name)
    assert radiarch("show", planned["id"]).code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "1.2", "--folder", "case", "--protocol", "test-box"),
        ("plan", "1.2", "--to", "out"),
        ("session", "show"),
        ("evaluate", "1.2", "--dose", "60"),
        ("evaluate", "1.2", "--gamma", "3"),
        ("recalculate", "1.2", "--gamma", "3/3/other"),
    ],
)
def test_wrong_command_lines(radiarch: Command, case: Path, arguments: tuple[str, ...]) -> None:
    result = radiarch(*arguments)
    assert result.code == Exit.USAGE
    assert "Error:" in result.err


def test_a_wrong_session_is_told(
    radiarch: Command,
    case: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RADIARCH_SESSION", "nonsense")
    assert radiarch("list").code == Exit.USAGE
    monkeypatch.setenv("RADIARCH_SESSION", "a" * 32 + ":guess")
    assert radiarch("list").code == Exit.NOT_FOUND
    assert radiarch("session", "end").code == Exit.NOT_FOUND


def test_checks_of_what_is_not_there_are_refused(radiarch: Command, stored: Stored) -> None:
    for command in ("evaluate", "recalculate"):
        missing = radiarch(command, "1.2.3", "--json")
        assert missing.code == Exit.NOT_FOUND
        assert missing.json["error"]["code"] == "not_found"
        other = radiarch(command, stored.rtstruct_uid, "--json")
        assert other.code == Exit.REFUSED
        assert other.json["error"]["code"].startswith("unreadable_rt")
