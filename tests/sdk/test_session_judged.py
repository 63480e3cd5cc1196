"""Check-ins that the device judges, out of the outbox: the position stays, the verdict is one."""

# ruff: noqa: ASYNC109 (names that are not ours)

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from doorstep import AsyncClient, ConnectionLost, Fix, Outbox, Session
from doorstep.testing import FakeServer
from sdk.boxes import PLACE, Keystore, Phone, Provider, holds_place
from sdk.scripted import LAT, LON


class Network:
    """The way to a fake server: it may be down, or lose answers."""

    def __init__(self, server):
        self._transport = server.async_transport()
        self.is_up = True
        self.loses = 0
        self.sent = []

    async def send(self, request, *, timeout):
        if not self.is_up:
            raise ConnectionLost
        response = await self._transport.send(request, timeout=timeout)
        self.sent.append(request)
        if request.url.endswith("/batch") and self.loses:
            self.loses -= 1
            raise ConnectionLost
        return response

    def batches(self):
        found = [one.body for one in self.sent if one.url.endswith("/batch")]
        return [json.loads(body)["check_ins"] for body in found]


class Round:
    """A person on a round, for which devices judge."""

    def __init__(self, path, **options):
        self.path = path
        self.server = FakeServer()
        self.server.add_purpose("round", judged_by="device")
        self.site = self.server.add_site(lat=LAT, lon=LON)
        self.network = Network(self.server)
        self.client = AsyncClient(FakeServer.url, transport=self.network)
        self.options = options

    def session(self):
        outbox = Outbox(self.path, **self.options)
        return Session(self.client, outbox=outbox, provider=Provider(Now()))

    async def offline_check_in(self, session):
        await session.flush()
        self.network.is_up = False
        ticket = await session.check_in(purpose="round", site_id=self.site)
        await session.flush()
        self.network.is_up = True
        return ticket

    def kept(self):
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute("SELECT content FROM verdicts").fetchall()


class Now(Phone):
    """A phone with the clocks of this machine."""

    def fix(self, **changes):
        return Fix.now(lat=LAT, lon=LON, accuracy_m=8.0)


def live(story):
    asyncio.run(story)


@pytest.mark.parametrize("sealer", [None, Keystore()], ids=["plain", "sealed"])
def test_the_verdict_is_sent_and_no_place(path, sealer):
    trip = Round(path, sealer=sealer)

    async def story():
        await trip.client.device.enroll(trip.server.code())
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            assert await session.flush() == "empty"
            assert await ticket.settled() == "accepted"
        assert not holds_place(path)

    live(story())
    [[item]] = trip.network.batches()
    assert (item["verdict"]["reason"], item["site_id"]) == ("inside", trip.site)
    everything = b"".join(one.body or b"" for one in trip.network.sent)
    assert not any(digits in everything for digits in PLACE)
    assert trip.kept() == []


@pytest.mark.parametrize("sealer", [None, Keystore()], ids=["plain", "sealed"])
def test_after_a_lost_answer_the_same_verdict_is_sent_whatever_the_bundle_says(path, sealer):
    """Judged anew it would be another check-in to the server, and refused: id-reused."""
    trip = Round(path, sealer=sealer)

    async def story():
        await trip.client.device.enroll(trip.server.code())
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            trip.network.loses = 1
            assert await session.flush() == "backing-off"
            assert len(trip.kept()) == 1
        trip.server.add_site(lat=LAT + 1, lon=LON)
        async with trip.session() as session:
            assert await session.flush() == "empty"
            assert (await session.ticket(ticket.id)).state == "accepted"

    live(story())
    [first], [second] = trip.network.batches()
    assert first["verdict"] == second["verdict"]
    assert len(trip.server.stored()) == 1


def test_what_the_server_calls_outdated_is_judged_by_a_fresh_bundle(path):
    trip = Round(path)

    async def story():
        await trip.client.device.enroll(trip.server.code())
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            send = trip.network.send
            moved = []

            async def move_meanwhile(request, *, timeout):
                if request.url.endswith("/batch") and not moved:
                    moved.append(trip.server.move_site(trip.site, lat=LAT, lon=LON))
                return await send(request, timeout=timeout)

            trip.network.send = move_meanwhile
            await session.flush()
            assert await session.flush() == "empty"
            assert await ticket.settled() == "accepted"

    live(story())
    [first], [second] = trip.network.batches()
    assert first["verdict"]["bundle_version"] < second["verdict"]["bundle_version"]


def test_a_withdrawal_takes_the_verdict_as_well(path):
    trip = Round(path)

    async def story():
        await trip.client.device.enroll(trip.server.code())
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            trip.network.loses = 1
            await session.flush()
            await session.withdraw()
            assert await ticket.settled() == "withdrawn"
            assert trip.kept() == []
            assert not holds_place(path, (*PLACE, trip.site.encode()))

    live(story())
