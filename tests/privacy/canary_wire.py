"""Requests with canaries in every header, from addresses that are canaries, and their answers."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from privacy.canaries import Canaries, Kind

#: so many sets of headers are made; requests take turns
HEADERS = 40
ADDRESSES = 8
#: not the server's own: while that is not there yet, a socket could find itself
QUIET = "127.0.0.2"
#: the server closes a connection on which nothing comes for 5 s
IDLE_S = 2.0
#: credentials that the server makes, by the member of the answer that shows them
_MADE = {"token": Kind.DEVICE_TOKEN, "api_key": Kind.API_KEY}


@dataclass(frozen=True)
class Ask:
    """A request; `route` is what it is meant for."""

    route: str
    method: str
    target: str
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Told:
    """An answer."""

    status: int
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


class Wire:
    """Sends requests to wherever the server is now, and keeps every byte of the answers."""

    def __init__(self, canaries: Canaries, answers: Path) -> None:
        self._canaries = canaries
        self._answers = answers
        self.port = 0
        self._turn = count()
        self._writing = threading.Lock()
        self._open: dict[str, http.client.HTTPConnection] = {}
        self._used: dict[str, float] = {}
        #: what was answered with 202: an erasure that was begun
        self.accepted: list[Ask] = []
        self._addresses = list(self._loopback())
        self._noise = [self._noisy(f"header {n}") for n in range(HEADERS)]

    def send(self, ask: Ask, *, quiet: bool = False) -> Told:
        """One request; quiet ones carry nothing that is not needed."""
        turn = next(self._turn)
        source = QUIET if quiet else self._addresses[turn % ADDRESSES]
        noise = {} if quiet else self._noise[turn % HEADERS]
        told = self._exchange(self._connection(source), ask, noise)
        if told.status == 202:
            self.accepted.append(ask)
        self._learn(ask.route, told)
        return told

    def send_apart(self, ask: Ask) -> Told | None:
        """On a connection of its own, for threads; nothing if the server is gone."""
        source = self._addresses[next(self._turn) % ADDRESSES]
        with closing(self._connect(source)) as connection:
            try:
                return self._exchange(connection, ask, self._noise[0])
            except (OSError, http.client.HTTPException):
                return None

    def raw(self, sent: bytes) -> None:
        """Bytes that need not be a request."""
        source = (self._addresses[next(self._turn) % ADDRESSES], 0)
        where = ("127.0.0.1", self.port)
        connection = socket.create_connection(where, 30, source_address=source)
        # the server closes when it has seen enough
        with closing(connection), suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            self._keep("no request", b"".join(iter(lambda: connection.recv(65536), b"")))

    def forget(self) -> None:
        """The server is another one now."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _connection(self, source: str) -> http.client.HTTPConnection:
        moment = time.monotonic()
        if moment - self._used.get(source, 0.0) > IDLE_S or source not in self._open:
            self._open.pop(source, self._connect(source)).close()
            self._open[source] = self._connect(source)
        self._used[source] = moment
        return self._open[source]

    def _connect(self, source: str) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(source, 0)
        )

    def _exchange(
        self, connection: http.client.HTTPConnection, ask: Ask, noise: Mapping[str, str]
    ) -> Told:
        headers = {**noise, **ask.headers}
        if ask.token is not None:
            headers["Authorization"] = f"Bearer {ask.token}"
        connection.putrequest(ask.method, ask.target, skip_accept_encoding=True)
        if ask.body is not None:
            headers["Content-Length"] = str(len(ask.body))
        for name, value in headers.items():
            connection.putheader(name, value)
        try:
            connection.endheaders(ask.body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        head = [f"{answer.status} {answer.reason}", *(f"{k}: {v}" for k, v in answer.getheaders())]
        self._keep(ask.route, "\n".join(head).encode() + b"\n\n" + content + b"\n\n")
        return Told(answer.status, content)

    def _keep(self, route: str, said: bytes) -> None:
        with self._writing, (self._answers / quote(route, safe="")).open("ab") as file:
            file.write(said)

    def _learn(self, route: str, told: Told) -> None:
        """What the server made up is a canary from now on."""
        if told.status >= 300 or b'":"' not in told.content:
            return
        with suppress(ValueError):
            body = told.body
            for member, kind in _MADE.items():
                if member in body:
                    self._canaries.credential(kind, route, body[member])
            if "code" in body:
                self._canaries.code(route, body["code"])

    def _loopback(self) -> Iterator[str]:
        """On Linux all of 127.0.0.0/8 is this machine."""
        for _ in range(ADDRESSES):
            text = ".".join(["127", *(str(self._canaries.random.randint(3, 254)) for _ in "123")])
            yield self._canaries.address("client", text)

    def _noisy(self, sent: str) -> dict[str, str]:
        canaries, draw = self._canaries, self._canaries.random
        lat, lon = canaries.anywhere(sent).values()
        v4 = [f"198.18.{draw.randint(1, 254)}.{draw.randint(1, 254)}" for _ in range(2)]
        v6 = f"2001:db8:{draw.getrandbits(16):x}:{draw.getrandbits(16):x}::{draw.getrandbits(16):x}"
        return {
            "User-Agent": f"App/1 {canaries.text(Kind.STRAY, sent)}",
            "Referer": f"https://maps.example/@{lat},{lon}",
            "Cookie": f"session={canaries.forged(sent, 'dst')}",
            "X-Forwarded-For": ", ".join(canaries.address(sent, each) for each in [*v4, v6]),
            "Forwarded": f"for={v4[0]};by={v4[1]}",
            "X-Real-IP": v4[0],
            "X-Request-Id": canaries.text(Kind.STRAY, sent),
            "X-Position": f"{lat};{lon}",
        }
