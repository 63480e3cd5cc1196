"""Place-to-place speed: who cannot have come here from where they last were is doubted."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any, NoReturn, cast
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from doorstep_geofences import Bounds, Geofence, Reason, Site, SiteIndex, Verdict
from doorstep_geofences.travel import is_implausible
from doorstep_server.check_ins.journal import Failed
from doorstep_server.check_ins.travel import KNOWN_FOR, LastPresences, Presence
from doorstep_server.deployment import FIRST_PURPOSE
from doorstep_server.policies import Policy
from doorstep_server.privacy.keys import SubjectKeys, TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import Judged, cut_time, minimize
from doorstep_server.store import tenants
from doorstep_server.store.check_ins import Refused, Settled
from doorstep_server.store.database import Database, DatabaseUnavailable
from doorstep_server.store.tenants import Limits
from world import INSIDE, NOON, Api, Tenancy, World, opened

HOME = INSIDE
#: 2,690 km from there: 2 h 41 min at 1,000 km/h
MANAUS = {"lat": -3.12, "lon": -60.02}
#: 85 km from there
CAMPINAS = {"lat": -22.9, "lon": -47.06}

ACCEPTED = ("accepted", "inside")
DOUBTED = ("uncertain", "implausible_travel")


def circle(lat: float, lon: float) -> dict[str, Any]:
    return {"type": "Circle", "center": [lon, lat], "radius_m": 100}


def told(answer: httpx.Response) -> tuple[str, str]:
    assert answer.status_code == 201, answer.text
    return answer.json()["outcome"], answer.json()["reason"]


class Places:
    """A tenant's sites."""

    def __init__(self, tenancy: Tenancy) -> None:
        self.tenancy = tenancy
        self.home = tenancy.site()
        self.manaus = tenancy.site(geofence=circle(**MANAUS))
        tenancy.site(geofence=circle(**CAMPINAS))


class Traveller:
    """Somebody with a phone, at noon, of a tenant that has sites far apart."""

    def __init__(self, places: Places) -> None:
        self.tenancy, self.home, self.manaus = places.tenancy, places.home, places.manaus
        self.world = self.tenancy.world
        self.world.clock.now = NOON
        self.phone = self.tenancy.phone()

    def claim(
        self, place: dict[str, float], minutes: float | None = None, **members: Any
    ) -> dict[str, Any]:
        """A claim of now, or of so long after noon."""
        at = self.world.clock.now if minutes is None else NOON + timedelta(minutes=minutes)
        fix = {"captured_at": at.isoformat()}
        return self.phone.claim(place, permission_epoch=0, fix=fix, **members)

    def at(
        self, place: dict[str, float], minutes: float | None = None, **members: Any
    ) -> tuple[str, str]:
        return told(self.phone.check_in(self.claim(place, minutes, **members)))

    def wait(self, minutes: float) -> None:
        self.world.clock.advance(minutes=minutes)

    def stored(self) -> list[tuple[str, str]]:
        items = self.phone.get("/v1/check-ins").json()["items"]
        return [(item["site_id"], item["outcome"]) for item in items]


@pytest.fixture(scope="module")
def places(shared_world: World) -> Places:
    return Places(shared_world.first)


@pytest.fixture
def traveller(places: Places) -> Traveller:
    return Traveller(places)


@pytest.fixture
def other(shared_world: World) -> Traveller:
    """One of a tenant that the test may change."""
    return Traveller(Places(shared_world.tenant()))


@contextmanager
def in_another_process(traveller: Traveller) -> Iterator[None]:
    """The phone speaks to another server on the same database, which knows nobody yet."""
    here = traveller.phone.client
    with opened(traveller.world.settings, traveller.world.first.new) as world:
        world.clock.now = traveller.world.clock.now
        traveller.phone.client = world.client
        yield
    traveller.phone.client = here


#: as long as this process remembers, and longer: then the database is asked
REMEMBERED, FORGOTTEN = 10, 20
assert timedelta(minutes=REMEMBERED) < KNOWN_FOR < timedelta(minutes=FORGOTTEN)


@pytest.mark.parametrize("minutes", [REMEMBERED, FORGOTTEN])
def test_who_cannot_have_come_so_far_is_doubted(traveller: Traveller, minutes: float) -> None:
    assert traveller.at(HOME) == ACCEPTED
    traveller.wait(minutes)
    assert traveller.at(MANAUS) == DOUBTED


def test_who_had_the_time_to_come_is_not(traveller: Traveller) -> None:
    assert traveller.at(HOME) == ACCEPTED
    traveller.wait(5 * 60)
    assert traveller.at(MANAUS) == ACCEPTED


def test_nobody_is_doubted_within_a_city_and_its_surroundings(traveller: Traveller) -> None:
    assert traveller.at(HOME) == ACCEPTED
    assert traveller.at(CAMPINAS) == ACCEPTED


def test_a_doubted_check_in_keeps_the_claimed_site_and_never_an_inferred_one(
    traveller: Traveller,
) -> None:
    traveller.at(HOME)
    traveller.wait(REMEMBERED)
    found = traveller.phone.check_in(traveller.claim(MANAUS)).json()
    assert (found["reason"], found["site_id"]) == ("implausible_travel", None)
    assert found["stored"]["level"] == "none"
    assert traveller.stored() == [(traveller.home["id"], "accepted")]
    claimed = traveller.phone.check_in(traveller.claim(MANAUS, site_id=traveller.manaus["id"]))
    assert told(claimed) == DOUBTED
    assert claimed.json()["stored"]["site_id"] == traveller.manaus["id"]
    assert (traveller.manaus["id"], "uncertain") in traveller.stored()


@pytest.mark.parametrize("minutes", [REMEMBERED, FORGOTTEN])
def test_a_doubted_check_in_is_not_where_the_next_one_comes_from(
    traveller: Traveller, minutes: float
) -> None:
    traveller.at(HOME)
    traveller.wait(minutes)
    assert traveller.at(MANAUS, site_id=traveller.manaus["id"]) == DOUBTED
    assert traveller.at(HOME) == ACCEPTED


def test_only_the_accepted_can_be_doubted(traveller: Traveller) -> None:
    traveller.at(HOME)
    elsewhere = {"lat": MANAUS["lat"] + 0.1, "lon": MANAUS["lon"]}
    assert traveller.at(elsewhere) == ("rejected", "no_site_near")


def test_a_replay_is_answered_as_before_whatever_travel_says(traveller: Traveller) -> None:
    at_home, too_early = traveller.claim(HOME), traveller.claim(MANAUS, REMEMBERED)
    assert told(traveller.phone.check_in(at_home)) == ACCEPTED
    traveller.wait(REMEMBERED)
    assert told(traveller.phone.check_in(too_early)) == DOUBTED
    traveller.wait(5 * 60)
    assert traveller.at(MANAUS) == ACCEPTED
    for claim, before in ((at_home, ACCEPTED), (too_early, DOUBTED)):
        again = traveller.phone.check_in(claim)
        assert again.headers["Doorstep-Replayed"] == "true"
        assert told(again) == before
    # and has not been where the next one comes from
    assert traveller.at(MANAUS) == ACCEPTED


# -- late and many -----------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_late_check_in_is_held_against_what_came_after_it(
    traveller: Traveller, elsewhere: bool
) -> None:
    traveller.wait(5 * 60)
    assert traveller.at(MANAUS) == ACCEPTED
    process = in_another_process(traveller) if elsewhere else nullcontext()
    with process:
        assert traveller.at(HOME, 4 * 60) == DOUBTED
        assert traveller.at(HOME, 0) == ACCEPTED
    # a late one does not hide the later one
    assert traveller.at(MANAUS) == ACCEPTED


def test_in_a_batch_each_accepted_one_is_where_the_next_comes_from(traveller: Traveller) -> None:
    way = [(HOME, 0), (MANAUS, 20), (HOME, 40), (MANAUS, 300), (HOME, 320), (MANAUS, 340)]
    traveller.wait(6 * 60)
    claims = [traveller.claim(place, minutes) for place, minutes in way]
    answer = traveller.phone.post("/v1/check-ins/batch", json={"check_ins": claims})
    outcomes = [(item["outcome"], item["reason"]) for item in answer.json()["results"]]
    assert outcomes == [ACCEPTED, DOUBTED, ACCEPTED, ACCEPTED, DOUBTED, ACCEPTED]


def test_a_long_batch_is_held_against_travel_too(traveller: Traveller) -> None:
    claims = [traveller.claim(place, 0) for place in (HOME, MANAUS) * 20]
    answer = traveller.phone.post("/v1/check-ins/batch", json={"check_ins": claims})
    reasons = [item["reason"] for item in answer.json()["results"]]
    assert reasons == ["inside", "implausible_travel"] * 20


# -- whose and how fast ------------------------------------------------------------------------


def test_all_phones_of_a_person_are_one_traveller(traveller: Traveller) -> None:
    traveller.at(HOME)
    traveller.phone = traveller.tenancy.phone(subject_id=traveller.phone.subject_id)
    assert traveller.at(MANAUS) == DOUBTED


def test_nobody_is_held_against_somebody_else(traveller: Traveller) -> None:
    traveller.at(HOME)
    traveller.phone = traveller.tenancy.phone()
    assert traveller.at(MANAUS) == ACCEPTED


def limit(tenancy: Tenancy, kmh: int | None) -> None:
    tenant_id, limits = tenancy.new.tenant.tenant_id, Limits(max_speed_kmh=kmh)
    tenancy.world.write(tenant_id, lambda c: tenants.set_limits(c, tenant_id, limits))
    tenancy.world.services.policies.forget(tenant_id)


def test_a_tenant_says_how_fast_people_travel(other: Traveller) -> None:
    other.at(HOME)
    other.wait(5 * 60)
    limit(other.tenancy, 500)
    assert other.at(MANAUS) == DOUBTED
    limit(other.tenancy, 540)
    assert other.at(MANAUS) == ACCEPTED


def test_without_a_limit_nobody_is_doubted(other: Traveller) -> None:
    limit(other.tenancy, None)
    assert other.at(HOME) == ACCEPTED
    assert other.at(MANAUS) == ACCEPTED


# -- what is known of before -------------------------------------------------------------------


def test_what_another_process_stored_counts(traveller: Traveller) -> None:
    traveller.at(HOME)
    with in_another_process(traveller):
        assert traveller.at(MANAUS) == DOUBTED


def test_what_is_remembered_is_not_believed_for_long(traveller: Traveller) -> None:
    """This process knows of noon at home, the other one of five o'clock in Manaus."""
    traveller.at(HOME)
    traveller.wait(5 * 60)
    with in_another_process(traveller):
        assert traveller.at(MANAUS) == ACCEPTED
    traveller.wait(FORGOTTEN)
    assert traveller.at(HOME) == DOUBTED


def revise(admin: Api, site: dict[str, Any], **members: Any) -> None:
    body = {name: site[name] for name in ("name", "geofence", "timezone", "version")} | members
    assert admin.put(f"/v1/sites/{site['id']}", json=body).status_code == 200


def test_a_site_that_moved_doubts_nobody(other: Traveller) -> None:
    """A stand at a fair: it was next door when the person was there."""
    admin = other.tenancy.admin
    other.at(HOME)
    other.wait(FORGOTTEN)
    revise(admin, other.manaus, geofence=other.home["geofence"])
    revise(admin, other.home, geofence=circle(**MANAUS))
    assert other.at(HOME, site_id=other.manaus["id"]) == ACCEPTED


def test_a_site_that_is_gone_doubts_nobody(other: Traveller) -> None:
    other.at(HOME)
    other.wait(FORGOTTEN)
    other.tenancy.admin.delete(f"/v1/sites/{other.home['id']}")
    assert other.at(MANAUS) == ACCEPTED


def test_times_that_a_purpose_cut_in_another_way_are_taken_as_coarse_as_can_be(
    other: Traveller,
) -> None:
    visit = other.tenancy.admin.get("/v1/purposes/visit").json()
    other.at(HOME)
    other.wait(FORGOTTEN)
    changed = {k: v for k, v in visit.items() if k != "name"} | {"time_precision_s": 60}
    assert other.tenancy.admin.put("/v1/purposes/visit", json=changed).status_code == 200
    assert other.at(MANAUS) == ACCEPTED


def test_where_nothing_is_stored_nothing_is_remembered(other: Traveller) -> None:
    other.tenancy.purpose("count", level="none")
    assert other.at(HOME, purpose="count") == ACCEPTED
    assert other.at(MANAUS) == ACCEPTED


def test_what_has_expired_is_not_asked(other: Traveller) -> None:
    limit(other.tenancy, 1)
    other.tenancy.purpose("brief", retention_days=1, level="site")
    assert other.at(HOME, purpose="brief") == ACCEPTED
    other.wait(24 * 60)
    assert other.at(MANAUS) == ACCEPTED


class Away:
    """A database that can only be written."""

    async def read(self, *_: object) -> NoReturn:
        raise DatabaseUnavailable("gone")


def test_where_nothing_can_be_asked_each_check_in_is_told_to_come_again(
    traveller: Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traveller.world.services.way.last, "_database", Away())
    answer = traveller.phone.check_in(traveller.claim(HOME))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    batch = {"check_ins": [traveller.claim(HOME), {}]}
    answer = traveller.phone.post("/v1/check-ins/batch", json=batch)
    assert [item["status"] for item in answer.json()["results"]] == [503, 400]


# -- the rule ----------------------------------------------------------------------------------


@given(
    earlier_s=st.floats(0, 1e6),
    later_s=st.floats(0, 1e6),
    precision_s=st.sampled_from([60, 900, 3_600, 86_400]),
    speed_m_s=st.floats(0.3, 1_000),
)
def test_who_kept_to_the_limit_is_never_doubted(
    earlier_s: float, later_s: float, precision_s: int, speed_m_s: float
) -> None:
    """Whichever of both is stored: its time is known as well as it is cut."""
    was_at, is_at = (NOON + timedelta(seconds=s) for s in (earlier_s, later_s))
    seconds = abs((is_at - was_at).total_seconds())
    presence = cut(was_at, precision_s)
    assert not is_implausible(speed_m_s * seconds, presence.longest_s(is_at), speed_m_s)
    assert presence.longest_s(is_at) <= seconds + precision_s


def cut(at: datetime, precision_s: int) -> Presence:
    slot_begins = cut_time(at, precision_s)
    somewhere = Bounds(west=-46.656, south=-23.562, east=-46.654, north=-23.56)
    return Presence(somewhere, slot_begins, slot_begins + timedelta(seconds=precision_s))


def test_what_is_remembered_does_not_print() -> None:
    text = f"{cut(NOON, 900)} {cut(NOON, 900)!r}"
    assert "46" not in text
    assert "2026" not in text


# -- what this process remembers ---------------------------------------------------------------

TENANT, SITE = UUID(int=1), UUID(int=2)
KEYS = TenantKeys(labels=b"l" * 32, seals=b"s" * 64, rows={"2026-05": b"r" * 32})


def accepted(person: int, at: datetime = NOON, *, late: timedelta = timedelta()) -> Judged:
    site = Site(site_id=SITE, version=1, geofence=Geofence.parse(circle(**MANAUS)))
    return Judged(
        id=uuid4(),
        subject_id=UUID(int=person),
        subject_keys=SubjectKeys.of(bytes([person])),
        purpose=FIRST_PURPOSE,
        max_level=Level.CELL,
        claimed_site_id=None,
        action=None,
        verdict=Verdict(Reason.INSIDE, site),
        cell=None,
        exact=None,
        captured_at=at - late,
        received_at=at,
        receipt_key=os.urandom(16),
        digest=b"",
    )


def settled(judged: Judged, *, replayed: bool = False) -> Settled:
    stored = minimize(KEYS, judged)
    return Settled(receipt=stored.receipt, record=stored.record, replayed=replayed)


class Asked(Exception):
    """The database was asked."""


class NoDatabase:
    async def read(self, *_: object) -> NoReturn:
        raise Asked


def nobody(limit: int = 10) -> LastPresences:
    return LastPresences(cast("Database", NoDatabase()), limit=limit)


def knows(last: LastPresences, person: int, at: datetime = NOON) -> bool:
    """Whether it knows without asking the database."""
    policy = Policy(
        tenant_id=TENANT,
        version=1,
        keys=KEYS,
        keys_from=NOON.date(),
        keys_until=NOON.date() + timedelta(days=1),
        purposes={},
        limits=Limits(),
        index=SiteIndex([]),
    )
    try:
        return bool(asyncio.run(last.around(policy, accepted(person, at))))
    except Asked:
        return False


def test_not_more_people_than_the_limit_are_remembered() -> None:
    last = nobody(limit=2)
    for person in (1, 2, 1, 3):
        one = accepted(person)
        last.note(TENANT, [one], [settled(one)])
    assert [knows(last, person) for person in (1, 2, 3)] == [True, False, True]


def test_nobody_is_remembered_for_long() -> None:
    last, one = nobody(), accepted(1)
    last.note(TENANT, [one], [settled(one)])
    assert knows(last, 1, NOON + KNOWN_FOR - timedelta(seconds=1))
    # somebody else asks, and all that is too old goes
    assert not knows(last, 2, NOON + KNOWN_FOR)
    assert not knows(last, 1)


def test_only_what_was_newly_stored_as_accepted_is_remembered() -> None:
    last, one = nobody(), accepted(1)
    doubted = replace(one, verdict=Verdict(Reason.IMPLAUSIBLE_TRAVEL, one.verdict.site))
    claimed = replace(doubted, claimed_site_id=SITE)
    for judged, result in (
        (one, settled(one, replayed=True)),
        (one, Refused(code="permission-withdrawn")),
        (one, Failed()),
        (doubted, settled(doubted)),
        (claimed, settled(claimed)),
        ("site-unknown", Refused(code="site-unknown")),
    ):
        last.note(TENANT, [judged], [result])
    assert not knows(last, 1)
    last.note(TENANT, [one], [settled(one)])
    assert knows(last, 1)


def test_a_late_check_in_is_not_where_somebody_was_last() -> None:
    last, one = nobody(), accepted(1, late=KNOWN_FOR)
    last.note(TENANT, [one], [settled(one)])
    assert not knows(last, 1)
