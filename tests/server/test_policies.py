"""Snapshots: reloaded when the tenant changed, never stuck, and not computed twice."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import text

import postgres
from doorstep_server import deployment, snapshots
from doorstep_server.meters import Meters
from doorstep_server.policies import Policies, Recent, keep_fresh
from doorstep_server.settings import Settings
from doorstep_server.store.api_keys import ApiKey
from doorstep_server.store.database import WAIT_S, Database
from doorstep_server.store.devices import Token
from doorstep_server.store.postgres import CONNECTIONS
from doorstep_server.store.reach import NOTHING
from doorstep_server.store.sqlite import READERS
from world import World, opened


def test_a_site_that_did_not_change_is_taken_over_as_it_is(settings: Settings) -> None:
    with opened(settings) as world:
        tenant = world.first
        kept, tenant_id = tenant.site(), tenant.new.tenant.tenant_id
        # opened for a loop of its own, as by another process
        database = deployment.database(settings)
        policies = Policies(database, world.services.keyring, world.clock)

        async def look() -> tuple[object, object]:
            before = await policies.of(tenant_id)
            with_another = tenant.site  # made through the API: another process, for these policies
            await asyncio.to_thread(with_another)
            await policies.refresh()
            after = await policies._load_once(tenant_id)
            assert after.version > before.version
            assert len(after.index) == 2
            await database.close()
            return before.index.get(UUID(kept["id"])), after.index.get(UUID(kept["id"]))

        before, after = asyncio.run(look())
        assert before is after


def test_following_changes_survives_whatever_goes_wrong() -> None:
    class Failing(Policies):
        def __init__(self) -> None:
            self.looks = asyncio.Semaphore(0)

        async def refresh(self) -> bool:
            self.looks.release()
            raise RuntimeError

    async def follow() -> None:
        policies = Failing()
        following = asyncio.create_task(keep_fresh(policies, Meters(), poll_s=0))
        async with asyncio.timeout(30):
            for _ in range(3):
                await policies.looks.acquire()
        following.cancel()
        await asyncio.wait([following])
        assert following.cancelled()

    asyncio.run(follow())


def test_the_credentials_in_use_stay_when_others_come() -> None:
    recent: Recent[int] = Recent(limit=2)
    for key in ("a", "b", "a", "c"):
        recent.put(key, 1)
    assert [key for key in "abc" if recent.get(key)] == ["a", "c"]


def test_tenants_that_were_quiet_longest_are_let_go_of(settings: Settings) -> None:
    with opened(settings) as world:
        tenants = [world.first, world.tenant("Second"), world.tenant("Third")]
        for tenant in tenants:
            tenant.site()
        first, second, third = (tenant.new.tenant.tenant_id for tenant in tenants)
        database = deployment.database(settings)

        async def look() -> None:
            roomy = Policies(database, world.services.keyring, world.clock)
            one = (await roomy.of(first)).size_bytes
            policies = Policies(database, world.services.keyring, world.clock, memory_bytes=2 * one)
            for tenant_id in (first, second, first, third):
                assert len((await policies.of(tenant_id)).index) == 1
            assert set(policies._loaded) == {first, third}
            # asked for again, it is read again
            assert len((await policies.of(second)).index) == 1
            # however little there is room for, the one that is asked for stays
            tiny = Policies(database, world.services.keyring, world.clock, memory_bytes=1)
            await tiny.of(first)
            await tiny.of(second)
            assert set(tiny._loaded) == {second}
            await database.close()

        asyncio.run(look())


def test_more_changes_than_a_page_are_all_seen(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PAGE", 3)
    with opened(settings) as world:
        tenant = world.first
        tenant_id = tenant.new.tenant.tenant_id
        kept = [tenant.site(name=f"Kept {number}") for number in range(4)]
        database = deployment.database(settings)

        async def look() -> None:
            policies = Policies(database, world.services.keyring, world.clock)
            before = await policies.of(tenant_id)
            assert len(before.index) == 4
            for number in range(5):
                await asyncio.to_thread(tenant.site, name=f"New {number}")
            gone = kept[0]["id"]
            await asyncio.to_thread(tenant.admin.delete, f"/v1/sites/{gone}")
            policies.forget(tenant_id)
            after = await policies.of(tenant_id)
            assert len(after.index) == 8
            assert after.index.get(UUID(gone)) is None
            same = UUID(kept[1]["id"])
            assert after.index.get(same) is before.index.get(same)
            await database.close()

        asyncio.run(look())


def test_a_revoked_key_is_not_remembered_while_the_new_policy_is_read(settings: Settings) -> None:
    """The old one serves until then: but not what was known of credentials under it."""
    with opened(settings) as world:
        tenant = world.first
        tenant_id = tenant.new.tenant.tenant_id
        database = deployment.database(settings)

        async def look() -> None:
            policies = Policies(database, world.services.keyring, world.clock)
            before = await policies.of(tenant_id)
            before.tokens.put("kid", cast("Token", object()))
            before.api_keys.put("kid", cast("ApiKey", object()))
            await asyncio.to_thread(tenant.site)
            await policies.refresh()
            assert await policies.of(tenant_id) is before
            assert before.tokens.get("kid") is None
            assert before.api_keys.get("kid") is None
            await policies._load_once(tenant_id)
            assert await policies.of(tenant_id) is not before
            await database.close()

        asyncio.run(look())


def test_a_change_is_seen_while_every_reader_is_busy(world: World) -> None:
    tenant_id, kind = world.first.tenant_id, world.settings.database().partition(":")[0]
    database = deployment.database(world.settings)

    async def look() -> None:
        policies = Policies(database, world.services.keyring, world.clock)
        before = await policies.of(tenant_id)
        async with BUSY[kind](world, database):
            await asyncio.to_thread(world.first.site)
            async with asyncio.timeout(WAIT_S):
                assert await policies.refresh()
                after = await policies._load_once(tenant_id)
        assert len(after.index) == len(before.index) + 1
        await database.close()

    asyncio.run(look())


@asynccontextmanager
async def every_thread_waits(_: World, database: Database) -> AsyncIterator[None]:
    """More reads than there are threads for, until the block ends."""
    over, waiting = threading.Event(), threading.Semaphore(0)

    def wait(_: object) -> None:
        waiting.release()
        over.wait()

    reads = [asyncio.create_task(database.read(NOTHING, wait)) for _ in range(READERS + 1)]
    for _ in range(READERS):
        await asyncio.to_thread(waiting.acquire)
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*reads)


@asynccontextmanager
async def every_connection_waits(world: World, database: Database) -> AsyncIterator[None]:
    """More reads than there are connections, which wait for a lock until the block ends."""
    assert world.settings.admin_database_url is not None
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with postgres.session(world.settings.admin_database_url) as admin:
        admin.run("SELECT pg_advisory_lock(1, 1)")
        lock = text("SELECT pg_advisory_xact_lock_shared(1, 1)")
        reads = [
            asyncio.create_task(database.read(NOTHING, lambda c: c.execute(lock)))
            for _ in range(CONNECTIONS + 1)
        ]
        await asyncio.to_thread(
            postgres.wait_until, lambda: admin.run(waits) == [(CONNECTIONS,)], "all wait"
        )
        try:
            yield
        finally:
            admin.run("SELECT pg_advisory_unlock(1, 1)")
            await asyncio.gather(*reads)


BUSY = {"sqlite": every_thread_waits, "postgresql": every_connection_waits}
