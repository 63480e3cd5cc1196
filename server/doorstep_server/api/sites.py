"""Sites: the authorized locations, their history, and trying a position against them."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

import msgspec
from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from doorstep_geofences import (
    CaptureTimes,
    Clocks,
    Freshness,
    InvalidGeofence,
    Note,
    Outcome,
    Question,
    Reason,
    Site,
    SiteIndex,
    judge,
    read_geofence,
)
from doorstep_server.api import documented
from doorstep_server.api.geofence_schema import GeofenceDocument
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.auth import Admin, scope
from doorstep_server.check_ins.claim import Age, AwareTime, FixClaim
from doorstep_server.hours_document import HoursDocument
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.site_content import Fault, SiteMembers, check
from doorstep_server.site_doubts import beside, of_itself, of_purposes
from doorstep_server.snapshots import judged_site
from doorstep_server.store import Connection, sites
from doorstep_server.store.sites import Conflict, SiteContent, StoredSite
from doorstep_server.store.tenants import Limits
from doorstep_server.wire import GEOFENCE_BODY_BYTES, StrictJson

P = TypeVar("P")

#: what the column holds
MAX_VERSION = 2**31 - 1


class NewSite(SiteMembers, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An authorized location."""

    geofence: GeofenceDocument


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
    hours: HoursDocument | None
    purposes: list[str]
    groups: list[str]
    active: bool


class SiteWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something odd about a site that was taken: a look at it is worth while."""

    code: str
    message: Annotated[str, Meta(description="What it means.")]
    at: Annotated[str | UnsetType, Meta(description="Where in the body.")] = UNSET
    site_id: Annotated[
        UUID | UnsetType, Meta(description="The site that it overlaps or repeats.")
    ] = UNSET


class WrittenSite(ShownSite, frozen=True, kw_only=True):
    """A site as it was just written."""

    warnings: list[SiteWarning]


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position to try. It is judged as a live check-in would be; nothing is stored."""

    fix: FixClaim
    site_id: UUID | None = None
    site_version: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_VERSION,
                description="Of the site: an old verdict is explained by what held then.",
            ),
        ]
        | None
    ) = None
    sent_at: AwareTime | None = None
    age_s: Age | None = None


class TrialVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check-in would have been told."""

    outcome: Outcome
    reason: Reason
    reasons: Annotated[
        list[Reason],
        Meta(
            description="What a check-in would be told one after the other, if each time the one "
            "before were put right. The first is `reason`."
        ),
    ]
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
        "hours-invalid",
        "timezone-unknown",
        "external-id-taken",
    ),
)
async def create(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], data: JSONBody[NewSite]
) -> WrittenSite:
    """Authorize a location. What seems odd of it is told in `warnings`."""
    tenant_id, site_id = request.auth.tenant_id, uuid4()
    checked = await _checked(services, tenant_id, data, site_id)
    site = StoredSite(
        site_id=site_id, version=1, valid_from=services.now(), content=checked.content
    )
    added = await services.write_as(request.auth, lambda c: sites.add(c, tenant_id, site))
    return _written(services, tenant_id, added, checked.warnings)


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
        "hours-invalid",
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
) -> WrittenSite:
    """Change a site, naming the version that is changed. The old version is kept as history."""
    tenant_id = request.auth.tenant_id
    checked = await _checked(services, tenant_id, data, site_id)
    site = StoredSite(
        site_id=site_id,
        version=data.version + 1,
        valid_from=services.now(),
        content=checked.content,
    )
    revised = await services.write_as(request.auth, lambda c: sites.revise(c, tenant_id, site))
    return _written(services, tenant_id, revised, checked.warnings)


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


@get(
    "/v1/sites/{site_id:uuid}/versions/{version:int}",
    guards=[scope(Area.SITES, READ)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def read_version(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    site_id: FromPath[UUID],
    version: FromPath[int],
) -> ShownSite:
    """A site as it was in one of its versions."""
    return shown(await _version(services, request.auth.tenant_id, site_id, version))


@post(
    "/v1/sites/judge",
    status_code=200,
    guards=[scope(Area.SITES, READ)],
    dto=StrictJson[Trial],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.ADMIN, "site-unknown", "not-found"),
)
async def try_position(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], data: JSONBody[Trial]
) -> TrialVerdict:
    """Try a position against the active sites, or against one. Nothing is stored.

    With `site_version`, against the site as it was then, active now or not.
    """
    index = await _tried(services, request.auth.tenant_id, data)
    question = _question(data, services.now())
    [verdict] = judge([question], index)
    return TrialVerdict(
        outcome=verdict.outcome,
        reason=verdict.reason,
        reasons=list(_reasons(question, index)),
        site_id=_site_id(verdict.site),
        site_version=verdict.site.version if verdict.site else None,
    )


async def _tried(services: Services, tenant_id: UUID, data: Trial) -> SiteIndex:
    """What a position is tried against."""
    if data.site_version is not None:
        if data.site_id is None:
            raise Refusal("invalid-body", at="site_version")
        site = await _version(services, tenant_id, data.site_id, data.site_version)
        return SiteIndex([judged_site(site)])
    policy = await services.policies.of(tenant_id)
    if data.site_id is not None and policy.index.get(data.site_id) is None:
        raise Refusal("site-unknown")
    return policy.index


def _reasons(question: Question, index: SiteIndex) -> Iterator[Reason]:
    """Each reason in its turn, by asking again without what the one before is about."""
    while True:
        [verdict] = judge([question], index)
        yield verdict.reason
        without = _WITHOUT.get(verdict.reason)
        if without is None:
            return
        question = without(question)


#: what a question is without what a reason is about; the others end the search
_WITHOUT: dict[Reason, Callable[[Question], Question]] = {
    Reason.MOCKED: lambda asked: replace(asked, fix=replace(asked.fix, mocked=False)),
    Reason.STALE_FIX: lambda asked: replace(asked, freshness=Freshness.FRESH),
    Reason.CLOCK_SKEW: lambda asked: replace(asked, freshness=Freshness.FRESH),
    Reason.OUTSIDE_HOURS: lambda asked: replace(asked, at=None),
}


async def shown_page(
    cursors: Cursors[P],
    found: list[StoredSite],
    limit: int,
    place: Callable[[StoredSite], P],
) -> Page[ShownSite]:
    """In a thread: to write large geofences out takes a while, and check-ins must not wait."""
    return await asyncio.to_thread(lambda: cursors.page(found, limit, show=shown, place=place))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """A site that can be kept, and what seems odd of it."""

    content: SiteContent
    warnings: list[SiteWarning]


async def _checked(services: Services, tenant_id: UUID, data: NewSite, site_id: UUID) -> _Checked:
    """In a thread: to check a large geofence takes a while, and check-ins must not wait for it."""
    policy = await services.policies.of(tenant_id)

    def work() -> _Checked:
        content, notes = _content(data, policy.limits)
        notes = (*notes, *of_itself(content), *of_purposes(content, policy.purposes))
        warnings = [_warning(note) for note in notes]
        for other, overlap in beside(content.geofence, policy.index, but=site_id):
            warnings.append(_warning(overlap.note, other))
        return _Checked(content=content, warnings=warnings)

    return await asyncio.to_thread(work)


def _content(data: NewSite, limits: Limits) -> tuple[SiteContent, tuple[Note, ...]]:
    """What an admin sent, checked. Raises `Refusal`."""
    try:
        reading = read_geofence(data.geofence)
    except InvalidGeofence as error:
        at = f"geofence.{error.at}" if error.at else "geofence"
        raise Refusal("geofence-invalid", at=at, reason=error.code) from None
    content = check(data, reading.geofence, limits)
    if isinstance(content, Fault):
        raise Refusal(content.problem, at=content.at, reason=content.reason)
    return content, reading.notes


def _warning(note: Note, site_id: UUID | None = None) -> SiteWarning:
    return SiteWarning(
        code=note.code,
        message=note.message,
        at=UNSET if note.at is None else f"geofence.{note.at}",
        site_id=UNSET if site_id is None else site_id,
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
        hours=kept.hours,
        purposes=kept.purposes,
        groups=kept.groups,
        active=kept.active,
    )


async def _version(services: Services, tenant_id: UUID, site_id: UUID, version: int) -> StoredSite:
    if not 1 <= version <= MAX_VERSION:
        raise Refusal("not-found")
    site = await services.read(
        tenant_id, lambda c: sites.find_version(c, tenant_id, site_id, version)
    )
    if site is None:
        raise Refusal("not-found")
    return site


def _written(
    services: Services,
    tenant_id: UUID,
    written: StoredSite | Conflict | None,
    warnings: list[SiteWarning],
) -> WrittenSite:
    if written is None:
        raise Refusal("not-found")
    if isinstance(written, Conflict):
        raise Refusal(written)
    services.policies.forget(tenant_id)
    return WrittenSite(**msgspec.structs.asdict(shown(written)), warnings=warnings)


def _question(data: Trial, now: datetime) -> Question:
    clocks = Clocks.of(
        CaptureTimes(
            captured_at=data.fix.captured_at,
            received_at=now,
            sent_at=data.sent_at,
            age_s=data.age_s,
        )
    )
    return Question(
        fix=data.fix.fix(),
        site_id=data.site_id,
        freshness=clocks.freshness,
        at=clocks.captured_at,
    )


def _site_id(site: Site | None) -> UUID | None:
    return UUID(str(site.site_id)) if site else None
