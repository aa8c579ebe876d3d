"""Operations on a plan's computation and its results: jobs, logs, waiting, downloads."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from radiarch_contract.errors import ErrorCode, NotFoundError, RadiarchError, ServiceError
from radiarch_contract.pictures import Plane

from . import _files
from ._answers import checked, fetch
from ._effects import Flow, Notify, Request, Sleep, http, run
from ._operations import get_plan
from ._rest import PLAIN, TRANSFER_TIMEOUT_S, api, query, segment
from .models import Event, Job, LogChunk, Page, Plan

ProgressCallback = Callable[[Plan], Awaitable[None] | None]


def get_job(job_id: str) -> Flow[Job]:
    """State, stage, progress and ETA of a job."""
    return fetch(Request("GET", api("jobs", segment(job_id))), Job)


def job_log(job_id: str, offset: int = 0) -> Flow[LogChunk]:
    """Lines of a job's log from an offset, the engine's own lines included."""
    return fetch(Request("GET", api("jobs", segment(job_id), "log"), params=query({"offset": offset})), LogChunk)


def job_events(job_id: str, cursor: str | None = None) -> Flow[Page[Event]]:
    """What happened to a job after a cursor; a short poll."""
    return fetch(Request("GET", api("jobs", segment(job_id), "events"), params=query({"cursor": cursor})), Page[Event])


def get_artifact(artifact_id: str) -> Flow[bytes]:
    """A result's bytes."""
    request = Request("GET", api("artifacts", segment(artifact_id)), headers=PLAIN, timeout_s=TRANSFER_TIMEOUT_S)
    return checked((yield from http(request))).content


def get_report(plan_id: str) -> Flow[bytes]:
    """A plan's report, PDF."""
    request = Request("GET", api("plans", segment(plan_id), "report"), headers=PLAIN, timeout_s=TRANSFER_TIMEOUT_S)
    return checked((yield from http(request))).content


def get_picture(plan_id: str, plane: Plane | str) -> Flow[bytes]:
    """The dose on a plane through the isocenter (axial, coronal, sagittal), PNG."""
    path = api("plans", segment(plan_id), "pictures", segment(str(plane)))
    return checked((yield from http(Request("GET", path, headers=PLAIN)))).content


def download_outputs(plan_id: str, folder: str | os.PathLike[str]) -> Flow[list[Path]]:
    """Write every result of a plan into a folder, named by kind: ``rtdose.dcm``, ``rtplan.dcm``.

    The files appear when all of them are whole.

    Raises
    ------
    ConflictError
        The folder has files of these names with other content, such as another plan's: they stay as they are, and
        nothing is written.
    """
    plan = yield from get_plan(plan_id)
    if not plan.outputs:
        raise NotFoundError(
            f"plan {plan_id} has no outputs; its state is {plan.state}",
            remedy="Wait for its end ('radiarch status --watch'), or look at its error ('radiarch show').",
        )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    parts: dict[Path, Path] = {}
    aside = target / f".{plan_id[:32]}.{secrets.token_hex(4)}.part"  # below it: on the same disk
    aside.mkdir()
    try:
        for output in plan.outputs:
            name = re.sub(r"[^a-z0-9_-]", "_", output.kind.lower()) or "output"
            path = target / f"{name}.dcm"
            if path in parts:
                path = target / f"{name}-{len(parts) + 1}.dcm"
            request = Request(
                "GET",
                api("artifacts", segment(output.sop_instance_uid)),
                headers=PLAIN,
                timeout_s=TRANSFER_TIMEOUT_S,
                save_to=aside / path.name,
            )
            checked((yield from http(request)))
            parts[path] = aside / path.name
        yield from run(lambda: _files.put(parts))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return list(parts)


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
