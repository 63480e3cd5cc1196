"""Legal holds: what a law or a court makes a tenant keep of a person, apart and for a time."""

import asyncio
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from doorstep_server.api import documented, reading
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.api.reading import PurposeHeader
from doorstep_server.api.subjects import known_subject
from doorstep_server.auth import Admin, scope
from doorstep_server.privacy.held import HeldFor, unseal_held
from doorstep_server.privacy.minimize import CheckInRecord
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import holds
from doorstep_server.store.holds import Hold
from doorstep_server.wire import StrictJson

HoldReason = Literal["legal-claim", "investigation", "authority"]


class NewHold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose check-ins are to be kept, why and until when."""

    subject_id: UUID
    reason: HoldReason
    expires_on: Annotated[
        date,
        Meta(description="From this day on it holds no more: at most 5 years from now."),
    ]


class ShownHold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold."""

    id: UUID
    subject_id: UUID
    reason: str
    expires_on: date


class HeldSubject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom it is about; perhaps they were erased since."""

    id: UUID
    external_id: str


class HeldCheckIn(msgspec.Struct, frozen=True, kw_only=True):
    """A check-in that is kept under a hold, and nowhere else."""

    id: UUID
    subject: HeldSubject
    site_id: UUID | None
    site_version: int | None
    purpose: str
    action: str | None
    time: datetime
    outcome: str
    reason: str


LONGEST_DAYS = 5 * 366


@post(
    "/v1/privacy/holds",
    guards=[scope(Area.PRIVACY, WRITE)],
    dto=StrictJson[NewHold],
    return_dto=None,
    responses=documented.refusals(
        *documented.BODY, *documented.ADMIN, "not-found", "hold-period-invalid"
    ),
)
async def create(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    data: JSONBody[NewHold],
) -> ShownHold:
    """Keep a person's check-ins when they would go: sealed, apart, in no list.

    The person sees the hold on their devices.
    """
    if not 0 < (data.expires_on - services.now().date()).days <= LONGEST_DAYS:
        raise Refusal("hold-period-invalid", at="expires_on")
    tenant_id = request.auth.tenant_id
    await known_subject(services, tenant_id, data.subject_id)
    hold = Hold(
        hold_id=uuid4(),
        subject_id=data.subject_id,
        reason=data.reason,
        expires_on=data.expires_on,
    )
    await services.write_as(request.auth, lambda c: holds.add(c, tenant_id, hold))
    return _shown(hold)


@get(
    "/v1/privacy/holds",
    guards=[scope(Area.PRIVACY, READ)],
    responses=documented.refusals(*documented.LIST, *documented.ADMIN, "purpose-required"),
)
async def list_all(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    paging: NamedDependency[Paging],
    doorstep_purpose: PurposeHeader = None,
) -> Page[ShownHold]:
    """List the legal holds."""
    policy = await services.policies.of(request.auth.tenant_id)
    reading.require_reason(policy, doorstep_purpose)
    cursors = Cursors[UUID](policy.keys, UUID, of="holds")
    after = cursors.read(paging.cursor)
    found = await services.read(policy.tenant_id, lambda c: holds.every(c, policy.tenant_id))
    rest = [hold for hold in found if after is None or hold.hold_id > after]
    return cursors.page(rest, paging.limit, show=_shown, place=lambda hold: hold.hold_id)


@get(
    "/v1/privacy/holds/{hold_id:uuid}/check-ins",
    guards=[scope(Area.PRIVACY, READ)],
    responses=documented.refusals(
        *documented.LIST, *documented.ADMIN, "purpose-required", "not-found"
    ),
)
async def list_held(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    hold_id: FromPath[UUID],
    paging: NamedDependency[Paging],
    doorstep_purpose: PurposeHeader = None,
) -> Page[HeldCheckIn]:
    """List what is kept under a hold."""
    policy = await services.policies.of(request.auth.tenant_id)
    reading.require_reason(policy, doorstep_purpose)
    tenant_id, today = policy.tenant_id, services.now().date()
    hold = await services.read(tenant_id, lambda c: holds.find(c, tenant_id, hold_id))
    if hold is None or hold.expires_on <= today:
        raise Refusal("not-found")
    cursors = Cursors[UUID](policy.keys, UUID, of="held", filters=str(hold_id))
    after = cursors.read(paging.cursor)
    kept = await services.read(tenant_id, lambda c: holds.kept(c, tenant_id, hold_id))
    key = await asyncio.to_thread(services.keyring.hold_key, tenant_id, hold_id)
    rest = [held for held in kept if after is None or held.held_id > after]
    return cursors.page(
        rest,
        paging.limit,
        show=lambda held: _held(*unseal_held(key, held.held_id, held.sealed)),
        place=lambda held: held.held_id,
    )


@delete(
    "/v1/privacy/holds/{hold_id:uuid}",
    guards=[scope(Area.PRIVACY, WRITE)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def end(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    hold_id: FromPath[UUID],
) -> None:
    """End a hold. What was kept under it is gone with this answer."""
    tenant_id = request.auth.tenant_id
    if await services.read(tenant_id, lambda c: holds.find(c, tenant_id, hold_id)) is None:
        raise Refusal("not-found")
    await asyncio.to_thread(services.keyring.destroy_hold_key, tenant_id, hold_id)
    await services.write_as(request.auth, lambda c: holds.remove(c, tenant_id, hold_id))


def _shown(hold: Hold) -> ShownHold:
    return ShownHold(
        id=hold.hold_id,
        subject_id=hold.subject_id,
        reason=hold.reason,
        expires_on=hold.expires_on,
    )


def _held(about: HeldFor, record: CheckInRecord) -> HeldCheckIn:
    as_stored = set(HeldCheckIn.__struct_fields__) - {"subject"}
    subject = HeldSubject(id=about.subject_id, external_id=about.external_id)
    return HeldCheckIn(subject=subject, **{name: getattr(record, name) for name in as_stored})
