"""The queue is hostile: what anybody who can write to Redis puts there is neither run nor unpickled nor imported."""

from __future__ import annotations

import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from radiarch_contract import transport
from radiarch_contract.errors import ErrorCode
from radiarch_contract.job import JobSpec
from radiarch_worker.runtime.rqjob import PlanJob, RefusedJobError
from rq import Callback, Queue
from rq.serializers import DefaultSerializer, JSONSerializer

from .conftest import Bench, make_spec

pytestmark = pytest.mark.system


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self._path)!r}, 'w').close()",))


def put(bench: Bench, job_id: str, data: bytes, **fields: bytes | str) -> None:
    """A job as a hostile program writes it."""
    mapping: dict[Any, Any] = {"data": data, "origin": transport.QUEUE_NAME, **fields}
    bench.redis.hset(f"rq:job:{job_id}", mapping=mapping)
    bench.redis.rpush(f"rq:queue:{transport.QUEUE_NAME}", job_id)


def call(function: Any, *args: Any, instance: Any = None, **kwargs: Any) -> bytes:
    return zlib.compress(json.dumps([function, instance, list(args), kwargs]).encode())


def wait_until_refused(bench: Bench, job_id: str) -> None:
    bench.wait(lambda: bench.redis.zscore(f"rq:failed:{transport.QUEUE_NAME}", job_id), f"{job_id} is refused")
    assert bench.redis.hget(f"rq:job:{job_id}", "status") == b"failed"
    assert bench.redis.lrange(f"rq:queue:{transport.QUEUE_NAME}:intermediate", 0, -1) == []


def spec_json(spec: JobSpec) -> dict[str, Any]:
    value: dict[str, Any] = spec.model_dump(mode="json")
    return value


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "radiarch_worker.jobs.attempt.run_attempt.__globals__",
        "radiarch_worker.worker.main",
        "builtins.exec",
        "",
    ],
)
def test_another_function_is_refused_before_it_is_imported(shared: Bench, tmp_path: Path, name: str) -> None:
    job_id = f"other-{os.urandom(4).hex()}"
    put(shared, job_id, call(name, f"touch {tmp_path / 'ran'}"))
    wait_until_refused(shared, job_id)
    assert not (tmp_path / "ran").exists()
    assert shared.redis.hget(f"rq:job:{job_id}", "worker_name") is None, "it was never started"


def test_a_pickled_job_is_never_unpickled(shared: Bench, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    hostile = pickle.dumps((transport.JOB_FUNCTION, Payload(ran), (), {}))
    for n, data in enumerate((hostile, zlib.compress(hostile))):
        put(shared, f"pickled-{n}", data, meta=hostile, result=hostile, exc_info=hostile)
        wait_until_refused(shared, f"pickled-{n}")
    queue = Queue(transport.QUEUE_NAME, connection=shared.redis, serializer=DefaultSerializer)
    queue.enqueue(transport.JOB_FUNCTION, Payload(ran), job_id="pickled-by-rq")
    wait_until_refused(shared, "pickled-by-rq")
    assert not ran.exists()


def test_pickles_beside_a_good_call_are_not_read(shared: Bench, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    hostile = pickle.dumps(Payload(ran))
    spec = make_spec()
    put(
        shared,
        transport.job_id(spec.plan_id, 1),
        call(transport.JOB_FUNCTION, spec_json(spec)),
        meta=hostile,
        result=hostile,
        timeout="nonsense",
        retries_left="nonsense",
        webhooks='[{"url": "http://127.0.0.1:1/", "job_status": "finished"}]',
        dependency_ids='["x"]',
    )
    assert shared.wait_for_result(spec).error is None
    assert not ran.exists()


def test_callbacks_of_a_good_job_are_not_called(shared: Bench, tmp_path: Path) -> None:
    for behaviour in ("succeed", "crash"):
        spec = make_spec(behaviour)
        callbacks = {name: Callback("os.abort") for name in ("on_success", "on_failure", "on_stopped")}
        shared.submit(spec, **callbacks)
        result = shared.wait_for_result(spec)
        assert (result.error is None) == (behaviour == "succeed")
    following = make_spec()
    shared.submit(following)
    assert shared.wait_for_result(following).error is None, "the worker lives"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04not a pickle",
        b"[" * 100_000,
        b"null",
        b'{"a": 1}',
        b"[1, 2, 3]",
        b'["radiarch_worker.jobs.attempt.run_attempt", null, [], {}]',
        b'["radiarch_worker.jobs.attempt.run_attempt", null, [{}, {}], {}]',
        b'["radiarch_worker.jobs.attempt.run_attempt", null, [{}], {"spec": {}}]',
        b'["radiarch_worker.jobs.attempt.run_attempt", "instance", [{}], {}]',
        b'[["radiarch_worker.jobs.attempt.run_attempt"], null, [{}], {}]',
        zlib.compress(b" " * (transport.MAX_JOB_BYTES + 1)),
        b"x" * (transport.MAX_JOB_BYTES + 1),
    ],
    ids=lambda d: repr(d[:40]),
)
def test_what_is_no_call_is_refused(shared: Bench, data: bytes) -> None:
    job_id = f"odd-{os.urandom(4).hex()}"
    put(shared, job_id, data)
    wait_until_refused(shared, job_id)


@pytest.mark.parametrize("job_id", ["../../etc", "a b", "", "x" * 10_000, "Ä"])
def test_an_id_that_is_none_is_dropped(shared: Bench, job_id: str) -> None:
    put(shared, job_id, call(transport.JOB_FUNCTION, spec_json(make_spec())))
    following = make_spec()
    shared.submit(following)
    assert shared.wait_for_result(following).error is None


def test_a_specification_that_is_not_valid_is_told_to_the_plugin(shared: Bench) -> None:
    spec = make_spec()
    job_id = transport.job_id(spec.plan_id, spec.attempt)
    put(shared, job_id, call(transport.JOB_FUNCTION, {**spec_json(spec), "attempt": "first", "extra": 1}))
    wait_until_refused(shared, job_id)
    result = shared.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is ErrorCode.INVALID_REQUEST
    assert "attempt" in result.error.message
    assert not result.retryable


def test_a_specification_under_another_id_is_refused(shared: Bench) -> None:
    spec, other = make_spec(), make_spec()
    put(shared, transport.job_id(other.plan_id, 1), call(transport.JOB_FUNCTION, spec_json(spec)))
    wait_until_refused(shared, transport.job_id(other.plan_id, 1))
    assert shared.result(spec) is None


def test_commands_over_publish_subscribe_reach_nobody(shared: Bench) -> None:
    (worker,) = shared.workers
    name = (shared.status_of(worker) or {})["name"]
    for command in ("shutdown", "kill-horse", "stop-job"):
        assert shared.redis.publish(f"rq:pubsub:{name}", json.dumps({"command": command})) == 0


def test_rq_has_nothing_to_import_or_follow(shared: Bench) -> None:
    spec = make_spec()
    put(shared, "kept", call(transport.JOB_FUNCTION, spec_json(spec)), success_callback_name="os.abort")
    job = PlanJob.fetch("kept", shared.redis, DefaultSerializer)
    assert job.serializer is JSONSerializer
    assert [job.success_callback, job.failure_callback, job.stopped_callback] == [None, None, None]
    assert not job.should_retry
    with pytest.raises(RefusedJobError):
        _ = job.func
    with pytest.raises(RefusedJobError):
        job.restore({})
