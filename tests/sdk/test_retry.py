"""When a call is sent again, and what stays the same."""

import math
from datetime import timedelta
from email.utils import format_datetime

import pytest

from doorstep import (
    ApiError,
    ConnectFailed,
    ConnectionLost,
    NoTrustStore,
    RateLimited,
    Retry,
    ServerError,
    TimedOut,
    Timeout,
    TransportError,
)
from doorstep._retry import backoff_s, retry_after_s
from sdk.scripted import (
    ACCEPTED,
    ENROLLMENT,
    NOON,
    REPORTED,
    a_fix,
    answer,
    page,
    problem,
)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectFailed(),
        ConnectionLost(),
        TimedOut(),
        page(408),
        problem(429, "rate-limited"),
        problem(500, "internal"),
        page(502),
        problem(503, "unavailable"),
        page(504),
    ],
)
def test_what_may_pass_is_sent_again(either, failure):
    caller = either.client(failure, failure, answer(ACCEPTED))
    assert caller.check_in().outcome == "accepted"
    assert len(caller.transport.requests) == 3


@pytest.mark.parametrize(
    "failure", [problem(403, "not-assigned"), problem(422, "invalid"), page(200), NoTrustStore()]
)
def test_what_will_not_pass_is_sent_once(either, failure):
    caller = either.client(failure)
    with pytest.raises((ApiError, TransportError)):
        caller.check_in()


def test_a_retry_is_the_same_check_in_with_a_fresh_age(either):
    caller = either.client(ConnectionLost(), page(502), answer(ACCEPTED))
    caller.check_in(id=None, fix=a_fix(elapsed_s=990.0), site_id="site-1", action="in")
    first, second, third = caller.transport.bodies
    assert [body.pop("age_s") for body in (first, second, third)] == [10.0, 10.125, 10.375]
    sent = [body.pop("sent_at") for body in (first, second, third)]
    assert sent[0] == "2026-03-09T12:00:00+00:00"
    assert len(set(sent)) == 3
    assert first == second == third
    assert first["id"]


def test_waits_double_and_are_jittered(either):
    either.time.chance = 1.0
    caller = either.client(
        page(502), page(502), page(502), answer(ACCEPTED), retry=Retry(attempts=4)
    )
    caller.check_in()
    assert either.time.slept == [0.25, 0.5, 1.0]


def test_jitter_is_full_and_bounded():
    retry = Retry(base_s=1.0, cap_s=8.0)
    assert [backoff_s(retry, n, 0.0, None) for n in (1, 9, 999)] == [0, 0, 0]
    assert [backoff_s(retry, n, 1.0, None) for n in (1, 2, 9, 999_999)] == [1, 2, 8, 8]


def test_the_last_failure_is_raised(either):
    caller = either.client(ConnectFailed(), page(500), problem(503, "unavailable"))
    with pytest.raises(ServerError) as raised:
        caller.check_in()
    assert (raised.value.status, raised.value.code) == (503, "unavailable")


def test_retry_after_is_honoured_with_the_jitter_on_top(either):
    caller = either.client(problem(503, "unavailable", retry_after="2"), answer(ACCEPTED))
    caller.check_in()
    assert either.time.slept == [2.125]


def test_a_wait_longer_than_the_deadline_is_not_begun(either):
    caller = either.client(problem(429, "rate-limited", retry_after="60"))
    with pytest.raises(RateLimited) as raised:
        caller.check_in()
    assert raised.value.retry_after_s == 60
    assert either.time.slept == []


def test_the_deadline_is_one_for_all_attempts(either):
    def slow():
        either.time.now_s += 6
        return page(502)

    either.time.chance = 0.0
    caller = either.client(slow, slow, answer(ACCEPTED), timeout=Timeout(connect=5, total=15))
    caller.check_in()
    assert [(t.connect, t.total) for t in caller.transport.timeouts] == [(5, 15), (5, 9), (3, 3)]


def test_after_the_deadline_nothing_is_sent(either):
    def slow():
        either.time.now_s += 16
        return page(502)

    caller = either.client(slow)
    with pytest.raises(ServerError):
        caller.check_in()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        (format_datetime(NOON + timedelta(seconds=30), usegmt=True), 30),
        (format_datetime(NOON - timedelta(days=1), usegmt=True), 0),
        ("99999999999", 86_400),
        ("inf", 86_400),
        ("1e400", 86_400),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Mon, 99 Foo 2026 25:00:00 GMT", None),
        ("9" * 5000, None),
        (None, None),
    ],
)
def test_every_form_of_retry_after(written, seconds):
    assert retry_after_s(written, NOON) == seconds


def test_a_date_is_counted_from_the_servers_clock(either):
    an_hour_later = NOON + timedelta(hours=1)
    date = format_datetime(an_hour_later, usegmt=True)
    until = format_datetime(an_hour_later + timedelta(seconds=4), usegmt=True)
    caller = either.client(
        problem(503, "unavailable", retry_after=until, date=date), answer(ACCEPTED)
    )
    caller.check_in()
    assert math.isclose(either.time.slept[0], 4.125)


def test_attempts_1_sends_once(either):
    caller = either.client(page(502), retry=Retry(attempts=1))
    with pytest.raises(ServerError):
        caller.check_in()


def test_the_budget_bounds_retries_to_a_share_and_a_reserve(either):
    caller = either.client(
        *[page(500)] * 5000,
        retry=Retry(attempts=10, budget_ratio=0.2, budget_reserve=5, base_s=0),
    )
    for _ in range(100):
        with pytest.raises(ServerError):
            caller.check_in()
    retries = len(caller.transport.requests) - 100
    assert 20 <= retries <= 0.2 * 100 + 5


def test_success_fills_the_budget_no_further_than_its_reserve(either):
    caller = either.client(
        *[answer(ACCEPTED)] * 200,
        *[page(500)] * 100,
        retry=Retry(attempts=50, budget_reserve=3, base_s=0),
    )
    for _ in range(200):
        caller.check_in()
    with pytest.raises(ServerError):
        caller.check_in()
    assert len(caller.transport.requests) == 200 + 1 + 3


def test_an_enrollment_repeats_code_and_installation(either):
    caller = either.client(ConnectionLost(), answer(ENROLLMENT), answer(ENROLLMENT), token=None)
    caller.do(lambda client: client.device.enroll("CODE"))
    caller.do(lambda client: client.device.enroll("CODE"))
    first, second, third = caller.transport.bodies
    assert first == second == third


def test_a_permission_report_repeats_its_sequence(either):
    caller = either.client(page(502), answer(REPORTED, 200), permission_sequence=4)
    caller.do(lambda client: client.permission.report("precise"))
    assert [body["sequence"] for body in caller.transport.bodies] == [5, 5]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(attempts=0),
        lambda: Retry(base_s=-1),
        lambda: Timeout(connect=0),
        lambda: Timeout(total=-1),
    ],
)
def test_settings_without_sense_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()
