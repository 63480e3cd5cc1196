"""The permission: reported in any order, it ends the same; a withdrawal is final for its past."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_server.privacy.permission import (
    WITHDRAWN,
    Permission,
    SequenceTooFarAhead,
    State,
    after_report,
    refusal,
)
from world import NOON, Phone, Tenancy, World

REPORTS = st.lists(st.tuples(st.sampled_from(State), st.integers(1, 6)), max_size=8)


def merged(reports: list[tuple[State, int]], known: Permission | None = None) -> Permission:
    permission = known or Permission()
    for state, sequence in reports:
        permission = after_report(permission, state, sequence, NOON)
    return permission


@given(reports=REPORTS, data=st.data())
def test_reports_in_any_order_and_repeated_end_in_one_state(
    reports: list[tuple[State, int]], data: st.DataObject
) -> None:
    repeated = reports + data.draw(st.lists(st.sampled_from(reports))) if reports else []
    shuffled = data.draw(st.permutations(repeated))
    assert merged(list(shuffled)) == merged(reports)


@given(reports=REPORTS, state=st.sampled_from(State), sequence=st.integers(1, 6))
def test_the_epoch_never_falls_and_is_the_highest_withdrawal(
    reports: list[tuple[State, int]], state: State, sequence: int
) -> None:
    before = merged(reports)
    after = after_report(before, state, sequence, NOON)
    assert after.epoch >= before.epoch
    assert after.epoch == max(
        (s for st, s in [*reports, (state, sequence)] if st in WITHDRAWN), default=0
    )


@given(reports=REPORTS, epoch=st.integers(0, 6))
def test_nothing_of_an_earlier_epoch_is_ever_permitted(
    reports: list[tuple[State, int]], epoch: int
) -> None:
    permission = merged(reports)
    if epoch < permission.epoch:
        assert refusal(permission, epoch=epoch, age_s=0) is not None


def test_a_report_too_far_ahead_is_an_error() -> None:
    with pytest.raises(SequenceTooFarAhead):
        after_report(Permission(sequence=5), State.PRECISE, 1_000_006, NOON)


def test_without_a_report_the_permission_is_unknown(world: World, tenant: Tenancy) -> None:
    tenant.site()
    phone = tenant.phone(state=None)
    body = phone.claim()
    answer = phone.check_in(body)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission-unknown")
    phone.report("precise")
    assert phone.check_in(body).status_code == 201


@pytest.mark.parametrize("state", ["denied", "restricted", "services_off"])
def test_after_a_withdrawal_nothing_is_stored_until_it_is_granted_again(
    world: World, phone: Phone, state: str
) -> None:
    assert phone.check_in(phone.claim()).status_code == 201
    status = phone.report(state).json()
    assert (status["state"], status["permission_epoch"]) == (state, phone.sequence)
    features = {f["name"]: f for f in status["features"]}
    assert not features["location-check-in"]["available"]
    assert features["location-check-in"]["because"] == f"permission-{state.replace('_', '-')}"
    answer = phone.check_in(phone.claim(permission_epoch=status["permission_epoch"]))
    assert (answer.status_code, answer.json()["code"]) == (403, "permission-withdrawn")
    assert world.rows("SELECT count(*) FROM check_ins") == [(1,)]
    assert world.rows("SELECT count(*) FROM receipts") == [(1,)]
    phone.report("precise")
    assert phone.check_in(phone.claim()).json()["outcome"] == "accepted"


def test_a_queued_position_of_an_earlier_epoch_is_refused_for_ever(phone: Phone) -> None:
    queued = phone.claim(permission_epoch=0)
    phone.report("denied")
    assert phone.check_in(queued).json()["code"] == "permission-withdrawn"
    phone.report("precise")
    assert phone.check_in(queued).json()["code"] == "permission-withdrawn"
    fresh = phone.claim(permission_epoch=2)
    assert phone.check_in(fresh).status_code == 201


def test_a_late_withdrawal_raises_the_epoch_but_not_the_state(phone: Phone) -> None:
    phone.report("precise", sequence=9)
    status = phone.report("denied", sequence=7).json()
    assert (status["state"], status["permission_epoch"]) == ("precise", 7)
    assert phone.check_in(phone.claim(permission_epoch=6)).json()["code"] == "permission-withdrawn"
    assert phone.check_in(phone.claim(permission_epoch=7)).status_code == 201


def test_without_an_epoch_only_a_live_position_is_taken(phone: Phone) -> None:
    live = NOON - timedelta(seconds=119)
    old = NOON - timedelta(seconds=121)
    assert phone.check_in(phone.claim(fix={"captured_at": live.isoformat()})).status_code == 201
    refused = phone.check_in(phone.claim(fix={"captured_at": old.isoformat()}))
    assert (refused.status_code, refused.json()["code"]) == (403, "permission-unknown")
    queued = phone.claim(fix={"captured_at": old.isoformat()}, permission_epoch=0)
    assert phone.check_in(queued).status_code == 201


def test_a_sequence_too_far_ahead_is_refused(phone: Phone) -> None:
    answer = phone.report("denied", sequence=2_000_000)
    assert (answer.status_code, answer.json()["code"]) == (422, "sequence-too-far-ahead")
    assert phone.get("/v1/device").json()["permission"] == "precise"


def test_refusals_are_counted_without_naming_anybody(world: World, phone: Phone) -> None:
    phone.report("denied")
    phone.check_in(phone.claim())
    assert world.rows("SELECT purpose, reason, count FROM tallies") == [
        ("visit", "permission-withdrawn", 1)
    ]
    assert world.rows("SELECT count(*) FROM receipts") == [(0,)]


def test_a_device_knows_its_standing(phone: Phone) -> None:
    status = phone.get("/v1/device").json()
    assert status["device_id"] == phone.device_id
    assert (status["permission"], status["permission_sequence"], status["permission_epoch"]) == (
        "precise",
        1,
        0,
    )
    assert [p["name"] for p in status["purposes"]] == ["visit"]


def test_a_report_is_counted_from_one(phone: Phone) -> None:
    """A withdrawal of sequence 0 could not raise the epoch that every device begins with."""
    assert phone.report("denied", sequence=0).status_code == 400
