"""A server dies under load, again and again: for a test, and as a command.

    python tests/kills.py --rounds 200 --database postgresql

In each round a server starts on what the one before left. First whatever was under way then is sent
again, with the same ids: all of it must be taken. Then fifty phones send one and the same check-in
at once, and some go away in the middle of sending. Then devices check in, alone or in batches, and
at a random moment the server is killed (`kill -9`), or told to stop, or PostgreSQL dies with it.
Each time the database must be whole, and hold each check-in that was acknowledged once, with its
receipt. Needs `loadtests` in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import contenders
import postgres
from contenders import Running
from deployed import Deployed
from doorstep_server.settings import PREFIX, Settings
from driving import Magazine, Shot, Target, closed_loop, lines, open_loop
from ledger import Ledger
from postgres import Cluster, ScratchDatabase
from served import Process, serving
from world import DATABASES, behind, on_postgres

DEVICES, SITES, CONNECTIONS = 40, 40, 16
BATCH = 20
IDENTICAL = 50
LEAVING = 10
#: within so many seconds of the first check-in the end comes
WITHIN_S = 1.0
#: nobody waits for anything longer
PATIENCE_S = 60.0
AT_ONCE = 1e9

KILLED, STOPPED, CRASHED = "killed", "told to stop", "killed with PostgreSQL"


@dataclass(kw_only=True)
class Figures:
    """What was found."""

    ends: Counter[str] = field(default_factory=Counter)
    ledger: Ledger | None = None
    #: under way when the server died: what was in the database then, and what was not
    was_stored: int = 0
    was_not_stored: int = 0
    #: first halves of requests, whose senders went away
    halves: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} × {name}" for name, count in self.ends.items())
        lines = [
            f"{self.ends.total()} rounds: {ends}",
            f"under way when a server ended: {self.was_stored} stored, {self.was_not_stored} not",
            f"half requests: {self.halves}",
            str(self.ledger),
        ]
        return "\n".join([*lines, *(f"WRONG: {what}" for what in self.wrong)])


@dataclass(kw_only=True)
class Kills:
    """A deployment, and what was done to its servers."""

    deployed: Deployed
    rng: random.Random
    database: ScratchDatabase | None = None
    #: where PostgreSQL itself may be killed
    cluster: Cluster | None = None
    figures: Figures = field(default_factory=Figures)
    acknowledged: set[bytes] = field(default_factory=set)
    #: by size of batch: what must be sent again
    _unsettled: dict[int, list[Shot]] = field(default_factory=dict)
    _halves: set[bytes] = field(default_factory=set)

    def run(self, rounds: int) -> Figures:
        self.deployed.furnish(DEVICES, SITES)
        for number in range(rounds):
            self._round(number, self._end_of(number))
            if self.figures.wrong:
                break
        with self._served() as running:
            self._send_again(running.target(is_claimed=True))
        self._look()
        return self.figures

    def _end_of(self, number: int) -> str:
        """Most are killed; some are told to stop, and some lose their database with them."""
        if number % 5 == 4:
            return STOPPED
        return CRASHED if number % 5 == 2 and self.cluster is not None else KILLED

    @contextmanager
    def _served(self) -> Iterator[Running]:
        contender = contenders.doorstep("server", self.deployed)
        environment = contenders.environment(contender, {PREFIX + "LOG_LEVEL": "info"})
        # what its key is, nobody asks
        with serving(self.deployed.settings.home, api_key="-", environment=environment) as server:
            port = urlsplit(server.url).port
            assert port is not None
            yield Running(contender=contender, port=port, process=server.process)

    def _round(self, number: int, end: str) -> None:
        size = 1 if number % 2 else BATCH
        with self._served() as running:
            target = running.target(is_claimed=True)
            self._send_again(target)
            self._send_identical(target)
            self._leave(target)
            self._check_in_until(target, size, end, running.process)
        if end == CRASHED and self.cluster is not None:
            self.cluster.start()
        self.figures.ends[end] += 1
        self._look()

    def _check_in_until(self, target: Target, size: int, end: str, process: Process) -> None:
        moment = self.rng.uniform(0.0, WITHIN_S)
        timer = threading.Timer(moment, self._end, (end, process))
        with lines(target, size, CONNECTIONS) as opened:
            timer.start()
            turn = closed_loop(opened, Magazine(target, size), PATIENCE_S)
            timer.join()
        self._note(turn.acknowledged)
        self._unsettled.setdefault(size, []).extend(turn.unsettled)
        status = process.wait(PATIENCE_S)
        expected = 0 if end == STOPPED else -signal.SIGKILL
        self._require(status == expected, f"{end}: it ended with {status}")

    def _end(self, end: str, process: Process) -> None:
        if end == CRASHED and self.cluster is not None:
            self.cluster.kill()
        process.send_signal(signal.SIGTERM if end == STOPPED else signal.SIGKILL)

    # --- what clients do ---

    def _send_again(self, target: Target) -> None:
        """What was not answered in the round before, as phones do."""
        for size, shots in self._unsettled.items():
            with lines(target, size, CONNECTIONS) as opened:
                turn = open_loop(opened, shots, AT_ONCE)
            self._note(turn.acknowledged)
            self._require(not turn.failures, f"sent again: {dict(turn.failures)}")
        self._unsettled = {}

    def _send_identical(self, target: Target) -> None:
        shot = Magazine(target, 1).next()
        with lines(target, 1, IDENTICAL) as opened:
            turn = open_loop(opened, [shot] * IDENTICAL, AT_ONCE)
        self._note(turn.acknowledged)
        self._require(turn.accepted == IDENTICAL, f"the same, at once: {dict(turn.failures)}")

    def _leave(self, target: Target) -> None:
        """Half of them in the middle of a body, half of them before the answer."""
        magazine = Magazine(target, 1)
        shots = [magazine.next() for _ in range(LEAVING)]
        with lines(target, 1, LEAVING) as opened:
            for number, (line, shot) in enumerate(zip(opened.lines, shots, strict=True)):
                data = shot[1]
                line.socket.sendall(data[:-60] if number % 2 else data)
        self._halves = {_bytes(i) for ids, _ in shots[1::2] for i in ids}
        self.figures.halves += len(self._halves)
        self._unsettled.setdefault(1, []).extend(shots)

    def _note(self, ids: list[bytes]) -> None:
        self.acknowledged.update(map(_bytes, ids))

    # --- what must be true ---

    def _look(self) -> None:
        """Nobody serves it now."""
        rows = self.deployed.rows()
        self.figures.ledger = ledger = Ledger.of(self.acknowledged, rows)
        self._require(ledger.is_true, str(ledger))
        self._require(self._is_whole(), "the database is damaged")
        [(receipts,)] = behind(self.deployed.settings, "SELECT count(*) FROM receipts")
        self._require(receipts == len(rows), f"{receipts} receipts of {len(rows)} rows")
        shots = chain.from_iterable(self._unsettled.values())
        under_way = {_bytes(i) for ids, _ in shots for i in ids}
        self._require(not self._halves & set(rows), "a half request was stored")
        self._halves = set()
        stored = len(under_way & set(rows))
        self.figures.was_stored += stored
        self.figures.was_not_stored += len(under_way) - stored
        unknown = set(rows) - self.acknowledged - under_way
        self._require(not unknown, f"{len(unknown)} rows that nobody sent")

    def _is_whole(self) -> bool:
        if self.database is None:
            with closing(sqlite3.connect(self.deployed.settings.home / "doorstep.db")) as file:
                return file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        self.database.sql("CREATE EXTENSION IF NOT EXISTS amcheck")
        # raises where a row of a table is missing in an index, or out of order there
        self.database.sql(
            "SELECT bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c"
            " ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
            " WHERE a.amname = 'btree' AND c.relkind = 'i'"
        )
        return True

    def _require(self, true: bool, otherwise: str) -> None:
        if not true:
            self.figures.wrong.append(f"round {self.figures.ends.total()}: {otherwise}")


def _bytes(check_in: bytes) -> bytes:
    return UUID(check_in.decode()).bytes


def run(folder: Path, rounds: int, seed: str, cluster: Cluster | None = None) -> Figures:
    """On SQLite, or on a new database of a PostgreSQL that may be killed."""
    rng, settings = random.Random(seed), Settings(home=folder / "home")
    if cluster is None:
        return Kills(deployed=Deployed(settings=settings), rng=rng).run(rounds)
    with postgres.Server(cluster.url()) as server:
        database = server.new_database()
        deployed = Deployed(settings=on_postgres(settings.home, database))
        return Kills(deployed=deployed, rng=rng, database=database, cluster=cluster).run(rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill servers under load.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--seed", default=os.urandom(4).hex(), help="of what is chosen by chance")
    chosen = parser.parse_args()
    # whoever ends it ends what it started, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"{chosen.database}, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.database == "sqlite":
            figures = run(Path(folder), chosen.rounds, chosen.seed)
        else:
            with Cluster({"fsync": "on", "full_page_writes": "on"}) as cluster:
                figures = run(Path(folder), chosen.rounds, chosen.seed, cluster)
    print(figures)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
