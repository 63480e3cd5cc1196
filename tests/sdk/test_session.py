"""What an app sees: a session over a real file, a phone that is set by hand, and a server."""

import asyncio
import contextlib
import gc
from datetime import timedelta
from threading import Event

import pytest

from doorstep import (
    AsyncClient,
    Client,
    ConnectFailed,
    Enrollment,
    NotEnrolled,
    OutboxFull,
    Session,
    Tenant,
)
from doorstep._location import Unavailable
from sdk.boxes import (
    App,
    Phone,
    Provider,
    Server,
    accepted,
    as_outbox,
    bytes_of,
    holds_place,
    refused,
)
from sdk.scripted import LAT, NOON, TOKEN, answer, problem, serve

#: for what must come: a test that fails should not hang
LONG_S = 60

LIMITED = {"status": 429, "code": "rate-limited", "retry_after_s": 120}

BOB = Enrollment(
    device_id="bobs",
    token="dst_bob",
    tenant=Tenant(id="t-1", name="Acme"),
    subject_id="bob",
    purposes=(),
    permission_epoch=0,
)


@pytest.fixture(params=[False, True], ids=["async", "blocking"])
def blocking(request):
    """Every rule holds with both clients."""
    return request.param


@pytest.fixture
def app(path, blocking):
    return App(path, blocking=blocking)


def live(story):
    """Run an app's life in its event loop."""
    return asyncio.run(story)


async def offline_check_ins(app, session, count):
    """Made, tried and put off: nothing is on its way when this returns."""
    app.server.reaches = False
    tickets = [await session.check_in(purpose="visit") for _ in range(count)]
    await session.flush()
    return tickets


async def send_all(app, session):
    app.server.reaches = True
    return await session.flush()


# -- checking in -----------------------------------------------------------------------------------


def test_a_check_in_is_sent_and_its_ticket_tells(app):
    async def story():
        async with app.session() as session:
            ticket = await session.check_in(purpose="visit", site_id="site-1", action="in")
            assert ticket.state == "queued"
            assert await ticket.settled() == "accepted"
            assert (ticket.reason, ticket.time_confidence) == ("inside", "high")
            assert ticket.check_in.site_id == "site-1"
            assert await session.waiting() == 0
        [[item]] = app.server.batches
        assert (item["id"], item["site_id"], item["action"]) == (ticket.id, "site-1", "in")
        assert (item["permission_epoch"], item["age_s"]) == (0, 0)

    live(story())


@pytest.mark.parametrize(
    ("says", "state", "reason"),
    [
        (lambda item: {**accepted(item), "outcome": "uncertain"}, "uncertain", "inside"),
        (lambda item: {**accepted(item), "outcome": "rejected"}, "rejected", "inside"),
        (refused(403, "not-assigned"), "failed", "not-assigned"),
        (refused(422, "too-old"), "expired", "too-old"),
    ],
)
def test_a_ticket_tells_every_end(app, says, state, reason):
    async def story():
        app.server.says = says
        async with app.session() as session:
            ticket = await session.check_in(purpose="visit")
            assert await ticket.settled() == state
            assert ticket.reason == reason
            lost = {reason: 1} if state in {"failed", "expired"} else {}
            assert await session.losses() == lost

    live(story())


def test_without_a_network_it_stays_queued_and_is_told_so(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            assert await ticket.settled(timeout_s=0.01) == "queued"
            assert await send_all(app, session) == "empty"
            assert await ticket.settled() == "accepted"

    live(story())


def test_1_it_survives_the_app_and_is_sent_once_with_its_true_age(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
        app.phone.wait(3600)
        app.phone.set_wall(NOON - timedelta(days=30))
        app.server.requests.clear()
        async with app.session() as session:
            assert await send_all(app, session) == "empty"
            again = await session.ticket(ticket.id)
            assert again.state == "accepted"
        [[item]] = app.server.batches
        assert (item["id"], item["age_s"]) == (ticket.id, 3600)

    live(story())


def test_3_after_a_lost_answer_the_same_id_is_sent_again(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            app.server.reaches = True
            app.server.next = [problem(503, "unavailable")] * 2
            while await session.flush() != "empty":
                pass
        assert set(app.server.sent_ids) == {ticket.id}

    live(story())


def test_sending_now_is_not_put_off_by_a_try_that_fails_just_then(path):
    app = App(path)

    async def story():
        async with app.session() as session:
            await session.flush()
            begun, fails = asyncio.Event(), asyncio.Event()

            async def fail(request):
                begun.set()
                await fails.wait()
                raise ConnectFailed

            app.server.next = [fail]
            ticket = await session.check_in(purpose="visit")
            await begun.wait()
            now = asyncio.create_task(session.flush())
            await asyncio.sleep(0)
            fails.set()
            assert await now == "empty"
            assert await ticket.settled() == "accepted"

    live(story())


def test_10_after_a_reboot_the_age_is_not_told_and_the_time_is_less_sure(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
        app.phone.reboot()
        async with app.session() as session:
            await send_all(app, session)
            assert (await session.ticket(ticket.id)).time_confidence == "low"
        item = app.server.batches[-1][0]
        assert "age_s" not in item
        assert item["fix"]["captured_at"] == NOON.isoformat()

    live(story())


def test_5_many_go_in_order_in_batches_of_50(app):
    async def story():
        async with app.session() as session:
            tickets = await offline_check_ins(app, session, 120)
            app.server.requests.clear()
            assert await send_all(app, session) == "empty"
        assert [len(batch) for batch in app.server.batches] == [50, 50, 20]
        assert app.server.sent_ids == [ticket.id for ticket in tickets]

    live(story())


def test_6_one_bad_item_holds_nobody_up(app):
    async def story():
        async with app.session() as session:
            tickets = await offline_check_ins(app, session, 3)
            bad, busy = tickets[0].id, tickets[1].id
            kinds = {bad: refused(422, "invalid"), busy: refused(429, "rate-limited")}
            app.server.says = lambda item: kinds.get(item["id"], accepted)(item)
            assert await send_all(app, session) == "backing-off"
            states = [await ticket.settled(0.01) for ticket in tickets]
            assert states == ["failed", "queued", "accepted"]
            app.server.says = accepted
            assert await session.flush() == "empty"
            assert await tickets[1].settled() == "accepted"

    live(story())


def test_6_413_halves(app):
    async def story():
        async with app.session() as session:
            await session.flush()
            await offline_check_ins(app, session, 8)
            app.server.requests.clear()
            app.server.next = [problem(413, "body-too-large")] * 2
            assert await send_all(app, session) == "empty"
        assert [len(batch) for batch in app.server.batches] == [8, 4, 2, 2, 2, 2]

    live(story())


def test_6_401_pauses_and_a_new_token_of_the_device_goes_on(app):
    async def story():
        async with app.session() as session:
            tickets = await offline_check_ins(app, session, 2)
            app.server.next = [problem(401, "unauthorized")]
            assert await send_all(app, session) == "unauthorized"
            assert await session.flush() == "unauthorized"
            app.server.next = [answer({"token": "dst_renewed"})]
            rotated = app.client.device.rotate_token
            await (asyncio.to_thread(rotated) if app.client_is_blocking else rotated())
            assert await session.flush() == "empty"
            assert await tickets[1].settled() == "accepted"
        assert b"dst_" not in bytes_of(app.path)

    live(story())


def test_6_permission_unknown_is_reported_and_the_same_id_sent_again(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            await send_all(app, session)
            app.server.says = refused(403, "permission-unknown")
            app.server.requests.clear()
            told = await session.check_in(purpose="visit")

            def says(item):
                known = len(app.server.reports) > 0
                return accepted(item) if known else refused(403, "permission-unknown")(item)

            app.server.says = says
            assert await told.settled() == "accepted"
            assert ticket.state == "accepted"
        assert app.server.sent_ids == [told.id, told.id]
        assert [state for state, _ in app.server.reports] == ["precise"]

    live(story())


def test_6_permission_withdrawn_takes_everything_of_that_epoch_with_it(app):
    async def story():
        async with app.session() as session:
            tickets = await offline_check_ins(app, session, 60)
            app.server.epoch = 9
            app.server.says = refused(403, "permission-withdrawn")
            app.server.requests.clear()
            assert await send_all(app, session) == "empty"
            assert {await ticket.settled() for ticket in tickets} == {"withdrawn"}
            assert not holds_place(app.path)
            app.server.says = accepted
            later = await session.check_in(purpose="visit")
            assert await later.settled() == "accepted"
        assert [len(batch) for batch in app.server.batches] == [50, 1]
        assert app.server.batches[1][0]["permission_epoch"] == 9

    live(story())


def test_7_a_full_outbox_is_told_to_whoever_checks_in(path, blocking):
    app = App(path, blocking=blocking, capacity=1)

    async def story():
        async with app.session() as session:
            await offline_check_ins(app, session, 1)
            with pytest.raises(OutboxFull):
                await session.check_in(purpose="visit")

    live(story())


def test_8_an_expired_check_in_is_told_as_such(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            app.phone.wait(73 * 3600)
            await session.flush()
            assert await ticket.settled() == "expired"
        assert app.losses == [("expired", 1)]

    live(story())


def test_9_of_two_processes_one_sends_and_both_are_told(path, blocking):
    phone, server = Phone(), Server()
    first, second = (App(path, blocking=blocking, phone=phone, server=server) for _ in range(2))

    async def story():
        server.reaches = False
        async with first.session() as sends:
            mine = await sends.check_in(purpose="visit")
            assert await sends.flush() == "backing-off"
            async with second.session() as waits:
                theirs = await waits.check_in(purpose="visit")
                assert await waits.flush() == "somebody-else-sends"
                await send_all(first, sends)
                assert await theirs.settled() == "accepted"
            assert await mine.settled() == "accepted"
        assert sorted(server.sent_ids[-2:]) == sorted([mine.id, theirs.id])

    live(story())


# -- permission ------------------------------------------------------------------------------------


def test_11_withdrawing_works_offline_and_the_report_goes_first_without_a_place(app):
    async def story():
        async with app.session() as session:
            await session.flush()
            tickets = await offline_check_ins(app, session, 3)
            app.server.requests.clear()
            assert await session.withdraw()
            assert not holds_place(app.path)
            assert {await ticket.settled() for ticket in tickets} == {"withdrawn"}
            with pytest.raises(Unavailable):
                await session.check_in(purpose="visit")
            await session.allow()
            later = await session.check_in(purpose="visit")
            app.server.requests.clear()
            await send_all(app, session)
            assert await later.settled() == "accepted"
        assert app.server.reports == [("denied", 2), ("precise", 3)]
        assert app.server.sent_ids == [later.id]
        assert app.server.batches[0][0]["permission_epoch"] == 2

    live(story())


def test_11_a_withdrawal_in_the_app_holds_after_a_restart_whatever_the_platform_permits(app):
    async def story():
        async with app.session() as session:
            await session.withdraw()
        async with app.session() as session:
            with pytest.raises(Unavailable):
                await session.check_in(purpose="visit")
            await session.allow()
            assert await (await session.check_in(purpose="visit")).settled() == "accepted"

    live(story())


def test_11_what_is_on_its_way_is_called_back(path):
    app = App(path)
    arrived, called_back = asyncio.Event(), []

    async def hang(request):
        arrived.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            called_back.append(request.url)
            raise

    async def story():
        async with app.session() as session:
            await session.flush()
            app.server.next = [hang]
            ticket = await session.check_in(purpose="visit")
            await arrived.wait()
            await session.withdraw()
            assert called_back == ["https://doorstep.test/v1/check-ins/batch"]
            assert await ticket.settled() == "withdrawn"
            await session.flush()
        assert app.server.reports[-1] == ("denied", 2)

    live(story())


def test_11_a_connection_that_is_on_its_way_is_cut(path, blocking):
    """Over real sockets: the server hears the end of the connection, and no more."""
    arrived, cut = Event(), Event()

    def never(request):
        arrived.set()
        with contextlib.suppress(ConnectionError):
            assert request.connection.recv(1) == b""
        cut.set()
        request.close_connection = True

    app = App(path)

    async def story(url):
        kind = Client if blocking else AsyncClient
        client = kind(url, token=TOKEN, permission_epoch=0, permission_sequence=0)
        outbox = app.phone.outbox(path)
        async with Session(client, outbox=as_outbox(outbox), provider=app.provider) as session:
            ticket = await session.check_in(purpose="visit")
            assert await asyncio.to_thread(arrived.wait, LONG_S)
            await session.withdraw()
            assert await asyncio.to_thread(cut.wait, LONG_S)
            assert await ticket.settled() == "withdrawn"
        await (asyncio.to_thread(client.close) if blocking else client.close())

    with serve(never, never, never) as server:
        live(story(server.url))


def test_11_withdrawn_while_the_position_is_taken_nothing_is_stored(app):
    async def story():
        async with app.session() as session:

            async def current(**_):
                await session.withdraw()
                await session.allow()
                return app.phone.fix()

            app.provider.current = current
            with pytest.raises(Unavailable):
                await session.check_in(purpose="visit", fix=None)
            assert await session.waiting() == 0

    live(story())


def test_12_the_permission_is_read_again_at_start(app):
    """Android kills the app when the permission goes: nobody calls back."""

    async def story():
        async with app.session() as session:
            await session.flush()
            [ticket] = await offline_check_ins(app, session, 1)
        app.server.reaches = True
        app.provider.state = "denied"
        app.server.requests.clear()
        async with app.session() as session:
            assert not holds_place(app.path)
            await session.flush()
            assert (await session.ticket(ticket.id)).state == "withdrawn"
        assert (app.server.sent_ids, app.server.reports) == ([], [("denied", 2)])

    live(story())


def test_12_the_permission_is_read_again_on_foreground(app):
    async def story():
        async with app.session() as session:
            await offline_check_ins(app, session, 1)
            app.provider.state = "denied"
            await session.foreground()
            assert not holds_place(app.path)

    live(story())


def test_12_the_permission_is_read_again_before_each_send(app):
    async def story():
        async with app.session() as session:
            await session.flush()
            tickets = await offline_check_ins(app, session, 80)
            app.server.requests.clear()

            def says(item):
                app.provider.state = "denied"
                return accepted(item)

            app.server.says = says
            await send_all(app, session)
            states = [await ticket.settled() for ticket in tickets]
            assert states == ["accepted"] * 50 + ["withdrawn"] * 30
        assert len(app.server.sent_ids) == 50

    live(story())


def test_12_while_the_permission_cannot_be_read_nothing_is_sent(app):
    async def story():
        async with app.session() as session:
            await offline_check_ins(app, session, 1)

            async def broken():
                raise OSError

            app.provider.permission = broken
            app.server.requests.clear()
            assert await send_all(app, session) == "permission-unreadable"
            del app.provider.permission
            assert app.server.requests == []
            assert await session.flush() == "empty"

    live(story())


def test_12_while_the_permission_is_not_known_it_waits(app):
    async def story():
        async with app.session() as session:
            await offline_check_ins(app, session, 1)
            app.provider.state = "unknown"
            assert await send_all(app, session) == "not-permitted"
            assert (await session.waiting(), app.server.sent_ids) == (1, [])

    live(story())


def test_13_precise_positions_go_when_only_approximate_is_left(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            app.provider.state = "approximate"
            await session.foreground()
            assert not holds_place(app.path)
            assert await ticket.settled() == "withdrawn"
            coarse = await session.check_in(purpose="visit")
            await send_all(app, session)
            assert await coarse.settled() == "accepted"
        assert app.server.reports[-1][0] == "approximate"

    live(story())


def test_every_start_reports_the_permission(app):
    async def story():
        for _ in range(2):
            async with app.session() as session:
                await session.flush()
        assert app.server.reports == [("precise", 1), ("precise", 2)]

    live(story())


def test_a_report_that_is_never_taken_is_given_up_but_not_a_withdrawals(app):
    async def story():
        async with app.session() as session:
            await session.flush()
            app.server.reaches = False
            app.provider.state = "approximate"
            await session.foreground()
            app.server.reaches = True
            app.server.next = [problem(422, "sequence-too-far-ahead")]
            assert await session.flush() == "empty"
            app.server.reaches = False
            await session.withdraw()
            app.server.reaches = True
            app.server.next = [problem(422, "sequence-too-far-ahead")]
            assert await session.flush() == "backing-off"
            assert await session.flush() == "empty"
        assert [state for state, _ in app.server.reports[-2:]] == ["denied", "denied"]

    live(story())


# -- who is signed in ------------------------------------------------------------------------------


def test_16_after_signing_out_nothing_is_sent_or_left(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            await session.sign_out()
            assert not holds_place(app.path)
            assert await ticket.settled() == "withdrawn"
            app.server.requests.clear()
            assert await send_all(app, session) == "not-enrolled"
            assert app.server.requests == []
            with pytest.raises(NotEnrolled):
                await session.check_in(purpose="visit")
            await session.foreground()

    live(story())


def test_16_what_one_person_stored_is_never_sent_as_another(app):
    async def story():
        async with app.session() as session:
            await session.flush()
            await offline_check_ins(app, session, 1)
            app.client._runner.core.known.enrolled(BOB)
            app.server.requests.clear()
            his = await session.check_in(purpose="visit")
            await send_all(app, session)
            assert await his.settled() == "accepted"
        assert app.server.sent_ids == [his.id]
        batch = next(one for one in app.server.requests if one.url.endswith("/batch"))
        assert batch.headers["Authorization"] == "Bearer dst_bob"
        assert app.losses == [("other-identity", 1)]

    live(story())


def test_16_a_request_keeps_the_token_of_who_began_it(app):
    """Somebody else signs in when a batch was picked: it goes as its owner."""

    async def story():
        async with app.session() as session:
            await session.flush()
            [ticket] = await offline_check_ins(app, session, 1)
            app.server.reaches = True
            app.server.requests.clear()
            next_up = app.outbox.next_up

            def sign_in_meanwhile(*given, **options):
                picked = next_up(*given, **options)
                app.client._runner.core.known.enrolled(BOB)
                return picked

            app.outbox.next_up = sign_in_meanwhile
            await session.flush()
            [batch] = [one for one in app.server.requests if one.url.endswith("/batch")]
            assert ticket.id.encode() in batch.body
            assert batch.headers["Authorization"] == f"Bearer {TOKEN}"

    live(story())


def test_a_session_without_a_token_starts_and_refuses_to_check_in(path, blocking):
    app = App(path, blocking=blocking, client={"token": None})

    async def story():
        async with app.session() as session:
            with pytest.raises(NotEnrolled):
                await session.check_in(purpose="visit")
            assert await session.flush() == "not-enrolled"

    live(story())


def test_with_a_token_alone_the_server_tells_the_rest_first(path, blocking):
    client = {"permission_epoch": None, "permission_sequence": None}
    app = App(path, blocking=blocking, client=client)
    app.server.sequence, app.server.epoch = 41, 7
    app.server.reaches = False

    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            app.server.requests.clear()
            await send_all(app, session)
            assert await ticket.settled() == "accepted"
            assert app.server.reports == [("precise", 42)]
            later = await session.check_in(purpose="visit")
            assert await later.settled() == "accepted"
        first, second = (batch[0] for batch in app.server.batches)
        assert ("permission_epoch" in first, second["permission_epoch"]) == (False, 7)

    live(story())


# -- the app's life --------------------------------------------------------------------------------


def test_17_suspended_it_holds_no_file_and_resumes(app):
    async def story():
        async with app.session() as session:
            [ticket] = await offline_check_ins(app, session, 1)
            await session.suspend()
            await session.suspend()
            assert [one.name for one in app.path.parent.iterdir()] == ["outbox.db"]
            with pytest.raises(RuntimeError, match="resume"):
                await session.check_in(purpose="visit")
            app.server.reaches = True
            await session.resume()
            assert await ticket.settled() == "accepted"

    live(story())


def test_a_permission_that_cannot_be_read_at_start_is_the_apps_to_see(app):
    async def story():
        async def broken():
            raise LookupError("no such backend")

        app.provider.permission = broken
        with pytest.raises(LookupError):
            await app.session().__aenter__()
        assert [one.name for one in app.path.parent.iterdir()] == ["outbox.db"]

    live(story())


def test_without_a_position_nothing_is_stored(app):
    async def story():
        app.provider = Provider(None)
        async with app.session() as session:
            with pytest.raises(Unavailable):
                await session.check_in(purpose="visit")
            ticket = await session.check_in(purpose="visit", fix=app.phone.fix())
            assert await ticket.settled() == "accepted"

    live(story())


def test_a_ticket_that_nobody_holds_is_not_kept(app):
    async def story():
        async with app.session() as session:
            await offline_check_ins(app, session, 3)
            gc.collect()
            assert len(session._tickets) == 0
            assert await session.ticket("00000000-0000-4000-8000-000000000000") is None

    live(story())


def test_nothing_prints_a_place(app):
    async def story():
        async with app.session() as session:
            ticket = await session.check_in(purpose="visit", site_id="site-secret")
            for thing in (session, ticket, app.outbox):
                assert "secret" not in repr(thing)
                assert str(LAT) not in repr(thing)

    live(story())


# -- what the server does not want yet -----------------------------------------------------------


def test_a_limited_check_in_rests_as_long_as_the_server_says_and_the_rest_goes_on(app):
    async def story():
        async with app.session() as session:
            [limited, *others] = await offline_check_ins(app, session, 3)
            app.server.says = lambda item: (
                {"id": item["id"], **LIMITED} if item["id"] == limited.id else accepted(item)
            )
            assert await send_all(app, session) == "backing-off"
            assert [one.state for one in (limited, *others)] == ["queued", *["accepted"] * 2]
            app.server.says = accepted
            app.phone.wait(119)
            late = await session.check_in(purpose="visit")
            assert await session.flush() == "backing-off", "whatever wakes us"
            assert (late.state, limited.state) == ("accepted", "queued")
            app.phone.wait(1)
            assert await session.flush() == "empty"
            assert await limited.settled() == "accepted"
        assert app.server.sent_ids.count(limited.id) == 2
        assert app.losses == []

    live(story())


def test_a_withdrawal_takes_what_rests(app):
    async def story():
        async with app.session() as session:
            [limited] = await offline_check_ins(app, session, 1)
            app.server.says = lambda item: {"id": item["id"], **LIMITED}
            assert await send_all(app, session) == "backing-off"
            await session.withdraw()
            assert await session.flush() == "empty"
            assert await limited.settled() == "withdrawn"

    live(story())
