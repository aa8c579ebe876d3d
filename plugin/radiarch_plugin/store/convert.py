"""Between rows and views: JSON texts, and strings that both databases can hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from radiarch_contract.errors import ErrorInfo
from radiarch_contract.job import JobInput, JobResult, RunResult
from radiarch_contract.states import OutputKind, PlanState
from radiarch_contract.strict import STORED
from radiarch_contract.workflows import Prescription

from .tables import ArrivalRow, EventRow, OutputRow, PlanDocumentRow, PlanRow
from .views import MAX_MISSING, ArrivalView, Brief, EventKind, EventView, OutputView, PlanBrief, PlanView

CURVES = ("dvh", "solver_trace")
_RESULT = (*RunResult.model_fields, "beams")
_COLUMNS = [c.key for c in PlanRow.__table__.columns if c.key in PlanView.model_fields]
_BRIEF_COLUMNS = [name for name in _COLUMNS if name in PlanBrief.model_fields]
_ARRIVAL_COLUMNS = [c.key for c in ArrivalRow.__table__.columns if c.key in ArrivalView.model_fields]


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


def brief_text(result: RunResult) -> str:
    """What lists show of a result."""
    return dumps(Brief.of(result))


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


def plan_brief(row: PlanRow, document: PlanDocumentRow, queue_position: int | None = None) -> PlanBrief:
    return PlanBrief(
        **{name: getattr(row, name) for name in _BRIEF_COLUMNS},
        **(json.loads(document.brief) if document.brief else {}),
        queue_position=queue_position,
        prescription=prescription_of(document),
        solver=json.loads(document.solver) if document.solver else None,
        error=error_view(document.error),
    )


def plan_view(
    row: PlanRow,
    document: PlanDocumentRow,
    outputs: list[OutputRow],
    missing: str | None = None,
    queue_position: int | None = None,
) -> PlanView:
    return PlanView(
        **{name: getattr(row, name) for name in _COLUMNS},
        **(json.loads(document.result) if document.result else {}),
        **(json.loads(document.brief) if document.brief else {}),
        queue_position=queue_position,
        prescription=prescription_of(document),
        parameters=json.loads(document.parameters),
        structures=json.loads(document.structures),
        missing_structures=json.loads(document.missing_structures),
        goal_texts=json.loads(document.goals),
        inputs=inputs_of(document),
        approvals=json.loads(document.approvals or "[]"),
        request=json.loads(document.request),
        missing_uids=json.loads(missing or "[]"),
        solver=json.loads(document.solver) if document.solver else None,
        error=error_view(document.error),
        # those that a plan may have, until it is known which it has
        outputs=tuple(
            output_view(o)
            for o in sorted(outputs, key=lambda o: o.kind)
            if o.orthanc_id is not None or row.state != PlanState.SUCCEEDED.value
        ),
    )


def arrival_view(row: ArrivalRow) -> ArrivalView:
    texts = {
        "structures": json.loads(row.structures),
        "error": error_view(row.error),
        "missing_uids": json.loads(row.missing_uids or "[]"),
    }
    return ArrivalView(**{name: getattr(row, name) for name in _ARRIVAL_COLUMNS} | texts)


def event_view(row: EventRow) -> EventView:
    return EventView(cursor=row.cursor, at=row.at, kind=EventKind(row.kind), data=json.loads(row.data))
