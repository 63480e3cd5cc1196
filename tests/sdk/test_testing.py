"""The fake server answers as the real one does: one scenario, both servers, one transcript."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doorstep import (
    AsyncClient,
    Client,
    ConnectFailed,
    ConnectionLost,
    DeviceRevoked,
    Fix,
    HTTPTransport,
    NewCheckIn,
    RateLimited,
    Request,
    Response,
    Retry,
    ServerError,
    TimedOut,
    Timeout,
    check_in_id,
)
from doorstep.testing import (
    AsyncFaultTransport,
    Delay,
    DropAfter,
    DropBefore,
    Duplicate,
    FakeClock,
    FakeServer,
    FaultTransport,
    Refuse,
    Truncate,
)
from served import Served, serving

HERE = {"lat": -23.561, "lon": -46.655}
AWAY = {"lat": -23.7, "lon": -46.655}
NO_RETRY = Retry(attempts=1)


class Side:
    """A server, fake or real, as the scenario needs it."""

    url: str

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.transcript: list[Any] = []

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        response: Response = self._transport.send(request, timeout=timeout)
        path = re.sub(r"[0-9a-z]{6}-[0-9a-f]{32}", "<erasure>", request.url[len(self.url) :])
        self.transcript.append((request.method, _plain(path), *_told(response)))
        return response

    def client(self, **options: Any) -> Client:
        return Client(self.url, transport=self, retry=NO_RETRY, **options)


class FakeSide(Side):
    def __init__(self) -> None:
        self.server = FakeServer()
        self.url = self.server.url
        super().__init__(self.server.transport())

    def site(self) -> str:
        return self.server.add_site(**HERE, radius_m=100)

    def move(self, site_id: str) -> None:
        self.server.move_site(site_id, **AWAY, radius_m=100)

    def purpose(self) -> None:
        self.server.add_purpose("round", judged_by="device")

    def code(self) -> str:
        return self.server.code()

    def revoke(self, device_id: str) -> None:
        self.server.revoke(device_id)


class RealSide(Side):
    def __init__(self, server: Served) -> None:
        self.server = server
        self.url = server.url
        self.http = HTTPTransport()
        super().__init__(self.http)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        status, document = self.server.call(method, path, body)
        assert status < 300, document
        return document

    def site(self) -> str:
        circle = {"type": "Circle", "center": [HERE["lon"], HERE["lat"]], "radius_m": 100}
        body = {"name": "Office", "geofence": circle, "timezone": "America/Sao_Paulo"}
        return str(self._call("POST", "/v1/sites", body)["id"])

    def move(self, site_id: str) -> None:
        circle = {"type": "Circle", "center": [AWAY["lon"], AWAY["lat"]], "radius_m": 100}
        body = {"name": "Office", "geofence": circle, "timezone": "America/Sao_Paulo"}
        self._call("PUT", f"/v1/sites/{site_id}", {**body, "version": 1})

    def purpose(self) -> None:
        body = {"name": "round", "title": "Rounds", "legal_basis": "legitimate_interests"}
        self._call("POST", "/v1/purposes", {**body, "judged_by": "device"})

    def code(self) -> str:
        return self.server.code()

    def revoke(self, device_id: str) -> None:
        self._call("DELETE", f"/v1/devices/{device_id}")


def _plain(path: str) -> str:
    return re.sub(r"cursor=[^&]+", "cursor=…", path)


#: of one server or one moment alone
OWN = {
    "device_id", "token", "tenant", "subject_id", "request_id", "decision", "lease_until", "time",
    "expires_on", "day", "title", "detail", "next_cursor", "erasure", "receipt", "x", "id",
    "site_id", "type", "at", "version", "policy_version",
}  # fmt: skip


def _told(response: Response) -> tuple[Any, ...]:
    """Status, kind and content of an answer: members by their names, values where both have one."""
    kind = (response.header("content-type") or "").partition(";")[0]
    replayed = response.header("doorstep-replayed")
    if "json" not in kind:
        return response.status, kind, response.body[:4]
    return response.status, kind, replayed, _comparable(json.loads(response.body))


def _comparable(value: Any, name: str = "") -> Any:
    if name in OWN:
        return None if value is None else "…"
    if isinstance(value, dict):
        return {
            n: _comparable(v, n) for n, v in sorted(value.items()) if n not in {"at", "reason_at"}
        }
    if isinstance(value, list):
        # of a list of check-ins, those of one quarter of an hour have no order
        return (
            sorted(map(_comparable, value), key=str)
            if name == "items"
            else [*map(_comparable, value)]
        )
    return value


def here(**members: Any) -> Fix:
    return Fix.now(**{**HERE, "accuracy_m": 8.0, **members})


def token_of(client: Client) -> str:
    return client.device._runner.core._known.token


def a_life(side: Any) -> None:
    """All that an app may do, right and wrong."""
    site_id = side.site()
    client = side.client()
    code = side.code()
    _enrolling(side, client, code)
    _checking_in(side, client, site_id)
    _judging(side, client)
    _in_batches(client, site_id)
    _withdrawing(client)
    _rights(side, client)


def _any_error(call: Callable[[], Any]) -> None:
    with pytest.raises(Exception, match=r"\d{3}"):
        call()


def _enrolling(side: Any, client: Client, code: str) -> None:
    _any_error(lambda: client.device.enroll("AAAAAA-BBBBBB-CCCCCC"))
    client.device.enroll(code, installation_id="one")
    client.device.enroll(code, installation_id="one")
    _any_error(lambda: side.client().device.enroll(code, installation_id="two"))
    _any_error(side.client(token="dst_wrong").device.status)
    client.device.status()
    _any_error(lambda: client.check_ins.create(purpose="visit", fix=here()))
    client.permission.report("precise")
    before = side.client(token=token_of(client))
    client.device.rotate_token()
    before.device.status()
    client.device.status()
    _any_error(before.device.status)


def _checking_in(side: Any, client: Client, site_id: str) -> None:
    create = client.check_ins.create
    claim: dict[str, Any] = {"purpose": "visit", "fix": here(), "id": check_in_id(), "action": "in"}
    create(**claim)
    create(**claim)
    _any_error(lambda: create(**{**claim, "action": "out"}))
    create(purpose="visit", fix=here(), site_id=site_id)
    create(purpose="visit", fix=Fix.now(**AWAY, accuracy_m=8.0))
    create(purpose="visit", fix=Fix.now(**AWAY, accuracy_m=8.0), site_id=site_id)
    create(purpose="visit", fix=here(accuracy_m=None), site_id=site_id)
    create(purpose="visit", fix=here(accuracy_m=500.0), site_id=site_id)
    create(purpose="visit", fix=here(lat=HERE["lat"] + 0.00095), site_id=site_id)
    create(purpose="visit", fix=here(mocked=True))
    ahead = datetime.now(UTC) + timedelta(minutes=10)
    create(purpose="visit", fix=Fix(**HERE, accuracy_m=8.0, captured_at=ahead), site_id=site_id)
    old = datetime.now(UTC) - timedelta(days=4)
    _any_error(lambda: create(purpose="visit", fix=Fix(**HERE, captured_at=old)))
    _any_error(lambda: create(purpose="nothing", fix=here()))
    nowhere = "00000000-0000-4000-8000-000000000009"
    _any_error(lambda: create(purpose="visit", fix=here(), site_id=nowhere))
    list(client.check_ins.list())


def _judging(side: Any, client: Client) -> None:
    _any_error(client.sites.bundle)
    side.purpose()
    bundle = client.sites.bundle()
    client.sites.bundle()
    client.check_ins.create_judged(purpose="round", fix=here())
    client.check_ins.create_judged(purpose="round", fix=Fix.now(**AWAY, accuracy_m=8.0))
    ignorant = side.client(token=token_of(client))
    _any_error(lambda: ignorant.check_ins.create(purpose="round", fix=here()))
    moved = side.site()
    side.move(moved)
    client.sites.use(bundle)
    client.check_ins.create_judged(purpose="round", fix=here(), action="out")


def _in_batches(client: Client, site_id: str) -> None:
    good = NewCheckIn(purpose="visit", fix=here(), site_id=site_id, permission_epoch=0)
    bad = NewCheckIn(purpose="nothing", fix=here())
    judged = client.sites.bundle().judge(purpose="round", fix=here())
    client.check_ins.create_batch([good, bad, good, judged])


def _withdrawing(client: Client) -> None:
    waiting = NewCheckIn(purpose="visit", fix=here(), permission_epoch=0)
    client.permission.report("denied")
    _any_error(lambda: client.check_ins.create(purpose="visit", fix=here()))
    client.permission.report("precise", sequence=2)
    client.permission.report("precise")
    client.check_ins.create_batch([waiting, NewCheckIn(purpose="visit", fix=here())])
    _any_error(lambda: client.permission.report("precise", sequence=10**7))


def _rights(side: Any, client: Client) -> None:
    client.privacy.restrictions()
    client.privacy.restrict(purposes=["visit"])
    _any_error(lambda: client.check_ins.create(purpose="visit", fix=here()))
    client.privacy.restrict(wholly=True)
    client.device.status()
    client.privacy.restrict()
    client.privacy.signing_keys()
    other = side.client()
    enrolled = other.device.enroll(side.code())
    side.revoke(enrolled.device_id)
    _any_error(other.device.status)
    token = token_of(client)
    client.privacy.erase()
    _any_error(side.client(token=token).device.status)
    _any_error(lambda: side.client().privacy.erasure("abcdef-" + "0" * 32))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("real") / "home") as server:
        yield server


def test_the_fake_tells_what_the_real_one_tells(real: Served) -> None:
    """Every request of a life, with the answer of both: so the fake cannot drift."""
    fake_side, real_side = FakeSide(), RealSide(real)
    a_life(fake_side)
    a_life(real_side)
    real_side.http.close()
    for ours, theirs in zip(fake_side.transcript, real_side.transcript, strict=True):
        assert ours == theirs
    assert len(real_side.transcript) > 50


# -- the fake alone ----------------------------------------------------------------------------


def enrolled(server: FakeServer, transport: Any = None, **options: Any) -> Client:
    client = Client(server.url, transport=transport or server.transport(), **options)
    client.device.enroll(server.code())
    client.permission.report("precise")
    return client


def test_what_is_stored_can_be_looked_at() -> None:
    server = FakeServer()
    site_id = server.add_site(**HERE)
    enrolled(server).check_ins.create(purpose="visit", fix=here())
    [stored] = server.stored()
    assert (stored["outcome"], stored["site_id"]) == ("accepted", site_id)
    assert not {"lat", "lon", "accuracy_m"} & stored.keys()


def test_a_lease_lapses_by_the_fakes_clock() -> None:
    server = FakeServer()
    client = enrolled(server)
    server.clock.advance(8 * 86_400)
    assert client.device.status().permission == "unknown"


def test_the_async_side_is_the_same_server() -> None:
    server = FakeServer()
    server.add_site(**HERE)

    async def life() -> str:
        async with AsyncClient(server.url, transport=server.async_transport()) as client:
            await client.device.enroll(server.code())
            await client.permission.report("precise")
            return (await client.check_ins.create(purpose="visit", fix=here())).outcome

    assert asyncio.run(life()) == "accepted"
    assert len(server.stored()) == 1


def test_a_revoked_device_is_told() -> None:
    server = FakeServer()
    client = Client(server.url, transport=server.transport())
    server.revoke(client.device.enroll(server.code()).device_id)
    with pytest.raises(DeviceRevoked):
        client.device.status()


# -- faults ------------------------------------------------------------------------------------

FAULTS = [
    (DropBefore(), ConnectFailed, 0),
    (DropAfter(), ConnectionLost, 1),
    (Truncate(), ConnectionLost, 1),
    (Duplicate(), None, 1),
    (Delay(seconds=3), None, 1),
    (Delay(seconds=60), TimedOut, 1),
    (Refuse(), ServerError, 0),
    (Refuse(status=429, retry_after="7"), RateLimited, 0),
]


@pytest.mark.parametrize(("fault", "error", "stored"), FAULTS)
def test_a_fault_strikes_and_the_same_id_counts_once(fault: Any, error: Any, stored: int) -> None:
    server = FakeServer()
    server.add_site(**HERE)
    good = enrolled(server)
    token = token_of(good)
    transport = FaultTransport(server.transport(), [fault], clock=server.clock)
    client = Client(server.url, transport=transport, token=token, retry=NO_RETRY)
    claim: dict[str, Any] = {"purpose": "visit", "fix": here(), "id": check_in_id()}
    if error is None:
        client.check_ins.create(**claim)
    else:
        with pytest.raises(error) as raised:
            client.check_ins.create(**claim)
        assert getattr(raised.value, "retry_after_s", None) in {None, 7.0}
    assert len(server.stored()) == stored
    assert transport.struck == {type(fault).__name__: 1}
    assert client.check_ins.create(**claim).outcome == "accepted"
    assert len(server.stored()) == 1


def test_delays_pass_on_the_clock_alone() -> None:
    clock = FakeClock(datetime(2026, 3, 9, 12, 0, tzinfo=UTC))
    server = FakeServer(clock=clock)
    transport = FaultTransport(server.transport(), [Delay(seconds=3)], clock=clock)
    Client(server.url, transport=transport).device.enroll(server.code())
    assert clock.now() == datetime(2026, 3, 9, 12, 0, 3, tzinfo=UTC)


def test_faults_strike_async_transports_too() -> None:
    server = FakeServer()
    faults = AsyncFaultTransport(server.async_transport(), [DropBefore(), Duplicate()])

    async def life() -> None:
        async with AsyncClient(server.url, transport=faults, retry=NO_RETRY) as client:
            with pytest.raises(ConnectFailed):
                await client.device.enroll(server.code())
            await client.device.enroll(server.code())

    asyncio.run(life())
    assert faults.struck == {"DropBefore": 1, "Duplicate": 1}


def test_a_client_gets_through_by_itself() -> None:
    """As it would through a bad network: its retries are the real ones."""
    server = FakeServer()
    server.add_site(**HERE)
    good = enrolled(server)
    transport = FaultTransport(server.transport(), [DropAfter(), Refuse(retry_after="0")])
    client = Client(
        server.url,
        transport=transport,
        token=token_of(good),
        retry=Retry(attempts=3, base_s=0.001),
    )
    assert client.check_ins.create(purpose="visit", fix=here()).replayed is True
    assert len(server.stored()) == 1
