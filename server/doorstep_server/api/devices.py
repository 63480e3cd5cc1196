"""Devices: what a device may know and say of itself, and what its tenant may do about it."""

import asyncio
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from doorstep_server import credentials
from doorstep_server.api import documented, reading
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.api.purposes import ShownPurpose, shown_purpose
from doorstep_server.api.reading import PurposeHeader
from doorstep_server.api.subjects import (
    Restrictions,
    change_details,
    known_subject,
    shown_restrictions,
    with_restrictions,
)
from doorstep_server.auth import Admin, device_only, scope
from doorstep_server.callers import Caller
from doorstep_server.check_ins.claim import MAX_SEQUENCE, AwareTime
from doorstep_server.credentials import Kind
from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.permission import (
    WITHDRAWN,
    Permission,
    SequenceTooFarAhead,
    State,
    features,
    is_renewal,
)
from doorstep_server.privacy.personal import (
    DeviceDetails,
    SubjectDetails,
    seal_device_details,
    unseal_device_details,
    unseal_subject_details,
)
from doorstep_server.problems import Refusal
from doorstep_server.renewals import Report, with_report
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import Connection, devices, holds, subjects
from doorstep_server.store.devices import Device, Token
from doorstep_server.wire import StrictJson


class ShownFeature(msgspec.Struct, frozen=True, kw_only=True):
    """Something the app can or cannot offer now, and why not."""

    name: str
    available: bool
    because: str | None


class OwnHold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold on one's own check-ins."""

    reason: str
    expires_on: date


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows of the calling device."""

    device_id: UUID
    permission: State
    permission_sequence: Annotated[int, Meta(description="Of the last report that counted.")]
    permission_epoch: int
    lease_until: Annotated[
        datetime | None,
        Meta(description="Until when the permission is believed without another report."),
    ]
    features: list[ShownFeature]
    restrictions: Restrictions
    legal_holds: Annotated[
        list[OwnHold], Meta(description="Why check-ins may be kept for longer, apart from others.")
    ]
    purposes: list[ShownPurpose]


class PermissionReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operating system says now about the app's access to location."""

    state: State
    sequence: Annotated[
        int,
        Meta(ge=1, le=MAX_SEQUENCE, description="One higher for every report of this device."),
    ]
    observed_at: AwareTime


class PermissionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the server makes of the reports so far."""

    state: State
    permission_epoch: int
    lease_until: Annotated[
        datetime | None,
        Meta(description="Until when it is believed without another report. Report at each start."),
    ]
    features: list[ShownFeature]


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token, shown once. The old one works until this one is first used."""

    token: str


class ShownDevice(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolled device, as its tenant sees it."""

    id: UUID
    subject_id: UUID
    platform: str
    os_major: str
    model: str
    permission: State
    status: Literal["active", "revoked"]


@get(
    "/v1/device",
    guards=[device_only],
    responses=documented.refusals(*documented.DEVICE),
)
async def status(
    request: Request[Any, Caller, Any], services: NamedDependency[Services]
) -> DeviceStatus:
    """What the server knows of this device, and what it may do now."""
    caller = request.auth
    policy = await services.policies.of(caller.tenant_id)
    own = await services.read(caller.tenant_id, partial(_own, services, caller))
    now = services.now()
    in_force = await services.read(
        caller.tenant_id,
        lambda c: holds.of_subject(c, caller.tenant_id, caller.subject_id, now.date()),
    )
    return DeviceStatus(
        device_id=caller.device_id,
        permission=own.permission.at(now).state,
        permission_sequence=own.permission.sequence,
        permission_epoch=own.permission.epoch,
        lease_until=own.permission.at(now).lease_until,
        features=_features(own.permission.at(now), own.subject),
        restrictions=shown_restrictions(own.subject),
        legal_holds=[OwnHold(reason=h.reason, expires_on=h.expires_on) for h in in_force],
        purposes=[shown_purpose(p) for p in policy.purposes.values() if p.active],
    )


@put(
    "/v1/device/permission",
    guards=[device_only],
    dto=StrictJson[PermissionReport],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.DEVICE, "sequence-too-far-ahead"),
)
async def report_permission(
    request: Request[Any, Caller, Any],
    services: NamedDependency[Services],
    data: JSONBody[PermissionReport],
) -> PermissionStatus:
    """Report the location permission.

    After a withdrawal is answered, no check-in by location is stored until the permission is
    granted again, and none captured before it ever. Reports may arrive late or twice: the one with
    the highest sequence counts, and a late withdrawal still counts as one.
    """
    caller = request.auth
    report = Report(data.state, data.sequence, services.now())
    try:
        own = await services.write_as(caller, partial(_take, services, caller, report))
    except SequenceTooFarAhead:
        raise Refusal("sequence-too-far-ahead", at="sequence") from None
    if own.permission.state in WITHDRAWN:
        # again and again, until it was done and answered
        await asyncio.to_thread(
            services.keyring.destroy_exact_keys, caller.tenant_id, caller.subject_id
        )
    return PermissionStatus(
        state=own.permission.state,
        permission_epoch=own.permission.epoch,
        lease_until=own.permission.lease_until,
        features=_features(own.permission, own.subject),
    )


@put(
    "/v1/device/restrictions",
    guards=[device_only],
    dto=StrictJson[Restrictions],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.DEVICE, "not-found"),
)
async def restrict(
    request: Request[Any, Caller, Any],
    services: NamedDependency[Services],
    data: JSONBody[Restrictions],
) -> Restrictions:
    """Restrict what is processed of oneself, or object to it.

    After this is answered, no check-in of the person is stored for these purposes, from whichever
    of their devices, until they say otherwise.
    """
    caller = request.auth
    known = await known_subject(services, caller.tenant_id, caller.subject_id)
    changed = await change_details(
        services, caller, known, lambda before: with_restrictions(before, data)
    )
    details = unseal_subject_details(caller.subject_keys, caller.subject_id, changed.sealed)
    return shown_restrictions(details)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Own:
    """What is kept of the calling device and its owner."""

    device: DeviceDetails
    permission: Permission
    subject: SubjectDetails


def _own(services: Services, caller: Caller, connection: Connection) -> _Own:
    device = devices.find(connection, caller.tenant_id, caller.device_id)
    subject = subjects.find(connection, caller.tenant_id, caller.subject_id)
    if device is None or subject is None:
        raise Refusal("unauthorized")
    details = unseal_device_details(caller.subject_keys, caller.device_id, device.sealed)
    return _Own(
        device=details,
        permission=services.renewals.applied(
            caller.tenant_id, caller.device_id, details.permission
        ),
        subject=unseal_subject_details(caller.subject_keys, caller.subject_id, subject.sealed),
    )


def _take(services: Services, caller: Caller, report: Report, connection: Connection) -> _Own:
    """Take a report: at once, unless all is as it was."""
    own = _own(services, caller, connection)
    permission = with_report(own.permission, report)
    if permission == own.permission:
        # late, or again: what waits is newer and goes on waiting
        return own
    waits = is_renewal(own.device.permission, permission, report.at) and services.renewals.add(
        caller.tenant_id, caller.device_id, report
    )
    if not waits:
        details = replace(own.device, permission=permission)
        sealed = seal_device_details(caller.subject_keys, caller.device_id, details)
        devices.replace(connection, caller.tenant_id, caller.device_id, sealed)
    return replace(own, permission=permission)


@post(
    "/v1/device/token",
    guards=[device_only],
    responses=documented.refusals(*documented.DEVICE),
)
async def rotate_token(
    request: Request[Any, Caller, Any], services: NamedDependency[Services]
) -> NewToken:
    """Make a new token for this device. The old one dies on the first use of the new one."""
    caller = request.auth
    handle = caller.kid[: credentials.HANDLE_LENGTH]
    credential = credentials.new_credential(Kind.DEVICE_TOKEN, handle)
    token = Token(
        kid=credential.kid,
        secret_hash=credentials.secret_hash(services.pepper, credential),
        fresh=True,
        device_id=caller.device_id,
        subject_id=caller.subject_id,
    )
    await services.write_as(request.auth, lambda c: devices.add_token(c, caller.tenant_id, token))
    return NewToken(token=credential.text())


@get(
    "/v1/devices",
    guards=[scope(Area.DEVICES, READ)],
    responses=documented.refusals(*documented.LIST, *documented.ADMIN, "purpose-required"),
)
async def list_all(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    paging: NamedDependency[Paging],
    doorstep_purpose: PurposeHeader = None,
) -> Page[ShownDevice]:
    """List the enrolled devices."""
    policy = await services.policies.of(request.auth.tenant_id)
    reading.require_reason(policy, doorstep_purpose)
    cursors = Cursors[UUID](policy.keys, UUID, of="devices")
    after = cursors.read(paging.cursor)
    found = await services.read(
        policy.tenant_id,
        lambda c: devices.in_order(c, policy.tenant_id, after, paging.limit + 1),
    )
    owners = await asyncio.to_thread(
        services.keyring.subjects, policy.tenant_id, {device.subject_id for device in found}
    )
    page = cursors.page(
        found, paging.limit, show=lambda device: device, place=lambda device: device.device_id
    )
    # whose owner was erased meanwhile cannot be shown; the list goes on after them
    there = [device for device in page.items if device.subject_id in owners]
    now = services.now()
    return Page(
        items=[_shown(owners[device.subject_id].keys, device, now) for device in there],
        next_cursor=page.next_cursor,
    )


@delete(
    "/v1/devices/{device_id:uuid}",
    guards=[scope(Area.DEVICES, WRITE)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def revoke(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    device_id: FromPath[UUID],
) -> None:
    """Revoke a device for good. Nothing it sends is taken any more."""
    tenant_id = request.auth.tenant_id
    if not await services.write_as(request.auth, lambda c: devices.revoke(c, tenant_id, device_id)):
        raise Refusal("not-found")
    services.policies.forget(tenant_id)


def _features(permission: Permission, subject: SubjectDetails) -> list[ShownFeature]:
    return [
        ShownFeature(name=f.name, available=f.available, because=f.because)
        for f in features(permission, restricted=subject.restricted_wholly)
    ]


def _shown(keys: SubjectKeys, device: Device, now: datetime) -> ShownDevice:
    details = unseal_device_details(keys, device.device_id, device.sealed)
    return ShownDevice(
        id=device.device_id,
        subject_id=device.subject_id,
        platform=details.platform,
        os_major=details.os_major,
        model=details.model,
        permission=details.permission.at(now).state,
        status="revoked" if device.revoked else "active",
    )
