"""Legal holds: check-ins of a person that must be kept, apart from all others, for a time.

What is held is in no list. It is sealed under the hold's own key, so that it outlives the month's
key and the person's; when the hold ends, its key is destroyed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select

from doorstep_server.store.schema import held_check_ins, legal_holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """That a person's check-ins are kept when they expire, or when the person is erased."""

    hold_id: UUID
    subject_id: UUID
    reason: str
    #: from this day on it holds no more
    expires_on: date


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A check-in that is kept under a hold."""

    hold_id: UUID
    #: random
    held_id: UUID
    sealed: bytes = field(repr=False)


def add(connection: Connection, tenant_id: UUID, hold: Hold) -> None:
    """Begin a hold."""
    connection.execute(
        insert(legal_holds).values(
            tenant_id=tenant_id,
            hold_id=hold.hold_id,
            subject_id=hold.subject_id,
            reason=hold.reason,
            expires_on=hold.expires_on,
        )
    )


def every(connection: Connection, tenant_id: UUID) -> list[Hold]:
    """All holds of a tenant, ended ones that were not removed yet among them."""
    query = select(
        legal_holds.c.hold_id,
        legal_holds.c.subject_id,
        legal_holds.c.reason,
        legal_holds.c.expires_on,
    ).where(legal_holds.c.tenant_id == tenant_id)
    return [Hold(**row) for row in connection.execute(query.order_by("hold_id")).mappings()]


def of_subject(
    connection: Connection, tenant_id: UUID, subject_id: UUID, today: date
) -> list[Hold]:
    """The holds on a person that are in force."""
    return [
        hold
        for hold in every(connection, tenant_id)
        if hold.subject_id == subject_id and hold.expires_on > today
    ]


def find(connection: Connection, tenant_id: UUID, hold_id: UUID) -> Hold | None:
    """A hold by its id."""
    return next((h for h in every(connection, tenant_id) if h.hold_id == hold_id), None)


def remove(connection: Connection, tenant_id: UUID, hold_id: UUID) -> None:
    """End a hold, with what was kept under it."""
    for table in (held_check_ins, legal_holds):
        connection.execute(
            delete(table).where(table.c.tenant_id == tenant_id, table.c.hold_id == hold_id)
        )


def keep(connection: Connection, tenant_id: UUID, held: Sequence[Held]) -> None:
    """Keep check-ins under holds."""
    rows = [
        {"tenant_id": tenant_id, "hold_id": h.hold_id, "held_id": h.held_id, "sealed": h.sealed}
        for h in held
    ]
    connection.execute(insert(held_check_ins), sorted(rows, key=lambda row: str(row["held_id"])))


def kept(connection: Connection, tenant_id: UUID, hold_id: UUID) -> list[Held]:
    """What is kept under a hold."""
    query = select(
        held_check_ins.c.hold_id, held_check_ins.c.held_id, held_check_ins.c.sealed
    ).where(held_check_ins.c.tenant_id == tenant_id, held_check_ins.c.hold_id == hold_id)
    return [Held(**row) for row in connection.execute(query).mappings()]
