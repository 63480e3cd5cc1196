"""Enrolled devices and their tokens. What is kept of a device is sealed under its subject's key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.sql.selectable import LateralFromClause

from doorstep_server.privacy.minimize import Unprinted
from doorstep_server.store import locks
from doorstep_server.store.columns import Id
from doorstep_server.store.lookups import among, given, one
from doorstep_server.store.prepared import Prepared, in_lists, uuid_of
from doorstep_server.store.schema import device_tokens, devices, subjects
from doorstep_server.store.tenants import note_change


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One installation of an app, belonging to a subject."""

    device_id: UUID
    subject_id: UUID
    installation_label: bytes = field(repr=False)
    #: `personal.DeviceDetails`, under the subject's key
    sealed: bytes = field(repr=False)
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
    #: `personal.SubjectDetails` of its subject, when the token was looked up
    subject_sealed: bytes = field(default=b"", repr=False)
    revoked: bool = False


class Standing(Unprinted, frozen=True):
    """Whether a token's device may act, read in the transaction that acts on it.

    As the driver gives it, since one is read for each check-in.
    """

    device_id: UUID | bytes
    subject_id: UUID | bytes
    revoked: bool
    #: `personal.DeviceDetails` and `personal.SubjectDetails`
    device_sealed: bytes
    subject_sealed: bytes


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
            sealed=device.sealed,
            revoked=device.revoked,
        )
    )
    if earlier:
        note_change(connection, tenant_id)


def hold_owners(connection: Connection, tenant_id: UUID, device: Device) -> None:
    """Let nothing else happen to the people whose devices `add` changes, until this ends."""
    earlier = select(devices.c.subject_id).where(
        devices.c.tenant_id == tenant_id,
        devices.c.installation_label == device.installation_label,
    )
    owners = connection.execute(earlier).scalars().all()
    locks.changing(connection, tenant_id, {device.subject_id, *owners})


def find(connection: Connection, tenant_id: UUID, device_id: UUID) -> Device | None:
    """A device by its id."""
    row = connection.execute(_devices(tenant_id).where(devices.c.device_id == device_id)).first()
    return _device(row) if row else None


def in_order(
    connection: Connection, tenant_id: UUID, after: UUID | None, limit: int
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


def replace(connection: Connection, tenant_id: UUID, device_id: UUID, sealed: bytes) -> None:
    """Store what is kept of a device anew. The caller holds the subject's lock.

    Once this is committed, no check-in is stored that it forbids.
    """
    connection.execute(
        update(devices)
        .where(devices.c.tenant_id == tenant_id, devices.c.device_id == device_id)
        .values(sealed=sealed)
    )


def locked(connection: Connection, tenant_id: UUID, device_ids: Sequence[UUID]) -> list[Device]:
    """Devices as they are, and stay until the end of this transaction."""
    these = devices.c.device_id.in_(device_ids)
    owners = select(devices.c.subject_id).where(devices.c.tenant_id == tenant_id, these)
    locks.changing(connection, tenant_id, connection.execute(owners).scalars().all())
    return [_device(row) for row in connection.execute(_devices(tenant_id).where(these))]


def replace_many(connection: Connection, tenant_id: UUID, sealed: Mapping[UUID, bytes]) -> None:
    """Store what is kept of these devices anew, in the order of their ids: see `locked`."""
    for device_id in sorted(sealed):
        replace(connection, tenant_id, device_id, sealed[device_id])


def remove_of(connection: Connection, tenant_id: UUID, subject_ids: Sequence[UUID]) -> None:
    """Remove the devices of these subjects, with their tokens."""
    mine = devices.c.tenant_id == tenant_id
    theirs = connection.execute(
        select(devices.c.device_id).where(mine, devices.c.subject_id.in_(subject_ids))
    ).scalars()
    device_ids = list(theirs)
    connection.execute(
        delete(device_tokens).where(
            device_tokens.c.tenant_id == tenant_id, device_tokens.c.device_id.in_(device_ids)
        )
    )
    connection.execute(delete(devices).where(mine, devices.c.device_id.in_(device_ids)))


_TENANT = bindparam("tenant_id", type_=Id)


def _behind_tokens(dialect: str, *columns: Column[Any]) -> Select[Any]:
    """What the rows behind tokens, which are given as `kids`, say in these columns."""
    if dialect == "postgresql":
        return _one_by_one(columns)
    same_device = (devices.c.tenant_id == device_tokens.c.tenant_id) & (
        devices.c.device_id == device_tokens.c.device_id
    )
    same_subject = (subjects.c.tenant_id == devices.c.tenant_id) & (
        subjects.c.subject_id == devices.c.subject_id
    )
    return (
        select(*columns)
        .join_from(device_tokens, devices, same_device)
        .join(subjects, same_subject)
        .where(
            *(table.c.tenant_id == _TENANT for table in (device_tokens, devices, subjects)),
            among(device_tokens.c.kid, "kids"),
        )
    )


def _one_by_one(columns: Sequence[Column[Any]]) -> Select[Any]:
    """From each token to its device, and to its subject."""
    kids = given(device_tokens.c.kid, "kids")
    token = _one(device_tokens, device_tokens.c.kid == kids.c.value)
    device = _one(devices, devices.c.device_id == token.c.device_id)
    subject = _one(subjects, subjects.c.subject_id == device.c.subject_id)
    found = {device_tokens: token, devices: device, subjects: subject}
    return select(*(found[column.table].c[column.name] for column in columns)).select_from(
        kids, token, device, subject
    )


def _one(table: Table, this: ColumnElement[bool]) -> LateralFromClause:
    return one(list(table.c), table.c.tenant_id == _TENANT, this)


_STANDINGS = Prepared(
    lambda dialect: _behind_tokens(
        dialect,
        device_tokens.c.kid,
        devices.c.device_id,
        devices.c.subject_id,
        devices.c.revoked,
        devices.c.sealed,
        subjects.c.sealed,
    )
)


def standings(connection: Connection, tenant_id: UUID, kids: Sequence[str]) -> dict[str, Standing]:
    """How the devices behind these tokens stand now. A token that no longer exists is missing."""
    found = {}
    for some in in_lists(kids):
        for kid, *standing in _STANDINGS.rows(
            connection, {"tenant_id": tenant_id, "kids": some}, "kids"
        ):
            found[kid] = Standing(*standing)
    return found


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
    return find_tokens(connection, tenant_id, [kid]).get(kid)


_TOKENS = Prepared(
    lambda dialect: _behind_tokens(
        dialect,
        device_tokens.c.kid,
        device_tokens.c.secret_hash,
        device_tokens.c.fresh,
        devices.c.device_id,
        devices.c.subject_id,
        devices.c.revoked,
        subjects.c.sealed,
    )
)


def find_tokens(connection: Connection, tenant_id: UUID, kids: Sequence[str]) -> dict[str, Token]:
    """Those of these tokens that there are, as `find_token` finds each."""
    found = {}
    for some in in_lists(kids):
        values = {"tenant_id": tenant_id, "kids": some}
        for kid, secret_hash, fresh, device_id, subject_id, revoked, sealed in _TOKENS.rows(
            connection, values, "kids"
        ):
            found[kid] = Token(
                kid=kid,
                secret_hash=secret_hash,
                fresh=bool(fresh),
                device_id=uuid_of(device_id),
                subject_id=uuid_of(subject_id),
                subject_sealed=sealed,
                revoked=bool(revoked),
            )
    return found


def _devices(tenant_id: UUID) -> Select[Any]:
    return select(devices).where(devices.c.tenant_id == tenant_id)


def _device(row: Row[Any]) -> Device:
    return Device(
        device_id=row.device_id,
        subject_id=row.subject_id,
        installation_label=row.installation_label,
        sealed=row.sealed,
        revoked=row.revoked,
    )
