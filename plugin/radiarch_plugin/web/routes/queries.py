"""What lists have in common: filters as query parameters, several values separated by commas, times in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from radiarch_contract.states import ArrivalState, Origin, PlanState

from radiarch_plugin.store import PlanSort


def _split(value: Any) -> Any:
    """``a,b`` and repeated parameters are the same; of repeated ones Orthanc hands over only the last."""
    parts: Iterable[Any] = [value] if isinstance(value, str) else value
    return [p for part in parts for p in (part.split(",") if isinstance(part, str) else [part]) if p != ""]


def _utc(value: datetime) -> datetime:
    """Without a time zone, UTC is meant."""
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the calendar") from None


PlanStates = Annotated[tuple[PlanState, ...], BeforeValidator(_split)]
ArrivalStates = Annotated[tuple[ArrivalState, ...], BeforeValidator(_split)]
Time = Annotated[datetime, AfterValidator(_utc)]
Text = Annotated[str, Field(max_length=256)]


class PageQuery(BaseModel):
    """Where a page starts and how long it is; a parameter that is not known is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cursor: str | None = Field(default=None, max_length=1000, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=500)


class PlanQuery(PageQuery):
    """Filters of a list of plans; all that are given must hold."""

    state: PlanStates = Field(default=(), description="One or more, separated by commas.")
    patient_id: Text | None = None
    study_uid: Text | None = None
    rtstruct_uid: Text | None = None
    workflow: Text | None = None
    protocol: Text | None = None
    origin: Origin | None = None
    parent_id: Text | None = None
    q: str | None = Field(default=None, max_length=100, description="Part of an id, UID, patient id or label.")
    created_after: Time | None = Field(default=None, description="At or after; UTC where no zone is given.")
    created_before: Time | None = Field(default=None, description="Before; UTC where no zone is given.")
    sort: PlanSort = Field(default="-created_at", description="A leading minus is last first.")


class ArrivalQuery(PageQuery):
    """Filters of the list of arrivals."""

    state: ArrivalStates = Field(default=(), description="One or more, separated by commas.")
    patient_id: Text | None = None
    study_uid: Text | None = None
    rtstruct_uid: Text | None = None
    q: str | None = Field(default=None, max_length=100)
