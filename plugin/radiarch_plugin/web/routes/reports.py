"""``/plans/{id}/report`` and ``/plans/{id}/pictures``: what the worker has drawn of a plan, read from Orthanc."""

from __future__ import annotations

from io import BytesIO

import pydicom
from fastapi import APIRouter
from fastapi.responses import Response
from radiarch_contract.errors import ConflictError, ErrorCode, NotFoundError, ServiceError
from radiarch_contract.pictures import ATTACHMENTS, Plane
from radiarch_contract.places import Place
from radiarch_contract.states import OutputKind, PlanState

from radiarch_plugin.services import Services, ServicesDep

from .ids import PlanId, whole_id

router = APIRouter(prefix="/plans", tags=["plans"])

_OLD = "Plans that older versions made have none; plan again to have it drawn."


def _binary(media_type: str) -> dict[int | str, dict[str, object]]:
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("/{plan_id}/report", response_class=Response, responses=_binary("application/pdf"))
def report(plan_id: PlanId, services: ServicesDep) -> Response:
    """The plan's report as PDF; the same is in the study as an Encapsulated PDF."""
    plan_id = whole_id(plan_id, services)
    orthanc_id = _stored(services, plan_id, OutputKind.REPORT)
    if orthanc_id is None:
        raise NotFoundError(f"plan {plan_id} has no report", remedy=f"The plan's notes may say why. {_OLD}")
    name = f"radiarch-{plan_id[:8]}-report.pdf"
    return Response(
        _document(services.orthanc.instance_file(orthanc_id)),
        media_type="application/pdf",
        headers={"Content-Disposition": f'inline; filename="{name}"'},
    )


@router.get("/{plan_id}/pictures/{plane}", response_class=Response, responses=_binary("image/png"))
def picture(plan_id: PlanId, plane: str, services: ServicesDep) -> Response:
    """The dose on a plane through the isocenter (axial, coronal, sagittal), with contours and isodoses, PNG."""
    plan_id = whole_id(plan_id, services)
    if plane not in list(Plane):
        raise NotFoundError(
            "there is no picture of such a plane", remedy=f"There are {', '.join(p.value for p in Plane)}."
        )
    orthanc_id = _stored(services, plan_id, OutputKind.RTDOSE)
    if orthanc_id is None:
        raise NotFoundError(f"plan {plan_id} has no dose that could be drawn", remedy=_OLD)
    try:
        data = services.orthanc.attachment(orthanc_id, ATTACHMENTS[Plane(plane)])
    except NotFoundError as e:
        raise NotFoundError(
            f"plan {plan_id} has no {plane} picture", remedy=f"The plan's notes may say why. {_OLD}"
        ) from e
    return Response(data, media_type="image/png")


def _stored(services: Services, plan_id: str, kind: OutputKind) -> str | None:
    """Orthanc's id of a result of a plan that has succeeded."""
    plan = services.store.plans.get(plan_id)
    if plan.state is not PlanState.SUCCEEDED:
        raise ConflictError(
            f"plan {plan_id} has nothing to be shown: its state is {plan.state}",
            remedy=f"Ask again when it has succeeded; if it failed, its error is with {Place.PLAN}.",
            state=plan.state.value,
        )
    return next((o.orthanc_id for o in plan.outputs if o.kind is kind and o.orthanc_id), None)


def _document(data: bytes) -> bytes:
    """The PDF inside an Encapsulated PDF, without the byte that makes its length even."""
    try:
        dataset = pydicom.dcmread(BytesIO(data))
        document, length = bytes(dataset.EncapsulatedDocument), int(dataset.EncapsulatedDocumentLength)
    except Exception as e:  # another system's file under our UID can raise nearly anything
        raise ServiceError(
            f"the stored report cannot be read ({type(e).__name__})",
            remedy="Delete it in Orthanc and plan again.",
            code=ErrorCode.INTERNAL,
        ) from e
    return document[:length]
