"""Measures the SDK's bars, beside what the interpreter itself costs.

    PYTHONPATH=tests python tests/sdk/bars.py

Import: `import doorstep` above a bare interpreter; a name is loaded when it is first asked for, so
beside it stands what the client takes, which is most of it. Start to durable: from starting a
process, offline, to a check-in that is on the disk. Withdrawal: from the call, with a thousand
check-ins waiting, to no byte of a position in database and log. Wheel: its size. A busy machine
says little about times: the processor's time beside them is what they come to on a quiet one. Exits
with 1 when a bar is not kept, and with `--only-look` never.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import doorstep
from doorstep import AsyncClient, Fix, Outbox, Session
from sdk.boxes import Provider
from world import INSIDE

SDK = Path(doorstep.__file__).parents[1]
WAITING = 1000
#: nobody listens there: the app starts without a network
NOWHERE = "http://127.0.0.1:9"
START = """
import asyncio, sys
from doorstep import AsyncClient, Fix, Outbox, Session
class Here:
    async def permission(self): return "precise"
    async def current(self, **_): return Fix.now(lat=52.37, lon=4.89, accuracy_m=8)
async def main():
    client = AsyncClient(sys.argv[1], token="dst_x", permission_epoch=0, permission_sequence=1)
    async with Session(client, outbox=Outbox(sys.argv[2]), provider=Here()) as session:
        await session.check_in(purpose="visit")
        print("durable", flush=True)
    await client.close()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Bar:
    """What was measured, and the most that it may be."""

    name: str
    value: float
    most: float
    unit: str
    beside: str = ""

    @property
    def is_kept(self) -> bool:
        return self.value <= self.most

    def __str__(self) -> str:
        verdict = "ok" if self.is_kept else "TOO MUCH"
        beside = f"  ({self.beside})" if self.beside else ""
        return f"{self.name:34} {self.value:8.1f} {self.unit:3} of {self.most:g} {verdict}{beside}"


@dataclass(frozen=True)
class Run:
    """How long a process took: by the clock, and of the processor's time."""

    wall_ms: float
    cpu_ms: float


def run(program: str, *arguments: str, until: bytes = b"") -> Run:
    """Run a program to its end, or to a line that it says."""
    command = [sys.executable, "-S", "-c", program, *arguments]
    before = os.times()
    begun = time.perf_counter()
    with subprocess.Popen(command, env={"PYTHONPATH": str(SDK)}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == until
        wall_ms = (time.perf_counter() - begun) * 1000
    assert process.returncode == 0
    after = os.times()
    cpu_s = sum(after[2:4]) - sum(before[2:4])
    return Run(wall_ms, cpu_s * 1000)


def import_bar(times: int) -> Bar:
    """Each import beside a bare start, in turn, so that both see the same machine."""
    programs = ("pass", "import doorstep", "from doorstep import Client")
    turns = [[run(one) for one in programs] for _ in range(times)]
    bare = statistics.median(one.wall_ms for one, _, _ in turns)
    above = statistics.median(full.wall_ms - one.wall_ms for one, full, _ in turns)
    cpu = statistics.mean(full.cpu_ms - one.cpu_ms for one, full, _ in turns)
    client = statistics.mean(full.cpu_ms - one.cpu_ms for one, _, full in turns)
    beside = f"bare {bare:.0f} ms; processor {cpu:.0f} ms, with `Client` {client:.0f} ms"
    return Bar("import doorstep, above bare", above, 30, "ms", beside)


def durable_bar(times: int) -> Bar:
    runs = [durable() for _ in range(times)]
    floor = statistics.mean(run("import asyncio, sqlite3").cpu_ms for _ in range(times))
    cpu = statistics.mean(one.cpu_ms for one in runs)
    beside = f"processor {cpu:.0f} ms to its end; asyncio and sqlite3 alone {floor:.0f} ms"
    value = statistics.median(one.wall_ms for one in runs)
    return Bar("process start to durable check-in", value, 150, "ms", beside)


def durable() -> Run:
    """From starting the process to its word that the check-in is on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        return run(START, NOWHERE, str(Path(folder) / "outbox.db"), until=b"durable\n")


async def withdrawal_ms(path: Path) -> float:
    """From the call to its return; then no byte is left."""
    client = AsyncClient(NOWHERE, token="dst_x", permission_epoch=0, permission_sequence=1)
    outbox = Outbox(path, capacity=WAITING)
    async with client, Session(client, outbox=outbox, provider=Provider()) as session:
        for _ in range(WAITING):
            await session.check_in(purpose="visit", fix=Fix.now(**INSIDE, accuracy_m=8))
        assert holds_place(path), "the scan finds what is there"
        begun = time.perf_counter()
        assert await session.withdraw()
        took_ms = (time.perf_counter() - begun) * 1000
        if holds_place(path):
            raise AssertionError("a position is left after a withdrawal")
    return took_ms


def holds_place(path: Path) -> bool:
    everything = b"".join(one.read_bytes() for one in path.parent.iterdir())
    return any(repr(value).encode() in everything for value in INSIDE.values())


def withdrawal_bar(times: int) -> Bar:
    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(withdrawal_ms(Path(folder) / "outbox.db"))

    worst = max(once() for _ in range(times))
    return Bar("withdrawal to no byte, the slowest", worst, 250, "ms", f"{WAITING} waiting")


def wheel_bar() -> Bar:
    """What a wheel holds, packed as a wheel is; building one needs a build backend."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / "doorstep.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as packed:
            for source in [*(SDK / "doorstep").rglob("*.py"), SDK / "LICENSE", SDK / "README.md"]:
                packed.write(source, source.relative_to(SDK))
        return Bar("wheel", wheel.stat().st_size / 1000, 150, "kB")


def measured(times: int) -> list[Bar]:
    bars: list[Callable[[], Bar]] = [
        lambda: import_bar(5 * times),
        lambda: durable_bar(times),
        lambda: withdrawal_bar(times),
        wheel_bar,
    ]
    return [bar() for bar in bars]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--only-look", action="store_true")
    given = parser.parse_args()
    bars = measured(given.times)
    print(*bars, sep="\n")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    sys.exit(0 if given.only_look or all(bar.is_kept for bar in bars) else 1)


if __name__ == "__main__":
    main()
