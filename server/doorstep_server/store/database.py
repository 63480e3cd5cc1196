"""Where store functions run.

Store functions are synchronous and take a connection. On SQLite they run in threads of their own:
one writer, so writers of this process never wait for a lock, and a few readers beside it. (On
PostgreSQL the same functions will run under `AsyncConnection.run_sync`.)
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

T = TypeVar("T")

READERS = 4
BUSY_TIMEOUT_MS = 5_000


class UnsupportedDatabase(ValueError):
    """DOORSTEP_DATABASE_URL names a database that this version does not run on."""


class DatabaseUnavailable(RuntimeError):
    """The database cannot take or give anything now (locked, full, read-only, gone): try later."""

    def __init__(self, code: str) -> None:
        super().__init__(
            f"The database cannot be used now ({code}). Another process may hold it, or its disk "
            "may be full: see to that and try again."
        )


class DatabaseDamaged(DatabaseUnavailable):
    """The file is not a database, or is no longer whole. It is never replaced by an empty one."""

    def __init__(self, code: str) -> None:
        RuntimeError.__init__(
            self,
            f"The database is damaged ({code}). Stop every server that uses it, keep the file, and "
            "put a good copy in its place.",
        )


class Database:
    """A SQLite database file, opened for one process."""

    @classmethod
    def create(cls, url: str) -> "Database":
        """Open a database, making an empty one, its owner's alone, if there is none."""
        _file(url).touch(mode=0o600, exist_ok=True)
        return cls(url)

    @classmethod
    def open(cls, url: str) -> "Database | None":
        """Open a database; None when there is none. A lost one is never made anew."""
        file = _file(url)
        return cls(url) if file.is_file() and file.stat().st_size else None

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._writer = _engine(parsed, begin="BEGIN IMMEDIATE", connections=1)
        self._reader = _engine(parsed, begin="BEGIN", connections=READERS)
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="doorstep-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="doorstep-read")
        self._one_writer = threading.Lock()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction in this thread: committed (durable) on exit, or not at all."""
        with self._one_writer, _transaction(self._writer) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read transaction in this thread: one state of the database."""
        with _transaction(self._reader) as connection:
            yield connection

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run a store function in a write transaction. Raises `DatabaseUnavailable`.

        The wait is bounded, also behind others that wait for a lock: whose turn comes too late is
        not tried any more.
        """
        asked = time.monotonic()

        def run() -> T:
            if time.monotonic() - asked > BUSY_TIMEOUT_MS / 1000:
                raise DatabaseUnavailable("waited too long")
            with self.writing() as connection:
                return function(connection)

        return await asyncio.get_running_loop().run_in_executor(self._write_thread, run)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run a store function in a read transaction. Raises `DatabaseUnavailable`."""

        def run() -> T:
            with self.reading() as connection:
                return function(connection)

        return await asyncio.get_running_loop().run_in_executor(self._read_threads, run)

    def close(self) -> None:
        """Finish what runs, then close every connection; the write-ahead log is folded in."""
        self._write_thread.shutdown()
        self._read_threads.shutdown()
        self._reader.dispose()
        self._writer.dispose()


def _file(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = URL.create("none")
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise UnsupportedDatabase(
            "This version runs on SQLite files only: set DOORSTEP_DATABASE_URL to "
            "sqlite:///path/to/doorstep.db, or leave it unset."
        )
    return Path(str(parsed.database))


def _engine(url: URL, *, begin: str, connections: int) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        connect_args={
            # we begin transactions ourselves: the driver's own way leaves DDL outside them
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": BUSY_TIMEOUT_MS / 1000,
        },
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # a commit that was answered survives a power cut
        "secure_delete = ON",  # deleted rows are overwritten, not only unlinked
        "foreign_keys = ON",
        "temp_store = MEMORY",  # no sorted rows in temporary files
    ):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except DatabaseError as error:
        code = _code(error)
        if code.startswith(_DAMAGED):
            raise DatabaseDamaged(code) from None
        if isinstance(error, OperationalError):
            raise DatabaseUnavailable(code) from None
        raise
    except PoolTimeout:
        raise DatabaseUnavailable("no connection is free") from None


_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def _code(error: DatabaseError) -> str:
    """The database's own short code (SQLITE_BUSY, …): its messages may quote what was written."""
    return str(getattr(error.orig, "sqlite_errorname", type(error.orig).__name__))
