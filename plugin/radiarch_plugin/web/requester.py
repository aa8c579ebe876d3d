"""Who asks: the user whom Orthanc has authenticated; authorization is Orthanc's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from radiarch_plugin.auth.signin import login_of
from radiarch_plugin.services import RuntimeDep

MAX_USER = 128


def user_of(authorization: str | None) -> str | None:
    """`login_of` for records and people: printable, and of bounded length."""
    user = "".join(c for c in login_of(authorization) or "" if c.isprintable())
    return user[:MAX_USER] or None


# async, as it never blocks: a plain def would cost a turn through the thread pool
async def _requester(request: Request, runtime: RuntimeDep) -> str | None:
    return user_of(request.headers.get("authorization")) if runtime.authenticates else None


RequesterDep = Annotated[str | None, Depends(_requester)]
