"""UIDs of results, derived so that a repeated attempt has the same identity."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from .states import OutputKind

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


SOP_CLASS_UIDS: Mapping[OutputKind, str] = {
    OutputKind.RTDOSE: "1.2.840.10008.5.1.4.1.1.481.2",
    OutputKind.DOSE_DIFFERENCE: "1.2.840.10008.5.1.4.1.1.481.2",
    OutputKind.REPORT: "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF Storage
    OutputKind.LET: "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map Storage
}
"""SOP Class of each kind of result that is the same for all modalities (PS3.6 table A-1)."""
PLAN_SOP_CLASS_UIDS: Mapping[str, str] = {
    "proton": "1.2.840.10008.5.1.4.1.1.481.8",  # RT Ion Plan Storage
    "photon": "1.2.840.10008.5.1.4.1.1.481.5",  # RT Plan Storage
}
"""SOP Class of a treatment plan by the modality that workflows have."""


def sop_class_uid(kind: OutputKind, modality: str) -> str:
    """SOP Class of a result of a workflow's modality.

    Examples
    --------
    >>> sop_class_uid(OutputKind.RTPLAN, "proton")
    '1.2.840.10008.5.1.4.1.1.481.8'
    """
    return PLAN_SOP_CLASS_UIDS[modality] if kind is OutputKind.RTPLAN else SOP_CLASS_UIDS[kind]


def sop_instance_uid(plan_id: str, kind: str) -> str:
    return derive_uid(plan_id, kind)


def series_instance_uid(plan_id: str, kind: str) -> str:
    return derive_uid(plan_id, f"{kind}/series")
