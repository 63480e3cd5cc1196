"""A person's rights that the server serves by now, and what proves that it did."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, PathParameter
from msgspec import Meta

from doorstep_server import credentials
from doorstep_server.api import documented, reading
from doorstep_server.api.reading import PurposeHeader
from doorstep_server.api.subjects import known_subject
from doorstep_server.auth import Admin, device_only, scope
from doorstep_server.callers import Caller
from doorstep_server.check_ins import exact
from doorstep_server.privacy.unlinkable import unseal_subject
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import Connection, check_ins, people
from doorstep_server.store.people import Erasure

ErasureCode = Annotated[
    str,
    PathParameter(
        pattern=f"^[{credentials.ALPHABET}]{{{credentials.HANDLE_LENGTH}}}-[0-9a-f]{{32}}$",
        description="`erasure` of the answer that began it.",
    ),
]


class BegunErasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure that was begun. Nothing more of the person is taken."""

    erasure: Annotated[
        str, Meta(description="Random. With it, and without a token, the receipt is fetched.")
    ]
    status: Literal["in_progress"] = "in_progress"


class ErasureStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far an erasure is."""

    status: Literal["in_progress", "done"]
    receipt: Annotated[
        str | None,
        Meta(description="A JWS (RFC 7515, EdDSA): what was removed, and what may still be where."),
    ]


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key, as a JWK (RFC 8037)."""

    x: str
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    alg: Literal["EdDSA"] = "EdDSA"
    use: Literal["sig"] = "sig"


class SigningKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What deletion receipts are checked with."""

    keys: list[SigningKey]


class ShownPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where exactly a check-in was: for disputes, and for 24 to 48 hours."""

    lat: float
    lon: float
    accuracy_m: float | None
    captured_at: datetime


@post(
    "/v1/subjects/{subject_id:uuid}/erasure",
    status_code=202,
    guards=[scope(Area.PRIVACY, WRITE)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def erase_subject(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    subject_id: FromPath[UUID],
) -> BegunErasure:
    """Erase a person: their check-ins, receipts, devices, exact positions and keys.

    From this answer on nothing their devices send is taken. The rest is done within a minute.
    """
    await known_subject(services, request.auth.tenant_id, subject_id)
    return await _begin(services, request.auth, subject_id)


@post(
    "/v1/device/erasure",
    status_code=202,
    guards=[device_only],
    responses=documented.refusals(*documented.DEVICE),
)
async def erase_oneself(
    request: Request[Any, Caller, Any], services: NamedDependency[Services]
) -> BegunErasure:
    """Erase everything that is known of oneself.

    This device's token ends with this answer: keep `erasure`, to fetch the receipt.
    """
    return await _begin(services, request.auth, request.auth.subject_id)


@get("/v1/erasures/{code:str}", responses=documented.refusals("not-found"))
async def erasure_status(services: NamedDependency[Services], code: ErasureCode) -> ErasureStatus:
    """How far an erasure is, and its receipt. Whoever has its code may ask."""
    handle, _, number = code.partition("-")
    tenant_id = await services.authenticator.tenant_of(handle)
    if tenant_id is None:
        raise Refusal("not-found")
    found = await services.read(
        tenant_id, lambda c: people.find_erasure(c, tenant_id, UUID(hex=number))
    )
    if found is None:
        raise Refusal("not-found")
    return _status(found)


@get("/v1/privacy/signing-keys", responses=documented.refusals())
async def signing_keys(services: NamedDependency[Services]) -> SigningKeys:
    """What deletion receipts are checked with."""
    key = await asyncio.to_thread(services.erasures.public_key)
    return SigningKeys(keys=[SigningKey(x=key)])


@get(
    "/v1/check-ins/{check_in_id:uuid}/position",
    guards=[scope(Area.PRIVACY, READ)],
    responses=documented.refusals(*documented.ADMIN, "purpose-required", "not-found"),
)
async def exact_position(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    check_in_id: FromPath[UUID],
    doorstep_purpose: PurposeHeader = None,
) -> ShownPosition:
    """Where exactly a check-in was, if its purpose keeps that and it may still be read."""
    policy = await services.policies.of(request.auth.tenant_id)
    reading.require_reason(policy, doorstep_purpose)
    tenant_id, today = policy.tenant_id, services.now().date()

    def find(connection: Connection) -> Any:
        record = check_ins.find(connection, tenant_id, check_in_id, today)
        position = check_ins.find_exact(connection, tenant_id, check_in_id, today)
        return (record, position) if record and position else None

    found = await services.read(tenant_id, find)
    if found is None:
        raise Refusal("not-found")
    record, position = found
    subject_id = unseal_subject(policy.keys, record.id, record.expires_on, record.sealed)
    key = await asyncio.to_thread(
        services.keyring.find_exact_key, tenant_id, subject_id, exact.key_day(position.expires_on)
    )
    shown = exact.opened(key, position) if key else None
    if shown is None:
        raise Refusal("not-found")
    return ShownPosition(
        lat=shown.lat,
        lon=shown.lon,
        accuracy_m=shown.accuracy_m,
        captured_at=shown.captured_at,
    )


async def _begin(services: Services, caller: Admin | Caller, subject_id: UUID) -> BegunErasure:
    tenant_id = caller.tenant_id
    wanted = services.erasures.wanted(subject_id)
    begun = await services.write_as(caller, lambda c: people.ask_erasure(c, tenant_id, wanted))
    services.policies.forget(tenant_id)
    services.way.last.forget(tenant_id, subject_id)
    services.erasures.begin()
    handle = caller.kid[: credentials.HANDLE_LENGTH]
    return BegunErasure(erasure=f"{handle}-{begun.erasure_id.hex}")


def _status(erasure: Erasure) -> ErasureStatus:
    if erasure.receipt is None:
        return ErasureStatus(status="in_progress", receipt=None)
    return ErasureStatus(status="done", receipt=erasure.receipt.decode())
