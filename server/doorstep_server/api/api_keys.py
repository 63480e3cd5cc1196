"""API keys: for a tenant's admins and integrations."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from doorstep_server import credentials
from doorstep_server.api import documented
from doorstep_server.api.paging import Cursors, Page, Paging
from doorstep_server.auth import Admin, scope
from doorstep_server.credentials import Kind
from doorstep_server.problems import Refusal
from doorstep_server.scopes import ALL_SCOPES, READ, WRITE, Area
from doorstep_server.services import Services
from doorstep_server.store import api_keys
from doorstep_server.store.api_keys import ApiKey
from doorstep_server.texts import Text
from doorstep_server.wire import StrictJson

ScopeName = Literal[ALL_SCOPES]  # type: ignore[valid-type]


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make. `write` includes `read`."""

    name: Annotated[Text, Meta(min_length=1, max_length=200)]
    scopes: Annotated[list[ScopeName], Meta(min_length=1, max_length=16)]


class ShownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


class CreatedKey(ShownKey, frozen=True, kw_only=True):
    """A new key with its secret, shown once."""

    api_key: str


@get(
    "/v1/api-keys",
    guards=[scope(Area.KEYS, READ)],
    responses=documented.refusals(*documented.LIST, *documented.ADMIN),
)
async def list_all(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    paging: NamedDependency[Paging],
) -> Page[ShownKey]:
    """List the keys, revoked ones included."""
    policy = await services.policies.of(request.auth.tenant_id)
    cursors = Cursors[str](policy.keys, str, of="api-keys")
    after = cursors.read(paging.cursor)
    found = await services.read(
        policy.tenant_id,
        lambda c: api_keys.page(c, policy.tenant_id, after=after, limit=paging.limit + 1),
    )
    return cursors.page(found, paging.limit, show=_shown, place=lambda key: key.kid)


@post(
    "/v1/api-keys",
    guards=[scope(Area.KEYS, WRITE)],
    dto=StrictJson[NewKey],
    return_dto=None,
    responses=documented.refusals(*documented.BODY, *documented.ADMIN),
)
async def create(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], data: JSONBody[NewKey]
) -> CreatedKey:
    """Make a key. A key can only pass on scopes that it has itself."""
    if not all(request.auth.may(wanted) for wanted in data.scopes):
        raise Refusal("scope-missing")
    handle = request.auth.kid[: credentials.HANDLE_LENGTH]
    credential = credentials.new_credential(Kind.API_KEY, handle)
    key = ApiKey(
        tenant_id=request.auth.tenant_id,
        kid=credential.kid,
        name=data.name,
        secret_hash=credentials.secret_hash(services.pepper, credential),
        scopes=list(data.scopes),
        created_at=services.now(),
    )
    await services.write_as(request.auth, lambda c: api_keys.add(c, key))
    return CreatedKey(**msgspec.structs.asdict(_shown(key)), api_key=credential.text())


@delete(
    "/v1/api-keys/{kid:str}",
    guards=[scope(Area.KEYS, WRITE)],
    responses=documented.refusals(*documented.ADMIN, "not-found"),
)
async def revoke(
    request: Request[Any, Admin, Any], services: NamedDependency[Services], kid: FromPath[str]
) -> None:
    """Revoke a key for good."""
    tenant_id, now = request.auth.tenant_id, services.now()
    if not await services.write_as(request.auth, lambda c: api_keys.revoke(c, tenant_id, kid, now)):
        raise Refusal("not-found")
    services.policies.forget(tenant_id)


def _shown(key: ApiKey) -> ShownKey:
    return ShownKey(
        id=key.kid,
        name=key.name,
        scopes=key.scopes,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
