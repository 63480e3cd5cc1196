"""Snapshots: reloaded when the tenant changed, never stuck, and not computed twice."""

import asyncio

from doorstep_server import deployment
from doorstep_server.policies import Policies, Recent, keep_fresh
from doorstep_server.settings import Settings
from world import opened


def test_a_site_that_did_not_change_is_taken_over_as_it_is(settings: Settings) -> None:
    with opened(settings) as world:
        tenant = world.first
        kept, tenant_id = tenant.site(), tenant.new.tenant.tenant_id
        # opened for a loop of its own, as by another process
        database = deployment.database(settings)
        policies = Policies(database, world.services.keyring)

        async def look() -> tuple[object, object]:
            before = await policies.of(tenant_id)
            with_another = tenant.site  # made through the API: another process, for these policies
            await asyncio.to_thread(with_another)
            await policies.refresh()
            after = await policies.of(tenant_id)
            assert after.version > before.version
            assert len(after.index) == 2
            site_id = next(s for s in after.rules if str(s) == kept["id"])
            await database.close()
            return before.index.get(site_id), after.index.get(site_id)

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
        following = asyncio.create_task(keep_fresh(policies, poll_s=0))
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
