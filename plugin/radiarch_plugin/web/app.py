"""The FastAPI application: an ordinary ASGI app that Orthanc mounts through `bridge` and tests call directly."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from radiarch_contract import API_PREFIX, __version__
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radiarch_plugin.orthanc.bridge import BridgeLimits
from radiarch_plugin.services import Runtime

from . import errors as http_errors
from .answers import ErrorAnswer
from .errors import JsonResponse
from .routes import (
    arrivals,
    artifacts,
    changes,
    checks,
    compare,
    info,
    jobs,
    machine_scales,
    measurements,
    metrics,
    ohif,
    plans,
    protocols,
    reports,
    result_store,
    session_store,
    sessions,
    structure_sets,
    studies,
    ui,
    workers,
    workflows,
)
from .static_files import StaticFiles

API_ROOT = API_PREFIX.rsplit("/", 1)[0]
DESCRIPTION = """\
Automatic radiotherapy planning inside Orthanc. Doses are in Gy, total over all fractions (RBE-weighted for
protons); lengths in mm, patient LPS; angles IEC 61217 in degrees; times UTC. Lists answer `{items, next}`: give
`next` back as `cursor` for the following page. Ids of plans may be shortened to 8 characters or more where they are one
plan's only. Research and quality assurance only: every result is UNAPPROVED.
"""
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot be answered; `remedy` says what to do."},
    "5XX": {"model": ErrorAnswer, "description": "The service cannot answer now."},
}


def create_app(runtime: Runtime) -> FastAPI:
    """The app; ``runtime`` holds the services once they have started."""
    app = FastAPI(
        title="Radiarch",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=f"{API_ROOT}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # Orthanc strips a trailing slash: a redirect to it would go round for ever
        default_response_class=JsonResponse,
        max_body_size=BridgeLimits().max_request_bytes,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.runtime = runtime
    app.state.static_files = StaticFiles()
    app.state.viewer = ohif.ViewerSource()
    app.state.pace = changes.Pace()
    http_errors.install(app)
    for module in (
        info,
        workflows,
        protocols,
        plans,
        jobs,
        artifacts,
        reports,
        arrivals,
        workers,
        structure_sets,
        studies,
        measurements,
        changes,
        checks,
        compare,
        machine_scales,
    ):
        app.include_router(module.router, prefix=API_PREFIX, responses=_ERRORS)
    under_a_session = sessions.scoped(
        m.router for m in (plans, jobs, artifacts, structure_sets, compare, reports, checks)
    )
    for router in (session_store.router, sessions.router, under_a_session):
        app.include_router(router, prefix=API_PREFIX, responses=_ERRORS)
    app.add_middleware(OwnPagesOnly)
    app.include_router(result_store.router, prefix=API_PREFIX)
    app.include_router(metrics.router, responses=_ERRORS)
    app.include_router(ui.router)
    app.include_router(ohif.router)
    app.add_api_route(f"{API_ROOT}/docs", _docs, include_in_schema=False)
    return app


class OwnPagesOnly:
    """No page of another site may show what we answer as its image or frame; a browser's part of `auth.filter`."""

    HEADERS = ((b"cross-origin-resource-policy", b"same-origin"), (b"x-frame-options", b"SAMEORIGIN"))

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self.HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _docs() -> Response:
    page = files(__package__).joinpath("static", "docs.html").read_text("utf-8")
    # own files only: a page that could load nothing from elsewhere even if it wanted to
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})
