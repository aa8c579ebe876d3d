"""Keeps a list of programs running: starts them, restarts what dies, and ends them all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ScriptError
from .processes import end_all_descendants, reap

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
STEADY_AFTER_S = 60.0
"""A program that ran this long starts its pauses anew when it dies."""
TRIES_BEFORE_READY = 3
LOG_LIMIT_BYTES = 20_000_000


@dataclass(frozen=True)
class Program:
    """A program to keep running.

    Attributes
    ----------
    stop_grace_s : how long it may take to end by itself after SIGTERM
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    log: Path
    stop_grace_s: float = 10.0


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    deaths: int = 0
    """In a row, none of them after a steady run."""


class Supervisor:
    """Runs programs in their order; one thread, driven by `step`.

    Each program has a session of its own, so that a terminal's Ctrl-C reaches this process only, which then ends
    them in order. Should this process be killed, the kernel tells each of them (parent death signal).
    """

    def __init__(self, say: Callable[[str], None], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock_s = clock_s
        self._running: list[_Running] = []
        self._ready = False

    def start(self, program: Program) -> None:
        running = _Running(program)
        self._running.append(running)
        self._launch(running)

    def ready(self) -> None:
        """From now on a program that dies is started again without end."""
        self._ready = True

    def step(self) -> None:
        """Notice what died, and start again what is due.

        Raises
        ------
        ScriptError
            A program died several times before the service was ever ready.
        """
        now = self._clock_s()
        for running in self._running:
            process = running.process
            if process is None:
                if now >= running.start_again_at:
                    self._launch(running)
            elif process.poll() is not None:
                self._died(running, process.returncode, now)
        reap(keep=self._pids())

    def stop(self, *, patient: Callable[[], bool] = lambda: True) -> None:
        """End everything, last started first, and leave nothing running.

        Parameters
        ----------
        patient
            Asked again and again; once it says no, what is left is killed.
        """
        # all workers at once: they stand together at the end and do not need one another
        for group in self._stop_order():
            for running in group:
                if running.process is not None and running.process.poll() is None:
                    running.process.send_signal(signal.SIGTERM)
            for running in group:
                self._wait(running, patient)
        killed = end_all_descendants(patience_s=5.0 if patient() else 0.0)
        if killed:
            self._say(f"killed {len(killed)} process(es) that did not end by themselves")

    def _stop_order(self) -> list[list[_Running]]:
        groups: dict[str, list[_Running]] = {}
        for running in reversed(self._running):
            groups.setdefault(running.program.name.partition(" ")[0], []).append(running)
        return list(groups.values())

    def _wait(self, running: _Running, patient: Callable[[], bool]) -> None:
        process = running.process
        if process is None:
            return
        deadline = time.monotonic() + running.program.stop_grace_s
        while process.poll() is None:
            if time.monotonic() > deadline or not patient():
                self._say(f"{running.program.name}: does not end, killed")
                process.kill()
                process.wait()
                return
            time.sleep(0.05)

    def _launch(self, running: _Running) -> None:
        program = running.program
        _limit(program.log)
        with program.log.open("ab") as log:
            running.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *program.argv],
                env=dict(program.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.started_at = self._clock_s()

    def _died(self, running: _Running, code: int, now: float) -> None:
        name = running.program.name
        running.process = None
        running.deaths = 1 if now - running.started_at > STEADY_AFTER_S else running.deaths + 1
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if not self._ready and running.deaths >= TRIES_BEFORE_READY:
            raise ScriptError(
                f"{name} {how}, {running.deaths} times; its last lines:\n{tail(running.program.log)}",
                remedy=f"Correct what they name; all of its log is {running.program.log}.",
            )
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (running.deaths - 1))
        running.start_again_at = now + pause_s
        self._say(f"{name} {how}; starting it again in {pause_s:.0f} s (log: {running.program.log})")

    def _pids(self) -> list[int]:
        return [r.process.pid for r in self._running if r.process is not None]


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log, indented."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 8192))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _limit(log: Path) -> None:
    """Put a long log aside, so that two of them are the most that is ever kept."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
