"""JSON on every route: what is none is refused as such, what is some is read, nothing is guessed.

The routes are taken from the app itself: a new one is covered on the day it is added, and fails
here until it has a valid body below.
"""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

import json_cases
from doorstep_server.app import ROUTES
from doorstep_server.auth import guard_callers
from doorstep_server.problems import TYPES
from doorstep_server.wire import BATCH_BODY_BYTES, SMALL_BODY_BYTES
from json_cases import DEPTH, LONE_SURROGATES, MARKER, REPEATED, suite
from world import Phone, Tenancy, World, assert_documented

JSON = {"Content-Type": "application/json"}
BATCH = "/v1/check-ins/batch"

#: of our own names and indexes
_PLACE = re.compile(r"[a-z_]+(\.[a-z_]+|\[\d+\]|\[\.\.\.\])*")

TAKING_BODIES = sorted(
    (method, path)
    for handler in ROUTES
    if isinstance(handler, HTTPRouteHandler) and "data" in handler.fn.__annotations__
    for method in handler.http_methods
    for path in handler.paths
)
#: whose bodies have no member that must be given
NOTHING_REQUIRED = {
    ("PUT", "/v1/device/restrictions"),
    ("PUT", "/v1/subjects/{subject_id:uuid}/restrictions"),
}
each_route = pytest.mark.parametrize(("method", "path"), TAKING_BODIES)


@pytest.fixture(scope="module")
def world(shared_world: World) -> World:
    return shared_world


@pytest.fixture(scope="module")
def phone(tenant: Tenancy) -> Phone:
    return tenant.phone()


@pytest.fixture(scope="module")
def site(tenant: Tenancy) -> dict[str, Any]:
    return tenant.site()


@pytest.fixture(scope="module")
def tenant(world: World) -> Tenancy:
    return world.first


Send = Callable[..., httpx.Response]


@pytest.fixture
def send(world: World, tenant: Tenancy, phone: Phone, method: str, path: str) -> Send:
    """Send a body to a route, as a caller that it lets through."""
    [handler] = [
        handler
        for route in world.client.app.routes
        if isinstance(route, HTTPRoute) and route.path == path
        for handler in route.route_handlers
        if method in handler.http_methods
    ]
    schemes = {c.scheme for guard in handler.guards or () for c in guard_callers(guard)}
    token = phone.token if "deviceToken" in schemes else tenant.new.api_key
    address = re.sub(r"\{\w+:str\}", "visit", re.sub(r"\{\w+:uuid\}", str(uuid4()), path))

    def request(body: bytes, headers: dict[str, str] = JSON) -> httpx.Response:
        return world.client.request(
            method, address, content=body, headers={"Authorization": f"Bearer {token}", **headers}
        )

    return request


@pytest.fixture
def document(phone: Phone, method: str, path: str) -> dict[str, Any]:
    """A body that the route takes."""
    return valid(phone, method, path)


def valid(phone: Phone, method: str, path: str) -> dict[str, Any]:
    site = {
        "name": "Office",
        "external_id": uuid4().hex,
        "geofence": {"type": "Circle", "center": [-46.655, -23.561], "radius_m": 80},
        "timezone": "America/Sao_Paulo",
        "tolerance_m": 2.5,
        "max_accuracy_m": 50,
        "purposes": ["visit"],
        "groups": ["north"],
        "active": True,
    }
    purpose = {
        "title": "Visits",
        "legal_basis": "contract",
        "level": "site",
        "time_precision_s": 900,
        "retention_days": 30,
        "max_age_s": 3600,
        "requires_consent": False,
        "active": True,
    }
    claim = phone.claim(
        site_id=str(uuid4()),
        action="in",
        sent_at=phone.clock.now.isoformat(),
        age_s=1,
        permission_epoch=0,
        fix={"mocked": False, "source": "gps"},
    )
    device = {"platform": "android", "os_version": "15", "model": "Pixel 9"}
    restrictions = {"purposes": ["visit"], "wholly": False}
    trial = {name: claim[name] for name in ("fix", "sent_at", "age_s")}
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        ("POST", "/v1/check-ins"): claim,
        ("POST", BATCH): {"check_ins": [claim], "sent_at": claim["sent_at"]},
        ("POST", "/v1/enrollments"): {
            "code": "0" * 18,
            "installation_id": uuid4().hex,
            "device": device,
        },
        ("PUT", "/v1/device/permission"): {
            "state": "precise",
            "sequence": phone.sequence + 1,
            "observed_at": claim["sent_at"],
        },
        ("POST", "/v1/subjects"): {"external_id": uuid4().hex, "groups": ["north"]},
        ("PUT", "/v1/subjects/{subject_id:uuid}/groups"): {"groups": ["north"]},
        ("PUT", "/v1/subjects/{subject_id:uuid}/restrictions"): restrictions,
        ("PUT", "/v1/device/restrictions"): restrictions,
        ("POST", "/v1/sites"): site,
        ("PUT", "/v1/sites/{site_id:uuid}"): {**site, "version": 1},
        ("POST", "/v1/sites/judge"): trial,
        ("POST", "/v1/sites/search"): {"near": {"center": [-46.655, -23.561], "radius_m": 80}},
        ("PUT", "/v1/settings"): {
            "max_speed_kmh": 900,
            "max_site_area_km2": 35_000,
            "max_level": "site",
        },
        ("POST", "/v1/purposes"): {**purpose, "name": f"p{uuid4().hex}"},
        ("PUT", "/v1/purposes/{name:str}"): {**purpose, "version": 1},
        ("POST", "/v1/api-keys"): {"name": "key", "scopes": ["sites:read"]},
        ("POST", "/v1/privacy/holds"): {
            "subject_id": str(uuid4()),
            "reason": "legal-claim",
            "expires_on": "2026-12-31",
        },
    }
    return bodies[method, path]


def clear(answer: httpx.Response, *codes: str) -> str:
    """A whole problem, of our words only, whatever was sent; its code."""
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    return told(problem, answer.status_code, answer.headers["x-request-id"], answer.text, codes)


def told(
    problem: dict[str, Any], status: int, request_id: str, text: str, codes: tuple[str, ...]
) -> str:
    code = str(problem["code"])
    assert code in (codes or TYPES), text
    kind = TYPES[code]
    assert (problem["title"], problem["detail"]) == (kind.title, kind.advice)
    assert problem["status"] == kind.status == status
    assert problem["type"] == f"/problems/{code}"
    assert problem["detail"].endswith(".")
    assert problem["request_id"] == request_id
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    assert _PLACE.fullmatch(problem.get("at", "at")), problem
    assert MARKER not in text
    return code


def unread(answer: httpx.Response, body: bytes, limit: int) -> None:
    """Refused as no JSON; or as too large, where it is that."""
    clear(answer, "malformed-json" if len(body) <= limit else "body-too-large")


# -- every route -----------------------------------------------------------------------------


def test_every_route_with_a_body_is_tried(world: World, phone: Phone) -> None:
    found = {
        (method, route.path)
        for route in world.client.app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if "data" in handler.parsed_fn_signature.parameters
        for method in handler.http_methods
    }
    assert found == set(TAKING_BODIES)
    assert len(found) >= 12


@each_route
def test_the_valid_body_is_read(send: Send, document: dict[str, Any]) -> None:
    """Without this, all of the refusals below could be for another reason."""
    answer = send(json.dumps(document).encode())
    if answer.status_code >= 400:
        clear(answer, "enrollment-code-invalid", "not-found", "site-unknown", "version-conflict")
    answer = send(b" \r\n\t" + json.dumps(document).encode() + b"\n ")
    assert answer.status_code != 400


@each_route
def test_the_json_test_suite(send: Send, path: str, world: World, method: str) -> None:
    limit = size_limit(world, method, path)
    for name, body in suite().items():
        answer = send(body)
        if name.startswith("n_"):
            unread(answer, body, limit)
        elif name in REPEATED:
            clear(answer, "malformed-json")
            assert answer.json()["reason"] == "repeated-member"
        elif name == "y_object_empty" and (method, path) in NOTHING_REQUIRED:
            # as if each member were its default
            assert answer.status_code in {200, 404}
        elif name.startswith("y_"):
            clear(answer, "invalid-body")
        else:
            clear(answer, "malformed-json", "invalid-body")


def size_limit(world: World, method: str, path: str) -> int:
    [limit] = {
        int(handler.resolve_request_max_body_size() or 0)
        for route in world.client.app.routes
        if isinstance(route, HTTPRoute) and route.path == path
        for handler in route.route_handlers
        if method in handler.http_methods
    }
    assert limit >= SMALL_BODY_BYTES
    return limit


@each_route
def test_what_is_no_plain_json_is_refused_as_that(send: Send, document: dict[str, Any]) -> None:
    for name, body in json_cases.unreadable(json.dumps(document).encode()):
        answer = send(body)
        assert clear(answer) == "malformed-json", name


@each_route
def test_what_is_nested_without_end_is_refused(
    send: Send, document: dict[str, Any], world: World, method: str, path: str
) -> None:
    limit = size_limit(world, method, path)
    for _, value in json_cases.nested():
        for body in (value, b'{"%s": %s}' % (MARKER.encode(), value)):
            unread(send(body), body, limit)
    deep = b'{"%s": %s}' % (MARKER.encode(), b"[" * 30_000 + b"]" * 30_000)
    unread(send(deep), deep, limit)


@each_route
def test_a_member_named_twice_is_refused_at_every_level(
    send: Send, document: dict[str, Any], path: str
) -> None:
    tried = 0
    for name, body in json_cases.with_repeats(document):
        tried += 1
        answer = send(body)
        if path == BATCH and answer.status_code == 200:
            [result] = answer.json()["results"]
            refusal, status, text = result, result["status"], answer.text
        else:
            refusal, status, text = answer.json(), answer.status_code, answer.text
        told(refusal, status, answer.headers["x-request-id"], text, ("malformed-json",))
        assert refusal["reason"] == "repeated-member", name
    assert tried >= 2 * len(document)


@each_route
def test_no_value_is_taken_for_one_of_another_kind(
    send: Send, document: dict[str, Any], path: str
) -> None:
    kinds = {
        int: json_cases.NO_NUMBERS,
        float: json_cases.NO_NUMBERS,
        str: json_cases.NO_TEXTS,
        bool: json_cases.NO_TRUTHS,
    }
    for name, body in json_cases.with_leaf(document, kinds):
        answer = send(body)
        if path == BATCH and answer.status_code == 200:
            [result] = answer.json()["results"]
            assert result["code"] == "invalid-body", name
        else:
            codes = {"malformed-json", "invalid-body"}
            if "geofence" in name:
                codes |= {"geofence-invalid"}
            if "version" in name:
                # an integer of any length is one, and no version that there is
                codes |= {"version-conflict", "not-found"}
            clear(answer, *codes)


@each_route
def test_lone_surrogates_are_never_taken(send: Send, document: dict[str, Any], path: str) -> None:
    for text in LONE_SURROGATES:
        clear(send(text.encode()), "malformed-json", "invalid-body")
        for name in document:
            whole = json.dumps({**document, name: "HERE"}).replace('"HERE"', text)
            clear(send(whole.encode()), "malformed-json", "invalid-body")


PLAIN = [
    "application/json",
    "Application/JSON",
    "application/json;charset=UTF-8",
    'application/json ; charset="utf-8"',
]
NOT_PLAIN = [
    None,
    "",
    "text/plain",
    "text/json",
    "*/*",
    "application/json; charset=utf-16",
    "application/json; charset=utf-32",
    "application/json; charset=latin-1",
    f"application/json; {MARKER}=1",
    "application/json, application/json",
    "application/problem+json",
    "application/geo+json",
    "application/json-seq",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    f"multipart/form-data; boundary={MARKER}",
    "multipart/form-data",
    "application/octet-stream",
    MARKER,
    "a" * 100_000,
]


@each_route
def test_only_plain_json_is_read(send: Send, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    for kind in NOT_PLAIN:
        clear(send(body, {} if kind is None else {"Content-Type": kind}), "unsupported-media-type")
    for encoding in ("gzip", "br", "deflate", "identity, gzip", "GZIP", MARKER):
        answer = send(body, {**JSON, "Content-Encoding": encoding})
        clear(answer, "unsupported-media-type")
    for kind in PLAIN:
        assert send(b"{]", {"Content-Type": kind}).json()["code"] == "malformed-json"


# -- inside of a geofence --------------------------------------------------------------------


def in_geofence(case: bytes) -> bytes:
    return (
        b'{"name": "x", "timezone": "UTC", "geofence": {"type": "Circle", "center": [0, 0],'
        b' "radius_m": 9, "%s": %s}}' % (MARKER.encode(), case)
    )


def test_the_json_test_suite_inside_of_a_geofence(tenant: Tenancy) -> None:
    """Where any value can stand: JSON is read to its end, and then judged as a geofence."""
    codes: dict[str, set[str]] = {"y": set(), "n": set(), "i": set()}
    for name, case in suite().items():
        answer = tenant.admin.request("POST", "/v1/sites", content=in_geofence(case), headers=JSON)
        code = clear(answer)
        if name not in REPEATED:
            codes[name[0]].add(code)
    assert codes["y"] == {"geofence-invalid"}
    assert codes["n"] == {"malformed-json"}
    assert codes["i"] <= {"malformed-json", "invalid-body", "geofence-invalid"}


def test_a_geofence_nested_without_end_is_refused(tenant: Tenancy) -> None:
    for _, value in json_cases.nested():
        for body in (
            in_geofence(value),
            b'{"name": "x", "timezone": "UTC", "geofence": ' + value + b"}",
            b'{"name": "x", "timezone": "UTC", "geofence": {"type": "Polygon", "coordinates": '
            + value
            + b"}}",
        ):
            answer = tenant.admin.request("POST", "/v1/sites", content=body, headers=JSON)
            clear(answer, "malformed-json")


@pytest.mark.parametrize("number", ["-0", "-0.0", "0e5", "0E-400"])
def test_zero_is_zero(phone: Phone, site: dict[str, Any], number: str) -> None:
    body = json.dumps(phone.claim(fix={"accuracy_m": "HERE"})).replace('"HERE"', number)
    answer = phone.request("POST", "/v1/check-ins", content=body.encode(), headers=JSON)
    assert answer.json()["reason"] == "accuracy_unknown"


# -- items of a batch ------------------------------------------------------------------------


def batch(phone: Phone, *items: bytes) -> httpx.Response:
    """Items, the last of which is a good one."""
    good = json.dumps(phone.claim()).encode()
    body = b'{"check_ins": [%s]}' % b", ".join([*items, good])
    answer = phone.client.request(
        "POST", BATCH, content=body, headers={"Authorization": f"Bearer {phone.token}", **JSON}
    )
    assert_documented(phone.client.app, "POST", BATCH, answer)
    return answer


def failed_alone(answer: httpx.Response, *codes: str) -> None:
    """The items but the last failed, each as a whole problem; the last was settled."""
    assert answer.status_code == 200, answer.text
    *bad, good = answer.json()["results"]
    assert good["status"] == 201
    for index, result in enumerate(bad):
        request_id = answer.headers["x-request-id"]
        told(result, result["status"], request_id, answer.text, codes)
        assert (result["index"], result["id"], result["status"]) == (index, None, 400)


def test_the_json_test_suite_as_items(phone: Phone, site: dict[str, Any]) -> None:
    """JSON is an item, and fails alone; what is none cannot be told from what is around it."""
    cases = suite()
    taken = [case for name, case in cases.items() if name[0] == "y"]
    failed_alone(batch(phone, *taken), "invalid-body", "malformed-json")
    for name, case in cases.items():
        if name[0] == "n":
            clear(batch(phone, case), "malformed-json")
        if name[0] == "i":
            either = batch(phone, case)
            if either.status_code == 200:
                failed_alone(either, "invalid-body", "malformed-json")
            else:
                assert "UTF-16" in name.upper() or "UTF16" in name or "BOM" in name
                clear(either, "malformed-json")


def test_an_item_that_cannot_be_read_fails_alone(phone: Phone, site: dict[str, Any]) -> None:
    marked = MARKER.encode()
    unreadable = [
        *(text.encode() for text in LONE_SURROGATES),
        *(b'{"%s": "%s"}' % (marked, sequence) for sequence in json_cases.BAD_UTF8.values()),
        *(value for _, value in json_cases.nested() if len(value) <= 2 * DEPTH),
        b"[" * 30_000 + b"]" * 30_000,
        b'{"id": "\\ud800", "%s": [' % marked + b'{"]}": "\\"]}", "a": [' * 2_000
        + b"]}" * 2_000 + b"]}",
        b"9" * 10_000,
        b'{"%s": 1, "%s": 2}' % (marked, marked),
    ]  # fmt: skip
    failed_alone(batch(phone, *unreadable), "malformed-json", "invalid-body")
    for item in unreadable:
        failed_alone(batch(phone, item, item), "malformed-json", "invalid-body")


def test_a_deep_item_ends_where_its_brackets_do(phone: Phone, site: dict[str, Any]) -> None:
    """Also where brackets that are not its own follow at once."""
    good = json.dumps(phone.claim())
    body = '{"check_ins":[' + good + "," + "[" * 30_000 + "]" * 30_000 + "]}"
    answer = phone.request("POST", BATCH, content=body.encode(), headers=JSON)
    assert [result["status"] for result in answer.json()["results"]] == [201, 400]


def test_an_item_may_look_like_what_is_around_it(phone: Phone, site: dict[str, Any]) -> None:
    """Items are found by where they stand, not by what they are."""
    items = [b'"check_ins"', b"{}", b"[]", b'"', b"1", b'"]}"', b'{"check_ins": []}', b'": ["']
    readable = [item for item in items if item != b'"']
    failed_alone(batch(phone, *readable), "invalid-body")
    for item in readable:
        failed_alone(batch(phone, item), "invalid-body")


@pytest.mark.parametrize(
    "body",
    [
        "[GOOD]",
        '{"check_ins": [GOOD]',
        '{"check_ins": [GOOD}',
        '{"check_ins": [GOOD,]}',
        '{"check_ins": [,GOOD]}',
        '{"check_ins": [GOOD GOOD]}',
        '{"check_ins": [GOOD]]}',
        '{"check_ins": [GOOD], "check_ins": [GOOD]}',
        '{"check_ins": [GOOD], "check\\u005fins": [GOOD]}',
        '{"check_ins": [GOOD], "sent_at": null, "sent_at": null}',
        '{"check_ins": [GOOD], "sent_at": "\\ud800"}',
        '{"check_ins": [GOOD], "MARK": 1}',
        '{"check_ins": [GOOD], 1: 1}',
        '{"check_ins": [GOOD]} MARK',
        '{"check_ins": {"0": GOOD}}',
        '{"check_ins": GOOD}',
        '{"check_ins": null}',
        '{"check_ins" [GOOD]}',
        '{"check_ins": [GOOD, NaN]}',
        '{"check_ins": [GOOD, "\t"]}',
        '{"check_ins": [GOOD, "MARK]}',
        '{"check_ins": [GOOD, ' + "[" * 30_000 + "]}",
        '{"check_ins": [GOOD, ' + "[" * 30_000 + '"]}',
        '{"check_ins": [GOOD, ' + "[" * 30_000 + "]" * 40_000 + "}",
    ],
)
def test_a_broken_batch_is_refused_whole(
    world: World, phone: Phone, site: dict[str, Any], body: str
) -> None:
    before = world.rows("SELECT count(*) FROM check_ins")
    good = json.dumps(phone.claim())
    whole = body.replace("GOOD", good).replace("MARK", MARKER)
    answer = phone.request("POST", BATCH, content=whole.encode(), headers=JSON)
    clear(answer, "malformed-json", "invalid-body")
    assert world.rows("SELECT count(*) FROM check_ins") == before


@pytest.mark.parametrize("item", ["1", "{}", '"\\ud800"'])
def test_a_batch_of_too_many_is_refused_however_many(phone: Phone, item: str) -> None:
    for count in (501, 1_000, 1_001, BATCH_BODY_BYTES // 16):
        body = '{"check_ins": [' + ",".join([item] * count) + "]}"
        answer = phone.request("POST", BATCH, content=body.encode(), headers=JSON)
        # from the thousandth on, items are not looked at one by one
        readable = "\\" not in item or count <= 1_000
        clear(answer, "batch-too-large" if readable else "malformed-json")
