"""Answers are no way to measure where a secret site is: the probe budget, and uniform answers."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest

from doorstep_geofences import Outcome, Reason
from doorstep_server.app import make_services
from doorstep_server.check_ins.journal import JournalFull
from doorstep_server.check_ins.probes import (
    AT_ONCE_AT_A_SITE,
    AT_ONCE_SEARCHING,
    EACH_S_AT_A_SITE,
    Claimant,
    ProbeBudget,
    tells_of_a_place,
)
from doorstep_server.settings import InvalidSetting, read
from doorstep_server.store.database import DatabaseUnavailable
from privacy.probing import RADIUS_M, Secret, Seeker, hidden
from world import FAR_OUTSIDE, INSIDE, NOON, Phone, Tenancy, World

#: some 15 m beyond the eastern edge of the square
EDGE = {"lat": -23.561, "lon": -46.65385}
A_DAY_S = 86_400


@dataclass
class Seconds:
    now: float = 5_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def opened(worlds: Callable[[str], AbstractContextManager[World]]) -> Iterator[World]:
    """On one kind of database: the budget is in memory, and what it rests on is tried on both."""
    with worlds("sqlite") as world:
        yield world


@pytest.fixture
def world(opened: World) -> World:
    """The same for all tests, at noon."""
    opened.clock.now = NOON
    return opened


@pytest.fixture
def seconds(world: World) -> Seconds:
    """The clock that the budget goes by; it moves when a test says so."""
    clock = Seconds()
    probes = world.services.way.probes
    probes.claims.monotonic = probes.searches.monotonic = clock
    return clock


@pytest.fixture
def tenant(world: World, seconds: Seconds) -> Tenancy:
    """A tenant of the test's own."""
    return world.tenant()


def said(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body.get("code") or body["outcome"])


def outside(phone: Phone, site: dict[str, Any] | None = None) -> httpx.Response:
    """Another answer that tells of a place."""
    claimed = {"site_id": site["id"]} if site else {}
    return phone.check_in(phone.claim(FAR_OUTSIDE, **claimed))


def many(phone: Phone, claims: list[dict[str, Any]]) -> list[str]:
    """What is said to each, in one batch: that is one transaction."""
    results = phone.post("/v1/check-ins/batch", {"check_ins": claims}).json()["results"]
    return [str(result.get("code") or result["outcome"]) for result in results]


def spend(phone: Phone, site: dict[str, Any] | None = None) -> None:
    """All that there is, of a site or of searches."""
    count = AT_ONCE_AT_A_SITE if site else AT_ONCE_SEARCHING
    claimed = {"site_id": site["id"]} if site else {}
    outcomes = many(phone, [phone.claim(FAR_OUTSIDE, **claimed) for _ in range(count + 1)])
    assert outcomes == ["rejected"] * count + ["rate-limited"]


# -- over the budget ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", [INSIDE, EDGE, FAR_OUTSIDE])
def test_over_the_budget_every_place_is_refused_alike(
    tenant: Tenancy, place: dict[str, float]
) -> None:
    site, phone = tenant.site(), tenant.phone()
    spend(phone, site)
    answer = phone.check_in(phone.claim(place, site_id=site["id"]))
    assert (answer.status_code, said(answer)) == (429, "rate-limited")
    assert answer.headers["Retry-After"] == str(int(EACH_S_AT_A_SITE))


def test_what_is_over_the_budget_is_not_judged(
    tenant: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that not even the time that it takes tells anything."""
    site, phone = tenant.site(), tenant.phone()
    spend(phone, site)
    monkeypatch.setattr("doorstep_server.check_ins.flow.judge", None)
    batch = {"check_ins": [phone.claim(site_id=site["id"]) for _ in range(3)]}
    results = phone.post("/v1/check-ins/batch", batch).json()["results"]
    assert [result["code"] for result in results] == ["rate-limited"] * 3


def test_a_refused_claim_leaves_no_receipt_and_no_count_of_a_place(
    world: World, tenant: Tenancy, seconds: Seconds
) -> None:
    def counted() -> Counter[str]:
        receipts = len(world.rows("SELECT * FROM receipts"))
        counts = world.rows("SELECT reason, sum(count) FROM tallies GROUP BY reason")
        return Counter(dict(counts)) + Counter(receipts=receipts)

    site, phone, before = tenant.site(), tenant.phone(), counted()
    spend(phone, site)
    claim = phone.claim(site_id=site["id"])
    for _ in range(2):
        assert said(phone.check_in(claim)) == "rate-limited"
    answered = AT_ONCE_AT_A_SITE
    assert counted() - before == {"outside": answered, "receipts": answered, "rate-limited": 3}
    seconds.now += EACH_S_AT_A_SITE
    assert said(phone.check_in(claim)) == "accepted"


def test_a_replay_is_answered_whatever_is_left(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    claim = phone.claim(FAR_OUTSIDE, site_id=site["id"])
    first = phone.check_in(claim)
    for _ in range(AT_ONCE_AT_A_SITE - 1):
        outside(phone, site)
    assert said(outside(phone, site)) == "rate-limited"
    again = phone.check_in(claim)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Doorstep-Replayed"] == "true"


def test_a_withdrawal_comes_before_the_budget(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    spend(phone, site)
    phone.report("denied")
    assert said(outside(phone, site)) == "permission-withdrawn"


def test_it_refills_with_time_and_not_with_the_wall_clock(
    world: World, tenant: Tenancy, seconds: Seconds
) -> None:
    site, phone = tenant.site(), tenant.phone()
    spend(phone, site)
    for step in (timedelta(days=3), -timedelta(days=6)):
        world.clock.now = NOON + step
        assert said(outside(phone, site)) == "rate-limited"
    seconds.now += EACH_S_AT_A_SITE
    assert said(outside(phone, site)) == "rejected"
    assert said(outside(phone, site)) == "rate-limited"


def test_a_servers_clock_is_one_that_is_never_set(opened: World) -> None:
    services = make_services(opened.settings)
    services.database.close_now()
    probes = services.way.probes
    assert probes.claims.monotonic is probes.searches.monotonic is time.monotonic


def test_an_operator_whose_fences_are_no_secret_switches_it_off() -> None:
    assert read({}).probe_budget
    assert not read({"DOORSTEP_PROBE_BUDGET": "off"}).probe_budget
    with pytest.raises(InvalidSetting, match="DOORSTEP_PROBE_BUDGET"):
        read({"DOORSTEP_PROBE_BUDGET": "false"})
    budget = ProbeBudget.usual(Seconds(), is_on=False)
    claimants = [Claimant.of(uuid4(), uuid4(), None)] * 1_000
    while budget.searches.take(claimants[0].key):
        pass
    assert budget.judge(claimants, lambda places: ["judged"] * len(places)) == ["judged"] * 1_000


# -- what counts -------------------------------------------------------------------------------


def test_acceptances_do_not_count(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    for _ in range(AT_ONCE_AT_A_SITE + 2):
        assert said(phone.check_in(phone.claim(site_id=site["id"]))) == "accepted"
    spend(phone, site)


def test_uncertain_answers_count(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    for _ in range(AT_ONCE_AT_A_SITE):
        claim = phone.claim(EDGE, fix={"accuracy_m": 30}, site_id=site["id"])
        assert said(phone.check_in(claim)) == "uncertain"
    assert said(outside(phone, site)) == "rate-limited"


def test_replays_do_not_count(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    claim = phone.claim(FAR_OUTSIDE, site_id=site["id"])
    for _ in range(AT_ONCE_AT_A_SITE + 2):
        assert said(phone.check_in(claim)) == "rejected"
    for _ in range(AT_ONCE_AT_A_SITE - 1):
        assert said(outside(phone, site)) == "rejected"
    assert said(outside(phone, site)) == "rate-limited"


def test_what_was_refused_does_not_count(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    phone.report("denied")
    for _ in range(AT_ONCE_AT_A_SITE + 2):
        assert said(outside(phone, site)) == "permission-withdrawn"
    phone.report("precise")
    spend(phone, site)


@pytest.mark.parametrize("trouble", [JournalFull(), DatabaseUnavailable("gone")])
def test_what_was_not_answered_does_not_count(
    world: World, tenant: Tenancy, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    site, phone = tenant.site(), tenant.phone()

    def full(*_: object) -> None:
        raise trouble

    async def in_trouble(*_: object) -> None:
        raise trouble

    with monkeypatch.context() as patch:
        if isinstance(trouble, JournalFull):
            patch.setattr(world.services.way.journal, "put", full)
        else:
            patch.setattr(world.services.way.journal, "_commit", in_trouble)
        for _ in range(AT_ONCE_AT_A_SITE + 2):
            assert said(outside(phone, site)) == "unavailable"
    spend(phone, site)


REASONS_OF_CLAIMS = {
    "mocked": {"mocked": True},
    "accuracy_unknown": {"accuracy_m": None},
    "accuracy_too_low": {"accuracy_m": 400},
    "clock_skew": {"captured_at": (NOON + timedelta(hours=1)).isoformat()},
}


@pytest.mark.parametrize("reason", REASONS_OF_CLAIMS)
def test_an_answer_that_is_the_same_everywhere_does_not_count(tenant: Tenancy, reason: str) -> None:
    site, phone = tenant.site(), tenant.phone()
    for _ in range(AT_ONCE_AT_A_SITE):
        for place in (INSIDE, FAR_OUTSIDE):
            claim = phone.claim(place, site_id=site["id"], fix=REASONS_OF_CLAIMS[reason])
            assert phone.check_in(claim).json()["reason"] == reason
    spend(phone, site)


def test_a_purpose_without_sites_has_no_budget(tenant: Tenancy) -> None:
    tenant.admin.put("/v1/settings", {"max_level": "cell"})
    tenant.purpose("region", level="cell")
    phone = tenant.phone()
    spend(phone)
    for accuracy_m in (10, 5_000):
        for _ in range(2):
            claim = phone.claim(purpose="region", fix={"accuracy_m": accuracy_m})
            assert said(phone.check_in(claim)) in {"accepted", "uncertain"}


def test_when_a_site_is_closed_it_is_so_everywhere(tenant: Tenancy) -> None:
    site, phone = tenant.site(hours={"weekly": {"sun": [["09:00", "10:00"]]}}), tenant.phone()
    for _ in range(AT_ONCE_AT_A_SITE):
        for place in (INSIDE, FAR_OUTSIDE):
            answer = phone.check_in(phone.claim(place, site_id=site["id"]))
            assert answer.json()["reason"] == "outside_hours"


@pytest.mark.parametrize(
    ("reason", "site", "fix"),
    [
        ("no_site_near", {}, {}),
        ("accuracy_too_low", {}, {"accuracy_m": 400}),
        ("outside_hours", {"hours": {"weekly": {"sun": [["09:00", "10:00"]]}}}, {}),
        ("near_boundary", {}, {"accuracy_m": 30}),
    ],
)
def test_a_search_that_finds_something_out_counts(
    tenant: Tenancy, reason: str, site: dict[str, Any], fix: dict[str, Any]
) -> None:
    tenant.site(**site)
    phone = tenant.phone()
    place = {"no_site_near": FAR_OUTSIDE, "near_boundary": EDGE}.get(reason, INSIDE)
    for _ in range(AT_ONCE_SEARCHING):
        assert phone.check_in(phone.claim(place, fix=fix)).json()["reason"] == reason
    assert said(phone.check_in(phone.claim())) == "rate-limited"


def test_every_reason_is_known_to_tell_of_a_place_or_not() -> None:
    """A reason that is new counts until somebody says otherwise."""
    claims = {reason for reason in Reason if tells_of_a_place(uuid4(), reason)}
    searches = {reason for reason in Reason if tells_of_a_place(None, reason)}
    # whoever has a purpose without sites is told `in_cell`, and has no budget
    claims, searches = claims - {Reason.IN_CELL}, searches - {Reason.IN_CELL}
    assert claims == {Reason.OUTSIDE, Reason.NO_SITE_NEAR, Reason.NEAR_BOUNDARY}
    assert searches == claims | {Reason.ACCURACY_TOO_LOW, Reason.OUTSIDE_HOURS}


# -- whose budget it is ------------------------------------------------------------------------


def test_one_person_does_not_spend_anothers_budget(tenant: Tenancy) -> None:
    site, ana, bob = tenant.site(), tenant.phone(), tenant.phone()
    spend(ana, site)
    spend(bob, site)


def test_all_devices_of_a_person_share_one(tenant: Tenancy) -> None:
    site, person = tenant.site(), tenant.subject()
    first, second = (tenant.phone(subject_id=person["id"]) for _ in range(2))
    spend(first, site)
    assert said(outside(second, site)) == "rate-limited"


def test_each_site_and_searching_have_their_own(tenant: Tenancy) -> None:
    here, there, phone = tenant.site(), tenant.site(), tenant.phone()
    spend(phone, here)
    spend(phone)
    spend(phone, there)


def test_each_item_of_a_batch_counts(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    far = [phone.claim(FAR_OUTSIDE, site_id=site["id"]) for _ in range(AT_ONCE_AT_A_SITE + 20)]
    results = phone.post("/v1/check-ins/batch", {"check_ins": far}).json()["results"]
    assert [r["status"] for r in results] == [201] * AT_ONCE_AT_A_SITE + [429] * 20


def test_a_batch_of_people_who_were_there_is_taken_whole(tenant: Tenancy) -> None:
    """However many, and until something else has used the budget up."""
    site, phone = tenant.site(), tenant.phone()
    there = [phone.claim(site_id=site["id"]) for _ in range(3 * AT_ONCE_AT_A_SITE)]
    far = [phone.claim(FAR_OUTSIDE, site_id=site["id"]) for _ in range(AT_ONCE_AT_A_SITE)]
    batch = {"check_ins": [*there[1:], *far, there[0]]}
    results = phone.post("/v1/check-ins/batch", batch).json()["results"]
    outcomes = [r.get("outcome") or r["code"] for r in results]
    assert outcomes == ["accepted"] * 29 + ["rejected"] * AT_ONCE_AT_A_SITE + ["rate-limited"]


def test_admins_may_try_as_often_as_they_like(tenant: Tenancy) -> None:
    site = tenant.site()
    for _ in range(AT_ONCE_SEARCHING + 2):
        fix = {**FAR_OUTSIDE, "accuracy_m": 10, "captured_at": NOON.isoformat()}
        body = {"fix": fix, "site_id": site["id"]}
        assert tenant.admin.post("/v1/sites/judge", body).json()["outcome"] == "rejected"


def test_nothing_of_a_person_is_kept_for_it(world: World, tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    spend(phone, site)
    ids = {UUID(phone.subject_id).bytes, UUID(phone.device_id).bytes, UUID(site["id"]).bytes}
    labels = set(world.services.way.probes.claims._full_at)
    assert labels
    assert not any(known in label for label in labels for known in ids)
    assert "full_at" not in repr(world.services.way.probes)


# -- answers are alike -------------------------------------------------------------------------


def test_no_site_anothers_site_and_an_inactive_one_are_answered_alike(
    world: World, tenant: Tenancy
) -> None:
    inactive, phone, other = tenant.site(), tenant.phone(), world.tenant()
    tenant.admin.delete(f"/v1/sites/{inactive['id']}")
    answers = [
        phone.check_in(phone.claim(site_id=site_id))
        for site_id in (str(uuid4()), other.site()["id"], inactive["id"])
    ]
    assert {(a.status_code, said(a)) for a in answers} == {(404, "site-unknown")}
    assert len({tuple(sorted(a.json().items() - _own(a))) for a in answers}) == 1
    assert len({tuple(sorted(set(a.headers.items()) - _own_headers(a))) for a in answers}) == 1


def _own(answer: httpx.Response) -> set[tuple[str, Any]]:
    return {("request_id", answer.json()["request_id"])}


def _own_headers(answer: httpx.Response) -> set[tuple[str, str]]:
    return {("x-request-id", answer.headers["x-request-id"])}


@pytest.mark.parametrize("claims", [True, False], ids=["claimed", "searched"])
def test_an_answer_has_no_distance(tenant: Tenancy, claims: bool) -> None:
    """From 300 m and from the other side of the Earth: to the byte, but for what is random."""
    site, phone = tenant.site(), tenant.phone()
    claimed = {"site_id": site["id"]} if claims else {}
    told = []
    for place in ({"lat": -23.565, "lon": -46.655}, {"lat": 23.561, "lon": 133.345}):
        answer = phone.check_in(phone.claim(place, **claimed))
        body = answer.json()
        assert body["outcome"] == "rejected"
        told.append((len(answer.content), {**body, "id": None, "decision": len(body["decision"])}))
    assert told[0] == told[1]


NUMBERS = {"policy_version", "site_version"}


@pytest.mark.parametrize("place", [INSIDE, EDGE, FAR_OUTSIDE])
@pytest.mark.parametrize("accuracy_m", [5, 30, 400])
def test_the_only_numbers_in_an_answer_are_versions(
    tenant: Tenancy, place: dict[str, float], accuracy_m: float
) -> None:
    site, phone = tenant.site(), tenant.phone()
    body = phone.check_in(
        phone.claim(place, site_id=site["id"], fix={"accuracy_m": accuracy_m})
    ).json()
    assert {name for name, _ in _numbers(body)} <= NUMBERS


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _numbers(member, key)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


# -- who measures ------------------------------------------------------------------------------


class Budgeted:
    """A secret site whose answers are those within the budget, over time."""

    def __init__(self, secret: Secret) -> None:
        self.secret = secret
        self.clock = Seconds()
        self._budget = ProbeBudget.usual(self.clock)
        self._claimant = Claimant.of(uuid4(), uuid4(), uuid4())

    def outcome(self, x_m: float, y_m: float, accuracy_m: float) -> Outcome | None:
        """None: not now."""
        if self._budget.wait_s(self._claimant):
            return None
        outcome = self.secret.outcome(x_m, y_m, accuracy_m)
        if outcome is not Outcome.ACCEPTED:
            assert self._budget.claims.take(self._claimant.key)
        return outcome


def days_of_seeking(secret: Secret, seeker: Seeker, days: int) -> None:
    """Ask whatever may be asked, at every hour."""
    site = Budgeted(secret)
    ends = site.clock.now + days * A_DAY_S
    while site.clock.now < ends and not seeker.knows():
        if not seeker.ask(site.outcome):
            site.clock.now += 3_600.0


def test_without_a_budget_a_site_is_found_at_once() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        secret, seeker = hidden(1_000.0, rng), Seeker(1_000.0, rng)
        while not seeker.knows():
            assert seeker.ask(secret.outcome)
        assert secret.away_m(seeker.guess()) < 10.0
        assert secret.counted < 50


@pytest.mark.parametrize("days", [1, 30])
def test_so_many_answers_count_in_so_many_days(days: int) -> None:
    """Whatever is asked: the secret is on the Moon."""
    secret = Secret(2e6, 2e6)
    site = Budgeted(secret)
    ends = site.clock.now + days * A_DAY_S
    while site.clock.now <= ends:
        if site.outcome(0.0, 0.0, 100.0) is None:
            site.clock.now += 600.0
    assert secret.counted == AT_ONCE_AT_A_SITE + days * 12


def test_with_the_budget_a_site_within_5_km_stays_hidden_for_a_day() -> None:
    away_m = []
    for seed in range(9):
        rng = np.random.default_rng(seed)
        secret, seeker = hidden(5_000.0, rng), Seeker(5_000.0, rng)
        days_of_seeking(secret, seeker, 1)
        away_m.append(secret.away_m(seeker.guess()))
    assert statistics.median(away_m) > 1_000.0
    assert sum(off > RADIUS_M for off in away_m) >= 8
