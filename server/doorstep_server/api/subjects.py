"""Subjects: the people who check in, by the tenant's external id."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

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
from doorstep_server.callers import Caller
from doorstep_server.check_ins.claim import PurposeName
from doorstep_server.keyring import KnownSubject
from doorstep_server.privacy.personal import (
    SubjectDetails,
    seal_subject_details,
    unseal_subject_details,
)
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import Connection, locks, subjects, tenants
from doorstep_server.store.subjects import StoredSubject
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


class Restrictions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For what nothing of a person is processed until they say otherwise."""

    purposes: Annotated[
        list[PurposeName], Meta(max_length=100, description="For these purposes.")
    ] = []
    wholly: Annotated[bool, Meta(description="Whatever the purpose.")] = False


class ShownSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A person, as far as Doorstep knows them."""

    id: UUID
    external_id: str
    groups: list[str]
    restrictions: Restrictions


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
    policy = await services.policies.of(request.auth.tenant_id)
    tenant_id = policy.tenant_id
    # the keyring knows a person before the database does
    known = await asyncio.to_thread(
        services.keyring.subject_named, policy.keys, tenant_id, data.external_id
    )
    details = SubjectDetails(groups=data.groups)
    new = StoredSubject(
        subject_id=known.subject_id,
        sealed=seal_subject_details(known.keys, known.subject_id, details),
    )
    generation = (await asyncio.to_thread(services.keyring.head)).generation

    def get_or_add(connection: Connection) -> tuple[StoredSubject, bool]:
        tenants.note_keyring(connection, generation)
        return subjects.get_or_add(connection, tenant_id, new)

    subject, existed = await services.write_as(request.auth, get_or_add)
    return Response(_shown(known, subject), status_code=200 if existed else 201)


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
    known = await asyncio.to_thread(
        services.keyring.subjects, policy.tenant_id, {s.subject_id for s in found}
    )
    page = cursors.page(
        found, paging.limit, show=lambda subject: subject, place=lambda subject: subject.subject_id
    )
    # who was erased meanwhile has no key any more; the list goes on after them
    there = [subject for subject in page.items if subject.subject_id in known]
    return Page(
        items=[_shown(known[subject.subject_id], subject) for subject in there],
        next_cursor=page.next_cursor,
    )


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
    known = await known_subject(services, policy.tenant_id, subject_id)
    if found is None:
        raise Refusal("not-found")
    return _shown(known, found)


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
    known = await known_subject(services, request.auth.tenant_id, subject_id)
    return await _changed(
        services, request.auth, known, lambda before: replace(before, groups=data.groups)
    )


@put(
    "/v1/subjects/{subject_id:uuid}/restrictions",
    guards=[scope(Area.PRIVACY, WRITE)],
    dto=StrictJson[Restrictions],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.ADMIN, "not-found"),
)
async def restrict(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    subject_id: FromPath[UUID],
    data: JSONBody[Restrictions],
) -> ShownSubject:
    """Restrict the processing of a person's check-ins, as they asked (GDPR 18 and 21).

    After this is answered, no check-in of theirs is stored for these purposes.
    """
    known = await known_subject(services, request.auth.tenant_id, subject_id)
    return await _changed(
        services, request.auth, known, lambda before: with_restrictions(before, data)
    )


async def known_subject(services: Services, tenant_id: UUID, subject_id: UUID) -> KnownSubject:
    """A person, as the keyring knows them. Raises `Refusal`."""
    known = await asyncio.to_thread(services.keyring.subject, tenant_id, subject_id)
    if known is None:
        raise Refusal("not-found")
    return known


def with_restrictions(before: SubjectDetails, wanted: Restrictions) -> SubjectDetails:
    """The details with other restrictions."""
    return replace(before, restricted=wanted.purposes, restricted_wholly=wanted.wholly)


def shown_restrictions(details: SubjectDetails) -> Restrictions:
    """The restrictions as the API shows them."""
    return Restrictions(purposes=details.restricted, wholly=details.restricted_wholly)


async def change_details(
    services: Services,
    caller: Admin | Caller,
    known: KnownSubject,
    change: Callable[[SubjectDetails], SubjectDetails],
) -> StoredSubject:
    """Change what is kept of a person; it holds from the commit on. Raises `Refusal`."""
    tenant_id, subject_id = caller.tenant_id, known.subject_id

    def write(connection: Connection) -> StoredSubject | None:
        locks.changing(connection, tenant_id, [subject_id])
        stored = subjects.find(connection, tenant_id, subject_id)
        if stored is None:
            return None
        details = change(unseal_subject_details(known.keys, subject_id, stored.sealed))
        sealed = seal_subject_details(known.keys, subject_id, details)
        changed = StoredSubject(subject_id=subject_id, sealed=sealed)
        subjects.replace(connection, tenant_id, changed)
        return changed

    changed = await services.write_as(caller, write)
    if changed is None:
        raise Refusal("not-found")
    services.policies.forget(tenant_id)
    return changed


async def _changed(
    services: Services,
    admin: Admin,
    known: KnownSubject,
    change: Callable[[SubjectDetails], SubjectDetails],
) -> ShownSubject:
    return _shown(known, await change_details(services, admin, known, change))


def _shown(known: KnownSubject, stored: StoredSubject) -> ShownSubject:
    details = unseal_subject_details(known.keys, known.subject_id, stored.sealed)
    return ShownSubject(
        id=known.subject_id,
        external_id=known.external_id,
        groups=details.groups,
        restrictions=shown_restrictions(details),
    )
