"""What lists have in common: filters as query parameters, several values separated by commas, times in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from radiarch_contract.states import ArrivalState, Origin, PlanState

from radiarch_plugin.store import PlanSort


def _split(value: Any) -> Any:
    """``a,b`` and repeated parameters are the same; of repeated ones Orthanc hands over only the last."""
    parts: Iterable[Any] = [value] if isinstance(value, str) else value
    return [p for part in parts for p in (part.split(",") if isinstance(part, str) else [part]) if p != ""]


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,6})?)?)(Z|[+ -]\d{2}:?\d{2})?", re.IGNORECASE)
_EXPECTED = (
    "expected a date such as 2026-11-30, or a date and time such as 2026-11-30T14:30 or 2026-11-30T14:30:00+01:00 "
    "(UTC where no zone is given)"
)


def _moment(text: Any, *, end: bool) -> Any:
    """The moment that a date or a date and time means; as an end, the first one that is no longer meant."""
    if not isinstance(text, str):
        return text
    try:
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=end)
        if found := _MOMENT.fullmatch(text):
            zone = (found[4] or "Z").replace(" ", "+")  # a plus sign in a query that is not percent-encoded
            return datetime.fromisoformat(found[1] + zone).astimezone(UTC) + timedelta(microseconds=end)
    except (ValueError, OverflowError):  # no such day or time, or beyond the calendar
        pass
    raise ValueError(_EXPECTED)


PlanStates = Annotated[tuple[PlanState, ...], BeforeValidator(_split)]
ArrivalStates = Annotated[tuple[ArrivalState, ...], BeforeValidator(_split)]
From = Annotated[datetime, BeforeValidator(partial(_moment, end=False))]
To = Annotated[datetime, BeforeValidator(partial(_moment, end=True))]
SEARCHED = "Words or parts of them, all of which are in an id, UID, the patient's id or name, or a label."
Text = Annotated[str, Field(max_length=256)]


class PageQuery(BaseModel):
    """Where a page starts and how long it is; a parameter that is not known is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cursor: str | None = Field(default=None, max_length=1000, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=500)


class DatedQuery(PageQuery):
    """Between two moments."""

    created_from: From | None = Field(
        default=None, description="Made on that day or later, or from that moment on; UTC where no zone is given."
    )
    created_to: To | None = Field(
        default=None, description="Made on that day or earlier, or up to that moment; UTC where no zone is given."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.created_from is not None and self.created_to is not None and self.created_from >= self.created_to:
            raise ValueError("created_from is after created_to")
        return self


_DEPRECATED: dict[str, JsonValue] = {"deprecated": True}


class PlanQuery(DatedQuery):
    """Filters of a list of plans; all that are given must hold."""

    state: PlanStates = Field(default=(), description="One or more, separated by commas.")
    patient_id: Text | None = None
    study_uid: Text | None = None
    rtstruct_uid: Text | None = None
    workflow: Text | None = None
    protocol: Text | None = None
    origin: Origin | None = None
    parent_id: Text | None = None
    q: str | None = Field(default=None, max_length=100, description=SEARCHED)
    created_after: From | None = Field(
        default=None,
        json_schema_extra=_DEPRECATED,
        description="Former name of `created_from`, taken until the next version.",
    )
    created_before: From | None = Field(
        default=None,
        json_schema_extra=_DEPRECATED,
        description="Made before; `created_to` is to be used from the next version on.",
    )
    sort: PlanSort = Field(default="-created_at", description="A leading minus is last first.")


class CopyQuery(BaseModel):
    """Which of several objects under one SOP Instance UID."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient_id: Text | None = None
    study_uid: Text | None = None


class ArrivalQuery(DatedQuery):
    """Filters of the list of arrivals; dates are those of the first sight."""

    state: ArrivalStates = Field(default=(), description="One or more, separated by commas.")
    patient_id: Text | None = None
    study_uid: Text | None = None
    rtstruct_uid: Text | None = None
    q: str | None = Field(default=None, max_length=100, description=SEARCHED)
