"""The loop that makes the world match the database: the one way in which plans get on, also after any loss.

Each turn looks at everything that has not ended, compares with what Redis says, decides (`decide`) and writes the
decision into the database before anything else is told of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import redis
from radiarch_contract import transport
from radiarch_contract.errors import RadiarchError
from radiarch_contract.job import AttemptStatus, Output
from radiarch_contract.redis_keys import is_wrong_type
from radiarch_contract.states import PlanState, Priority
from sqlalchemy.exc import DBAPIError

from radiarch_plugin.store import ActivePlan, EndedPlan, LogPosition, Ownership, ProgressUpdate, Store

from .decide import OF_INPUTS, Decision, Kind, Watch, decide, look, outputs_missing, overtime
from .inputs import Inputs
from .loop import Loop
from .queue import AttemptRef, JobQueue, Observation
from .turns import Turns

log = logging.getLogger(__name__)

MAX_QUEUED = 500
"""So many jobs wait in Redis at once; the others wait in the database, which is quicker to look through."""
_BUSY_S = 0.4
_IDLE_S = 2.0
_SWEEP_S = 5.0
_MAX_DRAIN = 300
CLEANUP_S = 120.0
"""For so long after an end without results the plan's fence is kept shut, and its log is waited for."""


class ResultKeeper(Protocol):
    """What the loop asks of `results.Results`."""

    def missing(self, outputs: Sequence[Output]) -> list[str]: ...
    def remove(self, plan_id: str) -> None: ...
    def supersede(self, plan_id: str, *, remove: bool) -> None: ...


class Reconciler(Loop):
    """One for each plugin; only the owner of the database acts.

    Parameters
    ----------
    results
        Asked whether results are in Orthanc before a plan succeeds, and told to take away what was stored of a plan
        that ended without.
    inputs
        Asked whether what a plan is made of is still there; None: nobody can delete it.
    remove_superseded
        Whether the results of superseded plans are removed; else they are marked.
    monotonic
        Seconds; any clock that does not go back.
    """

    def __init__(
        self,
        store: Store,
        queue: JobQueue,
        ownership: Ownership,
        *,
        results: ResultKeeper,
        inputs: Inputs | None = None,
        remove_superseded: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("reconcile")
        self._store = store
        self._queue = queue
        self._ownership = ownership
        self._results = results
        self._inputs = inputs
        self._remove_superseded = remove_superseded
        self._monotonic = monotonic
        self._watches: dict[AttemptRef, Watch] = {}
        self._shut: set[str] = set()
        self._removed: set[str] = set()
        self._unclean_since: dict[str, float] = {}
        self._resume_at: dict[str, float] = {}
        self._clear_again_at = 0.0
        self._broken: set[str] = set()
        self._swept_at: float | None = None
        self._turns = Turns()
        self._workers = 0

    def failed(self) -> None:
        # Silence while Redis was away is no worker's fault: everybody's time starts anew.
        self._watches.clear()
        self._shut.clear()
        self._swept_at = None

    def turn(self) -> float:
        try:
            return self._turn()
        except redis.ResponseError as e:
            moved = self._queue.move_wrong_types() if is_wrong_type(e) else []
            if not moved:
                raise
        for key in moved:
            log.error("Redis: the key %s had another type than it should and was put aside; who writes there?", key)
        return 0.0

    def _turn(self) -> float:
        if not self._ownership.acquire():
            self.failed()
            return _IDLE_S
        self._queue.ping()
        now = self._monotonic()
        ended = self._end_unclean(now)
        listed = self._sweep(now)
        if listed is not None:  # every few seconds is enough
            self._supersede()
        active = self._store.attempts.enqueued()
        seen = self._queue.observe([_ref(plan) for plan in active])
        progress: list[ProgressUpdate] = []
        for plan in active:
            try:
                self._look_after(plan, seen[_ref(plan)], listed, now, progress)
            except (redis.RedisError, DBAPIError):
                raise
            except Exception:  # one plan must not hold up the others
                if plan.id not in self._broken:
                    log.exception("plan %s: cannot be looked after", plan.id)
                self._broken.add(plan.id)
        self._store.attempts.progress(progress)
        self._take_logs([(p, seen[_ref(p)].status) for p in active])
        self._watches = {ref: w for ref, w in self._watches.items() if ref in seen}
        given = self._give([p for p in active if p.state is PlanState.QUEUED], now)
        return _BUSY_S if active or ended or given else _IDLE_S

    # -- plans that are with the queue or a worker --------------------------------------------------------------

    def _look_after(
        self,
        plan: ActivePlan,
        seen: Observation,
        listed: frozenset[str] | None,
        now: float,
        progress: list[ProgressUpdate],
    ) -> None:
        ref = _ref(plan)
        before = self._watches.get(ref)
        watch = look(seen, before, now, listed=None if listed is None else ref.job_id in listed)
        self._watches[ref] = watch
        decision = decide(plan, seen, before, watch, now)
        if decision.kind in (Kind.NOTHING, Kind.PROGRESS) and watch.begun_at is not None:
            decision = overtime(plan, now - watch.begun_at) or decision
        if decision.kind in (Kind.NOTHING, Kind.PROGRESS) and seen.fence != str(plan.attempt):
            self._queue.set_fence(plan.id, plan.attempt)
        if decision.kind is Kind.PROGRESS and decision.status is not None:
            progress.append(_update(decision.status))
        elif decision.kind is not Kind.NOTHING and (sure := self._verified(plan, decision)) is not None:
            self._settle(plan, seen.status, sure, now)

    def _verified(self, plan: ActivePlan, decision: Decision) -> Decision | None:
        """A decision that depends on what Orthanc has, after Orthanc was asked; None: not now.

        Raises
        ------
        ServiceError
            Orthanc does not answer.
        """
        result = decision.result
        of_inputs = decision.error is not None and decision.error.code in OF_INPUTS
        if result is None or not (decision.kind is Kind.SUCCEED or of_inputs):
            return decision
        if self._inputs is not None and (gone := self._inputs.gone(plan.id)) is not None:
            if gone.sure:
                self._inputs.cancel(plan.id, gone)
            return None
        if decision.kind is Kind.SUCCEED and (missing := self._results.missing(result.outputs)):
            return outputs_missing(plan, result, missing)
        return decision

    def _settle(self, plan: ActivePlan, status: AttemptStatus | None, decision: Decision, now: float) -> None:
        """An attempt is over, or begins anew."""
        ref = _ref(plan)
        attempts = self._store.attempts
        self._drain(ref, _position(plan.log, status))
        result = decision.result
        match decision.kind:
            case Kind.GIVEN_BACK:
                attempts.given_back(plan.id, plan.attempt)
                self._queue.forget_log(ref)
            case Kind.SUCCEED if result is not None:
                if attempts.succeed(result):
                    log.info("plan %s: succeeded", plan.id)
                self._queue.expire(ref)
            case Kind.RETRY:
                log.warning("plan %s: tried again: %s", plan.id, decision.reason)
                attempts.retry(
                    plan.id, plan.attempt, error=decision.error, delay_s=decision.delay_s, reason=decision.reason
                )
                self._resume_at[plan.id] = now + decision.delay_s
                self._queue.set_fence(plan.id, None)  # until the next attempt has its number
                self._queue.expire(ref)
                if decision.error is not None:
                    self._clear_results(plan.id, now)  # half a set; where it stays, the next attempt replaces it
            case Kind.FAIL if decision.error is not None:
                log.warning("plan %s: failed: %s", plan.id, decision.error.message)
                attempts.fail(plan.id, plan.attempt, decision.error, worker=result.worker if result else None)
        self._watches.pop(ref, None)

    def _give(self, waiting: Sequence[ActivePlan], now: float) -> int:
        """Enqueue what is due; returns how many."""
        self._resume_at = {plan_id: at for plan_id, at in self._resume_at.items() if at > now}
        room = self._turns.room(waiting, MAX_QUEUED, self._workers)
        due = self._store.attempts.due
        interactive = due(room.interactive, Priority.INTERACTIVE, without=self._resume_at)
        batch_room = room.batch if room.at_front else max(room.batch - len(interactive), 1)
        batch = due(batch_room, Priority.BATCH, without=self._resume_at)
        if room.at_front:
            for plan in reversed(interactive):  # the one put there last is taken first
                self._begin(plan, at_front=True)
            self._turns.given(len(interactive))
        for plan in batch if room.at_front else [*interactive, *batch]:
            self._begin(plan)
        return len(interactive) + len(batch)

    def _begin(self, plan: ActivePlan, *, at_front: bool = False) -> None:
        spec = self._store.attempts.begin(plan.id)
        if spec is not None:
            self._queue.enqueue(spec, time_limit_s=plan.time_limit_s, at_front=at_front)

    # -- logs ---------------------------------------------------------------------------------------------------

    def _take_logs(self, plans: Sequence[tuple[ActivePlan, AttemptStatus | None]]) -> None:
        """What every running attempt has written since."""
        positions = {_ref(p): _position(p.log, status) for p, status in plans if status is not None}
        positions = {ref: position for ref, position in positions.items() if ref in self._watches}
        found = self._queue.log_lines({ref: position.taken for ref, position in positions.items()})
        for ref, lines in found.items():
            self._store.journal.append_log(ref.plan_id, ref.attempt, positions[ref], lines)

    def _drain(self, ref: AttemptRef, position: LogPosition) -> None:
        """All log lines that an attempt has written, read before its end is recorded."""
        for _ in range(_MAX_DRAIN):
            lines = self._queue.log_lines({ref: position.taken})[ref]
            if not lines:
                return
            position = self._store.journal.append_log(ref.plan_id, ref.attempt, position, lines)

    # -- plans that ended without results -----------------------------------------------------------------------

    def _end_unclean(self, now: float) -> bool:
        """Shut the fence of cancelled and failed plans, see their processes end, leave nothing of theirs in Orthanc."""
        ended = self._store.attempts.ended_unclean()
        self._unclean_since = {plan.id: self._unclean_since.get(plan.id, now) for plan in ended}
        for plan in ended:
            if plan.id not in self._shut:
                self._shut_out(plan)
        self._shut &= {plan.id for plan in ended}
        self._removed &= {plan.id for plan in ended}
        refs = {AttemptRef(plan.id, plan.attempt): plan for plan in ended}
        seen = self._queue.observe(list(refs))
        over: list[str] = []
        for ref, plan in refs.items():
            found = seen[ref]
            if found.fence != transport.FENCE_CANCELLED:
                self._queue.set_fence(plan.id, None)
            late = now - self._unclean_since[plan.id] > CLEANUP_S
            told = found.result is not None and plan.stopped_at is None
            if told or late:
                self._drain(ref, _position(plan.log, found.status))
                self._queue.expire(ref)
            if told:
                self._store.attempts.stopped(plan.id)
            if plan.id in self._removed or self._clear_results(plan.id, now):
                self._removed.add(plan.id)
                over += [plan.id] if late else []
        self._store.attempts.finish_cleanup(over)
        return bool(ended)

    def _shut_out(self, plan: EndedPlan) -> None:
        self._queue.set_fence(plan.id, None)
        if self._queue.withdraw(AttemptRef(plan.id, plan.attempt)):
            self._store.attempts.stopped(plan.id)  # no worker had begun it
        self._shut.add(plan.id)

    def _supersede(self) -> None:
        """Mark, or remove, the results of plans whose structure set has another content now."""
        for plan_id in self._store.plans.superseded_open():
            try:
                self._results.supersede(plan_id, remove=self._remove_superseded)
            except RadiarchError as e:
                log.error("plan %s: its superseded results are left for later: %s", plan_id, e.info.message)
                return

    def _clear_results(self, plan_id: str, now: float) -> bool:
        """Delete what a worker had stored of the plan. False where Orthanc does not let us now."""
        if now < self._clear_again_at:
            return False
        try:
            self._results.remove(plan_id)
        except RadiarchError as e:
            log.error("plan %s: what was stored of it could not be looked for: %s", plan_id, e.info.message)
            self._clear_again_at = now + _SWEEP_S
            return False
        return True

    # -- what Redis has and should not --------------------------------------------------------------------------

    def _sweep(self, now: float) -> frozenset[str] | None:
        """Every few seconds: shut out jobs that Redis kept or got back from an old snapshot; gives the waiting ids."""
        if self._swept_at is not None and now - self._swept_at < _SWEEP_S:
            return None
        self._swept_at = now
        listed = self._queue.queued_job_ids()
        waiting = [ref for job_id in listed if (ref := AttemptRef.parse(job_id))]
        workers = self._queue.workers()
        self._workers = len(workers)
        busy = [w.plan_id for w in workers if w.plan_id]
        current = self._store.attempts.current(sorted({r.plan_id for r in waiting} | set(busy)))
        for plan_id, attempt in current.items():
            if attempt is None:
                self._queue.set_fence(plan_id, None)
        for ref in waiting:
            # a plan that is not ours is another plugin's on the same Redis
            if ref.plan_id in current and current[ref.plan_id] != ref.attempt:
                self._queue.withdraw(ref)
        return frozenset(listed)


def _ref(plan: ActivePlan) -> AttemptRef:
    return AttemptRef(plan.id, plan.attempt)


def _position(kept: LogPosition, status: AttemptStatus | None) -> LogPosition:
    """Where to read on; from the beginning where another run writes the log of the same attempt."""
    if status is None:
        return kept
    run = f"{status.worker}@{status.started_at.isoformat()}"
    return LogPosition(run=run, taken=kept.taken if kept.run in ("", run) else 0)


def _update(status: AttemptStatus) -> ProgressUpdate:
    return ProgressUpdate(
        plan_id=status.plan_id,
        attempt=status.attempt,
        stage=status.stage,
        progress=status.progress,
        eta_s=status.eta_s,
        message=status.message,
        worker=status.worker,
        solver=status.solver,
    )
