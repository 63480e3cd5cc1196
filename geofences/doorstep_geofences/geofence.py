"""The shape of a site: read strictly once, valid ever after."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from .flaws import Flaw, InvalidGeofence
from .plane import Plane

#: More positions than this are refused before any of them is looked at.
MAX_VERTICES = 100_000
#: A comb of slanted teeth makes GEOS compare every edge with every other: 43 s for 100,000.
#: This many pairs take well under a second; no coastline comes near it.
MAX_SIDE_BY_SIDE = 50_000_000
MAX_RADIUS_M = 100_000.0
#: Beyond this latitude a degree of longitude is under 2 km and changes with every step.
MAX_LATITUDE = 89.0
#: Larger numbers are neither degrees nor metres on Earth; it also stops NaN and Infinity.
MAX_NUMBER = 1e300

Positions = npt.NDArray[np.float64]
#: Where a part stands in the document: the numbers in "coordinates[0][3]".
Place = tuple[int, ...]

#: The beginnings of the sentences by which GEOS explains that a polygon is not valid.
_GEOS_FLAWS = {
    "Self-intersection": Flaw.SELF_INTERSECTION,
    "Ring Self-intersection": Flaw.SELF_INTERSECTION,
    "Duplicate Rings": Flaw.SELF_INTERSECTION,
    "Hole lies outside shell": Flaw.HOLE_OUTSIDE_SHELL,
    "Holes are nested": Flaw.NESTED_HOLES,
    "Nested shells": Flaw.NESTED_SHELLS,
    "Interior is disconnected": Flaw.DISCONNECTED_INTERIOR,
    "Too few points in geometry component": Flaw.TOO_FEW_POSITIONS,
    "Invalid Coordinate": Flaw.NOT_FINITE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Geofence:
    """A polygonal shape in longitude and latitude, or a circle. Make it by its classmethods.

    Edges are straight lines in longitude and latitude (RFC 7946, section 3.1.1). Rings may
    wind either way (section 3.1.6 asks parsers not to refuse), and may touch themselves
    only where the OGC's rules for valid polygons let them.
    """

    shape: Polygon | MultiPolygon | None = None
    #: Longitude and latitude of a circle's centre.
    center: tuple[float, float] | None = None
    radius_m: float | None = None

    @classmethod
    def parse(cls, document: object) -> Self:
        """Read a GeoJSON Polygon or MultiPolygon, or our Circle; raises InvalidGeofence."""
        if not isinstance(document, dict):
            raise InvalidGeofence(Flaw.MALFORMED)
        if "crs" in document:
            raise InvalidGeofence(Flaw.CRS_MEMBER, at="crs")
        match document.get("type"):
            case "Circle":
                _refuse_other_members(document, {"type", "center", "radius_m"})
                return cls._parse_circle(document)
            case "Polygon" | "MultiPolygon" as kind:
                _refuse_other_members(document, {"type", "coordinates", "bbox"})
                return cls.polygonal(_parse_shape(kind, document.get("coordinates")))
            case str():
                raise InvalidGeofence(Flaw.UNSUPPORTED_TYPE, at="type")
            case _:
                raise InvalidGeofence(Flaw.MALFORMED, at="type")

    @classmethod
    def _parse_circle(cls, document: dict[str, Any]) -> Self:
        lon, lat = _parse_position(document.get("center"), "center")
        return cls.circle(lon, lat, _parse_number(document.get("radius_m"), "radius_m"))

    @classmethod
    def polygonal(cls, shape: Polygon | MultiPolygon) -> Self:
        """A fence of a shape in longitude and latitude; heights are dropped."""
        if not isinstance(shape, Polygon | MultiPolygon):
            raise InvalidGeofence(Flaw.UNSUPPORTED_TYPE, at="type")
        if shape.is_empty:
            raise InvalidGeofence(Flaw.TOO_FEW_POSITIONS, at="coordinates")
        if shape.has_z:
            shape = shapely.force_2d(shape)
        _refuse_flawed(shape)
        return cls(shape=shape)

    @classmethod
    def circle(cls, lon: float, lat: float, radius_m: float) -> Self:
        """All places within a distance of a centre."""
        if not (math.isfinite(lon) and math.isfinite(lat)):
            raise InvalidGeofence(Flaw.NOT_FINITE, at="center")
        if abs(lon) > 180.0 or abs(lat) > 90.0:
            raise InvalidGeofence(Flaw.PROJECTED_COORDINATES, at="center")
        if not 0.0 < radius_m <= MAX_RADIUS_M:
            raise InvalidGeofence(Flaw.RADIUS_OUT_OF_RANGE, at="radius_m")
        if abs(lat) + radius_m / Plane.at(lat).lat_degree_m > MAX_LATITUDE:
            raise InvalidGeofence(Flaw.NEAR_POLE, at="center")
        return cls(center=(lon, lat), radius_m=radius_m)

    def to_document(self) -> dict[str, Any]:
        """The document that `parse` reads back to an equal fence."""
        if self.shape is None:
            assert self.center is not None
            return {"type": "Circle", "center": list(self.center), "radius_m": self.radius_m}
        if isinstance(self.shape, Polygon):
            return {"type": "Polygon", "coordinates": _polygon_coordinates(self.shape)}
        parts = [_polygon_coordinates(part) for part in self.shape.geoms]
        return {"type": "MultiPolygon", "coordinates": parts}


def _refuse_other_members(document: dict[str, Any], known: set[str]) -> None:
    """Refuse members we would silently ignore: they meant something to whoever wrote them."""
    if not document.keys() <= known:
        raise InvalidGeofence(Flaw.MALFORMED)


def _polygon_coordinates(polygon: Polygon) -> list[list[list[float]]]:
    return [shapely.get_coordinates(ring).tolist() for ring in _polygon_rings(polygon)]


def _polygon_rings(polygon: Polygon) -> list[shapely.LinearRing]:
    return [polygon.exterior, *polygon.interiors]


def _parse_shape(kind: str, coordinates: object) -> Polygon | MultiPolygon:
    parts = _parse_list(coordinates, ()) if kind == "MultiPolygon" else [coordinates]
    _refuse_too_many(parts)
    if kind == "Polygon":
        return _parse_polygon(coordinates, ())
    return MultiPolygon([_parse_polygon(part, (i,)) for i, part in enumerate(parts)])


def _refuse_too_many(parts: list[Any]) -> None:
    rings = [ring for part in parts if isinstance(part, list) for ring in part]
    if sum(len(ring) for ring in rings if isinstance(ring, list)) > MAX_VERTICES:
        raise InvalidGeofence(Flaw.TOO_MANY_VERTICES, at="coordinates")


def _parse_polygon(value: object, place: Place) -> Polygon:
    rings = _parse_list(value, place)
    shell, *holes = (_parse_ring(ring, (*place, i)) for i, ring in enumerate(rings))
    return Polygon(shell, holes)


def _parse_list(value: object, place: Place) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InvalidGeofence(Flaw.MALFORMED, at=_written(place))
    return value


def _parse_ring(value: object, place: Place) -> Positions:
    if not isinstance(value, list):
        raise InvalidGeofence(Flaw.MALFORMED, at=_written(place))
    if len(value) < 4:
        raise InvalidGeofence(Flaw.TOO_FEW_POSITIONS, at=_written(place))
    ring = np.array(
        [_parse_position(position, (*place, i)) for i, position in enumerate(value)],
        dtype=np.float64,
    )
    # Before the degrees: the ends of a ring must meet in whatever unit.
    if (ring[0] != ring[-1]).any():
        raise InvalidGeofence(Flaw.RING_NOT_CLOSED, at=_written(place))
    return ring


def _parse_position(value: object, at: str | Place) -> tuple[float, float]:
    """Longitude and latitude; a third number, the height, is dropped (RFC 7946, 3.1.1)."""
    if not isinstance(value, list) or not 2 <= len(value) <= 3:
        raise InvalidGeofence(Flaw.MALFORMED, at=_written(at))
    lon, lat, *_ = [_parse_number(number, at) for number in value]
    return lon, lat


def _parse_number(value: object, at: str | Place) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidGeofence(Flaw.MALFORMED, at=_written(at))
    # An integer may be too long for a float: then it is no coordinate either.
    if not -MAX_NUMBER < value < MAX_NUMBER:
        raise InvalidGeofence(Flaw.NOT_FINITE, at=_written(at))
    return float(value)


def _written(at: str | Place) -> str:
    return at if isinstance(at, str) else "coordinates" + "".join(f"[{i}]" for i in at)


def _refuse_flawed(shape: Polygon | MultiPolygon) -> None:
    count = int(shapely.get_num_coordinates(shape))
    if count > MAX_VERTICES:
        raise InvalidGeofence(Flaw.TOO_MANY_VERTICES, at=_written(()))
    for place, ring in _rings(shape):
        _refuse_flawed_ring(shapely.get_coordinates(ring), place)
    if count**2 / 2 > MAX_SIDE_BY_SIDE and _edges_side_by_side(shape) > MAX_SIDE_BY_SIDE:
        raise InvalidGeofence(Flaw.TOO_INTRICATE, at=_written(()))
    if not shape.is_valid:
        raise _explained(shape)


def _edges_side_by_side(shape: Polygon | MultiPolygon) -> int:
    """How many pairs of edges overlap in longitude, or in latitude if those are fewer.

    No fewer than the pairs of edges that checking for crossings may have to look at.
    """
    rings = [shapely.get_coordinates(ring) for _, ring in _rings(shape)]
    starts, ends = (
        np.concatenate(part) for part in ([r[:-1] for r in rings], [r[1:] for r in rings])
    )
    lows, highs = np.minimum(starts, ends), np.maximum(starts, ends)
    return min(_overlaps(lows[:, axis], highs[:, axis]) for axis in (0, 1))


def _overlaps(lows: Positions, highs: Positions) -> int:
    """How many pairs of intervals overlap: of each, those that start later, yet before it ends."""
    order = np.argsort(lows)
    started = np.searchsorted(lows[order], highs[order], side="right")
    return int((started - np.arange(1, len(lows) + 1)).sum())


def _rings(shape: Polygon | MultiPolygon) -> Iterator[tuple[Place, shapely.LinearRing]]:
    """Every ring with its place in the document."""
    if isinstance(shape, Polygon):
        yield from (((i,), ring) for i, ring in enumerate(_polygon_rings(shape)))
        return
    for part, polygon in enumerate(shape.geoms):
        yield from (((part, i), ring) for i, ring in enumerate(_polygon_rings(polygon)))


def _refuse_flawed_ring(ring: Positions, place: Place) -> None:
    if len(ring) < 4:
        raise InvalidGeofence(Flaw.TOO_FEW_POSITIONS, at=_written(place))
    lon, lat = np.abs(ring).T
    _refuse_any(~np.isfinite(ring).all(axis=1), Flaw.NOT_FINITE, place)
    _refuse_any((lon > 180.0) | (lat > 90.0), Flaw.PROJECTED_COORDINATES, place)
    _refuse_any(np.abs(np.diff(ring[:, 0])) > 180.0, Flaw.CROSSES_ANTIMERIDIAN, place)
    _refuse_any(lat > MAX_LATITUDE, Flaw.NEAR_POLE, place)


def _refuse_any(flawed: npt.ArrayLike, flaw: Flaw, place: Place) -> None:
    """Refuse at the first flawed position of the ring."""
    first = int(np.argmax(flawed))
    if np.any(flawed):
        raise InvalidGeofence(flaw, at=_written((*place, first)))


def _explained(shape: Polygon | MultiPolygon) -> InvalidGeofence:
    """What GEOS found, in our words, at the edge or ring where it found it."""
    for place, ring in _rings(shape):
        # Not the ring's own area, which is zero for a bow-tie too.
        if ring.convex_hull.area == 0.0:
            return InvalidGeofence(Flaw.ZERO_AREA, at=_written(place))
    sentence = shapely.is_valid_reason(shape)
    match = re.fullmatch(r"(?P<flaw>[^[]+)(?:\[(?P<x>\S+) (?P<y>\S+)\])?", sentence)
    assert match is not None
    flaw = _GEOS_FLAWS.get(match["flaw"], Flaw.INVALID)
    if match["x"] is None:
        return InvalidGeofence(flaw, at=_written(()))
    place = _place_of(shape, shapely.Point(float(match["x"]), float(match["y"])))
    return InvalidGeofence(flaw, at=_written(place))


def _place_of(shape: Polygon | MultiPolygon, found: shapely.Point) -> Place:
    """The edge that passes nearest to where a flaw was found, by the position it starts at.

    Of edges that are equally near (they cross or touch there) the last in the document:
    holes come after the outline they do not fit.
    """
    places, rings = zip(*_rings(shape), strict=True)
    nearest = _last_least(shapely.distance(np.array(rings), found))
    positions = shapely.get_coordinates(rings[nearest])
    edges = shapely.linestrings(np.stack([positions[:-1], positions[1:]], axis=1))
    return (*places[nearest], _last_least(shapely.distance(edges, found)))


def _last_least(values: npt.ArrayLike) -> int:
    return int(np.flatnonzero(values == np.min(values))[-1])
