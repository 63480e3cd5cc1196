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
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import astuple
from sqlalchemy import (
    Connection,
    Date,
    Insert,
    Table,
    delete,
    insert,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from doorstep_geofences import Outcome, Reason
from doorstep_server.privacy import permission
from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import (
    CheckInRecord,
    Evidence,
    ExactPosition,
    Minimized,
    Receipt,
    Tally,
    Unprinted,
)
from doorstep_server.privacy.permission import Permission
from doorstep_server.privacy.personal import Opened, Sealed, SubjectDetails
from doorstep_server.privacy.seals import BrokenSeal
from doorstep_server.store import devices, locks
from doorstep_server.store.columns import Id, Instant
from doorstep_server.store.devices import Standing
from doorstep_server.store.driver import Row
from doorstep_server.store.lookups import looked_up
from doorstep_server.store.prepared import (
    Prepared,
    PreparedRows,
    bytes_of,
    date_of,
    in_lists,
)
from doorstep_server.store.schema import check_ins, exact_positions, receipts, tallies
from doorstep_server.store.tokens import NextNumbers, PersonRows, next_tokens, rows_of, series_of

T = TypeVar("T")

_REASONS = {reason.value: reason for reason in Reason}


class Proposal(Unprinted, frozen=True, kw_only=True):
    """What one check-in would write, if the transaction permits it."""

    tenant_id: UUID
    subject_id: UUID
    subject_keys: SubjectKeys
    #: the token that it came with
    kid: str
    opened: Opened = msgspec.field(default_factory=Opened)
    id: UUID
    receipt_key: bytes
    digest: bytes
    #: the permission epoch of the capture, if the app said it
    epoch: int | None
    #: how old the position was when it arrived
    age_s: float
    #: None when the tenant has no such purpose
    purpose: str | None
    received_at: datetime
    #: what to write, or the code of a refusal that only a receipt comes before
    outcome: Minimized | str

    @property
    def day(self) -> date:
        """The day on which it came."""
        return self.received_at.date()


class Settled(Unprinted, frozen=True, kw_only=True):
    """What became of a proposal that was answered: now, or when its id was first used."""

    receipt: Receipt
    #: the stored row; None when nothing was stored (or no longer is)
    record: CheckInRecord | None
    replayed: bool


class Refused(Unprinted, frozen=True, kw_only=True):
    """A proposal that left nothing behind but a count."""

    code: str


ID_REUSED = "id-reused"
TOO_OLD = "too-old"
DEVICE_REVOKED = "device-revoked"
UNAUTHORIZED = "unauthorized"
RESTRICTED = "purpose-restricted"


def commit_group(
    connection: Connection, proposals: Sequence[Proposal], numbers: NextNumbers
) -> list[Settled | Refused]:
    """Settle proposals of any tenants, in their order, in the caller's write transaction."""
    # of one that was rolled back nothing holds, whether or not this one gives out any
    numbers.forget_staged()
    locks.recording(connection, ((p.tenant_id, p.subject_id) for p in proposals))
    settled: dict[int, Settled | Refused] = {}
    writes = _Writes()
    for tenant_id, places in _by_tenant(proposals).items():
        results = _settle(connection, tenant_id, [proposals[i] for i in places], writes, numbers)
        settled.update(zip(places, results, strict=True))
    writes.execute(connection)
    return [settled[i] for i in range(len(proposals))]


def _by_tenant(proposals: Sequence[Proposal]) -> dict[UUID, list[int]]:
    """The places of each tenant's proposals: those of a request follow each other."""
    found: dict[UUID, list[int]] = {}
    tenant_id, places = None, []
    for place, proposal in enumerate(proposals):
        if proposal.tenant_id is not tenant_id:
            tenant_id = proposal.tenant_id
            places = found.setdefault(tenant_id, [])
        places.append(place)
    return found


def _settle(
    connection: Connection,
    tenant_id: UUID,
    proposals: list[Proposal],
    writes: "_Writes",
    numbers: NextNumbers,
) -> list[Settled | Refused]:
    known = _receipts(connection, tenant_id, [p.receipt_key for p in proposals])
    records = _records(connection, tenant_id, proposals, known)
    standing = devices.standings(connection, tenant_id, list({p.kid for p in proposals}))
    group = _Group(
        answered={key: (receipt, records.get(key)) for key, receipt in known.items()},
        standing=standing,
    )
    results = [group.settle(proposal) for proposal in proposals]
    wanted = [accepted.tokens for accepted in group.accepted if accepted.tokens is not None]
    tokens = next_tokens(connection, tenant_id, wanted, numbers) if wanted else []
    writes.add(tenant_id, group, tokens)
    return results


@dataclass(slots=True)
class _Group:
    """One tenant's share of a group, while it is settled."""

    #: with their rows, as far as there are any
    answered: dict[bytes, tuple[Receipt, CheckInRecord | None]]
    standing: dict[str, Standing]
    #: what the standings say, by token
    opened: dict[str, tuple[Permission, SubjectDetails]] = field(default_factory=dict)
    accepted: list[Minimized] = field(default_factory=list)
    counts: Counter[Tally] = field(default_factory=Counter)

    def settle(self, proposal: Proposal) -> Settled | Refused:
        """Receipt first, then permission, then what the check-in itself came to."""
        standing = self.standing.get(proposal.kid)
        if standing is None or standing.revoked:
            return Refused(code=UNAUTHORIZED if standing is None else DEVICE_REVOKED)
        before = self.answered.get(proposal.receipt_key)
        if before is not None:
            return _replay(*before, proposal)
        held = self._permitted(proposal, standing)
        if held is None:
            return Refused(code=UNAUTHORIZED)
        refusal = _refusal(proposal, *held)
        if refusal is not None:
            return self._refuse(proposal, refusal)
        assert isinstance(proposal.outcome, Minimized)
        precise = held[0].state in permission.PRECISE
        return self._accept(proposal.outcome if precise else proposal.outcome.without_exact())

    def _permitted(
        self, proposal: Proposal, standing: Standing
    ) -> tuple[Permission, SubjectDetails] | None:
        """What the device's owner permits; None where the key does not open it."""
        known = self.opened.get(proposal.kid)
        if known is None:
            try:
                device, subject = proposal.opened.details(
                    proposal.subject_keys,
                    Sealed(bytes_of(standing.device_id), standing.device_sealed),
                    Sealed(bytes_of(standing.subject_id), standing.subject_sealed),
                )
            except BrokenSeal:
                return None
            known = self.opened[proposal.kid] = device.permission.at(proposal.received_at), subject
        return known

    def _refuse(self, proposal: Proposal, code: str) -> Refused:
        if proposal.purpose is not None:
            self.counts[Tally(purpose=proposal.purpose, day=proposal.day, reason=code)] += 1
        return Refused(code=code)

    def _accept(self, minimized: Minimized) -> Settled:
        self.accepted.append(minimized)
        if minimized.tally is not None:
            self.counts[minimized.tally] += 1
        receipt, record = minimized.receipt, minimized.record
        self.answered[receipt.key] = receipt, record
        return Settled(receipt=receipt, record=record, replayed=False)


def _refusal(proposal: Proposal, permitted: Permission, details: SubjectDetails) -> str | None:
    """Permission first, then the person's restrictions, then what was found before."""
    refusal = permission.refusal(permitted, epoch=proposal.epoch, age_s=proposal.age_s)
    if refusal is not None:
        return refusal
    if proposal.purpose is not None and details.restricts(proposal.purpose):
        return RESTRICTED
    return proposal.outcome if isinstance(proposal.outcome, str) else None


def _replay(
    receipt: Receipt, record: CheckInRecord | None, proposal: Proposal
) -> Settled | Refused:
    """The same answer again, unless the id was used for something else or has expired."""
    if receipt.expires_on <= proposal.day:
        return Refused(code=TOO_OLD)
    if receipt.digest != proposal.digest:
        return Refused(code=ID_REUSED)
    if receipt.record_expires_on is not None and record is None:
        return Refused(code=TOO_OLD)
    return Settled(receipt=receipt, record=record, replayed=True)


class _Writes:
    """The rows of a group, of all its tenants.

    They go in in the order of their random keys, so their order tells nothing; and since every
    process writes in that order, counts last, two groups never wait for each other.
    """

    def __init__(self) -> None:
        self._check_ins: list[StoredRow] = []
        self._receipts: list[tuple[UUID, Receipt]] = []
        self._exact: list[tuple[UUID, ExactPosition]] = []
        self._tallies: list[tuple[UUID, date, str, str, int]] = []

    def add(self, tenant_id: UUID, group: _Group, tokens: Sequence[bytes]) -> None:
        """What one tenant's share of the group writes, with the tokens of its rows."""
        next_token = iter(tokens)
        for minimized in group.accepted:
            self._receipts.append((tenant_id, minimized.receipt))
            if minimized.record is not None:
                self._check_ins.append((tenant_id, minimized.record, next(next_token)))
            if minimized.exact is not None:
                self._exact.append((tenant_id, minimized.exact))
        for tally, count in group.counts.items():
            self._tallies.append((tenant_id, tally.day, tally.purpose, tally.reason, count))

    def execute(self, connection: Connection) -> None:
        """Write them."""
        write_records(connection, self._check_ins)
        write_receipts(connection, self._receipts)
        exact = [(tenant_id, *astuple(position)) for tenant_id, position in self._exact]
        _INSERT_EXACT.write(connection, sorted(exact, key=_by_id))
        _COUNT.write(connection, sorted(self._tallies))


#: of a tenant: all that is stored of a row, with its token
StoredRow = tuple[UUID, CheckInRecord, bytes]


def write_records(connection: Connection, stored: Iterable[StoredRow]) -> None:
    """Insert check-ins."""
    rows = [(tenant_id, *astuple(record), token) for tenant_id, record, token in stored]
    _INSERT_CHECK_INS.write(connection, sorted(rows, key=_by_id))


def write_receipts(connection: Connection, stored: Iterable[tuple[UUID, Receipt]]) -> None:
    """Insert receipts."""
    rows = [(tenant_id, *astuple(receipt)) for tenant_id, receipt in stored]
    _INSERT_RECEIPTS.write(connection, sorted(rows, key=_by_key))


def _by_id(row: Row) -> tuple[int, int]:
    # numbers are compared faster than ids are
    return row[0].int, row[1].int


def _by_key(row: Row) -> tuple[int, bytes]:
    return row[0].int, row[1]


def _counting(dialect: str) -> Insert:
    """Add to a count, or begin it."""
    statement: Any = (postgresql if dialect == "postgresql" else sqlite).insert(tallies)
    added: Insert = statement.on_conflict_do_update(
        index_elements=[c.name for c in tallies.primary_key],
        set_={"count": tallies.c.count + statement.excluded.count},
    )
    return added


def _inserting(table: Table, kept: type[Struct], *more: str) -> PreparedRows:
    """Columns are named as the fields are: what has no field cannot be written."""
    columns = ("tenant_id", *kept.__struct_fields__, *more)
    return PreparedRows(lambda _: insert(table), columns)


_INSERT_CHECK_INS = _inserting(check_ins, CheckInRecord, "token")
_INSERT_RECEIPTS = _inserting(receipts, Receipt)
_INSERT_EXACT = _inserting(exact_positions, ExactPosition)
_COUNT = PreparedRows(_counting, [column.name for column in tallies.c])


_RECEIPTS = Prepared(
    lambda dialect: looked_up(
        (
            receipts.c.key,
            receipts.c.digest,
            receipts.c.expires_on,
            receipts.c.record_expires_on,
            receipts.c.sealed,
        ),
        receipts.c.key,
        "keys",
        dialect,
    )
)


def _receipts(
    connection: Connection, tenant_id: UUID, keys: Sequence[bytes]
) -> dict[bytes, Receipt]:
    found = {}
    for some in in_lists(keys):
        values = {"tenant_id": tenant_id, "keys": some}
        for key, digest, expires_on, record_expires_on, sealed in _RECEIPTS.rows(
            connection, values, "keys"
        ):
            day = date_of(expires_on)
            assert day is not None, "every receipt expires"
            found[key] = Receipt(
                key=key,
                digest=digest,
                expires_on=day,
                record_expires_on=date_of(record_expires_on),
                sealed=sealed,
            )
    return found


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


def _record(row: Any) -> CheckInRecord:
    return CheckInRecord(
        id=row.id,
        expires_on=row.expires_on,
        sealed=row.sealed,
        purpose=row.purpose,
        policy_version=row.policy_version,
        legal_basis=row.legal_basis,
        level=Level(row.level),
        site_id=row.site_id,
        site_version=row.site_version,
        cell=row.cell,
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
    site_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


Place = tuple[datetime, UUID]


def page(
    connection: Connection, tenant_id: UUID, wanted: Filter, *, before: Place | None, limit: int
) -> list[CheckInRecord]:
    """Stored check-ins of everybody, newest time slot first."""
    # first where they are, which the index by time says alone; then those rows, and no others
    query = select(check_ins.c.expires_on, check_ins.c.id).where(
        check_ins.c.tenant_id == tenant_id,
        expires_after(connection, wanted.today),
        *_conditions(wanted, before),
    )
    newest_first = query.order_by(check_ins.c.time.desc(), check_ins.c.id.desc()).limit(limit)
    places = [(row.expires_on, row.id) for row in connection.execute(newest_first)]
    found = {record.id: record for record in _stored(connection, tenant_id, places)}
    return [found[row_id] for _, row_id in places]


def page_of(
    connection: Connection,
    tenant_id: UUID,
    wanted: Filter,
    person: PersonRows,
    *,
    before: Place | None,
    limit: int,
) -> list[CheckInRecord]:
    """Stored check-ins of one person, newest time slot first."""
    found = [r for r in of_person(connection, tenant_id, person) if _is_wanted(r, wanted)]
    found.sort(key=lambda record: (record.time, record.id), reverse=True)
    rest = found if before is None else [r for r in found if (r.time, r.id) < before]
    return rest[:limit]


def of_person(connection: Connection, tenant_id: UUID, person: PersonRows) -> list[CheckInRecord]:
    """All of a person's rows there.

    Those that come last in their series first: whoever removes them in this order, some at a time,
    may be interrupted, and what is left is found again.
    """
    [found] = of_persons(connection, tenant_id, [person])
    return found


def of_persons(
    connection: Connection, tenant_id: UUID, persons: Sequence[PersonRows]
) -> list[list[CheckInRecord]]:
    """As `of_person`, of several at once, who may be the same."""
    found: list[list[CheckInRecord]] = [[] for _ in persons]
    wanted = series_of(persons)
    whose = list(wanted.values())
    for place, row in rows_of(connection, tenant_id, list(wanted)):
        for i in whose[place]:
            found[i].append(_record(row))
    return [records[::-1] for records in found]


def in_order(
    connection: Connection, tenant_id: UUID, after: tuple[date, UUID] | None, limit: int
) -> list[CheckInRecord]:
    """Everybody's rows, expired or not, in the order of expiry and id."""
    query = select(check_ins).where(check_ins.c.tenant_id == tenant_id)
    place = (check_ins.c.expires_on, check_ins.c.id)
    if after is not None:
        day, row_id = after
        query = query.where(tuple_(*place) > tuple_(literal(day, Date()), literal(row_id, Id())))
    return [_record(row) for row in connection.execute(query.order_by(*place).limit(limit))]


def remove(
    connection: Connection,
    tenant_id: UUID,
    records: Sequence[CheckInRecord],
    receipt_keys: Sequence[bytes],
) -> None:
    """Remove rows with their exact positions, and receipts."""
    for some in _batches(records):
        places = [(record.expires_on, record.id) for record in some]
        connection.execute(
            delete(check_ins).where(
                check_ins.c.tenant_id == tenant_id,
                tuple_(check_ins.c.expires_on, check_ins.c.id).in_(places),
            )
        )
        connection.execute(
            delete(exact_positions).where(
                exact_positions.c.tenant_id == tenant_id,
                exact_positions.c.id.in_([record.id for record in some]),
            )
        )
    for keys in _batches(receipt_keys):
        connection.execute(
            delete(receipts).where(receipts.c.tenant_id == tenant_id, receipts.c.key.in_(keys))
        )


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as SQLite takes in one statement."""
    return (values[i : i + 5_000] for i in range(0, len(values), 5_000))


def find_exact(
    connection: Connection, tenant_id: UUID, check_in_id: UUID, today: date
) -> ExactPosition | None:
    """The sealed exact position of a check-in, as long as it may be read."""
    query = select(
        exact_positions.c.id, exact_positions.c.expires_on, exact_positions.c.sealed
    ).where(
        exact_positions.c.tenant_id == tenant_id,
        exact_positions.c.expires_on > today,
        exact_positions.c.id == check_in_id,
    )
    row = connection.execute(query).mappings().first()
    return ExactPosition(**row) if row else None


def find(
    connection: Connection, tenant_id: UUID, check_in_id: UUID, today: date
) -> CheckInRecord | None:
    """A stored check-in by its id."""
    query = select(check_ins).where(
        check_ins.c.tenant_id == tenant_id,
        check_ins.c.expires_on > today,
        check_ins.c.id == check_in_id,
    )
    row = connection.execute(query).first()
    return _record(row) if row else None


def _is_wanted(record: CheckInRecord, wanted: Filter) -> bool:
    return (
        record.expires_on > wanted.today
        and (wanted.site_id is None or record.site_id == wanted.site_id)
        and (wanted.since is None or record.time >= wanted.since)
        and (wanted.until is None or record.time < wanted.until)
    )


def expires_after(connection: Connection, today: date) -> Any:
    """That a row has not expired: asked of the rows that another condition finds.

    Nearly all rows meet it, and still SQLite would go through them by it.
    """
    column: Any = check_ins.c.expires_on
    if connection.dialect.name == "sqlite":
        column = UnaryExpression(column, operator=custom_op("+"), type_=column.type)
    return column > today


def _conditions(wanted: Filter, before: Place | None) -> Iterator[Any]:
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
