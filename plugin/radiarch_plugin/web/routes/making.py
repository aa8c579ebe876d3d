"""What all requests that make a plan have in common: the idempotency key, the answer, waking the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header, Response
from radiarch_contract.errors import ConflictError, ErrorCode

from radiarch_plugin.services import Services
from radiarch_plugin.store import NewPlan, PlanView

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        description="The same key with the same request makes one plan; with another request it is refused (409).",
    ),
]


def make(
    asked: Mapping[str, Any],
    build: Callable[[], NewPlan],
    services: Services,
    response: Response,
    key: str | None,
) -> PlanView:
    """The plan that is asked for, made now or before by the very same request.

    Parameters
    ----------
    asked
        The request as it is kept: what a repeat is told by.
    build
        Looks at Orthanc; not called for a repeat.
    """
    plan = _made_before(asked, services, key)
    created = plan is None
    if plan is None:
        plan, created = services.store.plans.create(build())
    if created:
        services.wake()
    else:
        response.status_code = 200
    response.headers["Location"] = f"{services.base}/plans/{plan.id}"
    return plan


def _made_before(asked: Mapping[str, Any], services: Services, key: str | None) -> PlanView | None:
    """The plan that this very request made before: answered without looking at Orthanc again."""
    plan = services.store.plans.find_by_idempotency_key(key) if key is not None else None
    if plan is not None and plan.request != asked:
        raise ConflictError(
            f"the idempotency key was used for another request, which made plan {plan.id}",
            remedy="Give each new request a key of its own; repeat a request unchanged.",
            code=ErrorCode.IDEMPOTENCY_MISMATCH,
            plan_id=plan.id,
        )
    return plan
