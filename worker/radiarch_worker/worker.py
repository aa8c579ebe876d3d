"""The worker's own process: takes jobs from the queue, one at a time, supervises them, and sends its heartbeat."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import redis
from radiarch_contract import __version__, transport
from radiarch_contract.errors import ErrorCode, ErrorInfo
from radiarch_contract.job import AttemptStatus, JobResult, JobSpec, WorkerStatus
from radiarch_contract.states import Stage
from rq import Queue, Worker
from rq.exceptions import DequeueTimeout
from rq.job import JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import now as rq_now
from rq.utils import utcformat

from .jobs.preload import preload
from .jobs.probe import probe_engines
from .jobs.site_state import MachineData
from .runtime import context, process
from .runtime.durations import expected, remember
from .runtime.feed import WORKER_TTL_S, Client, Feed, connect
from .runtime.folders import WorkFolder
from .runtime.link import JobLink
from .runtime.progress import Progress
from .runtime.rqjob import PlanJob, RefusedJobError
from .runtime.supervise import Attempt
from .settings import Settings
from .site_folders import use_folders

log = logging.getLogger("radiarch.worker")

_DEQUEUE_S = 1
_QUEUE_TIMEOUT_S = 10
_BEAT_S = 1.0
_RQ_BEAT_S = 15.0
_REPROBE_S = 60.0
_PAUSE_S = 0.5
_KEEP_RESULT_S = 120.0
"""How long a delivered result is delivered again should Redis have lost it."""
_JOB_ID = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,5})")


class PlanWorker(Worker):
    """An RQ worker for plans: RQ's queue and records, our own way of running.

    Left out of RQ's worker: commands by publish/subscribe, the scheduler, its maintenance (which runs callbacks and
    retries), suspension, and its horse, which would speak to Redis. Here the job's process speaks to its worker only,
    and the worker is the one that can be cut off from Redis without harm.
    """

    job_class = PlanJob

    def __init__(self, settings: Settings) -> None:
        # of its own: RQ changes its time-outs, and a slow answer to its blocking call must not lose a job
        client = connect(settings.redis_url, timeout_s=_QUEUE_TIMEOUT_S)
        queue = Queue(transport.QUEUE_NAME, connection=client, job_class=PlanJob, serializer=JSONSerializer)
        super().__init__(
            [queue],
            name=settings.name,
            connection=client,
            serializer=JSONSerializer,
            prepare_for_work=False,  # it would need Redis now
            log_job_description=False,
            worker_ttl=WORKER_TTL_S + 45,
        )
        self.hostname, self.pid = socket.gethostname(), os.getpid()
        self.birth_date = rq_now()
        self._settings = settings
        use_folders(settings.site)
        self._machine_data = MachineData()
        self._queue = queue
        self._feed = Feed(connect(settings.redis_url))
        self._folder = WorkFolder(settings.work_dir, settings.name)
        self._started_at = datetime.now(UTC)
        self._stop = False
        self._engines: dict[str, dict[str, Any]] = {}
        self._probed_at = 0.0
        self._current: JobSpec | None = None
        self._beat_at = self._rq_beat_at = 0.0
        self._results: deque[tuple[float | None, JobResult]] = deque(maxlen=1000)
        self._guard: process.Guard

    @property
    def dequeue_timeout(self) -> int:
        return _DEQUEUE_S

    @property
    def connection_timeout(self) -> int:
        return _QUEUE_TIMEOUT_S

    # -- life ---------------------------------------------------------------------------------------------------

    def run(self, *, burst: bool = False) -> bool:
        """Work until a signal comes, or with ``burst`` until the queue is empty; False where engines do not run."""
        process.adopt_orphans()
        self._folder.claim()
        self._guard = process.Guard()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        log.info("worker %s, pid %d, up to %d threads a job", self.name, os.getpid(), self._settings.threads)
        preload(self._settings.threads, self._folder.cache)
        try:
            while not self._stop:
                self._beat()
                if not self._fit():
                    if burst:
                        return False
                    time.sleep(_PAUSE_S)
                    continue
                job = self._take()
                if job is not None:
                    self._work_on_safely(job)
                elif burst and self._feed.reachable:
                    break
            return True
        finally:
            self._leave()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True  # a running job goes back to the queue; see supervise.Verdict.STOPPING

    def _leave(self) -> None:
        deadline = time.monotonic() + 5
        while self._deliver() and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        self._feed.no_worker(self.name)
        self._feed.attempt("take the worker from RQ's list", lambda c: self._unregister(c))
        self._guard.stop()
        self._folder.release()
        log.info("worker %s has ended", self.name)

    # -- heartbeat ----------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at < _BEAT_S:
            return
        self._beat_at = now
        self._deliver()
        if self._probed_at:
            self._machine_data.look()
        state = "busy" if self._current else "idle" if self._probed_at and _fit(self._engines) else "unfit"
        self._feed.worker(
            WorkerStatus(
                name=self.name,
                host=str(self.hostname),
                pid=os.getpid(),
                version=__version__,
                started_at=self._started_at,
                heartbeat_at=datetime.now(UTC),
                state=state,
                plan_id=self._current.plan_id if self._current else None,
                engines=self._engines,
                machine_data=dict(self._machine_data.files),
                machine_data_problems=self._machine_data.problems,
            )
        )
        if now - self._rq_beat_at > _RQ_BEAT_S or not self._feed.reachable:
            self._rq_beat_at = now
            self._feed.attempt("tell RQ that the worker lives", lambda c: self._register(c, state))

    def _register(self, client: Client, state: str) -> None:
        """Write the whole record each time: it may have been flushed."""
        self.last_heartbeat = rq_now()
        with client.pipeline() as p:
            p.hset(self.key, mapping={**self.serialize(), "ip_address": "", "state": state})
            p.expire(self.key, self.worker_ttl)
            p.sadd(self.redis_workers_keys, self.key)
            p.sadd(f"rq:workers:{transport.QUEUE_NAME}", self.key)
            if self.execution is not None and self._current is not None:
                job = PlanJob(transport.job_id(self._current.plan_id, self._current.attempt), client)
                job.origin = transport.QUEUE_NAME
                self.execution.heartbeat(job.started_job_registry, self.worker_ttl, pipeline=p)
            p.execute()

    def _unregister(self, client: Client) -> None:
        with client.pipeline() as p:
            p.srem(self.redis_workers_keys, self.key)
            p.srem(f"rq:workers:{transport.QUEUE_NAME}", self.key)
            p.delete(self.key)
            p.execute()

    def _deliver(self) -> int:
        """Publish results that Redis has not, or may have lost since; returns how many were never delivered."""
        waiting = 0
        now = time.monotonic()
        for _ in range(len(self._results)):
            until, result = self._results.popleft()
            if until is not None and now > until:
                continue
            if until is None:
                until = now + _KEEP_RESULT_S if self._feed.result(result) else None
            elif self._feed.was_flushed(result.plan_id):
                self._feed.result(result)
            self._results.append((until, result))
            waiting += until is None
        return waiting

    # -- engines ------------------------------------------------------------------------------------------------

    def _fit(self) -> bool:
        """Whether the engines run here; a worker whose engines do not leaves the jobs to others."""
        now = time.monotonic()
        if not self._probed_at or (not _fit(self._engines) and now - self._probed_at > _REPROBE_S):
            self._engines = probe_engines(self._folder, self._guard, self._job_env, self._beat, lambda: self._stop)
            self._probed_at = time.monotonic()
            for name, found in self._engines.items():
                level = logging.INFO if found.get("available") else logging.ERROR
                log.log(level, "engine %s: %s %s", name, found.get("version"), found.get("reason") or "runs")
            self._beat_at = 0.0
            self._beat()
        return _fit(self._engines)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _take(self) -> PlanJob | None:
        """The next job, after at the most a second."""
        try:
            found = self.queue_class.dequeue_any(
                [self._queue], _DEQUEUE_S, self.connection, PlanJob, JSONSerializer, self.death_penalty_class
            )
        except DequeueTimeout:
            return None
        except redis.RedisError as e:
            if not self._feed.heal(e):
                self._feed.failed(e)
            time.sleep(_PAUSE_S)
            return None
        except (ValueError, TypeError) as e:  # an id that cannot be one of ours
            log.error("refused an entry of the queue: its id is not a job's id (%s)", type(e).__name__)
            self._forget(getattr(e, "job_id", ""))
            return None
        job = found[0] if found else None
        return job if isinstance(job, PlanJob) else None

    def _work_on_safely(self, job: PlanJob) -> None:
        """No job takes its worker down: what a fault of the worker itself stopped is said to be lost."""
        try:
            self._work_on(job)
        except Exception as e:
            log.exception("job %s: the worker failed", job.id)
            self._guard.forget()
            process.end(None, self._mark(job))
            process.reap_orphans(keep=[self._guard.pid])
            self._fail(job, ErrorCode.WORKER_LOST, f"the worker failed with {type(e).__name__}", retryable=True)
            time.sleep(_PAUSE_S)

    def _work_on(self, job: PlanJob) -> None:
        try:
            spec = job.specification()
        except RefusedJobError as e:
            self._refuse(job, str(e))
            return
        log.info("job %s: taken", job.id)
        self._current, self._beat_at = spec, 0.0
        self._feed.status(self._first_status(spec))  # first: the plugin, seeing it started, expects a heartbeat
        self._feed.attempt("record the job as started", lambda c: self._record_start(job))
        try:
            result = self._run_attempt(job, spec)
        finally:
            self._current = None
        if result is None:
            self._feed.attempt("give the job back", lambda c: self._give_back(job, spec))
            return
        self._results.append((None, result))
        self._beat_at = 0.0
        self._beat()
        reason = "" if result.error is None else f"{result.error.code}: {result.error.message}"
        self._feed.attempt("record the job's end", lambda c: self._record_end(job, reason))
        log.info("job %s: %s", job.id, reason or "done")

    def _first_status(self, spec: JobSpec) -> AttemptStatus:
        now = datetime.now(UTC)
        return AttemptStatus(
            plan_id=spec.plan_id,
            attempt=spec.attempt,
            stage=Stage.LOADING_DATA,
            progress=0.0,
            eta_s=None,
            worker=self.name,
            started_at=now,
            heartbeat_at=now,
        )

    def _run_attempt(self, job: PlanJob, spec: JobSpec) -> JobResult | None:
        settings = self._settings
        limit_s = min(job.timeout or settings.job_limit_s, settings.job_limit_s)
        with self._folder.job(job.id) as folder:
            mark = self._mark(job)
            child = process.start(
                lambda sock: self._in_job(sock, spec, folder), mark=mark, env=self._job_env(folder), folder=folder
            )
            self._guard.watch(child.pid, mark)
            usual = expected(self._folder.cache, spec.workflow_id)
            attempt = Attempt(
                spec,
                child,
                self._feed,
                Progress(usual.stages_s, now=time.monotonic(), s_per_unit=usual.s_per_unit),
                worker=self.name,
                limit_s=limit_s,
                stopping=lambda: self._stop,
                beat=self._beat,
            )
            outcome = attempt.run()
            self._guard.forget()
            process.reap_orphans(keep=[self._guard.pid])
        if outcome.result is not None and outcome.result.error is None:
            remember(self._folder.cache, spec.workflow_id, outcome.durations_s, outcome.work)
        return outcome.result

    def _in_job(self, sock: socket.socket, spec: JobSpec, folder: Path) -> None:
        """In the job's process, the function that the queue's entry named; there is only one."""
        self._guard.close_in_child()
        link = JobLink(sock)
        context.enter(context.JobContext(self._settings, link, folder, self.name))
        from .jobs.attempt import run_attempt

        run_attempt(spec.model_dump(mode="json"))

    def _job_env(self, folder: Path) -> Mapping[str, str]:
        return {
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "home" / ".config"),
            "XDG_CACHE_HOME": str(folder / "home" / ".cache"),
            "TMPDIR": str(folder / "tmp"),
            "MPLCONFIGDIR": str(folder / "home" / ".matplotlib"),
        }

    # -- RQ's records -------------------------------------------------------------------------------------------

    def _record_start(self, job: PlanJob) -> None:
        self.prepare_execution(job)
        with self.connection.pipeline() as p:
            job.prepare_for_execution(self.name, pipeline=p)
            self.set_current_job_id(job.id, pipeline=p)
            p.lrem(self._queue.intermediate_queue_key, 0, job.id)
            p.persist(job.key)
            p.execute()

    def _record_end(self, job: PlanJob, reason: str) -> None:
        if not self.connection.exists(job.key):
            return  # flushed: no half of a record is made
        status = JobStatus.FAILED if reason else JobStatus.FINISHED
        with self.connection.pipeline() as p:
            p.hset(job.key, mapping={"status": status.value, "ended_at": utcformat(rq_now())})
            p.expire(job.key, transport.TRANSPORT_TTL_S)
            p.lrem(self._queue.intermediate_queue_key, 0, job.id)
            # RQ's own way would write the job's whole hash anew, callbacks and all
            registry = job.failed_job_registry if reason else job.finished_job_registry
            p.zadd(registry.key, {job.id: time.time() + transport.TRANSPORT_TTL_S})
            if reason:
                Result.create_failure(job, transport.TRANSPORT_TTL_S, reason, worker_name=self.name, pipeline=p)
            for old in (job.failed_job_registry, job.finished_job_registry, job.started_job_registry):
                p.zremrangebyscore(old.key, 0, time.time())
            self.cleanup_execution(job, pipeline=p)
            p.execute()

    def _give_back(self, job: PlanJob, spec: JobSpec) -> None:
        self._feed.no_status(spec.plan_id, spec.attempt)
        if not self.connection.exists(job.key):
            return  # flushed: the plugin finds that the attempt is lost
        with self.connection.pipeline() as p:
            p.hset(job.key, mapping={"status": JobStatus.QUEUED.value})
            p.lpush(self._queue.key, job.id)  # it was the next once
            self.cleanup_execution(job, pipeline=p)
            p.execute()
        log.info("job %s: given back to the queue", job.id)

    def _refuse(self, job: PlanJob, why: str) -> None:
        log.error("job %s: refused: %s", job.id, why)
        self._feed.attempt("record the job as refused", lambda c: self._record_end(job, f"refused: {why}"))
        self._fail(job, ErrorCode.INVALID_REQUEST, f"the worker refused the job: {why}")

    def _fail(self, job: PlanJob, code: ErrorCode, message: str, *, retryable: bool = False) -> None:
        """Tell the plugin of a job that never became an attempt, if its id is one of the plugin's."""
        found = _JOB_ID.fullmatch(job.id)
        if found is None:
            return
        info = ErrorInfo(
            code=code,
            message=message,
            remedy="See the worker's log. Plugin and workers must be of one version, and nothing else may write to "
            "their Redis.",
        )
        result = JobResult(plan_id=found[1], attempt=int(found[2]), error=info, retryable=retryable, worker=self.name)
        self._results.append((None, result))
        self._deliver()

    def _mark(self, job: PlanJob) -> str:
        return f"{self.name}/{job.id}"

    def _forget(self, job_id: str) -> None:
        self._feed.attempt("drop the refused entry", lambda c: c.lrem(self._queue.intermediate_queue_key, 0, job_id))


def _fit(engines: Mapping[str, Mapping[str, Any]]) -> bool:
    return bool(engines) and all(e.get("available") for e in engines.values())


def main(settings: Settings, *, burst: bool = False) -> bool:
    """Run one worker until a signal stops it; False where it could not work."""
    return PlanWorker(settings).run(burst=burst)
