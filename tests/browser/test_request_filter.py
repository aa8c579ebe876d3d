"""A browser that tries every door: other sites' pages against Orthanc, and what goes on working from its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from radiarch_contract import API_PREFIX
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from phantoms import box
from tests.system.processes import free_port, wait_for
from tests.system.service import Service

from .browsing import SETTLE_S, Browser, chromium

PLAIN = "pacs.test"
"""A name by which the service is known; pages of it count as insecure, so that browsers send no ``Sec-Fetch-…``."""
EVIL = "evil.test"
REBOUND = ("rebind.test", "rebind.localhost")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("doors"), orthanc={"Radiarch": {"KnownHosts": [PLAIN]}}) as made:
        made.start(workers=0)
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium"), names=(PLAIN, EVIL, *REBOUND)) as made:
        made.driver.set_page_load_timeout(SETTLE_S)
        yield made


class _Page(BaseHTTPRequestHandler):
    """The same page at every path; a query is its Referrer-Policy. ``/worker`` is a script."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        script = parts.path == "/worker"
        body = (
            b"importScripts(location.hash.slice(1))"
            if script
            else b"<!doctype html><title>hostile</title><body></body>"
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if script else "text/html")
        self.send_header("Content-Length", str(len(body)))
        if parts.query:
            self.send_header("Referrer-Policy", parts.query)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hostile_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), _Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Kept:
    """A study that everything is tried on, by Orthanc's ids."""

    patient: str
    study: str
    series: str
    instance: str
    rtstruct_uid: str

    def paths(self) -> dict[str, str]:
        return {"patient": self.patient, "study": self.study, "series": self.series, "instance": self.instance}


@pytest.fixture(scope="module")
def kept(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    study = box(shape=(3, 8, 8), study_description="Kept")
    service.send(study.save(tmp_path_factory.mktemp("kept")))
    (series,) = service.http.post("/tools/find", json={"Level": "Series", "Query": {"Modality": "CT"}}).json()
    found = service.http.get(f"/series/{series}").json()
    patient = service.http.get(f"/studies/{found['ParentStudy']}").json()["ParentPatient"]
    return Kept(patient, found["ParentStudy"], series, found["Instances"][0], str(study.rtstruct.SOPInstanceUID))


def state(service: Service) -> dict[str, Any]:
    """What an attack could have changed."""
    http = service.http
    paths = ("/statistics", "/patients", "/instances", "/jobs", "/exports", "/peers", "/modalities", "/queries")
    found: dict[str, Any] = {path: http.get(path).raise_for_status().json() for path in paths}
    found["log level"] = http.get("/tools/log-level").text
    found["plans"] = service.api("/plans")["items"]
    found["sessions"] = http.get("/radiarch/metrics").text.count("session")
    found["process"] = service.orthanc_server.running
    return found


HOSTILE = (Path(__file__).parent / "hostile.js").read_text("utf-8")


def attack(browser: Browser, kept: Kept, base: str, name: str | None = None) -> list[str]:
    """What a page could read by an attack; without a name: all names."""
    script = f"await (async ([base, kept, api, name]) => {{ {HOSTILE} }})(given)"
    found: list[str] = browser.module(script, base, kept.paths(), API_PREFIX, name)
    return found


ORIGINS = {
    "another site": (f"http://{EVIL}:{{port}}/", "127.0.0.1"),
    "another site that hides itself": (f"http://{EVIL}:{{port}}/?no-referrer", "127.0.0.1"),
    "another port of this machine": ("http://127.0.0.1:{port}/", "127.0.0.1"),
    "another site, plain HTTP": (f"http://{EVIL}:{{port}}/?unsafe-url", PLAIN),
    "another site that hides itself, plain HTTP": (f"http://{EVIL}:{{port}}/?no-referrer", PLAIN),
    "another port, plain HTTP": (f"http://{PLAIN}:{{port}}/", PLAIN),
    "a page without an origin": (f"http://{EVIL}:{{port}}/#sandboxed", "127.0.0.1"),
    "a page without an origin, plain HTTP": (f"http://{EVIL}:{{port}}/#sandboxed", PLAIN),
}


@pytest.mark.parametrize(("page", "host"), ORIGINS.values(), ids=ORIGINS)
def test_another_sites_page_changes_nothing_and_reads_nothing(
    browser: Browser, service: Service, kept: Kept, hostile_port: int, page: str, host: str
) -> None:
    base = f"http://{host}:{service.http_port}"
    before = state(service)
    browser.open(page.format(port=hostile_port))
    if page.endswith("#sandboxed"):
        browser.script(
            "document.body.innerHTML = '<iframe src=/ sandbox=\"allow-scripts allow-forms allow-popups\"></iframe>'"
        )
        browser.driver.switch_to.frame(browser.find("iframe"))
        wait_for(lambda: browser.script("return document.title") == "hostile", "it is there", within_s=SETTLE_S)
        assert browser.script("return origin") == "null"
    browser.answers()
    # over plain HTTP, and from a page that hides itself, an image is told from a DICOMweb client's by nothing at all
    sandboxed = page.endswith("#sandboxed")
    hidden = host == PLAIN and (sandboxed or "no-referrer" in page)
    for name in attack(browser, kept, base):
        if host == PLAIN and name == "read: framed pages":
            continue  # a test of its own
        read = attack(browser, kept, base, name)
        if not (hidden and name.startswith("read")):
            assert set(read) <= {"refused", "nothing"}, (name, read)
    answered = [(url, status) for url, status in browser.answers() if url.startswith(base)]
    # Orthanc has no OPTIONS: a script's question whether it may is answered with 404 where the filter lets it through
    through = {url for url, status in answered if status not in (403, 404)}
    if hidden:
        through = {url for url in through if any(part in url for part in ("_method", "/tools/", "/archive"))}
    assert not through
    if sandboxed:  # a process of its own, of which the driver tells no answers
        assert "sent by a page of another site ('null')" in service.orthanc_server.log()
    else:
        assert len(answered) > 40, "the attacks have reached Orthanc"
    assert state(service) == before
    browser.complaints()


LINK = """
const a = Object.assign(document.createElement('a'), given[1] ?? {}, { href: given[0] });
document.body.append(a);
a.click();
"""
FORM = """
const f = Object.assign(document.createElement('form'), { method: 'post', action: given[0] });
document.body.append(f);
f.submit();
"""
NAVIGATIONS: dict[str, str] = {
    "a script": "location.assign(given[0])",
    "a link": LINK,
    "a form": FORM,
    "a refresh": "document.head.innerHTML += `<meta http-equiv=refresh content='0;url=${given[0]}'>`",
    "another window": "window.opened = window.open(given[0], '_blank')",
}


@pytest.mark.parametrize("way", NAVIGATIONS.values(), ids=NAVIGATIONS)
@pytest.mark.parametrize("host", ["127.0.0.1", PLAIN])
def test_no_link_deletes_a_patient(
    browser: Browser, service: Service, kept: Kept, hostile_port: int, host: str, way: str
) -> None:
    target = f"http://{host}:{service.http_port}/patients/{kept.patient}?_method=delete"
    before = state(service)
    first = browser.driver.current_window_handle
    for page in (f"http://{EVIL}:{hostile_port}/", f"http://{EVIL}:{hostile_port}/?no-referrer"):
        browser.open(page)
        browser.answers()
        browser.script(way, target, {"rel": "noreferrer"} if "no-referrer" in page else {})
        if "window.open" in way:
            handles = browser.driver.window_handles
            browser.driver.switch_to.window(next(h for h in handles if h != first))
            wait_for(lambda: browser.driver.current_url != "about:blank", "it is opened", within_s=SETTLE_S)
            browser.driver.close()
            browser.driver.switch_to.window(first)
        else:
            seen = wait_for(
                lambda: [s for url, s in browser.answers() if url == target], "it is answered", within_s=SETTLE_S
            )
            assert set(seen) == {403}
        assert state(service) == before
    browser.complaints()


@pytest.mark.parametrize("host", ["127.0.0.1", PLAIN])
def test_an_address_that_is_typed_in_deletes_nothing(browser: Browser, service: Service, kept: Kept, host: str) -> None:
    """Nor a bookmark, nor a link in a mail; what only reads is answered."""
    base = f"http://{host}:{service.http_port}"
    before = state(service)
    browser.open(f"{base}/patients/{kept.patient}?_method=delete")
    assert state(service) == before
    browser.open(f"{base}/patients/{kept.patient}")
    assert kept.study in browser.text()
    browser.complaints()


@pytest.mark.parametrize("host", REBOUND)
def test_a_name_that_was_made_to_lead_here_is_not_answered(
    browser: Browser, service: Service, kept: Kept, host: str
) -> None:
    """DNS rebinding: to the browser all of it is of the attacker's own origin."""
    before = state(service)
    browser.answers()
    for path in (
        "/",
        "/app/explorer.html",
        "/radiarch/ui/",
        "/ohif/",
        "/patients",
        f"/patients/{kept.patient}?_method=delete",
    ):
        browser.open(f"http://{host}:{service.http_port}{path}")
        assert kept.patient not in browser.text()
    assert {status for url, status in browser.answers() if host in url} == {403}
    assert state(service) == before
    browser.complaints()


def test_another_sites_link_opens_the_pages(browser: Browser, service: Service, hostile_port: int) -> None:
    for host in ("127.0.0.1", PLAIN):
        for path, shows in (
            ("/app/explorer.html", "Orthanc"),
            ("/radiarch/ui/", "Radiarch"),
            ("/radiarch/api/docs", "Radiarch"),
        ):
            browser.open(f"http://{EVIL}:{hostile_port}/")
            browser.script(LINK, f"http://{host}:{service.http_port}{path}")
            browser.wait_text(shows)
    browser.complaints()


# -- from the true origin ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["127.0.0.1", PLAIN])
def explorer(request: pytest.FixtureRequest, browser: Browser, service: Service) -> Iterator[Callable[[str], None]]:
    """Opens a page of Orthanc Explorer."""

    def show(page: str) -> None:
        browser.open(f"http://{request.param}:{service.http_port}/app/explorer.html#{page}")

    yield show
    refused = [url for url, status in browser.answers() if status == 403]
    assert not refused
    browser.open("about:blank")


def test_orthanc_explorer_deletes_and_uploads(
    explorer: Callable[[str], None], browser: Browser, service: Service, tmp_path: Path
) -> None:
    study = box(shape=(3, 8, 8), patient_id="EXPLORER", study_description="Kept")
    file = study.save(tmp_path)[0]
    find = {"Level": "Patient", "Query": {"PatientID": "EXPLORER"}}

    def patients() -> list[str]:
        found: list[str] = service.http.post("/tools/find", json=find).json()
        return found

    browser.answers()
    explorer("upload")
    element = wait_for(
        lambda: next(iter(browser.driver.find_elements(By.ID, "fileupload")), None),
        "the page is there",
        within_s=SETTLE_S,
    )
    browser.script("given[0].style.display = 'block'", element)
    element.send_keys(str(file))
    wait_for(lambda: browser.all(".pending-file"), "the file is listed", within_s=SETTLE_S)
    browser.script("$('#upload-button').click()")
    (patient,) = wait_for(patients, "it is uploaded", within_s=SETTLE_S)
    # what the page shows, and downloads
    explorer(f"patient?uuid={patient}")
    browser.wait_text("EXPLORER", "#patient-info")
    with_archive = browser.module("fetch(`../patients/${given[0]}/archive`).then((r) => r.status)", patient)
    assert with_archive == 200
    browser.script("$('#patient-delete').click()")
    button = wait_for(
        lambda: next((b for b in browser.all(".ui-simpledialog-container a") if "OK" in b.text), None),
        "it asks",
        within_s=SETTLE_S,
    )
    browser.click(button)
    wait_for(lambda: not patients(), "it is deleted", within_s=SETTLE_S)


@pytest.mark.parametrize("host", ["127.0.0.1", PLAIN])
def test_the_page_of_all_runs_asks_for_a_plan_and_cancels_it(
    browser: Browser, service: Service, kept: Kept, host: str
) -> None:
    browser.answers()
    browser.open(f"http://{host}:{service.http_port}/radiarch/ui/")
    api = "(await import('/radiarch/elements/index.js')).api()"
    request = {
        "rtstruct_sop_instance_uid": kept.rtstruct_uid,
        "workflow_id": "proton-impt-basic",
        "prescription": {"target": "PTV", "dose_gy": 60, "fractions": 30},
    }
    plan_id = browser.module(f"(await {api}.post('/plans', given[0])).id", request)
    browser.script("location.hash = `/plans/${given[0]}`", plan_id)
    browser.wait_text("Queued", "radiarch-progress")
    browser.module(f"Boolean(await {api}.delete(`/plans/${{given[0]}}`))", plan_id)
    browser.wait_text("Cancelled", "radiarch-progress")
    assert [url for url, status in browser.answers() if status == 403] == []
    browser.complaints()


def test_a_page_of_our_own_cannot_be_framed(browser: Browser, service: Service, hostile_port: int) -> None:
    """Where the browser does not say that it is for a frame, Explorer shows nothing to click on."""
    browser.open(f"http://{EVIL}:{hostile_port}/?no-referrer")
    for path in ("/app/explorer.html", "/radiarch/ui/"):
        browser.script(
            "document.body.innerHTML = `<iframe src=${given[0]}></iframe>`",
            f"http://{PLAIN}:{service.http_port}{path}",
        )
        frame = browser.find("iframe")
        browser.driver.switch_to.frame(frame)
        try:
            wait_for(
                lambda: browser.script("return document.readyState") == "complete", "it is read", within_s=SETTLE_S
            )
            shown = browser.script(
                "return document.body !== null && getComputedStyle(document.documentElement).display !== 'none'"
                " && Boolean(document.querySelector('[data-role=page], #app'))"
            )
        except WebDriverException:
            shown = False
        browser.driver.switch_to.default_content()
        assert not shown, path
    browser.complaints()
