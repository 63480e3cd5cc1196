"""What happens to a deployment while canaries fly: every route, faults, and careless code.

Whatever its processes leave behind lies in one folder, of which each part is a place (`place_of`).
The server is a process as anybody starts it, but for what `unguarded.py` changes on purpose.
"""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, product
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import msgspec

from doorstep_server import deployment
from doorstep_server.deployment import NewTenant
from doorstep_server.keyring.entries import EntryName
from doorstep_server.keyring.entries import Kind as EntryKind
from doorstep_server.keyring.opening import entries_at, open_root
from doorstep_server.privacy.keys import SECRET_BYTES
from doorstep_server.settings import read
from doorstep_server.store.reach import Reach
from doorstep_server.store.tenants import Tenant
from postgres import Cluster, ScratchDatabase, Server
from privacy import canary_faults, canary_traffic, unguarded
from privacy.canaries import Canaries, Kind, of_secret, of_text
from privacy.canary_values import Town
from privacy.canary_wire import Ask, Wire
from troubled import variables

#: what an operator who wants to know everything sets
LOGGING = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_lock_waits": "on",
    "shared_preload_libraries": "pg_stat_statements",
}
#: a server finishes erasures before it answers; other tests may run beside this one
STARTED_WITHIN_S = 240
#: no number of degrees here could be the seconds of a time
CENTER = (-71.56, -146.65)


def place_of(path: Path) -> str:
    """Which part of the folder a file belongs to, by its path in the folder."""
    part, *rest = path.parts
    if part == "home":
        kept = "database" if path.name.startswith("doorstep.") else "keyring"
        return f"{kept} as killed" if rest[0].startswith("kept-") else kept
    if part == "answers":
        return f"answer {unquote(rest[0])}"
    if part == "postgres":
        if rest[0] != "data":
            return "statement log"
        return PARTS_OF_POSTGRES.get(rest[1], "database")
    return PARTS[part]


PARTS_OF_POSTGRES = {
    "pg_wal": "write-ahead log",
    "pg_stat": "statistics",
    "pg_stat_tmp": "statistics",
}
PARTS = {
    "temp": "temporary files",
    "run": "crash",
    "logs": "log",
    "commands": "command",
    "vault": "access vault",
}


class _Ended(Exception):
    """The server ended before it was ready."""


def below_the_ephemeral() -> int:
    """A free port that no client is given by chance: many tests may run on this machine."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(range(20_000, 32_000))))
            return int(probe.getsockname()[1])


@dataclass
class Scene:
    """A deployment, its servers one after the other, and its canaries."""

    folder: Path
    canaries: Canaries
    without: tuple[str, ...] = ()
    #: of the requests that are wrong every one, or every second, …
    thin: int = 1

    database: ScratchDatabase | None = None
    cluster: Cluster | None = None
    where: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _logging: subprocess.Popen[bytes] | None = None
    town: Town = field(init=False)
    #: before there was any canary
    began: float = field(init=False)
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def full(self) -> bool:
        """With long waits, and what another process has to be started for."""
        return self.thin == 1

    def use(self, cluster: Cluster) -> None:
        """A database on a server of its own, which cannot be left any more than the scene."""
        self.cluster = cluster
        self.database = Server(cluster.url()).__enter__().new_database()
        self.where = variables(self.database)
        password = str(urlsplit(self.where["DOORSTEP_DATABASE_URL"]).password)
        self.canaries.add(Kind.PASSWORD, "the settings", of_text(password))

    def settle(self) -> None:
        """Make the deployment."""
        for part in (*PARTS, "answers"):
            (self.folder / part).mkdir(parents=True)
        self.began = time.time()
        wire = Wire(self.canaries, self.folder / "answers")
        self.town = Town(self.canaries, wire, self.tenant("First"), CENTER)

    def tenant(self, name: str) -> str:
        """The key of a new tenant; of the first one, which is made with the deployment."""
        command = ["tenants", "create", name] if self.home.exists() else ["init", "--tenant", name]
        if self.full or self.without:
            said = self.run(*command, "--json").splitlines()[-1]
            key = str(json.loads(said)["api_key"])
        else:
            # as the command does: to start a process for it takes seconds
            key = self._new(deployment.new_tenant(name)).api_key
        return self.canaries.credential(Kind.API_KEY, "a command", key)

    def _new(self, tenant: Tenant) -> NewTenant:
        settings = read(self.where, home=self.home)
        now = datetime.now(UTC)
        made = None if self.home.exists() else deployment.initialize(settings, now, tenant=tenant)
        if made is not None:
            return made
        opened, keyring = deployment.open_deployment(settings)
        with deployment.closed_after(opened) as database:
            return database.write_now(
                Reach.of(tenant.tenant_id),
                lambda c: deployment.add_tenant(c, keyring, tenant, now),
            )

    # -- processes -----------------------------------------------------------------------

    def command(self, *arguments: str, careless: bool = False) -> list[str]:
        started = unguarded.command(self.without, careless=careless)
        # as much of a core as the system gives: it is the server that must refuse it
        limits = ["sh", "-c", 'ulimit -c "$(ulimit -H -c)"; exec "$0" "$@"']
        return [*limits, *started, "--home", str(self.home), *arguments]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        own = {
            "TMPDIR": str(self.folder / "temp"),
            "DOORSTEP_LOG_LEVEL": "debug",
            "DOORSTEP_PROBE_BUDGET": "off",
            "DOORSTEP_DEVICE_AT_ONCE": "0",
        }
        return {**os.environ, **own, **self.where, **more}

    def run(self, *arguments: str) -> str:
        """One of the commands; its output is kept."""
        done = subprocess.run(
            self.command(*arguments),
            check=False,
            cwd=self.folder / "run",
            env=self.environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=STARTED_WITHIN_S,
        )
        (self.folder / "commands" / str(next(self._numbers))).write_bytes(done.stdout)
        return done.stdout.decode()

    @contextmanager
    def serving(self, *, careless: bool = False, **variables: str) -> Iterator[None]:
        """A server, until the block ends, or as long as it lives; the first one is settled on."""
        port = below_the_ephemeral()
        self.town.wire.port = port
        arguments = self.command("serve", "--port", str(port), careless=careless)
        log = self.folder / "logs" / f"server-{next(self._numbers)}.log"
        try:
            with self._logged(log) as out:
                self._start(arguments, self.environment(variables), out)
            try:
                self._settle_when_ready()
                yield
            finally:
                self.town.wire.forget()
                self._stop()
        except _Ended:
            raise AssertionError(f"the server ended: {log.read_text()}") from None

    @contextmanager
    def _logged(self, log: Path) -> Iterator[IO[bytes]]:
        """A pipe to a log: a limit on the size of the server's files is none on that."""
        with log.open("wb") as out:
            self._logging = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out)
        assert self._logging.stdin is not None
        with self._logging.stdin as pipe:
            yield pipe

    def _start(self, command: list[str], environment: Mapping[str, str], out: IO[bytes]) -> None:
        where = self.folder / "run"
        self.process = subprocess.Popen(command, cwd=where, env=environment, stdout=out, stderr=out)

    def _settle_when_ready(self) -> None:
        with ThreadPoolExecutor(1) as aside:
            other = None if self.town.token else aside.submit(self.tenant, "Another")
            self.wait_until_ready()
            if other is not None:
                self.town.settle(other.result(STARTED_WITHIN_S))

    def _stop(self) -> None:
        """When this returns, all that the server said is in its log."""
        assert self.process is not None
        assert self._logging is not None
        self.process.terminate()
        for process in (self.process, self._logging):
            process.wait(STARTED_WITHIN_S)

    def end(self, number: signal.Signals) -> None:
        """End the server by a signal, and wait for it."""
        assert self.process is not None
        self.process.send_signal(number)
        self.ended()

    def ended(self) -> None:
        """Wait until the server has ended by itself."""
        assert self.process is not None
        self.process.wait(STARTED_WITHIN_S)

    def keep_files(self) -> None:
        """What is in the home now, as it is: the next server takes the write-ahead log away."""
        kept = self.home / f"kept-{next(self._numbers)}"
        shutil.copytree(self.home, kept, ignore=shutil.ignore_patterns("kept-*"))

    def wait_until_ready(self) -> None:
        """Until the server would take check-ins."""
        assert self.process is not None
        deadline = time.monotonic() + STARTED_WITHIN_S
        ready = Ask("GET /health/ready", "GET", "/health/ready")
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise _Ended
            with suppress(OSError, http.client.HTTPException):
                if self.town.wire.send(ready, quiet=True).status == 200:
                    return
            time.sleep(0.02)
        raise AssertionError("the server was not ready in time")

    def send(self, asks: Iterable[Ask]) -> int:
        """Send them all, on whatever they are answered; how many there were."""
        return len([self.town.wire.send(ask) for ask in asks])


# -- scenes --------------------------------------------------------------------------------------


def life(scene: Scene) -> None:
    """Every route, rightly and wrongly; every fault; killed in the middle of check-ins."""
    with scene.serving():
        assert scene.send(canary_traffic.everything(scene.town, scene.thin)) > 200
        scene.send(canary_traffic.changes(scene.town, 20 // scene.thin + 1))
        for junk in canary_traffic.junk(scene.town):
            scene.town.wire.raw(junk)
        for fault in canary_faults.of(scene):
            asks = list(canary_traffic.few(scene.town, fault.__name__))
            with fault(scene):
                scene.send(asks)
            # what the next one needs is made by the server
            scene.wait_until_ready()
        die_at_work(scene, signal.SIGKILL)


def careless_code(scene: Scene) -> None:
    """Code that quotes what it was given, in every way there is; the last one ends the server.

    It is behind a proxy that is believed, and keeps an access vault.
    """
    settings = {
        "DOORSTEP_TRUSTED_PROXIES": "127.0.0.0/8",
        "DOORSTEP_PROBE_BUDGET": "on",
        "DOORSTEP_ACCESS_VAULT": str(scene.folder / "vault" / "access.db"),
    }
    with scene.serving(careless=True, **settings):
        scene.send(canary_traffic.check_ins(scene.town, 3))
        scene.send(canary_traffic.guesses(scene.town, 12))
        for way in unguarded.WAYS:
            body = canary_traffic.quotable(scene.town, way)
            ask = Ask(f"careless {way}", "POST", f"/careless/{way}", body=body)
            with suppress(OSError, http.client.HTTPException):
                scene.town.wire.send(ask)
        scene.ended()


def without_keyring(scene: Scene) -> None:
    """The keyring goes away under a server, which is aborted then."""
    with scene.serving(PYTHONFAULTHANDLER="1"):
        asks = list(canary_traffic.few(scene.town, "without a keyring"))
        kept = {file: file.read_bytes() for file in scene.home.glob("keyring.db*")}
        for file in kept:
            file.write_bytes(b"no keyring")
        scene.send(asks)
        die_at_work(scene, signal.SIGABRT)
    if scene.full:
        scene.run("serve", "--port", str(below_the_ephemeral()))
    for file, content in kept.items():
        file.write_bytes(content)


def commands(scene: Scene) -> None:
    """What the command line prints where it fails."""
    town = scene.town
    town.route = "a command"
    file = scene.folder / "run" / "sites.geojson"
    file.write_text(f'{{"type": "{town.word(Kind.STRAY)}", "features": [{town.lat()}]}}')
    scene.run("sites", "import", str(file))
    file.unlink()
    with canary_faults.row_refused(scene):
        scene.run("subjects", "enroll", town.word(Kind.EXTERNAL_ID))
        scene.run("tenants", "create", town.word(Kind.NAME))


def die_at_work(scene: Scene, number: signal.Signals) -> None:
    """By a signal in the middle of check-ins and of an import."""
    asks = list(canary_traffic.check_ins(scene.town, 30 // scene.thin))
    asks += canary_traffic.imports(scene.town)
    answered = threading.Semaphore(0)
    with ThreadPoolExecutor(8) as threads:
        for ask in asks:
            sent = threads.submit(scene.town.wire.send_apart, ask)
            sent.add_done_callback(lambda _: answered.release())
        for _ in asks[::2]:
            assert answered.acquire(timeout=STARTED_WITHIN_S)
        scene.end(number)
    scene.keep_files()


SCENES = {play.__name__: play for play in (life, careless_code, without_keyring, commands)}
#: those that the tests play: to start processes takes long
SHORT = ("life", "careless_code", "without_keyring")


# -- the whole -----------------------------------------------------------------------------------


@contextmanager
def played(
    folder: Path,
    database: str,
    seed: int,
    *,
    without: Sequence[str] = (),
    thin: int = 1,
    only: Sequence[str] = (),
) -> Iterator[Scene]:
    """All scenes on a deployment of their own; in the block nothing runs any more."""
    canaries = Canaries(seed)
    with ExitStack() as stack:
        scene = Scene(folder, canaries, tuple(without), thin)
        if database == "postgresql":
            scene.use(stack.enter_context(Cluster(LOGGING)))
        scene.settle()
        for name in only or (SCENES if scene.full else SHORT):
            SCENES[name](scene)
        if scene.cluster is not None:
            scene.cluster.stop()
        else:
            _fold(scene.home / "doorstep.db")
        if not only:
            # a server has been there since, to finish what the killed one had begun
            scene.town.add_erased()
        for kind, secret in _secrets(scene.home):
            canaries.add(kind, "the keyring", of_secret(secret))
        yield scene


def _fold(database: Path) -> None:
    """As the next server would that opens it: the last one was aborted."""
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _secrets(home: Path) -> Iterator[tuple[Kind, bytes]]:
    """All that the keyring holds, unwrapped."""
    settings = read({}, home=home)
    entries, root = entries_at(settings), open_root(settings)
    yield Kind.ROOT, (home / "keyring.root").read_bytes()
    for tenant, kind in product(["", *entries.tenants()], EntryKind):
        names = [EntryName(tenant, kind, name) for name in entries.names(tenant, kind)]
        for name, wrapped in entries.read(names).items():
            secret = root.unwrap(name.context(), wrapped)
            if kind is EntryKind.SUBJECT:
                secret = msgspec.msgpack.decode(secret)[0]
            if len(secret) >= SECRET_BYTES:
                yield Kind.KEYRING, secret
