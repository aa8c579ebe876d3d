"""One attempt at a run, from what Orthanc has to what is stored there: the function that the queue names."""

from __future__ import annotations

import errno
import resource
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydicom.dataset import Dataset
from radiarch_contract.errors import EngineError, ErrorCode, ErrorInfo, RadiarchError, ServiceError
from radiarch_contract.job import CtUsed, JobResult, JobSpec, Output
from radiarch_contract.pictures import ATTACHMENTS, Plane
from radiarch_contract.states import OutputKind, Stage
from radiarch_contract.strict import STORED
from radiarch_contract.workflows import (
    DoseParameters,
    EvaluationParameters,
    RecalculationParameters,
    WorkflowParameters,
    get_workflow,
    parse_parameters,
)

from radiarch_worker.orthanc import fetch, store
from radiarch_worker.orthanc.client import Orthanc, connect
from radiarch_worker.runtime import context
from radiarch_worker.runtime.context import JobContext
from radiarch_worker.runtime.extras import attempted

if TYPE_CHECKING:
    from .run import Computed, Run

T = TypeVar("T")
_FULL_BYTES = 32 << 20
"""An engine writes more than this at once."""


def run_attempt(spec: dict[str, Any]) -> None:
    """Run it, store the results and report the end to the worker; errors are reported, not raised.

    Parameters
    ----------
    spec
        A `JobSpec` as JSON has it.
    """
    here = context.current()
    parsed = JobSpec.model_validate(spec, context=STORED)
    here.link.result(_finite(_Attempt(parsed, here).result()))


def _finite(result: JobResult) -> JobResult:
    """``result`` as JSON can carry it, or the error that it cannot (NaN and infinity are no JSON)."""
    try:
        return JobResult.model_validate_json(result.model_dump_json())
    except ValidationError as e:
        fields = sorted({".".join(map(str, item["loc"])) for item in e.errors()})
        info = ErrorInfo(
            code=ErrorCode.INTERNAL,
            message=f"the result has values that are not finite numbers: {', '.join(fields[:5])}",
            remedy="Please report this; the plan and dose that were stored are the ones computed.",
            details={"fields": fields[:50]},
        )
        return JobResult(
            plan_id=result.plan_id,
            attempt=result.attempt,
            error=info,
            worker=result.worker,
            started_at=result.started_at,
            ended_at=result.ended_at,
        )


@dataclass
class _Attempt:
    """One attempt while it runs."""

    spec: JobSpec
    here: JobContext
    timings_s: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def result(self) -> JobResult:
        started_at, began = datetime.now(UTC), time.monotonic()
        result = self._result()
        ended_at = datetime.now(UTC)
        timings_s = {**result.timings_s, **self.timings_s, "total": time.monotonic() - began}
        job_mb, engine_mb = _peak_mb()
        self.here.link.log(f"peak memory: job {job_mb:.0f} MB, largest of its engine processes {engine_mb:.0f} MB")
        return result.model_copy(
            update={
                "worker": self.here.worker,
                "started_at": started_at,
                "ended_at": ended_at,
                "timings_s": {k: round(v, 3) for k, v in timings_s.items()},
            }
        )

    def _result(self) -> JobResult:
        try:
            return self._run()
        except RadiarchError as e:
            if isinstance(e, EngineError) and self._disk_is_full():
                # engines do not say why they could not write
                return self._failed(_disk_full(), retryable=True)
            # an engine that was killed, by the kernel for its memory or by hand, may live the next time
            return self._failed(e.info, retryable=e.retryable or e.code is ErrorCode.ENGINE_FAILED)
        except MemoryError:
            self._log_traceback()
            return self._failed(_out_of_memory(), retryable=True)
        except OSError as e:
            self._log_traceback()
            if e.errno in (errno.ENOSPC, errno.EDQUOT):
                return self._failed(_disk_full(), retryable=True)
            return self._failed(_internal(e), retryable=True)
        except Exception as e:
            self._log_traceback()
            return self._failed(_internal(e), retryable=True)

    def _disk_is_full(self) -> bool:
        return shutil.disk_usage(self.here.folder).free < _FULL_BYTES

    def _run(self) -> JobResult:
        """Fetch, load, compute, store: the one path of all kinds of runs."""
        # what is imported here loads OpenTPS, which writes into $HOME when it is imported: the job's own
        from radiarch_worker import patient

        spec, link = self.spec, self.here.link
        parameters = parse_parameters(spec.workflow_id, spec.parameters, stored=True)
        with connect(self.here.settings, link, spec) as orthanc:
            link.stage(Stage.LOADING_DATA)
            with self._timed("fetch"):
                fetched = fetch.fetch_inputs(orthanc, spec, link)
            with self._timed("load"):
                run = self._load(fetched, parameters)
            del fetched  # the pixels are in `run` now
            for note in run.patient.notes:
                link.log(note)
            computed = _compute(run, parameters)
            link.progress(0.7)
            with self._timed("store"):
                outputs = self._store(orthanc, computed.datasets)
                self._store_pictures(orthanc, outputs, computed.pictures)
        ct = patient.ct_used(run.patient)
        result = computed.result
        return result.model_copy(
            update={
                "outputs": outputs,
                "ct": ct,
                "provenance": {**result.provenance, "ct": _dumped(ct)},
                "notes": tuple(dict.fromkeys((*result.notes, *self.notes))),
            }
        )

    def _load(self, fetched: fetch.Fetched, parameters: WorkflowParameters) -> Run:
        from radiarch_worker import patient, planning

        from .run import Run

        spec = self.spec
        structures = {ref.name: ref for ref in spec.structures}
        outline = structures.get("BODY")
        plans = get_workflow(spec.workflow_id).plans
        subject = patient.load_patient(
            fetched.rtstruct,
            fetched.images,
            expected_patient_id=spec.patient_id,
            needed_rois=planning.needed_rois(spec.prescribed, structures, parameters) if plans else (),
            body_roi=None if outline is None else outline.roi_number,
            max_contour_gap_mm=parameters.max_contour_gap_mm,
            computes_dose=isinstance(parameters, DoseParameters),
            overridden_rois=planning.overridden_rois(structures, parameters),
        )
        subject, prepared = planning.prepare(subject, structures, parameters)
        return Run(spec, self.here, subject, fetched.inputs, prepared, self._timed, self.notes)

    def _store(self, orthanc: Orthanc, datasets: Mapping[OutputKind, Dataset]) -> tuple[Output, ...]:
        """Store all of them, in this order; where that ends before the last one, the plugin tidies up."""
        extras = get_workflow(self.spec.workflow_id).optional_outputs
        required = {k: d for k, d in datasets.items() if k not in extras}
        outputs = tuple(store.store_result(orthanc, kind, dataset) for kind, dataset in required.items())
        for kind in (k for k in datasets if k in extras):
            outputs += self._store_extra(orthanc, kind, datasets[kind])
        return outputs

    def _store_extra(self, orthanc: Orthanc, kind: OutputKind, dataset: Dataset) -> tuple[Output, ...]:
        found = self._optional(kind.replace("_", " "), lambda: store.store_result(orthanc, kind, dataset))
        return () if found is None else (found,)

    def _store_pictures(self, orthanc: Orthanc, outputs: tuple[Output, ...], pictures: Mapping[Plane, bytes]) -> None:
        """Keep the pictures beside the dose; a plan without them is whole."""

        def put() -> None:
            dose = next(o for o in outputs if o.kind is OutputKind.RTDOSE)
            for plane, data in pictures.items():
                orthanc.put_attachment(dose.orthanc_id, ATTACHMENTS[plane], data)

        if pictures:
            self._optional("dose picture in every plane", put)

    def _optional(self, what: str, make: Callable[[], T]) -> T | None:
        return attempted(what, make, self.here.link.log, self.notes)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.timings_s[name] = time.monotonic() - began

    def _failed(self, info: ErrorInfo, *, retryable: bool) -> JobResult:
        return JobResult(plan_id=self.spec.plan_id, attempt=self.spec.attempt, error=info, retryable=retryable)

    def _log_traceback(self) -> None:
        for line in traceback.format_exc().splitlines():
            self.here.link.log(line)


def _compute(run: Run, parameters: WorkflowParameters) -> Computed:
    from .evaluation import evaluate
    from .plan import make_plan
    from .recalculation import recalculate

    match parameters:
        case EvaluationParameters():
            return evaluate(run, parameters)
        case RecalculationParameters():
            return recalculate(run, parameters)
    return make_plan(run, parameters)


def _dumped(ct: CtUsed | None) -> dict[str, Any] | None:
    return None if ct is None else ct.model_dump(mode="json")


def _peak_mb() -> tuple[float, float]:
    job = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    engines = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return job / 1024, engines / 1024


def _out_of_memory() -> ErrorInfo:
    return ServiceError(
        "the plan needed more memory than the worker could get",
        remedy="Give the worker more memory, run fewer workers on its machine, or ask for wider spots or a coarser "
        "dose grid.",
        code=ErrorCode.OUT_OF_MEMORY,
    ).info


def _disk_full() -> ErrorInfo:
    return ServiceError(
        "the disk of the worker's work folder is full",
        remedy="Make room, or set RADIARCH_WORK_DIR to a folder on another disk.",
        code=ErrorCode.DISK_FULL,
    ).info


def _internal(e: Exception) -> ErrorInfo:
    return ServiceError(
        f"an unexpected {type(e).__name__} ended the plan; the job's log has where",
        remedy="It is tried again. If it fails again, please report it with the job's log.",
    ).info
