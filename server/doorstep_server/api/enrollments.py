"""Enrolling a device with a code, and issuing codes."""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from doorstep_server import credentials, enrolling
from doorstep_server.api import documented
from doorstep_server.api.purposes import ShownPurpose, shown_purpose
from doorstep_server.auth import Admin, scope
from doorstep_server.credentials import Credential
from doorstep_server.enrolling import Issuer
from doorstep_server.keyring import KnownSubject
from doorstep_server.policies import Policy
from doorstep_server.privacy import labels
from doorstep_server.privacy.permission import Permission
from doorstep_server.privacy.personal import (
    DeviceDetails,
    seal_device_details,
    unseal_device_details,
)
from doorstep_server.problems import Refusal
from doorstep_server.scopes import WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import Connection, enrollments, locks, subjects, tenants
from doorstep_server.store.devices import Device, Token
from doorstep_server.store.enrollments import Attempt
from doorstep_server.store.reach import Reach
from doorstep_server.wire import StrictJson


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be known of a device: an allow-list. No advertising id has a place here."""

    platform: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z][0-9A-Za-z ._-]{0,15}\Z",
            description="Such as `android` or `ios`; kept in lower case.",
        ),
    ]
    os_version: Annotated[
        str,
        Meta(
            pattern=r"^[0-9A-Za-z][0-9A-Za-z ._()+-]{0,63}\Z",
            description="Only the first number is kept.",
        ),
    ]
    model: Annotated[
        str,
        Meta(
            # fourteen digits in a row are a serial number or an IMEI, not a family
            pattern=r"^(?!.*[0-9]{14})[0-9A-Za-z][0-9A-Za-z ,.()_+'/-]{0,63}\Z",
            description="The model's family, such as `Pixel 9`. Never a serial number.",
        ),
    ]


class Enrollment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An installation of an app presenting a code."""

    code: Annotated[str, Meta(max_length=40)]
    installation_id: Annotated[
        str,
        Meta(
            pattern=r"^[0-9A-Za-z._:-]{1,128}\Z",
            description="Random, made by the app at its first start. Never a hardware id.",
        ),
    ]
    device: DeviceInfo


class EnrolledTenant(msgspec.Struct, frozen=True, kw_only=True):
    """Whose check-ins these are."""

    id: UUID
    name: str


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """What an app keeps: the token is shown here and never again."""

    device_id: UUID
    token: str
    tenant: EnrolledTenant
    subject_id: UUID
    purposes: list[ShownPurpose]
    permission_epoch: int


class IssuedCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code for one device, shown once."""

    code: str
    expires_at: datetime


@post(
    "/v1/enrollments",
    dto=StrictJson[Enrollment],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, "enrollment-code-invalid", "rate-limited"),
)
async def enroll(
    request: Request[Any, Any, Any], services: NamedDependency[Services], data: JSONBody[Enrollment]
) -> Enrolled:
    """Enroll a device with a code.

    A code works once. The same code from the same installation within 10 minutes gives the same
    answer again, for an answer that got lost.
    """
    throttle, caller = services.enrollment_throttle, request.client.host if request.client else ""
    if (wait_s := throttle.wait_s(caller)) > 0:
        raise Refusal("rate-limited", retry_after_s=wait_s)
    enrolled = await _redeem(services, data)
    if enrolled is None:
        throttle.failed(caller)
        raise Refusal("enrollment-code-invalid")
    return enrolled


@post(
    "/v1/subjects/{subject_id:uuid}/enrollments",
    guards=[scope(Area.SUBJECTS, WRITE)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def issue_code(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    subject_id: FromPath[UUID],
) -> IssuedCode:
    """Issue an enrollment code for one of a subject's devices. It works once, for 15 minutes."""
    policy = await services.policies.of(request.auth.tenant_id)
    issuer = Issuer(
        tenant_id=policy.tenant_id,
        handle=request.auth.kid[: credentials.HANDLE_LENGTH],
        keys=policy.keys,
    )

    def issue(connection: Connection) -> enrolling.IssuedCode | None:
        # who is being erased at this moment is no more
        locks.changing(connection, policy.tenant_id, [subject_id])
        if subjects.find(connection, policy.tenant_id, subject_id) is None:
            return None
        return issuer.issue(connection, subject_id, services.now())

    issued = await services.write_as(request.auth, issue)
    if issued is None:
        raise Refusal("not-found")
    return IssuedCode(code=issued.code, expires_at=issued.expires_at)


async def _redeem(services: Services, data: Enrollment) -> Enrolled | None:
    code = credentials.read_code(data.code)
    tenant_id = (
        await services.authenticator.tenant_of(code[: credentials.HANDLE_LENGTH]) if code else None
    )
    if code is None or tenant_id is None:
        return None
    policy = await services.policies.of(tenant_id)
    presented = _Presented(policy, code, labels.enrollment_code_label(policy.keys, code), data)
    subject = await _subject_of(services, tenant_id, presented)
    if subject is None:
        return None
    credential = credentials.enrolled_credential(
        code[: credentials.HANDLE_LENGTH],
        labels.device_secret(policy.keys, code, data.installation_id),
    )
    attempt = _attempt(services, presented, credential, subject)
    device = await services.database.write(
        Reach.of(tenant_id), lambda connection: enrollments.redeem(connection, tenant_id, attempt)
    )
    if not isinstance(device, Device):
        return None
    return await _enrolled(services, policy, device, credential, subject)


@dataclass(frozen=True, slots=True)
class _Presented:
    """A code that an installation presents."""

    policy: Policy
    code: str = field(repr=False)
    code_label: bytes = field(repr=False)
    data: Enrollment = field(repr=False)


async def _subject_of(
    services: Services, tenant_id: UUID, presented: _Presented
) -> KnownSubject | None:
    """Whose device a code enrolls: with their key it is written what it is."""
    found = await services.read(
        tenant_id, lambda c: enrollments.find(c, tenant_id, presented.code_label)
    )
    if found is None:
        return None
    return await asyncio.to_thread(services.keyring.subject, tenant_id, found.subject_id)


def _attempt(
    services: Services, presented: _Presented, credential: Credential, subject: KnownSubject
) -> Attempt:
    data, device_id = presented.data, uuid4()
    details = DeviceDetails(
        platform=data.device.platform.lower(),
        os_major=_major(data.device.os_version),
        model=data.device.model,
        permission=Permission(),
    )
    device = Device(
        device_id=device_id,
        subject_id=subject.subject_id,
        installation_label=labels.installation_label(presented.policy.keys, data.installation_id),
        sealed=seal_device_details(subject.keys, device_id, details),
        revoked=False,
    )
    return Attempt(
        code_label=presented.code_label,
        device=device,
        token=Token(
            kid=credential.kid,
            secret_hash=credentials.secret_hash(services.pepper, credential),
            fresh=False,
            device_id=device_id,
            subject_id=subject.subject_id,
        ),
        now=services.now(),
    )


def _major(os_version: str) -> str:
    """The first number of a version: the rest could tell one phone from all others."""
    digits = re.match(r"\d{1,4}", os_version)
    return digits.group() if digits else "unknown"


async def _enrolled(
    services: Services,
    policy: Policy,
    device: Device,
    credential: Credential,
    subject: KnownSubject,
) -> Enrolled:
    details = unseal_device_details(subject.keys, device.device_id, device.sealed)
    tenant = await services.read(policy.tenant_id, lambda c: tenants.by_id(c, policy.tenant_id))
    assert tenant is not None
    return Enrolled(
        device_id=device.device_id,
        token=credential.text(),
        tenant=EnrolledTenant(id=tenant.tenant_id, name=tenant.name),
        subject_id=device.subject_id,
        purposes=[shown_purpose(p) for p in policy.purposes.values() if p.active],
        permission_epoch=details.permission.epoch,
    )
