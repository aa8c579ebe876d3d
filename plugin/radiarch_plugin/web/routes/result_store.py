"""``/plans/{id}/attempts/{n}/store``: where a worker hands over the results of its attempt, as to Orthanc itself."""

from __future__ import annotations

import re

from fastapi import APIRouter
from radiarch_contract import API_PREFIX

from radiarch_plugin.services import ServicesDep
from radiarch_plugin.sessions import MAX_INSTANCE_BYTES

from .ids import known_id
from .sessions import BodyDep

router = APIRouter(prefix="/plans/{plan_id}/attempts/{attempt}/store", include_in_schema=False)
LARGER_REQUESTS = ((re.compile(rf"{API_PREFIX}/plans/[^/]+/attempts/[^/]+/store/.*"), MAX_INSTANCE_BYTES),)
"""For the bridge: bodies are files."""


@router.post("/instances", max_body_size=MAX_INSTANCE_BYTES)
def store(plan_id: str, attempt: int, services: ServicesDep, body: BodyDep) -> dict[str, str]:
    orthanc_id, new = services.results.store(known_id(plan_id, "plan", "/plans"), attempt, body)
    return {"ID": orthanc_id, "Status": "Success" if new else "AlreadyStored"}


@router.put("/instances/{orthanc_id}/attachments/{number}", max_body_size=MAX_INSTANCE_BYTES)
def attach(
    plan_id: str, attempt: int, orthanc_id: str, number: int, services: ServicesDep, body: BodyDep
) -> dict[str, str]:
    services.results.attach(known_id(plan_id, "plan", "/plans"), attempt, orthanc_id, number, body)
    return {}
