"""The plugin's settings: section ``Radiarch`` of Orthanc's configuration, checked once at start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, StrictBool, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_pascal
from radiarch_contract.errors import ErrorInfo, InvalidRequestError
from radiarch_contract.findings import findings
from radiarch_contract.near import nearest
from radiarch_contract.strict import Strict

from .auth.filter import KnownHosts
from .auth.roles import Role
from .auth.signin import Mode

SECTION = "Radiarch"
NO_PROTOCOLS = "ProtocolsFolder is wrong, no folder of protocols is read"
"""In the place of a folder's name where that one is wrong; it does not exist."""


ESSENTIAL = ("RedisUrl", "DatabaseUrl", "OrthancUrl", "StorageDirectory", "HttpThreads")
"""Settings without which nothing can be served: with a default in their place, plans would go into another database."""


class InvalidSettingsError(InvalidRequestError):
    """The section ``Radiarch`` cannot be used; ``fields`` are the names at its first level that are wrong."""

    def __init__(self, message: str, *, remedy: str, fields: Sequence[str] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.fields = tuple(fields)


class SessionSettings(Strict):
    """Section ``Radiarch.Sessions``: what all sessions together, and each of them, may take."""

    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True)

    enabled: bool = True
    folder: str = Field(default="", description="Empty: radiarch-sessions in Orthanc's storage folder.")
    default_ttl_s: float = Field(default=4 * 3600.0, ge=1)
    max_ttl_s: float = Field(default=24 * 3600.0, ge=1, le=30 * 24 * 3600)
    max_sessions: int = Field(default=20, ge=1, le=1000)
    max_sessions_per_user: int = Field(default=5, ge=1, le=1000, description="Where Orthanc knows its users.")
    max_plans: int = Field(default=50, ge=1, le=1000, description="Of one session.")
    max_instances: int = Field(default=5_000, ge=1, le=50_000, description="Of one session, results not counted.")
    max_megabytes: int = Field(default=2_048, ge=1, description="Of one session, results not counted.")
    max_total_megabytes: int = Field(default=20_480, ge=1, description="Of all sessions, results and all.")
    min_free_megabytes: int = Field(default=1_024, ge=0, description="Left free on the disk of the folder.")

    @model_validator(mode="after")
    def _default_fits(self) -> SessionSettings:
        if self.default_ttl_s > self.max_ttl_s:
            raise ValueError("DefaultTtlS is longer than MaxTtlS")
        return self


class AuthSettings(Strict):
    """Section ``Radiarch.Auth``; `auth.signin` decides by it, and closes everything where it is wrong."""

    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True)

    mode: Mode = Mode.NONE
    roles: dict[str, Role] = Field(default={}, description="By user's name, of RegisteredUsers.")


class Settings(Strict):
    """Settings with their defaults; in the file the names are written like ``RedisUrl``.

    URLs may hold passwords: they are never written to a log (``repr`` leaves them out).
    """

    model_config = ConfigDict(alias_generator=to_pascal)

    site_packages: str | None = Field(default=None, description="Where the plugin's Python packages are.")
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", pattern=r"^(redis|rediss|unix)://", repr=False)
    database_url: str = Field(
        default="", repr=False, description="SQLAlchemy URL; empty: SQLite in Orthanc's storage folder."
    )
    protocols_folder: Path
    orthanc_url: str = Field(
        default="", pattern=r"^(https?://.+)?$", description="Orthanc's own REST address, as this process reaches it."
    )
    storage_directory: Path
    http_threads: int = Field(default=50, ge=2, description="Orthanc's HttpThreadsCount.")
    request_timeout_s: float = Field(default=60.0, gt=0, le=600)
    sessions: SessionSettings = SessionSettings()
    superseded: Literal["keep", "remove"] = Field(
        default="keep", description="What becomes of the stored results of plans whose structure set has changed."
    )
    auth: AuthSettings = AuthSettings()
    known_hosts: tuple[str, ...] = Field(
        default=(), description="Names by which this server is asked, besides those of the loopback interface."
    )
    trust_forwarded_host: StrictBool = Field(
        default=False, description="Whether a proxy in front sets X-Forwarded-Host, and nobody can ask past it."
    )

    @field_validator("known_hosts")
    @classmethod
    def _are_hosts(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        KnownHosts.parse(entries)
        return entries


def read_settings(configuration: Mapping[str, Any], *, checkout: Path) -> Settings:
    """Settings from the whole of Orthanc's configuration.

    Parameters
    ----------
    configuration
        What ``orthanc.GetConfiguration()`` gives, parsed.
    checkout
        The folder that holds ``orthanc-config``; relative paths start there.

    Raises
    ------
    InvalidSettingsError
        Naming each wrong field as it is written in the file; values are not repeated.
    """
    section = configuration.get(SECTION, {})
    if not isinstance(section, Mapping):
        raise InvalidSettingsError(
            f"{SECTION} in Orthanc's configuration is not an object", remedy='Write "Radiarch": { … }.'
        )
    storage = Path(str(configuration.get("StorageDirectory", "OrthancStorage"))).absolute()
    values = {"ProtocolsFolder": "orthanc-config/protocols", **section}
    values["StorageDirectory"] = storage
    values["HttpThreads"] = configuration.get("HttpThreadsCount", 50)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as e:
        errors = e.errors(include_url=False)
        wrong = [f"{SECTION}.{x['field']}: {x['message']}" for x in findings(errors, Settings)]
        raise InvalidSettingsError(
            "; ".join(wrong),
            remedy="Correct Orthanc's configuration and restart it.",
            fields=[str(x["loc"][0]) for x in errors],
        ) from None
    return settings.model_copy(
        update={
            "protocols_folder": checkout / settings.protocols_folder,
            "orthanc_url": (settings.orthanc_url or own_url(configuration)).rstrip("/"),
        }
    )


def usable_settings(configuration: Mapping[str, Any], *, checkout: Path) -> tuple[Settings, tuple[ErrorInfo, ...]]:
    """As `read_settings`, but a wrong setting that is not `ESSENTIAL` hides nothing else: its default is used.

    Returns
    -------
    settings, problems
        ``problems`` names every setting that was left out.

    Raises
    ------
    InvalidSettingsError
        An essential setting is wrong, or may be meant by a name that is not known.
    """
    try:
        return read_settings(configuration, checkout=checkout), ()
    except InvalidSettingsError as e:
        if not e.fields or any(map(_is_essential, e.fields)):
            raise
        left = {k: v for k, v in configuration[SECTION].items() if k not in e.fields}
        if "ProtocolsFolder" in e.fields:  # not the default: other protocols would plan
            left["ProtocolsFolder"] = NO_PROTOCOLS
        settings = read_settings({**configuration, SECTION: left}, checkout=checkout)
        return settings, (e.info,)


def _is_essential(field: str) -> bool:
    known = {to_pascal(name) for name in Settings.model_fields}
    meant = [field] if field in known else nearest(field, known, count=1)
    return any(m in ESSENTIAL for m in meant)


def own_url(configuration: Mapping[str, Any]) -> str:
    """Orthanc's REST address on this machine."""
    scheme = "https" if configuration.get("SslEnabled") else "http"
    bound = [str(a) for a in configuration.get("HttpBindAddresses") or () if a not in ("0.0.0.0", "::")]  # noqa: S104
    host = "127.0.0.1" if not bound or "127.0.0.1" in bound else bound[0]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{configuration.get('HttpPort', 8042)}"
