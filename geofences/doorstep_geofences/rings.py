"""Rings of positions as a document writes them, and the shapes they bound."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from .flaws import Flaw, InvalidGeofence

#: More positions than this are refused before any of them is looked at.
MAX_VERTICES = 100_000
#: Larger numbers are neither degrees nor metres on Earth; it also stops NaN and Infinity.
MAX_NUMBER = 1e300

Positions = npt.NDArray[np.float64]
Shape = Polygon | MultiPolygon
#: Where a part stands in the document: the numbers in "coordinates[0][3]".
Place = tuple[int, ...]


_LISTS = {list}
_LENGTHS = ({2}, {3})
_NUMBERS = {int, float}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ring:
    """The positions of a ring, longitude first, and where it stands in the document."""

    place: Place
    positions: Positions


#: The rings of one polygon: its outline, then its holes.
Part = list[Ring]


def written(place: Place) -> str:
    """The place as a document's reader finds it."""
    return "coordinates" + "".join(f"[{i}]" for i in place)


def refuse_too_many(kind: str, coordinates: object) -> None:
    """Refuse what has too many positions, without looking at one of them."""
    parts = coordinates if kind == "MultiPolygon" else [coordinates]
    if not isinstance(parts, list):
        return
    rings = chain.from_iterable(part for part in parts if isinstance(part, list))
    if sum(len(ring) for ring in rings if isinstance(ring, list)) > MAX_VERTICES:
        raise InvalidGeofence(Flaw.TOO_MANY_VERTICES, at=written(()))


def ordinary_shape(kind: str, coordinates: Any) -> Shape | None:
    """The shape of what is written without a surprise; None means: read it with care.

    Nearly every fence is, so no Python looks at its positions one by one.
    """
    try:
        if kind == "Polygon":
            return _ordinary_polygon(coordinates)
        return shapely.multipolygons([_ordinary_polygon(part) for part in _list(coordinates)])
    except (_SurprisingError, OverflowError):
        return None


class _SurprisingError(ValueError):
    """The document is not written as nearly all are."""


def _ordinary_polygon(value: Any) -> Polygon:
    shell, *holes = map(_ordinary_ring, _list(value))
    return shapely.polygons(shell, holes=holes) if holes else shapely.polygons(shell)


def _ordinary_ring(value: Any) -> shapely.LinearRing:
    """A closed ring of positions that are all lists of two numbers, or all of three."""
    if set(map(type, _list(value))) != _LISTS or len(value) < 4 or value[0][:2] != value[-1][:2]:
        raise _SurprisingError
    lengths = set(map(len, value))
    numbers = list(chain.from_iterable(value))
    # A bool passes for a number, and NumPy reads strings.
    if lengths not in _LENGTHS or not _NUMBERS.issuperset(map(type, numbers)):
        raise _SurprisingError
    if not math.isfinite(sum(numbers)):
        raise _SurprisingError
    positions = np.array(numbers, dtype=np.float64).reshape(len(value), -1)
    return cast("shapely.LinearRing", shapely.linearrings(positions[:, :2]))


def _list(value: Any) -> list[Any]:
    if type(value) is not list or not value:
        raise _SurprisingError
    return value


def read_parts(kind: str, coordinates: object, *, may_be_open: bool) -> list[Part]:
    """The rings of a document's coordinates; what cannot be read is refused where it stands."""
    if kind == "Polygon":
        return [_read_part(coordinates, (), may_be_open=may_be_open)]
    return [
        _read_part(part, (i,), may_be_open=may_be_open)
        for i, part in enumerate(_read_list(coordinates, ()))
    ]


def _read_part(value: object, place: Place, *, may_be_open: bool) -> Part:
    rings = enumerate(_read_list(value, place))
    return [_read_ring(ring, (*place, i), may_be_open=may_be_open) for i, ring in rings]


def _read_list(value: object, place: Place) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InvalidGeofence(Flaw.MALFORMED, at=written(place))
    return value


def _read_ring(value: object, place: Place, *, may_be_open: bool) -> Ring:
    if not isinstance(value, list):
        raise InvalidGeofence(Flaw.MALFORMED, at=written(place))
    # An open ring of three gets its fourth when it is closed.
    if len(value) < (3 if may_be_open else 4):
        raise InvalidGeofence(Flaw.TOO_FEW_POSITIONS, at=written(place))
    positions = np.array(
        [read_position(position, (*place, i)) for i, position in enumerate(value)],
        dtype=np.float64,
    )
    # Before the degrees: the ends of a ring must meet in whatever unit.
    if not may_be_open and (positions[0] != positions[-1]).any():
        raise InvalidGeofence(Flaw.RING_NOT_CLOSED, at=written(place))
    return Ring(place=place, positions=positions)


def read_position(value: object, at: str | Place) -> tuple[float, float]:
    """Longitude and latitude; a third number, the height, is dropped (RFC 7946, 3.1.1)."""
    if not isinstance(value, list) or not 2 <= len(value) <= 3:
        raise InvalidGeofence(Flaw.MALFORMED, at=_at(at))
    lon, lat, *_ = [read_number(number, at) for number in value]
    return lon, lat


def read_number(value: object, at: str | Place) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidGeofence(Flaw.MALFORMED, at=_at(at))
    # An integer may be too long for a float: then it is no coordinate either.
    if not -MAX_NUMBER < value < MAX_NUMBER:
        raise InvalidGeofence(Flaw.NOT_FINITE, at=_at(at))
    return float(value)


def _at(at: str | Place) -> str:
    return at if isinstance(at, str) else written(at)


def parts_of(shape: Shape) -> list[Part]:
    """The rings of a shape, at the places of the document that would be written for it."""
    if isinstance(shape, Polygon):
        return [_part_of(shape, ())]
    return [_part_of(polygon, (i,)) for i, polygon in enumerate(shape.geoms)]


def _part_of(polygon: Polygon, place: Place) -> Part:
    return [
        Ring(place=(*place, i), positions=shapely.get_coordinates(ring))
        for i, ring in enumerate((polygon.exterior, *polygon.interiors))
    ]


def shape_of(parts: list[Part]) -> Shape:
    """The polygons that rings bound, whether valid or not; the reverse of `parts_of`."""
    polygons = [
        shapely.Polygon(part[0].positions, [hole.positions for hole in part[1:]]) for part in parts
    ]
    # In a Polygon a ring's place is one number, in a MultiPolygon two.
    return polygons[0] if len(parts[0][0].place) == 1 else MultiPolygon(polygons)


def rings_in(parts: list[Part]) -> Iterator[Ring]:
    """Every ring, in the order of the document."""
    return chain.from_iterable(parts)


def polygons_in(geometry: shapely.Geometry) -> Shape:
    """The polygons of what an overlay gave, without the lines and points where they touched."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    polygons = [part for part in parts if isinstance(part, Polygon) and not part.is_empty]
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
