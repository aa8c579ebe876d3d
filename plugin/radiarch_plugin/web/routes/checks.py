"""``/evaluations``, ``/recalculations``: a stored dose judged, a stored plan computed anew; each is kept as a plan."""

from __future__ import annotations

from fastapi import APIRouter, Response
from radiarch_contract.errors import NotFoundError
from radiarch_contract.places import Place

from radiarch_plugin.requests.check import EvaluationRequest, RecalculationRequest, make_evaluation, make_recalculation
from radiarch_plugin.services import Services, ServicesDep
from radiarch_plugin.store import NewPlan
from radiarch_plugin.web.answers import PlanAnswer
from radiarch_plugin.web.requester import RequesterDep

from .ids import PlanId, whole_id
from .making import IdempotencyKey, make
from .plans import plan_answer

router = APIRouter(tags=["checks"])

_MADE_BEFORE = {200: {"model": PlanAnswer, "description": "It was made before."}}


@router.post("/evaluations", status_code=201, responses=_MADE_BEFORE)  # type: ignore[arg-type]
def evaluate(
    request: EvaluationRequest,
    services: ServicesDep,
    response: Response,
    requester: RequesterDep,
    idempotency_key: IdempotencyKey = None,
) -> PlanAnswer:
    """DVH, metrics and goals of any dose with any structure set; compared with a reference dose if one is named."""

    def build() -> NewPlan:
        return make_evaluation(
            request, orthanc=services.orthanc, idempotency_key=idempotency_key, requested_by=requester
        )

    asked = {"workflow_id": "evaluation", **request.as_asked()}
    return plan_answer(make(asked, build, services, response, idempotency_key))


@router.get("/evaluations/{plan_id}")
def get_evaluation(plan_id: PlanId, services: ServicesDep) -> PlanAnswer:
    """An evaluation: the same as ``/plans/{id}``."""
    return _of_workflow(plan_id, "evaluation", services)


@router.post("/recalculations", status_code=201, responses=_MADE_BEFORE)  # type: ignore[arg-type]
def recalculate(
    request: RecalculationRequest,
    services: ServicesDep,
    response: Response,
    requester: RequesterDep,
    idempotency_key: IdempotencyKey = None,
) -> PlanAnswer:
    """A plan computed anew, of protons by Monte Carlo or of photons by a collapsed cone, and compared with its dose."""

    def build() -> NewPlan:
        return make_recalculation(
            request,
            orthanc=services.orthanc,
            recalculated=services.store.plans.is_recalculated,
            idempotency_key=idempotency_key,
            requested_by=requester,
        )

    asked = {"workflow_id": "recalculation", **request.as_asked()}
    return plan_answer(make(asked, build, services, response, idempotency_key))


@router.get("/recalculations/{plan_id}")
def get_recalculation(plan_id: PlanId, services: ServicesDep) -> PlanAnswer:
    """A recalculation: the same as ``/plans/{id}``."""
    return _of_workflow(plan_id, "recalculation", services)


def _of_workflow(plan_id: str, workflow_id: str, services: Services) -> PlanAnswer:
    plan = services.store.plans.get(whole_id(plan_id, services))
    if plan.workflow_id != workflow_id:
        raise NotFoundError(f"there is no {workflow_id} with this id", remedy=f"See {Place.PLANS}.")
    return plan_answer(plan)
