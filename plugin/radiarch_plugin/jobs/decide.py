"""What is to be done about one attempt, from what is known of it; pure: no database, no Redis, no clock.

Clocks of other machines are never compared with ours: a worker lives while its heartbeat changes, and
how long ago that was is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from radiarch_contract import transport
from radiarch_contract.errors import ErrorCode, ErrorInfo
from radiarch_contract.job import AttemptStatus, JobResult
from radiarch_contract.states import PlanState
from radiarch_contract.uids import sop_instance_uid
from radiarch_contract.workflows import WORKFLOWS

from radiarch_plugin.store import ActivePlan

from .queue import RQ_ENDED, RQ_WAITING, Observation, Unreadable

MAX_FAILURES = 3
"""A plan has failed after as many attempts that ended in an error worth another try."""
BACKOFF_S = (5.0, 30.0)
"""Pause after the first and the second failure."""
UNKNOWN_GRACE_S = 3.0
"""A queued attempt that Redis does not know is given up after this: a worker that took it shows itself sooner."""
RESULT_GRACE_S = 5.0
"""A job that RQ calls ended may have its result delivered once more for as long."""
OVERTIME_S = 300.0
"""How long after its time limit a plan whose worker still lives, but does not end it, has failed."""


@dataclass(frozen=True)
class Watch:
    """What was seen of an attempt so far; times are of our own monotonic clock.

    Attributes
    ----------
    beat : the newest heartbeat, as the worker wrote it
    beat_at : when it was seen to change, or the attempt was first looked at
    unknown_since : since when Redis knows neither job nor status
    ended_since : since when RQ says that the job has ended while no result is there
    unlisted_since : since when RQ says that the job waits while it is not in the queue
    waited : whether RQ said at the last look that the job waits
    begun_at : when a worker was first seen at it
    """

    beat: str | None
    beat_at: float
    begun_at: float | None = None
    unknown_since: float | None = None
    ended_since: float | None = None
    unlisted_since: float | None = None
    waited: bool = False


class Kind(Enum):
    NOTHING = auto()
    PROGRESS = auto()
    GIVEN_BACK = auto()
    SUCCEED = auto()
    RETRY = auto()
    FAIL = auto()


OF_INPUTS = frozenset({ErrorCode.INPUT_CHANGED, ErrorCode.MISSING_INSTANCES})
"""A worker that ends so may have met a study that was being deleted."""


@dataclass(frozen=True)
class Decision:
    """What is to be done; ``error`` is None for a RETRY of an attempt that no worker had begun."""

    kind: Kind
    status: AttemptStatus | None = None
    result: JobResult | None = None
    error: ErrorInfo | None = None
    delay_s: float = 0.0
    reason: str = ""


NOTHING = Decision(Kind.NOTHING)


def look(seen: Observation, watch: Watch | None, now: float, *, listed: bool | None) -> Watch:
    """Remember what was seen.

    Parameters
    ----------
    listed
        Whether the job is in RQ's list of waiting jobs; None where nobody looked this time.
    """
    beat = None if seen.status is None else seen.status.heartbeat_at.isoformat()
    if watch is None:
        watch = Watch(beat=beat, beat_at=now)
    elif beat is not None and beat != watch.beat:
        watch = replace(watch, beat=beat, beat_at=now)
    elif watch.waited and seen.rq is not None and seen.rq not in RQ_WAITING:
        # a worker has just taken it: it was silent for as long as it waited, and has its whole time to be heard of
        watch = replace(watch, beat_at=now)
    unlisted = watch.unlisted_since
    if seen.rq not in RQ_WAITING or listed:
        unlisted = None
    elif listed is False and unlisted is None:
        unlisted = now
    return replace(
        watch,
        begun_at=now if watch.begun_at is None and beat is not None else watch.begun_at,
        unknown_since=_since(watch.unknown_since, seen.rq is None and seen.status is None, now),
        ended_since=_since(watch.ended_since, seen.rq in RQ_ENDED and seen.result is None, now),
        unlisted_since=unlisted,
        waited=seen.rq in RQ_WAITING,
    )


def _since(before: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if before is None else before


def decide(plan: ActivePlan, seen: Observation, before: Watch | None, watch: Watch, now: float) -> Decision:
    """What to do about the newest attempt of a plan that has not ended.

    Parameters
    ----------
    before, watch
        What was remembered before and after `look`.
    """
    if isinstance(seen.result, Unreadable):
        return Decision(Kind.FAIL, error=_unreadable(seen.result))
    if seen.result is not None:
        return _judge(plan, seen.result)
    if watch.ended_since is not None and now - watch.ended_since > RESULT_GRACE_S:
        return _lost(plan, f"its worker ended the job ({seen.rq}) and left no result")
    silent_s = now - watch.beat_at
    if seen.rq in RQ_WAITING and (seen.status is None or silent_s > transport.LOST_AFTER_S):
        if watch.unlisted_since is not None and now - watch.unlisted_since > transport.LOST_AFTER_S:
            # a worker took it from the list and was gone before it could say so
            return _again(plan, "a worker took the job from the queue and was not heard of again")
        return Decision(Kind.GIVEN_BACK) if plan.state is PlanState.RUNNING else NOTHING
    if seen.status is not None and silent_s <= transport.LOST_AFTER_S:
        return _alive(plan, seen.status, before, watch)
    if watch.unknown_since is not None and plan.state is PlanState.QUEUED:
        if now - watch.unknown_since > UNKNOWN_GRACE_S:
            return _again(plan, "the queue has lost the job")
        return NOTHING
    if silent_s > transport.LOST_AFTER_S:
        return _lost(plan, f"its worker was not heard of for {silent_s:.0f} s")
    return NOTHING


def _alive(plan: ActivePlan, status: AttemptStatus, before: Watch | None, watch: Watch) -> Decision:
    if before is not None and before.beat == watch.beat and plan.state is PlanState.RUNNING:
        return NOTHING
    return Decision(Kind.PROGRESS, status=status)


def _judge(plan: ActivePlan, result: JobResult) -> Decision:
    error = result.error
    if error is None:
        wrong = _wrong_outputs(plan, result)
        if wrong is None:
            return Decision(Kind.SUCCEED, result=result)
        return Decision(Kind.FAIL, result=result, error=wrong)
    if error.code is ErrorCode.CANCELLED:
        # It was not cancelled, or it would not be looked at: Redis came back with an old fence
        return _failed(plan, error, result, 0.0)
    if not result.retryable:
        return Decision(Kind.FAIL, result=result, error=error)
    # a job that was killed has nothing to wait for; an Orthanc that did not answer may need a while
    delay_s = 0.0 if error.code is ErrorCode.WORKER_LOST else BACKOFF_S[min(plan.failures, len(BACKOFF_S) - 1)]
    return _failed(plan, error, result, delay_s)


def _wrong_outputs(plan: ActivePlan, result: JobResult) -> ErrorInfo | None:
    workflow = WORKFLOWS.get(plan.workflow_id)
    expected = set() if workflow is None else set(workflow.outputs)
    possible = set() if workflow is None else set(workflow.possible_outputs)
    found = {output.kind for output in result.outputs}
    ours = all(o.orthanc_id and o.sop_instance_uid == sop_instance_uid(plan.id, o.kind) for o in result.outputs)
    if ours and len(found) == len(result.outputs) and expected <= found <= possible:
        return None
    return ErrorInfo(
        code=ErrorCode.INTERNAL,
        message=f"the worker says that it has stored {', '.join(sorted(found)) or 'nothing'}, expected "
        f"{', '.join(sorted(expected))} with the UIDs that this plan's results have",
        remedy="See that plugin and worker are of the same version.",
    )


def outputs_missing(plan: ActivePlan, result: JobResult, missing: Sequence[str]) -> Decision:
    """An attempt says that it has stored results which Orthanc does not have: another try, or the plan has failed."""
    error = ErrorInfo(
        code=ErrorCode.OUTPUTS_MISSING,
        message=f"attempt {plan.attempt} has stored its results, but Orthanc does not have them: {'; '.join(missing)}",
        remedy="See who deletes or replaces objects in Orthanc (a Lua script, another node, MaximumStorageSize), and "
        "Orthanc's disk; then ask for the plan again.",
        details={"attempt": plan.attempt},
    )
    return _failed(plan, error, result, BACKOFF_S[min(plan.failures, len(BACKOFF_S) - 1)])


def _failed(plan: ActivePlan, error: ErrorInfo, result: JobResult | None, delay_s: float) -> Decision:
    if plan.failures + 1 >= MAX_FAILURES:
        details = {**error.details, "attempts_failed": plan.failures + 1}
        return Decision(Kind.FAIL, result=result, error=error.model_copy(update={"details": details}))
    return Decision(Kind.RETRY, result=result, error=error, delay_s=delay_s, reason=error.message)


def _lost(plan: ActivePlan, what: str) -> Decision:
    error = ErrorInfo(
        code=ErrorCode.WORKER_LOST,
        message=f"attempt {plan.attempt} was lost: {what}",
        remedy="Look into the worker's log and its machine's memory; ask for the plan again when it is mended.",
        details={"attempt": plan.attempt},
    )
    return _failed(plan, error, None, 0.0)


def _again(plan: ActivePlan, why: str) -> Decision:
    return Decision(Kind.RETRY, reason=f"attempt {plan.attempt}: {why}")


def overtime(plan: ActivePlan, ran_s: float) -> Decision | None:
    """A worker that lives but does not end a job at its limit: the plan fails, its fence ends the job."""
    if ran_s <= plan.time_limit_s + OVERTIME_S:
        return None
    return Decision(
        Kind.FAIL,
        error=ErrorInfo(
            code=ErrorCode.TIME_LIMIT,
            message=f"the plan was not ready {ran_s:.0f} s after it was begun; its limit is {plan.time_limit_s:.0f} s",
            remedy="Ask for less (fewer primaries, wider spots, fewer beams), or raise the time limit.",
        ),
    )


def _unreadable(result: Unreadable) -> ErrorInfo:
    return ErrorInfo(
        code=ErrorCode.INTERNAL,
        message=f"the worker's result cannot be read: {result.why}",
        remedy="See that plugin and worker are of the same version, and that nothing else writes to their Redis.",
    )
