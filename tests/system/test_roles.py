"""Roles in a real Orthanc: the whole port goes by them, and wrong settings close it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from radiarch_contract import API_PREFIX

from phantoms import box

from .processes import wait_for
from .service import Service

USERS = dict.fromkeys(("ada", "paul", "dan", "vera", "worker", "stranger"), "secret")
ROLES = {"ada": "admin", "paul": "physicist", "dan": "dosimetrist", "vera": "viewer", "worker": "worker"}


def configuration(**auth: Any) -> dict[str, Any]:
    return {
        "AuthenticationEnabled": True,
        "RegisteredUsers": USERS,
        "WebDavEnabled": True,
        "Radiarch": {"Auth": {"Mode": "basic", "Roles": ROLES, **auth}},
    }


def start(service: Service) -> None:
    service.http.auth = ("ada", "secret")
    service.redis_server.start()
    service.orthanc_server.start()
    # whatever it answers, it is there then
    wait_for(lambda: service._status("/system") != 0, "Orthanc answers", within_s=60)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("roles"), orthanc=configuration()) as made:
        start(made)
        wait_for(lambda: made.http.get(f"{API_PREFIX}/plans").status_code == 200, "the plugin has started")
        yield made


def status(service: Service, user: str, method: str, path: str, **kwargs: Any) -> int:
    return service.http.request(method, path, auth=(user, "secret"), **kwargs).status_code


ALLOWED = {  # of ada, paul, dan, vera, worker
    ("GET", "/system"): "apdv",
    ("GET", "/app/explorer.html"): "apdv",
    ("GET", "/dicom-web/studies"): "apdv",
    ("GET", "/ohif/"): "apdv",
    ("GET", "/radiarch/ui/"): "apdv",
    ("GET", f"{API_PREFIX}/plans"): "apdv",
    ("GET", f"{API_PREFIX}/info"): "apdvw",
    ("GET", "/instances/x/file"): "apdvw",
    ("POST", f"{API_PREFIX}/plans"): "apd",
    ("POST", "/instances"): "apd",
    ("POST", "/dicom-web/studies"): "apd",
    ("POST", f"{API_PREFIX}/plans/{'0' * 32}/approval"): "ap",
    ("DELETE", "/patients/x"): "a",
    ("PUT", "/patients/x/metadata/1024"): "a",
    ("GET", "/modalities"): "a",
    ("POST", "/tools/execute-script"): "a",
    ("GET", "/webdav/"): "a",
    ("PUT", f"{API_PREFIX}/plans/{'0' * 32}/attempts/1/store/instances/x/attachments/1024"): "w",
    ("GET", "/unknown"): "",
}


@pytest.mark.parametrize(("method", "path"), ALLOWED, ids=lambda text: text)
def test_the_whole_port_goes_by_roles(service: Service, method: str, path: str) -> None:
    may = ""
    for user in (*ROLES, "stranger"):
        answered = service.http.request(method, path, auth=(user, "secret"))
        if answered.status_code != 403 or (user == "ada" and path == "/tools/execute-script"):
            may += user[0]  # Orthanc itself refuses scripts, as it is configured
    assert may == ALLOWED[method, path]
    for auth in (("ada", "wrong"), ("nobody", "secret"), httpx.Auth()):
        assert service.http.request(method, path, auth=auth).status_code == 401


def test_nobody_becomes_more_by_asking_in_another_way(service: Service, tmp_path: Path) -> None:
    (path, *_) = box(shape=(3, 8, 8), patient_id="STAYS").save(tmp_path)
    patient = service.http.post("/instances", content=path.read_bytes()).raise_for_status().json()["ParentPatient"]
    for asked in (
        f"/patients/{patient}?_method=delete",
        f"//patients//{patient}/?_method=DELETE",
        f"/app/../patients/{patient}?_method=delete",
        f"/radiarch/%2e%2e/patients/{patient}?_method=delete",
    ):
        assert status(service, "vera", "GET", asked) == 403
    override = {"X-HTTP-Method-Override": "DELETE"}
    assert status(service, "vera", "GET", f"/patients/{patient}", headers=override) == 403
    assert status(service, "vera", "GET", f"/patients/{patient}") == 200
    assert status(service, "ada", "DELETE", f"/patients/{patient}") == 200


def test_of_two_logins_neither_lends_the_other_its_rights(service: Service) -> None:
    def login(user: str, password: str = "secret") -> tuple[str, str]:
        return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    for headers in (
        [login("vera"), login("ada")],
        [login("vera"), login("ada", "wrong")],
        [login("ada", "wrong"), login("vera")],
        [("Authorization", f"{login('vera')[1]}, {login('ada')[1]}")],
        [("Authorization", login("vera")[1].replace("Basic", "basic"))],
    ):
        with httpx.Client(base_url=service.orthanc_url, trust_env=False) as client:
            assert client.delete("/patients/x", headers=headers).status_code in (401, 403), headers


def test_our_own_routes_say_why(service: Service) -> None:
    answer = service.http.delete(f"{API_PREFIX}/plans/{'0' * 32}", auth=("vera", "secret"))
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert "a viewer ('vera'), expected one of dosimetrist, physicist, admin" in answer.json()["message"]
    assert service.http.get(f"{API_PREFIX}/info").json()["sign_in"] == "basic"
    wait_for(lambda: "a viewer ('vera')" in service.orthanc_server.log(), "it is logged")


def test_wrong_settings_close_the_port(tmp_path: Path) -> None:
    why = "names 'eve'"
    with Service(tmp_path / "service", orthanc=configuration(Roles={**ROLES, "eve": "viewer"})) as service:
        start(service)
        for path in ("/system", "/patients", "/app/explorer.html", "/dicom-web/studies"):
            assert status(service, "ada", "GET", path) == 403
        assert status(service, "ada", "POST", f"{API_PREFIX}/plans") == 403
        answer = service.http.get(f"{API_PREFIX}/info")
        assert answer.status_code == 503
        assert answer.json()["code"] == "not_ready"
        assert why in answer.json()["message"]
        assert why in service.orthanc_server.log()


def test_roles_count_where_the_plugin_cannot_be_imported(tmp_path: Path) -> None:
    broken = configuration()
    broken["Radiarch"] = {"Auth": configuration()["Radiarch"]["Auth"], "SitePackages": str(tmp_path / "nowhere")}
    with Service(tmp_path / "service", orthanc=broken) as service:
        start(service)
        assert status(service, "ada", "GET", "/system") == 200
        assert status(service, "vera", "DELETE", "/patients/x") == 403
        assert status(service, "stranger", "GET", "/system") == 403
        assert status(service, "ada", "GET", f"{API_PREFIX}/info") == 503
