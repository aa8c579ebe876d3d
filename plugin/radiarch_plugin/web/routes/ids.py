"""Identifiers in paths: whatever cannot be one is answered like one that does not exist."""

from __future__ import annotations

import re

from radiarch_contract.errors import NotFoundError

_PLAN_ID = re.compile(r"[0-9a-f]{32}")
_UID = re.compile(r"[0-9.]{1,64}")


def known_id(plan_id: str) -> str:
    """A plan's (or job's) id."""
    if not _PLAN_ID.fullmatch(plan_id):
        raise NotFoundError("there is no such plan", remedy="Ask GET /plans for the list.")
    return plan_id


def known_uid(uid: str) -> str:
    """A DICOM UID."""
    if not _UID.fullmatch(uid):
        raise NotFoundError("there is no such UID", remedy="A UID is made of digits and dots, at most 64.")
    return uid
