"""Operations on Radiarch's REST interface, as flows; who carries them out is `_drivers`' business."""

from __future__ import annotations

import functools
import os
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from pydantic import BaseModel
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import ErrorCode, InvalidRequestError, NotFoundError, RadiarchError, ServiceError
from radiarch_contract.objectives import Objective
from radiarch_contract.workflows import Beam, Prescription

from ._answers import as_json, checked, fetch
from ._effects import Flow, Notify, Request, Sleep, http
from .models import (
    Arrival,
    Comparison,
    Dvh,
    Evaluation,
    Event,
    Info,
    Job,
    LogChunk,
    Page,
    Plan,
    PlanSummary,
    Protocol,
    Worker,
    Workflow,
)

P = ParamSpec("P")
T = TypeVar("T")

_OPENAPI = "/radiarch/api/openapi.json"
_TRANSFER_TIMEOUT_S = 600.0
_PLAIN = {"Accept-Encoding": "identity"}

ProgressCallback = Callable[[Plan], Awaitable[None] | None]


def segment(identifier: str) -> str:
    """An identifier as one segment of a path; Orthanc decodes slashes before routing, so none may be in it."""
    if not identifier or "/" in identifier or identifier in (".", ".."):
        raise InvalidRequestError(
            f"{identifier!r} is not an identifier", remedy="Give the id as the server shows it, without '/'."
        )
    return quote(identifier, safe="")


def _api(*parts: str) -> str:
    return "/".join((API_PREFIX, *parts))


def _optional(method: str, template: str, what: str) -> Callable[[Callable[P, Flow[T]]], Callable[P, Flow[T]]]:
    """Marks an operation that some servers do not offer: a 404 is then told apart from a missing plan."""

    def decorate(operation: Callable[P, Flow[T]]) -> Callable[P, Flow[T]]:
        @functools.wraps(operation)
        def asking(*args: P.args, **kwargs: P.kwargs) -> Flow[T]:
            try:
                return (yield from operation(*args, **kwargs))
            except NotFoundError as e:
                if (yield from _offers(method, template)):
                    raise
                raise NotFoundError(
                    f"this server does not offer {what} ({method} {template})",
                    remedy="Update the server; 'radiarch info' shows its version.",
                    code=ErrorCode.NOT_FOUND,
                ) from e

        return asking

    return decorate


def _offers(method: str, template: str) -> Flow[bool]:
    response = yield from http(Request("GET", _OPENAPI))
    if response.status_code != 200:
        return True
    document = as_json(response)
    paths = document.get("paths", {}) if isinstance(document, dict) else {}
    named = re.compile(r"\{[^}]*\}")
    wanted = named.sub("{}", API_PREFIX + template)
    return any(
        wanted.endswith(named.sub("{}", path)) and method.lower() in operations for path, operations in paths.items()
    )


def info() -> Flow[Info]:
    """Name, version, engines and whether each really runs, workers, queue, ``ready``."""
    return fetch(Request("GET", _api("info")), Info)


def list_workflows() -> Flow[list[Workflow]]:
    """Every way of planning that the server knows."""
    page = yield from fetch(Request("GET", _api("workflows")), Page[Workflow])
    return list(page.items)


def get_workflow(workflow_id: str) -> Flow[Workflow]:
    """One workflow with the JSON schema of its parameters."""
    return fetch(Request("GET", _api("workflows", segment(workflow_id))), Workflow)


def list_protocols() -> Flow[list[Protocol]]:
    """What is planned automatically, in the order in which it is tried."""
    page = yield from fetch(Request("GET", _api("protocols")), Page[Protocol])
    return list(page.items)


def get_protocol(protocol_id: str) -> Flow[Protocol]:
    """One protocol, whole."""
    return fetch(Request("GET", _api("protocols", segment(protocol_id))), Protocol)


def create_plan(
    rtstruct_sop_instance_uid: str,
    *,
    protocol: str | None = None,
    workflow: str | None = None,
    prescription: Prescription | Mapping[str, Any] | None = None,
    beams: Sequence[Beam | Mapping[str, Any]] | None = None,
    beam_count: int | None = None,
    objectives: Sequence[Objective | Mapping[str, Any]] | None = None,
    goals: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    structures: Mapping[str, str] | None = None,
    label: str | None = None,
    idempotency_key: str | None = None,
) -> Flow[Plan]:
    """Ask for a plan of a structure set that is stored in Orthanc.

    Start from a protocol, a workflow, or a protocol with another workflow; what else is given takes
    the place of what the protocol says.

    Parameters
    ----------
    rtstruct_sop_instance_uid
        SOPInstanceUID of the RTSTRUCT.
    protocol, workflow
        Their ids.
    prescription
        ``target``, ``dose_gy`` (total over all fractions) and ``fractions``; with a protocol, some of them.
    beams, beam_count
        Beams with ``gantry_deg`` and ``couch_deg``, or how many, evenly spaced from gantry 0.
    parameters
        Further parameters of the workflow (`get_workflow` has their schema), over the protocol's.
    structures
        The ROI's own name for a name that is used here or in the protocol.
    label
        RT Plan Label, at most 16 characters.
    idempotency_key
        Two requests with the same key make one plan; a fresh key is made for each call, and kept when
        the call is repeated after a lost connection.

    Returns
    -------
    Plan
        As it is now: ``waiting`` or ``queued``. `poll_until_done` waits for its end.
    """
    body: dict[str, Any] = {"rtstruct_sop_instance_uid": rtstruct_sop_instance_uid}
    optional = {
        "protocol_id": protocol,
        "workflow_id": workflow,
        "prescription": prescription,
        "beams": beams,
        "beam_count": beam_count,
        "objectives": objectives,
        "goals": goals,
        "parameters": parameters,
        "structures": structures,
        "label": label,
    }
    body |= {k: _plain(v) for k, v in optional.items() if v is not None}
    return fetch(_post(_api("plans"), body, idempotency_key), Plan)


def plans_page(
    cursor: str | None,
    /,
    *,
    state: str | Sequence[str] | None = None,
    patient_id: str | None = None,
    study_uid: str | None = None,
    rtstruct_uid: str | None = None,
    workflow: str | None = None,
    protocol: str | None = None,
    origin: str | None = None,
    parent_id: str | None = None,
    q: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    sort: str | None = None,
    page_size: int = 100,
) -> Flow[Page[PlanSummary]]:
    """Plans that fit every filter, newest first unless ``sort`` says otherwise; pages are fetched as needed.

    ``q`` is part of an id, UID, patient id or label; ``state`` one state or several; ``sort`` is created_at,
    updated_at or patient_id, with a minus for the last first. Times without a zone are UTC.
    """
    filters = {
        "state": state,
        "patient_id": patient_id,
        "study_uid": study_uid,
        "rtstruct_uid": rtstruct_uid,
        "workflow": workflow,
        "protocol": protocol,
        "origin": origin,
        "parent_id": parent_id,
        "q": q,
        "created_after": created_after,
        "created_before": created_before,
        "sort": sort,
        "limit": page_size,
        "cursor": cursor,
    }
    return fetch(Request("GET", _api("plans"), params=_query(filters)), Page[PlanSummary])


def get_plan(plan_id: str) -> Flow[Plan]:
    """Everything about a plan."""
    return fetch(Request("GET", _api("plans", segment(plan_id))), Plan)


def cancel_plan(plan_id: str) -> Flow[Plan]:
    """Cancel a plan that has not ended; its engines are stopped. Cancelling twice is harmless."""
    return fetch(Request("DELETE", _api("plans", segment(plan_id))), Plan)


@_optional("POST", "/plans/{}/reoptimize", "re-optimising")
def reoptimize(
    plan_id: str,
    objectives: Sequence[Objective | Mapping[str, Any]],
    *,
    goals: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Flow[Plan]:
    """New objectives on the beamlets of a plan: a new plan that names its parent."""
    body: dict[str, Any] = {"objectives": _plain(objectives)}
    optional = {"goals": goals, "parameters": parameters}
    body |= {k: _plain(v) for k, v in optional.items() if v is not None}
    return fetch(_post(_api("plans", segment(plan_id), "reoptimize"), body, idempotency_key), Plan)


def dvh(plan_id: str) -> Flow[Dvh]:
    """Cumulative DVHs on the final dose."""
    return fetch(Request("GET", _api("plans", segment(plan_id), "dvh")), Dvh)


@_optional("GET", "/compare", "comparing plans")
def compare(*plan_ids: str) -> Flow[Comparison]:
    """Two or more plans: DVHs on one axis, differences of metrics and goals."""
    if len(plan_ids) < 2:
        raise InvalidRequestError("one plan cannot be compared", remedy="Name two plans or more.")
    return fetch(Request("GET", _api("compare"), params=(("plans", ",".join(map(segment, plan_ids))),)), Comparison)


@_optional("POST", "/evaluations", "evaluations")
def create_evaluation(
    rtdose_sop_instance_uid: str,
    rtstruct_sop_instance_uid: str,
    *,
    goals: Sequence[str] = (),
    prescription: Prescription | Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Flow[Evaluation]:
    """DVH, metrics and goals of any RTDOSE with any RTSTRUCT in Orthanc, without planning."""
    body: dict[str, Any] = {
        "rtdose_sop_instance_uid": rtdose_sop_instance_uid,
        "rtstruct_sop_instance_uid": rtstruct_sop_instance_uid,
        "goals": list(goals),
    }
    if prescription is not None:
        body["prescription"] = _plain(prescription)
    return fetch(_post(_api("evaluations"), body, idempotency_key), Evaluation)


@_optional("GET", "/evaluations/{}", "evaluations")
def get_evaluation(evaluation_id: str) -> Flow[Evaluation]:
    """An evaluation that was asked for."""
    return fetch(Request("GET", _api("evaluations", segment(evaluation_id))), Evaluation)


def get_job(job_id: str) -> Flow[Job]:
    """State, stage, progress and ETA of a job."""
    return fetch(Request("GET", _api("jobs", segment(job_id))), Job)


def job_log(job_id: str, offset: int = 0) -> Flow[LogChunk]:
    """Lines of a job's log from an offset, the engine's own lines included."""
    return fetch(Request("GET", _api("jobs", segment(job_id), "log"), params=_query({"offset": offset})), LogChunk)


def job_events(job_id: str, cursor: str | None = None) -> Flow[Page[Event]]:
    """What happened to a job after a cursor; a short poll."""
    return fetch(
        Request("GET", _api("jobs", segment(job_id), "events"), params=_query({"cursor": cursor})), Page[Event]
    )


def arrivals_page(
    cursor: str | None,
    /,
    *,
    state: str | Sequence[str] | None = None,
    patient_id: str | None = None,
    study_uid: str | None = None,
    rtstruct_uid: str | None = None,
    q: str | None = None,
    page_size: int = 100,
) -> Flow[Page[Arrival]]:
    """Every RTSTRUCT that was seen and what became of it, newest first; pages are fetched as needed."""
    filters = {
        "state": state,
        "patient_id": patient_id,
        "study_uid": study_uid,
        "rtstruct_uid": rtstruct_uid,
        "q": q,
        "limit": page_size,
        "cursor": cursor,
    }
    return fetch(Request("GET", _api("arrivals"), params=_query(filters)), Page[Arrival])


def list_workers() -> Flow[list[Worker]]:
    """Workers with their heartbeat and what they run."""
    page = yield from fetch(Request("GET", _api("workers")), Page[Worker])
    return list(page.items)


def get_artifact(artifact_id: str) -> Flow[bytes]:
    """A result's bytes."""
    request = Request("GET", _api("artifacts", segment(artifact_id)), headers=_PLAIN, timeout_s=_TRANSFER_TIMEOUT_S)
    return checked((yield from http(request))).content


def download_outputs(plan_id: str, folder: str | os.PathLike[str]) -> Flow[list[Path]]:
    """Write every result of a plan into a folder, named by kind: ``rtdose.dcm``, ``rtplan.dcm``.

    Each file appears when it is whole; files of the same names are replaced.
    """
    plan = yield from get_plan(plan_id)
    if not plan.outputs:
        raise NotFoundError(
            f"plan {plan_id} has no outputs; its state is {plan.state}",
            remedy="Wait for its end ('radiarch status --watch'), or look at its error ('radiarch show').",
        )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for output in plan.outputs:
        name = re.sub(r"[^a-z0-9_-]", "_", output.kind.lower()) or "output"
        path = target / f"{name}.dcm"
        if path in written:
            path = target / f"{name}-{len(written) + 1}.dcm"
        request = Request(
            "GET",
            _api("artifacts", segment(output.sop_instance_uid)),
            headers=_PLAIN,
            timeout_s=_TRANSFER_TIMEOUT_S,
            save_to=path,
        )
        checked((yield from http(request)))
        written.append(path)
    return written


def poll_until_done(
    plan_id: str,
    *,
    progress: ProgressCallback | None = None,
    timeout_s: float | None = None,
    interval_s: float = 1.0,
    patience_s: float = 60.0,
) -> Flow[Plan]:
    """Ask until a plan has ended.

    Parameters
    ----------
    progress
        Called with the plan whenever its state, stage or progress changed; the async client awaits it.
    timeout_s
        Give up then; None: never. The plan goes on.
    interval_s
        Between two questions.
    patience_s
        A server that does not answer for less than this (a restart) is asked again.

    Returns
    -------
    Plan
        Ended, in whatever state: see ``state``, or call ``raise_for_failure()``.

    Raises
    ------
    ServiceError
        ``time_limit`` after ``timeout_s``; what was wrong when the server was away for longer than ``patience_s``.
    """
    start = answered = time.monotonic()
    shown: tuple[Any, ...] | None = None
    while True:
        try:
            plan = yield from get_plan(plan_id)
        except RadiarchError as e:
            if not e.retryable or time.monotonic() - answered > patience_s:
                raise
        else:
            answered = time.monotonic()
            now = (plan.state, plan.stage, plan.progress, plan.eta_s)
            if progress is not None and now != shown:
                shown = now
                yield Notify(progress, plan)
            if plan.ended:
                return plan
        if timeout_s is not None and time.monotonic() - start >= timeout_s:
            raise ServiceError(
                f"plan {plan_id} has not ended after {timeout_s:g} s",
                remedy="It goes on; ask again later, or cancel it.",
                code=ErrorCode.TIME_LIMIT,
            )
        yield Sleep(interval_s)


def _post(path: str, body: Mapping[str, Any], key: str | None) -> Request:
    """A request that may be sent again: the server takes the same key once."""
    return Request("POST", path, json=dict(body), headers={"Idempotency-Key": key or uuid.uuid4().hex})


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _query(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((k, _text(v)) for k, v in values.items() if v is not None)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    # of a repeated parameter Orthanc hands over only the last: several values go into one
    return str(value) if isinstance(value, (str, int, float)) else ",".join(map(str, value))
