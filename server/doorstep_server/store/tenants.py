"""Tenants, the deployment they live in, and the version counter that caches follow."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from doorstep_server.store.schema import changes, deployment, tenants


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """One customer: the controller of its data."""

    tenant_id: UUID
    #: its part of keys, tokens and codes
    handle: str
    name: str
    is_demo: bool


def bind_keyring(connection: Connection, keyring_id: UUID) -> None:
    """Remember which keyring this database belongs to."""
    connection.execute(insert(deployment).values(only=1, keyring_id=keyring_id))


def keyring_id(connection: Connection) -> UUID | None:
    """The keyring this database belongs to; None before `doorstep init`."""
    return connection.execute(select(deployment.c.keyring_id)).scalar()


def add(connection: Connection, tenant: Tenant) -> None:
    """Add a tenant."""
    connection.execute(
        insert(tenants).values(
            tenant_id=tenant.tenant_id,
            handle=tenant.handle,
            name=tenant.name,
            is_demo=tenant.is_demo,
        )
    )
    connection.execute(insert(changes).values(tenant_id=tenant.tenant_id, version=1))


def all_tenants(connection: Connection) -> list[Tenant]:
    """Every tenant, by name."""
    rows = connection.execute(select(tenants).order_by(tenants.c.name, tenants.c.tenant_id))
    return [Tenant(**row) for row in rows.mappings()]


def by_handle(connection: Connection, handle: str) -> Tenant | None:
    """The tenant that a key, token or code names."""
    row = connection.execute(select(tenants).where(tenants.c.handle == handle)).mappings().first()
    return Tenant(**row) if row else None


def by_id(connection: Connection, tenant_id: UUID) -> Tenant | None:
    """A tenant by its id."""
    query = select(tenants).where(tenants.c.tenant_id == tenant_id)
    row = connection.execute(query).mappings().first()
    return Tenant(**row) if row else None


def note_change(connection: Connection, tenant_id: UUID) -> None:
    """Tell every process that this tenant's sites, purposes, keys or devices changed."""
    connection.execute(
        update(changes)
        .where(changes.c.tenant_id == tenant_id)
        .values(version=changes.c.version + 1)
    )


def version(connection: Connection, tenant_id: UUID) -> int:
    """The version of the tenant's configuration that this transaction sees."""
    query = select(changes.c.version).where(changes.c.tenant_id == tenant_id)
    return int(connection.execute(query).scalar_one())


def versions(connection: Connection, tenant_ids: Collection[UUID]) -> dict[UUID, int]:
    """The versions of these tenants."""
    query = select(changes).where(changes.c.tenant_id.in_(tenant_ids))
    return {row.tenant_id: row.version for row in connection.execute(query)}
