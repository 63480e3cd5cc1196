"""Who is calling: guards let a request through to a route, or refuse it before its body is read.

Every route under /v1 has one of these guards, except the one that enrolls. What is cached here
may refuse early; whether a device may act is read again in the transaction that acts.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from doorstep_server import credentials
from doorstep_server.callers import Caller
from doorstep_server.credentials import Credential, Kind
from doorstep_server.gathered import Gathered, for_each_tenant
from doorstep_server.keyring import Keyring, KnownSubject
from doorstep_server.policies import KnownToken, Policies, Policy
from doorstep_server.privacy.personal import unseal_subject_details
from doorstep_server.problems import Refusal
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.store import Connection, api_keys, devices, tenants
from doorstep_server.store.api_keys import ApiKey
from doorstep_server.store.database import Database
from doorstep_server.store.devices import Token
from doorstep_server.store.reach import Reach

_Connection = ASGIConnection[BaseRouteHandler, Any, Any, Any]
Guard = Callable[[_Connection, BaseRouteHandler], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Admin:
    """An authenticated API key."""

    tenant_id: UUID
    kid: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the key has a scope; who may write may read."""
        return scope in self.scopes or scope.replace(f":{READ}", f":{WRITE}") in self.scopes


_BEARER = "Bearer "
_OF_DEVICES = f"{_BEARER}{Kind.DEVICE_TOKEN}_"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Authenticator:
    """Checks credentials against what is stored."""

    def __init__(
        self, database: Database, keyring: Keyring, policies: Policies, pepper: bytes
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._policies = policies
        self._pepper = pepper
        self._tenants: dict[str, UUID] = {}
        self._stored_tokens = Gathered(self._read_tokens)
        self._known_subjects = Gathered(self._read_subjects)

    async def device(self, header: str | None) -> Caller:
        """The device that presents this Authorization header. Raises `Refusal`."""
        return self.device_at_hand(header) or await self._device(header)

    def device_at_hand(self, header: str | None) -> Caller | None:
        """The same where nothing has to be looked up; None where it must be looked at closely."""
        if header is None or not header.startswith(_OF_DEVICES):
            return None
        token = header[len(_BEARER) :]
        kid = token[credentials.KID]
        tenant_id = self._tenants.get(kid[: credentials.HANDLE_LENGTH])
        policy = None if tenant_id is None else self._policies.at_hand(tenant_id)
        known = None if policy is None else policy.tokens.get(kid)
        if policy is None or known is None or known.token.revoked or known.token.fresh:
            return None
        if not hmac.compare_digest(_digest(token), known.presented):
            return None
        policy.tokens.put(kid, known)
        return known.caller

    async def _device(self, header: str | None) -> Caller:
        credential, tenant_id = await self._presented(header, Kind.DEVICE_TOKEN)
        policy = await self._policies.of(tenant_id)
        known = policy.tokens.get(credential.kid)
        if known is None or not self._matches(credential, known.token.secret_hash):
            known = await self._presented_token(policy, credential)
        if known.token.revoked:
            raise Refusal("device-revoked")
        await self._used(policy, known)
        return known.caller

    async def _presented_token(self, policy: Policy, credential: Credential) -> KnownToken:
        """A token that is presented for the first time since the policy changed."""
        token = await self._stored_tokens.ask((policy.tenant_id, credential.kid))
        self._verify(credential, token.secret_hash if token else None)
        assert token is not None
        subject = await self._known_subjects.ask((policy.tenant_id, token.subject_id))
        if subject is None:
            # whose key was destroyed is nobody's device any more
            raise Refusal("unauthorized")
        details = unseal_subject_details(subject.keys, subject.subject_id, token.subject_sealed)
        caller = Caller(
            tenant_id=policy.tenant_id,
            kid=token.kid,
            device_id=token.device_id,
            subject_id=token.subject_id,
            subject_keys=subject.keys,
            groups=frozenset(details.groups),
        )
        return KnownToken(token=token, presented=_digest(credential.text()), caller=caller)

    async def _used(self, policy: Policy, known: KnownToken) -> None:
        """Keep a token at hand; the first use of a rotated one ends those before it."""
        token = known.token
        if not token.fresh:
            policy.tokens.put(token.kid, known)
            return
        settled = await self._database.write(
            Reach.of(policy.tenant_id), lambda c: devices.settle_token(c, policy.tenant_id, token)
        )
        self._policies.forget(policy.tenant_id)
        if not settled:
            raise Refusal("unauthorized")

    async def admin(self, header: str | None) -> Admin:
        """The API key that presents this Authorization header. Raises `Refusal`."""
        credential, tenant_id = await self._presented(header, Kind.API_KEY)
        policy = await self._policies.of(tenant_id)
        key = policy.api_keys.get(credential.kid)
        if key is None or not self._matches(credential, key.secret_hash):
            key = await self._api_key(tenant_id, credential.kid)
        self._verify(credential, key.secret_hash if key else None)
        assert key is not None
        if key.revoked_at is not None:
            raise Refusal("unauthorized")
        policy.api_keys.put(key.kid, key)
        return Admin(tenant_id=tenant_id, kid=key.kid, scopes=frozenset(key.scopes))

    async def tenant_of(self, handle: str) -> UUID | None:
        """The tenant that a handle names."""
        known = self._tenants.get(handle)
        if known is None:
            tenant = await self._database.read(
                Reach.by_handle(handle), lambda c: tenants.by_handle(c, handle)
            )
            if tenant is None:
                return None
            known = self._tenants[handle] = tenant.tenant_id
        return known

    async def _presented(self, header: str | None, kind: Kind) -> tuple[Credential, UUID]:
        scheme, _, text = (header or "").partition(" ")
        credential = credentials.parse(text) if scheme.lower() == "bearer" else None
        if credential is None or credential.kind is not kind:
            raise Refusal("unauthorized")
        tenant_id = await self.tenant_of(credential.handle)
        if tenant_id is None:
            self._verify(credential, None)
        assert tenant_id is not None
        return credential, tenant_id

    def _verify(self, credential: Credential, stored: bytes | None) -> None:
        """Refuse unless the secret is the stored one.

        In like time whatever is wrong: each refusal comes after one look into the database.
        """
        if not self._matches(credential, stored):
            raise Refusal("unauthorized")

    def _matches(self, credential: Credential, stored: bytes | None) -> bool:
        return credentials.matches(self._pepper, credential, stored)

    async def _read_tokens(self, asked: Sequence[tuple[UUID, str]]) -> list[Token | None]:
        """Tokens of whatever tenants, in one read."""

        def read(connection: Connection) -> list[Token | None]:
            def of_tenant(tenant_id: UUID, kids: Sequence[str]) -> list[Token | None]:
                found = devices.find_tokens(connection, tenant_id, kids)
                return [found.get(kid) for kid in kids]

            return for_each_tenant(asked, of_tenant)

        return await self._database.read(Reach.of_all(tenant_id for tenant_id, _ in asked), read)

    async def _read_subjects(self, asked: Sequence[tuple[UUID, UUID]]) -> list[KnownSubject | None]:
        """People of whatever tenants, in one look into the keyring."""

        def of_tenant(tenant_id: UUID, subject_ids: Sequence[UUID]) -> list[KnownSubject | None]:
            found = self._keyring.subjects(tenant_id, subject_ids)
            return [found.get(subject_id) for subject_id in subject_ids]

        return await asyncio.to_thread(for_each_tenant, asked, of_tenant)

    async def _api_key(self, tenant_id: UUID, kid: str) -> ApiKey | None:
        return await self._database.read(
            Reach.of(tenant_id), lambda c: api_keys.find(c, tenant_id, kid)
        )


def _authenticator(connection: _Connection) -> Authenticator:
    found: Authenticator = connection.app.state.authenticator
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardCaller:
    """A kind of caller that a guard lets through, as the API describes it."""

    scheme: str
    #: what an API key needs; None for devices
    scope: str | None = None


_DEVICE = GuardCaller(scheme="deviceToken")
_callers: dict[object, tuple[GuardCaller, ...]] = {}


def guard_callers(guard: object) -> tuple[GuardCaller, ...]:
    """Whom a guard lets through."""
    return _callers[guard]


async def device_only(connection: _Connection, _: BaseRouteHandler) -> None:
    """Guard: a device token."""
    header = connection.headers.get("authorization")
    connection.scope["auth"] = await _authenticator(connection).device(header)


_callers[device_only] = (_DEVICE,)


def scope(area: Area, access: str) -> Guard:
    """Guard: an API key with this scope."""
    wanted = f"{area}:{access}"

    async def guard(connection: _Connection, _: BaseRouteHandler) -> None:
        header = connection.headers.get("authorization")
        admin = await _authenticator(connection).admin(header)
        if not admin.may(wanted):
            raise Refusal("scope-missing")
        connection.scope["auth"] = admin

    _callers[guard] = (GuardCaller(scheme="apiKey", scope=wanted),)
    return guard


def device_or_scope(area: Area, access: str) -> Guard:
    """Guard: a device token, or an API key with this scope."""
    for_admins = scope(area, access)

    async def guard(connection: _Connection, handler: BaseRouteHandler) -> None:
        header = connection.headers.get("authorization", "")
        is_key = header.partition(" ")[2].startswith(f"{Kind.API_KEY}_")
        await (for_admins if is_key else device_only)(connection, handler)

    _callers[guard] = (_DEVICE, *_callers[for_admins])
    return guard
