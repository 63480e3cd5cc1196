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
from functools import partial
from uuid import UUID

from doorstep_server import logs
from doorstep_server.holding import Holding
from doorstep_server.keyring import Keyring
from doorstep_server.meters import Meters
from doorstep_server.privacy.minimize import EXACT_DAYS
from doorstep_server.store import Connection, retention, tenants
from doorstep_server.store.database import Database, DatabaseUnavailable
from doorstep_server.store.reach import DIRECTORY, NOTHING, Reach

#: a server that did not run for longer leaves those days as they were
MIXED_WITHIN_DAYS = 7
#: expiry is by the day; often enough that a process that came late is no matter
EVERY_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one run did."""

    partitions_made: int
    partitions_dropped: int
    #: written anew, so that none shows which it came with
    check_ins_mixed: int
    check_ins_held: int
    check_ins_deleted: int
    receipts_deleted: int
    exact_positions_deleted: int
    holds_ended: int
    keys_destroyed: int


async def run(database: Database, keyring: Keyring, today: date) -> Report:
    """Do all that is due. Raises `DatabaseUnavailable`: what was done till then stays done.

    In this order: what is held is moved away, what expired is counted, and then it goes.
    """
    known = [tenant.tenant_id for tenant in await database.read(DIRECTORY, tenants.all_tenants)]
    kept = await database.read(Reach.of_all(known), _days_kept(known))
    longest = timedelta(days=max(kept, default=0))
    made = await _alone(database, NOTHING, lambda c: retention.make_partitions(c, today, longest))
    held, ended = await asyncio.to_thread(_hold, database, keyring, known, today)
    for tenant_id in known:
        await _alone(database, Reach.of(tenant_id), partial(_count, tenant_id, today))
    dropped = await _alone(database, NOTHING, lambda c: retention.drop_partitions(c, today))
    mixed = await asyncio.to_thread(database.mix_now, *_expiring(kept, today))
    report = Report(
        partitions_made=made,
        partitions_dropped=dropped,
        check_ins_mixed=mixed,
        check_ins_held=held,
        check_ins_deleted=0
        if await database.read(NOTHING, retention.has_partitions)
        else await _deleted(database, known, retention.delete_check_ins, today),
        receipts_deleted=await _deleted(database, known, retention.delete_receipts, today),
        exact_positions_deleted=await _deleted(
            database, known, retention.delete_exact_positions, today
        ),
        holds_ended=ended,
        keys_destroyed=await _destroy_keys(database, keyring, known, today),
    )
    logs.event("retention", level=logging.DEBUG, **asdict(report))
    return report


async def keep_running(
    database: Database,
    keyring: Keyring,
    now: Callable[[], datetime],
    meters: Meters,
    every_s: float = EVERY_S,
) -> None:
    """Run at once and then again and again, until cancelled. A run that fails is told and over."""
    while True:
        try:
            _count_run(meters, await run(database, keyring, now().date()), now())
        except DatabaseUnavailable as error:
            meters.retention_runs.add("put-off")
            logs.event("retention-put-off", level=logging.WARNING, cause=error.code)
        except Exception as error:  # noqa: BLE001 - the next run must come, whatever happened
            meters.retention_runs.add("failed")
            logs.failure(error)
        # not all processes at the same moment
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))  # noqa: S311


def _count_run(meters: Meters, report: Report, at: datetime) -> None:
    meters.retention_runs.add("done")
    meters.retention_done.set(at.timestamp())
    for what, count in (
        ("check_ins", report.check_ins_deleted),
        ("receipts", report.receipts_deleted),
        ("exact_positions", report.exact_positions_deleted),
        ("partitions", report.partitions_dropped),
        ("keys", report.keys_destroyed),
    ):
        meters.retention_deleted.add(what, count=count)


def _hold(database: Database, keyring: Keyring, known: list[UUID], today: date) -> tuple[int, int]:
    held = ended = 0
    for tenant_id in known:
        holding = Holding(database, keyring, tenant_id)
        ended += holding.end(today)
        if holding.in_force(today):
            held += holding.keep_expired(keyring.tenant(tenant_id, today), today)
    return held, ended


def _count(tenant_id: UUID, today: date, connection: Connection) -> int:
    retention.delete_old_proofs(connection, tenant_id, today)
    return retention.count_expired(connection, tenant_id, today)


async def _destroy_keys(
    database: Database, keyring: Keyring, known: list[UUID], today: date
) -> int:
    """Destroy the keys of what has expired, so that copies of it cannot be read either."""

    def destroy() -> tuple[int, int]:
        destroyed = 0
        for tenant_id in known:
            destroyed += keyring.destroy_ended_row_keys(tenant_id, today)
            # a day's positions can be read until the end of the next
            last = today - timedelta(days=EXACT_DAYS - 1)
            destroyed += keyring.destroy_ended_exact_keys(tenant_id, last)
        return destroyed, keyring.head().generation

    destroyed, generation = await asyncio.to_thread(destroy)
    if destroyed:
        await database.write(NOTHING, lambda c: tenants.note_keyring(c, generation))
    return destroyed


def _days_kept(known: list[UUID]) -> Callable[[Connection], set[int]]:
    return lambda c: set().union(*(retention.days_kept(c, tenant_id) for tenant_id in known))


def _expiring(kept: set[int], today: date) -> tuple[set[date], set[date]]:
    """When check-ins of the last days expire to which none are added any more; and today's."""

    def of_day(ago: int) -> set[date]:
        return {today + timedelta(days=days - ago) for days in kept}

    late = set().union(*(of_day(ago) for ago in range(1, MIXED_WITHIN_DAYS + 1)))
    lasting = of_day(0)
    return {day for day in late - lasting if day > today}, lasting


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
