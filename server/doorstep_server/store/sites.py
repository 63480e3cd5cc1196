"""Authorized locations and their history. A site's row names its current version."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import shapely
from shapely import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import (
    Connection,
    LargeBinary,
    Row,
    Select,
    bindparam,
    func,
    insert,
    literal,
    select,
    type_coerce,
    update,
)

from doorstep_geofences import Bounds, Geofence
from doorstep_server.store.columns import Shape
from doorstep_server.store.schema import site_versions, sites
from doorstep_server.store.tenants import note_change


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteContent:
    """What an admin says of a site."""

    name: str
    external_id: str | None
    geofence: Geofence
    tolerance_m: float
    assurance: str
    max_accuracy_m: float
    timezone: str
    #: the opening hours as a document; None: always open
    hours: dict[str, Any] | None = None
    #: names of the purposes that may be served here; empty: all
    purposes: list[str]
    #: who may check in here; empty: everyone
    groups: list[str]
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSite:
    """One version of a site."""

    site_id: UUID
    version: int
    valid_from: datetime
    content: SiteContent


class Conflict(StrEnum):
    """Why a site was not written."""

    EXTERNAL_ID = "external-id-taken"
    VERSION = "version-conflict"


def add(connection: Connection, tenant_id: UUID, site: StoredSite) -> StoredSite | Conflict:
    """Add a site as its version 1."""
    if _external_id_taken(connection, tenant_id, site):
        return Conflict.EXTERNAL_ID
    write_many(connection, tenant_id, [site])
    return site


def revise(
    connection: Connection, tenant_id: UUID, site: StoredSite
) -> StoredSite | Conflict | None:
    """Make `site` the current version, in place of the one before its own number.

    None when the tenant has no such site.
    """
    current = _current_version(connection, tenant_id, site.site_id)
    if current is None:
        return None
    if current != site.version - 1:
        return Conflict.VERSION
    if _external_id_taken(connection, tenant_id, site):
        return Conflict.EXTERNAL_ID
    write_many(connection, tenant_id, [site])
    return site


def write_many(connection: Connection, tenant_id: UUID, written: Sequence[StoredSite]) -> None:
    """Make these the current versions of their sites: the first ones, or those after the current.

    For callers that hold the tenant's configuration and have read, in this transaction, what is
    current and which external ids are taken.
    """
    write_current(connection, tenant_id, written)
    write_versions(connection, tenant_id, written)


def write_current(connection: Connection, tenant_id: UUID, written: Sequence[StoredSite]) -> None:
    """The first half of `write_many`: which version of each site is current.

    Of very many sites this half is written whole before the other. PostgreSQL looks for each
    version's site by a plan that it makes once, and on a table that seemed empty it is a slow one.
    """
    changed = note_change(connection, tenant_id)
    rows = [_site_row(site, changed) for site in written]
    new = [row for site, row in zip(written, rows, strict=True) if site.version == 1]
    revised = [row for site, row in zip(written, rows, strict=True) if site.version > 1]
    if new:
        connection.execute(insert(sites), [{"tenant_id": tenant_id, **row} for row in new])
    if revised:
        connection.execute(
            update(sites).where(
                sites.c.tenant_id == tenant_id, sites.c.site_id == bindparam("of_site")
            ),
            [{"of_site": row.pop("site_id"), **row} for row in revised],
        )


def write_versions(connection: Connection, tenant_id: UUID, written: Sequence[StoredSite]) -> None:
    """The second half of `write_many`: the versions."""
    connection.execute(
        insert(site_versions), [{"tenant_id": tenant_id, **version_row(site)} for site in written]
    )


def renew_statistics(connection: Connection) -> None:
    """Let PostgreSQL know how many sites there are, after very many were written.

    Until it learns so itself, within a minute or so, its plans are for the few that there were.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.doorstep_analyze_sites()))


def deactivate(
    connection: Connection, tenant_id: UUID, site_id: UUID, now: datetime
) -> StoredSite | Conflict | None:
    """Make the next version of a site inactive; None when the tenant has no such site."""
    site = find(connection, tenant_id, site_id)
    if site is None or not site.content.active:
        return site
    return revise(
        connection,
        tenant_id,
        StoredSite(
            site_id=site_id,
            version=site.version + 1,
            valid_from=now,
            content=replace(site.content, active=False),
        ),
    )


def find(connection: Connection, tenant_id: UUID, site_id: UUID) -> StoredSite | None:
    """The current version of a site."""
    row = connection.execute(_current(tenant_id).where(sites.c.site_id == site_id)).first()
    return _site(row) if row else None


def find_by_external_id(
    connection: Connection, tenant_id: UUID, external_ids: Sequence[str]
) -> dict[str, StoredSite]:
    """The current versions of the sites with these external ids."""
    query = _current(tenant_id).where(sites.c.external_id.in_(external_ids))
    found = [_site(row) for row in connection.execute(query)]
    return {str(site.content.external_id): site for site in found}


def current_by_external_id(
    connection: Connection, tenant_id: UUID, external_ids: Sequence[str]
) -> dict[str, tuple[UUID, int]]:
    """The ids and current versions of the sites with these external ids, and nothing else."""
    query = select(sites.c.external_id, sites.c.site_id, sites.c.version).where(
        sites.c.tenant_id == tenant_id, sites.c.external_id.in_(external_ids)
    )
    rows = connection.execute(query)
    return {row.external_id: (row.site_id, row.version) for row in rows}


def page(
    connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int
) -> list[StoredSite]:
    """Current versions in the order of their ids."""
    query = _current(tenant_id)
    if after is not None:
        query = query.where(sites.c.site_id > after)
    rows = connection.execute(query.order_by(sites.c.site_id).limit(limit))
    return [_site(row) for row in rows]


def page_within(
    connection: Connection,
    tenant_id: UUID,
    part: Polygon | MultiPolygon,
    *,
    after: UUID | None,
    limit: int,
) -> list[StoredSite]:
    """Current versions whose extent meets a part of the map, in the order of their ids.

    The boxes are compared by `ST_Intersects`, which is planar GEOS on both databases. PostGIS's
    index serves `&&` only: its ST_Intersects is not known to leak nothing (see `grants`).
    """
    extent, given = site_versions.c.extent, literal(part, Shape())
    query = _current(tenant_id).where(func.ST_Intersects(extent, given))
    if connection.dialect.name == "postgresql":
        query = query.where(extent.op("&&", is_comparison=True)(given))
    if after is not None:
        query = query.where(sites.c.site_id > after)
    rows = connection.execute(query.order_by(sites.c.site_id).limit(limit))
    return [_site(row) for row in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class InForce:
    """What judging needs of many sites, each in its current version: one row each."""

    rows: Sequence[Row[Any]]
    #: of each, its fence: a polygon or multipolygon, or the centre of a circle
    shapes: Sequence[BaseGeometry]


def in_force(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> InForce:
    """The sites in the order of their ids, active or not."""
    query = _in_force(connection, tenant_id)
    if after is not None:
        query = query.where(sites.c.site_id > after)
    return _read_in_force(connection, query.order_by(sites.c.site_id).limit(limit))


def any_changed_since(connection: Connection, tenant_id: UUID, version: int) -> bool:
    """Whether a site was added or changed since the tenant's configuration had that version."""
    query = select(sites.c.site_id).where(sites.c.tenant_id == tenant_id, sites.c.changed > version)
    return connection.execute(query.limit(1)).first() is not None


def changed_since(connection: Connection, tenant_id: UUID, version: int, *, limit: int) -> InForce:
    """Sites that are not any more as they were in a version of the tenant's configuration."""
    query = _in_force(connection, tenant_id).where(sites.c.changed > version).limit(limit)
    return _read_in_force(connection, query)


def _in_force(connection: Connection, tenant_id: UUID) -> Select[Any]:
    of_version = site_versions.c
    # as bytes: of many, shapes are made together
    shape = (
        func.ST_AsBinary(of_version.shape, type_=LargeBinary())
        if connection.dialect.name == "postgresql"
        else type_coerce(of_version.shape, LargeBinary())
    )
    return _current(tenant_id).with_only_columns(
        of_version.site_id,
        of_version.version,
        shape.label("wkb"),
        of_version.radius_m,
        of_version.tolerance_m,
        of_version.assurance,
        of_version.max_accuracy_m,
        of_version.timezone,
        of_version.hours,
        of_version.purposes,
        of_version.groups,
        of_version.active,
        sites.c.changed,
        maintain_column_froms=True,
    )


def _read_in_force(connection: Connection, query: Select[Any]) -> InForce:
    rows = connection.execute(query).all()
    return InForce(rows=rows, shapes=shapely.from_wkb([row.wkb for row in rows]).tolist())


def history(
    connection: Connection, tenant_id: UUID, site_id: UUID, *, before: int | None, limit: int
) -> list[StoredSite]:
    """A site's versions, newest first."""
    query = _versions(tenant_id).where(sites.c.site_id == site_id)
    if before is not None:
        query = query.where(site_versions.c.version < before)
    rows = connection.execute(query.order_by(site_versions.c.version.desc()).limit(limit))
    return [_site(row) for row in rows]


def find_version(
    connection: Connection, tenant_id: UUID, site_id: UUID, version: int
) -> StoredSite | None:
    """One version of a site."""
    query = _versions(tenant_id).where(
        sites.c.site_id == site_id, site_versions.c.version == version
    )
    row = connection.execute(query).first()
    return _site(row) if row else None


def _versions(tenant_id: UUID) -> Select[Any]:
    same_site = (sites.c.tenant_id == site_versions.c.tenant_id) & (
        sites.c.site_id == site_versions.c.site_id
    )
    return (
        select(site_versions, sites.c.external_id)
        .join_from(sites, site_versions, same_site)
        .where(sites.c.tenant_id == tenant_id, site_versions.c.tenant_id == tenant_id)
    )


def _current(tenant_id: UUID) -> Select[Any]:
    return _versions(tenant_id).where(sites.c.version == site_versions.c.version)


def _current_version(connection: Connection, tenant_id: UUID, site_id: UUID) -> int | None:
    query = select(sites.c.version).where(
        sites.c.tenant_id == tenant_id, sites.c.site_id == site_id
    )
    return connection.execute(query).scalar()


def _external_id_taken(connection: Connection, tenant_id: UUID, site: StoredSite) -> bool:
    if site.content.external_id is None:
        return False
    query = select(sites.c.site_id).where(
        sites.c.tenant_id == tenant_id,
        sites.c.external_id == site.content.external_id,
        sites.c.site_id != site.site_id,
    )
    return connection.execute(query).first() is not None


def _site_row(site: StoredSite, changed: int) -> dict[str, Any]:
    return {
        "site_id": site.site_id,
        "version": site.version,
        "external_id": site.content.external_id,
        "changed": changed,
    }


def version_row(site: StoredSite) -> dict[str, Any]:
    """A version's row, but for its tenant."""
    content = site.content
    fence = content.geofence
    return {
        "site_id": site.site_id,
        "version": site.version,
        "name": content.name,
        "shape": fence.shape if fence.center is None else Point(*fence.center),
        "radius_m": fence.radius_m,
        "extent": Bounds.of(fence, content.tolerance_m).on_the_map(),
        "tolerance_m": content.tolerance_m,
        "assurance": content.assurance,
        "max_accuracy_m": content.max_accuracy_m,
        "timezone": content.timezone,
        "hours": content.hours,
        "purposes": content.purposes,
        "groups": content.groups,
        "active": content.active,
        "valid_from": site.valid_from,
    }


def _site(row: Row[Any]) -> StoredSite:
    return StoredSite(
        site_id=row.site_id,
        version=row.version,
        valid_from=row.valid_from,
        content=SiteContent(
            name=row.name,
            external_id=row.external_id,
            geofence=_geofence(row),
            tolerance_m=row.tolerance_m,
            assurance=row.assurance,
            max_accuracy_m=row.max_accuracy_m,
            timezone=row.timezone,
            hours=row.hours,
            purposes=row.purposes,
            groups=row.groups,
            active=row.active,
        ),
    )


def _geofence(row: Row[Any]) -> Geofence:
    if row.radius_m is None:
        return Geofence.of_stored(row.shape)
    return Geofence.circle(row.shape.x, row.shape.y, row.radius_m)
