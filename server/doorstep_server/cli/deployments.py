"""`doorstep init`, `migrate` and `tenants`."""

import json
from datetime import UTC, datetime

import click

from doorstep_server import deployment
from doorstep_server.deployment import NewTenant
from doorstep_server.settings import Settings
from doorstep_server.store import migrate, tenants
from doorstep_server.store.reach import DIRECTORY, Reach


class _TenantName(click.ParamType[str]):
    name = "name"

    def convert(self, value: str, param: object, ctx: object) -> str:
        del param, ctx
        if not 1 <= len(value) <= 200:
            raise click.BadParameter("A tenant's name has 1 to 200 characters.")
        return value


TENANT_NAME = _TenantName()
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.option(
    "--tenant", "name", default="First tenant", type=TENANT_NAME, help="The first tenant's name."
)
@AS_JSON
@click.pass_obj
def init(settings: Settings, name: str, *, as_json: bool) -> None:
    """Make the database, the keyring and a first tenant. An existing home is left as it is."""
    made = deployment.initialize(settings, datetime.now(UTC), tenant=deployment.new_tenant(name))
    if made is not None:
        _show(made, as_json=as_json)
        return
    if as_json:
        click.echo(json.dumps({"tenant_id": None, "api_key": None}))
    click.echo(
        "There is a Doorstep here already; nothing was changed. If its first key was lost, "
        "`doorstep tenants create` makes a tenant with a key.",
        err=True,
    )


@click.command("migrate")
@click.pass_obj
def migrate_command(settings: Settings) -> None:
    """Bring the database to this version's schema. Stop the servers and make a backup first."""
    with deployment.closed_after(deployment.database(settings)) as database:
        deployment.require_made(database, settings)
        database.administer(migrate.migrate)
    click.echo("The database has this version's schema.")


@click.group("tenants")
def tenants_group() -> None:
    """Tenants: the customers whose check-ins are kept apart."""


@tenants_group.command("create")
@click.argument("name", type=TENANT_NAME)
@AS_JSON
@click.pass_obj
def create_tenant(settings: Settings, name: str, *, as_json: bool) -> None:
    """Make a tenant, and print its admin key once."""
    opened, keyring = deployment.open_deployment(settings)
    tenant = deployment.new_tenant(name)
    with deployment.closed_after(opened) as database:
        made = database.write_now(
            Reach.of(tenant.tenant_id),
            lambda c: deployment.add_tenant(c, keyring, tenant, datetime.now(UTC)),
        )
    _show(made, as_json=as_json)


@tenants_group.command("list")
@AS_JSON
@click.pass_obj
def list_tenants(settings: Settings, *, as_json: bool) -> None:
    """List the tenants."""
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        found = database.read_now(DIRECTORY, tenants.all_tenants)
    if as_json:
        items = [{"tenant_id": str(t.tenant_id), "name": t.name, "demo": t.is_demo} for t in found]
        click.echo(json.dumps({"items": items}))
        return
    for tenant in found:
        click.echo(f"{tenant.tenant_id}  {tenant.name}{'  (demo)' if tenant.is_demo else ''}")


def _show(made: NewTenant, *, as_json: bool) -> None:
    if as_json:
        tenant_id = str(made.tenant.tenant_id)
        click.echo(json.dumps({"tenant_id": tenant_id, "api_key": made.api_key}))
        return
    click.echo(f"Tenant  {made.tenant.tenant_id}  {made.tenant.name}")
    click.echo(f"Key     {made.api_key}")
    click.echo("The key is shown this once and stored nowhere: keep it safe.", err=True)
