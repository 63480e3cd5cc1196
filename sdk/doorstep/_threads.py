"""A blocking transport for asyncio: in a bounded pool of threads of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from doorstep._errors import TimedOut
from doorstep._http import HTTPTransport
from doorstep._retry import Timeout
from doorstep._stream import Deadline, Line
from doorstep._transport import Transport
from doorstep._wire import Request, Response


class ThreadedTransport:
    """Runs a blocking transport in threads; the wait for a free one counts as time.

    A cancelled request that has not begun is never sent. One that has is cut off, where the
    transport is our own; others are left to their deadline.
    """

    def __init__(self, transport: Transport, *, threads: int = 8) -> None:
        self._transport = transport
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="doorstep")
        self._own: HTTPTransport | None = None

    @classmethod
    def over_http(cls, *, threads: int = 8) -> Self:
        """Over a default transport, which it closes with itself."""
        http = HTTPTransport(max_connections=threads)
        threaded = cls(http, threads=threads)
        threaded._own = http
        return threaded

    async def send(self, request: Request, *, timeout: Timeout) -> Response:  # noqa: ASYNC109 (the seam)
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
        if isinstance(self._transport, HTTPTransport):
            return self._transport.send(request, timeout=left, line=line)
        return self._transport.send(request, timeout=left)
