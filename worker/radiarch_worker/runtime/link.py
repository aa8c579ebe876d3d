"""Messages between a job's process and its worker: JSON, one message a line, over a socket; no Redis here."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from radiarch_contract import transport
from radiarch_contract.job import DvhCurve, JobResult
from radiarch_contract.states import Stage

from .bounds import bounded_result

MAX_MESSAGE_BYTES = 4 * transport.MAX_RESULT_BYTES
"""JSON that is ASCII only may be some times as long as the one in Redis."""
_PROGRESS_INTERVAL_S = 0.1


class JobLink:
    """The job's side; implements `model.Reporter`. Safe to use from several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._progress_at = self._solver_at = 0.0
        self._iterations: list[dict[str, Any]] = []

    def stage(self, stage: Stage, message: str = "") -> None:
        """A stage begins."""
        self._send_iterations()
        self._send({"kind": "stage", "stage": stage.value, "message": message})

    def expect(self, work: Mapping[Stage, float]) -> None:
        """Work of this stage and later ones."""
        self._send({"kind": "expect", "work": {stage.value: float(units) for stage, units in work.items()}})

    def progress(self, fraction: float, message: str = "") -> None:
        """Fraction of the present stage; what comes faster than it is read is dropped here."""
        now = time.monotonic()
        if fraction < 1.0 and now - self._progress_at < _PROGRESS_INTERVAL_S:
            return
        self._progress_at = now
        self._send({"kind": "progress", "fraction": float(fraction), "message": message})

    def log(self, line: str) -> None:
        """One line of the job's log."""
        self._send({"kind": "log", "line": line})

    def solver(self, iteration: int, objective: float, terms: Mapping[str, float]) -> None:
        """One iteration; several are sent together where they come fast, none is left out."""
        by_name = {str(k): float(v) for k, v in terms.items()}
        self._iterations.append({"iteration": int(iteration), "objective": float(objective), "terms": by_name})
        now = time.monotonic()
        if now - self._solver_at >= _PROGRESS_INTERVAL_S:
            self._solver_at = now
            self._send_iterations()

    def preview(self, dvh: Sequence[DvhCurve]) -> None:
        """DVHs of the optimised beamlets."""
        self._send_iterations()
        self._send({"kind": "preview", "dvh": [curve.model_dump(mode="json") for curve in dvh]})

    def _send_iterations(self) -> None:
        if self._iterations:
            self._send({"kind": "solver", "iterations": self._iterations})
            self._iterations = []

    def private(self, words: Iterable[str]) -> None:
        """Words that must not reach the log, such as the parts of the patient's name."""
        self._send({"kind": "private", "words": list(words)})

    def result(self, result: JobResult) -> None:
        """The end of the attempt."""
        self._send({"kind": "result", "result": bounded_result(result, self.log).model_dump(mode="json")})

    def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            self._socket.sendall(data)


class WorkerLink:
    """The worker's side: reads without waiting."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._rest = bytearray()

    def messages(self) -> Iterator[dict[str, Any]]:
        """All messages that have arrived; what is not one is dropped."""
        while True:
            try:
                chunk = self._socket.recv(1 << 20)
            except (BlockingIOError, ConnectionError):
                break
            if not chunk:
                break
            self._rest += chunk
            if len(self._rest) > MAX_MESSAGE_BYTES:
                self._rest.clear()
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                yield message

    def register(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._socket, selectors.EVENT_READ)
