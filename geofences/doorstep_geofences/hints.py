"""What a person should look at again, though nothing is wrong with the fence."""

import math
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import shapely

from .antimeridian import cut
from .geofence import Geofence
from .notes import Note
from .plane import Plane
from .rings import Shape

#: Of 1,056 outlines tagged as houses in OpenStreetMap, in eight cities, 99 % are smaller, and
#: of 732 of other dwellings 93 %; of 62 industrial buildings 16 %.
HOME_M2 = 400.0
#: A person in the middle of a circle of this radius is accepted half the time when the phone's
#: accuracy is 24 m, which was the median in a trace of a real phone (and 30 m or more in
#: another); at 20 m nearly always refused, at 50 m nearly always accepted.
SMALLEST_RADIUS_M = 28.0
#: Farther from all anchors than this no fence is expected: time zones are wide.
FAR_M = 1_500_000.0
#: The exchanged position must be so much nearer.
TIMES_NEARER = 3.0

#: Smaller shares are the noise of drawing: neighbours seldom touch exactly.
LEAST_SHARE = 0.01
#: So many pairs are reported.
MAX_OVERLAPS = 100_000
#: The positions of all pairs whose boxes overlap, at most: some seconds' worth.
MAX_POSITIONS_COMPARED = 100_000_000
#: Fences looked up, and pairs compared, at once: they bound the memory.
_AT_ONCE = 16
_PAIRS_AT_ONCE = 4_096
_TURNS = np.linspace(0.0, 2 * np.pi, 32, endpoint=False)
_UNIT_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)

_HOME_SIZED = Note(
    code="home_sized",
    message=(
        "The fence is no larger than a home. If a person lives there it watches a private"
        " person: document why that is needed, or draw the business's whole premises."
    ),
)
_SMALLER_THAN_ACCURACY = Note(
    code="smaller_than_accuracy",
    message=(
        "The fence is smaller than the accuracy of most phones, so people who are there will"
        " seldom be accepted. Raise tolerance_m, or draw a larger fence."
    ),
)
_LOOKS_SWAPPED = Note(
    code="looks_swapped",
    message=(
        "The fence is far from where it is expected, and would be near with latitude and"
        " longitude exchanged. Check that positions are written longitude first."
    ),
)


def hints(
    geofence: Geofence, *, tolerance_m: float, anchors: Sequence[tuple[float, float]] = ()
) -> tuple[Note, ...]:
    """Remarks on a fence's size and place.

    Anchors are longitudes and latitudes of places that it should be near, such as the principal
    place of its time zone.
    """
    notes = []
    # Without the tolerance: that makes up for phones, and the home remains the one that is meant.
    area_m2 = geofence.area_m2
    if area_m2 < HOME_M2:
        notes.append(_HOME_SIZED)
    if _radius_m(geofence, area_m2, tolerance_m) < SMALLEST_RADIUS_M:
        notes.append(_SMALLER_THAN_ACCURACY)
    if _looks_swapped(_middle(geofence), anchors):
        notes.append(_LOOKS_SWAPPED)
    return tuple(notes)


def _radius_m(geofence: Geofence, area_m2: float, tolerance_m: float) -> float:
    """Twice the area by the perimeter, of the grown fence.

    That is a circle's radius; and a strip's width, which has to be about as much.
    """
    if geofence.shape is None:
        assert geofence.radius_m is not None
        return geofence.radius_m + tolerance_m
    outline_m = _perimeter_m(geofence.shape)
    grown_m2 = area_m2 + outline_m * tolerance_m + math.pi * tolerance_m**2
    return 2 * grown_m2 / (outline_m + 2 * math.pi * tolerance_m)


def _perimeter_m(shape: Shape) -> float:
    _, south, _, north = shape.bounds
    scale = Plane.at((south + north) / 2)
    degree_m = (scale.lon_degree_m, scale.lat_degree_m)
    return shapely.transform(shape, lambda positions: positions * degree_m).length


def _middle(geofence: Geofence) -> tuple[float, float]:
    shape = geofence.unwrapped_shape
    if shape is None:
        assert geofence.center is not None
        return geofence.center
    west, south, east, north = shape.bounds
    return (west + east) / 2, (south + north) / 2


def _looks_swapped(middle: tuple[float, float], anchors: Sequence[tuple[float, float]]) -> bool:
    lon, lat = middle
    if not anchors or abs(lon) > 90.0:
        return False
    there_m = min(_distance_m((lon, lat), anchor) for anchor in anchors)
    if there_m <= FAR_M:
        return False
    return min(_distance_m((lat, lon), anchor) for anchor in anchors) * TIMES_NEARER < there_m


def _distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Along a great circle of a sphere: 0.5 % is enough to tell continents apart."""
    lon, lat, other_lon, other_lat = map(math.radians, (*one, *other))
    chord = (
        math.sin((other_lat - lat) / 2) ** 2
        + math.cos(lat) * math.cos(other_lat) * math.sin((other_lon - lon) / 2) ** 2
    )
    return 2 * 6_371_000.0 * math.asin(min(1.0, math.sqrt(chord)))


class Overlaps(list[tuple[int, int, float]]):
    """Pairs of fences by their numbers, the lower first, and the share of the smaller fence."""

    #: False when there are more than were looked for.
    complete: bool = True


def overlaps(fences: Sequence[Geofence]) -> Overlaps:
    """The pairs of fences that overlap; a share of 1 with equal shapes is a duplicate.

    Each duplicate is paired with the first of its kind alone, and that one with the others: ten
    thousand equal fences are ten thousand pairs. What is found is bounded, see `complete`.
    """
    found = Overlaps()
    firsts: dict[bytes, int] = {}
    for number, fence in enumerate(fences):
        first = firsts.setdefault(_identity(fence), number)
        if first != number:
            found.append((first, number, 1.0))
    numbers = np.fromiter(firsts.values(), dtype=np.intp)
    shapes = np.array([_drawn(fences[number]) for number in numbers], dtype=object)
    budget = MAX_POSITIONS_COMPARED
    for one, other in _boxes_overlapping(shapes):
        budget -= int(shapely.get_num_coordinates([shapes[one], shapes[other]]).sum())
        if budget < 0 or len(found) >= MAX_OVERLAPS:
            found.complete = False
            break
        shares = _shares(shapes, one, other)
        overlap = shares >= LEAST_SHARE
        found += zip(
            numbers[one[overlap]].tolist(),
            numbers[other[overlap]].tolist(),
            shares[overlap].tolist(),
            strict=True,
        )
    found.complete = found.complete and len(found) <= MAX_OVERLAPS
    del found[MAX_OVERLAPS:]
    found.sort()
    return found


def shares(ones: Sequence[Geofence], others: Sequence[Geofence]) -> list[float]:
    """How much of the smaller fence each two have in common: one of each list, in their order."""
    each = {id(fence): fence for fence in (*ones, *others)}
    shapes = np.array([_drawn(fence) for fence in each.values()], dtype=object)
    number_of = {identity: number for number, identity in enumerate(each)}
    one, other = (np.array([number_of[id(fence)] for fence in some]) for some in (ones, others))
    found = _shares(shapes, one, other)
    return [float(share) for share in np.where(found >= LEAST_SHARE, found, 0.0)]


def _identity(fence: Geofence) -> bytes:
    """The same for equal fences, wherever their rings start and however they wind."""
    if fence.shape is None:
        return repr((fence.center, fence.radius_m)).encode()
    return bytes(shapely.to_wkb(shapely.normalize(fence.shape)))


def _drawn(fence: Geofence) -> Shape:
    """The fence as a shape; a circle as a polygon within it."""
    if fence.shape is not None:
        return fence.shape
    assert fence.center is not None
    assert fence.radius_m is not None
    scale = Plane.at(fence.center[1])
    axes = (fence.radius_m / scale.lon_degree_m, fence.radius_m / scale.lat_degree_m)
    return cut(cast("shapely.Polygon", shapely.polygons(fence.center + _UNIT_CIRCLE * axes)))


Numbers = npt.NDArray[np.intp]
Shapes = npt.NDArray[np.object_]


def _boxes_overlapping(shapes: Shapes) -> Iterator[tuple[Numbers, Numbers]]:
    """The pairs whose boxes overlap, each once, some at a time."""
    tree = shapely.STRtree(shapes)
    for start in range(0, len(shapes), _AT_ONCE):
        one, other = tree.query(shapes[start : start + _AT_ONCE])
        one = one + start
        once = other > one
        one, other = one[once], other[once]
        for i in range(0, len(one), _PAIRS_AT_ONCE):
            yield one[i : i + _PAIRS_AT_ONCE], other[i : i + _PAIRS_AT_ONCE]


def _shares(shapes: Shapes, one: Numbers, other: Numbers) -> npt.NDArray[np.float64]:
    """How much of the smaller of each two they have in common."""
    one_is_smaller = shapely.area(shapes[one]) < shapely.area(shapes[other])
    smaller = shapes[np.where(one_is_smaller, one, other)]
    larger = _prepared(shapes, np.where(one_is_smaller, other, one))
    shares = np.asarray(shapely.covers(larger, smaller), dtype=np.float64)
    partly = (shares == 0.0) & shapely.intersects(larger, smaller)
    common = shapely.area(shapely.intersection(larger[partly], smaller[partly]))
    shares[partly] = common / shapely.area(smaller[partly])
    return shares


def _prepared(shapes: Shapes, numbers: Numbers) -> Shapes:
    """Copies with an index of their edges: most others are within one or beside it.

    Copies, as others may be judging with the shapes; and these indexes are to go away again.
    """
    each, which = np.unique(numbers, return_inverse=True)
    copies = np.asarray(shapely.force_2d(shapes[each]))
    shapely.prepare(copies)
    return copies[which]
