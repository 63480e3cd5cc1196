"""Check-ins that are answered in front of Litestar are answered as Litestar's own routes would."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar.types import ASGIApp

from doorstep_server import answers
from doorstep_server.front import front
from world import FAR_OUTSIDE, Phone, World

ONE, MANY = "/v1/check-ins", "/v1/check-ins/batch"
JSON = {"content-type": "application/json"}

#: what is sent to which address, made anew for each of both ways
Sent = Callable[[Phone], tuple[str, dict[str, str], bytes]]


def body(phone: Phone, **changes: Any) -> bytes:
    return json.dumps({**phone.claim(), **changes}).encode()


def batch(*items: Any) -> bytes:
    return json.dumps({"check_ins": items}).encode()


def told(phone: Phone, **changes: Any) -> dict[str, Any]:
    """A claim that is a verdict."""
    found = {"reason": "outside", "captured_at": phone.clock.now.isoformat(), "bundle_version": 1}
    claim = phone.claim(purpose="judged") | {"verdict": found} | changes
    del claim["fix"]
    return claim


CASES: dict[str, Sent] = {
    "a verdict": lambda p: (ONE, JSON, json.dumps(told(p)).encode()),
    "a verdict that is not taken": lambda p: (
        ONE,
        JSON,
        json.dumps(told(p, purpose="visit")).encode(),
    ),
    "a fix that is not taken": lambda p: (ONE, JSON, body(p, purpose="judged")),
    "a fix and a verdict": lambda p: (ONE, JSON, body(p, verdict=told(p)["verdict"])),
    "verdicts in a batch": lambda p: (MANY, JSON, batch(told(p), p.claim(), told(p, verdict={}))),
    "inside": lambda p: (ONE, JSON, body(p)),
    "outside": lambda p: (ONE, JSON, json.dumps(p.claim(FAR_OUTSIDE)).encode()),
    "with a charset": lambda p: (
        ONE,
        {"content-type": JSON["content-type"] + "; charset=utf-8"},
        body(p),
    ),
    "a query": lambda p: (f"{ONE}?x=1", JSON, body(p)),
    "a query that is empty": lambda p: (f"{ONE}?", JSON, body(p)),
    "a slash more": lambda p: (f"{ONE}/", JSON, body(p)),
    "no such purpose": lambda p: (ONE, JSON, body(p, purpose="other")),
    "an id that is not random": lambda p: (
        ONE,
        JSON,
        body(p, id="00000000-0000-1000-8000-000000000000"),
    ),
    "no such member": lambda p: (ONE, JSON, body(p, more=1)),
    "a member twice": lambda p: (ONE, JSON, body(p)[:-1] + b', "action": "in", "action": "in"}'),
    "no JSON": lambda _: (ONE, JSON, b"{"),
    "nothing": lambda _: (ONE, JSON, b""),
    "too much": lambda _: (ONE, JSON, b" " * 70_000),
    "another type": lambda p: (ONE, {"content-type": "text/plain"}, body(p)),
    "no type": lambda p: (ONE, {}, body(p)),
    "encoded": lambda p: (ONE, {**JSON, "content-encoding": "gzip"}, body(p)),
    "not encoded, said so": lambda p: (ONE, {**JSON, "content-encoding": "identity"}, body(p)),
    "a batch": lambda p: (MANY, JSON, batch(p.claim(), p.claim(FAR_OUTSIDE), {"id": 1}, 2)),
    "an empty batch": lambda _: (MANY, JSON, batch()),
    "a batch too large": lambda _: (MANY, JSON, batch(*[{}] * 501)),
    "no batch": lambda _: (MANY, JSON, b"[]"),
}


@pytest.fixture(scope="module")
def phone(shared_world: World) -> Phone:
    """One for all: an answer does not depend on what was asked before."""
    shared_world.first.site()
    shared_world.first.purpose("judged", judged_by="device")
    return shared_world.first.phone()


@contextmanager
def handled_by(world: World, handler: ASGIApp) -> Iterator[None]:
    """All requests go there meanwhile."""
    app = world.client.app
    usual = app.asgi_handler
    app.asgi_handler = handler
    try:
        yield
    finally:
        app.asgi_handler = usual


def behind(world: World) -> ASGIApp:
    """Litestar, with nothing in front."""
    return answers.headed(answers.heads(world.client.app._create_asgi_handler()))


def comparable(answer: Any) -> tuple[Any, ...]:
    """What does not differ from one request to the next."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    headers.pop("content-length")
    return answer.status_code, headers, _without_ids(answer.json())


#: of one request alone; a decision is sealed with the id
IDS = {"id", "request_id", "decision"}


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_ids(each) for name, each in value.items() if name not in IDS}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
def test_both_ways_answer_alike(shared_world: World, phone: Phone, name: str) -> None:
    path, headers, content = CASES[name](phone)
    headers = {"authorization": f"Bearer {phone.token}", **headers}
    first = shared_world.client.post(path, headers=headers, content=content)
    path, _, content = CASES[name](phone)
    with handled_by(shared_world, behind(shared_world)):
        second = shared_world.client.post(path, headers=headers, content=content)
    assert comparable(first) == comparable(second)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer dst_x", "Basic dst_x", "Bearer \xff"]
)
@pytest.mark.parametrize("path", [ONE, MANY])
def test_who_is_not_known_is_refused_alike(
    shared_world: World, phone: Phone, header: str | None, path: str
) -> None:
    headers: dict[str, Any] = {**JSON}
    if header is not None:
        headers["authorization"] = header.encode("latin-1")
    first = shared_world.client.post(path, headers=headers, content=body(phone))
    with handled_by(shared_world, behind(shared_world)):
        second = shared_world.client.post(path, headers=headers, content=body(phone))
    assert first.status_code == 401
    assert comparable(first) == comparable(second)


def test_a_replay_is_the_same_bytes_by_either_way(shared_world: World, phone: Phone) -> None:
    headers = {"authorization": f"Bearer {phone.token}", **JSON}
    content = body(phone)
    first = shared_world.client.post(ONE, headers=headers, content=content)
    with handled_by(shared_world, behind(shared_world)):
        second = shared_world.client.post(ONE, headers=headers, content=content)
    third = shared_world.client.post(ONE, headers=headers, content=content)
    assert first.content == second.content == third.content
    assert "doorstep-replayed" not in first.headers
    assert second.headers["doorstep-replayed"] == third.headers["doorstep-replayed"] == "true"


def test_the_front_takes_what_is_plain(shared_world: World, phone: Phone) -> None:
    """Else the comparison would be of one way with itself."""
    reached: list[str] = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await behind(shared_world)(scope, receive, send)

    with handled_by(shared_world, front(note, shared_world.services)):
        assert phone.check_in(phone.claim()).status_code == 201
        assert phone.post(MANY, {"check_ins": [phone.claim()]}).status_code == 200
        assert reached == []
        assert phone.get(ONE).status_code == 200
        # whose length is not what it says
        headers = {"content-length": "10", "transfer-encoding": "chunked"}
        phone.post(ONE, {}, headers=headers)
    assert reached == [ONE, ONE]
