"""The outbox's file: opened safely, one transaction at a time, and forgotten for good.

SQLite with a write-ahead log. What is committed is on the disk (synchronous=FULL), what is deleted
is overwritten (secure_delete), and `forget` takes it out of the log too.
"""

# ruff: noqa: PTH104, PTH108, PTH110, PTH118, PTH123, PTH208
# pathlib is slow to import, and an app waits for its outbox

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from doorstep import _losses as losses
from doorstep._errors import OutboxUnusable
from doorstep._outbox_schema import APPLICATION_ID, STEPS, VERSION

T = TypeVar("T")

_BUSY_MS = 5000
_LOG_RETRY_S = 0.01
#: in this order when set aside: a new file must never find the old one's log
_SIDES = ("-wal", "-shm", "-journal", "")
_ASIDE = ".corrupt-"
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SETTINGS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    # Apple's fsync alone does not reach the disk
    "PRAGMA fullfsync=ON",
    "PRAGMA checkpoint_fullfsync=ON",
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    f"PRAGMA busy_timeout={_BUSY_MS}",
)


class Corrupt(Exception):
    """The file is no database any more."""


class OutboxFile:
    """One connection to the file. Its user takes turns: see `Outbox`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        #: somebody was killed, or has the file open: its log may hold what was deleted
        self.found_log = False

    @property
    def is_open(self) -> bool:
        return self._database is not None

    def open(self) -> int:
        """Open the file, or a new one where it is corrupt; how many files were lost."""
        self.found_log = os.path.exists(self._path + "-wal")
        try:
            self._open()
        except Corrupt:
            self._set_aside()
        if not self.is_open:
            self._open()
        return self._sweep_aside()

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work in one transaction: when this returns it is on the disk, else not at all.

        Raises `Corrupt` and `OutboxUnusable`.
        """
        database = self._connection
        error: Exception
        try:
            return _transact(database, work)
        except sqlite3.Error as failure:
            error = _named(failure)
        raise error

    def forget(self, within_s: float) -> bool:
        """Empty the log; False when somebody reads there for all that time."""
        deadline = time.monotonic() + within_s
        while not self._truncate_log():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOG_RETRY_S)
        return True

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise OutboxUnusable("The outbox is closed: open it again, or call resume().")
        return self._database

    def _open(self) -> None:
        error: Exception
        try:
            self._database = _connected(self._path)
            _prepare(self._database)
        except sqlite3.Error as failure:
            error = _named(failure)
        except OSError:
            error = OutboxUnusable()
        except (Corrupt, OutboxUnusable) as failure:
            error = failure
        else:
            return
        self.close()
        raise error

    def _truncate_log(self) -> bool:
        database = self._connection
        error: Exception
        try:
            database.execute("PRAGMA busy_timeout=0")
            [busy, _, _] = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            database.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        except sqlite3.Error as failure:
            error = _named(failure)
        else:
            return not busy
        raise error

    def _set_aside(self) -> None:
        mark = _ASIDE + os.urandom(4).hex()
        for side in _SIDES:
            try:
                os.rename(self._path + side, self._path + side + mark)
            except FileNotFoundError:
                continue

    def _sweep_aside(self) -> int:
        """Count and destroy what was set aside, also by somebody who was killed over it."""
        found = _found_aside(self._path)
        lost = len({one.rpartition(_ASIDE)[2] for one in found})
        if lost:
            self.run(lambda database: losses.count(database, "corrupt", lost))
        for one in found:
            _destroy(one)
        return lost


def _connected(path: str) -> sqlite3.Connection:
    """Only the app's own user may read it; the log takes over the file's mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _prepare(database: sqlite3.Connection) -> None:
    version = _version(database)
    for setting in _SETTINGS:
        database.execute(setting)
    if version > VERSION:
        raise OutboxUnusable(
            "The outbox's file was made by a newer version of doorstep and was left as it is: "
            "update doorstep, or use another path."
        )
    if version == VERSION:
        _check(database)
    else:
        _transact(database, _migrate)


def _version(database: sqlite3.Connection) -> int:
    """0 for a new file; another program's is left alone."""
    [version] = database.execute("PRAGMA user_version").fetchone()
    [application] = database.execute("PRAGMA application_id").fetchone()
    [tables] = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise OutboxUnusable(
            "The file at the outbox's path is another program's database and was left as it is: "
            "give the outbox a path of its own."
        )
    return int(version)


def _check(database: sqlite3.Connection) -> None:
    [verdict] = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Corrupt


def _migrate(database: sqlite3.Connection) -> None:
    """All steps that are missing, or none. Somebody else may have been faster."""
    database.execute(f"PRAGMA application_id={APPLICATION_ID}")
    for number, step in enumerate(STEPS, start=1):
        if number > _version(database):
            for statement in step:
                database.execute(statement)
            database.execute(f"PRAGMA user_version={number}")


def _transact(database: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    database.execute("BEGIN IMMEDIATE")
    try:
        result = work(database)
        database.execute("COMMIT")
    except BaseException:
        _roll_back(database)
        raise
    return result


def _roll_back(database: sqlite3.Connection) -> None:
    try:
        if database.in_transaction:
            database.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # what failed before is told; an open transaction ends with its connection


def _named(failure: sqlite3.Error) -> Exception:
    """Ours, without the frames of what was being written."""
    code = getattr(failure, "sqlite_errorcode", None)
    # the extended codes hold the plain one in their low byte
    return Corrupt() if code is not None and code & 0xFF in _CORRUPT else OutboxUnusable()


def _found_aside(path: str) -> list[str]:
    folder, name = os.path.split(path)
    begins = tuple(name + side + _ASIDE for side in _SIDES)
    names = os.listdir(folder or os.curdir)
    return [os.path.join(folder, one) for one in names if one.startswith(begins)]


def _destroy(path: str) -> None:
    """Overwrite what a file holds before it goes: it may hold places."""
    with open(path, "r+b", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))
        os.fsync(file.fileno())
    os.unlink(path)
