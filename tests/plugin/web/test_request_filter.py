"""Which requests are refused: every way in which a browser sends something for another site's page, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_plugin.auth.filter import (
    Address,
    HttpRequest,
    InvalidKnownHostsError,
    KnownHosts,
    Refusal,
    RefusalLog,
    RefusedFor,
    WebOrigin,
    refusal,
)

HERE = "127.0.0.1:8042"
KNOWN = KnownHosts.parse(["pacs", "orthanc:8042", "[fd00::1]", "https://pacs.example"])
CHROME = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140", "accept-language": "en"}
NAVIGATION = {**CHROME, "accept": "text/html,*/*;q=0.8", "upgrade-insecure-requests": "1"}
PROGRAMS: tuple[dict[str, str], ...] = (
    {},
    {"user-agent": "curl/8", "accept": "*/*"},
    {"user-agent": "python-httpx/0.28.1"},
    # Node's fetch sends some of a browser's headers
    {"user-agent": "node", "accept-language": "*", "sec-fetch-mode": "cors"},
    {"user-agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041"},
    {"user-agent": "Wget/1.21", "accept": "text/html"},
)


def asked(method: str = "GET", path: str = "/patients", host: str | None = HERE, **headers: str) -> Refusal | None:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(HttpRequest(method, path, given if host is None else {"host": host, **given}), KNOWN)


def reason(method: str, path: str, headers: dict[str, str], host: str = HERE) -> RefusedFor | None:
    found = refusal(HttpRequest(method, path, {"host": host, **headers}), KNOWN)
    return None if found is None else found.reason


def fetch_metadata(site: str, mode: str, dest: str = "empty") -> dict[str, str]:
    return {**CHROME, "sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}


# -- hosts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8042", "127.3.2.1:1", "localhost", "LocalHost:8042", "localhost.", "localhost.:80"),
        *("[::1]", "[::1]:8042", "[0:0:0:0:0:0:0:1]:8042", "[::ffff:127.0.0.1]", " 127.0.0.1 "),
        *("pacs", "PACS:99", "pacs.", "orthanc:8042", "[fd00::1]:8042", "[FD00:0:0::1]", "pacs.example"),
        "pacs.example:443",
    ],
)
def test_this_machine_and_configured_hosts_are_known(host: str) -> None:
    assert asked(host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "evil.example",
            "evil.example:8042",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "rebind.localhost",
        ),
        *("localhost..", ".localhost", "0.0.0.0:8042", "10.0.0.1", "192.168.0.1:8042", "[::]", "[::2]:8042", "::1"),
        *("user@127.0.0.1", "127.0.0.1@evil.example", "evil.example#127.0.0.1", "127.0.0.1/x", "127.0.0.1:"),
        *("127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:80:80", "127.0.0.1, evil.example", "127.0.0.1 evil.example"),
        *("2130706433", "127.0.0.01", "127.1", "0x7f.0.0.1", "[::1%25eth0]", "[::1", "pacs%2eexample", "p\u00e4cs"),
        *("xpacs", "pacs.evil.example", "sub.pacs", "orthanc", "orthanc:80", "pacs.example:8443", "[fd00::2]", "null"),
        "127.0.0.1\r\nx: y",
    ],
)
def test_other_hosts_are_refused_whoever_asks(host: str) -> None:
    for headers in (*PROGRAMS, fetch_metadata("same-origin", "cors")):
        found = refusal(HttpRequest("GET", "/radiarch/ui", {**headers, "host": host}), KNOWN)
        assert found is not None
        assert found.reason is RefusedFor.HOST


def test_without_a_host_nothing_is_answered() -> None:
    """Only HTTP/1.0 allows that, and no browser leaves it away."""
    found = asked(host=None)
    assert found is not None
    assert found.reason is RefusedFor.HOST


@given(st.text(max_size=40))
def test_any_text_is_a_known_host_only_where_its_address_is_one(text: str) -> None:
    address = Address.parse(text)
    assert (asked(host=text) is None) == (address is not None and KNOWN.knows(address))
    if address is not None:
        assert Address.parse(str(address)) == address


@given(st.text(st.characters(codec="ascii"), max_size=40), st.sampled_from(["http://", "https://", "ftp://", ""]))
def test_any_text_is_read_as_an_origin_or_not_at_all(text: str, scheme: str) -> None:
    origin = WebOrigin.parse(scheme + text)
    if origin is not None:
        assert origin.scheme in ("http", "https")
        assert WebOrigin.parse(str(origin)) == origin


@pytest.mark.parametrize("entry", ["", "a b", "http://", "ftp://x", "https://x/y", "https://u@x", "x/y", "*", 5, None])
def test_a_wrong_entry_is_told(entry: Any) -> None:
    with pytest.raises(InvalidKnownHostsError, match="entry 2 is no host, expected name"):
        KnownHosts.parse(["pacs", entry])


def test_known_hosts_are_read_from_orthancs_configuration() -> None:
    configuration = {
        "HttpBindAddresses": ["0.0.0.0", "192.0.2.7", "::", "fd00::7"],
        "Radiarch": {"KnownHosts": ["pacs"], "OrthancUrl": "http://inside:8042/"},
    }
    known = KnownHosts.read(configuration)
    assert known.names[3:] == ("192.0.2.7", "[fd00::7]", "inside:8042", "pacs")
    assert not known.forwarded
    assert KnownHosts.read({}).names == ("localhost", "127.0.0.1", "[::1]")
    with pytest.raises(InvalidKnownHostsError):
        KnownHosts.read({"Radiarch": {"KnownHosts": "pacs"}})


def test_a_forwarded_host_counts_only_where_it_is_trusted() -> None:
    trusting = KnownHosts.parse(["https://pacs.example"], forwarded=True)
    own = {"host": HERE, "origin": "https://pacs.example", **fetch_metadata("same-origin", "cors")}
    for known, through, refused in (
        (KnownHosts.parse(["pacs.example"]), "pacs.example", True),  # the origin is not of the host that was asked
        (trusting, "pacs.example", False),
        (trusting, "evil.example, pacs.example", False),
        (trusting, "pacs.example, evil.example", True),
        (trusting, "evil.example", True),
    ):
        request = HttpRequest("POST", "/tools/find", {**own, "x-forwarded-host": through})
        assert (refusal(request, known) is not None) == refused, (known, through)
    # it never makes up for the host itself
    headers = {"host": "evil.example", "x-forwarded-host": "pacs.example"}
    assert refusal(HttpRequest("GET", "/", headers), trusting) is not None


# -- who sends ---------------------------------------------------------------------------------------------------------

CHANGES = ("POST", "PUT", "DELETE", "")
PATHS = ("/patients/x", "/tools/reset", "/radiarch/api/v1/plans", "/instances", "/dicom-web/studies", "/webdav/x", "/")


@pytest.mark.parametrize("headers", PROGRAMS)
def test_programs_may_do_everything(headers: dict[str, str]) -> None:
    for path in PATHS:
        for method in ("GET", *CHANGES):
            assert reason(method, path, headers) is None


OTHER_PAGES = {
    "cross-site script": fetch_metadata("cross-site", "cors"),
    "cross-site script without CORS": fetch_metadata("cross-site", "no-cors"),
    "another port of this machine": fetch_metadata("same-site", "cors"),
    "image": fetch_metadata("cross-site", "no-cors", "image"),
    "frame": fetch_metadata("cross-site", "navigate", "iframe"),
    "object": fetch_metadata("cross-site", "navigate", "object"),
    "something new": fetch_metadata("cross-galaxy", "cors"),
    "origin": {**CHROME, "origin": "http://evil.example"},
    "origin of another port": {**CHROME, "origin": "http://127.0.0.1:3000"},
    "origin of another name of this machine": {**CHROME, "origin": "http://localhost:8042"},
    "origin without a browser's other headers": {"origin": "http://evil.example"},
    "no origin of its own": {**CHROME, "origin": "null"},
    "several origins": {**CHROME, "origin": f"http://{HERE} http://evil.example"},
    "an origin that is no URL": {**CHROME, "origin": HERE},
    "another origin than the browser says": {
        **fetch_metadata("same-origin", "cors"),
        "origin": "http://rebind.example:8042",
    },
    "referer": {**CHROME, "referer": "http://evil.example/page"},
    "referer that looks like ours": {**CHROME, "referer": f"http://evil.example/http://{HERE}/"},
    "referer with our host as its user": {**CHROME, "referer": f"http://{HERE}@evil.example/"},
}


@pytest.mark.parametrize("headers", OTHER_PAGES.values(), ids=OTHER_PAGES)
@pytest.mark.parametrize("path", PATHS)
def test_other_sites_pages_neither_change_nor_read(headers: dict[str, str], path: str) -> None:
    for method in ("GET", *CHANGES):
        assert reason(method, path, headers) is RefusedFor.OTHER_PAGE, method


def test_other_sites_may_link_to_pages_and_to_nothing_else() -> None:
    link = {**NAVIGATION, **fetch_metadata("cross-site", "navigate", "document")}
    over_http = {**NAVIGATION, "referer": "http://portal.example/"}
    for headers in (link, over_http):
        for page in ("/", "/app/explorer.html", "/ohif", "/ohif/viewer", "/ohif/radiarch/", "/radiarch/ui", "/ui/app/"):
            assert reason("GET", page, headers) is None, page
        for path in (
            *("/patients", "/instances/x/preview", "/studies/x/archive", "/tools/now", "/plugins/explorer.js"),
            *("/ohif/app-config.js", "/radiarch/api/v1/plans", "/app/libs/jquery.min.js", "/app/../patients", "/uix"),
        ):
            assert reason("GET", path, headers) is RefusedFor.OTHER_PAGE, path
        for method in CHANGES:  # a form, or ?_method=
            assert reason(method, "/radiarch/ui", headers) is not None
    assert reason("GET", "/radiarch/ui", fetch_metadata("cross-site", "navigate", "iframe")) is not None


def test_what_is_typed_in_reads_and_does_not_change() -> None:
    """A link in a mail counts as typed in."""
    typed = {**NAVIGATION, **fetch_metadata("none", "navigate", "document")}
    for path in (*PATHS, "/studies/x/archive"):
        assert reason("GET", path, typed) is None
        for method in CHANGES:
            assert reason(method, path, typed) is RefusedFor.UNKNOWN_PAGE


OWN = {
    "script": {**fetch_metadata("same-origin", "cors"), "origin": f"http://{HERE}"},
    "script over plain HTTP": {**CHROME, "origin": f"http://{HERE}"},
    "old script": {**CHROME, "referer": f"http://{HERE}/app/explorer.html"},
    "script of a browser that says no origin to its own": fetch_metadata("same-origin", "cors"),
    "beacon": {**fetch_metadata("same-origin", "no-cors"), "origin": f"http://{HERE}"},
}


@pytest.mark.parametrize("headers", OWN.values(), ids=OWN)
def test_our_own_pages_read_and_change(headers: dict[str, str]) -> None:
    for path in PATHS:
        assert reason("GET", path, headers) is None
        assert reason("POST", path, headers) is None
        if headers is not OWN["beacon"]:
            assert reason("PUT", path, headers) is None
            assert reason("DELETE", path, headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        fetch_metadata("same-origin", "navigate", "document"),
        fetch_metadata("same-origin", "no-cors", "image"),
        {**NAVIGATION, "referer": f"http://{HERE}/app/explorer.html"},
    ],
)
def test_a_link_or_image_of_our_own_does_not_delete(headers: dict[str, str]) -> None:
    """Orthanc takes ``GET …?_method=delete`` for a DELETE: an address in a report must not be one."""
    assert reason("DELETE", "/patients/x", headers) is RefusedFor.NAVIGATION
    assert reason("PUT", "/patients/x", headers) is RefusedFor.NAVIGATION
    assert reason("GET", "/patients/x", headers) is None


def test_a_browser_that_does_not_say_for_which_page_only_reads() -> None:
    """Over plain HTTP, with a page that forbids the Referer."""
    for headers in (CHROME, NAVIGATION):
        assert reason("GET", "/patients", headers) is None
        for path in ("/tools/create-archive", "/peers/x/system", "/studies/x/archive", "/modalities/x/query", "/jobs"):
            assert reason("GET", path, headers) is RefusedFor.UNKNOWN_PAGE
        for method in CHANGES:
            assert reason(method, "/patients/x", headers) is RefusedFor.UNKNOWN_PAGE


def test_an_origin_is_ours_at_the_host_that_was_asked() -> None:
    same = fetch_metadata("same-origin", "cors")
    for host, origin, ours in (
        ("pacs", "http://pacs", True),
        ("pacs", "https://pacs", True),  # TLS ends at a proxy that keeps the host
        ("pacs:8443", "https://pacs:8443", True),
        ("PACS.:8443", "https://pacs:8443", True),
        ("pacs", "https://pacs:8443", False),
        ("pacs:8042", "http://pacs", False),
        ("pacs", "http://sub.pacs", False),
        (HERE, "https://pacs.example", True),  # configured: a proxy that asks by another name
        (HERE, "http://pacs.example", False),
        (HERE, "https://pacs.example:8443", False),
        (HERE, "http://pacs", False),  # known as a host, and any other server on that machine may be one
    ):
        assert (reason("POST", "/x", {**same, "origin": origin}, host) is None) == ours, (host, origin)


headers_of_browsers = st.fixed_dictionaries(
    {"user-agent": st.just("Mozilla/5.0")},
    optional={
        "origin": st.sampled_from(["null", f"http://{HERE}", "http://evil.example", "http://127.0.0.1:1", ""]),
        "referer": st.sampled_from([f"http://{HERE}/x", "http://evil.example/", ""]),
        "sec-fetch-site": st.sampled_from(["same-origin", "same-site", "cross-site", "none", "x"]),
        "sec-fetch-mode": st.sampled_from(["navigate", "cors", "no-cors", "same-origin", "websocket"]),
        "sec-fetch-dest": st.sampled_from(["document", "iframe", "image", "empty", "script"]),
        "accept": st.sampled_from(["*/*", "text/html", "image/*"]),
        "upgrade-insecure-requests": st.just("1"),
    },
)
paths = st.sampled_from([*PATHS, "/studies/x/archive", "/ohif/viewer", "/app/explorer.html"])


@given(st.sampled_from(["GET", *CHANGES]), paths, headers_of_browsers)
def test_nothing_changes_without_a_sign_of_our_own_page(method: str, path: str, headers: dict[str, str]) -> None:
    found = reason(method, path, headers)
    own = f"http://{HERE}"
    signs = [headers.get("sec-fetch-site") == "same-origin", headers.get("origin") == own]
    signs.append("sec-fetch-site" not in headers and headers.get("referer", "").startswith(own))
    if method != "GET" and not any(signs):
        assert found is not None
    if headers.get("origin", own) != own or headers.get("sec-fetch-site") in ("cross-site", "same-site", "x"):
        assert found is not None or (method == "GET" and headers.get("sec-fetch-mode", "navigate") == "navigate")


@given(paths, headers_of_browsers)
def test_what_may_change_may_read(path: str, headers: dict[str, str]) -> None:
    if reason("DELETE", path, headers) is None:
        assert reason("POST", path, headers) is None
    if reason("POST", path, headers) is None:
        assert reason("GET", path, headers) is None


# -- what is said ------------------------------------------------------------------------------------------------------


def test_a_refusal_says_what_to_configure() -> None:
    found = asked(host="pacs.hospital")
    assert found is not None
    assert "'pacs.hospital'" in found.message
    assert "Radiarch.KnownHosts" in found.remedy
    found = asked("POST", origin="https://front.example", sec_fetch_site="same-origin")
    assert found is not None
    assert "https://front.example" in found.remedy
    assert KnownHosts.parse(["https://front.example"]).owns(
        WebOrigin("https", Address("front.example", 443)), Address("x")
    )


def test_a_page_cannot_flood_the_log_nor_write_lines_of_its_own() -> None:
    told: list[str] = []
    now = 0.0
    log = RefusalLog(told.append, lambda: now)
    request = HttpRequest("GET", "/webdav/by-patients/DOE^JOHN/x", {})
    for i in range(1000):
        for host in (f"h{i}.example", "evil.example\nW1130 forged"):
            refused = refusal(HttpRequest("GET", "/", {"host": host}), KNOWN)
            assert refused is not None
            log.tell(request, "127.0.0.1", refused)
    assert len(told) == RefusalLog.MOST
    assert all("\n" not in line and len(line) < 600 and "DOE" not in line for line in told)
    now = RefusalLog.EVERY_S + 1
    refused = asked(host="evil.example")
    assert refused is not None
    log.tell(request, "127.0.0.1", refused)
    assert told[RefusalLog.MOST].startswith("1980 more")
    assert "'evil.example'" in told[-1]
