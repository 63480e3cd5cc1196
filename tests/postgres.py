"""PostgreSQL with PostGIS for tests: servers to throw away, their databases, ways to break them."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

#: a superuser's URL of any database of a server that tests may use instead of their own
URL_VARIABLE = "DOORSTEP_TEST_DATABASE_URL"
SUPERUSER = "postgres"
#: PostgreSQL does not run as root: from root, its programs run as this user
SYSTEM_USER = "postgres"
PORT = 5432
WITHIN_S = 60
#: a server of a test has nothing to lose when the power fails
OPTIONS = {"fsync": "off", "full_page_writes": "off"}
#: of a Unix socket, everywhere: 104 bytes on macOS, 108 on Linux
SOCKET_PATH_LIMIT = 100

T = TypeVar("T")


# --- what is installed ---------------------------------------------------------------------------


def find_binaries() -> Path | None:
    """The programs of the newest PostgreSQL here that has PostGIS."""
    debian = [
        (path.parent, Path("/usr/share/postgresql") / path.parent.parent.name)
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
    ]
    debian.sort(key=lambda found: float(found[0].parent.name), reverse=True)
    for binaries, shared in [*debian, *_configured()]:
        if (binaries / "initdb").exists() and (shared / "extension/postgis.control").exists():
            return binaries
    return None


def _configured() -> list[tuple[Path, Path]]:
    """Where `pg_config` says that a PostgreSQL is, off Debian."""
    if shutil.which("pg_config") is None:
        return []
    asked = ["pg_config", "--bindir", "--sharedir"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    binaries, shared = done.stdout.splitlines()
    return [(Path(binaries), Path(shared))]


def why_no_cluster() -> str | None:
    """Why tests cannot start a PostgreSQL of their own here; nothing if they can."""
    if find_binaries() is None:
        return "PostgreSQL with PostGIS is not installed (Debian: apt install postgresql-postgis)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no user {SYSTEM_USER} here"
    return None


def why_no_server() -> str | None:
    """Why tests have no PostgreSQL to make databases on; nothing if they have."""
    reason = why_no_cluster()
    if reason is None or os.environ.get(URL_VARIABLE):
        return None
    return f"{reason}; or set {URL_VARIABLE} to a superuser's URL of a server that has it"


# --- speaking to it ------------------------------------------------------------------------------


class LoopThread:
    """An event loop in a thread of its own: for tests with no loop as for tests inside of one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work).result(WITHIN_S)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Session:
    """One connection, held. Each statement is a transaction unless BEGIN opens one."""

    def __init__(self, thread: LoopThread, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._thread = thread
        self._connection = connection
        self.pid = connection.get_server_pid()

    def run(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self.start(statement, *arguments).result(WITHIN_S)

    def start(self, statement: str, *arguments: Any) -> Future[list[tuple[Any, ...]]]:
        """Without waiting for it: for a statement that has to wait for a lock."""
        return self._thread.start(self._fetch(statement, *arguments))

    async def _fetch(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(statement, *arguments)]


@contextmanager
def session(url: str) -> Iterator[Session]:
    thread = LoopThread()
    try:
        # nothing is cached: what a test changes is seen by its next statement
        connection = thread.run(asyncpg.connect(url, timeout=WITHIN_S, statement_cache_size=0))
        try:
            yield Session(thread, connection)
        finally:
            thread.run(_close(connection))
    finally:
        thread.close()


async def _close(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Even if the server is gone, or a statement still waits."""
    mine = asyncio.current_task()
    waiting = [task for task in asyncio.all_tasks() if task is not mine]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    try:
        await connection.close(timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def sql(url: str, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement, on a connection of its own."""
    with session(url) as held:
        return held.run(statement, *arguments)


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {WITHIN_S} s: {what}")
        time.sleep(0.01)


def aimed(url: str, *, database: str, user: str, password: str | None = None) -> str:
    """A URL of the same server for another database and user."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    who = user if password is None else f"{user}:{password}"
    own = {"user", "password", "dbname", "database"}
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in own]
    path, kept = f"/{database}", urlencode(query, safe="/")
    return urlunsplit(("postgresql", f"{who}@{place}", path, kept, ""))


# --- a server to break ---------------------------------------------------------------------------


class Cluster:
    """A PostgreSQL server in a temporary folder, on a Unix socket there and on no port."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        binaries = find_binaries()
        assert binaries is not None, why_no_cluster()
        self.binaries = binaries
        self.options = {**OPTIONS, **(options or {})}
        self.folder = _short_folder()
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self._upstream: Cluster | None = None
        self._standbys: list[Cluster] = []

    def __enter__(self) -> Self:
        try:
            if not self.running:
                self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> None:
        """Make it, if it is new; recover it, if it was killed."""
        if not self.data.exists():
            how = ["-A", "trust", "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
            self._call("initdb", "-D", str(self.data), *how)
        settings = {**self.options, "listen_addresses": "", "port": str(PORT)}
        given = [f"-c{name}={value}" for name, value in settings.items()]
        options = shlex.join(["-k", str(self.folder), *given])
        self._control("start", "-l", str(self.log), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        self._control("stop", "-m", mode)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """As a crash of the machine would: no process of the server lives to do anything more."""
        postmaster = self._postmaster()
        assert postmaster is not None, "the server does not run"
        # stopped, it makes no new processes and replaces none while we look
        os.kill(postmaster, signal.SIGSTOP)
        processes = [postmaster, *_children(postmaster)]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        wait_until(lambda: not any(map(_alive, processes)), "the server's processes are dead")
        # the next server must not take another process of that number for this one, nor this one
        # for alive where nobody reaps it
        (self.data / "postmaster.pid").unlink()
        for left in self.folder.glob(".s.PGSQL.*"):
            left.unlink()

    @property
    def running(self) -> bool:
        postmaster = self._postmaster()
        return postmaster is not None and _alive(postmaster)

    def remove(self) -> None:
        for standby in self._standbys:
            standby.remove()
        if self.running:
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}&port={PORT}"

    def sql(self, statement: str, *arguments: Any, database: str = "postgres") -> list[Any]:
        return sql(self.url(database), statement, *arguments)

    def terminate_backends(self, database: str) -> int:
        """Close every connection to a database, as an administrator would; how many there were."""
        ended = self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database
        )
        return len(ended)

    def standby(self) -> Cluster:
        """A running hot standby that follows this server and has caught up with it."""
        standby = Cluster(self.options)
        self._standbys.append(standby)
        standby._upstream = self
        source = ["-h", str(self.folder), "-p", str(PORT), "-U", SUPERUSER]
        how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        standby._call("pg_basebackup", "-D", str(standby.data), *source, *how)
        standby.start()
        streams = "SELECT true FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        wait_until(lambda: standby.sql(streams) == [(True,)], "the standby streams")
        standby.catch_up()
        return standby

    def catch_up(self) -> None:
        """Wait until a standby shows what its primary has committed so far."""
        assert self._upstream is not None, "not a standby"
        [(position,)] = self._upstream.sql("SELECT pg_current_wal_lsn()::text")
        replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
        with session(self.url()) as held:
            wait_until(lambda: held.run(replayed, position) == [(True,)], "the standby caught up")

    def _control(self, *arguments: str) -> None:
        self._call("pg_ctl", "-D", str(self.data), "-w", "-t", str(WITHIN_S), *arguments)

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", SYSTEM_USER, "--", *command]
        # what the environment says of other servers is not for this one
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * WITHIN_S,
        )
        if done.returncode != 0:
            log = self.log.read_text()[-4000:] if self.log.exists() else ""
            raise AssertionError(f"{program}: {done.stdout}\n{log}")

    def _postmaster(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None


def _short_folder() -> Path:
    """A temporary folder for a socket: its path must be short, and the server's user's own."""
    longest = len(tempfile.gettempdir()) + len(f"/pg-12345678/.s.PGSQL.{PORT}.lock")
    parent = "/tmp" if longest > SOCKET_PATH_LIMIT else None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    if os.geteuid() == 0:
        shutil.chown(folder, SYSTEM_USER)
    return folder


def _processes() -> Iterator[tuple[int, int, str]]:
    """Each process's number, its parent's and its state."""
    if not Path("/proc/self/stat").exists():
        asked = ["ps", "-A", "-o", "pid=,ppid=,stat="]
        for line in subprocess.check_output(asked, text=True).splitlines():
            process, parent, state = line.split()
            yield int(process), int(parent), state[0]
        return
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # the second member is a name in parentheses, with anything in it
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
            yield int(path.parent.name), int(parent), state


def _children(of: int) -> list[int]:
    return [process for process, parent, _ in _processes() if parent == of]


def _alive(process: int) -> bool:
    """Not ended: one that nobody has reaped yet is as dead as any."""
    return any(number == process and state not in "ZX" for number, _, state in _processes())


# --- databases -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScratchDatabase:
    """A database of one test: `url` is for the application, `admin_url` for a superuser."""

    name: str
    url: str
    admin_url: str

    def sql(self, statement: str, *arguments: Any, as_admin: bool = True) -> list[tuple[Any, ...]]:
        return sql(self.admin_url if as_admin else self.url, statement, *arguments)

    @contextmanager
    def session(self, *, as_admin: bool = True) -> Iterator[Session]:
        with session(self.admin_url if as_admin else self.url) as held:
            yield held


class Server:
    """Where tests make databases, with a login for the application that has no privilege.

    What it makes on an external server it takes away at the end; a cluster takes all with it.
    """

    def __init__(self, admin_url: str, *, external: bool = False) -> None:
        self.external = external
        name = urlsplit(admin_url)
        self.admin_url = urlunsplit(("postgresql", *name[1:]))
        self.login = _name()
        self.password = secrets.token_hex(16) if external else None
        self._template = _name()
        self._made: set[str] = set()

    def __enter__(self) -> Self:
        try:
            self._make_login()
            self._make_template()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self.external:
            return
        with session(self.admin_url) as admin:
            for name in [*self._made, self._template]:
                admin.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            # fails if it owns anything that is left
            admin.run(f'DROP ROLE IF EXISTS "{self.login}"')

    def new_database(self, like: ScratchDatabase | None = None) -> ScratchDatabase:
        """Empty but for PostGIS; or a copy of one to which nobody is connected."""
        name = _name()
        template = like.name if like else self._template
        sql(self.admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._made.add(name)
        url = aimed(self.admin_url, database=name, user=self.login, password=self.password)
        return ScratchDatabase(name, url, self._admin_url(name))

    def url_of(self, database: str, user: str, password: str) -> str:
        """Where a role of a test's own connects."""
        return aimed(self.admin_url, database=database, user=user, password=password)

    def drop(self, database: ScratchDatabase) -> None:
        sql(self.admin_url, f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')
        self._made.discard(database.name)

    def _make_login(self) -> None:
        password = f"PASSWORD '{self.password}'" if self.password else ""
        sql(
            self.admin_url,
            f'CREATE ROLE "{self.login}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS'
            f" NOREPLICATION {password}",
        )

    def _make_template(self) -> None:
        """To make PostGIS once takes longer than to copy it for each test."""
        name = self._template
        sql(self.admin_url, f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
        sql(self._admin_url(name), "CREATE EXTENSION postgis")
        sql(self.admin_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')

    def _admin_url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}"))


def _name() -> str:
    return f"doorstep_test_{secrets.token_hex(6)}"


@contextmanager
def opened() -> Iterator[Server]:
    """The server that the environment names, else one of its own."""
    url = os.environ.get(URL_VARIABLE)
    if url:
        with Server(url, external=True) as server:
            yield server
    else:
        with Cluster() as cluster, Server(cluster.url()) as server:
            yield server


# --- between a client and a server ---------------------------------------------------------------

#: a client asks first whether the server would encrypt: it may not, or the proxy could not read
_ENCRYPTION_REQUESTS = {80877103, 80877104}
_COMMITTED = (b"C", b"COMMIT\0")


class _Connection:
    """A client's connection to the proxy and the proxy's to the server."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = list(writers)

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """A TCP port before a PostgreSQL server, where tests break connections.

    It reads what the server answers: a COMMIT that the server has confirmed is committed, whatever
    the client sent to ask for it.
    """

    def __init__(self, server_url: str) -> None:
        """Of any database there."""
        parts = urlsplit(server_url)
        query = dict(parse_qsl(parts.query))
        self._host = query.get("host") or parts.hostname or "localhost"
        self._to_port = int(query.get("port") or parts.port or PORT)
        self.cuts = 0
        self._to_cut = 0
        self._was_cut = threading.Event()
        self._connections: dict[_Connection, asyncio.Task[Any]] = {}
        # holds the port while nobody listens on it
        self._holder = _bound(0)
        self.port = int(self._holder.getsockname()[1])
        self._thread = LoopThread()
        self._listening: asyncio.Server | None = None
        self.allow()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def url(self, database: str, user: str, password: str | None = None) -> str:
        here = f"postgresql://127.0.0.1:{self.port}"
        return aimed(here, database=database, user=user, password=password)

    def through(self, url: str) -> str:
        """The same user's URL of the same database, by way of the proxy."""
        parts = urlsplit(url)
        return self.url(parts.path[1:], parts.username or SUPERUSER, parts.password)

    def cut_after_commit(self, times: int = 1) -> threading.Event:
        """The next commits happen, and their clients lose their connection instead of hearing it.

        What it gives is set when the last of them has been cut.
        """
        self._was_cut = threading.Event()
        self._to_cut = times
        return self._was_cut

    def cut_all(self) -> None:
        """Close every open connection."""
        self._thread.run(self._cut_all())

    def refuse(self) -> None:
        """No new connections; the open ones stay."""
        self._thread.run(self._refuse())

    def allow(self) -> None:
        self._thread.run(self._listen())

    def close(self) -> None:
        self.refuse()
        self.cut_all()
        self._thread.close()
        self._holder.close()

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(self._serve, sock=_bound(self.port))

    async def _refuse(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    async def _cut_all(self) -> None:
        tasks = list(self._connections.values())
        for connection in list(self._connections):
            connection.cut()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            # a side that goes away, or is not there, ends the connection and nothing else
            with suppress(OSError, EOFError):
                await self._connect(connection, reader)
        finally:
            for side in connection.writers:
                side.close()
                with suppress(OSError):
                    await side.wait_closed()
            del self._connections[connection]

    async def _connect(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        [client] = connection.writers
        opening = await _opening(reader, client)
        answers, server = await self._dial()
        connection.writers.append(server)
        server.write(opening)
        pumps = [
            asyncio.ensure_future(_pass_on(reader, server)),
            asyncio.ensure_future(self._pass_answers(connection, answers, client)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._to_port}")
        return await asyncio.open_connection(self._host, self._to_port)

    async def _pass_answers(
        self, connection: _Connection, answers: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await answers.readexactly(5)
            body = await answers.readexactly(int.from_bytes(head[1:]) - 4)
            if self._to_cut and (head[:1], body) == _COMMITTED:
                connection.cut()
                self._count_cut()
                return
            client.write(head + body)
            await client.drain()

    def _count_cut(self) -> None:
        self.cuts += 1
        self._to_cut -= 1
        if not self._to_cut:
            self._was_cut.set()


async def _opening(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> bytes:
    """The first bytes of what a client says to the server itself."""
    while True:
        start = await reader.readexactly(8)
        if int.from_bytes(start[4:]) not in _ENCRYPTION_REQUESTS:
            return start
        client.write(b"N")


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def _bound(port: int) -> socket.socket:
    # only of sockets that say their protocol does asyncio send small pieces at once
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
