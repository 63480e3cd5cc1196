"""A session for a purpose that devices judge for: offline, restarted, and no position is sent."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from doorstep import AsyncClient, Fix, Outbox, Session
from doorstep.providers import FakeProvider
from doorstep.testing import AsyncFaultTransport, DropBefore, FakeServer
from sdk.test_judged import INSIDE

HERE = INSIDE


class Scene:
    """A server, a phone that may lose its network, and what it sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = FakeServer()
        self.site_id = self.server.add_site(**HERE)
        self.server.add_purpose("round", judged_by="device")
        self.sent = self.server.async_transport()
        self.token: str | None = None

    async def enroll(self) -> None:
        async with AsyncClient(self.server.url, transport=self.sent) as client:
            self.token = (await client.device.enroll(self.server.code())).token
            await client.permission.report("precise")

    async def run(self, do: Callable[[Session], Awaitable[Any]], *, offline: bool = False) -> Any:
        """One run of the app."""
        faults = [DropBefore()] * (1_000 if offline else 0)
        transport = AsyncFaultTransport(self.sent, faults)
        fix = Fix.now(**HERE, accuracy_m=8.0)
        client = AsyncClient(self.server.url, transport=transport, token=self.token)
        outbox = Outbox(self.path)
        async with Session(client, outbox=outbox, provider=FakeProvider([fix])) as session:
            return await do(session)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(one.body) for one in self.sent.requests if one.body]

    def said(self) -> str:
        return json.dumps(self.bodies)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "outbox.db")


def check_in(**members: Any) -> Callable[[Session], Awaitable[str]]:
    async def do(session: Session) -> str:
        ticket = await session.check_in(**{"purpose": "round", **members})
        await session.flush()
        return ticket.state

    return do


def test_it_is_judged_when_it_is_sent(scene: Scene) -> None:
    async def life() -> str:
        await scene.enroll()
        return await scene.run(check_in())

    assert asyncio.run(life()) == "accepted"
    [stored] = scene.server.stored()
    assert (stored["evidence"], stored["site_id"]) == ("device", scene.site_id)
    assert '"fix"' not in scene.said()
    assert not [digits for digits in ("23.56", "46.65") if digits in scene.said()]


def test_offline_and_after_a_restart_it_is_the_same(scene: Scene) -> None:
    """Whoever starts anew knows of no purposes: it asks before anything is sent."""

    async def life() -> str:
        await scene.enroll()
        assert await scene.run(check_in(site_id=scene.site_id), offline=True) == "queued"
        return str(await scene.run(lambda session: session.flush()))

    assert asyncio.run(life()) == "empty"
    assert [one["evidence"] for one in scene.server.stored()] == ["device"]
    assert '"fix"' not in scene.said()


def test_a_site_that_moved_meanwhile_is_judged_as_it_is(scene: Scene) -> None:
    async def life() -> None:
        await scene.enroll()
        await scene.run(check_in(site_id=scene.site_id), offline=True)
        scene.server.move_site(scene.site_id, lat=HERE["lat"] + 1, lon=HERE["lon"])
        await scene.run(lambda session: session.flush())

    asyncio.run(life())
    assert scene.server.stored() == []
    [batch] = [body for body in scene.bodies if "check_ins" in body]
    assert batch["check_ins"][0]["verdict"]["reason"] == "outside"


def test_a_site_that_is_gone_is_told_by_the_server(scene: Scene) -> None:
    async def life() -> str:
        await scene.enroll()
        nowhere = "00000000-0000-4000-8000-000000000009"
        return await scene.run(check_in(site_id=nowhere))

    assert asyncio.run(life()) not in {"accepted", "queued"}
    assert '"fix"' not in scene.said()
    assert scene.server.stored() == []


def test_other_purposes_go_on_beside_it(scene: Scene) -> None:
    async def life() -> None:
        await scene.enroll()

        async def both(session: Session) -> None:
            await session.check_in(purpose="visit")
            await session.check_in(purpose="round")
            await session.flush()

        await scene.run(both)

    asyncio.run(life())
    assert sorted(one["evidence"] for one in scene.server.stored()) == ["device", "gps"]
