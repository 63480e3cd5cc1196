"""Retention on both databases: what has expired goes, in bounded pieces, and nothing else does."""

import asyncio
from typing import cast

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from doorstep_server import deployment
from doorstep_server.app import build_app, make_services
from doorstep_server.cli import main
from doorstep_server.keyring import Keyring
from doorstep_server.meters import Meters
from doorstep_server.retention import Report, keep_running, run
from doorstep_server.store import retention
from doorstep_server.store.database import DatabaseUnavailable
from doorstep_server.store.sqlite import SqliteDatabase
from world import FAR_OUTSIDE, NOON, Phone, World


def kept(world: World) -> Report:
    """One run at the world's time, as another process."""

    async def work() -> Report:
        database, keyring = deployment.open_deployment(world.settings)
        try:
            return await run(database, keyring, world.clock.now.date())
        finally:
            await database.close()

    return asyncio.run(work())


def count(world: World, table: str) -> int:
    return int(world.rows(f"SELECT count(*) FROM {table}")[0][0])


def test_receipts_go_when_no_retry_can_need_them(world: World, phone: Phone) -> None:
    body = phone.claim(FAR_OUTSIDE)
    assert phone.check_in(body).status_code == 201
    world.clock.advance(days=7)
    kept(world)
    assert count(world, "receipts") == 1
    again = phone.check_in({**body, "permission_epoch": 0})
    assert again.headers["doorstep-replayed"] == "true"
    world.clock.advance(days=1)
    phone.report("precise")
    assert kept(world).receipts_deleted == 1
    assert count(world, "receipts") == 0
    assert phone.check_in({**body, "permission_epoch": 0}).json()["code"] == "too-old"


def test_check_ins_go_when_they_have_expired_and_not_before(world: World, phone: Phone) -> None:
    phone.check_in(phone.claim())
    world.clock.advance(days=59)
    kept(world)
    assert count(world, "check_ins") == 1
    world.clock.advance(days=7)  # to the end of the week that PostgreSQL drops as a whole
    kept(world)
    assert count(world, "check_ins") == 0


def test_a_run_deletes_in_bounded_pieces_and_of_every_tenant(
    world: World, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    other = world.tenant("Other")
    other.site()
    others_phone = other.phone()
    for _ in range(5):
        phone.check_in(phone.claim())
        others_phone.check_in(others_phone.claim())
    world.clock.advance(days=8)
    phone.report("precise")
    fresh = phone.claim()
    phone.check_in(fresh)
    pieces: list[int] = []
    delete = retention.delete_receipts
    monkeypatch.setattr(
        retention, "delete_receipts", lambda *given: pieces.append(n := delete(*given)) or n
    )
    assert kept(world).receipts_deleted == 10
    assert max(pieces) == 3
    assert count(world, "receipts") == 1


def test_a_run_that_fails_is_told_and_the_next_one_comes() -> None:
    class Away(SqliteDatabase):
        def __init__(self) -> None:
            self.asked = asyncio.Semaphore(0)

        async def read(self, *_: object) -> None:  # type: ignore[override]
            self.asked.release()
            raise DatabaseUnavailable("away")

    async def follow() -> None:
        database, keyring = Away(), cast("Keyring", None)
        keeping = asyncio.create_task(
            keep_running(database, keyring, lambda: NOON, Meters(), every_s=0)
        )
        async with asyncio.timeout(30):
            for _ in range(3):
                await database.asked.acquire()
        keeping.cancel()
        await asyncio.wait([keeping])
        assert keeping.cancelled()

    asyncio.run(follow())


def test_the_server_does_it_by_itself(world: World, phone: Phone) -> None:
    """From its start on: a second process of the deployment, a week later."""
    phone.check_in(phone.claim())
    world.clock.advance(days=8)
    services = make_services(world.settings, world.clock)
    with TestClient(build_app(services)) as client:
        looks = (client.get("/health/live") and count(world, "receipts") for _ in range(1_000))
        assert any(left == 0 for left in looks)


def test_the_command_says_what_it_did(world: World, phone: Phone) -> None:
    world.clock.advance(days=-9)
    phone.check_in(phone.claim())
    world.rows("UPDATE receipts SET expires_on = '2026-01-01'")
    environment = {
        "DOORSTEP_DATABASE_URL": world.settings.database_url,
        "DOORSTEP_ADMIN_DATABASE_URL": world.settings.admin_database_url,
    }
    arguments = ["--home", str(world.settings.home), "retention", "run"]
    done = CliRunner(env=environment).invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "1 receipts deleted" in done.output
