"""Whether the engines run on this machine: each is really run, on a tiny problem, in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from radiarch_worker.runtime import process
from radiarch_worker.runtime.folders import WorkFolder

PROBE_LIMIT_S = 180.0

log = logging.getLogger("radiarch.worker")


def probe_engines(
    folder: WorkFolder,
    guard: process.Guard,
    env: Callable[[Path], Mapping[str, str]],
    beat: Callable[[], None],
    stopping: Callable[[], bool],
) -> dict[str, dict[str, Any]]:
    """``{engine: {available, version, reason}}`` for `WorkerStatus.engines`; never raises for an engine's fault."""
    with folder.job("probe") as job_dir:
        mark = f"{folder.name}/probe"
        child = process.start(lambda sock: _in_child(sock, guard, job_dir), mark=mark, env=env(job_dir), folder=job_dir)
        guard.watch(child.pid, mark)
        answer, output = _listen(child, beat, stopping)
        process.end(child.pid, mark)
        os.waitpid(child.pid, 0)
        child.close()
        guard.forget()
        process.reap_orphans(keep=[guard.pid])
    if answer is None and stopping():
        answer = {"available": False, "version": None, "reason": "the worker is stopping"}
    elif answer is None:
        log.error("the probe of the engines failed: %s", output[-2000:].decode("utf-8", "replace"))
        answer = {"available": False, "version": None, "reason": "the probe ended without an answer"}
    return {"mcsquare": answer}


def _in_child(sock: socket.socket, guard: process.Guard, job_dir: Path) -> None:
    guard.close_in_child()
    try:
        from radiarch_worker.engines import mcsquare

        found = mcsquare.probe(job_dir)
    except Exception as e:  # whatever is wrong with an engine, the worker says so and lives
        found = {"available": False, "version": None, "reason": f"{type(e).__name__}: {e}"[:500]}
        sock.sendall(json.dumps(found).encode())
        raise
    sock.sendall(json.dumps(found).encode())


def _listen(
    child: process.Child, beat: Callable[[], None], stopping: Callable[[], bool]
) -> tuple[dict[str, Any] | None, bytes]:
    """The child's answer, if it came in time, and what it printed."""
    output, data = b"", b""
    deadline = time.monotonic() + PROBE_LIMIT_S
    child.link.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(child.pidfd, selectors.EVENT_READ)
        ended = False
        while not ended and not stopping() and time.monotonic() < deadline:
            ended = bool(selector.select(0.1))
            beat()
            output = (output + _read(lambda: os.read(child.output_fd, 1 << 16)))[-20_000:]
            data += _read(lambda: child.link.recv(1 << 16))
    try:
        found = json.loads(data)
    except ValueError:
        return None, output
    return (found, output) if isinstance(found, dict) else (None, output)


def _read(read: Callable[[], bytes]) -> bytes:
    data = b""
    try:
        while chunk := read():
            data += chunk
    except (BlockingIOError, ConnectionError):
        pass
    return data
