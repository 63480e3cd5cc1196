"""API keys of a tenant's integrations and admins. Secrets are never stored, only their HMAC."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from doorstep_server.store.schema import api_keys
from doorstep_server.store.tenants import note_change


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """What is stored of a key."""

    tenant_id: UUID
    kid: str
    name: str
    secret_hash: bytes = field(repr=False)
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None = None


def add(connection: Connection, key: ApiKey) -> None:
    """Add a key."""
    connection.execute(
        insert(api_keys).values(
            tenant_id=key.tenant_id,
            kid=key.kid,
            name=key.name,
            secret_hash=key.secret_hash,
            scopes=key.scopes,
            created_at=key.created_at,
        )
    )


def find(connection: Connection, tenant_id: UUID, kid: str) -> ApiKey | None:
    """A key, revoked or not."""
    query = select(api_keys).where(api_keys.c.tenant_id == tenant_id, api_keys.c.kid == kid)
    row = connection.execute(query).mappings().first()
    return ApiKey(**row) if row else None


def page(connection: Connection, tenant_id: UUID, *, after: str | None, limit: int) -> list[ApiKey]:
    """Keys in the order of their ids."""
    query = select(api_keys).where(api_keys.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(api_keys.c.kid > after)
    rows = connection.execute(query.order_by(api_keys.c.kid).limit(limit))
    return [ApiKey(**row) for row in rows.mappings()]


def revoke(connection: Connection, tenant_id: UUID, kid: str, now: datetime) -> bool:
    """Revoke a key for good; False when the tenant has no such key."""
    if find(connection, tenant_id, kid) is None:
        return False
    connection.execute(
        update(api_keys)
        .where(
            api_keys.c.tenant_id == tenant_id,
            api_keys.c.kid == kid,
            api_keys.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    note_change(connection, tenant_id)
    return True
