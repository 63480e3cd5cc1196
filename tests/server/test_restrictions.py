"""Restricting what is processed of oneself: it holds from the answer on, as a withdrawal does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from world import Api, Phone, Tenancy, World, opened

REASON = {"Doorstep-Purpose": "privacy-request"}


def by_device(tenant: Tenancy, phone: Phone, body: dict[str, Any]) -> Any:
    answer = phone.put("/v1/device/restrictions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def by_admin(tenant: Tenancy, phone: Phone, body: dict[str, Any]) -> Any:
    answer = tenant.admin.put(f"/v1/subjects/{phone.subject_id}/restrictions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["restrictions"]


both = pytest.mark.parametrize("restrict", [by_device, by_admin])


def refused(phone: Phone, **members: Any) -> bool:
    answer = phone.check_in(phone.claim(**members))
    if answer.status_code == 201:
        return False
    assert (answer.status_code, answer.json()["code"]) == (403, "purpose-restricted")
    return True


@both
def test_nothing_is_stored_for_a_restricted_purpose_and_all_for_others(
    world: World, tenant: Tenancy, phone: Phone, restrict: Any
) -> None:
    tenant.purpose("delivery")
    said = {"purposes": ["visit"], "wholly": False}
    assert restrict(tenant, phone, {"purposes": ["visit"]}) == said
    assert refused(phone)
    assert not refused(phone, purpose="delivery")
    assert world.rows("SELECT purpose FROM check_ins") == [("delivery",)]
    assert world.rows("SELECT count(*) FROM receipts") == [(1,)]
    assert world.rows("SELECT purpose, reason, count FROM tallies") == [
        ("visit", "purpose-restricted", 1)
    ]
    assert phone.get("/v1/device").json()["restrictions"] == said
    subject = tenant.admin.get(f"/v1/subjects/{phone.subject_id}", headers=REASON).json()
    assert subject["restrictions"] == said


@both
def test_who_restricted_everything_is_asked_for_nothing(
    world: World, tenant: Tenancy, phone: Phone, restrict: Any
) -> None:
    tenant.purpose("delivery")
    restrict(tenant, phone, {"wholly": True})
    assert refused(phone)
    assert refused(phone, purpose="delivery")
    assert world.rows("SELECT count(*) FROM check_ins") == [(0,)]
    features = phone.get("/v1/device").json()["features"]
    assert [(f["available"], f["because"]) for f in features] == [
        (False, "processing-restricted")
    ] * 2
    # the permission is another thing, and stays as the phone says
    assert phone.get("/v1/device").json()["permission"] == "precise"


@both
def test_all_devices_of_a_person_are_one_person_and_nobody_else_is(
    tenant: Tenancy, phone: Phone, restrict: Any
) -> None:
    second, other = tenant.phone(subject_id=phone.subject_id), tenant.phone()
    restrict(tenant, phone, {"purposes": ["visit"]})
    assert refused(phone)
    assert refused(second)
    assert not refused(other)
    assert second.get("/v1/device").json()["restrictions"]["purposes"] == ["visit"]


@both
def test_what_was_restricted_is_taken_when_the_person_says_otherwise(
    tenant: Tenancy, phone: Phone, restrict: Any
) -> None:
    restrict(tenant, phone, {"purposes": ["visit"]})
    body = phone.claim()
    assert phone.check_in(body).status_code == 403
    assert restrict(tenant, phone, {}) == {"purposes": [], "wholly": False}
    assert phone.check_in(body).status_code == 201


@both
def test_a_replay_is_still_answered(tenant: Tenancy, phone: Phone, restrict: Any) -> None:
    body = phone.claim()
    first = phone.check_in(body)
    restrict(tenant, phone, {"wholly": True})
    again = phone.check_in(body)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Doorstep-Replayed"] == "true"


@both
def test_what_was_stored_before_stays_and_is_shown_to_the_person(
    tenant: Tenancy, phone: Phone, restrict: Any
) -> None:
    phone.check_in(phone.claim())
    restrict(tenant, phone, {"wholly": True})
    assert len(phone.get("/v1/check-ins").json()["items"]) == 1


def test_groups_and_restrictions_do_not_take_each_others_place(
    tenant: Tenancy, phone: Phone
) -> None:
    by_device(tenant, phone, {"purposes": ["visit"]})
    path = f"/v1/subjects/{phone.subject_id}"
    changed = tenant.admin.put(f"{path}/groups", json={"groups": ["north"]}).json()
    assert changed["restrictions"]["purposes"] == ["visit"]
    by_admin(tenant, phone, {"wholly": True})
    shown = tenant.admin.get(path, headers=REASON).json()
    assert shown["groups"] == ["north"]
    assert shown["restrictions"] == {"purposes": [], "wholly": True}


def test_an_admin_needs_the_scope(tenant: Tenancy, phone: Phone) -> None:
    made = tenant.admin.post("/v1/api-keys", json={"name": "k", "scopes": ["subjects:write"]})
    key = Api(tenant.admin.client, made.json()["api_key"])
    answer = key.put(f"/v1/subjects/{phone.subject_id}/restrictions", json={"wholly": True})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")
    answer = tenant.admin.put(f"/v1/subjects/{uuid4()}/restrictions", json={"wholly": True})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_purpose_that_is_not_there_yet_can_be_objected_to(tenant: Tenancy, phone: Phone) -> None:
    by_device(tenant, phone, {"purposes": ["marketing"]})
    tenant.purpose("marketing")
    assert refused(phone, purpose="marketing")
    assert not refused(phone)


# -- from the answer on --------------------------------------------------------------------------


@contextmanager
def in_another_process(phone: Phone, world: World) -> Iterator[None]:
    """The phone speaks to another server on the same database."""
    here = phone.client
    with opened(world.settings, world.first.new) as other:
        phone.client = other.client
        yield
    phone.client = here


def test_it_holds_in_every_process_however_fresh_its_policy_is(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    with in_another_process(phone, world):
        assert not refused(phone)
        here = Phone(
            world.client,
            phone.token,
            clock=phone.clock,
            device_id=phone.device_id,
            subject_id=phone.subject_id,
        )
        assert not refused(here)
        by_device(tenant, phone, {"purposes": ["visit"]})
        assert refused(here)
        by_device(tenant, here, {})
        assert not refused(phone)


@both
def test_after_it_was_answered_no_row_is_stored(
    world: World, tenant: Tenancy, phone: Phone, restrict: Any
) -> None:
    """Check-ins that are under way meanwhile are stored before the answer, or never."""
    for _ in range(3):
        restrict(tenant, phone, {})
        with ThreadPoolExecutor(4) as pool:
            under_way = [pool.submit(_until_refused, phone) for _ in range(4)]
            restrict(tenant, phone, {"purposes": ["visit"]})
            stored = world.rows("SELECT count(*) FROM check_ins")
            for each in under_way:
                each.result()
        assert world.rows("SELECT count(*) FROM check_ins") == stored


def _until_refused(phone: Phone) -> None:
    while not refused(phone):
        pass
