"""`doorstep sites`."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
import msgspec

from doorstep_geofences import InvalidGeofence, read_features
from doorstep_server import deployment
from doorstep_server.api.site_import import Import, Report, check, import_sites
from doorstep_server.settings import Settings
from doorstep_server.store import tenants
from doorstep_server.store.database import Database
from doorstep_server.store.reach import DIRECTORY, Reach
from doorstep_server.store.tenants import Tenant


@click.group("sites")
def sites_group() -> None:
    """Sites: the authorized locations."""


@sites_group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", "tenant_id", type=click.UUID, help="Whose sites. [default: the only one]")
@click.option("--format", type=click.Choice(["geojson"]), default="geojson", expose_value=False)
@click.option("--timezone", default="UTC", show_default=True, help="For features that name none.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--skip-invalid", is_flag=True, help="Take the valid ones although others are not.")
@click.pass_obj
def import_command(
    settings: Settings,
    file: Path,
    tenant_id: UUID | None,
    timezone: str,
    *,
    dry_run: bool,
    skip_invalid: bool,
) -> None:
    """Import sites from a GeoJSON file.

    Features need a `name`; those with an `external_id` replace the site that has it. Points need a
    `radius_m`. All are taken, or none.
    """
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        wanted = Import(
            tenant_id=chosen_tenant(database, tenant_id).tenant_id,
            now=datetime.now(UTC),
            dry_run=dry_run,
            skip_invalid=skip_invalid,
        )
        try:
            checked = check(read_features(_document(file)), timezone=timezone)
        except InvalidGeofence as error:
            raise click.ClickException(error.message) from None
        report = database.write_now(
            Reach.of(wanted.tenant_id), lambda c: import_sites(c, wanted, checked)
        )
    _print(report, dry_run=dry_run)
    if report.rejected and not skip_invalid:
        raise click.ClickException("Nothing was imported. Mend the file, or use --skip-invalid.")


def chosen_tenant(database: Database, tenant_id: UUID | None) -> Tenant:
    """The tenant that was named, or the only one."""
    found = database.read_now(DIRECTORY, tenants.all_tenants)
    if tenant_id is None and len(found) == 1:
        return found[0]
    for tenant in found:
        if tenant.tenant_id == tenant_id:
            return tenant
    raise click.ClickException("Name a tenant with --tenant; `doorstep tenants list` lists them.")


def _document(file: Path) -> object:
    try:
        return msgspec.json.decode(file.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise click.ClickException("The file is not JSON that we can read.") from None


def _print(report: Report, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for rejection in report.rejected:
        click.echo(f"{rejection.place}: {rejection.code}: {rejection.message}")
    counts = [f"{count} {would}{fate}" for fate, count in sorted(report.fates.items())]
    click.echo(", ".join([*counts, f"{len(report.rejected)} rejected"]))
