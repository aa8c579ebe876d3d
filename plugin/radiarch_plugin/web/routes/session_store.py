"""``/sessions/{id}/store``: a session as the worker of one of its plans sees it, a tiny Orthanc of its own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from radiarch_contract.transport import STORE_HEADER

from radiarch_plugin.sessions import MAX_INSTANCE_BYTES, Session

from .sessions import BodyDep, SessionsDep

router = APIRouter(prefix="/sessions/{session_id}/store", include_in_schema=False)

Asked = tuple[Session, str, int]
"""The session, the plan and the number of its attempt that asks."""


def _worker(
    session_id: str,
    sessions: SessionsDep,
    token: Annotated[str | None, Header(alias=STORE_HEADER)] = None,
) -> Asked:
    return sessions.of_worker(session_id, token)


AskedDep = Annotated[Asked, Depends(_worker)]


@router.post("/tools/find")
def find(asked: AskedDep, body: BodyDep) -> list[dict[str, Any]]:
    return asked[0].rest.find(body)


@router.post("/instances", max_body_size=MAX_INSTANCE_BYTES)
def store(asked: AskedDep, body: BodyDep) -> dict[str, str]:
    session, plan_id, attempt = asked
    orthanc_id, new = session.results.store(plan_id, attempt, body)
    return {"ID": orthanc_id, "Status": "Success" if new else "AlreadyStored"}


@router.get("/instances/{orthanc_id}/{what}")
def read(asked: AskedDep, orthanc_id: str, what: str) -> Response:
    data = asked[0].rest.get(f"/instances/{orthanc_id}/{what}")
    return Response(data, media_type="application/dicom" if what == "file" else "application/json")


@router.get("/series/{orthanc_id}")
def series(asked: AskedDep, orthanc_id: str) -> Response:
    return Response(asked[0].rest.get(f"/series/{orthanc_id}"), media_type="application/json")


@router.get("/studies/{orthanc_id}")
def study(asked: AskedDep, orthanc_id: str) -> Response:
    return Response(asked[0].rest.get(f"/studies/{orthanc_id}"), media_type="application/json")


@router.put("/instances/{orthanc_id}/attachments/{number}", max_body_size=MAX_INSTANCE_BYTES)
def attach(asked: AskedDep, orthanc_id: str, number: int, body: BodyDep) -> dict[str, str]:
    session, plan_id, attempt = asked
    session.results.attach(plan_id, attempt, orthanc_id, number, body)
    return {}
