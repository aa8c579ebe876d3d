"""Whatever there is to tell, what is told fits what the plugin reads, and says what was left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radiarch_contract import transport
from radiarch_contract.errors import ErrorCode, ErrorInfo
from radiarch_contract.job import AttemptStatus, DvhCurve, JobResult, StructureMetrics, WorkerStatus
from radiarch_contract.states import Stage
from radiarch_worker.runtime import bounds
from radiarch_worker.runtime.bounds import attempt_text, bounded_result, worker_text

T0 = datetime(2026, 1, 2, tzinfo=UTC)
PLAN = "0" * 32


def status(solver: dict[str, Any] | None, message: str = "m") -> AttemptStatus:
    return AttemptStatus(
        plan_id=PLAN,
        attempt=1,
        stage=Stage.OPTIMIZING,
        progress=0.5,
        eta_s=1.0,
        message=message,
        worker="w",
        started_at=T0,
        heartbeat_at=T0,
        solver=solver,
    )


def curve(number: int, points: int, name: str = "") -> DvhCurve:
    dose = tuple(0.05 * i for i in range(points))
    percent = tuple(round(100 * (1 - i / max(points - 1, 1)), 5) for i in range(points))
    return DvhCurve(
        structure=name or f"ROI {number}", roi_number=number, volume_cc=1.0, dose_gy=dose, volume_percent=percent
    )


def metrics(number: int) -> StructureMetrics:
    values = {f"{n}_gy": 1.0 for n in ("d_mean", "d_min", "d_max", "d98", "d95", "d50", "d2")}
    return StructureMetrics(structure=f"ROI {number}", roi_number=number, volume_cc=1.0, **values)


@settings(max_examples=25, deadline=None)
@given(
    curves=st.integers(0, 300),
    objectives=st.integers(0, 200),
    iterations=st.integers(0, 200),
    name=st.sampled_from(["PTV", "\u653e\u5c04\u7dda" * 20, "x" * 256, "\U0001f4a5" * 64]),
)
def test_a_status_always_fits_and_always_tells_how_far_it_is(
    curves: int, objectives: int, iterations: int, name: str
) -> None:
    terms = {f"{name} {n}": 1.23456789 * n for n in range(objectives)}
    trace = [{"iteration": i, "objective": 1.0 / (i + 1), "terms": terms} for i in range(iterations)]
    dvh = [curve(n, 150, f"{name} {n}").model_dump(mode="json") for n in range(curves)]
    told = status({"iteration": iterations, "objective": 1.0, "terms": terms, "trace": trace, "dvh": dvh})
    text = attempt_text(told)
    assert len(text.encode()) <= transport.MAX_STATUS_BYTES
    read = AttemptStatus.model_validate_json(text)
    assert read.model_copy(update={"solver": None}) == told.model_copy(update={"solver": None})
    if read.solver is not None:
        assert read.solver["trace"] == trace[len(trace) - len(read.solver["trace"]) :], "the latest"
        assert read.solver["dvh"] == dvh[: len(read.solver["dvh"])], "the first"


def test_what_fits_is_told_as_it_is() -> None:
    told = status({"iteration": 1, "dvh": [curve(1, 150).model_dump(mode="json")]})
    assert attempt_text(told) == told.model_dump_json()


@pytest.mark.parametrize("engines", [1, 500])
@pytest.mark.parametrize("files", [0, 100_000])
def test_a_workers_heartbeat_always_fits(engines: int, files: int) -> None:
    worker = WorkerStatus(
        name="w",
        host="h",
        pid=1,
        version="1",
        started_at=T0,
        heartbeat_at=T0,
        state="idle",
        engines={f"e{n}": {"available": False, "version": None, "reason": "y" * 100_000} for n in range(engines)},
        machine_data={f"machines/{n}.txt": "a" * 64 for n in range(files)},
        machine_data_problems=tuple("z" * 5_000 for _ in range(files)),
    )
    text = worker_text(worker)
    assert len(text.encode()) <= transport.MAX_STATUS_BYTES
    assert WorkerStatus.model_validate_json(text).name == "w"


@pytest.mark.parametrize("limit", [1 << 20, 200_000, 60_000])
def test_a_result_always_fits_with_its_metrics(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(transport, "MAX_RESULT_BYTES", limit)
    whole = JobResult(
        plan_id=PLAN,
        attempt=1,
        dvh=tuple(curve(n, 1200) for n in range(100)),
        metrics=tuple(metrics(n) for n in range(100)),
        solver_trace=tuple({"iteration": i, "objective": 1.0, "terms": {"PTV": 1.0}} for i in range(100)),
    )
    lines: list[str] = []
    told = bounded_result(whole, lines.append)
    assert len(told.model_dump_json().encode()) <= limit
    assert told.metrics == whole.metrics
    assert "larger than" in told.notes[-1]
    assert lines
    for before, after in zip(whole.dvh, told.dvh, strict=bool(told.dvh)):
        points = dict(zip(before.dose_gy, before.volume_percent, strict=True))
        assert all(points[d] == v for d, v in zip(after.dose_gy, after.volume_percent, strict=True)), "no new points"
        assert (after.dose_gy[0], after.dose_gy[-1]) == (before.dose_gy[0], before.dose_gy[-1])


def test_a_result_of_two_thousand_structures_is_told_whole() -> None:
    whole = JobResult(
        plan_id=PLAN,
        attempt=1,
        dvh=tuple(curve(n, 150) for n in range(2000)),
        metrics=tuple(metrics(n) for n in range(2000)),
    )
    assert bounded_result(whole, print) == whole


def test_notes_beyond_what_is_read_are_in_the_log() -> None:
    notes = tuple(f"ROI {n}: something" for n in range(1000))
    lines: list[str] = []
    told = bounded_result(JobResult(plan_id=PLAN, attempt=1, notes=notes), lines.append)
    assert len(told.notes) == bounds.MAX_NOTES
    assert told.notes[:-1] == notes[: bounds.MAX_NOTES - 1]
    assert "701 more notes" in told.notes[-1]
    assert lines == [f"note: {n}" for n in notes[bounds.MAX_NOTES - 1 :]]


def test_of_a_long_trace_every_nth_iteration_is_told_and_the_last() -> None:
    terms = {f"objective {n}": 1.0 for n in range(98)}
    trace = tuple({"iteration": i, "objective": 1.0, "terms": terms} for i in range(10_001))
    trace = (*trace[:-2], {**trace[-2], "tuning": ["a change"]}, trace[-1])
    told = bounded_result(JobResult(plan_id=PLAN, attempt=1, solver_trace=trace), lambda line: None).solver_trace
    assert sum(len(t["terms"]) + 2 for t in told) <= bounds.MAX_TRACE_VALUES + 200
    assert told[-1] == trace[-1]
    assert told[-2]["tuning"] == ["a change"]
    assert told[0] == trace[0]


def test_an_errors_details_are_cut_and_say_so() -> None:
    error = ErrorInfo(
        code=ErrorCode.AMBIGUOUS_STRUCTURE,
        message="m" * 100_000,
        remedy="r",
        details={"rois": [{"number": n, "name": "x" * 256} for n in range(20_000)], "count": 20_000},
    )
    told = bounded_result(JobResult(plan_id=PLAN, attempt=1, error=error), print).error
    assert told is not None
    assert len(told.message) < 5_000
    assert len(json.dumps(told.details)) < bounds.MAX_DETAILS_CHARS
    assert (told.details["count"], told.details["cut"]) == (20_000, True)
    few = error.model_copy(update={"details": {"sop_instance_uids": ["1.2.3"] * 50}, "message": "m"})
    assert bounded_result(JobResult(plan_id=PLAN, attempt=1, error=few), print).error == few
