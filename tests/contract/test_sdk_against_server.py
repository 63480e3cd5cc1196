"""The SDK and the server agree: every call of the SDK against a real server."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from doorstep import (
    AsyncClient,
    Client,
    DeviceInfo,
    DeviceRevoked,
    Fix,
    IdReused,
    Invalid,
    NewCheckIn,
    NotFound,
    PermissionUnknown,
    PermissionWithdrawn,
    TooOld,
    Unauthorized,
    check_in_id,
)
from served import Served, serving
from world import FAR_OUTSIDE, INSIDE, SQUARE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("sdk") / "home") as server:
        body = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
        assert server.call("POST", "/v1/sites", body)[0] == 201
        yield server


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with Client(server.url) as client:
        client.device.enroll(server.code())
        client.permission.report("precise")
        yield client


def here() -> Fix:
    return Fix.now(**INSIDE, accuracy_m=8.0)


def test_enrolling_and_the_devices_standing(server: Served) -> None:
    with Client(server.url) as client:
        device = DeviceInfo(platform="ios", os_version="19.1", model="iPhone 17")
        enrolled = client.device.enroll(server.code(), device=device)
        assert enrolled.permission_epoch == 0
        assert [p.name for p in enrolled.purposes] == ["visit"]
        with pytest.raises(PermissionUnknown):
            client.check_ins.create(purpose="visit", fix=here())
        report = client.permission.report("precise")
        assert {f.name: f.available for f in report.features} == {
            "location-check-in": True,
            "precise-location": True,
        }
        status = client.device.status()
        assert (status.device_id, status.permission, status.permission_sequence) == (
            enrolled.device_id,
            "precise",
            1,
        )


def test_a_check_in_and_its_replay(client: Client) -> None:
    new_id = check_in_id()
    fix = here()
    first = client.check_ins.create(purpose="visit", fix=fix, id=new_id, action="in")
    assert (first.outcome, first.reason, first.replayed) == ("accepted", "inside", False)
    assert first.stored.level == "site"
    again = client.check_ins.create(purpose="visit", fix=fix, id=new_id, action="in")
    assert (again.replayed, again.stored, again.expires_on) == (
        True,
        first.stored,
        first.expires_on,
    )
    with pytest.raises(IdReused):
        client.check_ins.create(purpose="visit", fix=fix, id=new_id, action="out")


def test_a_rejection_stores_nothing_and_gives_a_decision(client: Client) -> None:
    far = client.check_ins.create(purpose="visit", fix=Fix.now(**FAR_OUTSIDE, accuracy_m=8.0))
    assert (far.outcome, far.stored.level, far.expires_on) == ("rejected", "none", None)
    assert far.decision


def test_refusals_are_typed(client: Client) -> None:
    with pytest.raises(NotFound):
        client.check_ins.create(purpose="nothing", fix=here())
    with pytest.raises(Invalid):
        client.check_ins.create(purpose="Not A Name", fix=here())
    old = Fix(**INSIDE, accuracy_m=8.0, captured_at=datetime.now(UTC) - timedelta(days=4))
    with pytest.raises(TooOld):
        client.check_ins.create(purpose="visit", fix=old)


def test_a_withdrawal_and_what_was_queued_before_it(client: Client) -> None:
    queued = NewCheckIn(purpose="visit", fix=here(), permission_epoch=0)
    status = client.permission.report("denied")
    assert status.permission_epoch == 2
    with pytest.raises(PermissionWithdrawn):
        client.check_ins.create(purpose="visit", fix=here())
    client.permission.report("precise")
    [result] = client.check_ins.create_batch([queued])
    assert isinstance(result.error, PermissionWithdrawn)
    assert client.check_ins.create(purpose="visit", fix=here()).outcome == "accepted"


def test_a_batch_and_the_list(client: Client) -> None:
    good = [NewCheckIn(purpose="visit", fix=here()) for _ in range(3)]
    bad = NewCheckIn(purpose="nothing", fix=here())
    results = client.check_ins.create_batch([*good, bad, good[0]])
    assert [r.status for r in results] == [201, 201, 201, 404, 201]
    assert isinstance(results[3].error, NotFound)
    assert results[4].check_in is not None
    assert results[4].check_in.replayed
    listed = list(client.check_ins.list(page_size=2))
    assert {item.id for item in listed} == {str(new.id) for new in good}


def test_a_rotated_token(server: Served, client: Client) -> None:
    client.device.rotate_token()
    assert client.device.status().permission == "precise"


def test_a_revoked_device(server: Served, client: Client) -> None:
    device_id = client.device.status().device_id
    assert server.call("DELETE", f"/v1/devices/{device_id}")[0] == 204
    with pytest.raises(DeviceRevoked):
        client.check_ins.create(purpose="visit", fix=here())


def test_a_wrong_token(server: Served) -> None:
    with Client(server.url, token="dst_wrong") as client, pytest.raises(Unauthorized):
        client.device.status()


def test_the_async_client_does_the_same(server: Served) -> None:
    async def life() -> None:
        async with AsyncClient(server.url) as client:
            await client.device.enroll(server.code())
            await client.permission.report("precise")
            one = await client.check_ins.create(purpose="visit", fix=here())
            many = await client.check_ins.create_batch(
                [NewCheckIn(purpose="visit", fix=here()) for _ in range(2)]
            )
            assert one.outcome == "accepted"
            assert [r.status for r in many] == [201, 201]
            assert len([item async for item in client.check_ins.list(page_size=1)]) == 3
            gathered = await asyncio.gather(
                *(client.check_ins.create(purpose="visit", fix=here()) for _ in range(20))
            )
            assert {answer.outcome for answer in gathered} == {"accepted"}

    asyncio.run(life())
