"""A TCP relay that keeps what passes: what somebody on the wire would see, were it not for TLS."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread


@dataclass
class Captured:
    """What went through."""

    url: str
    #: from clients, and to them
    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)

    @property
    def everything(self) -> bytes:
        return bytes(self.sent + self.answered)

    def clear(self) -> None:
        self.sent.clear()
        self.answered.clear()


@contextmanager
def relayed(host: str, port: int) -> Iterator[Captured]:
    """Listens, and passes every byte on to an address and back."""
    listening = socket.create_server(("127.0.0.1", 0))
    captured = Captured(f"http://127.0.0.1:{listening.getsockname()[1]}")
    connections: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection((host, port))
                connections.extend((near, far))
                for ends in ((near, far, captured.sent), (far, near, captured.answered)):
                    Thread(target=_pass_on, args=ends, daemon=True).start()

    thread = Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield captured
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _pass_on(from_: socket.socket, to: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while some := from_.recv(65_536):
            kept += some
            to.sendall(some)
        to.shutdown(socket.SHUT_WR)
