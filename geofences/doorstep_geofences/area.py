"""The one shape of a site: its geofence grown by its tolerance.

The same shape says whether a fix is inside, how far the edge is and how probable the inside
is. Inside is decided in degrees, by GEOS, so it equals the `covers` of any other planar
GEOS; metres come from the local scale of `plane`.

What that scale costs: a degree of longitude shrinks towards the pole by about
tan(latitude) · north-south extent / Earth's radius over a fence, which is 0.7 % at 23.5° and
2.7 % at 60° for 100 km (and 0.03 % at 60° for 1 km). Distances to polygons are measured with
the scale at the end of the fence nearest to a pole, so what error there is understates them,
and the verdict is uncertain rather than wrong. Probabilities use the scale at the fix. A
tolerance uses the scale in the middle: half the error, either way. Discs use the scale at
their centre: 0.4 % at 60° for the largest.

Longitudes are taken in the turn around the fence's middle: 180 is -180, and what lies just
across that meridian is near.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from .gaussian import NODES, SIGMAS_PER_ACCURACY
from .geofence import Geofence
from .plane import Plane

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Segments in a quarter turn of a grown corner: they cut at most 0.12 % off the tolerance.
_SEGMENTS = 16


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
            margin_m = geofence.radius_m + tolerance_m
        plane = Plane.at((south + north) / 2)
        lon_margin, lat_margin = margin_m / plane.lon_degree_m, margin_m / plane.lat_degree_m
        return cls(
            west=west - lon_margin,
            south=south - lat_margin,
            east=east + lon_margin,
            north=north + lat_margin,
        )

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
        """How far the edge is, from inside or outside."""

    def edge_within(self, lon: float, lat: float, reach_m: float) -> bool:
        """Whether the edge is at most that far: what `distance_m` says, only sooner."""

    def size_m2(self) -> float:
        """The area's area."""


def area_of(geofence: Geofence, tolerance_m: float) -> Area:
    """The geofence grown by the tolerance."""
    bounds = Bounds.of(geofence, tolerance_m)
    if geofence.shape is not None:
        return PolygonArea(_grown(geofence.shape, tolerance_m, bounds), bounds)
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
    """A polygon or several, with holes or without."""

    __slots__ = ("_edge", "_mid_lon", "_plane", "_shape", "_size_m2")

    def __init__(self, shape: Polygon | MultiPolygon, bounds: Bounds) -> None:
        self._mid_lon, mid_lat = bounds.middle
        self._plane = Plane.at(bounds.poleward_lat)
        scale = Plane.at(mid_lat)
        self._size_m2 = shape.area * scale.lon_degree_m * scale.lat_degree_m
        self._shape = shape
        self._edge = shapely.transform(shape.boundary, self._to_plane)
        self._prepare()

    def _prepare(self) -> None:
        """Build GEOS's indexes now: it builds them at the first question, without a lock."""
        shapely.prepare([self._shape, self._edge])
        self.covers(self._mid_lon, 0.0)
        self.edge_within(self._mid_lon, 0.0, 0.0)

    def covers(self, lon: Floats | float, lat: Floats | float) -> Bools:
        # For a point, to intersect a polygon is to be covered by it; this needs no Point.
        return np.asarray(shapely.intersects_xy(self._shape, _in_turn(lon, self._mid_lon), lat))

    def distance_m(self, lon: float, lat: float) -> float:
        return float(self._edge.distance(self._point(lon, lat)))

    def edge_within(self, lon: float, lat: float, reach_m: float) -> bool:
        return bool(self._edge.dwithin(self._point(lon, lat), reach_m))

    def size_m2(self) -> float:
        return self._size_m2

    def _point(self, lon: float, lat: float) -> shapely.Point:
        east = float(_in_turn(lon, self._mid_lon)) - self._mid_lon
        return shapely.Point(east * self._plane.lon_degree_m, lat * self._plane.lat_degree_m)

    def _to_plane(self, positions: Floats) -> Floats:
        scale = (self._plane.lon_degree_m, self._plane.lat_degree_m)
        return (positions - (self._mid_lon, 0.0)) * scale


def _grown(
    shape: Polygon | MultiPolygon, tolerance_m: float, bounds: Bounds
) -> Polygon | MultiPolygon:
    if tolerance_m == 0.0:
        return shape
    mid_lon, mid_lat = bounds.middle
    plane = Plane.at(mid_lat)
    origin = np.array([mid_lon, mid_lat])
    scale = np.array([plane.lon_degree_m, plane.lat_degree_m])
    flat = shapely.transform(shape, lambda positions: (positions - origin) * scale)
    grown = flat.buffer(tolerance_m, quad_segs=_SEGMENTS)
    return shapely.transform(grown, lambda positions: positions / scale + origin)


def _in_turn(lon: Floats | float, middle: float) -> Floats | float:
    """The same meridian, at most half a turn from the middle; unchanged if it already is."""
    turns = (lon - middle) / 360.0
    # round is the same for one number, and ten times sooner.
    return lon - 360.0 * (round(turns) if isinstance(turns, float) else np.rint(turns))
