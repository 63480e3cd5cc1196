"""Entries in a PostgreSQL database of their own, with backups of its own: for several machines."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import asyncpg

from doorstep_server.keyring.entries import Entries, EntryName, Head, Kind
from doorstep_server.keyring.errors import LOST_DATABASE, MISSING, KeyringUnusable, unreadable
from doorstep_server.store import pooler
from doorstep_server.store.scrubbing import CURRENT, OLDER

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE keyring (
    keyring_id uuid NOT NULL PRIMARY KEY, database_id uuid NOT NULL, generation bigint NOT NULL
);
CREATE TABLE keyring_entries (
    tenant text NOT NULL, kind text NOT NULL, name text NOT NULL, wrapped bytea NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);
-- what is said of values in a column would be kept elsewhere, too
ALTER TABLE keyring_entries ALTER COLUMN name SET STATISTICS 0;
ALTER TABLE keyring_entries ALTER COLUMN wrapped SET STATISTICS 0;
"""
_WAIT_S = 5.0
_LOOK_EVERY_S = 0.1
_UNDEFINED_TABLE = "42P01"
#: several that make a keyring at once wait for each other
_MAKING = 0x0D0027E9


class PostgresEntries(Entries):
    """A database, connected to for each call: nothing is cached here.

    It is called from threads that may wait, never from the event loop.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def exists(self) -> bool:
        """Whether there is a keyring in the database."""

        async def look(connection: Any) -> bool:
            return bool(await connection.fetchval("SELECT to_regclass('keyring') IS NOT NULL"))

        return self._run(look)

    def create(self, head: Head, entries: Mapping[EntryName, bytes]) -> None:
        """Make the tables, which only their owner may read."""

        async def make(connection: Any) -> None:
            await connection.execute(f"SELECT pg_advisory_xact_lock({_MAKING})")
            if await connection.fetchval("SELECT to_regclass('keyring') IS NOT NULL"):
                raise KeyringUnusable(LOST_DATABASE)
            await connection.execute(_SCHEMA)
            await connection.execute(
                "INSERT INTO keyring VALUES ($1, $2, $3)",
                head.keyring_id,
                head.database_id,
                head.generation,
            )
            await _insert(connection, entries)

        self._run(make)

    def remove(self) -> None:
        """Drop the tables."""

        async def drop(connection: Any) -> None:
            await connection.execute("DROP TABLE keyring, keyring_entries")

        self._run(drop)

    def head(self) -> Head:
        """From its one row."""

        async def look(connection: Any) -> Any:
            return await connection.fetchrow("SELECT * FROM keyring")

        row = self._run(look)
        if row is None:
            raise unreadable("empty")
        return Head(
            keyring_id=row["keyring_id"],
            database_id=row["database_id"],
            generation=row["generation"],
        )

    def read(self, names: Collection[EntryName]) -> dict[EntryName, bytes]:
        """In one statement."""

        async def look(connection: Any) -> Any:
            return await connection.fetch(
                "SELECT tenant, kind, name, wrapped FROM keyring_entries JOIN "
                "unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, kind, name) "
                "USING (tenant, kind, name)",
                *_columns(names),
            )

        rows = self._run(look) if names else []
        return {EntryName(r["tenant"], Kind(r["kind"]), r["name"]): r["wrapped"] for r in rows}

    def names(self, tenant: str, kind: Kind) -> list[str]:
        """In order."""

        async def look(connection: Any) -> Any:
            return await connection.fetch(
                "SELECT name FROM keyring_entries WHERE tenant = $1 AND kind = $2 ORDER BY name",
                tenant,
                str(kind),
            )

        return [row["name"] for row in self._run(look)]

    def tenants(self) -> set[str]:
        """All but the deployment."""

        async def look(connection: Any) -> Any:
            return await connection.fetch(
                "SELECT DISTINCT tenant FROM keyring_entries WHERE tenant <> ''"
            )

        return {row["tenant"] for row in self._run(look)}

    def add(
        self,
        entries: Mapping[EntryName, bytes],
        *,
        counted: bool,
        beside: EntryName | None = None,
    ) -> bool:
        """In one transaction."""

        async def write(connection: Any) -> None:
            if beside is not None and not await _held(connection, beside):
                raise _Taken
            await _insert(connection, entries)
            await _count(connection, counted=counted)

        try:
            self._run(write)
        except _Taken:
            return False
        return True

    def destroy(self, names: Collection[EntryName], *, counted: bool) -> None:
        """Deleted, and the table written anew: a deleted row's bytes would stay in its page."""

        async def write(connection: Any) -> None:
            await connection.execute(
                "DELETE FROM keyring_entries USING "
                "unnest($1::text[], $2::text[], $3::text[]) AS wanted (t, k, n) "
                "WHERE tenant = t AND kind = k AND name = n",
                *_columns(names),
            )
            await _count(connection, counted=counted)

        async def rewrite(connection: Any) -> None:
            await _wait_for_older(connection)
            await connection.execute("VACUUM FULL keyring_entries")

        self._run(write)
        self._run(rewrite, in_transaction=False)

    def _run(self, work: Callable[[Any], Awaitable[T]], *, in_transaction: bool = True) -> T:
        """In an event loop of its own; the calling thread may have one that runs already."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._connected(work, in_transaction)).result()

    async def _connected(
        self,
        work: Callable[[Any], Awaitable[T]],
        in_transaction: bool,  # noqa: FBT001
    ) -> T:
        try:
            connect = pooler.connecting(self._url, timeout=_WAIT_S, command_timeout=30.0)
            connection = await connect()
            try:
                if not in_transaction:
                    return await work(connection)
                async with connection.transaction():
                    return await work(connection)
            finally:
                await connection.close(timeout=_WAIT_S)
        except asyncpg.UniqueViolationError:
            raise _Taken from None
        except asyncpg.PostgresError as error:
            # its messages may quote what was written
            if error.sqlstate == _UNDEFINED_TABLE:
                raise KeyringUnusable(MISSING) from None
            raise unreadable(f"SQLSTATE {error.sqlstate}") from None
        except (OSError, TimeoutError, asyncpg.InterfaceError):
            raise unreadable("cannot be reached") from None


class _Taken(Exception):
    """There is an entry of this name, or none beside which it would stand."""


def _columns(names: Collection[EntryName]) -> tuple[list[str], list[str], list[str]]:
    return [n.tenant for n in names], [str(n.kind) for n in names], [n.name for n in names]


async def _held(connection: Any, name: EntryName) -> bool:
    """Whether there is this entry, which nobody destroys before this transaction ends."""
    query = (
        "SELECT 1 FROM keyring_entries WHERE tenant = $1 AND kind = $2 AND name = $3 FOR KEY SHARE"
    )
    return bool(await connection.fetchval(query, name.tenant, str(name.kind), name.name))


async def _wait_for_older(connection: Any) -> None:
    """What somebody could still see would be taken along into the new file."""
    now = await connection.fetchval(CURRENT)
    until = time.monotonic() + _WAIT_S
    while await connection.fetchval(OLDER.replace(":now", "$1"), now):
        if time.monotonic() > until:
            raise unreadable("older transactions have not ended")
        await asyncio.sleep(_LOOK_EVERY_S)


async def _insert(connection: Any, entries: Mapping[EntryName, bytes]) -> None:
    rows = [(n.tenant, str(n.kind), n.name, wrapped) for n, wrapped in entries.items()]
    await connection.executemany("INSERT INTO keyring_entries VALUES ($1, $2, $3, $4)", rows)


async def _count(connection: Any, *, counted: bool) -> None:
    if counted:
        await connection.execute("UPDATE keyring SET generation = generation + 1")
