"""Many times more than a server takes: for a test, and as a command.

    python tests/floods.py --seconds 60 --connections 500 --database sqlite

One tenant floods: connections without end, each of which asks again as soon as it is answered,
whatever it is told; ten times as many as may wait. One device of another floods, too. And two
people of a third tenant check in every now and then. Whoever is refused must be told when to come
again, nobody may be answered with anything else, the third tenant must never be refused, memory
must stay what it is, and what was acknowledged must be stored, once. Then the flood ends, and the
first check-in after it is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import postgres
from postgres import ScratchDatabase
from served import Served, doorstep, init, on_postgres, serving
from troubled import Deployed, claim
from world import DATABASES, SQUARE

FLOODING_DEVICES = 20
FLOODING_CONNECTIONS_OF_ONE = 4
QUIET_EVERY_S = 0.05
#: a device may send so many at once for each second: no flooding one uses them up
AT_ONCE_PER_S = 1_000
#: and so many of the device that floods, which has spent the rest before
OF_ONE = 5
#: what a flood may take of memory after its first fifth
MEMORY_MB = 40.0


@dataclass
class Answers:
    """What some were answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    taken_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    #: refused, and not told when to come again
    untold: int = 0

    def note(self, status: int, head: bytes, took_s: float) -> None:
        self.statuses[status] += 1
        (self.taken_s if status == 201 else self.refused_s).append(took_s)
        if status != 201 and b"\r\nretry-after: " not in head:
            self.untold += 1

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} × {status}" for status, count in sorted(self.statuses.items()))
        return f"{told}; taken in {_spread(self.taken_s)}; refused in {_spread(self.refused_s)}"


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "–"
    seconds = sorted(seconds)
    p50, p99 = (seconds[int(len(seconds) * part)] * 1000 for part in (0.5, 0.99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


@dataclass
class Figures:
    """What was found."""

    before: Answers = field(default_factory=Answers)
    flooding: Answers = field(default_factory=Answers)
    device: Answers = field(default_factory=Answers)
    quiet: Answers = field(default_factory=Answers)
    after_s: float = 0.0
    grown_mb: float = 0.0
    acknowledged: int = 0
    stored: int = 0

    @property
    def wrong(self) -> list[str]:
        """What must not be."""
        flood, device = set(self.flooding.statuses), set(self.device.statuses)
        all_of_it = (self.before, self.flooding, self.device, self.quiet)
        said = {
            "nothing was refused: this was no flood": 503 not in flood,
            "nothing of the flood was taken": 201 not in flood,
            "the flood was answered with something else": not flood <= {201, 503},
            "the device was not told to wait": 429 not in device,
            "the device was answered with something else": not device <= {201, 429, 503},
            "who was quiet was refused": set(self.quiet.statuses) != {201},
            "who was refused was not told until when": any(each.untold for each in all_of_it),
            "memory grew": self.grown_mb > MEMORY_MB,
            "acknowledged is not stored": self.acknowledged != self.stored,
        }
        return [what for what, is_so in said.items() if is_so]

    def __str__(self) -> str:
        return (
            f"the third tenant before: {self.before}\nthe tenant that floods: {self.flooding}\n"
            f"the device that floods: {self.device}\nthe third tenant meanwhile: {self.quiet}\n"
            f"the first after it: {self.after_s * 1000:.1f} ms; memory grew by "
            f"{self.grown_mb:.0f} MB; {self.acknowledged:,} acknowledged, {self.stored:,} stored\n"
            f"wrong: {', '.join(self.wrong) or 'nothing'}"
        )


class Phone:
    """A device on a connection that is kept."""

    def __init__(self, server: Served, token: str) -> None:
        self._place = urlsplit(server.url)
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def check_in(self, answers: Answers) -> int:
        """The status of what is answered."""
        body = json.dumps(claim()).encode()
        head = (
            "POST /v1/check-ins HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self._token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._place.hostname, self._place.port)
        reader, writer = self._streams
        begun_s = time.perf_counter()
        writer.write(head.encode() + body)
        said = await reader.readuntil(b"\r\n\r\n")
        length = said.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        status = int(said.split(b" ", 2)[1])
        answers.note(status, said, time.perf_counter() - begun_s)
        return status

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def for_a_while(
    seconds: float, phones: list[Phone], answers: Answers, *, every_s: float = 0.0
) -> None:
    """All of them at once; each ends with an answer."""
    until_s = time.monotonic() + seconds

    async def one(phone: Phone) -> None:
        while time.monotonic() < until_s:
            await phone.check_in(answers)
            await asyncio.sleep(every_s)

    await asyncio.gather(*(one(phone) for phone in phones))


@dataclass(frozen=True)
class Crowd:
    """Those who ask."""

    flooding: list[Phone]
    device: list[Phone]
    quiet: list[Phone]

    async def ask(self, seconds: float, figures: Figures, server: Served) -> None:
        await for_a_while(seconds / 5, self.quiet, figures.before, every_s=QUIET_EVERY_S)
        # until then connections are made, and pages of the database are kept
        await self._flood(seconds / 5, figures)
        before_mb = resident_mb(server)
        await self._flood(seconds * 4 / 5, figures)
        figures.grown_mb = resident_mb(server) - before_mb
        first = Answers()
        assert await self.flooding[0].check_in(first) == 201, "it did not recover"
        [figures.after_s] = first.taken_s
        sums = (figures.before, figures.flooding, figures.device, figures.quiet, first)
        figures.acknowledged = sum(each.statuses[201] for each in sums)
        for phone in (*self.flooding, *self.device, *self.quiet):
            phone.close()

    async def _flood(self, seconds: float, figures: Figures) -> None:
        await asyncio.gather(
            for_a_while(seconds, self.flooding, figures.flooding),
            for_a_while(seconds, self.device, figures.device),
            for_a_while(seconds, self.quiet, figures.quiet, every_s=QUIET_EVERY_S),
        )


def resident_mb(server: Served) -> float:
    """Of the process that serves."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def another_tenant(server: Served, name: str, where: Mapping[str, str]) -> Served:
    """The same server, as the admin of a new tenant with a site."""
    done = subprocess.run(
        doorstep(server.home, "tenants", "create", name, "--json"),
        env={**os.environ, **where},
        check=True,
        capture_output=True,
    )
    mine = replace(server, api_key=json.loads(done.stdout)["api_key"])
    site = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
    assert mine.call("POST", "/v1/sites", site)[0] == 201
    return mine


def run(
    home: Path, seconds: float, connections: int, database: ScratchDatabase | None = None
) -> Figures:
    """All of it, on a server of its own."""
    figures = Figures()
    where = on_postgres(database) if database else {}
    at_once = max(1_000, math.ceil(seconds * AT_ONCE_PER_S))
    limits = {
        "DOORSTEP_QUEUE": str(max(10, connections // 10 * 2)),
        "DOORSTEP_DEVICE_AT_ONCE": str(at_once),
        "DOORSTEP_DEVICE_PER_MINUTE": "1",
        "DOORSTEP_LOG_LEVEL": "error",
    }
    key = init(home, where)
    with serving(home, api_key=key, environment={**where, **limits}) as server:
        flooding, other, quiet = (another_tenant(server, name, where) for name in "abc")
        tokens = [flooding.token() for _ in range(FLOODING_DEVICES)]
        one = other.token()
        crowd = Crowd(
            [Phone(server, tokens[i % FLOODING_DEVICES]) for i in range(connections)],
            [Phone(server, one) for _ in range(FLOODING_CONNECTIONS_OF_ONE)],
            [Phone(server, quiet.token()) for _ in range(2)],
        )
        spend(other, one, at_once - OF_ONE)
        asyncio.run(crowd.ask(seconds, figures, server))
    figures.stored = len(Deployed(home, where, key, database=database).stored())
    return figures


def spend(server: Served, token: str, left: int) -> None:
    """Much of what a device may send at once: empty items count, and cost little."""
    while left:
        some = min(left, 500)
        assert (
            server.call("POST", "/v1/check-ins/batch", {"check_ins": [{}] * some}, token)[0] == 200
        )
        left -= some


def main() -> int:
    parser = argparse.ArgumentParser(description="Many times more than a server takes.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, asked = Path(folder) / "home", (chosen.seconds, chosen.connections)
        if chosen.database == "sqlite":
            figures = run(home, *asked)
        else:
            with postgres.opened() as server:
                figures = run(home, *asked, server.new_database())
    print(
        f"{chosen.database}: {chosen.connections} connections for {chosen.seconds:.0f} s\n{figures}"
    )
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
