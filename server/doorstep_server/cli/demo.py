"""`doorstep demo`."""

import click

from doorstep_server.settings import Settings

_EXTRAS = {"doorstep", "rich"}


@click.command()
@click.option("--phones", default=8, show_default=True, type=click.IntRange(1, 100))
@click.option("--seed", default=1, show_default=True, help="The same seed walks the same ways.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to serve on; if it is taken the next free one, for 0 any free one.",
)
@click.option(
    "--check-ins",
    type=click.IntRange(min=1),
    help="End after so many answered check-ins. [default: when Ctrl-C is pressed]",
)
@click.option(
    "--rate",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Check-ins a second, of all phones together; 0 for as fast as possible.",
)
@click.pass_obj
def demo(
    settings: Settings, phones: int, seed: int, port: int, check_ins: int | None, rate: float
) -> None:
    """Watch simulated phones check in at made-up customers in São Paulo.

    Makes a Doorstep if there is none, and in it a tenant that is marked as a demo; other tenants
    are left alone. The phones use the public SDK over HTTP.
    """
    try:
        from rich.console import Console  # noqa: PLC0415

        from doorstep_server.demo import play  # noqa: PLC0415 (extras, and slow to import)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        raise click.ClickException(
            "The demo needs more than the server: pip install 'doorstep-server[demo]'"
        ) from None
    wanted = play.Wanted(phones=phones, seed=seed, port=port, check_ins=check_ins, rate=rate)
    try:
        played = play.play(settings, wanted, Console())
    except play.TOLD as error:
        raise click.ClickException(str(error)) from None
    for line in played.lines():
        click.echo(line)
