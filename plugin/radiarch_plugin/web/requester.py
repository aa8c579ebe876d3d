"""Who asks: the user whom Orthanc has authenticated; whether somebody may ask is Orthanc's business."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request

from radiarch_plugin.services import RuntimeDep

MAX_USER = 128


def authenticates(configuration: Mapping[str, Any]) -> bool:
    """Whether Orthanc lets only known users through. Where the setting is not given, it does with remote access."""
    given = configuration.get("AuthenticationEnabled")
    return bool(configuration.get("RemoteAccessAllowed", False) if given is None else given)


def user_of(authorization: str | None) -> str | None:
    """The user's name in a Basic ``Authorization`` header; None where there is none.

    To be believed only where Orthanc has checked the password: else it is whatever the client wrote.
    """
    scheme, _, encoded = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    user = "".join(c for c in text.partition(":")[0] if c.isprintable())
    return user[:MAX_USER] or None


# async, as it never blocks: a plain def would cost a turn through the thread pool
async def _requester(request: Request, runtime: RuntimeDep) -> str | None:
    return user_of(request.headers.get("authorization")) if runtime.authenticates else None


RequesterDep = Annotated[str | None, Depends(_requester)]
