"""The default transport: `http.client` over kept-alive connections.

Failures are named outside the `except` that saw them: an error then has no context, whose frames
would hold headers and bodies.
"""

from __future__ import annotations

import socket
import ssl
import threading
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from doorstep._errors import (
    ConnectFailed,
    ConnectionLost,
    TimedOut,
    TransportError,
    UnexpectedAnswer,
    UntrustedServer,
)
from doorstep._pool import Connection, Origin, Pool
from doorstep._retry import Timeout
from doorstep._stream import Deadline, Line, Stream
from doorstep._trust import trusted_context
from doorstep._wire import Request, Response

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_PORTS = {"http": 80, "https": 443}


class HTTPTransport:
    """Sends over a bounded pool of kept-alive connections. Threads may share it.

    `ssl_context` decides whom to trust; without one, SSL_CERT_FILE, certifi and the system's
    store are asked in this order. Proxies of the environment are not used.
    """

    def __init__(
        self, *, max_connections: int = 8, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._pool = Pool(max_connections)
        self._ssl_context = ssl_context
        self._lock = threading.Lock()

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        """Send a request once, and give the whole answer."""
        return self.send_on(Line(), request, timeout=timeout)

    def send_on(self, line: Line, request: Request, *, timeout: Timeout) -> Response:
        """Send on a line that another thread can hang up meanwhile."""
        deadline = Deadline(timeout.total)
        self._pool.enter(deadline)
        try:
            return self._send(request, timeout, deadline, line)
        finally:
            self._pool.leave()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their answer is here."""
        self._pool.close()

    def _send(self, request: Request, timeout: Timeout, deadline: Deadline, line: Line) -> Response:
        origin = _origin(request.url)
        while idle := self._pool.take(origin):
            outcome = self._exchange(idle, request, deadline, line)
            if isinstance(outcome, Response):
                return outcome
            if idle.stream.heard or not isinstance(outcome, ConnectionLost):
                raise outcome
            # closed by the server just as it was used: not an attempt, take another one
        connection = self._connect(origin, timeout, deadline)
        outcome = self._exchange(connection, request, deadline, line)
        if isinstance(outcome, Response):
            return outcome
        raise outcome

    def _connect(self, origin: Origin, timeout: Timeout, deadline: Deadline) -> Connection:
        context = self._trusted() if origin.scheme == "https" else None
        try:
            limit = Deadline(min(timeout.connect, deadline.left_s()))
            return Connection(origin, Stream(_open(origin, context, limit)))
        except ssl.SSLCertVerificationError:
            failure: TransportError = UntrustedServer()
        except (OSError, ValueError):
            failure = ConnectFailed()
        raise failure

    def _trusted(self) -> ssl.SSLContext:
        with self._lock:
            if self._ssl_context is None:
                self._ssl_context = trusted_context()
            return self._ssl_context

    def _exchange(
        self, connection: Connection, request: Request, deadline: Deadline, line: Line
    ) -> Response | TransportError:
        keep = False
        try:
            if not line.take(connection.stream):
                return ConnectionLost()
            connection.stream.begin(deadline)
            answer = _ask(connection, request)
            response = _read(answer)
            keep = not answer.will_close
        except TimeoutError:
            return TimedOut()
        except (OSError, HTTPException, ValueError):
            return ConnectionLost()
        finally:
            line.leave()
            self._settle(connection, keep=keep)
        return response

    def _settle(self, connection: Connection, *, keep: bool) -> None:
        if keep:
            self._pool.give_back(connection)
        else:
            connection.close()


def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    return Origin(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
    )


def _target(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


def _open(origin: Origin, context: ssl.SSLContext | None, limit: Deadline) -> socket.socket:
    plain = _open_plain(origin, limit)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return plain
    try:
        plain.settimeout(limit.left_s())
        return context.wrap_socket(plain, server_hostname=origin.host)
    except BaseException:
        plain.close()
        raise


def _open_plain(origin: Origin, limit: Deadline) -> socket.socket:
    """Try every address of the host; each gets its share of the time, so that a dead one of many
    leaves time for the others.
    """
    addresses = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the host has no address")
    for place, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(limit.left_s() / (len(addresses) - place))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _ask(connection: Connection, request: Request) -> HTTPResponse:
    connection.http.request(
        request.method, _target(request.url), body=request.body, headers=dict(request.headers)
    )
    return connection.http.getresponse()


def _read(answer: HTTPResponse) -> Response:
    """Read the whole body. `http.client` tells neither a cut body nor cut headers: we do."""
    body = answer.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise UnexpectedAnswer(answer.status)
    if answer.length or (not body and _ends_with_connection(answer)):
        raise ConnectionResetError
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Response(status=answer.status, headers=headers, body=body)


def _ends_with_connection(answer: HTTPResponse) -> bool:
    """Whether only the end of the connection ends the body: so it looks when headers are cut."""
    return answer.length is None and not answer.chunked
