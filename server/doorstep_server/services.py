"""What the handlers work with, made once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from doorstep_server.auth import Admin, Authenticator
from doorstep_server.callers import Caller
from doorstep_server.check_ins.device_limit import DeviceLimit
from doorstep_server.check_ins.flow import Way
from doorstep_server.erasures import Erasures
from doorstep_server.keyring import Keyring
from doorstep_server.meters import Meters
from doorstep_server.policies import Policies
from doorstep_server.problems import Refusal
from doorstep_server.renewals import Renewals
from doorstep_server.site_imports.turns import Turns
from doorstep_server.store import Connection, api_keys, devices, locks
from doorstep_server.store.database import Database
from doorstep_server.store.reach import Reach
from doorstep_server.throttle import FailureThrottle

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The server's parts, wired together."""

    database: Database
    keyring: Keyring
    pepper: bytes = field(repr=False)
    policies: Policies
    way: Way
    renewals: Renewals
    erasures: Erasures
    authenticator: Authenticator
    enrollment_throttle: FailureThrottle
    device_limit: DeviceLimit
    meters: Meters
    #: who sends it is told the metrics; None: they are told to this machine
    metrics_key: str | None = field(repr=False)
    #: the current time, aware
    now: Callable[[], datetime]
    imports: Turns = field(default_factory=Turns)

    async def write_as(self, caller: Admin | Caller, function: Callable[[Connection], T]) -> T:
        """Run a store function in a write transaction that permits the caller anew.

        The guard let the request through by what it knew then; a key or a device that was revoked
        since is refused here.
        """

        return await self.database.write(Reach.of(caller.tenant_id), _permitted(caller, function))

    async def write_much_as(self, caller: Admin | Caller, function: Callable[[Connection], T]) -> T:
        """As `write_as`, for what takes long."""
        permitted = _permitted(caller, function)
        return await self.database.write_much(Reach.of(caller.tenant_id), permitted)

    async def read(self, tenant_id: UUID, function: Callable[[Connection], T]) -> T:
        """Run a store function on one state of the tenant's data."""
        return await self.database.read(Reach.of(tenant_id), function)


def _permitted(
    caller: Admin | Caller, function: Callable[[Connection], T]
) -> Callable[[Connection], T]:
    def run(connection: Connection) -> T:
        _hold(connection, caller)
        _require_standing(connection, caller)
        return function(connection)

    return run


def _hold(connection: Connection, caller: Admin | Caller) -> None:
    """What the caller may, and what is checked before it is written, holds till the commit.

    An admin changes the tenant's configuration, a device what it is permitted itself.
    """
    if isinstance(caller, Admin):
        locks.configuring(connection, caller.tenant_id)
    else:
        locks.changing(connection, caller.tenant_id, [caller.subject_id])


def _require_standing(connection: Connection, caller: Admin | Caller) -> None:
    if isinstance(caller, Admin):
        key = api_keys.find(connection, caller.tenant_id, caller.kid)
        if key is None or key.revoked_at is not None:
            raise Refusal("unauthorized")
        return
    standing = devices.standings(connection, caller.tenant_id, [caller.kid]).get(caller.kid)
    if standing is None:
        raise Refusal("unauthorized")
    if standing.revoked:
        raise Refusal("device-revoked")
