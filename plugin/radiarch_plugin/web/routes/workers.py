"""``/workers``: who runs jobs, and what each can run."""

from __future__ import annotations

from fastapi import APIRouter

from radiarch_plugin.services import ServicesDep
from radiarch_plugin.web.answers import Page, WorkerAnswer

router = APIRouter(prefix="/workers", tags=["service"])


@router.get("")
def list_workers(services: ServicesDep) -> Page[WorkerAnswer]:
    """Workers that have given a sign of life within the last seconds."""
    return Page(items=tuple(WorkerAnswer(**w.model_dump()) for w in services.workers()))
