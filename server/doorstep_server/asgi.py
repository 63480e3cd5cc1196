"""The ASGI application as it is served: the API, with one log line for each request."""

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from doorstep_server import logs
from doorstep_server.access_vault import Recorder, open_vault
from doorstep_server.access_vault.entries import access
from doorstep_server.answers import (
    CAUSE_KEY,
    CODE_KEY,
    KEYRING,
    common_headers,
    problem_answer,
)
from doorstep_server.app import create_app, now
from doorstep_server.meters import Meters
from doorstep_server.problems import MEDIA_TYPE, Refusal
from doorstep_server.request_ids import scope_request_id
from doorstep_server.settings import Settings

#: for a body to begin: longer than any network needs, shorter than a stopping server waits
BODY_WAIT_S = 10.0
#: and from then on no slower than this
BODY_BYTES_S = 1_000

_OF_ANSWERS = {"code": CODE_KEY, "cause": CAUSE_KEY}
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _READING | {"POST", "PUT", "DELETE", "PATCH"}


def asgi(settings: Settings) -> ASGIApp:
    """The application to serve."""
    made = create_app(settings)
    app = logged(patient(made, settings.patience_s), made.state.meters)
    vault = open_vault(settings)
    return app if vault is None else recorded(app, Recorder(vault, now))


def patient(app: ASGIApp, wait_s: float = BODY_WAIT_S) -> ASGIApp:
    """Give up on a body that arrives too slowly, as if its sender had gone."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            receive = _Patience(receive, wait_s).receive
        await app(scope, receive, send)

    return wrapped


class _Patience:
    """With the body of one request: each byte that came gives it a little more time."""

    __slots__ = ("_ended", "_receive", "_until_s")

    def __init__(self, receive: Receive, wait_s: float) -> None:
        self._receive = receive
        self._until_s = asyncio.get_running_loop().time() + wait_s
        self._ended = False

    async def receive(self) -> Any:
        """The next piece; when the body has ended, whatever comes, however late."""
        if self._ended:
            return await self._receive()
        awaiting: Any = self._receive().__await__()
        try:
            # most often it is there, and then no time needs to be watched
            waits_for = next(awaiting)
        except StopIteration as came:
            message: Any = came.value
        else:
            try:
                async with asyncio.timeout_at(self._until_s):
                    message = await _Begun(awaiting, waits_for)
            except TimeoutError:
                return {"type": "http.disconnect"}
        self._until_s += len(message.get("body", b"")) / BODY_BYTES_S
        self._ended = not message.get("more_body", False)
        return message


class _Begun:
    """The rest of an awaiting that was begun."""

    __slots__ = ("_awaiting", "_waits_for")

    def __init__(self, awaiting: Generator[Any, Any, Any], waits_for: Any) -> None:
        self._awaiting = awaiting
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait for what it waits for, and go on."""
        try:
            yield self._waits_for
        except BaseException as error:  # noqa: BLE001 - a cancellation, above all
            try:
                waits_for = self._awaiting.throw(error)
            except StopIteration as ended:
                return ended.value
            yield waits_for
        return (yield from self._awaiting)


def recorded(app: ASGIApp, recorder: Recorder) -> ASGIApp:
    """Have uses of the API recorded, from before the first request until after the last."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await _recorded(app, recorder, scope, receive, send)
            return

        # Litestar's type of messages knows none of these
        async def send_when_written(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                recorder.start()
            elif message["type"] == "lifespan.shutdown.complete":
                await asyncio.to_thread(recorder.close)
            await send(message)

        await app(scope, receive, send_when_written)

    return wrapped


async def _recorded(
    app: ASGIApp, recorder: Recorder, scope: Any, receive: Receive, send: Send
) -> None:
    used, answer = access(now(), scope.get("client")), _Answer()
    try:
        await app(scope, receive, answer.watched(send))
    finally:
        if used is not None and _is_use(scope, answer.status):
            recorder.record(used)


def _is_use(scope: Any, status: int) -> bool:
    """Whether a request sends something, by somebody who is known or becomes known by it.

    Those that only look are left out: an app that looks again and again says no more by it.
    """
    is_known = scope.get("auth") is not None or 200 <= status < 300
    return is_known and scope["method"] not in _READING


def logged(app: ASGIApp, meters: Meters) -> ASGIApp:
    """Log and count each request by what we know of it: never its body or who asked."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        started, answer = time.perf_counter(), _Answer()

        def count() -> None:
            _count(meters, scope, answer.status, time.perf_counter() - started)

        try:
            # whoever was answered is counted
            await app(scope, receive, answer.watched(send, count))
        except asyncio.CancelledError:
            if answer.status:
                raise
            await _give_up(scope, answer.watched(send, count))
        finally:
            if not answer.status:
                count()
            _log(scope, answer.status, time.perf_counter() - started)

    return wrapped


async def _give_up(scope: Any, send: Send) -> None:
    """A server that stops tells those for whom it cannot wait any longer to come again."""
    said = problem_answer(scope, Refusal("unavailable"))
    own = {"content-type": MEDIA_TYPE, "content-length": str(len(said.body)), **said.headers}
    headers = [(name.encode(), value.encode()) for name, value in own.items()]
    start: Any = {
        "type": "http.response.start",
        "status": said.status,
        "headers": [*headers, *common_headers(scope)],
    }
    await send(start)
    await send({"type": "http.response.body", "body": said.body, "more_body": False})


@dataclass(slots=True)
class _Answer:
    """How a request was answered; 0 before it is, and when its sender has gone."""

    status: int = 0

    def watched(self, send: Send, before: Callable[[], None] = lambda: None) -> Send:
        """Send, and see what is sent; something else is done before the first of it."""

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                before()
            await send(message)

        return watch


def _log(scope: Any, status: int, seconds: float) -> None:
    # the code is of our table, the route is the template that matched
    logs.event(
        "request",
        level=logging.INFO if status < 500 else logging.WARNING,
        request_id=scope_request_id(scope),
        method=scope["method"] if scope["method"] in _METHODS else "other",
        route=_route(scope),
        status=status,
        duration_ms=round(seconds * 1000, 1),
        **{name: scope[key] for name, key in _OF_ANSWERS.items() if key in scope},
    )


def _count(meters: Meters, scope: Any, status: int, seconds: float) -> None:
    meters.request(_route(scope), scope["method"], status, seconds)
    if CODE_KEY in scope:
        meters.refusals.add(scope[CODE_KEY])
    if scope.get(CAUSE_KEY) == KEYRING:
        meters.keyring_failures.add()


def _route(scope: Any) -> str:
    return scope.get("path_template") or "unmatched"
