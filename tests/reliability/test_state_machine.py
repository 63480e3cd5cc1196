"""The journal and the store against a model in plain dictionaries, on real databases.

The model is written from `server/docs/check-in.md` and `privacy.md`. Hypothesis makes up what
devices, apps and admins do; after each step every answer and every row must be what the model says.

    DOORSTEP_STATE_MACHINE_S=300 python -m pytest tests/reliability/test_state_machine.py -s

goes on for so many seconds on each database, with seeds of its own; DOORSTEP_STATE_MACHINE_SEED
begins with the one that was printed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Column, Table, delete, insert, select

from doorstep_geofences import Outcome, Reason
from doorstep_server import lease_writing
from doorstep_server.api.devices import _take
from doorstep_server.app import _commit, make_services
from doorstep_server.callers import Caller
from doorstep_server.check_ins.journal import Failed, Journal, Result
from doorstep_server.keyring import KnownSubject
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import CheckInRecord, Evidence, Minimized, Receipt, Tally
from doorstep_server.privacy.permission import (
    MAX_SEQUENCE_LEAP,
    Permission,
    SequenceTooFarAhead,
    State,
    after_report,
    refusal,
)
from doorstep_server.privacy.personal import (
    DeviceDetails,
    SubjectDetails,
    seal_device_details,
    seal_subject_details,
    unseal_device_details,
)
from doorstep_server.privacy.unlinkable import TokenSeries
from doorstep_server.problems import Refusal
from doorstep_server.renewals import Report
from doorstep_server.services import Services
from doorstep_server.settings import Settings
from doorstep_server.store import (
    Connection,
    check_ins,
    devices,
    enrollments,
    locks,
    retention,
    schema,
    subjects,
)
from doorstep_server.store.check_ins import Filter, Proposal, Refused, Settled
from doorstep_server.store.devices import Device, Token
from doorstep_server.store.enrollments import Attempt, Code
from doorstep_server.store.reach import Reach
from doorstep_server.store.subjects import StoredSubject
from doorstep_server.store.tokens import NextNumbers, PersonRows
from postgres import Session, session
from world import NOON, Clock, initialized

T = TypeVar("T")

LONG_S = float(os.environ.get("DOORSTEP_STATE_MACHINE_S", "0"))
EXAMPLES, STEPS = 12, 40

TENANTS = (UUID(int=1 << 80 | 1), UUID(int=1 << 80 | 2))
#: in all: every second one is of the second tenant
SUBJECTS = 4
#: what one person's check-ins may be found by, and what must not be made from the id alone
IDS = tuple(UUID(int=(3 + n) << 112 | 0x4 << 76 | 0x8 << 60 | n) for n in range(5))
SITE = UUID(int=4)
#: purposes, with the days that they keep: one less than a receipt lives, and two that differ by it
RETENTION = {"brief": 3, "visit": 10, "shift": 18}
RECEIPT_DAYS = 8
LIVE_FOR_S = 120
#: for how many days a report is believed
LEASES = {"approximate": 7, "precise_once": 1, "precise": 7}
WITHDRAWALS = ("denied", "restricted", "services_off")
#: of two reports with one number the one further to the left counts
LEAST_FIRST = [*WITHDRAWALS, "unknown", "approximate", "precise_once", "precise"]
TABLES = (
    schema.check_ins,
    schema.receipts,
    schema.tallies,
    schema.subjects,
    schema.devices,
    schema.device_tokens,
    schema.enrollment_codes,
    schema.changes,
)


# --- the model -----------------------------------------------------------------------------------


@dataclass
class Written:
    """What the database says of a permission: check-ins go by that."""

    state: str = "unknown"
    sequence: int = 0
    epoch: int = 0
    lease_until: datetime | None = None

    def at(self, now: datetime) -> str:
        lapsed = self.lease_until is not None and self.lease_until <= now
        return "unknown" if lapsed else self.state


@dataclass
class ModelDevice:
    tenant: int
    #: a number below SUBJECTS
    subject: int
    installation: int
    revoked: bool = False
    #: every report that was taken, as (sequence, state)
    reports: list[tuple[int, str]] = field(default_factory=list)
    #: of the newest report
    lease_until: datetime | None = None
    written: Written = field(default_factory=Written)

    @property
    def sequence(self) -> int:
        return max((number for number, _ in self.reports), default=0)

    @property
    def state(self) -> str:
        newest = [state for number, state in self.reports if number == self.sequence]
        return min(newest, key=LEAST_FIRST.index, default="unknown")

    @property
    def epoch(self) -> int:
        return max((n for n, state in self.reports if state in WITHDRAWALS), default=0)

    @property
    def known(self) -> Written:
        """What is known, written or not."""
        return Written(self.state, self.sequence, self.epoch, self.lease_until)

    def report(self, sequence: int, state: str, now: datetime) -> None:
        """A report that all is as it was waits; every other that says something is written."""
        before = self.known
        self.reports.append((sequence, state))
        if (self.state, self.sequence) != (before.state, before.sequence):
            days = LEASES.get(state)
            self.lease_until = now + timedelta(days=days) if days else None
        held = self.written.at(now), self.written.epoch
        in_reach = self.sequence <= self.written.sequence + MAX_SEQUENCE_LEAP
        waits = held == (self.state, self.epoch) and in_reach
        if self.known != before and not waits:
            self.written = self.known

    def forbids(self, epoch: int | None, age_s: float, now: datetime) -> str | None:
        state = self.written.at(now)
        if state in WITHDRAWALS or (epoch is not None and epoch < self.written.epoch):
            return "permission-withdrawn"
        if state == "unknown" or (epoch is None and age_s > LIVE_FOR_S):
            return "permission-unknown"
        return None


@dataclass
class ModelReceipt:
    content: bytes
    expires_on: date
    settled: Settled


@dataclass
class Model:
    #: (tenant, device id)
    devices: dict[UUID, ModelDevice] = field(default_factory=dict)
    #: kid: (device id, whether it is fresh)
    tokens: dict[str, tuple[UUID, bool]] = field(default_factory=dict)
    receipts: dict[tuple[int, UUID], ModelReceipt] = field(default_factory=dict)
    #: with whose they are
    rows: dict[tuple[int, date, UUID], tuple[int, CheckInRecord]] = field(default_factory=dict)
    tallies: Counter[tuple[int, Tally]] = field(default_factory=Counter)
    #: by person: for which purposes nothing is processed; "" is for all
    restricted: dict[int, set[str]] = field(default_factory=dict)

    def restricts(self, subject: int, purpose: str | None) -> bool:
        restricted = self.restricted.get(subject, set())
        return purpose is not None and bool({"", purpose} & restricted)

    def standing(self, kid: str) -> str | None:
        """Why whoever shows this token is refused, whatever they want."""
        if kid not in self.tokens:
            return "unauthorized"
        return "device-revoked" if self.devices[self.tokens[kid][0]].revoked else None

    def settle(self, proposal: Proposal) -> Result | type[Failed]:
        tenant, today = TENANTS.index(proposal.tenant_id), proposal.day
        code = self.standing(proposal.kid)
        if code is not None:
            return Refused(code=code)
        before = self.receipts.get((tenant, proposal.id))
        if before is not None:
            return self._again(before, proposal)
        device = self.devices[self.tokens[proposal.kid][0]]
        code = device.forbids(proposal.epoch, proposal.age_s, proposal.received_at)
        if code is None and self.restricts(device.subject, proposal.purpose):
            code = "purpose-restricted"
        if code is None and isinstance(proposal.outcome, str):
            code = proposal.outcome
        if code is not None:
            if proposal.purpose is not None:
                tally = Tally(purpose=proposal.purpose, day=today, reason=code)
                self.tallies[tenant, tally] += 1
            return Refused(code=code)
        assert isinstance(proposal.outcome, Minimized)
        return self._take(device, proposal, proposal.outcome)

    def _again(self, before: ModelReceipt, proposal: Proposal) -> Settled | Refused:
        if before.expires_on <= proposal.day:
            return Refused(code="too-old")
        if before.content != proposal.digest:
            return Refused(code="id-reused")
        record = before.settled.record
        if record is not None and record.expires_on <= proposal.day:
            return Refused(code="too-old")
        return msgspec.structs.replace(before.settled, replayed=True)

    def _take(
        self, device: ModelDevice, proposal: Proposal, minimized: Minimized
    ) -> Settled | Refused | type[Failed]:
        tenant, record, receipt = device.tenant, minimized.record, minimized.receipt
        if record is not None:
            place = tenant, record.expires_on, record.id
            if record.legal_basis is None:  # poisoned
                return Failed
            # an id used again when its receipt was gone, for the same day
            if place in self.rows:
                return Refused(code="id-reused")
            self.rows[place] = device.subject, record
        if minimized.tally is not None:
            self.tallies[tenant, minimized.tally] += 1
        settled = Settled(receipt=receipt, record=record, replayed=False)
        self.receipts[tenant, proposal.id] = ModelReceipt(
            proposal.digest, receipt.expires_on, settled
        )
        return settled


# --- what is tried -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """One check-in that a device sends; numbers choose among what there is."""

    kid: int
    id: int
    content: int
    purpose: str
    #: what it comes to, unless permission or a receipt come before
    becomes: str
    #: behind (or ahead of) the device's own epoch; None says nothing
    epoch: int | None
    age_s: float


BECOMES = ["row", "row", "row", "count", "poison", "too-old", "site-unknown", "purpose-unknown"]
WANTED = st.builds(
    Wanted,
    kid=st.integers(0, 11),
    id=st.integers(0, len(IDS) - 1),
    content=st.sampled_from([0, 0, 0, 1]),
    purpose=st.sampled_from(sorted(RETENTION)),
    becomes=st.sampled_from(BECOMES),
    epoch=st.sampled_from([None, 0, 0, 0, -1, -5, 1]),
    age_s=st.sampled_from([0, 0, LIVE_FOR_S, LIVE_FOR_S + 1, 86_400]),
)
REQUESTS = st.lists(st.lists(WANTED, min_size=1, max_size=4), min_size=1, max_size=4)


class Stage:
    """A deployment, with a journal of which the test decides when its groups begin."""

    def __init__(self, settings: Settings) -> None:
        initialized(settings)
        self._runner = asyncio.Runner()
        self.clock = Clock()
        self.numbers = NextNumbers()
        self.on_sqlite = settings.database_url is None
        self.services: Services = make_services(settings, self.clock)
        keyring, today = self.services.keyring, NOON.date()
        keys = [keyring.add_tenant(tenant_id, today) for tenant_id in TENANTS]
        #: who they are is random
        self.people: list[KnownSubject] = [
            keyring.subject_named(keys[n % 2], TENANTS[n % 2], str(n)) for n in range(SUBJECTS)
        ]
        self._may_begin = asyncio.Event()
        self.journal = Journal(self._commit)
        self.examples = self.steps = 0
        self._held = ExitStack()
        #: the server itself has no right to delete most of this
        self._owner: Session | None = None
        if settings.admin_database_url is not None:
            self._owner = self._held.enter_context(session(settings.admin_database_url))

    async def _commit(self, group: Sequence[Proposal]) -> list[Settled | Refused]:
        await self._may_begin.wait()
        return await _commit(self.services.database, group, self.numbers)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def write(self, function: Callable[[Connection], T], *tenants: UUID) -> T:
        reach = Reach.of(*(tenants or TENANTS))
        return self.run(self.services.database.write(reach, function))

    def read(self, function: Callable[[Connection], T], *tenants: UUID) -> T:
        reach = Reach.of(*(tenants or TENANTS))
        return self.run(self.services.database.read(reach, function))

    async def append(
        self, requests: list[list[Proposal]], gone: set[int]
    ) -> list[list[Result] | None]:
        """All at once; the requests numbered in `gone` end before any group has begun.

        The first is a group of its own, and under way then: the others wait for it.
        """
        self._may_begin.clear()
        tasks = []
        for proposals in requests:
            tasks.append(asyncio.create_task(self.journal.append(proposals)))
            await _until_quiet()
        for number in gone & set(range(len(tasks))):
            tasks[number].cancel()
        await _until_quiet()
        self._may_begin.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        # a request that is gone may have been the last: what it began must have ended as well
        await self.journal.quiet()
        for result in done:
            assert not isinstance(result, Exception), result
        return [None if isinstance(result, BaseException) else result for result in done]

    def clear(self) -> None:
        """As if no example had run here."""
        self.numbers = NextNumbers()
        if self._owner is None:
            self.write(_clear)
            return
        for table in TABLES:
            self._owner.run(f"DELETE FROM {table.name} WHERE tenant_id = ANY ($1)", TENANTS)

    def close(self) -> None:
        self._held.close()
        self.run(self.journal.drain())
        self.run(self.services.database.close())
        self._runner.close()


async def _until_quiet() -> None:
    """A task begins in the loop's next turn, and wakes another in the one after."""
    for _ in range(3):
        await asyncio.sleep(0)


class Doorstep(RuleBasedStateMachine):
    """What devices, apps and admins may do, in any order."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.clock = stage.clock
        self.clock.now = NOON
        self.model = Model()
        self._made = 0
        stage.examples += 1
        stage.write(self._set_up)

    def _set_up(self, connection: Connection) -> None:
        for tenant_id in TENANTS:
            connection.execute(insert(schema.changes).values(tenant_id=tenant_id, version=1))
        for number, person in enumerate(self.stage.people):
            stored = StoredSubject(subject_id=person.subject_id, sealed=_sealed(person, set()))
            subjects.get_or_add(connection, TENANTS[number % 2], stored)
        # three devices of the first person, of whom one has said nothing yet; one of each other
        for number, subject in enumerate([0, 0, 0, 1, 2, 3]):
            device_id, model = self._new_device(subject, installation=number)
            if number:
                model.report(1, "precise", self.clock.now)
            self._store_device(connection, device_id, model)

    def _new_device(self, subject: int, installation: int) -> tuple[UUID, ModelDevice]:
        self._made += 1
        device_id = UUID(int=5 << 80 | self._made)
        model = ModelDevice(subject % 2, subject, installation)
        self.model.devices[device_id] = model
        self.model.tokens[f"kid{self._made}"] = (device_id, False)
        return device_id, model

    def _store_device(self, connection: Connection, device_id: UUID, model: ModelDevice) -> None:
        tenant_id = TENANTS[model.tenant]
        devices.add(connection, tenant_id, self._device(device_id, model))
        kid = next(k for k, (owner, _) in self.model.tokens.items() if owner == device_id)
        devices.add_token(connection, tenant_id, self._token(kid, device_id, model))

    def _person(self, model: ModelDevice) -> KnownSubject:
        return self.stage.people[model.subject]

    def _device(self, device_id: UUID, model: ModelDevice) -> Device:
        person, written = self._person(model), model.written
        details = DeviceDetails(
            platform="android",
            os_major="15",
            model="Pixel",
            permission=Permission(
                state=State(written.state),
                sequence=written.sequence,
                epoch=written.epoch,
                lease_until=written.lease_until,
            ),
        )
        return Device(
            device_id=device_id,
            subject_id=person.subject_id,
            installation_label=model.installation.to_bytes(32),
            sealed=seal_device_details(person.keys, device_id, details),
            revoked=False,
        )

    def _token(
        self, kid: str, device_id: UUID, model: ModelDevice, *, fresh: bool = False
    ) -> Token:
        return Token(
            kid=kid,
            secret_hash=bytes(32),
            fresh=fresh,
            device_id=device_id,
            subject_id=self._person(model).subject_id,
        )

    def _kid(self, number: int) -> str:
        """Of a token, as it may be one that has ended."""
        return f"kid{number % self._made + 1}"

    def _owner(self, number: int) -> tuple[UUID, ModelDevice]:
        known = list(self.model.devices)
        device_id = known[number % len(known)]
        return device_id, self.model.devices[device_id]

    # check-ins

    @rule(wanted=st.lists(WANTED, min_size=1, max_size=6))
    def check_in(self, wanted: list[Wanted]) -> None:
        self.check_in_at_once([wanted], set())

    @rule(requests=REQUESTS, gone=st.sets(st.integers(0, 3), max_size=2))
    def check_in_at_once(self, requests: list[list[Wanted]], gone: set[int]) -> None:
        proposals = [[self._proposal(wanted) for wanted in wanteds] for wanteds in requests]
        answers = self.stage.run(self.stage.append(proposals, gone))
        for number, (sent, answer) in enumerate(zip(proposals, answers, strict=True)):
            # the first is under way when its caller goes away, so it is settled all the same
            if number in gone and number > 0:
                assert answer is None
                continue
            expected = [self.model.settle(proposal) for proposal in sent]
            if number in gone:
                assert answer is None
            else:
                assert answer is not None
                _require_equal(answer, expected)

    def _proposal(self, wanted: Wanted) -> Proposal:
        kid = self._kid(wanted.kid)
        # a token that has ended says who had it: whoever shows it is judged all the same
        device_id, device = self._owner_of(kid, wanted.kid)
        content = device_id.bytes[-1:] + bytes([wanted.content])
        unknown = wanted.becomes == "purpose-unknown"
        return Proposal(
            tenant_id=TENANTS[device.tenant],
            subject_id=self._person(device).subject_id,
            subject_keys=self._person(device).keys,
            kid=kid,
            id=IDS[wanted.id],
            receipt_key=IDS[wanted.id].bytes,
            digest=content,
            epoch=None if wanted.epoch is None else max(0, device.epoch + wanted.epoch),
            age_s=wanted.age_s,
            purpose=None if unknown else wanted.purpose,
            received_at=self.clock.now,
            outcome=_outcome(wanted, self._person(device), content, self.clock.now),
        )

    def _owner_of(self, kid: str, number: int) -> tuple[UUID, ModelDevice]:
        if kid in self.model.tokens:
            device_id = self.model.tokens[kid][0]
            return device_id, self.model.devices[device_id]
        return self._owner(number)

    # permission

    @rule(
        number=st.integers(0, 11),
        state=st.sampled_from(LEAST_FIRST),
        step=st.sampled_from([1, 1, 1, 0, -1, -3, 7, MAX_SEQUENCE_LEAP, MAX_SEQUENCE_LEAP + 1]),
    )
    def report_permission(self, number: int, state: str, step: int) -> None:
        kid = self._kid(number)
        device_id, device = self._owner_of(kid, number)
        sequence = max(1, device.sequence + step)

        caller, now = self._caller(kid, device_id, device), self.clock.now
        report = Report(State(state), sequence, now)

        def take(connection: Connection) -> object:
            return _take(self.stage.services, caller, report, connection)

        if self._permitted(kid, device_id, device, take, sequence):
            device.report(sequence, state, now)

    @rule()
    def write_leases(self) -> None:
        """As once a day: what waited is written, and every device gets other bytes."""
        waiting = set(self.stage.services.renewals.tenants())
        before = self.stage.read(_sealed_devices)
        self.stage.run(lease_writing.write(self.stage.services))
        after = self.stage.read(_sealed_devices)
        for device_id, device in self.model.devices.items():
            written = TENANTS[device.tenant] in waiting
            assert (before[device_id] != after[device_id]) == written
            if written:
                device.written = device.known

    # restrictions

    @rule(
        subject=st.integers(0, SUBJECTS - 1),
        purposes=st.sets(st.sampled_from(["", *RETENTION]), max_size=2),
    )
    def restrict(self, subject: int, purposes: set[str]) -> None:
        person, tenant_id = self.stage.people[subject], TENANTS[subject % 2]
        stored = StoredSubject(subject_id=person.subject_id, sealed=_sealed(person, purposes))

        def write(connection: Connection) -> None:
            locks.changing(connection, tenant_id, [person.subject_id])
            subjects.replace(connection, tenant_id, stored)

        self.stage.write(write, tenant_id)
        self.model.restricted[subject] = purposes

    def _permitted(
        self,
        kid: str,
        device_id: UUID,
        device: ModelDevice,
        function: Callable[[Connection], Any],
        sequence: int = 0,
    ) -> bool:
        """Do something as a device; whether it was done is as the model says."""
        caller = self._caller(kid, device_id, device)
        expected = self.model.standing(kid)
        if expected is None and sequence > device.sequence + MAX_SEQUENCE_LEAP:
            expected = "too-far-ahead"
        code = None
        try:
            self.stage.run(self.stage.services.write_as(caller, function))
        except Refusal as refused:
            code = refused.kind.code
        except SequenceTooFarAhead:
            code = "too-far-ahead"
        assert code == expected
        return code is None

    def _caller(self, kid: str, device_id: UUID, device: ModelDevice) -> Caller:
        person = self._person(device)
        return Caller(
            tenant_id=TENANTS[device.tenant],
            kid=kid,
            device_id=device_id,
            subject_id=person.subject_id,
            subject_keys=person.keys,
            groups=frozenset(),
        )

    # devices and tokens

    @rule(number=st.integers(0, 20))
    def revoke(self, number: int) -> None:
        device_id, device = self._owner(number)
        tenant_id, other = TENANTS[device.tenant], TENANTS[1 - device.tenant]
        assert not self.stage.write(lambda c: devices.revoke(c, other, device_id), other)
        assert self.stage.write(lambda c: devices.revoke(c, tenant_id, device_id), tenant_id)
        device.revoked = True

    @rule(subject=st.integers(0, 3), number=st.integers(0, 20))
    def enroll(self, subject: int, number: int) -> None:
        """A new installation, or one that is enrolled: then its earlier devices end."""
        tenant_id, installation = TENANTS[subject % 2], number % (self._made + 1)
        for device in self.model.devices.values():
            if device.tenant == subject % 2 and device.installation == installation:
                device.revoked = True
        device_id, model = self._new_device(subject, installation)
        kid, label = f"kid{self._made}", self._made.to_bytes(32)
        code = Code(
            code_label=label,
            subject_id=self._person(model).subject_id,
            expires_at=self.clock.now + timedelta(minutes=15),
        )
        made = self._device(device_id, model)
        attempt = Attempt(
            code_label=label,
            device=made,
            token=self._token(kid, device_id, model),
            now=self.clock.now,
        )
        # whoever the code is not for enrolls nothing with it
        other = replace(attempt, device=replace(made, subject_id=UUID(int=0)))

        def redeem(connection: Connection) -> object:
            enrollments.issue(connection, tenant_id, code, self.clock.now)
            assert enrollments.redeem(connection, tenant_id, other) is enrollments.Refusal.INVALID
            return enrollments.redeem(connection, tenant_id, attempt)

        assert self.stage.write(redeem, tenant_id) == made

    @rule(number=st.integers(0, 20))
    def rotate_token(self, number: int) -> None:
        kid = self._kid(number)
        device_id, device = self._owner_of(kid, number)
        self._made += 1
        new = f"kid{self._made}"
        token = self._token(new, device_id, device, fresh=True)
        tenant_id = TENANTS[device.tenant]
        if self._permitted(
            kid, device_id, device, lambda c: devices.add_token(c, tenant_id, token)
        ):
            tokens = self.model.tokens.items()
            self.model.tokens = {k: v for k, v in tokens if v != (device_id, True)}
            self.model.tokens[new] = (device_id, True)

    @rule(number=st.integers(0, 20))
    def use_new_token(self, number: int) -> None:
        """Of a token that was new when it was looked up, and may have ended or been used since."""
        kid = self._kid(number)
        device_id, device = self._owner_of(kid, number)
        token, tenant_id = self._token(kid, device_id, device, fresh=True), TENANTS[device.tenant]
        settled = self.stage.write(lambda c: devices.settle_token(c, tenant_id, token), tenant_id)
        # one that another request has settled stands
        assert settled == (kid in self.model.tokens)
        if self.model.tokens.get(kid) == (device_id, True):
            tokens = self.model.tokens.items()
            self.model.tokens = {k: v for k, v in tokens if v[0] != device_id}
            self.model.tokens[kid] = (device_id, False)

    # time

    @rule(days=st.sampled_from([1, 1, 2, 5, RECEIPT_DAYS]))
    def pass_time(self, days: int) -> None:
        self.clock.advance(days=days)

    @rule(tenant=st.integers(0, 1))
    def forget(self, tenant: int) -> None:
        tenant_id, today = TENANTS[tenant], self.clock.now.date()
        gone = [
            place
            for place, receipt in self.model.receipts.items()
            if place[0] == tenant and receipt.expires_on <= today
        ]
        for place in gone:
            del self.model.receipts[place]
        deleted = self.stage.write(
            lambda c: retention.delete_receipts(c, tenant_id, today), tenant_id
        )
        assert deleted == len(gone)
        self._forget_rows(tenant, tenant_id, today)

    def _forget_rows(self, tenant: int, tenant_id: UUID, today: date) -> None:
        """PostgreSQL drops whole partitions instead: not of one tenant, so not in here."""
        if not self.stage.on_sqlite:
            return
        expired = [p for p in self.model.rows if p[0] == tenant and p[1] <= today]
        deleted = self.stage.write(
            lambda c: retention.delete_check_ins(c, tenant_id, today), tenant_id
        )
        for place in expired:
            del self.model.rows[place]
        assert deleted == len(expired)

    # reading

    @rule(
        tenant=st.integers(0, 1),
        limit=st.integers(1, 4),
        of=st.one_of(st.none(), st.integers(0, 3)),
    )
    def page(self, tenant: int, limit: int, of: int | None) -> None:
        today = self.clock.now.date()
        found = self._pages(TENANTS[tenant], Filter(today=today), of, limit)
        expected = [
            record
            for (owner, expires_on, _), (of_person, record) in self.model.rows.items()
            if owner == tenant and expires_on > today and of in {None, of_person}
        ]
        assert found == sorted(expected, key=lambda r: (r.time, r.id.bytes), reverse=True)

    def _pages(
        self, tenant_id: UUID, wanted: Filter, of: int | None, limit: int
    ) -> list[CheckInRecord]:
        found: list[CheckInRecord] = []
        days = [wanted.today + timedelta(days=n) for n in range(1, max(RETENTION.values()) + 1)]

        def next_page(connection: Connection) -> list[CheckInRecord]:
            before = (found[-1].time, found[-1].id) if found else None
            if of is None:
                return check_ins.page(connection, tenant_id, wanted, before=before, limit=limit)
            keys = self.stage.people[of].keys
            person = PersonRows(keys=keys, purposes=sorted(RETENTION), expires_on=days)
            return check_ins.page_of(
                connection, tenant_id, wanted, person, before=before, limit=limit
            )

        while page := self.stage.read(next_page, tenant_id):
            assert len(page) <= limit
            found += page
        return found

    # what is there

    @invariant()
    def the_database_holds_exactly_what_the_model_says(self) -> None:
        self.stage.steps += 1
        model, found = self.model, self.stage.read(_contents)
        assert found["check_ins"] == {
            (TENANTS[tenant], *_values(record))
            for (tenant, _, _), (_, record) in model.rows.items()
        }
        assert found["tokens"] == self._tokens()
        assert found["receipts"] == {
            (TENANTS[tenant], *_values(receipt.settled.receipt))
            for (tenant, _), receipt in model.receipts.items()
        }
        assert found["tallies"] == {
            (TENANTS[tenant], *_values(tally), count)
            for (tenant, tally), count in model.tallies.items()
        }
        assert found["devices"] == {(i, d.revoked) for i, d in model.devices.items()}
        for device_id, sealed in self.stage.read(_sealed_devices).items():
            self._require_permission(device_id, sealed)
        assert found["device_tokens"] == {(k, d, fresh) for k, (d, fresh) in model.tokens.items()}

    def _tokens(self) -> set[tuple[Any, ...]]:
        """Of each person, purpose and day the first ones, as many as there are rows."""
        counts = Counter(
            (of, record.purpose, record.expires_on) for of, record in self.model.rows.values()
        )
        return {
            (TENANTS[of % 2], day, TokenSeries(self.stage.people[of].keys, purpose, day).token(n))
            for (of, purpose, day), count in counts.items()
            for n in range(count)
        }

    def _require_permission(self, device_id: UUID, sealed: bytes) -> None:
        """What is written, and what is known with what waits."""
        device = self.model.devices[device_id]
        stored = unseal_device_details(self._person(device).keys, device_id, sealed).permission
        renewals = self.stage.services.renewals
        known = renewals.applied(TENANTS[device.tenant], device_id, stored)
        for got, wanted in ((stored, device.written), (known, device.known)):
            assert got == Permission(
                state=State(wanted.state),
                sequence=wanted.sequence,
                epoch=wanted.epoch,
                lease_until=wanted.lease_until,
            )

    def teardown(self) -> None:
        for tenant_id in TENANTS:
            self.stage.services.renewals.take(tenant_id)
        self.stage.clear()


def _require_equal(answer: list[Result], expected: list[Result | type[Failed]]) -> None:
    assert len(answer) == len(expected)
    for got, wanted in zip(answer, expected, strict=True):
        if wanted is Failed:
            assert isinstance(got, Failed)
        else:
            assert got == wanted


def _outcome(
    wanted: Wanted, person: KnownSubject, content: bytes, now: datetime
) -> Minimized | str:
    if wanted.becomes not in {"row", "count", "poison"}:
        return wanted.becomes
    today = now.date()
    keeps = wanted.becomes != "count"
    expires_on = today + timedelta(days=RETENTION[wanted.purpose])
    receipt = Receipt(
        key=IDS[wanted.id].bytes,
        digest=content,
        expires_on=today + timedelta(days=RECEIPT_DAYS),
        record_expires_on=expires_on if keeps else None,
        sealed=None if keeps else content * 8,
    )
    if not keeps:
        tally = Tally(purpose=wanted.purpose, day=today, reason=Reason.OUTSIDE.value)
        return Minimized(receipt=receipt, record=None, tokens=None, exact=None, tally=tally)
    basis: Any = None if wanted.becomes == "poison" else "contract"
    record = CheckInRecord(
        id=IDS[wanted.id],
        expires_on=expires_on,
        sealed=secrets.token_bytes(44),
        purpose=wanted.purpose,
        policy_version=1,
        legal_basis=basis,
        level=Level.SITE,
        site_id=SITE,
        site_version=1,
        cell=None,
        action="in",
        time=now - timedelta(hours=wanted.content),
        outcome=Outcome.ACCEPTED,
        reason=Reason.INSIDE,
        evidence=Evidence.GPS,
    )
    tokens = TokenSeries(person.keys, wanted.purpose, expires_on)
    return Minimized(receipt=receipt, record=record, tokens=tokens, exact=None, tally=None)


def _sealed(person: KnownSubject, restricted: set[str]) -> bytes:
    details = SubjectDetails(
        restricted=sorted(restricted - {""}), restricted_wholly="" in restricted
    )
    return seal_subject_details(person.keys, person.subject_id, details)


def _sealed_devices(connection: Connection) -> dict[UUID, bytes]:
    d = schema.devices.c
    query = select(d.device_id, d.sealed).where(d.tenant_id.in_(TENANTS))
    return {row.device_id: row.sealed for row in connection.execute(query)}


def _values(value: CheckInRecord | Receipt | Tally) -> list[Any]:
    return [getattr(value, name) for name in value.__struct_fields__]


def _columns(table: Table, kind: type[CheckInRecord | Receipt | Tally]) -> list[Column[Any]]:
    """As in the model: the tenant, then what the value has."""
    assert {c.name for c in table.c} - {"count", "token"} == {"tenant_id", *kind.__struct_fields__}
    return [table.c[name] for name in ("tenant_id", *kind.__struct_fields__)]


def _contents(connection: Connection) -> dict[str, set[tuple[Any, ...]]]:
    """Every row of ours, in the columns that the model knows."""
    d, t = schema.devices.c, schema.device_tokens.c
    columns: dict[Table, list[Any]] = {
        schema.check_ins: _columns(schema.check_ins, CheckInRecord),
        schema.receipts: _columns(schema.receipts, Receipt),
        schema.tallies: [*_columns(schema.tallies, Tally), schema.tallies.c["count"]],
        schema.devices: [d.device_id, d.revoked],
        schema.device_tokens: [t.kid, t.device_id, t.fresh],
    }
    found = {}
    for table, wanted in columns.items():
        rows = connection.execute(select(*wanted).where(table.c.tenant_id.in_(TENANTS))).all()
        found[table.name] = {tuple(row) for row in rows}
        assert len(rows) == len(found[table.name])
    token = [schema.check_ins.c[name] for name in ("tenant_id", "expires_on", "token")]
    rows = connection.execute(select(*token).where(schema.check_ins.c.tenant_id.in_(TENANTS)))
    return {**found, "tokens": {tuple(row) for row in rows}}


def _clear(connection: Connection) -> None:
    for table in TABLES:
        connection.execute(delete(table).where(table.c.tenant_id.in_(TENANTS)))


@pytest.fixture
def stage(settings: Settings) -> Iterator[Stage]:
    stage = Stage(settings)
    yield stage
    stage.close()


def test_the_database_is_always_as_the_model_says(stage: Stage) -> None:
    chosen = how(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        derandomize=not LONG_S,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    if not LONG_S:
        run_state_machine_as_test(lambda: Doorstep(stage), settings=chosen)
        return
    seed = int(os.environ.get("DOORSTEP_STATE_MACHINE_SEED") or secrets.randbits(32))
    started = time.monotonic()
    while time.monotonic() - started < LONG_S:
        print(f"seed {seed}", end=" ", flush=True)
        # each call is a machine of its own: a seed belongs to the function that makes it
        made = hypothesis.seed(seed)(lambda: Doorstep(stage))
        run_state_machine_as_test(made, settings=chosen)
        seed += 1
    seconds = time.monotonic() - started
    print(f"\n{stage.examples} examples, {stage.steps} steps in {seconds:.0f} s")


# --- the permission machine ----------------------------------------------------------------------

#: within one leap of the beginning, so that none is refused in any order
SEQUENCES = st.one_of(st.integers(1, 8), st.integers(1, MAX_SEQUENCE_LEAP))
REPORTS = st.lists(st.tuples(SEQUENCES, st.sampled_from(State)), max_size=10)


def _after(reports: Sequence[tuple[int, State]]) -> Permission:
    permission = Permission()
    for sequence, state in reports:
        permission = after_report(permission, state, sequence, NOON)
    return permission


@given(reports=REPORTS, data=st.data())
def test_any_order_and_repetition_of_reports_ends_as_the_model_says(
    reports: list[tuple[int, State]], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(reports))) if reports else []
    permission = _after(data.draw(st.permutations(reports + again)))
    model = ModelDevice(0, 0, 0, reports=[(n, s.value) for n, s in reports])
    expected = (model.state, model.sequence, model.epoch)
    assert (permission.state, permission.sequence, permission.epoch) == expected


@given(reports=REPORTS, state=st.sampled_from(State), sequence=SEQUENCES)
def test_a_late_report_never_changes_the_state(
    reports: list[tuple[int, State]], state: State, sequence: int
) -> None:
    known = _after(reports)
    after = after_report(known, state, min(sequence, known.sequence - 1), NOON)
    assert (after.state, after.sequence) == (known.state, known.sequence)


@given(
    before=REPORTS,
    withdrawal=st.sampled_from([State(state) for state in WITHDRAWALS]),
    after=REPORTS,
    age_s=st.floats(0, 1e6),
    data=st.data(),
)
def test_no_grant_lets_an_epoch_before_a_withdrawal_through(
    before: list[tuple[int, State]],
    withdrawal: State,
    after: list[tuple[int, State]],
    age_s: float,
    data: st.DataObject,
) -> None:
    withdrawn_at = data.draw(SEQUENCES)
    granted = (MAX_SEQUENCE_LEAP, State.PRECISE)
    permission = _after([*before, (withdrawn_at, withdrawal), *after, granted])
    epoch = data.draw(st.integers(0, withdrawn_at - 1))
    assert refusal(permission, epoch=epoch, age_s=age_s) == "permission-withdrawn"


@given(reports=REPORTS, state=st.sampled_from(State), beyond=st.integers(1, 2**53))
def test_a_sequence_too_far_ahead_is_refused(
    reports: list[tuple[int, State]], state: State, beyond: int
) -> None:
    known = _after(reports)
    furthest = known.sequence + MAX_SEQUENCE_LEAP
    assert after_report(known, state, furthest, NOON).sequence == furthest
    with pytest.raises(SequenceTooFarAhead):
        after_report(known, state, furthest + beyond, NOON)
