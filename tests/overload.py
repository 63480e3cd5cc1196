"""Five times as much as a server can do: for a test, and as a command.

    python tests/overload.py --seconds 60 --database postgresql

First devices check in as fast as they are answered: that is the server's capacity. Then five times
as much comes for a while, whether it is answered or not. What is too much must be refused with 429
or 503 and say when to come back, what is accepted must be stored once, and the server's memory must
stay bounded. When it is over, check-ins are taken again at once. Needs `loadtests` in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload
from uuid import UUID

import contenders
import postgres
from contenders import started
from costs import resident_mb
from deployed import Deployed
from doorstep_server.settings import PREFIX, Settings
from driving import Magazine, Shot, Target, Turn, closed_loop, lines, open_loop, percentile_ms
from ledger import Ledger
from world import DATABASES, on_postgres

DEVICES, SITES = 100, 100
TIMES = 5
CAPACITY_S = 2.0
#: how long anybody waits for the database, and a little
PATIENCE_MS = 6_000.0
GROWTH_MB = 200.0
RECOVERY_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """How many requests may be under way, and how many the server lets wait: far fewer."""

    connections: int = 1_500
    queue: int = 300
    #: so many a second at least, whatever the capacity seems to be
    least_rate: float = 0.0


class Made(Sequence[Shot]):
    """Requests that are made when they are sent: all of them at once would be too many."""

    def __init__(self, magazine: Magazine, count: int) -> None:
        self._magazine = magazine
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Shot: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Shot]: ...
    def __getitem__(self, at: int | slice) -> Shot | Sequence[Shot]:
        assert isinstance(at, int)
        return self._magazine.next()


@dataclass(kw_only=True)
class Figures:
    """What was found."""

    capacity: float
    rate: float
    accepted: int
    refused: Counter[str]
    p50_ms: float
    p99_ms: float
    memory_mb: tuple[float, float]
    recovered_s: float
    ledger: Ledger
    wrong: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """What no clock is asked about."""
        return not self.wrong and self.ledger.is_true and self.accepted > 0

    @property
    def is_quick(self) -> bool:
        """What takes a quiet machine to say."""
        grown = self.memory_mb[1] - self.memory_mb[0]
        return self.p99_ms <= PATIENCE_MS and self.recovered_s <= RECOVERY_S and grown <= GROWTH_MB

    def __str__(self) -> str:
        refused = ", ".join(f"{count:,} × {what}" for what, count in self.refused.items())
        told = [
            f"capacity {self.capacity:,.0f} a second; then {self.rate:,.0f}",
            f"{self.accepted:,} accepted, p50 {self.p50_ms:.0f} ms, p99 {self.p99_ms:.0f} ms",
            f"refused: {refused or 'nothing'}",
            f"memory {self.memory_mb[0]:.0f} MB before, {self.memory_mb[1]:.0f} MB after",
            f"taken again after {self.recovered_s:.2f} s",
            str(self.ledger),
        ]
        return "\n".join([*told, *(f"WRONG: {what}" for what in self.wrong)])


def run(
    folder: Path, seconds: float, database: postgres.ScratchDatabase | None, room: Room
) -> Figures:
    """On SQLite, or on a database that is empty."""
    _allow_files(2 * room.connections)
    settings = Settings(home=folder / "home")
    if database is not None:
        settings = on_postgres(settings.home, database)
    deployed = Deployed(settings=settings)
    deployed.furnish(DEVICES, SITES)
    few = {PREFIX + "QUEUE": str(room.queue)}
    with started(contenders.doorstep("server", deployed), folder, few) as running:
        target = replace(running.target(is_claimed=True), may_refuse=True)
        first = _as_it_is_answered(target, 64, CAPACITY_S)  # whoever comes first costs more
        capacity = _as_it_is_answered(target, 64, CAPACITY_S)
        before = resident_mb(running.pid) or 0.0
        rate = max(TIMES * capacity.rate, room.least_rate)
        turn = _too_much(target, rate, seconds, room)
        began = time.perf_counter()
        after = _as_it_is_answered(target, 1, 0.0)
        recovered_s = time.perf_counter() - began
        memory = (before, resident_mb(running.pid) or 0.0)
    turns = (first, capacity, turn, after)
    ids = [UUID(i.decode()).bytes for one in turns for i in one.acknowledged]
    return Figures(
        capacity=capacity.rate,
        rate=rate,
        accepted=turn.accepted,
        refused=turn.refused,
        p50_ms=percentile_ms(turn.served_s, 0.5),
        p99_ms=percentile_ms(turn.served_s, 0.99),
        memory_mb=memory,
        recovered_s=recovered_s,
        ledger=Ledger.of(ids, deployed.rows()),
        wrong=[f"{count} × {what}" for one in turns for what, count in one.failures.items()]
        + ([] if after.accepted else ["nothing was taken afterwards"]),
    )


def _as_it_is_answered(target: Target, connections: int, seconds: float) -> Turn:
    with lines(target, 1, connections) as opened:
        return closed_loop(opened, Magazine(target, 1), seconds)


def _too_much(target: Target, rate: float, seconds: float, room: Room) -> Turn:
    shots = Made(Magazine(target, 1), int(rate * seconds))
    with lines(target, 1, room.connections) as opened:
        return open_loop(opened, shots, rate, is_dropped=True)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> int:
    parser = argparse.ArgumentParser(description="Five times as much as a server can do.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    chosen = parser.parse_args()
    # whoever ends it ends what it started, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = None
        if chosen.database != "sqlite":
            database = stack.enter_context(postgres.opened()).new_database()
        figures = run(folder, chosen.seconds, database, Room())
    print(chosen.database)
    print(figures)
    return 0 if figures.holds and figures.is_quick and figures.refused else 1


if __name__ == "__main__":
    sys.exit(main())
