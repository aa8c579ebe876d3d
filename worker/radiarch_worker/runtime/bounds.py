"""Messages of a worker, bounded to what the plugin reads (`transport`): with less detail where there is too much."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from radiarch_contract import transport
from radiarch_contract.errors import ErrorInfo
from radiarch_contract.job import AttemptStatus, DoseComparison, DvhCurve, JobResult, WorkerStatus
from radiarch_contract.robustness import DvhBand, Robustness

MAX_NOTES = 300
"""Of a result; the job's log has the others."""
MAX_NOTE_CHARS = 4_000
MAX_TRACE_VALUES = 200_000
"""Terms of all iterations in a result; of more, only every second, third … iteration is kept."""
MAX_DETAILS_CHARS = 64 << 10
_MAX_LISTED = 50
_MAX_REASON_CHARS = 500
_MAX_FILES = 500

Curve = TypeVar("Curve", DvhCurve, DvhBand)


def attempt_text(status: AttemptStatus) -> str:
    """A status as JSON of at most `MAX_STATUS_BYTES`.

    The live DVHs are those that matter most first, so that the last of them are left out; of the trace, the oldest half
    again and again. Stage, progress and heartbeat are always there.
    """
    text = status.model_dump_json()
    solver = dict(status.solver or {})
    while _too_long(text) and solver:
        if len(dvh := solver.get("dvh") or ()) > 1:
            solver["dvh"] = dvh[: len(dvh) // 2]
        elif len(trace := solver.get("trace") or ()) > 1:
            solver["trace"] = trace[-(len(trace) // 2) :]
        else:
            solver = {}
        text = status.model_copy(update={"solver": solver or None}).model_dump_json()
    return text


def worker_text(status: WorkerStatus) -> str:
    """A worker's heartbeat as JSON of at most `MAX_STATUS_BYTES`."""
    text = status.model_dump_json()
    if not _too_long(text):
        return text
    engines = {name: {k: _cut(v, _MAX_REASON_CHARS) for k, v in e.items()} for name, e in status.engines.items()}
    problems = [_cut(p, _MAX_REASON_CHARS) for p in status.machine_data_problems[:_MAX_LISTED]]
    files = dict(list(status.machine_data.items())[:_MAX_FILES])
    update = {"engines": engines, "machine_data_problems": tuple(problems), "machine_data": files}
    text = status.model_copy(update=update).model_dump_json()
    if _too_long(text):
        less = {
            "engines": {},
            "machine_data": {},
            "machine_data_problems": ("the worker's status is too long: details were left out",),
        }
        text = status.model_copy(update=less).model_dump_json()
    return text


def bounded_result(result: JobResult, log: Callable[[str], None]) -> JobResult:
    """A result whose JSON has at most `MAX_RESULT_BYTES`; its notes say what was left out.

    Parameters
    ----------
    log
        Told what is not in the result.
    """
    result = _with_few_notes(result, log)
    if result.error is not None:
        result = result.model_copy(update={"error": _bounded_error(result.error)})
    trace = _thinned_trace(result.solver_trace)
    if len(trace) < len(result.solver_trace):
        log(f"the result has {len(trace)} of {len(result.solver_trace)} iterations of the optimiser")
        result = result.model_copy(update={"solver_trace": trace})
    if not _too_large(result):
        return result
    smaller = result
    for reduce in (*(_with_half_the_points,) * 5, _without_trace, _without_curves):
        smaller = reduce(smaller)
        if not _too_large(smaller):
            break
    note = (
        f"The result was larger than {transport.MAX_RESULT_BYTES >> 20} MB: DVHs have fewer points, or are left out "
        "altogether; metrics and goals are complete, and the RT Dose has all DVHs."
    )
    log(note)
    return smaller.model_copy(update={"notes": (*smaller.notes, note)})


def _with_few_notes(result: JobResult, log: Callable[[str], None]) -> JobResult:
    notes = [_cut(n, MAX_NOTE_CHARS) for n in result.notes]
    if len(notes) > MAX_NOTES:
        for note in notes[MAX_NOTES - 1 :]:
            log(f"note: {note}")
        left_out = len(notes) - MAX_NOTES + 1
        notes = [*notes[: MAX_NOTES - 1], f"There are {left_out} more notes; the job's log has them."]
    return result.model_copy(update={"notes": tuple(notes)})


def _bounded_error(error: ErrorInfo) -> ErrorInfo:
    update: dict[str, Any] = {
        "message": _cut(error.message, MAX_NOTE_CHARS),
        "remedy": _cut(error.remedy, MAX_NOTE_CHARS),
    }
    if len(json.dumps(error.details, default=str)) > MAX_DETAILS_CHARS:
        update["details"] = {k: _cut_value(v) for k, v in list(error.details.items())[:_MAX_LISTED]} | {"cut": True}
    return error.model_copy(update=update)


def _cut_value(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value, _MAX_REASON_CHARS)
    if isinstance(value, Mapping):
        return {k: _cut_value(v) for k, v in list(value.items())[:_MAX_LISTED]}
    if isinstance(value, list | tuple):
        return [_cut_value(v) for v in value[:_MAX_LISTED]]
    return value


def _thinned_trace(trace: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Every n-th iteration, the last one and those that carry more than terms among them."""
    values = sum(len(t.get("terms", ())) + 2 for t in trace)
    step = -(-values // MAX_TRACE_VALUES)
    plain = {"iteration", "objective", "terms", "round"}
    kept = [t for i, t in enumerate(trace) if i % max(step, 1) == 0 or i == len(trace) - 1 or set(t) - plain]
    return tuple(dict(t) for t in kept)


def _with_half_the_points(result: JobResult) -> JobResult:
    def halved(curves: Sequence[Curve]) -> tuple[Curve, ...]:
        return tuple(_half(c) for c in curves)

    comparison: DoseComparison | None = result.comparison
    if comparison is not None:
        comparison = comparison.model_copy(update={"dvh": halved(comparison.dvh)})
    robustness: Robustness | None = result.robustness
    if robustness is not None:
        robustness = robustness.model_copy(update={"bands": halved(robustness.bands)})
    update = {"dvh": halved(result.dvh), "comparison": comparison, "robustness": robustness}
    return result.model_copy(update=update)


def _half(curve: Curve) -> Curve:
    """Every second point of a curve, its ends among them: the points that are left stay true."""
    count: int = len(curve.dose_gy)
    kept = [*range(0, count - 1, 2), count - 1] if count > 2 else list(range(count))
    points = {k: v for k, v in curve if isinstance(v, tuple)}
    return curve.model_copy(update={k: tuple(v[i] for i in kept) for k, v in points.items()})


def _without_trace(result: JobResult) -> JobResult:
    return result.model_copy(update={"solver_trace": result.solver_trace[-1:]})


def _without_curves(result: JobResult) -> JobResult:
    comparison, robustness = result.comparison, result.robustness
    return result.model_copy(
        update={
            "dvh": (),
            "comparison": None if comparison is None else comparison.model_copy(update={"dvh": ()}),
            "robustness": None if robustness is None else robustness.model_copy(update={"bands": ()}),
        }
    )


def _too_large(result: JobResult) -> bool:
    return len(result.model_dump_json().encode()) > transport.MAX_RESULT_BYTES


def _too_long(text: str) -> bool:
    return len(text.encode()) > transport.MAX_STATUS_BYTES


def _cut(value: Any, chars: int) -> Any:
    return value[:chars] + " …" if isinstance(value, str) and len(value) > chars + 2 else value
