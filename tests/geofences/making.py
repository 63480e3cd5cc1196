"""Fences, sites and questions for tests, drawn in metres around a place."""

import math
import random
from itertools import pairwise
from pathlib import Path

from doorstep_geofences import Fix, Geofence, Outcome, Question, Site, SiteIndex, Verdict, judge

DATA = Path(__file__).parent.parent / "data"
#: An office in São Paulo.
LON, LAT = -46.65, -23.55

METRES_PER_DEGREE = 111_195.0


def place(east_m, north_m, lon=LON, lat=LAT):
    """Longitude and latitude a few metres from a place, near enough for drawing."""
    return [
        lon + east_m / (METRES_PER_DEGREE * math.cos(math.radians(lat))),
        lat + north_m / METRES_PER_DEGREE,
    ]


def ring(corners_m, lon=LON, lat=LAT):
    positions = [place(x, y, lon, lat) for x, y in corners_m]
    return [*positions, positions[0]]


def square(half_m, lon=LON, lat=LAT):
    corners = [(-half_m, -half_m), (half_m, -half_m), (half_m, half_m), (-half_m, half_m)]
    return ring(corners, lon, lat)


def round_ring(radius_m, corners=64):
    turns = [2 * math.pi * i / corners for i in range(corners)]
    return ring([(radius_m * math.cos(t), radius_m * math.sin(t)) for t in turns])


def polygon(*rings):
    return Geofence.parse({"type": "Polygon", "coordinates": list(rings)})


def multipolygon(*parts):
    return Geofence.parse({"type": "MultiPolygon", "coordinates": list(parts)})


def site(geofence=None, **options):
    geofence = polygon(square(100)) if geofence is None else geofence
    return Site(**{"site_id": "office", "version": 1, "geofence": geofence} | options)


def fix(east_m=0.0, north_m=0.0, accuracy_m=10.0, **options):
    lon, lat = place(east_m, north_m)
    return Fix(**{"lat": lat, "lon": lon, "accuracy_m": accuracy_m} | options)


def claimed(one_fix, at_site, /, **options) -> Verdict:
    question = Question(fix=one_fix, site_id=at_site.site_id, **options)
    return judge([question], SiteIndex([at_site]))[0]


def searched(one_fix, *sites, **options) -> Verdict:
    return judge([Question(fix=one_fix, site_id=None, **options)], SiteIndex(sites))[0]


def random_site(rng: random.Random, number=0) -> Site:
    """Any site: circles, stars, holes, islands in holes; tolerances and assurances."""
    return site(
        _random_geofence(rng, *place(rng.uniform(-300, 300) * number, rng.uniform(-200, 200))),
        site_id=number,
        tolerance_m=rng.choice([0.0, 0.0, rng.uniform(0, 60)]),
        assurance=rng.choice([0.5, 0.9, rng.uniform(0.5, 0.99)]),
        max_accuracy_m=rng.choice([100.0, rng.uniform(5, 2000)]),
    )


def _random_geofence(rng, lon, lat) -> Geofence:
    if rng.random() < 0.2:
        return Geofence.circle(lon, lat, rng.uniform(1, 300))
    star = _random_star(rng)
    scaled = [
        ring([(x * s, y * s) for x, y in star], lon, lat)
        for s in (1.0, rng.uniform(0.3, 0.95), rng.uniform(0.05, 0.25))
    ]
    if rng.random() < 0.2:
        return _islet(rng, star, lon, lat)
    match rng.randrange(4):
        case 0:
            return polygon(scaled[0])
        case 1:
            return polygon(scaled[0], scaled[1])
        case 2:
            return multipolygon([scaled[0], scaled[1]], [scaled[2]])
        case _:
            far = place(900, rng.uniform(-300, 300), lon, lat)
            return multipolygon([scaled[0]], [ring(star, *far)])


def _islet(rng, star, lon, lat) -> Geofence:
    """A small part in the middle of a wide ring: of a fix there, a better accuracy says inside, a
    worse one the gap, and one that is worse still the ring."""
    gap = rng.uniform(0.15, 0.4)
    shore, edge, islet = (
        ring([(x * s, y * s) for x, y in star], lon, lat)
        for s in (rng.uniform(3.0, 8.0), gap, gap * rng.uniform(0.1, 0.4))
    )
    return multipolygon([shore, edge], [islet])


def _random_star(rng):
    corners = rng.randrange(3, 14)
    size_m = rng.choice([15, 60, 300])
    turns = [2 * math.pi * (i + rng.uniform(0, 0.4)) / corners for i in range(corners)]
    radii = [size_m * rng.uniform(0.4, 1.0) for _ in turns]
    return [(r * math.cos(t), r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]


def random_fix_place(rng: random.Random) -> dict[str, float]:
    spread_m = rng.choice([4, 40, 150, 500])
    lon, lat = place(rng.gauss(0, spread_m), rng.gauss(0, spread_m))
    return {"lon": lon, "lat": lat}


def random_accuracies(rng: random.Random, count=8) -> list[float]:
    return sorted(10 ** rng.uniform(-1, 3.5) for _ in range(count))


def only_uncertain_grows(outcomes) -> bool:
    """Whether outcomes, from the best accuracy to the worst, change to uncertain alone."""
    return all(worse in {better, Outcome.UNCERTAIN} for better, worse in pairwise(outcomes))
