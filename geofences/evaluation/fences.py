"""The fences that claims are made at, in degrees for `judge` and in metres for all else."""

import gzip
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from doorstep_geofences import Geofence
from doorstep_geofences.plane import Plane

Floats = npt.NDArray[np.float64]
Shapes = npt.NDArray[np.object_]

#: An office in São Paulo.
_LON, _LAT = -46.65, -23.55
#: More fences of a file make a run longer and its figures no better.
MOST = 2_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fence:
    """A geofence, and its shape in metres east and north of a place amid it."""

    geofence: Geofence
    shape: Polygon | MultiPolygon
    lon: float
    lat: float

    @classmethod
    def circle(cls, radius_m: float) -> Self:
        """A circle; in metres a polygon of 64 corners whose edge is 5 cm off at 75 m."""
        turns = np.linspace(0.0, 2 * math.pi, 64, endpoint=False)
        # as far beyond the circle at its corners as within it between them
        corner_m = radius_m / math.sqrt(math.cos(math.pi / 64))
        ring = corner_m * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        geofence = Geofence.circle(_LON, _LAT, radius_m)
        return cls(geofence=geofence, shape=Polygon(ring), lon=_LON, lat=_LAT)

    @classmethod
    def drawn(cls, shape: Polygon | MultiPolygon) -> Self:
        """A shape that is drawn in metres."""
        plane = Plane.at(_LAT)
        scale = (plane.lon_degree_m, plane.lat_degree_m)
        in_degrees = shapely.transform(shape, lambda at: at / scale + (_LON, _LAT))
        return cls.parse(json.loads(shapely.to_geojson(in_degrees)))

    @classmethod
    def parse(cls, document: object) -> Self:
        """A polygon or multipolygon of GeoJSON."""
        geofence = Geofence.parse(document)
        assert geofence.shape is not None
        lon, lat = geofence.shape.centroid.coords[0]
        plane = Plane.at(lat)
        scale = (plane.lon_degree_m, plane.lat_degree_m)
        shape = shapely.transform(geofence.shape, lambda at: (at - (lon, lat)) * scale)
        return cls(geofence=geofence, shape=shape, lon=lon, lat=lat)


@dataclass(frozen=True, kw_only=True, eq=False)
class FenceSet:
    """Fences of one kind; a claim is as likely to be at any of them."""

    name: str
    fences: Sequence[Fence]

    @cached_property
    def shapes(self) -> Shapes:
        """All shapes, in metres."""
        return np.array([fence.shape for fence in self.fences])

    @cached_property
    def _frames(self) -> tuple[Floats, Floats]:
        planes = [Plane.at(fence.lat) for fence in self.fences]
        origins = np.array([(fence.lon, fence.lat) for fence in self.fences])
        return origins, np.array([(plane.lon_degree_m, plane.lat_degree_m) for plane in planes])

    def in_degrees(self, fence: npt.NDArray[np.intp], places_m: Floats) -> Floats:
        """Longitudes and latitudes of places near the fences of those numbers."""
        origins, scales = self._frames
        return origins[fence] + places_m / scales[fence]


def circle(radius_m: float) -> FenceSet:
    """One circle."""
    return FenceSet(name=f"circle of {radius_m:.0f} m", fences=[Fence.circle(radius_m)])


def footprints(file: Path, rng: np.random.Generator, least_m2: float = 0.0) -> FenceSet:
    """The polygons of a GeoJSON file that are so large, or as many of them, drawn at random."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as text:
        features = json.load(text)["features"]
    fences = [Fence.parse(feature["geometry"]) for feature in features]
    large = [fence for fence in fences if fence.shape.area >= least_m2]
    if len(large) > MOST:
        large = [large[i] for i in rng.choice(len(large), MOST, replace=False)]
    name = f"footprints ≥ {least_m2:,.0f} m²" if least_m2 else "footprints"
    return FenceSet(name=name, fences=large)


def made_up() -> FenceSet:
    """Footprints of our own: what businesses have, drawn by hand."""
    return FenceSet(name="made-up footprints", fences=[Fence.drawn(s) for s in _drawings()])


def _drawings() -> Iterable[Polygon | MultiPolygon]:
    yield shapely.box(-5, -4, 5, 4)  # a small shop
    yield shapely.box(-15, -11, 15, 11)  # a restaurant
    yield shapely.box(-35, -22, 35, 22)  # a supermarket
    yield shapely.box(-120, -14, 120, 14)  # a long hall
    yield Polygon([(0, 0), (45, 0), (45, 14), (14, 14), (14, 60), (0, 60)])  # an L
    yield Polygon(
        [(0, 0), (70, 0), (70, 50), (54, 50), (54, 16), (16, 16), (16, 50), (0, 50)]
    )  # a U
    yield Polygon(
        shapely.box(-30, -30, 30, 30).exterior, [shapely.box(-14, -14, 14, 14).exterior]
    )  # a block around its courtyard
    yield Polygon([(0, 0), (90, 12), (84, 58), (40, 52), (36, 80), (-8, 74)])  # askew
    yield MultiPolygon(
        [
            shapely.box(-160, -60, -90, 10),
            shapely.box(-40, -20, 30, 70),
            Polygon([(80, -80), (150, -60), (135, 0), (70, -15)]),
        ]
    )  # a campus of three houses
    yield shapely.Point(0, 0).buffer(250, quad_segs=4)  # a works' grounds
