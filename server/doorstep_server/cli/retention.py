"""`doorstep retention`."""

import asyncio
from datetime import UTC, datetime

import click

from doorstep_server import deployment, retention
from doorstep_server.keyring import Keyring
from doorstep_server.retention import Report
from doorstep_server.settings import Settings
from doorstep_server.store.database import Database


@click.group("retention")
def retention_group() -> None:
    """Retention: letting go of what has expired."""


@retention_group.command("run")
@click.pass_obj
def run_command(settings: Settings) -> None:
    """Let go of what has expired, now. Servers do the same every hour."""
    database, keyring = deployment.open_deployment(settings)
    report = asyncio.run(_run(database, keyring))
    click.echo(
        f"{report.check_ins_deleted} check-ins and {report.receipts_deleted} receipts deleted, "
        f"{report.partitions_dropped} partitions dropped and {report.partitions_made} made."
    )
    click.echo(
        f"{report.check_ins_mixed} check-ins written anew, so that none shows which it came with."
    )
    click.echo(
        f"{report.check_ins_held} check-ins moved to legal holds, {report.holds_ended} holds "
        f"ended, {report.exact_positions_deleted} exact positions deleted, "
        f"{report.keys_destroyed} keys destroyed."
    )


async def _run(database: Database, keyring: Keyring) -> Report:
    try:
        return await retention.run(database, keyring, datetime.now(UTC).date())
    finally:
        await database.close()
