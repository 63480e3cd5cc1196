"""Lists of stored check-ins: a person's own on their device, a tenant's with a reason."""

from collections.abc import Sequence
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
from doorstep_server.check_ins.claim import AwareTime
from doorstep_server.check_ins.flow import Caller
from doorstep_server.policies import Policy
from doorstep_server.privacy import subject_reference
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import CheckInRecord
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, Area
from doorstep_server.services import Services
from doorstep_server.store import check_ins, subjects
from doorstep_server.store.check_ins import Filter

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
    site_id: UUID
    site_version: int
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
    cursors = Cursors[_Place](policy.keys, _Place, of="check-ins", filters=filters)
    before = cursors.read(paging.cursor)
    records = await services.read(
        policy.tenant_id,
        lambda connection: check_ins.page(
            connection,
            policy.tenant_id,
            _filter(policy, filters, now, oldest),
            before=before,
            limit=paging.limit + 1,
        ),
    )
    if isinstance(request.auth, Caller):
        return cursors.page(records, paging.limit, show=_own_item, place=_place)
    names = await _external_ids(services, policy, records[: paging.limit])
    show = partial(_listed_item, policy.keys, names)
    return cursors.page(records, paging.limit, show=show, place=_place)


_Place = tuple[datetime, UUID]


def _own(query: CheckInQuery, caller: Caller) -> CheckInQuery:
    """What a device may list: its own subject's."""
    if query.subject_id not in {None, caller.subject_id}:
        raise Refusal("invalid-parameter", at="subject_id")
    return msgspec.structs.replace(query, subject_id=caller.subject_id)


def _filter(policy: Policy, query: CheckInQuery, now: datetime, oldest: datetime | None) -> Filter:
    subject = query.subject_id
    return Filter(
        today=now.date(),
        subject_ref=subject_reference.make(policy.keys, subject) if subject else None,
        site_id=query.site_id,
        since=max((t for t in (query.since, oldest) if t is not None), default=None),
        until=query.until,
    )


def _own_item(record: CheckInRecord) -> OwnCheckIn:
    return OwnCheckIn(**_shown(record))


def _shown(record: CheckInRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in OwnCheckIn.__struct_fields__}


def _place(record: CheckInRecord) -> _Place:
    return record.time, record.id


def _listed_item(
    keys: TenantKeys, external_ids: dict[UUID, str], record: CheckInRecord
) -> ListedCheckIn:
    subject_id = subject_reference.read(keys, record.subject_ref)
    subject = ListedSubject(id=subject_id, external_id=external_ids.get(subject_id))
    return ListedCheckIn(**_shown(record), subject=subject)


async def _external_ids(
    services: Services, policy: Policy, records: Sequence[CheckInRecord]
) -> dict[UUID, str]:
    ids = {subject_reference.read(policy.keys, record.subject_ref) for record in records}
    known = await services.read(
        policy.tenant_id,
        lambda connection: subjects.find_many(connection, policy.tenant_id, list(ids)),
    )
    return {subject_id: subject.external_id for subject_id, subject in known.items()}
