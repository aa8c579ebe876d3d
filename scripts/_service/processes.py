"""Processes on Linux: adopting orphans and finding descendants, so that nothing stays behind."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies, so that they can still be found and ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> list[int]:
    """Ids of all living processes below ``pid``, zombies left out, parents before children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        # the name, in brackets, may hold anything; the state and the parent follow it
        state, parent, *_ = text.rpartition(")")[2].split()
        if state not in ("Z", "X"):
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found: list[int] = []
    wanted = [pid]
    while wanted:
        below = children.get(wanted.pop(0), [])
        found += below
        wanted += below
    return found


def reap(keep: Collection[int]) -> None:
    """Collect the exit codes of adopted processes that have ended; for those in ``keep`` someone else waits."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in keep:
                return  # one of those is looked at by its owner first
            os.waitpid(ended.si_pid, os.WNOHANG)
        except ChildProcessError:
            return


def end_all_descendants(*, patience_s: float) -> list[int]:
    """Wait for everything below this process to end, and kill what has not by then.

    Returns
    -------
    list of int
        The processes that had to be killed.
    """
    me = os.getpid()
    deadline = time.monotonic() + patience_s
    while (left := descendants(me)) and time.monotonic() < deadline:
        reap(keep=())
        time.sleep(0.05)
    killed = list(left)
    while left:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap(keep=())
        time.sleep(0.02)
        left = descendants(me)  # a killed one may have started another just before
    return killed
