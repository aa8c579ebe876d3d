"""What the service tells of itself, errors, and that no input whatever makes it fail."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from radiarch_contract import API_PREFIX, __version__, series_of, transport
from radiarch_contract.job import WorkerStatus
from radiarch_contract.workflows import WORKFLOWS, parse_parameters
from radiarch_plugin.jobs.queue import JobQueue
from radiarch_plugin.plugin import connect_redis
from radiarch_plugin.protocols.loaded import load_protocols
from sqlalchemy import text

from tests.plugin.web.conftest import PROTOCOL, Api

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def beat(
    api: Api, name: str, *, state: str = "idle", available: bool = True, version: str = __version__, **told: Any
) -> None:
    engine = {"available": available, "version": "1" if available else None, "reason": None if available else "no file"}
    status = WorkerStatus(
        name=name,
        host="h",
        pid=1,
        version=version,
        started_at=NOW,
        heartbeat_at=NOW,
        state=state,
        engines={"mcsquare": engine},
        **told,
    )
    api.redis.set(transport.worker_key(name), status.model_dump_json(), ex=60)


def test_ready_needs_a_worker_on_which_an_engine_runs(api: Api) -> None:
    def told() -> tuple[bool, list[str], dict[str, Any]]:
        info = api.get("/info").json()
        return info["ready"], [p["code"] for p in info["problems"]], info

    assert told()[:2] == (False, ["not_ready"])
    beat(api, "a", available=False)
    ready, codes, info = told()
    assert (ready, codes) == (False, ["engine_missing"])
    assert info["engines"]["mcsquare"] == {"available": False, "version": None, "reason": "no file", "workers": 0}
    beat(api, "b", state="busy")
    ready, codes, info = told()
    assert (ready, codes) == (True, [])
    assert info["engines"]["mcsquare"]["available"] is True
    assert info["workers"] == {"total": 2, "idle": 1, "busy": 1}
    assert info["workflows"] == list(WORKFLOWS)
    assert info["queue"] == {"waiting": 0, "queued": 0, "running": 0}


def test_workers_with_other_machine_data_and_mistakes_in_it_are_problems(api: Api) -> None:
    same = {"calibrations/ct1.yaml": "ab" * 32, "machines/room-1.txt": "cd" * 32}
    beat(api, "a", machine_data=same)
    beat(api, "b", machine_data=same)
    assert api.get("/info").json()["ready"] is True
    for other in ({**same, "calibrations/ct1.yaml": "ef" * 32}, {"machines/room-1.txt": "cd" * 32}):
        beat(api, "b", machine_data=other)
        info = api.get("/info").json()
        (problem,) = info["problems"]
        assert (info["ready"], problem["code"]) == (False, "invalid_machine_data")
        assert "workers have different calibrations/ct1.yaml" in problem["message"]
        assert problem["details"] == {"files": ["calibrations/ct1.yaml"]}
    assert {w["name"]: w["machine_data"] for w in api.get("/workers").json()["items"]}["a"] == same
    for name in "ab":
        beat(api, name, machine_data=same, machine_data_problems=("ct1.yaml, line 3, field density.2: …",))
    (problem,) = api.get("/info").json()["problems"]
    assert "ct1.yaml, line 3, field density.2" in problem["message"]


def test_a_worker_of_another_minor_version_is_named_and_does_not_count(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    beat(api, "new", version="99.3.0")
    info = api.get("/info").json()
    assert [p["code"] for p in info["problems"]] == ["not_ready", "version_mismatch"]
    assert f"no worker of version {series_of(__version__)}" in info["problems"][0]["message"]
    assert info["engines"] == {}
    beat(api, "same", version=f"{series_of(__version__)}.77")
    info = api.get("/info").json()
    assert (info["ready"], [p["code"] for p in info["problems"]]) == (True, ["version_mismatch"])
    assert info["problems"][0]["details"] == {"worker": "new", "host": "h", "version": "99.3.0"}
    assert info["workers"] == {"total": 2, "idle": 1, "busy": 0}
    assert sum("worker new is version 99.3.0" in m for m in caplog.messages) == 1


def test_a_heartbeat_with_fields_of_a_later_version_is_read_but_for_them(api: Api) -> None:
    beat(api, "a", version="99.0.0")
    key = transport.worker_key("a")
    api.redis.set(key, json.dumps({**json.loads(api.redis.get(key) or ""), "mood": "good"}))
    assert [w["version"] for w in api.get("/workers").json()["items"]] == ["99.0.0"]


def test_workers_are_listed_and_a_foreign_heartbeat_is_left_out(api: Api) -> None:
    beat(api, "b")
    beat(api, "a")
    api.redis.set(transport.worker_key("c"), b'{"state": "\xff')
    assert [w["name"] for w in api.get("/workers").json()["items"]] == ["a", "b"]


def test_without_redis_plans_are_still_taken_and_the_reason_is_told(api: Api, stored_uid: str) -> None:
    assert api.runtime.services is not None
    with connect_redis("redis://127.0.0.1:1/0") as nowhere:
        api.runtime.services = replace(api.runtime.services, queue=JobQueue(nowhere))
        info = api.get("/info").json()
        assert (info["ready"], [p["code"] for p in info["problems"]]) == (False, ["queue_unavailable"])
        response = api.get("/workers")
        assert (response.status_code, response.json()["code"]) == (503, "queue_unavailable")
        body = {"rtstruct_sop_instance_uid": stored_uid, "protocol_id": "box"}
        assert api.post("/plans", body).status_code == 201
        assert "radiarch_redis_up 0.0" in api.http.get("/radiarch/metrics").text


def test_before_the_start_every_route_says_not_ready(api: Api) -> None:
    api.runtime.services = None
    for path in ("/plans", "/jobs", "/arrivals", "/workers", "/plans/" + "0" * 32, "/artifacts/1.2"):
        response = api.get(path)
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")


def test_metrics_are_prometheus_text(api: Api, stored_uid: str) -> None:
    beat(api, "a", state="busy")
    api.post("/plans", {"rtstruct_sop_instance_uid": stored_uid, "protocol_id": "box"})
    response = api.http.get("/radiarch/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(response.text)
        for s in family.samples
    }
    assert found["radiarch_plans", "queued"] == 1
    assert found["radiarch_plans", "failed"] == 0
    assert found["radiarch_workers", "busy"] == 1
    assert found["radiarch_engine_workers", "mcsquare"] == 1
    assert found["radiarch_ready",] == 1
    assert found["radiarch_build_info", __version__] == 1


def test_workflows_tell_schema_and_defaults_that_are_used(api: Api) -> None:
    for workflow in api.get("/workflows").json()["items"]:
        assert api.get(f"/workflows/{workflow['id']}").json() == workflow
        schema = workflow["parameters"]
        jsonschema.Draft202012Validator.check_schema(schema)
        values = dict(workflow["defaults"])
        if "objectives" in schema.get("required", ()):
            values["objectives"] = [
                {"structure": "PTV", "metric": "DUniform", "dose_gy": 60, "robust": "robust" in workflow["id"]}
            ]
        jsonschema.validate(values, schema)
        parsed = parse_parameters(workflow["id"], values).model_dump(mode="json")
        assert all(parsed[k] == v for k, v in workflow["defaults"].items())


def test_protocols_tell_what_would_be_planned(api: Api) -> None:
    (protocol,) = api.get("/protocols").json()["items"]
    assert (protocol["id"], protocol["file"], protocol["workflow"]) == ("box", "box.yaml", "proton-impt-optimized")
    assert api.get("/protocols/box").json() == protocol
    assert api.get("/protocols/none").json()["code"] == "unknown_protocol"


@pytest.mark.parametrize(
    "path",
    ["/plans/x", "/jobs/" + "0" * 32, "/workflows/x", "/protocols/x", "/arrivals/1.2", "/artifacts/1.2", "/x", ""],
)
def test_what_does_not_exist_is_404_with_a_remedy(api: Api, path: str) -> None:
    response = api.get(path)
    error = response.json()
    assert response.status_code == 404
    assert set(error) == {"code", "message", "remedy", "details"}
    assert error["remedy"]


def test_another_method_is_405_with_those_that_are_possible(api: Api) -> None:
    response = api.http.post(f"{API_PREFIX}/info")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


def test_errors_do_not_repeat_what_was_sent(api: Api) -> None:
    secret = "Doe^John"
    for body in ({"rtstruct_sop_instance_uid": secret}, {"rtstruct_sop_instance_uid": "1.2", "label": secret * 9}):
        assert secret not in api.post("/plans", body).text


def test_a_mistyped_protocol_stops_planning_by_itself_only(api: Api, stored_uid: str, tmp_path: Path) -> None:
    """What the whole service shows, beside the arrivals of `test_trigger`."""
    beat(api, "a")
    whole = api.runtime.protocols
    plan = api.post("/plans", {"rtstruct_sop_instance_uid": stored_uid, "protocol_id": "box"}).json()
    (tmp_path / "box.yaml").write_text(PROTOCOL)
    mistyped = PROTOCOL.replace("id: box", "id: other").replace("fractions: 30", "fractions: true")
    (tmp_path / "other.yaml").write_text(mistyped)
    api.runtime.protocols = load_protocols(tmp_path)
    try:
        info = api.get("/info").json()
        assert (info["ready"], info["protocols"]) == (True, 1)
        listed = api.get("/protocols").json()
        assert [p["id"] for p in listed["items"]] == ["box"]
        assert info["problems"] == listed["problems"]
        (problem,) = listed["problems"]
        assert problem["code"] == "invalid_protocol"
        assert problem["details"]["problems"] == [
            {
                "file": "other.yaml",
                "line": 4,
                "field": "prescription.fractions",
                "message": "Input should be a valid integer",
            }
        ]
        assert api.get(f"/plans/{plan['id']}").json()["protocol_id"] == "box"
        asked = {"rtstruct_sop_instance_uid": stored_uid}
        assert api.post("/plans", asked | {"protocol_id": "box"}).status_code == 201
        for answer in (api.post("/plans", asked | {"protocol_id": "other"}), api.get("/protocols/other")):
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_protocol")
            assert "other.yaml, line 4" in answer.json()["message"]
        matches = api.get(f"/structure-sets/{stored_uid}/matches").json()
        assert matches["chosen"] == "box"  # its id comes before the mistyped one's
        assert [(m["protocol_id"], m["code"]) for m in matches["protocols"]] == [
            ("box", None),
            ("other", "invalid_protocol"),
        ]
        (tmp_path / "box.yaml").unlink()
        api.runtime.protocols = load_protocols(tmp_path)
        info = api.get("/info").json()
        assert (info["ready"], info["protocols"]) == (False, 0)  # nothing that arrives is planned
        assert api.get("/plans").status_code == 200
    finally:
        api.runtime.protocols = whole


def test_a_failure_inside_is_told_without_a_traceback(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("patient Doe^John")

    monkeypatch.setattr(api.store.plans, "get", broken)
    response = api.get("/plans/" + "0" * 32)
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "Doe" not in response.text
    assert "Traceback" not in response.text


def test_a_database_that_fails_is_told_as_such(api: Api) -> None:
    with api.store.database.write() as session:
        session.execute(text("ALTER TABLE plans RENAME TO away"))
    for path in ("/plans", "/plans/" + "0" * 32, "/jobs"):
        response = api.get(path)
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    info = api.get("/info").json()
    assert info["ready"] is False
    assert "database" in info["problems"][0]["message"]
    assert api.http.get("/radiarch/metrics").status_code == 200


def test_the_docs_page_loads_nothing_from_elsewhere(api: Api) -> None:
    page = api.http.get("/radiarch/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_openapi_lists_every_route_of_the_design(api: Api) -> None:
    spec = api.http.get("/radiarch/api/openapi.json").json()
    routes = {(m.upper(), p.removeprefix(API_PREFIX)) for p, item in spec["paths"].items() for m in item}
    assert routes >= {
        ("GET", "/info"),
        ("GET", "/workflows"),
        ("GET", "/protocols"),
        ("POST", "/plans"),
        ("GET", "/plans"),
        ("GET", "/plans/{plan_id}"),
        ("DELETE", "/plans/{plan_id}"),
        ("GET", "/plans/{plan_id}/dvh"),
        ("GET", "/jobs"),
        ("GET", "/jobs/{job_id}"),
        ("GET", "/jobs/{job_id}/log"),
        ("GET", "/jobs/{job_id}/events"),
        ("GET", "/artifacts/{sop_instance_uid}"),
        ("GET", "/arrivals"),
        ("GET", "/workers"),
        ("GET", "/radiarch/metrics"),
    }


# -- nothing that is sent makes it fail --------------------------------------------------------------------------

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = ["rtstruct_sop_instance_uid", "workflow_id", "protocol_id", "prescription", "structures", "beams", "beam_count"]
NAMES += ["objectives", "goals", "parameters", "label"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from(["\ud800", "\0", "PTV", "1.2.3", "box", "proton-impt-basic", "9" * 400, "PTV: D95% >= 1%"]),
)
ANY = st.characters(codec="utf-8")
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*NAMES, "dose_gy", "\ud800", ""]), inner, max_size=4),
    ),
    max_leaves=12,
)


def told_off(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400 and response.status_code != 405:
        assert set(response.json()) == {"code", "message", "remedy", "details"}


@FUZZ
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6))
def test_any_request_for_a_plan_is_answered(api: Api, stored_uid: str, body: dict[str, Any]) -> None:
    body = {"rtstruct_sop_instance_uid": stored_uid, "protocol_id": "box", **body}
    text = json.dumps(body)  # with NaN, Infinity and lone surrogates, as a careless client sends them
    told_off(api.http.post(f"{API_PREFIX}/plans", content=text, headers={"Content-Type": "application/json"}))


def test_a_parameter_that_cannot_be_written_again_is_refused(api: Api, stored_uid: str) -> None:
    body = {"rtstruct_sop_instance_uid": stored_uid, "protocol_id": "box", "parameters": {"derived": {"\ud800": 1}}}
    headers = {"Content-Type": "application/json"}
    response = api.http.post(f"{API_PREFIX}/plans", content=json.dumps(body), headers=headers)
    assert response.status_code == 422
    told_off(response)


@FUZZ
@given(st.binary(max_size=60), st.sampled_from(["application/json", "text/plain", "", "application/json; charset=x"]))
def test_any_bytes_are_answered(api: Api, body: bytes, kind: str) -> None:
    response = api.http.post(f"{API_PREFIX}/plans", content=body, headers={"Content-Type": kind})
    assert response.status_code in (400, 422)
    told_off(response)


@FUZZ
@given(
    st.sampled_from(["/plans", "/jobs", "/arrivals", "/plans/{}", "/jobs/{}/log", "/jobs/{}/events", "/plans/{}/dvh"]),
    st.text(ANY, min_size=1, max_size=20).filter(lambda t: t not in (".", "..")),
    st.dictionaries(
        st.sampled_from(
            ["limit", "cursor", "state", "q", "sort", "offset", "since", "created_after", "patient_id", "format"]
        ),
        st.one_of(
            st.text(ANY, max_size=20),
            st.integers().map(str),
            st.sampled_from(["1e400", "-1", "9999999999999999999999", "%", "\x00"]),
        ),
        max_size=3,
    ),
)
def test_any_query_is_answered(api: Api, path: str, name: str, query: dict[str, str]) -> None:
    try:
        request = api.http.build_request(
            "GET",
            f"{API_PREFIX}{path.format(httpx.URL('/').copy_with(path='/' + name).raw_path.decode()[1:])}",
            params=query,
        )
    except (httpx.InvalidURL, UnicodeEncodeError):
        return  # nothing that HTTP can carry
    told_off(api.http.send(request))


def test_deeply_nested_json_is_answered(api: Api) -> None:
    body = b'{"parameters":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    told_off(api.http.post(f"{API_PREFIX}/plans", content=body, headers={"Content-Type": "application/json"}))


def test_a_body_beyond_the_bound_is_413(api: Api) -> None:
    response = api.http.post(f"{API_PREFIX}/plans", content=b" " * (9 * 1024 * 1024))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
