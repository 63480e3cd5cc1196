"""Airplane mode as a user lives it: real processes, the real server, and a wire that keeps all."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from doorstep import AsyncClient, Fix, Outbox, Session
from doorstep._clock import elapsed
from sdk import chaos_proxy
from sdk.boxes import Provider, bytes_of, fast_folder
from served import serving
from world import INSIDE

APP = Path(__file__).with_name("airplane_app.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("airplane") / "home") as server:
        chaos_proxy.make_site(server)
        yield server


@contextmanager
def wire_to(server):
    """A proxy in a thread of its own. While it is down it takes connections and ends them."""
    loop = asyncio.new_event_loop()
    proxy = chaos_proxy.Proxy(server.url, keeps=True)
    loop.run_until_complete(proxy.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def live(*orders, wire, token, path):
    """Run the app; it says what it did, one JSON value a line. An order `die` kills it with -9."""
    done = subprocess.run(
        [sys.executable, APP, wire.url, path, *orders],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if "die" in orders else 0), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def own_check_ins(server, token):
    status, page = server.call("GET", "/v1/check-ins", token=token)
    assert status == 200
    return page["items"]


def test_checked_in_offline_killed_and_restarted_it_arrives_once_with_its_time(server, path):
    token = server.token()
    # some time ago, and since this machine was started
    captured = datetime.now(UTC) - min(timedelta(hours=2), timedelta(seconds=elapsed() / 2))
    with wire_to(server) as wire:
        wire.is_up = False
        app = {"wire": wire, "token": token, "path": path}
        [ticket] = live(f"check-in {captured.isoformat()}", "die", **app)
        assert ticket["state"] == "queued"
        assert own_check_ins(server, token) == []
        wire.is_up = True
        [settled] = live(f"settle {ticket['id']}", **app)
        assert (settled["state"], settled["confidence"]) == ("accepted", "high")
        live("flush", **app)
    [stored] = own_check_ins(server, token)
    assert stored["id"] == ticket["id"]
    precision = timedelta(minutes=15)
    assert timedelta(0) <= captured - datetime.fromisoformat(stored["time"]) < precision


def test_withdrawn_while_it_waits_nothing_with_a_place_was_sent_or_is_left(server, path):
    token = server.token()
    now = datetime.now(UTC).isoformat()
    with wire_to(server) as wire:
        wire.is_up = False
        app = {"wire": wire, "token": token, "path": path}
        [ticket] = live(f"check-in {now}", "die", **app)
        assert any(digits in bytes_of(path) for digits in places()), "it waits in the file"
        live("withdraw", "die", **app)
        assert not any(digits in bytes_of(path) for digits in places())
        wire.is_up = True
        assert live(f"settle {ticket['id']}", "flush", **app) == [
            {"id": ticket["id"], "state": "withdrawn", "confidence": "high"},
            "empty",
        ]
        everything = b"".join(wire.carried)
    assert b'"denied"' in everything
    assert not any(digits in everything for digits in (*places(), b"check-ins"))
    assert own_check_ins(server, token) == []
    status, device = server.call("GET", "/v1/device", token=token)
    assert (status, device["permission"]) == (200, "denied")


def test_who_asks_too_often_at_one_site_waits_there_and_checks_in_elsewhere(server, path):
    """The server's own limit, which says when: the probe budget."""
    fence = {"type": "Circle", "center": [4.895, 52.37], "radius_m": 50}
    body = {"name": "Secret", "geofence": fence, "timezone": "Europe/Amsterdam"}
    _, secret = server.call("POST", "/v1/sites", body)
    token = server.token()

    async def story():
        client = AsyncClient(server.url, token=token, permission_epoch=0, permission_sequence=1)
        async with client, Session(client, outbox=Outbox(path), provider=Provider()) as session:
            here = Fix.now(**INSIDE, accuracy_m=8)
            probes = [
                await session.check_in(purpose="visit", site_id=secret["id"], fix=here)
                for _ in range(12)
            ]
            elsewhere = await session.check_in(purpose="visit", fix=here)
            assert await elsewhere.settled(timeout_s=30) == "accepted"
            assert await session.flush() == "backing-off"
            assert [one.state for one in probes] == ["rejected"] * 10 + ["queued"] * 2
            assert await session.waiting() == 2
            assert 3600 < min(session._sender.resting(elapsed()).values()) < 2.5 * 3600

    asyncio.run(story())


def places():
    return [repr(value).encode() for value in INSIDE.values()]


def test_the_short_version_of_the_chaos(server):
    """The long one: `make outbox-chaos`."""
    before = set(chaos_proxy.stored_in(server.home))
    with TemporaryDirectory(dir=fast_folder()) as name:
        report = asyncio.run(
            chaos_proxy.run(server, Path(name), check_ins=200, phones=4, seed=11, before=before)
        )
    assert report.is_good, str(report)
    assert len(report.made) == 200
    assert len(report.faults) > 8
