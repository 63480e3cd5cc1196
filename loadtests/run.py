"""`make load`: a server of its own, Locust against it, and a look whether every answer was true.

A check-in that the server acknowledged as stored must be in the database afterwards, and nothing
else may be. Exits with 1 when a request failed, or a row is missing or too many.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

from doorstep_server import deployment
from doorstep_server.demo import stage
from doorstep_server.demo.child import Server, ServerEnded, free_port
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, check_ins
from doorstep_server.store.check_ins import Filter
from doorstep_server.store.reach import Reach

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
#: how long Locust lets users finish what is under way
STOP_S = 15
_PAGE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """What was acknowledged as stored, against what is there."""

    acknowledged: list[UUID]
    rows: set[UUID]

    @property
    def missing(self) -> int:
        """Answers that were not true."""
        return len(set(self.acknowledged) - self.rows)

    @property
    def unacknowledged(self) -> int:
        """Rows that nobody was told of."""
        return len(self.rows - set(self.acknowledged))

    def is_true(self) -> bool:
        """Whether each answer has its row, each row its answer, and there are any."""
        return bool(self.rows) and len(self.acknowledged) == len(self.rows) and not self.missing

    def lines(self) -> list[str]:
        """What to print."""
        return [
            f"answers that say stored: {len(self.acknowledged)}",
            f"rows in the database: {len(self.rows)}",
            f"acknowledged but missing: {self.missing}",
            f"stored but never acknowledged: {self.unacknowledged}",
        ]


def main(arguments: Sequence[str]) -> int:
    """Run; the exit code."""
    wanted = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="doorstep-load-") as home:
        settings = Settings(home=Path(home) / "home")
        staged = stage.prepare(settings, datetime.now(UTC))
        stored_ids = Path(home) / "stored-ids"
        stored_ids.touch()
        with Server(settings, free_port(0)) as server:
            server.wait_ready()
            environment = {
                **os.environ,
                "DOORSTEP_LOAD_API_KEY": staged.api_key,
                "DOORSTEP_LOAD_STORED_IDS": str(stored_ids),
            }
            command = _locust(wanted, server.base_url)
            failed = subprocess.call(command, env=environment)  # noqa: S603 (our own command)
            server.check()
        ledger = _ledger(settings, staged, stored_ids)
    print("\n".join(ledger.lines()), flush=True)
    if failed:
        print("Requests failed: see the table above.", flush=True)
    return 0 if ledger.is_true() and not failed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--spawn-rate", type=float, default=10)
    parser.add_argument("--run-time", default="15s")
    parser.add_argument("--processes", type=int, help="Locust processes; one by default")
    return parser


def _locust(wanted: argparse.Namespace, host: str) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", host]
    command += ["--headless", "--only-summary", "--stop-timeout", str(STOP_S)]
    command += ["--users", str(wanted.users), "--spawn-rate", str(wanted.spawn_rate)]
    command += ["--run-time", wanted.run_time, "--exit-code-on-error", "1"]
    return command + (["--processes", str(wanted.processes)] if wanted.processes else [])


def _ledger(settings: Settings, staged: stage.Stage, stored_ids: Path) -> Ledger:
    """Read after the server has stopped: what it said must be on disk, not in its memory."""
    tenant_id = staged.tenant.tenant_id
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        rows = database.read_now(Reach.of(tenant_id), lambda c: _rows(c, tenant_id))
    return Ledger(acknowledged=[UUID(text) for text in stored_ids.read_text().split()], rows=rows)


def _rows(connection: Connection, tenant_id: UUID) -> set[UUID]:
    found: set[UUID] = set()
    before: tuple[datetime, UUID] | None = None
    everything = Filter(today=date.min)
    while True:
        page = check_ins.page(connection, tenant_id, everything, before=before, limit=_PAGE)
        found.update(record.id for record in page)
        if len(page) < _PAGE:
            return found
        before = (page[-1].time, page[-1].id)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerEnded as error:
        sys.exit(str(error))
