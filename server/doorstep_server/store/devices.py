"""Enrolled devices, their tokens, and the permission that each reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from doorstep_server.privacy.permission import Permission, State, after_report
from doorstep_server.store import locks
from doorstep_server.store.schema import device_tokens, devices, subjects
from doorstep_server.store.tenants import note_change


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One installation of an app, belonging to a subject."""

    device_id: UUID
    subject_id: UUID
    installation_label: bytes = field(repr=False)
    platform: str
    os_major: str
    model: str
    permission: Permission
    revoked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """What is stored of a device token, with the device it speaks for."""

    kid: str
    secret_hash: bytes = field(repr=False)
    #: made by a rotation and not used yet: the tokens before it still work
    fresh: bool
    device_id: UUID
    subject_id: UUID
    groups: list[str]
    revoked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Whether a token's device may act, read in the transaction that acts on it."""

    device_id: UUID
    revoked: bool
    permission: Permission


def add(connection: Connection, tenant_id: UUID, device: Device) -> None:
    """Add a device. Earlier devices of the same installation are revoked: it is one phone."""
    same_phone = (
        devices.c.tenant_id == tenant_id,
        devices.c.installation_label == device.installation_label,
    )
    earlier = connection.execute(select(devices.c.subject_id).where(*same_phone)).scalars().all()
    if earlier:
        locks.changing(connection, tenant_id, earlier)
        connection.execute(update(devices).where(*same_phone).values(revoked=True))
    connection.execute(
        insert(devices).values(
            tenant_id=tenant_id,
            device_id=device.device_id,
            subject_id=device.subject_id,
            installation_label=device.installation_label,
            platform=device.platform,
            os_major=device.os_major,
            model=device.model,
            **_permission_values(device.permission),
            revoked=device.revoked,
        )
    )
    if earlier:
        note_change(connection, tenant_id)


def find(connection: Connection, tenant_id: UUID, device_id: UUID) -> Device | None:
    """A device by its id."""
    row = connection.execute(_devices(tenant_id).where(devices.c.device_id == device_id)).first()
    return _device(row) if row else None


def page(
    connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int
) -> list[Device]:
    """Devices in the order of their ids."""
    query = _devices(tenant_id)
    if after is not None:
        query = query.where(devices.c.device_id > after)
    rows = connection.execute(query.order_by(devices.c.device_id).limit(limit))
    return [_device(row) for row in rows]


def revoke(connection: Connection, tenant_id: UUID, device_id: UUID) -> bool:
    """Revoke a device for good; False when the tenant has no such device.

    Once this is committed, it checks in no more.
    """
    device = find(connection, tenant_id, device_id)
    if device is None:
        return False
    locks.changing(connection, tenant_id, [device.subject_id])
    connection.execute(
        update(devices)
        .where(devices.c.tenant_id == tenant_id, devices.c.device_id == device_id)
        .values(revoked=True)
    )
    note_change(connection, tenant_id)
    return True


def report_permission(
    connection: Connection, tenant_id: UUID, device_id: UUID, state: State, sequence: int
) -> Permission:
    """Take a report of the device. Once this is committed, no check-in it forbids is stored.

    The caller holds the subject's lock (`locks.changing`). Raises `permission.SequenceTooFarAhead`.
    """
    device = find(connection, tenant_id, device_id)
    assert device is not None, "the caller was authenticated as this device"
    permission = after_report(device.permission, state, sequence)
    connection.execute(
        update(devices)
        .where(devices.c.tenant_id == tenant_id, devices.c.device_id == device_id)
        .values(**_permission_values(permission))
    )
    return permission


def standings(connection: Connection, tenant_id: UUID, kids: Sequence[str]) -> dict[str, Standing]:
    """How the devices behind these tokens stand now. A token that no longer exists is missing."""
    query = (
        select(
            device_tokens.c.kid,
            devices.c.device_id,
            devices.c.revoked,
            devices.c.permission,
            devices.c.permission_sequence,
            devices.c.permission_epoch,
        )
        .join_from(device_tokens, devices, _same_device())
        .where(
            device_tokens.c.tenant_id == tenant_id,
            devices.c.tenant_id == tenant_id,
            device_tokens.c.kid.in_(kids),
        )
    )
    return {
        row.kid: Standing(device_id=row.device_id, revoked=row.revoked, permission=_permission(row))
        for row in connection.execute(query)
    }


def add_token(connection: Connection, tenant_id: UUID, token: Token) -> None:
    """Add a token of a device; of tokens that were made and never used, only this one stays."""
    connection.execute(
        delete(device_tokens).where(
            device_tokens.c.tenant_id == tenant_id,
            device_tokens.c.device_id == token.device_id,
            device_tokens.c.fresh,
        )
    )
    connection.execute(
        insert(device_tokens).values(
            tenant_id=tenant_id,
            kid=token.kid,
            device_id=token.device_id,
            secret_hash=token.secret_hash,
            fresh=token.fresh,
        )
    )


def settle_token(connection: Connection, tenant_id: UUID, token: Token) -> bool:
    """A fresh token was used: the device's other tokens end here.

    False when the token itself has ended in the meantime: then it ends no other.
    """
    locks.changing(connection, tenant_id, [token.subject_id])
    mine = device_tokens.c.tenant_id == tenant_id
    settled = connection.execute(
        update(device_tokens)
        .where(mine, device_tokens.c.kid == token.kid, device_tokens.c.fresh)
        .values(fresh=False)
    )
    if not settled.rowcount:
        # another request may have settled it a moment ago: then it stands
        return find_token(connection, tenant_id, token.kid) is not None
    connection.execute(
        delete(device_tokens).where(
            mine, device_tokens.c.device_id == token.device_id, device_tokens.c.kid != token.kid
        )
    )
    note_change(connection, tenant_id)
    return True


def find_token(connection: Connection, tenant_id: UUID, kid: str) -> Token | None:
    """A token with its device and the groups of its subject, whether revoked or not."""
    same_subject = (subjects.c.tenant_id == devices.c.tenant_id) & (
        subjects.c.subject_id == devices.c.subject_id
    )
    query = (
        select(
            device_tokens.c.kid,
            device_tokens.c.secret_hash,
            device_tokens.c.fresh,
            devices.c.device_id,
            devices.c.subject_id,
            devices.c.revoked,
            subjects.c.groups,
        )
        .join_from(device_tokens, devices, _same_device())
        .join(subjects, same_subject)
        .where(
            device_tokens.c.tenant_id == tenant_id,
            devices.c.tenant_id == tenant_id,
            subjects.c.tenant_id == tenant_id,
            device_tokens.c.kid == kid,
        )
    )
    row = connection.execute(query).mappings().first()
    return Token(**row) if row else None


def _same_device() -> Any:
    return (device_tokens.c.tenant_id == devices.c.tenant_id) & (
        device_tokens.c.device_id == devices.c.device_id
    )


def _devices(tenant_id: UUID) -> Select[Any]:
    return select(devices).where(devices.c.tenant_id == tenant_id)


def _device(row: Row[Any]) -> Device:
    return Device(
        device_id=row.device_id,
        subject_id=row.subject_id,
        installation_label=row.installation_label,
        platform=row.platform,
        os_major=row.os_major,
        model=row.model,
        permission=_permission(row),
        revoked=row.revoked,
    )


def _permission(row: Any) -> Permission:
    return Permission(
        state=State(row.permission), sequence=row.permission_sequence, epoch=row.permission_epoch
    )


def _permission_values(permission: Permission) -> dict[str, Any]:
    return {
        "permission": permission.state.value,
        "permission_sequence": permission.sequence,
        "permission_epoch": permission.epoch,
    }
