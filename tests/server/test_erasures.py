"""Erasing a person by the API: at once nothing more is taken, then nothing is left but proof."""

import json
from base64 import urlsafe_b64decode
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from world import NOON, Api, Phone, Tenancy, World

REASON = {"Doorstep-Purpose": "privacy-request"}
OF_PERSONS = ("check_ins", "receipts", "subjects", "devices", "device_tokens", "enrollment_codes")


def by_device(tenant: Tenancy, phone: Phone) -> str:
    answer = phone.post("/v1/device/erasure")
    assert (answer.status_code, answer.json()["status"]) == (202, "in_progress")
    return str(answer.json()["erasure"])


def by_admin(tenant: Tenancy, phone: Phone) -> str:
    answer = tenant.admin.post(f"/v1/subjects/{phone.subject_id}/erasure")
    assert (answer.status_code, answer.json()["status"]) == (202, "in_progress")
    return str(answer.json()["erasure"])


both = pytest.mark.parametrize("erase", [by_device, by_admin])


def finish(world: World) -> None:
    """What the server does beside answering, now."""
    world.services.erasures.eraser.finish_all(world.clock.now.date())


def counts(world: World) -> dict[str, int]:
    return {table: world.rows(f"SELECT count(*) FROM {table}")[0][0] for table in OF_PERSONS}


def of_base64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def key(world: World) -> Ed25519PublicKey:
    """As anybody gets it."""
    [shown] = world.client.get("/v1/privacy/signing-keys").json()["keys"]
    assert {k: v for k, v in shown.items() if k != "x"} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
    }
    return Ed25519PublicKey.from_public_bytes(of_base64(shown["x"]))


def checked(world: World, receipt: str) -> dict[str, Any]:
    """What a receipt says, when its signature is right."""
    header, payload, signature = receipt.split(".")
    key(world).verify(of_base64(signature), f"{header}.{payload}".encode())
    assert json.loads(of_base64(header)) == {"alg": "EdDSA"}
    return dict(json.loads(of_base64(payload)))


@both
def test_from_the_answer_on_nothing_of_the_person_is_taken_or_shown(
    world: World, tenant: Tenancy, phone: Phone, erase: Any
) -> None:
    second = tenant.phone(subject_id=phone.subject_id)
    code = tenant.code(phone.subject_id)
    phone.check_in(phone.claim())
    erase(tenant, phone)
    for one in (phone, second):
        for answer in (
            one.get("/v1/device"),
            one.check_in(one.claim()),
            one.report("precise"),
            one.post("/v1/device/token"),
            one.post("/v1/device/erasure"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert tenant.enroll(code).json()["code"] == "enrollment-code-invalid"
    path = f"/v1/subjects/{phone.subject_id}"
    assert tenant.admin.get(path, headers=REASON).status_code == 404
    assert tenant.admin.post(f"{path}/enrollments").status_code == 404
    assert tenant.admin.put(f"{path}/groups", json={"groups": []}).status_code == 404
    assert tenant.admin.get("/v1/subjects", headers=REASON).json()["items"] == []
    assert tenant.admin.get("/v1/devices", headers=REASON).json()["items"] == []


@both
def test_when_it_is_done_nothing_is_left_but_a_receipt_that_anybody_can_check(
    world: World, tenant: Tenancy, phone: Phone, erase: Any
) -> None:
    for _ in range(3):
        phone.check_in(phone.claim())
    code = erase(tenant, phone)
    status = world.client.get(f"/v1/erasures/{code}")
    assert (status.status_code, status.json()) == (
        200,
        {"status": "in_progress", "receipt": None},
    )
    world.clock.advance(days=1)
    finish(world)
    assert counts(world) == dict.fromkeys(OF_PERSONS, 0)
    assert world.services.keyring.subject(tenant.tenant_id, UUID(phone.subject_id)) is None
    status = world.client.get(f"/v1/erasures/{code}").json()
    assert status["status"] == "done"
    said = checked(world, status["receipt"])
    assert said["erasure_id"] == str(UUID(hex=code.partition("-")[2]))
    assert (said["asked_on"], said["done_on"]) == ("2026-03-10", "2026-03-11")
    assert said["keyring_copies_gone_after"] == "2026-03-18"
    assert set(OF_PERSONS) <= set(said["removed"])
    # it says nothing of whom
    assert phone.subject_id not in json.dumps(said)
    assert phone.device_id not in json.dumps(said)


def test_a_receipt_that_was_changed_does_not_check(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    code = by_device(tenant, phone)
    finish(world)
    receipt = world.client.get(f"/v1/erasures/{code}").json()["receipt"]
    header, payload, signature = receipt.split(".")
    with pytest.raises(InvalidSignature):
        checked(world, f"{header}.{payload[:-2]}AA.{signature}")


def test_other_peoples_rows_are_untouched(world: World, tenant: Tenancy, phone: Phone) -> None:
    ana = tenant.subject("ana")
    other = tenant.phone(subject_id=ana["id"])
    for one in (phone, other, phone, other):
        one.check_in(one.claim())
    kept = other.get("/v1/check-ins").json()
    theirs = {row[0] for row in world.rows("SELECT token FROM check_ins")}
    by_admin(tenant, phone)
    finish(world)
    assert other.get("/v1/check-ins").json() == kept
    assert {row[0] for row in world.rows("SELECT token FROM check_ins")} < theirs
    assert counts(world) == {
        "check_ins": 2,
        "receipts": 2,
        "subjects": 1,
        "devices": 1,
        "device_tokens": 1,
        "enrollment_codes": 1,
    }
    assert other.check_in(other.claim()).status_code == 201
    listed = tenant.admin.get("/v1/check-ins", headers=REASON).json()["items"]
    assert [item["subject"] for item in listed] == [{"id": ana["id"], "external_id": "ana"}] * 3


def test_another_tenants_person_of_the_same_name_stays(world: World, tenant: Tenancy) -> None:
    other = world.tenant()
    theirs, ours = (t.phone(subject_id=t.subject("ana")["id"]) for t in (other, tenant))
    by_device(tenant, ours)
    finish(world)
    assert theirs.get("/v1/device").status_code == 200
    assert other.subject("ana")["id"] == theirs.subject_id


def test_the_external_id_can_be_used_anew_and_is_somebody_else(
    world: World, tenant: Tenancy
) -> None:
    tenant.site()
    ana = tenant.subject("ana", groups=["north"])
    phone = tenant.phone(subject_id=ana["id"])
    phone.check_in(phone.claim())
    by_device(tenant, phone)
    finish(world)
    again = tenant.admin.post("/v1/subjects", json={"external_id": "ana"})
    assert again.status_code == 201
    assert again.json()["id"] != ana["id"]
    assert again.json()["groups"] == []
    new = tenant.phone(subject_id=again.json()["id"])
    assert new.get("/v1/check-ins").json()["items"] == []
    assert new.check_in(new.claim()).status_code == 201


def test_who_is_being_erased_cannot_be_made_anew_until_that_is_done(
    world: World, tenant: Tenancy
) -> None:
    """What were stored of them meanwhile would be left without a key."""
    phone = tenant.phone(subject_id=tenant.subject("ana")["id"])
    by_device(tenant, phone)
    answer = tenant.admin.post("/v1/subjects", json={"external_id": "ana"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert counts(world)["subjects"] == 0
    finish(world)
    assert tenant.admin.post("/v1/subjects", json={"external_id": "ana"}).status_code == 201


def test_an_erasure_that_was_asked_for_again_is_the_same(tenant: Tenancy, phone: Phone) -> None:
    first = by_device(tenant, phone)
    assert by_admin(tenant, phone) == first


def test_who_was_erased_or_never_was_is_not_found(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    by_device(tenant, phone)
    finish(world)
    for nobody in (phone.subject_id, str(uuid4())):
        answer = tenant.admin.post(f"/v1/subjects/{nobody}/erasure")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    filters = {"subject_id": phone.subject_id}
    listed = tenant.admin.get("/v1/check-ins", params=filters, headers=REASON)
    assert (listed.status_code, listed.json()["items"]) == (200, [])


def test_what_had_expired_and_was_not_removed_yet_is_erased_too(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    phone.check_in(phone.claim())
    world.clock.advance(days=70)
    by_admin(tenant, phone)
    finish(world)
    assert counts(world)["check_ins"] == 0


def test_many_rows_of_many_days_and_purposes_are_erased(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    other = tenant.phone()
    tenant.purpose("delivery", retention_days=7)
    tenant.purpose("round", level="cell", retention_days=365)
    for day in range(3):
        world.clock.now = NOON + timedelta(days=day)
        for purpose in ("visit", "delivery", "round"):
            claims = [phone.claim(purpose=purpose) for _ in range(9)]
            answer = phone.post("/v1/check-ins/batch", json={"check_ins": claims})
            assert {r["outcome"] for r in answer.json()["results"]} == {"accepted"}
        other.check_in(other.claim())
    assert counts(world)["check_ins"] == 84
    by_admin(tenant, phone)
    finish(world)
    assert (counts(world)["check_ins"], counts(world)["receipts"]) == (3, 3)


@pytest.mark.parametrize("path", ["/v1/subjects", "/v1/devices"])
def test_a_list_goes_on_after_who_was_erased_while_it_was_read(
    world: World, tenant: Tenancy, path: str
) -> None:
    """Their rows were there when the page was read, and their key was not any more."""
    phones = [tenant.phone() for _ in range(4)]
    for gone in phones[:3]:
        world.services.keyring.destroy_subject(tenant.keys, tenant.tenant_id, UUID(gone.subject_id))
    shown: list[str] = []
    query = "?limit=1"
    for _ in range(len(phones)):
        page = tenant.admin.get(path + query, headers=REASON).json()
        shown += [item.get("subject_id", item["id"]) for item in page["items"]]
        query = f"?limit=1&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert shown == [phones[3].subject_id]


@pytest.mark.parametrize("code", ["abcdef", "abcdef-" + "0" * 31, "-" + "0" * 32, "0" * 39])
def test_a_code_is_written_as_one(world: World, code: str) -> None:
    assert world.client.get(f"/v1/erasures/{code}").status_code in {400, 404}


def test_a_code_that_is_nobodys_names_nothing(world: World, tenant: Tenancy, phone: Phone) -> None:
    code = by_device(tenant, phone)
    handle, _, number = code.partition("-")
    other = world.tenant().new.tenant.handle
    for wrong in (f"{handle}-{uuid4().hex}", f"{other}-{number}"):
        answer = world.client.get(f"/v1/erasures/{wrong}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_an_admin_needs_the_scope(tenant: Tenancy, phone: Phone) -> None:
    made = tenant.admin.post("/v1/api-keys", json={"name": "k", "scopes": ["privacy:read"]})
    reader = Api(tenant.admin.client, made.json()["api_key"])
    answer = reader.post(f"/v1/subjects/{phone.subject_id}/erasure")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")
    assert phone.get("/v1/device").status_code == 200
