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

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from .bounds import Bounds
from .discs import Discs, Needed, Radii, inner_and_outer
from .gaussian import FARTHEST_NODE, NODES, NODES_ERROR, accuracies_to_clear, rims
from .geofence import Geofence
from .outline import IN_VIEW_M, MASS_ERROR, Mass, Outline, masses
from .places import Bools, Floats
from .plane import Plane

Shapes = npt.NDArray[np.object_]


#: Of fences with more edges, and of such with a tolerance, places are tried instead.
MOST_EDGES = 400
#: The area's own scale and that at the fix differ, over the largest fences, by less than this.
SCALE_SLACK = 1.1
_FARTHEST_NODE = SCALE_SLACK * FARTHEST_NODE
#: So much may the scale differ over a fence whose outline is measured by one.
SAME_SCALE = 1.003


class Area(Protocol):
    """What judging asks of a shape."""

    @property
    def discs(self) -> Discs:
        """What says of most places at once how they stand to this area."""

    @property
    def is_exact(self) -> bool:
        """Whether probabilities are worked out edge by edge, and not by trying places."""

    def covers(self, lon: float, lat: float) -> bool:
        """Whether a place is inside; the boundary is."""

    def probabilities(self, lon: float, lat: float, sigmas_m: Floats) -> Floats:
        """How probable it is, for each σ, that a device is inside whose fix is inside."""

    def distance_m(self, lon: float, lat: float) -> float:
        """How far the edge is: exactly from outside, at least so far from inside."""

    def reaches(self, lon: float, lat: float, within_m: float) -> bool:
        """Whether this area is so near to a place outside."""

    def probability(self, lon: float, lat: float, sigma_m: float) -> Mass:
        """As `probabilities` of one σ; what of it is in view; and `distance_m`.

        What is in view is star-shaped: with every smaller σ no less of it is inside. Places that
        are tried are in view all or none: all if the area is star-shaped, seen from a millimetre
        around, too, so that rounding hides nothing.
        """

    def surely_holds(self, lon: float, lat: float, sigma_m: float, share: float) -> bool:
        """Whether the inside of a covered place is so probable, by a glance.

        Then it is with every smaller σ, too.
        """

    def size_m2(self) -> float:
        """The area's area; of a grown polygon no less than that."""


def area_of(geofence: Geofence, tolerance_m: float, assurance: float) -> Area:
    """The geofence grown by the tolerance, where that assurance is asked for."""
    shape = geofence.unwrapped_shape
    if shape is not None:
        return PolygonArea(shape, tolerance_m, Bounds.of(geofence, tolerance_m), assurance)
    assert geofence.center is not None
    assert geofence.radius_m is not None
    return Disc(geofence.center, geofence.radius_m + tolerance_m, assurance)


class Disc:
    """All within a distance of a centre."""

    __slots__ = ("_lat", "_lon", "_plane", "_radius_m", "discs", "is_exact")

    def __init__(self, center: tuple[float, float], radius_m: float, assurance: float) -> None:
        self._lon, self._lat = center
        self._radius_m = radius_m
        self._plane = Plane.at(self._lat)
        radii = Radii(radius_m, radius_m, _radius_m(SCALE_SLACK * self.size_m2()))
        self.discs = Discs(center, self._plane, radii, _needed(assurance, NODES_ERROR))
        self.is_exact = False

    def covers(self, lon: float, lat: float) -> bool:
        return self._outside_m(lon, lat) <= 0.0

    def probabilities(self, lon: float, lat: float, sigmas_m: Floats) -> Floats:
        east, north = _nodes(lat, sigmas_m)
        east_m = (_turned(lon, self._lon) - self._lon + east) * self._plane.lon_degree_m
        north_m = (lat - self._lat + north) * self._plane.lat_degree_m
        inside: Floats = (np.hypot(east_m, north_m) <= self._radius_m).mean(axis=1)
        return inside

    def distance_m(self, lon: float, lat: float) -> float:
        return abs(self._outside_m(lon, lat))

    def reaches(self, lon: float, lat: float, within_m: float) -> bool:
        return self._outside_m(lon, lat) <= within_m

    def probability(self, lon: float, lat: float, sigma_m: float) -> Mass:
        [found] = self.probabilities(lon, lat, np.array([sigma_m]))
        edge_m = -self._outside_m(lon, lat)
        return Mass(float(found), float(found) if edge_m >= IN_VIEW_M else 0.0, edge_m)

    def surely_holds(self, lon: float, lat: float, sigma_m: float, share: float) -> bool:
        return -self._outside_m(lon, lat) > _clear_m(sigma_m, share)

    def size_m2(self) -> float:
        return math.pi * self._radius_m**2

    def _outside_m(self, lon: float, lat: float) -> float:
        east_m = (_turned(lon, self._lon) - self._lon) * self._plane.lon_degree_m
        north_m = (lat - self._lat) * self._plane.lat_degree_m
        return math.hypot(east_m, north_m) - self._radius_m


class PolygonArea:
    """A polygon or several, with holes or without, and all within a tolerance of them."""

    __slots__ = (
        "_edge_count",
        "_mid_lon",
        "_outline",
        "_plane",
        "_size_m2",
        "discs",
        "edge",
        "fence",
        "is_exact",
        "scale",
        "tolerance_m",
    )

    def __init__(
        self,
        shape: Polygon | MultiPolygon,
        tolerance_m: float,
        bounds: Bounds,
        assurance: float,
    ) -> None:
        self.tolerance_m = tolerance_m
        self._mid_lon, mid_lat = bounds.middle
        self._plane = Plane.at(bounds.poleward_lat)
        #: The middle's longitude, metres to a degree of longitude and of latitude, the tolerance.
        self.scale = (
            self._mid_lon,
            self._plane.lon_degree_m,
            self._plane.lat_degree_m,
            tolerance_m,
        )
        self.fence = shape
        #: In metres, east of the middle and north of the equator.
        flat = shapely.transform(shape, self._to_plane)
        self.edge = flat.boundary
        at_middle = Plane.at(mid_lat)
        # Steiner's formula, which is exact for a convex fence.
        self._size_m2 = (
            shape.area * at_middle.lon_degree_m * at_middle.lat_degree_m
            + self.edge.length * tolerance_m
            + math.pi * tolerance_m**2
        )
        self._outline: Outline | None = None
        self._edge_count = shapely.get_num_coordinates(shape)
        #: Whether probabilities are worked out edge by edge, and not by trying places.
        self.is_exact = bool(
            tolerance_m == 0.0
            and self._edge_count <= MOST_EDGES
            and at_middle.lon_degree_m / self._plane.lon_degree_m <= SAME_SCALE
        )
        self.discs = self._discs(flat, assurance)
        self._prepare()

    def _discs(self, flat: Polygon | MultiPolygon, assurance: float) -> Discs:
        east_m, north_m, inner_m, outer_m = inner_and_outer(flat)
        plane = self._plane
        center = self._mid_lon + east_m / plane.lon_degree_m, north_m / plane.lat_degree_m
        size_m = _radius_m(SCALE_SLACK * self._size_m2)
        radii = Radii(inner_m + self.tolerance_m, outer_m + self.tolerance_m, size_m)
        error = MASS_ERROR if self.is_exact else NODES_ERROR
        return Discs(center, plane, radii, _needed(assurance, error))

    def _prepare(self) -> None:
        """Build GEOS's indexes now: it builds them at the first question, without a lock."""
        shapely.prepare([self.fence, self.edge])
        self._in_fence(self._mid_lon, 0.0)
        shapely.dwithin(self.edge, self._point(self._mid_lon, 0.0), 0.0)

    def covers(self, lon: float, lat: float) -> bool:
        if self._in_fence(lon, lat):
            return True
        if self.tolerance_m == 0.0:
            return False
        return self.edge.dwithin(self._point(lon, lat), self.tolerance_m)

    def probabilities(self, lon: float, lat: float, sigmas_m: Floats) -> Floats:
        outline = self.outline
        if outline is not None and self.is_exact:
            return outline.masses(*self._in_plane(lon, lat), sigmas_m)
        lon = _turned(lon, self._mid_lon)
        east, north = _nodes(lat, sigmas_m)
        # this needs no points
        inside: Bools = shapely.intersects_xy(self.fence, lon + east, lat + north)
        if self.tolerance_m > 0.0:
            positions = np.stack([lon + east, lat + north], axis=-1)[~inside]
            beside = shapely.points(self._to_plane(positions))
            inside[~inside] = shapely.dwithin(self.edge, beside, self.tolerance_m)
        return np.asarray(inside.mean(axis=1))

    def probability(self, lon: float, lat: float, sigma_m: float) -> Mass:
        outline, place = self.outline, self._in_plane(lon, lat)
        if outline is not None and self.is_exact:
            return outline.mass(*place, sigma_m)
        [found] = self.probabilities(lon, lat, np.array([sigma_m]))
        reach_m = _FARTHEST_NODE * sigma_m + self.tolerance_m
        is_in_view = outline is not None and outline.is_in_view(*place, reach_m)
        return Mass(float(found), float(found) if is_in_view else 0.0, self.distance_m(lon, lat))

    def surely_holds(self, lon: float, lat: float, sigma_m: float, share: float) -> bool:
        outline = self.outline
        if outline is None or not self.is_exact:
            return self.distance_m(lon, lat) > _clear_m(sigma_m, share)
        return outline.holds(*self._in_plane(lon, lat), sigma_m, share)

    @property
    def outline(self) -> Outline | None:
        """The edges, if they are not too many."""
        if self._outline is None and self._edge_count <= MOST_EDGES:
            self._outline = Outline(self.fence, self._to_plane)
        return self._outline

    def distance_m(self, lon: float, lat: float) -> float:
        to_fence_m = float(shapely.distance(self.edge, self._point(lon, lat)))
        if self._in_fence(lon, lat):
            return to_fence_m + self.tolerance_m
        return abs(to_fence_m - self.tolerance_m)

    def reaches(self, lon: float, lat: float, within_m: float) -> bool:
        point = self._point(lon, lat)
        if self.tolerance_m == 0.0:
            return self.edge.dwithin(point, within_m)
        return self.edge.distance(point) - self.tolerance_m <= within_m

    def size_m2(self) -> float:
        return self._size_m2

    def _in_fence(self, lon: float, lat: float) -> bool:
        return bool(shapely.intersects_xy(self.fence, _turned(lon, self._mid_lon), lat))

    def _point(self, lon: float, lat: float) -> shapely.Point:
        [point] = _points(np.array([self._in_plane(lon, lat)]))
        return point

    def _in_plane(self, lon: float, lat: float) -> tuple[float, float]:
        east = _turned(lon, self._mid_lon) - self._mid_lon
        return east * self._plane.lon_degree_m, lat * self._plane.lat_degree_m

    def _to_plane(self, positions: Floats) -> Floats:
        scale = (self._plane.lon_degree_m, self._plane.lat_degree_m)
        return (positions - (self._mid_lon, 0.0)) * scale


def covered(areas: Sequence[Area], lon: Floats, lat: Floats) -> Bools:
    """Whether each area covers its own place; fences without tolerance are asked all at once."""
    plain = [i for i, a in enumerate(areas) if isinstance(a, PolygonArea) and a.tolerance_m == 0.0]
    some = _polygonal(areas, plain)
    fences, middle = _array([area.fence for area in some]), np.array([a.scale[0] for a in some])
    found = np.zeros(len(areas), dtype=np.bool_)
    found[plain] = shapely.intersects_xy(fences, _in_turn(lon[plain], middle), lat[plain])
    for i in set(range(len(areas))).difference(plain):
        found[i] = areas[i].covers(lon[i].item(), lat[i].item())
    return found


def _polygonal(areas: Sequence[Area], numbers: Sequence[int]) -> list[PolygonArea]:
    return [areas[i] for i in numbers]  # type: ignore[misc]


def probabilities(areas: Sequence[Area], lon: Floats, lat: Floats, sigmas_m: Floats) -> Mass:
    """Each area's `probability`, of its own place and σ; outlines are asked all at once."""
    exact = [i for i, area in enumerate(areas) if area.is_exact]
    found = np.zeros((3, len(areas)))
    if exact:
        some = _polygonal(areas, exact)
        outlines: list[Outline] = [area.outline for area in some]  # type: ignore[misc]
        places = _in_planes(some, lon[exact], lat[exact])
        found[:, exact] = masses(outlines, *places, sigmas_m[exact])
    for i, area in enumerate(areas):
        if not area.is_exact:
            found[:, i] = area.probability(lon[i].item(), lat[i].item(), sigmas_m[i].item())
    return Mass(*found)


def _in_planes(areas: Sequence[PolygonArea], lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """How many metres east and north each place is, in the plane of its area."""
    scales = np.array([area.scale for area in areas]).reshape(-1, 4)
    middle, lon_degree_m, lat_degree_m, _ = scales.T
    return (_in_turn(lon, middle) - middle) * lon_degree_m, lat * lat_degree_m


def _nodes(lat: float, sigmas_m: Floats) -> tuple[Floats, Floats]:
    """Places around a fix, equally likely: their offsets in degrees, a row for each σ."""
    plane = Plane.at(lat)
    east, north = sigmas_m[:, np.newaxis, np.newaxis].swapaxes(0, 1) * NODES[:, np.newaxis]
    return east / plane.lon_degree_m, north / plane.lat_degree_m


def _radius_m(size_m2: float) -> float:
    """Of the disc of that area."""
    return math.sqrt(size_m2 / math.pi)


def _needed(assurance: float, error: float) -> Needed:
    """What assures a fix where probabilities may be wrong by that error."""
    return Needed(accuracies_to_clear(assurance), rims(assurance, error))


def _clear_m(sigma_m: float, share: float) -> float:
    """The radius of the disc around a place that alone holds so much of a Gaussian around it."""
    return sigma_m * math.sqrt(-2.0 * math.log(1.0 - share))


def _points(positions: Floats) -> list[shapely.Point]:
    return list(shapely.points(positions))  # type: ignore[arg-type]


def _array(shapes: Sequence[shapely.Geometry]) -> Shapes:
    """An array of shapes, which NumPy is not to look into."""
    array = np.empty(len(shapes), dtype=object)
    array[:] = shapes
    return array


def _turned(lon: float, middle: float) -> float:
    """The same meridian, at most half a turn from the middle; unchanged if it already is."""
    return lon - 360.0 * round((lon - middle) / 360.0)


def _in_turn(lon: Floats, middle: Floats) -> Floats:
    """As `_turned`, of many."""
    turned: Floats = lon - 360.0 * np.rint((lon - middle) / 360.0)
    return turned
