"""Writing tables anew on PostgreSQL, so that nothing of a deleted row is left in their files.

A deleted row stays in its page, readable to who has the files, until something else is written
there; VACUUM does not change that. So the tables are written into new files, without what was
deleted (by `doorstep_rewrite`, since only their owner may). A row that an older transaction could
still see would be taken along: first it is waited for those.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from typing import Any

from sqlalchemy import ARRAY, Connection, Date, bindparam, func, select, text

from doorstep_server.store.database import DatabaseUnavailable, Scrubbed, StoreFunction

Connecting = Callable[[StoreFunction[Any]], Awaitable[Any]]

#: older transactions end within this, or it is tried again later
OLDER_WAIT_S = 40.0
#: a table that is in use is tried again so often
TRIES = 20
_LOOK_EVERY_S = 0.1
#: the current transaction's number
CURRENT = "SELECT pg_current_xact_id()::xid::text"
#: whether anything could still see what was deleted before that: a transaction, whether it writes
#: or only looks, a prepared one, a standby. VACUUM itself looks at nothing.
OLDER = """
SELECT EXISTS (
    SELECT 1 FROM (
        SELECT backend_xid, backend_xmin FROM pg_stat_activity
        WHERE pid <> pg_backend_pid()
            AND (datname = current_database() OR backend_type = 'walsender')
            AND pid NOT IN (SELECT v.pid FROM pg_stat_progress_vacuum v)
        UNION ALL
        SELECT transaction, transaction FROM pg_prepared_xacts WHERE database = current_database()
        UNION ALL
        SELECT NULL, xmin FROM pg_replication_slots
    ) AS others (xid, xmin)
    WHERE age(xid) >= age(CAST(CAST(:now AS text) AS xid))
        OR age(xmin) >= age(CAST(CAST(:now AS text) AS xid))
)
"""
#: a partition is named by its Monday; this many days on either side of today there are any
_ALL_DAYS = 450


async def scrub(
    connecting: Callable[[], AbstractAsyncContextManager[Connecting]],
    days: Collection[date] | None,
) -> Scrubbed:
    """Write the tables anew that hold, or held, rows of persons. Raises `DatabaseUnavailable`."""
    async with connecting() as run:
        await wait_for_older(run)
        names = await run(lambda c: _rewritable(c, _days(days)))
        for name in names:
            await rewrite(run, name)
        since = await run(_oldest_wal)
    return Scrubbed(wal_since=since, wal_known=since is not None)


def _days(days: Collection[date] | None) -> list[date]:
    if days is not None:
        return sorted(days)
    today = date.today()  # noqa: DTZ011 - which partitions there are, not what has expired
    return [today + timedelta(days=i) for i in range(-_ALL_DAYS, _ALL_DAYS)]


async def wait_for_older(run: Connecting) -> None:
    """Until no transaction is left that could see what was deleted before now."""
    now = await run(lambda c: c.execute(text(CURRENT)).scalar())
    until = time.monotonic() + OLDER_WAIT_S
    while await run(lambda c: c.execute(text(OLDER), {"now": now}).scalar()):
        if time.monotonic() > until:
            raise DatabaseUnavailable("older transactions have not ended")
        await asyncio.sleep(_LOOK_EVERY_S)


async def rewrite(run: Connecting, name: str) -> None:
    """Write one table into a new file, as soon as nobody uses it. Raises `DatabaseUnavailable`."""

    def anew(connection: Connection) -> None:
        connection.execute(text("SELECT set_config('statement_timeout', '0', true)"))
        connection.execute(select(func.doorstep_rewrite(name)))

    for left in reversed(range(TRIES)):
        try:
            await run(anew)
        except DatabaseUnavailable:
            if not left:
                raise
            await asyncio.sleep(_LOOK_EVERY_S)
        else:
            return


def _rewritable(connection: Connection, days: list[date]) -> list[str]:
    asked = func.doorstep_rewritable(bindparam("days", days, type_=ARRAY(Date)))
    return list(connection.execute(select(asked)).scalars())


def _oldest_wal(connection: Connection) -> date | None:
    return connection.execute(select(func.doorstep_oldest_wal(type_=Date()))).scalar()
