"""Tenants, the deployment they live in, and the version counter that caches follow."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, insert, select, update

from doorstep_server.privacy.levels import Level
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
    #: the most that any purpose may store of a place; exact positions are off unless switched on
    max_level: Level = Level.CELL


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """Which keyring this database belongs to, and how much of it this database knows of."""

    keyring_id: UUID
    database_id: UUID
    keyring_generation: int
    #: this is a copy of a database that may have gone on
    is_copy: bool = False


def bind_keyring(connection: Connection, binding: Binding) -> None:
    """Remember which keyring this database belongs to."""
    connection.execute(insert(deployment).values(only=1, **asdict(binding)))


def binding(connection: Connection) -> Binding | None:
    """The keyring this database belongs to; None before `doorstep init`."""
    row = connection.execute(select(deployment)).mappings().first()
    return Binding(**{k: v for k, v in row.items() if k != "only"}) if row else None


def note_keyring(connection: Connection, generation: int) -> None:
    """This database knows of what is in the keyring, up to a generation.

    From now on a keyring that is older is not the one that belongs to it.
    """
    connection.execute(
        update(deployment)
        .where(deployment.c.keyring_generation < generation)
        .values(keyring_generation=generation)
    )


def mark_copy(connection: Connection, *, is_copy: bool) -> None:
    """Say whether this database is a copy that has to be swept before it is used."""
    connection.execute(update(deployment).values(is_copy=is_copy))


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
    query = select(tenants.c.max_speed_kmh, tenants.c.max_site_area_km2, tenants.c.max_level).where(
        tenants.c.tenant_id == tenant_id
    )
    row = connection.execute(query).one()
    return Limits(
        max_speed_kmh=row.max_speed_kmh,
        max_site_area_km2=row.max_site_area_km2,
        max_level=Level(row.max_level),
    )


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
