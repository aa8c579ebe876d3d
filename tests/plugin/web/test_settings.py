"""The section Radiarch of Orthanc's configuration: defaults, and a mistake names its field and no password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from radiarch_plugin.settings import InvalidSettingsError, own_url, read_settings


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
