"""Sites: the authorized locations, their history, and trying a position against them."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID, uuid4
from zoneinfo import available_timezones

import msgspec
from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from doorstep_geofences import (
    CaptureTimes,
    Geofence,
    InvalidGeofence,
    Outcome,
    Question,
    Reason,
    Site,
    freshness,
    judge,
)
from doorstep_server.api import documented
from doorstep_server.api.geofence_schema import GeofenceDocument
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.api.subjects import Groups
from doorstep_server.auth import Admin, scope
from doorstep_server.check_ins.claim import Age, AwareTime, FixClaim, PurposeName
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import Connection, sites
from doorstep_server.store.sites import Conflict, SiteContent, StoredSite
from doorstep_server.wire import GEOFENCE_BODY_BYTES, StrictJson, Text

P = TypeVar("P")


class NewSite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An authorized location."""

    name: Annotated[Text, Meta(min_length=1, max_length=200)]
    geofence: GeofenceDocument
    timezone: Annotated[
        str,
        Meta(
            max_length=64,
            description="IANA name, such as America/Sao_Paulo.",
            examples=["America/Sao_Paulo"],
        ),
    ]
    external_id: Annotated[Text, Meta(min_length=1, max_length=200)] | None = None
    tolerance_m: Annotated[
        float, Meta(ge=0, le=1_000, description="The geofence is grown by this before judging.")
    ] = 0.0
    assurance: Annotated[
        Literal["standard", "strict"],
        Meta(description="How sure one must be that the person is inside: 50 % or 90 %."),
    ] = "standard"
    max_accuracy_m: Annotated[
        float, Meta(gt=0, le=10_000, description="Worse positions are uncertain.")
    ] = 100.0
    hours: Annotated[
        None, Meta(description="Opening hours come with a later version: always open for now.")
    ] = None
    purposes: Annotated[
        list[PurposeName], Meta(max_length=100, description="Empty: every purpose.")
    ] = []
    groups: Annotated[Groups, Meta(description="Who may check in here. Empty: everyone.")] = []
    active: bool = True


class SiteRevision(NewSite, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A site's new content, in place of the version that it names."""

    version: Annotated[int, Meta(ge=1)]


class ShownSite(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a site."""

    id: UUID
    version: int
    valid_from: datetime
    name: str
    external_id: str | None
    geofence: GeofenceDocument
    tolerance_m: float
    assurance: str
    max_accuracy_m: float
    timezone: str
    hours: None
    purposes: list[str]
    groups: list[str]
    active: bool


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position to try. It is judged as a live check-in would be; nothing is stored."""

    fix: FixClaim
    site_id: UUID | None = None
    sent_at: AwareTime | None = None
    age_s: Age | None = None


class TrialVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check-in would have been told."""

    outcome: Outcome
    reason: Reason
    site_id: UUID | None
    site_version: int | None


@get(
    "/v1/sites",
    guards=[scope(Area.SITES, READ)],
    responses=documented.refusals(*documented.LIST, *documented.ADMIN),
)
async def list_all(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    paging: NamedDependency[Paging],
) -> Page[ShownSite]:
    """List the sites, each in its current version."""
    policy = await services.policies.of(request.auth.tenant_id)
    cursors = Cursors[UUID](policy.keys, UUID, of="sites")
    after = cursors.read(paging.cursor)
    found = await services.read(
        policy.tenant_id,
        lambda c: sites.page(c, policy.tenant_id, after=after, limit=paging.limit + 1),
    )
    return await shown_page(cursors, found, paging.limit, lambda site: site.site_id)


@post(
    "/v1/sites",
    guards=[scope(Area.SITES, WRITE)],
    dto=StrictJson[NewSite],
    return_dto=None,
    request_max_body_size=GEOFENCE_BODY_BYTES,
    responses=documented.refusals(
        *documented.BODY,
        *documented.ADMIN,
        "geofence-invalid",
        "timezone-unknown",
        "external-id-taken",
    ),
)
async def create(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], data: JSONBody[NewSite]
) -> ShownSite:
    """Authorize a location."""
    tenant_id = request.auth.tenant_id
    site = StoredSite(
        site_id=uuid4(), version=1, valid_from=services.now(), content=await _checked(data)
    )
    added = await services.write_as(request.auth, lambda c: sites.add(c, tenant_id, site))
    return _written(services, tenant_id, added)


@get(
    "/v1/sites/{site_id:uuid}",
    guards=[scope(Area.SITES, READ)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def read(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], site_id: FromPath[UUID]
) -> ShownSite:
    """One site, in its current version."""
    tenant_id = request.auth.tenant_id
    site = await services.read(tenant_id, lambda c: sites.find(c, tenant_id, site_id))
    if site is None:
        raise Refusal("not-found")
    return shown(site)


@put(
    "/v1/sites/{site_id:uuid}",
    guards=[scope(Area.SITES, WRITE)],
    dto=StrictJson[SiteRevision],
    return_dto=None,
    request_max_body_size=GEOFENCE_BODY_BYTES,
    responses=documented.refusals(
        *documented.BODY,
        *documented.ADMIN,
        "not-found",
        "geofence-invalid",
        "timezone-unknown",
        "external-id-taken",
        "version-conflict",
    ),
)
async def revise(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    site_id: FromPath[UUID],
    data: JSONBody[SiteRevision],
) -> ShownSite:
    """Change a site, naming the version that is changed. The old version is kept as history."""
    tenant_id = request.auth.tenant_id
    site = StoredSite(
        site_id=site_id,
        version=data.version + 1,
        valid_from=services.now(),
        content=await _checked(data),
    )
    revised = await services.write_as(request.auth, lambda c: sites.revise(c, tenant_id, site))
    return _written(services, tenant_id, revised)


@delete(
    "/v1/sites/{site_id:uuid}",
    guards=[scope(Area.SITES, WRITE)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def deactivate(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], site_id: FromPath[UUID]
) -> None:
    """Deactivate a site: no check-in names it any more. Its history stays."""
    tenant_id, now = request.auth.tenant_id, services.now()

    def write(connection: Connection) -> StoredSite | Conflict | None:
        return sites.deactivate(connection, tenant_id, site_id, now)

    if await services.write_as(request.auth, write) is None:
        raise Refusal("not-found")
    services.policies.forget(tenant_id)


@get(
    "/v1/sites/{site_id:uuid}/versions",
    guards=[scope(Area.SITES, READ)],
    responses=documented.refusals(*documented.LIST, *documented.ADMIN, "not-found"),
)
async def versions(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    site_id: FromPath[UUID],
    paging: NamedDependency[Paging],
) -> Page[ShownSite]:
    """A site's versions, newest first: what a verdict that names one was judged by."""
    policy = await services.policies.of(request.auth.tenant_id)
    cursors = Cursors[int](policy.keys, int, of="site-versions", filters=site_id)
    before = cursors.read(paging.cursor)
    found = await services.read(
        policy.tenant_id,
        lambda c: sites.history(
            c, policy.tenant_id, site_id, before=before, limit=paging.limit + 1
        ),
    )
    if not found and before is None:
        raise Refusal("not-found")
    return await shown_page(cursors, found, paging.limit, lambda site: site.version)


@post(
    "/v1/sites/judge",
    status_code=200,
    guards=[scope(Area.SITES, READ)],
    dto=StrictJson[Trial],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.ADMIN, "site-unknown"),
)
async def try_position(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], data: JSONBody[Trial]
) -> TrialVerdict:
    """Try a position against the active sites, or against one. Nothing is stored."""
    policy = await services.policies.of(request.auth.tenant_id)
    if data.site_id is not None and data.site_id not in policy.rules:
        raise Refusal("site-unknown")
    [verdict] = judge([_question(data, services.now())], policy.index)
    return TrialVerdict(
        outcome=verdict.outcome,
        reason=verdict.reason,
        site_id=_site_id(verdict.site),
        site_version=verdict.site.version if verdict.site else None,
    )


@cache
def _timezones() -> frozenset[str]:
    """Read once: it walks through the file system."""
    return frozenset(available_timezones())


async def shown_page(
    cursors: Cursors[P],
    found: list[StoredSite],
    limit: int,
    place: Callable[[StoredSite], P],
) -> Page[ShownSite]:
    """In a thread: to write large geofences out takes a while, and check-ins must not wait."""
    return await asyncio.to_thread(lambda: cursors.page(found, limit, show=shown, place=place))


async def _checked(data: NewSite) -> SiteContent:
    """In a thread: to check a large geofence takes a while, and check-ins must not wait for it."""
    return await asyncio.to_thread(content, data)


def content(data: NewSite) -> SiteContent:
    """What an admin sent, checked. Raises `Refusal`."""
    if data.timezone not in _timezones():
        raise Refusal("timezone-unknown", at="timezone")
    try:
        geofence = Geofence.parse(data.geofence)
    except InvalidGeofence as error:
        at = f"geofence.{error.at}" if error.at else "geofence"
        raise Refusal("geofence-invalid", at=at, reason=error.code) from None
    return SiteContent(
        name=data.name,
        external_id=data.external_id,
        geofence=geofence,
        tolerance_m=data.tolerance_m,
        assurance=data.assurance,
        max_accuracy_m=data.max_accuracy_m,
        timezone=data.timezone,
        purposes=list(data.purposes),
        groups=list(data.groups),
        active=data.active,
    )


def shown(site: StoredSite) -> ShownSite:
    """A site as the API shows it."""
    kept = site.content
    return ShownSite(
        id=site.site_id,
        version=site.version,
        valid_from=site.valid_from,
        name=kept.name,
        external_id=kept.external_id,
        geofence=kept.geofence.to_document(),
        tolerance_m=kept.tolerance_m,
        assurance=kept.assurance,
        max_accuracy_m=kept.max_accuracy_m,
        timezone=kept.timezone,
        hours=None,
        purposes=kept.purposes,
        groups=kept.groups,
        active=kept.active,
    )


def _written(
    services: Services, tenant_id: UUID, written: StoredSite | Conflict | None
) -> ShownSite:
    if written is None:
        raise Refusal("not-found")
    if isinstance(written, Conflict):
        raise Refusal(written)
    services.policies.forget(tenant_id)
    return shown(written)


def _question(data: Trial, now: datetime) -> Question:
    times = CaptureTimes(
        captured_at=data.fix.captured_at,
        received_at=now,
        sent_at=data.sent_at,
        age_s=data.age_s,
    )
    return Question(
        fix=data.fix.fix(),
        site_id=data.site_id,
        freshness=freshness(times),
    )


def _site_id(site: Site | None) -> UUID | None:
    return UUID(str(site.site_id)) if site else None
