"""Registered purposes. A change makes a new version; stored check-ins name theirs."""

from dataclasses import asdict, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, insert, select, update

from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.policy import JudgedBy, Purpose
from doorstep_server.store.schema import purposes
from doorstep_server.store.tenants import note_change


class Conflict(StrEnum):
    """Why a purpose was not written."""

    NAME_TAKEN = "name-taken"
    VERSION = "version-conflict"


def add(connection: Connection, tenant_id: UUID, purpose: Purpose) -> Purpose | Conflict:
    """Register a purpose as its version 1."""
    if find(connection, tenant_id, purpose.name) is not None:
        return Conflict.NAME_TAKEN
    first = replace(purpose, version=1)
    connection.execute(insert(purposes).values(tenant_id=tenant_id, **asdict(first)))
    note_change(connection, tenant_id)
    return first


def revise(connection: Connection, tenant_id: UUID, purpose: Purpose) -> Purpose | Conflict | None:
    """Replace the version that `purpose` names by the next; None when there is no such purpose."""
    current = find(connection, tenant_id, purpose.name)
    if current is None:
        return None
    if current.version != purpose.version:
        return Conflict.VERSION
    revised = replace(purpose, version=purpose.version + 1)
    connection.execute(
        update(purposes)
        .where(purposes.c.tenant_id == tenant_id, purposes.c.name == purpose.name)
        .values(**asdict(revised))
    )
    note_change(connection, tenant_id)
    return revised


def find(connection: Connection, tenant_id: UUID, name: str) -> Purpose | None:
    """A purpose by its name."""
    query = select(purposes).where(purposes.c.tenant_id == tenant_id, purposes.c.name == name)
    row = connection.execute(query).mappings().first()
    return _purpose(row) if row else None


def all_purposes(connection: Connection, tenant_id: UUID) -> list[Purpose]:
    """Every purpose of a tenant, by name."""
    query = select(purposes).where(purposes.c.tenant_id == tenant_id)
    found = [_purpose(row) for row in connection.execute(query).mappings()]
    # sorted here: databases have their own ideas of the order of names
    return sorted(found, key=attrgetter("name"))


def _purpose(row: RowMapping) -> Purpose:
    values: dict[str, Any] = {k: v for k, v in row.items() if k != "tenant_id"}
    kinds = {"level": Level(values["level"]), "judged_by": JudgedBy(values["judged_by"])}
    return Purpose(**{**values, **kinds})
