"""Where the server is and who asks: from arguments, the environment or a file; opens no connection.

The first that is given wins: an argument, an environment variable, the configuration file, the
default. The file is ``$RADIARCH_CONFIG``, else ``radiarch/config.toml`` in ``$XDG_CONFIG_HOME`` or ``~/.config``,
with the keys ``url``, ``user``, ``password_file``, ``token_file`` and ``ca_file``.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import httpx
from radiarch_contract.errors import InvalidRequestError

DEFAULT_URL = "http://127.0.0.1:8042"
_FILE_KEYS = frozenset({"url", "user", "password_file", "token_file", "ca_file"})
_CREDENTIALS = ("user", "password", "password_file", "token", "token_file")
_SECRET_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Settings:
    """Where and as whom; secrets never appear in the representation."""

    url: str = DEFAULT_URL
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    source: str = "default"
    """Where the address came from, for messages."""

    @property
    def auth_kind(self) -> Literal["none", "basic", "bearer"]:
        if self.token is not None:
            return "bearer"
        return "basic" if self.user is not None else "none"

    def auth(self) -> httpx.Auth | None:
        if self.token is not None:
            return _Bearer(self.token)
        if self.user is not None:
            return httpx.BasicAuth(self.user, self.password or "")
        return None

    @property
    def is_loopback(self) -> bool:
        host = httpx.URL(self.url).host
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = self._header
        yield request


class Connection(TypedDict, total=False):
    """Who asks, and whom to trust; the arguments of both clients."""

    user: str | None
    password: str | None
    password_file: str | os.PathLike[str] | None
    token: str | None
    token_file: str | os.PathLike[str] | None
    ca_file: str | os.PathLike[str] | None


def load_settings(
    url: str | None = None, *, env: Mapping[str, str] | None = None, **connection: Unpack[Connection]
) -> Settings:
    """Settings from arguments, then environment, then configuration file.

    Credentials come as a whole from the first of the three that has any, so that a token in the
    environment is never mixed with a user given as an argument.

    Raises
    ------
    InvalidRequestError
        A named file cannot be read, or credentials contradict each other.
    """
    environ = os.environ if env is None else env
    path, stored = _config_file(environ)
    arguments: dict[str, Any] = {k: connection.get(k) for k in _CREDENTIALS}
    from_env = {k: environ.get(f"RADIARCH_{k.upper()}") or None for k in arguments}
    from_file = {k: stored.get(k) for k in arguments}
    credentials = next((c for c in (arguments, from_env, from_file) if any(v is not None for v in c.values())), {})

    if url is not None:
        address, source = url, "argument"
    elif environ.get("RADIARCH_URL"):
        address, source = environ["RADIARCH_URL"], "RADIARCH_URL"
    elif "url" in stored:
        address, source = str(stored["url"]), str(path)
    else:
        address, source = DEFAULT_URL, "default"
    address, url_user, url_password = _split_url(address)

    the_user = _text(credentials.get("user")) or url_user
    the_password = _text(credentials.get("password")) or _secret(credentials.get("password_file")) or url_password
    the_token = _text(credentials.get("token")) or _secret(credentials.get("token_file"))
    if the_token is not None and the_user is not None:
        raise InvalidRequestError(
            "both a user and a token are given", remedy="Give one of them: Basic and Bearer exclude each other."
        )
    if the_password is not None and the_user is None:
        raise InvalidRequestError("a password is given but no user", remedy="Give the user too (RADIARCH_USER).")
    ca = connection.get("ca_file") or environ.get("RADIARCH_CA_FILE") or stored.get("ca_file")
    return Settings(address, the_user, the_password, the_token, Path(str(ca)).expanduser() if ca else None, source)


def _config_file(env: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    explicit = env.get("RADIARCH_CONFIG")
    if explicit:
        path = Path(explicit).expanduser()
    else:
        base = env.get("XDG_CONFIG_HOME") or (f"{env['HOME']}/.config" if env.get("HOME") else "")
        path = Path(base) / "radiarch" / "config.toml"
        if not base or not path.is_file():
            return None, {}
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise InvalidRequestError(f"{path}: {e}", remedy="Correct the file, or unset RADIARCH_CONFIG.") from None
    unknown = sorted(set(stored) - _FILE_KEYS)
    if unknown:
        raise InvalidRequestError(
            f"{path}: unknown keys {', '.join(unknown)}",
            remedy=f"Keys are {', '.join(sorted(_FILE_KEYS))}; secrets stay in files of their own.",
        )
    return path, stored


def _split_url(url: str) -> tuple[str, str | None, str | None]:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as e:
        raise InvalidRequestError(f"{url!r} is not an address: {e}", remedy=f"Write it like {DEFAULT_URL}.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidRequestError(
            f"the address {url!r} has no http:// or https:// and host", remedy=f"Write it like {DEFAULT_URL}."
        )
    bare = str(parsed.copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")
    return bare, parsed.username or None, parsed.password or None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _secret(path: Any) -> str | None:
    if not path:
        return None
    file = Path(str(path)).expanduser()
    try:
        with file.open("rb") as f:
            raw = f.read(_SECRET_LIMIT_BYTES)
        text = raw.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidRequestError(
            f"{file}: the secret cannot be read: {e}", remedy="See that the file exists and may be read."
        ) from None
    if not text or "\n" in text:
        raise InvalidRequestError(
            f"{file}: {'is empty' if not text else 'has several lines'}, expected one line with the secret",
            remedy="Put the password or token alone into the file.",
        )
    return text
