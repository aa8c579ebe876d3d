"""Between rows and views: JSON texts, and strings that both databases can hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from radiarch_contract.errors import ErrorInfo
from radiarch_contract.job import JobInput, JobResult
from radiarch_contract.states import ArrivalState, Origin, OutputKind, PlanState, Priority, Stage
from radiarch_contract.strict import STORED
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription

from .tables import ArrivalRow, EventRow, OutputRow, PlanDocumentRow, PlanRow
from .views import MAX_MISSING, Approval, ArrivalView, EventKind, EventView, OutputView, PlanView, SupersededResults

CURVES = ("dvh", "solver_trace")
_RESULT = (
    "beams",
    "metrics",
    "goals",
    "uncertainty_percent",
    "dose",
    "dose_quantity",
    "comparison",
    "verdict",
    "machine_scale",
    "robustness",
    "notes",
    "provenance",
    "timings_s",
)


def dumps(value: Any) -> str:
    """JSON in ASCII: no character of it can be refused by a database."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=_default, allow_nan=False)


def _default(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


def clean(text: str, limit: int = 256) -> str:
    """Text from DICOM or a client without what PostgreSQL cannot hold (NUL, lone surrogates), bounded."""
    return text[:limit].replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def clean_name(name: str | None) -> str | None:
    """The same for a patient's name: up to three groups of 64 characters."""
    return None if name is None else clean(name)


def result_texts(result: JobResult) -> tuple[str, str]:
    """A result in two parts: without curves, and the curves alone."""
    whole = result.model_dump(mode="json")
    reference = [] if whole["comparison"] is None else whole["comparison"].pop("dvh")
    bands = [] if whole["robustness"] is None else whole["robustness"].pop("bands")
    curves = {**{k: whole[k] for k in CURVES}, "reference_dvh": reference, "bands": bands}
    return dumps({k: whole[k] for k in _RESULT}), dumps(curves)


def prescription_of(document: PlanDocumentRow) -> Prescription | None:
    found = json.loads(document.prescription)
    return None if found is None else Prescription.model_validate(found, context=STORED)


def inputs_of(document: PlanDocumentRow) -> tuple[JobInput, ...]:
    return tuple(JobInput.model_validate(i) for i in json.loads(document.inputs or "[]"))


def error_view(text: str | None) -> ErrorInfo | None:
    return None if text is None else ErrorInfo.model_validate(json.loads(text))


def output_view(row: OutputRow) -> OutputView:
    return OutputView(
        kind=OutputKind(row.kind),
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_class_uid=row.sop_class_uid,
        orthanc_id=row.orthanc_id,
    )


def missing_text(uids: Sequence[str]) -> str:
    """What is kept of a list of missing instances."""
    return dumps(list(uids[:MAX_MISSING]))


def plan_view(
    row: PlanRow,
    document: PlanDocumentRow,
    outputs: list[OutputRow],
    missing: str | None = None,
    queue_position: int | None = None,
) -> PlanView:
    result = json.loads(document.result) if document.result else {}
    return PlanView(
        id=row.id,
        state=PlanState(row.state),
        stage=Stage(row.stage) if row.stage else None,
        progress=row.progress,
        eta_s=row.eta_s,
        message=row.message,
        origin=Origin(row.origin),
        requested_by=row.requested_by,
        workflow_id=row.workflow_id,
        protocol_id=row.protocol_id,
        protocol_sha256=row.protocol_sha256,
        priority=Priority(row.priority),
        queue_position=queue_position,
        patient_name=row.patient_name,
        patient_id=row.patient_id,
        study_instance_uid=row.study_instance_uid,
        rtstruct_sop_instance_uid=row.rtstruct_sop_instance_uid,
        rtstruct_sha256=row.rtstruct_sha256,
        frame_of_reference_uid=row.frame_of_reference_uid,
        plan_label=row.plan_label,
        prescription=prescription_of(document),
        parameters=json.loads(document.parameters),
        structures=tuple(StructureRef.model_validate(s) for s in json.loads(document.structures)),
        missing_structures=tuple(json.loads(document.missing_structures)),
        goal_texts=tuple(json.loads(document.goals)),
        inputs=inputs_of(document),
        approvals=tuple(Approval.model_validate(a) for a in json.loads(document.approvals or "[]")),
        request=json.loads(document.request),
        parent_id=row.parent_id,
        supersedes=row.supersedes,
        superseded_by=row.superseded_by,
        superseded_at=row.superseded_at,
        superseded_results=None if row.superseded_results is None else SupersededResults(row.superseded_results),
        attempt=row.attempt,
        failures=row.failures,
        time_limit_s=row.time_limit_s,
        missing_count=row.missing_count,
        missing_uids=tuple(json.loads(missing or "[]")),
        worker=row.worker,
        solver=json.loads(document.solver) if document.solver else None,
        error=error_view(document.error),
        # those that a plan may have, until it is known which it has
        outputs=tuple(
            output_view(o)
            for o in sorted(outputs, key=lambda o: o.kind)
            if o.orthanc_id is not None or row.state != PlanState.SUCCEEDED.value
        ),
        created_at=row.created_at,
        updated_at=row.updated_at,
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        stopped_at=row.stopped_at,
        **result,
    )


def arrival_view(row: ArrivalRow) -> ArrivalView:
    return ArrivalView(
        sop_instance_uid=row.sop_instance_uid,
        kind=row.kind,
        waits_for=row.waits_for,
        awaits_dose=row.awaits_dose,
        orthanc_id=row.orthanc_id,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        patient_id=row.patient_id,
        patient_name=row.patient_name,
        sha256=row.sha256,
        calling_ae=row.calling_ae,
        structures=tuple(json.loads(row.structures)),
        state=ArrivalState(row.state),
        error=error_view(row.error),
        protocol_id=row.protocol_id,
        plan_id=row.plan_id,
        referenced_count=row.referenced_count,
        missing_count=row.missing_count,
        missing_uids=tuple(json.loads(row.missing_uids or "[]")),
        contents=row.contents,
        first_seen_at=row.first_seen_at,
        updated_at=row.updated_at,
    )


def event_view(row: EventRow) -> EventView:
    return EventView(cursor=row.cursor, at=row.at, kind=EventKind(row.kind), data=json.loads(row.data))
