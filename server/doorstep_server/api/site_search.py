"""The sites of a part of the map. It is told in the body: coordinates never stand in an address."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from doorstep_geofences import Bounds
from doorstep_server.api import documented
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.api.sites import ShownSite, shown_page
from doorstep_server.auth import Admin, scope
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, Area
from doorstep_server.services import Services
from doorstep_server.snapshots import judged_site
from doorstep_server.store import sites
from doorstep_server.store.sites import StoredSite
from doorstep_server.wire import StrictJson

MAX_NEAR_M = 100_000.0
#: sites read at once: each time, PostgreSQL sorts all that are left to look at
LOOK_AT = 500
#: a box is looked into so much farther: a point is a box then, and its edges are part of it, those
#: on the 180° meridian from both sides
_HAIR_M = 0.001

Degrees = Annotated[float, Meta(ge=-180, le=180)]


class Near(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place and how far around it."""

    center: Annotated[
        list[Degrees],
        Meta(min_length=2, max_length=2, description="`[longitude, latitude]`, in degrees."),
    ]
    radius_m: Annotated[float, Meta(ge=0, le=MAX_NEAR_M)]


class SiteSearch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the map: `bbox` or `near`, and only one of them."""

    bbox: (
        Annotated[
            list[Degrees],
            Meta(
                min_length=4,
                max_length=4,
                description="`[west, south, east, north]`, in degrees. West above east crosses "
                "the 180° meridian. Sites are found by the box around what counts as inside.",
            ),
        ]
        | None
    ) = None
    near: (
        Annotated[Near, Meta(description="Sites of which some part is so near to the place.")]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A part of the map: a box, and what must be near to count."""

    bounds: Bounds
    near: tuple[float, float, float] | None = None

    def only(self, found: list[StoredSite]) -> list[StoredSite]:
        """Those of the sites that are in it."""
        return [site for site in found if self._holds(site)]

    def _holds(self, site: StoredSite) -> bool:
        if self.near is None:
            return True
        lon, lat, radius_m = self.near
        area = judged_site(site).area
        return bool(area.covers(lon, lat)) or area.distance_m(lon, lat) <= radius_m


@post(
    "/v1/sites/search",
    status_code=200,
    guards=[scope(Area.SITES, READ)],
    dto=StrictJson[SiteSearch],
    return_dto=None,
    responses=documented.refusals(
        *documented.BODY, *documented.LIST, *documented.ADMIN, "search-invalid"
    ),
)
async def search(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    data: JSONBody[SiteSearch],
    paging: NamedDependency[Paging],
) -> Page[ShownSite]:
    """Find the sites of a part of the map, active or not, each in its current version."""
    part = _part(data)
    policy = await services.policies.of(request.auth.tenant_id)
    cursors = Cursors[UUID](policy.keys, UUID, of="site-search", filters=data)
    after = cursors.read(paging.cursor)
    found: list[StoredSite] = []
    look_at = max(paging.limit + 1, LOOK_AT)
    while len(found) <= paging.limit:
        looked_at = await services.read(
            policy.tenant_id,
            lambda c, after=after: sites.page_within(  # type: ignore[misc]
                c,
                policy.tenant_id,
                part.bounds.on_the_map(),
                after=after,
                limit=look_at,
            ),
        )
        # how far an intricate fence is takes a while, and check-ins must not wait for it
        found += await asyncio.to_thread(part.only, looked_at)
        if len(looked_at) < look_at:
            break
        after = looked_at[-1].site_id
    return await shown_page(cursors, found, paging.limit, lambda site: site.site_id)


def _part(data: SiteSearch) -> _Part:
    if (data.bbox is None) is (data.near is None):
        raise Refusal("invalid-body")
    return _box(data.bbox) if data.bbox is not None else _around(data.near)


def _box(bbox: list[float]) -> _Part:
    west, south, east, north = bbox
    if not -90 <= south <= north <= 90:
        raise Refusal("search-invalid", at="bbox")
    east = east if east >= west else east + 360
    return _Part(bounds=Bounds(west=west, south=south, east=east, north=north).grown(_HAIR_M))


def _around(near: Near | None) -> _Part:
    assert near is not None
    lon, lat = near.center
    if not -90 <= lat <= 90:
        raise Refusal("search-invalid", at="near.center")
    bounds = Bounds.around(lon, lat, near.radius_m + _HAIR_M)
    return _Part(bounds=bounds, near=(lon, lat, near.radius_m))
