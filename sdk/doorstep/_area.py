"""The shapes of sites, in pure Python: what is inside, and how far and how probable that is.

As the server's `doorstep_geofences.area` has it: inside the fence is decided in degrees, metres are
of a local scale that keeps straight edges straight, and a fence is grown by its tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from doorstep._gaussian import FARTHEST, Seen, farthest_node, hidden, nodes

Ring = Sequence[tuple[float, float]]
#: a position of a ring and the next
Edge = tuple[float, float, float, float]

_EQUATORIAL_RADIUS_M = 6_378_137.0
_ECCENTRICITY_SQUARED = 0.006_694_379_990_14
_NEARLY_90 = math.nextafter(90.0, 0.0)
#: fences of more positions, and such with a tolerance, are measured by trying places
_MOST_EDGES = 400
SCALE_SLACK = 1.1
_SAME_SCALE = 1.003
_IN_VIEW_M = 0.001


class Degree(NamedTuple):
    """The metres of a degree, where it was taken."""

    lon_m: float
    lat_m: float

    @classmethod
    def at(cls, lat: float) -> Degree:
        """On the WGS84 ellipsoid, at a latitude."""
        phi = math.radians(lat)
        flattened = 1.0 - _ECCENTRICITY_SQUARED * math.sin(phi) ** 2
        prime_vertical_m = _EQUATORIAL_RADIUS_M / math.sqrt(flattened)
        meridian_m = prime_vertical_m * (1.0 - _ECCENTRICITY_SQUARED) / flattened
        return cls(math.radians(prime_vertical_m * math.cos(phi)), math.radians(meridian_m))


#: nowhere is a degree of latitude shorter
SHORTEST_LAT_M = Degree.at(0.0).lat_m


class Box(NamedTuple):
    """In degrees; it may reach beyond the 180° meridian."""

    west: float
    south: float
    east: float
    north: float

    def grown(self, margin_m: float) -> Box:
        """Wider on each side, by the longest margin in degrees."""
        lat_margin = margin_m / SHORTEST_LAT_M
        poleward_lat = self.poleward_lat + lat_margin
        lon_margin = margin_m / Degree.at(poleward_lat).lon_m if poleward_lat < 90.0 else 360.0
        return Box(
            self.west - lon_margin,
            self.south - lat_margin,
            self.east + lon_margin,
            self.north + lat_margin,
        )

    @property
    def poleward_lat(self) -> float:
        """The latitude nearest to a pole."""
        return max(abs(self.south), abs(self.north))

    def touches(self, lon: float, lat: float, reach: tuple[float, float]) -> bool:
        """Whether a place is so near, by its reach east and north, in degrees; in any turn."""
        east, north = reach
        if not self.south - north <= lat <= self.north + north:
            return False
        middle = (self.west + self.east) / 2
        return abs(turned(lon, middle) - middle) <= (self.east - self.west) / 2 + east


def shortest_lon_m(boxes: Sequence[Box]) -> float:
    """How short a degree of longitude may be in any of them."""
    return Degree.at(min(max(box.poleward_lat for box in boxes), _NEARLY_90)).lon_m


def turned(lon: float, middle: float) -> float:
    """The same meridian, at most half a turn from the middle."""
    return lon - 360.0 * round((lon - middle) / 360.0)


class Standing(NamedTuple):
    """How a place stands to an area: inside or not, and how far its edge is, at least."""

    covered: bool
    edge_m: float


class Disc:
    """All within a distance of a centre."""

    __slots__ = ("_degree", "_lat", "_lon", "_radius_m")

    def __init__(self, center: tuple[float, float], radius_m: float) -> None:
        self._lon, self._lat = center
        self._radius_m = radius_m
        self._degree = Degree.at(self._lat)

    def covers(self, lon: float, lat: float) -> bool:
        """Whether a place is inside; the boundary is."""
        return self._outside_m(lon, lat) <= 0.0

    def stands(self, lon: float, lat: float) -> Standing:
        """How a place stands to it."""
        outside_m = self._outside_m(lon, lat)
        return Standing(outside_m <= 0.0, abs(outside_m))

    def probability(self, lon: float, lat: float, sigma_m: float) -> tuple[float, bool]:
        """Of a device inside whose fix is here; and whether it is no less with a smaller σ."""
        east, north, radius_m = turned(lon, self._lon) - self._lon, lat - self._lat, self._radius_m
        here, degree = Degree.at(lat), self._degree
        count = 0
        for node_east, node_north in nodes():
            east_m = (east + sigma_m * node_east / here.lon_m) * degree.lon_m
            north_m = (north + sigma_m * node_north / here.lat_m) * degree.lat_m
            count += math.hypot(east_m, north_m) <= radius_m
        return count / len(nodes()), self._outside_m(lon, lat) <= -_IN_VIEW_M

    def size_m2(self) -> float:
        """Its area."""
        return math.pi * self._radius_m**2

    def _outside_m(self, lon: float, lat: float) -> float:
        east_m = (turned(lon, self._lon) - self._lon) * self._degree.lon_m
        return math.hypot(east_m, (lat - self._lat) * self._degree.lat_m) - self._radius_m


class _Line(NamedTuple):
    """An edge in metres: its inward normal with the offset, its direction with that, its length."""

    inward_east: float
    inward_north: float
    inward_0: float
    along_east: float
    along_north: float
    along_0: float
    length: float


class Polygons:
    """A polygon or several, with holes or without, grown by a tolerance.

    Rings have the inside to their left.
    """

    __slots__ = (
        "_degree", "_edges", "_is_exact", "_is_small", "_lines", "_mid_lon", "_size_m2",
        "_tolerance_m",
    )  # fmt: skip

    def __init__(self, rings: Sequence[Ring], tolerance_m: float) -> None:
        self._edges: list[Edge] = [
            (*a, *b) for ring in rings for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)
        ]
        box = box_of(rings).grown(tolerance_m)
        self._mid_lon = (box.west + box.east) / 2
        self._tolerance_m = tolerance_m
        self._degree = Degree.at(box.poleward_lat)
        self._lines = [line for edge in self._edges if (line := self._line(edge)) is not None]
        middle = Degree.at((box.south + box.north) / 2)
        self._size_m2 = (
            _area(self._edges) * middle.lon_m * middle.lat_m
            + sum(line.length for line in self._lines) * tolerance_m
            + math.pi * tolerance_m**2
        )
        # a ring's first position is counted twice
        self._is_small = len(self._edges) + len(rings) <= _MOST_EDGES
        self._is_exact = (
            self._is_small
            and tolerance_m == 0.0
            and middle.lon_m / self._degree.lon_m <= _SAME_SCALE
        )

    def covers(self, lon: float, lat: float) -> bool:
        """Whether a place is inside."""
        if self._in_fence(lon, lat):
            return True
        return self._tolerance_m > 0.0 and self._to_fence_m(lon, lat) <= self._tolerance_m

    def stands(self, lon: float, lat: float) -> Standing:
        """How a place stands to it."""
        to_fence_m = self._to_fence_m(lon, lat)
        if self._in_fence(lon, lat):
            return Standing(True, to_fence_m + self._tolerance_m)
        outside_m = to_fence_m - self._tolerance_m
        return Standing(self._tolerance_m > 0.0 and outside_m <= 0.0, abs(outside_m))

    def probability(self, lon: float, lat: float, sigma_m: float) -> tuple[float, bool]:
        """Of a device inside whose fix is here; and whether it is no less with a smaller σ."""
        if self._is_exact:
            seen = [_in_sigmas(one, sigma_m) for one in self._seen(lon, lat)]
            nearest = min(_from_behind(one, _IN_VIEW_M / sigma_m) for one in seen)
            return 1.0 - hidden(seen), nearest > FARTHEST
        here, count, at = Degree.at(lat), 0, turned(lon, self._mid_lon)
        for east, north in nodes():
            count += self.covers(
                at + sigma_m * east / here.lon_m, lat + sigma_m * north / here.lat_m
            )
        reach_m = SCALE_SLACK * farthest_node() * sigma_m + self._tolerance_m
        return count / len(nodes()), self._is_small and self._is_in_view(lon, lat, reach_m)

    def size_m2(self) -> float:
        """Its area, or more."""
        return self._size_m2

    def _in_fence(self, lon: float, lat: float) -> bool:
        """Whether a ray to the east crosses the edges an odd number of times."""
        lon = turned(lon, self._mid_lon)
        inside = False
        for lon_a, lat_a, lon_b, lat_b in self._edges:
            if (lat_a > lat) is not (lat_b > lat) and (
                lon < lon_a + (lat - lat_a) * (lon_b - lon_a) / (lat_b - lat_a)
            ):
                inside = not inside
        return inside

    def _to_fence_m(self, lon: float, lat: float) -> float:
        east, north = self._in_plane(lon, lat)
        nearest = math.inf
        for in_e, in_n, in_0, al_e, al_n, al_0, length in self._lines:
            to_line = abs(in_e * east + in_n * north + in_0)
            if to_line < nearest:
                back = al_e * east + al_n * north + al_0
                beside = -back if back < 0.0 else back - length
                nearest = to_line if beside <= 0.0 else min(nearest, math.hypot(to_line, beside))
        return nearest

    def _is_in_view(self, lon: float, lat: float, within_m: float) -> bool:
        """Whether no edge so near is seen from behind, or almost."""
        return min(_from_behind(one, _IN_VIEW_M) for one in self._seen(lon, lat)) > within_m

    def _seen(self, lon: float, lat: float) -> list[Seen]:
        """The edges as a place sees them, in metres."""
        east, north = self._in_plane(lon, lat)
        found: list[Seen] = []
        for in_e, in_n, in_0, al_e, al_n, al_0, length in self._lines:
            back = al_e * east + al_n * north + al_0
            found.append((in_e * east + in_n * north + in_0, back, length - back))
        return found

    def _in_plane(self, lon: float, lat: float) -> tuple[float, float]:
        east = turned(lon, self._mid_lon) - self._mid_lon
        return east * self._degree.lon_m, lat * self._degree.lat_m

    def _line(self, edge: Edge) -> _Line | None:
        scale_e, scale_n = self._degree
        start_e, start_n = (edge[0] - self._mid_lon) * scale_e, edge[1] * scale_n
        end_e, end_n = (edge[2] - self._mid_lon) * scale_e, edge[3] * scale_n
        length = math.hypot(end_e - start_e, end_n - start_n)
        if length == 0.0:
            return None
        along_e, along_n = (end_e - start_e) / length, (end_n - start_n) / length
        return _Line(
            -along_n,
            along_e,
            along_n * start_e - along_e * start_n,
            along_e,
            along_n,
            -(along_e * start_e + along_n * start_n),
            length,
        )


Area = Disc | Polygons


def box_of(rings: Sequence[Ring]) -> Box:
    """The box of a fence, not grown."""
    lons, lats = zip(*(position for ring in rings for position in ring), strict=True)
    return Box(min(lons), min(lats), max(lons), max(lats))


def _area(edges: Sequence[Edge]) -> float:
    """In square degrees; measured from a corner, so that rounding takes little."""
    lon_0, lat_0 = edges[0][:2]
    return 0.5 * sum((a - lon_0) * (d - lat_0) - (c - lon_0) * (b - lat_0) for a, b, c, d in edges)


def _in_sigmas(seen: Seen, sigma_m: float) -> Seen:
    inward, back, on = seen
    return inward / sigma_m, back / sigma_m, on / sigma_m


def _from_behind(seen: Seen, hair: float) -> float:
    """How far an edge is that is seen from behind, or almost; another is infinitely far."""
    inward, back, on = seen
    if inward >= hair:
        return math.inf
    return math.hypot(inward, max(0.0, -min(back, on)))
