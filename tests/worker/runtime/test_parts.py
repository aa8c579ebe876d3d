"""Settings, folders, log and remembered durations: each alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import RadiarchError
from radiarch_contract.states import Stage
from radiarch_contract.transport import MAX_LOG_LINE_CHARS, MAX_LOG_LINES
from radiarch_worker.runtime import process
from radiarch_worker.runtime.durations import Expected, expected, remember
from radiarch_worker.runtime.folders import WorkFolder
from radiarch_worker.runtime.log import AttemptLog
from radiarch_worker.runtime.progress import TYPICAL_S_PER_UNIT
from radiarch_worker.settings import Settings

from tests.system.processes import alive, wait_for

# -- settings -------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pass word\n")
    settings = Settings.from_env(
        {
            "RADIARCH_REDIS_URL": "redis://:hidden@example/1",
            "RADIARCH_ORTHANC_URL": "https://pacs.example/orthanc/",
            "RADIARCH_ORTHANC_USER": "worker",
            "RADIARCH_ORTHANC_PASSWORD_FILE": str(secret),
            "RADIARCH_WORK_DIR": str(tmp_path),
            "RADIARCH_THREADS": "3",
        }
    )
    assert settings.orthanc_url == "https://pacs.example/orthanc"
    assert settings.orthanc_password == "pass word"
    assert settings.threads == 3
    assert "pass word" not in repr(settings)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RADIARCH_THREADS", "many"),
        ("RADIARCH_THREADS", "0"),
        ("RADIARCH_PATIENCE_S", "-1"),
        ("RADIARCH_JOB_LIMIT_S", "nan"),
        ("RADIARCH_ORTHANC_URL", "file:///etc/passwd"),
        ("RADIARCH_ORTHANC_URL", "http://user:password@host/"),
        ("RADIARCH_ORTHANC_PASSWORD_FILE", "/nowhere/at/all"),
    ],
)
def test_a_setting_that_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(RadiarchError, match=name):
        Settings.from_env({name: value})


def test_two_workers_of_one_name_are_told_apart() -> None:
    env = {"RADIARCH_WORKER_NAME": "planner/1"}
    names = {Settings.from_env(env).name for _ in range(10)}
    assert len(names) == 10
    assert all(n.startswith("planner-1-") for n in names)


def test_wrong_settings_end_the_command_with_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "radiarch_worker"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RADIARCH_THREADS": "x"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "RADIARCH_THREADS" in done.stderr
    assert "Traceback" not in done.stderr


# -- folders --------------------------------------------------------------------------------------------------------


def test_a_jobs_folder_is_private_empty_and_gone_afterwards(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "work", "me")
    folder.claim()
    with folder.job("a-1") as path:
        assert path.stat().st_mode & 0o077 == 0
        assert sorted(p.name for p in path.iterdir()) == ["home", "tmp", "work"]
        (path / "home" / "left").write_text("x")
    assert not path.exists()
    folder.release()
    assert not list((tmp_path / "work" / "workers").iterdir())


def test_only_folders_of_dead_workers_are_swept(tmp_path: Path) -> None:
    alive_one = WorkFolder(tmp_path, "alive")
    alive_one.claim()
    with alive_one.job("a-1") as kept:
        dead = tmp_path / "workers" / "dead" / "b-1"
        dead.mkdir(parents=True)
        (tmp_path / "workers" / "dead.lock").touch()
        starting = WorkFolder(tmp_path, "starting")
        starting.claim()
        assert not dead.parent.exists()
        assert kept.exists()
        starting.release()
    alive_one.release()


def test_a_prepared_or_open_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "workers").symlink_to(tmp_path / "target")
    with pytest.raises(RadiarchError, match="work folder"):
        WorkFolder(tmp_path, "me")
    (tmp_path / "workers").unlink()
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers").chmod(0o777)
    with pytest.raises(RadiarchError, match="work folder"):
        WorkFolder(tmp_path, "me")


# -- log ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.binary(max_size=2000), max_size=30))
def test_any_output_becomes_bounded_single_lines(chunks: list[bytes]) -> None:
    log = AttemptLog()
    for chunk in chunks:
        log.output(chunk)
    log.flush()
    for line in log.lines:
        assert len(line) <= MAX_LOG_LINE_CHARS
        assert len(line.splitlines()) == 1
        assert line.isprintable() or "\t" in line or not line.isascii()


def test_an_engine_cannot_fill_the_log_so_that_the_job_has_no_word() -> None:
    log = AttemptLog()
    log.output(b"x\n" * (2 * MAX_LOG_LINES))
    log.add("the last word")
    assert log.lines[-1].endswith("the last word")
    for _ in range(MAX_LOG_LINES):
        log.add("and again")
    assert len(log.lines) <= MAX_LOG_LINES + 1
    assert sum("log is full" in line for line in log.lines) == 1


def test_private_words_are_taken_out_as_words() -> None:
    log = AttemptLog()
    log.private(["Dose", "Doe^Jane", "Jane", "J"])
    log.add("Doe^Jane: dose of jane is 3 J, Doses stay")
    assert log.lines[0].endswith("[patient]: [patient] of [patient] is 3 J, Doses stay")


def test_a_progress_bar_is_one_line() -> None:
    log = AttemptLog()
    log.output(b"10 %\r20 %\r30 %\ndone\r\n")
    assert [line.rpartition("] ")[2] for line in log.lines] == ["30 %", "done"]


# -- durations ------------------------------------------------------------------------------------------------------


def test_durations_are_remembered_by_workflow_and_losing_them_is_nothing(tmp_path: Path) -> None:
    assert expected(tmp_path, "w") == Expected()
    remember(tmp_path, "w", dict.fromkeys(Stage, 10.0), {Stage.FINAL_DOSE: 2.0, Stage.COMPUTING_BEAMLETS: 0.0})
    first = expected(tmp_path, "w")
    assert first.stages_s == dict.fromkeys(Stage, 10.0)
    assert first.s_per_unit == {**TYPICAL_S_PER_UNIT, Stage.FINAL_DOSE: 5.0}
    remember(tmp_path, "w", dict.fromkeys(Stage, 20.0), {Stage.FINAL_DOSE: 2.0})
    later = expected(tmp_path, "w")
    assert all(10.0 < v < 20.0 for v in later.stages_s.values())
    assert 5.0 < later.s_per_unit[Stage.FINAL_DOSE] < 10.0
    assert not expected(tmp_path, "../w").measured
    (tmp_path / "durations" / "w.json").write_text(json.dumps({s.value: 7.0 for s in Stage}))  # by version 0.1.0
    assert expected(tmp_path, "w") == Expected(dict.fromkeys(Stage, 7.0), TYPICAL_S_PER_UNIT, measured=True)
    (tmp_path / "durations" / "w.json").write_text("{")
    assert expected(tmp_path, "w") == Expected()


# -- processes ------------------------------------------------------------------------------------------------------


def test_a_process_that_hides_is_found_by_its_mark_and_ended(tmp_path: Path) -> None:
    mark = f"test/{os.urandom(4).hex()}"
    hidden = subprocess.Popen(
        ["sleep", "600"], env={**os.environ, process.MARK: mark}, start_new_session=True, stdin=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: process.members(None, mark), "it carries its mark")
        assert process.end(None, mark) == 1
        assert not alive(hidden.pid)
        assert process.end(None, mark) == 0
    finally:
        hidden.kill()
        hidden.wait()


def test_a_child_that_raises_says_so_and_ends_with_1(tmp_path: Path) -> None:
    def target(sock: socket.socket) -> None:
        raise KeyError("what it was")

    child = process.start(target, mark="test/raises", env={}, folder=tmp_path)
    _, status = os.waitpid(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert b"what it was" in os.read(child.output_fd, 1 << 16)
    child.close()
