"""Somebody writes values of another type at RQ's keys or ours: they are put aside, and plans go on."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radiarch_contract import transport
from radiarch_contract.redis_keys import ASIDE, expected_type, move_wrong_types
from radiarch_contract.states import PlanState

from .conftest import RedisServer
from .samples import success
from .test_reconcile import World, world  # noqa: F401 - a fixture

TYPES = ("string", "list", "set", "zset", "hash", "stream")
FIXED = (
    "rq:queues",
    f"rq:queue:{transport.QUEUE_NAME}",
    f"rq:queue:{transport.QUEUE_NAME}:intermediate",
    "rq:workers",
    f"rq:workers:{transport.QUEUE_NAME}",
    *(f"rq:{r}:{transport.QUEUE_NAME}" for r in ("wip", "finished", "failed", "deferred", "scheduled", "canceled")),
)


def put(client: redis.Redis, key: str, kind: str) -> None:
    """Replace a key by one of another type."""
    client.delete(key)
    make: dict[str, Any] = {
        "string": lambda: client.set(key, "x"),
        "list": lambda: client.rpush(key, "x"),
        "set": lambda: client.sadd(key, "x"),
        "zset": lambda: client.zadd(key, {"x": 1}),
        "hash": lambda: client.hset(key, "x", "y"),
        "stream": lambda: client.xadd(key, {"x": "y"}),
    }
    make[kind]()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("when", ["before", "while it runs"])
def test_plans_go_on_whatever_stands_at_the_keys(world: World, kind: str, when: str) -> None:  # noqa: F811
    client = world.server.client
    if when == "before":
        for key in (k for k in FIXED if expected_type(k) != kind):
            put(client, key, kind)
        plan = world.plan()
        world.idle(6)  # an attempt that was being given to the queue just then is lost, and another one follows
        spec = world.take()
    else:
        plan, spec = world.running()
    own = (
        transport.fence_key(plan.id),
        transport.attempt_key(plan.id, spec.attempt),
        transport.log_key(plan.id, spec.attempt),
        f"rq:job:{transport.job_id(plan.id, spec.attempt)}",
    )
    for key in (k for k in (*FIXED, *own) if expected_type(k) != kind):
        put(client, key, kind)
    world.turn(6)
    world.turn()
    client.delete(transport.attempt_key(plan.id, spec.attempt))
    world.beat(spec, 1)
    world.turn()
    world.end(success(plan.id, spec.attempt))
    world.turn()
    assert world.get(plan).state is PlanState.SUCCEEDED
    other = world.plan()
    for _ in range(3):
        world.turn(6)
    assert any(job_id.startswith(other.id) for job_id in world.listed())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from([*FIXED, "rq:worker:w", "radiarch:log:x:1", "other:key"]), st.sampled_from(TYPES))
    )
)
def test_what_is_right_and_what_is_not_ours_stays(redis_server: RedisServer, keys: list[tuple[str, str]]) -> None:
    client = redis_server.client
    client.flushall()
    for key, kind in keys:
        put(client, key, kind)
    before = dict(keys)
    moved = move_wrong_types(client)
    assert set(moved) == {k for k, kind in before.items() if expected_type(k) not in (None, kind)}
    for key in before:
        assert client.exists(key) != (key in moved)
        assert client.exists(ASIDE + key) == (key in moved)
    assert move_wrong_types(client) == []
