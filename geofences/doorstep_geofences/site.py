"""Authorized locations, and finding those near a fix."""

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
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
#: Fences of more positions are made ready by the index; the others take well under 1 ms each.
MANY_VERTICES = 500


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """The sites near a fix; both are read once, as far as they are needed."""

    #: Those to which the fix is evidence.
    within_cap: Iterator[Site]
    #: Those whose cap its accuracy exceeds: none of them can accept it.
    above_cap: Iterator[Site]


class SiteIndex:
    """A fixed set of sites, by id and by place.

    What takes long to build is built here, so that judging never waits for it.
    """

    def __init__(self, sites: Iterable[Site]) -> None:
        self._sites = list(sites)
        self._by_id = {site.site_id: site for site in self._sites}
        if len(self._by_id) < len(self._sites):
            raise ValueError("two sites have the same site_id")
        self._caps_m = np.array([site.max_accuracy_m for site in self._sites])
        for site in self._sites:
            if shapely.get_num_coordinates(site.geofence.shape) > MANY_VERTICES:
                _ = site.area
        if self._sites:
            _ = self._tree, self._shortest_lon_degree_m

    def __len__(self) -> int:
        return len(self._sites)

    def get(self, site_id: Hashable) -> Site | None:
        """The site of that id."""
        return self._by_id.get(site_id)

    def __getitem__(self, site_id: Hashable) -> Site:
        return self._by_id[site_id]

    def near(self, fix: Fix, reach_m: float) -> Near:
        """The sites that the fix's reach may touch, in the index's order.

        None that it touches is missing; some may be farther.
        """
        numbers = self._touching(fix, reach_m) if self._sites else np.array([], dtype=np.intp)
        evidence = self._caps_m[numbers] >= (fix.accuracy_m or math.inf)
        return Near(
            within_cap=map(self._sites.__getitem__, numbers[evidence]),
            above_cap=map(self._sites.__getitem__, numbers[~evidence]),
        )

    def _touching(self, fix: Fix, reach_m: float) -> npt.NDArray[np.intp]:
        """The numbers of the sites whose boxes the reach touches, sorted."""
        east, north = reach_m / self._shortest_lon_degree_m, reach_m / SHORTEST_LAT_DEGREE_M
        # The sites beyond the 180° meridian are a turn away in longitude.
        middle = fix.lon + np.array([-360.0, 0.0, 360.0])
        lat = np.full(3, fix.lat)
        boxes = shapely.box(middle - east, lat - north, middle + east, lat + north)
        return np.unique(self._tree.query(boxes)[1])

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
