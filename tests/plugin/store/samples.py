"""Plans, arrivals and results as tests need them; not from DICOM."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from radiarch_contract.errors import ErrorCode, ErrorInfo
from radiarch_contract.job import AttemptStatus, DvhCurve, JobResult, Output
from radiarch_contract.states import Origin, Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.uids import series_instance_uid, sop_class_uid, sop_instance_uid
from radiarch_contract.workflows import Prescription, get_workflow
from radiarch_plugin.store import NewArrival, NewPlan, ProgressUpdate

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112
"""Where a database's commits wait for no disk; None for the usual place of temporary files."""
WORKFLOW = "proton-impt-basic"
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def new_uid() -> str:
    return f"2.25.{int.from_bytes(os.urandom(12), 'big')}"


def new_plan(**changes: Any) -> NewPlan:
    """A plan that can be queued at once, unless ``complete=False`` is given."""
    values: dict[str, Any] = {
        "origin": Origin.REQUEST,
        "workflow_id": WORKFLOW,
        "patient_id": "P1",
        "study_instance_uid": "1.2.3",
        "rtstruct_sop_instance_uid": new_uid(),
        "rtstruct_sha256": "a" * 64,
        "prescription": Prescription(target="PTV", dose_gy=60, fractions=30),
        "parameters": {"seed": 7},
        "structures": (StructureRef(name="PTV", roi_number=2, roi_name="PTV high"),),
        "goals": ("PTV: D95% >= 95%",),
        "image_uids": ("1.1", "1.2", "1.3"),
        "complete": True,
        "request": {"n": 1},
    }
    return NewPlan(**{**values, **changes})


def new_arrival(uid: str, sha256: str | None, *, plan: bool = True, error: ErrorInfo | None = None) -> NewArrival:
    planned = new_plan(
        origin=Origin.ARRIVAL, protocol_id="p", rtstruct_sop_instance_uid=uid, rtstruct_sha256=sha256, complete=False
    )
    return NewArrival(
        sop_instance_uid=uid,
        orthanc_id="0-0",
        patient_id="P1",
        study_instance_uid="1.2.3",
        sha256=sha256,
        structures=("PTV",),
        referenced_count=3,
        plan=planned if plan and error is None else None,
        error=error if error or plan else failure(ErrorCode.NO_PROTOCOL),
    )


def failure(code: ErrorCode = ErrorCode.ENGINE_FAILED) -> ErrorInfo:
    return ErrorInfo(code=code, message=f"it is {code}", remedy="mend it")


def outputs(plan_id: str) -> tuple[Output, ...]:
    return tuple(
        Output(
            kind=kind,
            sop_class_uid=sop_class_uid(kind, "proton"),
            sop_instance_uid=sop_instance_uid(plan_id, kind.value),
            series_instance_uid=series_instance_uid(plan_id, kind.value),
            orthanc_id=f"{kind}-id",
            sha256="a" * 64,
        )
        for kind in get_workflow(WORKFLOW).outputs
    )


def success(plan_id: str, attempt: int) -> JobResult:
    curve = DvhCurve(structure="PTV", roi_number=2, volume_cc=1.0, dose_gy=(0.0, 1.0), volume_percent=(100.0, 0.0))
    return JobResult(
        plan_id=plan_id,
        attempt=attempt,
        outputs=outputs(plan_id),
        dvh=(curve,),
        notes=("a note",),
        uncertainty_percent=1.5,
        timings_s={"total": 2.0},
        worker="w",
    )


def failed(plan_id: str, attempt: int, *, retryable: bool, code: ErrorCode = ErrorCode.ENGINE_FAILED) -> JobResult:
    return JobResult(plan_id=plan_id, attempt=attempt, error=failure(code), retryable=retryable, worker="w")


def status(plan_id: str, attempt: int, progress: float, stage: Stage, beat: int = 0) -> AttemptStatus:
    return AttemptStatus(
        plan_id=plan_id,
        attempt=attempt,
        stage=stage,
        progress=progress,
        eta_s=10.0,
        worker="w",
        started_at=T0,
        heartbeat_at=T0.replace(second=beat % 60, minute=beat // 60),
    )


def running(plan_id: str, attempt: int = 1) -> ProgressUpdate:
    """A worker has begun."""
    return ProgressUpdate(
        plan_id=plan_id, attempt=attempt, stage=Stage.OPTIMIZING, progress=0.5, eta_s=1.0, message="", worker="w"
    )
