"""What a tenant lets its sites and its people be."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from doorstep_server.api import documented
from doorstep_server.auth import Admin, scope
from doorstep_server.privacy.levels import Level
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import tenants
from doorstep_server.store.tenants import MAX_AREA_KM2, MAX_SPEED_KMH, Limits
from doorstep_server.wire import StrictJson


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant's limits, all of them: each is given."""

    max_speed_kmh: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_SPEED_KMH,
                description="Who seems to have travelled faster between two sites is doubted: the "
                "verdict is uncertain. Null: travel is not looked at.",
            ),
        ]
        | None
    )
    max_site_area_km2: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_AREA_KM2,
            description="A larger site is refused; sites that are there already stay.",
        ),
    ]
    max_level: Annotated[
        Level,
        Meta(
            description="The most that any purpose may store of a place. Exact positions are kept "
            "(for 24 to 48 hours) only where this is `exact`."
        ),
    ] = Level.CELL


@get(
    "/v1/settings",
    guards=[scope(Area.SITES, READ)],
    responses=documented.refusals(*documented.ADMIN),
)
async def read(
    request: Request[Any, Admin, Any], services: NamedDependency[Services]
) -> TenantSettings:
    """The tenant's limits."""
    tenant_id = request.auth.tenant_id
    return _shown(await services.read(tenant_id, lambda c: tenants.limits(c, tenant_id)))


@put(
    "/v1/settings",
    guards=[scope(Area.SITES, WRITE)],
    dto=StrictJson[TenantSettings],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.ADMIN),
)
async def change(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    data: JSONBody[TenantSettings],
) -> TenantSettings:
    """Set the tenant's limits."""
    tenant_id = request.auth.tenant_id
    wanted = Limits(
        max_speed_kmh=data.max_speed_kmh,
        max_site_area_km2=data.max_site_area_km2,
        max_level=data.max_level,
    )
    await services.write_as(request.auth, lambda c: tenants.set_limits(c, tenant_id, wanted))
    services.policies.forget(tenant_id)
    return _shown(wanted)


def _shown(limits: Limits) -> TenantSettings:
    return TenantSettings(
        max_speed_kmh=limits.max_speed_kmh,
        max_site_area_km2=limits.max_site_area_km2,
        max_level=limits.max_level,
    )
