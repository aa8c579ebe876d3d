"""Redis as the plugin uses it: giving attempts to RQ, reading what workers say; deciding is `reconcile`'s business.

Whatever is read from here was written by others and is checked; nothing is unpickled or imported.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from pydantic import ValidationError
from radiarch_contract import __version__, series_of, transport
from radiarch_contract.job import AttemptStatus, JobResult, JobSpec, WorkerStatus
from radiarch_contract.redis_keys import is_wrong_type, move_wrong_types
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

log = logging.getLogger(__name__)

TIMEOUT_S = 3.0
MAX_WORKERS = 1000
LOG_LINES_AT_ONCE = 1000
ENDED_TTL_S = 600
_JOB_ID = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,8})")

RQ_WAITING = frozenset({"created", "queued", "deferred", "scheduled"})
RQ_ENDED = frozenset({"finished", "failed", "stopped", "canceled"})


@dataclass(frozen=True, order=True)
class AttemptRef:
    """One attempt at one plan."""

    plan_id: str
    attempt: int

    @property
    def job_id(self) -> str:
        return transport.job_id(self.plan_id, self.attempt)

    @classmethod
    def parse(cls, job_id: str) -> AttemptRef | None:
        """None where it is not a job id of ours."""
        found = _JOB_ID.fullmatch(job_id)
        return None if found is None else cls(found[1], int(found[2]))


@dataclass(frozen=True)
class Unreadable:
    """Something was there that is not what it should be; ``why`` names fields, not values."""

    why: str


@dataclass(frozen=True)
class Observation:
    """What Redis holds about one attempt at one moment.

    ``rq`` is RQ's status of the job, None where RQ knows no such job.
    """

    fence: str | None = None
    rq: str | None = None
    status: AttemptStatus | None = None
    result: JobResult | Unreadable | None = None


def connect(url: str) -> redis.Redis:
    """A client that fails soon and does not try again by itself: the loop that uses it does."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
    )


class JobQueue:
    """All calls raise `redis.RedisError` where Redis does not answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._queue = Queue(transport.QUEUE_NAME, connection=client, serializer=JSONSerializer)

    def ping(self) -> None:
        self._client.ping()

    def enqueue(self, spec: JobSpec, *, time_limit_s: float, at_front: bool = False) -> None:
        """Give an attempt to the workers; its fence first, so that it never runs without one.

        Parameters
        ----------
        at_front
            Whether it is taken before all that waits.
        """
        ref = AttemptRef(spec.plan_id, spec.attempt)
        self.set_fence(ref.plan_id, ref.attempt)
        self._queue.enqueue_call(
            transport.JOB_FUNCTION,
            args=(spec.model_dump(mode="json"),),
            job_id=ref.job_id,
            timeout=max(1, int(time_limit_s)),
            result_ttl=transport.TRANSPORT_TTL_S,
            failure_ttl=transport.TRANSPORT_TTL_S,
            at_front=at_front,
            description=ref.job_id,  # RQ's own would repeat the specification, patient and all, in logs
        )

    def set_fence(self, plan_id: str, attempt: int | None) -> None:
        """Let one attempt go on; None lets none."""
        value = transport.FENCE_CANCELLED if attempt is None else str(attempt)
        self._client.set(transport.fence_key(plan_id), value, ex=transport.TRANSPORT_TTL_S)

    def withdraw(self, ref: AttemptRef) -> bool:
        """Take a job back that no worker has begun. True where it was still in the queue."""
        removed = int(self._client.lrem(self._queue.key, 0, ref.job_id))
        if removed:
            try:
                Job.fetch(ref.job_id, connection=self._client, serializer=JSONSerializer).delete()
            except (NoSuchJobError, InvalidJobOperation):
                pass
            except (ValueError, TypeError, KeyError):  # RQ's record is broken: no worker will run it
                self._client.delete(Job.key_for(ref.job_id))
        return removed > 0

    def observe(self, refs: Sequence[AttemptRef]) -> dict[AttemptRef, Observation]:
        """Look at many attempts in one round trip.

        RQ's status is read before the result: where RQ says that a job has ended, a result that it has written is seen.
        """
        if not refs:
            return {}
        with self._client.pipeline(transaction=False) as p:
            for ref in refs:
                p.get(transport.fence_key(ref.plan_id))
                p.hget(Job.key_for(ref.job_id), "status")
                p.getrange(transport.attempt_key(*_key(ref)), 0, transport.MAX_STATUS_BYTES)
                p.getrange(transport.result_key(*_key(ref)), 0, transport.MAX_RESULT_BYTES)
            answers = [_absent_if_wrong_type(a) for a in p.execute(raise_on_error=False)]
        fields = zip(*[iter(answers)] * 4, strict=True)
        return {ref: _observation(ref, *found) for ref, found in zip(refs, fields, strict=True)}

    def log_lines(self, wanted: Mapping[AttemptRef, int]) -> dict[AttemptRef, list[str]]:
        """The next lines of each attempt's log, from the given position on; a bounded number of them."""
        if not wanted:
            return {}
        with self._client.pipeline(transaction=False) as p:
            for ref, start in wanted.items():
                p.lrange(transport.log_key(*_key(ref)), start, start + LOG_LINES_AT_ONCE - 1)
            answers = [_absent_if_wrong_type(a) for a in p.execute(raise_on_error=False)]
        return {
            ref: [line.decode("utf-8", "replace") for line in lines or ()]
            for ref, lines in zip(wanted, answers, strict=True)
        }

    def queued_job_ids(self) -> list[str]:
        """Jobs that no worker has taken, in their order."""
        found: list[Any] = self._client.lrange(self._queue.key, 0, -1)
        return [id_.decode("ascii", "replace") for id_ in found]

    def depth(self) -> int:
        return int(self._client.llen(self._queue.key))

    def workers(self) -> list[WorkerStatus]:
        """Workers whose heartbeat has not expired, by name; those of another minor version get no job."""
        keys: list[Any] = []
        for key in self._client.scan_iter(match=transport.worker_key("*"), count=1000):
            keys.append(key)
            if len(keys) >= MAX_WORKERS:
                break
        if not keys:
            return []
        found: list[WorkerStatus] = []
        for value in self._client.mget(keys):
            if value is None or len(value) > transport.MAX_STATUS_BYTES:
                continue
            if (status := _worker(value)) is not None:
                found.append(status)
        self._tell_of_others(found)
        return sorted(found, key=lambda w: w.name)

    def _tell_of_others(self, workers: Sequence[WorkerStatus]) -> None:
        """Log each worker of another minor version once, for as long as it lives."""
        others = frozenset((w.name, w.version) for w in workers if series_of(w.version) != series_of(__version__))
        for name, version in sorted(others - self._told):
            log.warning("worker %s is version %s, this plugin %s: it gets no job", name, version, __version__)
        self._told = others

    def expire(self, ref: AttemptRef) -> None:
        """Let what an ended attempt left go soon, but not at once: a worker delivers a result again that is gone."""
        with self._client.pipeline(transaction=False) as p:
            for key in (transport.attempt_key, transport.result_key, transport.log_key):
                p.expire(key(*_key(ref)), ENDED_TTL_S)
            p.execute()

    def move_wrong_types(self) -> list[str]:
        """Rename keys, ours and RQ's, that hold another type than they should; returns their names."""
        return move_wrong_types(self._client)

    def forget_log(self, ref: AttemptRef) -> None:
        self._client.delete(transport.log_key(*_key(ref)))


def _worker(data: bytes | str) -> WorkerStatus | None:
    """A heartbeat; of another version's, which may have further fields, what is known here."""
    try:
        fields = json.loads(data)
        if series_of(str(fields["version"])) != series_of(__version__):
            fields = {k: v for k, v in fields.items() if k in WorkerStatus.model_fields}
        return WorkerStatus.model_validate_json(json.dumps(fields))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):  # ValidationError is a ValueError
        log.warning("a worker's heartbeat in Redis cannot be read")
        return None


def _absent_if_wrong_type(answer: Any) -> Any:
    """A key of another type, which another program has written, counts as absent."""
    if isinstance(answer, redis.ResponseError) and is_wrong_type(answer):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _key(ref: AttemptRef) -> tuple[str, int]:
    return ref.plan_id, ref.attempt


def _observation(
    ref: AttemptRef, fence: bytes | None, rq: bytes | None, status: bytes | None, result: bytes | None
) -> Observation:
    return Observation(
        fence=None if fence is None else fence[:32].decode("ascii", "replace"),
        rq=None if rq is None else rq[:32].decode("ascii", "replace"),
        status=_status(ref, status),
        result=_result(ref, result),
    )


def _status(ref: AttemptRef, data: bytes | None) -> AttemptStatus | None:
    if not data:
        return None
    try:
        status = AttemptStatus.model_validate_json(data)
        json.dumps(status.model_dump(mode="json"), allow_nan=False)
    except ValueError:  # ValidationError is one
        log.warning("job %s: its status in Redis cannot be read; is the worker of another version?", ref.job_id)
        return None
    return status if (status.plan_id, status.attempt) == _key(ref) else None


def _result(ref: AttemptRef, data: bytes | None) -> JobResult | Unreadable | None:
    if not data:
        return None
    if len(data) > transport.MAX_RESULT_BYTES:
        return Unreadable(f"it is larger than {transport.MAX_RESULT_BYTES} bytes")
    try:
        result = JobResult.model_validate_json(data)
        json.dumps(result.model_dump(mode="json"), allow_nan=False)
    except ValidationError as e:
        fields = sorted({".".join(map(str, item["loc"])) for item in e.errors(include_url=False)})
        return Unreadable(f"wrong are {', '.join(fields[:5]) or 'all of it'}")
    except ValueError:
        return Unreadable("it has values that are not finite numbers")
    if (result.plan_id, result.attempt) != _key(ref):
        return Unreadable("it is of another plan or attempt")
    return result
