"""Authorized locations, and finding those near a fix."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely

from .area import Area, Bounds, area_of
from .fix import Fix
from .geofence import Geofence
from .plane import SHORTEST_LAT_DEGREE_M, Plane

#: How probable being inside must be to be accepted.
STANDARD = 0.5
STRICT = 0.9
MAX_TOLERANCE_M = 10_000.0
#: The cap on accuracy that a site may set, at most.
WORST_ACCURACY_M = 100_000.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Site:
    """An authorized location, in one of its versions."""

    site_id: Hashable
    version: int
    geofence: Geofence
    #: The fence is grown by this much.
    tolerance_m: float = 0.0
    #: The probability of being inside that is enough to be accepted, in [0.5, 1).
    assurance: float = STANDARD
    #: A fix with a worse accuracy is not evidence here.
    max_accuracy_m: float = 100.0
    _area: Area | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.tolerance_m <= MAX_TOLERANCE_M:
            raise ValueError(f"tolerance_m must be from 0 to {MAX_TOLERANCE_M:.0f}")
        if not STANDARD <= self.assurance < 1.0:
            raise ValueError("assurance must be at least 0.5 and below 1")
        if not 0.0 < self.max_accuracy_m <= WORST_ACCURACY_M:
            raise ValueError(f"max_accuracy_m must be above 0 and at most {WORST_ACCURACY_M:.0f}")

    @property
    def area(self) -> Area:
        """The shape to judge against; built when first asked for, which most sites are not."""
        if self._area is None:
            # Two threads may both build it, to the same end.
            object.__setattr__(self, "_area", area_of(self.geofence, self.tolerance_m))
        assert self._area is not None
        return self._area

    @property
    def bounds(self) -> Bounds:
        """The box around the area."""
        return Bounds.of(self.geofence, self.tolerance_m)


class SiteIndex:
    """A fixed set of sites, by id and by place."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self._sites = list(sites)
        self._by_id = {site.site_id: site for site in self._sites}
        if len(self._by_id) < len(self._sites):
            raise ValueError("two sites have the same site_id")

    def __len__(self) -> int:
        return len(self._sites)

    def get(self, site_id: Hashable) -> Site | None:
        """The site of that id."""
        return self._by_id.get(site_id)

    def __getitem__(self, site_id: Hashable) -> Site:
        return self._by_id[site_id]

    def near(self, fixes: Sequence[Fix], reaches_m: Sequence[float]) -> list[list[Site]]:
        """For each fix, in the index's order, the sites that its reach may touch.

        None that it touches is missing; some may be farther.
        """
        found: list[list[Site]] = [[] for _ in fixes]
        if self._sites and fixes:
            for fix_number, site_number in self._touching(fixes, reaches_m):
                found[fix_number].append(self._sites[site_number])
        return found

    def _touching(self, fixes: Sequence[Fix], reaches_m: Sequence[float]) -> list[tuple[int, int]]:
        """Sorted pairs of a fix and a site."""
        lon = np.array([fix.lon for fix in fixes])
        lat = np.array([fix.lat for fix in fixes])
        reach_m = np.array(reaches_m)
        east, north = reach_m / self._shortest_lon_degree_m, reach_m / SHORTEST_LAT_DEGREE_M
        pairs: set[tuple[int, int]] = set()
        # The sites beyond the 180° meridian are a turn away in longitude.
        for turn in (-360.0, 0.0, 360.0):
            middle = lon + turn
            boxes = shapely.box(middle - east, lat - north, middle + east, lat + north)
            pairs.update(zip(*self._tree.query(boxes).tolist(), strict=True))
        return sorted(pairs)

    @cached_property
    def _tree(self) -> shapely.STRtree:
        bounds = [site.bounds for site in self._sites]
        edges = np.array([(b.west, b.south, b.east, b.north) for b in bounds])
        # Boxes and areas are rounded apart from each other: by less than this.
        slack = np.array([-1e-9, -1e-9, 1e-9, 1e-9])
        return shapely.STRtree(shapely.box(*(edges + slack).T))

    @cached_property
    def _shortest_lon_degree_m(self) -> float:
        """As short as it is in any site's plane, so that a reach covers enough degrees."""
        lat = max(site.bounds.poleward_lat for site in self._sites)
        return Plane.at(min(lat, math.nextafter(90.0, 0.0))).lon_degree_m
