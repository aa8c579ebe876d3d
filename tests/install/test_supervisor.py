"""The supervisor with real processes: it restarts what dies, and leaves nothing running however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts._service.errors import ScriptError
from scripts._service.processes import descendants
from scripts._service.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, Program, Supervisor
from tests.system.processes import alive, wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
SLEEP = "import time; time.sleep(600)"
# a program whose own child ignores SIGTERM and is told nothing of its parent's end
WITH_STUBBORN_CHILD = f"""
import subprocess, sys, time
child = "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('child', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
{SLEEP}
"""
DRIVER = """
import signal, sys, time
from pathlib import Path
from scripts._service.processes import adopt_orphans
from scripts._service.supervisor import Program, Supervisor

stop = False
def on_signal(number, frame):
    global stop
    stop = True
signal.signal(signal.SIGTERM, on_signal)
adopt_orphans()
supervisor = Supervisor(lambda text: print(text, flush=True))
for n, code in enumerate(sys.argv[2:]):
    supervisor.start(Program(f"program {n}", [sys.executable, "-c", code], {}, Path(sys.argv[1]) / f"{n}.log", 1.0))
supervisor.ready()
print("started", flush=True)
while not stop:
    supervisor.step()
    time.sleep(0.02)
supervisor.stop()
"""


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a supervisor in a process of its own, since it becomes the parent of orphans."""
    started: list[subprocess.Popen[bytes]] = []

    def drive(*codes: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "driver.log").open("wb") as log:
            driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(tmp_path), *codes],
                cwd=CHECKOUT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(driver)
        wait_for(lambda: "started" in (tmp_path / "driver.log").read_text(), "the supervisor has started")
        return driver

    yield drive
    for driver in started:
        if driver.poll() is None:
            driver.kill()
        driver.wait()


def supervised(driver: subprocess.Popen[bytes]) -> list[int]:
    return descendants(driver.pid)


def test_what_dies_is_started_again_and_said(drive: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    driver = drive(SLEEP, SLEEP)
    first = wait_for(lambda: p if len(p := supervised(driver)) == 2 else None, "both run")
    os.kill(first[0], signal.SIGKILL)
    again = wait_for(lambda: p if len(p := supervised(driver)) == 2 and p != first else None, "it runs again")
    assert len({*first, *again}) == 3, "the other one was left alone"
    assert "was killed by SIGKILL; starting it again" in (tmp_path / "driver.log").read_text()


def test_an_orderly_end_leaves_nothing_running(drive: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    driver = drive(WITH_STUBBORN_CHILD, SLEEP)
    wait_for(lambda: "child" in (tmp_path / "0.log").read_text(), "the stubborn child runs")
    left = supervised(driver)
    assert len(left) == 3
    driver.terminate()
    assert driver.wait(30) == 0
    assert [p for p in left if alive(p)] == []


def test_killing_the_supervisor_ends_what_it_started(drive: Callable[..., subprocess.Popen[bytes]]) -> None:
    driver = drive(SLEEP, SLEEP)
    left = wait_for(lambda: p if len(p := supervised(driver)) == 2 else None, "both run")
    driver.kill()
    wait_for(lambda: not [p for p in left if alive(p)], "they have ended")


def test_what_dies_at_once_is_an_error_with_its_last_lines(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    broken = Program("broken", [sys.executable, "-c", "print('no such setting'); exit(3)"], {}, tmp_path / "log")
    supervisor.start(broken)

    def drive() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            supervisor.step()
            time.sleep(0.02)

    with pytest.raises(ScriptError, match=r"(?s)broken ended with exit code 3, 3 times.*no such setting") as caught:
        drive()
    assert str(tmp_path / "log") in caught.value.remedy


def test_pauses_grow_to_a_limit(tmp_path: Path) -> None:
    now = [1000.0]
    said: list[str] = []
    supervisor = Supervisor(said.append, clock_s=lambda: now[0])
    supervisor.start(Program("brief", ["true"], {"PATH": os.environ["PATH"]}, tmp_path / "log"))
    supervisor.ready()
    for count in range(1, 9):
        while len(said) < count:
            supervisor.step()  # starts it again, and notices its end: in no time of this clock
        now[0] += LONGEST_PAUSE_S
    pauses_s = [float(text.partition(" in ")[2].split()[0]) for text in said]
    assert pauses_s[0] == FIRST_PAUSE_S
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == LONGEST_PAUSE_S
