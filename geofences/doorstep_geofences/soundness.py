"""Whether rings bound an area that can be judged against, and if not, why and where."""

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely import Polygon

from .flaws import Flaw, InvalidGeofence
from .rings import MAX_VERTICES, Part, Place, Positions, Ring, Shape, rings_in, written

#: A comb of slanted teeth makes GEOS compare every edge with every other: 43 s for 100,000.
#: This many pairs take half a second; no coastline comes near it.
MAX_SIDE_BY_SIDE = 20_000_000
#: Beyond this latitude a degree of longitude is under 2 km and changes with every step.
MAX_LATITUDE = 89.0
#: Longitudes may be written a turn away: what lies across the 180° meridian often is.
MAX_LONGITUDE = 540.0

#: The beginnings of the sentences by which GEOS explains that a polygon is not valid.
_GEOS_FLAWS = {
    "Self-intersection": Flaw.SELF_INTERSECTION,
    "Ring Self-intersection": Flaw.SELF_INTERSECTION,
    "Duplicate Rings": Flaw.DUPLICATE_RING,
    "Hole lies outside shell": Flaw.HOLE_OUTSIDE_SHELL,
    "Holes are nested": Flaw.NESTED_HOLES,
    "Nested shells": Flaw.NESTED_SHELLS,
    "Interior is disconnected": Flaw.DISCONNECTED_INTERIOR,
    "Too few points in geometry component": Flaw.TOO_FEW_POSITIONS,
    "Invalid Coordinate": Flaw.NOT_FINITE,
}


class Finding(NamedTuple):
    """A flaw, and where it is."""

    flaw: Flaw
    place: Place

    def refusal(self) -> InvalidGeofence:
        """The error to raise."""
        return InvalidGeofence(self.flaw, at=written(self.place))


def is_sound(shape: Shape) -> bool:
    """Whether nothing needs to be said of a shape: it lies on the map and is valid."""
    west, south, east, north = shape.bounds
    return (
        # Also: no edge can be longer than half a turn.
        -180.0 <= west <= east <= min(west + 180.0, 180.0)
        and -MAX_LATITUDE <= south <= north <= MAX_LATITUDE
        and not is_too_large_to_check(shape)
        and not _has_empty_parts(shape)
        and shape.is_valid
    )


def is_too_large_to_check(shape: Shape) -> bool:
    """Whether checking it could keep everybody else waiting."""
    count = int(shapely.get_num_coordinates(shape))
    if count**2 / 2 <= MAX_SIDE_BY_SIDE:
        return False
    return count > MAX_VERTICES or _edges_side_by_side(shape) > MAX_SIDE_BY_SIDE


def _has_empty_parts(shape: Shape) -> bool:
    if isinstance(shape, Polygon):
        return False
    return bool(shapely.is_empty(shapely.get_parts(shape)).any())


def refuse_impossible(parts: list[Part]) -> None:
    """Refuse positions that are no places on Earth, or none to measure at."""
    for ring in rings_in(parts):
        if len(ring.positions) < 4:
            raise InvalidGeofence(Flaw.TOO_FEW_POSITIONS, at=written(ring.place))
        refuse_any(~np.isfinite(ring.positions.sum(axis=1)), Flaw.NOT_FINITE, ring)
    outside = Flaw.PROJECTED_COORDINATES
    if is_swapped(*np.concatenate([ring.positions for ring in rings_in(parts)]).T):
        outside = Flaw.LATITUDE_AND_LONGITUDE_SWAPPED
    for ring in rings_in(parts):
        lon, lat = np.abs(ring.positions).T
        refuse_any((lon > MAX_LONGITUDE) | (lat > 90.0), outside, ring)
        refuse_any(lat > MAX_LATITUDE, Flaw.NEAR_POLE, ring)


def is_swapped(lon: npt.ArrayLike, lat: npt.ArrayLike) -> bool:
    """Whether positions are no places as they are written, but all are the other way round."""
    lon, lat = np.abs(lon), np.abs(lat)
    return bool((lat > 90.0).any() and (lat <= 180.0).all() and (lon <= 90.0).all())


def refuse_any(flawed: npt.NDArray[np.bool_], flaw: Flaw, ring: Ring) -> None:
    """Refuse at the first flawed position of the ring."""
    if flawed.any():
        raise InvalidGeofence(flaw, at=written((*ring.place, int(np.argmax(flawed)))))


def refuse_too_intricate(shape: Shape) -> None:
    """Refuse what takes too long to check."""
    if is_too_large_to_check(shape):
        count = int(shapely.get_num_coordinates(shape))
        flaw = Flaw.TOO_MANY_VERTICES if count > MAX_VERTICES else Flaw.TOO_INTRICATE
        raise InvalidGeofence(flaw, at=written(()))


def _edges_side_by_side(shape: Shape) -> int:
    """How many pairs of edges overlap in longitude, or in latitude if those are fewer.

    No fewer than the pairs of edges that checking for crossings may have to look at.
    """
    starts, ends = edges_of(shape)
    lows, highs = np.minimum(starts, ends), np.maximum(starts, ends)
    return min(_overlaps(lows[:, axis], highs[:, axis]) for axis in (0, 1))


def edges_of(shape: Shape) -> tuple[Positions, Positions]:
    """Where the edges start and end."""
    rings = shapely.get_rings(shapely.get_parts(shape))
    positions, numbers = shapely.get_coordinates(rings, return_index=True)
    same_ring = numbers[:-1] == numbers[1:]
    return positions[:-1][same_ring], positions[1:][same_ring]


def _overlaps(lows: Positions, highs: Positions) -> int:
    """How many pairs of intervals overlap: of each, those that start later, yet before it ends."""
    order = np.argsort(lows)
    started = np.searchsorted(lows[order], highs[order], side="right")
    return int((started - np.arange(1, len(lows) + 1)).sum())


def first_flaw(shape: Shape, parts: list[Part]) -> Finding | None:
    """What GEOS finds in the parts' shape, in our words, at the edge or ring where it finds it."""
    sentence = shapely.is_valid_reason(shape)
    if sentence == "Valid Geometry":
        return None
    rings = list(rings_in(parts))
    flat = _are_flat(rings)
    if flat.any():
        return Finding(Flaw.ZERO_AREA, rings[int(np.argmax(flat))].place)
    match = re.fullmatch(r"(?P<flaw>[^[]+)(?:\[(?P<x>\S+) (?P<y>\S+)\])?", sentence)
    assert match is not None
    flaw = _GEOS_FLAWS.get(match["flaw"], Flaw.INVALID)
    if match["x"] is None:
        return Finding(flaw, ())
    return Finding(flaw, _place_of(parts, shapely.Point(float(match["x"]), float(match["y"]))))


def _are_flat(rings: list[Ring]) -> npt.NDArray[np.bool_]:
    """Whether all positions lie on one line; a bow-tie's area is zero too, yet it is not flat."""
    return np.asarray(shapely.area(shapely.convex_hull(_lines(rings))) == 0.0)


def _lines(rings: list[Ring]) -> npt.NDArray[np.object_]:
    numbers = np.repeat(np.arange(len(rings)), [len(ring.positions) for ring in rings])
    positions = np.concatenate([ring.positions for ring in rings])
    return np.asarray(shapely.linestrings(positions, indices=numbers))


def _place_of(parts: list[Part], found: shapely.Point) -> Place:
    """The edge that passes nearest to where a flaw was found, by the position it starts at.

    Of edges that are equally near (they cross or touch there) the last in the document:
    holes come after the outline they do not fit.
    """
    rings = list(rings_in(parts))
    nearest = rings[_last_least(shapely.distance(_lines(rings), found))]
    edges = np.stack([nearest.positions[:-1], nearest.positions[1:]], axis=1)
    distances = shapely.distance(shapely.linestrings(edges), found)
    return (*nearest.place, _last_least(distances))


def _last_least(values: npt.ArrayLike) -> int:
    return int(np.flatnonzero(values == np.min(values))[-1])
