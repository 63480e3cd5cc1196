"""Do both databases, and judging, say of a point what planar GEOS says?

    python tests/agreement.py --database postgresql --points 1000000 --fences FILE.geojson.gz ...

Fences go into a deployment of its own as the server stores them; then the database is asked of
random points around each fence and of points on its boundary: its corners, and places along its
edges as far as rounding lets them be there. For a point, to intersect a polygon is to be covered by
it. Shapely's `covers`, which is GEOS, must say the same, and so must the areas that check-ins are
judged by.

PostGIS is asked `NOT ST_Disjoint`, which is GEOS there. Its `ST_Intersects` is not, for a point and
a polygon: code of PostGIS's own decides, and of a million points upon edges it says otherwise of
one. The store asks `ST_Intersects` of boxes, where it is GEOS; never of a point.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import shapely
from sqlalchemy import Float, LargeBinary, column, func, select, values

import postgres
from doorstep_geofences import Geofence, Site
from doorstep_geofences.area import covered
from doorstep_server import deployment
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, sites
from doorstep_server.store.columns import WGS84, Id
from doorstep_server.store.database import Database
from doorstep_server.store.reach import Reach
from doorstep_server.store.schema import site_versions
from doorstep_server.store.sites import SiteContent, StoredSite
from geofences.making import random_site
from world import DATABASES, initialized, on_postgres

#: rows of one statement: SQLite takes 32,766 values, three a row
AT_ONCE = 10_000


@dataclass
class Tally:
    """What was asked, and who said otherwise."""

    points: int = 0
    covered: int = 0
    database: int = 0
    judging: int = 0

    @property
    def agrees(self) -> bool:
        return self.points > 0 and not self.database and not self.judging

    def __str__(self) -> str:
        return (
            f"{self.points:,} points, {self.covered:,} covered; the database says otherwise of "
            f"{self.database}, judging of {self.judging}"
        )


def fences_of(file: Path) -> Iterator[Geofence]:
    """The polygons of a GeoJSON file that are valid."""
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    for feature in json.loads(text)["features"]:
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        if shape.is_valid:
            yield Geofence.polygonal(shape)


def drawn(count: int, rng: random.Random) -> Iterator[Geofence]:
    """Stars, with holes, with islands in holes, with parts elsewhere."""
    while count:
        fence = random_site(rng).geofence
        if fence.shape is not None:
            count -= 1
            yield fence


def asked(shape: shapely.Geometry, count: int, rng: random.Random) -> np.ndarray:
    """Half of the points at random around a shape, half on its boundary."""
    west, south, east, north = shape.bounds
    margin = 0.1 * max(east - west, north - south)
    around = [
        (rng.uniform(west - margin, east + margin), rng.uniform(south - margin, north + margin))
        for _ in range(count // 2)
    ]
    corners = shapely.get_coordinates(shape)
    first = np.array([rng.randrange(len(corners) - 1) for _ in range(count - len(around))])
    # the corner itself, the middle of its edge, or anywhere along it
    along = np.array([rng.choice((0.0, 0.5, rng.random())) for _ in first])[:, np.newaxis]
    upon = corners[first] + along * (corners[first + 1] - corners[first])
    return np.clip(np.concatenate([np.reshape(around, (-1, 2)), upon]), (-180, -90), (180, 90))


def compare(
    database: Database, tenant_id: UUID, fences: Sequence[Geofence], points: int, seed: str
) -> Tally:
    """Ask about so many points in all, spread over the fences."""
    rng, tally = random.Random(seed), Tally()
    each = -(-points // len(fences))
    stored = [_stored(number, fence) for number, fence in enumerate(fences)]
    reach = Reach.of(tenant_id)
    for some in _batches(stored, 1_000):
        database.write_now(reach, lambda c, some=some: sites.write_many(c, tenant_id, some))
    for some in _batches(stored, max(1, AT_ONCE // each)):
        places = [asked(_shape(site), each, rng) for site in some]
        said = database.read_now(
            reach, lambda c, some=some, places=places: _said(c, tenant_id, some, places)
        )
        for site, around, answers in zip(some, places, said, strict=True):
            expected = shapely.covers(_shape(site), shapely.points(around))
            tally.points += len(around)
            tally.covered += int(expected.sum())
            tally.database += int((answers != expected).sum())
            tally.judging += int((_judged(site, around) != expected).sum())
    return tally


def _batches(sites: Sequence[StoredSite], count: int) -> Iterator[Sequence[StoredSite]]:
    return (sites[start : start + count] for start in range(0, len(sites), count))


def _shape(site: StoredSite) -> shapely.Geometry:
    shape = site.content.geofence.shape
    assert shape is not None
    return shape


def _stored(number: int, fence: Geofence) -> StoredSite:
    return StoredSite(
        site_id=uuid4(),
        version=1,
        valid_from=datetime.now(UTC),
        content=SiteContent(
            name=f"Fence {number}",
            external_id=None,
            geofence=fence,
            tolerance_m=0.0,
            assurance="standard",
            max_accuracy_m=100.0,
            timezone="UTC",
            purposes=[],
            groups=[],
            active=True,
        ),
    )


def _said(
    connection: Connection, tenant_id: UUID, some: Sequence[StoredSite], places: list[np.ndarray]
) -> list[np.ndarray]:
    """What the database answers of each site's places."""
    is_postgresql = connection.dialect.name == "postgresql"
    said = [np.zeros(len(around), dtype=bool) for around in places]
    asked_of = [
        (site.site_id, which, i, point)
        for which, (site, around) in enumerate(zip(some, places, strict=True))
        for i, point in enumerate(shapely.to_wkb(shapely.points(around)))
    ]
    for start in range(0, len(asked_of), AT_ONCE):
        rows = asked_of[start : start + AT_ONCE]
        given = (
            values(column("site_id", Id), column("n", Float), column("wkb", LargeBinary), name="g")
            .data([(site_id, float(n), point) for n, (site_id, _, _, point) in enumerate(rows)])
            .cte()
        )
        # a geometry is WKB on SQLite
        fence, point = site_versions.c.shape, given.c.wkb
        if is_postgresql:
            covered = ~func.ST_Disjoint(fence, func.ST_GeomFromWKB(point, WGS84))
        else:
            covered = func.ST_Intersects(fence, point)
        query = (
            select(given.c.n, covered)
            .join_from(given, site_versions, site_versions.c.site_id == given.c.site_id)
            .where(site_versions.c.tenant_id == tenant_id)
        )
        answers = connection.execute(query).all()
        assert len(answers) == len(rows), "the database has to answer of every point"
        for n, intersects in answers:
            _, which, i, _ = rows[int(n)]
            said[which][i] = bool(intersects)
    return said


def _judged(site: StoredSite, places: np.ndarray) -> np.ndarray:
    area = Site(site_id=1, version=1, geofence=site.content.geofence).area
    return np.array(covered([area] * len(places), places[:, 0], places[:, 1]))


def run(settings: Settings, fences: Sequence[Geofence], points: int, seed: str) -> Tally:
    """In a deployment that is made for it."""
    tenant_id = initialized(settings).tenant.tenant_id
    with deployment.closed_after(deployment.database(settings)) as database:
        return compare(database, tenant_id, fences, points, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare containment with planar GEOS.")
    parser.add_argument("--fences", type=Path, nargs="*", default=[], help="GeoJSON; or drawn ones")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--seed", default=os.urandom(4).hex(), help="of what is chosen by chance")
    chosen = parser.parse_args()
    fences = [fence for file in chosen.fences for fence in fences_of(file)]
    fences = fences or list(drawn(1_000, random.Random(chosen.seed)))
    print(f"{chosen.database}, seed {chosen.seed}, {len(fences):,} fences", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if chosen.database == "sqlite":
            tally = run(Settings(home=home), fences, chosen.points, chosen.seed)
        else:
            with postgres.opened() as server:
                settings = on_postgres(home, server.new_database())
                tally = run(settings, fences, chosen.points, chosen.seed)
    print(tally)
    return 0 if tally.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
