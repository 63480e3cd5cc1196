"""Making and opening a deployment: a database and the keyring that belongs to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from doorstep_server import credentials, sweeping
from doorstep_server.credentials import Kind
from doorstep_server.keyring import LOST_DATABASE, Keyring, KeyringUnusable
from doorstep_server.keyring.entries import Head
from doorstep_server.keyring.opening import create_root, entries_at, open_root
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.policy import Purpose
from doorstep_server.scopes import ALL_SCOPES
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, api_keys, migrate, purposes, retention, tenants
from doorstep_server.store.api_keys import ApiKey
from doorstep_server.store.database import Database, DatabaseUnavailable
from doorstep_server.store.opening import database_at
from doorstep_server.store.reach import DIRECTORY, Reach
from doorstep_server.store.tenants import Binding, Tenant

FIRST_PURPOSE = Purpose(
    name="visit",
    title="Visits to authorized locations",
    version=1,
    legal_basis="legitimate_interests",
    level=Level.SITE,
    time_precision_s=900,
    retention_days=60,
    max_age_s=259_200,
    requires_consent=False,
    active=True,
)

_FIRST_RETENTION = timedelta(days=FIRST_PURPOSE.retention_days)


class NotInitialized(RuntimeError):
    """There is no deployment where the settings say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTenant:
    """A tenant that was just made, with its admin key: shown once, stored nowhere."""

    tenant: Tenant
    api_key: str = field(repr=False)


def initialize(settings: Settings, now: datetime, *, tenant: Tenant) -> NewTenant | None:
    """Make a deployment with a first tenant; None when there is one, which is left as it is."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    made: list[Keyring] = []

    # one transaction: of several that initialize at once, one does and the others find it done
    def make(connection: Connection) -> NewTenant | None:
        if migrate.is_empty(connection):
            migrate.migrate(connection)
            retention.make_partitions(connection, now.date(), _FIRST_RETENTION)
        if tenants.binding(connection) is not None:
            return None
        keyring = Keyring.create(entries_at(settings), create_root(settings), uuid4())
        made.append(keyring)
        tenants.bind_keyring(connection, _binding(keyring.head()))
        return add_tenant(connection, keyring, tenant, now)

    with closed_after(database(settings)) as opened:
        try:
            return opened.administer(make)
        except DatabaseUnavailable:
            # perhaps it was committed: then what was made belongs together
            raise
        except Exception:
            for keyring in made:
                keyring.remove()
            raise


def _binding(head: Head) -> Binding:
    return Binding(
        keyring_id=head.keyring_id,
        database_id=head.database_id,
        keyring_generation=head.generation,
    )


def database(settings: Settings) -> Database:
    """The database that the settings name; nothing is opened yet."""
    return database_at(settings.database(), admin_url=settings.admin_database_url)


@contextmanager
def closed_after(opened: Database) -> Iterator[Database]:
    """For commands: a database that is closed when they are done."""
    try:
        yield opened
    finally:
        opened.close_now()


def open_deployment(settings: Settings) -> tuple[Database, Keyring]:
    """Open what `initialize` made.

    Raises `NotInitialized`, `SchemaOutdated`, `KeyringUnusable`, `DatabaseUnavailable`.
    """
    opened = database(settings)
    try:
        return opened, _keyring_of(opened, settings)
    except BaseException:
        opened.close_now()
        raise


def require_made(opened: Database, settings: Settings) -> None:
    """Raise `NotInitialized`, or `KeyringUnusable` where a database was lost."""
    if opened.exists():
        return
    if entries_at(settings).exists():
        raise KeyringUnusable(LOST_DATABASE)
    raise NotInitialized(
        "There is no Doorstep here yet. Run `doorstep init` first, or set DOORSTEP_HOME or "
        "DOORSTEP_DATABASE_URL to where it is."
    )


def _keyring_of(opened: Database, settings: Settings) -> Keyring:
    require_made(opened, settings)
    binding, known = opened.read_now(DIRECTORY, _bound_to)
    keyring = Keyring.open(entries_at(settings), open_root(settings))
    keyring.require(_expected(binding), known)
    if sweeping.is_needed(opened, keyring):
        sweeping.sweep(opened, keyring, datetime.now(UTC).date())
    return keyring


def _bound_to(connection: Connection) -> tuple[Binding, list[UUID]]:
    migrate.require_current(connection)
    known = [tenant.tenant_id for tenant in tenants.all_tenants(connection)]
    binding = tenants.binding(connection)
    assert binding is not None, "whoever makes a schema binds it in the same transaction"
    return binding, known


def _expected(binding: Binding) -> Head:
    return Head(
        keyring_id=binding.keyring_id,
        database_id=binding.database_id,
        generation=binding.keyring_generation,
    )


def new_tenant(name: str, *, is_demo: bool = False) -> Tenant:
    """A tenant with fresh ids."""
    return Tenant(tenant_id=uuid4(), handle=credentials.new_handle(), name=name, is_demo=is_demo)


def add_tenant(
    connection: Connection, keyring: Keyring, tenant: Tenant, now: datetime
) -> NewTenant:
    """Add a tenant with the purpose `visit` and an admin key, which the transaction names then.

    Its keys are durable in the keyring before the database names them.
    """
    Reach.of(tenant.tenant_id).enter(connection)
    keyring.add_tenant(tenant.tenant_id, now.date())
    tenants.add(connection, tenant)
    tenants.note_keyring(connection, keyring.head().generation)
    purposes.add(connection, tenant.tenant_id, FIRST_PURPOSE)
    return NewTenant(tenant=tenant, api_key=_admin_key(connection, keyring, tenant, now))


def _admin_key(connection: Connection, keyring: Keyring, tenant: Tenant, now: datetime) -> str:
    credential = credentials.new_credential(Kind.API_KEY, tenant.handle)
    api_keys.add(
        connection,
        ApiKey(
            tenant_id=tenant.tenant_id,
            kid=credential.kid,
            name="admin",
            secret_hash=credentials.secret_hash(keyring.pepper(), credential),
            scopes=list(ALL_SCOPES),
            created_at=now,
        ),
    )
    return credential.text()
