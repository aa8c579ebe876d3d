"""``/sessions``: DICOM that is uploaded for planning once; its plans are asked for under its own path, with its secret.

``/sessions/{id}/plans``, ``/jobs``, ``/artifacts`` … are the routes of `plans`, `jobs`, `artifacts` …, served from the
session's own store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from pydantic import Field
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import ErrorCode, ServiceError
from radiarch_contract.states import OutputKind, PlanState
from radiarch_contract.strict import Asked
from radiarch_contract.transport import SESSION_HEADER

from radiarch_plugin.services import RuntimeDep, Services, ServicesDep
from radiarch_plugin.sessions import MAX_INSTANCE_BYTES, MAX_UPLOAD_BYTES, Session, Sessions
from radiarch_plugin.sessions.keep import KeepAnswer, KeepRequest, keep
from radiarch_plugin.sessions.session import Upload
from radiarch_plugin.web.answers import View
from radiarch_plugin.web.requester import RequesterDep

router = APIRouter(prefix="/sessions", tags=["sessions"])
LARGER_REQUESTS = (
    (re.compile(rf"{API_PREFIX}/sessions/[^/]+/instances"), MAX_UPLOAD_BYTES),
    (re.compile(rf"{API_PREFIX}/sessions/[^/]+/store/.*"), MAX_INSTANCE_BYTES),
)
"""For the bridge: bodies are files."""

_FILES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/dicom", "application/zip")
        },
    }
}


class SessionRequest(Asked):
    """For how long the session is to live, and a name for whoever looks at it; never a patient's name."""

    ttl_s: float | None = Field(default=None, ge=1, description="Seconds from now; null: the server's own choice.")
    label: str = Field(default="", pattern=r"^[ -~]{0,64}$")


class ProlongRequest(Asked):
    """A new time to live, longer or shorter."""

    ttl_s: float = Field(ge=1, description="Seconds from now.")


class SessionLimits(View):
    """Bounds of one session; results do not count."""

    max_request_bytes: int
    max_bytes: int
    max_instances: int
    max_plans: int


class SeriesAnswer(View):
    """A series that was uploaded, or that a plan has made."""

    series_instance_uid: str
    study_instance_uid: str
    modality: str
    instances: int


class SessionAnswer(View):
    """A session as its owner sees it."""

    id: str
    label: str
    created_at: datetime
    expires_at: datetime
    limits: SessionLimits
    instances: int = Field(description="Uploaded; results are not counted.")
    bytes: int
    series: tuple[SeriesAnswer, ...]
    structure_sets: tuple[str, ...] = Field(description="SOP Instance UIDs of the RTSTRUCTs.")
    plans: dict[PlanState, int] = Field(description="How many, by state; those of no plan are left out.")


class NewSessionAnswer(SessionAnswer):
    """With the secret, which is shown this once and kept nowhere."""

    secret: str = Field(description=f"To be sent as the header {SESSION_HEADER} with every other request.")


class ResultAnswer(View):
    """A result that the session holds; GET /sessions/{id}/artifacts/{sop_instance_uid} has its bytes."""

    plan_id: str
    kind: OutputKind
    sop_instance_uid: str
    bytes: int


class ResultsAnswer(View):
    """All results, in the order in which they were made."""

    items: tuple[ResultAnswer, ...]


# async, as it never blocks: a plain def would cost a turn through the thread pool
async def _all(runtime: RuntimeDep) -> Services:
    if runtime.services is None:
        raise runtime.not_ready()
    return runtime.services


WholeDep = Annotated[Services, Depends(_all)]


async def _sessions(whole: WholeDep) -> Sessions:
    if whole.sessions is None:
        raise ServiceError(
            "this service offers no sessions",
            remedy="See Radiarch.Sessions in Orthanc's configuration, and Orthanc's log of its start.",
            code=ErrorCode.NOT_READY,
        )
    return whole.sessions


SessionsDep = Annotated[Sessions, Depends(_sessions)]


async def open_session(
    session_id: str,
    request: Request,
    sessions: SessionsDep,
    whole: WholeDep,
    secret: Annotated[str | None, Header(alias=SESSION_HEADER, description="The session's secret.")] = None,
) -> Session:
    """The session of the path, for whoever knows its secret; everything else under its path is served from it."""
    session = sessions.find(session_id, secret)
    request.state.session_services = session.services(whole)
    return session


SessionDep = Annotated[Session, Depends(open_session)]


async def _body(request: Request) -> bytes:
    return await request.body()


BodyDep = Annotated[bytes, Depends(_body)]


def scoped(routers: Iterable[APIRouter]) -> APIRouter:
    """The routers again under a session's path, served from the session alone."""
    under = APIRouter(prefix="/sessions/{session_id}", dependencies=[Depends(open_session)])
    for each in routers:
        under.include_router(each)
    return under


@router.post("", status_code=201)
def create(
    sessions: SessionsDep,
    requester: RequesterDep,
    response: Response,
    request: Annotated[SessionRequest | None, Body()] = None,
) -> NewSessionAnswer:
    """Open a session. Whoever has the secret that is answered can do everything with it; nobody else can see it."""
    asked = request or SessionRequest()
    session, secret = sessions.create(ttl_s=asked.ttl_s, label=asked.label, owner=requester)
    response.headers["Location"] = session.base
    response.headers["Cache-Control"] = "no-store"
    return NewSessionAnswer(**_answer(session), secret=secret)


@router.get("/{session_id}")
def get(session: SessionDep) -> SessionAnswer:
    """What the session holds, and until when."""
    return SessionAnswer(**_answer(session))


@router.put("/{session_id}")
def prolong(session: SessionDep, sessions: SessionsDep, request: ProlongRequest) -> SessionAnswer:
    """Let it live longer, or less long."""
    sessions.prolong(session, request.ttl_s)
    return SessionAnswer(**_answer(session))


@router.delete("/{session_id}", status_code=204)
def end(session: SessionDep, sessions: SessionsDep) -> Response:
    """End it now: its files are deleted, its plans stopped; what was kept in Orthanc stays there."""
    sessions.end(session)
    return Response(status_code=204)


@router.post("/{session_id}/instances", max_body_size=MAX_UPLOAD_BYTES, openapi_extra=_FILES)
def upload(session: SessionDep, body: BodyDep) -> Upload:
    """Add one DICOM file, or a zip archive of such (names in it do not matter), as the raw body of the request.

    Uploading a file again changes nothing. A file that cannot be read is told in ``refused``, the others are stored.
    """
    return session.upload(body)


@router.get("/{session_id}/results")
def results(session: SessionDep, services: ServicesDep) -> ResultsAnswer:
    """Results that are there, of all plans."""
    files = [f for f in session.catalog.files() if f.plan_id is not None]
    plans = services.store.plans.get_many(list({f.plan_id for f in files if f.plan_id}))
    kinds = {o.sop_instance_uid: (p.id, o.kind) for p in plans.values() for o in p.outputs if o.orthanc_id is not None}
    return ResultsAnswer(
        items=tuple(
            ResultAnswer(plan_id=found[0], kind=found[1], sop_instance_uid=f.header.sop_instance_uid, bytes=f.bytes)
            for f in files
            if (found := kinds.get(f.header.sop_instance_uid))
        )
    )


@router.post("/{session_id}/keep")
def keep_results(session: SessionDep, whole: WholeDep, request: KeepRequest) -> KeepAnswer:
    """Store results in Orthanc, and with ``inputs`` what they were made of; from then on everybody sees them."""
    return keep(session, whole, request)


def _answer(session: Session) -> dict[str, Any]:
    series: dict[str, SeriesAnswer] = {}
    files = session.catalog.files()
    for file in files:
        header = file.header
        before = series.get(header.series_instance_uid)
        series[header.series_instance_uid] = SeriesAnswer(
            series_instance_uid=header.series_instance_uid,
            study_instance_uid=header.study_instance_uid,
            modality=header.modality,
            instances=1 if before is None else before.instances + 1,
        )
    inputs = [f for f in files if f.plan_id is None]
    record = session.record
    return {
        "id": record.id,
        "label": record.label,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "limits": SessionLimits(**session.limits()),
        "instances": len(inputs),
        "bytes": sum(f.bytes for f in inputs),
        "series": tuple(series.values()),
        "structure_sets": tuple(f.header.sop_instance_uid for f in inputs if f.header.modality == "RTSTRUCT"),
        "plans": {state: n for state, n in session.store.plans.counts().items() if n},
    }
