"""A real server process on a real port, for tests of what only a process can show."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import forking
from forking import Forked
from postgres import ScratchDatabase

START_WITHIN_S = 60

#: a server's
Process = subprocess.Popen[bytes] | Forked


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Message
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content or b"null")


@dataclass
class Served:
    """A running `doorstep serve`."""

    home: Path
    url: str
    process: Process
    log: Path
    api_key: str

    def call(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> tuple[int, Any]:
        answer = self.ask(method, path, body, token)
        return answer.status, answer.body

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {token or self.api_key}")
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def code(self, subject: str | None = None) -> str:
        _, person = self.call("POST", "/v1/subjects", {"external_id": subject or uuid4().hex})
        return str(self.call("POST", f"/v1/subjects/{person['id']}/enrollments")[1]["code"])

    def token(self) -> str:
        """Of a newly enrolled device with permission."""
        _, enrolled = self.call(
            "POST",
            "/v1/enrollments",
            {
                "code": self.code(),
                "installation_id": uuid4().hex,
                "device": {"platform": "android", "os_version": "15", "model": "Pixel"},
            },
        )
        token = str(enrolled["token"])
        report = {"state": "precise", "sequence": 1, "observed_at": "2026-01-01T00:00:00Z"}
        assert self.call("PUT", "/v1/device/permission", report, token)[0] == 200
        return token

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def doorstep(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "doorstep_server", *_said(home, *arguments)]


def _said(home: Path, *arguments: str) -> list[str]:
    return ["--home", str(home), *arguments]


def on_postgres(database: ScratchDatabase) -> dict[str, str]:
    """The environment of a server on PostgreSQL."""
    return {
        "DOORSTEP_DATABASE_URL": database.url,
        "DOORSTEP_ADMIN_DATABASE_URL": database.admin_url,
    }


def init(home: Path, environment: Mapping[str, str] | None = None) -> str:
    """Make a deployment; its admin key."""
    variables = {**os.environ, **(environment or {})}
    with tempfile.TemporaryFile() as out:
        status = forking.run(_said(home, "init", "--json"), environment=variables, out=out)
        out.seek(0)
        said = out.read()
    assert status == 0, said
    return str(json.loads(said)["api_key"])


@contextmanager
def serving(
    home: Path,
    *,
    api_key: str | None = None,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
    until: str = "/health/ready",
) -> Iterator[Served]:
    """A server on a home (made if there is none), until the block ends.

    The environment names another database; `until` is what must answer before the block begins.
    """
    key = api_key or init(home, environment)
    port = free_port()
    log = home.parent / f"server-{port}.log"
    variables = {
        **os.environ,
        "DOORSTEP_LOG_LEVEL": "debug",
        # few devices send what many would
        "DOORSTEP_DEVICE_AT_ONCE": "0",
        **(environment or {}),
    }
    arguments = _said(home, "serve", "--port", str(port), "--workers", str(workers))
    with log.open("wb") as out:
        process = _started(arguments, variables, out, workers)
    served = Served(home, f"http://127.0.0.1:{port}", process, log, key)
    try:
        _wait_until(served, until)
        yield served
    finally:
        process.terminate()
        process.wait(timeout=60)


def _started(
    arguments: list[str], variables: Mapping[str, str], out: IO[bytes], workers: int
) -> Process:
    """Several workers are processes that start anew: then so does the one that has them."""
    if workers == 1:
        return forking.start(arguments, environment=variables, out=out)
    command = [sys.executable, "-m", "doorstep_server", *arguments]
    return subprocess.Popen(command, stdout=out, stderr=out, env=variables)


def _wait_until(served: Served, path: str) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            raise AssertionError(f"the server ended: {served.log.read_text()}")
        try:
            if served.call("GET", path)[0] == 200:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError("the server was not ready in time")
