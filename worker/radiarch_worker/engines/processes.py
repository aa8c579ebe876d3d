"""Runs engine processes, several at a time, in the job's process group; what they compute is the adapters' business."""

from __future__ import annotations

import ctypes
import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from radiarch_contract.errors import EngineError, ErrorCode

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_MAX_LINE = 500
"""Longer lines of an engine's output are cut: nothing that we need is that long."""
_TAIL_LINES = 30


@dataclass(frozen=True)
class Command:
    """One engine process.

    Attributes
    ----------
    folder : working directory, private to this process
    weight : its share of the work, for progress
    """

    name: str
    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    weight: float = 1.0


@dataclass
class _Child:
    """A process that runs.

    Attributes
    ----------
    output : this side of its terminal
    """

    command: Command
    process: subprocess.Popen[bytes]
    output: int
    started: float
    buffer: bytes = b""
    tail: list[str] = field(default_factory=list)


def run_all(
    commands: Sequence[Command],
    *,
    threads: int,
    on_line: Callable[[Command, str], None],
    on_done: Callable[[Command], None],
    timeout_s: float,
) -> float:
    """Run every command, at most ``threads`` at a time, in the given order.

    Parameters
    ----------
    on_line
        Called with each line of standard output and error.
    on_done
        Called as soon as a process ended well, while others still run.
    timeout_s
        For each process.

    Returns
    -------
    float
        Seconds of wall time in which at least one engine process ran.

    Raises
    ------
    EngineError
        When a process cannot be started, ends with another exit code than 0 or takes too long; all
        others are stopped first.
    """
    waiting = list(reversed(commands))
    busy_s = 0.0
    children: list[_Child] = []
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or children:
                started = time.monotonic()
                while waiting and len(children) < max(1, threads):
                    child = _start(waiting.pop())
                    children.append(child)
                    selector.register(child.output, selectors.EVENT_READ, child)
                ended = _poll(selector, on_line)
                idle_from = time.monotonic()
                for child in ended:
                    children.remove(child)
                    _finish(child)
                    on_done(child.command)
                busy_s += (time.monotonic() if children else idle_from) - started
                for child in children:
                    if time.monotonic() - child.started > timeout_s:
                        raise EngineError(
                            f"{child.command.name}: no result after {timeout_s:.0f} s",
                            remedy="Ask for fewer primaries or a coarser grid, or give the worker more time.",
                            code=ErrorCode.ENGINE_FAILED,
                        )
        finally:
            for child in children:
                child.process.kill()
                child.process.wait()
                os.close(child.output)
    return busy_s


def _start(command: Command) -> _Child:
    parent = os.getpid()

    def die_with_parent() -> None:
        # The kernel sends the signal when the thread that forked ends; that is the job's own thread.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    output, terminal = _terminal()
    try:
        process = subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
    except OSError as e:
        os.close(output)
        raise EngineError(
            f"{command.name}: {Path(command.argv[0]).name} cannot be started: {e.strerror}",
            remedy="Check the installation of the engine: GET /info says what the workers can run.",
            code=ErrorCode.ENGINE_MISSING,
        ) from e
    finally:
        os.close(terminal)
    os.set_blocking(output, False)
    return _Child(command, process, output, time.monotonic())


def _terminal() -> tuple[int, int]:
    """Both ends of a terminal: into a pipe an engine writes its progress by blocks of 4 kB, some minutes late.

    A pipe where there are no terminals (a chroot without ``/dev/pts``): progress is late then, and that is all.
    """
    try:
        return os.openpty()
    except OSError:
        return os.pipe()


def _poll(selector: selectors.BaseSelector, on_line: Callable[[Command, str], None]) -> list[_Child]:
    """Wait for output; the children whose output ended."""
    ended = []
    for key, _ in selector.select(timeout=1.0):
        child: _Child = key.data
        data = _read(child.output)
        if not data:
            selector.unregister(child.output)
            ended.append(child)
            continue
        *lines, child.buffer = (child.buffer + data).replace(b"\r", b"\n").split(b"\n")
        child.buffer = child.buffer[-_MAX_LINE:]
        for raw in lines:
            line = raw[:_MAX_LINE].decode("ascii", "replace").strip()
            if line:
                child.tail = [*child.tail[-_TAIL_LINES:], line]
                on_line(child.command, line)
    return ended


def _read(output: int) -> bytes:
    """What a process has written; nothing once it has ended."""
    try:
        return os.read(output, 1 << 16)
    except OSError as e:
        if e.errno != errno.EIO:  # Linux: no process has the terminal open any more
            raise
        return b""


def _finish(child: _Child) -> None:
    os.close(child.output)
    code = child.process.wait()
    if code != 0:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise EngineError(
            f"{child.command.name} {how}; expected 0",
            remedy="See the job's log for the engine's own words; try again, then report it with the log.",
            code=ErrorCode.ENGINE_FAILED,
            last_lines=child.tail[-5:],
        )
