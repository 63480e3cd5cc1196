"""Who may call: keys, tokens, scopes, enrollment. One tenant never sees another."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from litestar.handlers import HTTPRouteHandler

from doorstep_server import credentials
from doorstep_server.credentials import Kind
from doorstep_server.privacy.permission import Permission
from doorstep_server.privacy.personal import DeviceDetails, unseal_device_details
from doorstep_server.privacy.seals import BrokenSeal
from doorstep_server.store import devices
from world import Api, Phone, Tenancy, World

#: a code is what enrolls, and what fetches the receipt of an erasure: its token died with it. What
#: receipts are checked with is anybody's
OPEN = {
    ("POST", "/v1/enrollments"),
    ("GET", "/v1/erasures/{code:str}"),
    ("GET", "/v1/privacy/signing-keys"),
}


def test_every_route_under_v1_is_guarded_except_these(world: World) -> None:
    unguarded = {
        (method, route.path)
        for route in world.client.app.routes
        for handler in getattr(route, "route_handlers", [])
        if isinstance(handler, HTTPRouteHandler) and route.path.startswith("/v1/")
        for method in handler.http_methods
        if method != "OPTIONS" and not handler.resolve_guards()
    }
    assert unguarded == OPEN


def wrong_tokens(good: str) -> list[str]:
    kind, kid, secret = good.split("_")
    other = "dsk" if kind == "dst" else "dst"
    return [
        "",
        good[:-1],
        good + "0",
        f"{kind}_{kid}_{'0' * 64}",
        f"{kind}_{kid[:-1]}{'0' if kid[-1] != '0' else '1'}_{secret}",
        f"{kind}_{'0' * 6}{kid[6:]}_{secret}",
        f"{other}_{kid}_{secret}",
        f"{kind}_{kid}_{secret.upper()}" if secret.upper() != secret else "x",
        "~" * 80,
    ]


def test_a_wrong_token_is_refused(tenant: Tenancy, phone: Phone) -> None:
    for wrong in wrong_tokens(phone.token):
        answer = Api(phone.client, wrong).get("/v1/device")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    for wrong in wrong_tokens(tenant.new.api_key):
        answer = Api(phone.client, wrong).get("/v1/sites")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_no_header_is_refused_before_the_body_is_read(world: World) -> None:
    answer = world.client.post("/v1/check-ins", content=b"not json")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_a_key_may_do_what_its_scopes_say(tenant: Tenancy) -> None:
    made = tenant.admin.post("/v1/api-keys", json={"name": "map", "scopes": ["sites:read"]}).json()
    reader = Api(tenant.admin.client, made["api_key"])
    assert reader.get("/v1/sites").status_code == 200
    refused = reader.post("/v1/sites", json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope-missing")
    assert reader.get("/v1/api-keys").status_code == 403


def test_a_key_cannot_make_a_mightier_one(tenant: Tenancy) -> None:
    made = tenant.admin.post("/v1/api-keys", json={"name": "k", "scopes": ["keys:write"]}).json()
    maker = Api(tenant.admin.client, made["api_key"])
    answer = maker.post("/v1/api-keys", json={"name": "k2", "scopes": ["check-ins:read"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")


def test_a_revoked_key_is_refused_at_once(tenant: Tenancy) -> None:
    made = tenant.admin.post("/v1/api-keys", json={"name": "k", "scopes": ["sites:read"]}).json()
    key = Api(tenant.admin.client, made["api_key"])
    assert key.get("/v1/sites").status_code == 200
    assert tenant.admin.delete(f"/v1/api-keys/{made['id']}").status_code == 204
    assert key.get("/v1/sites").status_code == 401
    listed = tenant.admin.get("/v1/api-keys").json()["items"]
    assert {k["id"]: k["revoked_at"] is not None for k in listed}[made["id"]]
    assert "api_key" not in listed[0]


def test_secrets_are_not_in_the_database(world: World, tenant: Tenancy, phone: Phone) -> None:
    secret = bytes.fromhex(phone.token.rpartition("_")[2])
    admin_secret = bytes.fromhex(tenant.new.api_key.rpartition("_")[2])
    for file in world.settings.home.glob("doorstep.db*"):
        content = file.read_bytes()
        assert secret not in content
        assert admin_secret not in content
        assert secret.hex().encode() not in content


# -- devices ---------------------------------------------------------------------------------


def test_a_revoked_device_is_told_so_only_with_its_secret(tenant: Tenancy, phone: Phone) -> None:
    assert tenant.admin.delete(f"/v1/devices/{phone.device_id}").status_code == 204
    for answer in (phone.get("/v1/device"), phone.check_in(phone.claim())):
        assert (answer.status_code, answer.json()["code"]) == (401, "device-revoked")
    kind, kid, _ = phone.token.split("_")
    guess = Api(phone.client, f"{kind}_{kid}_{'0' * 64}").get("/v1/device")
    assert guess.json()["code"] == "unauthorized"


def test_the_transaction_refuses_a_device_that_a_stale_cache_lets_through(
    world: World, phone: Phone
) -> None:
    phone.check_in(phone.claim())
    world.rows("UPDATE devices SET revoked = true")  # as another process would
    answer = phone.check_in(phone.claim())
    assert (answer.status_code, answer.json()["code"]) == (401, "device-revoked")


def test_a_rotated_token_ends_the_old_one_on_first_use(phone: Phone) -> None:
    new = Api(phone.client, phone.post("/v1/device/token").json()["token"])
    assert phone.get("/v1/device").status_code == 200
    assert new.get("/v1/device").status_code == 200
    assert phone.get("/v1/device").status_code == 401
    assert new.get("/v1/device").status_code == 200


def test_a_rotation_whose_answer_was_lost_can_be_repeated(phone: Phone) -> None:
    lost = Api(phone.client, phone.post("/v1/device/token").json()["token"])
    kept = Api(phone.client, phone.post("/v1/device/token").json()["token"])
    assert lost.get("/v1/device").status_code == 401
    assert kept.get("/v1/device").status_code == 200


# -- enrollment ------------------------------------------------------------------------------


def test_a_code_works_once(tenant: Tenancy) -> None:
    code = tenant.code(tenant.subject()["id"])
    assert tenant.enroll(code).status_code == 201
    again = tenant.enroll(code)
    assert (again.status_code, again.json()["code"]) == (422, "enrollment-code-invalid")


def test_a_lost_answer_is_given_again_to_the_same_installation(
    world: World, tenant: Tenancy
) -> None:
    code, installation = tenant.code(tenant.subject()["id"]), uuid4().hex
    first = tenant.enroll(code, installation)
    world.clock.advance(minutes=9)
    again = tenant.enroll(code, installation)
    assert (again.status_code, again.json()) == (201, first.json())
    world.clock.advance(minutes=2)
    assert tenant.enroll(code, installation).status_code == 422


def test_a_code_ends_after_15_minutes(world: World, tenant: Tenancy) -> None:
    code = tenant.code(tenant.subject()["id"])
    world.clock.advance(minutes=15)
    assert tenant.enroll(code).status_code == 422


@pytest.mark.parametrize("typed", [str.lower, lambda c: c.replace("-", " "), lambda c: f" {c} "])
def test_a_code_may_be_typed_as_people_type(tenant: Tenancy, typed: object) -> None:
    code = tenant.code(tenant.subject()["id"])
    assert tenant.enroll(typed(code)).status_code == 201  # type: ignore[operator]


def test_letters_that_look_alike_are_read_as_meant() -> None:
    assert credentials.read_code("OIL000-000000-000000") == "011" + "0" * 15


def test_guessing_codes_is_slowed_down(tenant: Tenancy) -> None:
    handle = tenant.code(tenant.subject()["id"])[:6]
    answers = [tenant.enroll(f"{handle}-{'0' * 6}-{i:06}") for i in range(12)]
    assert {a.status_code for a in answers[:10]} == {422}
    assert {a.status_code for a in answers[10:]} == {429}
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


def test_an_app_that_enrolls_again_ends_its_earlier_device(tenant: Tenancy) -> None:
    installation = uuid4().hex
    first = tenant.enroll(tenant.code(tenant.subject()["id"]), installation).json()
    tenant.enroll(tenant.code(tenant.subject()["id"]), installation)
    answer = Api(tenant.world.client, first["token"]).get("/v1/device")
    assert answer.json()["code"] == "device-revoked"


def test_only_the_allow_listed_is_kept_of_a_device_and_sealed(
    world: World, tenant: Tenancy
) -> None:
    phone = tenant.phone(state=None)
    kept = tenant.device_details(phone)
    assert kept == DeviceDetails(
        platform="android", os_major="15", model="Pixel 9", permission=Permission()
    )
    [(sealed,)] = world.rows("SELECT sealed FROM devices")
    assert b"Pixel" not in bytes(sealed)
    other = tenant.keys_of(tenant.phone().subject_id)
    with pytest.raises(BrokenSeal):
        unseal_device_details(other, UUID(phone.device_id), bytes(sealed))


# -- tenants ---------------------------------------------------------------------------------


def test_another_tenants_things_are_not_found(world: World, tenant: Tenancy, phone: Phone) -> None:
    site = tenant.site(external_id="s1")
    checked_in = phone.check_in(phone.claim()).json()["id"]
    other = world.tenant()
    paths = [
        ("GET", f"/v1/sites/{site['id']}"),
        ("PUT", f"/v1/sites/{site['id']}"),
        ("DELETE", f"/v1/sites/{site['id']}"),
        ("GET", f"/v1/sites/{site['id']}/versions"),
        ("GET", f"/v1/subjects/{phone.subject_id}"),
        ("PUT", f"/v1/subjects/{phone.subject_id}/groups"),
        ("PUT", f"/v1/subjects/{phone.subject_id}/restrictions"),
        ("POST", f"/v1/subjects/{phone.subject_id}/erasure"),
        ("GET", f"/v1/check-ins/{checked_in}/position"),
        ("POST", f"/v1/subjects/{phone.subject_id}/enrollments"),
        ("DELETE", f"/v1/devices/{phone.device_id}"),
        ("DELETE", f"/v1/api-keys/{phone.token.split('_')[1]}"),
    ]
    bodies = {
        "PUT": {k: v for k, v in site.items() if k not in {"id", "valid_from", "warnings"}},
    }
    for method, path in paths:
        json = {"groups": {"groups": []}, "restrictions": {}}.get(
            path.rpartition("/")[2], bodies.get(method)
        )
        headers = {"Doorstep-Purpose": "visit"}
        theirs = other.admin.request(method, path, json=json, headers=headers)
        none = other.admin.request(method, _with_other_ids(path), json=json, headers=headers)
        assert theirs.status_code == none.status_code == 404, path
        assert theirs.json() | {"request_id": ""} == none.json() | {"request_id": ""}
    assert other.admin.get("/v1/sites").json()["items"] == []
    other_phone = other.phone()
    answer = other_phone.check_in(other_phone.claim(site_id=site["id"]))
    assert (answer.status_code, answer.json()["code"]) == (404, "site-unknown")
    other.site(external_id="s1")


def _with_other_ids(path: str) -> str:
    parts = path.split("/")
    return "/".join(str(uuid4()) if len(part) == 36 else part for part in parts)


def test_credentials_print_without_their_secret() -> None:
    credential = credentials.new_credential(Kind.API_KEY, "abcdef")
    assert credential.secret.hex() not in repr(credential)
    assert repr(credential.secret) not in repr(credential)
    assert credentials.parse(credential.text()) == credential


# -- between the guard and the write -----------------------------------------------------------


def revoke_everything(world: World) -> None:
    """As another process would, between this one's look and its write."""
    world.rows("UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00.000000'")
    world.rows("UPDATE devices SET revoked = true")


def test_a_write_permits_its_caller_anew(world: World, tenant: Tenancy, phone: Phone) -> None:
    assert tenant.admin.get("/v1/sites").status_code == 200
    assert phone.get("/v1/device").status_code == 200
    revoke_everything(world)
    for answer in (
        tenant.admin.post("/v1/api-keys", json={"name": "k", "scopes": ["sites:read"]}),
        tenant.admin.post("/v1/subjects", json={"external_id": "x"}),
        tenant.admin.post(f"/v1/subjects/{phone.subject_id}/enrollments"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    for answer in (phone.report("denied"), phone.post("/v1/device/token")):
        assert (answer.status_code, answer.json()["code"]) == (401, "device-revoked")


def test_a_fresh_token_that_many_requests_use_at_once_is_settled_once(phone: Phone) -> None:
    """An app that flushes its queue right after it rotated its token."""
    for _ in range(5):
        new = Api(phone.client, phone.post("/v1/device/token").json()["token"])
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(new.get, ["/v1/device"] * 6))
        assert [answer.status_code for answer in answers] == [200] * 6
        assert phone.get("/v1/device").status_code == 401
        phone.token = new.token


def test_who_settles_a_token_second_finds_it_settled(world: World, phone: Phone) -> None:
    tenant_id = world.first.new.tenant.tenant_id
    kid = phone.post("/v1/device/token").json()["token"].split("_")[1]
    fresh = world.read(tenant_id, lambda c: devices.find_token(c, tenant_id, kid))
    assert fresh is not None
    assert fresh.fresh
    for _ in range(2):
        assert world.write(tenant_id, lambda c: devices.settle_token(c, tenant_id, fresh))


def test_a_dead_token_cannot_make_a_new_one(world: World, phone: Phone) -> None:
    assert phone.get("/v1/device").status_code == 200
    world.rows("DELETE FROM device_tokens")  # another process settled a newer one
    answer = phone.post("/v1/device/token")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_a_fresh_token_that_ended_ends_no_other(world: World, phone: Phone) -> None:
    tenant_id = world.first.new.tenant.tenant_id
    lost = phone.post("/v1/device/token").json()["token"]
    kid = lost.split("_")[1]
    fresh = world.read(tenant_id, lambda c: devices.find_token(c, tenant_id, kid))
    assert fresh is not None
    phone.post("/v1/device/token")
    assert not world.write(tenant_id, lambda c: devices.settle_token(c, tenant_id, fresh))
    assert phone.get("/v1/device").status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"), [("15-QP1A-SERIAL123", "15"), ("9", "9"), ("Tiramisu", "unknown")]
)
def test_only_the_first_number_of_a_version_is_kept(
    world: World, tenant: Tenancy, given: str, kept: str
) -> None:
    device = {"platform": "android", "os_version": given, "model": "Pixel 9"}
    body = {
        "code": tenant.code(tenant.subject()["id"]),
        "installation_id": uuid4().hex,
        "device": device,
    }
    assert tenant.world.client.post("/v1/enrollments", json=body).status_code == 201
    [listed] = tenant.admin.get("/v1/devices", headers={"Doorstep-Purpose": "visit"}).json()[
        "items"
    ]
    assert (listed["platform"], listed["os_major"], listed["model"]) == ("android", kept, "Pixel 9")
    assert len(listed) == 7


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("2201117TY", 201),
        ("Moto G (5) Plus", 201),
        ("490154203237518", 400),
        ("x\n", 400),
        ("", 400),
    ],
)
def test_a_model_is_a_family_and_no_serial_number(tenant: Tenancy, model: str, status: int) -> None:
    body = {
        "code": tenant.code(tenant.subject()["id"]),
        "installation_id": "inst-1",
        "device": {"platform": "Android", "os_version": "15", "model": model},
    }
    assert tenant.world.client.post("/v1/enrollments", json=body).status_code == status


def test_a_text_ends_where_its_pattern_ends(tenant: Tenancy) -> None:
    answer = tenant.admin.post(
        "/v1/purposes", json={"name": "abc\n", "title": "x", "legal_basis": "contract"}
    )
    assert answer.status_code == 400
