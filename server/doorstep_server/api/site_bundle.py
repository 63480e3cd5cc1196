"""The bundle: a person's sites, for phones that judge positions themselves."""

import asyncio
import base64
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter

from doorstep_server.api import documented
from doorstep_server.auth import device_only
from doorstep_server.bundles import MAX_BYTES, MEDIA_TYPE, Bundle, bundle_of
from doorstep_server.callers import Caller
from doorstep_server.policies import Policy
from doorstep_server.privacy.policy import JudgedBy
from doorstep_server.problems import Refusal
from doorstep_server.services import Services

#: a cache of the phone's own may keep it, and asks before it uses it
_CACHING = "private, no-cache"

IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-None-Match",
        description="The `ETag` of the bundle that is at hand: 304 when it is still the same.",
    ),
]


@get(
    "/v1/sites/bundle",
    guards=[device_only],
    opt={documented.GIVES_FILE: (MEDIA_TYPE,)},
    responses={
        304: ResponseSpec(data_container=None, description="The one at hand is still the same."),
        **documented.refusals(*documented.DEVICE, "bundle-not-given", "bundle-too-large"),
    },
    response_headers=[
        ResponseHeader(
            name="ETag",
            description="The SHA-256 of the file, in hexadecimal digits and quotes.",
            documentation_only=True,
        )
    ],
)
async def read(
    request: Request[Any, Caller, Any],
    services: NamedDependency[Services],
    if_none_match: IfNoneMatch = None,
) -> Response[bytes]:
    """The sites of the person, to judge positions on the phone.

    For purposes that are judged by devices: the active sites that take one of them, and that are
    for everyone or for one of the person's groups. The format is described in
    server/docs/contract.md.
    """
    caller = request.auth
    policy = await services.policies.of(caller.tenant_id)
    bundle = await _bundle(policy, caller)
    headers = {"etag": f'"{bundle.sha256}"', "cache-control": _CACHING}
    if _names(if_none_match, bundle.sha256):
        return Response(b"", status_code=304, headers=headers, media_type=MEDIA_TYPE)
    digest = base64.b64encode(bytes.fromhex(bundle.sha256)).decode()
    headers["repr-digest"] = f"sha-256=:{digest}:"
    return Response(bundle.content, headers=headers, media_type=MEDIA_TYPE)


async def _bundle(policy: Policy, caller: Caller) -> Bundle:
    """Made once for all who see the same sites. Raises `Refusal`."""
    names = {
        p.name for p in policy.purposes.values() if p.active and p.judged_by is JudgedBy.DEVICE
    }
    if not names:
        raise Refusal("bundle-not-given")
    key = msgspec.json.encode(sorted(caller.groups)).decode()
    bundle = policy.bundles.get(key)
    if bundle is None:
        bundle = await asyncio.to_thread(_made, policy, caller.groups, names)
        policy.bundles.put(key, bundle)
    if len(bundle.content) > MAX_BYTES:
        raise Refusal("bundle-too-large")
    return bundle


def _made(policy: Policy, groups: frozenset[str], purposes: set[str]) -> Bundle:
    seen = (
        site for site in policy.index if any(site.admits(groups, purpose) for purpose in purposes)
    )
    return bundle_of(seen, purposes)


def _names(if_none_match: str | None, sha256: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(","))
    return any(tag in {f'"{sha256}"', "*"} for tag in tags)
