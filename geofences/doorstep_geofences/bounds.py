"""Boxes in degrees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from .geofence import Geofence
from .plane import NEARLY_90, SHORTEST_LAT_DEGREE_M, Plane


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """The box of an area, in degrees; it may reach beyond the 180° meridian."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def of(cls, geofence: Geofence, tolerance_m: float) -> Self:
        shape = geofence.unwrapped_shape
        if shape is not None:
            west, south, east, north = shape.bounds
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


def boxes(fences: Sequence[Geofence], tolerances_m: Sequence[float]) -> npt.NDArray[np.float64]:
    """`Bounds.of` of many, as rows of west, south, east and north."""
    found = shapely.bounds([fence.shape for fence in fences])
    margins_m = np.array(tolerances_m, dtype=np.float64)
    for i in np.flatnonzero(np.isnan(found[:, 0])).tolist():
        circle = Bounds.of(fences[i], tolerances_m[i])
        found[i], margins_m[i] = (circle.west, circle.south, circle.east, circle.north), 0.0
    for i in np.flatnonzero(found[:, 2] - found[:, 0] > 180.0).tolist():
        # perhaps cut at the 180° meridian, and short when whole
        whole = fences[i].unwrapped_shape
        assert whole is not None
        found[i] = whole.bounds
    lat_margins = margins_m / SHORTEST_LAT_DEGREE_M
    poleward = np.minimum(poleward_lats(found) + lat_margins, NEARLY_90)
    lon_margins = margins_m / [Plane.at(lat).lon_degree_m for lat in poleward.tolist()]
    margins = np.stack([-lon_margins, -lat_margins, lon_margins, lat_margins], axis=1)
    return np.asarray(found + margins)


def poleward_lats(found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each box the latitude nearest to a pole."""
    return np.asarray(np.abs(found[:, [1, 3]]).max(axis=1))
