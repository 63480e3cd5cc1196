"""A database to steal: filled with the check-ins of a population through the server's own code.

Devices enroll, report their permission and check in by the functions that the API calls; leases are
written and what has expired goes as in a server that runs. Only HTTP is left out. A fault may be
planted, in this process alone: then the evaluation must tell.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Protocol
from uuid import UUID, uuid4

from doorstep import check_in_id
from doorstep_geofences import Geofence
from doorstep_server import app, credentials, lease_writing, retention
from doorstep_server.api import devices as device_api
from doorstep_server.api import enrollments as enrollment_api
from doorstep_server.api.enrollments import DeviceInfo, Enrollment
from doorstep_server.check_ins.claim import Claim, FixClaim
from doorstep_server.check_ins.flow import Arrival, Caller, judge_claims, propose
from doorstep_server.enrolling import Issuer
from doorstep_server.keyring import KnownSubject
from doorstep_server.policies import Policy
from doorstep_server.privacy.permission import State, is_renewal
from doorstep_server.privacy.personal import SubjectDetails, seal_subject_details
from doorstep_server.renewals import Report, with_report
from doorstep_server.services import Services
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, check_ins, sites, subjects
from doorstep_server.store.check_ins import Proposal, Refused, Settled
from doorstep_server.store.database import Database
from doorstep_server.store.reach import Reach
from doorstep_server.store.sites import SiteContent, StoredSite
from doorstep_server.store.sqlite import SqliteDatabase
from doorstep_server.store.subjects import StoredSubject
from doorstep_server.store.tenants import Tenant
from doorstep_server.store.tokens import NextNumbers
from privacy.stolen_faults import Fault, betray, plant, planted
from privacy.stolen_people import START, Population, Visit, instant_of, visits_of_day
from world import Clock, initialized

#: of so many days, on all but one what arrives within a few minutes is written in one transaction
EACH_ALONE = 5
#: a group is what arrived within this, but no more rows
GROUP_S, GROUP_ROWS = 300, 60
HOUR_S = 3_600


def is_alone(day: int) -> bool:
    """Whether each request of a day is a transaction of its own."""
    return day % EACH_ALONE == EACH_ALONE - 1


@dataclass(kw_only=True)
class Filled:
    """A deployment that was filled, with the truth about its rows."""

    settings: Settings
    services: Services
    tenant: Tenant
    policy: Policy
    clock: Clock
    sites: list[UUID]
    callers: list[Caller] = field(default_factory=list)
    #: whose check-in each is
    owners: dict[bytes, int] = field(default_factory=dict)
    #: check-ins that a phone sent together, when it had a network again
    sent_together: set[bytes] = field(default_factory=set)
    sequences: dict[int, int] = field(default_factory=dict)

    @property
    def tenant_id(self) -> UUID:
        """The only one."""
        return self.tenant.tenant_id


async def _with_sites(
    settings: Settings, tenant: Tenant, population: Population, faults: Collection[Fault]
) -> Filled:
    """A deployment where nobody is enrolled yet."""
    clock = Clock(now=START)
    services = app.make_services(settings, clock)
    _in_a_hurry(services.database)
    for fault in faults:
        services.database.administer(partial(plant, fault))
    placed = [_site(number) for number in range(population.sites)]
    await services.database.write(
        Reach.of(tenant.tenant_id), lambda c: sites.write_many(c, tenant.tenant_id, placed)
    )
    return Filled(
        settings=settings,
        services=services,
        tenant=tenant,
        policy=await services.policies.of(tenant.tenant_id),
        clock=clock,
        sites=[site.site_id for site in placed],
    )


def _in_a_hurry(database: Database) -> None:
    """A database that is made to be stolen has nothing to lose when the power fails."""
    if isinstance(database, SqliteDatabase):
        with closing(database._writer.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA synchronous = OFF")


def _site(number: int) -> StoredSite:
    content = SiteContent(
        name=f"Site {number}",
        external_id=None,
        geofence=Geofence.circle(*_centre(number), 80.0),
        tolerance_m=0.0,
        assurance="standard",
        max_accuracy_m=100.0,
        timezone="UTC",
        purposes=[],
        groups=[],
        active=True,
    )
    return StoredSite(site_id=uuid4(), version=1, valid_from=START, content=content)


def _centre(number: int) -> tuple[float, float]:
    return -46.0 + 0.01 * (number % 100), -23.0 + 0.01 * (number // 100)


# --- people --------------------------------------------------------------------------------------


async def enroll(filled: Filled, population: Population, rng: random.Random) -> None:
    """Everybody's device, in an order that has nothing to do with their numbers."""
    callers: dict[int, Caller] = {}
    for person in rng.sample(population.people, len(population.people)):
        known = filled.services.keyring.subject_named(
            filled.policy.keys, filled.tenant_id, f"person-{person.number}"
        )
        callers[person.number] = await _enrolled(filled, known)
    filled.callers = [callers[person.number] for person in population.people]


async def _enrolled(filled: Filled, known: KnownSubject) -> Caller:
    services, tenant_id = filled.services, filled.tenant_id
    sealed = seal_subject_details(known.keys, known.subject_id, SubjectDetails())
    new = StoredSubject(subject_id=known.subject_id, sealed=sealed)
    issuer = Issuer(tenant_id=tenant_id, handle=filled.tenant.handle, keys=filled.policy.keys)

    def invite(connection: Connection) -> str:
        subjects.get_or_add(connection, tenant_id, new)
        return issuer.issue(connection, known.subject_id, services.now()).code

    code = await services.database.write(Reach.of(tenant_id), invite)
    info = DeviceInfo(platform="android", os_version="15", model="Pixel 9")
    asked = Enrollment(code=code, installation_id=uuid4().hex, device=info)
    enrolled = await enrollment_api._redeem(services, asked)
    assert enrolled is not None
    credential = credentials.parse(enrolled.token)
    assert credential is not None
    return Caller(
        tenant_id=tenant_id,
        kid=credential.kid,
        device_id=enrolled.device_id,
        subject_id=known.subject_id,
        subject_keys=known.keys,
        groups=frozenset(),
    )


async def _start(filled: Filled, reports: Mapping[int, Report]) -> dict[int, Report]:
    """Apps report at their start. Those that only renew a lease wait and are not written.

    The others are left: each is a transaction of its own, when it comes.
    """

    def renewing(connection: Connection) -> set[int]:
        return {who for who, report in reports.items() if _waits(filled, who, report, connection)}

    renewed = await filled.services.read(filled.tenant_id, renewing)
    return {who: report for who, report in reports.items() if who not in renewed}


def _next_report(filled: Filled, person: int, state: State, at: datetime) -> Report:
    filled.sequences[person] = sequence = filled.sequences.get(person, 0) + 1
    return Report(state, sequence, at)


def _waits(filled: Filled, person: int, report: Report, connection: Connection) -> bool:
    caller, services = filled.callers[person], filled.services
    own = device_api._own(services, caller, connection)
    after = with_report(own.permission, report)
    renews = is_renewal(own.device.permission, after, report.at)
    return renews and services.renewals.add(filled.tenant_id, caller.device_id, report)


async def _report(filled: Filled, person: int, report: Report) -> None:
    caller, services = filled.callers[person], filled.services
    await services.write_as(caller, partial(device_api._take, services, caller, report))


# --- days ----------------------------------------------------------------------------------------


class Thief(Protocol):
    """Who copies the database."""

    def look(self, day: int, hour: int) -> None:
        """At the end of each hour of the days that are copied."""

    def take(self) -> None:
        """At the end, from a server that still runs."""


@dataclass(kw_only=True)
class Filler:
    """Writes day after day."""

    filled: Filled
    population: Population
    rng: random.Random
    faults: Collection[Fault]
    thief: Thief
    copied: Sequence[int]
    days: int
    numbers: NextNumbers = field(default_factory=NextNumbers)

    async def run(self) -> None:
        """All days."""
        await enroll(self.filled, self.population, self.rng)
        for day in range(self.days):
            await self._day(day)

    async def _day(self, day: int) -> None:
        services = self.filled.services
        visits = visits_of_day(self.rng, self.population, day)
        leases_written_at = self.rng.randrange(24)
        started: set[int] = set()
        for hour in range(24):
            begin = day * 86_400 + hour * HOUR_S
            self._set_clock(begin)
            if hour == 0:
                await self._keep()
            if hour == leases_written_at:
                await lease_writing.write(services)
            of_hour = [v for v in visits if begin <= v.sent_s < begin + HOUR_S]
            starting = {v.person: v for v in reversed(of_hour) if v.person not in started}
            started |= set(starting)
            await self._hour(of_hour, starting, day)
            if day in self.copied:
                self.thief.look(day, hour)

    async def _hour(self, visits: list[Visit], starting: Mapping[int, Visit], day: int) -> None:
        reports = {
            person: _next_report(self.filled, person, self._state(person), _before(visit))
            for person, visit in sorted(starting.items())
        }
        left = await _start(self.filled, reports) if reports else {}
        groups = list(_groups(visits, alone=is_alone(day)))
        # of other days all are mixed in the end, whether they were each hour or not
        keeping_at = (
            self.rng.randint(0, len(groups)) if day in {*self.copied, self.days - 1} else None
        )
        for number, group in enumerate(groups):
            if number == keeping_at:
                await self._keep()
            for person in dict.fromkeys(visit.person for visit in group):
                if person in left:
                    self.filled.clock.now = left[person].at
                    await _report(self.filled, person, left.pop(person))
            await self._group(group)

    async def _keep(self) -> None:
        """As servers do every hour."""
        services = self.filled.services
        await retention.run(services.database, services.keyring, self.filled.clock.now.date())

    async def _group(self, group: list[Visit]) -> None:
        self._set_clock(group[-1].sent_s)
        sizes = Counter((visit.person, visit.sent_s) for visit in group)
        proposals = [self._proposal(visit) for visit in group]
        for visit, proposal in zip(group, proposals, strict=True):
            if sizes[visit.person, visit.sent_s] > 1:
                self.filled.sent_together.add(proposal.id.bytes)
        refused = await self._commit(proposals)
        for person in sorted({self.filled.owners[proposal.id.bytes] for proposal in refused}):
            await self._again(person, refused)

    async def _again(self, person: int, refused: Sequence[Proposal]) -> None:
        """The lease had lapsed: the app reports and sends the same again."""
        report = _next_report(self.filled, person, self._state(person), self.filled.clock.now)
        await _report(self.filled, person, report)
        mine = [p for p in refused if self.filled.owners[p.id.bytes] == person]
        assert not await self._commit(mine)

    def _state(self, person: int) -> State:
        once = self.population.people[person].grants_once
        return State.PRECISE_ONCE if once else State.PRECISE

    def _set_clock(self, seconds: int) -> None:
        self.filled.clock.now = START + instant_of(seconds)

    def _proposal(self, visit: Visit) -> Proposal:
        filled = self.filled
        captured_at = START + instant_of(visit.captured_s)
        lon, lat = _centre(visit.site)
        fix = FixClaim(lat=lat, lon=lon, captured_at=captured_at, accuracy_m=10.0)
        claim = Claim(
            id=UUID(check_in_id(captured_at)),
            purpose="visit",
            fix=fix,
            site_id=filled.sites[visit.site],
            action="in" if visit.action == "in" else "out" if visit.action else None,
            sent_at=START + instant_of(visit.sent_s),
            permission_epoch=0,
        )
        sent_at = START + instant_of(visit.sent_s)
        arrival = Arrival.of(filled.policy, filled.callers[visit.person], claim, sent_at)
        filled.owners[claim.id.bytes] = visit.person
        [proposal] = propose(filled.policy, [arrival], judge_claims(filled.policy, [arrival]))
        return proposal

    async def _commit(self, group: Sequence[Proposal]) -> list[Proposal]:
        """As the journal has it done; what was refused because a lease had lapsed."""
        database, reach = self.filled.services.database, Reach.of(self.filled.tenant_id)
        if self.faults:
            results = await database.write(reach, partial(self._commit_badly, group))
            self.numbers.committed()
        else:
            results = await app._commit(database, group, self.numbers)
        refusals = [result for result in results if isinstance(result, Refused)]
        assert all(refusal.code == "permission-unknown" for refusal in refusals), refusals
        both = zip(group, results, strict=True)
        return [proposal for proposal, result in both if isinstance(result, Refused)]

    def _commit_badly(
        self, group: Sequence[Proposal], connection: Connection
    ) -> list[Settled | Refused]:
        people = {proposal.subject_id for proposal in group}
        for fault in self.faults:
            betray(fault, connection, self.filled.tenant_id, people, self.filled.clock.now)
        return check_ins.commit_group(connection, group, self.numbers)


def _before(visit: Visit) -> datetime:
    """The app starts a moment before."""
    return START + instant_of(visit.sent_s - 20)


def _groups(visits: list[Visit], *, alone: bool) -> Iterator[list[Visit]]:
    """What is written in one transaction: a request, or all requests of some minutes."""
    group: list[Visit] = []
    for request in _requests(visits):
        full = group and (
            alone
            or request[0].sent_s - group[0].sent_s > GROUP_S
            or len(group) + len(request) > GROUP_ROWS
        )
        if full:
            yield group
            group = []
        group = group + request
    if group:
        yield group


def _requests(visits: list[Visit]) -> Iterator[list[Visit]]:
    """What one device sends at once."""
    request: list[Visit] = []
    for visit in visits:
        if request and (visit.person, visit.sent_s) != (request[0].person, request[0].sent_s):
            yield request
            request = []
        request = [*request, visit]
    if request:
        yield request


def fill(
    settings: Settings,
    population: Population,
    days: int,
    rng: random.Random,
    *,
    faults: Collection[Fault],
    copied: Sequence[int],
    thief_of: Callable[[Filled], Thief],
) -> Filled:
    """All of it, watched by a thief."""
    tenant = initialized(settings).tenant

    async def run() -> Filled:
        filled = await _with_sites(settings, tenant, population, faults)
        filler = Filler(
            filled=filled,
            population=population,
            rng=rng,
            faults=faults,
            thief=thief_of(filled),
            copied=copied,
            days=days,
        )
        try:
            await filler.run()
            filler.thief.take()
        finally:
            await filled.services.database.close()
        return filled

    with planted(faults):
        return asyncio.run(run())


def last_copied(days: int) -> int:
    """The last day that is copied: its requests are written alone, those of the day before not."""
    latest = max(EACH_ALONE - 1, int(days * 0.85))
    return max(day for day in range(min(latest, days - 1) + 1) if is_alone(day))
