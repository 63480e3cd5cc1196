"""Sites by id and by place."""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import shapely

from .bounds import boxes, poleward_lats
from .fix import Fix
from .places import Floats, Numbers, Places
from .plane import NEARLY_90, SHORTEST_LAT_DEGREE_M, Plane
from .site import Site

#: Fences of more positions are made ready by the index; the others take well under 1 ms each.
MANY_VERTICES = 500
#: So many changes are kept beside the sites before them; then all are put in order anew.
MOST_CHANGES = 2_000
#: What a site takes in memory, at most, when it has been asked: with all that is made of its
#: fence then, and for each of its positions. Measured: see geofences/evaluation/cost.py.
SITE_BYTES = 2_500
VERTEX_BYTES = 150
#: Boxes and areas are rounded apart from each other: by less than this, in degrees.
_SLACK = np.array([-1e-9, -1e-9, 1e-9, 1e-9])

#: No two places on Earth are so far apart; keeps absurd accuracies finite.
_EVERYWHERE_M = 1e9


class NearSites:
    """The sites near fixes, each with the number of its fix."""

    __slots__ = ("above_cap", "evident", "numbers")

    def __init__(self) -> None:
        #: Those to which the fix is evidence; of each fix in the index's order.
        self.evident: list[Site] = []
        #: Beside each of them, the number of its fix.
        self.numbers: list[int] = []
        #: Those whose cap its accuracy exceeds: none of them can accept it. To be read once.
        self.above_cap: dict[int, list[Iterator[Site]]] = {}

    def sites(self) -> Iterator[Site]:
        """All of them, of whichever fix."""
        yield from self.evident
        for theirs in self.above_cap.values():
            yield from chain.from_iterable(theirs)


class SiteIndex:
    """A fixed set of sites, by id and by place.

    What takes long to build is built here, so that judging never waits for it. A set that
    differs in a few sites is made by `changed`, at the cost of these few.
    """

    def __init__(self, sites: Iterable[Site]) -> None:
        self._compose(_Sites(sites), _Sites(()), frozenset())

    def _compose(self, settled: "_Sites", recent: "_Sites", outdated: frozenset[Hashable]) -> None:
        self._settled = settled
        self._by_id = settled.by_id
        self._recent = recent
        #: Ids of the settled sites that are not in this set, or are as they were before.
        self._outdated = outdated

    def changed(self, sites: Iterable[Site], gone: Iterable[Hashable] = ()) -> "SiteIndex":
        """This set with these sites, in place of those with their ids, and without others."""
        new = {site.site_id: site for site in sites}
        gone = set(gone)
        touched = self._outdated | gone | new.keys()
        recent = {i: s for i, s in self._recent.by_id.items() if i not in gone} | new
        if len(touched) > MOST_CHANGES:
            kept = (s for i, s in self._settled.by_id.items() if i not in touched)
            return SiteIndex([*kept, *recent.values()])
        index = SiteIndex.__new__(SiteIndex)
        index._compose(self._settled, _Sites(recent.values()), touched)  # noqa: SLF001 - its own class
        return index

    @property
    def size_bytes(self) -> int:
        """About how much memory the sites take, with all that is made of them when asked."""
        return self._settled.size_bytes + self._recent.size_bytes

    @cached_property
    def widest_cap_m(self) -> float:
        """The worst accuracy that is evidence at any site; infinite where there is none."""
        caps = (self._settled.widest_cap_m(self._outdated), self._recent.widest_cap_m(frozenset()))
        return max((cap for cap in caps if cap is not None), default=math.inf)

    def __len__(self) -> int:
        return len(self._settled) + len(self._recent) - self._settled.count(self._outdated)

    def __iter__(self) -> Iterator[Site]:
        for site in self._settled.by_id.values():
            if site.site_id not in self._outdated:
                yield site
        yield from self._recent.by_id.values()

    def get(self, site_id: Hashable) -> Site | None:
        """The site of that id."""
        if self._outdated and site_id in self._outdated:
            return self._recent.by_id.get(site_id)
        return self._by_id.get(site_id)

    def __getitem__(self, site_id: Hashable) -> Site:
        # what can be spared is: hashing a UUID is Python's work
        if self._outdated and site_id in self._outdated:
            return self._recent.by_id[site_id]
        return self._by_id[site_id]

    def near(self, fixes: Sequence[Fix], reach_m: Sequence[float]) -> NearSites:
        """The sites that the reach of each fix may touch.

        None that it touches is missing; some may be farther.
        """
        return self.near_places(Places.of(fixes), np.array(reach_m, dtype=np.float64))

    def near_places(self, places: Places, reach_m: Floats) -> NearSites:
        """As `near`."""
        near = NearSites()
        self._settled.put_near(near, places, reach_m, self._outdated)
        if len(self._recent):
            self._recent.put_near(near, places, reach_m, frozenset())
        return near


class _Sites:
    """Sites that were put in order together."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self._sites = list(sites)
        self.by_id = {site.site_id: site for site in self._sites}
        if len(self.by_id) < len(self._sites):
            raise ValueError("two sites have the same site_id")
        self._caps_m = np.array([site.max_accuracy_m for site in self._sites])
        vertices = shapely.get_num_coordinates([site.geofence.shape for site in self._sites])
        for number in np.flatnonzero(vertices > MANY_VERTICES).tolist():
            _ = self._sites[number].area
        self.size_bytes = len(self._sites) * SITE_BYTES + int(np.sum(vertices)) * VERTEX_BYTES
        if self._sites:
            _ = self._boxes

    def __len__(self) -> int:
        return len(self._sites)

    def count(self, ids: Iterable[Hashable]) -> int:
        """How many of these ids are of a site here."""
        return sum(site_id in self.by_id for site_id in ids)

    def widest_cap_m(self, outdated: frozenset[Hashable]) -> float | None:
        """The widest cap of those that are not outdated; None where there are none."""
        for number in self._widest_first.tolist():
            if self._sites[number].site_id not in outdated:
                return float(self._caps_m[number])
        return None

    @cached_property
    def _widest_first(self) -> Numbers:
        return np.argsort(-self._caps_m, kind="stable")

    def put_near(
        self,
        near: NearSites,
        places: Places,
        reach_m: Floats,
        outdated: frozenset[Hashable],
    ) -> None:
        """Put the sites whose boxes the reach of each fix touches with the others near it."""
        if not self._sites:
            return
        numbers, found = self._touching(places, reach_m)
        evident = self._caps_m[found] >= places.accuracy_m[numbers]
        if not evident.all():
            self._put_above(near, numbers[~evident], found[~evident], outdated)
            numbers, found = numbers[evident], found[evident]
        sites = [self._sites[i] for i in found.tolist()]
        if outdated:
            kept = [i for i, site in enumerate(sites) if site.site_id not in outdated]
            numbers, sites = numbers[kept], [sites[i] for i in kept]
        near.evident += sites
        near.numbers += numbers.tolist()

    def _put_above(
        self, near: NearSites, numbers: Numbers, found: Numbers, outdated: frozenset[Hashable]
    ) -> None:
        for number in np.unique(numbers).tolist():
            theirs = map(self._sites.__getitem__, found[numbers == number].tolist())
            kept = (site for site in theirs if site.site_id not in outdated)
            near.above_cap.setdefault(number, []).append(kept)

    def _touching(self, places: Places, reach_m: Floats) -> tuple[Numbers, Numbers]:
        """Numbers of fixes and, beside them, of sites near them; in order, each pair once."""
        tree, owners, shortest_lon_degree_m = self._boxes
        once = len(owners) == len(self._sites)
        if len(places) == 1 and once:
            # without arrays, which cost more than they save
            [lon], [lat], [reach] = places.lon.tolist(), places.lat.tolist(), reach_m.tolist()
            east, north = reach / shortest_lon_degree_m, reach / SHORTEST_LAT_DEGREE_M
            if lon - east >= -180.0 and lon + east <= 180.0:
                box = shapely.box(lon - east, lat - north, lon + east, lat + north)
                found = np.sort(tree.query(box))
                return np.zeros_like(found), found
        reaches_m = np.minimum(reach_m, _EVERYWHERE_M)
        easts, norths = reaches_m / shortest_lon_degree_m, reaches_m / SHORTEST_LAT_DEGREE_M
        lon, lat = places.lon, places.lat
        reaches = np.stack([lon - easts, lat - norths, lon + easts, lat + norths])
        if once and reaches[0].min() >= -180.0 and reaches[2].max() <= 180.0:
            numbers, found = tree.query(shapely.box(*reaches))
            order = np.argsort(numbers * len(owners) + found)
            return numbers[order], found[order]
        turned, numbers = _in_all_turns(reaches.T)
        of_reach, of_box = tree.query(shapely.box(*turned.T))
        pairs = np.unique(numbers[of_reach] * len(self._sites) + owners[of_box])
        return np.divmod(pairs, len(self._sites))

    @cached_property
    def _boxes(self) -> tuple[shapely.STRtree, Numbers, float]:
        """A tree of boxes, whose each is, and how short a degree of longitude may be.

        That degree is as short as it is in any site's plane, so that a reach covers enough.
        """
        fences = [site.geofence for site in self._sites]
        found = boxes(fences, [site.tolerance_m for site in self._sites])
        farthest = float(np.minimum(poleward_lats(found), NEARLY_90).max())
        turns, owners = _in_all_turns(found + _SLACK)
        tree = shapely.STRtree(shapely.box(*turns.T))  # type: ignore[arg-type]
        return tree, owners, Plane.at(farthest).lon_degree_m


def _in_all_turns(found: Floats) -> tuple[Floats, Numbers]:
    """The boxes, and once more, a turn away, those that reach beyond the 180° meridian.

    With the number of the box that each is.
    """
    numbers = np.arange(len(found))
    for beyond, turn in ((found[:, 2] > 180.0, -360.0), (found[:, 0] < -180.0, 360.0)):
        if beyond.any():
            again = np.flatnonzero(beyond)
            found = np.concatenate([found, found[again] + (turn, 0.0, turn, 0.0)])
            numbers = np.concatenate([numbers, numbers[again]])
    return found, numbers
