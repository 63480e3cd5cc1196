"""Check-ins that the device judges, out of the outbox: no position is stored or sent.

Each rule holds against the fake server and the real one.
"""

# ruff: noqa: ASYNC109 (names that are not ours)

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from doorstep import (
    AsyncClient,
    ConnectionLost,
    Fix,
    HTTPTransport,
    NewCheckIn,
    Outbox,
    ProvisionalVerdict,
    Session,
    ThreadedTransport,
)
from doorstep._keeper import Nothing
from doorstep.testing import FakeServer
from sdk.boxes import PLACE, Keystore, Phone, Provider, holds_place
from sdk.scripted import LAT, LON
from served import serving

FAR = LAT + 1


class Network:
    """The way to a server: it may be down, or lose answers."""

    def __init__(self, transport):
        self._transport = transport
        self.is_up = True
        self.loses = 0
        self.sent = []
        #: done once, before the next batch is delivered
        self.meanwhile = None

    async def send(self, request, *, timeout):
        if not self.is_up:
            raise ConnectionLost
        is_batch = request.url.endswith("/batch")
        if is_batch and self.meanwhile:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        response = await self._transport.send(request, timeout=timeout)
        self.sent.append(request)
        if is_batch and self.loses:
            self.loses -= 1
            raise ConnectionLost
        return response

    def batches(self):
        found = [one.body for one in self.sent if one.url.endswith("/batch")]
        return [json.loads(body)["check_ins"] for body in found]

    def sent_a_place(self):
        everything = b"".join(one.body or b"" for one in self.sent)
        return any(digits in everything for digits in PLACE)


class Fake:
    """The fake server, as these tests use it."""

    url = FakeServer.url

    def __init__(self):
        self.server = FakeServer()
        self.code = self.server.code
        self.add_site = self.server.add_site
        self.move_site = self.server.move_site

    def add_purpose(self, name, *, judged_by="device"):
        self.server.add_purpose(name, judged_by=judged_by)

    switch_purpose = add_purpose

    def transport(self):
        return self.server.async_transport()


class Real:
    """A real server, as these tests use it: what one made is in no other's way."""

    def __init__(self, served):
        self.served = served
        self.url = served.url
        self._sites = {}
        self._transport = HTTPTransport()

    def code(self):
        return self.served.code()

    def _done(self, method, path, body):
        status, answer = self.served.call(method, path, body)
        assert status in {200, 201}, answer
        return answer

    def add_purpose(self, name, *, judged_by="device"):
        self._done("POST", "/v1/purposes", self._purpose(name, judged_by))

    def switch_purpose(self, name, *, judged_by="device"):
        told = self._done("GET", f"/v1/purposes/{name}", None)
        revised = {**told, "judged_by": judged_by}
        del revised["name"]
        self._done("PUT", f"/v1/purposes/{name}", revised)

    def _purpose(self, name, judged_by):
        basis = {"legal_basis": "contract", "judged_by": judged_by}
        return {"name": name, "title": "Rounds", **basis}

    def add_site(self, *, lat, lon):
        body = self._site(lat, lon, version=1)
        site_id = self._done("POST", "/v1/sites", body)["id"]
        self._sites[site_id] = 1
        return site_id

    def move_site(self, site_id, *, lat, lon):
        """With another name: it is changed, also where it stays where it is."""
        version = self._sites[site_id]
        body = {**self._site(lat, lon, version), "version": version}
        self._done("PUT", f"/v1/sites/{site_id}", body)
        self._sites[site_id] += 1

    def _site(self, lat, lon, version):
        fence = {"type": "Circle", "center": [lon, lat], "radius_m": 100}
        return {"name": f"Office {version}", "geofence": fence, "timezone": "Europe/Amsterdam"}

    def transport(self):
        return ThreadedTransport(self._transport)

    def close(self):
        """Its sites are in nobody's way any more: a search finds those of its own test."""
        self._transport.close()
        for site_id in self._sites:
            self.served.call("DELETE", f"/v1/sites/{site_id}")


class Round:
    """A person on a round, for which devices judge."""

    def __init__(self, world, purpose, path, **options):
        self.world, self.purpose, self.path, self.options = world, purpose, path, options
        world.add_purpose(purpose)
        self.site = world.add_site(lat=LAT, lon=LON)
        self.network = Network(world.transport())
        self.client = AsyncClient(world.url, transport=self.network)
        self.losses = []

    async def enroll(self):
        self.token = (await self.client.device.enroll(self.world.code())).token

    def start_again(self):
        """Another run of the app: it has its token and its file."""
        self.client = AsyncClient(self.world.url, token=self.token, transport=self.network)

    def session(self, **options):
        told = {"on_loss": lambda reason, count: self.losses.append((reason, count))}
        outbox = Outbox(self.path, **{**told, **self.options, **options})
        return Session(self.client, outbox=outbox, provider=Provider(Now()))

    async def offline_check_in(self, session, **claim):
        await session.flush()
        self.network.is_up = False
        claim = {"purpose": self.purpose, "site_id": self.site, **claim}
        ticket = await session.check_in(**claim)
        await session.flush()
        self.network.is_up = True
        return ticket

    async def own(self):
        return [one async for one in self.client.check_ins.list()]

    def kept(self, table="verdicts"):
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(f"SELECT content FROM {table}").fetchall()


class Now(Phone):
    """A phone with the clocks of this machine."""

    def fix(self, **changes):
        return Fix.now(lat=LAT, lon=LON, accuracy_m=8.0)


def live(story):
    asyncio.run(story)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("session-judged") / "home") as server:
        yield server


@pytest.fixture(params=["fake", "real"])
def world(request):
    if request.param == "fake":
        yield Fake()
        return
    real = Real(request.getfixturevalue("served"))
    yield real
    real.close()


@pytest.fixture
def purpose(request):
    """A real server keeps its purposes from test to test."""
    return f"round-{abs(hash(request.node.name)) % 10**9}"


@pytest.fixture
def trip(world, purpose, path):
    return Round(world, purpose, path)


@pytest.fixture(params=[None, Keystore()], ids=["plain", "sealed"])
def sealer(request):
    return request.param


def test_offline_the_verdict_is_there_at_once_and_no_place_is_in_the_file(trip, sealer):
    async def story():
        await trip.enroll()
        async with trip.session(sealer=sealer) as session:
            ticket = await trip.offline_check_in(session)
            assert not holds_place(trip.path)
            assert ticket.state == "queued"
            assert isinstance(ticket.provisional, ProvisionalVerdict)
            said = ticket.provisional
            assert (said.outcome, said.reason, said.site_id) == ("accepted", "inside", trip.site)
            # else the search would find nothing because it looks at nothing
            trip.network.is_up = False
            await session.check_in(purpose="visit")
            assert holds_place(trip.path) is (sealer is None)

    live(story())
    assert not trip.network.sent_a_place()


def test_the_verdict_is_sent_and_no_place(trip, sealer):
    async def story():
        await trip.enroll()
        async with trip.session(sealer=sealer) as session:
            ticket = await trip.offline_check_in(session)
            assert await session.flush() == "empty"
            assert await ticket.settled() == "accepted"
            assert ticket.provisional.outcome == "accepted"
        assert not holds_place(trip.path)
        [stored] = await trip.own()
        assert (stored.id, stored.evidence) == (ticket.id, "device")

    live(story())
    [[item]] = trip.network.batches()
    assert (item["verdict"]["reason"], item["site_id"]) == ("inside", trip.site)
    assert not trip.network.sent_a_place()
    assert trip.kept() == []


def test_a_restarted_app_judges_offline_from_the_first_moment(trip, sealer):
    """By the sites that the outbox kept; and the ticket of before says what it said."""

    async def story():
        await trip.enroll()
        async with trip.session(sealer=sealer) as session:
            first = await trip.offline_check_in(session)
        trip.start_again()
        trip.network.is_up = False
        async with trip.session(sealer=sealer) as session:
            assert (await session.ticket(first.id)).provisional == first.provisional
            second = await session.check_in(purpose=trip.purpose)
            assert second.provisional.site_id == trip.site
            assert not holds_place(trip.path)
            trip.network.is_up = True
            assert await session.flush() == "empty"
            assert await second.settled() == "accepted"
        assert {one.id for one in await trip.own()} == {first.id, second.id}

    live(story())
    assert not trip.network.sent_a_place()


def test_without_sites_the_place_waits_in_the_file_until_they_come(trip):
    """A first start offline: nobody knows yet who judges."""

    async def story():
        await trip.enroll()
        trip.start_again()
        trip.network.is_up = False
        async with trip.session() as session:
            ticket = await session.check_in(purpose=trip.purpose, site_id=trip.site)
            assert ticket.provisional is None
            assert holds_place(trip.path)
            trip.network.is_up, trip.network.loses = True, 1
            assert await session.flush() == "backing-off"
            assert not holds_place(trip.path), "it was judged, and waits as a verdict"
            assert (await session.ticket(ticket.id)).state == "queued"
            assert await session.flush() == "empty"
            assert await ticket.settled() == "accepted"

    live(story())
    [first], [second] = trip.network.batches()
    assert first["verdict"] == second["verdict"]
    assert not trip.network.sent_a_place()


def test_a_position_is_not_sent_for_a_purpose_that_is_newer_than_what_is_known(trip):
    async def story():
        await trip.enroll()
        trip.world.add_purpose(f"{trip.purpose}-new")
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session, purpose=f"{trip.purpose}-new")
            await session.flush()
            assert await ticket.settled() == "accepted"

    live(story())
    assert not trip.network.sent_a_place()


def test_a_purpose_that_devices_judge_for_from_now_on_costs_no_check_in(trip):
    """What was known is wrong: one position is sent, and refused."""

    async def story():
        trip.world.add_purpose(f"{trip.purpose}-old", judged_by="server")
        await trip.enroll()
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session, purpose=f"{trip.purpose}-old")
            trip.world.switch_purpose(f"{trip.purpose}-old")
            while await session.flush() != "empty":
                pass
            assert await ticket.settled() == "accepted"
            [stored] = await trip.own()
            assert stored.evidence == "device"

    live(story())
    assert len(trip.network.batches()) == 2


def test_after_a_lost_answer_the_same_verdict_is_sent_whatever_the_bundle_says(trip, sealer):
    """Judged anew it would be another check-in to the server, and refused: id-reused."""

    async def story():
        await trip.enroll()
        async with trip.session(sealer=sealer) as session:
            ticket = await trip.offline_check_in(session)
            trip.network.loses = 1
            assert await session.flush() == "backing-off"
            assert len(trip.kept()) == 1
        trip.world.add_site(lat=FAR, lon=LON)
        async with trip.session(sealer=sealer) as session:
            assert await session.flush() == "empty"
            assert (await session.ticket(ticket.id)).state == "accepted"
        assert len(await trip.own()) == 1

    live(story())
    [first], [second] = trip.network.batches()
    assert first["verdict"] == second["verdict"]


def test_a_rejection_by_old_sites_is_judged_by_fresh_ones_before_it_is_sent(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            await session.flush()
            trip.network.is_up = False
            trip.world.move_site(trip.site, lat=FAR, lon=LON)
            added = trip.world.add_site(lat=LAT, lon=LON)
            ticket = await session.check_in(purpose=trip.purpose, site_id=added)
            assert ticket.provisional.outcome == "rejected"
            assert not holds_place(trip.path)
            trip.network.is_up = True
            await session.flush()
            assert await ticket.settled() == "accepted"

    live(story())
    [[item]] = trip.network.batches()
    assert item["verdict"]["reason"] == "inside"
    assert item["permission_epoch"] == 0
    assert 0 <= item["age_s"] < 60


def test_a_rejection_that_may_have_arrived_is_repeated_as_it_was(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            trip.world.move_site(trip.site, lat=FAR, lon=LON)
            ticket = await trip.offline_check_in(session, site_id=None)
            trip.network.loses = 1
            await session.flush()
            trip.world.add_site(lat=LAT, lon=LON)
            assert await session.flush() == "empty"
            assert await ticket.settled() == "rejected"

    live(story())
    [first], [second] = trip.network.batches()
    assert first["verdict"] == second["verdict"]


@pytest.mark.parametrize(("to", "outcome"), [(LAT, "accepted"), (FAR, "rejected")])
def test_what_the_server_calls_outdated_is_judged_anew_by_the_position_in_memory(trip, to, outcome):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            trip.network.meanwhile = lambda: trip.world.move_site(trip.site, lat=to, lon=LON)
            await session.flush()
            assert not holds_place(trip.path)
            assert await session.flush() == "empty"
            assert await ticket.settled() == outcome

    live(story())
    [first], [second] = trip.network.batches()
    assert first["verdict"]["bundle_version"] < second["verdict"]["bundle_version"]
    assert not trip.network.sent_a_place()


def test_in_another_run_an_outdated_verdict_holds_where_the_fence_is_the_same(trip, sealer):
    async def story():
        await trip.enroll()
        async with trip.session(sealer=sealer) as session:
            ticket = await trip.offline_check_in(session)
        trip.world.move_site(trip.site, lat=LAT, lon=LON)
        trip.start_again()
        async with trip.session(sealer=sealer) as session:
            await session.flush()
            assert await session.flush() == "empty"
            assert (await session.ticket(ticket.id)).state == "accepted"
        assert trip.losses == []

    live(story())


def test_in_another_run_it_ends_where_the_fence_is_another_and_says_so(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
        trip.world.move_site(trip.site, lat=FAR, lon=LON)
        trip.start_again()
        async with trip.session() as session:
            await session.flush()
            found = await session.ticket(ticket.id)
            assert (found.state, found.reason) == ("failed", "bundle-outdated")
            assert await session.losses() == {"bundle-outdated": 1}
        assert trip.losses == [("bundle-outdated", 1)]
        assert await trip.own() == []

    live(story())


def test_a_withdrawal_takes_the_verdict_as_well(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            trip.network.loses = 1
            await session.flush()
            await session.withdraw()
            assert await ticket.settled() == "withdrawn"
            assert trip.kept() == []
            assert not holds_place(trip.path)
            assert len(session._desk.positions) == 0

    live(story())


def test_an_approximate_permission_leaves_verdicts_which_have_no_place(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            trip.network.is_up = False
            session._provider.state = "approximate"
            await session.foreground()
            assert len(session._desk.positions) == 0
            assert await session.waiting() == 1
            trip.network.is_up = True
            assert await session.flush() == "empty"
            assert await ticket.settled() == "accepted"

    live(story())


@pytest.mark.parametrize("end", ["answer", "suspend", "sign_out", "expire"])
def test_no_position_stays_in_memory(trip, end):
    async def story():
        await trip.enroll()
        async with trip.session(ttl_s=3600) as session:
            await trip.offline_check_in(session)
            assert len(session._desk.positions) == 1
            if end == "answer":
                await session.flush()
            elif end == "expire":
                [row] = [one.id for one in session._desk.positions._kept.values()]
                ended = sqlite3.connect(trip.path)
                with closing(ended), ended:
                    ended.execute("UPDATE check_ins SET clock = clock - 3601")
                await session._sweep()
                assert (await session.ticket(row)).state == "expired"
            else:
                await getattr(session, end)()
            assert len(session._desk.positions) == 0

    live(story())


def test_what_is_captured_while_the_outbox_is_found_empty_stays_in_memory(trip):
    """At the start of an app both happen at once."""

    async def story():
        await trip.enroll()
        async with trip.session() as session:
            positions, look = session._desk.positions, session._outbox.next_up
            new = NewCheckIn(purpose=trip.purpose, fix=Now().fix())

            def captured_meanwhile(*args, **options):
                found = look(*args, **options)
                if found == Nothing(why="empty"):
                    positions.keep(new)
                return found

            session._outbox.next_up = captured_meanwhile
            assert await session.flush() == "empty"
            assert positions.of(new.id) is new
            session._outbox.next_up = look
            await session.flush()
            assert len(positions) == 0, "it is not in the outbox: another process has sent it"

    live(story())


def test_signing_out_forgets_the_sites(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            await session.flush()
            assert len(trip.kept("bundles")) == 1
            await session.sign_out()
            assert trip.kept("bundles") == []
            assert trip.client._runner.core.known.bundle is None

    live(story())
    assert not holds_place(trip.path, (bytes.fromhex(trip.site.replace("-", "")),))


def test_sites_that_cannot_be_read_are_fetched_again(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            await session.flush()
        with closing(sqlite3.connect(trip.path)) as database, database:
            database.execute("UPDATE bundles SET content = x'44534202'")
        trip.start_again()
        async with trip.session() as session:
            await session.flush()
            assert len(trip.kept("bundles")[0][0]) > 16
            ticket = await trip.offline_check_in(session)
            assert ticket.provisional.outcome == "accepted"

    live(story())


def test_a_provisional_verdict_shows_no_site(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session)
            assert trip.site not in repr(ticket.provisional) + repr(session._desk.positions)

    live(story())


def test_where_the_server_judges_nothing_is_said_before(trip):
    async def story():
        await trip.enroll()
        async with trip.session() as session:
            ticket = await trip.offline_check_in(session, purpose="visit")
            assert ticket.provisional is None

    live(story())
