"""Where store functions run: what both kinds of database have in common.

Store functions are synchronous and take a connection. Each runs in one transaction, which touches
only the tenants of its `Reach`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from doorstep_server.store.reach import Reach

T = TypeVar("T")
StoreFunction = Callable[[Connection], T]

#: how long anything waits for the database's attention: a lock, a connection, its turn
WAIT_S = 5.0


class UnsupportedDatabase(ValueError):
    """DOORSTEP_DATABASE_URL names a database that Doorstep does not run on."""


class DatabaseUnavailable(RuntimeError):
    """The database cannot take or give anything now (locked, full, read-only, gone): try later."""

    _SAID = (
        "The database cannot be used now ({code}). Another process may hold it, its disk may be "
        "full, or it may not be running: see to that and try again."
    )

    def __init__(self, code: str) -> None:
        super().__init__(self._SAID.format(code=code))
        #: what is wrong, in words of ours or the database's short code: it may be logged
        self.code = code


class DatabaseDamaged(DatabaseUnavailable):
    """The database is not one, or is no longer whole. It is never replaced by an empty one."""

    _SAID = (
        "The database is damaged ({code}). Stop every server that uses it, keep what is there, and "
        "put a good copy in its place."
    )


class AccessRefused(DatabaseUnavailable):
    """The database does not let us do this: a role or a right is missing."""

    _SAID = (
        "The database refuses what Doorstep asks of it ({code}): a right or a role is missing. Run "
        "`doorstep migrate` with DOORSTEP_ADMIN_DATABASE_URL naming a superuser of the database: "
        "it makes the role doorstep_app and grants it to the server's user."
    )


class LoginRefused(DatabaseUnavailable):
    """The database does not let us in."""

    _SAID = (
        "The database does not let Doorstep in ({code}). Mend the user or the password in "
        "DOORSTEP_DATABASE_URL (or DOORSTEP_ADMIN_DATABASE_URL), or let the user in."
    )


class CannotCopy(RuntimeError):
    """A backup cannot be written, or cannot be read."""


class Conflicted(DatabaseUnavailable):
    """Another transaction came first: what was written meanwhile must be looked at again."""


class KeyTaken(Conflicted):
    """There is a row of this key, though none was found before: it was written meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scrubbed:
    """What can still hold what was deleted."""

    #: the oldest day of the write-ahead log that the server keeps; None: nothing is in a log
    wal_since: date | None
    #: whether that could be found out
    wal_known: bool


class Database(ABC):
    """A database, opened for one process."""

    @abstractmethod
    async def write(self, reach: Reach, function: StoreFunction[T]) -> T:
        """Run a store function in a write transaction: durable when this returns, or not at all.

        Raises `DatabaseUnavailable`; the wait is bounded.
        """

    @abstractmethod
    async def write_group(self, reach: Reach, function: StoreFunction[T]) -> T:
        """As `write`, one after the other: it goes on however much the event loop has to do.

        When more comes than can be taken, most of what the loop does is to refuse.
        """

    @abstractmethod
    async def write_much(self, reach: Reach, function: StoreFunction[T]) -> T:
        """As `write`, for what takes long: the event loop goes on meanwhile."""

    @abstractmethod
    async def read(self, reach: Reach, function: StoreFunction[T]) -> T:
        """Run a store function on one state of the database. Raises `DatabaseUnavailable`."""

    @abstractmethod
    async def follow(self, reach: Reach, function: StoreFunction[T]) -> T:
        """As `read`, never behind other reads: for what must be known of changes, and is short."""

    @abstractmethod
    async def read_much(self, reach: Reach, function: StoreFunction[T]) -> T:
        """As `read`, for what takes long to make out: the event loop goes on meanwhile."""

    @abstractmethod
    def write_now(self, reach: Reach, function: StoreFunction[T]) -> T:
        """As `write`, for commands: the calling thread waits."""

    @abstractmethod
    def read_now(self, reach: Reach, function: StoreFunction[T]) -> T:
        """As `read`, for commands and for starting: the calling thread waits."""

    @abstractmethod
    def administer(self, function: StoreFunction[T]) -> T:
        """Run a function as the owner of the schema, in one transaction, one process at a time.

        For making the schema and changing it. What it reads and writes of tenants it must still
        name, with `Reach.enter`.
        """

    @abstractmethod
    def scrub_now(self, days: Collection[date] | None) -> Scrubbed:
        """Make what was deleted from tables about persons gone from their files, too.

        Of check-ins those parts that expire on these days are scrubbed; None: all. Raises
        `DatabaseUnavailable` when it cannot be done now, as long as old readers are there.
        """

    @abstractmethod
    def mix_now(self, over: Collection[date], lasting: Collection[date]) -> int:
        """Make it unseen which check-ins were written together; how many were written anew.

        Of days that are over, and of those that last where it costs little. They are named by the
        day that their check-ins expire on. Raises `DatabaseUnavailable`.
        """

    @abstractmethod
    def back_up(self, file: Path) -> None:
        """Write one state of the database to a file that is not there, while it is in use.

        Raises `DatabaseUnavailable`, `CannotCopy`.
        """

    @abstractmethod
    def restore(self, file: Path) -> None:
        """Make the database anew from what `back_up` wrote, marked as a copy.

        Raises `DatabaseUnavailable`, `CannotCopy`: then nothing was made.
        """

    @abstractmethod
    def exists(self) -> bool:
        """Whether a schema was ever made here. A lost database is never made anew.

        Raises `ForeignDatabase` when something else lives here.
        """

    @abstractmethod
    async def require_writable(self) -> None:
        """Raise `DatabaseUnavailable` unless check-ins could be taken right now."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what runs, then close every connection."""

    def close_now(self) -> None:
        """As `close`, for commands."""
        asyncio.run(self.close())
