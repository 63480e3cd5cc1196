"""Discs that say of most places at once how they stand to a shape.

Three have one centre: one lies within the shape, one has all of it within, one is as large as it.
So one distance, to that centre, tells of a place well inside or far outside; how the edge runs
matters only between the two.

What is known of a shape's discs lies in 64 bytes, in a row: so of one among very many little memory
is touched, and the rows of many are an array when they are put one after the other.
"""

import math
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from .gaussian import LAST_RIM, PLAUSIBLE_ACCURACIES, RIM_STEPS, worst_rung_m, worst_rungs_m
from .places import Floats, Numbers, Places
from .plane import Plane

#: The centre is within so small a part of the shape's extent of where it is best.
_STEPS = 20
#: Distances here and those of GEOS are rounded apart from each other: by far less than this.
_SLACK_M = 0.001
#: The centre's longitude, metres to a degree of longitude and of latitude, metres from the equator
#: to the centre, the radii, and how many accuracies are clear.
_ROW = Struct("8d")

#: What a fix is to a shape: assured to be inside; so far that its accuracy cannot explain it; or
#: near the boundary, on either side. At a glance it may be one of two, not beyond, or any.
ASSURED, BEYOND, NEAR, NOT_BEYOND, UNCLEAR = range(5)


class Radii(NamedTuple):
    """How large the discs of a shape are."""

    inner_m: float
    outer_m: float
    #: Of the disc that is as large as the shape.
    size_m: float


class Needed(NamedTuple):
    """What assures a fix, in accuracies."""

    #: How far it must be inside any edge.
    clear: float
    #: How far it must be inside the rim of a disc: see `gaussian.rims`.
    rims: Sequence[float]


class Discs:
    """Discs with one centre, in the plane in which the shape is measured."""

    __slots__ = ("rims", "row")

    def __init__(
        self, center: tuple[float, float], plane: Plane, radii: Radii, needed: Needed
    ) -> None:
        lon, lat = center
        self.rims = needed.rims
        self.row = _ROW.pack(
            lon,
            plane.lon_degree_m,
            plane.lat_degree_m,
            lat * plane.lat_degree_m,
            radii.inner_m - _SLACK_M,
            radii.outer_m + _SLACK_M,
            radii.size_m,
            needed.clear,
        )

    @property
    def inner_m(self) -> float:
        """All that is no farther from the centre is in the shape."""
        return self._number(4)

    @property
    def outer_m(self) -> float:
        """All of the shape is nearer to the centre."""
        return self._number(5)

    @property
    def size_m(self) -> float:
        """The radius of the disc that is as large as the shape."""
        return self._number(6)

    def _number(self, place: int) -> float:
        number: float = _ROW.unpack(self.row)[place]
        return number

    def assure(self, away_m: float, rung_m: float) -> bool:
        """Whether the inner disc alone holds enough, at that rung of the ladder and any better."""
        return _assures(self.rims, self.inner_m, away_m, rung_m)

    def away_m(self, lon: float, lat: float) -> float:
        """How far a place is from the centre."""
        mid_lon, lon_degree_m, lat_degree_m, north_m, *_ = _ROW.unpack(self.row)
        return _away_m(lon - mid_lon, lon_degree_m, lat * lat_degree_m - north_m)

    def glance(self, lon: float, lat: float, accuracy_m: float) -> int:
        """What one distance, to the centre, says of a fix.

        Where the shape is so small that no fix of that accuracy is assured, one that is in reach
        of the inner disc is near the boundary, on either side.
        """
        mid_lon, lon_degree_m, lat_degree_m, north_m, inner_m, outer_m, size_m, clear = _ROW.unpack(
            self.row
        )
        away_m = _away_m(lon - mid_lon, lon_degree_m, lat * lat_degree_m - north_m)
        rung_m = worst_rung_m(accuracy_m)
        if _assures(self.rims, inner_m, away_m, rung_m):
            return ASSURED
        reach_m = PLAUSIBLE_ACCURACIES * accuracy_m
        if away_m > outer_m + reach_m:
            return BEYOND
        if away_m > inner_m + reach_m:
            return UNCLEAR
        return NEAR if clear * rung_m > size_m else NOT_BEYOND


def _assures(rims: Sequence[float], inner_m: float, away_m: float, rung_m: float) -> bool:
    rim = rims[min(LAST_RIM, int(inner_m / rung_m * RIM_STEPS))]
    return away_m + rim * rung_m <= inner_m


def _away_m(east: float, lon_degree_m: float, north_m: float) -> float:
    if not -180.0 <= east <= 180.0:
        east -= 360.0 * round(east / 360.0)
    east_m = east * lon_degree_m
    # a root is rounded alike by Python and by NumPy, `hypot` is not
    return math.sqrt(east_m * east_m + north_m * north_m)


def glances(discs: Sequence[Discs], places: Places) -> Numbers:
    """What `glance` says of each place to discs of its own."""
    mid_lon, lon_degree_m, lat_degree_m, north_m, inner_m, outer_m, size_m, clear = _rows(discs)
    east = places.lon - mid_lon
    east_m = (east - 360.0 * np.rint(east / 360.0)) * lon_degree_m
    up_m = places.lat * lat_degree_m - north_m
    away_m = np.sqrt(east_m * east_m + up_m * up_m)
    rung_m = worst_rungs_m(places.accuracy_m)
    radius = np.minimum(inner_m / rung_m * RIM_STEPS, LAST_RIM).astype(np.intp).tolist()
    rim = np.array([each.rims[i] for each, i in zip(discs, radius, strict=True)])
    reach_m = PLAUSIBLE_ACCURACIES * places.accuracy_m
    found = np.full(len(discs), UNCLEAR)
    in_reach = away_m <= inner_m + reach_m
    found[in_reach] = np.where(clear * rung_m > size_m, NEAR, NOT_BEYOND)[in_reach]
    found[away_m > outer_m + reach_m] = BEYOND
    found[away_m + rim * rung_m <= inner_m] = ASSURED
    return found


def clear_and_size(discs: Sequence[Discs]) -> tuple[Floats, Floats]:
    """Of each how many accuracies are clear, and how large the shape is."""
    *_, size_m, clear = _rows(discs)
    return clear, size_m


def _rows(discs: Sequence[Discs]) -> Floats:
    return np.frombuffer(b"".join([each.row for each in discs])).reshape(len(discs), -1).T


def inner_and_outer(flat: Polygon | MultiPolygon) -> tuple[float, float, float, float]:
    """A centre, east and north, how far it is from the nearest edge and from the farthest."""
    west, south, east, north = flat.bounds
    step = max(east - west, north - south) / _STEPS
    center = shapely.get_point(shapely.maximum_inscribed_circle(flat, step), 0)
    corners = shapely.get_coordinates(flat) - (center.x, center.y)
    farthest = float(np.hypot(*corners.T).max())
    return center.x, center.y, shapely.distance(flat.boundary, center), farthest
