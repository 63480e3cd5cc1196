"""`doorstep privacy`."""

from datetime import UTC, datetime
from uuid import UUID

import click
import msgspec

from doorstep_server import deployment
from doorstep_server.cli.sites import chosen_tenant
from doorstep_server.erasing import Eraser
from doorstep_server.privacy.record import record_of
from doorstep_server.privacy.record_markdown import markdown
from doorstep_server.settings import Settings
from doorstep_server.store import people
from doorstep_server.store.configuration import configuration
from doorstep_server.store.reach import Reach


@click.group("privacy")
def privacy_group() -> None:
    """A person's rights, and the record of what is processed."""


@privacy_group.command("erase")
@click.argument("external_id")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Whose. [default: the only one]")
@click.pass_obj
def erase(settings: Settings, external_id: str, tenant_id: UUID | None) -> None:
    """Erase a person, known by the tenant's own id, and print the signed receipt."""
    today = datetime.now(UTC).date()
    opened, keyring = deployment.open_deployment(settings)
    with deployment.closed_after(opened) as database:
        tenant = chosen_tenant(database, tenant_id).tenant_id
        known = keyring.find_named(keyring.tenant(tenant, today), tenant, external_id)
        if known is None:
            raise click.ClickException("There is no such person.")
        eraser = Eraser(database, keyring)
        erasure = eraser.ask(tenant, known.subject_id, today)
        eraser.finish(tenant, erasure, today)
        done = database.read_now(
            Reach.of(tenant), lambda c: people.find_erasure(c, tenant, erasure.erasure_id)
        )
    assert done is not None
    assert done.receipt is not None
    click.echo(done.receipt.decode())


@privacy_group.command("record")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Whose. [default: the only one]")
@click.option("--json/--markdown", "as_json", help="For programs, or to read. [default: to read]")
@click.pass_obj
def record_command(settings: Settings, tenant_id: UUID | None, *, as_json: bool) -> None:
    """Print a tenant's record of processing (GDPR art. 30, LGPD art. 37)."""
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        tenant = chosen_tenant(database, tenant_id).tenant_id
        record = record_of(database.read_now(Reach.of(tenant), lambda c: configuration(c, tenant)))
    click.echo(msgspec.json.encode(record) if as_json else markdown(record), nl=as_json)
