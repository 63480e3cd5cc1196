"""A socket whose every wait ends at one deadline, however slowly the other side drips."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
import time
from typing import Any


class Deadline:
    """A point in time, by the monotonic clock."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left_s(self) -> float:
        """What is left; raises `TimeoutError` when nothing is."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Stream:
    """What `http.client` takes for a socket. Socket timeouts alone start anew with each byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.deadline = Deadline(0)
        #: whether any byte of the present answer has come
        self.heard = False

    def begin(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.heard = False

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(self.deadline.left_s())
            rest = rest[self._socket.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """The answer; closing it leaves the connection open."""
        assert mode == "rb"
        return io.BufferedReader(_Answer(self))

    def receive_into(self, buffer: Any) -> int:
        self._socket.settimeout(self.deadline.left_s())
        count = self._socket.recv_into(buffer)
        self.heard = self.heard or count > 0
        return count

    def is_stale(self) -> bool:
        """Whether the other side has closed it, or spoken out of turn."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Nothing yet: `http.client` lets go of its socket before the body is read."""

    def cut(self) -> None:
        """End it under whoever uses it: nothing more is sent or heard."""
        with contextlib.suppress(OSError):  # it may have ended already
            # not the method of a TLS socket: that one would go on in the clear for a moment
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """Close the socket."""
        self._socket.close()


class Line:
    """The way of one request: another thread may hang up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._is_hung_up = False

    def take(self, stream: Stream) -> bool:
        """Go this way from now on; False when it was hung up before, and nothing may be sent."""
        with self._lock:
            self._stream = stream
            return not self._is_hung_up

    def leave(self) -> None:
        """The stream is somebody else's from now on."""
        with self._lock:
            self._stream = None

    def hang_up(self) -> None:
        """Cut the connection, wherever the request is; one that has not begun is not sent."""
        with self._lock:
            self._is_hung_up = True
            if self._stream is not None:
                self._stream.cut()


class _Answer(io.RawIOBase):
    """The reading side of a stream."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.receive_into(buffer)
