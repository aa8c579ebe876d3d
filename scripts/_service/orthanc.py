"""Orthanc's configuration: the template of orthanc-config/ with what differs from one start to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ScriptError

PLUGINS_FOLDER = Path("/usr/share/orthanc/plugins")
TEMPLATE = Path("orthanc-config/orthanc.json")
ENTRY_SCRIPT = Path("plugin/radiarch_orthanc.py")


@dataclass(frozen=True)
class DicomPeer:
    """A DICOM node that may send: its AE title and the address that it calls from."""

    aet: str
    host: str
    port: int = 104


@dataclass(frozen=True)
class OrthancSettings:
    """What one Orthanc is started with.

    Attributes
    ----------
    storage : Orthanc's files and index, and the plugin's database
    users : passwords by name; not empty when other machines may call
    dicom_peers : the only nodes that may send; empty: any AE title from any address, as in Orthanc's own default
    known_hosts : names by which REST and pages may be asked for, besides those of this machine's loopback interface
    extra : more of Orthanc's configuration, merged last
    """

    checkout: Path
    storage: Path
    http_port: int
    dicom_port: int
    redis_url: str = field(repr=False)
    site_packages: Path
    protocols: Path
    aet: str = "RADIARCH"
    remote_access: bool = False
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    dicom_peers: tuple[DicomPeer, ...] = ()
    known_hosts: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def configuration(settings: OrthancSettings) -> dict[str, Any]:
    """The whole configuration as Orthanc reads it.

    Raises
    ------
    ScriptError
        Other machines would be let in without a password.
    """
    if settings.remote_access and not settings.users:
        raise ScriptError(
            "other machines would be let in without a password",
            remedy="Give user names and passwords with --users-file, or leave --remote away.",
        )
    template = read_json(settings.checkout / TEMPLATE)
    own: dict[str, Any] = {
        "HttpPort": settings.http_port,
        "DicomPort": settings.dicom_port,
        "DicomAet": settings.aet,
        "StorageDirectory": str(settings.storage),
        "IndexDirectory": str(settings.storage),
        "PythonScript": str(settings.checkout / ENTRY_SCRIPT),
        "RemoteAccessAllowed": settings.remote_access,
        "AuthenticationEnabled": bool(settings.users),
        "RegisteredUsers": dict(settings.users),
        "Radiarch": {
            "SitePackages": str(settings.site_packages),
            "RedisUrl": settings.redis_url,
            "ProtocolsFolder": str(settings.protocols),
        },
    }
    if settings.dicom_peers:
        own |= {
            "DicomAlwaysAllowStore": False,
            "DicomAlwaysAllowEcho": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {
                f"peer{n}": [peer.aet, peer.host, peer.port] for n, peer in enumerate(settings.dicom_peers, start=1)
            },
        }
    whole = merge(merge(template, own), settings.extra)
    if settings.known_hosts:  # those of a site's own configuration beside them: workers ask by one of ours
        given = whole["Radiarch"].get("KnownHosts") or []
        whole["Radiarch"]["KnownHosts"] = [*settings.known_hosts, *given]
    return whole


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``, objects merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises
    ------
    ScriptError
        The file is missing, not JSON, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ScriptError(f"{path} cannot be read: {e.strerror}", remedy="Name a file that exists.") from None
    except ValueError as e:
        raise ScriptError(f"{path} is not JSON: {e}", remedy="Correct it; comments are not allowed in it.") from None
    if not isinstance(content, dict):
        raise ScriptError(f"{path} holds no JSON object", remedy="Write { … } as in Orthanc's configuration.")
    return content


def write_private_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that may hold passwords, readable for its owner only."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def check_installed() -> None:
    """
    Raises
    ------
    ScriptError
        Orthanc or one of its plugins is not installed.
    """
    for path in (
        Path("/usr/sbin/Orthanc"),
        PLUGINS_FOLDER / "libOrthancPython.so",
        PLUGINS_FOLDER / "libOrthancDicomWeb.so",
    ):
        if not path.exists():
            raise ScriptError(f"{path} is missing", remedy="Run scripts/install.")
