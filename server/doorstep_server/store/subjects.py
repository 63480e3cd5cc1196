"""Subjects: the people, known by the tenant's external id only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, update

from doorstep_server.store.schema import subjects
from doorstep_server.store.tenants import note_change


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A person, as far as Doorstep knows them."""

    subject_id: UUID
    external_id: str
    #: which sites with groups they may check in at
    groups: list[str]


def get_or_add(connection: Connection, tenant_id: UUID, subject: Subject) -> tuple[Subject, bool]:
    """The subject with this external id and True, or a new one as given and False."""
    query = select(subjects).where(
        subjects.c.tenant_id == tenant_id, subjects.c.external_id == subject.external_id
    )
    row = connection.execute(query).first()
    if row is not None:
        return _subject(row), True
    connection.execute(
        insert(subjects).values(
            tenant_id=tenant_id,
            subject_id=subject.subject_id,
            external_id=subject.external_id,
            groups=subject.groups,
        )
    )
    return subject, False


def find(connection: Connection, tenant_id: UUID, subject_id: UUID) -> Subject | None:
    """A subject by its id."""
    return find_many(connection, tenant_id, [subject_id]).get(subject_id)


def find_many(
    connection: Connection, tenant_id: UUID, subject_ids: Sequence[UUID]
) -> dict[UUID, Subject]:
    """The subjects with these ids."""
    query = select(subjects).where(
        subjects.c.tenant_id == tenant_id, subjects.c.subject_id.in_(subject_ids)
    )
    return {row.subject_id: _subject(row) for row in connection.execute(query)}


def page(
    connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int
) -> list[Subject]:
    """Subjects in the order of their ids."""
    query = select(subjects).where(subjects.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(subjects.c.subject_id > after)
    rows = connection.execute(query.order_by(subjects.c.subject_id).limit(limit))
    return [_subject(row) for row in rows]


def set_groups(
    connection: Connection, tenant_id: UUID, subject_id: UUID, groups: list[str]
) -> Subject | None:
    """Say anew which groups a subject belongs to; None when there is no such subject."""
    changed = connection.execute(
        update(subjects)
        .where(subjects.c.tenant_id == tenant_id, subjects.c.subject_id == subject_id)
        .values(groups=groups)
    )
    if changed.rowcount:
        note_change(connection, tenant_id)
    return find(connection, tenant_id, subject_id)


def _subject(row: Row[Any]) -> Subject:
    return Subject(subject_id=row.subject_id, external_id=row.external_id, groups=row.groups)
