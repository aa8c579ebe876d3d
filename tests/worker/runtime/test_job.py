"""How an attempt ends when something in it goes wrong: faults stand where planning or storing would be."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import EngineError, ErrorCode, InputRefusedError, RadiarchError, ServiceError
from radiarch_contract.job import JobResult, Output
from radiarch_contract.pictures import Plane
from radiarch_contract.states import OutputKind
from radiarch_worker import dicom, evaluation, patient, planning, report
from radiarch_worker.ion import IonBeam, IonMachine, Layer, Let
from radiarch_worker.jobs import attempt as job
from radiarch_worker.model import Dose, Grid, PlanResult
from radiarch_worker.orthanc import client, fetch, store
from radiarch_worker.runtime import context
from radiarch_worker.runtime.link import JobLink, WorkerLink
from radiarch_worker.settings import Settings

from .conftest import make_spec


class Worker:
    """The other side of a job's link."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.messages: list[dict[str, Any]] = []
        self._link, self._ended = WorkerLink(ours), threading.Event()
        self._sockets = (ours, theirs)
        settings = Settings(patience_s=5.0)
        context.enter(context.JobContext(settings, JobLink(theirs), folder, "test"))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ended.wait(0.005):
            self._take()
        self._take()

    def _take(self) -> None:
        self.messages += self._link.messages()

    def result(self) -> JobResult:
        self._ended.set()
        self._thread.join()
        for each in self._sockets:
            each.close()
        (found,) = [m["result"] for m in self.messages if m["kind"] == "result"]
        return JobResult.model_validate(found)

    @property
    def log(self) -> str:
        return "\n".join(m["line"] for m in self.messages if m["kind"] == "log")


Run = Callable[..., tuple[JobResult, Worker]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run an attempt of which every part works but those that the test has replaced."""
    grid = Grid((0, 0, 0), (1, 1, 1), (1, 1, 1))
    layer = Layer(100.0, np.zeros(1), np.zeros(1), np.ones(1))
    plan = PlanResult(
        beams=(IonBeam(1, "G0", 0.0, 0.0, (0, 0, 0), (layer,)),),
        dose=Dose(np.zeros((1, 1, 1), np.float32), grid, 1.1),
        uncertainty_percent=1.0,
        machine=IonMachine("m", (1.0, 1.0), 0.0),
        provenance={"engine": "none"},
    )
    monkeypatch.setattr(fetch, "fetch_inputs", lambda *a: fetch.Fetched(Dataset(), ()))
    monkeypatch.setattr(patient, "load_patient", lambda *a, **k: SimpleNamespace(notes=(), series=None))
    monkeypatch.setattr(planning, "needed_rois", lambda *a: ())
    monkeypatch.setattr(planning, "prepare", lambda subject, structures, parameters: (subject, structures))
    monkeypatch.setattr(planning, "plan", lambda *a: plan)
    monkeypatch.setattr(evaluation, "evaluate", lambda *a: evaluation.Evaluation(dvh=(), metrics=(), goals=()))
    monkeypatch.setattr(dicom, "write_rtplan", lambda *a: Dataset())
    monkeypatch.setattr(dicom, "write_rtdose", lambda *a, **k: Dataset())
    monkeypatch.setattr(report, "draw", lambda *a: report.Report(b"%PDF-", {}, ()))
    monkeypatch.setattr(dicom, "write_report", lambda *a, **k: Dataset())
    monkeypatch.setattr(store, "store_result", stored)

    def run_once() -> tuple[JobResult, Worker]:
        worker = Worker(tmp_path)
        try:
            job.run_attempt(make_spec().model_dump(mode="json"))
        finally:
            result = worker.result()
        return result, worker

    return run_once


def stored(orthanc: object, kind: OutputKind, dataset: Dataset) -> Output:
    return Output(
        kind=kind,
        sop_class_uid="1",
        sop_instance_uid="2",
        series_instance_uid="3",
        orthanc_id=f"orthanc-{kind}",
        sha256="a" * 64,
    )


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


def test_a_plan_that_works_names_its_outputs_plan_first(run: Run) -> None:
    result, worker = run()
    assert result.error is None
    assert [o.kind for o in result.outputs] == ["rtplan", "rtdose", "report"]
    assert result.beams[0].meterset_mu == 1.0
    assert {"fetch", "load", "plan", "evaluate", "write", "store", "total"} <= set(result.timings_s)
    assert "peak memory" in worker.log


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (InputRefusedError("x", remedy="y", code=ErrorCode.NO_TARGET), ErrorCode.NO_TARGET, False),
        (EngineError("x", remedy="y"), ErrorCode.ENGINE_FAILED, True),
        (EngineError("x", remedy="y", code=ErrorCode.ENGINE_OUTPUT_INVALID), ErrorCode.ENGINE_OUTPUT_INVALID, False),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY, True),
        (type("ArrayMemoryError", (MemoryError,), {})("of numpy"), ErrorCode.OUT_OF_MEMORY, True),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorCode.DISK_FULL, True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ErrorCode.DISK_FULL, True),
        (OSError(errno.EACCES, "Permission denied"), ErrorCode.INTERNAL, True),
        (ZeroDivisionError("secret of the traceback"), ErrorCode.INTERNAL, True),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseException) else None,
)
@pytest.mark.parametrize(
    "part", [(patient, "load_patient"), (planning, "plan"), (dicom, "write_rtdose"), (store, "store_result")]
)
def test_every_fault_has_its_code(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    part: tuple[Any, str],
    error: BaseException,
    code: ErrorCode,
    retryable: bool,
) -> None:
    monkeypatch.setattr(*part, raising(error))
    result, worker = run()
    assert result.error is not None
    assert (result.error.code, result.retryable) == (code, retryable)
    assert result.error.remedy
    assert result.outputs == ()
    assert ("Traceback" in worker.log) == (not isinstance(error, RadiarchError))
    assert "Traceback" not in result.error.message
    assert "secret" not in result.error.message


def test_an_engine_that_failed_on_a_full_disk_is_a_full_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "plan", raising(EngineError("x", remedy="y")))
    monkeypatch.setattr(job, "_FULL_BYTES", 1 << 62)
    result, _ = run()
    assert result.error is not None
    assert result.error.code is ErrorCode.DISK_FULL


def test_numbers_that_are_none_are_not_handed_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = {
        "structure": "PTV",
        "roi_number": 1,
        "volume_cc": 1.0,
        **dict.fromkeys(("d_mean_gy", "d_min_gy", "d_max_gy", "d98_gy", "d95_gy", "d50_gy"), 1.0),
        "d2_gy": float("nan"),
    }
    judged = SimpleNamespace(dvh=(), metrics=(metric,), goals=(), notes=())
    monkeypatch.setattr(evaluation, "evaluate", lambda *a: judged)
    result, _ = run()
    assert result.error is not None
    assert result.error.code is ErrorCode.INTERNAL
    assert "d2_gy" in result.error.message


def test_an_attempt_that_no_longer_counts_ends_with_that(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = RadiarchError("replaced", remedy="y", code=ErrorCode.CANCELLED)

    def put(orthanc: object, kind: OutputKind, dataset: Dataset) -> Output:
        if kind is OutputKind.RTPLAN:
            return stored(orthanc, kind, dataset)
        raise refused

    monkeypatch.setattr(store, "store_result", put)
    result, _ = run()
    assert result.error is not None
    assert (result.error.code, result.retryable, result.outputs) == (ErrorCode.CANCELLED, False, ())


def test_another_kind_of_worker_cannot_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_current", None)
    with pytest.raises(RuntimeError, match="python -m radiarch_worker"):
        job.run_attempt(make_spec().model_dump(mode="json"))


def test_a_report_that_cannot_be_drawn_costs_a_note_and_not_the_plan(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw", raising(KeyError("glyph")))
    result, worker = run()
    assert result.error is None
    assert [o.kind for o in result.outputs] == ["rtplan", "rtdose"]
    assert any("no report" in note and "KeyError" in note for note in result.notes)
    assert "Traceback" in worker.log


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Reports are drawn; where their pictures were put."""
    put: list[tuple[str, int]] = []
    pictures = dict.fromkeys(Plane, b"png")
    monkeypatch.setattr(report, "draw", lambda *a: report.Report(b"%PDF-", pictures, ("drawn as code points",)))
    monkeypatch.setattr(client.Orthanc, "put_attachment", lambda self, to, number, data: put.append((to, number)))
    return put


def test_report_and_pictures_are_stored_with_the_plan(run: Run, drawn: list[tuple[str, int]]) -> None:
    result, _ = run()
    assert [o.kind for o in result.outputs] == ["rtplan", "rtdose", "report"]
    assert drawn == [("orthanc-rtdose", 1101), ("orthanc-rtdose", 1102), ("orthanc-rtdose", 1103)]
    assert "drawn as code points" in result.notes


def test_a_report_that_is_refused_costs_a_note_and_not_the_plan(
    run: Run, drawn: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(orthanc: object, kind: OutputKind, dataset: Dataset) -> Output:
        if kind is OutputKind.REPORT:
            raise RadiarchError("a filter refused it", remedy="y", code=ErrorCode.STORE_FAILED)
        return stored(orthanc, kind, dataset)

    monkeypatch.setattr(store, "store_result", put)
    result, _ = run()
    assert result.error is None
    assert [o.kind for o in result.outputs] == ["rtplan", "rtdose"]
    assert any("a filter refused it" in note for note in result.notes)


def plan_with_let(monkeypatch: pytest.MonkeyPatch) -> None:
    let = Let(np.ones((1, 1, 1), np.float32), Grid((0, 0, 0), (1, 1, 1), (1, 1, 1)), 0.01, 1.0)
    made = replace(planning.plan(), extras={OutputKind.LET: let})  # type: ignore[call-arg]
    monkeypatch.setattr(planning, "plan", lambda *a: made)


@pytest.mark.parametrize("error", [EngineError("tiny values", remedy="y"), KeyError("x"), MemoryError()])
def test_a_let_map_that_cannot_be_written_costs_a_note_and_not_the_plan(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    plan_with_let(monkeypatch)
    monkeypatch.setattr(dicom, "write_extra", raising(error))
    result, worker = run()
    assert result.error is None
    assert [o.kind for o in result.outputs] == ["rtplan", "rtdose", "report"]
    assert any("no LET map" in note for note in result.notes)
    assert "Traceback" in worker.log


@pytest.mark.parametrize(
    "error",
    [
        RadiarchError("a filter refused it", remedy="y", code=ErrorCode.STORE_FAILED),
        ServiceError("Orthanc did not serve it", remedy="y", code=ErrorCode.ORTHANC_UNAVAILABLE),
        ValueError("cannot be encoded"),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("kind", [OutputKind.REPORT, OutputKind.LET])
def test_an_extra_that_cannot_be_stored_costs_a_note_and_not_the_plan(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: OutputKind, error: Exception
) -> None:
    def put(orthanc: object, of: OutputKind, dataset: Dataset) -> Output:
        if of is kind:
            raise error
        return stored(orthanc, of, dataset)

    plan_with_let(monkeypatch)
    monkeypatch.setattr(dicom, "write_extra", lambda *a: Dataset())
    monkeypatch.setattr(store, "store_result", put)
    result, _ = run()
    assert result.error is None
    assert {o.kind for o in result.outputs} == {
        OutputKind.RTPLAN,
        OutputKind.RTDOSE,
        OutputKind.REPORT,
        OutputKind.LET,
    } - {kind}
    reason = str(error) if isinstance(error, RadiarchError) else type(error).__name__
    assert any(f"no {kind}" in note and reason in note for note in result.notes)


def test_pictures_that_cannot_be_kept_cost_a_note_and_not_the_plan(
    run: Run, drawn: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.Orthanc, "put_attachment", raising(OSError(errno.EPIPE, "broken pipe")))
    result, _ = run()
    assert [o.kind for o in result.outputs] == ["rtplan", "rtdose", "report"]
    assert any("no dose picture" in note for note in result.notes)


def test_dvhs_that_cannot_be_written_cost_a_note_and_not_the_dose(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "add_dvh", raising(ValueError("a curve of one bin")))
    result, worker = run()
    assert [o.kind for o in result.outputs] == ["rtplan", "rtdose", "report"]
    assert any("no DVH Sequence" in note for note in result.notes)
    assert "a curve of one bin" in worker.log


@pytest.mark.parametrize("part", [(client.Orthanc, "put_attachment"), (dicom, "write_report")])
def test_an_attempt_that_no_longer_counts_ends_with_that_in_an_extra_too(
    run: Run, drawn: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, part: tuple[Any, str]
) -> None:
    monkeypatch.setattr(*part, raising(RadiarchError("replaced", remedy="y", code=ErrorCode.CANCELLED)))
    result, _ = run()
    assert result.error is not None
    assert (result.error.code, result.outputs) == (ErrorCode.CANCELLED, ())
