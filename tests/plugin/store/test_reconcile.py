"""The reconcile loop, turn by turn, on a real Redis; the test writes what a worker would write, and turns the clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from radiarch_contract import transport
from radiarch_contract.errors import ErrorCode, ServiceError
from radiarch_contract.job import JobResult, JobSpec, Output, WorkerStatus
from radiarch_contract.states import PlanState, Priority, Stage
from radiarch_plugin.jobs import decide
from radiarch_plugin.jobs.queue import AttemptRef, JobQueue
from radiarch_plugin.jobs.reconcile import CLEANUP_S, MAX_QUEUED, Reconciler
from radiarch_plugin.jobs.turns import BLOCK
from radiarch_plugin.store import EventKind, Ownership, PlanView, Store, SupersededResults
from radiarch_plugin.store.lifecycle import supersede
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.plugin.store.conftest import RedisServer
from tests.plugin.store.samples import T0, failed, failure, new_plan, outputs, status, success
from tests.system.processes import wait_for

LOST = transport.LOST_AFTER_S + 1
"""Long enough that silence means loss."""


class Stored:
    """Orthanc, as far as results are concerned: what is wrong with them, and of which plans they were removed."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.asked: list[Sequence[Output]] = []
        self.removed: list[str] = []
        self.superseded: list[tuple[str, bool]] = []
        self.refuses = 0

    def missing(self, outputs: Sequence[Output]) -> list[str]:
        self.asked.append(outputs)
        self._answer()
        return self.wrong

    def remove(self, plan_id: str) -> None:
        self.removed.append(plan_id)
        self._answer()

    def supersede(self, plan_id: str, *, remove: bool) -> None:
        self.superseded.append((plan_id, remove))
        self._answer()

    def _answer(self) -> None:
        if self.refuses:
            self.refuses -= 1
            raise ServiceError("not now", remedy="wait", code=ErrorCode.ORTHANC_UNAVAILABLE)


@dataclass
class World:
    """Store, Redis and the loop between them."""

    store: Store
    queue: JobQueue
    server: RedisServer
    owner: Ownership
    now: float = 1000.0
    results: Stored = field(default_factory=lambda: Stored())

    def __post_init__(self) -> None:
        self.loop = self.new_loop()

    def new_loop(self) -> Reconciler:
        """As after a restart of Orthanc."""
        return Reconciler(self.store, self.queue, self.owner, results=self.results, monotonic=lambda: self.now)

    @property
    def removed(self) -> list[str]:
        return self.results.removed

    def turn(self, after_s: float = 0.5) -> None:
        self.now += after_s
        self.loop.turn()

    def idle(self, seconds: float) -> None:
        """Let time pass in which nobody says anything."""
        for _ in range(int(seconds) + 1):
            self.turn(1.0)

    # -- what a worker does --------------------------------------------------------------------------------------

    @property
    def rq(self) -> Queue:
        return Queue(transport.QUEUE_NAME, connection=self.server.client, serializer=JSONSerializer)

    def take(self) -> JobSpec:
        """Take the next job from RQ, and record that."""
        job_id = self.rq.pop_job_id()
        assert job_id is not None, "there is a job in the queue"
        job = Job.fetch(job_id, connection=self.server.client, serializer=JSONSerializer)
        assert job.func_name == transport.JOB_FUNCTION
        self.rq_status(job_id, "started")
        return JobSpec.model_validate_json(json.dumps(job.args[0]))

    def rq_status(self, job_id: str, value: str) -> None:
        self.server.client.hset(Job.key_for(job_id), "status", value)

    def beat(
        self, spec: JobSpec, n: int, progress: float = 0.1, stage: Stage = Stage.LOADING_DATA, worker: str = "w"
    ) -> None:
        told = status(spec.plan_id, spec.attempt, progress, stage, n).model_copy(update={"worker": worker})
        self.server.client.set(transport.attempt_key(spec.plan_id, spec.attempt), told.model_dump_json())

    def log(self, spec: JobSpec, *lines: str) -> None:
        self.server.client.rpush(transport.log_key(spec.plan_id, spec.attempt), *lines)

    def end(self, result: JobResult) -> None:
        self.server.client.set(transport.result_key(result.plan_id, result.attempt), result.model_dump_json())

    def fence(self, plan_id: str) -> str | None:
        value: Any = self.server.client.get(transport.fence_key(plan_id))
        return None if value is None else value.decode()

    # -- shorthand -----------------------------------------------------------------------------------------------

    def plan(self, **changes: Any) -> PlanView:
        return self.store.plans.create(new_plan(**changes))[0]

    def get(self, plan: PlanView) -> PlanView:
        return self.store.plans.get(plan.id)

    def get_id(self, plan_id: str) -> PlanView:
        return self.store.plans.get(plan_id)

    def running(self, **changes: Any) -> tuple[PlanView, JobSpec]:
        """A plan that a worker is at."""
        plan = self.plan(**changes)
        self.turn()
        spec = self.take()
        assert spec.plan_id == plan.id
        self.beat(spec, 0)
        self.turn()
        assert self.get(plan).state is PlanState.RUNNING
        return plan, spec

    def listed(self) -> list[str]:
        return self.queue.queued_job_ids()

    def kinds(self, plan: PlanView) -> list[EventKind]:
        return [e.kind for e in self.store.journal.events_since(plan.id).items]


@pytest.fixture
def world(sqlite_store: Store, queue: JobQueue, redis_server: RedisServer, owner: Ownership) -> World:
    return World(sqlite_store, queue, redis_server, owner)


class TestTheStraightWay:
    def test_from_queued_to_succeeded(self, world: World) -> None:
        plan, spec = world.running()
        assert spec == world.store.attempts.spec(plan.id)
        assert spec.structures == plan.structures
        assert world.fence(plan.id) == "1"
        for n, (progress, stage) in enumerate([(0.2, Stage.BUILDING_PLAN), (0.6, Stage.OPTIMIZING)], 1):
            world.beat(spec, n, progress, stage)
            world.turn()
            found = world.get(plan)
            assert (found.progress, found.stage, found.worker, found.eta_s) == (progress, stage, "w", 10.0)
        world.end(success(plan.id, 1))
        world.turn()
        done = world.get(plan)
        assert (done.state, done.progress, done.attempt, done.failures) == (PlanState.SUCCEEDED, 1.0, 1, 0)
        assert [o.orthanc_id for o in done.outputs if o.orthanc_id] == [
            o.orthanc_id for o in sorted(outputs(plan.id), key=lambda o: o.kind)
        ]
        assert world.removed == []
        assert not world.listed()

    def test_a_job_quicker_than_the_loop(self, world: World) -> None:
        plan = world.plan()
        world.turn()
        spec = world.take()
        world.log(spec, "all at once")
        world.end(success(plan.id, 1))
        world.rq_status(transport.job_id(plan.id, 1), "finished")
        world.turn()
        assert world.get(plan).state is PlanState.SUCCEEDED
        assert world.store.journal.log_since(plan.id).lines == ("all at once",)

    def test_first_come_first_served_in_portions(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("radiarch_plugin.jobs.reconcile.MAX_QUEUED", 3)
        plans = [world.plan() for _ in range(5)]
        world.turn()
        assert world.listed() == [transport.job_id(p.id, 1) for p in plans[:3]]
        spec = world.take()
        world.beat(spec, 0)
        world.turn()
        world.turn()
        assert world.listed() == [transport.job_id(p.id, 1) for p in plans[1:4]]
        assert MAX_QUEUED >= 100

    def test_interactive_before_batch_and_no_batch_job_for_ever(self, world: World) -> None:
        batch = [world.plan(priority=Priority.BATCH).id for _ in range(3)]
        world.turn()
        asked = [world.plan().id for _ in range(2 * BLOCK + 1)]
        world.turn()
        assert [world.get_id(i).queue_position for i in (*asked, *batch)] == list(range(1, 2 * BLOCK + 5))
        begun = []
        for n in range(len(asked) + len(batch)):
            spec = world.take()
            begun.append(spec.plan_id)
            world.beat(spec, n)
            world.turn()  # sees that it has begun
            world.turn()  # and gives others
        assert begun == [
            *asked[:BLOCK], batch[0], *asked[BLOCK : 2 * BLOCK], batch[1], asked[2 * BLOCK], batch[2],
        ]  # fmt: skip
        assert world.get_id(batch[2]).queue_position is None

    def test_interactive_ones_without_end_leave_batch_its_turn(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("radiarch_plugin.jobs.reconcile.MAX_QUEUED", 2)
        batch = world.plan(priority=Priority.BATCH).id
        for _ in range(3):
            world.plan()
        for n in range(4 * BLOCK):
            world.plan()
            world.turn()
            spec = world.take()
            if spec.plan_id == batch:
                return
            world.beat(spec, n)
        pytest.fail("the batch job was never begun")

    def test_those_that_wait_in_front_are_not_overtaken(self, world: World) -> None:
        """Interactive ones stay in their order, whenever they come."""
        world.plan(priority=Priority.BATCH)
        world.turn()
        first = world.plan().id
        world.turn()
        second = world.plan().id
        world.turn()
        assert world.take().plan_id == first
        world.beat(world.store.attempts.spec(first), 0)
        world.turn()
        world.turn()
        assert world.take().plan_id == second

    def test_the_patient_is_not_in_rqs_description(self, world: World) -> None:
        plan = world.plan(patient_id="SECRET-NAME")
        world.turn()
        job = Job.fetch(transport.job_id(plan.id, 1), connection=world.server.client, serializer=JSONSerializer)
        assert "SECRET" not in str(job.description)
        assert job.timeout == int(plan.time_limit_s)

    def test_the_log_is_taken_whole_and_once(self, world: World) -> None:
        plan, spec = world.running()
        lines = [f"line {n}" for n in range(2500)]
        world.log(spec, *lines[:10])
        world.turn()
        assert world.store.journal.log_since(plan.id).lines == tuple(lines[:10])
        world.turn()
        world.log(spec, *lines[10:])
        world.end(success(plan.id, 1))
        world.turn()
        assert world.store.journal.log_since(plan.id).lines == tuple(lines)
        assert world.store.journal.log_since(plan.id).complete

    def test_progress_is_written_when_the_heartbeat_changes_only(self, world: World) -> None:
        plan, spec = world.running()
        before = world.get(plan)
        world.turn()
        assert world.get(plan) == before
        world.beat(spec, 1, 0.0)
        world.turn()
        assert world.get(plan).progress == before.progress


class TestFailures:
    def test_what_would_fail_again_fails_at_once(self, world: World) -> None:
        plan, _ = world.running()
        world.end(failed(plan.id, 1, retryable=False, code=ErrorCode.NO_TARGET))
        world.turn()
        found = world.get(plan)
        assert (found.state, found.failures) == (PlanState.FAILED, 1)
        assert found.error == failure(ErrorCode.NO_TARGET)
        world.turn()
        assert world.fence(plan.id) == transport.FENCE_CANCELLED
        assert world.removed == [plan.id], "half a set is taken away"

    def test_what_may_succeed_is_tried_three_times_after_pauses(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decide, "BACKOFF_S", (0.0,))
        plan, spec = world.running()
        for attempt in (1, 2, 3):
            assert spec.attempt == attempt
            world.end(failed(plan.id, attempt, retryable=True, code=ErrorCode.ORTHANC_UNAVAILABLE))
            world.turn()
            world.turn()
            if attempt < 3:
                spec = world.take()
        assert world.listed() == []
        found = world.get(plan)
        assert (found.state, found.failures) == (PlanState.FAILED, 3)
        assert found.error is not None
        assert found.error.code is ErrorCode.ORTHANC_UNAVAILABLE, "its cause, not that it was tried often"
        assert found.error.details["attempts_failed"] == 3
        assert world.kinds(plan).count(EventKind.RETRY) == 2

    def test_a_pause_is_kept(self, world: World) -> None:
        plan, _ = world.running()
        world.end(failed(plan.id, 1, retryable=True))
        world.turn()
        world.turn()
        assert world.get(plan).state is PlanState.QUEUED
        assert world.listed() == []
        assert world.fence(plan.id) == transport.FENCE_CANCELLED, "the failed attempt may not go on meanwhile"

    @pytest.mark.parametrize(
        "text",
        ["no json", "{}", '{"plan_id": "x"}', "[]", "\udcff", "null", '{"plan_id": "%s", "attempt": 7}', "NaN"],
    )
    def test_a_result_that_is_none_fails_the_plan_and_says_so(self, world: World, text: str) -> None:
        plan, _ = world.running()
        data = text.replace("%s", plan.id).encode(errors="surrogateescape")
        world.server.client.set(transport.result_key(plan.id, 1), data)
        world.turn()
        found = world.get(plan)
        assert found.state is PlanState.FAILED
        assert found.error is not None
        assert "cannot be read" in found.error.message

    def test_results_of_a_superseded_plan_are_looked_after_until_it_is_done(self, world: World) -> None:
        plan, _ = world.running()
        world.end(success(plan.id, 1))
        world.turn()
        assert world.get(plan).state is PlanState.SUCCEEDED
        with world.store.database.write() as session:
            owner, now = (plan.patient_id, plan.study_instance_uid), world.store.plans.now()
            supersede(session, plan.rtstruct_sop_instance_uid, owner, now, by=None, error=failure())
        world.results.refuses = 1
        for _ in range(3):
            world.turn(10.0)
        assert world.results.superseded == [(plan.id, False)] * 3  # nothing was recorded, so it is tried again
        world.store.plans.set_superseded_results(plan.id, SupersededResults.MARKED, [])
        world.turn(10.0)
        assert len(world.results.superseded) == 3

    @pytest.mark.parametrize("outputs_", ["none", "one", "foreign"])
    def test_success_without_the_plans_own_results_is_none(self, world: World, outputs_: str) -> None:
        plan, _ = world.running()
        own = outputs(plan.id)
        claimed = {"none": (), "one": own[:1], "foreign": outputs("0" * 32)}[outputs_]
        world.end(success(plan.id, 1).model_copy(update={"outputs": claimed}))
        world.turn()
        found = world.get(plan)
        assert found.state is PlanState.FAILED
        assert found.error is not None
        assert found.error.code is ErrorCode.INTERNAL

    def test_numbers_that_are_none_are_no_result(self, world: World) -> None:
        plan, _ = world.running()
        text = success(plan.id, 1).model_dump_json().replace('"uncertainty_percent":1.5', '"uncertainty_percent":NaN')
        world.server.client.set(transport.result_key(plan.id, 1), text)
        world.turn()
        assert world.get(plan).state is PlanState.FAILED

    def test_a_worker_that_does_not_keep_the_time_limit(self, world: World) -> None:
        plan, spec = world.running(time_limit_s=60)
        for n in range(1, 36):
            assert world.get(plan).state is PlanState.RUNNING
            world.beat(spec, n)
            world.turn(10)
        world.beat(spec, 36)
        world.turn(11)
        found = world.get(plan)
        assert found.error is not None
        assert found.error.code is ErrorCode.TIME_LIMIT

    def test_one_plan_that_cannot_be_looked_after_does_not_stop_the_others(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, spec = world.running()
        other, other_spec = world.running()
        real = world.store.attempts.succeed

        def succeed(result: JobResult) -> bool:
            if result.plan_id == one.id:
                raise RuntimeError("a defect")
            return real(result)

        monkeypatch.setattr(world.store.attempts, "succeed", succeed)
        world.end(success(one.id, 1))
        world.end(success(other.id, 1))
        world.turn()
        assert world.get(other).state is PlanState.SUCCEEDED
        monkeypatch.undo()
        world.turn()
        assert world.get(one).state is PlanState.SUCCEEDED
        assert spec.plan_id != other_spec.plan_id


class TestWhatOrthancHas:
    def test_a_plan_succeeds_after_orthanc_was_asked(self, world: World) -> None:
        plan, _ = world.running()
        world.results.refuses = 2
        world.end(success(plan.id, 1))
        for _ in range(2):
            world.turn()
            assert world.get(plan).state is PlanState.RUNNING
        world.turn()
        assert world.get(plan).state is PlanState.SUCCEEDED
        assert world.results.asked[-1] == outputs(plan.id)

    def test_an_orthanc_that_cannot_be_asked_holds_up_one_plan_only(self, world: World) -> None:
        plan, _ = world.running()
        other, spec = world.running()
        world.results.refuses = 100
        world.end(success(plan.id, 1))
        world.beat(spec, 1, 0.7)
        world.turn()
        assert world.get(other).progress == 0.7

    def test_outputs_that_are_not_there_are_another_try_and_then_a_failure(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decide, "BACKOFF_S", (0.0,))
        world.results.wrong = ["rtdose (1.2.3) is stored 0 times"]
        plan, spec = world.running()
        for attempt in (1, 2, 3):
            assert spec.attempt == attempt
            world.end(success(plan.id, attempt))
            world.turn()
            world.turn()
            if attempt < 3:
                spec = world.take()
        found = world.get(plan)
        assert found.state is PlanState.FAILED
        assert found.error is not None
        assert found.error.code is ErrorCode.OUTPUTS_MISSING
        assert "rtdose (1.2.3) is stored 0 times" in found.error.message
        assert world.removed.count(plan.id) == 3


class TestLosses:
    def test_a_worker_that_falls_silent_is_lost(self, world: World) -> None:
        plan, spec = world.running()
        world.idle(transport.LOST_AFTER_S - 2)
        assert world.get(plan).attempt == 1
        world.idle(4)
        found = world.get(plan)
        assert (found.state, found.attempt, found.failures) == (PlanState.QUEUED, 2, 1)
        assert world.fence(plan.id) == "2"
        again = world.take()
        assert again == spec.model_copy(update={"attempt": 2})

    def test_a_job_that_has_waited_long_has_its_whole_time_from_when_it_is_taken(self, world: World) -> None:
        plan = world.plan()
        world.idle(2 * LOST)
        world.take()
        world.idle(transport.LOST_AFTER_S - 2)
        assert world.get(plan).attempt == 1
        world.idle(4)
        assert world.get(plan).attempt == 2

    def test_after_three_losses_the_plan_has_failed_with_its_cause(self, world: World) -> None:
        plan, _ = world.running()
        for attempt in (1, 2, 3):
            assert world.get(plan).attempt == attempt
            world.idle(LOST)
            world.turn()
            if attempt < 3:
                world.beat(world.take(), 0)
        found = world.get(plan)
        assert found.state is PlanState.FAILED
        assert found.error is not None
        assert found.error.code is ErrorCode.WORKER_LOST

    def test_who_comes_back_too_late_changes_nothing(self, world: World) -> None:
        plan, spec = world.running()
        world.idle(LOST)
        world.end(success(plan.id, 1))
        world.beat(spec, 1, 0.9)
        world.turn()
        assert world.get(plan).state is PlanState.QUEUED
        second = world.take()
        assert second.attempt == 2
        world.end(success(plan.id, 2))
        world.turn()
        assert world.get(plan).state is PlanState.SUCCEEDED
        assert world.fence(plan.id) == "2"

    @pytest.mark.parametrize("days", [1, -1, 400, -400])
    def test_a_wall_clock_that_is_set_changes_nothing(self, world: World, days: float) -> None:
        def jumped() -> datetime:
            return datetime.now(UTC) + timedelta(days=days)

        plan, spec = world.running()
        retried, _ = world.running()
        cancelled, _ = world.running()
        world.end(failed(retried.id, 1, retryable=True))
        world.store.plans.cancel(cancelled.id)
        world.turn()
        for part in (world.store.plans, world.store.attempts, world.store.arrivals):
            part._now = jumped
        for n in range(1, 5):
            world.beat(spec, n)
            world.turn(1.0)
            assert world.get(plan).state is PlanState.RUNNING
            assert world.listed() == [], "its pause is five seconds"
            assert world.fence(cancelled.id) == transport.FENCE_CANCELLED
        world.turn(2.0)
        assert world.listed() == [transport.job_id(retried.id, 2)]
        world.end(success(plan.id, 1))
        world.turn()
        assert (world.get(plan).state, world.get(plan).attempt) == (PlanState.SUCCEEDED, 1)
        world.idle(CLEANUP_S)
        assert world.store.attempts.ended_unclean() == []

    def test_a_clock_that_is_wrong_by_years_is_no_loss(self, world: World) -> None:
        plan, spec = world.running()  # its heartbeats are of T0
        for n in range(1, 40):
            world.beat(spec, n)
            world.turn(1.0)
        assert T0.year < world.get(plan).created_at.year or world.get(plan).attempt == 1
        assert world.get(plan).attempt == 1

    @pytest.mark.parametrize("end", ["finished", "failed", "stopped", "canceled"])
    def test_a_job_that_ended_without_a_result_is_lost_soon(self, world: World, end: str) -> None:
        plan, spec = world.running()
        world.rq_status(transport.job_id(plan.id, 1), end)
        for n in range(1, 9):
            world.beat(spec, n)
            world.turn(1.0)
        found = world.get(plan)
        assert (found.attempt, found.failures) == (2, 1)

    def test_a_job_that_was_taken_and_not_heard_of_again(self, world: World) -> None:
        """The worker died between taking the id from the list and recording so: RQ still says 'queued'."""
        plan = world.plan()
        world.turn()
        assert world.rq.pop_job_id() == transport.job_id(plan.id, 1)
        world.idle(3 * LOST)
        found = world.get(plan)
        assert (found.state, found.attempt, found.failures) == (PlanState.QUEUED, 2, 0), "nobody had begun it"
        assert world.listed() == [transport.job_id(plan.id, 2)]

    def test_waiting_in_the_queue_is_no_loss_however_long(self, world: World) -> None:
        plan = world.plan()
        world.idle(5 * LOST)
        assert world.listed() == [transport.job_id(plan.id, 1)]
        assert world.get(plan).attempt == 1

    def test_a_stopping_worker_gives_its_job_back(self, world: World) -> None:
        plan, spec = world.running()
        world.log(spec, "first", "second")
        world.turn()
        world.server.client.delete(transport.attempt_key(plan.id, 1))
        world.rq_status(transport.job_id(plan.id, 1), "queued")
        world.server.client.lpush(world.rq.key, transport.job_id(plan.id, 1))
        world.turn()
        found = world.get(plan)
        assert (found.state, found.attempt, found.failures, found.progress) == (PlanState.QUEUED, 1, 0, 0.0)
        world.idle(LOST)
        assert world.take() == spec
        world.log(spec, "anew")
        world.beat(spec, 5, worker="another")
        world.turn()
        assert world.get(plan).state is PlanState.RUNNING
        assert world.store.journal.log_since(plan.id).lines == ("first", "second", "anew")


class TestRedis:
    def test_flushed_while_queued(self, world: World) -> None:
        plans = [world.plan() for _ in range(3)]
        world.turn()
        world.server.client.flushall()
        world.idle(decide.UNKNOWN_GRACE_S + 1)
        assert world.listed() == [transport.job_id(p.id, 2) for p in plans]
        assert all(world.get(p).failures == 0 for p in plans)

    def test_flushed_while_running(self, world: World) -> None:
        plan, spec = world.running()
        world.log(spec, "before")
        world.turn()
        world.server.client.flushall()
        for n in range(1, 30):
            world.beat(spec, n)
            world.turn(1.0)
        assert world.fence(plan.id) == "1", "written again"
        world.log(spec, "before", "after")  # a worker writes all of its log again
        world.end(success(plan.id, 1))
        world.turn()
        found = world.get(plan)
        assert (found.state, found.attempt) == (PlanState.SUCCEEDED, 1)
        assert world.store.journal.log_since(plan.id).lines == ("before", "after")

    def test_away_for_long_loses_nobody(self, world: World) -> None:
        plan, spec = world.running()
        queued = world.plan()
        world.turn()
        world.server.stop()
        world.loop.start()
        problem = _until(lambda: world.loop.problem)
        assert problem.code is ErrorCode.QUEUE_UNAVAILABLE
        world.loop.stop()
        world.now += 1000
        world.server.start()
        world.beat(spec, 1)
        world.turn()
        assert world.get(plan).state is PlanState.RUNNING
        world.beat(spec, 2)
        world.end(success(plan.id, 1))
        world.idle(decide.UNKNOWN_GRACE_S + 1)
        assert world.get(plan).state is PlanState.SUCCEEDED
        assert world.listed() == [transport.job_id(queued.id, 2)]

    def test_restored_from_an_old_snapshot(self, world: World) -> None:
        """Jobs of plans that have ended, and of attempts that are over, are not run again."""
        done, spec = world.running()
        world.end(success(done.id, 1))
        world.turn()
        lost, _ = world.running()
        world.idle(LOST)
        for plan in (done, lost):
            world.server.client.set(transport.fence_key(plan.id), "1")
            job_id = transport.job_id(plan.id, 1)
            world.rq.enqueue(transport.JOB_FUNCTION, spec.model_dump(mode="json"), job_id=job_id)
        foreign = transport.job_id("0" * 32, 1)
        world.rq.enqueue(transport.JOB_FUNCTION, spec.model_dump(mode="json"), job_id=foreign)
        world.idle(7)
        assert world.listed() == [transport.job_id(lost.id, 2), foreign], "another plugin's job is left alone"
        assert world.fence(lost.id) == "2"
        assert world.fence(done.id) == transport.FENCE_CANCELLED

    def test_keys_of_another_type_are_not_there(self, world: World) -> None:
        plan, _ = world.running()
        world.server.client.delete(transport.attempt_key(plan.id, 1))
        world.server.client.lpush(transport.attempt_key(plan.id, 1), "x")
        world.server.client.set(transport.log_key(plan.id, 1), "x")
        world.end(success(plan.id, 1))
        world.turn()
        assert world.get(plan).state is PlanState.SUCCEEDED

    def test_what_ended_attempts_leave_goes_away(self, world: World) -> None:
        plan, spec = world.running()
        world.log(spec, "x")
        world.end(success(plan.id, 1))
        world.turn()
        for key in (transport.result_key, transport.attempt_key, transport.log_key):
            assert 0 < world.server.client.ttl(key(plan.id, 1)) <= 600


class TestCancel:
    def test_a_running_plan_is_told_through_its_fence(self, world: World) -> None:
        plan, spec = world.running()
        world.store.plans.cancel(plan.id)
        world.turn()
        assert world.fence(plan.id) == transport.FENCE_CANCELLED
        assert world.get(plan).stopped_at is None
        assert not world.store.journal.log_since(plan.id).complete
        world.log(spec, "all 4 processes ended")
        world.end(failed(plan.id, 1, retryable=False, code=ErrorCode.CANCELLED))
        world.turn()
        found = world.get(plan)
        assert (found.state, found.error) == (PlanState.CANCELLED, None)
        assert found.stopped_at is not None
        assert world.kinds(plan)[-1] is EventKind.STOPPED
        log = world.store.journal.log_since(plan.id)
        assert (log.lines, log.complete) == (("all 4 processes ended",), True)

    def test_a_queued_plan_is_taken_from_the_queue(self, world: World) -> None:
        plan, other = world.plan(), world.plan()
        world.turn()
        world.store.plans.cancel(plan.id)
        world.turn()
        assert world.listed() == [transport.job_id(other.id, 1)]
        assert not world.server.client.exists(Job.key_for(transport.job_id(plan.id, 1)))
        assert world.get(plan).stopped_at is not None

    def test_a_fence_that_redis_lost_is_shut_again(self, world: World) -> None:
        plan, _ = world.running()
        world.store.plans.cancel(plan.id)
        world.turn()
        world.server.client.flushall()
        world.turn()
        assert world.fence(plan.id) == transport.FENCE_CANCELLED

    def test_a_worker_found_at_an_ended_plan_is_shut_out_at_any_time(self, world: World) -> None:
        plan, spec = world.running()
        world.end(success(plan.id, 1))
        world.turn()
        world.server.client.flushall()
        beat = WorkerStatus(
            name="w", host="h", pid=1, version="0", started_at=T0, heartbeat_at=T0, state="busy", plan_id=plan.id
        )
        world.server.client.set(transport.worker_key("w"), beat.model_dump_json())
        world.idle(6)
        assert world.fence(plan.id) == transport.FENCE_CANCELLED
        assert spec.attempt == 1

    def test_results_that_were_stored_before_the_cancel_was_heard_are_taken_away(self, world: World) -> None:
        plan, _ = world.running()
        world.end(success(plan.id, 1))
        world.store.plans.cancel(plan.id)
        world.turn()
        assert world.get(plan).state is PlanState.CANCELLED
        assert world.removed == [plan.id]
        world.turn()
        assert len(world.removed) == 1

    def test_an_orthanc_that_cannot_be_asked_is_asked_again_later(self, world: World) -> None:
        plan, _ = world.running()
        world.results.refuses = 2
        other = world.plan()
        world.end(success(plan.id, 1))
        world.store.plans.cancel(plan.id)
        world.idle(30)
        assert len(world.removed) == 3
        assert world.listed() == [transport.job_id(other.id, 1)]

    def test_cancelled_before_it_was_given_to_anybody(self, world: World) -> None:
        plan = world.plan()
        world.store.plans.cancel(plan.id)
        world.turn()
        assert world.listed() == []
        assert world.removed == []

    def test_a_cancelled_result_without_a_cancel_is_tried_again(self, world: World) -> None:
        """Redis came back with an old fence, and the worker believed it."""
        plan, _ = world.running()
        world.end(failed(plan.id, 1, retryable=False, code=ErrorCode.CANCELLED))
        world.turn()
        world.turn()
        assert (world.get(plan).state, world.get(plan).attempt) == (PlanState.QUEUED, 2)


class TestRestart:
    @pytest.mark.parametrize("when", ["queued", "running", "result"])
    def test_a_new_plugin_goes_on_where_the_old_one_was(self, world: World, when: str) -> None:
        plan = world.plan()
        if when == "queued":
            world.turn()
        else:
            world.store.plans.cancel(plan.id)
            plan, spec = world.running()
            world.log(spec, "x")
            world.turn()
        if when == "result":
            world.end(success(plan.id, 1))
        world.loop = world.new_loop()
        world.turn()
        if when != "result":
            if when == "queued":
                spec = world.take()
                world.log(spec, "x")
            world.beat(spec, 7, 0.5)
            world.turn()
            assert world.get(plan).state is PlanState.RUNNING
            world.end(success(plan.id, 1))
            world.turn()
        found = world.get(plan)
        assert (found.state, found.attempt) == (PlanState.SUCCEEDED, 1)
        assert world.store.journal.log_since(plan.id).lines == ("x",)

    def test_between_the_number_and_the_queue(self, world: World) -> None:
        plan = world.plan()
        world.turn()
        world.store.plans.cancel(plan.id)
        plan = world.plan()
        assert world.store.attempts.begin(plan.id) is not None  # and then it was killed
        world.loop = world.new_loop()
        world.idle(decide.UNKNOWN_GRACE_S + 1)
        assert world.listed() == [transport.job_id(plan.id, 2)]
        assert world.get(plan).failures == 0

    def test_only_the_owner_acts(self, world: World) -> None:
        other = Ownership(world.store.database)
        loop = Reconciler(world.store, world.queue, other, results=world.results, monotonic=lambda: world.now)
        world.turn()
        plan = world.plan()
        loop.turn()
        assert world.listed() == []
        world.owner.release()
        loop.turn()
        assert world.listed() == [transport.job_id(plan.id, 1)]
        world.turn()
        assert world.get(plan).attempt == 1
        other.release()


def test_job_ids_are_read_strictly() -> None:
    ref = AttemptRef("0" * 32, 12)
    assert AttemptRef.parse(ref.job_id) == ref
    for wrong in (
        "",
        "x",
        "0" * 32,
        f"{'0' * 32}-0",
        f"{'0' * 32}-1-1",
        f"{'G' * 32}-1",
        f"{'0' * 32}-1\n",
        ref.job_id + ":",
    ):
        assert AttemptRef.parse(wrong) is None


def test_workers_are_listed_and_foreign_keys_left_out(queue: JobQueue, redis_server: RedisServer) -> None:
    for name in ("b", "a"):
        beat = WorkerStatus(name=name, host="h", pid=1, version="0", started_at=T0, heartbeat_at=T0, state="idle")
        redis_server.client.set(transport.worker_key(name), beat.model_dump_json())
    redis_server.client.set(transport.worker_key("x"), "not one")
    assert [w.name for w in queue.workers()] == ["a", "b"]


def _until(condition: Any) -> Any:
    return wait_for(condition, "the loop tells its problem", within_s=20)


def test_a_job_in_the_queue_of_an_older_version_is_queued_again(world: World) -> None:
    """Until 0.2 the queue had no version in its name; its workers get nothing to run from it any more."""
    plan = world.plan()
    world.turn()
    job_id = world.rq.pop_job_id()
    assert job_id == transport.job_id(plan.id, 1)
    old = Queue("radiarch", connection=world.server.client, serializer=JSONSerializer)
    old.push_job_id(job_id)
    world.server.client.hset(Job.key_for(job_id), "origin", "radiarch")
    world.loop = world.new_loop()
    world.idle(LOST)
    world.idle(1)
    assert world.listed() == [transport.job_id(plan.id, 2)]
    assert world.store.plans.get(plan.id).state is PlanState.QUEUED
    fence = world.server.client.get(transport.fence_key(plan.id))
    assert fence == b"2", "a worker of the older version that takes the old job ends at once"
