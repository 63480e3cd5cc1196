"""Subjects: the people, known here by their id only. Their external ids are in the keyring.

What is kept of them beside is sealed; who has their keys seals and unseals it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from doorstep_server.store import locks
from doorstep_server.store.database import DatabaseUnavailable
from doorstep_server.store.schema import erasures, subjects
from doorstep_server.store.tenants import note_change


class StillErasing(DatabaseUnavailable):
    """The person is being erased: with the key that is about to go nothing new is made."""

    _SAID = "This person is being erased ({code}). Try again when that is done, within a minute."


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSubject:
    """A person, as the database knows them."""

    subject_id: UUID
    #: `personal.SubjectDetails`
    sealed: bytes = field(repr=False)


def get_or_add(
    connection: Connection, tenant_id: UUID, subject: StoredSubject
) -> tuple[StoredSubject, bool]:
    """The subject as it is stored and True, or newly added as given and False.

    Raises `StillErasing`.
    """
    # whoever erases holds it until that is noted
    locks.changing(connection, tenant_id, [subject.subject_id])
    erasing = select(erasures.c.erasure_id).where(
        erasures.c.tenant_id == tenant_id, erasures.c.subject_id == subject.subject_id
    )
    if connection.execute(erasing).first() is not None:
        raise StillErasing("erasure in progress")
    inserting = postgresql if connection.dialect.name == "postgresql" else sqlite
    added = connection.execute(
        inserting.insert(subjects)
        .values(tenant_id=tenant_id, subject_id=subject.subject_id, sealed=subject.sealed)
        .on_conflict_do_nothing(index_elements=["tenant_id", "subject_id"])
    )
    if added.rowcount:
        return subject, False
    stored = find(connection, tenant_id, subject.subject_id)
    assert stored is not None
    return stored, True


def find(connection: Connection, tenant_id: UUID, subject_id: UUID) -> StoredSubject | None:
    """A subject by its id."""
    query = select(subjects.c.subject_id, subjects.c.sealed).where(
        subjects.c.tenant_id == tenant_id, subjects.c.subject_id == subject_id
    )
    row = connection.execute(query).first()
    return StoredSubject(subject_id=row.subject_id, sealed=row.sealed) if row else None


def page(
    connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int
) -> list[StoredSubject]:
    """Subjects in the order of their ids."""
    query = select(subjects.c.subject_id, subjects.c.sealed).where(
        subjects.c.tenant_id == tenant_id
    )
    if after is not None:
        query = query.where(subjects.c.subject_id > after)
    rows = connection.execute(query.order_by(subjects.c.subject_id).limit(limit))
    return [StoredSubject(subject_id=row.subject_id, sealed=row.sealed) for row in rows]


def replace(connection: Connection, tenant_id: UUID, subject: StoredSubject) -> None:
    """Store what is kept of a subject anew. The caller holds the subject's lock."""
    connection.execute(
        update(subjects)
        .where(subjects.c.tenant_id == tenant_id, subjects.c.subject_id == subject.subject_id)
        .values(sealed=subject.sealed)
    )
    note_change(connection, tenant_id)


def remove(connection: Connection, tenant_id: UUID, subject_ids: Sequence[UUID]) -> None:
    """Remove subjects. Their devices are another table's."""
    connection.execute(
        delete(subjects).where(
            subjects.c.tenant_id == tenant_id, subjects.c.subject_id.in_(subject_ids)
        )
    )
