"""Operations on Radiarch's REST interface, as flows; those on jobs and results live in `_jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.objectives import Objective
from radiarch_contract.workflows import Beam, Prescription

from ._answers import fetch
from ._effects import Flow, Request
from ._rest import api, optional, plain, post, query, segment
from .models import (
    Arrival,
    Comparison,
    Dvh,
    Info,
    Page,
    Plan,
    PlanSummary,
    Protocol,
    Worker,
    Workflow,
)


def info() -> Flow[Info]:
    """Name, version, engines and whether each really runs, workers, queue, ``ready``."""
    return fetch(Request("GET", api("info")), Info)


def list_workflows() -> Flow[list[Workflow]]:
    """Every way of planning that the server knows."""
    page = yield from fetch(Request("GET", api("workflows")), Page[Workflow])
    return list(page.items)


def get_workflow(workflow_id: str) -> Flow[Workflow]:
    """One workflow with the JSON schema of its parameters."""
    return fetch(Request("GET", api("workflows", segment(workflow_id))), Workflow)


def list_protocols() -> Flow[list[Protocol]]:
    """What is planned automatically, in the order in which it is tried."""
    page = yield from fetch(Request("GET", api("protocols")), Page[Protocol])
    return list(page.items)


def get_protocol(protocol_id: str) -> Flow[Protocol]:
    """One protocol, whole."""
    return fetch(Request("GET", api("protocols", segment(protocol_id))), Protocol)


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
    structures: Mapping[str, str | int] | None = None,
    label: str | None = None,
    priority: str | None = None,
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
        The ROI's own name, or its number, for a name that is used here or in the protocol.
    label
        RT Plan Label, at most 16 characters.
    priority
        ``batch`` for one of many: what somebody waits for may be taken from the queue before it.
    idempotency_key
        Two requests with the same key make one plan; a fresh key is made for each call, and kept when
        the call is repeated after a lost connection.

    Returns
    -------
    Plan
        As it is now: ``waiting`` or ``queued``. `poll_until_done` waits for its end.
    """
    body: dict[str, Any] = {"rtstruct_sop_instance_uid": rtstruct_sop_instance_uid}
    given = {
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
        "priority": priority,
    }
    body |= {k: plain(v) for k, v in given.items() if v is not None}
    return fetch(post(api("plans"), body, idempotency_key), Plan)


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
    created_from: date | str | None = None,
    created_to: date | str | None = None,
    sort: str | None = None,
    page_size: int = 100,
) -> Flow[Page[PlanSummary]]:
    """Plans that fit every filter, newest first unless ``sort`` says otherwise; pages are fetched as needed.

    ``q`` are words or parts of them: of an id, UID, patient's name or id, or label; ``state`` one state or several;
    ``sort`` is created_at, updated_at or patient_id, with a minus for the last first. ``created_from`` and
    ``created_to`` are dates, or dates with a time, both included; without a zone they are UTC.
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
        "created_from": created_from,
        "created_to": created_to,
        "sort": sort,
        "limit": page_size,
        "cursor": cursor,
    }
    return fetch(Request("GET", api("plans"), params=query(filters)), Page[PlanSummary])


def get_plan(plan_id: str) -> Flow[Plan]:
    """Everything about a plan."""
    return fetch(Request("GET", api("plans", segment(plan_id))), Plan)


def cancel_plan(plan_id: str) -> Flow[Plan]:
    """Cancel a plan that has not ended; its engines are stopped. Cancelling twice is harmless."""
    return fetch(Request("DELETE", api("plans", segment(plan_id))), Plan)


@optional("POST", "/plans/{}/reoptimize", "re-optimising")
def reoptimize(
    plan_id: str,
    objectives: Sequence[Objective | Mapping[str, Any]] | None = None,
    *,
    goals: Sequence[str] | None = None,
    prescription: Prescription | Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    label: str | None = None,
    idempotency_key: str | None = None,
) -> Flow[Plan]:
    """Another plan of a plan's structure set, which differs in what is given and names its parent.

    Beamlets that are stored are used again where nothing that enters them has changed.
    """
    given = {
        "objectives": objectives,
        "goals": goals,
        "prescription": prescription,
        "parameters": parameters,
        "label": label,
    }
    body = {k: plain(v) for k, v in given.items() if v is not None}
    return fetch(post(api("plans", segment(plan_id), "reoptimize"), body, idempotency_key), Plan)


def dvh(plan_id: str) -> Flow[Dvh]:
    """Cumulative DVHs on the final dose."""
    return fetch(Request("GET", api("plans", segment(plan_id), "dvh")), Dvh)


@optional("POST", "/plans/{}/approval", "decisions about results")
def approve(plan_id: str, decision: str, comment: str = "") -> Flow[Plan]:
    """Record a person's decision about a result: ``approved``, ``rejected`` or ``withdrawn``."""
    body = {"decision": decision, "comment": comment}
    # asked twice it would be recorded twice
    request = Request("POST", api("plans", segment(plan_id), "approval"), json=body, repeatable=False)
    return fetch(request, Plan)


@optional("GET", "/compare", "comparing plans")
def compare(*plan_ids: str) -> Flow[Comparison]:
    """Two or more plans: DVHs on one axis, differences of metrics and goals."""
    if len(plan_ids) < 2:
        raise InvalidRequestError("one plan cannot be compared", remedy="Name two plans or more.")
    return fetch(Request("GET", api("compare"), params=(("plans", ",".join(map(segment, plan_ids))),)), Comparison)


@optional("POST", "/evaluations", "evaluations")
def create_evaluation(
    rtdose_sop_instance_uid: str,
    rtstruct_sop_instance_uid: str | None = None,
    *,
    added_rtdose_sop_instance_uid: str | None = None,
    reference_rtdose_sop_instance_uid: str | None = None,
    goals: Sequence[str] | None = None,
    prescription: Prescription | Mapping[str, Any] | None = None,
    structures: Mapping[str, str | int] | None = None,
    gamma: Mapping[str, Any] | None = None,
    levels: Mapping[str, Any] | None = None,
    rbe: float | None = None,
    label: str | None = None,
    priority: str | None = None,
    idempotency_key: str | None = None,
) -> Flow[Plan]:
    """DVH, metrics and goals of any RTDOSE with any RTSTRUCT in Orthanc, without planning.

    Parameters
    ----------
    rtstruct_sop_instance_uid
        None: the one that the RTDOSE, or its plan, names.
    added_rtdose_sop_instance_uid
        The dose of another whole plan, of the same Dose Type: the sum of both is judged.
    reference_rtdose_sop_instance_uid
        Another dose to compare with: gamma, differences of DVH and metrics, a difference dose.
    prescription
        Needed for goals in % of it.
    gamma
        Criteria: ``dose_percent``, ``distance_mm``, ``normalization`` (global or local), ``cutoff_percent``.
    levels
        What the verdict is judged by, such as ``{"mean_percent": {"look": 1, "fail": 3}}``.
    rbe
        Constant RBE of doses that are physical: 1.1 for protons, 1 for photons.
    """
    body: dict[str, Any] = {"rtdose_sop_instance_uid": rtdose_sop_instance_uid}
    given = {
        "rtstruct_sop_instance_uid": rtstruct_sop_instance_uid,
        "added_rtdose_sop_instance_uid": added_rtdose_sop_instance_uid,
        "reference_rtdose_sop_instance_uid": reference_rtdose_sop_instance_uid,
        "goals": goals,
        "prescription": prescription,
        "structures": structures,
        "gamma": gamma,
        "levels": levels,
        "rbe": rbe,
        "label": label,
        "priority": priority,
    }
    body |= {k: plain(v) for k, v in given.items() if v is not None}
    return fetch(post(api("evaluations"), body, idempotency_key), Plan)


@optional("GET", "/evaluations/{}", "evaluations")
def get_evaluation(evaluation_id: str) -> Flow[Plan]:
    """An evaluation that was asked for."""
    return fetch(Request("GET", api("evaluations", segment(evaluation_id))), Plan)


@optional("POST", "/recalculations", "recalculations")
def create_recalculation(
    rtplan_sop_instance_uid: str,
    *,
    rtstruct_sop_instance_uid: str | None = None,
    rtdose_sop_instance_uid: str | None = None,
    goals: Sequence[str] | None = None,
    prescription: Prescription | Mapping[str, Any] | None = None,
    structures: Mapping[str, str | int] | None = None,
    parameters: Mapping[str, Any] | None = None,
    label: str | None = None,
    priority: str | None = None,
    idempotency_key: str | None = None,
) -> Flow[Plan]:
    """An RT Ion Plan or RT Plan computed anew, and compared with its RTDOSE where there is one.

    Parameters
    ----------
    rtstruct_sop_instance_uid
        None: the one that the plan names.
    rtdose_sop_instance_uid
        What to compare with; None: a dose in the study that names the plan and is of all of it, if there is one.
    parameters
        Of the workflow ``recalculation``: ``gamma``, ``machine``, ``levels``, ``rbe``, ``meterset_scale``, …
    """
    body: dict[str, Any] = {"rtplan_sop_instance_uid": rtplan_sop_instance_uid}
    given = {
        "rtstruct_sop_instance_uid": rtstruct_sop_instance_uid,
        "rtdose_sop_instance_uid": rtdose_sop_instance_uid,
        "goals": goals,
        "prescription": prescription,
        "structures": structures,
        "parameters": parameters,
        "label": label,
        "priority": priority,
    }
    body |= {k: plain(v) for k, v in given.items() if v is not None}
    return fetch(post(api("recalculations"), body, idempotency_key), Plan)


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
    return fetch(Request("GET", api("arrivals"), params=query(filters)), Page[Arrival])


def list_workers() -> Flow[list[Worker]]:
    """Workers with their heartbeat and what they run."""
    page = yield from fetch(Request("GET", api("workers")), Page[Worker])
    return list(page.items)
