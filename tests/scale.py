"""Many sites and many tenants in one process, and how soon a change is seen by every worker.

    python tests/scale.py --sites 170000 --tenants 1000 --database sqlite

Makes a deployment of its own with one large tenant and many small ones; loads the large one as a
server does; changes one of its sites; loads all the others with little memory allowed; then starts
a server of two workers and measures how long after the answer to a change both judge by it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import postgres
from doorstep_geofences import Geofence
from doorstep_server import deployment
from doorstep_server.app import now
from doorstep_server.deployment import NewTenant
from doorstep_server.keyring import Keyring
from doorstep_server.policies import Policies
from doorstep_server.settings import Settings
from doorstep_server.store import sites
from doorstep_server.store.database import Database
from doorstep_server.store.reach import Reach
from doorstep_server.store.sites import SiteContent, StoredSite
from served import Served, serving
from world import DATABASES, initialized, on_postgres

SMALL = 5
AT_ONCE = 1_000
CONNECTIONS = 16


@dataclass
class Figures:
    """What was found."""

    load_s: float = 0.0
    load_mb: float = 0.0
    again_ms: float = 0.0
    #: of unchanged sites: are they the very same after the change?
    kept: int = 0
    tenants_s: float = 0.0
    loaded: int = 0
    asked: int = 0
    taken_bytes: int = 0
    allowed_bytes: int = 0
    seen_after_ms: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        seen = sorted(self.seen_after_ms)
        return (
            f"large tenant loaded in {self.load_s:.2f} s, {self.load_mb:.0f} MB; up to date "
            f"after one change in {self.again_ms:.1f} ms, {self.kept:,} sites taken over\n"
            f"{self.asked:,} tenants asked for in {self.tenants_s:.2f} s; {self.loaded:,} kept, "
            f"{self.taken_bytes / 1e6:.1f} of {self.allowed_bytes / 1e6:.1f} MB\n"
            f"a change seen by every worker after {seen[len(seen) // 2]:.0f} ms (median of "
            f"{len(seen)}), {seen[-1]:.0f} ms at most"
        )


def yard(
    rng: random.Random, name: object, version: int = 1, site_id: UUID | None = None
) -> StoredSite:
    """A quadrangle of some 60 m, somewhere in a country."""
    lon, lat, size = rng.uniform(-60, -40), rng.uniform(-30, -5), 0.0006
    ring = [[lon, lat], [lon + size, lat], [lon + size, lat + size], [lon, lat + size], [lon, lat]]
    content = SiteContent(
        name=f"Yard {name}",
        external_id=f"yard-{name}",
        geofence=Geofence.parse({"type": "Polygon", "coordinates": [ring]}),
        tolerance_m=0.0,
        assurance="standard",
        max_accuracy_m=100.0,
        timezone="America/Sao_Paulo",
        purposes=[],
        groups=[],
        active=True,
    )
    return StoredSite(
        site_id=site_id or uuid4(), version=version, valid_from=datetime.now(UTC), content=content
    )


def fill(database: Database, tenant_id: UUID, count: int, rng: random.Random) -> UUID:
    """So many sites; the id of the last."""
    site_id = uuid4()
    for start in range(0, count, AT_ONCE):
        some = [yard(rng, start + i) for i in range(min(AT_ONCE, count - start))]
        database.write_now(
            Reach.of(tenant_id), lambda c, some=some: sites.write_many(c, tenant_id, some)
        )
        site_id = some[-1].site_id
    return site_id


def small_tenants(
    database: Database, keyring: Keyring, count: int, rng: random.Random
) -> Iterator[UUID]:
    """Tenants with a few sites each."""
    for number in range(count):
        tenant = deployment.new_tenant(f"Tenant {number}")
        database.write_now(
            Reach.of(tenant.tenant_id),
            lambda c, tenant=tenant: deployment.add_tenant(c, keyring, tenant, datetime.now(UTC)),
        )
        fill(database, tenant.tenant_id, SMALL, rng)
        yield tenant.tenant_id


async def look(
    settings: Settings, new: NewTenant, others: list[UUID], site_id: UUID, figures: Figures
) -> None:
    """Load, change, load others: as a server does."""
    database, keyring = deployment.open_deployment(settings)
    tenant_id = new.tenant.tenant_id
    policies = Policies(database, keyring, now)
    before_mb, started = _rss_mb(), time.monotonic()
    before = await policies.of(tenant_id)
    figures.load_s, figures.load_mb = time.monotonic() - started, _rss_mb() - before_mb
    one = before.index[site_id]
    revised = yard(random.Random(0), "revised", version=one.version + 1, site_id=site_id)
    await asyncio.to_thread(
        database.write_now, Reach.of(tenant_id), lambda c: sites.revise(c, tenant_id, revised)
    )
    started = time.monotonic()
    policies.forget(tenant_id)
    after = await policies.of(tenant_id)
    figures.again_ms = (time.monotonic() - started) * 1000
    figures.kept = sum(after.index.get(site.site_id) is site for site in before.index)
    assert after.index[site_id].version == revised.version
    # half of the small ones, beside the large one
    small = (await policies.of(others[0])).size_bytes
    figures.allowed_bytes = after.size_bytes + small * len(others) // 2
    few = Policies(database, keyring, now, figures.allowed_bytes)
    started = time.monotonic()
    for other in [*others, tenant_id]:
        assert len((await few.of(other)).index) >= SMALL
    figures.tenants_s, figures.asked = time.monotonic() - started, len(others) + 1
    kept = list(few._loaded.values())
    figures.loaded, figures.taken_bytes = len(kept), sum(policy.size_bytes for policy in kept)
    await database.close()


def see_changes(server: Served, site_id: UUID, rounds: int) -> Iterator[float]:
    """How long after each answered change every connection is judged by it, in milliseconds."""
    place = urlsplit(server.url).netloc
    headers = {
        "Authorization": f"Bearer {server.api_key}",
        "Content-Type": "application/json",
    }
    fix = {"lat": 1.0, "lon": 1.0, "accuracy_m": 10, "captured_at": datetime.now(UTC).isoformat()}
    question = json.dumps({"fix": fix, "site_id": str(site_id)})

    def version(connection: http.client.HTTPConnection) -> int:
        connection.request("POST", "/v1/sites/judge", question, headers)
        return int(json.loads(connection.getresponse().read())["site_version"])

    # a worker reads all sites when it is first asked, and meanwhile idle connections are closed
    for _ in range(CONNECTIONS):
        with closing(http.client.HTTPConnection(place)) as connection:
            version(connection)
    connections = [http.client.HTTPConnection(place) for _ in range(CONNECTIONS)]
    for connection in connections:
        version(connection)
    for number in range(rounds):
        site = server.call("GET", f"/v1/sites/{site_id}")[1]
        body = {name: site[name] for name in ("geofence", "timezone", "external_id", "version")} | {
            "name": f"Round {number}"
        }
        status, answer = server.call("PUT", f"/v1/sites/{site_id}", body)
        answered = time.monotonic()
        assert status == 200, answer
        while any(version(c) != answer["version"] for c in connections):
            pass
        yield (time.monotonic() - answered) * 1000
    for connection in connections:
        connection.close()


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(settings: Settings, count: int, tenants: int, rounds: int, seed: str) -> Figures:
    """All of it, in a deployment that is made for it."""
    rng, figures = random.Random(seed), Figures()
    new = initialized(settings)
    database, keyring = deployment.open_deployment(settings)
    with deployment.closed_after(database):
        site_id = fill(database, new.tenant.tenant_id, count, rng)
        others = list(small_tenants(database, keyring, tenants, rng))
    asyncio.run(look(settings, new, others, site_id, figures))
    environment = {
        name: value
        for name, value in (
            ("DOORSTEP_DATABASE_URL", settings.database_url),
            ("DOORSTEP_ADMIN_DATABASE_URL", settings.admin_database_url),
        )
        if value is not None
    }
    with serving(settings.home, api_key=new.api_key, workers=2, environment=environment) as server:
        figures.seen_after_ms = list(see_changes(server, site_id, rounds))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description="Many sites, many tenants, and changes to them.")
    parser.add_argument("--sites", type=int, default=170_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--seed", default=os.urandom(4).hex(), help="of what is chosen by chance")
    chosen = parser.parse_args()
    print(f"{chosen.database}, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        sizes = (chosen.sites, chosen.tenants, chosen.rounds, chosen.seed)
        if chosen.database == "sqlite":
            figures = run(Settings(home=home), *sizes)
        else:
            with postgres.opened() as server:
                figures = run(on_postgres(home, server.new_database()), *sizes)
    print(figures)
    return 0 if max(figures.seen_after_ms) < 1_000 else 1


if __name__ == "__main__":
    sys.exit(main())
