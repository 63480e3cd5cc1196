"""What becomes of each site of a file, and writing them: all in one transaction.

Which fate each has is made out before, by reading. The transaction that writes only asks whether
any site has changed since, and looks anew where somebody was faster: nothing is overwritten unseen,
and the database is held no longer than it must be.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

from doorstep_server.site_imports.report import Fate
from doorstep_server.site_imports.spool import RowSpool, Spool, Spooled
from doorstep_server.store import Connection, locks, site_rows, sites, tenants
from doorstep_server.store.site_rows import Making
from doorstep_server.store.sites import StoredSite

#: a site's id and its current version
Current = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of one site."""

    fate: Fate
    site_id: UUID
    #: the version that it takes the place of; 0: it is new
    version: int = 0

    @property
    def current(self) -> Current | None:
        """What was current when it was read."""
        return (self.site_id, self.version) if self.version else None


#: so many change what the database's plans should be
_VERY_MANY = 1_000
#: instead of a time that is not known yet
_LATER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(kw_only=True, slots=True)
class Plan:
    """What becomes of each site of a spool, in its order."""

    #: of the tenant's configuration, by which this was made out
    version: int
    planned: list[Planned] = field(default_factory=list)

    def fates(self) -> Counter[Fate]:
        """How many of each."""
        return Counter(each.fate for each in self.planned)

    def changes_something(self) -> bool:
        """Whether there is anything to write."""
        return any(each.fate is not Fate.UNCHANGED for each in self.planned)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be written, and when that is."""

    tenant_id: UUID
    spool: Spool
    plan: Plan
    rows: RowSpool | None
    now: datetime


def plan(connection: Connection, tenant_id: UUID, spool: Spool) -> Plan:
    """What would become of each site, by what is stored now."""
    made = Plan(version=tenants.version(connection, tenant_id))
    for _, some in spool.chunks():
        made.planned += _planned(connection, tenant_id, some)
    return made


def make_ready(connection: Connection, spool: Spool, made: Plan) -> RowSpool | None:
    """The rows that a plan would write, where the database wants them to be ready."""
    if not site_rows.are_wanted(connection):
        return None
    making, rows = Making(connection.dialect), RowSpool()
    for start, some in spool.chunks():
        # the time is put in when they are written
        written = _written(some, made.planned[start : start + len(some)], _LATER)
        rows.add([making.ready(site) for site in written])
    return rows


def take(connection: Connection, wanted: Wanted) -> Plan:
    """Write every site that is new or changed, within the caller's transaction: what was done."""
    locks.configuring(connection, wanted.tenant_id)
    is_as_planned = not sites.any_changed_since(connection, wanted.tenant_id, wanted.plan.version)
    if is_as_planned and wanted.rows is not None:
        for rows in wanted.rows.chunks():
            site_rows.write_ready(connection, wanted.tenant_id, rows, wanted.now)
        return wanted.plan
    return _taken(connection, wanted, is_as_planned=is_as_planned)


def _taken(connection: Connection, wanted: Wanted, *, is_as_planned: bool) -> Plan:
    plan = wanted.plan if is_as_planned else _renewed(connection, wanted)
    # twice through all of them: see `write_current`
    for write in (sites.write_current, sites.write_versions):
        for start, some in wanted.spool.chunks():
            planned = plan.planned[start : start + len(some)]
            written = list(_written(some, planned, wanted.now))
            if written:
                write(connection, wanted.tenant_id, written)
    if len(wanted.spool) >= _VERY_MANY:
        sites.renew_statistics(connection)
    return plan


def _renewed(connection: Connection, wanted: Wanted) -> Plan:
    """The plan, made anew where it no longer holds."""
    plan = Plan(version=wanted.plan.version)
    for start, some in wanted.spool.chunks():
        planned = wanted.plan.planned[start : start + len(some)]
        if not _is_current(connection, wanted.tenant_id, some, planned):
            planned = _planned(connection, wanted.tenant_id, some)
        plan.planned += planned
    return plan


def _planned(connection: Connection, tenant_id: UUID, some: list[Spooled]) -> list[Planned]:
    ids = [site.content.external_id for site in some if site.content.external_id is not None]
    known = sites.find_by_external_id(connection, tenant_id, ids) if ids else {}
    return [_fate(site, known.get(site.content.external_id or "")) for site in some]


def _fate(site: Spooled, before: StoredSite | None) -> Planned:
    if before is None:
        return Planned(Fate.CREATED, uuid4())
    fate = Fate.UNCHANGED if before.content == site.content else Fate.UPDATED
    return Planned(fate, before.site_id, before.version)


def _is_current(
    connection: Connection, tenant_id: UUID, some: list[Spooled], planned: list[Planned]
) -> bool:
    expected = {
        site.content.external_id: each.current
        for site, each in zip(some, planned, strict=True)
        if site.content.external_id is not None
    }
    if not expected:
        return True
    found = sites.current_by_external_id(connection, tenant_id, list(expected))
    return all(found.get(external_id) == current for external_id, current in expected.items())


def _written(some: list[Spooled], planned: list[Planned], now: datetime) -> Iterator[StoredSite]:
    for site, each in zip(some, planned, strict=True):
        if each.fate is not Fate.UNCHANGED:
            yield StoredSite(
                site_id=each.site_id,
                version=each.version + 1,
                valid_from=now,
                content=site.content,
            )
