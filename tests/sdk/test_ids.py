"""Ids are random, but for the day they lead with."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid1, uuid4

import pytest

from doorstep import NewCheckIn, check_in_id
from sdk.scripted import NOON, a_fix


def test_an_id_is_a_uuid_of_version_8_that_leads_with_the_day():
    made = UUID(check_in_id(NOON))
    assert made.version == 8
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 112 == (NOON - datetime(1970, 1, 1, tzinfo=UTC)).days


def test_the_day_is_the_utc_one():
    late = datetime(2026, 3, 9, 1, tzinfo=timezone(timedelta(hours=2)))
    assert check_in_id(late)[:4] == check_in_id(datetime(2026, 3, 8, tzinfo=UTC))[:4]


def test_ids_differ():
    assert len({check_in_id(NOON) for _ in range(1000)}) == 1000


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        check_in_id(datetime(2026, 3, 9))  # noqa: DTZ001


def test_a_new_check_in_has_its_id_before_it_is_sent():
    new = NewCheckIn(purpose="visit", fix=a_fix())
    assert UUID(new.id).version == 8


@pytest.mark.parametrize(
    "given",
    [uuid4(), str(uuid4()), str(uuid4()).upper(), check_in_id()],
    ids=["uuid", "text", "upper-case", "made-here"],
)
def test_a_random_id_of_the_callers_is_taken(given):
    assert NewCheckIn(purpose="visit", fix=a_fix(), id=given).id == str(given).lower()


@pytest.mark.parametrize("given", [uuid1(), "visit-17", "", 17])
def test_an_id_that_tells_time_or_hardware_or_is_none_at_all_is_refused(given):
    with pytest.raises(ValueError, match="UUID"):
        NewCheckIn(purpose="visit", fix=a_fix(), id=given)
