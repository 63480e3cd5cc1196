"""Retention: what has expired goes, and what check-ins need to be dropped later is there in time.

Each piece of work is a short transaction of its own, so that check-ins go on in between. Several
processes may all do this, one piece after the other.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from doorstep_server import logs
from doorstep_server.store import Connection, retention, tenants
from doorstep_server.store.database import Database, DatabaseUnavailable
from doorstep_server.store.reach import DIRECTORY, NOTHING, Reach

#: expiry is by the day; often enough that a process that came late is no matter
EVERY_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one run did."""

    partitions_made: int
    partitions_dropped: int
    check_ins_deleted: int
    receipts_deleted: int


async def run(database: Database, today: date) -> Report:
    """Do all that is due. Raises `DatabaseUnavailable`: what was done till then stays done."""
    known = [tenant.tenant_id for tenant in await database.read(DIRECTORY, tenants.all_tenants)]
    longest = timedelta(days=await database.read(Reach.of_all(known), _longest(known)))
    report = Report(
        partitions_made=await _alone(
            database, NOTHING, lambda c: retention.make_partitions(c, today, longest)
        ),
        partitions_dropped=await _alone(
            database, NOTHING, lambda c: retention.drop_partitions(c, today)
        ),
        check_ins_deleted=0
        if await database.read(NOTHING, retention.has_partitions)
        else await _deleted(database, known, retention.delete_check_ins, today),
        receipts_deleted=await _deleted(database, known, retention.delete_receipts, today),
    )
    logs.event("retention", level=logging.DEBUG, **asdict(report))
    return report


async def keep_running(
    database: Database, now: Callable[[], datetime], every_s: float = EVERY_S
) -> None:
    """Run at once and then again and again, until cancelled. A run that fails is told and over."""
    while True:
        try:
            await run(database, now().date())
        except DatabaseUnavailable as error:
            logs.event("retention-put-off", level=logging.WARNING, cause=error.code)
        except Exception as error:  # noqa: BLE001 - the next run must come, whatever happened
            logs.failure(error)
        # not all processes at the same moment
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))  # noqa: S311


def _longest(known: list[UUID]) -> Callable[[Connection], int]:
    return lambda c: max((retention.longest_days(c, tenant_id) for tenant_id in known), default=0)


async def _deleted(
    database: Database,
    known: list[UUID],
    delete: Callable[[Connection, UUID, date], int],
    today: date,
) -> int:
    total = 0
    for tenant_id in known:

        def piece(connection: Connection, tenant_id: UUID = tenant_id) -> int:
            return delete(connection, tenant_id, today)

        while deleted := await _alone(database, Reach.of(tenant_id), piece):
            total += deleted
    return total


async def _alone(database: Database, reach: Reach, work: Callable[[Connection], int]) -> int:
    """Do a piece of work while no other process does one."""

    def piece(connection: Connection) -> int:
        retention.alone(connection)
        return work(connection)

    return await database.write(reach, piece)
