"""A blocking transport for asyncio: in a bounded pool of threads of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from doorstep._errors import TimedOut
from doorstep._retry import Timeout
from doorstep._stream import Deadline, Line
from doorstep._transport import Transport
from doorstep._wire import Request, Response

if TYPE_CHECKING:
    from doorstep._http import HTTPTransport


class ThreadedTransport:
    """Runs a blocking transport in threads; the wait for a free one counts as time.

    A cancelled request that has not begun is never sent. One that has is cut off, where the
    transport is our own; others are left to their deadline.
    """

    def __init__(self, transport: Transport, *, threads: int = 8) -> None:
        self._transport = transport
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="doorstep")
        self._own: _LateHTTP | None = None

    @classmethod
    def over_http(cls, *, threads: int = 8) -> Self:
        """Over a default transport, which it closes with itself."""
        http = _LateHTTP(threads)
        threaded = cls(http, threads=threads)
        threaded._own = http
        return threaded

    async def send(self, request: Request, *, timeout: Timeout) -> Response:  # noqa: ASYNC109 (the seam)
        """Send it in a thread, within its time."""
        deadline = Deadline(timeout.total)
        loop = asyncio.get_running_loop()
        line = Line()
        work = loop.run_in_executor(self._threads, self._send, request, timeout, deadline, line)
        try:
            async with asyncio.timeout(timeout.total):
                return await work
        except TimeoutError:
            pass
        finally:
            if not work.done() or work.cancelled():
                line.hang_up()
        raise TimedOut

    async def close(self) -> None:
        """Take no more requests, and close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._own is not None:
            self._own.close()

    def _send(self, request: Request, timeout: Timeout, deadline: Deadline, line: Line) -> Response:
        left_s = deadline.left_s()
        left = Timeout(connect=min(timeout.connect, left_s), total=left_s)
        send_on = getattr(self._transport, "send_on", None)
        if send_on is None:
            return self._transport.send(request, timeout=left)
        response: Response = send_on(line, request, timeout=left)
        return response


class _LateHTTP:
    """A default transport that is made by the first request: an app should start before that."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._http: HTTPTransport | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        return self._made().send(request, timeout=timeout)

    def send_on(self, line: Line, request: Request, *, timeout: Timeout) -> Response:
        return self._made().send_on(line, request, timeout=timeout)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._http is not None:
                self._http.close()

    def _made(self) -> HTTPTransport:
        from doorstep._http import HTTPTransport  # noqa: PLC0415 (slow to import)

        with self._lock:
            if self._http is None:
                self._http = HTTPTransport(max_connections=self._connections)
                if self._is_closed:
                    self._http.close()
            return self._http
