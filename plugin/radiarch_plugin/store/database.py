"""Opening the database, SQLite or PostgreSQL: connections, transactions, migration, and who owns it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from radiarch_contract.errors import ErrorCode, ServiceError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

SQLITE_NAME = "radiarch.sqlite3"
_BUSY_TIMEOUT_S = 30.0
_OWNER_LOCK = 0x7261_6469  # "radi", PostgreSQL's advisory lock of the owner
_MIGRATION_LOCK = 0x7261_646A


def default_url(storage_directory: Path) -> str:
    """The URL of SQLite in Orthanc's storage folder."""
    return URL.create("sqlite", database=str(storage_directory.absolute() / SQLITE_NAME)).render_as_string()


class Database:
    """An engine with two kinds of short transaction.

    Safe to use from any thread: nothing is kept per thread, since Orthanc gives each callback a fresh one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer at a time and makes others poll; waiting here is fair and costs nothing
        self._writer = threading.Lock() if self.is_sqlite else contextlib.nullcontext()
        self._named = _NamedLocks()

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view; what is changed in it is not kept."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at the end, or rolled back after an exception."""
        with self._writer, self.engine.connect() as connection:
            connection = connection.execution_options(radiarch_write=True)
            with Session(connection, expire_on_commit=False) as session, session.begin():
                yield session

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Other threads that ask for the same name wait, also in other processes that share a PostgreSQL database.

        No transaction is open meanwhile: what takes long may be done within.
        """
        with self._named.held(name):
            if self.is_sqlite:  # it has one owner, and that is one process
                yield
                return
            key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
                try:
                    yield
                finally:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})

    def ping(self) -> None:
        """Raises `ServiceError` where the database does not answer."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except DBAPIError as e:
            raise _unavailable(self.engine.url, e) from e

    def dispose(self) -> None:
        self.engine.dispose()


class _NamedLocks:
    """A lock for each name that is asked for, for as long as a thread holds it or waits for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
            self._users[name] += 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._locks[name], self._users[name]


def open_database(url: str) -> Database:
    """Connect and bring the tables up to date.

    Parameters
    ----------
    url
        ``sqlite:////path/file`` or ``postgresql://user:password@host/name``.

    Raises
    ------
    ServiceError
        ``not_ready``: it cannot be opened, or belongs to a newer version.
    """
    engine = _engine(url)
    try:
        _migrate(engine)
    except CommandError as e:
        engine.dispose()
        raise ServiceError(
            f"the database at {_shown(engine.url)} was made by another version of Radiarch ({e})",
            remedy="Run the version that made it, or a newer one; or give another DatabaseUrl.",
            code=ErrorCode.NOT_READY,
        ) from e
    except DBAPIError as e:
        engine.dispose()
        raise _unavailable(engine.url, e) from e
    return Database(engine)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed,
                pool_size=10,
                max_overflow=40,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 10},
                hide_parameters=True,  # errors go to the log, patients must not
            )
    except (ArgumentError, NoSuchModuleError, ValueError):
        pass
    raise ServiceError(
        "the DatabaseUrl is neither sqlite:////path/file nor postgresql://user:password@host/name",
        remedy="Correct Radiarch.DatabaseUrl in Orthanc's configuration, or leave it out for SQLite.",
        code=ErrorCode.NOT_READY,
    )


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError("needs a file: each connection in memory would be another database")
    path = Path(url.database)
    with contextlib.suppress(OSError):  # connecting says what is wrong
        # it names patients: for Orthanc's user alone
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(
        url,
        pool_size=10,
        max_overflow=40,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _setup(dbapi_connection: sqlite3.Connection, _record: Any) -> None:
        # sqlite3 must not start transactions by itself: it would begin them as readers, which then cannot all write
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        _use_wal(cursor)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("radiarch_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _use_wal(cursor: sqlite3.Cursor) -> None:
    # SQLite does not wait for its busy timeout here: of several that open a new file at once, all but one are refused.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    with engine.connect() as connection, _foreign_keys_off(connection):
        connection = connection.execution_options(radiarch_write=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":  # two Orthancs that start at once
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextlib.contextmanager
def _foreign_keys_off(connection: Connection) -> Iterator[None]:
    """SQLite changes a constraint by a new table in the old one's place, whose rows would take others with them."""
    if connection.dialect.name != "sqlite":
        yield
        return
    dbapi = connection.connection.dbapi_connection
    assert dbapi is not None
    cursor = dbapi.cursor()  # not by SQLAlchemy: it would begin a transaction, in which the pragma does nothing
    cursor.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _unavailable(url: URL, e: DBAPIError) -> ServiceError:
    return ServiceError(
        f"the database at {_shown(url)} cannot be used: {type(e.orig).__name__}",
        remedy="See that it runs, that its folder can be written and that the DatabaseUrl is right.",
        code=ErrorCode.NOT_READY,
    )


class Ownership:
    """The right to act on a database: of all plugins that share it, one reads arrivals and drives jobs.

    It ends with the process that holds it, however that ends.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """True where this process owns the database now; to be asked again and again: a connection may be lost."""
        with self._guard:
            return self._lock_file() if self._database.is_sqlite else self._lock_server()

    def release(self) -> None:
        with self._guard:
            self._release()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._connection is not None:
            with contextlib.suppress(DBAPIError):
                self._connection.scalar(text("SELECT pg_advisory_unlock(:key)"), {"key": _OWNER_LOCK})
            with contextlib.suppress(DBAPIError):
                self._connection.close()
            self._connection = None

    def _lock_file(self) -> bool:
        if self._file is not None:
            return True
        name = self._database.engine.url.database
        assert name is not None
        file = Path(f"{name}.owner").open("ab")  # noqa: SIM115 - held for as long as the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def _lock_server(self) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return True
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            taken = connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _OWNER_LOCK})
        except DBAPIError:
            self._release()
            return False
        if not taken:
            connection.close()
            return False
        connection.detach()  # the lock lives as long as this connection: it must not go back into the pool
        self._connection = connection
        return True
