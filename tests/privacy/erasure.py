"""Erases people on a served deployment and looks for what is left of them: a test's, and a command.

    PYTHONPATH=tests python tests/privacy/erasure.py --people 20 --database postgresql

Before, every value is collected by which a person could be found: what the apps sent, the ids,
tokens, labels, hashes and sealed values of their rows, their entries in the keyring. Afterwards all
bytes are looked through that the database, the keyring and the server keep: values as they are, in
hexadecimal and, of ids, as they are written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import sqlite3
import struct
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from litestar import Litestar
from litestar.testing import TestClient

from doorstep_server.app import create_app
from doorstep_server.keyring import Keyring
from doorstep_server.keyring.opening import entries_at, open_root
from doorstep_server.privacy import labels
from doorstep_server.settings import Settings
from doorstep_server.store.migrations.postgresql_0005 import WITHOUT_STATISTICS
from dying import Commands, Done, commands
from postgres import Cluster, ScratchDatabase, Server, wait_until
from served import Served, on_postgres, serving
from world import DATABASES, INSIDE, SQUARE, behind

#: shorter values could be anywhere by chance
SHORTEST = 8
#: a server whose files are looked through: what is deleted is never kept for use as another log
CLUSTER = {"wal_recycle": "off", "autovacuum_naptime": "1s", "autovacuum_vacuum_threshold": "1"}
DEVICES = 2
#: rows of persons, with the columns by which somebody could find one
TABLES = {
    name: columns
    for name, columns in WITHOUT_STATISTICS.items()
    if name not in {"erasures", "legal_holds", "held_check_ins"}
}

Json = dict[str, Any]
#: where it was found, and what it is
Hits = Counter[tuple[str, str]]


# --- whom there is -------------------------------------------------------------------------------


@dataclass
class Device:
    """What an app knows."""

    model: str
    installation_id: str
    code: str
    device_id: UUID
    token: str


@dataclass
class Person:
    """Someone, with all that they and their tenant ever said of them."""

    external_id: str
    group: str
    subject_id: UUID
    lat: float
    lon: float
    devices: list[Device] = field(default_factory=list)
    check_ins: list[UUID] = field(default_factory=list)

    def claim(self, **members: Any) -> Json:
        fix = {
            "lat": self.lat,
            "lon": self.lon,
            "accuracy_m": 8,
            "captured_at": datetime.now(UTC).isoformat(),
        }
        return {"id": str(uuid4()), "purpose": "visit", "fix": fix, **members}

    def check_in(self, server: Served, device: Device, **members: Any) -> int:
        claim = self.claim(**members)
        status, _ = server.call("POST", "/v1/check-ins", claim, device.token)
        if status == 201:
            self.check_ins.append(UUID(claim["id"]))
        return status

    def stored(self, server: Served) -> set[UUID]:
        """What the API says is stored."""
        found, cursor = set[UUID](), ""
        while True:
            path = f"/v1/check-ins?limit=100{cursor}"
            status, page = server.call("GET", path, token=self.devices[0].token)
            assert status == 200, page
            found |= {UUID(item["id"]) for item in page["items"]}
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"


def prepare(server: Served) -> None:
    """A site, and a purpose that keeps exact positions."""
    site = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
    assert server.call("POST", "/v1/sites", site)[0] == 201
    dispute = {"name": "dispute", "title": "Disputes", "legal_basis": "contract", "level": "exact"}
    assert server.call("POST", "/v1/purposes", dispute)[0] == 201
    limits = server.call("GET", "/v1/settings")[1] | {"max_level": "exact", "max_speed_kmh": None}
    assert server.call("PUT", "/v1/settings", limits)[0] == 200


def somebody(server: Served, *, check_ins: int = 6, devices: int = DEVICES) -> Person:
    """Someone with devices, who has checked in with each of them, for both purposes."""
    external_id, group = f"person-{uuid4()}", f"group-{uuid4()}"
    body = {"external_id": external_id, "groups": [group]}
    status, subject = server.call("POST", "/v1/subjects", body)
    assert status == 201, subject
    person = Person(
        external_id=external_id,
        group=group,
        subject_id=UUID(subject["id"]),
        lat=INSIDE["lat"] + random.uniform(-4, 4) * 1e-4,
        lon=INSIDE["lon"] + random.uniform(-4, 4) * 1e-4,
    )
    for _ in range(devices):
        person.devices.append(enrolled(server, person.subject_id))
    for number in range(check_ins):
        purpose = ("visit", "dispute")[number % 2]
        device = person.devices[number // 2 % devices]
        assert person.check_in(server, device, purpose=purpose) == 201
    # a rotated token that was never used, and a code that nobody has used yet
    assert server.call("POST", "/v1/device/token", token=person.devices[0].token)[0] == 201
    assert server.call("POST", f"/v1/subjects/{person.subject_id}/enrollments")[0] == 201
    return person


def enrolled(server: Served, subject_id: UUID) -> Device:
    status, issued = server.call("POST", f"/v1/subjects/{subject_id}/enrollments")
    assert status == 201, issued
    device = Device(
        model=f"Model {uuid4().hex[:8]}-{uuid4().hex[:8]}",
        installation_id=uuid4().hex,
        code=issued["code"],
        device_id=UUID(int=0),
        token="",
    )
    what = {"platform": "android", "os_version": "15", "model": device.model}
    body = {"code": device.code, "installation_id": device.installation_id, "device": what}
    status, enrollment = server.call("POST", "/v1/enrollments", body)
    assert status == 201, enrollment
    device.device_id, device.token = UUID(enrollment["device_id"]), enrollment["token"]
    report = {"state": "precise", "sequence": 1, "observed_at": datetime.now(UTC).isoformat()}
    assert server.call("PUT", "/v1/device/permission", report, device.token)[0] == 200
    return device


# --- what would tell of them ---------------------------------------------------------------------


@dataclass
class Needles:
    """Values to look for. `plain` may never be anywhere; the others not after an erasure."""

    plain: dict[bytes, str] = field(default_factory=dict)
    stored: dict[bytes, str] = field(default_factory=dict)
    in_keyring: dict[bytes, str] = field(default_factory=dict)

    @property
    def every(self) -> dict[bytes, str]:
        return self.plain | self.stored | self.in_keyring

    def named(self, kind: str) -> set[str]:
        """What there is of a kind."""
        return set(getattr(self, kind).values())


def forms(value: bytes | str | UUID) -> set[bytes]:
    """How a value could stand in a file."""
    if isinstance(value, str):
        return {value.encode(), value.encode().hex().encode()}
    raw = value.bytes if isinstance(value, UUID) else value
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    return found | ({str(UUID(bytes=raw)).encode()} if isinstance(value, UUID) else set())


def _add(to: dict[bytes, str], what: str, value: bytes | str | UUID) -> None:
    for form in forms(value):
        if len(form) >= SHORTEST:
            to[form] = what


def _raw(value: Any) -> Any:
    """Of ids the sixteen bytes, whichever database says them."""
    return value.bytes if hasattr(value, "bytes") else value


def collect(settings: Settings, person: Person) -> Needles:
    """All that is stored of a person now."""
    needles = Needles()
    for what, value in _said(person):
        _add(needles.plain, what, value)
    for coordinate in (person.lat, person.lon):
        for order in "<>":
            _add(needles.plain, "coordinate", struct.pack(f"{order}d", coordinate))
    keyring = Keyring.open(entries_at(settings), open_root(settings))
    [(tenant_id,)] = behind(settings, "SELECT tenant_id FROM tenants")
    tenant_id = UUID(bytes=_raw(tenant_id))
    keys = keyring.tenant(tenant_id, datetime.now(UTC).date())
    about = {person.subject_id.bytes, *(device.device_id.bytes for device in person.devices)}
    for check_in in person.check_ins:
        about |= {check_in.bytes, labels.receipt_key(keys, check_in)}
    for table, columns in TABLES.items():
        for row in behind(settings, f"SELECT {', '.join(columns)} FROM {table}"):
            if about & {_raw(value) for value in row}:
                for column, value in zip(columns, row, strict=True):
                    if value is not None:
                        _add(needles.stored, f"{table}.{column}", _as_id(value, column))
    for name, wrapped in _entries(settings):
        if name.startswith(person.subject_id.hex) or name == _external(keyring, person, tenant_id):
            _add(needles.in_keyring, "keyring.name", name)
            _add(needles.in_keyring, "keyring.wrapped", wrapped)
    return needles


def _said(person: Person) -> Iterator[tuple[str, str | bytes]]:
    yield "external_id", person.external_id
    yield "group", person.group
    yield "coordinate", str(abs(person.lat))
    yield "coordinate", str(abs(person.lon))
    for device in person.devices:
        secret = device.token.rpartition("_")[2]
        yield "token", secret
        yield "token", bytes.fromhex(secret)
        yield "model", device.model
        yield "installation_id", device.installation_id
        yield "code", device.code
        yield "code", device.code.replace("-", "")
        yield "code", device.code.replace("-", "").lower()


def _as_id(value: Any, column: str) -> bytes | str | UUID:
    if column.endswith("id") and column != "kid":
        return UUID(bytes=_raw(value))
    assert isinstance(value, bytes | str)
    return value


def _entries(settings: Settings) -> list[tuple[str, bytes]]:
    with closing(sqlite3.connect(settings.home / "keyring.db")) as keyring:
        return list(keyring.execute("SELECT name, wrapped FROM keyring_entries"))


def _external(keyring: Keyring, person: Person, tenant_id: UUID) -> str:
    """Under which name the keyring finds a person by their external id."""
    from doorstep_server.keyring.keyring import _external as named  # noqa: PLC0415 - its own

    keys = keyring.tenant(tenant_id, datetime.now(UTC).date())
    return named(keys, tenant_id, person.external_id).name


# --- where to look -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A deployment, and where all its bytes are."""

    settings: Settings
    cluster: Cluster | None = None
    database: ScratchDatabase | None = None

    @property
    def kind(self) -> str:
        return "sqlite" if self.database is None else "postgresql"

    @property
    def environment(self) -> dict[str, str]:
        return {} if self.database is None else on_postgres(self.database)

    def table_files(self) -> list[Path]:
        """The database's, as they are on the disk now; of a SQLite database its log, too."""
        if self.database is None or self.cluster is None:
            return sorted(self.settings.home.glob("doorstep.db*"))
        self.database.sql("CHECKPOINT")
        [(number,)] = self.database.sql(
            "SELECT oid::text FROM pg_database WHERE datname = current_database()"
        )
        data = self.cluster.data
        folders = [data / "base" / number, data / "global", data / "pg_stat", data / "pg_xact"]
        return [file for folder in folders for file in sorted(folder.glob("*")) if file.is_file()]

    def log_files(self) -> list[Path]:
        """Write-ahead logs that are kept beside the tables."""
        if self.cluster is None:
            return []
        return [file for file in sorted((self.cluster.data / "pg_wal").glob("*")) if file.is_file()]

    def other_files(self) -> list[Path]:
        """The keyring's, and what servers have written of what they did."""
        home = self.settings.home
        logs = sorted(home.parent.glob("server-*.log"))
        files = [*sorted(home.glob("keyring.*")), *logs]
        return files if self.cluster is None else [*files, self.cluster.log]

    def statistics(self) -> str:
        """What the database knows of its values, for its planner."""
        if self.database is None:
            return ""
        rows = self.database.sql("SELECT s::text FROM pg_stats s WHERE schemaname = 'public'")
        rows += self.database.sql("SELECT s::text FROM pg_statistic s")
        return "\n".join(str(row[0]) for row in rows)

    def left(self, needles: dict[bytes, str]) -> Hits:
        """Where any of them is; the logs that are beside the tables are another matter."""
        found = looked(needles, [*self.table_files(), *self.other_files()])
        said = self.statistics().encode()
        found.update(("pg_stats", what) for value, what in needles.items() if value in said)
        return found

    def analyze(self) -> None:
        if self.database is not None:
            self.database.sql("ANALYZE")


def looked(needles: dict[bytes, str], files: Iterable[Path]) -> Hits:
    """What of it the files hold."""
    found: Hits = Counter()
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            # removed since it was listed
            continue
        found.update((file.name, needles[value]) for value in held(needles, content))
    return found


def held(values: Iterable[bytes], content: bytes) -> list[bytes]:
    """Those of the values that it holds; to look for each would take as long as all else.

    All are looked for at once: first where any of them could begin, by their first two bytes, then
    by their first four.
    """
    by_head: dict[int, list[bytes]] = {}
    for value in values:
        assert len(value) >= 4, "too short to be told from others"
        by_head.setdefault(int.from_bytes(value[:4], "little"), []).append(value)
    padded = np.frombuffer(content + bytes(4), np.uint8).astype(np.uint32)
    pairs = padded[:-1] | padded[1:] << 8
    begins = np.zeros(65_536, bool)
    begins[[head & 0xFFFF for head in by_head]] = True
    places = np.flatnonzero(begins[pairs[:-2]])
    heads = pairs[places] | pairs[places + 2] << 16
    at = np.isin(heads, np.array(list(by_head), np.uint32))
    found = {
        value
        for place, head in zip(places[at].tolist(), heads[at].tolist(), strict=True)
        for value in by_head[head]
        if content.startswith(value, place)
    }
    return sorted(found)


# --- erasing -------------------------------------------------------------------------------------


def ask(server: Served, person: Person, *, as_device: bool = False) -> str:
    """Ask for an erasure; its code."""
    if as_device:
        status, begun = server.call("POST", "/v1/device/erasure", token=person.devices[0].token)
    else:
        status, begun = server.call("POST", f"/v1/subjects/{person.subject_id}/erasure")
    assert status == 202, begun
    return str(begun["erasure"])


def receipt(server: Served, code: str) -> str | None:
    """Its receipt, if it is done."""
    status, found = server.call("GET", f"/v1/erasures/{code}")
    assert status == 200, found
    assert (found["status"] == "done") == (found["receipt"] is not None)
    return None if found["receipt"] is None else str(found["receipt"])


def checked(server_keys: Sequence[Json], signed: str) -> Json:
    """What a receipt says, if one of these keys has signed it."""
    [key] = server_keys
    header, payload, signature = signed.split(".")
    public = Ed25519PublicKey.from_public_bytes(_base64(key["x"]))
    public.verify(_base64(signature), f"{header}.{payload}".encode())
    return dict(json.loads(_base64(payload)))


def _base64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Beside:
    """Other people, who check in all the while."""

    def __init__(self, server: Served, people: Sequence[Person]) -> None:
        self._server = server
        self.people = people
        self.refused: Counter[int] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, args=(one,)) for one in people]

    def _go_on(self, person: Person) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            purpose = "dispute" if number % 8 == 0 else "visit"
            status = person.check_in(self._server, person.devices[0], purpose=purpose)
            if status != 201:
                self.refused[status] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def places(kind: str, folder: Path, cluster: Cluster | None = None) -> Iterator[Place]:
    """A place for a deployment; on PostgreSQL in a server whose files can be looked at."""
    if kind == "sqlite":
        yield Place(Settings(home=folder / "home"))
    elif cluster is None:
        with Cluster(CLUSTER) as own, places(kind, folder, own) as place:
            yield place
    else:
        with Server(cluster.url()) as machine:
            database = machine.new_database()
            settings = Settings(
                home=folder / "home",
                database_url=database.url,
                admin_database_url=database.admin_url,
            )
            yield Place(settings, cluster, database)


@contextmanager
def served(place: Place, *, api_key: str | None = None, workers: int = 1) -> Iterator[Served]:
    """A server there."""
    home, where = place.settings.home, place.environment
    with serving(home, api_key=api_key, workers=workers, environment=where) as server:
        yield server


# --- deployments to break ------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A deployment that nobody serves now, with someone to erase and someone beside."""

    place: Place
    api_key: str
    one: Person
    other: Person
    needles: Needles
    machine: Server | None = None

    @classmethod
    def make(cls, place: Place, machine: Server | None = None) -> Made:
        with served(place) as server:
            prepare(server)
            one, other = somebody(server), somebody(server)
            place.analyze()
            needles = collect(place.settings, one)
        return cls(place, server.api_key, one, other, needles, machine)

    def copy(self, folder: Path) -> Made:
        """The same once more, to be broken."""
        home = folder / "home"
        shutil.copytree(self.place.settings.home, home)
        same = replace(self, one=deepcopy(self.one), other=deepcopy(self.other))
        if self.machine is None:
            return replace(same, place=Place(Settings(home=home)))
        return replace(same, place=self.with_database(self.copied_database(), home))

    def copied_database(self) -> ScratchDatabase:
        assert self.machine is not None
        return self.machine.new_database(like=self.place.database)

    def with_database(self, database: ScratchDatabase, home: Path) -> Place:
        settings = Settings(
            home=home, database_url=database.url, admin_database_url=database.admin_url
        )
        return Place(settings, self.place.cluster, database)

    def drop(self) -> None:
        if self.machine is not None and self.place.database is not None:
            self.machine.drop(self.place.database)

    def count(self, table: str) -> int:
        return int(behind(self.place.settings, f"SELECT count(*) FROM {table}")[0][0])

    def counts(self) -> dict[str, int]:
        return {table: self.count(table) for table in TABLES}

    def run(self, doorstep: Commands, *arguments: str, until: int | None = None) -> Done:
        home, where = self.place.settings.home, self.place.environment
        return doorstep.run(home, *arguments, where=where, until=until)


@contextmanager
def started(place: Place) -> Iterator[TestClient[Litestar]]:
    """A server in this process, that has answered nothing yet."""
    with TestClient(create_app(place.settings), raise_server_exceptions=False) as client:
        yield client


def answers_to(client: TestClient[Litestar], device: Device) -> int:
    """The status that a device gets."""
    headers = {"Authorization": f"Bearer {device.token}"}
    return client.get("/v1/device", headers=headers).status_code


def kill_and_finish(doorstep: Commands, made: Made, moment: int) -> str:
    """Kill an erasure at a moment, and start a server: what it had come to.

    Whatever it was, either nothing has happened to the person, or all of it has.
    """
    before = made.counts()
    killed = made.run(doorstep, "privacy", "erase", made.one.external_id, until=moment)
    assert killed.status == -signal.SIGKILL, killed
    begun = behind(made.place.settings, "SELECT erasure_id, subject_id FROM erasures")
    with started(made.place) as client:
        # before its first answer
        after = made.counts()
        assert answers_to(client, made.other.devices[0]) == 200
        if not begun:
            assert (after, answers_to(client, made.one.devices[0])) == (before, 200)
            return "not begun"
        assert answers_to(client, made.one.devices[0]) == 401
        [(erasure_id, subject_id)] = begun
        [(handle,)] = behind(made.place.settings, "SELECT handle FROM tenants")
        number = UUID(bytes=_raw(erasure_id)).hex
        answer = client.get(f"/v1/erasures/{handle}-{number}").json()
        assert answer["status"] == "done"
        said = checked(client.get("/v1/privacy/signing-keys").json()["keys"], answer["receipt"])
    assert UUID(said["erasure_id"]).hex == number
    assert after == {table: count // 2 for table, count in before.items()}
    assert made.place.left(made.needles.every) == {}
    again = made.run(doorstep, "privacy", "erase", made.one.external_id)
    assert (again.status, again.output) == (1, "Error: There is no such person.\n")
    return "named" if subject_id is not None else "unnamed"


def moments_of_erasing(doorstep: Commands, made: Made) -> int:
    """How many there are; none is killed."""
    whole = made.run(doorstep, "privacy", "erase", made.one.external_id)
    assert whole.status == 0, whole.output
    assert made.place.left(made.needles.every) == {}
    return whole.moments


# --- as a command --------------------------------------------------------------------------------


@dataclass
class Report:
    """What came of it."""

    erased: int = 0
    seconds: list[float] = field(default_factory=list)
    before: Hits = field(default_factory=Counter)
    plain: Hits = field(default_factory=Counter)
    left: Hits = field(default_factory=Counter)
    in_logs: Hits = field(default_factory=Counter)
    wal_since: set[str] = field(default_factory=set)
    others: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    lost: int = 0

    def wrong(self) -> bool:
        return bool(self.plain or self.left or self.lost or max(self.seconds, default=0) > 60)

    def __str__(self) -> str:
        slow = sorted(self.seconds)
        return (
            f"{self.erased} erased, from the request to the receipt {slow[len(slow) // 2]:.2f} s "
            f"(median), {slow[-1]:.2f} s (longest)\n"
            f"values found before: {self.before.total()}, in {len(self.before)} places\n"
            f"what was said in the clear, ever, anywhere: {dict(self.plain) or 0}\n"
            f"left in tables, statistics, keyring, logs of servers: {dict(self.left) or 0}\n"
            f"in write-ahead logs, as ciphertext: {self.in_logs.total()}, "
            f"since {sorted(self.wal_since)}\n"
            f"others meanwhile: {self.others} check-ins, refused {dict(self.refused) or 0}, "
            f"lost {self.lost}"
        )


def run(place: Place, people: int, *, workers: int, check_ins: int) -> Report:
    report = Report()
    with served(place, workers=workers) as server:
        prepare(server)
        others = [somebody(server) for _ in range(3)]
        every = [somebody(server, check_ins=check_ins) for _ in range(people)]
        place.analyze()
        needles = [collect(place.settings, person) for person in every]
        for one in needles:
            report.before += place.left(one.stored | one.in_keyring)
        with Beside(server, others) as beside:
            for number, person in enumerate(every):
                report.seconds.append(_timed(server, person, report, as_device=number % 2 == 1))
        report.refused = beside.refused
        report.others = sum(len(person.check_ins) for person in others)
        for person in others:
            report.lost += len(set(person.check_ins) ^ person.stored(server))
        for one in needles:
            report.left += place.left(one.every)
    for one in needles:
        report.plain += place.left(one.plain) + looked(one.plain, place.log_files())
        report.in_logs += looked(one.stored | one.in_keyring, place.log_files())
    report.erased = people
    return report


def _timed(server: Served, person: Person, report: Report, *, as_device: bool) -> float:
    begun = time.monotonic()
    code = ask(server, person, as_device=as_device)
    done: list[str] = []

    def is_done() -> bool:
        found = receipt(server, code)
        done.extend([found] if found else [])
        return bool(found)

    wait_until(is_done, "the erasure is done")
    keys = server.call("GET", "/v1/privacy/signing-keys")[1]["keys"]
    report.wal_since.add(str(checked(keys, done[0])["wal_since"]))
    return time.monotonic() - begun


def _kill_at_each(kind: str, every: int) -> int:
    outcomes: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        doorstep = stack.enter_context(commands())
        made = stack.enter_context(made_in(kind, folder / "made"))
        whole = made.copy(folder / "whole")
        moments = moments_of_erasing(doorstep, whole)
        whole.drop()
        for moment in range(1, moments + 1, every):
            one = made.copy(folder / str(moment))
            outcomes[kill_and_finish(doorstep, one, moment)] += 1
            one.drop()
            shutil.rmtree(folder / str(moment))
    print(f"{kind}: {moments} moments, {outcomes.total()} erasures killed: {dict(outcomes)}")
    print("none is half done: what was begun, the next start finished, and no byte is left")
    return 0


@contextmanager
def made_in(kind: str, folder: Path, cluster: Cluster | None = None) -> Iterator[Made]:
    """A deployment to copy."""
    folder.mkdir()
    if kind == "sqlite":
        yield Made.make(Place(Settings(home=folder / "home")))
    elif cluster is None:
        with Cluster(CLUSTER) as own, made_in_server(own, folder) as made:
            yield made
    else:
        with made_in_server(cluster, folder) as made:
            yield made


@contextmanager
def made_in_server(cluster: Cluster, folder: Path) -> Iterator[Made]:
    with Server(cluster.url()) as machine:
        database = machine.new_database()
        settings = Settings(
            home=folder / "home",
            database_url=database.url,
            admin_database_url=database.admin_url,
        )
        yield Made.make(Place(settings, cluster, database), machine)


def main() -> int:
    parser = argparse.ArgumentParser(description="Erase people, and look for what is left.")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--check-ins", type=int, default=40, help="of each of them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--killed", action="store_true", help="kill one at each of its moments")
    parser.add_argument("--every", type=int, default=1, help="at each so many")
    chosen = parser.parse_args()
    if chosen.killed:
        return _kill_at_each(chosen.database, chosen.every)
    with tempfile.TemporaryDirectory() as folder, places(chosen.database, Path(folder)) as place:
        report = run(place, chosen.people, workers=chosen.workers, check_ins=chosen.check_ins)
    print(f"{chosen.database}, {chosen.workers} workers, {chosen.check_ins} check-ins each")
    print(report)
    return 1 if report.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
