"""The bridge and the plugin inside a real Orthanc: what goes in and out, and that nothing blocks anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from radiarch_contract import API_PREFIX

from phantoms import box
from tests.plugin.web.conftest import PROTOCOL
from tests.system.processes import wait_for
from tests.system.service import Service

pytestmark = pytest.mark.system

HELD = 12
SCRIPT = Path(__file__).with_name("bridge_script.py")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Orthanc with the app of `bridge_script`."""
    with Service(tmp_path_factory.mktemp("bridge") / "s", orthanc={"PythonScript": str(SCRIPT)}) as service:
        start(service)
        yield service


def start(service: Service) -> None:
    """Start Orthanc alone, and wait until /info answers, whatever it says."""
    service.orthanc_server.start()
    service.wait(lambda: answers(service), "Orthanc and what is mounted in it answer")


def answers(service: Service) -> bool:
    try:
        return service.http.get(f"{API_PREFIX}/info").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def http(service: Service) -> httpx.Client:
    return service.http


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 400, 401, 403, 404, 409, 410, 412, 413, 422, 500, 503])
def test_a_status_arrives_with_body_and_headers(http: httpx.Client, status: int) -> None:
    response = http.get(f"/radiarch/status/{status}")
    assert response.status_code == status
    if status != 204:
        assert response.json() == {"status": status, "text": "Größe µ"}
    assert response.headers["x-own"] == "yes"


@pytest.mark.parametrize(
    ("status", "instead"),
    [(301, 307), (308, 307), (418, 500), (425, 503), (428, 412), (429, 503), (431, 400), (451, 403)],
)
def test_a_status_that_orthanc_refuses_is_replaced(http: httpx.Client, status: int, instead: int) -> None:
    response = http.get(f"/radiarch/status/{status}")
    assert response.status_code == instead
    assert response.json()["status"] == status


def test_405_names_the_methods_that_are_possible(http: httpx.Client) -> None:
    response = http.get("/radiarch/status/405")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, PUT")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_each_method_arrives_with_header_and_body(http: httpx.Client, method: str) -> None:
    body = bytes(range(256)) * 4000 if method in ("POST", "PUT") else b""
    response = http.request(method, "/radiarch/echo/x", content=body, headers={"Idempotency-Key": "k 1"})
    assert response.json() == {
        "method": method,
        "path": "/radiarch/echo/x",
        "rest": "x",
        "query": {},
        "header": "k 1",
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


def test_query_values_arrive_as_they_were_meant(http: httpx.Client) -> None:
    query = {"q": "a b&c=d+e/ü%20", "cursor": "W1sx_-", "empty": ""}
    assert http.get("/radiarch/echo/x", params=query).json()["query"] == query


def test_paths_arrive_decoded_and_a_slash_at_the_end_does_not_matter(http: httpx.Client) -> None:
    assert http.get("/radiarch/echo/a%20%C3%BC").json()["rest"] == "a ü"
    assert http.get("/radiarch/api/v1/info/").json() == {"ready": False}


def test_bytes_and_cookies_come_out_whole(http: httpx.Client) -> None:
    response = http.get("/radiarch/cookies")
    assert response.content == b"\0\xff" * 50_000
    assert response.headers["content-type"] == "application/dicom"
    assert dict(response.cookies) == {"a": "1", "b": "2"}


def test_a_failure_in_the_app_is_500_and_the_next_request_works(http: httpx.Client) -> None:
    response = http.get("/radiarch/boom")
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "boom" not in response.text
    assert http.get("/radiarch/echo/x").status_code == 200


def test_a_body_beyond_the_bound_is_413(http: httpx.Client) -> None:
    response = http.post("/radiarch/echo/x", content=b"x" * 2_000_001)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_route_that_takes_too_long_is_answered_for(http: httpx.Client) -> None:
    response = http.get("/impatient/hold")
    assert (response.status_code, response.json()["code"]) == (503, "time_limit")


def test_slow_routes_block_neither_routes_nor_c_store(service: Service, http: httpx.Client, tmp_path: Path) -> None:
    """All that runs beside them runs while they hold, since they end only when they are told to."""
    with ThreadPoolExecutor(HELD) as pool:
        slow = [pool.submit(http.get, "/radiarch/hold", timeout=90) for _ in range(HELD)]
        try:
            assert http.get(f"/radiarch/held/{HELD}", timeout=90).json() is True
            assert http.get("/radiarch/echo/x").status_code == 200
            study = box(shape=(3, 12, 12))
            service.send(study.save(tmp_path))
            assert len(service.instances({"SOPInstanceUID": study.rtstruct.SOPInstanceUID})) == 1
            assert not any(f.done() for f in slow)
            # and one beyond the bound is told so, while Orthanc itself goes on
            with ThreadPoolExecutor(1) as one_more:
                last = one_more.submit(http.get, "/radiarch/hold", timeout=90)
                assert http.get("/system").status_code == 200
                assert http.get("/dicom-web/studies").status_code == 200
                refused = http.get("/radiarch/echo/x")
                while refused.status_code == 200:  # `last` has not taken the last place yet
                    refused = http.get("/radiarch/echo/x")
                assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
                service_release(service)
                assert last.result().status_code == 200
        finally:
            service_release(service)
        assert {f.result().status_code for f in slow} == {200}


def service_release(service: Service) -> None:
    """Let those go that hold; there may be no free place to ask for it."""
    service.wait(
        lambda: service.http.get("/impatient/release").status_code in (200, 503),
        "those that hold are let go",
    )


# -- the plugin itself -------------------------------------------------------------------------------------------


def test_the_plugin_answers_and_ends_cleanly(tmp_path: Path) -> None:
    protocols = tmp_path / "protocols"
    protocols.mkdir()
    (protocols / "box.yaml").write_text(PROTOCOL)
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"u": "p"}}
    with Service(tmp_path / "s", protocols=protocols, orthanc=users) as service:
        service.http.auth = ("u", "p")
        service.start_redis()
        service.start_orthanc()
        http, study = service.http, box(shape=(3, 12, 12))
        service.wait(lambda: http.get(f"{API_PREFIX}/plans").status_code == 200, "the service has started")
        assert [p["code"] for p in service.api("/info")["problems"]] == ["not_ready"]  # there is no worker
        assert service.api("/protocols/box")["id"] == "box"
        service.send(study.save(tmp_path / "study"))
        arrived = service.wait_for_plan(study.rtstruct.SOPInstanceUID, "queued")
        assert (arrived["origin"], arrived["protocol_id"]) == ("arrival", "box")
        body = {"rtstruct_sop_instance_uid": study.rtstruct.SOPInstanceUID, "protocol_id": "box"}
        for status in (201, 200):
            asked = http.post(f"{API_PREFIX}/plans", json=body, headers={"Idempotency-Key": "k"})
            assert asked.status_code == status
            assert asked.json()["state"] == "queued"
        assert service.cancel(arrived["id"])["state"] == "cancelled"
        refused = http.post(f"{API_PREFIX}/plans", json={**body, "protocol_id": "none"})
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_protocol")
        page = http.get("/radiarch/api/docs/")
        assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html")
        assert "radiarch_ready 0.0" in http.get("/radiarch/metrics").text
        service.orthanc_server.stop()
        assert service.orthanc_server.exit_code == 0, service.orthanc_server.tail()
        assert "Traceback" not in service.orthanc_server.log()


def test_a_mistake_in_a_protocol_is_told_and_all_else_goes_on(tmp_path: Path) -> None:
    protocols = tmp_path / "protocols"
    protocols.mkdir()
    (protocols / "box.yaml").write_text(PROTOCOL)
    (protocols / "bad.yaml").write_text(
        PROTOCOL.replace("id: box", "id: bad\nmatch: {study_description: '^bad$'}").replace(
            "fractions: 30", "fractions: many"
        )
    )
    with Service(tmp_path / "s", protocols=protocols) as service:
        service.start_redis()
        service.start_orthanc()
        service.wait(lambda: service.http.get(f"{API_PREFIX}/plans").status_code == 200, "the service has started")
        info = service.api("/info")
        (problem,) = (p for p in info["problems"] if p["code"] != "not_ready")  # there is no worker
        assert problem["code"] == "invalid_protocol"
        found = problem["details"]["problems"]
        assert [(p["file"], p["line"], p["field"]) for p in found] == [("bad.yaml", 5, "prescription.fractions")]
        assert "bad.yaml, line 5, field prescription.fractions" in service.orthanc_server.log()
        assert service.http.get(f"{API_PREFIX}/plans").json()["items"] == []
        good, bad = box(shape=(3, 12, 12)), box(shape=(3, 12, 12), study_description="bad")
        for name, study in (("good", good), ("bad", bad)):
            service.send(study.save(tmp_path / name))
        plan = service.wait_for_plan(good.rtstruct.SOPInstanceUID, "queued")
        assert plan["protocol_id"] == "box"
        uid = bad.rtstruct.SOPInstanceUID
        wait_for(lambda: service.http.get(f"{API_PREFIX}/arrivals/{uid}").status_code == 200, "it is seen")
        refused = service.api(f"/arrivals/{uid}")
        assert (refused["state"], refused["error"]["code"]) == ("not_planned", "invalid_protocol")
        assert "bad.yaml, line 5" in refused["error"]["message"]
