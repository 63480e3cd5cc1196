"""Faults of a database under a running server: each is there while its block runs."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import TYPE_CHECKING

from asyncpg import DeadlockDetectedError

from doorstep_server.store.schema import metadata
from postgres import Session

if TYPE_CHECKING:
    from privacy.canary_scenes import Scene

Fault = Callable[["Scene"], AbstractContextManager[None]]

#: of persons and their devices, and what check-ins write
_TABLES = [table.name for table in metadata.sorted_tables if "tenant_id" in table.c]


def of(scene: Scene) -> Iterator[Fault]:
    """All that the scene's database can have; those that take long only in full."""
    yield row_refused
    if scene.database is None:
        yield no_room
    else:
        yield from (connections_ended, read_only)
    if scene.full:
        yield held
        if scene.database is not None:
            yield row_quoted


@contextmanager
def row_refused(scene: Scene) -> Iterator[None]:
    """The database refuses every new row, for a reason that the server does not know.

    It says nothing of the row: whatever is told of it comes from the statement's values.
    """
    if scene.database is None:
        make = "CREATE TRIGGER refuse_{0} BEFORE INSERT ON {0} BEGIN SELECT RAISE(ABORT, 'no'); END"
        with _each(scene, make, "DROP TRIGGER refuse_{0}"):
            yield
        return
    scene.database.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no'; END $$"
    )
    make = "CREATE TRIGGER refuse BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION refuse()"
    with _each(scene, make, "DROP TRIGGER refuse ON {0}"):
        yield


@contextmanager
def row_quoted(scene: Scene) -> Iterator[None]:
    """The same, and PostgreSQL quotes the row in what it says."""
    make = "ALTER TABLE {0} ADD CONSTRAINT refuse_{0} CHECK (false) NOT VALID"
    with _each(scene, make, "ALTER TABLE {0} DROP CONSTRAINT refuse_{0}"):
        yield


@contextmanager
def no_room(scene: Scene) -> Iterator[None]:
    """No file of the server can grow."""
    assert scene.process is not None
    before = resource.prlimit(scene.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(scene.process.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.prlimit(scene.process.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def held(scene: Scene) -> Iterator[None]:
    """Another process holds what every write needs."""
    if scene.database is None:
        with closing(_opened(scene)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    with scene.database.session() as session:
        tables = ", ".join(_TABLES)
        _insist(session, "BEGIN", f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")
        yield
        session.run("ROLLBACK")


@contextmanager
def connections_ended(scene: Scene) -> Iterator[None]:
    """By an administrator: each is found closed when it is used again."""
    _terminate(scene)
    yield


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    """As on a standby."""
    assert scene.database is not None
    assert scene.cluster is not None
    setting = f'ALTER DATABASE "{scene.database.name}" SET default_transaction_read_only = '
    scene.cluster.sql(f"{setting} on")
    _terminate(scene)
    yield
    scene.cluster.sql(f"{setting} off")
    _terminate(scene)


def _terminate(scene: Scene) -> None:
    assert scene.cluster is not None
    assert scene.database is not None
    scene.cluster.terminate_backends(scene.database.name)


@contextmanager
def _each(scene: Scene, make: str, undo: str) -> Iterator[None]:
    """Make something of each table, and undo it."""
    _run(scene, make)
    yield
    _run(scene, undo)


def _run(scene: Scene, statement: str) -> None:
    """Once for each table."""
    statements = [statement.format(table) for table in _TABLES]
    if scene.database is None:
        with closing(_opened(scene)) as file:
            file.executescript("; ".join(statements))
        return
    with scene.database.session() as session:
        for each in statements:
            _insist(session, each)


def _insist(session: Session, *statements: str) -> None:
    """The server goes on meanwhile, and may lock tables and partitions in another order."""
    while True:
        with suppress(DeadlockDetectedError):
            for statement in statements:
                session.run(statement)
            return
        session.run("ROLLBACK")


def _opened(scene: Scene) -> sqlite3.Connection:
    return sqlite3.connect(scene.home / "doorstep.db", isolation_level=None)
