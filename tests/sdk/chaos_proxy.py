"""Sends check-ins through a network that fails in every way, and counts what arrived.

    PYTHONPATH=tests python tests/sdk/chaos_proxy.py --check-ins 200000

A proxy stands between sessions and the real server. It drops requests and answers, truncates
both, delivers requests twice, late and out of order, and answers 429 and 5xx in the server's place,
before and after the server has done its work. Sessions are closed and opened again meanwhile. In
the end the server's database must hold every check-in once (0 lost, 0 double), and every ticket
must say so. Exits with 1 when it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import closing
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from doorstep import AsyncClient, Fix, Outbox, Session
from sdk.boxes import Provider, fast_folder
from served import Served, serving
from world import INSIDE, SQUARE

BURST = 50
#: a session is closed and opened again after so many
RESTART_AFTER = 500
LATEST_S = 0.2
TRUNCATED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{"


class Proxy:
    """A network between clients and one server. Without faults it only carries and keeps."""

    def __init__(self, upstream: str, *, seed: int | None = None, keeps: bool = False) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port)
        self._chance = random.Random(seed)
        self._fails = seed is not None
        self._keeps = keeps
        self._late: set[asyncio.Task[bytes]] = set()
        #: asyncio itself holds them only weakly
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.is_up = True
        self.carried: list[bytes] = []
        self.seen: Counter[str] = Counter()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._late, return_exceptions=True)
        for writer in self._connections.values():
            writer.close()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None, "asyncio runs this in a task"
        self._connections[connection] = writer
        try:
            while self.is_up and (request := await message(reader)):
                answer = await self._answer(request)
                writer.write(answer)
                await writer.drain()
                if not is_whole(answer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            del self._connections[connection]
            await closed(writer)

    async def _answer(self, request: bytes) -> bytes:
        """What the client gets: nothing, a part, or a whole answer."""
        fault = self._chance.choices(FAULTS, weights=WEIGHTS)[0] if self._fails else passed
        self.seen[fault.__name__] += 1
        return await fault(self, request)

    async def ask(self, request: bytes, *, part: float = 1.0) -> bytes:
        """Carry a request, or the beginning of it, to the server."""
        if self._keeps:
            self.carried.append(request)
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            writer.write(request[: int(len(request) * part)])
            if part < 1:
                return b""
            return await message(reader)
        finally:
            await closed(writer)

    def deliver_late(self, request: bytes) -> None:
        """Once more, when others have overtaken it."""
        task = asyncio.create_task(self._after_a_while(request))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _after_a_while(self, request: bytes) -> bytes:
        await self.dawdle()
        return await self.ask(request)

    async def dawdle(self) -> None:
        await asyncio.sleep(self._chance.uniform(0, LATEST_S))

    def share(self) -> float:
        return self._chance.random()

    def refusal(self) -> bytes:
        return self._chance.choice(REFUSALS)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with its body; empty when the other side has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    lengths = [
        line.partition(b":")[2] for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]  # fmt: skip
    return head + (await reader.readexactly(int(lengths[0])) if lengths else b"")


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return f"content-length: {len(body)}".encode() in head.lower() if answer else False


def plain(status: int, *headers: str) -> bytes:
    """An answer of something between: without a code of Doorstep's."""
    lines = [f"HTTP/1.1 {status} -", *headers, "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


REFUSALS = [
    plain(429, "Retry-After: 0"), plain(429), plain(500), plain(502), plain(503, "Retry-After: 0"),
    plain(503), plain(504), plain(408), plain(302, "Location: http://captive.test/"), plain(403),
]  # fmt: skip


async def passed(proxy: Proxy, request: bytes) -> bytes:
    return await proxy.ask(request)


async def dropped(proxy: Proxy, request: bytes) -> bytes:
    return b""


async def answer_dropped(proxy: Proxy, request: bytes) -> bytes:
    await proxy.ask(request)
    return b""


async def truncated(proxy: Proxy, request: bytes) -> bytes:
    return await proxy.ask(request, part=proxy.share())


async def answer_truncated(proxy: Proxy, request: bytes) -> bytes:
    answer = await proxy.ask(request)
    return answer[: int(len(answer) * proxy.share())]


async def answer_begun(proxy: Proxy, request: bytes) -> bytes:
    await proxy.ask(request)
    return TRUNCATED


async def duplicated(proxy: Proxy, request: bytes) -> bytes:
    first, _ = await asyncio.gather(proxy.ask(request), proxy.ask(request))
    return first


async def duplicated_late(proxy: Proxy, request: bytes) -> bytes:
    proxy.deliver_late(request)
    return await proxy.ask(request)


async def reordered(proxy: Proxy, request: bytes) -> bytes:
    """The client is told that it failed; then it arrives, after its own repetition perhaps."""
    proxy.deliver_late(request)
    return b""


async def delayed(proxy: Proxy, request: bytes) -> bytes:
    await proxy.dawdle()
    return await proxy.ask(request)


async def refused(proxy: Proxy, request: bytes) -> bytes:
    return proxy.refusal()


async def answer_replaced(proxy: Proxy, request: bytes) -> bytes:
    await proxy.ask(request)
    return proxy.refusal()


Fault = Callable[[Proxy, bytes], Awaitable[bytes]]
FAULTS: list[Fault] = [
    passed, dropped, answer_dropped, truncated, answer_truncated, answer_begun, duplicated,
    duplicated_late, reordered, delayed, refused, answer_replaced,
]  # fmt: skip
WEIGHTS = [10, *[1] * (len(FAULTS) - 1)]


class Phone:
    """One device with its outbox: it checks in until it has made its share."""

    def __init__(self, url: str, token: str, path: Path) -> None:
        self._client = AsyncClient(url, token=token, permission_epoch=0, permission_sequence=1)
        self._path = path
        self.made: set[str] = set()
        self.states: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()

    async def live(self, check_ins: int) -> None:
        async with self._client:
            while len(self.made) < check_ins:
                await self._run(min(RESTART_AFTER, check_ins - len(self.made)))

    async def _run(self, check_ins: int) -> None:
        outbox = Outbox(self._path)
        made: list[str] = []
        async with Session(self._client, outbox=outbox, provider=Provider()) as session:
            for number in range(check_ins):
                fix = Fix.now(**INSIDE, accuracy_m=8)
                made.append((await session.check_in(purpose="visit", fix=fix)).id)
                if number % BURST == BURST - 1:
                    await session.flush()
            while await session.flush() != "empty":
                pass  # each try is an exchange with the network
            for id_ in made:
                ticket = await session.ticket(id_)
                self.states["forgotten" if ticket is None else ticket.state] += 1
            self.losses.update(await session.losses())
        self.made.update(made)


class Report:
    """What became of all check-ins."""

    def __init__(self, phones: list[Phone], stored: list[str], proxy: Proxy) -> None:
        self.made = {id_.replace("-", "") for phone in phones for id_ in phone.made}
        self.stored = stored
        self.faults = proxy.seen
        self.states = sum((phone.states for phone in phones), Counter())
        self.losses = sum((phone.losses for phone in phones), Counter())

    @property
    def lost(self) -> int:
        return len(self.made - set(self.stored))

    @property
    def double(self) -> int:
        return len(self.stored) - len(set(self.stored)) + len(set(self.stored) - self.made)

    @property
    def is_good(self) -> bool:
        told = self.states == {"accepted": len(self.made)}
        return told and not (self.lost or self.double or self.losses)

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"{len(self.made)} check-ins: {self.lost} lost, {self.double} double, "
            f"{dict(self.states)}, losses {dict(self.losses)}\nrequests: {faults}"
        )


async def run(
    server: Served,
    folder: Path,
    *,
    check_ins: int,
    phones: int,
    seed: int,
    before: AbstractSet[str] = frozenset(),
) -> Report:
    """Let phones check in through a proxy that fails. What was stored before does not count."""
    tokens = [server.token() for _ in range(phones)]
    async with Proxy(server.url, seed=seed) as proxy:
        made = [Phone(proxy.url, token, folder / f"{n}.db") for n, token in enumerate(tokens)]
        await asyncio.gather(*(phone.live(check_ins // phones) for phone in made))
    return Report(made, [id_ for id_ in stored_in(server.home) if id_ not in before], proxy)


def stored_in(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "doorstep.db")) as database:
        return [row[0].hex() for row in database.execute("SELECT id FROM check_ins")]


def make_site(server: Served) -> None:
    body = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
    assert server.call("POST", "/v1/sites", body)[0] == 201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check-ins", type=int, default=200_000)
    parser.add_argument("--phones", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--folder", type=Path, default=fast_folder())
    given = parser.parse_args()
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(dir=given.folder) as name,
        serving(Path(name) / "home", environment={"DOORSTEP_LOG_LEVEL": "warning"}) as server,
    ):
        make_site(server)
        report = asyncio.run(
            run(
                server,
                Path(name),
                check_ins=given.check_ins,
                phones=given.phones,
                seed=given.seed,
            )
        )
    print(f"seed {given.seed}, {time.monotonic() - begun:.0f} s: {report}")
    sys.exit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
