"""Commands in processes of their own that are forked from one that has imported all they need.

To import takes a command longer than most tests: here it is done once. What is forked is a whole
process, with its number, its exit status and whatever signals it is sent; it ends as Python ends.
That a command starts anew, too, is shown where servers have several workers, by the benchmarks, and
by those tests that start one as an operator does.

Each command has a parent of its own that does nothing but wait for it, and tells how it ended.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

#: for a process to be forked
WITHIN_S = 60
OUTPUTS = (1, 2)
#: a process's, or its exit status
NUMBER = struct.Struct("i")


@dataclass(eq=False)
class Forked:
    """A running command: what tests use of `subprocess.Popen`."""

    pid: int
    arguments: list[str]
    #: says how it ended, when it has
    _life: socket.socket
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._life.settimeout(timeout)
            try:
                said = self._life.recv(NUMBER.size)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self.arguments, timeout or 0.0) from None
            self._life.close()
            [self.returncode] = NUMBER.unpack(said)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(arguments: list[str], *, environment: Mapping[str, str], out: IO[bytes]) -> Forked:
    """`doorstep` with these arguments, in this environment and no other."""
    order = {
        "arguments": arguments,
        "environment": dict(environment),
        "folder": str(Path.cwd()),
    }
    mine, its = socket.socketpair()
    with its:
        socket.send_fds(_forker(), [b"."], [its.fileno(), out.fileno()])
    mine.settimeout(WITHIN_S)
    mine.sendall(json.dumps(order).encode() + b"\n")
    [pid] = NUMBER.unpack(mine.recv(NUMBER.size))
    return Forked(pid, arguments, mine)


def run(arguments: list[str], *, environment: Mapping[str, str], out: IO[bytes]) -> int:
    """The same to its end: its exit status."""
    return start(arguments, environment=environment, out=out).wait(WITHIN_S)


@cache
def _forker() -> socket.socket:
    """How orders reach the process that forks; it ends with this one."""
    mine, its = socket.socketpair()
    with its:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )

    def end() -> None:
        mine.close()
        process.wait()

    atexit.register(end)
    return mine


# --- in the process that forks -------------------------------------------------------------------

#: what every command needs, or many do
IMPORTED = (
    "doorstep_server.asgi",
    "doorstep_server.cli",
    "alembic.command",
    "asyncpg",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.supervisors",
    "uvloop",
)


def import_all() -> None:
    """Once for all commands; what is there then is no garbage, so that none looks at it again."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Fork for each order, until there are no more; in what was forked, be the command."""
    import_all()
    from doorstep_server.cli import main as doorstep  # noqa: PLC0415 - not before it is asked for

    # who waits for tests on a terminal ends those, and they end us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # nobody asks how those ended that wait for commands
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        order = _next(orders)
    if order is not None:
        doorstep(_become(order), prog_name="doorstep")


def _next(orders: socket.socket) -> Any:
    """In the process of a command its order; in the one that forks nothing, at the end."""
    while True:
        said, files, _, _ = socket.recv_fds(orders, 1, 2)
        if not said:
            return None
        if os.fork() == 0:
            life, output = files
            return _waited_for(socket.socket(fileno=life), output)
        for file in files:
            os.close(file)


def _waited_for(life: socket.socket, output: int) -> Any:
    """Fork once more: what returns is the command, and its parent says how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with life.makefile("rb") as asked:
        order = json.loads(asked.readline())
    child = os.fork()
    if child == 0:
        life.close()
        for mine in OUTPUTS:
            os.dup2(output, mine)
        os.close(output)
        return order
    # whoever reads what the command writes shall see where that ends
    for mine in (output, *OUTPUTS):
        os.close(mine)
    life.sendall(NUMBER.pack(child))
    _, status = os.waitpid(child, 0)
    life.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(order: Any) -> list[str]:
    """As if it had been started so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    return list(order["arguments"])


if __name__ == "__main__":
    main()
