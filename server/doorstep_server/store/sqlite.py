"""SQLite: one file, for one machine.

Store functions run in threads of their own: one writer, so that the writers of a process never wait
for a lock, and a few readers beside it.
"""

import asyncio
import shutil
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import shapely
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from doorstep_server.store import driver, isolation, migrate, tenants
from doorstep_server.store.database import (
    WAIT_S,
    CannotCopy,
    Database,
    DatabaseDamaged,
    DatabaseUnavailable,
    KeyTaken,
    Scrubbed,
    StoreFunction,
)
from doorstep_server.store.reach import NOTHING, OWNER, Reach

T = TypeVar("T")

#: beside the one that follows changes
READERS = 4
#: of each connection at most: pages that a day's check-ins are written into
CACHE_KIB = 16_384
#: readers are done with the state that they look at within this, or are asked about later
SCRUBBING_WAIT_S = 20.0
_EMPTY_WAL = "PRAGMA wal_checkpoint(TRUNCATE)"


class SqliteDatabase(Database):
    """A SQLite database file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer = _engine(file, begin="BEGIN IMMEDIATE", connections=1)
        self._reader = _engine(file, begin="BEGIN", connections=READERS + 1)
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="doorstep-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="doorstep-read")
        self._following_thread = ThreadPoolExecutor(1, thread_name_prefix="doorstep-follow")
        self._one_writer = threading.Lock()

    async def write(self, reach: Reach, function: StoreFunction[T]) -> T:
        """In the writing thread. Whose turn comes too late is not tried any more."""
        asked = time.monotonic()

        def run() -> T:
            if time.monotonic() - asked > WAIT_S:
                raise DatabaseUnavailable("waited too long")
            return self.write_now(reach, function)

        return await asyncio.get_running_loop().run_in_executor(self._write_thread, run)

    async def write_group(self, reach: Reach, function: StoreFunction[T]) -> T:
        """Writes are in a thread anyway."""
        return await self.write(reach, function)

    async def write_much(self, reach: Reach, function: StoreFunction[T]) -> T:
        """Writes are in a thread anyway."""
        return await self.write(reach, function)

    async def read(self, reach: Reach, function: StoreFunction[T]) -> T:
        """In one of the reading threads."""
        return await asyncio.get_running_loop().run_in_executor(
            self._read_threads, self.read_now, reach, function
        )

    async def follow(self, reach: Reach, function: StoreFunction[T]) -> T:
        """In a thread that is there for nothing else."""
        return await asyncio.get_running_loop().run_in_executor(
            self._following_thread, self.read_now, reach, function
        )

    async def read_much(self, reach: Reach, function: StoreFunction[T]) -> T:
        """Reads are in threads anyway."""
        return await self.read(reach, function)

    def write_now(self, reach: Reach, function: StoreFunction[T]) -> T:
        """In this thread."""
        with self._one_writer, _transaction(self._writer) as connection:
            reach.enter(connection)
            return function(connection)

    def read_now(self, reach: Reach, function: StoreFunction[T]) -> T:
        """In this thread."""
        with _transaction(self._reader) as connection:
            reach.enter(connection)
            return function(connection)

    def administer(self, function: StoreFunction[T]) -> T:
        """The file's owner is who runs this; a file that is not there is made, theirs alone."""
        self._file.touch(mode=0o600, exist_ok=True)
        return self.write_now(OWNER, function)

    def scrub_now(self, days: Collection[date] | None) -> Scrubbed:
        """Deleted rows are overwritten in the file already; the write-ahead log is emptied."""
        del days
        until = time.monotonic() + SCRUBBING_WAIT_S
        while True:
            with self._one_writer, closing(self._writer.raw_connection()) as connection:
                busy, *_ = connection.cursor().execute(_EMPTY_WAL).fetchone()
            if not busy:
                return Scrubbed(wal_since=None, wal_known=True)
            if time.monotonic() > until:
                raise DatabaseUnavailable("readers hold the write-ahead log")
            time.sleep(0.05)

    def mix_now(self, over: Collection[date], lasting: Collection[date]) -> int:
        """A row lies where its random id puts it, and says nothing of its transaction."""
        del over, lasting
        return 0

    def back_up(self, file: Path) -> None:
        """A new file without free pages, so without anything that was deleted."""
        if file.exists():
            raise CannotCopy("There is such a file already: name another.")
        # what a killed run left
        partial = file.with_name(file.name + ".part")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        with closing(self._reader.raw_connection()) as connection:
            try:
                connection.cursor().execute("VACUUM INTO ?", (str(partial),))
            except sqlite3.DatabaseError as error:
                partial.unlink(missing_ok=True)
                raise DatabaseUnavailable(
                    getattr(error, "sqlite_errorname", "cannot be copied")
                ) from None
        with _closed(SqliteDatabase(partial)) as copy:
            copy.write_now(OWNER, lambda c: tenants.mark_copy(c, is_copy=True))
        partial.rename(file)

    def restore(self, file: Path) -> None:
        """A copy of the file, which is looked through first."""
        if self._file.exists():
            raise CannotCopy(
                "There is a database already. Move it away first: it is not written over."
            )
        partial = self._file.with_name(self._file.name + ".part")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        shutil.copyfile(file, partial)
        try:
            with _closed(SqliteDatabase(partial)) as copy:
                whole = copy.write_now(OWNER, _is_whole_copy)
        except DatabaseUnavailable:
            whole = False
        if not whole:
            partial.unlink()
            raise CannotCopy("This file is not a backup that `doorstep backup` made.")
        partial.rename(self._file)

    def exists(self) -> bool:
        """Whether there is a file with a schema in it."""
        if not self._file.is_file() or not self._file.stat().st_size:
            return False
        return not self.read_now(OWNER, migrate.is_empty)

    async def require_writable(self) -> None:
        """A write transaction can begin."""
        await self.write(NOTHING, lambda _: None)

    async def close(self) -> None:
        """The write-ahead log is folded into the file."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """The write-ahead log is folded into the file."""
        self._write_thread.shutdown()
        self._following_thread.shutdown()
        self._read_threads.shutdown()
        self._reader.dispose()
        self._writer.dispose()


@contextmanager
def _closed(database: SqliteDatabase) -> Iterator[SqliteDatabase]:
    try:
        yield database
    finally:
        database.close_now()


def _is_whole_copy(connection: Connection) -> bool:
    found = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
    if found != "ok" or migrate.is_empty(connection):
        return False
    tenants.mark_copy(connection, is_copy=True)
    return True


def _engine(file: Path, *, begin: str, connections: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=WAIT_S,
        hide_parameters=True,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        connect_args={
            # we begin transactions ourselves: the driver's own way leaves DDL outside them
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": WAIT_S,
        },
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", lambda connection: driver.fetch(connection, begin, ()))
    isolation.enforce(engine)
    return engine


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # a commit that was answered survives a power cut
        "secure_delete = ON",  # deleted rows are overwritten, not only unlinked
        "foreign_keys = ON",
        "temp_store = MEMORY",  # no sorted rows in temporary files
        f"cache_size = -{CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    # the one function of PostGIS that the store uses, on planar GEOS as there
    connection.create_function("ST_Intersects", 2, _intersects, deterministic=True)


def _intersects(a: bytes, b: bytes) -> bool:
    return bool(shapely.intersects(shapely.from_wkb(a), shapely.from_wkb(b)))


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except (DatabaseError, sqlite3.DatabaseError) as error:
        code = _code(error)
        if code.startswith(_DAMAGED):
            raise DatabaseDamaged(code) from None
        if code in _TAKEN:
            raise KeyTaken(code) from None
        if isinstance(error, OperationalError | sqlite3.OperationalError):
            raise DatabaseUnavailable(code) from None
        raise
    except PoolTimeout:
        raise DatabaseUnavailable("no connection is free") from None


_TAKEN = {"SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"}
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def _code(error: DatabaseError | sqlite3.DatabaseError) -> str:
    """The database's own short code (SQLITE_BUSY, …): its messages may quote what was written."""
    said = error.orig if isinstance(error, DatabaseError) else error
    return str(getattr(said, "sqlite_errorname", type(said).__name__))
