"""The request filter in a real Orthanc: it covers the whole port, changes nothing for programs, and fails closed."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from radiarch_contract import API_PREFIX

from phantoms import box

from .processes import wait_for
from .service import CHECKOUT, Service

CONFIGURED = {"KnownHosts": ["pacs.test", "https://front.test"]}
EVIL = "Origin: http://evil.test"
BROWSER = "User-Agent: Mozilla/5.0"


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("filtered"), orthanc={"Radiarch": CONFIGURED, "WebDavEnabled": True}) as made:
        made.start(workers=0)
        yield made


@pytest.fixture(scope="module")
def patient(filtered: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Orthanc's id of a patient with a study that no protocol plans."""
    filtered.send(box(shape=(3, 8, 8), study_description="Kept").save(tmp_path_factory.mktemp("kept")))
    (found,) = filtered.http.get("/patients").json()
    return str(found)


def raw(service: Service, line: str, *headers: str, host: str | None = None, version: str = "1.1") -> tuple[int, str]:
    """Status and body of a request as it is written here; 0 where the connection is dropped without an answer."""
    asked = [f"{line} HTTP/{version}", "Connection: close", *headers]
    asked += [] if host == "" else [f"Host: {host or f'127.0.0.1:{service.http_port}'}"]
    with socket.create_connection(("127.0.0.1", service.http_port), timeout=20) as s:
        s.sendall(("\r\n".join(asked) + "\r\n\r\n").encode("latin-1"))
        answer = b""
        while part := s.recv(65536):
            answer += part
            head, end, body = answer.partition(b"\r\n\r\n")
            size = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
            if end and len(body) >= size:
                break
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body.decode("latin-1")


DELETING = (
    ("GET /patients/{}?_method=delete", EVIL),
    ("GET /patients/{}?_method=DELETE", BROWSER),
    ("GET /patients/{}?a=1&_method=delete&_method=get", BROWSER, "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"),
    ("GET //patients//{}?_method=delete", BROWSER, "Sec-Fetch-Site: cross-site"),
    ("GET /%70atients/{}/?_method=delete", BROWSER, "Referer: http://evil.test/"),
    ("GET /x/%2e%2e/patients/{}?_method=delete", "Upgrade-Insecure-Requests: 1"),
    ("GET /patients/{}", EVIL, "X-HTTP-Method-Override: DELETE"),
    ("DELETE /patients/{}", "Origin: null"),
    ("DELETE /patients/{}", "Sec-Fetch-Site: same-site"),
    ("DELETE /patients/{}", EVIL, "Origin: http://127.0.0.1:{port}"),
    ("LOCK /webdav/x", EVIL),
)


@pytest.mark.parametrize("asked", DELETING, ids=lambda asked: f"{asked[0]} {asked[-1]}")
def test_no_page_deletes_a_patient(filtered: Service, patient: str, asked: tuple[str, ...]) -> None:
    line, *headers = (text.replace("{}", patient).replace("{port}", str(filtered.http_port)) for text in asked)
    assert raw(filtered, line, *headers)[0] == 403
    assert filtered.http.get(f"/patients/{patient}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/system", "/patients", "/app/explorer.html", "/plugins/explorer.js", "/dicom-web/studies", "/webdav/", "/x"),
        *("/wado?requestType=WADO", "/tools/metrics-prometheus", "/ohif/", "/radiarch/ui/", f"{API_PREFIX}/info"),
    ],
)
def test_the_whole_port_is_covered(filtered: Service, patient: str, path: str) -> None:
    """By an unknown host nothing is answered, and by a known one the same is."""
    assert raw(filtered, f"GET {path}", host="rebind.localhost")[0] == 403
    for method in ("HEAD", "OPTIONS", "PROPFIND"):  # which Orthanc knows on few paths
        assert raw(filtered, f"{method} {path}", host="rebind.localhost")[0] in (403, 404), method
    for host in ("localhost", "pacs.test:1", "front.test", "PACS.test."):
        assert raw(filtered, f"GET {path}", host=host)[0] not in (0, 403), host
    assert raw(filtered, f"GET {path}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")[0] == 403


def test_a_host_that_is_unclear_is_none(filtered: Service) -> None:
    here = f"127.0.0.1:{filtered.http_port}"
    assert raw(filtered, "GET /system", host=here)[0] == 200
    for headers in (("Host: evil.test",), ("Host: evil.test", f"Host: {here}"), (f"Host: evil@{here}",), ()):
        for version in ("1.0", "1.1"):
            assert raw(filtered, "GET /system", *headers, host="", version=version)[0] == 403, headers
    # the address may be in the first line; Orthanc's server takes no such request, and never goes by another host
    for line in (f"GET http://{here}/system", "GET http://evil.test/system"):
        assert raw(filtered, line, host="evil.test")[0] in (0, 400, 403)


def test_our_own_routes_say_why(filtered: Service) -> None:
    status, body = raw(filtered, f"GET {API_PREFIX}/info", host="evil.test")
    assert status == 403
    assert '"code": "forbidden"' in body
    assert "evil.test" in body
    assert "Radiarch.KnownHosts" in body
    status, body = raw(filtered, f"DELETE {API_PREFIX}/plans/{'0' * 32}", EVIL)
    assert status == 403
    assert "http://evil.test" in body
    assert raw(filtered, f"POST {API_PREFIX}/plans", EVIL, "Content-Length: 0") == (403, "")


def test_a_foreign_upload_is_refused_before_it_is_sent(filtered: Service) -> None:
    for path in ("/instances", "/dicom-web/studies", f"{API_PREFIX}/sessions"):
        assert raw(filtered, f"POST {path}", EVIL, "Content-Length: 150000000")[0] == 403


def test_programs_and_own_pages_work_as_before(filtered: Service, tmp_path: Path) -> None:
    study = box(shape=(3, 8, 8), patient_id="GOES", study_description="Kept")
    (path, *_) = study.save(tmp_path)
    own = {"Origin": filtered.orthanc_url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    for headers in ({}, own, {"Origin": "https://front.test", "Sec-Fetch-Site": "same-origin"}):
        stored = filtered.http.post("/instances", content=path.read_bytes(), headers=headers).raise_for_status().json()
        found = filtered.http.post(
            "/tools/find", json={"Level": "Patient", "Query": {"PatientID": "GOES"}}, headers=headers
        )
        assert found.json() == [stored["ParentPatient"]]
        filtered.http.delete(f"/patients/{stored['ParentPatient']}", headers=headers).raise_for_status()


def test_the_service_says_by_which_names_it_is_known_and_the_log_what_was_refused(filtered: Service) -> None:
    known = filtered.api("/info")["known_hosts"]
    assert known == ["localhost", "127.0.0.1", "[::1]", "pacs.test", "https://front.test"]
    raw(filtered, "GET /patients/x", host="logged.test")
    line = "refused GET '/patients' from '127.0.0.1': asked for by the host 'logged.test'"
    wait_for(lambda: line in filtered.orthanc_server.log(), "it is logged")
    for _ in range(30):
        raw(filtered, "GET /patients/x", host="logged.test")
    assert filtered.orthanc_server.log().count("logged.test") == 1


def _start_broken(service: Service) -> None:
    service.orthanc_server.start()
    # whatever it answers, it is there then
    wait_for(lambda: service._status("/system") != 0, "Orthanc answers", within_s=60)


def test_it_stands_where_the_plugin_cannot_be_imported(tmp_path: Path) -> None:
    broken = {"SitePackages": str(tmp_path / "nowhere"), **CONFIGURED}
    with Service(tmp_path / "service", orthanc={"Radiarch": broken}) as service:
        _start_broken(service)
        assert raw(service, "GET /system")[0] == 200
        assert raw(service, f"GET {API_PREFIX}/info")[0] == 503
        assert raw(service, "GET /system", host="evil.test")[0] == 403
        assert raw(service, "DELETE /patients/x", EVIL)[0] == 403
        assert raw(service, f"GET {API_PREFIX}/info", host="evil.test")[0] == 403


def test_where_its_setting_is_wrong_only_this_machine_is_known(tmp_path: Path) -> None:
    with Service(tmp_path / "service", orthanc={"Radiarch": {"KnownHosts": "pacs.test"}}) as service:
        _start_broken(service)
        assert raw(service, "GET /system", host="pacs.test")[0] == 403
        assert service.api("/info")["known_hosts"] == ["localhost", "127.0.0.1", "[::1]"]
        wait_for(
            lambda: any("Radiarch.KnownHosts" in p["message"] for p in service.api("/info")["problems"]),
            "it is told what is wrong",
        )
        assert "Radiarch.KnownHosts" in service.orthanc_server.log()


def test_without_it_nothing_is_answered(tmp_path: Path) -> None:
    checkout = tmp_path / "service/checkout"
    for part in ("plugin", "contract"):
        shutil.copytree(CHECKOUT / part, checkout / part)
    script = checkout / "plugin/radiarch_orthanc.py"
    (checkout / "plugin/radiarch_plugin/auth/filter.py").write_text("raise RuntimeError('broken')")
    with Service(tmp_path / "service", orthanc={"PythonScript": str(script)}) as service:
        _start_broken(service)
        for path in ("/system", "/patients", "/app/explorer.html", f"{API_PREFIX}/info"):
            assert raw(service, f"GET {path}")[0] == 403
        assert "cannot be loaded" in service.orthanc_server.log()
