"""The worker's watch over one attempt: status, log, fence, time limit, and the ending of its processes."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import ValidationError
from radiarch_contract import transport
from radiarch_contract.errors import ErrorCode, ErrorInfo
from radiarch_contract.job import AttemptStatus, JobResult, JobSpec
from radiarch_contract.states import Stage

from . import process
from .feed import Feed
from .link import WorkerLink
from .log import AttemptLog
from .progress import Progress
from .solverstatus import SolverStatus

TICK_S = 0.1
FENCE_INTERVAL_S = 0.3
_STATUS_INTERVAL_S = transport.HEARTBEAT_INTERVAL_S
_SOON_S = 0.25
_LEAVING_S = 3.0
"""How long a job may take to exit after its result."""
_MESSAGE_CHARS = 300
_OUTPUT_BYTES = 8 << 20
"""Read at once; an engine cannot keep the worker reading."""


class Verdict(StrEnum):
    """Why the worker ended an attempt."""

    CANCELLED = "cancelled"
    REPLACED = "replaced"
    TIME_LIMIT = "time_limit"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: a result, or given back to the queue."""

    result: JobResult | None
    durations_s: dict[Stage, float]
    work: dict[Stage, float]


class Attempt:
    """One attempt, from its start to when none of its processes lives.

    Parameters
    ----------
    child
        The job's process.
    limit_s
        Wall time that it may take; what it does in native code cannot extend it.
    stopping
        True when the worker is to stop.
    beat
        Called often; the worker's own heartbeat.
    """

    def __init__(
        self,
        spec: JobSpec,
        child: process.Child,
        feed: Feed,
        progress: Progress,
        *,
        worker: str,
        limit_s: float,
        stopping: Callable[[], bool],
        beat: Callable[[], None],
    ) -> None:
        self._spec, self._child, self._feed, self._progress = spec, child, feed, progress
        self._worker, self._limit_s = worker, limit_s
        self._stopping, self._beat = stopping, beat
        self._link = WorkerLink(child.link)
        self.log = AttemptLog()
        self._log_sent = 0
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self._message = ""
        self._solver = SolverStatus()
        self._result: JobResult | None = None
        self._result_at: float | None = None
        self._fence_at = self._status_at = 0.0
        self._fence: str | None = None

    def run(self) -> Outcome:
        """Watch until the attempt has ended; publishes everything but the result."""
        verdict = self._watch()
        asked = time.monotonic()
        processes = process.end(self._child.pid, self._child.mark)
        ended_s = time.monotonic() - asked
        self._drain()
        self.log.flush()
        _, status = os.waitpid(self._child.pid, 0)
        self._child.close()
        now = time.monotonic()
        result = self._ending(verdict, os.waitstatus_to_exitcode(status), processes, ended_s)
        if result is not None and result.error is None:
            self._progress.finish(now)
        if result is not None and result.error is not None:
            self.log.add(f"{result.error.code}: {result.error.message}", "worker")
        self._publish(now, final=True)
        return Outcome(result, dict(self._progress.durations_s), dict(self._progress.work))

    def _watch(self) -> Verdict | None:
        """Until the job's process has exited (None) or has to be ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.pidfd, selectors.EVENT_READ)
            selector.register(self._child.output_fd, selectors.EVENT_READ)
            self._link.register(selector)
            while True:
                ready = {key.fd for key, _ in selector.select(TICK_S)}
                self._drain()
                now = time.monotonic()
                if self._child.pidfd in ready:
                    return None
                self._ask_fence(now)
                if verdict := self._verdict(now):
                    return verdict
                if self._result_at is not None and now - self._result_at > _LEAVING_S:
                    return None
                self._publish(now)
                self._beat()
                if ready:
                    time.sleep(0.01)  # an engine that writes line by line is read in larger pieces

    def _verdict(self, now: float) -> Verdict | None:
        if self._result is not None:
            return None  # it has ended by itself
        if now - self._started > self._limit_s:
            return Verdict.TIME_LIMIT
        found = self._fence_verdict()
        return Verdict.STOPPING if found is None and self._stopping() else found

    def _fence_verdict(self) -> Verdict | None:
        # A missing fence was lost by Redis: it does not say that another attempt counts.
        value = self._fence
        if value is None or value == str(self._spec.attempt):
            return None
        return Verdict.CANCELLED if value == transport.FENCE_CANCELLED else Verdict.REPLACED

    def _ask_fence(self, now: float) -> None:
        if now - self._fence_at < FENCE_INTERVAL_S:
            return
        self._fence_at = now
        answered, value = self._feed.fence(self._spec.plan_id)
        if answered:
            self._fence = value

    def _drain(self) -> None:
        output = b""
        try:
            while len(output) < _OUTPUT_BYTES and (chunk := os.read(self._child.output_fd, 1 << 16)):
                output += chunk
        except BlockingIOError:
            pass
        # The messages are read after the output and taken before it: words that the job declared private before it
        # wrote them are taken out.
        for message in self._link.messages():
            try:
                self._take(message)
            except ValueError as e:  # a fault in the job's code must not end its worker
                self.log.add(f"a message of the job was not understood: {e}", "worker")
        self.log.output(output)

    def _take(self, message: dict[str, Any]) -> None:
        now = time.monotonic()
        match message:
            case {"kind": "stage", "stage": str(stage), "message": str(text)}:
                self._progress.enter(Stage(stage), now)
                self._message = text[:_MESSAGE_CHARS]
                self.log.add(f"stage {stage}" + (f": {text}" if text else ""))
                self._status_at = min(self._status_at, now - _STATUS_INTERVAL_S + _SOON_S)
            case {"kind": "progress", "fraction": float(fraction), "message": str(text)}:
                self._progress.report(fraction, now)
                self._message = text[:_MESSAGE_CHARS] or self._message
            case {"kind": "expect", "work": dict(work)}:
                self._progress.expect({Stage(stage): float(units) for stage, units in work.items()}, now)
            case {"kind": "log", "line": str(line)}:
                self.log.add(line)
            case {"kind": "solver", "iterations": list(iterations)}:
                self._solver.iterations(iterations)
            case {"kind": "preview", "dvh": list(curves)}:
                self._solver.preview(curves)
                self._status_at = 0.0  # viewers wait for it
            case {"kind": "private", "words": list(words)}:
                self.log.private(str(w) for w in words)
            case {"kind": "result", "result": dict(result)}:
                try:
                    self._result = JobResult.model_validate(result)
                except ValidationError as e:
                    self.log.add(f"the job's result is not valid: {e.error_count()} errors", "worker")
                self._result_at = now

    def _publish(self, now: float, *, final: bool = False) -> None:
        if not final and now - self._status_at < _STATUS_INTERVAL_S:
            return
        self._status_at = now
        eta_s = self._progress.eta_s(now)
        self._feed.status(
            AttemptStatus(
                plan_id=self._spec.plan_id,
                attempt=self._spec.attempt,
                stage=self._progress.stage,
                progress=round(self._progress.fraction(now), 4),
                eta_s=None if eta_s is None else round(eta_s, 1),
                message=self._message,
                worker=self._worker,
                started_at=self._started_at,
                heartbeat_at=datetime.now(UTC),
                solver=self._solver.value,
            )
        )
        self.send_log()

    def send_log(self) -> None:
        """Append to Redis what it does not have yet."""
        self._log_sent = self._feed.log_lines(self._spec.plan_id, self._spec.attempt, self.log.lines, self._log_sent)

    def _ending(self, verdict: Verdict | None, code: int, processes: int, ended_s: float) -> JobResult | None:
        if self._result is not None:
            return self._result
        how = f"{processes} process{'' if processes == 1 else 'es'} of it ended within {ended_s:.1f} s"
        if not processes:
            how = "no process of it was left"
        match verdict:
            case Verdict.STOPPING:
                self.log.add(f"the worker is stopping: the job goes back to the queue; {how}", "worker")
                return None
            case Verdict.CANCELLED:
                return self._failed(ErrorCode.CANCELLED, f"cancelled; {how}", "Ask for the plan again if it is wanted.")
            case Verdict.REPLACED:
                return self._failed(
                    ErrorCode.CANCELLED, f"another attempt has taken over; {how}", "Nothing: look at that attempt."
                )
            case Verdict.TIME_LIMIT:
                return self._failed(
                    ErrorCode.TIME_LIMIT,
                    f"the plan was not ready after its time limit of {self._limit_s:.0f} s; {how}",
                    "Ask for less (fewer primaries, wider spots, fewer beams), or raise the time limit.",
                )
            case None if code < 0:
                return self._failed(
                    ErrorCode.WORKER_LOST,
                    f"the job's process was ended by {_signal_name(-code)} in stage {self._progress.stage}; {how}",
                    "It is tried again. If it happens again, look for a lack of memory in the system's log.",
                    retryable=True,
                )
        return self._failed(
            ErrorCode.INTERNAL,
            f"the job's process exited with code {code} and no result in stage {self._progress.stage}",
            "It is tried again. The job's log has the reason; please report it.",
            retryable=True,
        )

    def _failed(self, code: ErrorCode, message: str, remedy: str, *, retryable: bool = False) -> JobResult:
        return JobResult(
            plan_id=self._spec.plan_id,
            attempt=self._spec.attempt,
            error=ErrorInfo(code=code, message=message, remedy=remedy),
            retryable=retryable,
            worker=self._worker,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
        )


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
