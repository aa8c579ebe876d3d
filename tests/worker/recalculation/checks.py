"""Running a check job whose input is given and whose results are kept, without Orthanc or queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from radiarch_contract.job import JobInput, JobResult, JobSpec, Output
from radiarch_contract.states import OutputKind
from radiarch_contract.workflows import parse_parameters
from radiarch_worker.jobs import attempt as job
from radiarch_worker.orthanc import fetch, store

from phantoms import PhantomStudy
from tests.worker.runtime.conftest import make_spec
from tests.worker.runtime.test_job import Worker


@dataclass
class Ran:
    """A job's end, and what it would have stored."""

    spec: JobSpec
    result: JobResult
    stored: dict[OutputKind, Dataset]


def run_check(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    study: PhantomStudy,
    workflow_id: str,
    inputs: Mapping[str, Dataset],
    **changes: Any,
) -> Ran:
    """Run the workflow on objects as they would be fetched."""
    stored: dict[OutputKind, Dataset] = {}

    def put(orthanc: object, kind: OutputKind, dataset: Dataset) -> Output:
        stored[kind] = dataset
        return Output(
            kind=kind,
            sop_class_uid="1",
            sop_instance_uid="2",
            series_instance_uid="3",
            orthanc_id=f"orthanc-{kind}",
            sha256="a" * 64,
        )

    fetched = fetch.Fetched(study.rtstruct, tuple(study.images), dict(inputs))
    monkeypatch.setattr(fetch, "fetch_inputs", lambda *a: fetched)
    monkeypatch.setattr(store, "store_result", put)
    rtstruct = study.rtstruct
    values: dict[str, Any] = {
        "rtstruct_sop_instance_uid": str(rtstruct.SOPInstanceUID),
        "patient_id": str(rtstruct.PatientID),
        "study_instance_uid": str(rtstruct.StudyInstanceUID),
        "workflow_id": workflow_id,
        "prescription": None,
        "inputs": tuple(JobInput(kind=k, sop_instance_uid=str(d.SOPInstanceUID)) for k, d in inputs.items()),  # type: ignore[arg-type]
        **changes,
    }
    values["parameters"] = parse_parameters(workflow_id, values.get("parameters", {})).model_dump(mode="json")
    spec = make_spec(**values)
    worker = Worker(folder)
    try:
        job.run_attempt(spec.model_dump(mode="json"))
    finally:
        result = worker.result()
    return Ran(spec, result, stored)
