"""Child processes that cannot outlive their worker, and the ending of all that a job started; Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "RADIARCH_JOB_MARK"
"""Environment variable that everything a job starts inherits, so that it is found wherever it hides."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_PIPE_BYTES = 1 << 20


def _prctl(option: int, argument: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` (its pid) ends; not inherited by children."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process, so that they can be reaped wherever it runs."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _be_called(name: str) -> None:
    """What ``ps`` and ``top`` show."""
    _prctl(_PR_SET_NAME, name.encode())


@dataclass(frozen=True)
class Child:
    """A process that was started with `start`; it leads its own session and process group.

    Attributes
    ----------
    output_fd : read end of its standard output and error, non-blocking
    link : this side of the socket to it
    """

    pid: int
    pidfd: int
    output_fd: int
    link: socket.socket
    mark: str

    def exit_code(self) -> int | None:
        """None while it runs; then as `os.waitstatus_to_exitcode`, negative for a signal."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # reaped before
            return None
        return os.waitstatus_to_exitcode(status) if pid else None

    def close(self) -> None:
        """Give the descriptors back; the process must have ended."""
        os.close(self.pidfd)
        os.close(self.output_fd)
        self.link.close()


def start(target: Callable[[socket.socket], None], *, mark: str, env: Mapping[str, str], folder: Path) -> Child:
    """Fork a child that runs ``target`` with its side of a socket, then exits: 0, or 1 after an exception.

    Fork, not spawn: what the worker has imported need not be imported again for each job. The worker has no
    other thread when it forks.
    """
    parent = os.getpid()
    ours, theirs = socket.socketpair()
    output_r, output_w = os.pipe()
    with contextlib.suppress(OSError):  # more than an unprivileged user may have
        import fcntl

        fcntl.fcntl(output_w, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            os.close(output_r)
            _become_job(parent, output_w, mark, env, folder)
            target(theirs)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    theirs.close()
    os.close(output_w)
    os.set_blocking(output_r, False)
    return Child(pid, os.pidfd_open(pid), output_r, ours, mark)


def _become_job(parent: int, output_w: int, mark: str, env: Mapping[str, str], folder: Path) -> None:
    os.setsid()
    _be_called("radiarch-job")
    die_with_parent(parent)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the patient's data
    with contextlib.suppress(OSError):  # of all processes, let the kernel take this one when memory runs out
        Path("/proc/self/oom_score_adj").write_text("500")
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output_w, 1), (output_w, 2)):
        os.dup2(source, target)
    # anew: what the worker's own have in their buffers is not the job's to write
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    os.environ.update(env)
    os.environ[MARK] = mark
    os.chdir(folder)


def members(pgid: int | None, mark: str) -> list[int]:
    """Pids of living processes of a job: those of its process group, and those that carry its mark elsewhere."""
    found: list[int] = []
    wanted = f"{MARK}={mark}".encode()
    own = os.getpid()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or (pid := int(entry.name)) == own:
            continue
        try:
            # "pid (name) state ppid pgrp …"; the name may hold blanks and parentheses
            fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] in (b"Z", b"X"):
                continue
            if pgid is not None and pgid in (pid, int(fields[2])):
                found.append(pid)
                continue
            if wanted in Path(entry.path, "environ").read_bytes().split(b"\0"):
                found.append(pid)
        except (OSError, IndexError, ValueError):
            continue  # it ended meanwhile, or is another user's
    return found


def end(pgid: int | None, mark: str, *, limit_s: float = 10.0) -> int:
    """Kill (SIGKILL) every process of a job and wait until none lives; returns how many there were.

    A process that was forking while it was killed is found in the next round.
    """
    seen: set[int] = set()
    deadline = time.monotonic() + limit_s
    while True:
        if pgid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pgid, signal.SIGKILL)
        alive = members(pgid, mark)
        seen.update(alive)
        if not alive or time.monotonic() > deadline:
            return len(seen)
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def reap_orphans(keep: Iterable[int]) -> None:
    """Collect the exit states of adopted processes that have ended, not of the children in ``keep``."""
    kept = set(keep)
    for pid in _children():
        if pid not in kept:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(OSError):
        return [int(p) for p in text.read_text().split()]
    return []


class Guard:
    """A small process that ends the running job should the worker be killed without a chance to do so itself.

    The kernel kills the job's own process with its parent, but not the engines that it has started.
    """

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                _be_called("radiarch-guard")
                os.close(self._write)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                _watch(read)
            finally:
                os._exit(0)
        os.close(read)

    def watch(self, pgid: int, mark: str) -> None:
        self._tell(f"{pgid} {mark}\n")

    def forget(self) -> None:
        self._tell("\n")

    def close_in_child(self) -> None:
        """To be called in every forked child: the pipe must have one writer only, the worker."""
        os.close(self._write)

    def stop(self) -> None:
        os.close(self._write)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the guard was killed: the job goes on without it
            os.write(self._write, line.encode())


def _watch(read: int) -> None:
    job = ""
    rest = b""
    while chunk := os.read(read, 4096):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            job = line.decode()
    if job:
        pgid, _, mark = job.partition(" ")
        end(int(pgid), mark)
