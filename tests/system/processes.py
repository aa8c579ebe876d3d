"""Servers that a test starts and kills, what is left of them, and waiting for conditions; nothing of Radiarch."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

T = TypeVar("T")

POLL_S = 0.05
FRESH = httpx.Limits(max_keepalive_connections=0)
"""Orthanc closes a connection that was idle for a second, and a request that meets that moment is lost."""


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on just now.

    Below those that the kernel gives to connections: until the server has it, no connection of this or of another test
    process takes it. By chance, and not by the seed that each test process has from hypothesis.
    """
    connections = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = 11_000 + secrets.randbelow(max(connections, 21_000) - 11_000)  # browsers refuse some below
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class WaitedInVainError(AssertionError):
    """A condition did not come true within its bound."""


def wait_for(
    condition: Callable[[], T | None],
    what: str,
    *,
    within_s: float = 60.0,
    describe: Callable[[], str] = lambda: "",
    check: Callable[[], None] = lambda: None,
) -> T:
    """Poll until ``condition`` gives something true, and return that.

    Parameters
    ----------
    describe
        Says how things stand when the bound is over; put into the error.
    check
        Raises when it is no use to wait any longer, such as after the end of a server.
    """
    deadline = time.monotonic() + within_s
    while True:
        if value := condition():
            return value
        check()
        if time.monotonic() > deadline:
            raise WaitedInVainError(f"not within {within_s:g} s: {what}\n{describe()}")
        time.sleep(POLL_S)


class Server:
    """One server process with its log file; started, stopped and killed at will."""

    def __init__(
        self, name: str, command: Sequence[str], *, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._command = list(command)
        self._env = {**os.environ, **(env or {})}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self, command: Sequence[str] | None = None) -> None:
        """Start it, with another command for this once if one is given."""
        assert not self.running, f"{self.name} runs already"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command or self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C reaches the tests only; they stop what they started
            )

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self._signal(signal.SIGKILL)
        self._wait(10)

    def stop(self, within_s: float = 20.0) -> None:
        """Ask it to end; kill it where it does not."""
        self._signal(signal.SIGTERM)
        try:
            self._wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {within_s:g} s of SIGTERM\n{self.tail()}") from None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self, lines: int = 40) -> str:
        return f"--- {self.log_path} (end)\n" + "\n".join(self.log().splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _wait(self, within_s: float) -> None:
        if self._process is not None:
            self._process.wait(within_s)


def children(pid: int) -> list[int]:
    """Pids of the children of a process, of all of its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(p) for p in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    found = children(pid)
    for child in list(found):
        found += descendants(child)
    return found


def command_name(pid: int) -> str:
    """What the kernel calls a process; '' once it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """False for a process that has ended, whether its parent has noticed or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")


def processes_in(folder: Path) -> list[tuple[int, str]]:
    """Living processes whose working directory is in ``folder``: pid and name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                cwd = str((entry / "cwd").readlink()).removesuffix(" (deleted)")
                if Path(cwd).is_relative_to(folder) and alive(int(entry.name)):
                    found.append((int(entry.name), command_name(int(entry.name))))
    return found
