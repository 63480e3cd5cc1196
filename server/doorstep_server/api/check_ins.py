"""Check-ins: one, many, and the lists of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from doorstep_server import logs
from doorstep_server.api import documented, reading
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.api.reading import PurposeHeader
from doorstep_server.auth import Admin, device_only, device_or_scope
from doorstep_server.check_ins import flow
from doorstep_server.check_ins.answer import Answer, answer
from doorstep_server.check_ins.claim import AwareTime, Claim
from doorstep_server.check_ins.flow import Arrival, Caller
from doorstep_server.check_ins.journal import Failed, Result
from doorstep_server.policies import Policy
from doorstep_server.privacy import subject_reference
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import CheckInRecord, cut_time
from doorstep_server.problems import Problem, Refusal, problem
from doorstep_server.request_ids import request_id
from doorstep_server.scopes import READ, Area
from doorstep_server.services import Services
from doorstep_server.store import check_ins, subjects
from doorstep_server.store.check_ins import Filter, Refused, Settled
from doorstep_server.wire import BATCH_BODY_BYTES, StrictJson, decode

REPLAYED_HEADER = "Doorstep-Replayed"
BATCH_LIMIT = 500
#: a stolen phone should not tell a life
OWN_DAYS = 7
RETRY_AFTER_S = 2

ListedTime = Annotated[
    str | None,
    QueryParameter(
        description="RFC 3339, with a zone. Compared with `time`.",
        schema_extra={"format": "date-time"},
    ),
]

CHECK_IN_REFUSALS = (
    *documented.BODY,
    *documented.DEVICE,
    "permission-withdrawn",
    "permission-unknown",
    "purpose-restricted",
    "consent-required",
    "not-assigned",
    "site-unknown",
    "purpose-unknown",
    "id-not-random",
    "id-reused",
    "too-old",
)


class Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 500 check-ins of one device, in the order in which they are to be settled."""

    check_ins: Annotated[list[msgspec.Raw], Meta(description="Each as for a single check-in.")]
    sent_at: AwareTime | None = None


class BatchAnswer(Answer, frozen=True, kw_only=True, tag_field="kind", tag="answer"):
    """The single answer to one item."""

    index: int
    status: int = 201
    replayed: bool


class BatchProblem(Problem, frozen=True, kw_only=True, tag_field="kind", tag="problem"):
    """The single problem of one item; `id` is null when it could not be read."""

    index: int
    id: UUID | None


class BatchResults(msgspec.Struct, frozen=True, kw_only=True):
    """Results in the order of the request, each with the status that it would have had alone."""

    results: list[BatchAnswer | BatchProblem]


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
        return None if text is None else msgspec.convert(text, AwareTime)
    except msgspec.ValidationError:
        raise Refusal("invalid-parameter", at=name) from None


@post(
    "/v1/check-ins",
    guards=[device_only],
    dto=StrictJson[Claim],
    return_dto=None,
    responses=documented.refusals(*CHECK_IN_REFUSALS),
    response_headers=[
        ResponseHeader(
            name=REPLAYED_HEADER,
            description="`true` when this id was answered before: the same answer again.",
            documentation_only=True,
        )
    ],
)
async def create(
    request: Request[Any, Caller, Any], services: NamedDependency[Services], data: JSONBody[Claim]
) -> Response[Answer]:
    """Check in.

    A claim of presence for a purpose, at a site or wherever the position is. The position is judged
    in memory and forgotten; the answer lists exactly what was stored. Sending the same check-in
    again, with the same id, gives the same answer again.
    """
    policy = await services.policies.of(request.auth.tenant_id)
    [result] = await _check_in(services, policy, request.auth, [data])
    settled = _settled(result)
    return Response(
        answer(policy.keys, data.id, request.auth.subject_id, settled),
        headers={REPLAYED_HEADER: "true"} if settled.replayed else None,
    )


@post(
    "/v1/check-ins/batch",
    status_code=200,
    guards=[device_only],
    dto=StrictJson[Batch],
    return_dto=None,
    request_max_body_size=BATCH_BODY_BYTES,
    responses=documented.refusals(*documented.BODY, *documented.DEVICE, "batch-too-large"),
)
async def create_batch(
    request: Request[Any, Caller, Any], services: NamedDependency[Services], data: JSONBody[Batch]
) -> BatchResults:
    """Check in many times: what a phone that was offline sends.

    Each item is decoded and judged alone, and has its own status. An id that comes twice is a
    replay of the first.
    """
    if len(data.check_ins) > BATCH_LIMIT:
        raise Refusal("batch-too-large")
    policy = await services.policies.of(request.auth.tenant_id)
    claims = [_readable(item, data.sent_at) for item in data.check_ins]
    readable = [claim for claim in claims if isinstance(claim, Claim)]
    settled = iter(await _check_in(services, policy, request.auth, readable))
    outcomes = [next(settled) if isinstance(c, Claim) else c for c in claims]
    answers = _BatchAnswers(policy.keys, request.auth.subject_id, request_id(request))
    return BatchResults(
        results=[
            answers.of(index, _readable_id(item), outcome)
            for index, (item, outcome) in enumerate(zip(data.check_ins, outcomes, strict=True))
        ]
    )


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
    if isinstance(request.auth, Caller):
        filters = _own(filters, request.auth, services.now())
    else:
        reading.require_reason(policy, doorstep_purpose)
    cursors = Cursors[_Place](policy.keys, _Place, of="check-ins", filters=filters)
    before = cursors.read(paging.cursor)
    records = await services.database.read(
        lambda connection: check_ins.page(
            connection,
            policy.tenant_id,
            _filter(policy, filters, services.now()),
            before=before,
            limit=paging.limit + 1,
        )
    )
    if isinstance(request.auth, Caller):
        return cursors.page(records, paging.limit, show=_own_item, place=_place)
    names = await _external_ids(services, policy, records[: paging.limit])
    show = partial(_listed_item, policy.keys, names)
    return cursors.page(records, paging.limit, show=show, place=_place)


_Place = tuple[datetime, UUID]


def _own(query: CheckInQuery, caller: Caller, now: datetime) -> CheckInQuery:
    """What a device may list: its own subject's, of the last days."""
    if query.subject_id not in {None, caller.subject_id}:
        raise Refusal("invalid-parameter", at="subject_id")
    oldest = cut_time(now - timedelta(days=OWN_DAYS), 86_400)
    since = max(query.since, oldest) if query.since else oldest
    return msgspec.structs.replace(query, subject_id=caller.subject_id, since=since)


def _filter(policy: Policy, query: CheckInQuery, now: datetime) -> Filter:
    subject = query.subject_id
    return Filter(
        today=now.date(),
        subject_ref=subject_reference.make(policy.keys, subject) if subject else None,
        site_id=query.site_id,
        since=query.since,
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
    known = await services.database.read(
        lambda connection: subjects.find_many(connection, policy.tenant_id, list(ids))
    )
    return {subject_id: subject.external_id for subject_id, subject in known.items()}


async def _check_in(
    services: Services, policy: Policy, caller: Caller, claims: list[Claim]
) -> list[Result]:
    received_at = services.now()
    arrivals = [Arrival(caller=caller, claim=c, received_at=received_at) for c in claims]
    return await flow.check_in(services.journal, policy, arrivals)


def _settled(result: Result) -> Settled:
    if isinstance(result, Settled):
        return result
    raise _refusal(result)


def _refusal(result: Refused | Failed) -> Refusal:
    if isinstance(result, Refused):
        return Refusal(result.code)
    if result.cause is None:
        return Refusal("unavailable", retry_after_s=RETRY_AFTER_S)
    logs.failure(result.cause)
    return Refusal("internal")


def _readable(item: msgspec.Raw, sent_at: datetime | None) -> Claim | Refusal:
    try:
        claim = decode(Claim, bytes(item))
    except Refusal as refusal:
        return refusal
    return claim if claim.sent_at else msgspec.structs.replace(claim, sent_at=sent_at)


class _Identified(msgspec.Struct, frozen=True):
    id: UUID


def _readable_id(item: msgspec.Raw) -> UUID | None:
    """The id of an item, whatever else is wrong with it, so that the app can tell which it was."""
    try:
        return msgspec.json.decode(item, type=_Identified).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class _BatchAnswers:
    """The items of one batch's answer."""

    keys: TenantKeys
    subject_id: UUID
    request_id: str

    def of(
        self, index: int, check_in_id: UUID | None, outcome: Result | Refusal
    ) -> BatchAnswer | BatchProblem:
        """What the single route would have answered."""
        if isinstance(outcome, Settled):
            assert check_in_id is not None
            single = answer(self.keys, check_in_id, self.subject_id, outcome)
            return BatchAnswer(
                index=index, replayed=outcome.replayed, **msgspec.structs.asdict(single)
            )
        refusal = outcome if isinstance(outcome, Refusal) else _refusal(outcome)
        return BatchProblem(
            index=index,
            id=check_in_id,
            **msgspec.structs.asdict(problem(refusal, self.request_id)),
        )
