"""``/artifacts``: a result's bytes, read from Orthanc."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from radiarch_contract.errors import NotFoundError
from radiarch_contract.places import Place

from radiarch_plugin.services import ServicesDep

from .ids import known_uid

router = APIRouter(prefix="/artifacts", tags=["plans"])


@router.get(
    "/{sop_instance_uid}",
    response_class=Response,
    responses={200: {"content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get(sop_instance_uid: str, services: ServicesDep) -> Response:
    """The DICOM file of a plan's output, by its SOP Instance UID; nothing else in Orthanc is given out here."""
    plan_id = services.store.plans.plan_of_output(known_uid(sop_instance_uid))
    if plan_id is None:
        raise NotFoundError(
            "no plan has an output with this SOP Instance UID",
            remedy=f"The results of a plan are listed with {Place.PLAN}.",
        )
    plan = services.store.plans.get(plan_id)
    output = next(o for o in plan.outputs if o.sop_instance_uid == sop_instance_uid)
    if output.orthanc_id is None:
        raise NotFoundError(
            f"this output of plan {plan_id} is not stored; the plan's state is {plan.state}",
            remedy=f"Wait until it has succeeded; see {Place.PLAN}.",
            plan_id=plan_id,
            state=plan.state.value,
        )
    data = services.orthanc.instance_file(output.orthanc_id)
    return Response(
        data,
        media_type="application/dicom",
        headers={"Content-Disposition": f'attachment; filename="{output.kind.value}.dcm"'},
    )
