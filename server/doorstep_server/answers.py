"""How refusals and failures become answers: the one mapping from exceptions to problems."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, ExceptionHandlersMap, Message, Receive, Scope, Send

from doorstep_server import logs
from doorstep_server.check_ins.journal import JournalClosed, JournalFull
from doorstep_server.keyring import KeyringUnusable
from doorstep_server.problems import MEDIA_TYPE, Refusal, problem
from doorstep_server.request_ids import scope_request_id
from doorstep_server.store.database import DatabaseUnavailable

#: what Litestar says when a body ends before its end
_GONE = "client disconnected prematurely"

CODE_KEY = "doorstep.code"
#: of a database that cannot be used, for the log alone
CAUSE_KEY = "doorstep.cause"
#: the cause where it is the keyring that cannot be used
KEYRING = "keyring"

_AnyRequest = Request[Any, Any, Any]

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemAnswer:
    """A problem as it is sent."""

    status: int
    headers: dict[str, str]
    body: bytes


def problem_answer(scope: Scope, refusal: Refusal) -> ProblemAnswer:
    """The problem of a refusal; the request's log line gets its code."""
    scope[CODE_KEY] = refusal.kind.code  # type: ignore[literal-required]
    headers = {}
    if refusal.kind.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    body = msgspec.json.encode(problem(refusal, scope_request_id(scope)))
    return ProblemAnswer(status=refusal.kind.status, headers=headers, body=body)


def refusal_for(scope: Scope, error: Exception) -> Refusal:
    """What is answered where a route of ours raises; what the operator should know is logged."""
    match error:
        case Refusal():
            return error
        case DatabaseUnavailable():
            scope[CAUSE_KEY] = error.code  # type: ignore[literal-required]
        case KeyringUnusable():
            scope[CAUSE_KEY] = KEYRING  # type: ignore[literal-required]
            # nothing can be sealed or checked now; the operator has to see to it
            logs.failure(error, request_id=scope_request_id(scope))
        case JournalFull() | JournalClosed():
            pass
        case _:
            logs.failure(error, request_id=scope_request_id(scope))
            return Refusal("internal")
    return Refusal("unavailable")


def refused(request: _AnyRequest, refusal: Refusal) -> Response[bytes]:
    """Answer with a refusal's problem."""
    answer = problem_answer(request.scope, refusal)
    return Response(
        answer.body, status_code=answer.status, media_type=MEDIA_TYPE, headers=answer.headers
    )


def failed(request: _AnyRequest, error: Exception) -> Response[bytes]:
    """The database, the journal or the keyring takes nothing now, or a fault of ours."""
    return refused(request, refusal_for(request.scope, error))


def http_exception(request: _AnyRequest, error: HTTPException) -> Response[bytes]:
    """What Litestar refuses itself. Its own texts quote the input, so none of them is used."""
    match error:
        case NotFoundException():
            code = "not-found"
        case MethodNotAllowedException():
            code = "method-not-allowed"
        case RequestEntityTooLarge():
            code = "body-too-large"
        case InternalServerException() if error.detail == _GONE:
            code = "body-incomplete"
        case ValidationException() if _lacks_body(error):
            code = "malformed-json"
        case _ if error.status_code < 500:
            code = "invalid-parameter"
        case _:
            return failed(request, error)
    response = refused(request, Refusal(code))
    if isinstance(error, MethodNotAllowedException):
        response.headers["allow"] = _allow((error.headers or {})["allow"].split(", "))
    return response


def _lacks_body(error: HTTPException) -> bool:
    """Litestar takes an empty body for a missing argument."""
    faults = error.extra if isinstance(error.extra, list) else []
    return any(isinstance(fault, dict) and fault.get("key") == "data" for fault in faults)


async def before(request: _AnyRequest) -> Response[None] | None:
    """Before any route: OPTIONS is answered here, and what no route takes is refused."""
    if request.method == "OPTIONS":
        return _options(request)
    _refuse_other_spellings(request)
    _refuse_unknown_parameters(request)
    return None


def _refuse_other_spellings(request: _AnyRequest) -> None:
    """Ids and numbers in an address: Python reads braces and other scripts' digits, too."""
    parts = set(request.scope["path"].lower().split("/"))
    for value in request.path_params.values():
        if isinstance(value, str) and "\0" in value:
            # nothing is named so: no text that is kept has it
            raise Refusal("not-found")
        if isinstance(value, UUID) and parts.isdisjoint({str(value), value.hex}):
            raise Refusal("not-found")
        if isinstance(value, int) and str(value) not in parts:
            raise Refusal("not-found")


def _options(request: _AnyRequest) -> Response[None]:
    """Every method of the address; Litestar names those of one handler only."""
    template = request.scope["path_template"]
    routes = [r for r in request.app.routes if isinstance(r, HTTPRoute)]
    methods = {m for route in routes if route.path_format == template for m in route.methods}
    return Response(None, status_code=204, headers={"allow": _allow(methods)})


def _allow(methods: Iterable[str]) -> str:
    """The header: HEAD is taken wherever GET is (`heads`)."""
    taken = set(methods)
    return ", ".join(sorted(taken | {"HEAD"} if "GET" in taken else taken))


def _refuse_unknown_parameters(request: _AnyRequest) -> None:
    """A mistyped filter must not silently list everything, and a repeated one not half of it."""
    if not request.query_params:
        return
    handler = request.route_handler
    takes = handler.parsed_fn_signature.parameters
    providers = [p for name, p in handler.resolve_dependencies().items() if name in takes]
    known = {name for p in providers for name in p.parsed_fn_signature.parameters}
    items = list(request.query_params.multi_items())
    given = {name for name, _ in items}
    # Litestar takes "null" for a parameter that was not given
    nothing = any(value.lower() == "null" for _, value in items)
    if nothing or not given <= known or len(given) < len(items):
        raise Refusal("invalid-parameter")


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    Refusal: refused,
    HTTPException: http_exception,
    Exception: failed,
}


#: as they are sent
_SECURITY_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


def common_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Of every answer, unless it says otherwise itself."""
    return [(b"x-request-id", scope_request_id(scope).encode()), *_SECURITY_HEADERS]


def headed(app: ASGIApp) -> ASGIApp:
    """Put them on every answer, those of unknown addresses included."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = list(message["headers"])
                names = {name.lower() for name, _ in said}
                said += [header for header in common_headers(scope) if header[0] not in names]
                message["headers"] = said
            await send(message)

        await app(scope, receive, send_headed)

    return wrapped


def heads(app: ASGIApp) -> ASGIApp:
    """Answer HEAD as GET is answered, without the body: probes and caches ask so."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return

        async def send_bare(message: Message) -> None:
            # the server and the log read the method again
            scope["method"] = "HEAD"
            await send(
                {**message, "body": b""} if message["type"] == "http.response.body" else message
            )

        scope["method"] = "GET"
        await app(scope, receive, send_bare)

    return wrapped
