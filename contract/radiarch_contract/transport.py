"""Names of what travels through Redis between plugin and worker; Redis is transport only."""

from __future__ import annotations

from . import API_PREFIX, __version__, series_of

QUEUE_NAME = f"radiarch-{series_of(__version__)}"
"""A queue for each minor version: no worker takes a job whose specification it might understand otherwise."""
JOB_FUNCTION = "radiarch_worker.jobs.attempt.run_attempt"
"""The one function that a worker will run; its single argument is `JobSpec` as a JSON-able dict."""

ALLOWED_FUNCTIONS = frozenset({JOB_FUNCTION})

FENCE_CANCELLED = "cancelled"
HEARTBEAT_INTERVAL_S = 1.0
"""A running attempt rewrites its `attempt_key` at least this often."""
LOST_AFTER_S = 15.0
"""An attempt with no heartbeat for this long, and no RQ job that is going to run, is lost."""
TRANSPORT_TTL_S = 7 * 24 * 3600

# Bounds of what travels. Whoever writes keeps to them, with less detail where there is too much to tell (the worker's
# `bounds`); whoever reads takes nothing larger.
MAX_JOB_BYTES = 4 << 20
"""`job.JobSpec` with what RQ writes around it, compressed and not; a specification has some kilobytes."""
MAX_STATUS_BYTES = 256 << 10
"""`job.AttemptStatus` and `job.WorkerStatus` as JSON: read again and again."""
MAX_RESULT_BYTES = 32 << 20
"""`job.JobResult` as JSON: 2,000 structures have some 5 MB of curves and metrics."""
MAX_LOG_LINES = 20_000
"""Of one attempt's log."""
MAX_LOG_LINE_CHARS = 600

SESSION_HEADER = "Radiarch-Session"
"""HTTP header with a session's secret: every request about the session has it."""
STORE_HEADER = "Radiarch-Store-Token"
"""HTTP header with `job.SessionRef.token`: every request of a worker to a session's store has it."""


def session_store_path(session_id: str) -> str:
    """Where a session answers a worker as Orthanc does at its root: find, file, store."""
    return f"{API_PREFIX}/sessions/{session_id}/store"


def result_store_path(plan_id: str, attempt: int) -> str:
    """Where the plugin takes an attempt's results for Orthanc, which it does for as long as the attempt counts."""
    return f"{API_PREFIX}/plans/{plan_id}/attempts/{attempt}/store"


def job_id(plan_id: str, attempt: int) -> str:
    """RQ's job id of one attempt."""
    return f"{plan_id}-{attempt}"


def fence_key(plan_id: str) -> str:
    """String: the number of the only attempt that may go on, or `FENCE_CANCELLED`. Written by the plugin."""
    return f"radiarch:fence:{plan_id}"


def attempt_key(plan_id: str, attempt: int) -> str:
    """String: `job.AttemptStatus` as JSON, with `heartbeat_at`. Written by the worker."""
    return f"radiarch:attempt:{plan_id}:{attempt}"


def result_key(plan_id: str, attempt: int) -> str:
    """String: `job.JobResult` as JSON. Written by the worker, once, at the end."""
    return f"radiarch:result:{plan_id}:{attempt}"


def log_key(plan_id: str, attempt: int) -> str:
    """List of log lines of one attempt, appended by the worker (RPUSH), bounded."""
    return f"radiarch:log:{plan_id}:{attempt}"


def worker_key(name: str) -> str:
    """String: `job.WorkerStatus` as JSON, expiring. Written by the worker."""
    return f"radiarch:worker:{name}"
