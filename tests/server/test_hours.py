"""Opening hours of sites: kept as they were meant, and asked for the time of the capture."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from world import INSIDE, NOON, Phone, Tenancy, World

#: São Paulo, three hours behind UTC; 13 March 2026 is a Friday
FRIDAY_NIGHT = datetime(2026, 3, 14, 2, 30, tzinfo=UTC)
SATURDAY_SIX = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
BAR = {"weekly": {"fri": [["22:00", "06:00"]]}}

ACCEPTED = ("accepted", "inside")
CLOSED = ("rejected", "outside_hours")


@pytest.fixture
def tenant(shared_world: World) -> Tenancy:
    """Each with sites of its own."""
    shared_world.clock.now = NOON
    return shared_world.tenant()


def told(answer: httpx.Response) -> tuple[str, str]:
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()["outcome"], answer.json()["reason"]


def check_in(phone: Phone, at: datetime, **members: Any) -> tuple[str, str]:
    """Take a fix then, and send it now."""
    claim = phone.claim(fix={"captured_at": at.isoformat()}, permission_epoch=0, **members)
    return told(phone.check_in(claim))


def test_a_bar_takes_check_ins_through_the_night(tenant: Tenancy) -> None:
    bar, phone = tenant.site(hours=BAR), tenant.phone()
    for at, expected in (
        (FRIDAY_NIGHT, ACCEPTED),
        (SATURDAY_SIX - timedelta(minutes=1), ACCEPTED),
        (SATURDAY_SIX, CLOSED),
    ):
        tenant.world.clock.now = at
        assert check_in(phone, at, site_id=bar["id"]) == expected
        assert check_in(phone, at) == expected


def test_a_check_in_from_within_the_hours_may_arrive_when_the_site_has_closed(
    tenant: Tenancy,
) -> None:
    bar, phone = tenant.site(hours=BAR), tenant.phone()
    tenant.world.clock.now = SATURDAY_SIX + timedelta(hours=5)
    assert check_in(phone, FRIDAY_NIGHT, site_id=bar["id"]) == ACCEPTED
    assert check_in(phone, SATURDAY_SIX, site_id=bar["id"]) == CLOSED


def test_the_device_s_own_measure_of_age_says_when_that_was(tenant: Tenancy) -> None:
    bar, phone = tenant.site(hours=BAR), tenant.phone()
    tenant.world.clock.now = SATURDAY_SIX + timedelta(hours=5)
    hours_ago = 6 * 3600
    assert check_in(phone, SATURDAY_SIX, site_id=bar["id"], age_s=hours_ago) == ACCEPTED


def test_outside_hours_nobody_is_named(tenant: Tenancy) -> None:
    bar, phone = tenant.site(hours=BAR), tenant.phone()
    answer = phone.check_in(phone.claim(site_id=bar["id"])).json()
    assert (answer["reason"], answer["stored"]["level"]) == ("outside_hours", "none")
    assert phone.get("/v1/check-ins").json()["items"] == []


def test_a_search_finds_who_is_open(tenant: Tenancy) -> None:
    """A bar in the hall of an office tower."""
    tenant.site(hours=BAR)
    tower, phone = tenant.site(tolerance_m=50), tenant.phone()
    found = phone.check_in(phone.claim()).json()
    assert (found["outcome"], found["site_id"]) == ("accepted", tower["id"])


def test_hours_go_by_the_sites_own_zone(tenant: Tenancy) -> None:
    morning = {"weekly": {"tue": [["09:00", "12:00"]]}}
    here = tenant.site(hours=morning)
    there = tenant.site(hours=morning, timezone="Asia/Tokyo")
    phone = tenant.phone()
    assert NOON.hour - 3 == 9
    assert check_in(phone, NOON, site_id=here["id"]) == ACCEPTED
    assert check_in(phone, NOON, site_id=there["id"]) == CLOSED


def test_changed_hours_count_from_then_on(tenant: Tenancy) -> None:
    site, phone = tenant.site(hours=BAR), tenant.phone()
    members = ("name", "geofence", "timezone", "version")
    always = {name: site[name] for name in members} | {"hours": None}
    changed = tenant.admin.put(f"/v1/sites/{site['id']}", json=always).json()
    assert (changed["hours"], changed["version"]) == (None, 2)
    assert check_in(phone, NOON, site_id=site["id"]) == ACCEPTED
    versions = tenant.admin.get(f"/v1/sites/{site['id']}/versions").json()["items"]
    assert [version["hours"] for version in versions] == [None, BAR]


def test_a_trial_asks_for_the_hours_too(tenant: Tenancy) -> None:
    tenant.site(hours=BAR)
    fix = INSIDE | {"accuracy_m": 5, "captured_at": NOON.isoformat()}
    assert told(tenant.admin.post("/v1/sites/judge", json={"fix": fix})) == CLOSED


def test_hours_come_back_as_they_were_meant(tenant: Tenancy) -> None:
    loose = {
        "exceptions": [{"open": [], "date": "2026-12-25"}],
        "weekly": {"fri": [["22:00", "00:00"]], "tue": [], "mon": [["09:00", "18:00"]]},
    }
    site = tenant.site(hours=loose)
    assert site["hours"] == {
        "weekly": {"mon": [["09:00", "18:00"]], "fri": [["22:00", "24:00"]]},
        "exceptions": [{"date": "2026-12-25", "open": []}],
    }
    assert tenant.admin.get(f"/v1/sites/{site['id']}").json()["hours"] == site["hours"]


@pytest.mark.parametrize(
    ("hours", "reason", "at"),
    [
        ({"mon": "9-17"}, "malformed", "hours"),
        ({"weekly": {"mon": [["09:00", "25:00"]]}}, "wrong_time", "hours.weekly.mon[0][1]"),
        ({"weekly": {}}, "never_open", "hours"),
    ],
)
def test_hours_that_cannot_be_judged_by_are_refused_with_the_reason(
    tenant: Tenancy, hours: dict[str, Any], reason: str, at: str
) -> None:
    site = tenant.site()
    new = {"name": "Bar", "geofence": site["geofence"], "timezone": "Asia/Tokyo", "hours": hours}
    answer = tenant.admin.post("/v1/sites", json=new)
    assert (answer.status_code, answer.json()["code"]) == (422, "hours-invalid")
    assert (answer.json()["reason"], answer.json()["at"]) == (reason, at)
    answer = tenant.admin.put(f"/v1/sites/{site['id']}", json=new | {"version": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "hours-invalid")
