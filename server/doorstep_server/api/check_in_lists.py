"""Lists of stored check-ins: a person's own on their device, a tenant's with a reason."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import Meta

from doorstep_server.api import documented, reading
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.api.reading import PurposeHeader
from doorstep_server.auth import Admin, device_or_scope
from doorstep_server.callers import Caller
from doorstep_server.check_ins.claim import AwareTime
from doorstep_server.policies import Policy
from doorstep_server.privacy.cells import cell_name
from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import EXACT_DAYS, CheckInRecord
from doorstep_server.privacy.unlinkable import unseal_subject
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, Area
from doorstep_server.services import Services
from doorstep_server.store import Connection, check_ins
from doorstep_server.store.check_ins import Filter, Place
from doorstep_server.store.reach import Reach

#: a stolen phone should not tell a life
OWN_TIME = timedelta(days=7)

ListedTime = Annotated[
    str | None,
    QueryParameter(
        description="RFC 3339, with a zone. Compared with `time`.",
        schema_extra={"format": "date-time"},
    ),
]


class ListedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """Who checked in."""

    id: UUID
    external_id: str | None


class OwnCheckIn(msgspec.Struct, frozen=True, kw_only=True):
    """A stored check-in, as its subject sees it."""

    id: UUID
    site_id: UUID | None
    site_version: int | None
    cell: Annotated[
        str | None, Meta(description="H3, resolution 7: where the purpose has no sites.")
    ]
    purpose: str
    action: str | None
    time: Annotated[
        datetime, Meta(description="When it was captured, cut to the purpose's precision.")
    ]
    outcome: str
    reason: str
    evidence: str
    level: Level
    expires_on: date


class ListedCheckIn(OwnCheckIn, frozen=True, kw_only=True):
    """A stored check-in, as its tenant sees it."""

    subject: ListedSubject


class CheckInQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The filters of a list; a cursor is good for these only."""

    site_id: UUID | None
    subject_id: UUID | None
    since: datetime | None
    until: datetime | None


def check_in_query(
    site_id: FromQuery[UUID | None] = None,
    subject_id: FromQuery[UUID | None] = None,
    since: ListedTime = None,
    until: ListedTime = None,
) -> CheckInQuery:
    """Dependency of the list of check-ins. Raises `Refusal`."""
    return CheckInQuery(
        site_id=site_id,
        subject_id=subject_id,
        since=_time(since, "since"),
        until=_time(until, "until"),
    )


def _time(text: str | None, name: str) -> datetime | None:
    """Litestar would take a number for a time, and a time without a zone."""
    try:
        return None if text is None else msgspec.convert(text, AwareTime).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise Refusal("invalid-parameter", at=name) from None


@get(
    "/v1/check-ins",
    guards=[device_or_scope(Area.CHECK_INS, READ)],
    responses=documented.refusals(
        *documented.LIST, *documented.DEVICE, "scope-missing", "purpose-required"
    ),
)
async def list_all(
    request: Request[Any, Caller | Admin, Any],
    services: NamedDependency[Services],
    filters: NamedDependency[CheckInQuery],
    paging: NamedDependency[Paging],
    doorstep_purpose: PurposeHeader = None,
) -> Page[ListedCheckIn] | Page[OwnCheckIn]:
    """List stored check-ins, newest first.

    A device sees its subject's own of the last 7 days. An API key sees the tenant's, says why in
    the header `Doorstep-Purpose`, and may filter.
    """
    policy = await services.policies.of(request.auth.tenant_id)
    now, oldest = services.now(), None
    if isinstance(request.auth, Caller):
        filters, oldest = _own(filters, request.auth), now - OWN_TIME
    else:
        reading.require_reason(policy, doorstep_purpose)
    cursors = Cursors[Place](policy.keys, Place, of="check-ins", filters=filters)
    before = cursors.read(paging.cursor)
    person = await _person(services, policy, request.auth, filters.subject_id)
    wanted = _filter(filters, now, oldest)
    if person is None and filters.subject_id is not None:
        # nobody, or somebody who is being erased
        return Page(items=[], next_cursor=None)

    def page(connection: Connection) -> list[CheckInRecord]:
        limit = paging.limit + 1
        if person is None:
            return check_ins.page(connection, policy.tenant_id, wanted, before=before, limit=limit)
        rows = policy.rows_of(person, now.date())
        return check_ins.page_of(
            connection, policy.tenant_id, wanted, rows, before=before, limit=limit
        )

    records = await services.database.read_much(Reach.of(policy.tenant_id), page)
    if isinstance(request.auth, Caller):
        return cursors.page(records, paging.limit, show=partial(_own_item, now), place=_place)
    names = await _named(services, policy, records[: paging.limit])
    show = partial(_listed_item, names, now)
    return cursors.page(records, paging.limit, show=show, place=_place)


async def _person(
    services: Services, policy: Policy, caller: Caller | Admin, subject_id: UUID | None
) -> SubjectKeys | None:
    """The key that finds a person's rows."""
    if subject_id is None:
        return None
    if isinstance(caller, Caller):
        return caller.subject_keys
    known = await asyncio.to_thread(services.keyring.subject, policy.tenant_id, subject_id)
    return known.keys if known else None


def _own(query: CheckInQuery, caller: Caller) -> CheckInQuery:
    """What a device may list: its own subject's."""
    if query.subject_id not in {None, caller.subject_id}:
        raise Refusal("invalid-parameter", at="subject_id")
    return msgspec.structs.replace(query, subject_id=caller.subject_id)


def _filter(query: CheckInQuery, now: datetime, oldest: datetime | None) -> Filter:
    return Filter(
        today=now.date(),
        site_id=query.site_id,
        since=max((t for t in (query.since, oldest) if t is not None), default=None),
        until=query.until,
    )


def _own_item(now: datetime, record: CheckInRecord) -> OwnCheckIn:
    return OwnCheckIn(**_shown(record, now))


_AS_STORED = set(OwnCheckIn.__struct_fields__) - {"cell", "level"}


def _shown(record: CheckInRecord, now: datetime) -> dict[str, Any]:
    shown = {name: getattr(record, name) for name in _AS_STORED}
    return {
        **shown,
        "cell": None if record.cell is None else cell_name(record.cell),
        "level": _level(record, now),
    }


def _level(record: CheckInRecord, now: datetime) -> Level:
    """An exact position is gone at the latest when so much time has passed."""
    if record.level is Level.EXACT and now - record.time > timedelta(days=EXACT_DAYS):
        return Level.SITE
    return record.level


def _place(record: CheckInRecord) -> Place:
    return record.time, record.id


def _listed_item(
    names: Mapping[UUID, ListedSubject], now: datetime, record: CheckInRecord
) -> ListedCheckIn:
    return ListedCheckIn(**_shown(record, now), subject=names[record.id])


async def _named(
    services: Services, policy: Policy, records: Sequence[CheckInRecord]
) -> dict[UUID, ListedSubject]:
    """Who each check-in is about."""
    ids = {
        record.id: unseal_subject(policy.keys, record.id, record.expires_on, record.sealed)
        for record in records
    }
    known = await asyncio.to_thread(services.keyring.subjects, policy.tenant_id, set(ids.values()))
    return {
        row_id: ListedSubject(
            id=subject_id,
            external_id=known[subject_id].external_id if subject_id in known else None,
        )
        for row_id, subject_id in ids.items()
    }
