"""Addresses, parameters, headers and methods: what is not as described is refused, not guessed."""

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from litestar.routes import HTTPRoute
from litestar.types import Message

from doorstep_server.asgi import logged
from doorstep_server.problems import TYPES
from world import SQUARE, Phone, Tenancy, World

MARKER = "marker-90c4"
REASON = {"Doorstep-Purpose": "support"}


@pytest.fixture(scope="module")
def world(shared_world: World) -> World:
    return shared_world


@pytest.fixture(scope="module")
def tenant(world: World) -> Tenancy:
    return world.first


@pytest.fixture(scope="module")
def phone(tenant: Tenancy) -> Phone:
    return tenant.phone()


@pytest.fixture(scope="module")
def site_id(tenant: Tenancy) -> str:
    return str(tenant.site()["id"])


def clear(answer: httpx.Response, *codes: str) -> None:
    """A whole problem in our words only."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    kind = TYPES[problem["code"]]
    assert kind.code in codes
    assert (
        problem.items()
        >= {
            "type": f"/problems/{kind.code}",
            "title": kind.title,
            "detail": kind.advice,
            "status": answer.status_code,
            "request_id": answer.headers["x-request-id"],
        }.items()
    )
    assert kind.status == answer.status_code
    assert MARKER not in answer.text + repr(answer.headers)


def addresses(world: World, method: str) -> dict[str, str]:
    """Every route of a method by its template, at an address that could be one of it."""
    kinds = {"str": "visit", "uuid": str(uuid4()), "int": "1"}
    return {
        route.path: re.sub(r"\{\w+:(\w+)\}", lambda match: kinds[match[1]], route.path)
        for route in world.client.app.routes
        if isinstance(route, HTTPRoute) and method in route.methods
    }


# -- query -----------------------------------------------------------------------------------

UNKNOWN = [f"{MARKER}=1", MARKER, f"{MARKER}=%zz", "%zz=1", "%ff=1", "%00=1", "=", f"={MARKER}",
           "limit%00=1", "Limit=1", "limit[]=1", "limit=1;x=2"]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_no_route_takes_an_unknown_parameter(
    world: World, tenant: Tenancy, phone: Phone, method: str
) -> None:
    tried = 0
    for query in UNKNOWN:
        for template, address in addresses(world, method).items():
            tried += 1
            of_device = template.startswith(
                ("/v1/check-ins", "/v1/device", "/v1/sites/bundle")
            ) and not (
                template == "/v1/devices" or "{device_id" in template or "/position" in template
            )
            api = phone if of_device else tenant.admin
            answer = world.client.request(
                method, f"{address}?{query}", headers={"Authorization": f"Bearer {api.token}"}
            )
            clear(answer, "invalid-parameter")
    assert tried >= len(UNKNOWN)


@pytest.mark.parametrize(
    "value",
    ["", "0", "501", "-1", "-0", "+1", "01", "1.5", "1e", "0x1", "1_0", "%201", "1%20", "1%00",
     "true", "null", "NULL", "None", "NaN", "Infinity", "1e400", "%EF%BC%91", "%ff", "%c0%b1",
     "%ed%a0%80", "%", "%zz", MARKER, "9" * 5_000, "1&limit=1", "1&limit=2"],
)  # fmt: skip
def test_a_limit_is_a_number_of_the_list(tenant: Tenancy, value: str) -> None:
    for path in ("/v1/sites", "/v1/purposes", "/v1/api-keys", "/v1/devices"):
        clear(tenant.admin.get(f"{path}?limit={value}", headers=REASON), "invalid-parameter")
    assert tenant.admin.get("/v1/sites?limit=1").status_code == 200


@pytest.mark.parametrize("value", ["", "null", "Null", "%00", "%ff", MARKER, "A" * 900, "..%2f"])
def test_a_cursor_is_one_of_ours(tenant: Tenancy, value: str) -> None:
    answer = tenant.admin.get(f"/v1/sites?cursor={value}")
    clear(answer, "invalid-cursor", "invalid-parameter")


@pytest.mark.parametrize("name", ["site_id", "subject_id", "since", "until"])
@pytest.mark.parametrize(
    "value",
    ["", "null", "NULL", "none", "0", "%00", "%ff", "true", MARKER, "urn:uuid:ID", "{ID}", "ID0",
     "ID%00", "%EF%BC%91", "1773144000", "2026-03-10", "2026-03-10T00:00:00",
     "2026-02-30T00:00:00Z", "2026-03-10T00:00:00%2B99:00"],
)  # fmt: skip
def test_a_filter_that_is_not_understood_lists_nothing(
    tenant: Tenancy, name: str, value: str
) -> None:
    query = f"{name}={value.replace('ID', str(uuid4()))}"
    clear(tenant.admin.get(f"/v1/check-ins?{query}", headers=REASON), "invalid-parameter")


# -- addresses -------------------------------------------------------------------------------


def other_spellings(known: str) -> list[str]:
    """What Python's UUID reads as the same, and what it does not."""
    bare = UUID(known).hex
    return [
        f"{{{known}}}",
        f"urn:uuid:{known}",
        f"urn:{known}",
        f"{bare[:1]}-{bare[1:]}",
        f"{bare}-",
        f"-{bare}",
        known.translate({ord(str(d)): chr(0xFF10 + d) for d in range(10)}),
        known.translate({ord(str(d)): chr(0x0660 + d) for d in range(10)}),
        f"{known}0",
        known[:-1],
        f"{known}%00",
        f"%00{known}",
        f"{known}%20",
        f"{known}%2Fversions%2F1%2Fx",
        f"{known},{known}",
        f"{known};x",
        "%ff%fe",
        "%ed%a0%80",
        "%zz",
        "..%2f..%2f",
        MARKER,
        "x" * 20_000,
        "0",
        "null",
        "00000000-0000-0000-0000-000000000000",
    ]


def test_an_id_in_an_address_is_written_as_one(tenant: Tenancy, site_id: str) -> None:
    for spelled in other_spellings(site_id):
        for method, path in [
            ("GET", f"/v1/sites/{spelled}"),
            ("GET", f"/v1/sites/{spelled}/versions"),
            ("DELETE", f"/v1/sites/{spelled}"),
            ("DELETE", f"/v1/devices/{spelled}"),
            ("POST", f"/v1/subjects/{spelled}/enrollments"),
        ]:
            clear(tenant.admin.request(method, path), "not-found")
    for same in (site_id, site_id.upper(), UUID(site_id).hex):
        assert tenant.admin.get(f"/v1/sites/{same}").json()["id"] == site_id
        assert tenant.admin.get(f"/v1/sites/{same}").json()["active"] is True


@pytest.mark.parametrize(
    "name", ["%00", "visit%00", "%ff", "VISIT", "visit%20", "%EF%BD%96isit", MARKER, "x" * 20_000]
)
def test_a_name_in_an_address_is_taken_as_it_is(tenant: Tenancy, name: str) -> None:
    clear(tenant.admin.get(f"/v1/purposes/{name}"), "not-found")
    clear(tenant.admin.delete(f"/v1/api-keys/{name}"), "not-found")


@pytest.mark.parametrize(
    "path",
    ["/openapi.json/x", "/openapi.json/x/y", "/openapi.json/openapi.json", "/docs/x", "/v1", "/v2",
     f"/{MARKER}", f"/openapi.json/{MARKER}", f"/assets/{MARKER}", f"/problems/{MARKER}",
     "/%00", "/%ff", "/v1/sites%00", "/V1/sites", "/v1/sites.json", "/favicon.ico",
     "/" + "x" * 20_000],
)  # fmt: skip
def test_an_unknown_address_is_a_problem_like_any_other(world: World, path: str) -> None:
    clear(world.client.get(path), "not-found")


# -- headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"Bearer \xff\xfe", b"\xc3\x28", MARKER.encode(), b"Basic eDp5",
     b"Bearer " + b"x" * 200_000, b"TOKEN", b"Bearer  TOKEN", b"Bearer TOKEN\x00",
     b"Bearer TOKEN x", b"Bearer TOKEN,Bearer TOKEN",
     b"Bearer\tTOKEN", b"Bearer \xa0TOKEN", b"Bearer TOKE\xce\x9d"],
)  # fmt: skip
def test_credentials_are_taken_as_they_were_given(phone: Phone, value: bytes) -> None:
    header = value.replace(b"TOKEN", phone.token.encode())
    answer = phone.client.get("/v1/device", headers=[(b"Authorization", header)])
    clear(answer, "unauthorized")
    assert phone.token not in answer.text


@pytest.mark.parametrize(
    "value",
    [b"", b"\xff", b"visit\x00", b"VISIT", b"visit, support", MARKER.encode(), b"x" * 200_000],
)
def test_a_reason_is_one_of_the_known(tenant: Tenancy, value: bytes) -> None:
    headers = [
        (b"Authorization", f"Bearer {tenant.new.api_key}".encode()),
        (b"Doorstep-Purpose", value),
    ]
    clear(tenant.world.client.get("/v1/subjects", headers=headers), "purpose-required")


@pytest.mark.parametrize("value", [b"\xff", b'"<>', b"a b", b"x/y"])
def test_a_host_that_is_none_is_refused(world: World, value: bytes) -> None:
    clear(world.client.get("/health/live", headers=[(b"Host", value)]), "invalid-parameter")


def test_headers_that_nobody_reads_change_nothing(world: World) -> None:
    answer = world.client.get(
        "/health/live",
        headers=[
            (b"X-Request-Id", MARKER.encode()),
            (b"X-Large", b"x" * 200_000),
            (b"X-Odd", b"\xff"),
        ],
    )
    assert answer.status_code == 200
    assert MARKER not in repr(answer.headers)


# -- methods ---------------------------------------------------------------------------------


def taken(world: World) -> dict[str, set[str]]:
    """The methods of each address, as the handlers say."""
    found: dict[str, set[str]] = {}
    for route in world.client.app.routes:
        assert isinstance(route, HTTPRoute)
        methods = {m for handler in route.route_handlers for m in handler.http_methods}
        found.setdefault(route.path, set()).update(methods)
    return found


def test_options_and_a_405_name_every_method_of_an_address(world: World) -> None:
    for path, address in addresses(world, "OPTIONS").items():
        methods = taken(world)[path]
        expected = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        options = world.client.request("OPTIONS", address)
        assert (options.status_code, options.headers["allow"]) == (204, expected), path
        assert options.content == b""
        for method in ("PATCH", "TRACE", MARKER.upper()):
            refused = world.client.request(method, address)
            clear(refused, "method-not-allowed")
            assert refused.headers["allow"] == expected, path
    assert taken(world)["/v1/sites"] == {"GET", "POST", "OPTIONS"}


def test_head_is_get_without_the_body(world: World, tenant: Tenancy, phone: Phone) -> None:
    for address in addresses(world, "GET").values():
        for api in (tenant.admin, phone):
            headers = {"Authorization": f"Bearer {api.token}", **REASON}
            get, head = (
                world.client.request(m, address, headers=headers, follow_redirects=False)
                for m in ("GET", "HEAD")
            )
            assert head.content == b""
            assert head.status_code == get.status_code, address
            own = {"x-request-id": ""}
            assert {**head.headers, **own} == {**get.headers, **own}
    assert world.client.head("/health/live").status_code == 200
    assert world.client.head("/v1/sites").status_code == 401
    assert world.client.head("/v1/enrollments").status_code == 405


def test_a_head_is_logged_and_served_as_one(world: World) -> None:
    """The server that counts a body's bytes, and the log, see the method that was sent."""
    scope: Any = {
        "type": "http",
        "method": "HEAD",
        "path": "/health/live",
        "raw_path": b"/health/live",
        "query_string": b"",
        "headers": [],
        "asgi": {"version": "3.0"},
    }
    seen: list[tuple[str, str, bytes]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        seen.append((scope["method"], message["type"], message.get("body", b"")))  # type: ignore[arg-type]

    asyncio.run(logged(world.client.app, world.services.meters)(scope, receive, send))
    assert seen == [("HEAD", "http.response.start", b""), ("HEAD", "http.response.body", b"")]
    assert scope["method"] == "HEAD"


# -- text that no database keeps ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/sites", {"name": "a\0b", "geofence": SQUARE, "timezone": "UTC"}),
        ("/v1/sites", {"name": "x", "external_id": "\0", "geofence": SQUARE, "timezone": "UTC"}),
        ("/v1/sites", {"name": "x", "groups": ["\0"], "geofence": SQUARE, "timezone": "UTC"}),
        ("/v1/sites", {"name": "x", "geofence": SQUARE, "timezone": "UTC\0"}),
        ("/v1/subjects", {"external_id": "a\0"}),
        ("/v1/subjects", {"external_id": "a", "groups": ["\0b"]}),
        ("/v1/purposes", {"name": "x", "title": "\0", "legal_basis": "contract"}),
        ("/v1/api-keys", {"name": "\0", "scopes": ["sites:read"]}),
    ],
)
def test_text_with_a_null_character_is_refused(
    tenant: Tenancy, path: str, body: dict[str, Any]
) -> None:
    answer = tenant.admin.post(path, json=body)
    assert answer.status_code in {400, 422}, answer.text


@pytest.mark.parametrize("path", ["/v1/purposes/a%00b", "/v1/api-keys/%00"])
def test_an_address_with_a_null_character_names_nothing(tenant: Tenancy, path: str) -> None:
    method = "DELETE" if "keys" in path else "GET"
    answer = tenant.admin.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_text_of_every_other_kind_comes_back_as_it_was_sent(tenant: Tenancy) -> None:
    text = "\x01\u200b\ufeff\U0001f3e0 '\"\\;--%s{}\n\x7f\u202e"
    body = {"name": text, "external_id": text, "geofence": SQUARE, "timezone": "UTC"}
    site = tenant.admin.post("/v1/sites", json={**body, "groups": [text]}).json()
    again = tenant.admin.get(f"/v1/sites/{site['id']}").json()
    assert (again["name"], again["external_id"], again["groups"]) == (text, text, [text])
