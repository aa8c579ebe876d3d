"""``/plans``: ask for a plan, read, list, cancel; DVHs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel
from radiarch_contract.curves_csv import curves_csv
from radiarch_contract.errors import ConflictError, RadiarchError
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.job import BeamResult
from radiarch_contract.objectives import Objective
from radiarch_contract.places import Place
from radiarch_contract.run import taken
from radiarch_contract.states import OutputKind, PlanState
from radiarch_contract.strict import STORED
from radiarch_contract.uids import sop_instance_uid
from radiarch_contract.workflows import Beam, parse_parameters

from radiarch_plugin.requests.plan import PlanRequest, make_plan
from radiarch_plugin.requests.reoptimize import ReoptimizeRequest, make_child
from radiarch_plugin.services import ProtocolsDep, Services, ServicesDep
from radiarch_plugin.store import Approval, NewPlan, PlanBrief, PlanFilter, PlanView
from radiarch_plugin.web.answers import (
    ApprovalRequest,
    DvhAnswer,
    Page,
    PlanAnswer,
    PlanSummary,
    TraceAnswer,
)
from radiarch_plugin.web.errors import JsonResponse
from radiarch_plugin.web.requester import RequesterDep

from .ids import PlanId, maybe_short, whole_id
from .making import IdempotencyKey, make
from .queries import PlanQuery

router = APIRouter(prefix="/plans", tags=["plans"])


@router.post("", status_code=201, responses={200: {"model": PlanAnswer, "description": "It was made before."}})
def create(
    request: PlanRequest,
    services: ServicesDep,
    protocols: ProtocolsDep,
    response: Response,
    requester: RequesterDep,
    idempotency_key: IdempotencyKey = None,
) -> PlanAnswer:
    """Ask for a plan; it is queued, or waits for images that are not stored yet."""

    def build() -> NewPlan:
        return make_plan(
            request,
            protocols=protocols,
            orthanc=services.orthanc,
            idempotency_key=idempotency_key,
            requested_by=requester,
        )

    return plan_answer(make(request.as_asked(), build, services, response, idempotency_key))


@router.post(
    "/{plan_id}/reoptimize",
    status_code=201,
    responses={200: {"model": PlanAnswer, "description": "It was made before."}},
)
def reoptimize(
    plan_id: PlanId,
    request: ReoptimizeRequest,
    services: ServicesDep,
    protocols: ProtocolsDep,
    response: Response,
    requester: RequesterDep,
    idempotency_key: IdempotencyKey = None,
) -> PlanAnswer:
    """Ask for another plan of the same structure set that differs in what is given here.

    Beamlets that the parent's computation has left are used again where nothing that enters them has changed.
    """
    parent = services.store.plans.get(whole_id(plan_id, services))

    def build() -> NewPlan:
        return make_child(
            request,
            parent,
            protocols=protocols,
            orthanc=services.orthanc,
            idempotency_key=idempotency_key,
            requested_by=requester,
        )

    return plan_answer(make(request.as_asked(parent.id), build, services, response, idempotency_key))


@router.post("/{plan_id}/approval")
def approve(plan_id: PlanId, request: ApprovalRequest, services: ServicesDep, requester: RequesterDep) -> PlanAnswer:
    """Record a person's decision about a result: who, when, what.

    Nothing else follows from it; the DICOM objects stay UNAPPROVED.
    """
    approval = Approval(decision=request.decision, by=requester, at=services.store.plans.now(), comment=request.comment)
    return plan_answer(services.store.plans.decide(whole_id(plan_id, services), approval))


@router.get("")
def list_plans(services: ServicesDep, query: Annotated[PlanQuery, Query()]) -> Page[PlanSummary]:
    """Plans that fit every filter, newest first unless ``sort`` says otherwise."""
    return plan_page(services, query, summary)


@router.get("/{plan_id}")
def get(plan_id: PlanId, services: ServicesDep) -> PlanAnswer:
    """Everything about a plan."""
    return plan_answer(services.store.plans.get(whole_id(plan_id, services)))


@router.delete("/{plan_id}")
def cancel(plan_id: PlanId, services: ServicesDep) -> PlanAnswer:
    """Cancel a plan that has not ended: its engines are stopped. Cancelling twice is harmless."""
    plan = services.store.plans.cancel(whole_id(plan_id, services))
    services.wake()
    return plan_answer(plan)


@router.get(
    "/{plan_id}/dvh",
    response_model=DvhAnswer,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "Curves."}},
)
def dvh(
    plan_id: PlanId,
    services: ServicesDep,
    format: Annotated[Literal["json", "csv"] | None, Query(description="Else what Accept asks for.")] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Cumulative DVHs on the final dose, total Gy; as CSV with one row for each point."""
    plan_id = whole_id(plan_id, services)
    state = services.store.plans.state(plan_id)
    if state is not PlanState.SUCCEEDED:
        raise ConflictError(
            f"plan {plan_id} has no DVH: its state is {state}",
            remedy=f"Ask again when it has succeeded; if it failed, its error is with {Place.PLAN}.",
            state=state.value,
        )
    found = services.store.plans.curves(plan_id)
    curves = found.dvh
    if format == "csv" or (format is None and "text/csv" in accept):
        name = {"Content-Disposition": f'attachment; filename="dvh-{plan_id}.csv"'}
        return Response(curves_csv(curves), media_type="text/csv; charset=utf-8", headers=name)
    answer = DvhAnswer(plan_id=plan_id, curves=curves, reference_curves=found.reference_dvh, bands=found.bands)
    return JsonResponse(answer.model_dump(mode="json"))


@router.get("/{plan_id}/trace")
def trace(plan_id: PlanId, services: ServicesDep) -> TraceAnswer:
    """The optimiser's iterations, once the plan has succeeded; while it runs /jobs/{id} has the latest."""
    plan_id = whole_id(plan_id, services)
    return TraceAnswer(plan_id=plan_id, iterations=services.store.plans.curves(plan_id).solver_trace)


A = TypeVar("A", bound=BaseModel)


def plan_page(services: Services, query: PlanQuery, answer: Callable[[PlanBrief], A]) -> Page[A]:
    """One page of what fits a query, each as ``answer`` shows it."""
    where = _filter(query, services)
    page = services.store.plans.page(where, sort=query.sort, cursor=query.cursor, limit=query.limit)
    return Page(items=tuple(map(answer, page.items)), next=page.next)


def _filter(query: PlanQuery, services: Services) -> PlanFilter:
    """The store's filter. Raises `ConflictError` where a shortened id of a parent is ambiguous."""
    return PlanFilter(
        states=query.state,
        patient_id=query.patient_id,
        study_instance_uid=query.study_uid,
        rtstruct_sop_instance_uid=query.rtstruct_uid,
        workflow_id=query.workflow,
        protocol_id=query.protocol,
        origin=query.origin,
        parent_id=query.parent_id and maybe_short(query.parent_id, services),
        created_from=query.created_from or query.created_after,
        created_to=query.created_to or query.created_before,
        q=query.q,
    )


def summary(plan: PlanBrief) -> PlanSummary:
    return taken(PlanSummary, plan, **_derived(plan))


def plan_answer(plan: PlanView) -> PlanAnswer:
    return taken(
        PlanAnswer,
        plan,
        **_derived(plan),
        approval=plan.approvals[-1] if plan.approvals else None,
        objectives=tuple(Objective.model_validate(o, context=STORED) for o in plan.objectives),
        goals=plan.goals or tuple(map(_open_goal, plan.goal_texts)),
        missing_sop_instance_uids=plan.missing_uids,
        outputs=tuple(o for o in plan.outputs if o.orthanc_id is not None),
        beams=_beams(plan),
    )


def _derived(plan: PlanBrief) -> dict[str, Any]:
    """What lists show that the record does not have, or has by another name."""
    return {
        "job_id": plan.id,
        "label": plan.plan_label,
        "missing_instances": plan.missing_count,
        "results": {kind: sop_instance_uid(plan.id, kind) for kind in OutputKind},
    }


def _open_goal(text: str) -> GoalResult:
    goal = Goal.parse(text)
    return GoalResult(text=goal.text, structure=goal.structure, value=None, unit=goal.limit_unit, status=None)


def _beams(plan: PlanView) -> tuple[BeamResult | Beam, ...]:
    if plan.beams:
        return plan.beams
    try:
        parameters = parse_parameters(plan.workflow_id, plan.parameters, stored=True)
    except RadiarchError:  # made by another version with other parameters
        return ()
    return parameters.asked_beams
