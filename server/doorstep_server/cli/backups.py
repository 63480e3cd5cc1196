"""`doorstep backup` and `restore`."""

from pathlib import Path

import click

from doorstep_server import deployment
from doorstep_server.settings import Settings


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(settings: Settings, file: Path) -> None:
    """Write a copy of the database to FILE, while servers use it. The keyring is not in it."""
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        database.back_up(file)
    click.echo(f"The database was copied to {file}.")
    click.echo(
        "Without the keyring nobody can tell whose rows these are. Keep copies of the keyring "
        "elsewhere, and none for longer than 7 days: an older one undoes erasures.",
        err=True,
    )


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def restore(settings: Settings, file: Path) -> None:
    """Put a copy back where there is no database, beside the keyring that belongs to it.

    Who was erased since the copy was made is erased from it, and no location permission in it is
    believed any more, before anything is served.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with deployment.closed_after(deployment.database(settings)) as database:
        database.restore(file)
    # what has to be swept is swept when it is opened
    deployment.open_deployment(settings)[0].close_now()
    click.echo("The database is back, and was swept.")
