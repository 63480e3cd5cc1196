"""Enrollment codes: single-use, short-lived, stored as a label only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from doorstep_server.store import devices, locks
from doorstep_server.store.devices import Device, Token
from doorstep_server.store.schema import enrollment_codes

CODE_LIFE = timedelta(minutes=15)
#: how long the installation that used a code may ask again for an answer that got lost
REPEAT_LIFE = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """What is stored of an enrollment code."""

    code_label: bytes = field(repr=False)
    subject_id: UUID
    expires_at: datetime
    installation_label: bytes | None = field(default=None, repr=False)
    device_id: UUID | None = None
    used_at: datetime | None = None


class Refusal(StrEnum):
    """Why a code does not enroll."""

    INVALID = "enrollment-code-invalid"


def issue(connection: Connection, tenant_id: UUID, code: Code, now: datetime) -> None:
    """Store a new code, and forget those that ended."""
    connection.execute(
        delete(enrollment_codes).where(
            enrollment_codes.c.tenant_id == tenant_id,
            enrollment_codes.c.expires_at < now - REPEAT_LIFE,
        )
    )
    connection.execute(
        insert(enrollment_codes).values(
            tenant_id=tenant_id,
            code_label=code.code_label,
            subject_id=code.subject_id,
            expires_at=code.expires_at,
        )
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """An installation presenting a code, with the device and token it would become."""

    code_label: bytes = field(repr=False)
    device: Device
    token: Token
    now: datetime


def redeem(connection: Connection, tenant_id: UUID, attempt: Attempt) -> Device | Refusal:
    """Enroll a device with a code, or find again the one that this installation made with it."""
    locks.configuring(connection, tenant_id)
    # an erasure may be taking code and person away: then there is nobody to add a device to
    devices.hold_owners(connection, tenant_id, attempt.device)
    code = find(connection, tenant_id, attempt.code_label)
    if code is None or code.subject_id != attempt.device.subject_id:
        return Refusal.INVALID
    if code.used_at is not None:
        return _again(connection, tenant_id, code, attempt)
    if attempt.now >= code.expires_at:
        return Refusal.INVALID
    device = attempt.device
    devices.add(connection, tenant_id, device)
    devices.add_token(connection, tenant_id, attempt.token)
    _mark_used(connection, tenant_id, attempt)
    return device


def _again(
    connection: Connection, tenant_id: UUID, code: Code, attempt: Attempt
) -> Device | Refusal:
    assert code.used_at is not None
    same = code.installation_label == attempt.device.installation_label
    if not same or attempt.now > code.used_at + REPEAT_LIFE or code.device_id is None:
        return Refusal.INVALID
    device = devices.find(connection, tenant_id, code.device_id)
    token = devices.find_token(connection, tenant_id, attempt.token.kid)
    if device is None or device.revoked or token is None:
        return Refusal.INVALID
    return device


def find(connection: Connection, tenant_id: UUID, code_label: bytes) -> Code | None:
    """A code by its label, whether it may still be used or not."""
    query = select(
        enrollment_codes.c.code_label,
        enrollment_codes.c.subject_id,
        enrollment_codes.c.expires_at,
        enrollment_codes.c.installation_label,
        enrollment_codes.c.device_id,
        enrollment_codes.c.used_at,
    ).where(enrollment_codes.c.tenant_id == tenant_id, enrollment_codes.c.code_label == code_label)
    row = connection.execute(query).mappings().first()
    return Code(**row) if row else None


def _mark_used(connection: Connection, tenant_id: UUID, attempt: Attempt) -> None:
    connection.execute(
        update(enrollment_codes)
        .where(
            enrollment_codes.c.tenant_id == tenant_id,
            enrollment_codes.c.code_label == attempt.code_label,
        )
        .values(
            installation_label=attempt.device.installation_label,
            device_id=attempt.device.device_id,
            used_at=attempt.now,
        )
    )


def remove_of(connection: Connection, tenant_id: UUID, subject_ids: Sequence[UUID]) -> None:
    """Remove the codes that were issued for these subjects."""
    connection.execute(
        delete(enrollment_codes).where(
            enrollment_codes.c.tenant_id == tenant_id,
            enrollment_codes.c.subject_id.in_(subject_ids),
        )
    )
