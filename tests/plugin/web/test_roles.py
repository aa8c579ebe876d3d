"""Who may do what: every route has a rule, what has none is refused, and docs/security.md shows the table."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_plugin.auth.filter import HttpRequest, RefusedFor
from radiarch_plugin.auth.roles import RULES, Role, roles_for
from radiarch_plugin.auth.signin import InvalidSignInError, Mode, SignIn, login_of
from radiarch_plugin.services import Runtime
from radiarch_plugin.web.app import create_app

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/security.md"
PEOPLE = (Role.VIEWER, Role.DOSIMETRIST, Role.PHYSICIST, Role.ADMIN)

# Orthanc's own description leaves out what its source does not document by hand
UNDESCRIBED = (
    *("GET /", "GET /system", "GET /statistics", "GET /changes", "GET /exports", "GET /app/explorer.html"),
    *("GET /patients", "GET /studies/x", "GET /series/x/study", "GET /instances/x/tags", "GET /instances/x/file"),
    *(
        "GET /studies/x/instances-tags",
        "GET /studies/x/shared-tags",
        "GET /patients/x/module",
        "GET /jobs",
        "GET /wado",
    ),
    *("GET /tools/metrics-prometheus", "GET /tools/now", "GET /tools/now-local", "GET /tools/create-archive"),
    *(
        "GET /tools/labels",
        "GET /tools/accepted-sop-classes",
        "PUT /studies/x/labels/y",
        "POST /tools/count-resources",
        "POST /tools/dicom-conformance",
    ),
    *("GET /plugins", "GET /plugins/python", "GET /modalities/x/query", "PUT /webdav/x", "GET /webdav/folders"),
    *("GET /dicom-web/studies", "GET /dicom-web/studies/1/series/2/instances/3/frames/1", "POST /dicom-web/studies"),
    *("POST /dicom-web/studies/1", "GET /dicom-web/series", "GET /dicom-web/instances", "GET /dicom-web/servers"),
    *("POST /dicom-web/servers/x/stow", "DELETE /dicom-web/servers/x"),
)


def _walk(routes: list[Any], prefix: str = "") -> Iterator[str]:
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from _walk(inner.routes, prefix + route.include_context.prefix)
        else:  # of another kind: no methods, and the test fails
            yield from (f"{m} {prefix}{route.path}" for m in sorted(route.methods) if m != "HEAD")


@pytest.fixture(scope="module")
def orthanc_routes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same of this machine's Orthanc: as it describes itself, and `UNDESCRIBED`."""
    path = tmp_path_factory.mktemp("openapi") / "orthanc.json"
    command = ["/usr/sbin/Orthanc", f"--openapi={path}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=path.parent)
    described = json.loads(path.read_text())["paths"]
    found = [f"{m.upper()} {p}" for p, methods in described.items() for m in methods if m != "parameters"]
    return [*found, *UNDESCRIBED]


@pytest.fixture(scope="module")
def own_routes() -> list[str]:
    """``METHOD path`` of every route of the app, those too that its description leaves out."""
    return list(_walk(create_app(Runtime()).routes))


def asked(route: str) -> frozenset[Role]:
    method, _, path = route.partition(" ")
    return roles_for(method, re.sub(r"\{[^}]*\}", "0", path))


def test_every_route_of_ours_has_a_rule(own_routes: list[str]) -> None:
    assert len(own_routes) > 70
    assert [r for r in own_routes if not asked(r)] == [], "give it one in auth/roles.py"


def test_every_documented_route_of_orthanc_has_a_rule(orthanc_routes: list[str]) -> None:
    assert len(orthanc_routes) > 200
    assert [r for r in orthanc_routes if not asked(r)] == []


def test_each_role_may_do_what_those_before_it_may() -> None:
    for rule in RULES:
        may = [role in rule.roles for role in PEOPLE]
        assert may == sorted(may), rule


def test_a_viewer_changes_nothing(own_routes: list[str], orthanc_routes: list[str]) -> None:
    downloads = r"[a-z]+/[^/]+/(archive|media)|tools/create-(archive|media.*)"
    reading = rf"POST /({downloads}|tools/(find|lookup|bulk-content|count-resources))"
    changing = [r for r in [*own_routes, *orthanc_routes] if not re.fullmatch(f"GET .*|{reading}", r)]
    assert len(changing) > 100
    assert [r for r in changing if Role.VIEWER in asked(r)] == []


def test_a_worker_does_its_work_and_nothing_else(own_routes: list[str], orthanc_routes: list[str]) -> None:
    work = {r for r in [*own_routes, *orthanc_routes] if Role.WORKER in asked(r)}
    assert {r for r in work if "/store/" not in r} == {
        *("GET /radiarch/api/v1/info", "POST /tools/find", "GET /studies/x"),
        *("GET /instances/x/file", "GET /instances/{id}/file"),
    }
    assert [r for r in own_routes if "/store/" in r and asked(r) != {Role.WORKER}] == []


@pytest.mark.parametrize(
    "route",
    [
        *("GET /something", "POST /radiarch", "POST /radiarch/api/v1/plans/x", "PUT /radiarch/api/v1/plans/x"),
        *("GET /radiarch/api/v1", "GET /radiarch/api/v1/secrets", "GET /radiarchx", "GET /toolsx", "GET /tools/reset"),
        *("GET /tools/execute-script", "POST /", "DELETE /", " /patients", "PATCH /patients/x", "GET /systemx"),
        *("GET /plans", "POST /dicom-web/studies/1/series", "GET /dicom-web/", "GET patients", "GET /Patients"),
        "DELETE /patients",
    ],
)
def test_what_no_rule_names_nobody_may_do(route: str) -> None:
    assert asked(route) == frozenset()


@given(st.sampled_from(["GET", "POST", "PUT", "DELETE"]), st.sampled_from(RULES), st.data())
def test_a_slash_at_the_end_changes_no_right(method: str, rule: Any, data: Any) -> None:
    path = data.draw(st.from_regex(rule.pattern, fullmatch=True))
    assert roles_for(method, path) == roles_for(method, path + "/")


def configuration(**auth: Any) -> dict[str, Any]:
    return {
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"ada": "a", "dan": "d", "vera": "v", "stranger": "s"},
        "Radiarch": {
            "Auth": {"Mode": "basic", "Roles": {"ada": "admin", "dan": "dosimetrist", "vera": "viewer"}, **auth}
        },
    }


def basic(user: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:secret".encode()).decode()}


@pytest.mark.parametrize(
    ("user", "route", "may"),
    [
        ("vera", "GET /patients", True),
        ("vera", "POST /radiarch/api/v1/plans", False),
        ("dan", "POST /radiarch/api/v1/plans", True),
        ("dan", "POST /radiarch/api/v1/plans/x/approval", False),
        ("dan", "DELETE /patients/x", False),
        ("ada", "DELETE /patients/x", True),
        ("ada", "GET /something", False),
        ("stranger", "GET /radiarch/api/v1/info", False),
        ("ADA", "GET /patients", False),
        ("ada\u200b", "GET /patients", False),
        (" ada", "GET /patients", False),
        ("", "GET /patients", False),
    ],
)
def test_an_account_may_do_what_its_role_may(user: str, route: str, may: bool) -> None:
    method, _, path = route.partition(" ")
    refused = SignIn.read(configuration()).refusal(HttpRequest(method, path, basic(user)))
    assert (refused is None) == may
    if refused is not None:
        assert refused.reason is RefusedFor.ROLE


@pytest.mark.parametrize("sent", [None, "", "Bearer x", "Basic", "Basic !!!", "Basic Og==", "Digest ada"])
def test_without_a_name_nothing_is_answered(sent: str | None) -> None:
    headers = {} if sent is None else {"authorization": sent}
    assert login_of(sent) is None
    assert SignIn.read(configuration()).refusal(HttpRequest("GET", "/patients", headers)) is not None


def test_without_the_section_everything_is_as_before() -> None:
    sections: list[dict[str, Any]] = [{}, {"Auth": {}}, {"Auth": {"Mode": "none"}}]
    for section in sections:
        sign_in = SignIn.read({"Radiarch": section})
        assert sign_in.mode is Mode.NONE
        assert sign_in.refusal(HttpRequest("DELETE", "/anything", {})) is None


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"Radiarch": {"auth": {"Mode": "basic"}}}, "Radiarch.auth is no setting"),
    ({"Radiarch": {"Authentication": {"Mode": "basic"}}}, "Radiarch.Authentication is no setting"),
    ({"Radiarch": {"Mode": "basic"}}, "Radiarch.Mode is no setting"),
    ({"Radiarch": {"Roles": {}}}, "Radiarch.Roles is no setting"),
    ({"radiarch": {"Auth": {"Mode": "basic"}}}, "radiarch is no section"),
    ({"Radiarch": []}, "Radiarch is not an object"),
    ({"Radiarch": {"Auth": "basic"}}, "not an object"),
    ({"Radiarch": {"Auth": {"mode": "basic"}}}, "Radiarch.Auth.mode is no setting"),
    (configuration(Mode="oidc"), "Mode is none of none, basic"),
    (configuration(Mode=["basic"]), "Mode is none of none, basic"),
    (configuration(Mode="none"), "Roles are given"),
    (configuration(Roles=["ada"]), "Roles is not an object"),
    (configuration(Roles={"ada": "boss"}), "is none of viewer"),
    (configuration(Roles={"ada": "admin", "eve": "viewer"}), "names 'eve'"),
    (configuration(Roles={"dan": "dosimetrist"}), "names no admin"),
    ({**configuration(), "AuthenticationEnabled": False}, "AuthenticationEnabled"),
    ({k: v for k, v in configuration().items() if k != "AuthenticationEnabled"}, "AuthenticationEnabled"),
    ({**configuration(), "RegisteredUsers": {}}, "needs RegisteredUsers"),
    ({**configuration(), "RegisteredUsers": {"ada": "a", "ada:x": "y"}}, "colon"),
)


@pytest.mark.parametrize(("wrong", "why"), WRONG, ids=[why for _, why in WRONG])
def test_a_wrong_section_closes_everything(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidSignInError, match=re.escape(why)):
        SignIn.read(wrong)
    refused = SignIn.read_or_closed(wrong).refusal(HttpRequest("GET", "/system", basic("ada")))
    assert refused is not None
    assert refused.reason is RefusedFor.CLOSED
    assert why in refused.message


def matrix() -> str:
    rows = []
    for rule in RULES:
        methods = " ".join(m for m in ("GET", "POST", "PUT", "DELETE") if m in rule.methods)
        path = rule.pattern.pattern.replace("(?:/.*)?", "[/…]").replace("[^/]+", "*").replace("(?:", "(")
        path = path.replace("\\.", ".").replace(".+", "…").replace("/radiarch/api/v1", "…/v1").replace("|", "\\|")
        path = path.replace("(/sessions/*)?", "[/sessions/*]").replace("(-[a-z]+)?", "[-*]").replace(")?", ")?")
        cells = " | ".join("●" if role in rule.roles else "" for role in Role)
        rows.append(f"| {rule.what} | {methods} | `{path}` | {cells} |")
    head = f"| what | methods | paths | {' | '.join(Role)} |\n|---|---|---|{':-:|' * len(Role)}"
    return "\n".join([head, *rows, ""])


def test_the_document_shows_the_rules_as_they_are() -> None:
    """It is written anew where it does not, to be looked at and committed."""
    text = DOCUMENT.read_text("utf-8")
    begin, end = "<!-- rules -->\n", "<!-- end of rules -->"
    before, _, rest = text.partition(begin)
    shown, _, after = rest.partition(end)
    assert after
    if shown != matrix():
        DOCUMENT.write_text(before + begin + matrix() + end + after, "utf-8")
        pytest.fail("docs/security.md did not show the rules as they are; it has been written anew")
