"""The real app on loopback, with a real store, Redis and Orthanc behind it; tests play the worker on the store.

Orthanc is another process: what is not Radiarch's is handed on to it, so that one address has both as in production.
What Orthanc's own bridge does to requests is tested in `test_real_orthanc`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import redis
import uvicorn
from pydicom.uid import UID, RTDoseStorage
from radiarch_contract import __version__, transport
from radiarch_contract.errors import ErrorCode, ErrorInfo
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import BeamResult, DvhCurve, JobResult, Output, StructureMetrics, WorkerStatus
from radiarch_contract.robustness import Robustness
from radiarch_contract.states import GoalStatus, OutputKind, Stage
from radiarch_contract.uids import series_instance_uid, sop_instance_uid
from radiarch_plugin.dicom.header import read_header
from radiarch_plugin.jobs.queue import JobQueue
from radiarch_plugin.jobs.results import Results
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient
from radiarch_plugin.protocols.loaded import load_protocols
from radiarch_plugin.record.index import StudyIndex
from radiarch_plugin.services import Runtime, Services
from radiarch_plugin.sessions import Session, Sessions
from radiarch_plugin.settings import SessionSettings
from radiarch_plugin.store import LogPosition, Ownership, ProgressUpdate, Store, open_database
from radiarch_plugin.web.app import create_app
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from phantoms import file_bytes
from tests.system.processes import FRESH, free_port, wait_for

DOSES_GY = tuple(i * 0.5 for i in range(141))


def look_at_studies(served: Served) -> None:
    """Bring the table of studies up to date, as the plugin's thread does."""
    rest, owner = HttpRest(served.orthanc_url), Ownership(served.store.database)
    StudyIndex(served.store, OrthancClient(rest), owner).turn()
    owner.release()
    rest.close()


@dataclass
class Served:
    """A service under test; ``orthanc_url`` is Orthanc's own address."""

    url: str
    orthanc_url: str
    dicom_port: int
    store: Store
    redis: redis.Redis
    runtime: Runtime
    sessions: Sessions

    def within(self, session: Session) -> Served:
        """The same service, with the worker's part played in a session."""
        return replace(self, store=session.store)

    def live_sessions(self) -> list[Session]:
        return list(self.sessions._live.values())

    def plan_in(self, session: Session, plan_id: str) -> bytes:
        """Play the worker in a session; the dose that it has stored."""
        self.sessions.turn()
        inside = self.within(session)
        inside.start(plan_id)
        source = next(f for f in session.catalog.files() if f.header.modality == "CT")
        dose = pydicom.dcmread(BytesIO(session.catalog.read(source)))
        dose.SOPClassUID = dose.file_meta.MediaStorageSOPClassUID = RTDoseStorage
        dose.SOPInstanceUID = dose.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid(plan_id, "rtdose"))
        dose.SeriesInstanceUID, dose.Modality = series_instance_uid(plan_id, "rtdose"), "RTDOSE"
        data = file_bytes(dose)
        with session.catalog.adding(plan_id) as batch:
            header = read_header(data)
            batch.add(header, data)
        inside.succeed(plan_id, dose_orthanc_id=header.orthanc_id)
        return data

    def start(self, plan_id: str, *, progress: float = 0.25, lines: tuple[str, ...] = ()) -> None:
        """A worker has begun."""
        if self.store.attempts.current([plan_id]).get(plan_id) is None:  # else a session's loop has begun it
            assert self.store.attempts.begin(plan_id) is not None
        self.store.attempts.progress(
            [
                ProgressUpdate(
                    plan_id=plan_id,
                    attempt=1,
                    stage=Stage.OPTIMIZING,
                    progress=progress,
                    eta_s=75.0,
                    message="",
                    worker="w1",
                )
            ]
        )
        self.log(plan_id, *lines)

    def log(self, plan_id: str, *lines: str) -> None:
        self.store.journal.append_log(plan_id, 1, LogPosition(), lines)

    def succeed(
        self,
        plan_id: str,
        *,
        scale: float = 1.0,
        dose_orthanc_id: str = "",
        robustness: Robustness | None = None,
        notes: tuple[str, ...] = ("BODY was found from the CT",),
        provenance: dict[str, Any] | None = None,
    ) -> None:
        """A worker has ended with results; doses are 60 Gy times ``scale``."""
        dose = Output(
            kind=OutputKind.RTDOSE,
            sop_class_uid=RTDoseStorage,
            sop_instance_uid=sop_instance_uid(plan_id, "rtdose"),
            series_instance_uid=series_instance_uid(plan_id, "rtdose"),
            orthanc_id=dose_orthanc_id,
            sha256="a" * 64,
        )
        taken = self.store.attempts.succeed(
            JobResult(
                plan_id=plan_id,
                attempt=1,
                outputs=(dose,) if dose_orthanc_id else (),
                beams=(_beam(),),
                dvh=(_curve("PTV", 60 * scale, 2), _curve("Organ", 20 * scale, 20)),
                metrics=(_metrics("PTV", 60 * scale), _metrics("Organ", 20 * scale)),
                goals=(
                    GoalResult(
                        text="PTV: D95% ≥ 95%", structure="PTV", value=96.5 * scale, unit="%", status=GoalStatus.MET
                    ),
                ),
                uncertainty_percent=1.5,
                robustness=robustness,
                notes=notes,
                provenance=provenance or {},
                timings_s={"optimizing": 12.5},
                worker="w1",
            )
        )
        assert taken

    def fail(self, plan_id: str) -> None:
        error = ErrorInfo(code=ErrorCode.ENGINE_FAILED, message="MCsquare ended with code 1", remedy="See the log.")
        assert self.store.attempts.fail(plan_id, 1, error)

    def add_worker(self, name: str = "w1") -> None:
        now = datetime.now(UTC)
        status = WorkerStatus(
            name=name,
            host="planner",
            pid=1,
            version=__version__,
            started_at=now,
            heartbeat_at=now,
            state="idle",
            engines={"mcsquare": {"available": True, "version": "1.1", "reason": None}},
        )
        self.redis.set(transport.worker_key(name), status.model_dump_json(), ex=600)


def forget_workers(client: redis.Redis) -> None:
    """As if none had ever given a sign of life."""
    for key in client.scan_iter(match=transport.worker_key("*")):
        client.delete(key)


def _curve(structure: str, dose_gy: float, width_gy: float) -> DvhCurve:
    percent = tuple(min(100.0, max(0.0, 100 * (dose_gy + width_gy / 2 - d) / width_gy)) for d in DOSES_GY)
    return DvhCurve(structure=structure, roi_number=1, volume_cc=32.0, dose_gy=DOSES_GY, volume_percent=percent)


def _metrics(structure: str, dose_gy: float) -> StructureMetrics:
    values = {f"{name}_gy": dose_gy for name in ("d_mean", "d_min", "d_max", "d98", "d95", "d50", "d2")}
    return StructureMetrics(structure=structure, roi_number=1, volume_cc=32.0, **values)


def _beam() -> BeamResult:
    return BeamResult(
        number=1,
        name="G0",
        gantry_deg=0,
        couch_deg=0,
        isocenter_mm=(0, 0, 0),
        layers=5,
        spots=120,
        energy_min_mev=90.5,
        energy_max_mev=120.5,
        meterset_mu=55.5,
    )


@contextmanager
def serve(
    folder: Path, protocols: Path, orthanc_url: str, dicom_port: int, store_redis: redis.Redis
) -> Iterator[Served]:
    """Run the app until the end of the block."""
    database = open_database(f"sqlite:///{folder / 'radiarch.db'}")
    store = Store(database)
    runtime = Runtime()
    rest = HttpRest(orthanc_url)
    runtime.protocols = load_protocols(protocols)
    queue = JobQueue(store_redis)
    sessions = Sessions(folder / "sessions", SessionSettings(max_plans=4, min_free_megabytes=0), store_redis)
    sessions.open()
    client = OrthancClient(rest)
    runtime.services = Services(
        store=store,
        orthanc=client,
        results=Results(store, client),
        queue=queue,
        wake=lambda: None,
        sessions=sessions,
    )
    runtime.problems = ()
    port = free_port()
    with httpx.Client(base_url=orthanc_url, trust_env=False, timeout=30, limits=FRESH) as behind:
        app = _WithOrthanc(create_app(runtime), behind)
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, name="uvicorn")
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive(), "uvicorn listens")
            yield Served(f"http://127.0.0.1:{port}", orthanc_url, dicom_port, store, store_redis, runtime, sessions)
        finally:
            server.should_exit = True
            thread.join()
            sessions.close()
            rest.close()
            database.dispose()


class _WithOrthanc:
    """Our app under its own path, Orthanc under all others."""

    def __init__(self, app: Any, behind: httpx.Client) -> None:
        self._app = app
        self._behind = behind

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/radiarch"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = await run_in_threadpool(self._forward, request, await request.body())
        await answer(scope, receive, send)

    def _forward(self, request: Request, body: bytes) -> Response:
        answer = self._behind.request(
            request.method,
            request.url.path,
            params=request.url.query or None,
            content=body,
            headers={k: v for k, v in request.headers.items() if k in ("content-type", "accept-encoding")},
        )
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
