"""What an accuracy means, as the server means it: a Gaussian around the fix, rung by rung.

The numbers, tables and roundings here are those of the server's `doorstep_geofences`: both must
come to the same verdict. A device's true place is spread around the fix with σ = accuracy / 1.51,
and an accuracy is judged at each rung of a ladder up to the first that is not better.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

SIGMAS_PER_ACCURACY = 1.51
PLAUSIBLE_ACCURACIES = 2.01
#: the error of a mass, at most, and that of counting nodes
MASS_ERROR = 0.002
NODES_ERROR = 0.02
LADDER_M = tuple(2.0 ** (step / 4) for step in range(69))

_GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
_PAIRS = 144
#: beyond so many σ there is nothing to speak of
FARTHEST = 4.0
_STEPS_PER_SIGMA = 20
_WIDTH = int(FARTHEST * _STEPS_PER_SIGMA) + 2

#: Gauss and Legendre's 32 points, the half of them, with their weights
_POINTS = (
    (0.048307665687738324, 0.09654008851472766),
    (0.1444719615827965, 0.09563872007927471),
    (0.23928736225213706, 0.09384439908080451),
    (0.33186860228212767, 0.09117387869576378),
    (0.42135127613063533, 0.08765209300440378),
    (0.5068999089322294, 0.08331192422694671),
    (0.5877157572407623, 0.07819389578707023),
    (0.6630442669302152, 0.07234579410884834),
    (0.7321821187402897, 0.06582222277636168),
    (0.7944837959679424, 0.058684093478535565),
    (0.84936761373257, 0.05099805926237609),
    (0.8963211557660521, 0.042835898022226836),
    (0.9349060759377397, 0.034273862913021765),
    (0.9647622555875064, 0.025392065309262024),
    (0.9856115115452684, 0.016274394730905743),
    (0.9972638618494816, 0.007018610009470506),
)

#: an edge as a place sees it, in σ: to its line, back to its start, on to its end
Seen = tuple[float, float, float]

#: T(h, a) less its jump, at the steps of h and a; worked out as they are needed
_smooth: dict[int, float] = {}
_nodes: list[tuple[float, float]] = []


def rung(accuracy_m: float) -> int:
    """The place on the ladder of the first rung that is not better than an accuracy."""
    return bisect_left(LADDER_M, accuracy_m)


def accuracies_to_clear(assurance: float) -> float:
    """How many accuracies inside the edge a fix is assured, whatever the shape."""
    return math.sqrt(-2.0 * math.log(1.0 - assurance)) / SIGMAS_PER_ACCURACY


def nodes() -> list[tuple[float, float]]:
    """Equally likely offsets from the mean, in σ, east and north."""
    if not _nodes:
        half = [_node(turn) for turn in range(_PAIRS)]
        _nodes.extend([*half, *((-east, -north) for east, north in half)])
    return _nodes


def _node(turn: int) -> tuple[float, float]:
    radius = math.sqrt(-2.0 * math.log(1.0 - (turn + 0.5) / _PAIRS))
    angle = math.pi * (0.03 + turn / _GOLDEN_RATIO)
    return radius * math.cos(angle), radius * math.sin(angle)


def farthest_node() -> float:
    """How far the farthest of them is, in σ."""
    return max(math.hypot(*node) for node in nodes())


def hidden(seen: Iterable[Seen]) -> float:
    """How much of the Gaussian around a place lies behind the edges: outside."""
    total = 0.0
    for inward, back, on in seen:
        height = min(abs(inward), FARTHEST)
        both = _owens_t(height, back) + _owens_t(height, on)
        total += both if inward > 0.0 else -both if inward < 0.0 else 0.0
    return total


def _owens_t(height: float, along: float) -> float:
    """Owen's T of h and a/h, odd in a."""
    reach = min(abs(along), FARTHEST)
    row, column = height * _STEPS_PER_SIGMA, reach * _STEPS_PER_SIGMA
    above, left = int(row), int(column)
    down, right = row - above, column - left
    corner, rightward = _at(above, left), _at(above, left + 1)
    downward, both = _at(above + 1, left), _at(above + 1, left + 1)
    across = both - rightward - downward + corner
    found = corner + right * (rightward - corner) + down * (downward - corner + right * across)
    return math.copysign(found + _jump(height, reach), along)


def _jump(height: float, reach: float) -> float:
    """Near h = a = 0, T is the angle alone."""
    return math.atan2(reach, height) * math.exp(-0.5 * height * height) * (0.5 / math.pi)


def _at(above: int, left: int) -> float:
    place = above * _WIDTH + left
    found = _smooth.get(place)
    if found is None:
        height, reach = max(above / _STEPS_PER_SIGMA, 1e-9), left / _STEPS_PER_SIGMA
        found = _smooth[place] = _smooth_part(height, reach)
    return found


def _smooth_part(height: float, reach: float) -> float:
    half_angle = 0.5 * math.atan2(reach, height)
    total = 0.0
    for point, weight in _POINTS:
        for node in (-point, point):
            cosine = math.cos(half_angle * (node + 1.0))
            total += weight * math.exp(-0.5 * (height / cosine) ** 2)
    return total * half_angle * (0.5 / math.pi) - _jump(height, reach)
