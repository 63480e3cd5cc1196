"""What a transaction may touch: the tenants that it names, and nothing of others.

Every transaction has a reach. On PostgreSQL it is what row level security goes by: the transaction
takes the role `doorstep_app` and names its tenants. On both databases `isolation` checks each
statement against it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from doorstep_server.store import driver

#: the role that every transaction of the server takes: no owner, no superuser
APP_ROLE = "doorstep_app"
#: a statement that waits longer for a lock of another transaction gives up
LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 20_000
#: a process that stopped in the middle of a transaction lets go of its locks after so long
IDLE_TIMEOUT_MS = 20_000

_OPTION = "doorstep_reach"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """The tenants that a transaction names."""

    tenants: frozenset[UUID] = frozenset()
    #: the tenant of this handle may be looked up: for whoever shows a key, token or code
    handle: str | None = None
    #: the list of tenants may be read: for the operator's commands, and for starting
    directory: bool = False
    #: bound to no tenant: for making the schema and changing it
    owner: bool = False

    @classmethod
    def of(cls, *tenant_ids: UUID) -> "Reach":
        """Exactly these tenants."""
        return cls(tenants=frozenset(tenant_ids))

    @classmethod
    def of_all(cls, tenant_ids: Iterable[UUID]) -> "Reach":
        """Exactly these tenants."""
        return cls(tenants=frozenset(tenant_ids))

    @classmethod
    def by_handle(cls, handle: str) -> "Reach":
        """Only the look-up of the tenant that has this handle."""
        return cls(handle=handle)

    def enter(self, connection: Connection) -> None:
        """Bind a transaction to this reach, until its end."""
        connection.execution_options(**{_OPTION: self})
        if connection.dialect.name == "postgresql" and not self.owner:
            driver.fetch(connection, _ENTER, self._settings())

    def _settings(self) -> tuple[str, str, str]:
        return (
            ",".join(sorted(str(tenant_id) for tenant_id in self.tenants)),
            self.handle or "",
            "on" if self.directory else "",
        )


DIRECTORY = Reach(directory=True)
NOTHING = Reach()
OWNER = Reach(owner=True)

# local to the transaction, so that a pool, ours or a proxy's, hands none of it on
_ENTER = f"""
    SELECT concat(
        set_config('role', '{APP_ROLE}', true),
        set_config('doorstep.tenants', $1, true),
        set_config('doorstep.handle', $2, true),
        set_config('doorstep.directory', $3, true),
        set_config('lock_timeout', '{LOCK_TIMEOUT_MS}', true),
        set_config('statement_timeout', '{STATEMENT_TIMEOUT_MS}', true),
        set_config('idle_in_transaction_session_timeout', '{IDLE_TIMEOUT_MS}', true),
        -- no statistics are kept of columns about persons, so to the planner a few keys seem to be
        -- a tenth of all rows; and what it cannot avoid then seems to be worth compiling
        set_config('enable_seqscan', 'off', true),
        set_config('jit', 'off', true),
        -- what is acknowledged is on disk, whatever the server is set to
        set_config('synchronous_commit', replace(
            current_setting('synchronous_commit'), 'off', 'on'), true)
    )
    """


def reach_of(connection: Connection) -> Reach:
    """What the connection's transaction may touch."""
    found: Reach = connection.get_execution_options().get(_OPTION, NOTHING)
    return found
