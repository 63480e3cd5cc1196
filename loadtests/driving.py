"""The load that `rates.py` puts on a server, and what each turn of a server cost."""

import asyncio
import os
import random
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from contenders import Answer, Answers, Contender
from doorstep_server.demo.child import HOST

# --- the generator -------------------------------------------------------------------------------


class Load:
    """Devices that check in at one server, each as soon as it was answered, for some seconds."""

    def __init__(self, at: Contender, size: int, seconds: float) -> None:
        self.at = at
        self.size = size
        self.accepted = 0
        self._until = time.perf_counter() + seconds
        self._busy = 0
        self.done = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be sent."""
        return time.perf_counter() > self._until

    def begun(self) -> None:
        """A device sends."""
        self._busy += 1

    def accept(self, ids: list[str]) -> None:
        """All of these were answered as they should be."""
        self.accepted += len(ids)
        self.at.acknowledged += ids

    def ended(self, failure: str | None = None) -> None:
        """A device sends no more."""
        if failure is not None:
            self.at.failures.append(failure)
        self._busy -= 1
        if not self._busy and not self.done.done():
            self.done.set_result(None)


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_one, _many = msgspec.json.Decoder(Answer), msgspec.json.Decoder(Answers)


class Phone(asyncio.Protocol):
    """A device on a connection that is kept. It does as little as it can: others are measured."""

    def __init__(self, load: Load, token: str) -> None:
        self._load = load
        route = "/v1/check-ins" if load.size == 1 else "/v1/check-ins/batch"
        head = f"POST {route} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n"
        self._head = f"{head}Content-Type: application/json\r\nContent-Length: ".encode()
        self._status = b"HTTP/1.1 201 " if load.size == 1 else b"HTTP/1.1 200 "
        self._sending = False
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        """Nothing is sent before all are connected."""
        self._transport: asyncio.Transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """It closes by itself, or there is no answer any more."""
        self._end("a connection was closed")

    def send(self) -> None:
        """Check in, at any sites, with new ids and the present time."""
        if not self._sending:
            self._sending = True
            self._load.begun()
        now = datetime.now(UTC).isoformat().encode()
        self._ids = [str(uuid4()) for _ in range(self._load.size)]
        bodies = random.choices(self._load.at.deployed.bodies, k=self._load.size)
        claims = [body % (i.encode(), now) for i, body in zip(self._ids, bodies, strict=True)]
        body = claims[0] if len(claims) == 1 else b'{"check_ins":[%b]}' % b",".join(claims)
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer, and go on if it is a good one."""
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(self._received, 0, end) if end > 3 else None
        if length is None or len(self._received) < end + int(length[1]):
            return
        answer, self._received = self._received, b""
        if not self._is_good(answer, answer[end:]):
            self._end("an answer was not an accepted check-in: " + answer[:15].decode("ascii"))
            return
        self._load.accept(self._ids)
        if self._load.is_over:
            self._end()
        else:
            self.send()

    def _is_good(self, answer: bytes, body: bytes) -> bool:
        if not answer.startswith(self._status):
            return False
        try:
            answers = [_one.decode(body)] if self._load.size == 1 else _many.decode(body).results
        except msgspec.DecodeError:
            return False
        good = [a.id for a in answers if a.status == 201 and a.outcome == "accepted"]
        return good == self._ids

    def _end(self, failure: str | None = None) -> None:
        if self._sending:
            self._sending = False
            self._load.ended(failure)
            self._transport.close()


# --- rounds --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was used up to some moment, in seconds; None where the system does not tell."""

    wall: float
    generator: float
    server: float | None
    database: float | None
    #: how long the cores idled: the one of what serves, and the generator's
    idle: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """A server's turn: CPU in seconds per 1,000 check-ins, the rest in parts of its time."""

    check_ins: int
    rate: float
    server_cpu: float | None
    database_cpu: float | None
    generator_cpu: float
    generator_busy: float
    #: of the core of what serves: what the server and its database used, and what nobody did
    serving: float | None
    idle: float | None
    generator_idle: float | None

    @property
    def per_cpu_second(self) -> float | None:
        """What a core for itself would give: of all figures the one that others disturb least."""
        used = (self.server_cpu or 0.0) + (self.database_cpu or 0.0)
        return 1000 / used if used else None


#: the core of what serves, and the generator's
Pinned = tuple[int, int] | None


def cores() -> Pinned:
    """Where processes can be told."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[-1]) if len(allowed) > 1 else None


def pin(pinned: Pinned, which: int) -> None:
    """From now on, this process, and those that it starts."""
    if pinned is not None:
        os.sched_setaffinity(0, {pinned[which]})


def _stat(pid: int | str) -> list[int]:
    """Of a process: its parent, and the ticks that it used and that its ended children did."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(fields[i]) for i in (1, 11, 12, 13, 14)]


def _cpu_s(pid: int) -> float | None:
    """CPU seconds of a process and of all the children it has and had."""
    ticks = 0
    try:
        ticks += sum(_stat(pid)[1:])
    except OSError:
        return None
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent, user, system, *_ = _stat(path.name)
            ticks += user + system if parent == pid else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def _idle_s(core: int) -> float:
    found = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    assert found is not None
    # idle, and waiting for a disk
    return sum(map(int, found[1].split()[3:5])) / os.sysconf("SC_CLK_TCK")


def spent(at: Contender, pinned: Pinned) -> Spent:
    """Until now."""
    return Spent(
        wall=time.perf_counter(),
        generator=time.process_time(),
        server=_cpu_s(at.pid),
        database=_cpu_s(at.database_pid) if at.database_pid else None,
        idle=(_idle_s(pinned[0]), _idle_s(pinned[1])) if pinned else None,
    )


def compared(check_ins: int, before: Spent, after: Spent) -> Round:
    """What happened between two moments."""
    wall = after.wall - before.wall
    server, database = _less(after.server, before.server), _less(after.database, before.database)
    generator = after.generator - before.generator
    thousands = max(check_ins, 1) / 1000
    idle = [(a - b) / wall for a, b in zip(after.idle or (), before.idle or (), strict=True)]
    return Round(
        check_ins=check_ins,
        rate=check_ins / wall,
        server_cpu=None if server is None else server / thousands,
        database_cpu=None if database is None else database / thousands,
        generator_cpu=generator / thousands,
        generator_busy=generator / wall,
        serving=None if server is None else (server + (database or 0.0)) / wall,
        idle=idle[0] if idle else None,
        generator_idle=idle[1] if idle else None,
    )


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """How check-ins are sent."""

    name: str
    size: int
    connections: int


async def drive(at: Contender, case: Case, seconds: float, pinned: Pinned) -> Round:
    """One turn: until the last answer to what was sent in time."""
    loop = asyncio.get_running_loop()
    tokens = islice(cycle(at.deployed.tokens), case.connections)
    load = Load(at, case.size, seconds)
    phones = [
        (await loop.create_connection(partial(Phone, load, token), HOST, at.port))[1]
        for token in tokens
    ]
    before = spent(at, pinned)
    for phone in phones:
        phone.send()
    await load.done
    return compared(load.accepted, before, spent(at, pinned))
