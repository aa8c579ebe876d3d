"""How people and programs sign in, ``Radiarch.Auth``, and whether an account may do what it asks for.

Passwords are Orthanc's business (``RegisteredUsers``): it has checked them before anybody is asked here. What is wrong
with the section closes the whole port. Standard library only, as `filter` is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .filter import HttpRequest, Refusal, RefusedFor
from .roles import Role, roles_for

REMEDY = "Correct Radiarch.Auth in Orthanc's configuration (docs/security.md) and restart it."


class Mode(StrEnum):
    """``Radiarch.Auth.Mode``."""

    NONE = "none"
    """No roles: whomever Orthanc lets in may do everything."""
    BASIC = "basic"
    """Orthanc's own users, each with a role."""


class InvalidSignInError(ValueError):
    """``Radiarch.Auth`` cannot be used; the text says why."""


def authenticates(configuration: Mapping[str, Any]) -> bool:
    """Whether Orthanc lets only known users through. Where the setting is not given, it does with remote access."""
    given = configuration.get("AuthenticationEnabled")
    return bool(configuration.get("RemoteAccessAllowed", False) if given is None else given)


def login_of(authorization: str | None) -> str | None:
    """The user's name in a Basic ``Authorization`` header, exactly as it was sent; None where there is none.

    To be believed only where Orthanc has checked the password: else it is whatever the client wrote.
    """
    scheme, _, encoded = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    return text.partition(":")[0] or None


@dataclass(frozen=True)
class SignIn:
    """Who is known, and as what.

    Attributes
    ----------
    roles : by user's name; an account without one may do nothing
    problem : why everything is refused; empty where the settings are right
    """

    mode: Mode = Mode.NONE
    roles: Mapping[str, Role] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def read(cls, configuration: Mapping[str, Any]) -> SignIn:
        """From the whole of Orthanc's configuration.

        Raises
        ------
        InvalidSignInError
            Also where a name resembles ``Auth``: left out, it would open what is meant to be closed.
        """
        section = configuration.get("Radiarch", {})
        if not isinstance(section, Mapping):
            raise InvalidSignInError("Radiarch is not an object")
        if meant := [k for k in configuration if k != "Radiarch" and k.lower() == "radiarch"]:
            raise InvalidSignInError(f"{meant[0]} is no section, expected Radiarch")
        if meant := [k for k in section if k != "Auth" and _resembles_auth(k)]:
            raise InvalidSignInError(f"Radiarch.{meant[0]} is no setting, expected Radiarch.Auth")
        given = section.get("Auth", {})
        if not isinstance(given, Mapping):
            raise InvalidSignInError("Radiarch.Auth is not an object")
        if unknown := [k for k in given if k not in ("Mode", "Roles")]:
            raise InvalidSignInError(f"Radiarch.Auth.{unknown[0]} is no setting, expected Mode or Roles")
        try:
            mode = Mode(given.get("Mode", "none"))
        except ValueError:
            raise InvalidSignInError(f"Radiarch.Auth.Mode is none of {', '.join(Mode)}") from None
        roles = _roles(given.get("Roles", {}))
        if mode is Mode.NONE:
            if roles:
                raise InvalidSignInError('Radiarch.Auth.Roles are given, but Mode is not "basic"')
            return cls()
        _check_users(configuration, roles)
        return cls(mode, roles)

    @classmethod
    def read_or_closed(cls, configuration: Mapping[str, Any]) -> SignIn:
        """As `read`; what cannot be used closes everything."""
        try:
            return cls.read(configuration)
        except InvalidSignInError as e:
            return cls(problem=str(e))

    def refusal(self, request: HttpRequest) -> Refusal | None:
        """Why this account must not do this; None where it may."""
        if self.problem:
            return Refusal(RefusedFor.CLOSED, "", f"everything is refused: {self.problem}", REMEDY)
        if self.mode is Mode.NONE:
            return None
        user = login_of(request.headers.get("authorization"))
        role = self.roles.get(user or "")
        allowed = roles_for(request.method, request.path)
        if role in allowed:
            return None
        who = "an account without a role" if role is None else f"a {role}"
        expected = f"one of {', '.join(r for r in Role if r in allowed)}" if allowed else "nobody: no rule names it"
        return Refusal(
            RefusedFor.ROLE,
            user or "",
            f"asked by {who} ({(user or '')[:80]!a}), expected {expected}",
            "Ask somebody who may, or change Radiarch.Auth.Roles in Orthanc's configuration.",
        )


def _resembles_auth(setting: str) -> bool:
    name = setting.lower().replace("_", "")
    return name.startswith(("auth", "role", "signin")) or name == "mode"


def _roles(given: object) -> dict[str, Role]:
    if not isinstance(given, Mapping):
        raise InvalidSignInError("Radiarch.Auth.Roles is not an object, expected roles by user's name")
    try:
        return {str(user): Role(role) for user, role in given.items()}
    except ValueError:
        raise InvalidSignInError(f"a role in Radiarch.Auth.Roles is none of {', '.join(Role)}") from None


def _check_users(configuration: Mapping[str, Any], roles: Mapping[str, Role]) -> None:
    users = configuration.get("RegisteredUsers")
    if not authenticates(configuration):
        raise InvalidSignInError('Mode "basic" needs AuthenticationEnabled: Orthanc asks for no password')
    if not isinstance(users, Mapping) or not users:
        raise InvalidSignInError('Mode "basic" needs RegisteredUsers, whose passwords Orthanc checks')
    # Basic ends the name at its first colon: such a user would be taken for another
    if any(":" in user for user in users):
        raise InvalidSignInError("a name in RegisteredUsers has a colon in it")
    if strangers := sorted(set(roles) - set(users)):
        raise InvalidSignInError(f"Radiarch.Auth.Roles names {strangers[0]!r}, which is none of RegisteredUsers")
    if Role.ADMIN not in roles.values():
        raise InvalidSignInError("Radiarch.Auth.Roles names no admin")
