"""The ASGI application as it is served: the API, with one log line for each request."""

import asyncio
import logging
import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from doorstep_server import logs
from doorstep_server.answers import CAUSE_KEY, CODE_KEY
from doorstep_server.app import create_app
from doorstep_server.request_ids import scope_request_id
from doorstep_server.settings import Settings

#: longer than any network needs to go on, shorter than a stopping server waits
BODY_PROGRESS_S = 10.0

_OF_ANSWERS = {"code": CODE_KEY, "cause": CAUSE_KEY}
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


def asgi(settings: Settings) -> ASGIApp:
    """The application to serve."""
    return logged(patient(create_app(settings)))


def patient(app: ASGIApp, wait_s: float = BODY_PROGRESS_S) -> ASGIApp:
    """Give up on a body of which nothing more arrives, as if its sender had gone."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_soon() -> Any:
            try:
                async with asyncio.timeout(wait_s):
                    return await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}

        await app(scope, receive_soon if scope["type"] == ScopeType.HTTP else receive, send)

    return wrapped


def logged(app: ASGIApp) -> ASGIApp:
    """Log each request by what we know of it: never its address, its body or who asked."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, watch)
        finally:
            _log(scope, status, time.perf_counter() - started)

    return wrapped


def _log(scope: Any, status: int, seconds: float) -> None:
    # the code is of our table, the route is the template that matched
    logs.event(
        "request",
        level=logging.INFO if status < 500 else logging.WARNING,
        request_id=scope_request_id(scope),
        method=scope["method"] if scope["method"] in _METHODS else "other",
        route=scope.get("path_template") or "unmatched",
        status=status,
        duration_ms=round(seconds * 1000, 1),
        **{name: scope[key] for name, key in _OF_ANSWERS.items() if key in scope},
    )
