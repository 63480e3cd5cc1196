"""What each method sends, reads and learns: the same for both clients."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from doorstep import (
    CheckIn,
    DeviceInfo,
    Enrollment,
    IdReused,
    NewCheckIn,
    NotAllowed,
    NotEnrolled,
    Purpose,
    Stored,
    Tenant,
    UnexpectedAnswer,
)
from sdk.scripted import (
    ACCEPTED,
    ENROLLMENT,
    ID,
    LAT,
    LISTED,
    LON,
    PURPOSE,
    REPORTED,
    STATUS,
    TOKEN,
    a_fix,
    answer,
)


def a_new(**changes):
    return NewCheckIn(**{"purpose": "visit", "fix": a_fix(), **changes})


def test_a_check_in_sends_what_is_known_and_nothing_for_what_is_not(either):
    caller = either.client(answer(ACCEPTED))
    caller.check_in(fix=a_fix(accuracy_m=None))
    (request,) = caller.transport.requests
    assert (request.method, request.url) == ("POST", "https://doorstep.test/v1/check-ins")
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Content-Type"] == "application/json"
    assert caller.transport.bodies == [
        {
            "id": ID,
            "purpose": "visit",
            "fix": {"lat": LAT, "lon": LON, "captured_at": "2026-03-09T12:00:00+00:00"},
            "sent_at": "2026-03-09T12:00:00+00:00",
        }
    ]


def test_a_check_in_sends_all_that_is_given(either):
    caller = either.client(answer(ACCEPTED))
    fix = a_fix(mocked=False, source="gps", elapsed_s=998.5)
    caller.check_in(fix=fix, site_id=UUID(int=5), action="out", permission_epoch=3)
    (body,) = caller.transport.bodies
    assert body["fix"] | {"accuracy_m": 8.5, "mocked": False, "source": "gps"} == body["fix"]
    assert (body["site_id"], body["action"]) == (str(UUID(int=5)), "out")
    assert (body["age_s"], body["permission_epoch"]) == (1.5, 3)


def test_a_check_ins_answer(either):
    response = answer({**ACCEPTED, "decision": "sealed", "new": 1}, request_id="req-7")
    check_in = either.client(response).check_in()
    assert check_in == CheckIn(
        id=ID,
        outcome="accepted",
        reason="inside",
        site_id="site-1",
        action=None,
        stored=Stored(level="site", fields={"site_id": "site-1", "time": "2026-03-09T12:00:00Z"}),
        expires_on=date(2026, 5, 8),
        decision="sealed",
        replayed=False,
        request_id="req-7",
    )


def test_a_replay_says_so(either):
    assert either.client(answer(ACCEPTED, doorstep_replayed="true")).check_in().replayed is True


def test_words_of_a_newer_server_are_kept(either):
    newer = {**ACCEPTED, "outcome": "deferred", "reason": "solar_flare", "expires_on": None}
    check_in = either.client(answer(newer, 200)).check_in()
    assert (check_in.outcome, check_in.reason) == ("deferred", "solar_flare")


@pytest.mark.parametrize(
    "wrong",
    [
        {"purpose": ""},
        {"purpose": 5},
        {"action": "IN"},
        {"permission_epoch": -1},
        {"permission_epoch": "3"},
    ],
)
def test_a_check_in_without_sense_is_not_sent(either, wrong):
    caller = either.client()
    with pytest.raises(ValueError, match="must be"):
        caller.check_in(**wrong)


def test_a_position_that_is_no_fix_is_not_sent_and_not_said(either):
    with pytest.raises(TypeError, match="must be a Fix") as refused:
        either.client().check_in(fix={"lat": LAT})
    assert str(LAT) not in str(refused.value)


def test_without_a_token_nothing_is_sent(either):
    caller = either.client(token=None)
    with pytest.raises(NotEnrolled, match="enroll"):
        caller.check_in()


def test_enrolling_gives_the_client_its_token_and_epoch(either):
    caller = either.client(
        answer({**ENROLLMENT, "permission_epoch": 2}), answer(ACCEPTED), token=None
    )
    device = DeviceInfo(platform="android", os_version="16", model="Pixel")
    enrollment = caller.do(lambda client: client.device.enroll("CODE", device=device))
    caller.check_in()
    assert enrollment == Enrollment(
        device_id="d-1",
        token=TOKEN,
        tenant=Tenant(id="t-1", name="Acme"),
        subject_id="s-1",
        purposes=(Purpose(**PURPOSE),),
        permission_epoch=2,
    )
    enrolling, checking_in = caller.transport.requests
    assert "Authorization" not in enrolling.headers
    assert checking_in.headers["Authorization"] == f"Bearer {TOKEN}"
    assert caller.transport.bodies[0] == {
        "code": "CODE",
        "installation_id": "11111111-1111-4111-9111-111111111111",
        "device": {"platform": "android", "os_version": "16", "model": "Pixel"},
    }
    assert caller.transport.bodies[1]["permission_epoch"] == 2


def test_without_a_device_info_only_the_platform_is_told(either, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    caller = either.client(answer(ENROLLMENT))
    caller.do(lambda client: client.device.enroll("CODE"))
    device = {"platform": "win", "os_version": "unknown", "model": "unknown"}
    assert caller.transport.bodies[0]["device"] == device


def test_an_app_may_bring_its_own_installation_id(either):
    caller = either.client(answer(ENROLLMENT))
    caller.do(lambda client: client.device.enroll("CODE", installation_id="mine"))
    assert caller.transport.bodies[0]["installation_id"] == "mine"


def test_another_device_begins_its_sequence_anew(either):
    caller = either.client(answer(ENROLLMENT), answer(REPORTED, 200), permission_sequence=5_000_000)
    caller.do(lambda client: client.device.enroll("CODE"))
    caller.do(lambda client: client.permission.report("precise"))
    assert caller.transport.bodies[1]["sequence"] == 1


def test_a_repeated_enrollment_of_the_device_keeps_its_sequence(either):
    caller = either.client(
        answer(ENROLLMENT), answer(REPORTED, 200), answer(ENROLLMENT), answer(REPORTED, 200)
    )
    for _ in range(2):
        caller.do(lambda client: client.device.enroll("CODE"))
        caller.do(lambda client: client.permission.report("precise"))
    assert [caller.transport.bodies[place]["sequence"] for place in (1, 3)] == [1, 8]


def test_the_new_token_is_used_after_a_rotation(either):
    caller = either.client(answer({"token": "dst_new"}), answer(STATUS, 200))
    assert caller.do(lambda client: client.device.rotate_token()) == "dst_new"
    caller.do(lambda client: client.device.status())
    rotating, asking = caller.transport.requests
    assert (rotating.method, rotating.body) == ("POST", None)
    assert asking.headers["Authorization"] == "Bearer dst_new"


def test_the_status_teaches_epoch_and_sequence(either):
    caller = either.client(answer(STATUS, 200), answer(REPORTED, 200), answer(ACCEPTED))
    status = caller.do(lambda client: client.device.status())
    assert (status.permission, status.permission_sequence) == ("precise", 41)
    assert status.features[0].available is True
    caller.do(lambda client: client.permission.report("precise"))
    caller.check_in()
    assert caller.transport.bodies[1]["sequence"] == 42
    assert caller.transport.bodies[2]["permission_epoch"] == 7


def test_a_report_without_a_known_sequence_asks_for_it_first(either):
    caller = either.client(answer(STATUS, 200), answer(REPORTED, 200))
    assert caller.do(lambda client: client.permission.report("precise")).permission_epoch == 7
    assert caller.transport.paths == ["v1/device", "v1/device/permission"]
    assert caller.transport.bodies[1] == {
        "state": "precise",
        "sequence": 42,
        "observed_at": "2026-03-09T12:00:00+00:00",
    }


def test_the_sequence_goes_on_from_the_highest_sent_or_seen(either):
    late = answer({**STATUS, "permission_sequence": 3}, 200)
    caller = either.client(
        *[answer(REPORTED, 200)] * 2, late, answer(REPORTED, 200), permission_sequence=41
    )
    caller.do(lambda client: client.permission.report("precise"))
    observed = datetime(2026, 3, 9, 11, tzinfo=UTC)
    caller.do(lambda client: client.permission.report("denied", sequence=60, observed_at=observed))
    caller.do(lambda client: client.device.status())
    caller.do(lambda client: client.permission.report("precise"))
    sequences = [body["sequence"] for body in caller.transport.bodies if body]
    assert sequences == [42, 60, 61]
    assert caller.transport.bodies[1]["observed_at"] == "2026-03-09T11:00:00+00:00"


def test_a_report_of_an_earlier_sequence_does_not_set_it_back(either):
    caller = either.client(*[answer(REPORTED, 200)] * 2, permission_sequence=41)
    caller.do(lambda client: client.permission.report("denied", sequence=12))
    caller.do(lambda client: client.permission.report("precise"))
    assert [body["sequence"] for body in caller.transport.bodies] == [12, 42]


def test_a_late_answer_does_not_lower_the_epoch(either):
    caller = either.client(
        answer({**STATUS, "permission_epoch": 3}, 200), answer(ACCEPTED), permission_epoch=9
    )
    caller.do(lambda client: client.device.status())
    caller.check_in()
    assert caller.transport.bodies[1]["permission_epoch"] == 9


def test_a_call_keeps_the_epoch_of_its_beginning(either):
    def meanwhile():
        caller.client.check_ins._runner.core._known._raise(50, 50)
        return problem_503

    problem_503 = answer({}, 503)
    caller = either.client(meanwhile, answer(ACCEPTED), permission_epoch=9)
    caller.check_in()
    assert [body["permission_epoch"] for body in caller.transport.bodies] == [9, 9]


def test_a_batch_of_mixed_results(either):
    results = [
        {**ACCEPTED, "index": 0, "status": 201},
        {"index": 1, "id": None, "status": 422, "code": "id-reused", "request_id": "req-3"},
        {"index": 2, "id": ID, "status": 403, "code": "brand-new-code"},
        {"index": 3, "id": ID, "status": 201, "outcome": "accepted"},
        {**ACCEPTED, "index": 4, "status": 201, "replayed": True},
    ]
    caller = either.client(answer({"results": results}, 200, request_id="req-1"))
    new = [a_new(), a_new(permission_epoch=2), a_new(fix=a_fix(elapsed_s=990.0)), a_new(), a_new()]
    first, second, third, fourth, fifth = caller.do(
        lambda client: client.check_ins.create_batch(new)
    )
    assert (first.index, first.status, first.error) == (0, 201, None)
    assert (first.check_in.outcome, first.check_in.replayed) == ("accepted", None)
    assert isinstance(second.error, IdReused)
    assert (second.id, second.check_in, second.error.request_id) == (None, None, "req-3")
    assert type(third.error) is NotAllowed
    assert (third.error.code, third.error.request_id) == ("brand-new-code", "req-1")
    assert isinstance(fourth.error, UnexpectedAnswer)
    assert fifth.check_in.replayed is True


@pytest.mark.parametrize(("told", "read"), [(7, 7.0), (0.5, 0.5), (-1, 0.0), (10**400, 86_400.0)])
def test_an_item_says_when_it_may_be_sent_again(either, told, read):
    assert error_of_item(either, retry_after_s=told).retry_after_s == read


@pytest.mark.parametrize("told", [None, "7", True, [7], float("nan"), float("inf")])
def test_of_what_is_no_time_to_wait_nothing_is_believed(either, told):
    wait_s = error_of_item(either, retry_after_s=told).retry_after_s
    assert wait_s == (86_400.0 if told == float("inf") else None)


def error_of_item(either, **members):
    limited = {"index": 0, "id": ID, "status": 429, "code": "rate-limited", **members}
    caller = either.client(answer({"results": [limited]}, 200))
    [result] = caller.do(lambda client: client.check_ins.create_batch([a_new()]))
    return result.error


def test_a_batch_is_one_request_with_the_ids_of_its_items(either):
    new = [a_new(), a_new(fix=a_fix(elapsed_s=990.0))]
    results = [{**ACCEPTED, "index": place, "status": 201} for place in range(2)]
    caller = either.client(answer({"results": results}, 200), permission_epoch=4)
    caller.do(lambda client: client.check_ins.create_batch(new))
    (body,) = caller.transport.bodies
    assert body["sent_at"] == "2026-03-09T12:00:00+00:00"
    assert [one["id"] for one in body["check_ins"]] == [one.id for one in new]
    assert [one.get("age_s") for one in body["check_ins"]] == [None, 10.0]
    assert {one["permission_epoch"] for one in body["check_ins"]} == {4}
    assert not any("sent_at" in one for one in body["check_ins"])


@pytest.mark.parametrize(
    "results",
    [[], [{**ACCEPTED, "index": 1, "status": 201}], [{**ACCEPTED, "index": 0}], None, ["x"]],
)
def test_a_batchs_answer_that_does_not_match_is_unexpected(either, results):
    caller = either.client(answer({"results": results}, 200))
    with pytest.raises(UnexpectedAnswer):
        caller.do(lambda client: client.check_ins.create_batch([a_new()]))


def test_an_empty_batch_sends_nothing(either):
    assert either.client().do(lambda client: client.check_ins.create_batch([])) == ()


def test_a_batch_of_501_is_refused(either):
    caller = either.client()
    with pytest.raises(ValueError, match="500"):
        caller.do(lambda client: client.check_ins.create_batch([a_new()] * 501))


def test_a_list_goes_through_its_pages(either):
    caller = either.client(
        answer({"items": [LISTED, LISTED], "next_cursor": "a/b&c="}, 200),
        answer({"items": [], "next_cursor": "d"}, 200),
        answer({"items": [LISTED], "next_cursor": None}, 200),
    )
    listed = caller.listed(page_size=2)
    assert len(listed) == 3
    assert listed[0].time == datetime(2026, 3, 9, 12, tzinfo=UTC)
    assert caller.transport.paths == [
        "v1/check-ins?limit=2",
        "v1/check-ins?limit=2&cursor=a%2Fb%26c%3D",
        "v1/check-ins?limit=2&cursor=d",
    ]


def test_a_list_that_would_never_end_is_unexpected(either):
    caller = either.client(*[answer({"items": [], "next_cursor": "a"}, 200)] * 2)
    with pytest.raises(UnexpectedAnswer):
        caller.listed()


@pytest.mark.parametrize("size", [0, 501])
def test_a_page_is_from_1_to_500(either, size):
    with pytest.raises(ValueError, match="page_size"):
        either.client().listed(page_size=size)


@pytest.mark.parametrize(
    "change",
    [{"token": "dst_a\r\nX: y"}, {"token": 5}, {"permission_epoch": True}, {"purposes": {}}],
)
def test_an_enrollment_that_is_none_is_unexpected(either, change):
    caller = either.client(answer({**ENROLLMENT, **change}), token=None)
    with pytest.raises(UnexpectedAnswer):
        caller.do(lambda client: client.device.enroll("CODE"))
