"""A hundred thousand withdrawals race groups of check-ins in other processes: as a command.

    python tests/store_races.py --races 100000 --database sqlite

`races.py` races over HTTP, as apps do; here the transactions themselves race, which is where the
promise is kept, so that many more can be tried. Processes of their own commit groups of check-ins,
as the journal does, of people to whom something happens just then: permission is withdrawn,
processing is restricted, the device is revoked, the person is erased. That transaction counts the
person's rows before it commits, and they are counted once more when everybody has long gone on to
others: there must not be one more.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert

import postgres
from doorstep_geofences import Geofence, Reason, Site, Verdict
from doorstep_server import credentials, deployment
from doorstep_server.deployment import FIRST_PURPOSE
from doorstep_server.privacy import labels
from doorstep_server.privacy.keys import SubjectKeys, TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import Judged, minimize
from doorstep_server.privacy.permission import Permission, State, after_report
from doorstep_server.privacy.personal import (
    DeviceDetails,
    SubjectDetails,
    seal_device_details,
    seal_subject_details,
)
from doorstep_server.settings import Settings
from doorstep_server.store import (
    Connection,
    check_ins,
    devices,
    locks,
    people,
    schema,
    subjects,
    tenants,
)
from doorstep_server.store.check_ins import Proposal, Refused, commit_group
from doorstep_server.store.database import Conflicted, Database, DatabaseUnavailable
from doorstep_server.store.people import Erasure
from doorstep_server.store.reach import NOTHING, Reach
from doorstep_server.store.subjects import StoredSubject
from doorstep_server.store.tokens import NextNumbers, PersonRows
from world import DATABASES, initialized, on_postgres

KINDS = ("denied", "restricted", "revoked", "erased")
#: people who withdraw at a time
LANES = 4
#: people whose check-ins come meanwhile: those before and after in line
BEFORE, AFTER = 4 + LANES, 6 + LANES
#: at most, between two groups of a process
PAUSE_S = 0.01
GROUP = 16
#: people who are made, and looked at again, together
BATCH = 500
WRITERS = 2
SITE = Site(site_id=UUID(int=7), version=1, geofence=Geofence.circle(-46.655, -23.561, 80.0))


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who will withdraw: all of them follow from a number."""

    number: int
    tenant_id: UUID
    handle: str

    @property
    def subject_id(self) -> UUID:
        return UUID(bytes=self._bytes(b"subject")[:16], version=4)

    @property
    def device_id(self) -> UUID:
        return UUID(bytes=self._bytes(b"device")[:16], version=4)

    @property
    def keys(self) -> SubjectKeys:
        return SubjectKeys.of(self._bytes(b"secret"))

    @property
    def kid(self) -> str:
        return credentials.enrolled_credential(self.handle, self._bytes(b"token")).kid

    @property
    def details(self) -> DeviceDetails:
        granted = after_report(Permission(), State.PRECISE, 1, datetime.now(UTC))
        return DeviceDetails(platform="android", os_major="15", model="Phone", permission=granted)

    def _bytes(self, what: bytes) -> bytes:
        return hashlib.sha256(what + self.number.to_bytes(8) + self.tenant_id.bytes).digest()


@dataclass
class Shared:
    """What the processes know of each other: who withdraws now, and whether it is over."""

    now: Synchronized[int]
    #: groups that were begun
    groups: Synchronized[int]
    over: Synchronized[int]
    committed: Synchronized[int]
    refused: Synchronized[int]


@dataclass
class Figures:
    """What came of it."""

    races: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    rows_after: int = 0
    #: races in which there were rows before the answer: the others raced nobody
    raced: int = 0
    #: withdrawals that were not answered, and sent again
    again: int = 0
    committed: int = 0
    refused: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        total = self.races.total()
        return (
            f"{total:,} races in {self.seconds:.0f} s: {dict(self.races)}\n"
            f"withdrawals sent again: {self.again}\n"
            f"check-ins: {self.committed:,} committed, {self.refused:,} refused; "
            f"of those who withdrew {self.rows:,} rows, in {self.raced:,} races\n"
            f"rows after the answer: {self.rows_after}"
        )


# --- who checks in -------------------------------------------------------------------------------


def write(settings: Settings, tenant: tuple[UUID, str], shared: Shared, seed: str) -> None:
    """A process that commits groups of check-ins until it is told to stop."""
    asyncio.run(_write(settings, tenant, shared, random.Random(seed)))


async def _write(
    settings: Settings, tenant: tuple[UUID, str], shared: Shared, rng: random.Random
) -> None:
    database, keyring = deployment.open_deployment(settings)
    keys = keyring.tenant(tenant[0], datetime.now(UTC).date())
    numbers = NextNumbers()
    try:
        while not shared.over.value:
            here = shared.now.value
            chosen = [max(0, here + rng.randint(-BEFORE, AFTER)) for _ in range(GROUP)]
            group = [_proposal(keys, Person(number, *tenant)) for number in chosen]
            with shared.groups.get_lock():
                shared.groups.value += 1
            await _commit(database, tenant[0], group, numbers, shared)
            # on SQLite who writes without a break keeps all others out
            await asyncio.sleep(rng.uniform(0.0, PAUSE_S))
    finally:
        await database.close()


async def _commit(
    database: Database,
    tenant_id: UUID,
    group: Sequence[Proposal],
    numbers: NextNumbers,
    shared: Shared,
) -> None:
    try:
        results = await database.write(
            Reach.of(tenant_id), lambda c: commit_group(c, group, numbers)
        )
    except (Conflicted, DatabaseUnavailable):
        return
    numbers.committed()
    refused = sum(isinstance(result, Refused) for result in results)
    with shared.committed.get_lock():
        shared.committed.value += len(results) - refused
    with shared.refused.get_lock():
        shared.refused.value += refused


def _proposal(keys: TenantKeys, person: Person) -> Proposal:
    now, check_in_id = datetime.now(UTC), uuid4()
    judged = Judged(
        id=check_in_id,
        subject_id=person.subject_id,
        subject_keys=person.keys,
        purpose=FIRST_PURPOSE,
        max_level=Level.CELL,
        claimed_site_id=None,
        action=None,
        verdict=Verdict(Reason.INSIDE, SITE),
        cell=None,
        exact=None,
        captured_at=now,
        received_at=now,
        receipt_key=labels.receipt_key(keys, check_in_id),
        digest=b"\0\0",
    )
    return Proposal(
        tenant_id=person.tenant_id,
        subject_id=person.subject_id,
        subject_keys=person.keys,
        kid=person.kid,
        id=check_in_id,
        receipt_key=labels.receipt_key(keys, check_in_id),
        digest=b"\0\0",
        epoch=None,
        age_s=0.0,
        purpose=FIRST_PURPOSE.name,
        received_at=now,
        outcome=minimize(keys, judged),
    )


# --- who withdraws -------------------------------------------------------------------------------


@dataclass
class Racing:
    """One process in which people withdraw, several at a time."""

    database: Database
    tenant: tuple[UUID, str]
    shared: Shared
    figures: Figures = field(default_factory=Figures)
    #: of whom it is to be looked again: how many rows there were at the answer
    _before: dict[int, int] = field(default_factory=dict)

    @property
    def _reach(self) -> Reach:
        return Reach.of(self.tenant[0])

    async def add(self, numbers: range) -> None:
        """People who may check in, and then withdraw."""
        new = [Person(number, *self.tenant) for number in numbers]
        await self.database.write(self._reach, _adding(new))

    async def withdraw(self, numbers: range) -> None:
        """Each in their turn, in so many lanes."""
        left = iter(numbers)
        await asyncio.gather(*(self._lane(left) for _ in range(LANES)))

    async def _lane(self, left: Iterator[int]) -> None:
        for number in left:
            kind = KINDS[number % len(KINDS)]
            self.shared.now.value = number
            # else withdrawals outrun the check-ins that they are to race
            while self.shared.groups.value < number // LANES:  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.0005)
            self._before[number] = await self._withdraw(Person(number, *self.tenant), kind)
            self.figures.races[kind] += 1

    async def _withdraw(self, person: Person, kind: str) -> int:
        """Until it is answered: it may wait too long for a lock, and say so."""
        while True:
            try:
                return await self.database.write(self._reach, _withdrawing(person, kind))
            except DatabaseUnavailable:
                self.figures.again += 1

    async def look_again(self, below: int) -> None:
        """At those with lower numbers: nobody tries them any more."""
        persons = [Person(number, *self.tenant) for number in self._before if number < below]
        there = await self.database.read(self._reach, lambda c: [_rows(c, p) for p in persons])
        for person, now in zip(persons, there, strict=True):
            was = self._before.pop(person.number)
            self.figures.rows += was
            self.figures.raced += bool(was)
            self.figures.rows_after += now - was


async def race(racing: Racing, races: int) -> None:
    """So many withdrawals; the last of them are left to look at again."""
    started = time.monotonic()
    await racing.add(range(AFTER))
    for first in range(0, races, BATCH):
        numbers = range(first, min(first + BATCH, races))
        await racing.add(range(first + AFTER, first + AFTER + BATCH))
        await racing.withdraw(numbers)
        await racing.look_again(first)
    racing.figures.seconds = time.monotonic() - started


def _rows(connection: Connection, person: Person) -> int:
    today = datetime.now(UTC).date() + timedelta(days=FIRST_PURPOSE.retention_days)
    rows = PersonRows(
        keys=person.keys,
        purposes=[FIRST_PURPOSE.name],
        expires_on=[today - timedelta(days=1), today],
    )
    return len(check_ins.of_person(connection, person.tenant_id, rows))


def _adding(new: Sequence[Person]) -> Callable[[Connection], None]:
    def add(connection: Connection) -> None:
        connection.execute(insert(schema.subjects), [_subject(person) for person in new])
        connection.execute(insert(schema.devices), [_device(person) for person in new])
        connection.execute(insert(schema.device_tokens), [_token(person) for person in new])

    return add


def _subject(person: Person) -> dict[str, Any]:
    sealed = seal_subject_details(person.keys, person.subject_id, SubjectDetails())
    return {"tenant_id": person.tenant_id, "subject_id": person.subject_id, "sealed": sealed}


def _device(person: Person) -> dict[str, Any]:
    return {
        "tenant_id": person.tenant_id,
        "device_id": person.device_id,
        "subject_id": person.subject_id,
        "installation_label": os.urandom(32),
        "sealed": seal_device_details(person.keys, person.device_id, person.details),
        "revoked": False,
    }


def _token(person: Person) -> dict[str, Any]:
    return {
        "tenant_id": person.tenant_id,
        "kid": person.kid,
        "device_id": person.device_id,
        "secret_hash": os.urandom(32),
        "fresh": False,
    }


def _withdrawing(person: Person, kind: str) -> Callable[[Connection], int]:
    """Withdraws; and says how many rows there are then."""
    tenant_id = person.tenant_id

    def withdraw(connection: Connection) -> int:
        # as the server does it: the lock first, and the answer after the commit
        locks.changing(connection, tenant_id, [person.subject_id])
        if kind == "denied":
            denied = after_report(person.details.permission, State.DENIED, 2, datetime.now(UTC))
            details = DeviceDetails(
                platform="android", os_major="15", model="Phone", permission=denied
            )
            sealed = seal_device_details(person.keys, person.device_id, details)
            devices.replace(connection, tenant_id, person.device_id, sealed)
        elif kind == "restricted":
            restricted = SubjectDetails(restricted=[FIRST_PURPOSE.name])
            sealed = seal_subject_details(person.keys, person.subject_id, restricted)
            stored = StoredSubject(subject_id=person.subject_id, sealed=sealed)
            subjects.replace(connection, tenant_id, stored)
        elif kind == "revoked":
            devices.revoke(connection, tenant_id, person.device_id)
        else:
            today = datetime.now(UTC).date()
            wanted = Erasure(erasure_id=uuid4(), subject_id=person.subject_id, asked_on=today)
            people.ask_erasure(connection, tenant_id, wanted)
        return _rows(connection, person)

    return withdraw


# --- both ----------------------------------------------------------------------------------------


def run(settings: Settings, races: int, seed: str) -> Figures:
    """In a deployment that is made for it."""
    new = initialized(settings)
    tenant = new.tenant.tenant_id, new.tenant.handle
    _make_keys(settings, tenant[0])
    processes = multiprocessing.get_context("spawn")
    shared = Shared(*(processes.Value("q", 0) for _ in range(5)))
    writers = [
        processes.Process(target=write, args=(settings, tenant, shared, f"{seed}-{i}"))
        for i in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    try:
        return asyncio.run(_race(settings, tenant, races, shared, writers))
    finally:
        shared.over.value = 1
        for writer in writers:
            writer.join()


def _make_keys(settings: Settings, tenant_id: UUID) -> None:
    """Those of today, and the database is told: else who opens it takes it for a restored copy, and
    sweeps it of people who are not in the keyring, as none here is."""
    database, keyring = deployment.open_deployment(settings)
    with deployment.closed_after(database):
        keyring.tenant(tenant_id, datetime.now(UTC).date())
        generation = keyring.head().generation
        database.write_now(NOTHING, lambda c: tenants.note_keyring(c, generation))


async def _race(
    settings: Settings,
    tenant: tuple[UUID, str],
    races: int,
    shared: Shared,
    writers: Sequence[BaseProcess],
) -> Figures:
    database = deployment.database(settings)
    racing = Racing(database, tenant, shared)
    try:
        await race(racing, races)
        shared.over.value = 1
        for writer in writers:
            await asyncio.to_thread(writer.join)
        await racing.look_again(races)
    finally:
        await database.close()
    racing.figures.committed = shared.committed.value
    racing.figures.refused = shared.refused.value
    return racing.figures


def main() -> int:
    parser = argparse.ArgumentParser(description="Race withdrawals against groups of check-ins.")
    parser.add_argument("--races", type=int, default=100_000)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--seed", default=os.urandom(4).hex(), help="of what is chosen by chance")
    chosen = parser.parse_args()
    print(f"{chosen.database}, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if chosen.database == "sqlite":
            figures = run(Settings(home=home), chosen.races, chosen.seed)
        else:
            with postgres.opened() as server:
                settings = on_postgres(home, server.new_database())
                figures = run(settings, chosen.races, chosen.seed)
    print(figures)
    return 1 if figures.rows_after or not figures.raced else 0


if __name__ == "__main__":
    sys.exit(main())
