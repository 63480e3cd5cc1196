"""All that is stored of a person, beside their check-ins: who there is, and removing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, insert, or_, select, update

from doorstep_server.store import devices, enrollments, locks, subjects
from doorstep_server.store.schema import erasures
from doorstep_server.store.schema import subjects as subjects_table
from doorstep_server.store.tenants import note_change


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """That a person is to be erased, or was."""

    erasure_id: UUID
    #: None when nothing is left that could be found of the person
    subject_id: UUID | None
    asked_on: date
    #: what the receipt will say, when the files were written anew
    draft: bytes | None = None
    #: says what was done, signed; None until it is done
    receipt: bytes | None = None


#: how a draft begins, which is JSON, and no receipt, which is a JWS
_DRAFT = b"{"


def subject_ids(connection: Connection, tenant_id: UUID) -> set[UUID]:
    """Every person of a tenant."""
    query = select(subjects_table.c.subject_id).where(subjects_table.c.tenant_id == tenant_id)
    return set(connection.execute(query).scalars())


def remove(connection: Connection, tenant_id: UUID, gone: Sequence[UUID]) -> None:
    """Remove people with their devices, tokens and codes. Their check-ins are another's work.

    Once this is committed, nothing that their devices send is taken.
    """
    locks.changing(connection, tenant_id, gone)
    devices.remove_of(connection, tenant_id, gone)
    enrollments.remove_of(connection, tenant_id, gone)
    subjects.remove(connection, tenant_id, gone)
    note_change(connection, tenant_id)


def ask_erasure(connection: Connection, tenant_id: UUID, erasure: Erasure) -> Erasure:
    """Begin to erase a person; if that was begun before, it is the one that goes on.

    From the commit on the person has no device that could check in.
    """
    assert erasure.subject_id is not None
    locks.changing(connection, tenant_id, [erasure.subject_id])
    same = _erasures(tenant_id).where(erasures.c.subject_id == erasure.subject_id)
    begun = connection.execute(same).first()
    if begun is not None:
        return _erasure(begun)
    remove(connection, tenant_id, [erasure.subject_id])
    connection.execute(
        insert(erasures).values(
            tenant_id=tenant_id,
            erasure_id=erasure.erasure_id,
            subject_id=erasure.subject_id,
            asked_on=erasure.asked_on,
        )
    )
    return erasure


def unfinished(connection: Connection, tenant_id: UUID) -> list[Erasure]:
    """Erasures that were begun and have no receipt yet."""
    is_draft = func.substr(erasures.c.receipt, 1, 1) == _DRAFT
    query = _erasures(tenant_id).where(or_(erasures.c.subject_id.is_not(None), is_draft))
    return [_erasure(row) for row in connection.execute(query)]


def find_erasure(connection: Connection, tenant_id: UUID, erasure_id: UUID) -> Erasure | None:
    """An erasure by its id."""
    query = _erasures(tenant_id).where(erasures.c.erasure_id == erasure_id)
    row = connection.execute(query).first()
    return _erasure(row) if row else None


def unname_erasure(connection: Connection, tenant_id: UUID, erasure_id: UUID, draft: bytes) -> None:
    """Of an erasure nothing is left to remove: it says no more whom it was about.

    The row that did is in the database's files until they are scrubbed.
    """
    assert draft.startswith(_DRAFT)
    connection.execute(
        update(erasures)
        .where(
            erasures.c.tenant_id == tenant_id,
            erasures.c.erasure_id == erasure_id,
            erasures.c.subject_id.is_not(None),
        )
        .values(subject_id=None, receipt=draft)
    )


def finish_erasure(
    connection: Connection, tenant_id: UUID, erasure_id: UUID, receipt: bytes
) -> None:
    """An erasure is done."""
    connection.execute(
        update(erasures)
        .where(erasures.c.tenant_id == tenant_id, erasures.c.erasure_id == erasure_id)
        .values(receipt=receipt)
    )


def _erasures(tenant_id: UUID) -> Select[Any]:
    return select(
        erasures.c.erasure_id, erasures.c.subject_id, erasures.c.asked_on, erasures.c.receipt
    ).where(erasures.c.tenant_id == tenant_id)


def _erasure(row: Row[Any]) -> Erasure:
    is_draft = row.receipt is not None and row.receipt.startswith(_DRAFT)
    return Erasure(
        erasure_id=row.erasure_id,
        subject_id=row.subject_id,
        asked_on=row.asked_on,
        draft=row.receipt if is_draft else None,
        receipt=None if is_draft else row.receipt,
    )
