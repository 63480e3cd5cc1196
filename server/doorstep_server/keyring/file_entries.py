"""Entries in a SQLite file, for one machine."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

from doorstep_server.keyring.entries import Entries, EntryName, Head, Kind
from doorstep_server.keyring.errors import (
    LOST_DATABASE,
    MISSING,
    KeyringUnusable,
    unreadable,
)

_SCHEMA = """
CREATE TABLE keyring (
    keyring_id TEXT NOT NULL PRIMARY KEY, database_id TEXT NOT NULL, generation INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE keyring_entries (
    tenant TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, wrapped BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, name)
) WITHOUT ROWID;
"""
_ONE = "tenant = ? AND kind = ? AND name = ?"
_WAIT_S = 5.0


class FileEntries(Entries):
    """A file, opened for each call: nothing is cached here.

    Without a write-ahead log: whoever reads makes no file, so keys are found on a full disk, too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def create(self, head: Head, entries: Mapping[EntryName, bytes]) -> None:
        """Make the file, readable by its owner alone."""
        try:
            self._path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            raise KeyringUnusable(LOST_DATABASE) from None
        with self._connection() as connection:
            connection.executescript(_SCHEMA)
            connection.execute(
                "INSERT INTO keyring VALUES (?, ?, ?)",
                (str(head.keyring_id), str(head.database_id), head.generation),
            )
            _insert(connection, entries)

    def remove(self) -> None:
        """Remove the file."""
        for ending in ("", "-journal"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    def head(self) -> Head:
        """From its one row."""
        if not self._path.is_file():
            raise KeyringUnusable(MISSING)
        with self._connection() as connection:
            row = connection.execute("SELECT * FROM keyring").fetchone()
        if row is None:
            raise unreadable("empty")
        return Head(keyring_id=UUID(row[0]), database_id=UUID(row[1]), generation=row[2])

    def read(self, names: Collection[EntryName]) -> dict[EntryName, bytes]:
        """One look for each."""
        query = f"SELECT wrapped FROM keyring_entries WHERE {_ONE}"  # noqa: S608
        with self._connection() as connection:
            found = {name: connection.execute(query, name).fetchone() for name in names}
        return {name: row[0] for name, row in found.items() if row is not None}

    def names(self, tenant: str, kind: Kind) -> list[str]:
        """In order."""
        query = "SELECT name FROM keyring_entries WHERE tenant = ? AND kind = ? ORDER BY name"
        with self._connection() as connection:
            return [row[0] for row in connection.execute(query, (tenant, kind))]

    def tenants(self) -> set[str]:
        """All but the deployment."""
        query = "SELECT DISTINCT tenant FROM keyring_entries WHERE tenant <> ''"
        with self._connection() as connection:
            return {row[0] for row in connection.execute(query)}

    def add(
        self,
        entries: Mapping[EntryName, bytes],
        *,
        counted: bool,
        beside: EntryName | None = None,
    ) -> bool:
        """In one transaction."""
        try:
            with self._connection() as connection:
                _insert(connection, entries)
                if beside is not None:
                    _require(connection, beside)
                _count(connection, counted=counted)
        except _Taken:
            return False
        return True

    def destroy(self, names: Collection[EntryName], *, counted: bool) -> None:
        """Overwritten in the file; the journal of before is removed with the commit."""
        statement = f"DELETE FROM keyring_entries WHERE {_ONE}"  # noqa: S608
        with self._connection() as connection:
            for name in names:
                connection.execute(statement, name)
            _count(connection, counted=counted)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as connection:
                # the removal of the journal is what commits: it is to be on the disk as well
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA secure_delete = ON")
                with connection:
                    yield connection
        except sqlite3.IntegrityError:
            raise _Taken from None
        except sqlite3.DatabaseError as error:
            raise unreadable(getattr(error, "sqlite_errorname", "no database")) from None


class _Taken(Exception):
    """There is an entry of this name, or none beside which it would stand."""


def _require(connection: sqlite3.Connection, name: EntryName) -> None:
    query = f"SELECT 1 FROM keyring_entries WHERE {_ONE}"  # noqa: S608
    if connection.execute(query, name).fetchone() is None:
        raise _Taken


def _insert(connection: sqlite3.Connection, entries: Mapping[EntryName, bytes]) -> None:
    rows = [(*name, wrapped) for name, wrapped in entries.items()]
    connection.executemany("INSERT INTO keyring_entries VALUES (?, ?, ?, ?)", rows)


def _count(connection: sqlite3.Connection, *, counted: bool) -> None:
    if counted:
        connection.execute("UPDATE keyring SET generation = generation + 1")
