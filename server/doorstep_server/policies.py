"""What a tenant allows, as one immutable snapshot: its keys, purposes and sites.

A snapshot is of one version of the tenant's configuration. Every process polls the `changes`
table, so that a change is seen everywhere within a second. By a snapshot, so perhaps as it was a
moment ago, it is judged where people may check in and for what (the verdict names the site's
version). Whether a device may act, and what its owner permits, is never a snapshot's to say: that
is read in the transaction that writes.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from doorstep_geofences import STANDARD, STRICT, Site, SiteIndex
from doorstep_server import logs
from doorstep_server.keyring import Keyring
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.policy import Purpose
from doorstep_server.store import Connection, purposes, sites, tenants
from doorstep_server.store.api_keys import ApiKey
from doorstep_server.store.database import Database, DatabaseUnavailable
from doorstep_server.store.devices import Token
from doorstep_server.store.reach import Reach
from doorstep_server.store.sites import StoredSite

POLL_S = 0.25
#: tenants whose versions are asked for in one statement, which has room for some ten thousand
ASKED_AT_ONCE = 1_000
ASSURANCE = {"standard": STANDARD, "strict": STRICT}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteRules:
    """Who may check in at a site, and for what. Empty means everyone, and everything."""

    groups: frozenset[str]
    purposes: frozenset[str]

    def admit(self, groups: frozenset[str], purpose: str) -> bool:
        """Whether a subject of these groups may check in here for this purpose."""
        return (not self.groups or not self.groups.isdisjoint(groups)) and (
            not self.purposes or purpose in self.purposes
        )


V = TypeVar("V")


class Recent(Generic[V]):
    """The values put most recently, up to a number: for the credentials in use."""

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._values: OrderedDict[str, V] = OrderedDict()

    def get(self, key: str) -> V | None:
        """A value, if it is among the recent ones."""
        return self._values.get(key)

    def put(self, key: str, value: V) -> None:
        """Keep a value, in the place of the one longest not put if there are too many."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A tenant's configuration at one version."""

    tenant_id: UUID
    version: int
    keys: TenantKeys = field(repr=False)
    purposes: Mapping[str, Purpose]
    #: active sites only
    index: SiteIndex
    rules: Mapping[UUID, SiteRules]
    #: credentials seen under this version; they are looked up anew under the next
    tokens: Recent[Token] = field(default_factory=Recent, repr=False)
    api_keys: Recent[ApiKey] = field(default_factory=Recent, repr=False)


class Policies:
    """Snapshots by tenant, loaded when first asked for and dropped when their tenant changed."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._loaded: dict[UUID, Policy] = {}
        self._loading: dict[UUID, asyncio.Task[Policy]] = {}
        # of forgotten snapshots: unchanged sites are taken over with all that was computed
        self._before: dict[UUID, SiteIndex] = {}

    async def of(self, tenant_id: UUID) -> Policy:
        """The tenant's policy, as fresh as the last poll."""
        policy = self._loaded.get(tenant_id)
        if policy is not None:
            return policy
        loading = self._loading.get(tenant_id)
        if loading is None:
            loading = asyncio.create_task(self._load(tenant_id))
            self._loading[tenant_id] = loading
        # one load serves all who wait, so one caller that goes away must not cancel it
        return await asyncio.shield(loading)

    def forget(self, tenant_id: UUID) -> None:
        """Load the tenant's policy anew when it is next asked for."""
        forgotten = self._loaded.pop(tenant_id, None)
        if forgotten is not None:
            self._before[tenant_id] = forgotten.index
        self._loading.pop(tenant_id, None)

    async def refresh(self) -> bool:
        """Drop the snapshots that are older than the database; whether there were any to ask of."""
        followed = list(self._loaded)
        if not followed:
            return False
        versions: dict[UUID, int] = {}
        for start in range(0, len(followed), ASKED_AT_ONCE):
            some = followed[start : start + ASKED_AT_ONCE]
            versions |= await self._database.read(Reach.of_all(some), partial(_versions, some))
        for tenant_id, policy in list(self._loaded.items()):
            if versions.get(tenant_id) != policy.version:
                self.forget(tenant_id)
        return True

    async def _load(self, tenant_id: UUID) -> Policy:
        mine = asyncio.current_task()
        try:
            before = self._before.get(tenant_id)
            policy = await self._database.read_much(
                Reach.of(tenant_id),
                lambda connection: load(
                    connection, tenant_id, self._keyring.tenant(tenant_id), before
                ),
            )
            if self._loading.get(tenant_id) is mine:
                self._loaded[tenant_id] = policy
                self._before.pop(tenant_id, None)
            return policy
        finally:
            if self._loading.get(tenant_id) is mine:
                del self._loading[tenant_id]


def _versions(some: Sequence[UUID], connection: Connection) -> dict[UUID, int]:
    return tenants.versions(connection, some)


def load(
    connection: Connection, tenant_id: UUID, keys: TenantKeys, before: SiteIndex | None
) -> Policy:
    """Read a tenant's policy: one version of everything in it."""
    version = tenants.version(connection, tenant_id)
    active = [s for s in sites.all_current(connection, tenant_id) if s.content.active]
    return Policy(
        tenant_id=tenant_id,
        version=version,
        keys=keys,
        purposes={p.name: p for p in purposes.all_purposes(connection, tenant_id)},
        index=SiteIndex(judged_site(site, before) for site in active),
        rules={
            site.site_id: SiteRules(
                groups=frozenset(site.content.groups), purposes=frozenset(site.content.purposes)
            )
            for site in active
        },
    )


def judged_site(site: StoredSite, before: SiteIndex | None = None) -> Site:
    """A stored site as the judging knows it; the same one as before if it did not change."""
    known = before.get(site.site_id) if before else None
    if known is not None and known.version == site.version:
        return known
    content = site.content
    return Site(
        site_id=site.site_id,
        version=site.version,
        geofence=content.geofence,
        tolerance_m=content.tolerance_m,
        assurance=ASSURANCE[content.assurance],
        max_accuracy_m=content.max_accuracy_m,
    )


async def keep_fresh(policies: Policies, poll_s: float = POLL_S) -> None:
    """Poll for changes until cancelled.

    Whatever goes wrong with one look, the next is taken: a process that stopped looking would judge
    by an old policy for ever. A database that is away is told once, and once that it is back.
    """
    told: str | None = None
    while True:
        await asyncio.sleep(poll_s)
        try:
            if not await policies.refresh():
                continue
            cause = None
        except DatabaseUnavailable as error:
            cause = error.code
        except Exception as error:  # noqa: BLE001
            logs.failure(error)
            continue
        if cause is not None and told is None:
            logs.event("database-unavailable", level=logging.WARNING, cause=cause)
        elif cause is None and told is not None:
            logs.event("database-available", level=logging.WARNING)
        told = cause
