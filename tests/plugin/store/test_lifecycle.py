"""A plan's whole life as a state machine: whatever happens in whatever order, these laws hold."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from radiarch_contract.errors import ConflictError
from radiarch_contract.states import PlanState, Priority, Stage
from radiarch_plugin.store import EventKind, PlanView, ProgressUpdate, Store, open_database

from tests.plugin.store.samples import MEMORY, failure, new_plan, success

pytestmark = pytest.mark.slow

ATTEMPTS = st.integers(0, 4)
LIVE = {PlanState.WAITING, PlanState.QUEUED, PlanState.RUNNING}


class Life(RuleBasedStateMachine):
    """One plan, asked and told things by parties that may be late, wrong or twice."""

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="radiarch-life-", dir=MEMORY))
        shutil.copy(self.template, self.folder / "db")
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        self.database = open_database(f"sqlite:///{self.folder / 'db'}")
        self.store = Store(self.database, now=self.tick)
        self.id = self.store.plans.create(new_plan(complete=False))[0].id
        self.before = self.store.plans.get(self.id)
        self.cursor = 0
        self.states: list[str] = []

    def tick(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    def teardown(self) -> None:
        self.database.dispose()
        shutil.rmtree(self.folder)

    @rule()
    def images_come(self) -> None:
        assert self.store.plans.promote(self.id) == (self.before.state is PlanState.WAITING)

    @rule(count=st.integers(0, 3))
    def count(self, count: int) -> None:
        self.store.plans.set_missing({self.id: ["1.1", "1.2", "1.3"][:count]})

    @rule()
    def begin(self) -> None:
        spec = self.store.attempts.begin(self.id)
        if spec is not None:
            assert self.before.state is PlanState.QUEUED
            assert spec.attempt == self.before.attempt + 1
            assert spec == self.store.attempts.spec(self.id)

    @rule(attempt=ATTEMPTS, progress=st.floats(0, 1), stage=st.sampled_from(Stage))
    def progress(self, attempt: int, progress: float, stage: Stage) -> None:
        self.store.attempts.progress([
            ProgressUpdate(
                plan_id=self.id, attempt=attempt, stage=stage, progress=progress, eta_s=1.0, message="", worker="w"
            )
        ])  # fmt: skip
        now = self.store.plans.get(self.id)
        if attempt != now.attempt:
            assert now == self.before
        elif now.state is PlanState.RUNNING and self.before.state is PlanState.RUNNING:
            assert now.progress >= self.before.progress
            assert now.stage is not None
            assert self.before.stage is not None
            assert list(Stage).index(now.stage) >= list(Stage).index(self.before.stage)

    @rule(attempt=ATTEMPTS)
    def succeed(self, attempt: int) -> None:
        if self.store.attempts.succeed(success(self.id, attempt)):
            assert attempt == self.before.attempt

    @rule(attempt=ATTEMPTS)
    def fail(self, attempt: int) -> None:
        if self.store.attempts.fail(self.id, attempt, failure()):
            assert attempt == self.before.attempt

    @rule(attempt=ATTEMPTS, counts=st.booleans(), delay=st.sampled_from([0.0, 5.0]))
    def retry(self, attempt: int, counts: bool, delay: float) -> None:
        if self.store.attempts.retry(self.id, attempt, error=failure() if counts else None, delay_s=delay):
            now = self.store.plans.get(self.id)
            assert (now.state, now.progress, now.stage) == (PlanState.QUEUED, 0.0, None)
            assert now.failures == self.before.failures + counts

    @rule(attempt=ATTEMPTS)
    def give_back(self, attempt: int) -> None:
        self.store.attempts.given_back(self.id, attempt)

    @rule()
    def stopped(self) -> None:
        self.store.attempts.stopped(self.id)

    @precondition(lambda self: self.before.state not in (PlanState.SUCCEEDED, PlanState.FAILED))
    @rule()
    def cancel(self) -> None:
        assert self.store.plans.cancel(self.id).state is PlanState.CANCELLED

    @precondition(lambda self: self.before.state in (PlanState.SUCCEEDED, PlanState.FAILED))
    @rule()
    def cancel_too_late(self) -> None:
        with pytest.raises(ConflictError):
            self.store.plans.cancel(self.id)

    @invariant()
    def laws(self) -> None:
        now, before = self.store.plans.get(self.id), self.before
        if before.state.ended:
            assert _without_stop(now) == _without_stop(before), "an end is final"
        assert now.attempt in (before.attempt, before.attempt + 1)
        assert now.failures in (before.failures, before.failures + 1)
        assert now.failures <= now.attempt
        assert (now.ended_at is not None) == now.state.ended
        assert (now.error is not None) == (now.state is PlanState.FAILED)
        assert all(o.orthanc_id is not None for o in now.outputs) == (now.state is PlanState.SUCCEEDED)
        assert now.missing_count == 0 or now.queued_at is None
        assert now.created_at <= (now.queued_at or now.updated_at) <= (now.started_at or now.updated_at)
        active = {p.id for p in self.store.attempts.enqueued()}
        due = {p.id for priority in Priority for p in self.store.attempts.due(10, priority)}
        assert not active & due, "never with the queue and to be given to it"
        if now.state in (PlanState.QUEUED, PlanState.RUNNING):
            assert self.id in active | due
        else:
            assert self.id not in active | due
        assert (self.id in self.store.plans.waiting_ids()) == (now.state is PlanState.WAITING)
        self._follow_events(now)
        self.before = now

    def _follow_events(self, now: PlanView) -> None:
        """Whoever follows the events knows the state."""
        page = self.store.journal.events_since(self.id, self.cursor)
        cursors = [e.cursor for e in page.items]
        assert cursors == sorted(set(cursors))
        assert all(c > self.cursor for c in cursors)
        self.cursor = page.next
        self.states += [e.data["state"] for e in page.items if e.kind is EventKind.STATE]
        assert self.states[-1] == now.state
        assert sum(PlanState(s).ended for s in self.states) == now.state.ended


def _without_stop(plan: PlanView) -> dict[str, Any]:
    """What may not change after the end; that the processes have ended is seen later."""
    return plan.model_dump(exclude={"stopped_at", "updated_at"})


def test_laws_of_a_plans_life(empty_sqlite: Path) -> None:
    Life.template = empty_sqlite
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
