"""What is left to do for a session that has ended: stopping its engines, taking its jobs out of Redis."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from radiarch_contract import transport
from redis import Redis
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from radiarch_plugin.jobs.queue import RQ_WAITING, AttemptRef, JobQueue

from .session import write_json

ENDED = "ended.json"
WAIT = timedelta(minutes=2)
"""A worker that is cut off from Redis for longer has lost its attempt anyway, and finds nothing to store into."""
_FENCE_TTL_S = 24 * 3600


class Ended(BaseModel):
    """An ended session: numbers of attempts only, no patient, no file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ended_at: datetime
    attempts: dict[str, int]

    def save(self, folder: Path) -> None:
        write_json(folder / ENDED, self.model_dump_json())

    @classmethod
    def load(cls, folder: Path) -> Ended | None:
        try:
            return cls.model_validate_json((folder / ENDED).read_text("utf-8"))
        except (OSError, ValueError):
            return None


def stop_and_forget(ended: Ended, client: Redis, now: datetime) -> bool:
    """Shut the fences of all plans, wait for their processes, and delete what Redis has of them.

    To be called again and again until it is True. Raises `redis.RedisError`.
    """
    queue = JobQueue(client)
    newest = [AttemptRef(plan_id, attempt) for plan_id, attempt in ended.attempts.items()]
    for ref in newest:
        queue.set_fence(ref.plan_id, None)
        queue.withdraw(ref)
    if now - ended.ended_at < WAIT:
        for seen in queue.observe(newest).values():
            begun = seen.status is not None or (seen.rq is not None and seen.rq not in RQ_WAITING)
            if begun and seen.result is None:
                return False
    _forget(ended.attempts, client)
    return True


def _forget(attempts: Mapping[str, int], client: Redis) -> None:
    for plan_id, newest in attempts.items():
        for attempt in range(1, newest + 1):
            job_id = transport.job_id(plan_id, attempt)
            try:
                Job.fetch(job_id, connection=client, serializer=JSONSerializer).delete()
            except (NoSuchJobError, InvalidJobOperation, ValueError, TypeError, KeyError):
                client.delete(Job.key_for(job_id))
            client.delete(
                transport.attempt_key(plan_id, attempt),
                transport.result_key(plan_id, attempt),
                transport.log_key(plan_id, attempt),
            )
        # it names no more than a number, and keeps a worker that comes late from going on
        client.expire(transport.fence_key(plan_id), _FENCE_TTL_S)
