"""Whether somebody can have come from one place to another in the time that was.

No position is needed for it: who was accepted at two sites was in their boxes.
"""

import math

from .bounds import Bounds

#: The smallest radius of curvature of WGS 84, a(1-e²): the meridian's at the equator. The
#: meridian's is nowhere smaller and the other one always larger, so no step on the ellipsoid is
#: shorter than between the same degrees on a sphere of this radius, and no way is.
SMALLEST_RADIUS_M = 6_378_137.0 * (1.0 - 0.006_694_379_990_14)
#: No gap is wider.
FARTHEST_M = math.pi * SMALLEST_RADIUS_M
#: More than rounding adds near the antipodes, where it adds most.
_LESS_ROUNDING = 1.0 - 1e-8

#: The southern and the northern end of a box, in radians.
Ends = tuple[float, float]


def is_implausible(gap_m: float, elapsed_s: float, max_speed_m_s: float) -> bool:
    """Whether a gap is wider than what can be crossed in the time."""
    return gap_m > elapsed_s * max_speed_m_s


def are_within(a: Bounds, b: Bounds, reach_m: float) -> bool:
    """Whether two boxes are surely no farther apart: most are by far, and that is quick to say.

    From one to the other it is no farther than along a meridian, and then along a parallel, which
    is nowhere longer than the equator.
    """
    between_ends = max(a.south - b.north, b.south - a.north, 0.0)
    return math.radians(between_ends + _degrees_between(a, b)) * SMALLEST_RADIUS_M <= reach_m


def gap_m(a: Bounds, b: Bounds) -> float:
    """How far two boxes are apart: never more than any place in one is from any in the other.

    The nearest places lie on the meridians that are nearest to each other, and one of them at an
    end of its meridian: apart from the ends, which may be poles, the distance has no least value
    but a saddle at the equator. So each end is held against what is nearest to it.
    """
    apart = math.radians(_degrees_between(a, b))
    ends_a, ends_b = _ends(a), _ends(b)
    least = min(
        *(_nearest(lat, ends_b, apart) for lat in ends_a),
        *(_nearest(lat, ends_a, apart) for lat in ends_b),
    )
    return 2.0 * math.asin(min(math.sqrt(least), 1.0)) * SMALLEST_RADIUS_M * _LESS_ROUNDING


def _degrees_between(a: Bounds, b: Bounds) -> float:
    """How many degrees of longitude lie between two boxes, the shorter way round."""
    between_middles = abs(math.remainder(a.middle[0] - b.middle[0], 360.0))
    half_widths = (a.east - a.west + b.east - b.west) / 2.0
    return max(between_middles - half_widths, 0.0)


def _ends(box: Bounds) -> Ends:
    return math.radians(max(box.south, -90.0)), math.radians(min(box.north, 90.0))


def _nearest(lat: float, ends: Ends, apart: float) -> float:
    """The haversine of a latitude to its foot on a stretch of a meridian, or to an end of it.

    Where the way over a pole to the other end is shorter, it is found from there.
    """
    foot = math.atan2(math.sin(lat), math.cos(lat) * math.cos(apart))
    return _haversine(lat, min(max(foot, ends[0]), ends[1]), apart)


def _haversine(lat: float, other: float, apart: float) -> float:
    north, east = math.sin((lat - other) / 2.0), math.sin(apart / 2.0)
    return north * north + math.cos(lat) * math.cos(other) * east * east
