"""PostgreSQL with PostGIS, through asyncpg.

Store functions run in the event loop, each on a pooled connection, under SQLAlchemy's greenlets;
groups of check-ins, and what takes long, in threads beside it.
Every transaction begins by taking the role `doorstep_app` and naming its tenants (`Reach.enter`).
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from asyncpg.exceptions import (
    ClientConfigurationError,
    InterfaceError,
    InternalClientError,
    PostgresError,
)
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only, greenlet_spawn

from doorstep_server.store import (
    driver,
    dumping,
    grants,
    isolation,
    migrate,
    mixing,
    pooler,
    scrubbing,
    tenants,
)
from doorstep_server.store.database import (
    WAIT_S,
    AccessRefused,
    CannotCopy,
    Conflicted,
    Database,
    DatabaseDamaged,
    DatabaseUnavailable,
    KeyTaken,
    LoginRefused,
    Scrubbed,
    StoreFunction,
    UnsupportedDatabase,
)
from doorstep_server.store.reach import NOTHING, OWNER, Reach
from doorstep_server.store.scrubbing import Connecting

T = TypeVar("T")

#: where a connection's transactions are counted
_TRANSACTIONS = "doorstep_transactions"

#: connections of one process
CONNECTIONS = 8
#: and so many to follow changes with
FOLLOWING = 1
#: and so many beside them, for what reads or writes much
DOING_MUCH = 2
#: for a server that no longer answers at all; its own limits are shorter
COMMAND_TIMEOUT_S = 30.0
#: who makes or changes the schema waits so long for others that do, and for servers that still run
ADMINISTERING_WAIT_S = 30
#: what only one process does at a time, on a whole database: making the schema and changing it
_ADMINISTERING = 0x0D00257E9


class PostgresDatabase(Database):
    """A PostgreSQL database with PostGIS."""

    def __init__(self, url: str, admin_url: str | None = None) -> None:
        self._url = url
        self._admin_url = admin_url or url
        engine = _engine(url, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=WAIT_S)
        self._engine = engine
        self._writing, self._reading = _for_writing(engine), _for_reading(engine)
        self._following = _for_reading(_engine(url, pool_size=FOLLOWING, max_overflow=0))
        self._doing_much = asyncio.Semaphore(DOING_MUCH)
        self._asides = _Asides(url)
        self._groups = _Aside(url)

    async def write(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection of the pool."""
        return await _run(self._writing, reach, function)

    async def write_group(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection that is there for nothing else, in a thread of its own."""
        running = self._groups.submit(self._groups.writing, reach, function)
        return await asyncio.wrap_future(running)

    async def write_much(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection of its own, in a thread of its own; not many at once."""
        async with self._doing_much:
            return await asyncio.to_thread(self.write_now, reach, function)

    async def read(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection of the pool."""
        return await _run(self._reading, reach, function)

    async def follow(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection that is there for nothing else."""
        return await _run(self._following, reach, function)

    async def read_much(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection of its own, in a thread of its own; not many at once."""
        async with self._doing_much:
            return await asyncio.to_thread(self.read_now, reach, function)

    def write_now(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection of its own."""
        with self._asides.one() as aside:
            return aside.run(aside.writing, reach, function)

    def read_now(self, reach: Reach, function: StoreFunction[T]) -> T:
        """On a connection of its own."""
        with self._asides.one() as aside:
            return aside.run(aside.reading, reach, function)

    def administer(self, function: StoreFunction[T]) -> T:
        """As the user of DOORSTEP_ADMIN_DATABASE_URL, who owns the schema."""
        user = _user(self._url)

        def alone(connection: Connection) -> T:
            connection.execute(text(f"SET LOCAL lock_timeout = '{ADMINISTERING_WAIT_S}s'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADMINISTERING})"))
            grants.prepare(connection, user)
            return function(connection)

        # to change a schema may take as long as it takes
        kind = _for_writing(_single(self._admin_url, command_timeout_s=None))
        return _apart(lambda: _run_once(kind, OWNER, alone))

    def scrub_now(self, days: Collection[date] | None) -> Scrubbed:
        """The tables are written anew: a deleted row's bytes would stay in its page."""
        return _apart(lambda: scrubbing.scrub(self._single_for_much, days))

    def mix_now(self, over: Collection[date], lasting: Collection[date]) -> int:
        """A row says which transaction wrote it: those of a day are written in one, once more."""
        return _apart(lambda: mixing.mix(self._single_for_much, over, lasting))

    @asynccontextmanager
    async def _single_for_much(self) -> AsyncIterator[Connecting]:
        """What writes a table anew may take as long as it takes."""
        kind = _for_writing(_single(self._url, command_timeout_s=None))

        async def run(function: StoreFunction[Any]) -> Any:
            return await _run(kind, NOTHING, function)

        try:
            yield run
        finally:
            await kind.engine.dispose()

    def back_up(self, file: Path) -> None:
        """With PostgreSQL's own pg_dump, as the schema's owner."""
        dumping.dump(pooler.without(self._admin_url), file)

    def restore(self, file: Path) -> None:
        """With PostgreSQL's own pg_restore, as the schema's owner, into an empty database."""
        if self.exists():
            raise CannotCopy(
                "There is a Doorstep in this database already. Name an empty one in "
                "DOORSTEP_DATABASE_URL: it is not written over."
            )
        self.administer(lambda _: None)
        dumping.restore(pooler.without(self._admin_url), file)
        self.administer(lambda c: tenants.mark_copy(c, is_copy=True))

    def exists(self) -> bool:
        """Whether there is a schema in the database."""
        return not self.read_now(OWNER, migrate.is_empty)

    async def require_writable(self) -> None:
        """A transaction takes the role, is bound by row level security, and may write."""
        await self.write(NOTHING, grants.require)

    async def close(self) -> None:
        """Close the pools, and the connections beside them."""
        await self._following.engine.dispose()
        await self._engine.dispose()
        await asyncio.to_thread(self._asides.close)
        await asyncio.to_thread(self._groups.close)


class _Aside:
    """A connection with a thread and an event loop of its own.

    For whoever waits in a thread, which may have a loop that runs already, and for who must not
    wait for a loop that has much to do.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url, pool_size=1, max_overflow=0)
        self.writing, self.reading = _for_writing(self._engine), _for_reading(self._engine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="doorstep-aside")
        self._loop = asyncio.Runner()

    def submit(
        self, kind: "_Transactions", reach: Reach, function: StoreFunction[T]
    ) -> "Future[T]":
        return self._thread.submit(lambda: self._loop.run(_run(kind, reach, function)))

    def run(self, kind: "_Transactions", reach: Reach, function: StoreFunction[T]) -> T:
        return self.submit(kind, reach, function).result()

    def close(self) -> None:
        self._thread.submit(lambda: self._loop.run(self._engine.dispose())).result()
        self._thread.submit(self._loop.close).result()
        self._thread.shutdown()


class _Asides:
    """Connections beside the pool. Some stay open: to connect costs more than what is asked."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._changing = threading.Lock()
        self._free: list[_Aside] = []
        self._kept = DOING_MUCH

    @contextmanager
    def one(self) -> Iterator[_Aside]:
        """One that nobody uses, or one more."""
        with self._changing:
            aside = self._free.pop() if self._free else _Aside(self._url)
        try:
            yield aside
        finally:
            self._give_back(aside)

    def close(self) -> None:
        """Those in use are closed when they are given back."""
        with self._changing:
            free, self._free, self._kept = self._free, [], 0
        for aside in free:
            aside.close()

    def _give_back(self, aside: _Aside) -> None:
        with self._changing:
            is_kept = len(self._free) < self._kept
            if is_kept:
                self._free.append(aside)
        if not is_kept:
            aside.close()


def _user(url: str) -> str:
    """Who connects by a URL: known only to the server, which may have been told in many ways."""

    async def ask() -> str:
        engine = _single(url)
        try:
            with _told():
                async with engine.connect() as connection:
                    return str(await connection.scalar(text("SELECT session_user")))
        finally:
            await engine.dispose()

    return _apart(ask)


def _engine(
    url: str, *, command_timeout_s: float | None = COMMAND_TIMEOUT_S, **options: Any
) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={
            "async_creator_fn": pooler.connecting(
                url, timeout=WAIT_S, command_timeout=command_timeout_s
            ),
            **pooler.engine_arguments(url),
        },
        hide_parameters=True,
        # transactions are the driver's: see `_begun`
        isolation_level="AUTOCOMMIT",
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        **options,
    )
    isolation.enforce(engine.sync_engine)
    return engine


def _single(url: str, *, command_timeout_s: float | None = COMMAND_TIMEOUT_S) -> AsyncEngine:
    return _engine(url, command_timeout_s=command_timeout_s, poolclass=NullPool)


@dataclass(frozen=True, slots=True)
class _Transactions:
    """Of a kind, on connections of an engine."""

    engine: AsyncEngine
    isolation: str
    readonly: bool


def _for_writing(engine: AsyncEngine) -> _Transactions:
    """Every statement sees what was committed before it: what was waited for, above all."""
    return _Transactions(engine, "read_committed", readonly=False)


def _for_reading(engine: AsyncEngine) -> _Transactions:
    """All statements see one state."""
    return _Transactions(engine, "repeatable_read", readonly=True)


async def _run(kind: _Transactions, reach: Reach, function: StoreFunction[T]) -> T:
    def once() -> T:
        with kind.engine.sync_engine.begin() as connection, _begun(connection, kind):
            if _is_to_plan_anew(connection):
                driver.fetch(connection, "DISCARD PLANS", ())
            reach.enter(connection)
            return function(connection)

    def whole() -> T:
        for _ in range(CONNECTIONS):
            with suppress(_Lost):
                return once()
        return once()

    with _told():
        return await _ended(greenlet_spawn(whole))


async def _ended(transaction: Coroutine[Any, Any, T]) -> T:
    """Run a transaction to its end. If whoever asked goes, it is rolled back, and ends too.

    In one go: an asynchronous engine makes a task and several greenlets for each, which a group of
    check-ins takes longer with than with its statements.
    """
    task = asyncio.create_task(transaction)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        # a connection that is given back in the middle of something is lost to the pool
        await asyncio.wait([task])
        raise


class _Lost(Exception):
    """A connection of the pool was closed while nobody used it: there are others."""


@contextmanager
def _begun(connection: Connection, kind: _Transactions) -> Iterator[None]:
    """The driver's own transaction. To SQLAlchemy this connection commits each statement by itself.

    A connection that is not as it was before is not used again. Raises `_Lost`.
    """
    transaction = _begin(connection, kind)
    try:
        yield
    except BaseException:
        _roll_back(connection, transaction)
        raise
    try:
        await_only(transaction.commit())
    except BaseException:
        connection.invalidate()
        raise


def _begin(connection: Connection, kind: _Transactions) -> Any:
    driven: Any = connection.connection.driver_connection
    try:
        transaction = driven.transaction(isolation=kind.isolation, readonly=kind.readonly)
        await_only(transaction.start())
    except BaseException as error:
        is_lost = isinstance(error, ConnectionError | InternalClientError) or driven.is_closed()
        connection.invalidate()
        if is_lost and isinstance(error, Exception):
            raise _Lost from error
        raise
    return transaction


def _roll_back(connection: Connection, transaction: Any) -> None:
    try:
        await_only(transaction.rollback())
    except BaseException as error:
        connection.invalidate()
        if not isinstance(error, Exception):
            raise


def _is_to_plan_anew(connection: Connection) -> bool:
    """Whether a connection lets go of its plans now: with its 2nd, 4th, 8th … transaction.

    It keeps plans until there are other statistics, so those that it made when tables were all but
    empty would be used for a new deployment's first minute, and on a server that gathers none for
    good. So tables have but doubled, or so, since plans were made.
    """
    info = connection.connection.info
    count: int = info.get(_TRANSACTIONS, 0) + 1
    info[_TRANSACTIONS] = count
    return count > 1 and count & (count - 1) == 0


async def _run_once(kind: _Transactions, reach: Reach, function: StoreFunction[T]) -> T:
    try:
        return await _run(kind, reach, function)
    finally:
        await kind.engine.dispose()


def _apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run in an event loop of its own; the calling thread may have one that runs already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


_OF_THE_DRIVER = (PostgresError, InterfaceError, InternalClientError)
_Said = DBAPIError | PostgresError | InterfaceError | InternalClientError


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the driver raises into our few errors. Its messages may quote what was written."""
    try:
        yield
    except (DBAPIError, *_OF_THE_DRIVER) as error:
        told = _unavailable(error)
        if told is None:
            raise
        raise told from None
    except _Lost:
        raise DatabaseUnavailable("connection lost") from None
    except PoolTimeout:
        raise DatabaseUnavailable("no connection is free") from None
    except TimeoutError:
        raise DatabaseUnavailable("no answer in time") from None
    except OSError:
        raise DatabaseUnavailable("cannot be reached") from None


#: by the first two letters of the SQLSTATE, or all of it
_STATES: dict[str, type[DatabaseUnavailable]] = {
    "08": DatabaseUnavailable,  # connection
    # a key that was free when it was looked for: another transaction was faster
    "23505": KeyTaken,
    "25006": DatabaseUnavailable,  # read-only transaction
    "28": LoginRefused,  # who connects is not let in
    "3D000": DatabaseUnavailable,  # no such database
    "40": Conflicted,  # rolled back for another: deadlock, serialization
    "42501": AccessRefused,  # a right is missing
    "42P01": DatabaseDamaged,  # a table is gone
    "42703": DatabaseDamaged,  # a column
    "42883": DatabaseDamaged,  # a function
    "53": DatabaseUnavailable,  # out of disk, memory or connections
    "55P03": DatabaseUnavailable,  # a lock was not to be had in time
    "57": DatabaseUnavailable,  # shutting down, starting, cancelled
    "58": DatabaseUnavailable,  # the system below it
    "XX001": DatabaseDamaged,
    "XX002": DatabaseDamaged,
}


#: a setting in the URL that neither the driver nor the server knows
_UNKNOWN_SETTING = "42704"


def _unavailable(error: _Said) -> Exception | None:
    said = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(said, "sqlstate", None)
    cause = getattr(said, "__cause__", None)
    if isinstance(cause, ClientConfigurationError) or state == _UNKNOWN_SETTING:
        return UnsupportedDatabase(
            "DOORSTEP_DATABASE_URL cannot be used. Write postgresql://user:password@host/database. "
            "Behind a `?` it may say sslmode, sslrootcert and what else asyncpg takes, and "
            "settings of the server; not every option of other drivers."
        )
    if state is None:
        return DatabaseUnavailable("connection lost") if _is_lost(error) else None
    kind = _STATES.get(state) or _STATES.get(state[:2])
    return kind(f"SQLSTATE {state}") if kind else None


def _is_lost(error: _Said) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    if isinstance(error, InternalClientError):
        # of a connection that ended in the middle of something
        return True
    # what the driver says of a connection; of a value that it cannot send it says a ValueError
    return isinstance(error, InterfaceError) and not isinstance(error, ValueError)
