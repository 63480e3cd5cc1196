"""The `doorstep` command and what its parts share: settings, and errors told in a sentence."""

import os
from pathlib import Path
from typing import Any

import click

from doorstep_server import __version__, logs, settings
from doorstep_server.cli.access_vault import access_vault_group
from doorstep_server.cli.backups import backup, restore
from doorstep_server.cli.demo import demo
from doorstep_server.cli.deployments import init, migrate_command, tenants_group
from doorstep_server.cli.errors import TOLD
from doorstep_server.cli.limits import limits_command
from doorstep_server.cli.privacy import privacy_group
from doorstep_server.cli.retention import retention_group
from doorstep_server.cli.serving import serve
from doorstep_server.cli.sites import sites_group
from doorstep_server.cli.subjects import subjects_group


class Told(click.Group):
    """Prints the errors that an operator can act on as sentences, without a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except TOLD as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            raise click.ClickException(f"{error.strerror}: {error.filename}") from None


@click.group(cls=Told, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="doorstep")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where state is kept. [DOORSTEP_HOME; default: .doorstep]",
)
@click.pass_context
def main(context: click.Context, home: Path | None) -> None:
    """Check-ins at authorized locations, without tracking anyone."""
    # a traceback's last line may quote what a command was given, or where the database is
    logs.tell_crashes()
    context.obj = settings.read(os.environ, home=home)


main.add_command(init)
main.add_command(migrate_command)
tenants_group.add_command(limits_command)
main.add_command(tenants_group)
main.add_command(sites_group)
main.add_command(subjects_group)
main.add_command(retention_group)
main.add_command(privacy_group)
main.add_command(backup)
main.add_command(restore)
main.add_command(access_vault_group)
main.add_command(serve)
main.add_command(demo)
