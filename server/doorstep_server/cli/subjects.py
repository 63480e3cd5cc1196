"""`doorstep subjects`."""

from datetime import UTC, datetime
from uuid import UUID

import click

from doorstep_server import deployment
from doorstep_server.cli.sites import chosen_tenant
from doorstep_server.enrolling import IssuedCode, Issuer
from doorstep_server.privacy.personal import SubjectDetails, seal_subject_details
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, locks, subjects, tenants
from doorstep_server.store.reach import Reach
from doorstep_server.store.subjects import StoredSubject


@click.group("subjects")
def subjects_group() -> None:
    """Subjects: the people who check in."""


@subjects_group.command("enroll")
@click.argument("external_id")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Whose. [default: the only one]")
@click.option("--group", "groups", multiple=True, help="For a new subject. May be repeated.")
@click.pass_obj
def enroll(
    settings: Settings, external_id: str, tenant_id: UUID | None, groups: tuple[str, ...]
) -> None:
    """Print an enrollment code for one device of a person, known by the tenant's own id."""
    if not 1 <= len(external_id) <= 200:
        raise click.ClickException("The external id must have 1 to 200 characters.")
    opened, keyring = deployment.open_deployment(settings)
    with deployment.closed_after(opened) as database:
        tenant = chosen_tenant(database, tenant_id)
        keys = keyring.tenant(tenant.tenant_id, datetime.now(UTC).date())
        known = keyring.subject_named(keys, tenant.tenant_id, external_id)
        details = SubjectDetails(groups=list(groups))
        new = StoredSubject(
            subject_id=known.subject_id,
            sealed=seal_subject_details(known.keys, known.subject_id, details),
        )
        generation = keyring.head().generation
        issuer = Issuer(
            tenant_id=tenant.tenant_id,
            handle=tenant.handle,
            keys=keys,
        )

        def invite(connection: Connection) -> IssuedCode:
            locks.configuring(connection, tenant.tenant_id)
            tenants.note_keyring(connection, generation)
            subject, _ = subjects.get_or_add(connection, tenant.tenant_id, new)
            return issuer.issue(connection, subject.subject_id, datetime.now(UTC))

        issued = database.write_now(Reach.of(tenant.tenant_id), invite)
    click.echo(issued.code)
    click.echo("It works once, within 15 minutes.", err=True)
