"""Asking for another plan of a plan's structure set, and people's decisions about results."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from radiarch_contract.errors import ErrorCode
from radiarch_contract.job import JobResult
from radiarch_plugin.auth.signin import authenticates
from radiarch_plugin.web.requester import user_of

from phantoms import PhantomStudy
from tests.plugin.web.conftest import Api

OBJECTIVE = {
    "structure": "PTV",
    "metric": "DMin",
    "dose_gy": 58.0,
    "volume_percent": None,
    "weight": 1.0,
    "robust": False,
    "over_scenarios": "worst-case",
}


def planned(api: Api, uid: str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/plans", {"rtstruct_sop_instance_uid": uid, "protocol_id": "box", **fields})
    assert answer.status_code == 201, answer.text
    plan: dict[str, Any] = answer.json()
    return plan


def stored(api: Api, study: PhantomStudy) -> str:
    api.upload(*study.datasets)
    return str(study.rtstruct.SOPInstanceUID)


def test_only_what_is_given_differs_from_the_parent(api: Api, stored_uid: str) -> None:
    parent = planned(api, stored_uid, label="PARENT", parameters={"spot_spacing_mm": 7})
    answer = api.post(f"/plans/{parent['id']}/reoptimize", {"objectives": [OBJECTIVE]})
    child = answer.json()
    assert (answer.status_code, child["state"], child["parent_id"]) == (201, "queued", parent["id"])
    assert child["objectives"] == [OBJECTIVE]
    same = ("protocol_id", "protocol_sha256", "label", "prescription", "goals", "beams", "rtstruct_sha256")
    assert {k: child[k] for k in same} == {k: parent[k] for k in same}
    assert child["parameters"] == {**parent["parameters"], "objectives": child["parameters"]["objectives"]}
    assert child["request"]["parent_id"] == parent["id"]
    assert [p["id"] for p in api.get("/plans", parent_id=parent["id"]).json()["items"]] == [child["id"]]
    again = api.post(f"/plans/{child['id']}/reoptimize", {"prescription": {"dose_gy": 50}, "label": "LESS"}).json()
    assert (again["prescription"]["dose_gy"], again["prescription"]["fractions"]) == (50, 30)
    assert (again["objectives"], again["label"], again["parent_id"]) == ([OBJECTIVE], "LESS", child["id"])


def test_the_calibration_of_the_parent_is_kept_by_name(api: Api, stored_uid: str) -> None:
    """What `auto` stood for then, it stands for again, until somebody asks for another."""
    parent = planned(api, stored_uid)
    path = f"/plans/{parent['id']}/reoptimize"
    assert api.post(path, {"label": "EARLY"}).json()["parameters"]["ct_calibration"] == "auto"
    made = JobResult(
        plan_id=parent["id"], attempt=1, provenance={"ct_calibration": {"name": "ct1-120kv", "sha256": {}}}
    )
    api.store.attempts.begin(parent["id"])
    assert api.store.attempts.succeed(made)
    assert api.post(path, {"label": "SAME"}).json()["parameters"]["ct_calibration"] == "ct1-120kv"
    other = api.post(path, {"label": "OTHER", "parameters": {"ct_calibration": "auto"}}).json()
    assert other["parameters"]["ct_calibration"] == "auto"


def test_one_key_makes_one_child(api: Api, stored_uid: str) -> None:
    parent = planned(api, stored_uid)
    path = f"/plans/{parent['id']}/reoptimize"
    first = api.post(path, {"label": "A"}, key="k")
    assert api.post(path, {"label": "A"}, key="k").json()["id"] == first.json()["id"]
    assert api.post(path, {"label": "B"}, key="k").status_code == 409
    other = planned(api, stored_uid)
    assert api.post(f"/plans/{other['id']}/reoptimize", {"label": "A"}, key="k").status_code == 409


def test_a_structure_set_that_has_changed_is_not_optimised_again(api: Api, study: PhantomStudy) -> None:
    parent = planned(api, stored(api, study))
    study.rtstruct.StructureSetLabel = "OTHER"
    api.upload(study.rtstruct)
    answer = api.post(f"/plans/{parent['id']}/reoptimize", {})
    assert (answer.status_code, answer.json()["code"]) == (409, ErrorCode.INPUT_CHANGED)
    (found,) = api.orthanc.post(
        "/tools/find", json={"Level": "Instance", "Query": {"SOPInstanceUID": str(study.rtstruct.SOPInstanceUID)}}
    ).json()
    api.orthanc.delete(f"/instances/{found}")
    answer = api.post(f"/plans/{parent['id']}/reoptimize", {})
    assert (answer.status_code, answer.json()["code"]) == (409, ErrorCode.INPUT_CHANGED)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"objectives": []}, ErrorCode.INVALID_REQUEST),
        ({"objectives": [{**OBJECTIVE, "structure": "Liver"}]}, ErrorCode.UNKNOWN_STRUCTURE),
        ({"goals": ["Liver: Dmean <= 1 Gy"]}, ErrorCode.UNKNOWN_STRUCTURE),
        ({"prescription": {"target": "Liver"}}, ErrorCode.UNKNOWN_STRUCTURE),
        ({"parameters": {"nonsense": 1}}, ErrorCode.INVALID_REQUEST),
        ({"rtstruct_sop_instance_uid": "1.2"}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_a_wrong_request_is_refused_by_name(api: Api, stored_uid: str, body: dict[str, Any], code: ErrorCode) -> None:
    parent = planned(api, stored_uid)
    answer = api.post(f"/plans/{parent['id']}/reoptimize", body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_plan_that_does_not_exist_has_no_child(api: Api) -> None:
    assert api.post(f"/plans/{'0' * 32}/reoptimize", {}).status_code == 404


def test_decisions_are_kept_with_who_and_when(api: Api, stored_uid: str) -> None:
    plan = planned(api, stored_uid)
    path = f"/plans/{plan['id']}/approval"
    assert api.post(path, {"decision": "approved"}).status_code == 409  # nothing to decide on yet
    api.store.attempts.begin(plan["id"])
    assert api.store.attempts.succeed(JobResult(plan_id=plan["id"], attempt=1))
    assert api.post(path, {"decision": "perhaps"}).status_code == 422
    api.runtime.authenticates = True
    try:
        login = base64.b64encode(b"physicist:secret").decode()
        answer = api.http.post(
            f"/radiarch/api/v1{path}",
            json={"decision": "approved", "comment": "seen"},
            headers={"Authorization": f"Basic {login}"},
        ).json()
    finally:
        api.runtime.authenticates = False
    assert (answer["approval"]["decision"], answer["approval"]["by"]) == ("approved", "physicist")
    answer = api.post(path, {"decision": "withdrawn"}).json()
    assert (answer["approval"]["decision"], answer["approval"]["by"]) == ("withdrawn", None)
    assert [a["decision"] for a in answer["approvals"]] == ["approved", "withdrawn"]
    events = api.get(f"/jobs/{plan['id']}/events").json()["items"]
    assert [e["data"]["decision"] for e in events if e["type"] == "approval"] == ["approved", "withdrawn"]


def test_who_asks_is_believed_only_where_orthanc_knows_its_users(api: Api, stored_uid: str) -> None:
    login = {"Authorization": f"Basic {base64.b64encode(b'somebody:x').decode()}"}
    body = {"rtstruct_sop_instance_uid": stored_uid, "protocol_id": "box"}
    assert api.http.post("/radiarch/api/v1/plans", json=body, headers=login).json()["requested_by"] is None
    api.runtime.authenticates = True
    try:
        assert api.http.post("/radiarch/api/v1/plans", json=body, headers=login).json()["requested_by"] == "somebody"
    finally:
        api.runtime.authenticates = False


@pytest.mark.parametrize(
    "text", [None, "", "Basic", "Basic ?", "Bearer abc", "Basic " + base64.b64encode(b":x").decode()]
)
def test_what_names_nobody_is_nobody(text: str | None) -> None:
    assert user_of(text) is None


def test_users_are_known_with_remote_access_unless_it_is_switched_off() -> None:
    assert authenticates({"AuthenticationEnabled": True})
    assert authenticates({"RemoteAccessAllowed": True})
    assert not authenticates({"RemoteAccessAllowed": True, "AuthenticationEnabled": False})
    assert not authenticates({})
