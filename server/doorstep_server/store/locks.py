"""What waits for what.

On SQLite a write transaction holds the only write lock from its beginning, so nothing more is
needed. On PostgreSQL transactions run beside each other, and a state that was merely read may have
changed before the commit, at every isolation level. So whoever acts on a state first takes a lock,
then reads it in a later statement:

- A group of check-ins takes the stripes of its subjects *shared*; whatever changes what a person
  permits, or whether a device may act, takes their stripe *exclusively* and answers after its
  commit. So a
  withdrawal that was answered is seen by every group that commits later.
- Whatever changes a tenant's configuration takes the tenant's own lock, so that what it checked
  before it wrote still holds.

The locks are advisory: rows of people are never locked, since PostgreSQL writes the locker's
transaction number into a locked row, where it would tell who was in which group. They end with the
transaction. The order is always: the tenant's lock, then stripes in the order of their numbers,
then rows; so two transactions never wait for each other.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Connection

from doorstep_server.store import driver

#: stripes of each tenant; people who share one wait for each other now and then
STRIPES = 256

# 54 bits of the tenant's random id, then what is locked: two tenants that agree in all of them
# would wait for each other, and be none the worse for it
_TENANT_SHIFT = 9
_TENANT_BITS = (1 << 54) - 1
_CONFIGURATION = STRIPES

# a set-returning function's rows come, and are locked, in the array's order
_ALONE = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"
_TOGETHER = "SELECT pg_advisory_xact_lock_shared(key) FROM unnest($1::bigint[]) AS key"


def configuring(connection: Connection, tenant_id: UUID) -> None:
    """Until this transaction ends, no other changes the tenant's configuration."""
    _take(connection, _ALONE, [_key(tenant_id, _CONFIGURATION)])


def changing(connection: Connection, tenant_id: UUID, subject_ids: Iterable[UUID]) -> None:
    """Wait for the groups that act for these subjects, and let none begin to until this ends."""
    _take(connection, _ALONE, (_stripe(tenant_id, s) for s in subject_ids))


def recording(connection: Connection, subjects: Iterable[tuple[UUID, UUID]]) -> None:
    """Wait for changes to these subjects (tenant, subject), and let none begin until this ends."""
    _take(connection, _TOGETHER, (_stripe(t, s) for t, s in subjects))


def _stripe(tenant_id: UUID, subject_id: UUID) -> int:
    return _key(tenant_id, subject_id.int & (STRIPES - 1))


def _key(tenant_id: UUID, number: int) -> int:
    return (tenant_id.int & _TENANT_BITS) << _TENANT_SHIFT | number


def _take(connection: Connection, statement: str, keys: Iterable[int]) -> None:
    if connection.dialect.name == "postgresql":
        driver.fetch(connection, statement, [sorted(set(keys))])
