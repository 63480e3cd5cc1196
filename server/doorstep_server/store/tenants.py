"""Tenants, the deployment they live in, and the version counter that caches follow."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, insert, select, update

from doorstep_server.store.schema import changes, deployment, tenants


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """One customer: the controller of its data."""

    tenant_id: UUID
    #: its part of keys, tokens and codes
    handle: str
    name: str
    is_demo: bool


#: the highest limits: beyond them there is nothing to limit
MAX_SPEED_KMH = 100_000
MAX_AREA_KM2 = 510_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a tenant lets its sites and its people be."""

    #: who seems to have travelled faster between two sites is doubted; None: nobody is
    max_speed_kmh: int | None = 1_000
    #: a larger site is refused; the default stops what is as large as a continent
    max_site_area_km2: int = 10_000_000


def bind_keyring(connection: Connection, keyring_id: UUID) -> None:
    """Remember which keyring this database belongs to."""
    connection.execute(insert(deployment).values(only=1, keyring_id=keyring_id))


def keyring_id(connection: Connection) -> UUID | None:
    """The keyring this database belongs to; None before `doorstep init`."""
    return connection.execute(select(deployment.c.keyring_id)).scalar()


def add(connection: Connection, tenant: Tenant) -> None:
    """Add a tenant, with the usual limits."""
    connection.execute(
        insert(tenants).values(
            tenant_id=tenant.tenant_id,
            handle=tenant.handle,
            name=tenant.name,
            is_demo=tenant.is_demo,
            **asdict(Limits()),
        )
    )
    connection.execute(insert(changes).values(tenant_id=tenant.tenant_id, version=1))


def all_tenants(connection: Connection) -> list[Tenant]:
    """Every tenant, by name."""
    rows = connection.execute(_tenants().order_by(tenants.c.name, tenants.c.tenant_id))
    return [Tenant(**row) for row in rows.mappings()]


def by_handle(connection: Connection, handle: str) -> Tenant | None:
    """The tenant that a key, token or code names."""
    row = connection.execute(_tenants().where(tenants.c.handle == handle)).mappings().first()
    return Tenant(**row) if row else None


def by_id(connection: Connection, tenant_id: UUID) -> Tenant | None:
    """A tenant by its id."""
    query = _tenants().where(tenants.c.tenant_id == tenant_id)
    row = connection.execute(query).mappings().first()
    return Tenant(**row) if row else None


def _tenants() -> Select[Any]:
    return select(tenants.c.tenant_id, tenants.c.handle, tenants.c.name, tenants.c.is_demo)


def limits(connection: Connection, tenant_id: UUID) -> Limits:
    """A tenant's limits."""
    query = select(tenants.c.max_speed_kmh, tenants.c.max_site_area_km2).where(
        tenants.c.tenant_id == tenant_id
    )
    return Limits(**connection.execute(query).mappings().one())


def set_limits(connection: Connection, tenant_id: UUID, wanted: Limits) -> None:
    """Set a tenant's limits; sites that are there stay."""
    connection.execute(
        update(tenants).where(tenants.c.tenant_id == tenant_id).values(**asdict(wanted))
    )
    note_change(connection, tenant_id)


def note_change(connection: Connection, tenant_id: UUID) -> int:
    """Tell every process that this tenant's configuration changed: the version it now has.

    Whoever changes it waits for the commit of who did before, so versions grow in the order of
    commits.
    """
    query = (
        update(changes)
        .where(changes.c.tenant_id == tenant_id)
        .values(version=changes.c.version + 1)
        .returning(changes.c.version)
    )
    return int(connection.execute(query).scalar_one())


def version(connection: Connection, tenant_id: UUID) -> int:
    """The version of the tenant's configuration that this transaction sees."""
    query = select(changes.c.version).where(changes.c.tenant_id == tenant_id)
    return int(connection.execute(query).scalar_one())


def versions(connection: Connection, tenant_ids: Collection[UUID]) -> dict[UUID, int]:
    """The versions of these tenants."""
    query = select(changes).where(changes.c.tenant_id.in_(tenant_ids))
    return {row.tenant_id: row.version for row in connection.execute(query)}
