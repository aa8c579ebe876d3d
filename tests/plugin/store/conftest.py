"""Databases of both kinds, a Redis and an Orthanc (without plugin) of the tests' own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from radiarch_plugin.jobs.queue import JobQueue, connect
from radiarch_plugin.orthanc.client import HttpRest
from radiarch_plugin.store import Database, Ownership, Store, open_database
from radiarch_plugin.store.tables import Base

from tests.plugin.store.arriving import World
from tests.plugin.store.samples import MEMORY
from tests.system.processes import FRESH, Server, free_port, wait_for

POSTGRES = shutil.which("postgres") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), None)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of the tests' own, without a database name at the end."""
    if POSTGRES is None:
        pytest.skip("no postgres here")
    # PostgreSQL does not run as root, and the tests' own folders are closed to others
    prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="radiarch-postgres-"))
    if prefix:
        shutil.chown(folder, "nobody", "nogroup")
    binaries = Path(POSTGRES).resolve().parent
    port = free_port()
    init = Server(
        "initdb",
        [*prefix, str(binaries / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "radiarch", "-N"],
        folder=folder,
    )
    init.start()
    wait_for(lambda: init.exit_code is not None, "initdb ends", describe=init.tail)
    assert init.exit_code == 0, init.tail()
    options = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    server = Server("postgres", [*prefix, POSTGRES, "-D", str(folder / "data"), *options], folder=folder)
    server.start()
    url = f"postgresql://radiarch@127.0.0.1:{port}"
    try:
        wait_for(lambda: _connects(f"{url}/postgres"), "PostgreSQL answers", describe=server.tail)
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder)


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _empty_database(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == "sqlite":
        folder = Path(tempfile.mkdtemp(prefix="radiarch-sqlite-", dir=MEMORY))
        yield f"sqlite:///{folder / 'radiarch.sqlite3'}"
        shutil.rmtree(folder)
        return
    server = request.getfixturevalue("postgres_url")
    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{server}/{name}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of either kind."""
    with _empty_database(request.param, request) as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of either kind for all tests of a module."""
    with _empty_database(request.param, request) as url:
        made = open_database(url)
        yield made
        made.dispose()


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """A store without plans and arrivals, on either kind of database."""
    yield Store(database)
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "radiarch.sqlite3"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def sqlite_store(empty_sqlite: Path) -> Iterator[Store]:
    """For tests in which the kind of database plays no part."""
    folder = Path(tempfile.mkdtemp(prefix="radiarch-sqlite-", dir=MEMORY))
    shutil.copy(empty_sqlite, folder / "radiarch.sqlite3")
    database = open_database(f"sqlite:///{folder / 'radiarch.sqlite3'}")
    yield Store(database)
    database.dispose()
    shutil.rmtree(folder)


@pytest.fixture
def owner(sqlite_store: Store) -> Iterator[Ownership]:
    made = Ownership(sqlite_store.database)
    yield made
    made.release()


class RedisServer:
    """A Redis that is stopped, emptied and started at will; it forgets all when it is stopped."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.server = Server("redis", ["redis-server", *options], folder=folder)
        self.client = redis.Redis(port=self.port, socket_timeout=5)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.server.start()
        wait_for(self._answers, "Redis answers", describe=self.server.tail)

    def stop(self) -> None:
        self.server.stop()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    made.start()
    yield made
    made.client.close()
    made.stop()


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """Empty and running, before the test and after it."""
    shared_redis.client.flushall()
    yield shared_redis
    if not shared_redis.server.running:
        shared_redis.start()


@pytest.fixture
def queue(redis_server: RedisServer) -> Iterator[JobQueue]:
    client = connect(redis_server.url)
    yield JobQueue(client)
    client.close()


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """An Orthanc without our plugin, which overwrites what is sent again, and its address."""
    with _orthanc(tmp_path_factory.mktemp("orthanc"), overwrites=True) as running:
        yield running


@pytest.fixture(scope="session")
def keeping_orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """The same, which keeps what it has."""
    with _orthanc(tmp_path_factory.mktemp("orthanc"), overwrites=False) as running:
        yield running


@contextmanager
def _orthanc(folder: Path, *, overwrites: bool) -> Iterator[tuple[Server, str]]:
    port = free_port()
    configuration = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpCompressionEnabled": False,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [],
        "OverwriteInstances": overwrites,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    server = Server("orthanc", ["Orthanc", str(path)], folder=folder, env={"TCP_NODELAY": "1"})
    server.start()
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: _answers(url), "Orthanc answers", describe=server.tail)
    yield server, url
    server.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/system", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def clients(orthanc_server: tuple[Server, str]) -> Iterator[tuple[httpx.Client, HttpRest]]:
    """One of each for all tests: making one reads all certificates of the system."""
    url = orthanc_server[1]
    rest = HttpRest(url)
    with httpx.Client(base_url=url, trust_env=False, verify=False, limits=FRESH) as http:
        yield http, rest
    rest.close()


@pytest.fixture
def world(
    clients: tuple[httpx.Client, HttpRest], sqlite_store: Store, owner: Ownership, monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setattr("radiarch_plugin.intake.trigger.INTERVAL_S", 0.0)
    return World(*clients, sqlite_store, owner)
