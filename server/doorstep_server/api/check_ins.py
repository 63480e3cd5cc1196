"""Check-ins: one, many, and the lists of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from doorstep_server import logs
from doorstep_server.api import documented
from doorstep_server.auth import device_only
from doorstep_server.callers import Caller
from doorstep_server.check_ins import flow
from doorstep_server.check_ins.answer import Answer, answer
from doorstep_server.check_ins.claim import AwareTime, Claim
from doorstep_server.check_ins.flow import Arrival
from doorstep_server.check_ins.journal import Failed, Result
from doorstep_server.check_ins.probes import RATE_LIMITED, Claimant
from doorstep_server.meters import Meters
from doorstep_server.policies import Policy
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.problems import Problem, Refusal, problem
from doorstep_server.request_ids import request_id
from doorstep_server.services import Services
from doorstep_server.store.check_ins import Refused, Settled
from doorstep_server.wire import BATCH_BODY_BYTES, StrictJson, decode

REPLAYED_HEADER = "Doorstep-Replayed"
#: as it is sent
REPLAYED = (REPLAYED_HEADER.lower().encode(), b"true")
BATCH_LIMIT = 500

CHECK_IN_REFUSALS = (
    *documented.BODY,
    *documented.DEVICE,
    "permission-withdrawn",
    "permission-unknown",
    "purpose-restricted",
    "consent-required",
    "not-assigned",
    "site-not-taken",
    "site-unknown",
    "purpose-unknown",
    "id-not-random",
    "id-reused",
    "too-old",
    "position-not-taken",
    "verdict-not-taken",
    "site-required",
    "bundle-outdated",
    RATE_LIMITED,
)


class Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 500 check-ins of one device, in the order in which they are to be settled."""

    RAW_MEMBERS: ClassVar = ("check_ins",)

    check_ins: Annotated[
        list[msgspec.Raw],
        Meta(
            description="Each as for a single check-in.",
            # described only: more are refused by a problem of their own
            extra_json_schema={"extra": {"max_items": BATCH_LIMIT}},
        ),
    ]
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
    said, replayed = await settle_one(services, request.auth, data)
    return Response(said, headers={REPLAYED_HEADER: "true"} if replayed else None)


@post(
    "/v1/check-ins/batch",
    status_code=200,
    guards=[device_only],
    dto=StrictJson[Batch],
    return_dto=None,
    request_max_body_size=BATCH_BODY_BYTES,
    responses=documented.refusals(
        *documented.BODY, *documented.DEVICE, "batch-too-large", RATE_LIMITED
    ),
)
async def create_batch(
    request: Request[Any, Caller, Any], services: NamedDependency[Services], data: JSONBody[Batch]
) -> BatchResults:
    """Check in many times: what a phone that was offline sends.

    Each item is decoded and judged alone, and has its own status. An id that comes twice is a
    replay of the first.
    """
    return await settle_batch(services, request.auth, data, request_id(request))


async def settle_one(services: Services, caller: Caller, claim: Claim) -> tuple[Answer, bool]:
    """The answer to one claim, and whether it was given before. Raises `Refusal`."""
    if not services.device_limit.take(caller, 1):
        services.meters.not_taken.add("device-limit")
        raise services.device_limit.refusal(caller)
    # under overload most are refused for that: before keyed hashes and whatever else is made of it
    services.way.journal.require_room(caller.tenant_id, 1)
    policy = await services.policies.of(caller.tenant_id, at_least=_bundle_version([claim]))
    [result] = await _check_in(services, policy, caller, [claim])
    settled = _settled(result)
    return answer(policy.keys, claim.id, caller.subject_id, settled), settled.replayed


async def settle_batch(
    services: Services, caller: Caller, batch: Batch, request_id: str
) -> BatchResults:
    """The results of a batch. Raises `Refusal` of one that is too large, or all too much."""
    claims = _claims(services, caller, batch)
    readable = [claim for claim in claims if isinstance(claim, Claim)]
    policy = await services.policies.of(caller.tenant_id, at_least=_bundle_version(readable))
    settled = iter(await _check_in(services, policy, caller, readable))
    outcomes = [next(settled) if isinstance(c, Claim) else c for c in claims]
    answers = _BatchAnswers(policy.keys, caller.subject_id, request_id, services.meters)
    return BatchResults(
        results=[
            answers.of(index, _readable_id(item), outcome)
            for index, (item, outcome) in enumerate(zip(batch.check_ins, outcomes, strict=True))
        ]
    )


def _claims(services: Services, caller: Caller, batch: Batch) -> list[Claim | Refusal]:
    """Of each item, what is claimed; those beyond the device's limit are not looked at."""
    wanted = len(batch.check_ins)
    if wanted > BATCH_LIMIT:
        raise Refusal("batch-too-large")
    taken = services.device_limit.take(caller, wanted)
    services.meters.not_taken.add("device-limit", count=wanted - taken)
    claims = [_readable(item, batch.sent_at) for item in batch.check_ins[:taken]]
    if taken == wanted:
        return claims
    refusal = services.device_limit.refusal(caller)
    if not taken:
        raise refusal
    return claims + [refusal] * (wanted - taken)


def _bundle_version(claims: Sequence[Claim]) -> int:
    """The newest bundle that any was judged by."""
    return max((c.told.bundle_version for c in claims if c.told is not None), default=0)


async def _check_in(
    services: Services, policy: Policy, caller: Caller, claims: list[Claim]
) -> list[Result | Refusal]:
    received_at = services.now()
    arrivals = [Arrival.of(policy, caller, claim, received_at) for claim in claims]
    results = await flow.check_in(services.way, policy, arrivals)
    return [
        _until(services, flow.claimant(caller, claim))
        if isinstance(result, Refused) and result.code == RATE_LIMITED
        else result
        for claim, result in zip(claims, results, strict=True)
    ]


def _until(services: Services, claimant: Claimant) -> Refusal:
    """Of whose budget is spent: until when."""
    return Refusal(RATE_LIMITED, retry_after_s=max(1, services.way.probes.wait_s(claimant)))


def _settled(result: Result | Refusal) -> Settled:
    if isinstance(result, Settled):
        return result
    raise _refusal(result)


def _refusal(result: Refused | Failed | Refusal) -> Refusal:
    if isinstance(result, Refusal):
        return result
    if isinstance(result, Refused):
        return Refusal(result.code)
    if result.cause is None:
        return Refusal("unavailable")
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
    meters: Meters

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
        refusal = _refusal(outcome)
        self.meters.refusals.add(refusal.kind.code)
        return BatchProblem(
            index=index,
            id=check_in_id,
            **msgspec.structs.asdict(problem(refusal, self.request_id)),
        )
