"""The sites of a tenant as judging knows them: read whole once, and then what changed."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from shapely import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from doorstep_geofences import STANDARD, STRICT, Geofence, OpeningHours, Site, SiteIndex
from doorstep_server.store import Connection, sites, tenants
from doorstep_server.store.database import Database
from doorstep_server.store.reach import Reach
from doorstep_server.store.sites import InForce, StoredSite

ASSURANCE = {"standard": STANDARD, "strict": STRICT}
#: sites read at once: in far less than the second that a read transaction may last
PAGE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A tenant's active sites, as they were in a version of its configuration."""

    version: int
    index: SiteIndex

    def changed(self, version: int, since: InForce) -> "Snapshot":
        """This one with what has changed up to a later version."""
        gone = [row.site_id for row in since.rows if not row.active]
        index = self.index.changed(judged(since), gone) if since.rows else self.index
        return Snapshot(version=version, index=index)


async def read(database: Database, tenant_id: UUID, before: Snapshot | None) -> Snapshot:
    """Read all sites, a page after the other, each in a transaction of its own.

    What changes meanwhile is in `changed_since` of the version that this gives. Sites that are as
    they were before are taken over, with all that was made of them.
    """
    reach = Reach.of(tenant_id)
    version = await database.read(reach, lambda c: tenants.version(c, tenant_id))
    found: list[Site] = []
    after: UUID | None = None

    def page(connection: Connection) -> tuple[UUID | None, list[Site]]:
        some = sites.in_force(connection, tenant_id, after=after, limit=PAGE)
        last = some.rows[-1].site_id if len(some.rows) == PAGE else None
        return last, list(judged(some, before.index if before else None))

    while True:
        after, some = await database.read_much(reach, page)
        found += some
        if after is None:
            index = await asyncio.to_thread(SiteIndex, found)
            return Snapshot(version=version, index=index)


def judged(found: InForce, before: SiteIndex | None = None) -> Iterator[Site]:
    """The active ones as the judging knows them."""
    for row, shape in zip(found.rows, found.shapes, strict=True):
        if row.active:
            known = before.get(row.site_id) if before else None
            yield known if known is not None and known.version == row.version else _site(row, shape)


def judged_site(stored: StoredSite) -> Site:
    """A stored site as the judging knows it, active or not."""
    content = stored.content
    return Site(
        site_id=stored.site_id,
        version=stored.version,
        geofence=content.geofence,
        tolerance_m=content.tolerance_m,
        assurance=ASSURANCE[content.assurance],
        max_accuracy_m=content.max_accuracy_m,
        hours=_opening_hours(content.hours),
        zone=ZoneInfo(content.timezone),
        groups=_shared(content.groups),
        purposes=_shared(content.purposes),
    )


def _site(row: Any, shape: BaseGeometry) -> Site:
    return Site(
        site_id=row.site_id,
        version=row.version,
        geofence=_geofence(row, shape),
        tolerance_m=row.tolerance_m,
        assurance=ASSURANCE[row.assurance],
        max_accuracy_m=row.max_accuracy_m,
        hours=_opening_hours(row.hours),
        zone=ZoneInfo(row.timezone),
        groups=_shared(row.groups),
        purposes=_shared(row.purposes),
        since=row.changed,
    )


def _geofence(row: Any, shape: BaseGeometry) -> Geofence:
    if row.radius_m is None:
        assert isinstance(shape, Polygon | MultiPolygon)
        return Geofence.of_stored(shape)
    assert isinstance(shape, Point)
    return Geofence.circle(shape.x, shape.y, row.radius_m)


def _opening_hours(document: dict[str, Any] | None) -> OpeningHours | None:
    return None if document is None else _parsed_hours(msgspec.json.encode(document))


# many sites have the same: one of each is kept for all


@lru_cache(maxsize=10_000)
def _parsed_hours(document: bytes) -> OpeningHours:
    return OpeningHours.parse(msgspec.json.decode(document))


@lru_cache(maxsize=10_000)
def _set_of(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names)


def _shared(names: Iterable[str]) -> frozenset[str]:
    return _set_of(tuple(names))
