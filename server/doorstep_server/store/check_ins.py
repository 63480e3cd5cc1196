"""Check-ins, their receipts and the counts of what was not stored.

`commit_group` is the heart of the promise: within one write transaction it first takes the locks of
its subjects, then reads the receipts and how each device stands, and writes only what is permitted
at that moment. A withdrawal commits before the group or after it; if before, the group sees it, and
if after, its answer was not given yet.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Insert, Row, insert, literal, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from doorstep_geofences import Outcome, Reason
from doorstep_server.privacy import permission
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import CheckInRecord, Evidence, Minimized, Receipt, Tally
from doorstep_server.store import devices, locks
from doorstep_server.store.columns import Id, Instant
from doorstep_server.store.devices import Standing
from doorstep_server.store.schema import check_ins, receipts, tallies

_REASONS = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What one check-in would write, if the transaction permits it."""

    tenant_id: UUID
    subject_id: UUID
    #: the token that it came with
    kid: str = field(repr=False)
    id: UUID
    receipt_key: bytes
    digest: bytes
    #: the permission epoch of the capture, if the app said it
    epoch: int | None
    #: how old the position was when it arrived
    age_s: float
    #: None when the tenant has no such purpose
    purpose: str | None
    day: date
    #: what to write, or the code of a refusal that only a receipt comes before
    outcome: Minimized | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What became of a proposal that was answered: now, or when its id was first used."""

    receipt: Receipt
    #: the stored row; None when nothing was stored (or no longer is)
    record: CheckInRecord | None
    replayed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A proposal that left nothing behind but a count."""

    code: str


ID_REUSED = "id-reused"
TOO_OLD = "too-old"
DEVICE_REVOKED = "device-revoked"
UNAUTHORIZED = "unauthorized"


def commit_group(connection: Connection, proposals: Sequence[Proposal]) -> list[Settled | Refused]:
    """Settle proposals of any tenants, in their order, in the caller's write transaction."""
    locks.recording(connection, {(p.tenant_id, p.subject_id) for p in proposals})
    order = sorted(range(len(proposals)), key=lambda i: proposals[i].tenant_id)
    settled: dict[int, Settled | Refused] = {}
    writes = _Writes()
    for tenant_id, indexes in groupby(order, key=lambda i: proposals[i].tenant_id):
        places = list(indexes)
        results = _settle(connection, tenant_id, [proposals[i] for i in places], writes)
        settled.update(zip(places, results, strict=True))
    writes.execute(connection)
    return [settled[i] for i in range(len(proposals))]


def _settle(
    connection: Connection, tenant_id: UUID, proposals: list[Proposal], writes: "_Writes"
) -> list[Settled | Refused]:
    known = _receipts(connection, tenant_id, [p.receipt_key for p in proposals])
    records = _records(connection, tenant_id, proposals, known)
    standing = devices.standings(connection, tenant_id, list({p.kid for p in proposals}))
    group = _Group(
        answered={
            key: Settled(receipt=receipt, record=records.get(key), replayed=True)
            for key, receipt in known.items()
        },
        standing=standing,
    )
    results = [group.settle(proposal) for proposal in proposals]
    writes.add(tenant_id, group)
    return results


@dataclass(slots=True)
class _Group:
    """One tenant's share of a group, while it is settled."""

    answered: dict[bytes, Settled]
    standing: dict[str, Standing]
    accepted: list[Minimized] = field(default_factory=list)
    counts: Counter[Tally] = field(default_factory=Counter)

    def settle(self, proposal: Proposal) -> Settled | Refused:
        """Receipt first, then permission, then what the check-in itself came to."""
        standing = self.standing.get(proposal.kid)
        if standing is None or standing.revoked:
            return Refused(code=UNAUTHORIZED if standing is None else DEVICE_REVOKED)
        before = self.answered.get(proposal.receipt_key)
        if before is not None:
            return _replay(before, proposal)
        refusal = permission.refusal(
            standing.permission, epoch=proposal.epoch, age_s=proposal.age_s
        )
        if refusal is not None:
            return self._refuse(proposal, refusal)
        if isinstance(proposal.outcome, str):
            return self._refuse(proposal, proposal.outcome)
        return self._accept(proposal.outcome)

    def _refuse(self, proposal: Proposal, code: str) -> Refused:
        if proposal.purpose is not None:
            self.counts[Tally(purpose=proposal.purpose, day=proposal.day, reason=code)] += 1
        return Refused(code=code)

    def _accept(self, minimized: Minimized) -> Settled:
        self.accepted.append(minimized)
        if minimized.tally is not None:
            self.counts[minimized.tally] += 1
        settled = Settled(receipt=minimized.receipt, record=minimized.record, replayed=False)
        self.answered[minimized.receipt.key] = Settled(
            receipt=minimized.receipt, record=minimized.record, replayed=True
        )
        return settled


def _replay(before: Settled, proposal: Proposal) -> Settled | Refused:
    """The same answer again, unless the id was used for something else or has expired."""
    if before.receipt.expires_on <= proposal.day:
        return Refused(code=TOO_OLD)
    if before.receipt.digest != proposal.digest:
        return Refused(code=ID_REUSED)
    if before.receipt.record_expires_on is not None and before.record is None:
        return Refused(code=TOO_OLD)
    return before


class _Writes:
    """The rows of a group, of all its tenants.

    They go in in the order of their random keys, so their order tells nothing; and since every
    process writes in that order, counts last, two groups never wait for each other.
    """

    def __init__(self) -> None:
        self._check_ins: list[dict[str, Any]] = []
        self._receipts: list[dict[str, Any]] = []
        self._tallies: list[dict[str, Any]] = []

    def add(self, tenant_id: UUID, group: _Group) -> None:
        """What one tenant's share of the group writes."""
        for minimized in group.accepted:
            self._receipts.append(_row(tenant_id, minimized.receipt))
            if minimized.record is not None:
                self._check_ins.append(_row(tenant_id, minimized.record))
        for tally, count in group.counts.items():
            self._tallies.append({**_row(tenant_id, tally), "count": count})

    def execute(self, connection: Connection) -> None:
        """Write them."""
        for statement, rows, key in (
            (insert(check_ins), self._check_ins, itemgetter("tenant_id", "id")),
            (insert(receipts), self._receipts, itemgetter("tenant_id", "key")),
            (
                _counting(connection.dialect.name),
                self._tallies,
                itemgetter("tenant_id", "day", "purpose", "reason"),
            ),
        ):
            if rows:
                connection.execute(statement, sorted(rows, key=key))


def _row(tenant_id: UUID, value: CheckInRecord | Receipt | Tally) -> dict[str, Any]:
    """Columns are named as the fields are: what has no field cannot be written."""
    return {"tenant_id": tenant_id, **{name: getattr(value, name) for name in value.__slots__}}


def _counting(dialect: str) -> Insert:
    """Add to a count, or begin it."""
    statement: Any = (postgresql if dialect == "postgresql" else sqlite).insert(tallies)
    added: Insert = statement.on_conflict_do_update(
        index_elements=[c.name for c in tallies.primary_key],
        set_={"count": tallies.c.count + statement.excluded.count},
    )
    return added


def _receipts(
    connection: Connection, tenant_id: UUID, keys: Sequence[bytes]
) -> dict[bytes, Receipt]:
    query = select(
        receipts.c.key,
        receipts.c.digest,
        receipts.c.expires_on,
        receipts.c.record_expires_on,
        receipts.c.sealed,
    ).where(receipts.c.tenant_id == tenant_id, receipts.c.key.in_(keys))
    return {row["key"]: Receipt(**row) for row in connection.execute(query).mappings()}


def _records(
    connection: Connection,
    tenant_id: UUID,
    proposals: Sequence[Proposal],
    known: dict[bytes, Receipt],
) -> dict[bytes, CheckInRecord]:
    """The stored rows behind known receipts, by receipt key."""
    places = {
        (receipt.record_expires_on, proposal.id): proposal.receipt_key
        for proposal in proposals
        if (receipt := known.get(proposal.receipt_key))
        and receipt.record_expires_on is not None
        and receipt.record_expires_on > proposal.day
    }
    found = _stored(connection, tenant_id, places) if places else []
    return {places[record.expires_on, record.id]: record for record in found}


def _stored(
    connection: Connection, tenant_id: UUID, places: Iterable[tuple[date, UUID]]
) -> list[CheckInRecord]:
    query = select(check_ins).where(
        check_ins.c.tenant_id == tenant_id,
        tuple_(check_ins.c.expires_on, check_ins.c.id).in_(list(places)),
    )
    return [_record(row) for row in connection.execute(query)]


def _record(row: Row[Any]) -> CheckInRecord:
    return CheckInRecord(
        id=row.id,
        expires_on=row.expires_on,
        subject_ref=row.subject_ref,
        purpose=row.purpose,
        policy_version=row.policy_version,
        legal_basis=row.legal_basis,
        level=Level(row.level),
        site_id=row.site_id,
        site_version=row.site_version,
        action=row.action,
        time=row.time,
        outcome=Outcome(row.outcome),
        reason=_REASONS[row.reason],
        evidence=Evidence(row.evidence),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which check-ins to list."""

    #: rows that expired by this day are never read, deleted or not
    today: date
    subject_ref: bytes | None = None
    site_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    connection: Connection,
    tenant_id: UUID,
    wanted: Filter,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[CheckInRecord]:
    """Stored check-ins, newest time slot first."""
    query = select(check_ins).where(
        check_ins.c.tenant_id == tenant_id, *_conditions(wanted, before)
    )
    newest_first = query.order_by(check_ins.c.time.desc(), check_ins.c.id.desc())
    return [_record(row) for row in connection.execute(newest_first.limit(limit))]


def accepted_next_to(
    connection: Connection, tenant_id: UUID, wanted: Filter, at: datetime
) -> list[CheckInRecord]:
    """Those of the wanted check-ins that were accepted next before and next after an instant."""
    query = select(check_ins).where(
        check_ins.c.tenant_id == tenant_id,
        check_ins.c.outcome == Outcome.ACCEPTED.value,
        *_conditions(wanted, None),
    )
    time = check_ins.c.time
    before = query.where(time <= at).order_by(time.desc()).limit(1)
    after = query.where(time > at).order_by(time).limit(1)
    return [_record(row) for one in (before, after) for row in connection.execute(one)]


def _conditions(wanted: Filter, before: tuple[datetime, UUID] | None) -> Iterator[Any]:
    yield check_ins.c.expires_on > wanted.today
    if wanted.subject_ref is not None:
        yield check_ins.c.subject_ref == wanted.subject_ref
    if wanted.site_id is not None:
        yield check_ins.c.site_id == wanted.site_id
    if wanted.since is not None:
        yield check_ins.c.time >= wanted.since
    if wanted.until is not None:
        yield check_ins.c.time < wanted.until
    if before is not None:
        time, check_in_id = before
        place = tuple_(literal(time, Instant()), literal(check_in_id, Id()))
        yield tuple_(check_ins.c.time, check_ins.c.id) < place
