"""UIDs of results, derived so that a repeated attempt has the same identity."""

from __future__ import annotations

import uuid

_NAMESPACE = uuid.UUID("5f1a3c1e-6a0b-5d0c-9f3d-7a52414449ff")


def derive_uid(plan_id: str, kind: str) -> str:
    """UID of one result of a plan.

    Parameters
    ----------
    plan_id
        The plan's id.
    kind
        What is identified, such as ``"rtdose"`` or ``"rtdose/series"``.

    Returns
    -------
    str
        A UUID-derived UID under root 2.25 (DICOM PS3.5 B.2), at most 64 characters.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{plan_id}/{kind}').int}"


def sop_instance_uid(plan_id: str, kind: str) -> str:
    return derive_uid(plan_id, kind)


def series_instance_uid(plan_id: str, kind: str) -> str:
    return derive_uid(plan_id, f"{kind}/series")
