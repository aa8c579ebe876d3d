"""The worker's traffic with Redis; an unreachable Redis costs a moment, never a job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from radiarch_contract import transport
from radiarch_contract.job import AttemptStatus, JobResult, WorkerStatus
from radiarch_contract.redis_keys import is_wrong_type, move_wrong_types
from redis.backoff import NoBackoff
from redis.retry import Retry

from .bounds import attempt_text, worker_text

T = TypeVar("T")
Client = redis.Redis

_PAUSE_S = 0.5
_TIMEOUT_S = 2.0
WORKER_TTL_S = 15

log = logging.getLogger("radiarch.worker")


def connect(url: str, *, timeout_s: float = _TIMEOUT_S) -> Client:
    """A client that never waits long by default: its caller has a job to watch over."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=_TIMEOUT_S,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        health_check_interval=30,
    )


class Feed:
    """Writes status, log and results; after a failure it pauses for a moment instead of blocking its caller."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._quiet_until = 0.0
        self._down_since: float | None = None

    @property
    def reachable(self) -> bool:
        """False from a failed call until one that succeeds."""
        return self._down_since is None

    def fence(self, plan_id: str) -> tuple[bool, str | None]:
        """(whether Redis answered, the fence's value if it has one)."""
        answered, value = self._try(lambda c: c.get(transport.fence_key(plan_id)))
        return answered, value.decode("ascii", "replace") if isinstance(value, bytes) else None

    def status(self, status: AttemptStatus) -> bool:
        key = transport.attempt_key(status.plan_id, status.attempt)
        return self._try(lambda c: c.set(key, attempt_text(status), ex=transport.TRANSPORT_TTL_S))[0]

    def no_status(self, plan_id: str, attempt: int) -> bool:
        """The attempt was given back: it does not run."""
        return self._try(lambda c: c.delete(transport.attempt_key(plan_id, attempt)))[0]

    def log_lines(self, plan_id: str, attempt: int, lines: list[str], sent: int) -> int:
        """Append ``lines[sent:]``; everything anew where Redis has lost what was sent. Returns how many it has now."""
        key = transport.log_key(plan_id, attempt)
        if sent == len(lines):
            return sent

        def append(c: Client) -> int:
            with c.pipeline() as p:
                p.rpush(key, *lines[sent:])
                p.expire(key, transport.TRANSPORT_TTL_S)
                return int(p.execute()[0])

        def rewrite(c: Client) -> int:
            with c.pipeline() as p:
                p.delete(key)
                p.rpush(key, *lines)
                p.expire(key, transport.TRANSPORT_TTL_S)
                return int(p.execute()[1])

        answered, length = self._try(append)
        if not answered:
            return sent
        if length != len(lines):
            answered, length = self._try(rewrite)
        return len(lines) if answered else sent

    def result(self, result: JobResult) -> bool:
        """Publish an attempt's end, once: the first result stands. True when Redis has one."""
        key = transport.result_key(result.plan_id, result.attempt)

        def publish(c: Client) -> None:
            text = result.model_dump_json()
            there = not c.set(key, text, nx=True, ex=transport.TRANSPORT_TTL_S)
            if there and c.type(key) != b"string":  # not written by a worker, and not readable as a result
                c.set(key, text, ex=transport.TRANSPORT_TTL_S)

        return self._try(publish)[0]

    def was_flushed(self, plan_id: str) -> bool:
        """Whether Redis has lost what it held of a plan: the plugin removes results that it has taken, but no fence."""
        answered, value = self.fence(plan_id)
        return answered and value is None

    def worker(self, status: WorkerStatus) -> bool:
        return self._try(lambda c: c.set(transport.worker_key(status.name), worker_text(status), ex=WORKER_TTL_S))[0]

    def no_worker(self, name: str) -> bool:
        return self._try(lambda c: c.delete(transport.worker_key(name)))[0]

    def attempt(self, what: str, call: Callable[[Client], Any]) -> bool:
        """Any other call that may fail; ``what`` is for the log."""
        answered, _ = self._try(call)
        if not answered:
            log.warning("not done, Redis does not answer: %s", what)
        return answered

    def heal(self, error: redis.RedisError) -> bool:
        """Where a key of another type is the reason, put such keys aside; whether there were any."""
        if not is_wrong_type(error):
            return False
        try:
            moved = move_wrong_types(self._client)
        except redis.RedisError:
            return False
        for key in moved:
            log.error("Redis: the key %s had another type than it should and was put aside", key)
        return bool(moved)

    def failed(self, error: redis.RedisError) -> None:
        """A call failed; the next one is tried after a moment."""
        if self._down_since is None:
            self._down_since = self._clock()
            log.warning("Redis does not answer (%s); going on, trying again", type(error).__name__)
        self._quiet_until = self._clock() + _PAUSE_S

    def _try(self, call: Callable[[Client], T]) -> tuple[bool, T | None]:
        if self._clock() < self._quiet_until:
            return False, None
        try:
            try:
                value = call(self._client)
            except redis.ResponseError as e:
                if not self.heal(e):
                    raise
                value = call(self._client)
        except redis.RedisError as e:
            self.failed(e)
            return False, None
        if self._down_since is not None:
            log.warning("Redis answers again after %.0f s", self._clock() - self._down_since)
            self._down_since = None
        return True, value
