"""`doorstep serve` as a child process, with its log in a file."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from doorstep_server.settings import PREFIX, Settings

HOST = "127.0.0.1"
LOG_NAME = "demo-server.log"
#: as long as the server waits for what is under way, and a little more
_STOP_S = 25.0
_READY_S = 60.0
_POLL_S = 0.05
#: a simulated person does in a minute what others do in days
_HURRIED = {PREFIX + "PROBE_BUDGET": "off"}


class ServerEnded(RuntimeError):
    """The server ended although nobody asked it to, or does not come up."""


class Server:
    """A server on this machine, for as long as the `with` block lasts."""

    def __init__(self, settings: Settings, port: int) -> None:
        self._settings = settings
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._port}"

    @property
    def log(self) -> Path:
        """Where it logs."""
        return self._settings.home / LOG_NAME

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "doorstep_server", "--home", str(self._settings.home)]
        command += ["serve", "--host", HOST, "--port", str(self._port)]
        self.log.touch(mode=0o600)
        with self.log.open("wb") as log:
            # a group of its own: Ctrl-C in the terminal is for us, and we end it in good order
            self._process = subprocess.Popen(  # noqa: S603 (our own command)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env={**os.environ, **_HURRIED},
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_ready(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it takes check-ins; False when told to give up. Raises `ServerEnded`."""
        for _ in range(int(_READY_S / _POLL_S)):
            if give_up():
                return False
            if self._is_ready():
                return True
            self._wait_a_moment()
        raise ServerEnded(f"The server does not become ready. Its log: {self.log}")

    def check(self) -> None:
        """Raises `ServerEnded` when it is no longer running."""
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise ServerEnded(f"The server ended with exit code {code}. Its log: {self.log}")

    def _wait_a_moment(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            return
        self.check()

    def _is_ready(self) -> bool:
        with closing(http.client.HTTPConnection(HOST, self._port, timeout=5.0)) as connection:
            try:
                connection.request("GET", "/health/ready")
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False


def free_port(wanted: int) -> int:
    """The wanted port, or the next one that is free; any free one for 0."""
    for port in range(wanted, min(wanted + 100, 65_536)):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise ServerEnded(f"No port from {wanted} on is free. Choose another one with --port.")
