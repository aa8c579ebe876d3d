"""The section Radiarch of Orthanc's configuration: defaults, and a mistake names its field and no password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from radiarch_plugin.protocols.loaded import load_protocols
from radiarch_plugin.settings import InvalidSettingsError, own_url, read_settings, usable_settings


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"RedisUrl": "secret@localhost"}, "Radiarch.RedisUrl"),
        ({"RedisURL": "redis://:secret@h"}, "Radiarch.RedisURL"),
        ({"RequestTimeoutS": "secret"}, "Radiarch.RequestTimeoutS"),
        ({"OrthancUrl": "secret"}, "Radiarch.OrthancUrl"),
        ({"KnownHosts": ["https://user:secret@pacs"]}, "Radiarch.KnownHosts"),
        ({"KnownHosts": "secret"}, "Radiarch.KnownHosts"),
        ({"TrustForwardedHost": "secret"}, "Radiarch.TrustForwardedHost"),
        ("secret", "Radiarch"),
    ],
)
def test_a_mistake_names_the_field_and_repeats_no_value(tmp_path: Path, section: Any, field: str) -> None:
    with pytest.raises(InvalidSettingsError, match=field) as caught:
        read_settings({"Radiarch": section}, checkout=tmp_path)
    assert "secret" not in str(caught.value.info)


@pytest.mark.parametrize(
    "wrong",
    [
        {"RequestTimeoutS": "60"},
        {"RequestTimeoutS": True},
        {"Sessions": {"MaxPlans": 0}},
        {"Sessions": 5},
        {"KnownHosts": "pacs"},
        {"TrustForwardedHost": "yes"},
        {"Nonsense": 1},
        {"RequestTimeoutS": -1, "Sesions": {}},
    ],
)
def test_a_wrong_setting_has_its_default_and_hides_no_other(tmp_path: Path, wrong: dict[str, Any]) -> None:
    right = {"RedisUrl": "redis://h", "DatabaseUrl": "sqlite:////d", "ProtocolsFolder": "mine"}
    settings, problems = usable_settings({"Radiarch": right | wrong}, checkout=tmp_path)
    assert settings == read_settings({"Radiarch": right}, checkout=tmp_path)
    (problem,) = problems
    assert all(f"Radiarch.{name}" in problem.message for name in wrong)
    assert usable_settings({"Radiarch": right}, checkout=tmp_path) == (settings, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"RedisUrl": 5},
        {"RedisURL": "redis://h"},
        {"DatabaseURL": "sqlite:////d"},
        {"DataBaseUrl": "sqlite:////d"},
        {"DatabaseUlr": "sqlite:////d"},
        {"OrthancUrl": "pacs:8042"},
        {"RequestTimeoutS": 0, "DatabaseUrl": None},
    ],
)
def test_without_knowing_where_plans_are_kept_nothing_is_served(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingsError):
        usable_settings({"Radiarch": wrong}, checkout=tmp_path)


def test_with_a_wrong_folder_of_protocols_none_is_read(tmp_path: Path) -> None:
    (tmp_path / "orthanc-config" / "protocols").mkdir(parents=True)
    settings, (problem,) = usable_settings({"Radiarch": {"ProtocolsFolder": 5}}, checkout=tmp_path)
    assert "Radiarch.ProtocolsFolder" in problem.message
    assert load_protocols(settings.protocols_folder).items == ()
    assert load_protocols(settings.protocols_folder).problems


def test_without_a_section_everything_has_a_default(tmp_path: Path) -> None:
    settings = read_settings({"HttpPort": 9, "StorageDirectory": "/x", "HttpThreadsCount": 7}, checkout=tmp_path)
    assert settings.protocols_folder == tmp_path / "orthanc-config/protocols"
    assert (settings.orthanc_url, settings.storage_directory) == ("http://127.0.0.1:9", Path("/x"))
    assert (settings.database_url, settings.http_threads) == ("", 7)


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    section = {"RedisUrl": "redis://:secret@h", "DatabaseUrl": "postgresql://u:secret@h/d"}
    assert "secret" not in repr(read_settings({"Radiarch": section}, checkout=tmp_path))


@pytest.mark.parametrize(
    ("configuration", "url"),
    [
        ({}, "http://127.0.0.1:8042"),
        ({"SslEnabled": True, "HttpPort": 443}, "https://127.0.0.1:443"),
        ({"HttpBindAddresses": ["0.0.0.0"]}, "http://127.0.0.1:8042"),
        ({"HttpBindAddresses": ["10.0.0.1", "127.0.0.1"]}, "http://127.0.0.1:8042"),
        ({"HttpBindAddresses": ["10.0.0.1"]}, "http://10.0.0.1:8042"),
        ({"HttpBindAddresses": ["fe80::1"]}, "http://[fe80::1]:8042"),
    ],
)
def test_orthanc_is_reached_where_it_listens(configuration: dict[str, Any], url: str) -> None:
    assert own_url(configuration) == url
