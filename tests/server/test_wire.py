"""Bad input gets a clear refusal: never a 500, never a guess, and nothing of it comes back."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_server import wire
from world import DATABASES, Phone, Tenancy, World

CANARY = "canary-7391"


@pytest.fixture(scope="module")
def world(shared_world: World) -> World:
    return shared_world


@pytest.fixture(scope="module")
def tenant(world: World) -> Tenancy:
    world.first.site()
    return world.first


@pytest.fixture(scope="module")
def phone(tenant: Tenancy) -> Phone:
    return tenant.phone()


@pytest.fixture(params=DATABASES)
def breakable(
    request: pytest.FixtureRequest, worlds: Callable[[str], AbstractContextManager[World]]
) -> Iterator[World]:
    """Of one test's own."""
    with worlds(request.param) as world:
        yield world


def send(phone: Phone, body: bytes, **headers: str) -> Any:
    given = {"Content-Type": "application/json", **headers}
    return phone.request("POST", "/v1/check-ins", content=body, headers=given)


def refused(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


#: what may stand in JSON, and nearly; names and strings that look like the ends of names
_PIECES = st.sampled_from(
    [
        '"a"',
        '"b"',
        '":"',
        '""',
        '"\\\\"',
        '"a\\":"',
        "1",
        "null",
        "NaN",
        "é",
        ":",
        ",",
        " ",
        "{",
        "}",
        "[",
        "]",
    ]
)
_NAMES = st.sampled_from(["a", "b", "ab", "", ":", ":a", " :", "a:", '"', "\\"])


def _texts() -> st.SearchStrategy[str]:
    """JSON with repeated members in places."""
    values = st.one_of(st.just("1"), _NAMES.map(json.dumps))

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        member = st.tuples(_NAMES.map(json.dumps), st.sampled_from(["", " "]), inner)
        members = st.lists(member.map(lambda m: f"{m[0]}{m[1]}:{m[2]}"), max_size=4)
        lists = st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        return members.map(lambda found: "{" + ",".join(found) + "}") | lists

    return st.recursive(values, larger, max_leaves=12)


@given(text=_texts() | st.lists(_PIECES, max_size=12).map("".join))
def test_what_looks_plain_by_a_glance_is_plain(text: str) -> None:
    """And what is plain, and has nothing escaped or that looks like a name, is so by a glance.

    Whether it is JSON at all is found when it is decoded.
    """
    body = text.encode()
    with suppress(msgspec.DecodeError):
        msgspec.json.decode(body)
        if wire._is_surely_plain(body):
            wire._require_plain(body)  # raises a refusal of what is not


def test_a_usual_body_is_seen_to_be_plain_by_a_glance(phone: Phone) -> None:
    claims = {"check_ins": [phone.claim(), phone.claim()]}
    assert wire._is_surely_plain(json.dumps(claims).encode())
    assert wire._is_surely_plain(json.dumps(claims, indent=1).encode())
    assert not wire._is_surely_plain(b'{"fix":{"lat":1,"lon":2,"lat":1}}')


@pytest.mark.parametrize("member", ["lat", "lon", "accuracy_m"])
@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e308", "1e999", '"nan"', '"12.5"', "true", "[]"]
)
def test_a_number_is_a_number(phone: Phone, member: str, text: str) -> None:
    body = phone.claim()
    body["fix"][member] = "HERE"
    answer = send(phone, json.dumps(body).replace('"HERE"', text).encode())
    assert answer.status_code == 400


@pytest.mark.parametrize(("member", "value"), [("lat", 90.1), ("lon", -180.5), ("accuracy_m", -1)])
def test_a_number_out_of_range_is_refused_with_its_place(
    phone: Phone, member: str, value: float
) -> None:
    answer = phone.check_in(phone.claim(fix={member: value}))
    refused(answer, 400, "invalid-body")
    assert answer.json()["at"] == f"fix.{member}"


@pytest.mark.parametrize(
    "member", ["tenant_id", "outcome", "received_at", "subject_id", "stored", CANARY]
)
def test_an_unknown_member_is_refused(world: World, phone: Phone, member: str) -> None:
    before = world.rows("SELECT count(*) FROM check_ins")
    refused(phone.check_in(phone.claim() | {member: "x"}), 400, "invalid-body")
    refused(phone.check_in(phone.claim(fix={member: "x"})), 400, "invalid-body")
    assert world.rows("SELECT count(*) FROM check_ins") == before


@pytest.mark.parametrize("where", ["top", "fix"])
def test_a_repeated_member_is_refused(phone: Phone, where: str) -> None:
    body = json.dumps(phone.claim())
    twice = (
        body.replace('"purpose"', '"purpose": "visit", "purpose"')
        if where == "top"
        else body.replace('"lat"', '"lat": 1.0, "lat"')
    )
    refused(send(phone, twice.encode()), 400, "malformed-json")
    escaped = body.replace('"lat"', '"lat": 1.0, "\\u006cat"')
    refused(send(phone, escaped.encode()), 400, "malformed-json")


def broken_bodies() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "cut", b'{"id": "'
    yield "two documents", b"{} {}"
    yield "byte order mark", b"\xef\xbb\xbf{}"
    yield "UTF-16", '{"id": 1}'.encode("utf-16")
    yield "bad UTF-8 in a value", b'{"id": "\xff\xfe"}'
    yield "bad UTF-8 in a name", b'{"\xc3\x28": 1}'
    yield "lone surrogate", b'{"id": "\\ud800"}'
    yield "deep lists", b"[" * 30_000
    yield "deep lists in a member", b'{"fix": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    yield "deep objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    yield "a list", b"[]"
    yield "null", b"null"
    yield "a huge number", b'{"id": ' + b"9" * 30_000 + b"}"
    yield "a NUL byte", b'{"id": "\x00"}'


@pytest.mark.parametrize(
    "body", [b for _, b in broken_bodies()], ids=[n for n, _ in broken_bodies()]
)
@pytest.mark.parametrize("path", ["/v1/check-ins", "/v1/check-ins/batch"])
def test_what_is_no_document_is_refused(phone: Phone, path: str, body: bytes) -> None:
    answer = phone.request("POST", path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "body", [b for _, b in broken_bodies()], ids=[n for n, _ in broken_bodies()]
)
def test_a_broken_item_spoils_a_batch_only_where_json_ends(phone: Phone, body: bytes) -> None:
    good = json.dumps(phone.claim()).encode()
    whole = b'{"check_ins": [' + good + b", " + (body or b"null") + b"]}"
    answer = phone.request(
        "POST", "/v1/check-ins/batch", content=whole, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {200, 400}
    if answer.status_code == 200:
        assert [r["status"] for r in answer.json()["results"]][:2] == [201, 400]


def test_a_body_nested_100000_deep_is_refused(tenant: Tenancy) -> None:
    for body in (b"[" * 100_000, b'{"geofence": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        answer = tenant.admin.request(
            "POST", "/v1/sites", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400


def test_a_large_body_is_refused_whether_announced_or_not(phone: Phone) -> None:
    large = b'{"id": "' + b"x" * 70_000 + b'"}'
    refused(send(phone, large), 413, "body-too-large")

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000

    answer = phone.request(
        "POST", "/v1/check-ins", content=pieces(), headers={"Content-Type": "application/json"}
    )
    refused(answer, 413, "body-too-large")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "identity, br"},
    ],
)
def test_a_body_that_is_not_plain_json_is_refused(phone: Phone, headers: dict[str, str]) -> None:
    refused(
        send(phone, json.dumps(phone.claim()).encode(), **headers), 415, "unsupported-media-type"
    )


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_a_charset_that_says_the_obvious_is_fine(phone: Phone, kind: str) -> None:
    answer = send(phone, json.dumps(phone.claim()).encode(), **{"Content-Type": kind})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=abc", "limit=1&limit=2", "limit=1&limt=2",
              "site_id=x", "subject_id=null", "since=12",
              "since=2026-03-10T00:00:00", "until=0001-01-01T00:00:00%2B14:00", f"{CANARY}=1"]
)  # fmt: skip
def test_a_query_that_is_not_understood_is_refused(tenant: Tenancy, query: str) -> None:
    answer = tenant.admin.get(f"/v1/check-ins?{query}", headers={"Doorstep-Purpose": "visit"})
    refused(answer, 400, "invalid-parameter")


def test_problems_carry_nothing_of_what_was_sent(tenant: Tenancy, phone: Phone) -> None:
    """Every way to be refused that we know, with a canary in each place that could come back."""
    claim = phone.claim()
    tries = [
        phone.check_in(claim | {CANARY: 1}),
        phone.check_in(claim | {"purpose": CANARY}),
        phone.check_in(claim | {"id": CANARY}),
        phone.check_in(claim | {"action": CANARY}),
        phone.check_in(claim | {"fix": claim["fix"] | {"source": CANARY.upper()}}),
        phone.check_in(claim | {"fix": claim["fix"] | {"captured_at": CANARY}}),
        send(phone, CANARY.encode()),
        phone.put("/v1/device/permission", json={"state": CANARY, "sequence": 1}),
        tenant.admin.get(f"/v1/sites/{CANARY}"),
        tenant.admin.get(f"/v1/sites?cursor={CANARY}"),
        tenant.admin.get(f"/v1/purposes/{CANARY}"),
        tenant.admin.get("/v1/subjects", headers={"Doorstep-Purpose": CANARY}),
        tenant.admin.post("/v1/sites", json={"name": CANARY, "timezone": CANARY, "geofence": {}}),
        tenant.admin.post(
            "/v1/sites",
            json={"name": "x", "timezone": "UTC", "geofence": {"type": CANARY, CANARY: CANARY}},
        ),
        tenant.admin.request(CANARY, "/v1/sites"),
        tenant.admin.delete(f"/v1/sites?{CANARY}"),
        tenant.admin.get(f"/{CANARY}"),
        tenant.admin.get(f"/problems/{CANARY}"),
        tenant.enroll(CANARY),
    ]
    for answer in tries:
        assert 400 <= answer.status_code < 500, answer.text
        whole = answer.text + repr(answer.headers)
        assert CANARY.lower() not in whole.lower()


def test_a_fault_of_ours_is_a_problem_too(breakable: World) -> None:
    breakable.first.site()
    phone = breakable.first.phone()
    breakable.rows("ALTER TABLE check_ins RENAME TO elsewhere")
    answer = phone.check_in(phone.claim())
    assert answer.status_code in {500, 503}
    assert answer.headers["content-type"] == "application/problem+json"
    assert "elsewhere" not in answer.text


def test_an_unavailable_database_is_503_with_a_time_to_wait(breakable: World) -> None:
    breakable.first.site()
    phone = breakable.first.phone()
    breakable.rows("DROP TABLE receipts")
    answer = phone.check_in(phone.claim())
    refused(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_a_405_says_what_is_taken_instead(tenant: Tenancy) -> None:
    answer = tenant.admin.request("PATCH", "/v1/sites")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))
