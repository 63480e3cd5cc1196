"""Purposes: why location is processed, and what that allows."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from doorstep_server.api import documented
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.auth import Admin, scope
from doorstep_server.check_ins.claim import PurposeName
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import MAX_AGE_LIMIT_S, MAX_TIME_PRECISION_S
from doorstep_server.privacy.policy import JudgedBy, Purpose
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import purposes
from doorstep_server.texts import Text
from doorstep_server.wire import StrictJson

LegalBasis = Literal[
    "consent",
    "contract",
    "legal_obligation",
    "vital_interests",
    "public_task",
    "legitimate_interests",
]


#: of what is stored at the others, the server has to see the position
JUDGED_BY_DEVICES = frozenset({Level.NONE, Level.SITE})


class PurposeContent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a purpose allows. The defaults are careful ones."""

    title: Annotated[Text, Meta(min_length=1, max_length=200)]
    legal_basis: LegalBasis
    level: Annotated[
        Level,
        Meta(
            description="The most that is stored of a place: nothing, the site, a cell of about "
            "5 km² where the purpose has no sites, or for disputes the exact position, sealed, for "
            "24 to 48 hours. The tenant's `max_level` and the permission may allow less."
        ),
    ] = Level.SITE
    time_precision_s: Annotated[
        int,
        Meta(
            ge=60,
            le=MAX_TIME_PRECISION_S,
            description="Stored times are cut to a multiple of this.",
        ),
    ] = 900
    retention_days: Annotated[
        int, Meta(ge=1, le=365, description="Days that a check-in can be read.")
    ] = 60
    max_age_s: Annotated[
        int, Meta(ge=0, le=MAX_AGE_LIMIT_S, description="How old a position may be on arrival.")
    ] = 259_200
    requires_consent: bool = False
    active: bool = True
    judged_by: Annotated[
        JudgedBy,
        Meta(
            description="Who looks at positions. Judged by the `device`, none is ever sent: apps "
            "send the site and what they found, and positions are refused. Only with the levels "
            "`site` and `none`."
        ),
    ] = JudgedBy.SERVER


class NewPurpose(PurposeContent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A purpose to register."""

    name: PurposeName


class PurposeRevision(PurposeContent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A purpose's new content, in place of the version that it names."""

    version: Annotated[int, Meta(ge=1)]


class ShownPurpose(msgspec.Struct, frozen=True, kw_only=True):
    """A registered purpose."""

    name: str
    title: str
    version: int
    legal_basis: str
    level: Level
    time_precision_s: int
    retention_days: int
    max_age_s: int
    requires_consent: bool
    active: bool
    judged_by: JudgedBy


def shown_purpose(purpose: Purpose) -> ShownPurpose:
    """A purpose as the API shows it."""
    return ShownPurpose(**{f: getattr(purpose, f) for f in ShownPurpose.__struct_fields__})


@get(
    "/v1/purposes",
    guards=[scope(Area.PURPOSES, READ)],
    responses=documented.refusals(*documented.LIST, *documented.ADMIN),
)
async def list_all(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    paging: NamedDependency[Paging],
) -> Page[ShownPurpose]:
    """List the purposes, by name."""
    policy = await services.policies.of(request.auth.tenant_id)
    cursors = Cursors[str](policy.keys, str, of="purposes")
    after = cursors.read(paging.cursor) or ""
    found = await services.read(
        policy.tenant_id, lambda connection: purposes.all_purposes(connection, policy.tenant_id)
    )
    rest = [purpose for purpose in found if purpose.name > after]
    return cursors.page(rest, paging.limit, show=shown_purpose, place=lambda p: p.name)


@post(
    "/v1/purposes",
    guards=[scope(Area.PURPOSES, WRITE)],
    dto=StrictJson[NewPurpose],
    return_dto=None,
    responses=documented.refusals(
        *documented.BODY, *documented.ADMIN, "name-taken", "judged-by-impossible"
    ),
)
async def create(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    data: JSONBody[NewPurpose],
) -> ShownPurpose:
    """Register a purpose."""
    purpose = _purpose(data.name, 1, data)
    tenant_id = request.auth.tenant_id
    added = await services.write_as(request.auth, lambda c: purposes.add(c, tenant_id, purpose))
    return _shown(services, request.auth, added)


@get(
    "/v1/purposes/{name:str}",
    guards=[scope(Area.PURPOSES, READ)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def read(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], name: FromPath[str]
) -> ShownPurpose:
    """One purpose."""
    tenant_id = request.auth.tenant_id
    purpose = await services.read(tenant_id, lambda c: purposes.find(c, tenant_id, name))
    if purpose is None:
        raise Refusal("not-found")
    return shown_purpose(purpose)


@put(
    "/v1/purposes/{name:str}",
    guards=[scope(Area.PURPOSES, WRITE)],
    dto=StrictJson[PurposeRevision],
    return_dto=None,
    responses=documented.refusals(
        *documented.BODY,
        *documented.ADMIN,
        "not-found",
        "version-conflict",
        "judged-by-impossible",
    ),
)
async def revise(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    name: FromPath[str],
    data: JSONBody[PurposeRevision],
) -> ShownPurpose:
    """Change a purpose, naming the version that is changed. Stored check-ins keep theirs."""
    purpose = _purpose(name, data.version, data)
    tenant_id = request.auth.tenant_id
    revised = await services.write_as(
        request.auth, lambda c: purposes.revise(c, tenant_id, purpose)
    )
    return _shown(services, request.auth, revised)


def _purpose(name: str, version: int, content: PurposeContent) -> Purpose:
    fields = {f: getattr(content, f) for f in PurposeContent.__struct_fields__}
    if content.judged_by is JudgedBy.DEVICE and content.level not in JUDGED_BY_DEVICES:
        raise Refusal("judged-by-impossible", at="judged_by")
    return Purpose(name=name, version=version, **fields)


def _shown(
    services: Services, admin: Admin, written: Purpose | purposes.Conflict | None
) -> ShownPurpose:
    if written is None:
        raise Refusal("not-found")
    if isinstance(written, purposes.Conflict):
        raise Refusal(written)
    services.policies.forget(admin.tenant_id)
    return shown_purpose(written)
