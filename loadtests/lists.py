"""`make lists`: what the controller's lists cost when much is stored.

Ten thousand people check in for sixty days, twice a day, at five hundred sites: 1,200,000 rows that
nobody can link, made by the same functions as the server's. Then the API is asked, in this process,
who was at a site this week, and what one person did: whoever asks gets names, so rows are unsealed
and the keyring is read. Needs `tests` in PYTHONPATH, for a PostgreSQL to throw away.
"""

import argparse
import os
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import msgspec
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import insert

import postgres
from doorstep_geofences import Geofence, Reason, Site, Verdict
from doorstep_server import deployment
from doorstep_server.app import build_app, make_services
from doorstep_server.deployment import FIRST_PURPOSE, NewTenant
from doorstep_server.keyring import Keyring
from doorstep_server.keyring.entries import EntryName, Kind
from doorstep_server.privacy.keys import SECRET_BYTES, SubjectKeys, TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import Judged, minimize
from doorstep_server.settings import Settings
from doorstep_server.store.check_ins import _row
from doorstep_server.store.reach import Reach
from doorstep_server.store.schema import check_ins
from world import DATABASES, on_postgres

AT_ONCE = 10_000
ROUNDS = 15
NOW = datetime.now(UTC).replace(hour=20, minute=0, second=0, microsecond=0) - timedelta(days=1)


class People:
    """Their ids and keys, made in the keyring many at once."""

    def __init__(self, keyring: Keyring, tenant_id: UUID, number: int) -> None:
        made = {uuid4(): secrets.token_bytes(SECRET_BYTES) for _ in range(number)}
        entries = {
            EntryName(str(tenant_id), Kind.SUBJECT, i.hex): msgspec.msgpack.encode(
                [secret, f"person-{i}"]
            )
            for i, secret in made.items()
        }
        keyring._entries.add(keyring._wrapped(entries), counted=False)  # noqa: SLF001
        self.ids = list(made)
        self.keys = {i: SubjectKeys.of(secret) for i, secret in made.items()}


def rows(
    keys: TenantKeys, tenant_id: UUID, people: People, sites: Sequence[Site], days: int
) -> Iterator[dict[str, Any]]:
    """A morning and an evening of everybody, day after day."""
    rng = random.Random(1)
    home = {person: rng.choice(sites) for person in people.ids}
    for day in range(days):
        for person in people.ids:
            for number, hour in enumerate((9, 18)):
                site = home[person] if rng.random() < 0.8 else rng.choice(sites)
                at = (NOW - timedelta(days=day)).replace(hour=hour, minute=rng.randrange(60))
                judged = _judged(person, people.keys[person], site, at)
                minimized = minimize(keys, judged)
                assert minimized.record is not None
                assert minimized.tokens is not None
                token = minimized.tokens.token(number)
                yield {**_row(tenant_id, minimized.record), "token": token}


def _judged(person: UUID, keys: SubjectKeys, site: Site, at: datetime) -> Judged:
    return Judged(
        id=uuid4(),
        subject_id=person,
        subject_keys=keys,
        purpose=FIRST_PURPOSE,
        max_level=Level.CELL,
        claimed_site_id=None,
        action=None,
        verdict=Verdict(Reason.INSIDE, site),
        cell=None,
        exact=None,
        captured_at=at,
        received_at=at,
        digest=b"\0\0",
    )


def fill(settings: Settings, new: NewTenant, number: int, days: int) -> tuple[People, list[Site]]:
    """Make people, sites and rows."""
    opened, keyring = deployment.open_deployment(settings)
    tenant_id = new.tenant.tenant_id
    people = People(keyring, tenant_id, number)
    sites = [
        Site(site_id=uuid4(), version=1, geofence=Geofence.circle(0.0, 0.0, 80.0))
        for _ in range(500)
    ]
    made = rows(keyring.tenant(tenant_id, NOW.date()), tenant_id, people, sites, days)
    with deployment.closed_after(opened) as database:
        while some := list(islice(made, AT_ONCE)):
            some.sort(key=lambda row: str(row["id"]))
            database.write_now(
                Reach.of(tenant_id), lambda c, some=some: c.execute(insert(check_ins), some)
            )
    return people, sites


def measure(settings: Settings, new: NewTenant, people: People, sites: list[Site]) -> None:
    """Ask, and print what it took."""
    services = make_services(settings, lambda: NOW + timedelta(hours=1))
    rng = random.Random(2)
    week = (NOW - timedelta(days=7)).isoformat().replace("+00:00", "Z")
    asked = {
        "a site's week, 50 of them": lambda: f"site_id={rng.choice(sites).site_id}&since={week}",
        "a site's week, 500 of them": lambda: (
            f"site_id={rng.choice(sites).site_id}&since={week}&limit=500"
        ),
        "a site where nobody was this week": lambda: f"site_id={uuid4()}&since={week}",
        "one person, 60 days": lambda: f"subject_id={rng.choice(people.ids)}&limit=500",
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
    parser.add_argument("--days", type=int, default=60)
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
            stored = chosen.people * chosen.days * 2
            print(
                f"{kind}, {stored:,} check-ins of {chosen.people:,} people, {os.cpu_count()} cores"
            )
            measure(settings, new, people, sites)
    return 0


if __name__ == "__main__":
    sys.exit(main())
