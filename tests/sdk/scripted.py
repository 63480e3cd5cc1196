"""A server that answers by script, a clock that stands still, and both clients behind one face."""

# ruff: noqa: ASYNC109, N815 (names that are not ours)

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from doorstep import AsyncClient, Client, Fix, Request, Response, Timeout, TransportError
from doorstep._clock import System

TOKEN = "dst_7Zq0secretsecretsecret"
LAT, LON = 52.3702157, 4.8951679
NOON = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)
ID = "50a6c1d2-1111-8222-9333-444455556666"

PURPOSE = {
    "name": "visit",
    "title": "Visits",
    "level": "site",
    "time_precision_s": 900,
    "retention_days": 60,
    "max_age_s": 259200,
    "requires_consent": False,
}
ENROLLMENT = {
    "device_id": "d-1",
    "token": TOKEN,
    "tenant": {"id": "t-1", "name": "Acme"},
    "subject_id": "s-1",
    "purposes": [PURPOSE],
    "permission_epoch": 0,
}
FEATURE = {"name": "check_in", "available": True, "because": None}
STATUS = {
    "device_id": "d-1",
    "permission": "precise",
    "permission_sequence": 41,
    "permission_epoch": 7,
    "features": [FEATURE],
    "purposes": [PURPOSE],
}
REPORTED = {"state": "precise", "permission_epoch": 7, "features": [FEATURE]}
ACCEPTED = {
    "id": ID,
    "outcome": "accepted",
    "reason": "inside",
    "site_id": "site-1",
    "action": None,
    "stored": {"level": "site", "site_id": "site-1", "time": "2026-03-09T12:00:00Z"},
    "expires_on": "2026-05-08",
}
LISTED = {
    "id": ID,
    "site_id": "site-1",
    "site_version": 3,
    "purpose": "visit",
    "action": None,
    "time": "2026-03-09T12:00:00Z",
    "outcome": "accepted",
    "reason": "inside",
    "evidence": "gps",
    "level": "site",
    "expires_on": "2026-05-08",
}


def answer(document: object, status: int = 201, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status=status,
        headers={"Content-Type": "application/json", **named},
        body=json.dumps(document).encode(),
    )


def problem(status: int, code: str, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    document = {"type": f"/problems/{code}", "title": code, "status": status, "code": code}
    return Response(
        status=status,
        headers={"content-type": "application/problem+json", **named},
        body=json.dumps({**document, "request_id": "req-9"}).encode(),
    )


def page(status: int) -> Response:
    """What a captive portal or a proxy says."""
    return Response(
        status=status, headers={"Content-Type": "text/html"}, body=b"<html>Welcome</html>"
    )


def a_fix(**changes: Any) -> Fix:
    return Fix(**{"lat": LAT, "lon": LON, "accuracy_m": 8.5, "captured_at": NOON, **changes})


class FakeTime:
    """A clock that goes on only while the client sleeps, or when told."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self.chance = 0.5

    def system(self) -> System:
        return System(
            wall=lambda: NOON + timedelta(seconds=self.now_s),
            monotonic=lambda: self.now_s,
            elapsed=lambda: 1000 + self.now_s,
            chance=lambda: self.chance,
            entropy=lambda count: b"\x11" * count,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


Script = Response | TransportError | Callable[[], Response]


class Transport:
    """Answers from its script, in order, and keeps what it was sent."""

    def __init__(self, *script: Script) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.timeouts: list[Timeout] = []

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        self.requests.append(request)
        self.timeouts.append(timeout)
        step = self.script.pop(0)
        if isinstance(step, TransportError):
            raise step
        return step if isinstance(step, Response) else step()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body or b"null") for request in self.requests]

    @property
    def paths(self) -> list[str]:
        return [request.url.partition("://")[2].partition("/")[2] for request in self.requests]


class Awaited:
    """The same transport for asyncio."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def send(self, request: Request, *, timeout: Timeout) -> Response:
        return self.transport.send(request, timeout=timeout)


class Either:
    """A sync or async client: `do` runs a call and gives its result, or raises its error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.time = FakeTime()

    def client(self, *script: Script, **options: Any) -> Caller:
        transport = Transport(*script)
        options = {"base_url": "https://doorstep.test", "token": TOKEN, **options}
        if self.kind == "sync":
            return Caller(self._sync()(transport=transport, **options), transport)
        return Caller(self._async()(transport=Awaited(transport), **options), transport)

    def _sync(self) -> type[Client]:
        time = self.time

        class Still(Client):
            _system = time.system()

            def _sleep(self, seconds: float) -> None:
                time.sleep(seconds)

        return Still

    def _async(self) -> type[AsyncClient]:
        time = self.time

        class Still(AsyncClient):
            _system = time.system()

            async def _sleep(self, seconds: float) -> None:
                time.sleep(seconds)

        return Still


class Caller:
    def __init__(self, client: Any, transport: Transport) -> None:
        self.client = client
        self.transport = transport

    def do(self, call: Callable[[Any], Any]) -> Any:
        result = call(self.client)
        return asyncio.run(_awaited(result)) if isinstance(result, Awaitable) else result

    def check_in(self, **changes: Any) -> Any:
        claim = {"purpose": "visit", "fix": a_fix(), "id": ID, **changes}
        return self.do(lambda client: client.check_ins.create(**claim))

    def listed(self, **options: Any) -> list[Any]:
        listing = self.client.check_ins.list(**options)
        if hasattr(listing, "__aiter__"):
            return asyncio.run(_gathered(listing))
        return list(listing)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


async def _gathered(listing: Any) -> list[Any]:
    return [one async for one in listing]


Handler = Callable[[BaseHTTPRequestHandler], None]


class LocalServer:
    """A real server on the loopback: each request takes the next handler of the script."""

    def __init__(self, *script: Handler) -> None:
        self.script = list(script)
        self.connections = 0
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""


def reply(response: Response, *, close: bool = False) -> Handler:
    def handler(request: BaseHTTPRequestHandler) -> None:
        request.send_response(response.status)
        for name, value in response.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(response.body)))
        request.end_headers()
        request.wfile.write(response.body)
        request.close_connection = close

    return handler


def raw(*chunks: bytes, wait: Callable[[], object] = lambda: None) -> Handler:
    """These bytes, then the end of the connection, without a word."""

    def handler(request: BaseHTTPRequestHandler) -> None:
        for chunk in chunks:
            request.wfile.write(chunk)
            request.wfile.flush()
            wait()
        request.close_connection = True

    return handler


@contextmanager
def serve(*script: Handler, tls: Path | None = None) -> Iterator[LocalServer]:
    state = LocalServer(*script)

    class Scripted(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            state.connections += 1

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, ssl.SSLError):
                self.close_connection = True

        def _answer(self) -> None:
            self.sent = body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append((self.command, self.path, headers, body))
            state.script.pop(0)(self)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.daemon_threads = True
    state.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
