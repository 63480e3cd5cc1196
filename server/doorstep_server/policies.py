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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from doorstep_geofences import SiteIndex
from doorstep_server import lasting, logs, snapshots
from doorstep_server.bundles import Bundle
from doorstep_server.callers import Caller
from doorstep_server.keyring import Keyring
from doorstep_server.meters import Meters
from doorstep_server.privacy.keys import SubjectKeys, TenantKeys
from doorstep_server.privacy.policy import Purpose
from doorstep_server.snapshots import Snapshot
from doorstep_server.store import Connection, purposes, sites, tenants
from doorstep_server.store.api_keys import ApiKey
from doorstep_server.store.database import Database, DatabaseUnavailable
from doorstep_server.store.devices import Token
from doorstep_server.store.reach import NOTHING, Reach
from doorstep_server.store.sites import InForce
from doorstep_server.store.tenants import Limits
from doorstep_server.store.tokens import PersonRows

POLL_S = 0.25
#: tenants whose versions are asked for in one statement, which has room for some ten thousand
ASKED_AT_ONCE = 1_000
#: of changes: so many sites cost the event loop a few milliseconds
FEW_SITES = 100
#: what all snapshots of a process may take together
MEMORY_BYTES = 2_000_000_000
#: how long a policy's keys are taken to be enough: they are made for over a year
KEYS_GOOD_FOR = timedelta(days=20)
#: no purpose keeps check-ins longer
LONGEST_RETENTION_DAYS = 365
#: what one takes beside its sites, with the credentials in use
POLICY_BYTES = 50_000
#: sets of groups whose bundles are kept made
BUNDLES_KEPT = 16

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

    def clear(self) -> None:
        """Keep none."""
        self._values.clear()


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownToken:
    """A device token in use, with the device that it speaks for."""

    token: Token
    #: SHA-256 of the token as it is presented: it was compared with what is stored
    presented: bytes = field(repr=False)
    caller: Caller


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A tenant's configuration at one version."""

    tenant_id: UUID
    version: int
    keys: TenantKeys = field(repr=False)
    #: from when until when the keys for rows are surely enough
    keys_from: date
    keys_until: date
    purposes: Mapping[str, Purpose]
    limits: Limits
    #: active sites only
    index: SiteIndex
    #: credentials seen under this version; they are looked up anew under the next
    tokens: Recent[KnownToken] = field(default_factory=Recent, repr=False)
    api_keys: Recent[ApiKey] = field(default_factory=Recent, repr=False)
    #: by the groups of who sees the same sites
    bundles: Recent[Bundle] = field(default_factory=partial(Recent, BUNDLES_KEPT), repr=False)

    def has_keys(self, today: date) -> bool:
        """Whether its keys are enough on a day; clocks are set back, too."""
        return self.keys_from <= today < self.keys_until

    @property
    def max_speed_m_s(self) -> float | None:
        """Who seems to have travelled faster between two sites is doubted; None: nobody is."""
        kmh = self.limits.max_speed_kmh
        return None if kmh is None else kmh / 3.6

    def rows_of(self, keys: SubjectKeys, today: date) -> PersonRows:
        """Where a person's check-ins can be that may be read today."""
        days = [today + timedelta(days=1 + i) for i in range(LONGEST_RETENTION_DAYS)]
        return PersonRows(keys=keys, purposes=list(self.purposes), expires_on=days)

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return POLICY_BYTES + self.index.size_bytes


class Policies:
    """Snapshots by tenant: loaded when first asked for, brought up to date when a tenant changed.

    Those that were asked for longest ago are let go of when all together take too much memory.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        now: Callable[[], datetime],
        memory_bytes: int = MEMORY_BYTES,
        meters: Meters | None = None,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._now = now
        self._memory_bytes = memory_bytes
        self._meters = meters or Meters()
        # of the keyring: what the database was last told of
        self._told_generation = 0
        # the one asked for last at the end
        self._loaded: OrderedDict[UUID, Policy] = OrderedDict()
        self._loading: dict[UUID, asyncio.Task[Policy]] = {}
        # those that are no longer good: only what changed is read anew
        self._before: dict[UUID, Policy] = {}

    def at_hand(self, tenant_id: UUID) -> Policy | None:
        """The tenant's policy, as fresh as the last poll; None when it must be loaded first."""
        policy = self._loaded.get(tenant_id)
        if policy is None or not policy.has_keys(self._now().date()):
            return None
        self._loaded.move_to_end(tenant_id)
        return policy

    async def of(self, tenant_id: UUID, *, at_least: int = 0) -> Policy:
        """The tenant's policy, as fresh as the last poll, and as a version that is known elsewhere.

        Whoever says a version that there never was gets the newest.
        """
        policy = self.at_hand(tenant_id)
        if policy is not None and policy.version < at_least:
            policy = await self._newer(policy)
        if policy is not None:
            return policy
        # one load serves all who wait, so one caller that goes away must not cancel it
        return await asyncio.shield(self._load_once(tenant_id))

    def forget(self, tenant_id: UUID) -> None:
        """Whoever asks for the tenant's policy from now on gets it as it is from now on."""
        forgotten = self._loaded.pop(tenant_id, None)
        if forgotten is not None:
            self._before[tenant_id] = forgotten
        self._loading.pop(tenant_id, None)

    async def renew(self, tenant_id: UUID) -> None:
        """Bring a tenant's policy up to date, when much changed; meanwhile the older serves."""
        policy = self._loaded.get(tenant_id)
        if policy is not None:
            self._before[tenant_id] = policy
            # one that is being loaded may be from before the change
            self._loading.pop(tenant_id, None)
            await asyncio.shield(self._load_once(tenant_id))

    async def _newer(self, policy: Policy) -> Policy | None:
        """The same if it is the newest; None when a newer one must be loaded."""
        tenant_id = policy.tenant_id
        newest = await self._database.read(
            Reach.of(tenant_id), lambda c: tenants.version(c, tenant_id)
        )
        if newest <= policy.version:
            return policy
        self.forget(tenant_id)
        return None

    async def refresh(self) -> bool:
        """Bring what is older than the database up to date; whether there was anything to ask of.

        Until it is, the older one serves: however much changed, nobody waits.
        """
        followed = list(self._loaded)
        if not followed:
            return False
        versions: dict[UUID, int] = {}
        for start in range(0, len(followed), ASKED_AT_ONCE):
            some = followed[start : start + ASKED_AT_ONCE]
            versions |= await self._database.follow(Reach.of_all(some), partial(_versions, some))
        for tenant_id, policy in list(self._loaded.items()):
            if versions.get(tenant_id) != policy.version:
                # perhaps one was revoked: that holds now
                policy.tokens.clear()
                policy.api_keys.clear()
                self._before[tenant_id] = policy
                self._load_once(tenant_id)
        return True

    def _load_once(self, tenant_id: UUID) -> asyncio.Task[Policy]:
        loading = self._loading.get(tenant_id)
        if loading is None:
            loading = asyncio.create_task(self._load(tenant_id))
            loading.add_done_callback(_noted)
            self._loading[tenant_id] = loading
        return loading

    async def _load(self, tenant_id: UUID) -> Policy:
        mine = asyncio.current_task()
        try:
            before = self._before.get(tenant_id)
            keys = await self._keys(tenant_id, before)
            policy = await load(
                self._database, tenant_id, keys, _snapshot(before) if before else None
            )
            self._meters.snapshot_loads.add("changes" if before else "whole")
            if not before:
                lasting.set_more_apart()
            if self._loading.get(tenant_id) is mine:
                self._loaded[tenant_id] = policy
                self._before.pop(tenant_id, None)
                self._let_go()
            return policy
        finally:
            if self._loading.get(tenant_id) is mine:
                del self._loading[tenant_id]

    async def _keys(self, tenant_id: UUID, before: Policy | None) -> "_Keys":
        """A tenant's keys; the database is told when there are new ones."""
        today = self._now().date()
        if before is not None and before.has_keys(today):
            return _Keys(before.keys, before.keys_from, before.keys_until)
        keys, head = await asyncio.to_thread(
            lambda: (self._keyring.tenant(tenant_id, today), self._keyring.head())
        )
        if head.generation != self._told_generation:
            await self._tell(head.generation)
            self._told_generation = head.generation
            self._meters.keyring_generation.set(head.generation)
        return _Keys(keys, today, today + KEYS_GOOD_FOR)

    async def _tell(self, generation: int) -> None:
        """Most often the database knows: then it need not be one that can be written."""
        binding = await self._database.read(NOTHING, tenants.binding)
        if binding is None or binding.keyring_generation < generation:
            await self._database.write(NOTHING, lambda c: tenants.note_keyring(c, generation))

    def _let_go(self) -> None:
        """Of as many as are too much, but never of the last."""
        held = [*self._before.values(), *self._loaded.values()]
        taken = sum(policy.size_bytes for policy in held)
        while taken > self._memory_bytes and self._before:
            taken -= self._before.popitem()[1].size_bytes
            self._meters.snapshot_evictions.add()
        while taken > self._memory_bytes and len(self._loaded) > 1:
            _, policy = self._loaded.popitem(last=False)
            taken -= policy.size_bytes
            self._meters.snapshot_evictions.add()
        self._meters.snapshots.set(len(self._loaded))
        self._meters.snapshot_bytes.set(taken)


@dataclass(frozen=True, slots=True)
class _Keys:
    keys: TenantKeys = field(repr=False)
    since: date
    until: date


def _snapshot(policy: Policy) -> Snapshot:
    return Snapshot(version=policy.version, index=policy.index)


def _noted(loading: asyncio.Task[Policy]) -> None:
    """Whoever waits hears of a failure; where nobody does, the next look tries again."""
    if not loading.cancelled():
        loading.exception()


def _versions(some: Sequence[UUID], connection: Connection) -> dict[UUID, int]:
    return tenants.versions(connection, some)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Changed:
    """What a policy is made of, beside keys: one version of everything in it."""

    limits: Limits
    purposes: list[Purpose]
    version: int
    sites: InForce

    @classmethod
    def since(
        cls, tenant_id: UUID, version: int, most: int, connection: Connection
    ) -> "_Changed | None":
        """All of it, of sites those that changed since a version; None if these are too many."""
        changed = sites.changed_since(connection, tenant_id, version, limit=most + 1)
        if len(changed.rows) > most:
            return None
        return cls(
            limits=tenants.limits(connection, tenant_id),
            purposes=purposes.all_purposes(connection, tenant_id),
            version=tenants.version(connection, tenant_id),
            sites=changed,
        )


_Reading = Callable[[Reach, Callable[[Connection], _Changed | None]], Awaitable[_Changed | None]]


async def load(database: Database, tenant_id: UUID, keys: _Keys, before: Snapshot | None) -> Policy:
    """Read a tenant's policy; of its sites only what changed since an earlier snapshot."""
    snapshot = before or await snapshots.read(database, tenant_id, None)
    reading = database.read if before is None else database.follow
    while (found := await _changed(database, reading, tenant_id, snapshot.version)) is None:
        snapshot = await snapshots.read(database, tenant_id, snapshot)
    current = await asyncio.to_thread(snapshot.changed, found.version, found.sites)
    return Policy(
        tenant_id=tenant_id,
        version=found.version,
        keys=keys.keys,
        keys_from=keys.since,
        keys_until=keys.until,
        purposes={p.name: p for p in found.purposes},
        limits=found.limits,
        index=current.index,
    )


async def _changed(
    database: Database, reading: _Reading, tenant_id: UUID, version: int
) -> _Changed | None:
    """What changed since a version; None if it is more than a page.

    Mostly it is little, and then it is read at once. What is read beside the event loop has to
    wait for it at every step, and a connection of its own is longer in opening than in use.
    """
    reach, since = Reach.of(tenant_id), partial(_Changed.since, tenant_id, version)
    little = await reading(reach, partial(since, FEW_SITES))
    return little or await database.read_much(reach, partial(since, snapshots.PAGE))


async def keep_fresh(policies: Policies, meters: Meters, poll_s: float = POLL_S) -> None:
    """Poll for changes until cancelled.

    Whatever goes wrong with one look, the next is taken: a process that stopped looking would judge
    by an old policy for ever. A database that is away is told once, and once that it is back.
    """
    told: str | None = None
    while True:
        await asyncio.sleep(poll_s)
        try:
            found = await policies.refresh()
            meters.looked()
            if not found:
                continue
            cause = None
        except DatabaseUnavailable as error:
            meters.polls.add("failed")
            cause = error.code
        except Exception as error:  # noqa: BLE001
            meters.polls.add("failed")
            logs.failure(error)
            continue
        if cause is not None and told is None:
            logs.event("database-unavailable", level=logging.WARNING, cause=cause)
        elif cause is None and told is not None:
            logs.event("database-available", level=logging.WARNING)
        told = cause
