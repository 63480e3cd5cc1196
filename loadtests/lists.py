"""`make lists`: what the controller's lists cost when much is stored.

Ten thousand people check in for 59 days, twice a day, at five hundred sites: 1,180,000 rows that
nobody can link, made by the same functions as the server's. Then the API is asked, in this process,
who was at a site this week, and what one person did: whoever asks gets names, so rows are unsealed
and the keyring is read. Needs `tests` in PYTHONPATH, for a PostgreSQL to throw away.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

from litestar import Litestar
from litestar.testing import TestClient

import postgres
from doorstep_geofences import Geofence, Site
from doorstep_server import deployment
from doorstep_server.app import build_app, make_services
from doorstep_server.deployment import NewTenant
from doorstep_server.settings import Settings
from filling import DAYS, Filler, People
from world import DATABASES, on_postgres

A_DAY = 2
ROUNDS = 15
NOW = datetime.now(UTC)


def fill(settings: Settings, new: NewTenant, number: int, days: int) -> tuple[People, list[Site]]:
    """Make people, sites and rows."""
    opened, keyring = deployment.open_deployment(settings)
    tenant_id, today = new.tenant.tenant_id, NOW.date()
    people = People(keyring, tenant_id, number)
    sites = [
        Site(site_id=uuid4(), version=1, geofence=Geofence.circle(0.0, 0.0, 80.0))
        for _ in range(500)
    ]
    with deployment.closed_after(opened) as database:
        Filler(
            database=database,
            tenant_id=tenant_id,
            keys=keyring.tenant(tenant_id, today),
            people=people,
            sites=sites,
            today=today,
        ).store(number * days * A_DAY, days)
    return people, sites


def measure(settings: Settings, new: NewTenant, people: People, sites: list[Site]) -> None:
    """Ask, and print what it took."""
    services = make_services(settings, lambda: NOW)
    rng = random.Random(2)
    week = (NOW - timedelta(days=7)).isoformat().replace("+00:00", "Z")
    asked = {
        "a site's week, 50 of them": lambda: f"site_id={rng.choice(sites).site_id}&since={week}",
        "a site's week, 500 of them": lambda: (
            f"site_id={rng.choice(sites).site_id}&since={week}&limit=500"
        ),
        "a site where nobody was this week": lambda: f"site_id={uuid4()}&since={week}",
        "one person, all days": lambda: f"subject_id={rng.choice(people.ids)}&limit=500",
        "everybody, newest 50": lambda: "limit=50",
    }
    with TestClient(build_app(services, ())) as client:
        for name, query in asked.items():
            times, items = zip(*(_ask(client, new, query()) for _ in range(ROUNDS)), strict=True)
            print(
                f"  {name}: {median(times) * 1000:.0f} ms, at most {max(times) * 1000:.0f}; "
                f"{round(median(items))} items"
            )


def _ask(client: TestClient[Litestar], new: NewTenant, query: str) -> tuple[float, int]:
    headers = {"Authorization": f"Bearer {new.api_key}", "Doorstep-Purpose": "operations"}
    started = time.perf_counter()
    answer = client.get(f"/v1/check-ins?{query}", headers=headers)
    took = time.perf_counter() - started
    assert answer.status_code == 200, answer.text
    return took, len(answer.json()["items"])


def main() -> int:
    """Parse, make, measure."""
    parser = argparse.ArgumentParser(description="Measure the controller's lists.")
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--database", choices=DATABASES, nargs="*", default=list(DATABASES))
    chosen = parser.parse_args()
    for kind in chosen.database:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            settings = Settings(home=Path(folder) / "home")
            if kind != "sqlite":
                server = stack.enter_context(postgres.opened())
                settings = on_postgres(settings.home, server.new_database())
            new = deployment.initialize(
                settings, datetime.now(UTC), tenant=deployment.new_tenant("Lists")
            )
            assert new is not None
            people, sites = fill(settings, new, chosen.people, chosen.days)
            stored = chosen.people * chosen.days * A_DAY
            print(
                f"{kind}, {stored:,} check-ins of {chosen.people:,} people, {os.cpu_count()} cores"
            )
            measure(settings, new, people, sites)
    return 0


if __name__ == "__main__":
    sys.exit(main())
