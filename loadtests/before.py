"""What check-ins cost here beside another checkout, say of before a change, in one run.

    git worktree add ../before COMMIT
    PYTHONPATH=tests python loadtests/before.py ../before

Servers of both checkouts, on both kinds of database, are furnished over HTTP, by what both promise,
so that the other may be of any age. They take turns, so that what else the machine does meets both.
What is compared is CPU, of server and database together: of all figures the one that others disturb
least. Needs `tests` in PYTHONPATH, for a PostgreSQL to throw away.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import costs
import postgres
from contenders import UNLIMITED
from costs import Pinned
from deployed import RADIUS_M, SOUTH, STEP_DEG, WEST, body
from doorstep_server.demo.child import free_port
from doorstep_server.settings import PREFIX
from driving import HOST, Magazine, Target, Turn, closed_loop, lines

HERE = Path(__file__).parent.parent
#: what is on the path of a checkout's programs, before what is installed
_PARTS = ("server", "geofences", "sdk")
_READY_S = 60.0
#: stands once in the answer to each check-in that was accepted
_ACCEPTED = b'"outcome":"accepted","reason":"inside","site_id"'
#: PostgreSQL as it is run for data that matters, unlike the one that tests use
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
#: by name: how many check-ins a request has, and how many connections there are
_LOADS = {"single": (1, 64), "batches of 100": (100, 8)}


@dataclass(kw_only=True, slots=True)
class Server:
    """One checkout's, on one kind of database."""

    name: str
    database: str
    port: int
    pid: int
    database_pid: int | None
    api_key: str = field(repr=False)
    tokens: list[str] = field(default_factory=list, repr=False)
    bodies: list[bytes] = field(default_factory=list, repr=False)

    def furnish(self, sites: int, devices: int) -> None:
        """Sites, people and their devices, as an admin and the phones make them."""
        connection = HTTPConnection(HOST, self.port, timeout=60)
        for number in range(sites):
            lon, lat = WEST + number % 100 * STEP_DEG, SOUTH + number // 100 * STEP_DEG
            fence = {"type": "Circle", "center": [lon, lat], "radius_m": RADIUS_M}
            site = {"name": f"Site {number}", "geofence": fence, "timezone": "America/Sao_Paulo"}
            made = self._call(connection, "POST", "/v1/sites", site)
            self.bodies.append(body(lon, lat, made["id"]))
        self.tokens = [self._token(connection) for _ in range(devices)]

    def _token(self, connection: HTTPConnection) -> str:
        person = self._call(connection, "POST", "/v1/subjects", {"external_id": uuid4().hex})
        wanted = f"/v1/subjects/{person['id']}/enrollments"
        device = {"platform": "android", "os_version": "15", "model": "Phone"}
        enrollment = {
            "code": self._call(connection, "POST", wanted)["code"],
            "installation_id": uuid4().hex,
            "device": device,
        }
        token = str(self._call(connection, "POST", "/v1/enrollments", enrollment)["token"])
        report = {"state": "precise", "sequence": 1, "observed_at": "2026-01-01T00:00:00Z"}
        self._call(connection, "PUT", "/v1/device/permission", report, token)
        return token

    def _call(
        self, connection: HTTPConnection, method: str, path: str, said: Any = None, token: str = ""
    ) -> Any:
        headers = {"Authorization": f"Bearer {token or self.api_key}"}
        if said is not None:
            headers["Content-Type"] = "application/json"
        content = None if said is None else json.dumps(said)
        connection.request(method, path, body=content, headers=headers)
        answer = connection.getresponse()
        content_said = answer.read()
        if answer.status >= 300:
            raise SystemExit(
                f"{self.name}, {self.database}: {method} {path} was answered {answer.status}."
            )
        return json.loads(content_said or b"null")

    def cost_us(self, size: int, connections: int, seconds: float, pinned: Pinned) -> float:
        """CPU of a check-in, of server and database, in microseconds."""
        target = Target(port=self.port, tokens=self.tokens, bodies=self.bodies, accepted=_ACCEPTED)
        with lines(target, size, connections) as opened:
            before = costs.spent(self.pid, self.database_pid, pinned)
            turn = closed_loop(opened, Magazine(target, size), seconds)
            after = costs.spent(self.pid, self.database_pid, pinned)
        self._require_all(turn)
        assert before.server is not None, "this system does not tell what processes use"
        assert after.server is not None
        used = after.server - before.server + (after.database or 0.0) - (before.database or 0.0)
        return used * 1e6 / turn.accepted

    def _require_all(self, turn: Turn) -> None:
        if turn.failures or not turn.accepted:
            raise SystemExit(f"{self.name}, {self.database}: {dict(turn.failures)}")


@contextmanager
def served(
    name: str, checkout: Path, folder: Path, made: postgres.ScratchDatabase | None
) -> Iterator[Server]:
    """A checkout's own server, on a deployment that its own program makes."""
    kind = "SQLite" if made is None else "PostgreSQL"
    home = folder / f"{name}-{kind}"
    program = [sys.executable, "-m", "doorstep_server", "--home", str(home)]
    variables = {n: v for n, v in os.environ.items() if not n.startswith(PREFIX)} | UNLIMITED
    variables["PYTHONPATH"] = os.pathsep.join(str(checkout / part) for part in _PARTS)
    if made is not None:
        variables[PREFIX + "DATABASE_URL"] = made.url
        variables[PREFIX + "ADMIN_DATABASE_URL"] = made.admin_url
    init = subprocess.run(  # noqa: S603 - our own command
        [*program, "init", "--json"], check=True, env=variables, stdout=subprocess.PIPE
    )
    port = free_port(0)
    with (folder / f"{name}-{kind}.log").open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*program, "serve", "--port", str(port)], env=variables, stdout=out, stderr=out
        )
    try:
        _wait_until_ready(port)
        yield Server(
            name=name,
            database=kind,
            port=port,
            pid=process.pid,
            database_pid=None,
            api_key=str(json.loads(init.stdout)["api_key"]),
        )
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(port: int) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        connection = HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise SystemExit("A server did not become ready.")


def compare(pairs: Sequence[tuple[Server, Server]], chosen: argparse.Namespace, at: Pinned) -> None:
    """In turns, and print."""
    for load, (size, connections) in _LOADS.items():
        for pair in pairs:
            # whoever comes for the first time costs more, which is another question
            for server in pair:
                server.cost_us(size, connections, chosen.seconds, at)
            rounds = [
                [server.cost_us(size, connections, chosen.seconds, at) for server in pair]
                for _ in range(chosen.rounds)
            ]
            before, now = (median(costs) for costs in zip(*rounds, strict=True))
            share = median(now / before for before, now in rounds)
            print(
                f"{pair[0].database}, {load}: {before:.0f} µs of CPU before, {now:.0f} now: "
                f"x {share:.2f} ({min(n / b for b, n in rounds):.2f} to "
                f"{max(n / b for b, n in rounds):.2f})",
                flush=True,
            )


def main() -> int:
    """Parse, take turns, print."""
    parser = argparse.ArgumentParser(description="Compare with another checkout.")
    parser.add_argument("before", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--devices", type=int, default=200)
    chosen = parser.parse_args()
    checkouts = {"before": chosen.before.absolute(), "now": HERE}
    pinned = costs.cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # all that serves has one core, and we have another
        costs.pin(pinned, 0)
        pairs = []
        for kind in ("SQLite", "PostgreSQL"):
            pair = []
            for name, checkout in checkouts.items():
                made, pid = _database(stack) if kind == "PostgreSQL" else (None, None)
                server = stack.enter_context(served(name, checkout, folder, made))
                server.database_pid = pid
                pair.append(server)
            pairs.append((pair[0], pair[1]))
        costs.pin(pinned, 1)
        for pair in pairs:
            for server in pair:
                server.furnish(chosen.sites, chosen.devices)
        compare(pairs, chosen, pinned)
    return 0


def _database(stack: ExitStack) -> tuple[postgres.ScratchDatabase, int]:
    """On a PostgreSQL of its own, so that what it costs can be told."""
    cluster = stack.enter_context(postgres.Cluster(_DURABLE))
    server = stack.enter_context(postgres.Server(cluster.url()))
    return server.new_database(), int((cluster.data / "postmaster.pid").read_text().split()[0])


if __name__ == "__main__":
    sys.exit(main())
