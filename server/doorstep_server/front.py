"""The way in for check-ins: the two POSTs, answered in front of Litestar.

At nine in the morning everyone checks in at once, and half of what an answer costs is what a
framework does for every route. So requests that are plain (no query, one JSON content type, a
length) are read, authenticated and answered here, by the same functions that Litestar's routes of
these addresses call. Those routes describe them in OpenAPI and take whatever is not plain; a test
compares the two.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from doorstep_server.answers import common_headers, problem_answer, refusal_for
from doorstep_server.api import check_ins
from doorstep_server.callers import Caller
from doorstep_server.check_ins.claim import Claim
from doorstep_server.problems import MEDIA_TYPE, Refusal
from doorstep_server.request_ids import scope_request_id
from doorstep_server.services import Services
from doorstep_server.wire import BATCH_BODY_BYTES, SMALL_BODY_BYTES, decode

_JSON = b"application/json"
_PLAIN = frozenset({_JSON, b"application/json; charset=utf-8"})
#: a body that is not, or may be longer than, what its length says
_OTHERWISE = frozenset({b"content-encoding", b"transfer-encoding"})
#: of these there must be no second one
_SINGLE = frozenset({b"authorization", b"content-type", b"content-length"})

#: the status, headers of its own, and the body
Said = tuple[int, list[tuple[bytes, bytes]], bytes]
Answering = Callable[[Services, Caller, Scope, bytes], Awaitable[Said]]

_encoder = msgspec.json.Encoder()


async def _one(services: Services, caller: Caller, _: Scope, body: bytes) -> Said:
    claim = decode(Claim, body)
    answer, replayed = await check_ins.settle_one(services, caller, claim)
    headers = [check_ins.REPLAYED] if replayed else []
    return 201, headers, _encoder.encode(answer)


async def _many(services: Services, caller: Caller, scope: Scope, body: bytes) -> Said:
    batch = decode(check_ins.Batch, body)
    results = await check_ins.settle_batch(services, caller, batch, scope_request_id(scope))
    return 200, [], _encoder.encode(results)


@dataclass(frozen=True, slots=True)
class _Route:
    answering: Answering
    body_limit: int


_ROUTES = {
    "/v1/check-ins": _Route(_one, SMALL_BODY_BYTES),
    "/v1/check-ins/batch": _Route(_many, BATCH_BODY_BYTES),
}


def _authorization(scope: Any, body_limit: int) -> str | None:
    """Who a plain request says it is; None of one that Litestar is to look at."""
    if scope["query_string"]:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _SINGLE:
            if name in found:
                return None
            found[name] = value
        elif name in _OTHERWISE:
            return None
    length = found.get(b"content-length", b"")
    if found.get(b"content-type") not in _PLAIN or not length.isdigit():
        return None
    if not 0 < int(length) <= body_limit:
        return None
    return found.get(b"authorization", b"").decode("latin-1")


def front(app: ASGIApp, services: Services) -> ASGIApp:
    """The application behind its front."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "POST":
            route = _ROUTES.get(scope["path"])
            header = None if route is None else _authorization(scope, route.body_limit)
            if route is not None and header is not None:
                await _answer(services, route, header, (scope, receive, send))
                return
        await app(scope, receive, send)

    return wrapped


async def _answer(
    services: Services, route: _Route, header: str, connection: tuple[Any, Receive, Send]
) -> None:
    scope, receive, send = connection
    # the log names routes by their templates, and the access vault those that were let in
    scope["path_template"] = scope["path"]
    media_type = _JSON
    try:
        caller = await services.authenticator.device(header)
        scope["auth"] = caller
        body = await _body(receive)
        status, headers, said = await route.answering(services, caller, scope, body)
    except Exception as error:  # noqa: BLE001 - whatever it is becomes a problem
        problem = problem_answer(scope, refusal_for(scope, error))
        status, said, media_type = problem.status, problem.body, MEDIA_TYPE.encode()
        headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    head = [
        (b"content-type", media_type),
        (b"content-length", str(len(said)).encode()),
        *headers,
        *common_headers(scope),
    ]
    start: Any = {"type": "http.response.start", "status": status, "headers": head}
    await send(start)
    await send({"type": "http.response.body", "body": said, "more_body": False})


async def _body(receive: Receive) -> bytes:
    """The whole body: a server holds the sender to the length that it announced."""
    message: Any = await receive()
    parts: list[bytes] = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise Refusal("body-incomplete")
