"""Do a phone and the server come to the same verdict of the same position?

    PYTHONPATH=tests python tests/sdk/agreement.py --points 1000000

Sites of every kind (stars, holes, islands in holes, circles, tolerances, opening hours; in the
tropics, far north, across the 180° meridian) are judged by the server's `doorstep_geofences`, and
by the SDK from the bundle that the server makes of them. Fixes have every accuracy; some claim a
site and others search. Both must say the same of every place that is farther than a metre from any
edge, and name the same site. Nearer, the phone must say uncertain of a claimed site.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import doorstep
from doorstep._bundle import Bundle
from doorstep._judging import OUTCOMES, UNDECIDED_M
from doorstep_geofences import (
    STANDARD,
    STRICT,
    Fix,
    Geofence,
    OpeningHours,
    Question,
    Site,
    SiteIndex,
    judge,
)
from doorstep_server.bundles import bundle_of
from geofences.making import METRES_PER_DEGREE, random_site

PURPOSE = "round"
SITES, FIXES = 12, 400
#: where sites are moved to, from where they are drawn: east and north, in degrees
ELSEWHERE = [(0.0, 0.0), (0.0, 0.0), (60.0, 84.0), (226.65, 40.0), (46.65, 23.55)]
#: a hair for numbers that both work out in their own order
HAIR_M = 1e-6
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
ZONES = ("America/Sao_Paulo", "Asia/Tokyo", "Pacific/Apia")


@dataclass
class Tally:
    """What was asked, and where they differ."""

    points: int = 0
    near_edges: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    phone_s: float = 0.0

    def __str__(self) -> str:
        said = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common())
        return (
            f"{self.points:,} points beyond a metre of edges, {self.near_edges:,} nearer; "
            f"{said}; the phone took {1e6 * self.phone_s / max(self.points, 1):.0f} µs each; "
            f"differing: {dict(self.differing) or 'none'}"
        )


def random_uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)


def some_sites(rng: random.Random) -> list[Site]:
    """In one part of the world, many over each other."""
    east, north = rng.choice(ELSEWHERE)
    return [_site(rng, east, north) for _ in range(SITES)]


def _site(rng: random.Random, east: float, north: float) -> Site:
    drawn = random_site(rng, rng.choice([0, 0, 1, 5]))
    decimals = rng.choice([6, 7, 7, 9, None])
    return Site(
        site_id=random_uuid(rng),
        version=1,
        geofence=_moved(drawn.geofence, east, north, decimals) or drawn.geofence,
        tolerance_m=drawn.tolerance_m,
        assurance=rng.choice([STANDARD, STRICT]),
        max_accuracy_m=drawn.max_accuracy_m,
        hours=rng.choice([None, None, _hours(rng)]),
        zone=ZoneInfo(rng.choice(ZONES)),
        since=rng.randrange(1_000),
    )


def _moved(fence: Geofence, east: float, north: float, decimals: int | None) -> Geofence | None:
    """The fence elsewhere, its numbers written with so many decimals."""

    def put(value: Any, by: float) -> float:
        return value + by if decimals is None else round(value + by, decimals)

    def place(position: list[float]) -> list[float]:
        return [put(position[0], east), put(position[1], north)]

    document = fence.to_document()
    match document:
        case {"center": center}:
            center = place(center)
            center[0] -= 360.0 if center[0] > 180.0 else 0.0
            return Geofence.circle(*center, document["radius_m"])
        case {"type": "Polygon", "coordinates": rings}:
            moved: Any = [[place(p) for p in ring] for ring in rings]
        case {"coordinates": parts}:
            moved = [[[place(p) for p in ring] for ring in part] for part in parts]
    try:
        return Geofence.parse({**document, "coordinates": moved})
    except ValueError:
        return None  # rounding made it touch itself


def _hours(rng: random.Random) -> OpeningHours:
    day = NOON.date() + timedelta(days=rng.randrange(-1, 2))
    spans = rng.choice([[["09:00", "18:00"]], [["22:00", "06:00"]], [["00:00", "24:00"]], []])
    return OpeningHours.parse(
        {
            "weekly": {name: [["08:00", "12:00"], ["13:00", "23:30"]] for name in ("mon", "tue")},
            "exceptions": [{"date": day.isoformat(), "open": spans}],
        }
    )


def some_fixes(
    rng: random.Random, sites: list[Site]
) -> Iterator[tuple[Fix, Site | None, datetime]]:
    for _ in range(FIXES):
        site = rng.choice(sites)
        lon, lat = _around(rng, site)
        accuracy_m = rng.choice([None, 0.0]) if rng.random() < 0.01 else 10 ** rng.uniform(-1, 3.2)
        fix = Fix(lat=lat, lon=lon, accuracy_m=accuracy_m, mocked=rng.random() < 0.005)
        at = NOON + timedelta(minutes=rng.randrange(-2_000, 2_000))
        yield fix, rng.choice([site, site, None]), at


def _around(rng: random.Random, site: Site) -> tuple[float, float]:
    box = site.bounds
    spread_m = rng.choice([5.0, 50.0, 500.0])
    north = rng.gauss(0, spread_m) / METRES_PER_DEGREE
    lat = rng.uniform(box.south, box.north) + north
    east = rng.gauss(0, spread_m) / METRES_PER_DEGREE
    lon = rng.uniform(box.west, box.east) + east
    return (lon + 180.0) % 360.0 - 180.0, max(-90.0, min(lat, 90.0))


def compare(rng: random.Random, points: int) -> Tally:
    """Of so many points or some more."""
    tally = Tally()
    while tally.points < points:
        sites = some_sites(rng)
        # a phone has its sites in the order of their ids: of equals the first is the same then
        sites.sort(key=lambda site: site.site_id.bytes)
        bundle = Bundle(bundle_of(sites, [PURPOSE]).content)
        asked = list(some_fixes(rng, sites))
        questions = [
            Question(fix=fix, site_id=None if site is None else site.site_id, at=at)
            for fix, site, at in asked
        ]
        verdicts = judge(questions, SiteIndex(sites))
        for (fix, site, at), verdict in zip(asked, verdicts, strict=True):
            reason, found = _by_phone(bundle, fix, site, at, tally)
            named = None if verdict.site is None else str(verdict.site.site_id)
            if _is_near_an_edge(fix, sites if site is None else [site]):
                tally.near_edges += 1
                if not _may_say_near_an_edge(reason, verdict.reason, site):
                    tally.differing[f"near an edge: {verdict.reason} but {reason}"] += 1
                continue
            tally.points += 1
            tally.reasons[reason] += 1
            if (reason, found) != (verdict.reason.value, named):
                kind = "a claim" if site else "a search"
                tally.differing[f"{kind}: {verdict.reason} but {reason}"] += 1
    return tally


def _by_phone(
    bundle: Bundle, fix: Fix, site: Site | None, at: datetime, tally: Tally
) -> tuple[str, str | None]:
    taken = doorstep.Fix(
        lat=fix.lat,
        lon=fix.lon,
        accuracy_m=fix.accuracy_m,
        mocked=fix.mocked,
        captured_at=at,
    )
    begun = time.perf_counter()
    judged = bundle.judge(purpose=PURPOSE, fix=taken, site_id=site and str(site.site_id))
    tally.phone_s += time.perf_counter() - begun
    return judged.reason, judged.site_id


def _is_near_an_edge(fix: Fix, sites: list[Site]) -> bool:
    return any(site.area.distance_m(fix.lon, fix.lat) <= UNDECIDED_M + HAIR_M for site in sites)


def _may_say_near_an_edge(reason: str, by_server: str, site: Site | None) -> bool:
    """Of a claimed site uncertain, unless that was settled before the place was looked at."""
    if reason == by_server or OUTCOMES[reason] == "uncertain":
        return (
            site is None or OUTCOMES[reason] == "uncertain" or reason not in {"inside", "outside"}
        )
    return site is None and reason in {"inside", "outside_hours", "no_site_near"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the verdicts of a phone and the server.")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--seed", default=os.urandom(4).hex(), help="of what is chosen by chance")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    tally = compare(random.Random(chosen.seed), chosen.points)
    print(tally)
    return 1 if tally.differing else 0


if __name__ == "__main__":
    sys.exit(main())
