"""Devices: what a device may know and say of itself, and what its tenant may do about it."""

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
from doorstep_server.auth import Admin, device_only, scope
from doorstep_server.check_ins.claim import MAX_SEQUENCE, AwareTime
from doorstep_server.check_ins.flow import Caller
from doorstep_server.credentials import Kind
from doorstep_server.privacy.permission import Permission, SequenceTooFarAhead, State, features
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import devices
from doorstep_server.store.devices import Device, Token
from doorstep_server.wire import StrictJson


class ShownFeature(msgspec.Struct, frozen=True, kw_only=True):
    """Something the app can or cannot offer now, and why not."""

    name: str
    available: bool
    because: str | None


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows of the calling device."""

    device_id: UUID
    permission: State
    permission_sequence: Annotated[int, Meta(description="Of the last report that counted.")]
    permission_epoch: int
    features: list[ShownFeature]
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
    device = await services.read(
        caller.tenant_id, lambda c: devices.find(c, caller.tenant_id, caller.device_id)
    )
    assert device is not None, "the caller was authenticated as this device"
    return DeviceStatus(
        device_id=device.device_id,
        permission=device.permission.state,
        permission_sequence=device.permission.sequence,
        permission_epoch=device.permission.epoch,
        features=_features(device.permission),
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
    try:
        permission = await services.write_as(
            request.auth,
            lambda c: devices.report_permission(
                c, caller.tenant_id, caller.device_id, data.state, data.sequence
            ),
        )
    except SequenceTooFarAhead:
        raise Refusal("sequence-too-far-ahead", at="sequence") from None
    return PermissionStatus(
        state=permission.state,
        permission_epoch=permission.epoch,
        features=_features(permission),
    )


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
        groups=[],
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
        lambda c: devices.page(c, policy.tenant_id, after=after, limit=paging.limit + 1),
    )
    return cursors.page(found, paging.limit, show=_shown, place=lambda device: device.device_id)


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


def _features(permission: Permission) -> list[ShownFeature]:
    return [
        ShownFeature(name=f.name, available=f.available, because=f.because)
        for f in features(permission)
    ]


def _shown(device: Device) -> ShownDevice:
    return ShownDevice(
        id=device.device_id,
        subject_id=device.subject_id,
        platform=device.platform,
        os_major=device.os_major,
        model=device.model,
        permission=device.permission.state,
        status="revoked" if device.revoked else "active",
    )
