"""`doorstep access-vault`."""

import getpass
import os
import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from doorstep_server.access_vault import Access, Entry, Reading, open_vault
from doorstep_server.access_vault.entries import to_the_second
from doorstep_server.settings import InvalidSetting, Settings


class _Instant(click.ParamType[datetime]):
    """A date, or a time of a day; in UTC unless it has a zone."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            instant = datetime.fromisoformat(value)
            return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail("Write it as 2026-03-01 or 2026-03-01T09:00:00-03:00.", param, ctx)


@click.group("access-vault")
def access_vault_group() -> None:
    """The access vault: when the API was used, and from which IP address."""


@access_vault_group.command("read")
@click.option("--since", required=True, type=_Instant(), help="From then on; UTC without a zone.")
@click.option("--until", required=True, type=_Instant(), help="Until before then.")
@click.option("--reason", required=True, help="Why, such as the number of a court's order.")
@click.pass_obj
def read_command(settings: Settings, since: datetime, until: datetime, reason: str) -> None:
    """Print accesses, one JSON object a line. That you did, and why, is kept in the vault."""
    vault = open_vault(settings)
    if vault is None:
        raise InvalidSetting("There is no access vault: DOORSTEP_ACCESS_VAULT names none.")
    if not 1 <= len(reason.strip()) <= 500:
        raise click.ClickException("The reason must have 1 to 500 characters.")
    now = to_the_second(datetime.now(UTC))
    # before anything is shown: nobody reads without a trace
    vault.append([Reading(now, _user(), reason, since, until)])
    for entry in vault.read(since, until, now.date()):
        click.echo(_line(entry))


def _line(entry: Entry) -> str:
    kind = "access" if isinstance(entry, Access) else "reading"
    return msgspec.json.encode({"kind": kind, **msgspec.structs.asdict(entry)}).decode()


def _user() -> str:
    """The user that this process runs as; not what an environment variable says."""
    if sys.platform == "win32":
        return getpass.getuser()
    import pwd  # noqa: PLC0415 (there is none on Windows)

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
