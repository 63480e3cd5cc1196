"""Discs that say of most places at once how they stand to a shape.

Three have one centre: one lies within the shape, one has all of it within, one is as large as it.
So one distance, to that centre, tells of a place well inside or far outside; how the edge runs
matters only between the two.
"""

import math
from collections.abc import Sequence

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from .gaussian import LAST_RIM, RIM_STEPS
from .plane import Plane

#: The centre is within so small a part of the shape's extent of where it is best.
_STEPS = 20
#: Distances here and those of GEOS are rounded apart from each other: by far less than this.
_SLACK_M = 0.001


class Discs:
    """Discs with one centre, in the plane in which the shape is measured."""

    __slots__ = (
        "_lat_degree_m",
        "_lon",
        "_lon_degree_m",
        "_north_m",
        "_rims",
        "inner_m",
        "outer_m",
        "size_m",
    )

    def __init__(
        self,
        center: tuple[float, float],
        plane: Plane,
        inner_m: float,
        outer_m: float,
        size_m2: float,
        rims: Sequence[float],
    ) -> None:
        self._lon, lat = center
        self._lon_degree_m, self._lat_degree_m = plane.lon_degree_m, plane.lat_degree_m
        self._north_m = lat * self._lat_degree_m
        #: All that is no farther from the centre is in the shape.
        self.inner_m = inner_m - _SLACK_M
        #: All of the shape is nearer to the centre.
        self.outer_m = outer_m + _SLACK_M
        #: The radius of the disc that is as large as the shape.
        self.size_m = math.sqrt(size_m2 / math.pi)
        self._rims = rims

    def assure(self, away_m: float, rung_m: float) -> bool:
        """Whether the inner disc alone holds enough, at that rung of the ladder and any better."""
        radius = int(self.inner_m / rung_m * RIM_STEPS)
        rim = self._rims[min(LAST_RIM, radius)]
        return away_m + rim * rung_m <= self.inner_m

    def away_m(self, lon: float, lat: float) -> float:
        """How far a place is from the centre."""
        east = lon - self._lon
        if not -180.0 <= east <= 180.0:
            east -= 360.0 * round(east / 360.0)
        return math.hypot(east * self._lon_degree_m, lat * self._lat_degree_m - self._north_m)


def inner_and_outer(flat: Polygon | MultiPolygon) -> tuple[float, float, float, float]:
    """A centre, east and north, how far it is from the nearest edge and from the farthest."""
    west, south, east, north = flat.bounds
    step = max(east - west, north - south) / _STEPS
    center = shapely.get_point(shapely.maximum_inscribed_circle(flat, step), 0)
    corners = shapely.get_coordinates(flat) - (center.x, center.y)
    farthest = float(np.hypot(*corners.T).max())
    return center.x, center.y, shapely.distance(flat.boundary, center), farthest
