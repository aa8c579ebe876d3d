"""Orthanc's configuration, the containers' entry and the compose file: what is open, and to whom."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from radiarch_plugin.auth.filter import HttpRequest, KnownHosts, refusal
from radiarch_plugin.auth.signin import SignIn

from scripts._service import container
from scripts._service.errors import ScriptError
from scripts._service.orthanc import DicomPeer, OrthancSettings, configuration, merge, write_private_json

CHECKOUT = Path(__file__).resolve().parents[2]


def settings(**changes: Any) -> OrthancSettings:
    values: dict[str, Any] = {
        "checkout": CHECKOUT,
        "storage": Path("/state/orthanc"),
        "http_port": 8042,
        "dicom_port": 4242,
        "redis_url": "unix:///run/redis.sock",
        "site_packages": Path("/venv/site-packages"),
        "protocols": Path("/protocols"),
    }
    return OrthancSettings(**{**values, **changes})


def test_by_default_other_machines_are_refused_and_lua_is_not_run_from_http() -> None:
    made = configuration(settings())
    assert made["RemoteAccessAllowed"] is False
    assert made["ExecuteLuaEnabled"] is False
    assert made["WebDavEnabled"] is False


def test_remote_access_without_a_password_is_refused() -> None:
    with pytest.raises(ScriptError, match="without a password"):
        configuration(settings(remote_access=True))
    made = configuration(settings(remote_access=True, users={"a": "secret"}))
    assert made["AuthenticationEnabled"] is True
    assert made["RegisteredUsers"] == {"a": "secret"}


def test_named_peers_shut_out_all_others() -> None:
    made = configuration(settings(dicom_peers=(DicomPeer("CT", "192.0.2.1"), DicomPeer("CT", "192.0.2.2", 11112))))
    assert made["DicomAlwaysAllowStore"] is False
    assert made["DicomCheckModalityHost"] is True
    assert list(made["DicomModalities"].values()) == [["CT", "192.0.2.1", 104], ["CT", "192.0.2.2", 11112]]


def test_what_the_plugin_counts_on_is_set() -> None:
    made = configuration(settings())
    assert made["OverwriteInstances"] is True, "a changed structure set under its old UID must be stored"
    assert made["HttpCompressionEnabled"] is False
    assert Path(made["PythonScript"]).is_file()


def test_extra_configuration_wins_key_by_key() -> None:
    made = configuration(settings(extra={"StableAge": 3, "Radiarch": {"RequestTimeoutS": 5}}))
    assert made["StableAge"] == 3
    assert made["Radiarch"]["RequestTimeoutS"] == 5
    assert made["Radiarch"]["RedisUrl"] == "unix:///run/redis.sock"


def test_a_site_adds_to_the_names_by_which_the_service_is_asked() -> None:
    made = configuration(
        settings(known_hosts=("orthanc",), extra={"Radiarch": {"KnownHosts": ["https://pacs.example"]}})
    )
    assert made["Radiarch"]["KnownHosts"] == ["orthanc", "https://pacs.example"]
    assert "KnownHosts" not in configuration(settings())["Radiarch"]


def test_merging_with_nothing_changes_nothing() -> None:
    base = {"a": 1, "b": {"c": [1], "d": None}}
    assert merge(base, {}) == base
    assert merge({}, base) == base
    assert merge(base, base) == base


def test_a_file_with_passwords_is_private(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private_json(path, {"a": 1})
    assert path.stat().st_mode & 0o777 == 0o600


# -- containers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """As docker-compose.yml sets it; passwords with characters that a URL does not take."""
    found = {"RADIARCH_ORTHANC_USER": "radiarch", "RADIARCH_POSTGRES_HOST": ""}
    for name in ("ORTHANC", "REDIS", "POSTGRES"):
        path = tmp_path / name
        path.write_text(f"p@ss:/{name} ü%\n", encoding="utf-8")
        found[f"RADIARCH_{name}_PASSWORD_FILE"] = str(path)
    return found


def test_a_container_never_starts_without_a_password(env: dict[str, str]) -> None:
    for name in ("RADIARCH_ORTHANC_PASSWORD_FILE", "RADIARCH_REDIS_PASSWORD_FILE", "RADIARCH_ORTHANC_USER"):
        with pytest.raises(ScriptError, match=name):
            container.orthanc_configuration({k: v for k, v in env.items() if k != name})
    Path(env["RADIARCH_ORTHANC_PASSWORD_FILE"]).write_text("\n")
    with pytest.raises(ScriptError, match="is empty"):
        container.orthanc_configuration(env)


def test_a_container_of_orthanc_asks_for_its_password(env: dict[str, str]) -> None:
    made = container.orthanc_configuration(env)
    assert made["AuthenticationEnabled"] is True
    assert made["RegisteredUsers"] == {"radiarch": "p@ss:/ORTHANC ü%"}
    assert "PostgreSQL" not in made


def test_with_roles_the_containers_account_is_a_workers(env: dict[str, str], tmp_path: Path) -> None:
    """And nobody is let in before the site has named people of its own."""
    env["RADIARCH_AUTH_MODE"] = "basic"
    assert "no admin" in SignIn.read_or_closed(container.orthanc_configuration(env)).problem
    people = {"RegisteredUsers": {"ada": "x"}, "Radiarch": {"Auth": {"Roles": {"ada": "admin"}}}}
    more = tmp_path / "people.json"
    more.write_text(json.dumps(people), encoding="utf-8")
    env["RADIARCH_ORTHANC_CONFIG"] = str(more)
    made = SignIn.read(container.orthanc_configuration(env))
    assert made.roles == {"radiarch": "worker", "ada": "admin"}
    assert (
        SignIn.read(container.orthanc_configuration({**env, "RADIARCH_AUTH_MODE": "", "RADIARCH_ORTHANC_CONFIG": ""}))
        == SignIn()
    )


def test_orthanc_answers_the_workers_of_the_compose_file(env: dict[str, str]) -> None:
    """By the name that they ask, and by those that a site adds."""
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    names = compose["orthanc"]["environment"]["RADIARCH_KNOWN_HOSTS"]
    added = names.replace("${RADIARCH_KNOWN_HOSTS:-}", "pacs, https://pacs.example")
    known = KnownHosts.read(container.orthanc_configuration({**env, "RADIARCH_KNOWN_HOSTS": added}))
    asked = urlsplit(compose["worker"]["environment"]["RADIARCH_ORTHANC_URL"]).netloc
    for host in (asked, "pacs:8042", "pacs.example", "127.0.0.1:8042"):
        assert refusal(HttpRequest("POST", "/tools/find", {"host": host}), known) is None
    assert refusal(HttpRequest("GET", "/system", {"host": "evil.example"}), known) is not None


def test_passwords_survive_their_way_through_urls(env: dict[str, str]) -> None:
    env["RADIARCH_POSTGRES_HOST"] = "db"
    made = container.orthanc_configuration(env)
    redis, database = urlsplit(made["Radiarch"]["RedisUrl"]), urlsplit(made["Radiarch"]["DatabaseUrl"])
    assert (unquote(redis.password or ""), redis.hostname) == ("p@ss:/REDIS ü%", "redis")
    assert (unquote(database.password or ""), database.hostname, database.path) == (
        "p@ss:/POSTGRES ü%",
        "db",
        "/radiarch",
    )
    assert made["PostgreSQL"]["Password"] == "p@ss:/POSTGRES ü%"
    assert made["PostgreSQL"]["Database"] != "radiarch", "a database of its own"
    assert any(p.endswith("libOrthancPostgreSQLIndex.so") for p in made["Plugins"])
    assert container.worker_environment(env)["RADIARCH_REDIS_URL"] == made["Radiarch"]["RedisUrl"]


def test_the_compose_file_opens_nothing_and_holds_no_password() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8")
    compose = yaml.safe_load(text)
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 2
    for port in published:
        assert re.match(r"\$\{RADIARCH_(HTTP|DICOM)_BIND:-127\.0\.0\.1\}:", port)
    assert compose["networks"]["inside"]["internal"] is True
    for name in ("worker", "redis", "postgres"):
        assert compose["services"][name]["networks"] == ["inside"]
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|TOKEN", name) or str(value).startswith("/run/secrets/")


def test_the_images_install_what_the_pinned_list_says() -> None:
    for name in ("Dockerfile.orthanc", "Dockerfile.worker"):
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        assert "scripts/install" in text
        assert "scripts/constraints.txt" in text
        assert re.search(r"^USER 10001$", text, re.MULTILINE)
        assert not re.search(r"--head|wget --spider|curl -I", text), "Orthanc answers no HEAD request"


def test_every_dependency_is_pinned_to_a_version_of_the_list_that_it_allows() -> None:
    """What the SDK needs has ranges; all else is exact, so that the list says the same."""
    lines = (CHECKOUT / "scripts" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    listed = {canonicalize_name(p.name): str(p.specifier).removeprefix("==") for p in pins}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    exact = [Requirement(d) for name, of in extras.items() if name != "client" for d in of]
    ranges = [Requirement(d) for d in (*project["dependencies"], *extras["client"])]
    for wanted in (*exact, *ranges):
        version = listed.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted}: run scripts/install --lock"
        assert version in wanted.specifier, f"{wanted}: run scripts/install --lock"
    for wanted in exact:
        assert [s.operator for s in wanted.specifier] == ["=="], wanted
