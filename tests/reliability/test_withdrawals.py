"""After an answered withdrawal nothing of the device is stored: by many races, and step by step.

The races run over two processes. The step-by-step tests hold one transaction where it matters and
show that the other waits: on real connections of two database objects, as two processes have them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

import races
from doorstep_server import deployment
from doorstep_server.callers import Caller
from doorstep_server.erasing import new_erasure
from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.minimize import Minimized, Receipt
from doorstep_server.privacy.permission import Permission, State, after_report
from doorstep_server.privacy.personal import (
    DeviceDetails,
    SubjectDetails,
    seal_device_details,
    seal_subject_details,
)
from doorstep_server.services import _hold, _require_standing
from doorstep_server.settings import Settings
from doorstep_server.store import devices, driver, people, subjects
from doorstep_server.store.check_ins import Proposal, Refused, Settled, commit_group
from doorstep_server.store.database import Database
from doorstep_server.store.devices import Device, Token
from doorstep_server.store.driver import Row
from doorstep_server.store.enrollments import Attempt, Code, issue, redeem
from doorstep_server.store.reach import Reach
from doorstep_server.store.subjects import StoredSubject
from doorstep_server.store.tokens import NextNumbers
from postgres import WITHIN_S, wait_until
from world import DATABASES, NOON, behind, initialized

RACES = 150

fetch = driver.fetch


@pytest.mark.parametrize("kind", DATABASES)
def test_no_row_is_stored_after_an_answered_withdrawal(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = request.getfixturevalue("postgres_database") if kind == "postgresql" else None
    with races.two_processes(tmp_path / "home", database) as server:
        admin_url = database.admin_url if database else None
        figures = races.run(server, RACES, admin_url=admin_url, seed="test")
    print(figures)
    assert figures.rows_after == 0
    assert figures.wrong == [], str(figures)
    assert figures.races.total() == RACES
    # what was under way fell on both sides, or nothing would have raced
    assert figures.stored.total() > RACES
    assert figures.refused.total() > RACES
    assert set(figures.races) == set(races.KINDS)


# --- step by step --------------------------------------------------------------------------------


@dataclass(eq=False)
class Hold:
    """Stops the first transaction that has looked how a device stands, until it is let go."""

    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def look(self, connection: Connection, sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
        rows = fetch(connection, sql, parameters)
        if "device_tokens" in sql and not self.reached.is_set():
            self.reached.set()
            assert self.let_go.wait(WITHIN_S)
        return rows


@contextmanager
def holding() -> Iterator[Hold]:
    hold = Hold()
    with patch.object(driver, "fetch", hold.look):
        try:
            yield hold
        finally:
            hold.let_go.set()


class Two:
    """A device with permission, and two connections to its database, as two processes have."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tenant_id = initialized(settings).tenant.tenant_id
        self.reach = Reach.of(self.tenant_id)
        self.one, self.other = deployment.database(settings), deployment.database(settings)
        self.caller = Caller(
            tenant_id=self.tenant_id,
            kid="kid",
            device_id=uuid4(),
            subject_id=uuid4(),
            subject_keys=SubjectKeys.of(b"s" * 32),
            groups=frozenset(),
        )
        granted = after_report(Permission(), State.PRECISE, 1, NOON)
        self.device = Device(
            device_id=self.caller.device_id,
            subject_id=self.caller.subject_id,
            installation_label=bytes(32),
            sealed=_sealed(self.caller, granted),
            revoked=False,
        )
        self.one.write_now(self.reach, self._add)
        self.threads = ThreadPoolExecutor(2)

    def _add(self, connection: Connection) -> None:
        subjects.get_or_add(connection, self.tenant_id, _subject(self.caller))
        devices.add(connection, self.tenant_id, self.device)
        devices.add_token(connection, self.tenant_id, _token("kid", self.device))

    def check_in(self, connection: Connection) -> Settled | Refused:
        [result] = commit_group(connection, [_proposal(self.caller)], NextNumbers())
        return result

    def start(self, on: Database, function: Callable[[Connection], Any]) -> Future[Any]:
        return self.threads.submit(on.write_now, self.reach, function)

    def receipts(self) -> int:
        return int(behind(self.settings, "SELECT count(*) FROM receipts")[0][0])

    def require_waiting(self, second: Future[Any]) -> None:
        """The second transaction waits for the first; on SQLite no other can begin at all."""
        if self.settings.admin_database_url is None:
            file = self.settings.home / "doorstep.db"
            probe = sqlite3.connect(file, timeout=0, isolation_level=None)
            with closing(probe), pytest.raises(sqlite3.OperationalError, match="locked"):
                probe.execute("BEGIN IMMEDIATE")
        else:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(
                lambda: second.done() or behind(self.settings, waiting) == [(1,)], "it waits"
            )
        assert not second.done()

    # what is withdrawn

    def report(self, connection: Connection) -> None:
        _hold(connection, self.caller)
        _require_standing(connection, self.caller)
        denied = after_report(Permission(), State.DENIED, 2, NOON)
        sealed = _sealed(self.caller, denied)
        devices.replace(connection, self.tenant_id, self.caller.device_id, sealed)

    def restrict(self, connection: Connection) -> None:
        _hold(connection, self.caller)
        restricted = _subject(self.caller, restricted=["visit"])
        subjects.replace(connection, self.tenant_id, restricted)

    def erase(self, connection: Connection) -> None:
        _hold(connection, self.caller)
        wanted = new_erasure(self.caller.subject_id, NOON.date())
        assert people.ask_erasure(connection, self.tenant_id, wanted) == wanted

    def revoke(self, connection: Connection) -> None:
        assert devices.revoke(connection, self.tenant_id, self.device.device_id)

    def enroll_again(self, connection: Connection) -> None:
        label = b"1" * 32
        subject_id, until = self.caller.subject_id, NOON.replace(year=2030)
        code = Code(code_label=label, subject_id=subject_id, expires_at=until)
        issue(connection, self.tenant_id, code, NOON)
        again = Device(**{**_members(self.device), "device_id": uuid4()})
        attempt = Attempt(code_label=label, device=again, token=_token("new", again), now=NOON)
        assert isinstance(redeem(connection, self.tenant_id, attempt), Device)

    def close(self) -> None:
        self.threads.shutdown()
        self.one.close_now()
        self.other.close_now()


def _members(device: Device) -> dict[str, Any]:
    return {name: getattr(device, name) for name in device.__slots__}


def _token(kid: str, device: Device) -> Token:
    return Token(
        kid=kid,
        secret_hash=bytes(32),
        fresh=False,
        device_id=device.device_id,
        subject_id=device.subject_id,
    )


def _sealed(caller: Caller, permission: Permission) -> bytes:
    details = DeviceDetails(platform="android", os_major="15", model="Pixel", permission=permission)
    return seal_device_details(caller.subject_keys, caller.device_id, details)


def _subject(caller: Caller, **details: Any) -> StoredSubject:
    sealed = seal_subject_details(caller.subject_keys, caller.subject_id, SubjectDetails(**details))
    return StoredSubject(subject_id=caller.subject_id, sealed=sealed)


def _proposal(caller: Caller) -> Proposal:
    check_in_id: UUID = uuid4()
    today = NOON.date()
    receipt = Receipt(
        key=check_in_id.bytes,
        digest=b"ab",
        expires_on=today.replace(day=18),
        record_expires_on=None,
        sealed=b"sealed",
    )
    return Proposal(
        tenant_id=caller.tenant_id,
        subject_id=caller.subject_id,
        subject_keys=caller.subject_keys,
        kid=caller.kid,
        id=check_in_id,
        receipt_key=receipt.key,
        digest=receipt.digest,
        epoch=None,
        age_s=0,
        purpose="visit",
        received_at=NOON,
        outcome=Minimized(receipt=receipt, record=None, tokens=None, exact=None, tally=None),
    )


@pytest.fixture
def two(settings: Settings) -> Iterator[Two]:
    two = Two(settings)
    yield two
    two.close()


WITHDRAW = {
    "denied": Two.report,
    "restricted": Two.restrict,
    "revoked": Two.revoke,
    "enrolled again": Two.enroll_again,
    "erased": Two.erase,
}
CODES = {
    "denied": "permission-withdrawn",
    "revoked": "device-revoked",
    "enrolled again": "device-revoked",
    "restricted": "purpose-restricted",
    "erased": "unauthorized",
}


@pytest.mark.parametrize("kind", WITHDRAW)
def test_a_withdrawal_waits_for_the_group_that_has_looked_before_it(two: Two, kind: str) -> None:
    seen: list[int] = []

    def withdraw(connection: Connection) -> None:
        WITHDRAW[kind](two, connection)
        # what it waited for is committed before it is
        seen.append(two.receipts())

    with holding() as hold:
        group = two.start(two.one, two.check_in)
        assert hold.reached.wait(WITHIN_S)
        withdrawal = two.start(two.other, withdraw)
        two.require_waiting(withdrawal)
        hold.let_go.set()
        assert isinstance(group.result(WITHIN_S), Settled)
        withdrawal.result(WITHIN_S)
    assert seen == [1]
    assert two.other.write_now(two.reach, two.check_in) == Refused(code=CODES[kind])
    assert two.receipts() == 1


@pytest.mark.parametrize("kind", WITHDRAW)
def test_a_group_waits_for_the_withdrawal_before_it_looks(two: Two, kind: str) -> None:
    withdrawn, let_go = threading.Event(), threading.Event()

    def withdraw(connection: Connection) -> None:
        WITHDRAW[kind](two, connection)
        withdrawn.set()
        assert let_go.wait(WITHIN_S)

    withdrawal = two.start(two.one, withdraw)
    assert withdrawn.wait(WITHIN_S)
    group = two.start(two.other, two.check_in)
    try:
        two.require_waiting(group)
    finally:
        let_go.set()
    withdrawal.result(WITHIN_S)
    assert group.result(WITHIN_S) == Refused(code=CODES[kind])
    assert two.receipts() == 0
