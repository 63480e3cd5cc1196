"""Connections that do nothing are closed: uvicorn's protocol, with a time for every wait of its.

Uvicorn closes a connection on which nothing came for a while after an answer. It waits for ever for
the first request, for the rest of one that began, and for whoever does not read its answer. Bodies
have their time in `asgi.patient`.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: for the whole head of a request, from when the connection was made or its first byte came
HEAD_WITHIN_S = 10.0
#: for some of an answer to be read, when much of it waits
READ_WITHIN_S = 30.0


class WatchedProtocol(HttpToolsProtocol):
    """HTTP on a connection that must go on."""

    #: one for all of a process
    head_within_s: float = HEAD_WITHIN_S
    read_within_s = READ_WITHIN_S
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    #: nothing is being answered: what comes next is a head
    _expects_head = True

    def connection_made(self, transport: Any) -> None:
        """A head must come."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """The rest of a head must come; most often all of it is there."""
        super().data_received(data)
        if self._expects_head and self._head_timer is None:
            self._watch_head()

    def on_headers_complete(self) -> None:
        """The head came."""
        self._expects_head = False
        self._watch_no_head()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Another head may come: until its first byte, uvicorn's own time counts."""
        super().on_response_complete()
        self._expects_head = self.cycle.response_complete

    def pause_writing(self) -> None:
        """Some of the answer must be read."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(self.read_within_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Some of it was."""
        super().resume_writing()
        self._watch_no_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Whoever has not read a short answer by now does not get it any more."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._expects_head = False
        self._watch_no_head()
        self._watch_no_reading()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_within_s, self.transport.abort)

    def _watch_no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _watch_no_reading(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
