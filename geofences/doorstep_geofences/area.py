"""The one shape of a site: its geofence grown by its tolerance.

The same shape says whether a fix is inside, how far the edge is and how probable the inside
is. Inside the fence is decided in degrees, by GEOS, so it equals the `covers` of any other
planar GEOS; metres come from the local scale of `plane`.

A polygon is not buffered by its tolerance: what is inside the fence or within the tolerance of
its edge is inside. That is exact, and as cheap for the most intricate fence as for a square,
where GEOS's buffer of a wavy ring takes minutes.

What that scale costs: a degree of longitude shrinks towards the pole by about
tan(latitude) · north-south extent / Earth's radius over a fence, which is 0.7 % at 23.5° and
2.7 % at 60° for 100 km (and 0.03 % at 60° for 1 km). Distances to polygons are measured with
the scale at the end of the fence nearest to a pole, so what error there is understates them,
and the verdict is uncertain rather than wrong. Probabilities use the scale at the fix. A
tolerance is a distance to the edge, so where it errs it reaches farther, by as much. Discs use
the scale at their centre: 0.4 % at 60° for the largest.

Longitudes are taken in the turn around the fence's middle: 180 is -180, and what lies just
across that meridian is near.
"""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from .gaussian import NODES, SIGMAS_PER_ACCURACY
from .geofence import Geofence
from .plane import SHORTEST_LAT_DEGREE_M, Plane

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """The box of an area, in degrees; it may reach beyond the 180° meridian."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def of(cls, geofence: Geofence, tolerance_m: float) -> Self:
        if geofence.shape is not None:
            west, south, east, north = geofence.shape.bounds
            margin_m = tolerance_m
        else:
            assert geofence.center is not None
            assert geofence.radius_m is not None
            west, south = east, north = geofence.center
            # a box, however small the circle
            margin_m = max(geofence.radius_m + tolerance_m, 0.001)
        return cls(west=west, south=south, east=east, north=north).grown(margin_m)

    @classmethod
    def around(cls, lon: float, lat: float, reach_m: float) -> Self:
        """The box of all that is so near to a place; around a pole, of every longitude."""
        return cls(west=lon, south=lat, east=lon, north=lat).grown(reach_m)

    def grown(self, margin_m: float) -> Self:
        """Wider on each side by the longest margin in degrees that any scale of it gives."""
        lat_margin = margin_m / SHORTEST_LAT_DEGREE_M
        poleward_lat = self.poleward_lat + lat_margin
        lon_margin = 360.0
        if poleward_lat < 90.0:
            lon_margin = margin_m / Plane.at(poleward_lat).lon_degree_m
        return replace(
            self,
            west=self.west - lon_margin,
            south=self.south - lat_margin,
            east=self.east + lon_margin,
            north=self.north + lat_margin,
        )

    def on_the_map(self) -> Polygon | MultiPolygon:
        """The box with longitudes from -180 to 180: two boxes where it crosses that meridian."""
        south, north = max(self.south, -90.0), min(self.north, 90.0)
        if self.east - self.west >= 360.0:
            return shapely.box(-180.0, south, 180.0, north)
        turns = [
            (max(self.west + turn, -180.0), min(self.east + turn, 180.0))
            for turn in (-360.0, 0.0, 360.0)
        ]
        boxes = [shapely.box(west, south, east, north) for west, east in turns if west < east]
        return boxes[0] if len(boxes) == 1 else MultiPolygon(boxes)

    @property
    def middle(self) -> tuple[float, float]:
        """Longitude and latitude of the middle."""
        return (self.west + self.east) / 2, (self.south + self.north) / 2

    @property
    def poleward_lat(self) -> float:
        """The latitude nearest to a pole."""
        return max(abs(self.south), abs(self.north))


class Area(Protocol):
    """What judging asks of a shape; longitudes and latitudes are numbers or arrays."""

    def covers(self, lon: Floats | float, lat: Floats | float) -> Bools:
        """Whether places are inside; the boundary is."""

    def distance_m(self, lon: float, lat: float) -> float:
        """How far the edge is: exactly from outside, at least so far from inside."""

    def edge_within(self, lon: float, lat: float, reach_m: float) -> bool:
        """Whether the edge is at most that far: what `distance_m` says, only sooner."""

    def size_m2(self) -> float:
        """The area's area; of a grown polygon no less than that."""


def area_of(geofence: Geofence, tolerance_m: float) -> Area:
    """The geofence grown by the tolerance."""
    bounds = Bounds.of(geofence, tolerance_m)
    if geofence.shape is not None:
        return PolygonArea(geofence.shape, tolerance_m, bounds)
    assert geofence.center is not None
    assert geofence.radius_m is not None
    return Disc(geofence.center, geofence.radius_m + tolerance_m)


def probability_inside(area: Area, lon: float, lat: float, accuracies_m: Floats) -> Floats:
    """How probable it is that a device at such a fix is in the area, for each accuracy."""
    plane = Plane.at(lat)
    sigmas_m = (accuracies_m / SIGMAS_PER_ACCURACY)[:, np.newaxis]
    east, north = NODES
    inside = area.covers(
        lon + sigmas_m * (east / plane.lon_degree_m), lat + sigmas_m * (north / plane.lat_degree_m)
    )
    return np.asarray(inside.mean(axis=1))


class Disc:
    """All within a distance of a centre."""

    __slots__ = ("_lat", "_lon", "_plane", "_radius_m")

    def __init__(self, center: tuple[float, float], radius_m: float) -> None:
        self._lon, self._lat = center
        self._radius_m = radius_m
        self._plane = Plane.at(self._lat)

    def covers(self, lon: Floats | float, lat: Floats | float) -> Bools:
        return np.asarray(self._outside_m(lon, lat) <= 0.0)

    def distance_m(self, lon: float, lat: float) -> float:
        return abs(float(self._outside_m(lon, lat)))

    def edge_within(self, lon: float, lat: float, reach_m: float) -> bool:
        return self.distance_m(lon, lat) <= reach_m

    def size_m2(self) -> float:
        return float(np.pi * self._radius_m**2)

    def _outside_m(self, lon: Floats | float, lat: Floats | float) -> Floats:
        east_m = (_in_turn(lon, self._lon) - self._lon) * self._plane.lon_degree_m
        north_m = (lat - self._lat) * self._plane.lat_degree_m
        return np.asarray(np.hypot(east_m, north_m) - self._radius_m)


class PolygonArea:
    """A polygon or several, with holes or without, and all within a tolerance of them."""

    __slots__ = ("_edge", "_mid_lon", "_plane", "_shape", "_size_m2", "_tolerance_m")

    def __init__(self, shape: Polygon | MultiPolygon, tolerance_m: float, bounds: Bounds) -> None:
        self._tolerance_m = tolerance_m
        self._mid_lon, mid_lat = bounds.middle
        self._plane = Plane.at(bounds.poleward_lat)
        scale = Plane.at(mid_lat)
        self._shape = shape
        self._edge = shapely.transform(shape.boundary, self._to_plane)
        # Steiner's formula, which is exact for a convex fence.
        self._size_m2 = (
            shape.area * scale.lon_degree_m * scale.lat_degree_m
            + self._edge.length * tolerance_m
            + np.pi * tolerance_m**2
        )
        self._prepare()

    def _prepare(self) -> None:
        """Build GEOS's indexes now: it builds them at the first question, without a lock."""
        shapely.prepare([self._shape, self._edge])
        self._in_fence(self._mid_lon, 0.0)
        self._edge.dwithin(self._point(self._mid_lon, 0.0), 0.0)

    def covers(self, lon: Floats | float, lat: Floats | float) -> Bools:
        # For a point, to intersect a polygon is to be covered by it; this needs no Point.
        lon = _in_turn(lon, self._mid_lon)
        inside = np.asarray(shapely.intersects_xy(self._shape, lon, lat))
        if self._tolerance_m == 0.0 or inside.all():
            return inside
        positions = np.stack(np.broadcast_arrays(lon, lat), axis=-1)
        beside = shapely.points(self._to_plane(positions[~inside]))
        grown = np.array(inside)
        grown[~inside] = shapely.dwithin(self._edge, beside, self._tolerance_m)
        return grown

    def distance_m(self, lon: float, lat: float) -> float:
        to_fence_m = float(self._edge.distance(self._point(lon, lat)))
        if self._in_fence(lon, lat):
            return to_fence_m + self._tolerance_m
        return abs(to_fence_m - self._tolerance_m)

    def edge_within(self, lon: float, lat: float, reach_m: float) -> bool:
        if self._tolerance_m > 0.0:
            return self.distance_m(lon, lat) <= reach_m
        return bool(self._edge.dwithin(self._point(lon, lat), reach_m))

    def size_m2(self) -> float:
        return self._size_m2

    def _in_fence(self, lon: float, lat: float) -> bool:
        return bool(shapely.intersects_xy(self._shape, _in_turn(lon, self._mid_lon), lat))

    def _point(self, lon: float, lat: float) -> shapely.Point:
        east = float(_in_turn(lon, self._mid_lon)) - self._mid_lon
        return shapely.Point(east * self._plane.lon_degree_m, lat * self._plane.lat_degree_m)

    def _to_plane(self, positions: Floats) -> Floats:
        scale = (self._plane.lon_degree_m, self._plane.lat_degree_m)
        return (positions - (self._mid_lon, 0.0)) * scale


def _in_turn(lon: Floats | float, middle: float) -> Floats | float:
    """The same meridian, at most half a turn from the middle; unchanged if it already is."""
    turns = (lon - middle) / 360.0
    # round is the same for one number, and ten times sooner.
    return lon - 360.0 * (round(turns) if isinstance(turns, float) else np.rint(turns))
