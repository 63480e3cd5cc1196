"""What a tenant has set, as its record of processing tells it."""

from uuid import UUID

from sqlalchemy import Connection

from doorstep_server.privacy.record import Configuration
from doorstep_server.store import purposes, tenants


def configuration(connection: Connection, tenant_id: UUID) -> Configuration:
    """Of one tenant, as this transaction sees it."""
    tenant = tenants.by_id(connection, tenant_id)
    assert tenant is not None, "a caller names its own tenant, and tenants are not removed"
    limits = tenants.limits(connection, tenant_id)
    return Configuration(
        tenant_name=tenant.name,
        purposes=purposes.all_purposes(connection, tenant_id),
        max_level=limits.max_level,
        max_speed_kmh=limits.max_speed_kmh,
    )
