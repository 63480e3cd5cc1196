"""Writing a day's check-ins anew on PostgreSQL, so that nobody sees which of them came together.

Every row there tells the number of the transaction that wrote it, for as long as the row is there.
What a phone sent at once is one transaction: the rows of one person. So when a day is over, all
its rows are written once more, in one transaction and in the order of their random ids (by
`doorstep_mix`, since nobody else may change a check-in), and then the table into a new file,
without what those rows were before. A table that is too large for that keeps them until VACUUM.
While a day lasts, the same is done where it costs little, each time with all that came that day.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import date
from functools import partial

from sqlalchemy import ARRAY, Connection, Date, bindparam, func, select, text

from doorstep_server.store.scrubbing import Connecting, rewrite, wait_for_older

#: check-ins wait while a table is written into a new file: a second or two for this much
SMALL_BYTES = 64 * 2**20
#: and for this much a fifth of that; some 60,000 check-ins, of a week
VERY_SMALL_BYTES = 16 * 2**20
#: one process mixes at a time
_MIXING = 0x0D00313E5


async def mix(
    connecting: Callable[[], AbstractAsyncContextManager[Connecting]],
    over: Collection[date],
    lasting: Collection[date],
) -> int:
    """Write anew the rows that expire on these days, where that was not done; how many rows.

    To those of days that are over none is added any more. Raises `DatabaseUnavailable`.
    """
    async with connecting() as run:
        few = await run(lambda c: [day for day in lasting if _is_very_small(c, day)])
        mixed = {day: await run(partial(_mix, day)) for day in sorted({*over, *few})}
        changed = [day for day, rows in mixed.items() if rows]
        if changed:
            await wait_for_older(run)
            for name in await run(lambda c: _tables(c, changed, SMALL_BYTES)):
                await rewrite(run, name)
    return sum(mixed.values())


def _mix(day: date, connection: Connection) -> int:
    connection.execute(text("SELECT set_config('statement_timeout', '0', true)"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIXING})"))
    return int(connection.execute(select(func.doorstep_mix(day))).scalar_one())


def _is_very_small(connection: Connection, day: date) -> bool:
    """Whether the table of a day's week is."""
    return bool({*_tables(connection, [day], VERY_SMALL_BYTES)} - {"check_ins_default"})


def _tables(connection: Connection, days: list[date], below_bytes: int) -> list[str]:
    """The tables of these days that are smaller."""
    asked = func.doorstep_rewritable(bindparam("days", days, type_=ARRAY(Date))).column_valued(
        "name"
    )
    small = func.pg_relation_size(asked) < below_bytes
    named = asked.like("check\\_ins\\_%")
    return list(connection.execute(select(asked).where(named, small)).scalars())
