"""What is told of jobs while they run, and of every structure set that was seen."""

from __future__ import annotations

from typing import Any

from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.states import Stage
from radiarch_plugin.store import LogPosition, NewArrival, ProgressUpdate

from tests.plugin.web.conftest import Api


def running(api: Api, uid: str) -> str:
    """A plan that a worker has begun."""
    body = {"rtstruct_sop_instance_uid": uid, "protocol_id": "box"}
    plan_id: str = api.post("/plans", body).json()["id"]
    spec = api.store.attempts.begin(plan_id)
    assert spec is not None
    api.store.attempts.progress([update(plan_id, Stage.OPTIMIZING, 0.5)])
    return plan_id


def update(plan_id: str, stage: Stage, progress: float) -> ProgressUpdate:
    solver = {"iteration": 3}
    return ProgressUpdate(
        plan_id=plan_id, attempt=1, stage=stage, progress=progress, eta_s=7, message="m", worker="w", solver=solver
    )


def test_a_running_job_tells_stage_progress_and_solver(api: Api, stored_uid: str) -> None:
    plan_id = running(api, stored_uid)
    job = api.get(f"/jobs/{plan_id}").json()
    told = {k: job[k] for k in ("state", "stage", "progress", "eta_s", "worker", "attempt", "solver", "error")}
    assert told == {
        "state": "running",
        "stage": "optimizing",
        "progress": 0.5,
        "eta_s": 7,
        "worker": "w",
        "attempt": 1,
        "solver": {"iteration": 3},
        "error": None,
    }
    assert api.get("/jobs", state="running").json()["items"] == [job]


def test_a_log_is_read_on_from_where_one_was(api: Api, stored_uid: str) -> None:
    plan_id = running(api, stored_uid)
    lines = [f"line {i}" for i in range(25)]
    start = LogPosition(run="w", taken=0)
    api.store.journal.append_log(plan_id, 1, start, lines)
    seen: list[str] = []
    offset = 0
    while True:
        answer: dict[str, Any] = api.get(f"/jobs/{plan_id}/log", offset=offset, limit=10).json()
        assert answer["offset"] == offset
        if not answer["lines"]:
            break
        seen += answer["lines"]
        offset = answer["next_offset"]
    assert seen == lines
    assert answer["complete"] is False
    api.delete(f"/plans/{plan_id}")
    assert api.get(f"/jobs/{plan_id}/log", offset=offset).json()["complete"] is False  # its worker may still write
    api.store.attempts.stopped(plan_id)
    assert api.get(f"/jobs/{plan_id}/log", offset=offset).json()["complete"] is True
    assert api.get(f"/plans/{plan_id}").json()["stopped_at"] is not None
    assert api.get(f"/jobs/{plan_id}/log", offset=10_000).json()["lines"] == []


def test_events_are_given_once_each(api: Api, stored_uid: str) -> None:
    plan_id = running(api, stored_uid)
    seen: list[dict[str, Any]] = []
    since = "0"
    while True:
        answer = api.get(f"/jobs/{plan_id}/events", since=since, limit=2).json()
        if not answer["items"]:
            break
        seen += answer["items"]
        since = answer["next"]
    assert [e["data"]["state"] for e in seen if e["type"] == "state"] == ["queued", "running"]
    assert len({e["cursor"] for e in seen}) == len(seen)
    assert answer["next"] == since
    api.delete(f"/plans/{plan_id}")
    (ended,) = api.get(f"/jobs/{plan_id}/events", cursor=since).json()["items"]
    assert ended["data"]["state"] == "cancelled"


def test_an_arrival_that_was_not_planned_says_why(api: Api) -> None:
    error = InputRefusedError("no protocol fits", remedy="add one", code=ErrorCode.NO_PROTOCOL, protocols=[]).info
    for i in range(3):
        api.store.arrivals.admit(
            NewArrival(
                sop_instance_uid=f"1.2.{i}",
                orthanc_id="x",
                patient_id=f"P{i}",
                sha256="0" * 64,
                calling_ae="CT1",
                structures=("PTV",),
                referenced_count=5,
                error=error,
            )
        )
    first = api.get("/arrivals", limit=2, state="not_planned").json()
    second = api.get("/arrivals", limit=2, state="not_planned", cursor=first["next"]).json()
    assert [a["id"] for a in first["items"] + second["items"]] == ["1.2.2", "1.2.1", "1.2.0"]
    assert second["next"] is None
    arrival = api.get("/arrivals/1.2.1").json()
    assert arrival == first["items"][1]
    assert (arrival["state"], arrival["error"]["code"], arrival["calling_ae"]) == ("not_planned", "no_protocol", "CT1")
    assert (arrival["structures"], arrival["referenced_instances"]) == (["PTV"], 5)
    assert api.get("/arrivals", state="planned").json()["items"] == []
    assert [a["id"] for a in api.get("/arrivals", patient_id="P0").json()["items"]] == ["1.2.0"]
    assert api.get("/arrivals", state="lost").status_code == 422
    assert api.get("/arrivals", sort="id").status_code == 422
