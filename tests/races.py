"""Withdrawals race check-ins over two server processes: for a test, and as a command.

    python tests/races.py --races 20000 --database postgresql

A race: check-ins of one device are under way over both processes, alone and in batches, beside
those of another device of the same person and of other people. Then its permission is withdrawn, or
the device is revoked, or its installation enrolls again; or the person's processing is restricted,
or the person is erased, by themselves or by their tenant, and it is about both of their devices.
Once that is answered, the database is asked, behind the server's back, which of these check-ins are
there. From then on no other may come: not of those under way, not of those sent after the answer,
not of those queued before it. Of who was erased none is left in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg

import postgres
from doorstep_server.deployment import FIRST_PURPOSE
from postgres import ScratchDatabase
from served import Served, on_postgres, serving
from world import DATABASES, INSIDE, SQUARE

WITHDRAWALS = ("denied", "restricted", "services_off")
#: each ends a device for good, and the next race needs another: so they are tried less often
ENDINGS = ("revoked", "enrolled-again")
#: of all that is the person's, until they say otherwise
RESTRICTIONS = ("restricted-by-oneself", "restricted-by-the-tenant")
#: for good; the next race needs another person
ERASURES = ("erased-by-oneself", "erased-by-the-tenant")
KINDS = (*WITHDRAWALS * 12, *RESTRICTIONS * 6, *ENDINGS * 2, *ERASURES)
#: people whose devices race beside each other
LANES = 6
#: connections to each process on which a device checks in
CHECKING_IN = 2
BATCH = 3
#: on each of them, in one race: what is under way at the withdrawal counts, not what came before
AT_MOST = 2
#: the withdrawal is sent when this many requests of the race were answered, at most
HEAD_START = 3
WITHIN_S = 60
#: the server closes a connection on which nothing came for five seconds
KEPT_S = 3.0

Json = dict[str, Any]
#: what a check-in was answered: its status and, of a refusal, the code
Said = tuple[int, str | None]


# --- speaking HTTP -------------------------------------------------------------------------------


class Connection:
    """A connection that is kept open, to whichever process accepted it."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._writer: asyncio.StreamWriter | None = None
        self._used = 0.0

    @property
    def port(self) -> int:
        """Its own end."""
        assert self._writer is not None
        return int(self._writer.get_extra_info("sockname")[1])

    async def call(
        self, method: str, path: str, token: str | None = None, body: Json | None = None
    ) -> tuple[int, Any]:
        if self._writer is None or time.monotonic() - self._used > KEPT_S:
            self.close()
            self._reader, self._writer = await asyncio.open_connection(*self._place)
        content = json.dumps(body).encode() if body is not None else b""
        kind = "Content-Type: application/json\r\n" if body is not None else ""
        who = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: doorstep\r\n{who}{kind}"
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = await self._answer()
        self._used = time.monotonic()
        return answer

    async def _answer(self) -> tuple[int, Any]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        status = int(lines[0].split()[1])
        lengths = [int(x.partition(b":")[2]) for x in lines if x.startswith(b"content-length:")]
        content = await self._reader.readexactly(lengths[0]) if lengths else b""
        return status, json.loads(content or b"null")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@asynccontextmanager
async def connected(server: Served, each: int) -> AsyncIterator[list[list[Connection]]]:
    """`each` open connections to each of the server's processes."""
    parts = urlsplit(server.url)
    opened: list[Connection] = []
    try:
        while True:
            for _ in range(each):
                opened.append(Connection(str(parts.hostname), int(parts.port or 0)))
                # accepted for certain, once it was answered
                await opened[-1].call("GET", "/health/live")
            processes = _by_process(server, opened)
            if len(processes) > 1 and min(map(len, processes)) >= each:
                yield [connections[:each] for connections in processes]
                return
            assert len(opened) < 100 * each, "one process accepts every connection"
    finally:
        for connection in opened:
            connection.close()


def _by_process(server: Served, opened: list[Connection]) -> list[list[Connection]]:
    """The connections of each process; where the system does not tell, as if they took turns.

    Of a process that may not be dumped, Linux tells root alone.
    """
    if not Path("/proc/net/tcp").exists() or os.geteuid() != 0:
        return [opened[::2], opened[1::2]]
    found = []
    for process in postgres._children(server.process.pid):
        ports = _ports_of(process)
        mine = [connection for connection in opened if connection.port in ports]
        if mine:
            found.append(mine)
    return found


def _ports_of(process: int) -> set[int]:
    """The ports at the other ends of a process's TCP connections."""
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        target = str(entry.readlink()) if entry.is_symlink() else ""
        sockets.add(target.removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[2].rpartition(":")[2], 16) for line in lines if line[9] in sockets}


# --- looking behind the server's back ------------------------------------------------------------

#: which of these check-ins are committed
Stored = Callable[[Iterable[UUID]], Awaitable[set[UUID]]]


def _expiry_days() -> list[date]:
    """Check-ins lie by the day on which they expire; one of them may have come before midnight."""
    today = datetime.now(UTC).date() + timedelta(days=FIRST_PURPOSE.retention_days)
    return [today - timedelta(days=1), today]


@asynccontextmanager
async def looking(server: Served, admin_url: str | None) -> AsyncIterator[Stored]:
    """On a connection of our own: to the file, or as a superuser."""
    if admin_url is None:
        with closing(sqlite3.connect(server.home / "doorstep.db")) as database:
            yield _in_file(database)
        return
    pool = await asyncpg.create_pool(admin_url, min_size=LANES, max_size=LANES)
    try:
        yield await _in_postgresql(pool)
    finally:
        await pool.close()


def _in_file(database: sqlite3.Connection) -> Stored:
    [(tenant_id,)] = database.execute("SELECT tenant_id FROM tenants").fetchall()

    async def stored(ids: Iterable[UUID]) -> set[UUID]:
        days, blobs = [day.isoformat() for day in _expiry_days()], [i.bytes for i in ids]
        marks = ", ".join("?" * len(blobs))
        rows = database.execute(
            f"SELECT id FROM check_ins WHERE tenant_id = ? AND expires_on IN (?, ?)"
            f" AND id IN ({marks})",
            (tenant_id, *days, *blobs),
        )
        return {UUID(bytes=row[0]) for row in rows}

    return stored


async def _in_postgresql(pool: asyncpg.Pool[asyncpg.Record]) -> Stored:
    tenant_id = await pool.fetchval("SELECT tenant_id FROM tenants")

    async def stored(ids: Iterable[UUID]) -> set[UUID]:
        rows = await pool.fetch(
            "SELECT id FROM check_ins WHERE tenant_id = $1 AND expires_on = ANY ($2)"
            " AND id = ANY ($3)",
            tenant_id,
            _expiry_days(),
            list(ids),
        )
        # asyncpg's ids are a class of its own
        return {UUID(int=row["id"].int) for row in rows}

    return stored


# --- a race --------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What came of many races."""

    races: Counter[str] = field(default_factory=Counter)
    #: check-ins under way when something was withdrawn: stored before its answer, or refused
    stored: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    #: sent after the answer, or queued since before it: all must be refused
    too_late: int = 0
    #: committed after the answer: must stay 0
    rows_after: int = 0
    #: check-ins of those who were erased, by what the receipt is fetched with
    erased: dict[str, set[UUID]] = field(default_factory=dict)
    rows_of_erased: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        races = self.races.total()
        return (
            f"{races} races in {self.seconds:.1f} s ({races / self.seconds:.0f}/s): "
            f"{dict(self.races)}\nunder way: {self.stored.total()} stored before the answer, "
            f"{self.refused.total()} refused; sent later: {self.too_late} refused\n"
            f"rows after the answer: {self.rows_after}; {len(self.erased)} people erased, rows of "
            f"theirs in the end: {self.rows_of_erased}; wrong in any way: {len(self.wrong)}"
            + "".join(f"\n  {what}" for what in self.wrong[:20])
        )


@dataclass
class Phone:
    """A device, as its app knows it."""

    installation_id: str
    device_id: str
    token: str
    sequence: int = 0
    epoch: int = 0

    def report(self, state: str) -> Json:
        self.sequence += 1
        return {
            "state": state,
            "sequence": self.sequence,
            "observed_at": datetime.now(UTC).isoformat(),
        }


class Lane:
    """One person's devices: one that races, and one beside it that nobody withdraws."""

    def __init__(
        self,
        processes: list[list[Connection]],
        api_key: str,
        stored: Stored,
        figures: Figures,
        seed: str,
    ) -> None:
        self._control = [connections[0] for connections in processes]
        self._beside = processes[0][1]
        self._checking_in = [c for connections in processes for c in connections[2:]]
        self._api_key = api_key
        self._stored = stored
        self._figures = figures
        self._random = random.Random(seed)

    async def start(self) -> None:
        """Somebody new."""
        self._taken_before: set[UUID] = set()
        person = await self._admin("POST", "/v1/subjects", 201, {"external_id": uuid4().hex})
        self._subject_id = person["id"]
        self._companion = await self._enroll(secrets.token_hex(8))
        self._phone = await self._enroll(secrets.token_hex(8))

    async def race(self, kind: str) -> None:
        phone, epoch = self._phone, self._phone.epoch
        self._withdrawn = False
        self._of_both = kind in (*RESTRICTIONS, *ERASURES)
        self._said: dict[UUID, Said | None] = {}
        self._arrived: asyncio.Queue[None] = asyncio.Queue()
        under_way = [
            asyncio.create_task(self._keep_checking_in(phone, connection, number % 2 == 1))
            for number, connection in enumerate(self._checking_in)
        ]
        beside = asyncio.create_task(self._keep_companion())
        for _ in range(self._random.randint(0, HEAD_START)):
            await self._arrived.get()
        await self._withdraw(kind)
        self._withdrawn = True
        right_after = await self._stored(self._said)
        late = {uuid4(): connection for connection in self._control}
        late_phones = [phone, self._companion if self._of_both else phone]
        answers = await asyncio.gather(
            *(
                self._check_in(late_phone, c, i, late_phone.epoch)
                for late_phone, (i, c) in zip(late_phones, late.items(), strict=True)
            ),
            *under_way,
        )
        await beside
        self._judge(kind, right_after, await self._stored([*self._said, *late]))
        self._require_refused(kind, answers[: len(late)])
        await self._begin_again(kind, phone, epoch)
        self._figures.races[kind] += 1

    def _judge(self, kind: str, right_after: set[UUID], at_the_end: set[UUID]) -> None:
        figures = self._figures
        figures.rows_after += len(at_the_end - right_after)
        taken = {i for i, said in self._said.items() if said == (201, None)}
        refused = [said for said in self._said.values() if said == _refusal(kind)]
        figures.stored[kind] += len(taken)
        figures.refused[kind] += len(refused)
        if at_the_end - right_after or (at_the_end != right_after and kind not in ERASURES):
            figures.wrong.append(f"{kind}: {len(at_the_end - right_after)} rows after the answer")
        self._taken_before |= taken
        # of who is erased some may be gone by now
        if taken != right_after and not (kind in ERASURES and taken > right_after):
            figures.wrong.append(
                f"{kind}: {len(taken - right_after)} were answered 201 and were not there, "
                f"{len(right_after - taken)} were there and not answered 201"
            )
        if len(taken) + len(refused) != len(self._said):
            figures.wrong.append(f"{kind}: {Counter(self._said.values())}")

    def _require_refused(self, kind: str, answers: Iterable[Any]) -> None:
        for said in answers:
            self._figures.too_late += said == _refusal(kind)
            if said != _refusal(kind):
                self._figures.wrong.append(f"{kind}: sent after the answer, and answered {said}")

    async def _begin_again(self, kind: str, phone: Phone, epoch: int) -> None:
        """What was queued before is refused now and for ever, whatever is granted or enrolled."""
        if kind in ERASURES:
            await self.start()
            return
        if kind in RESTRICTIONS:
            await self._restrict(self._random.choice(RESTRICTIONS), {})
            said = await self._check_in(phone, self._random.choice(self._control), uuid4(), None)
            if said != (201, None):
                self._figures.wrong.append(f"{kind}: no longer so, and answered {said}")
            return
        if kind == "revoked":
            self._phone = await self._enroll(secrets.token_hex(8))
        else:
            await self._report(self._phone, "precise")
        connection = self._random.choice(self._control)
        self._require_refused(kind, [await self._check_in(phone, connection, uuid4(), epoch)])

    # what the devices do

    async def _keep_checking_in(self, phone: Phone, connection: Connection, batch: bool) -> None:
        for _ in range(AT_MOST):
            if self._withdrawn:
                return
            ids = [uuid4() for _ in range(BATCH if batch else 1)]
            self._said.update(dict.fromkeys(ids))
            epoch = self._random.choice([None, phone.epoch])
            if batch:
                said = await self._check_in_batch(phone, connection, ids, epoch)
            else:
                said = [await self._check_in(phone, connection, ids[0], epoch)]
            self._said.update(zip(ids, said, strict=True))
            self._arrived.put_nowait(None)

    async def _keep_companion(self) -> None:
        """It checks in all the while, in the same groups, as long as it may."""
        for _ in range(AT_MOST):
            if self._withdrawn:
                return
            check_in_id = uuid4()
            if self._of_both:
                self._said[check_in_id] = None
            said = await self._check_in(self._companion, self._beside, check_in_id, None)
            if self._of_both:
                self._said[check_in_id] = said
            elif said != (201, None):
                self._figures.wrong.append(f"another device of the person was answered {said}")

    async def _check_in(
        self, phone: Phone, connection: Connection, check_in_id: UUID, epoch: int | None
    ) -> Said:
        body = _claim(check_in_id, epoch)
        status, answer = await connection.call("POST", "/v1/check-ins", phone.token, body)
        return status, answer.get("code")

    async def _check_in_batch(
        self, phone: Phone, connection: Connection, ids: list[UUID], epoch: int | None
    ) -> list[Said]:
        body = {"check_ins": [_claim(i, epoch) for i in ids]}
        status, answer = await connection.call("POST", "/v1/check-ins/batch", phone.token, body)
        if status != 200:
            return [(status, answer.get("code"))] * len(ids)
        return [(result["status"], result.get("code")) for result in answer["results"]]

    # what is withdrawn, and given again

    async def _withdraw(self, kind: str) -> None:
        if kind == "revoked":
            await self._admin("DELETE", f"/v1/devices/{self._phone.device_id}", 204)
        elif kind == "enrolled-again":
            self._phone = await self._enroll(self._phone.installation_id, granted=False)
        elif kind in RESTRICTIONS:
            wanted = self._random.choice([{"purposes": ["visit"]}, {"wholly": True}])
            await self._restrict(kind, wanted)
        elif kind in ERASURES:
            await self._erase(kind)
        else:
            await self._report(self._phone, kind)
            self._phone.epoch = self._phone.sequence

    async def _restrict(self, kind: str, wanted: Json) -> None:
        if kind == "restricted-by-oneself":
            await self._own("PUT", "/v1/device/restrictions", 200, wanted)
        else:
            path = f"/v1/subjects/{self._subject_id}/restrictions"
            await self._admin("PUT", path, 200, wanted)

    async def _erase(self, kind: str) -> None:
        if kind == "erased-by-oneself":
            begun = await self._own("POST", "/v1/device/erasure", 202)
        else:
            begun = await self._admin("POST", f"/v1/subjects/{self._subject_id}/erasure", 202)
        self._figures.erased[begun["erasure"]] = self._taken_before

    async def _report(self, phone: Phone, state: str) -> None:
        connection = self._random.choice(self._control)
        body = phone.report(state)
        status, answer = await connection.call("PUT", "/v1/device/permission", phone.token, body)
        assert status == 200, answer

    async def _enroll(self, installation_id: str, *, granted: bool = True) -> Phone:
        issued = await self._admin("POST", f"/v1/subjects/{self._subject_id}/enrollments", 201)
        device = {"platform": "android", "os_version": "15", "model": "Pixel"}
        body = {"code": issued["code"], "installation_id": installation_id, "device": device}
        enrolled = await self._admin("POST", "/v1/enrollments", 201, body)
        phone = Phone(installation_id, enrolled["device_id"], enrolled["token"])
        if granted:
            await self._report(phone, "precise")
        return phone

    async def _own(self, method: str, path: str, status: int, body: Json | None = None) -> Any:
        """By either device of the person."""
        token = self._random.choice([self._phone, self._companion]).token
        return await self._call(method, path, status, token, body)

    async def _admin(self, method: str, path: str, status: int, body: Json | None = None) -> Any:
        return await self._call(method, path, status, self._api_key, body)

    async def _call(
        self, method: str, path: str, status: int, token: str, body: Json | None
    ) -> Any:
        connection = self._random.choice(self._control)
        got, answer = await connection.call(method, path, token, body)
        assert got == status, answer
        return answer


def _refusal(kind: str) -> Said:
    if kind in ERASURES:
        return 401, "unauthorized"
    if kind in RESTRICTIONS:
        return 403, "purpose-restricted"
    return (401, "device-revoked") if kind in ENDINGS else (403, "permission-withdrawn")


def _claim(check_in_id: UUID, epoch: int | None) -> Json:
    fix = {**INSIDE, "accuracy_m": 8, "captured_at": datetime.now(UTC).isoformat()}
    body = {"id": str(check_in_id), "purpose": "visit", "fix": fix}
    return body if epoch is None else {**body, "permission_epoch": epoch}


# --- many races ----------------------------------------------------------------------------------


def run(server: Served, races: int, *, admin_url: str | None = None, seed: str = "") -> Figures:
    """Run so many races against a server of two processes."""
    site = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
    assert server.call("POST", "/v1/sites", site)[0] == 201
    return asyncio.run(_run(server, races, admin_url, seed))


async def _run(server: Served, races: int, admin_url: str | None, seed: str) -> Figures:
    figures, each = Figures(), 2 + CHECKING_IN
    async with connected(server, each * LANES) as processes, looking(server, admin_url) as stored:
        lanes = []
        for number in range(LANES):
            mine = [c[number * each : (number + 1) * each] for c in processes]
            lanes.append(Lane(mine, server.api_key, stored, figures, f"{seed}:{number}"))
        await asyncio.gather(*(lane.start() for lane in lanes))
        started, left = time.monotonic(), _kinds(races, random.Random(seed))
        await asyncio.gather(*(_race(lane, left) for lane in lanes))
        figures.seconds = time.monotonic() - started
        await _require_erased(processes[0][0], stored, figures)
    return figures


async def _require_erased(connection: Connection, stored: Stored, figures: Figures) -> None:
    """Everybody who was erased has a receipt soon, and no row."""
    for code, check_ins in figures.erased.items():
        async with asyncio.timeout(2 * WITHIN_S):
            while not await _is_done(connection, code):  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.1)
        left = await stored(check_ins)
        figures.rows_of_erased += len(left)
        if left:
            figures.wrong.append(f"{len(left)} rows of someone who was erased")


async def _is_done(connection: Connection, code: str) -> bool:
    status, answer = await connection.call("GET", f"/v1/erasures/{code}")
    assert status == 200, answer
    return bool(answer["status"] == "done")


def _kinds(races: int, by: random.Random) -> Iterator[str]:
    """How each race withdraws: every way there is, and from then on by chance."""
    every = sorted(set(KINDS))
    yield from islice(chain(every, iter(lambda: by.choice(KINDS), None)), races)


async def _race(lane: Lane, left: Iterator[str]) -> None:
    """Race after race, while any is left; one that hangs is told."""
    for kind in left:
        async with asyncio.timeout(WITHIN_S):
            await lane.race(kind)


@contextmanager
def two_processes(home: Path, database: ScratchDatabase | None = None) -> Iterator[Served]:
    """A new deployment in a home, on SQLite or on this database, served by two processes."""
    environment = on_postgres(database) if database else {}
    quiet = {**environment, "DOORSTEP_LOG_LEVEL": "warning"}
    with serving(home, workers=2, environment=quiet) as server:
        yield server


def _on(kind: str, home: Path, races: int, seed: str) -> Figures:
    if kind == "sqlite":
        with two_processes(home) as server:
            return run(server, races, seed=seed)
    with postgres.opened() as machine:
        database = machine.new_database()
        with two_processes(home, database) as server:
            return run(server, races, admin_url=database.admin_url, seed=seed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Race withdrawals against check-ins.")
    parser.add_argument("--races", type=int, default=20_000)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--seed", default=os.urandom(4).hex(), help="of what is chosen by chance")
    chosen = parser.parse_args()
    print(f"{chosen.database}, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        figures = _on(chosen.database, home, chosen.races, chosen.seed)
    print(figures)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
