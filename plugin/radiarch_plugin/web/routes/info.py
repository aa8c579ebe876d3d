"""``/info``: what the service is, and whether it can work now."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter
from radiarch_contract import __version__, series_of
from radiarch_contract.errors import ErrorCode, ErrorInfo, RadiarchError
from radiarch_contract.job import WorkerStatus
from radiarch_contract.places import Place
from radiarch_contract.states import PlanState
from radiarch_contract.workflows import WORKFLOWS
from sqlalchemy.exc import DBAPIError

from radiarch_plugin.jobs.outages import database_outage
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.protocols.loaded import ProtocolSet
from radiarch_plugin.services import RuntimeDep, Services
from radiarch_plugin.web.answers import DiskAnswer, EngineAnswer, InfoAnswer, OrthancAnswer, QueueAnswer, WorkerCounts

router = APIRouter(prefix="/info", tags=["service"])


@router.get("")
def info(runtime: RuntimeDep) -> InfoAnswer:
    """Name, version, engines and whether each really runs, workers, queue, and ``ready``.

    A mistake in a protocol's file, or in a setting that has a default, is a problem, but the service is ready as long
    as a protocol can be used.
    """
    problems = list(runtime.problems)
    workers: list[WorkerStatus] = []
    others: list[WorkerStatus] = []
    queue: QueueAnswer | None = None
    orthanc: OrthancAnswer | None = None
    if (services := runtime.services) is not None:
        queue = _queue(services, problems)
        workers, others = _workers(services, problems)
        orthanc = _orthanc(services.orthanc, problems)
        known = {p.code for p in problems}
        problems += [p for p in services.health() if p.code not in known]
    engines = engines_of(workers)
    protocols = runtime.protocols or ProtocolSet()
    ready = not problems and bool(protocols.items or not protocols.problems)
    problems += [*runtime.settings_problems, *protocols.problems, *_other_versions(others)]
    return InfoAnswer(
        name="radiarch",
        version=__version__,
        ready=ready,
        problems=tuple(problems),
        workflows=tuple(WORKFLOWS),
        protocols=len(protocols.items),
        engines=engines,
        workers=WorkerCounts(
            total=len(workers) + len(others),
            idle=sum(w.state == "idle" for w in workers),
            busy=sum(w.state == "busy" for w in [*workers, *others]),
        ),
        queue=queue,
        orthanc=orthanc,
        disk=_disk(runtime.storage),
        known_hosts=runtime.known_hosts,
        sign_in=runtime.sign_in,
    )


def engines_of(workers: Sequence[WorkerStatus]) -> dict[str, EngineAnswer]:
    """Each engine that a worker tells of; available where it runs on one of them at least."""
    found: dict[str, EngineAnswer] = {}
    for name in sorted({name for w in workers for name in w.engines}):
        told = [w.engines[name] for w in workers if name in w.engines]
        running = [e for e in told if e.get("available") is True]
        best = (running or told)[0]
        found[name] = EngineAnswer(
            available=bool(running),
            version=_text(best.get("version")),
            reason=_text(best.get("reason")),
            workers=len(running),
        )
    return found


def _disk(folder: Path | None) -> DiskAnswer | None:
    try:
        usage = shutil.disk_usage(folder) if folder is not None else None
    except OSError:
        return None
    return None if usage is None else DiskAnswer(free_bytes=usage.free, total_bytes=usage.total)


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:500]


def _queue(services: Services, problems: list[ErrorInfo]) -> QueueAnswer | None:
    try:
        counts = services.store.plans.counts()
    except DBAPIError as e:
        problems.append(database_outage(e).info)
        return None
    return QueueAnswer(
        waiting=counts[PlanState.WAITING], queued=counts[PlanState.QUEUED], running=counts[PlanState.RUNNING]
    )


def _workers(services: Services, problems: list[ErrorInfo]) -> tuple[list[WorkerStatus], list[WorkerStatus]]:
    """Workers that get jobs, and those of another minor version, which get none."""
    try:
        found = services.workers()
    except RadiarchError as e:
        problems.append(e.info)
        return [], []
    workers = [w for w in found if series_of(w.version) == series_of(__version__)]
    others = [w for w in found if w not in workers]
    if not workers:
        wanted = f" of version {series_of(__version__)}" if others else ""
        problems.append(
            ErrorInfo(
                code=ErrorCode.NOT_READY,
                message=f"no worker{wanted} gives a sign of life: plans stay queued",
                remedy="Start a worker (python -m radiarch_worker) with this service's Redis.",
            )
        )
    elif not any(e.available for e in engines_of(workers).values()):
        problems.append(
            ErrorInfo(
                code=ErrorCode.ENGINE_MISSING,
                message=f"no dose engine runs on any of the {len(workers)} workers",
                remedy=f"See {Place.SERVICE} for the reason of each engine.",
            )
        )
    problems += _machine_data(workers)
    return workers, others


def _other_versions(workers: Sequence[WorkerStatus]) -> list[ErrorInfo]:
    return [
        ErrorInfo(
            code=ErrorCode.VERSION_MISMATCH,
            message=f"worker {w.name} is version {w.version}, this plugin {__version__}: it gets no job",
            remedy="Install the plugin's version where the worker runs, and start it again.",
            details={"worker": w.name, "host": w.host, "version": w.version},
        )
        for w in workers[:20]
    ]


def _machine_data(workers: Sequence[WorkerStatus]) -> list[ErrorInfo]:
    """Mistakes in the site's files of machines and calibrations, and workers that have other files than others."""
    found = [
        ErrorInfo(
            code=ErrorCode.INVALID_MACHINE_DATA,
            message=f"{problem} (worker {worker.name})",
            remedy="Correct the file; docs/machines.md describes the fields.",
        )
        for worker in workers[:1]
        for problem in worker.machine_data_problems
    ]
    files = {f for w in workers for f in w.machine_data}
    differing = sorted(f for f in files if len({w.machine_data.get(f) for w in workers}) > 1)
    if differing:
        found.append(
            ErrorInfo(
                code=ErrorCode.INVALID_MACHINE_DATA,
                message=f"workers have different {', '.join(differing)[:300]}: plans would depend on who makes them",
                remedy=f"Give all workers the same machines and calibrations; see {Place.WORKERS} for their hashes.",
                details={"files": differing[:50]},
            )
        )
    return found


def _orthanc(client: OrthancClient, problems: list[ErrorInfo]) -> OrthancAnswer | None:
    try:
        system = client.system()
    except RadiarchError as e:
        problems.append(e.info)
        return None
    return OrthancAnswer(
        name=str(system.get("Name", "")),
        version=str(system.get("Version", "")),
        dicom_aet=str(system.get("DicomAet", "")),
        dicom_port=int(system.get("DicomPort", 0)),
    )
