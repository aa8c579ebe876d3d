"""A real worker process with a real Redis: how attempts end, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from radiarch_contract import transport
from radiarch_contract.errors import ErrorCode
from radiarch_contract.states import Stage
from rq import Queue
from rq.serializers import JSONSerializer

from tests.system.processes import alive, descendants, processes_in

from .conftest import Bench, make_spec

pytestmark = pytest.mark.system

CANCEL_S = 2.0


def _jobs_processes(bench: Bench) -> list[tuple[int, str]]:
    """What runs in the folders of jobs; the worker itself runs one level above."""
    return processes_in(bench.work_dir)


def test_a_job_that_succeeds_publishes_its_result_status_and_log(shared: Bench) -> None:
    (worker,) = shared.workers
    spec = make_spec()
    job_id = shared.submit(spec)
    result = shared.wait_for_result(spec)
    assert result.error is None, shared.log(spec)
    status = shared.status(spec)
    assert status is not None
    assert status.stage is Stage.EXPORTING
    assert status.progress == 1.0
    assert any("[job] here" in line for line in shared.log(spec))
    shared.wait(lambda: shared.redis.hget(f"rq:job:{job_id}", "status") == b"finished", "RQ knows")
    shared.wait(lambda: (s := shared.status_of(worker)) and s["state"] == "idle", "the worker is idle")
    assert not list((shared.work_dir / "workers").glob("*/*"))


def test_an_attempt_has_a_status_before_rq_says_that_it_has_started(shared: Bench) -> None:
    spec = make_spec()
    with shared.redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        job_id = shared.submit(spec)
        shared.wait_for_result(spec)
        shared.redis.echo("enough")
        commands: list[str] = []
        for command in monitor.listen():
            commands.append(str(command["command"]))
            if "ECHO" in commands[-1].upper():
                break
    status = next(n for n, c in enumerate(commands) if c.startswith(f"SET {transport.attempt_key(spec.plan_id, 1)}"))
    started = next(n for n, c in enumerate(commands) if c.startswith(f"HSET rq:job:{job_id}") and "status started" in c)
    assert status < started


@pytest.mark.parametrize("behaviour", ["tree", "spin", "deaf"])
def test_cancel_ends_every_process_of_the_job_and_says_so(shared: Bench, behaviour: str) -> None:
    (worker,) = shared.workers
    spec = make_spec(behaviour)
    shared.submit(spec)
    shared.wait_until_running(spec)
    running = [p for p in descendants(worker.pid) if alive(p)]
    assert len(running) >= (4 if behaviour == "tree" else 2)  # the job with its engines, and the guard
    shared.fence(spec, transport.FENCE_CANCELLED)
    shared.wait(lambda: not _jobs_processes(shared), "no process of the job lives", within_s=CANCEL_S)
    result = shared.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is ErrorCode.CANCELLED
    assert not result.retryable
    assert any("cancelled" in line for line in shared.log(spec))
    assert alive(worker.pid)


def test_an_attempt_that_another_has_replaced_is_ended(shared: Bench) -> None:
    spec = make_spec("tree")
    shared.submit(spec)
    shared.wait_until_running(spec)
    shared.fence(spec, "2")
    shared.wait(lambda: not _jobs_processes(shared), "no process of the job lives", within_s=CANCEL_S)
    result = shared.wait_for_result(spec)
    assert result.error is not None
    assert "another attempt" in result.error.message


@pytest.mark.parametrize("behaviour", ["hang", "spin", "deaf"])
def test_native_code_cannot_ignore_the_time_limit(shared: Bench, behaviour: str) -> None:
    spec = make_spec(behaviour)
    shared.submit(spec, job_timeout=2)
    result = shared.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is ErrorCode.TIME_LIMIT
    assert not _jobs_processes(shared)


def test_a_job_without_a_limit_has_the_workers_limit(bench: Bench) -> None:
    bench.add_worker(RADIARCH_JOB_LIMIT_S="1")
    spec = make_spec("hang")
    bench.submit(spec, job_timeout=-1)
    result = bench.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is ErrorCode.TIME_LIMIT


@pytest.mark.parametrize("behaviour", ["spin", "tree"])
def test_the_heartbeat_goes_on_while_native_code_runs(shared: Bench, behaviour: str) -> None:
    spec = make_spec(behaviour)
    shared.submit(spec)
    shared.wait_until_running(spec)
    first = shared.status(spec)
    assert first is not None
    shared.wait(lambda: (s := shared.status(spec)) and s.heartbeat_at > first.heartbeat_at, "a later heartbeat")
    shared.fence(spec, transport.FENCE_CANCELLED)
    shared.wait_for_result(spec)


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        ("crash", ErrorCode.WORKER_LOST, "SIGSEGV"),
        ("exit", ErrorCode.INTERNAL, "code 1"),
        ("raise", ErrorCode.INTERNAL, "code 1"),
    ],
)
def test_a_job_that_dies_is_told_with_its_cause(shared: Bench, behaviour: str, code: ErrorCode, words: str) -> None:
    spec = make_spec(behaviour)
    job_id = shared.submit(spec)
    result = shared.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is code
    assert words in result.error.message
    assert result.retryable
    shared.wait(lambda: shared.redis.hget(f"rq:job:{job_id}", "status") == b"failed", "RQ knows")
    if behaviour == "raise":
        assert any("ZeroDivisionError" in line for line in shared.log(spec))


def test_kill_of_the_jobs_process_takes_its_engines_along(shared: Bench) -> None:
    (worker,) = shared.workers
    spec = make_spec("tree")
    shared.submit(spec)
    shared.wait_until_running(spec)
    job = shared.job_process(worker)
    assert job is not None
    os.kill(job, signal.SIGKILL)
    result = shared.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is ErrorCode.WORKER_LOST
    assert "SIGKILL" in result.error.message
    assert result.retryable
    assert not _jobs_processes(shared)
    following = make_spec()
    shared.submit(following)
    assert shared.wait_for_result(following).error is None


@pytest.mark.parametrize("behaviour", ["tree", "spin"])
def test_kill_of_the_worker_leaves_no_process_and_the_next_worker_no_folder(bench: Bench, behaviour: str) -> None:
    worker = bench.add_worker()
    spec = make_spec(behaviour)
    bench.submit(spec)
    bench.wait_until_running(spec)
    below = descendants(worker.pid)
    worker.kill()
    bench.wait(lambda: not any(alive(p) for p in below), "nothing that it had started lives")
    assert not processes_in(bench.folder / "work")
    assert list((bench.work_dir / "workers").glob("*/*/home"))
    bench.add_worker()
    assert not list((bench.work_dir / "workers").glob("*/*/home"))
    assert bench.result(spec) is None


def test_a_stopped_worker_gives_its_job_back(bench: Bench) -> None:
    first = bench.add_worker()
    spec = make_spec("tree")
    job_id = bench.submit(spec)
    bench.wait_until_running(spec)
    first.stop()
    assert first.exit_code == 0
    assert not _jobs_processes(bench)
    assert bench.result(spec) is None
    assert bench.status(spec) is None
    assert bench.redis.hget(f"rq:job:{job_id}", "status") == b"queued"
    assert bench.redis.lrange(f"rq:queue:{transport.QUEUE_NAME}", 0, -1) == [job_id.encode()]
    assert not list((bench.work_dir / "workers").iterdir())
    bench.redis.delete(transport.log_key(spec.plan_id, spec.attempt))
    bench.add_worker()
    bench.wait_until_running(spec)
    bench.fence(spec, transport.FENCE_CANCELLED)
    bench.wait_for_result(spec)


def test_an_idle_worker_leaves_nothing_in_redis_or_on_disk(bench: Bench) -> None:
    worker = bench.add_worker()
    worker.stop()
    assert worker.exit_code == 0
    assert bench.redis.keys("*worker*") == []
    assert not list((bench.work_dir / "workers").iterdir())


def test_two_workers_run_two_jobs_at_once_in_folders_of_their_own(bench: Bench) -> None:
    bench.add_worker()
    bench.add_worker()
    specs = [make_spec("hang"), make_spec("hang")]
    for spec in specs:
        bench.submit(spec)
    for spec in specs:
        bench.wait_until_running(spec)
    assert len({bench.status(s).worker for s in specs}) == 2  # type: ignore[union-attr]
    assert len(list((bench.work_dir / "workers").glob("*/*/home"))) == 2
    for spec in specs:
        bench.fence(spec, transport.FENCE_CANCELLED)
        bench.wait_for_result(spec)


def test_a_job_has_its_own_home_and_leaves_none(shared: Bench) -> None:
    spec = make_spec("folders")
    shared.submit(spec)
    assert shared.wait_for_result(spec).error is None
    log = "\n".join(shared.log(spec))
    folder = f"/{transport.job_id(spec.plan_id, 1)}"
    for name, sub in (("HOME", "/home"), ("TMPDIR", "/tmp"), ("MPLCONFIGDIR", "/home/.matplotlib"), ("cwd", "")):
        assert any(f"[job] {name}=" in line and line.endswith(folder + sub) for line in log.splitlines()), log
    assert "secret=None" in log
    shared.wait(lambda: not list((shared.work_dir / "workers").glob("*/*")), "the folder is gone")


# -- Redis goes away ------------------------------------------------------------------------------------------------


def test_a_job_goes_on_without_redis_and_its_result_is_delivered_after(bench: Bench) -> None:
    bench.add_worker()
    spec = make_spec("slow")
    bench.submit(spec)
    bench.wait_until_running(spec)
    bench.server.kill()
    bench.start_redis()  # empty: it keeps nothing
    result = bench.wait_for_result(spec)
    assert result.error is None, bench.log(spec)
    assert any("[job] here" in line for line in bench.log(spec)), "the log is written anew"
    # and the worker goes on
    following = make_spec()
    bench.submit(following)
    assert bench.wait_for_result(following).error is None


def test_a_worker_that_starts_before_redis_waits_for_it(bench: Bench) -> None:
    bench.server.kill()
    worker = bench.add_worker(wait=False)
    bench.wait(lambda: "Redis does not answer" in worker.log(), "the worker has noticed")
    bench.start_redis()
    spec = make_spec()
    bench.submit(spec)
    assert bench.wait_for_result(spec).error is None


def test_a_cancel_reaches_the_job_after_redis_was_restarted(bench: Bench) -> None:
    bench.add_worker()
    spec = make_spec("tree")
    bench.submit(spec)
    bench.wait_until_running(spec)
    bench.server.kill()
    bench.start_redis()
    bench.wait(lambda: bench.status(spec), "the status is published again")
    bench.fence(spec, transport.FENCE_CANCELLED)
    bench.wait(lambda: not _jobs_processes(bench), "no process of the job lives", within_s=CANCEL_S)
    result = bench.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is ErrorCode.CANCELLED


def test_the_time_limit_holds_while_redis_is_frozen(bench: Bench) -> None:
    bench.add_worker()
    spec = make_spec("tree")
    bench.submit(spec, job_timeout=3)
    bench.wait_until_running(spec)
    os.kill(bench.server.pid, signal.SIGSTOP)  # connections stay open, nothing answers
    try:
        bench.wait(lambda: not _jobs_processes(bench), "the job is ended")
    finally:
        os.kill(bench.server.pid, signal.SIGCONT)
    result = bench.wait_for_result(spec)
    assert result.error is not None
    assert result.error.code is ErrorCode.TIME_LIMIT


def test_a_result_lost_by_a_flush_is_delivered_again(bench: Bench) -> None:
    worker = bench.add_worker()
    spec = make_spec()
    bench.submit(spec)
    result = bench.wait_for_result(spec)
    bench.redis.flushall()
    assert bench.wait_for_result(spec) == result
    bench.wait(lambda: bench.status_of(worker), "the worker tells again that it is there")


def test_the_first_result_of_an_attempt_stands(bench: Bench) -> None:
    spec = make_spec("hang")
    key = transport.result_key(spec.plan_id, spec.attempt)
    told = json.dumps({"plan_id": spec.plan_id, "attempt": 1, "worker": "the first"})
    bench.redis.set(key, told)
    bench.add_worker()
    bench.submit(spec)
    bench.wait_until_running(spec)
    bench.fence(spec, transport.FENCE_CANCELLED)
    bench.wait(lambda: not _jobs_processes(bench), "the job has ended")
    following = make_spec()
    bench.submit(following)
    bench.wait_for_result(following)
    assert bench.redis.get(key) == told.encode()


def test_a_lost_fence_does_not_stop_an_attempt(shared: Bench) -> None:
    spec = make_spec("slow")
    shared.submit(spec)
    shared.wait_until_running(spec)
    shared.redis.delete(transport.fence_key(spec.plan_id))
    assert shared.wait_for_result(spec).error is None


# -- log ------------------------------------------------------------------------------------------------------------


def test_what_engines_write_is_in_the_log(shared: Bench) -> None:
    spec = make_spec("print")
    shared.submit(spec)
    shared.wait_for_result(spec)
    log = shared.log(spec)
    assert sum("[out] words of an engine" in line for line in log) == 3
    assert any(line.endswith("[out] and its complaint, unfinished") for line in log)


def test_the_patients_name_is_not_in_the_log(shared: Bench) -> None:
    (worker,) = shared.workers
    spec = make_spec("named")
    shared.submit(spec)
    shared.wait_for_result(spec)
    log = "\n".join(shared.log(spec))
    assert "[patient]" in log
    for name in ("mustermann", "erika"):
        assert name not in log.lower()
        assert name not in worker.log().lower()


def test_a_flood_of_output_is_cut_to_lines_and_bounds(shared: Bench) -> None:
    spec = make_spec("flood")
    shared.submit(spec)
    assert shared.wait_for_result(spec).error is None
    log = shared.log(spec)
    assert sum("[out]" in line for line in log) == 3000
    assert all(len(line) < 600 and "\x1b" not in line for line in log)


def test_a_job_of_another_minor_version_is_not_taken(bench: Bench) -> None:
    other = Queue("radiarch-99.0", connection=bench.redis, serializer=JSONSerializer)
    other.enqueue(transport.JOB_FUNCTION, {"of": "the future"}, job_id=transport.job_id("f" * 32, 1))
    bench.add_worker()
    spec = make_spec()
    bench.submit(spec)
    assert bench.wait_for_result(spec).error is None
    assert other.job_ids == [transport.job_id("f" * 32, 1)]


@pytest.mark.parametrize("kind", ["string", "set"])
def test_keys_of_another_type_stop_no_worker(bench: Bench, kind: str) -> None:
    bench.add_worker()
    spec = make_spec()
    queue = transport.QUEUE_NAME
    names = (f"rq:workers:{queue}", f"rq:wip:{queue}", f"rq:finished:{queue}", f"rq:queue:{queue}:intermediate")
    for key in (*names, transport.log_key(spec.plan_id, 1), transport.result_key(spec.plan_id, 1)):
        bench.redis.delete(key)
        bench.redis.set(key, "x") if kind == "string" and "result" not in key else bench.redis.sadd(key, "x")
    bench.submit(spec)
    result_key, log_key = transport.result_key(spec.plan_id, 1), transport.log_key(spec.plan_id, 1)
    bench.wait(lambda: bench.redis.type(result_key) == b"string", "the result is one")
    bench.wait(lambda: bench.redis.type(log_key) == b"list", "the log is one")
    assert bench.wait_for_result(spec).error is None
    assert any("[job] here" in line for line in bench.log(spec))
    following = make_spec()
    bench.submit(following)
    assert bench.wait_for_result(following).error is None


# -- the queue is hostile -------------------------------------------------------------------------------------------


def test_burst_ends_when_the_queue_is_empty(bench: Bench, tmp_path: Path) -> None:
    specs = [make_spec(), make_spec()]
    for spec in specs:
        bench.submit(spec)
    worker = bench.add_worker(wait=False)
    worker.stop()
    burst = type(worker)("burst", [*worker._command, "--burst"], folder=tmp_path, env=worker._env)
    bench.workers.append(burst)
    burst.start()
    bench.wait(lambda: not burst.running, "the worker has ended")
    assert burst.exit_code == 0
    assert all(bench.result(s) is not None for s in specs)
