"""What one judged fix costs, beside bare Shapely doing the same lookup (`make cost`).

Bare Shapely is what one would write by hand: a dict or an STRtree, `covers`, and whether the
edge is within the fix's reach, on prepared geometries; it knows no accuracy, no tolerance and
no reasons. Both answer the same questions, in turns, in one process; what counts are the
ratios. So do all sizes: a shared core may be twice as fast a minute later, and what one size costs
beside another would be that. How much must grow is told by a look-up: of a site by its id, in a
dict, and of one field of it, which costs as much as memory does that nobody looked at lately.
"""

import argparse
import gzip
import json
import math
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from doorstep_geofences import Fix, Geofence, Question, Site, SiteIndex, judge

SIZES = (100, 10_000, 170_000)
PEOPLE = 1_000
BATCH = 256
QUESTIONS = 8 * BATCH
REACH = 2.01
#: quantiles of what phones say, roughly: most between 4 and 40 m
ACCURACIES_M = (4, 5, 8, 12, 16, 16, 24, 24, 32, 48)


def drawn_fences(count: int, rng: random.Random) -> Iterator[Geofence]:
    """Buildings and yards of 4 to 24 corners, 20 to 120 m across, strewn over a country."""
    for _ in range(count):
        lon, lat = rng.uniform(-60, -40), rng.uniform(-30, -5)
        corners = rng.choice((4, 4, 6, 8, 12, 24))
        size_m = rng.uniform(20, 120)
        yield Geofence.parse(_polygon(lon, lat, corners, size_m, rng))


def _polygon(
    lon: float, lat: float, corners: int, size_m: float, rng: random.Random
) -> dict[str, object]:
    ring = []
    for i in range(corners):
        turn, reach_m = 2 * math.pi * i / corners, size_m * rng.uniform(0.6, 1.0)
        east, north = reach_m * math.cos(turn), reach_m * math.sin(turn)
        ring.append([lon + east / 102_000, lat + north / 110_900])
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def given_fences(file: Path, count: int) -> Iterator[Geofence]:
    """The polygons of a GeoJSON file, over and over, each time a little farther north."""
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    shapes = [
        shapely.from_geojson(json.dumps(feature["geometry"]))
        for feature in json.loads(text)["features"]
    ]
    for number in range(count):
        turn, i = divmod(number, len(shapes))
        shift = 0.0131 * turn
        moved = shapely.transform(shapes[i], lambda xy, by=shift: np.add(xy, (0.0, by)))
        if moved.bounds[3] < 85.0:
            yield Geofence.polygonal(moved)


class Bare:
    """By hand."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._fences = {site.site_id: site.geofence.shape for site in sites}
        self._scales = {i: _scale(fence) for i, fence in self._fences.items()}
        self._edges: dict[object, shapely.Geometry] = {}
        self._ids = list(self._fences)
        self._tree = shapely.STRtree(list(self._fences.values()))

    def edge(self, site_id: object) -> shapely.Geometry:
        if site_id not in self._edges:
            scale = self._scales[site_id]
            edge = shapely.transform(self._fences[site_id].boundary, lambda xy: xy * scale)
            shapely.prepare([edge, self._fences[site_id]])
            self._edges[site_id] = edge
        return self._edges[site_id]

    def one(self, question: Question) -> tuple[bool, bool]:
        fix, site_id = question.fix, question.site_id
        edge = self.edge(site_id)
        lon_m, lat_m = self._scales[site_id]
        covered = self._fences[site_id].covers(shapely.Point(fix.lon, fix.lat))
        in_metres = shapely.Point(fix.lon * lon_m, fix.lat * lat_m)
        return covered, edge.dwithin(in_metres, REACH * fix.accuracy_m)

    def many(self, questions: Sequence[Question]) -> list[tuple[bool, bool]]:
        ids = [q.site_id for q in questions]
        return self._asked(questions, ids)

    def search_one(self, question: Question) -> list[tuple[bool, bool]]:
        fix = question.fix
        reach_m = REACH * fix.accuracy_m
        east, north = reach_m / 90_000, reach_m / 110_500
        box = shapely.box(fix.lon - east, fix.lat - north, fix.lon + east, fix.lat + north)
        ids = [self._ids[i] for i in self._tree.query(box)]
        return [self.one(Question(fix=fix, site_id=i)) for i in ids]

    def search_many(self, questions: Sequence[Question]) -> list[tuple[bool, bool]]:
        lon, lat, accuracy_m = np.array(
            [(q.fix.lon, q.fix.lat, q.fix.accuracy_m) for q in questions]
        ).T
        east, north = REACH * accuracy_m / 90_000, REACH * accuracy_m / 110_500
        boxes = shapely.box(lon - east, lat - north, lon + east, lat + north)
        asked, found = self._tree.query(boxes)
        return self._asked([questions[i] for i in asked], [self._ids[i] for i in found])

    def _asked(
        self, questions: Sequence[Question], ids: Sequence[object]
    ) -> list[tuple[bool, bool]]:
        if not questions:
            return []
        edges = np.array([self.edge(i) for i in ids])
        fences = np.array([self._fences[i] for i in ids])
        scales = np.array([self._scales[i] for i in ids])
        lon, lat, accuracy_m = np.array(
            [(q.fix.lon, q.fix.lat, q.fix.accuracy_m) for q in questions]
        ).T
        covered = shapely.intersects_xy(fences, lon, lat)
        points = shapely.points(lon * scales[:, 0], lat * scales[:, 1])
        near = shapely.dwithin(edges, points, REACH * accuracy_m)
        return list(zip(covered.tolist(), near.tolist(), strict=True))


def _scale(fence: shapely.Geometry) -> tuple[float, float]:
    lat = fence.bounds[3]
    return 111_320.0 * math.cos(math.radians(lat)), 110_900.0


def asked(sites: Sequence[Site], rng: random.Random, *, claimed: bool) -> list[Question]:
    """What 1,000 people ask, each at a place of theirs: nine of ten are there."""
    homes = [rng.choice(sites) for _ in range(PEOPLE)]
    return [_question(rng.choice(homes), rng, claimed=claimed) for _ in range(QUESTIONS)]


def _question(site: Site, rng: random.Random, *, claimed: bool) -> Question:
    at = site.geofence.shape.representative_point()
    accuracy_m = float(rng.choice(ACCURACIES_M))
    error_m = accuracy_m / 1.51
    away_m = 0.0 if rng.random() < 0.9 else rng.uniform(50, 500)
    turn = rng.uniform(0, 2 * math.pi)
    east_m = away_m * math.cos(turn) + rng.gauss(0, error_m)
    north_m = away_m * math.sin(turn) + rng.gauss(0, error_m)
    fix = Fix(lon=at.x + east_m / 102_000, lat=at.y + north_m / 110_900, accuracy_m=accuracy_m)
    return Question(fix=fix, site_id=site.site_id if claimed else None)


Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """So many fences in both hands, and what is asked of them."""

    index: SiteIndex
    bare: Bare
    claims: Sequence[Question]
    searches: Sequence[Question]

    def works(self) -> dict[str, tuple[Work, Work]]:
        """What is timed: all questions, ours and bare."""
        bare, claims, searches = self.bare, self.claims, self.searches
        sites = {site.site_id: site for site in self.index}
        return {
            "look-up": (
                lambda: [self.index[q.site_id].version for q in claims],
                lambda: [sites[q.site_id].version for q in claims],
            ),
            "claimed single": (self._single(claims), lambda: [bare.one(q) for q in claims]),
            f"claimed batch of {BATCH}": (
                self._batched(claims),
                lambda: [bare.many(batch) for batch in _batches(claims)],
            ),
            "searched single": (
                self._single(searches),
                lambda: [bare.search_one(q) for q in searches],
            ),
            f"searched batch of {BATCH}": (
                self._batched(searches),
                lambda: [bare.search_many(batch) for batch in _batches(searches)],
            ),
        }

    def _single(self, questions: Sequence[Question]) -> Work:
        return lambda: [judge([q], self.index) for q in questions]

    def _batched(self, questions: Sequence[Question]) -> Work:
        return lambda: [judge(batch, self.index) for batch in _batches(questions)]


def _batches(questions: Sequence[Question]) -> list[Sequence[Question]]:
    return [questions[i : i + BATCH] for i in range(0, len(questions), BATCH)]


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def compared(
    subjects: Sequence[Subject], rounds: int
) -> dict[str, list[list[tuple[float, float]]]]:
    """Microseconds a fix, ours and bare: of each work, for each size, one pair a round."""
    works = [subject.works() for subject in subjects]
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for name in works[0]:
        pairs = [each[name] for each in works]
        for work in (work for pair in pairs for work in pair):
            work()
        turns = [[_in_turn(pair) for pair in pairs] for _ in range(rounds)]
        found[name] = [list(of_size) for of_size in zip(*turns, strict=True)]
    return found


def _in_turn(pair: tuple[Work, Work]) -> tuple[float, float]:
    ours, theirs = (_timed(work) * 1e6 / QUESTIONS for work in pair)
    return ours, theirs


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure what judging a fix costs.")
    parser.add_argument("--fences", type=Path, help="GeoJSON polygons; [default: drawn]")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    subjects = [_subject(options.fences, size, options.seed) for size in options.sizes]
    for name, found in compared(subjects, options.rounds).items():
        print(name)
        for size, pairs in zip(options.sizes, found, strict=True):
            _tell(size, pairs)
        ours, theirs = _growths(found)
        print(f"  grew by {ours:.2f}, bare by {theirs:.2f}")


def _subject(given: Path | None, size: int, seed: int) -> Subject:
    rng = random.Random(seed)
    fences = list(given_fences(given, size) if given else drawn_fences(size, rng))
    before_mb, started = _rss_mb(), time.process_time()
    sites = [Site(site_id=i, version=1, geofence=f) for i, f in enumerate(fences)]
    index = SiteIndex(sites)
    took_s, grown_mb = time.process_time() - started, _rss_mb() - before_mb
    print(f"{size:,} fences: in order in {took_s:.2f} s, {grown_mb:.0f} MB beside the shapes")
    claims, searches = asked(sites, rng, claimed=True), asked(sites, rng, claimed=False)
    before_mb = _rss_mb()
    judge([*claims, *searches], index)
    print(f"  judging made {_rss_mb() - before_mb:.0f} MB of what is asked there")
    return Subject(index=index, bare=Bare(sites), claims=claims, searches=searches)


def _tell(size: int, pairs: Sequence[tuple[float, float]]) -> None:
    ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(mine / bare for mine, bare in pairs)
    print(f"  {size:7,} ours {ours:7.2f} µs  bare {theirs:7.2f} µs  ratio {ratio:.2f}")


def _growths(found: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """From the first size to the last, ours and bare: what each round said, in the middle."""
    turns = list(zip(found[0], found[-1], strict=True))
    ours = statistics.median(last[0] / first[0] for first, last in turns)
    theirs = statistics.median(last[1] / first[1] for first, last in turns)
    return ours, theirs


if __name__ == "__main__":
    main()
