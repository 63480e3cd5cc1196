"""`doorstep tenants limits`."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import click

from doorstep_server import deployment
from doorstep_server.cli.sites import chosen_tenant
from doorstep_server.privacy.levels import Level
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, locks, tenants
from doorstep_server.store.reach import Reach
from doorstep_server.store.tenants import MAX_AREA_KM2, MAX_SPEED_KMH, Limits

_NONE = "none"


class _Speed(click.ParamType[str]):
    """A number, or none; it stays text, since no number means none."""

    name = "km/h|none"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if value != _NONE:
            click.IntRange(1, MAX_SPEED_KMH).convert(value, param, ctx)
        return str(value)


@click.command("limits")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Whose. [default: the only one]")
@click.option(
    "--max-speed-kmh",
    type=_Speed(),
    help="Who seems to have travelled faster between two sites is doubted; `none`: nobody is.",
)
@click.option(
    "--max-site-area-km2", type=click.IntRange(1, MAX_AREA_KM2), help="A larger site is refused."
)
@click.option(
    "--max-level",
    type=click.Choice([level.value for level in Level]),
    help="The most that any purpose may store of a place.",
)
@click.pass_obj
def limits_command(
    settings: Settings,
    tenant_id: UUID | None,
    max_speed_kmh: str | None,
    max_site_area_km2: int | None,
    max_level: str | None,
) -> None:
    """Show a tenant's limits, and change those that are named."""
    wanted: dict[str, int | Level | None] = {}
    if max_speed_kmh is not None:
        wanted["max_speed_kmh"] = None if max_speed_kmh == _NONE else int(max_speed_kmh)
    if max_site_area_km2 is not None:
        wanted["max_site_area_km2"] = max_site_area_km2
    if max_level is not None:
        wanted["max_level"] = Level(max_level)
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        tenant = chosen_tenant(database, tenant_id).tenant_id

        def change(connection: Connection) -> Limits:
            locks.configuring(connection, tenant)
            limits = replace(tenants.limits(connection, tenant), **wanted)  # type: ignore[arg-type]
            tenants.set_limits(connection, tenant, limits)
            return limits

        def show(connection: Connection) -> Limits:
            return tenants.limits(connection, tenant)

        reach = Reach.of(tenant)
        limits = database.write_now(reach, change) if wanted else database.read_now(reach, show)
    speed = _NONE if limits.max_speed_kmh is None else str(limits.max_speed_kmh)
    click.echo(f"max-speed-kmh      {speed}")
    click.echo(f"max-site-area-km2  {limits.max_site_area_km2}")
    click.echo(f"max-level          {limits.max_level}")
