"""Getting rid of what has expired. Reads never return it, whether this ran or not.

On PostgreSQL check-ins are in weekly partitions by the day that they expire on, so that retention
drops whole tables; what would go into a week that has no partition yet goes into the default one,
and is moved when that week's is made. On SQLite rows are deleted, a bounded number at a time, so
that check-ins go on in between. Receipts are deleted that way on both.
"""

from datetime import date, timedelta
from uuid import UUID

from sqlalchemy import Connection, Table, delete, func, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from doorstep_server.store.schema import (
    check_ins,
    erasures,
    exact_positions,
    expired_counts,
    purposes,
    receipts,
)

#: partitions are there this long before a check-in may need them
AHEAD = timedelta(weeks=8)
#: rows deleted in one transaction: some milliseconds
AT_ONCE = 500
#: how long the receipt of an erasure can be fetched
PROOFS_KEPT = timedelta(days=365)
#: what only one process does at a time
_KEEPING = 0x0D0023E7E


def alone(connection: Connection) -> None:
    """Until this transaction ends, no other does such work (on SQLite none writes anyway)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_KEEPING})"))


def days_kept(connection: Connection, tenant_id: UUID) -> set[int]:
    """For how many days the tenant's purposes keep check-ins."""
    query = select(purposes.c.retention_days).where(purposes.c.tenant_id == tenant_id).distinct()
    return set(connection.execute(query).scalars())


def make_partitions(connection: Connection, today: date, longest: timedelta) -> int:
    """Make the partitions that check-ins kept for so long will need, 8 weeks ahead; how many."""
    if not has_partitions(connection):
        return 0
    # what expires today is never written any more
    first, last = today + timedelta(days=1), today + longest + AHEAD
    making = select(func.doorstep_make_partitions(first, last))
    return int(connection.execute(making).scalar_one())


def drop_partitions(connection: Connection, today: date) -> int:
    """Drop the partitions in which everything has expired; how many."""
    if not has_partitions(connection):
        return 0
    return int(connection.execute(select(func.doorstep_drop_expired(today))).scalar_one())


def delete_receipts(connection: Connection, tenant_id: UUID, today: date) -> int:
    """Delete some receipts that no retry can need any more; how many."""
    return _delete(connection, receipts, tenant_id, today)


def has_partitions(connection: Connection) -> bool:
    """Whether check-ins go by dropping partitions; otherwise they are deleted."""
    return connection.dialect.name == "postgresql"


def delete_check_ins(connection: Connection, tenant_id: UUID, today: date) -> int:
    """Delete some expired check-ins; how many."""
    return _delete(connection, check_ins, tenant_id, today)


def delete_exact_positions(connection: Connection, tenant_id: UUID, today: date) -> int:
    """Delete some exact positions that nobody can read any more; how many."""
    return _delete(connection, exact_positions, tenant_id, today)


def delete_old_proofs(connection: Connection, tenant_id: UUID, today: date) -> None:
    """Delete the receipts of erasures that were asked for so long ago."""
    connection.execute(
        delete(erasures).where(
            erasures.c.tenant_id == tenant_id,
            erasures.c.subject_id.is_(None),
            erasures.c.asked_on <= today - PROOFS_KEPT,
        )
    )


def count_expired(connection: Connection, tenant_id: UUID, today: date) -> int:
    """Count what expired, before it goes: all that is left of it. How many counts are new.

    Nothing is added to a day that has expired, so it is counted once, whole, and not again when
    some of it has gone.
    """
    query = (
        select(check_ins.c.expires_on, check_ins.c.purpose, check_ins.c.outcome, func.count())
        .where(check_ins.c.tenant_id == tenant_id, check_ins.c.expires_on <= today)
        .group_by(check_ins.c.expires_on, check_ins.c.purpose, check_ins.c.outcome)
    )
    inserting = postgresql if connection.dialect.name == "postgresql" else sqlite
    counting = inserting.insert(expired_counts).on_conflict_do_nothing(
        index_elements=[column.name for column in expired_counts.primary_key]
    )
    counted = 0
    for expires_on, purpose, outcome, count in connection.execute(query).all():
        row = {
            "tenant_id": tenant_id,
            "expires_on": expires_on,
            "purpose": purpose,
            "outcome": outcome,
            "count": count,
        }
        counted += connection.execute(counting, row).rowcount
    return counted


def _delete(connection: Connection, table: Table, tenant_id: UUID, today: date) -> int:
    mine = table.c.tenant_id == tenant_id
    place = [column for column in table.primary_key if column is not table.c.tenant_id]
    expired = select(*place).where(mine, table.c.expires_on <= today).limit(AT_ONCE)
    return connection.execute(delete(table).where(mine, tuple_(*place).in_(expired))).rowcount
