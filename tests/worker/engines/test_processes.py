"""Engine processes: failures are named, others are stopped, and nothing outlives the job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_worker.engines.processes import Command, run_all


def command(folder: Path, *argv: str) -> Command:
    return Command(" ".join(argv), argv, folder, {"PATH": os.environ["PATH"]})


def run(commands: list[Command], threads: int = 2, timeout_s: float = 60.0) -> tuple[list[str], list[str]]:
    lines: list[str] = []
    done: list[str] = []
    run_all(
        commands,
        threads=threads,
        on_line=lambda c, line: lines.append(line),
        on_done=lambda c: done.append(c.name),
        timeout_s=timeout_s,
    )
    return lines, done


def no_terminals() -> tuple[int, int]:
    raise OSError("out of pty devices")


@pytest.mark.parametrize("terminals", [True, False])
def test_every_command_runs_in_its_folder_and_its_lines_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminals: bool
) -> None:
    if not terminals:  # a chroot without /dev/pts
        monkeypatch.setattr(os, "openpty", no_terminals)
    folders = [tmp_path / str(i) for i in range(5)]
    for folder in folders:
        folder.mkdir()
    lines, done = run([command(f, "sh", "-c", "basename $PWD; echo end >&2") for f in folders])
    assert sorted(lines) == ["0", "1", "2", "3", "4", *["end"] * 5]
    assert len(done) == 5


def test_exit_code_is_an_error_with_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="exit code 3") as caught:
        run([command(tmp_path, "sh", "-c", "echo no material; exit 3")])
    assert caught.value.info.details["last_lines"] == ["no material"]


def test_signal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="signal 11"):
        run([command(tmp_path, "sh", "-c", "kill -SEGV $$")])


def test_missing_binary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        run([command(tmp_path, str(tmp_path / "no-such-engine"))])
    assert caught.value.code is ErrorCode.ENGINE_MISSING


def test_a_failure_stops_the_others_and_waits_for_none(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    with pytest.raises(EngineError, match="exit code 1"):
        run(
            [
                command(tmp_path, "sh", "-c", f"echo $$ > {marker}; exec sleep 600"),
                command(tmp_path, "sh", "-c", f"while [ ! -s {marker} ]; do :; done; exit 1"),
                command(tmp_path, "sh", "-c", "echo started > third"),
            ]
        )
    assert not is_alive(int(marker.read_text()))
    assert not (tmp_path / "third").exists()


def test_timeout_ends_a_process(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no result after"):
        run([command(tmp_path, "sleep", "600")], timeout_s=0.5)


def test_engine_dies_with_a_killed_job(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    code = (
        "import sys; from pathlib import Path; from radiarch_worker.engines.processes import Command, run_all\n"
        f"c = Command('x', ('sh', '-c', 'echo $$ > {marker}; exec sleep 600'), Path({str(tmp_path)!r}), "
        "{'PATH': '/usr/bin:/bin'})\n"
        "run_all([c], threads=1, on_line=lambda *a: None, on_done=lambda *a: None, timeout_s=600)\n"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        start_new_session=True,
    )
    try:
        wait_for(lambda: marker.exists() and marker.read_text().strip() != "")
        engine = int(marker.read_text())
        assert is_alive(engine)
        job.send_signal(signal.SIGKILL)
        job.wait()
        wait_for(lambda: not is_alive(engine))
    finally:
        job.kill()
        job.wait()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def wait_for(condition: Callable[[], bool], bound_s: float = 30.0) -> None:
    end = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < end, "not within the bound"
        time.sleep(0.02)
