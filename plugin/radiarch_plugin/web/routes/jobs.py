"""``/jobs``: how a plan's computation goes, by short polls; a job has its plan's id and spans all attempts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from radiarch_contract.run import taken

from radiarch_plugin.services import ServicesDep
from radiarch_plugin.store import PlanBrief
from radiarch_plugin.web.answers import EventAnswer, EventsAnswer, JobAnswer, LogAnswer, Page

from .ids import PlanId, whole_id
from .plans import plan_page
from .queries import PlanQuery

router = APIRouter(prefix="/jobs", tags=["jobs"])

_BIGGEST = 2**53
Position = Annotated[int, Query(ge=0, le=_BIGGEST)]


@router.get("")
def list_jobs(services: ServicesDep, query: Annotated[PlanQuery, Query()]) -> Page[JobAnswer]:
    """Jobs, newest first unless ``sort`` says otherwise; filters are those of plans."""
    return plan_page(services, query, _answer)


@router.get("/{job_id}")
def get(job_id: PlanId, services: ServicesDep) -> JobAnswer:
    """State, stage, progress and ETA."""
    return _answer(services.store.plans.get(whole_id(job_id, services)))


@router.get("/{job_id}/log")
def log(
    job_id: PlanId,
    services: ServicesDep,
    offset: Position = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> LogAnswer:
    """Lines of the log, the engine's own among them, from line ``offset`` on."""
    page = services.store.journal.log_since(whole_id(job_id, services), offset, limit=limit)
    return LogAnswer(offset=offset, next_offset=page.next, lines=page.lines, complete=page.complete)


@router.get("/{job_id}/events")
def events(
    job_id: PlanId,
    services: ServicesDep,
    since: Position = 0,
    cursor: Annotated[Position | None, Query(description="Another name of since.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> EventsAnswer:
    """What happened after a cursor, oldest first; an answer without items means nothing new."""
    after = cursor if cursor is not None else since
    page = services.store.journal.events_since(whole_id(job_id, services), after, limit=limit)
    items = tuple(EventAnswer(cursor=str(e.cursor), at=e.at, type=e.kind.value, data=e.data) for e in page.items)
    return EventsAnswer(items=items, next=str(page.next))


def _answer(plan: PlanBrief) -> JobAnswer:
    return taken(JobAnswer, plan, plan_id=plan.id)
