"""States and stages of plans and arrivals; how they change is the plugin's business."""

from __future__ import annotations

from enum import StrEnum


class PlanState(StrEnum):
    """Life of a plan: waiting → queued → running → succeeded | failed | cancelled."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (PlanState.SUCCEEDED, PlanState.FAILED, PlanState.CANCELLED)


class Stage(StrEnum):
    """What a running job is doing, in this order."""

    LOADING_DATA = "loading_data"
    BUILDING_PLAN = "building_plan"
    COMPUTING_BEAMLETS = "computing_beamlets"
    OPTIMIZING = "optimizing"
    FINAL_DOSE = "final_dose"
    EXPORTING = "exporting"


class ArrivalState(StrEnum):
    """What became of an RTSTRUCT that arrived."""

    WAITING = "waiting"  # some referenced images are not stored yet
    PLANNED = "planned"  # a plan was made for it; see plan_id
    NOT_PLANNED = "not_planned"  # see error: no protocol, no target, not CT, unreadable …
    DELETED = "deleted"  # the RTSTRUCT was deleted before it could be planned


class Origin(StrEnum):
    """Who asked for a plan."""

    ARRIVAL = "arrival"
    REQUEST = "request"


class Priority(StrEnum):
    """Which of the queued runs are taken first: interactive ones, but no batch run is overtaken without end."""

    INTERACTIVE = "interactive"  # somebody asked for it and waits
    BATCH = "batch"  # it arrived by itself, or was asked for as one of many


class OutputKind(StrEnum):
    """Kinds of results; part of the derived UID, so never rename one."""

    RTDOSE = "rtdose"
    RTPLAN = "rtplan"
    REPORT = "report"  # Encapsulated PDF
    DOSE_DIFFERENCE = "dose_difference"  # RTDOSE of type ERROR: computed minus reference
    LET = "let"  # dose-averaged LET, a Parametric Map: no viewer takes it for dose


class GoalStatus(StrEnum):
    MET = "met"
    NEAR = "near"
    MISSED = "missed"
