"""`make load`: a server of its own, Locust against it, and a look whether every answer was true.

What the server acknowledged as stored must be in the database afterwards, once, and nothing else
may be. Exits with 1 when that is not so, or a gate of the shape does not hold. With `--database
postgresql`, needs `tests` in PYTHONPATH, for a PostgreSQL to throw away.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import gates
from contenders import UNLIMITED
from deployed import Deployed, add_sites, stored_ids
from doorstep_server import deployment
from doorstep_server.demo.child import Server, ServerEnded, free_port
from doorstep_server.deployment import NewTenant
from doorstep_server.settings import Settings
from doorstep_server.store.reach import Reach
from ledger import Ledger
from shapes import SHAPES

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
PLACES = 200
#: how long Locust lets users finish what is under way
STOP_S = 15


def main(arguments: Sequence[str]) -> int:
    """Run one shape, or one after the other; the exit code."""
    wanted = _parser().parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="doorstep-load-") as folder,
        _settings(wanted.database, Path(folder) / "home") as settings,
    ):
        failed, ledger = _run(wanted, settings, Path(folder))
    found = gates.of_ledger(ledger, is_exact=not failed)
    print(gates.told(found), flush=True)
    if failed:
        print(f"Gates do not hold: {', '.join(failed)}.", flush=True)
    return 0 if not failed and all(gate.holds for gate in found) else 1


@contextmanager
def _settings(database: str, home: Path) -> Iterator[Settings]:
    """Of a deployment that is not there yet."""
    settings = Settings(home=home)
    if database == "sqlite":
        yield settings
        return
    import postgres  # noqa: PLC0415 (a tool of the tests)

    with postgres.opened() as server:
        made = server.new_database()
        yield replace(settings, database_url=made.url, admin_database_url=made.admin_url)


def _run(wanted: argparse.Namespace, settings: Settings, folder: Path) -> tuple[list[str], Ledger]:
    """The shapes whose gates do not hold, and what is stored in the end."""
    deployed = Deployed(settings=settings)
    deployed.furnish(0, PLACES)
    other = _another_tenant(settings)
    acknowledged = folder / "stored-ids"
    acknowledged.touch()
    # the server looks there, too
    os.environ.update(deployed.variables)
    os.environ["DOORSTEP_LOAD_API_KEY"] = deployed.api_key
    os.environ["DOORSTEP_LOAD_OTHER_API_KEY"] = other.api_key
    os.environ["DOORSTEP_LOAD_STORED_IDS"] = str(acknowledged)
    failed = []
    for shape in list(SHAPES) if wanted.shape == "all" else [wanted.shape]:
        print(f"{shape}: {SHAPES[shape].title}", flush=True)
        with _server(settings, shape) as server:
            server.wait_ready()
            command = _locust(wanted, shape, server.base_url)
            if subprocess.call(command) != 0:  # noqa: S603 (our own command)
                failed.append(shape)
            server.check()
    tenants = (deployed.tenant.tenant_id, other.tenant.tenant_id)
    # read when the server has stopped: what it said must be on disk, not in its memory
    rows = [row for tenant_id in tenants for row in stored_ids(settings, tenant_id)]
    return failed, Ledger.of((UUID(i).bytes for i in acknowledged.read_text().split()), rows)


def _server(settings: Settings, shape: str) -> Server:
    """With the limits that the shape is about; it takes its environment from ours."""
    limits = SHAPES[shape].limits
    values = UNLIMITED.values() if limits is None else map(str, limits)
    os.environ.update(zip(UNLIMITED, values, strict=True))
    return Server(settings, free_port(0))


def _another_tenant(settings: Settings) -> NewTenant:
    opened, keyring = deployment.open_deployment(settings)
    tenant, now = deployment.new_tenant("Other"), datetime.now(UTC)
    with deployment.closed_after(opened) as database:
        new = database.write_now(
            Reach.of(tenant.tenant_id),
            lambda c: deployment.add_tenant(c, keyring, tenant, now),
        )
        add_sites(database, tenant.tenant_id, PLACES, now)
    return new


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="steady")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--spawn-rate", type=float, default=10)
    parser.add_argument("--run-time", default="15s")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--processes", type=int, help="Locust processes; one by default")
    parser.add_argument("--p99-ms", type=float, help="a gate in place of the shape's own")
    parser.add_argument("--out", type=Path, help="a folder for Locust's reports, HTML and CSV")
    return parser


def _locust(wanted: argparse.Namespace, shape: str, host: str) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", host]
    command += ["--headless", "--only-summary", "--stop-timeout", str(STOP_S)]
    command += ["--users", str(wanted.users), "--spawn-rate", str(wanted.spawn_rate)]
    command += ["--run-time", wanted.run_time, "--shape", shape]
    if wanted.p99_ms:
        command += ["--p99-ms", str(wanted.p99_ms)]
    if wanted.out:
        folder = wanted.out / shape
        folder.mkdir(parents=True, exist_ok=True)
        command += ["--html", str(folder / "report.html"), "--csv", str(folder / "stats")]
    return command + (["--processes", str(wanted.processes)] if wanted.processes else [])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerEnded as error:
        sys.exit(str(error))
