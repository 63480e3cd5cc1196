"""A person's rows have numbered tokens without gaps: so all are found, and no others."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from doorstep_geofences import Geofence, Reason, Site, Verdict
from doorstep_server.deployment import FIRST_PURPOSE
from doorstep_server.privacy import labels
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import Judged, minimize
from doorstep_server.privacy.unlinkable import TOKEN_BYTES, TokenSeries
from doorstep_server.store import Connection, check_ins, tokens
from doorstep_server.store.check_ins import Proposal, Settled, commit_group
from doorstep_server.store.tokens import NextNumbers, PersonRows
from spoken import listening
from world import NOON, Phone, Tenancy, World, opened

REASON = {"Doorstep-Purpose": "support"}
SITE = Site(site_id=UUID(int=7), version=1, geofence=Geofence.circle(-46.655, -23.561, 80.0))


def series(phone: Phone, tenant: Tenancy, purpose: str = "visit", days: int = 60) -> TokenSeries:
    """Of what comes in now and is kept for so long."""
    expires_on = phone.clock.now.date() + timedelta(days=days)
    return TokenSeries(tenant.keys_of(phone.subject_id), purpose, expires_on)


def stored(world: World) -> set[bytes]:
    found = world.rows("SELECT token FROM check_ins")
    assert len(set(found)) == len(found)
    return {bytes(token) for (token,) in found}


def numbered(of: TokenSeries, count: int) -> set[bytes]:
    return {of.token(number) for number in range(count)}


def check_in_often(phone: Phone, count: int, **members: Any) -> None:
    for _ in range(count):
        assert phone.check_in(phone.claim(**members)).status_code == 201


def batch(phone: Phone, count: int, **members: Any) -> list[dict[str, Any]]:
    claims = [phone.claim(**members) for _ in range(count)]
    results = phone.post("/v1/check-ins/batch", json={"check_ins": claims}).json()["results"]
    return list(results)


# -- numbers ---------------------------------------------------------------------------------


def test_tokens_are_numbered_from_nought_however_many_a_day(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    for count in range(1, 12):
        check_in_often(phone, 1)
        assert stored(world) == numbered(series(phone, tenant), count)


def test_a_batch_takes_the_numbers_that_follow(world: World, tenant: Tenancy, phone: Phone) -> None:
    check_in_often(phone, 2)
    batch(phone, 20)
    check_in_often(phone, 2)
    assert stored(world) == numbered(series(phone, tenant), 24)


def test_each_purpose_day_and_person_has_a_series(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    tenant.purpose("delivery")
    other, second = tenant.phone(), tenant.phone(subject_id=phone.subject_id)
    check_in_often(phone, 3)
    check_in_often(phone, 2, purpose="delivery")
    check_in_often(other, 2)
    check_in_often(second, 1)  # another phone of the same person
    today = [series(phone, tenant), series(phone, tenant, "delivery"), series(other, tenant)]
    world.clock.advance(days=1)
    check_in_often(phone, 2)
    expected = [(today[0], 4), (today[1], 2), (today[2], 2), (series(phone, tenant), 2)]
    assert stored(world) == set().union(*(numbered(of, count) for of, count in expected))


def test_what_stores_nothing_takes_no_number(world: World, tenant: Tenancy, phone: Phone) -> None:
    tenant.purpose("count", level="none")
    body = phone.claim()
    phone.check_in(body)
    phone.check_in(body)  # a replay
    check_in_often(phone, 1, purpose="count")
    assert phone.check_in(phone.claim(permission_epoch=0) | {"purpose": "x"}).status_code == 404
    results = batch(phone, 2) + batch(phone, 1, fix={"mocked": True})
    assert [r["stored"]["level"] for r in results] == ["site", "site", "none"]
    assert stored(world) == numbered(series(phone, tenant), 3)


def test_a_process_that_knows_no_number_finds_the_next(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    check_in_often(phone, 9)
    with opened(world.settings, world.first.new) as another:
        there = Phone(
            another.client,
            phone.token,
            clock=phone.clock,
            device_id=phone.device_id,
            subject_id=phone.subject_id,
        )
        check_in_often(there, 3)
    # this one still thinks that it wrote the last
    check_in_often(phone, 3)
    assert stored(world) == numbered(series(phone, tenant), 15)


def test_two_processes_that_write_the_same_person_at_once_leave_no_gap(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    with opened(world.settings, world.first.new) as another:
        there = tenant.phone(subject_id=phone.subject_id)
        there.client = another.client
        with ThreadPoolExecutor(6) as pool:
            singles = [pool.submit(check_in_often, p, 8) for p in (phone, there) * 2]
            batches = [pool.submit(batch, p, 8) for p in (phone, there)]
            for one in singles:
                one.result()
            assert all("outcome" in r for one in batches for r in one.result())
    assert stored(world) == numbered(series(phone, tenant), 48)


def test_tokens_share_the_day_and_nothing_else(world: World, tenant: Tenancy, phone: Phone) -> None:
    check_in_often(phone, 3)
    found = sorted(stored(world))
    assert {len(token) for token in found} == {TOKEN_BYTES}
    day = (date(2026, 5, 9) - date(1970, 1, 1)).days
    assert {token[:2] for token in found} == {day.to_bytes(2)}
    assert len({token[2:] for token in found}) == 3
    sealed = [bytes(row[0]) for row in world.rows("SELECT sealed FROM check_ins")]
    assert len(set(sealed)) == 3
    assert {len(one) for one in sealed} == {44}


# -- hints ---------------------------------------------------------------------------------------


@pytest.fixture
def proposed(tenant: Tenancy, phone: Phone) -> Callable[[int], list[Proposal]]:
    """Check-ins of one person, judged and accepted."""
    keys, subject_keys = tenant.keys, tenant.keys_of(phone.subject_id)

    def one() -> Proposal:
        check_in_id = uuid4()
        judged = Judged(
            id=check_in_id,
            subject_id=UUID(phone.subject_id),
            subject_keys=subject_keys,
            purpose=FIRST_PURPOSE,
            max_level=Level.CELL,
            claimed_site_id=None,
            action=None,
            verdict=Verdict(Reason.INSIDE, SITE),
            cell=None,
            exact=None,
            captured_at=NOON,
            received_at=NOON,
            receipt_key=labels.receipt_key(keys, check_in_id),
            digest=b"\0\0",
        )
        return Proposal(
            tenant_id=tenant.tenant_id,
            subject_id=judged.subject_id,
            subject_keys=subject_keys,
            kid=phone.token.split("_")[1],
            id=judged.id,
            receipt_key=judged.receipt_key,
            digest=judged.digest,
            epoch=None,
            age_s=0.0,
            purpose="visit",
            received_at=NOON,
            outcome=minimize(keys, judged),
        )

    return lambda count: [one() for _ in range(count)]


def commit(
    world: World, tenant: Tenancy, group: Sequence[Proposal], numbers: NextNumbers
) -> list[str]:
    """The statements that it took."""

    def write(connection: Connection) -> list[str]:
        with listening(connection) as spoken:
            results = commit_group(connection, group, numbers)
        assert all(isinstance(result, Settled) for result in results)
        return [statement for statement, _ in spoken]

    statements = world.write(tenant.tenant_id, write)
    numbers.committed()
    return statements


def looks(statements: list[str]) -> int:
    """How often it was asked which tokens there are."""
    return sum(s.startswith("SELECT") and "check_ins.token" in s for s in statements)


def test_a_group_that_is_rolled_back_leaves_no_gap(
    world: World,
    tenant: Tenancy,
    phone: Phone,
    proposed: Callable[[int], list[Proposal]],
) -> None:
    numbers = NextNumbers()
    commit(world, tenant, proposed(2), numbers)

    def fail(connection: Connection) -> None:
        commit_group(connection, proposed(5), numbers)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        world.write(tenant.tenant_id, fail)
    commit(world, tenant, proposed(2), numbers)
    assert stored(world) == numbered(series(phone, tenant), 4)


def test_what_a_group_that_was_rolled_back_gave_out_holds_for_none_that_follows(
    world: World,
    tenant: Tenancy,
    phone: Phone,
    proposed: Callable[[int], list[Proposal]],
) -> None:
    """Such as one that stores nothing, and so gives out none itself."""
    numbers = NextNumbers()
    refused = [replace(proposal, outcome="site-unknown") for proposal in proposed(1)]

    def fail(connection: Connection) -> None:
        commit_group(connection, proposed(3), numbers)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        world.write(tenant.tenant_id, fail)
    world.write(tenant.tenant_id, lambda c: commit_group(c, refused, numbers))
    numbers.committed()
    commit(world, tenant, proposed(2), numbers)
    assert stored(world) == numbered(series(phone, tenant), 2)


def test_who_knows_the_number_looks_once_however_many_there_are(
    world: World,
    tenant: Tenancy,
    phone: Phone,
    proposed: Callable[[int], list[Proposal]],
) -> None:
    numbers = NextNumbers()
    commit(world, tenant, proposed(100), numbers)
    assert looks(commit(world, tenant, proposed(1), numbers)) == 1
    # 1, 4, 8, 16, 32 and 64: the first hundred are walked in steps that double
    assert looks(commit(world, tenant, proposed(1), NextNumbers())) == 6
    assert stored(world) == numbered(series(phone, tenant), 102)


def test_a_hint_that_is_too_low_is_only_slower(
    world: World,
    tenant: Tenancy,
    phone: Phone,
    proposed: Callable[[int], list[Proposal]],
) -> None:
    mine, theirs = NextNumbers(), NextNumbers()
    for numbers, count in ((mine, 3), (theirs, 9), (mine, 1), (theirs, 1)):
        commit(world, tenant, proposed(count), numbers)
    assert stored(world) == numbered(series(phone, tenant), 14)


def test_hints_are_of_what_was_committed_and_not_more_than_the_limit() -> None:
    numbers, tenant_id = NextNumbers(limit=2), UUID(int=1)
    numbers.stage(tenant_id, b"a", 3)
    assert numbers.guess(tenant_id, b"a") == 0
    numbers.forget_staged()
    numbers.committed()
    assert numbers.guess(tenant_id, b"a") == 0
    for first in (b"a", b"b", b"a", b"c"):
        numbers.stage(tenant_id, first, 5)
        numbers.committed()
    assert [numbers.guess(tenant_id, first) for first in (b"a", b"b", b"c")] == [5, 0, 5]
    assert numbers.guess(UUID(int=2), b"a") == 0


# -- finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked_at_once", [3, 10_000])
def test_all_of_a_persons_rows_are_found_and_no_others(
    world: World,
    tenant: Tenancy,
    phone: Phone,
    proposed: Callable[[int], list[Proposal]],
    monkeypatch: pytest.MonkeyPatch,
    asked_at_once: int,
) -> None:
    monkeypatch.setattr(tokens, "ASKED_AT_ONCE", asked_at_once)
    check_in_often(tenant.phone(), 3)
    group = proposed(23)
    commit(world, tenant, group, NextNumbers())
    person = PersonRows(
        keys=tenant.keys_of(phone.subject_id),
        purposes=["visit", "another"],
        expires_on=[date(2026, 5, 8) + timedelta(days=i) for i in range(3)],
    )
    found = world.read(tenant.tenant_id, lambda c: check_ins.of_person(c, tenant.tenant_id, person))
    assert sorted(record.id for record in found) == sorted(proposal.id for proposal in group)


def test_several_persons_are_asked_about_at_once_and_one_of_them_twice(
    world: World, tenant: Tenancy, phone: Phone, proposed: Callable[[int], list[Proposal]]
) -> None:
    other = tenant.phone()
    check_in_often(other, 3)
    group = proposed(5)
    commit(world, tenant, group, NextNumbers())
    theirs, others = (
        PersonRows(
            keys=tenant.keys_of(one.subject_id),
            purposes=["visit", "another"],
            expires_on=[date(2026, 5, 8) + timedelta(days=i) for i in range(3)],
        )
        for one in (phone, other)
    )
    first, second, third = world.read(
        tenant.tenant_id,
        lambda c: check_ins.of_persons(c, tenant.tenant_id, [theirs, others, theirs]),
    )
    assert sorted(record.id for record in first) == sorted(proposal.id for proposal in group)
    assert len(second) == 3
    assert third == first


def pages(tenant: Tenancy, limit: int, **filters: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        params = {**filters, "limit": limit, **cursor}
        page = tenant.admin.get("/v1/check-ins", params=params, headers=REASON).json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert page["items"]
        cursor = {"cursor": page["next_cursor"]}


def test_a_list_by_person_is_that_part_of_the_whole_list(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    """Many rows a day, of many purposes, of several days: in the same order, page by page."""
    tenant.purpose("delivery", retention_days=9)
    tenant.purpose("round", level="cell", retention_days=30)
    tenant.purpose("access", level="none")
    other = tenant.phone()
    site = tenant.admin.get("/v1/sites").json()["items"][0]
    for _ in range(3):
        batch(phone, 9)
        batch(other, 4)
        batch(phone, 3, purpose="delivery")
        batch(phone, 6, purpose="round")
        batch(other, 1, purpose="round")
        batch(phone, 2, purpose="access")
        world.clock.advance(days=1, hours=1)
    everybody = pages(tenant, 500)
    assert len(everybody) == 3 * 23
    theirs = [item for item in everybody if item["subject"]["id"] == phone.subject_id]
    assert len(theirs) == 3 * 18
    for limit in (7, 18, 53, 54, 55, 500):
        assert pages(tenant, limit, subject_id=phone.subject_id) == theirs
    at_site = [item for item in theirs if item["site_id"] == site["id"]]
    assert len(at_site) == 3 * 12
    assert pages(tenant, 5, subject_id=phone.subject_id, site_id=site["id"]) == at_site
    since, until = "2026-03-11T00:00:00Z", "2026-03-12T00:00:00Z"
    second_day = [item for item in theirs if since <= item["time"] < until]
    assert len(second_day) == 18
    filters = {"subject_id": phone.subject_id, "since": since, "until": until}
    for limit in (1, 4):
        assert pages(tenant, limit, **filters) == second_day
    own = phone.get("/v1/check-ins", params={"limit": 500}).json()["items"]
    assert own == [{k: v for k, v in item.items() if k != "subject"} for item in theirs]
    # what has expired is in no list, removed or not
    world.clock.now = NOON + timedelta(days=10)
    left = [i for i in theirs if i["purpose"] != "delivery" or i["time"] >= until]
    assert pages(tenant, 10, subject_id=phone.subject_id) == left


def test_the_rows_of_a_purpose_that_takes_no_more_are_still_found(
    tenant: Tenancy, phone: Phone
) -> None:
    check_in_often(phone, 6)
    visit = tenant.admin.get("/v1/purposes/visit").json()
    changed = {k: v for k, v in visit.items() if k != "name"}
    changed |= {"active": False, "retention_days": 1, "level": "none"}
    assert tenant.admin.put("/v1/purposes/visit", json=changed).status_code == 200
    assert len(pages(tenant, 4, subject_id=phone.subject_id)) == 6
