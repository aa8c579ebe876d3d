"""The app behind the bridge with sessions, a real Redis and a real Orthanc; tests turn the loop and play the worker."""

from __future__ import annotations

import copy
import io
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from fastapi import FastAPI
from pydicom.dataset import Dataset
from pydicom.uid import UID
from radiarch_contract import API_PREFIX, transport
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.job import AttemptStatus, JobResult, JobSpec, Output
from radiarch_contract.states import OutputKind, Stage
from radiarch_contract.transport import SESSION_HEADER, STORE_HEADER
from radiarch_contract.uids import series_instance_uid, sop_class_uid, sop_instance_uid
from radiarch_plugin.jobs.queue import JobQueue, connect
from radiarch_plugin.jobs.results import Results
from radiarch_plugin.orthanc.bridge import AsgiBridge, BridgeLimits
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient
from radiarch_plugin.protocols.loaded import load_protocols
from radiarch_plugin.services import Runtime, Services
from radiarch_plugin.sessions import Sessions
from radiarch_plugin.settings import SessionSettings
from radiarch_plugin.store import Store, open_database
from radiarch_plugin.web.app import create_app
from radiarch_plugin.web.routes.sessions import LARGER_REQUESTS
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from phantoms import PhantomStudy, box, file_bytes
from tests.plugin.web.conftest import (  # noqa: F401 - fixtures
    PROTOCOL,
    empty_database,
    orthanc,
    orthanc_url,
    redis_url,
)
from tests.plugin.web.orthanc_like import OrthancLike


def zipped(*files: bytes, names: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(files):
            archive.writestr(names[number] if names else f"{number}.dcm", data)
    return buffer.getvalue()


def new_study() -> PhantomStudy:
    return box(shape=(3, 12, 12), patient_id="SECRET-PATIENT", patient_name="Secret^Name")


@dataclass
class Owned:
    """A session as its owner uses it."""

    world: World
    id: str
    secret: str

    def ask(self, method: str, path: str = "", **more: Any) -> httpx.Response:
        headers = {SESSION_HEADER: self.secret, **more.pop("headers", {})}
        return self.world.http.request(method, f"{API_PREFIX}/sessions/{self.id}{path}", headers=headers, **more)

    def get(self, path: str = "") -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, *datasets: Dataset) -> dict[str, Any]:
        answer = self.ask("POST", "/instances", content=zipped(*map(file_bytes, datasets)))
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def plan(self, study: PhantomStudy) -> str:
        body = {"rtstruct_sop_instance_uid": str(study.rtstruct.SOPInstanceUID), "protocol_id": "box"}
        answer = self.ask("POST", "/plans", json=body)
        assert answer.status_code == 201, answer.text
        plan_id: str = answer.json()["id"]
        return plan_id

    @property
    def folder(self) -> Path:
        return self.world.folder / self.id


@dataclass
class World:
    """Everything that a test of sessions needs; ``ahead`` moves the sessions' clock."""

    http: httpx.Client
    orthanc: httpx.Client
    store: Store
    redis: Redis
    folder: Path
    settings: SessionSettings
    runtime: Runtime
    app: FastAPI
    rest: HttpRest
    sessions: Sessions
    queue_redis: Redis
    ahead: timedelta = timedelta()
    owned: list[Owned] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def open(self, **body: Any) -> Owned:
        answer = self.http.post(f"{API_PREFIX}/sessions", json=body)
        assert answer.status_code == 201, answer.text
        made = Owned(self, answer.json()["id"], answer.json()["secret"])
        self.owned.append(made)
        return made

    def start_sessions(self) -> None:
        """As Orthanc's start does."""
        self.sessions = Sessions(self.folder, self.settings, self.queue_redis, now=self.now)
        self.sessions.open()
        client = OrthancClient(self.rest)
        self.runtime.services = Services(
            store=self.store,
            orthanc=client,
            results=Results(self.store, client),
            queue=JobQueue(self.redis),
            wake=lambda: None,
            sessions=self.sessions,
        )
        self.runtime.problems = ()

    def restart(self) -> None:
        self.sessions.close()
        self.start_sessions()

    def spec(self, plan_id: str) -> JobSpec:
        """What the plan's worker is given."""
        self.sessions.turn()
        job = Job.fetch(transport.job_id(plan_id, 1), connection=self.redis, serializer=JSONSerializer)
        return JobSpec.model_validate(job.args[0])

    def as_worker(self, spec: JobSpec, method: str, path: str, **more: Any) -> httpx.Response:
        assert spec.session is not None
        path = f"{transport.session_store_path(spec.session.id)}{path}"
        return self.http.request(method, path, headers={STORE_HEADER: spec.session.token}, **more)

    def begin(self, spec: JobSpec) -> None:
        """A worker has taken the job, and says that it lives."""
        now = datetime.now(UTC)
        status = AttemptStatus(
            plan_id=spec.plan_id,
            attempt=spec.attempt,
            stage=Stage.OPTIMIZING,
            progress=0.5,
            eta_s=None,
            worker="w",
            started_at=now,
            heartbeat_at=now,
        )
        self.redis.lrem(f"rq:queue:{transport.QUEUE_NAME}", 0, transport.job_id(spec.plan_id, spec.attempt))
        self.redis.hset(Job.key_for(transport.job_id(spec.plan_id, spec.attempt)), "status", "started")
        self.redis.set(transport.attempt_key(spec.plan_id, spec.attempt), status.model_dump_json())
        self.redis.rpush(transport.log_key(spec.plan_id, spec.attempt), "a line of the log")

    def finish(self, spec: JobSpec, study: PhantomStudy) -> None:
        """A worker stores its results and tells the end."""
        outputs = []
        for kind in (OutputKind.RTPLAN, OutputKind.RTDOSE):
            data = file_bytes(result(spec.plan_id, kind, study))
            answer = self.as_worker(spec, "POST", "/instances", content=data)
            assert answer.json()["Status"] == "Success", answer.text
            outputs.append(
                Output(
                    kind=kind,
                    sop_class_uid=sop_class_uid(kind, "proton"),
                    sop_instance_uid=sop_instance_uid(spec.plan_id, kind),
                    series_instance_uid=series_instance_uid(spec.plan_id, kind),
                    orthanc_id=answer.json()["ID"],
                    sha256=dataset_sha256(pydicom.dcmread(io.BytesIO(data))),
                )
            )
        told = JobResult(plan_id=spec.plan_id, attempt=spec.attempt, outputs=tuple(outputs), worker="w")
        self.redis.set(transport.result_key(spec.plan_id, spec.attempt), told.model_dump_json())
        self.sessions.turn()

    def succeed(self, owned: Owned, study: PhantomStudy) -> str:
        """A plan of a study, made and finished."""
        plan_id = owned.plan(study)
        spec = self.spec(plan_id)
        self.begin(spec)
        self.finish(spec, study)
        assert owned.get(f"/plans/{plan_id}")["state"] == "succeeded"
        return plan_id

    def in_orthanc(self) -> int:
        count: int = self.orthanc.get("/statistics").json()["CountInstances"]
        return count


def result(plan_id: str, kind: OutputKind, study: PhantomStudy) -> Dataset:
    """An object with a result's identity; what it says does not matter here."""
    made = Dataset()
    made.file_meta = copy.deepcopy(study.rtstruct.file_meta)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = UID(sop_class_uid(kind, "proton"))
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(sop_instance_uid(plan_id, kind))
    made.SeriesInstanceUID = series_instance_uid(plan_id, kind)
    made.StudyInstanceUID, made.PatientID = study.rtstruct.StudyInstanceUID, study.rtstruct.PatientID
    made.PatientName = study.rtstruct.PatientName
    made.Modality = "RTDOSE" if kind is OutputKind.RTDOSE else "RTPLAN"
    return made


@pytest.fixture(scope="session")
def app_of_sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runtime, FastAPI, httpx.Client]]:
    folder = tmp_path_factory.mktemp("protocols")
    (folder / "box.yaml").write_text(PROTOCOL)
    runtime = Runtime()
    runtime.protocols = load_protocols(folder)
    app = create_app(runtime)
    bridge = AsgiBridge(app, BridgeLimits(larger_requests=LARGER_REQUESTS))
    bridge.start()
    with httpx.Client(transport=OrthancLike(bridge), base_url="http://orthanc") as http:
        yield runtime, app, http
    bridge.stop()


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(max_sessions=4, max_plans=3, max_instances=40, max_megabytes=4, max_total_megabytes=6)


@pytest.fixture
def world(
    tmp_path: Path,
    settings: SessionSettings,
    redis_url: str,  # noqa: F811
    orthanc_url: str,  # noqa: F811
    orthanc: httpx.Client,  # noqa: F811
    empty_database: Path,  # noqa: F811
    app_of_sessions: tuple[Runtime, FastAPI, httpx.Client],
) -> Iterator[World]:
    runtime, app, http = app_of_sessions
    path = tmp_path / "radiarch.sqlite3"
    shutil.copy(empty_database, path)
    database = open_database(f"sqlite:///{path}")
    redis = Redis.from_url(redis_url, socket_timeout=2)
    redis.flushall()
    made = World(
        http=http,
        orthanc=orthanc,
        store=Store(database),
        redis=redis,
        folder=tmp_path / "sessions",
        settings=settings,
        runtime=runtime,
        app=app,
        rest=HttpRest(orthanc_url),
        sessions=None,  # type: ignore[arg-type] # the next line makes them
        queue_redis=connect(redis_url),
    )
    made.start_sessions()
    yield made
    made.sessions.close()
    runtime.services = None
    made.rest.close()
    redis.close()
    made.queue_redis.close()
    database.dispose()
    for patient in orthanc.get("/patients").json():
        orthanc.delete(f"/patients/{patient}")


def left_in(folder: Path) -> list[str]:
    """Files below a folder, but for the lock of the folder itself."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "owner")


def text_of(redis: Redis) -> str:
    """All that Redis holds, as one text; RQ compresses what it is given."""
    parts: list[Any] = []
    for key in redis.scan_iter():
        kind = redis.type(key)
        parts.append(key)
        if kind == b"string":
            parts.append(redis.get(key))
        elif kind == b"hash":
            values: dict[bytes, bytes] = redis.hgetall(key)  # type: ignore[assignment]
            parts += [zlib.decompress(v) if k == b"data" else v for k, v in values.items()]
        elif kind == b"list":
            parts.append(redis.lrange(key, 0, -1))
        elif kind == b"zset":
            parts.append(redis.zrange(key, 0, -1))
        elif kind == b"stream":
            parts.append(redis.xrange(key))
        else:
            parts.append(redis.smembers(key))
    return repr(parts)
