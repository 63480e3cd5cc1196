"""The one seam: how a request gets to the server.

A transport sends once, follows no redirect, keeps the deadline, and raises `TransportError`.
"""

from __future__ import annotations

from typing import Protocol

from doorstep._retry import Timeout
from doorstep._wire import Request, Response


class Transport(Protocol):
    """Sends a request and gives the whole answer, whatever its status.

    `timeout` is what is left of the call's: `timeout.total` seconds for everything.
    """

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        """Send it once, and raise `TransportError` where there is no answer."""
        ...


class AsyncTransport(Protocol):
    """The same, awaited."""

    # ruff: noqa: ASYNC109 (the timeout is what the call has left)
    async def send(self, request: Request, *, timeout: Timeout) -> Response:
        """Send it once, and raise `TransportError` where there is no answer."""
        ...
