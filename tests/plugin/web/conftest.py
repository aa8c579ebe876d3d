"""The app on a real store, Redis and Orthanc, asked through the bridge."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydicom.dataset import Dataset
from radiarch_contract import API_PREFIX
from radiarch_plugin.jobs.queue import JobQueue
from radiarch_plugin.jobs.results import Results
from radiarch_plugin.orthanc.bridge import AsgiBridge
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient
from radiarch_plugin.protocols.loaded import load_protocols
from radiarch_plugin.services import Runtime, Services
from radiarch_plugin.store import Store, open_database
from radiarch_plugin.web.app import create_app
from redis import Redis
from redis.exceptions import RedisError

from phantoms import PhantomStudy, box, file_bytes
from tests.plugin.web.described import Described
from tests.plugin.web.orthanc_like import OrthancLike
from tests.system.processes import FRESH, Server, free_port, wait_for

PROTOCOL = """\
id: box
title: Box
priority: 10
prescription: {target: PTV, dose_gy: 60, fractions: 30}
workflow: proton-impt-optimized
beams: [{gantry_deg: 90}, {gantry_deg: 270}]
objectives:
  - {structure: PTV, metric: DUniform, dose_gy: 60}
  - {structure: Rectum, metric: DMeanMax, dose_gy: 20}
goals: ['PTV: D95% >= 95%', 'Bladder: Dmean <= 20 Gy']
calculation: {seed: 7}
"""


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = Server("redis", command, folder=tmp_path_factory.mktemp("redis"))
    server.start()
    url = f"redis://127.0.0.1:{port}/0"
    with Redis.from_url(url) as client:
        wait_for(lambda: _pings(client), "Redis answers", describe=server.tail)
    yield url
    server.stop()


def _pings(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@pytest.fixture(scope="session")
def orthanc_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An Orthanc without our plugin: only the REST API that the plugin reads."""
    folder, port = tmp_path_factory.mktemp("orthanc"), free_port()
    configuration = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [],
        "OverwriteInstances": True,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    server = Server("orthanc", ["Orthanc", str(path)], folder=folder)
    server.start()
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: _answers(url), "Orthanc answers", describe=server.tail)
    yield url
    server.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/system", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Api:
    """Everything that a test of the REST interface needs."""

    http: httpx.Client
    orthanc: httpx.Client
    store: Store
    redis: Redis
    runtime: Runtime
    app: FastAPI
    woken: list[None] = field(default_factory=list)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(f"{API_PREFIX}{path}", params=params)

    def post(self, path: str, body: Any, *, key: str | None = None) -> httpx.Response:
        return self.http.post(f"{API_PREFIX}{path}", json=body, headers={"Idempotency-Key": key} if key else {})

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(f"{API_PREFIX}{path}")

    def upload(self, *datasets: Dataset) -> list[str]:
        """Store instances in Orthanc; their ids."""
        return [upload(self.orthanc, ds) for ds in datasets]


def upload(orthanc: httpx.Client, ds: Dataset) -> str:
    orthanc_id: str = orthanc.post("/instances", content=file_bytes(ds)).raise_for_status().json()["ID"]
    return orthanc_id


@pytest.fixture(scope="session")
def orthanc(orthanc_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=orthanc_url, trust_env=False, limits=FRESH) as client:
        yield client


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once; each test works on a copy."""
    path = tmp_path_factory.mktemp("database") / "radiarch.sqlite3"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture(scope="session")
def bridged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runtime, FastAPI, httpx.Client]]:
    """The app behind the bridge, without services; each test brings its own."""
    folder = tmp_path_factory.mktemp("protocols")
    (folder / "box.yaml").write_text(PROTOCOL)
    runtime = Runtime()
    runtime.protocols = load_protocols(folder)
    app = create_app(runtime)
    bridge = AsgiBridge(app)
    bridge.start()
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [Described(app)]}
    with httpx.Client(transport=OrthancLike(bridge), base_url="http://orthanc", event_hooks=hooks) as http:
        yield runtime, app, http
    bridge.stop()


@pytest.fixture
def api(
    tmp_path: Path,
    redis_url: str,
    orthanc_url: str,
    orthanc: httpx.Client,
    empty_database: Path,
    bridged: tuple[Runtime, FastAPI, httpx.Client],
) -> Iterator[Api]:
    runtime, app, http = bridged
    path = tmp_path / "radiarch.sqlite3"
    shutil.copy(empty_database, path)
    database = open_database(f"sqlite:///{path}")
    store = Store(database)
    redis = Redis.from_url(redis_url, socket_timeout=2)
    redis.flushall()
    rest = HttpRest(orthanc_url)
    made = Api(http, orthanc, store, redis, runtime, app)
    client = OrthancClient(rest)
    runtime.services = Services(
        store=store,
        orthanc=client,
        results=Results(store, client),
        queue=JobQueue(redis),
        wake=lambda: made.woken.append(None),
    )
    runtime.problems = ()
    yield made
    runtime.services = None
    rest.close()
    redis.close()
    database.dispose()


@pytest.fixture
def study() -> PhantomStudy:
    """A fresh one, stored nowhere."""
    return box(shape=(3, 12, 12))


@pytest.fixture(scope="session")
def stored_uid(orthanc: httpx.Client) -> str:
    """SOP Instance UID of a structure set that is stored with its images, for tests that leave it alone."""
    study = box(shape=(3, 12, 12))
    for ds in study.datasets:
        upload(orthanc, ds)
    return str(study.rtstruct.SOPInstanceUID)
