"""Nobody sees anything of a session without its secret, on any route."""

from __future__ import annotations

import re
from typing import Any

import pytest
from radiarch_contract import API_PREFIX, transport
from radiarch_contract.job import WorkerStatus
from radiarch_contract.transport import SESSION_HEADER, STORE_HEADER
from radiarch_contract.uids import sop_instance_uid

from phantoms import PhantomStudy
from tests.plugin.sessions.conftest import Owned, World, new_study

SESSION = f"{API_PREFIX}/sessions/{{session_id}}"


@pytest.fixture
def study() -> PhantomStudy:
    return new_study()


@pytest.fixture
def planned(world: World, study: PhantomStudy) -> tuple[Owned, str]:
    """A session with a plan that has results."""
    owned = world.open()
    owned.upload(*study.datasets)
    return owned, world.succeed(owned, study)


def operations(world: World, *, sessions: bool) -> list[tuple[str, str]]:
    """Every documented method and path template, of sessions or of everything else."""
    return [
        (method.upper(), path)
        for path, methods in world.app.openapi()["paths"].items()
        for method in methods
        if path.startswith(SESSION) == sessions
    ]


def test_without_its_secret_a_session_does_not_exist(
    world: World, study: PhantomStudy, planned: tuple[Owned, str]
) -> None:
    owned, plan_id = planned
    other = world.open()
    found = operations(world, sessions=True)
    assert len(found) > 20
    for method, template in found:
        path = template.replace("{session_id}", owned.id)
        path = re.sub(r"\{(plan|job)_id\}", plan_id, path)
        path = path.replace("{sop_instance_uid}", sop_instance_uid(plan_id, "rtdose")).replace("{plane}", "axial")
        assert "{" not in path
        unknown = path.replace(owned.id, "0" * 32)
        answers = [
            world.http.request(method, path, json={} if method in ("POST", "PUT") else None, headers=headers)
            for headers in ({}, {SESSION_HEADER: "x"}, {SESSION_HEADER: other.secret}, {STORE_HEADER: owned.secret})
        ]
        answers.append(world.http.request(method, unknown, headers={SESSION_HEADER: owned.secret}))
        assert {a.status_code for a in answers} == {404}, (method, path)
        assert len({a.text for a in answers}) == 1, "an answer tells whether the session exists"
    assert owned.get()["plans"] == {"succeeded": 1}


def test_nothing_outside_tells_of_a_sessions_plan(
    world: World, study: PhantomStudy, planned: tuple[Owned, str]
) -> None:
    owned, plan_id = planned
    now = world.now()
    busy = WorkerStatus(
        name="w", host="h", pid=1, version="1", started_at=now, heartbeat_at=now, state="busy", plan_id=plan_id
    )
    world.redis.set(transport.worker_key("w"), busy.model_dump_json())
    uid = str(study.rtstruct.SOPInstanceUID)
    tell_tales = (plan_id, owned.id, uid, str(study.rtstruct.StudyInstanceUID), "SECRET-PATIENT", "Secret^Name")
    values = {"plan_id": plan_id, "job_id": plan_id, "plane": "axial"}
    seen = 0
    for method, template in operations(world, sessions=False):
        if template.endswith(f"{API_PREFIX}/sessions") or "/protocols/" in template or "/workflows/" in template:
            continue
        uids = (sop_instance_uid(plan_id, "rtdose"), uid) if "{sop_instance_uid}" in template else ("",)
        for each in uids:
            path = template
            for name, value in {**values, "sop_instance_uid": each}.items():
                path = path.replace(f"{{{name}}}", value)
            for query in ("", f"?plans={plan_id},{plan_id[::-1]}", f"?q={plan_id}", "?since=0", f"?study_uid={uid}"):
                if query and method != "GET":
                    continue
                body = bodies(uid) if method == "POST" else None
                answer = world.http.request(method, path + query, json=body)
                named = "{" in template
                assert answer.status_code in ((404, 422) if named else (200, 404, 422)), (method, path, query)
                text = answer.text
                for value in tell_tales:
                    if value in (path + query) or (body and value in str(body)):
                        continue  # what was asked may be repeated
                    assert value not in text, (method, path, query)
                seen += 1
    assert seen > 40
    assert sum(world.store.plans.counts().values()) == 0
    (worker,) = world.http.get(f"{API_PREFIX}/workers").json()["items"]
    assert (worker["state"], worker["plan_id"]) == ("busy", None)
    metrics = world.http.get("/radiarch/metrics").text
    assert 'radiarch_plans{state="succeeded"} 0.0' in metrics
    assert not any(value in metrics for value in tell_tales)


def bodies(uid: str) -> dict[str, Any]:
    return {"rtstruct_sop_instance_uid": uid, "protocol_id": "box"}


def test_one_session_does_not_reach_into_another(world: World, study: PhantomStudy, planned: tuple[Owned, str]) -> None:
    _, plan_id = planned
    other = world.open()
    dose = sop_instance_uid(plan_id, "rtdose")
    assert other.get("/plans")["items"] == []
    assert other.get("/results")["items"] == []
    for method, path in (
        ("GET", f"/plans/{plan_id}"),
        ("DELETE", f"/plans/{plan_id}"),
        ("GET", f"/jobs/{plan_id}/log"),
        ("GET", f"/plans/{plan_id}/dvh"),
        ("GET", f"/artifacts/{dose}"),
        ("GET", f"/structure-sets/{study.rtstruct.SOPInstanceUID}"),
    ):
        assert other.ask(method, path).status_code == 404, path
    assert other.ask("POST", "/plans", json=bodies(str(study.rtstruct.SOPInstanceUID))).status_code == 422
    assert other.ask("POST", "/keep", json={"plans": [plan_id]}).status_code == 404
    assert world.in_orthanc() == 0


def test_the_owner_reads_everything_under_the_sessions_path(
    world: World, study: PhantomStudy, planned: tuple[Owned, str]
) -> None:
    owned, plan_id = planned
    (item,) = owned.get("/plans")["items"]
    assert item["id"] == plan_id
    assert item["patient_id"] == "SECRET-PATIENT"
    assert owned.get(f"/jobs/{plan_id}")["state"] == "succeeded"
    assert owned.get(f"/jobs/{plan_id}/log")["lines"] == ["a line of the log"]
    assert owned.get(f"/structure-sets/{study.rtstruct.SOPInstanceUID}")["missing_instances"] == 0
    results = owned.get("/results")["items"]
    assert {r["kind"] for r in results} == {"rtdose", "rtplan"}
    for each in results:
        data = owned.ask("GET", f"/artifacts/{each['sop_instance_uid']}").content
        assert len(data) == each["bytes"]
    answer = owned.ask("POST", "/plans", json=bodies(str(study.rtstruct.SOPInstanceUID)))
    assert answer.headers["location"] == f"{API_PREFIX}/sessions/{owned.id}/plans/{answer.json()['id']}"
    assert world.in_orthanc() == 0


def test_the_secret_is_kept_nowhere(world: World, planned: tuple[Owned, str]) -> None:
    owned, _ = planned
    for path in world.folder.rglob("*"):
        if path.is_file():
            assert owned.secret.encode() not in path.read_bytes(), path
            assert path.stat().st_mode & 0o077 == 0 or path.name.endswith("owner"), path
        else:
            assert path.stat().st_mode & 0o077 == 0, path
    assert world.folder.stat().st_mode & 0o777 == 0o700
    for key in world.redis.scan_iter():
        assert owned.secret.encode() not in (world.redis.dump(key) or b"")
