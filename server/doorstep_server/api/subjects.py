"""Subjects: the people who check in, by the tenant's external id."""

from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from doorstep_server.api import documented, reading
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.api.reading import PurposeHeader
from doorstep_server.auth import Admin, scope
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import subjects
from doorstep_server.store.subjects import Subject
from doorstep_server.texts import Groups, Text
from doorstep_server.wire import StrictJson


class NewSubject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person to know."""

    external_id: Annotated[
        Text,
        Meta(
            min_length=1,
            max_length=200,
            description="The tenant's own id for the person. Prefer one that is no name.",
        ),
    ]
    groups: Groups = []


class SubjectGroups(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which groups a person belongs to."""

    groups: Groups


class ShownSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A person, as far as Doorstep knows them."""

    id: UUID
    external_id: str
    groups: list[str]


@post(
    "/v1/subjects",
    guards=[scope(Area.SUBJECTS, WRITE)],
    dto=StrictJson[NewSubject],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.ADMIN)
    | {
        200: ResponseSpec(
            ShownSubject, description="There is one with this external id.", generate_examples=False
        )
    },
)
async def get_or_create(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    data: JSONBody[NewSubject],
) -> Response[ShownSubject]:
    """Get the subject with this external id, or create it (201)."""
    tenant_id = request.auth.tenant_id
    new = Subject(subject_id=uuid4(), external_id=data.external_id, groups=data.groups)
    subject, existed = await services.write_as(
        request.auth, lambda connection: subjects.get_or_add(connection, tenant_id, new)
    )
    return Response(_shown(subject), status_code=200 if existed else 201)


@get(
    "/v1/subjects",
    guards=[scope(Area.SUBJECTS, READ)],
    responses=documented.refusals(*documented.LIST, *documented.ADMIN, "purpose-required"),
)
async def list_all(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    paging: NamedDependency[Paging],
    doorstep_purpose: PurposeHeader = None,
) -> Page[ShownSubject]:
    """List the subjects."""
    policy = await services.policies.of(request.auth.tenant_id)
    reading.require_reason(policy, doorstep_purpose)
    cursors = Cursors[UUID](policy.keys, UUID, of="subjects")
    after = cursors.read(paging.cursor)
    found = await services.read(
        policy.tenant_id,
        lambda c: subjects.page(c, policy.tenant_id, after=after, limit=paging.limit + 1),
    )
    return cursors.page(found, paging.limit, show=_shown, place=lambda subject: subject.subject_id)


@get(
    "/v1/subjects/{subject_id:uuid}",
    guards=[scope(Area.SUBJECTS, READ)],
    responses=documented.refusals(*documented.ADMIN, "purpose-required", "not-found"),
)
async def read(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    subject_id: FromPath[UUID],
    doorstep_purpose: PurposeHeader = None,
) -> ShownSubject:
    """One subject."""
    policy = await services.policies.of(request.auth.tenant_id)
    reading.require_reason(policy, doorstep_purpose)
    found = await services.read(
        policy.tenant_id, lambda c: subjects.find(c, policy.tenant_id, subject_id)
    )
    return _found(found)


@put(
    "/v1/subjects/{subject_id:uuid}/groups",
    guards=[scope(Area.SUBJECTS, WRITE)],
    dto=StrictJson[SubjectGroups],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.ADMIN, "not-found"),
)
async def set_groups(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    subject_id: FromPath[UUID],
    data: JSONBody[SubjectGroups],
) -> ShownSubject:
    """Say anew which groups a subject belongs to: they decide at which sites it may check in."""
    tenant_id = request.auth.tenant_id
    found = await services.write_as(
        request.auth, lambda c: subjects.set_groups(c, tenant_id, subject_id, data.groups)
    )
    services.policies.forget(tenant_id)
    return _found(found)


def _found(subject: Subject | None) -> ShownSubject:
    if subject is None:
        raise Refusal("not-found")
    return _shown(subject)


def _shown(subject: Subject) -> ShownSubject:
    return ShownSubject(
        id=subject.subject_id, external_id=subject.external_id, groups=subject.groups
    )
