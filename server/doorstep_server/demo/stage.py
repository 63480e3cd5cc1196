"""The demo's own tenant: marked as demo, with its sites and a key for one run."""

from dataclasses import dataclass, field
from datetime import datetime

from doorstep_server import credentials, deployment
from doorstep_server.credentials import Kind
from doorstep_server.demo import city
from doorstep_server.keyring import Keyring
from doorstep_server.scopes import READ, WRITE, Area
from doorstep_server.settings import Settings
from doorstep_server.site_files import Format
from doorstep_server.site_imports.importing import Import
from doorstep_server.site_imports.options import Options
from doorstep_server.site_imports.reading import check_all
from doorstep_server.store import Connection, api_keys, tenants
from doorstep_server.store.api_keys import ApiKey
from doorstep_server.store.database import Database
from doorstep_server.store.reach import DIRECTORY, Reach
from doorstep_server.store.tenants import Tenant

TENANT_NAME = "Demo: São Paulo (not real)"
KEY_NAME = "demo"
SCOPES = (f"{Area.SITES}:{READ}", f"{Area.SUBJECTS}:{WRITE}", f"{Area.DEVICES}:{READ}")
_PAGE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A tenant to play in."""

    tenant: Tenant
    api_key: str = field(repr=False)


def prepare(settings: Settings, now: datetime) -> Stage:
    """Make the deployment if there is none, and in it the demo's tenant, sites and key.

    Other tenants are left alone: a demo tenant is only ever one that is marked as such.
    """
    deployment.initialize(settings, now, tenant=_new_tenant())
    opened, keyring = deployment.open_deployment(settings)
    with deployment.closed_after(opened) as database:
        tenant = _demo_tenant(database, keyring, now)

        def furnish(connection: Connection) -> str:
            _take_sites(connection, tenant, now)
            return _renew_key(connection, keyring, tenant, now)

        return Stage(tenant=tenant, api_key=database.write_now(Reach.of(tenant.tenant_id), furnish))


def _new_tenant() -> Tenant:
    return deployment.new_tenant(TENANT_NAME, is_demo=True)


def _demo_tenant(database: Database, keyring: Keyring, now: datetime) -> Tenant:
    for tenant in database.read_now(DIRECTORY, tenants.all_tenants):
        if tenant.is_demo:
            return tenant
    new = _new_tenant()
    database.write_now(
        Reach.of(new.tenant_id), lambda c: deployment.add_tenant(c, keyring, new, now)
    )
    return new


def _take_sites(connection: Connection, tenant: Tenant, now: datetime) -> None:
    options = Options(format=Format.GEOJSON, timezone="America/Sao_Paulo")
    limits = tenants.limits(connection, tenant.tenant_id)
    with check_all(city.features(), options, limits) as prepared:
        work = Import(tenant_id=tenant.tenant_id, options=options, prepared=prepared)
        work.look(connection)
        assert not work.is_rejected, "the demo's sites are valid"
        if work.is_to_be_written:
            work.write(connection, now)


def _renew_key(connection: Connection, keyring: Keyring, tenant: Tenant, now: datetime) -> str:
    """A new key for this run; those of earlier runs end."""
    for key in _keys(connection, tenant):
        if key.name == KEY_NAME and key.revoked_at is None:
            api_keys.revoke(connection, tenant.tenant_id, key.kid, now)
    credential = credentials.new_credential(Kind.API_KEY, tenant.handle)
    api_keys.add(
        connection,
        ApiKey(
            tenant_id=tenant.tenant_id,
            kid=credential.kid,
            name=KEY_NAME,
            secret_hash=credentials.secret_hash(keyring.pepper(), credential),
            scopes=list(SCOPES),
            created_at=now,
        ),
    )
    return credential.text()


def _keys(connection: Connection, tenant: Tenant) -> list[ApiKey]:
    found: list[ApiKey] = []
    after: str | None = None
    while True:
        page = api_keys.page(connection, tenant.tenant_id, after=after, limit=_PAGE)
        found += page
        if len(page) < _PAGE:
            return found
        after = page[-1].kid
