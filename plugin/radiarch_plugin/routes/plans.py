"""``/plans``: ask for a plan, read, list, cancel; DVHs."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import ConflictError, ErrorCode, RadiarchError
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.job import BeamResult, DvhCurve
from radiarch_contract.objectives import Objective
from radiarch_contract.states import PlanState
from radiarch_contract.workflows import Beam, ProtonParameters, parse_parameters

from radiarch_plugin.answers import DvhAnswer, Page, PlanAnswer, PlanSummary
from radiarch_plugin.http_errors import JsonResponse
from radiarch_plugin.plan_request import PlanRequest, make_plan
from radiarch_plugin.services import ProtocolsDep, ServicesDep
from radiarch_plugin.store import PlanFilter, PlanView

from .ids import known_id
from .queries import PlanQuery

router = APIRouter(prefix="/plans", tags=["plans"])

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


@router.post("", status_code=201, responses={200: {"model": PlanAnswer, "description": "It was made before."}})
def create(
    request: PlanRequest,
    services: ServicesDep,
    protocols: ProtocolsDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> PlanAnswer:
    """Ask for a plan; it is queued, or waits for images that are not stored yet."""
    plan = _made_before(request, services, idempotency_key)
    created = plan is None
    if plan is None:
        new = make_plan(request, protocols=protocols, orthanc=services.orthanc, idempotency_key=idempotency_key)
        plan, created = services.store.plans.create(new)
    if created:
        services.wake()
    else:
        response.status_code = 200
    response.headers["Location"] = f"{API_PREFIX}/plans/{plan.id}"
    return plan_answer(plan)


@router.get("")
def list_plans(services: ServicesDep, query: Annotated[PlanQuery, Query()]) -> Page[PlanSummary]:
    """Plans that fit every filter, newest first unless ``sort`` says otherwise."""
    page = services.store.plans.page(plan_filter(query), sort=query.sort, cursor=query.cursor, limit=query.limit)
    return Page(items=tuple(map(summary, page.items)), next=page.next)


@router.get("/{plan_id}")
def get(plan_id: str, services: ServicesDep) -> PlanAnswer:
    """Everything about a plan."""
    return plan_answer(services.store.plans.get(known_id(plan_id)))


@router.delete("/{plan_id}")
def cancel(plan_id: str, services: ServicesDep) -> PlanAnswer:
    """Cancel a plan that has not ended: its engines are stopped. Cancelling twice is harmless."""
    plan = services.store.plans.cancel(known_id(plan_id))
    services.wake()
    return plan_answer(plan)


@router.get(
    "/{plan_id}/dvh",
    response_model=DvhAnswer,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "Curves."}},
)
def dvh(
    plan_id: str,
    services: ServicesDep,
    format: Annotated[Literal["json", "csv"] | None, Query(description="Else what Accept asks for.")] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Cumulative DVHs on the final dose, total Gy; as CSV with one row for each point."""
    plan_id = known_id(plan_id)
    state = services.store.plans.state(plan_id)
    if state is not PlanState.SUCCEEDED:
        raise ConflictError(
            f"plan {plan_id} has no DVH: its state is {state}",
            remedy="Ask again when it has succeeded; GET /plans/{id} has its error if it failed.",
            state=state.value,
        )
    curves = services.store.plans.curves(plan_id).dvh
    if format == "csv" or (format is None and "text/csv" in accept):
        name = {"Content-Disposition": f'attachment; filename="dvh-{plan_id}.csv"'}
        return Response(dvh_csv(curves), media_type="text/csv; charset=utf-8", headers=name)
    return JsonResponse(DvhAnswer(plan_id=plan_id, curves=curves).model_dump(mode="json"))


def _made_before(request: PlanRequest, services: ServicesDep, key: str | None) -> PlanView | None:
    """The plan that this very request made before: answered without looking at Orthanc again."""
    plan = services.store.plans.find_by_idempotency_key(key) if key is not None else None
    if plan is not None and plan.request != request.as_asked():
        raise ConflictError(
            f"the idempotency key was used for another request, which made plan {plan.id}",
            remedy="Give each new request a key of its own; repeat a request unchanged.",
            code=ErrorCode.IDEMPOTENCY_MISMATCH,
            plan_id=plan.id,
        )
    return plan


def plan_filter(query: PlanQuery) -> PlanFilter:
    return PlanFilter(
        states=query.state,
        patient_id=query.patient_id,
        study_instance_uid=query.study_uid,
        rtstruct_sop_instance_uid=query.rtstruct_uid,
        workflow_id=query.workflow,
        protocol_id=query.protocol,
        origin=query.origin,
        parent_id=query.parent_id,
        created_from=query.created_after,
        created_to=query.created_before,
        q=query.q,
    )


def summary(plan: PlanView) -> PlanSummary:
    return PlanSummary(
        id=plan.id,
        job_id=plan.id,
        state=plan.state,
        stage=plan.stage,
        progress=plan.progress,
        eta_s=plan.eta_s,
        message=plan.message,
        attempt=plan.attempt,
        origin=plan.origin,
        workflow_id=plan.workflow_id,
        protocol_id=plan.protocol_id,
        label=plan.plan_label,
        patient_id=plan.patient_id,
        study_instance_uid=plan.study_instance_uid,
        rtstruct_sop_instance_uid=plan.rtstruct_sop_instance_uid,
        prescription=plan.prescription,
        missing_instances=plan.missing_count,
        parent_id=plan.parent_id,
        supersedes=plan.supersedes,
        superseded_by=plan.superseded_by,
        error=plan.error,
        created_at=plan.created_at,
        updated_at=plan.updated_at,
        started_at=plan.started_at,
        ended_at=plan.ended_at,
    )


def plan_answer(plan: PlanView) -> PlanAnswer:
    return PlanAnswer(
        **summary(plan).model_dump(),
        requested_by=plan.requested_by,
        request=plan.request,
        parameters=plan.parameters,
        objectives=tuple(Objective.model_validate(o) for o in plan.objectives),
        goals=plan.goals or tuple(map(_open_goal, plan.goal_texts)),
        structures=plan.structures,
        missing_structures=plan.missing_structures,
        protocol_sha256=plan.protocol_sha256,
        rtstruct_sha256=plan.rtstruct_sha256,
        outputs=tuple(o for o in plan.outputs if o.orthanc_id is not None),
        beams=_beams(plan),
        metrics=plan.metrics,
        uncertainty_percent=plan.uncertainty_percent,
        notes=plan.notes,
        provenance=plan.provenance,
        timings_s=plan.timings_s,
        worker=plan.worker,
        queued_at=plan.queued_at,
        stopped_at=plan.stopped_at,
        superseded_at=plan.superseded_at,
    )


def _open_goal(text: str) -> GoalResult:
    goal = Goal.parse(text)
    return GoalResult(text=goal.text, structure=goal.structure, value=None, unit=goal.limit_unit, status=None)


def _beams(plan: PlanView) -> tuple[BeamResult | Beam, ...]:
    if plan.beams:
        return plan.beams
    try:
        parameters = parse_parameters(plan.workflow_id, plan.parameters)
    except RadiarchError:  # made by another version with other parameters
        return ()
    return parameters.planned_beams if isinstance(parameters, ProtonParameters) else ()


def dvh_csv(curves: tuple[DvhCurve, ...]) -> str:
    """One row for each point of each curve, with a header."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["structure", "roi_number", "volume_cc", "dose_gy", "volume_percent"])
    for curve in curves:
        name = curve.structure
        if name[:1] in ("=", "+", "-", "@", "\t", "\r"):
            name = "'" + name  # a spreadsheet would run it as a formula
        for dose_gy, percent in zip(curve.dose_gy, curve.volume_percent, strict=True):
            writer.writerow([name, curve.roi_number, curve.volume_cc, dose_gy, percent])
    return out.getvalue()
