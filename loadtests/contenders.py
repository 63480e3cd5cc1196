"""The servers that `bench.py` compares: each a process with one worker."""

import http.client
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deployed import Deployed
from doorstep_server.demo.child import ServerEnded, free_port
from doorstep_server.settings import PREFIX
from driving import HOST, Target
from usual_design import Usual

ECHO, EMPTY, SQLITE, POSTGRESQL, USUAL = (
    "ASGI echo",
    "empty handler",
    "SQLite",
    "PostgreSQL",
    "usual design",
)
#: with 170,000 sites a worker reads for a while
_READY_S = 180
_STOP_S = 60
#: a few devices check in as often as many do: their limit is asked for, and never reached
UNLIMITED = {PREFIX + "DEVICE_AT_ONCE": "1000000", PREFIX + "DEVICE_PER_MINUTE": "1000000"}
_HERE = Path(__file__).parent
PORT = "{port}"
_ACCEPTED = b'"outcome":"accepted"'
#: of what is stored: Doorstep's answers say it twice
_STORED = b'"outcome":"accepted","reason":"inside","evidence"'


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """What can be served, with whose devices and places."""

    name: str
    #: with a place for the port
    program: tuple[str, ...] = field(repr=False)
    source: Deployed | Usual
    #: what stands in an answer once for each check-in that was accepted
    accepted: bytes
    #: what was answered, over all of its servers
    acknowledged: list[bytes] = field(default_factory=list, repr=False)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def stores(self) -> bool:
        """Whether what it acknowledges can be found again."""
        return self.name not in {ECHO, EMPTY}

    @property
    def takes_batches(self) -> bool:
        """Whether it has that route."""
        return not isinstance(self.source, Usual)


def echo(source: Deployed) -> Contender:
    """An ASGI function that sends the body back."""
    return _plain(ECHO, "echo", source, b"")


def empty(source: Deployed) -> Contender:
    """A Litestar handler that decodes the body and stores nothing."""
    return _plain(EMPTY, "empty", source, _ACCEPTED)


def _plain(name: str, which: str, source: Deployed, accepted: bytes) -> Contender:
    program = (str(_HERE / "plain_servers.py"), which, PORT)
    return Contender(name=name, program=program, source=source, accepted=accepted)


def doorstep(name: str, source: Deployed) -> Contender:
    """Doorstep."""
    home = str(source.settings.home)
    serve = ("-m", "doorstep_server", "--home", home, "serve", "--host", HOST, "--port", PORT)
    return Contender(name=name, program=serve, source=source, accepted=_STORED)


def usual(source: Usual) -> Contender:
    """An ORM session, a query in PostGIS and a commit per request."""
    program = (str(_HERE / "usual_design.py"), PORT, source.url)
    return Contender(name=USUAL, program=program, source=source, accepted=_ACCEPTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A contender's server."""

    contender: Contender
    port: int
    process: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def database_pid(self) -> int | None:
        """PostgreSQL's first process, if the contender uses one that is ours."""
        return self.contender.source.database_pid if self.contender.stores else None

    def target(self, *, is_claimed: bool) -> Target:
        """Where to send, and what."""
        source = self.contender.source
        bodies = source.claims if is_claimed else source.searches
        return Target(
            port=self.port, tokens=source.tokens, bodies=bodies, accepted=self.contender.accepted
        )


def environment(contender: Contender, told: Mapping[str, str]) -> dict[str, str]:
    """Of a server: no setting of ours but what it must know and what was told."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    named = contender.source.variables if isinstance(contender.source, Deployed) else {}
    return {**kept, **UNLIMITED, **named, **told}


@contextmanager
def started(
    contender: Contender, folder: Path, told: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A server in its process, once it is ready. Raises `ServerEnded`."""
    port = free_port(0)
    log = folder / f"{contender.name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, *(part.replace(PORT, str(port)) for part in contender.program)],
            stdout=out,
            stderr=out,
            env=environment(contender, told or {}),
            process_group=0,
        )
    try:
        _wait_ready(process, port, log)
        yield Running(contender=contender, port=port, process=process)
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _wait_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerEnded(f"A server does not come up:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def is_ready(port: int) -> bool:
    """Whether something answers there that takes check-ins."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=5.0)) as connection:
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
