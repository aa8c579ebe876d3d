"""Identifiers in paths: what cannot be one is answered like one that does not exist; plans' may be shortened."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Path
from radiarch_contract.errors import ConflictError, NotFoundError
from radiarch_contract.places import Place

from radiarch_plugin.services import Services

SHORTEST = 8
MAX_CANDIDATES = 10
_PLAN_ID = re.compile(r"[0-9a-f]{32}")
_SHORT_ID = re.compile(rf"[0-9a-f]{{{SHORTEST},31}}")
_UID = re.compile(r"[0-9.]{1,64}")

_SHORTENED = f"An id, or its first {SHORTEST} characters or more, as far as they are one plan's only."
PlanId = Annotated[str, Path(description=_SHORTENED)]


def known_id(whole: str, what: str, listed_at: str) -> str:
    """A whole id of something that is listed at a path."""
    if not _PLAN_ID.fullmatch(whole):
        raise NotFoundError(f"there is no such {what}", remedy=f"GET {listed_at} has the list.")
    return whole


def whole_id(plan_id: str, services: Services) -> str:
    """A plan's (or job's) id from its beginning.

    Raises
    ------
    NotFoundError
        It cannot be one, or no plan's id begins so.
    ConflictError
        Several plans' ids begin so; ``candidates`` has them.
    """
    if _PLAN_ID.fullmatch(plan_id):
        return plan_id
    if not _SHORT_ID.fullmatch(plan_id):
        raise _no_plan()
    found = services.store.plans.ids_beginning(plan_id, MAX_CANDIDATES + 1)
    if not found:
        raise _no_plan()
    if len(found) > 1:
        shown, more = found[:MAX_CANDIDATES], " and more" if len(found) > MAX_CANDIDATES else ""
        raise ConflictError(
            f"several plans have ids that begin with {plan_id}: {', '.join(shown)}{more}",
            remedy="Give more characters of the one that is meant.",
            candidates=shown,
        )
    return found[0]


def maybe_short(text: str, services: Services) -> str:
    """The whole id that a shortened one stands for; anything else as it is."""
    return whole_id(text, services) if _SHORT_ID.fullmatch(text) else text


def known_uid(uid: str) -> str:
    """A DICOM UID."""
    if not _UID.fullmatch(uid):
        raise NotFoundError("there is no such UID", remedy="A UID is made of digits and dots, at most 64.")
    return uid


def _no_plan() -> NotFoundError:
    return NotFoundError(
        "there is no such plan",
        remedy=f"Give an id, or at least its first {SHORTEST} characters; see {Place.PLANS}.",
    )
