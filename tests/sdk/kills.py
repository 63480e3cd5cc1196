"""Kills an outbox's process with -9, thousands of times, and looks at what is left each time.

    PYTHONPATH=tests python tests/sdk/kills.py --kills 10000

A child stores, sends, is switched off and on, becomes approximate, signs out, or opens a file of an
older version, and says through a pipe what is done. It dies at a random moment, or at a random
statement. Then its file must be whole (integrity_check); each check-in that was acknowledged waits
or is known to have ended; nothing has ended as accepted that was not sent; and no byte of a
position that was there before an acknowledged withdrawal is in file or log, nor one from before a
committed one when the file was opened again. Exits with 1 when one of this does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

from doorstep import Fix, NewCheckIn, _outbox_file, check_in_id
from doorstep._batches import Batch
from doorstep._clock import SYSTEM
from doorstep._keeper import Keeper
from doorstep._outbox_schema import APPLICATION_ID, STEPS
from doorstep._queue import End
from doorstep._reports import Report
from sdk.boxes import ANN, fast_folder

#: a file is used until it was killed so often; then another begins
KILLS_OF_A_FILE = 25
STATEMENTS = 500
#: within these a file of the first version is brought up to date
MIGRATING_STATEMENTS = 40
LATEST_S = 0.05


class Broken(Exception):
    """One of the promises does not hold."""


def place_of(id_: str) -> float:
    """A latitude of its own for each check-in: its digits are looked for."""
    return 40 + int(id_.replace("-", "")[-12:], 16) % 10**12 / 10**12


def digits_of(id_: str) -> bytes:
    return repr(place_of(id_)).encode()


# -- the child -------------------------------------------------------------------------------------


class Life:
    """What a process does until it is killed. It says each thing when it is done."""

    def __init__(self, path: Path, say: int, seed: int) -> None:
        self._say = say
        self._chance = random.Random(seed)
        self._outbox = Keeper(path)
        self._state = "precise"

    def live(self) -> None:
        self._outbox.open()
        self._tell("opened")
        self._note("precise")
        while True:
            self._chance.choices(
                [self.store, self.send, self.withdraw, self.approximate, self.reopen, self.leave],
                weights=[12, 6, 2, 1, 1, 0.2],
            )[0]()

    def store(self) -> None:
        id_ = check_in_id()
        fix = Fix.now(lat=place_of(id_), lon=5.0, accuracy_m=8.0)
        new = NewCheckIn(purpose="visit", fix=fix, id=id_)
        epoch = self._outbox.identity(ANN).epoch
        self._outbox.put(ANN, new, permission=self._state, epoch=epoch)
        self._tell("stored", id_)

    def send(self) -> None:
        up = self._outbox.next_up(ANN, self._state, most_items=3)
        if isinstance(up, Report):
            self._outbox.reported(ANN, up.number)
        if isinstance(up, Batch):
            for row in up.rows:
                self._tell("sent", row.id)
            self._outbox.settle([End(id=row.id, state="accepted") for row in up.rows])

    def withdraw(self) -> None:
        self._tell("withdrawing")
        self._note("denied")
        self._tell("gone")
        self._note("precise")

    def approximate(self) -> None:
        self._tell("withdrawing")
        self._note("approximate")
        self._tell("gone")
        self._note("precise")

    def reopen(self) -> None:
        self._outbox.close()
        self._outbox.open()

    def leave(self) -> None:
        self._tell("withdrawing")
        assert self._outbox.sign_out()
        self._tell("gone")
        self._note("precise")

    def _note(self, state: str) -> None:
        assert self._outbox.note_permission(ANN, state)
        self._state = state

    def _tell(self, *words: str) -> None:
        os.write(self._say, " ".join(words).encode() + b"\n")


def die_at_statement(number: int) -> None:
    """Every connection that is made from now on counts its statements."""
    left = iter(range(number, 0, -1))
    connect = _outbox_file._connected

    def counting(path: str) -> sqlite3.Connection:
        database = connect(path)
        database.set_trace_callback(lambda _: None if next(left, 0) > 1 else die())
        return database

    _outbox_file._connected = counting


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives that")


# -- around it -------------------------------------------------------------------------------------


class Story:
    """What was said of one file, over all who were killed over it."""

    def __init__(self) -> None:
        self.stored: set[str] = set()
        #: stored when a withdrawal was acknowledged: no byte of them may be left
        self.gone: set[str] = set()
        self.sent: set[str] = set()
        #: perhaps withdrawn, but nobody lived to say so
        self.doubtful: set[str] = set()
        self.acknowledged = 0
        self.purges = 0

    def hear(self, said: bytes) -> None:
        for line in said.decode().splitlines():
            word, _, id_ = line.partition(" ")
            getattr(self, f"_{word}")(id_)

    def settle_doubts(self, waiting: set[str]) -> None:
        """After the file was opened again: what waits was not withdrawn."""
        withdrawn = self.doubtful - waiting
        self.gone |= withdrawn
        self.stored -= withdrawn
        self.doubtful = set()

    def _opened(self, _: str) -> None:
        pass

    def _stored(self, id_: str) -> None:
        self.acknowledged += 1
        self.stored.add(id_)

    def _sent(self, id_: str) -> None:
        self.sent.add(id_)

    def _withdrawing(self, _: str) -> None:
        self.doubtful = set(self.stored)

    def _gone(self, _: str) -> None:
        self.purges += 1
        self.gone |= self.stored
        self.stored = set()
        self.doubtful = set()


def killed(path: Path, chance: random.Random, statements: int) -> bytes:
    """Let a child live and kill it; what it said."""
    hear, say = os.pipe()
    seed, at_statement = chance.getrandbits(32), chance.random() < 0.5
    child = os.fork()
    if child == 0:
        os.close(hear)
        live_and_die(path, say, seed, chance.randint(1, statements) if at_statement else None)
    os.close(say)
    if not at_statement:
        time.sleep(chance.uniform(0, LATEST_S))
        os.kill(child, signal.SIGKILL)
    with os.fdopen(hear, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise Broken("the child ended by itself")
    return said


def live_and_die(path: Path, say: int, seed: int, statement: int | None) -> NoReturn:
    try:
        if statement is not None:
            die_at_statement(statement)
        Life(path, say, seed).live()
    except BaseException:  # noqa: BLE001 (nothing of a child may go on)
        traceback.print_exc()
    os._exit(1)


def check(path: Path, story: Story) -> None:
    """What is left of a killed process keeps every promise."""
    require_forgotten(path, story.gone, "in the bytes after a kill")
    with Keeper(path) as outbox:
        outbox.purge(1)
        waiting = ids_in(path)
        story.settle_doubts(waiting)
        require_forgotten(path, story.gone, "in the bytes after it was opened again")
        for id_ in story.stored:
            status = outbox.ticket(id_)
            if status is None:
                raise Broken("an acknowledged check-in is lost")
            if status.state == "accepted" and id_ not in story.sent:
                raise Broken("a check-in was settled that was never sent")
    with closing(sqlite3.connect(path)) as database:
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise Broken("the file is not whole")


def require_forgotten(path: Path, ids: set[str], where: str) -> None:
    found = everything_around(path)
    left = [id_ for id_ in ids if digits_of(id_) in found]
    if left:
        raise Broken(f"{len(left)} withdrawn positions are {where}")


def everything_around(path: Path) -> bytes:
    return b"".join(one.read_bytes() for one in path.parent.glob(path.name + "*"))


def ids_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {id_ for [id_] in database.execute("SELECT id FROM check_ins")}


def make_first_version(path: Path, story: Story, number: int) -> None:
    """A file as the first version of the outbox made it, with check-ins that wait."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA application_id={APPLICATION_ID}")
        for statement in STEPS[0]:
            database.execute(statement)
        database.execute("PRAGMA user_version=1")
        database.execute(
            "INSERT INTO identities VALUES ('one', ?, ?, ?, 'ann', 0, 0, 'precise')",
            (ANN.base_url, ANN.mark, ANN.device_id),
        )
        now = SYSTEM.moment()
        for _ in range(number):
            id_ = check_in_id()
            claim = f'{{"lat":{place_of(id_)!r},"lon":5.0}}'.encode()
            database.execute(
                "INSERT INTO check_ins (id, base_url, identity, epoch, schema, captured_at, boot, "
                "clock, sealed, claim) VALUES (?, ?, 'one', 0, 1, ?, ?, ?, 0, ?)",
                (id_, ANN.base_url, now.wall.timestamp(), SYSTEM.boot(), now.elapsed_s, claim),
            )
            story.hear(f"stored {id_}".encode())


@contextmanager
def file_of_its_own(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name) / "outbox.db"


def rounds(kills: int, seed: int, folder: Path) -> Counter[str]:
    """Kill so many times; what was seen."""
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    while seen["kills"] < kills:
        story = Story()
        with file_of_its_own(folder) as path:
            is_old = chance.random() < 0.5
            if is_old:
                make_first_version(path, story, 3)
                seen["migrations"] += 1
            for number in range(min(KILLS_OF_A_FILE, kills - seen["kills"])):
                first = is_old and number == 0
                most = MIGRATING_STATEMENTS if first else STATEMENTS
                story.hear(killed(path, chance, most))
                check(path, story)
                seen["kills"] += 1
        seen["acknowledged"] += story.acknowledged
        seen["purges"] += story.purges
    return seen


def in_parallel(kills: int, workers: int, seed: int, folder: Path) -> Counter[str]:
    """Share the kills among processes."""
    seen: Counter[str] = Counter()
    pipes = [_worker(kills // workers, seed + n, folder) for n in range(workers)]
    for child, hear in pipes:
        with os.fdopen(hear, "rb") as pipe:
            for line in pipe.read().decode().splitlines():
                name, _, number = line.partition(" ")
                seen[name] += int(number)
        _, status = os.waitpid(child, 0)
        seen["failed workers"] += status != 0
    return seen


def _worker(kills: int, seed: int, folder: Path) -> tuple[int, int]:
    hear, say = os.pipe()
    child = os.fork()
    if child != 0:
        os.close(say)
        return child, hear
    try:
        for name, number in rounds(kills, seed, folder).items():
            os.write(say, f"{name} {number}\n".encode())
    except BaseException:  # noqa: BLE001 (nothing of a child may go on)
        print(f"seed {seed}", file=sys.stderr)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--folder", type=Path, default=fast_folder())
    given = parser.parse_args()
    begun = time.monotonic()
    seen = in_parallel(given.kills, given.workers, given.seed, given.folder)
    print(
        f"seed {given.seed}: {seen['kills']} kills in {time.monotonic() - begun:.0f} s, "
        f"{seen['acknowledged']} check-ins acknowledged, 0 lost; {seen['purges']} purges "
        f"acknowledged, 0 positions left; {seen['migrations']} files of the first version"
        if not seen["failed workers"]
        else f"seed {given.seed}: BROKEN, see above"
    )
    sys.exit(1 if seen["failed workers"] else 0)


if __name__ == "__main__":
    main()
