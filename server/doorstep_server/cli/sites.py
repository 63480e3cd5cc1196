"""`doorstep sites`."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from uuid import UUID

import click
import msgspec
from msgspec import UNSET

from doorstep_geofences import MAX_RADIUS_M
from doorstep_server import deployment, site_exports, time_zones
from doorstep_server.settings import Settings
from doorstep_server.site_files import WRITABLE, Format, UnreadableFile, guess_format, write
from doorstep_server.site_imports.importing import Import
from doorstep_server.site_imports.options import Options
from doorstep_server.site_imports.reading import prepare
from doorstep_server.site_imports.report import Fate, Report, Warned
from doorstep_server.store import tenants
from doorstep_server.store.database import Database
from doorstep_server.store.reach import DIRECTORY, Reach
from doorstep_server.store.tenants import Tenant

#: of each kind of warning so many places are printed; `--json` has more
PLACES = 3
#: the format is told by what a file begins with
_HEAD_BYTES = 1024
_STDIN = Path("-")


def _values(formats: Iterable[Format]) -> list[str]:
    """As they are written: click would take the names of an enumeration."""
    return [form.value for form in formats]


_OF_WHOM = click.option(
    "--tenant", "tenant_id", type=click.UUID, help="Whose sites. [default: the only one]"
)


class _TimeZone(click.ParamType[str]):
    name = "zone"

    def convert(self, value: str, param: object, ctx: object) -> str:
        del param, ctx
        if not time_zones.is_known(value):
            raise click.BadParameter("Use an IANA name, such as America/Sao_Paulo.")
        return value


@click.group("sites")
def sites_group() -> None:
    """Sites: the authorized locations."""


@sites_group.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@_OF_WHOM
@click.option(
    "--format",
    "form",
    type=click.Choice(_values(Format)),
    help="[default: told by the file itself]",
)
@click.option(
    "--timezone", default="UTC", show_default=True, type=_TimeZone(), help="Of sites without one."
)
@click.option(
    "--radius-m",
    type=click.FloatRange(0, MAX_RADIUS_M, min_open=True),
    help="Of points without one.",
)
@click.option(
    "--name-from", default="name", show_default=True, help="The property that holds names."
)
@click.option(
    "--id-from",
    default="external_id",
    show_default=True,
    help="The property that holds external ids; `id`: it, or the feature's own id.",
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--skip-invalid", is_flag=True, help="Take the valid ones although others are not.")
@click.option("--repair", is_flag=True, help="Mend fences that are not valid, and say how.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_obj
def import_command(
    settings: Settings, /, file: Path, tenant_id: UUID | None, *, as_json: bool, **said: Any
) -> None:
    """Import sites from a GeoJSON, KML, KMZ, CSV or GPX file; `-` reads standard input.

    Features need a `name`; those with an `external_id` replace the site that has it, those without
    one always make new sites. Points need a radius. All are taken, or none.
    """
    with (
        deployment.closed_after(deployment.open_deployment(settings)[0]) as database,
        _opened(file) as opened,
    ):
        options = Options(format=_format(said.pop("form"), file, opened), **said)
        tenant = chosen_tenant(database, tenant_id)
        report = _imported(database, tenant.tenant_id, options, opened)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    if report.rejected and not options.skip_invalid:
        raise click.ClickException("Nothing was imported. Mend the file, or use --skip-invalid.")


def _imported(database: Database, tenant_id: UUID, options: Options, file: BinaryIO) -> Report:
    reach = Reach.of(tenant_id)
    limits = database.read_now(reach, lambda c: tenants.limits(c, tenant_id))
    try:
        with _progress(file) as progress:
            prepared = prepare(file, options, limits, progress)
    except UnreadableFile as error:
        where = f"{error.at}: " if error.at else ""
        raise click.ClickException(f"{where}{error.message}") from None
    with prepared:
        work = Import(tenant_id=tenant_id, options=options, prepared=prepared)
        database.read_now(reach, work.look)
        if work.is_to_be_written:
            now = datetime.now(UTC)
            database.write_now(reach, lambda c: work.write(c, now))
        return work.report(applied=not (options.dry_run or work.is_rejected))


@sites_group.command("export")
@_OF_WHOM
@click.option(
    "--format",
    "form",
    type=click.Choice(_values(WRITABLE)),
    default=Format.GEOJSON.value,
    show_default=True,
)
@click.option(
    "--output",
    type=click.File("wb", lazy=False),
    default="-",
    help="The file to write. [default: standard output]",
)
@click.pass_obj
def export_command(settings: Settings, tenant_id: UUID | None, form: str, output: BinaryIO) -> None:
    """Export all sites, active or not. Importing the file again changes nothing."""
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        tenant = chosen_tenant(database, tenant_id).tenant_id

        def page(after: UUID | None) -> list[Any]:
            return database.read_now(Reach.of(tenant), site_exports.page_reader(tenant, after))

        output.writelines(write(site_exports.all_sites(page), Format(form)))


def chosen_tenant(database: Database, tenant_id: UUID | None) -> Tenant:
    """The tenant that was named, or the only one."""
    found = database.read_now(DIRECTORY, tenants.all_tenants)
    if tenant_id is None and len(found) == 1:
        return found[0]
    for tenant in found:
        if tenant.tenant_id == tenant_id:
            return tenant
    raise click.ClickException("Name a tenant with --tenant; `doorstep tenants list` lists them.")


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """The file, or a copy of standard input: readers go back and forth."""
    if file != _STDIN:
        with file.open("rb") as opened:
            yield opened
        return
    with TemporaryFile() as copy:
        copyfileobj(sys.stdin.buffer, copy)
        copy.seek(0)
        yield copy


def _format(said: str | None, file: Path, opened: BinaryIO) -> Format:
    if said is not None:
        return Format(said)
    guessed = guess_format(file.name, opened.read(_HEAD_BYTES))
    opened.seek(0)
    if guessed is None:
        raise click.ClickException("Name the file's format with --format.")
    return guessed


@contextmanager
def _progress(file: BinaryIO) -> Iterator[Callable[[], None] | None]:
    """A bar on a terminal, by how much of the file was read."""
    if not sys.stderr.isatty():
        yield None
        return
    size = file.seek(0, 2)
    file.seek(0)
    with click.progressbar(length=size, label="Reading", file=sys.stderr) as bar:
        yield lambda: bar.update(max(0, file.tell() - bar.pos))


def _print(report: Report) -> None:
    for rejection in report.rejections:
        click.echo(f"{rejection.place}: {rejection.code}: {rejection.message}")
    _print_rest(report.rejected - len(report.rejections), "rejected")
    by_code = attrgetter("code")
    for code, some in groupby(sorted(report.warnings, key=by_code), by_code):
        _print_warnings(code, list(some), report.warnings_by_code[code])
    would = "" if report.applied else "would be "
    counts = {fate: getattr(report, fate) for fate in sorted(Fate)}
    told = [f"{count} {would}{fate}" for fate, count in counts.items() if count]
    click.echo(", ".join([*told, f"{report.rejected} rejected"]))


def _print_warnings(code: str, listed: list[Warned], count: int) -> None:
    """All that say how a fence was changed; of the others some will do."""
    changes = any(warned.area_after_m2 is not UNSET for warned in listed)
    told = listed if changes else listed[:PLACES]
    click.echo(f"Warning: {code} ({count}): {listed[0].message}")
    for warned in told:
        click.echo(f"  {_where(warned)}")
    _print_rest(count - len(told), code)


def _where(warned: Warned) -> str:
    """The place, and what was found there in numbers."""
    said = [warned.place]
    if warned.other_place is not UNSET:
        said.append(f"with {warned.other_place}")
    if warned.other_site_id is not UNSET:
        said.append(f"with site {warned.other_site_id}")
    if warned.share is not UNSET:
        said.append(f"({warned.share:.0%} of the smaller one)")
    if warned.area_before_m2 is not UNSET and warned.area_after_m2 is not UNSET:
        said.append(f"({warned.area_before_m2:,.0f} m² → {warned.area_after_m2:,.0f} m²)")
    return " ".join(said)


def _print_rest(count: int, what: str) -> None:
    if count:
        click.echo(f"  … and {count} more: {what}")
