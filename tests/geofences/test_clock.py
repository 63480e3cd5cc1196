from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import CaptureTimes, Clocks, Freshness

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def times(captured, **others):
    return CaptureTimes(**{"captured_at": NOW + captured, "received_at": NOW} | others)


@pytest.mark.parametrize(
    ("captured", "expected"),
    [
        (timedelta(0), Freshness.FRESH),
        (-2 * MINUTE, Freshness.FRESH),
        (-2 * MINUTE - timedelta(seconds=1), Freshness.STALE),
        (timedelta(hours=-72), Freshness.STALE),
        (2 * MINUTE, Freshness.FRESH),
        (2 * MINUTE + timedelta(seconds=1), Freshness.SKEWED),
        (10 * MINUTE, Freshness.SKEWED),
        (datetime(1970, 1, 1, tzinfo=UTC) - NOW, Freshness.STALE),
    ],
)
def test_a_fix_is_fresh_for_two_minutes_either_way(captured, expected):
    assert Clocks.of(times(captured)).freshness is expected


def test_the_device_s_own_clock_may_show_that_a_fix_is_old():
    """Its wall clock is an hour ahead: the fix looks new to us, not to the device."""
    late = times(timedelta(0), sent_at=NOW + 60 * MINUTE)
    assert Clocks.of(late).age_s == 3600
    assert Clocks.of(late).freshness is Freshness.STALE


def test_a_fix_captured_after_it_was_sent_is_skewed():
    assert Clocks.of(times(timedelta(0), sent_at=NOW - 3 * MINUTE)).is_skewed
    assert not Clocks.of(times(timedelta(0), sent_at=NOW - MINUTE)).is_skewed


def test_a_fix_is_never_of_negative_age():
    assert Clocks.of(times(MINUTE)).age_s == 0.0


@pytest.mark.parametrize("captured", [10 * MINUTE, timedelta(hours=-72), timedelta(0)])
def test_a_monotonic_age_overrules_wall_clocks(captured):
    known = times(captured, age_s=5.0, sent_at=NOW - 60 * MINUTE)
    assert Clocks.of(known).freshness is Freshness.FRESH
    assert Clocks.of(known).captured_at == NOW - timedelta(seconds=5)


def test_without_a_monotonic_age_the_wall_clock_says_when():
    assert Clocks.of(times(-MINUTE)).captured_at == NOW - MINUTE


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_an_older_fix_is_never_fresher(seconds, more):
    younger, older = (times(-timedelta(seconds=s)) for s in (seconds, seconds + more))
    assert (Clocks.of(younger).freshness, Clocks.of(older).freshness) != (
        Freshness.STALE,
        Freshness.FRESH,
    )


@pytest.mark.parametrize("name", ["captured_at", "received_at", "sent_at"])
def test_a_naive_datetime_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must name its time zone"):
        times(timedelta(0), **{name: NOW.replace(tzinfo=None)})


@pytest.mark.parametrize("age", [-1.0, float("nan"), float("inf"), 1e12])
def test_an_impossible_age_is_refused(age):
    with pytest.raises(ValueError, match="age_s must be"):
        times(timedelta(0), age_s=age)


def test_zones_do_not_matter():
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-3)))
    assert Clocks.of(CaptureTimes(captured_at=elsewhere, received_at=NOW)).age_s == 0.0


def test_the_hour_that_summer_time_repeats_is_an_hour():
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2025, 10, 26, 2, 30, tzinfo=berlin, fold=0)
    again = datetime(2025, 10, 26, 2, 30, tzinfo=berlin, fold=1)
    assert Clocks.of(CaptureTimes(captured_at=first, received_at=again)).age_s == 3600


def test_the_first_day_of_the_calendar_is_merely_old():
    ancient = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    assert (
        Clocks.of(CaptureTimes(captured_at=ancient, received_at=NOW)).freshness is Freshness.STALE
    )
