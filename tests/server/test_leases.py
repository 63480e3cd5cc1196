"""What is granted is a lease: it lapses when it is not renewed, and renewing it betrays nobody."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_server import lease_writing
from doorstep_server.privacy.permission import (
    LEASES,
    WITHDRAWN,
    Permission,
    State,
    after_report,
    is_renewal,
    refusal,
)
from doorstep_server.renewals import Renewals, Report, with_report
from doorstep_server.settings import Settings
from doorstep_server.store import tenants
from doorstep_server.store.reach import NOTHING
from world import NOON, Phone, Tenancy, World, initialized, opened

TENANT, DEVICE = UUID(int=1), UUID(int=2)
REPORTS = st.lists(st.tuples(st.sampled_from(State), st.integers(1, 6)), max_size=8)


def device_rows(world: World) -> dict[Any, bytes]:
    """What is written of each device, as bytes."""
    return {
        key: bytes(sealed) for key, sealed in world.rows("SELECT device_id, sealed FROM devices")
    }


def write_leases(world: World) -> None:
    """As once a day."""
    asyncio.run(lease_writing.write(world.services))


# -- lapsing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "days"), [("precise", 7), ("precise_once", 1), ("approximate", 7)]
)
def test_a_lease_that_is_not_renewed_lapses_at_its_end(
    world: World, tenant: Tenancy, state: str, days: int
) -> None:
    tenant.site()
    phone = tenant.phone(state=None)
    until = (NOON + timedelta(days=days)).isoformat().replace("+00:00", "Z")
    assert phone.report(state).json()["lease_until"] == until
    assert phone.get("/v1/device").json()["lease_until"] == until

    world.clock.now = NOON + timedelta(days=days, seconds=-1)
    assert phone.check_in(phone.claim()).status_code == 201
    world.clock.now = NOON + timedelta(days=days)
    body = phone.claim()
    answer = phone.check_in(body)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission-unknown")
    status = phone.get("/v1/device").json()
    assert (status["permission"], status["lease_until"]) == ("unknown", None)
    assert [(f["available"], f["because"]) for f in status["features"]] == [
        (False, "permission-unknown")
    ] * 2
    [listed] = tenant.admin.get("/v1/devices", headers={"Doorstep-Purpose": "support"}).json()[
        "items"
    ]
    assert listed["permission"] == "unknown"

    assert phone.report(state).status_code == 200
    assert phone.check_in(body).status_code == 201


def test_what_was_withdrawn_does_not_lapse(world: World, phone: Phone) -> None:
    assert phone.report("denied").json()["lease_until"] is None
    world.clock.advance(days=30)
    assert phone.get("/v1/device").json()["permission"] == "denied"
    assert phone.check_in(phone.claim()).json()["code"] == "permission-withdrawn"


def test_a_lease_that_lapsed_is_no_withdrawal(world: World, phone: Phone) -> None:
    """A position that was captured while it held may still come, when the app has reported."""
    queued = phone.claim(permission_epoch=0)
    world.clock.advance(days=1)
    phone.report("precise")
    world.clock.advance(days=7)
    fresh = phone.claim(permission_epoch=0)
    assert phone.check_in(fresh).json()["code"] == "permission-unknown"
    assert phone.report("precise").json()["permission_epoch"] == 0
    assert phone.check_in(fresh).status_code == 201
    assert phone.check_in(queued).json()["code"] == "too-old"


def test_a_replay_is_answered_after_the_lease_has_lapsed(world: World, phone: Phone) -> None:
    body = phone.claim()
    first = phone.check_in(body)
    world.clock.advance(days=7)
    again = phone.check_in(body)
    assert (again.status_code, again.content) == (201, first.content)


@given(reports=REPORTS, seconds=st.integers(0, 8 * 86_400))
def test_what_holds_later_is_what_was_granted_or_nothing(
    reports: list[tuple[State, int]], seconds: int
) -> None:
    permission = Permission()
    for state, sequence in reports:
        permission = after_report(permission, state, sequence, NOON)
    later = permission.at(NOON + timedelta(seconds=seconds))
    assert later.state in {permission.state, State.UNKNOWN}
    assert (later.sequence, later.epoch) == (permission.sequence, permission.epoch)
    if permission.state in LEASES:
        held = seconds < LEASES[permission.state].total_seconds()
        assert (later.state is permission.state) == held
    else:
        assert later == permission
    assert later.at(NOON + timedelta(seconds=seconds)) == later


# -- renewing ----------------------------------------------------------------------------------


def test_a_renewal_is_believed_at_once_and_not_written_then(world: World, phone: Phone) -> None:
    before = device_rows(world)
    world.clock.advance(days=1)
    until = (NOON + timedelta(days=8)).isoformat().replace("+00:00", "Z")
    assert phone.report("precise").json()["lease_until"] == until
    assert phone.get("/v1/device").json()["lease_until"] == until
    assert phone.get("/v1/device").json()["permission_sequence"] == 2
    assert phone.check_in(phone.claim()).status_code == 201
    assert device_rows(world) == before


def test_when_leases_are_written_every_device_gets_new_bytes(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    others = [tenant.phone(), tenant.phone(state="denied"), tenant.phone(state=None)]
    elsewhere = world.tenant()
    theirs = elsewhere.phone()
    before, was = device_rows(world), [tenant.device_details(p) for p in (phone, *others)]
    world.clock.advance(days=1)
    phone.report("precise")
    write_leases(world)
    after = device_rows(world)
    changed = {key for key in before if before[key] != after[key]}
    assert len(after) == len(before) == 5
    assert len(changed) == 4
    assert elsewhere.device_details(theirs).permission.sequence == 1
    renewed = tenant.device_details(phone)
    assert renewed.permission == Permission(
        state=State.PRECISE, sequence=2, lease_until=NOON + timedelta(days=8)
    )
    assert replace(renewed, permission=was[0].permission) == was[0]
    assert [tenant.device_details(p) for p in others] == was[1:]
    # nothing waits any more
    write_leases(world)
    assert device_rows(world) == after


def test_many_devices_are_written_page_by_page(
    world: World, tenant: Tenancy, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_writing, "PAGE", 2)
    phones = [phone, *(tenant.phone() for _ in range(4))]
    before = device_rows(world)
    world.clock.advance(hours=1)
    for one in phones[1:3]:
        one.report("precise")
    write_leases(world)
    after = device_rows(world)
    assert all(after[key] != before[key] for key in before)
    assert [tenant.device_details(p).permission.sequence for p in phones] == [1, 2, 2, 1, 1]


@pytest.mark.parametrize(
    "state", ["denied", "restricted", "services_off", "unknown", "approximate"]
)
def test_what_is_no_renewal_is_written_at_once(
    world: World, tenant: Tenancy, phone: Phone, state: str
) -> None:
    before = device_rows(world)
    phone.report(state)
    assert device_rows(world) != before
    assert tenant.device_details(phone).permission.state == state


def test_a_grant_after_a_lapse_is_written_at_once(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    world.clock.advance(days=7)
    phone.report("precise")
    assert tenant.device_details(phone).permission.sequence == 2


def test_a_late_withdrawal_counts_against_a_renewal_that_waits(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    phone.report("precise", sequence=9)
    assert tenant.device_details(phone).permission.sequence == 1
    status = phone.report("denied", sequence=7).json()
    assert (status["state"], status["permission_epoch"]) == ("precise", 7)
    written = tenant.device_details(phone).permission
    assert (written.state, written.sequence, written.epoch) == (State.PRECISE, 9, 7)
    assert phone.check_in(phone.claim(permission_epoch=6)).json()["code"] == "permission-withdrawn"
    assert phone.check_in(phone.claim(permission_epoch=7)).status_code == 201
    write_leases(world)
    assert tenant.device_details(phone).permission == written


@pytest.mark.parametrize("sequence", [1, 3, 5])
def test_a_late_report_does_not_take_the_place_of_a_newer_one_that_waits(
    world: World, tenant: Tenancy, phone: Phone, sequence: int
) -> None:
    phone.report("precise", sequence=5)
    world.clock.advance(hours=1)
    until = (NOON + timedelta(days=7)).isoformat().replace("+00:00", "Z")
    assert phone.report("precise", sequence=sequence).json()["lease_until"] == until
    assert phone.get("/v1/device").json()["permission_sequence"] == 5
    write_leases(world)
    assert tenant.device_details(phone).permission.sequence == 5


def test_a_report_that_could_not_wait_for_its_turn_is_written_at_once(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    """Each is near enough to the one before, but not to what was written last."""
    for sequence in (1_000_001, 2_000_001, 3_000_001):
        assert phone.report("precise", sequence=sequence).status_code == 200
        assert phone.get("/v1/device").json()["permission_sequence"] == sequence
    write_leases(world)
    assert tenant.device_details(phone).permission.sequence == 3_000_001


def test_a_renewal_that_waits_takes_no_withdrawal_back(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    phone.report("precise", sequence=2)
    phone.report("denied", sequence=3)
    write_leases(world)
    written = tenant.device_details(phone).permission
    assert (written.state, written.sequence, written.epoch) == (State.DENIED, 3, 3)
    assert phone.check_in(phone.claim(permission_epoch=3)).json()["code"] == "permission-withdrawn"


def test_a_server_that_stops_writes_what_waits(settings: Settings) -> None:
    new = initialized(settings)
    with opened(settings, new) as world:
        phone = world.first.phone()
        world.clock.advance(days=1)
        phone.report("precise")
        assert world.first.device_details(phone).permission.sequence == 1
    with opened(settings, new) as world:
        assert world.first.device_details(phone).permission.sequence == 2


def test_the_devices_of_a_person_who_is_erased_keep_nobodys_lease_from_being_written(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    gone = tenant.phone()
    for one in (phone, gone):
        one.report("precise")
    assert gone.post("/v1/device/erasure").status_code == 202
    write_leases(world)
    assert tenant.device_details(phone).permission.sequence == 2
    assert len(device_rows(world)) == 1


def test_more_than_the_limit_do_not_wait() -> None:
    renewals, report = Renewals(limit=1), Report(State.PRECISE, 2, NOON)
    assert renewals.add(TENANT, DEVICE, report)
    assert not renewals.add(TENANT, uuid4(), report)
    assert renewals.add(TENANT, DEVICE, report)
    assert renewals.take(TENANT) == {DEVICE: report}
    assert renewals.tenants() == []
    assert renewals.add(TENANT, uuid4(), report)


def test_a_report_that_finds_no_room_to_wait_is_written_at_once(
    world: World, tenant: Tenancy, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.services.renewals, "limit", 0)
    phone.report("precise")
    assert tenant.device_details(phone).permission.sequence == 2


@given(reports=REPORTS, data=st.data())
def test_whenever_leases_are_written_the_permission_ends_as_if_each_report_had_been(
    reports: list[tuple[State, int]], data: st.DataObject
) -> None:
    """Reports in any order and again, written at once or waiting, and what waits now and then."""
    repeated = reports + data.draw(st.lists(st.sampled_from(reports))) if reports else []
    renewals, stored, expected = Renewals(), Permission(), Permission()
    for state, sequence in data.draw(st.permutations(repeated)):
        report = Report(state, sequence, NOON)
        known = renewals.applied(TENANT, DEVICE, stored)
        after = with_report(known, report)
        waits = is_renewal(stored, after, NOON)
        if after != known and not (waits and renewals.add(TENANT, DEVICE, report)):
            stored = after
        expected = after_report(expected, state, sequence, NOON)
        assert renewals.applied(TENANT, DEVICE, stored) == expected
        # what check-ins go by: the state, and since when, are never behind
        assert (stored.state, stored.epoch) == (expected.state, expected.epoch)
        if data.draw(st.booleans()):
            for waiting in renewals.take(TENANT).values():
                stored = with_report(stored, waiting)
            assert stored == expected
    for waiting in renewals.take(TENANT).values():
        stored = with_report(stored, waiting)
    in_order = Permission()
    for state, sequence in reports:
        in_order = after_report(in_order, state, sequence, NOON)
    assert stored == in_order


# -- a backup that was put back ------------------------------------------------------------------


@given(reports=REPORTS, state=st.sampled_from(State), ahead=st.integers(1, 5))
def test_after_restoring_nothing_is_believed_until_a_report_and_that_raises_the_epoch(
    reports: list[tuple[State, int]], state: State, ahead: int
) -> None:
    known = Permission()
    for reported, sequence in reports:
        known = after_report(known, reported, sequence, NOON)
    restored = known.after_restoring()
    assert restored.state not in LEASES
    assert (restored.state in WITHDRAWN) == (known.state in WITHDRAWN)
    assert refusal(restored, epoch=known.epoch, age_s=0) is not None
    # what is no news changes nothing
    assert after_report(restored, restored.state, restored.sequence, NOON) == restored
    first = restored.sequence + ahead
    after = after_report(restored, state, first, NOON)
    assert (after.state, after.sequence, after.epoch) == (state, first, first)
    assert refusal(after, epoch=first - 1, age_s=0) is not None
    assert not is_renewal(restored, after, NOON)
    # and the next one is a report like any other
    again = after_report(after, State.PRECISE, first + 1, NOON)
    assert (again.state, again.epoch) == (State.PRECISE, first)


def test_a_copy_of_the_database_grants_nothing_until_each_device_has_reported(
    settings: Settings,
) -> None:
    new = initialized(settings)
    with opened(settings, new) as world:
        world.first.site()
        phone, denied = world.first.phone(), world.first.phone()
        denied.report("denied")
        world.services.database.write_now(NOTHING, lambda c: tenants.mark_copy(c, is_copy=True))
    with opened(settings, new) as world:
        phone.client = denied.client = world.client
        queued = phone.claim(permission_epoch=0)
        assert phone.check_in(queued).json()["code"] == "permission-unknown"
        assert denied.check_in(denied.claim()).json()["code"] == "permission-withdrawn"
        status = phone.report("precise", sequence=5).json()
        assert (status["state"], status["permission_epoch"]) == ("precise", 5)
        # nobody knows whether it was withdrawn in between
        assert phone.check_in(queued).json()["code"] == "permission-withdrawn"
        assert phone.check_in(phone.claim(permission_epoch=5)).status_code == 201
        assert phone.report("precise", sequence=6).json()["permission_epoch"] == 5
    assert not world.first.device_details(phone).permission.restored
