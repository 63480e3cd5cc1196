"""Kept-alive connections: bounded, shared by threads, the youngest first."""

from __future__ import annotations

import os
import threading
from http.client import HTTPConnection

from doorstep._errors import TimedOut
from doorstep._stream import Deadline, Stream
from doorstep._value import Value


class Origin(Value):
    """Whom a connection leads to."""

    scheme: str
    host: str
    port: int


class Connection:
    """An open connection and its stream."""

    __slots__ = ("http", "origin", "stream")

    def __init__(self, origin: Origin, stream: Stream) -> None:
        self.origin = origin
        self.stream = stream
        self.http = HTTPConnection(origin.host, origin.port)
        self.http.default_port = 443 if origin.scheme == "https" else 80
        self.http.sock = stream

    def close(self) -> None:
        self.http.close()
        self.stream.hang_up()


class Pool:
    """At most `size` requests at a time, and as many idle connections."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._closed = False
        self._idle: list[Connection] = []
        self._start()

    def enter(self, deadline: Deadline) -> None:
        """Wait for a place."""
        self._mind_fork()
        if self._closed:
            raise RuntimeError("this client is closed: make a new one")
        if not self._places.acquire(timeout=deadline.left_s()):
            raise TimedOut

    def leave(self) -> None:
        self._places.release()

    def take(self, origin: Origin) -> Connection | None:
        """An idle connection that the other side has not closed meanwhile."""
        while connection := self._pop(origin):
            if not connection.stream.is_stale():
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self._size:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _pop(self, origin: Origin) -> Connection | None:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place].origin == origin:
                    return self._idle.pop(place)
        return None

    def _mind_fork(self) -> None:
        """A forked child shares no connection with its parent: the answers would mix."""
        if self._process != os.getpid():
            self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._idle = []
        self._places = threading.BoundedSemaphore(self._size)
