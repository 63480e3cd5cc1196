"""How much of a circular Gaussian lies in a polygon, edge by edge.

Seen from a place inside, each edge hides what lies behind it. With h the distance from the place to
the edge's line (negative from the line's outer side) and from a to b the edge along it, all in σ, a
Gaussian around the place has behind the edge

    T(h, b) - T(h, a),  T(h, a) = 1/2π ∫ exp(-h²/2cos²θ) dθ from 0 to atan(a/h),

which is Owen's T function of h and a/h (D. B. Owen, Tables for computing bivariate normal
probabilities, Annals of Mathematical Statistics 27, 1956). What is hidden by all edges, those seen
from behind counted back, is what lies outside: for holes and several parts as well.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Far more than rounding, far less than matters.
IN_VIEW_M = 0.001
#: The error of `masses`, at most: a test measures it.
MASS_ERROR = 0.002
#: Beyond so many σ there is nothing to speak of: 0.003 %.
_FARTHEST = 4.0
_STEPS_PER_SIGMA = 20
_WIDTH = int(_FARTHEST * _STEPS_PER_SIGMA) + 1
#: What lies beyond a line so many steps away or more, at most; in the end as good as nothing.
_TAIL_STEPS_PER_SIGMA = 50
_TAILS = np.array(
    [0.5 * math.erfc(step / _TAIL_STEPS_PER_SIGMA / math.sqrt(2.0)) for step in range(300)] + [1e-9]
)


class Outline:
    """The edges of a fence, in metres."""

    __slots__ = ("sights",)

    def __init__(self, shape: Polygon | MultiPolygon, to_plane: Callable[[Floats], Floats]) -> None:
        polygons = shapely.get_parts(shapely.orient_polygons(shape))
        rings = [to_plane(shapely.get_coordinates(ring)) for ring in shapely.get_rings(polygons)]
        # from and to, the fence's inside to the left
        ends = np.concatenate([np.stack([ring[:-1], ring[1:]]) for ring in rings], axis=1)
        start, along = ends[0].T, (ends[1] - ends[0]).T
        length = np.hypot(*along)
        # a position may be written twice: that is no edge, and has no direction
        is_edge = length > 0.0
        start, along, length = start[:, is_edge], along[:, is_edge], length[is_edge]
        along = along / length
        inward = np.stack([-along[1], along[0]])
        back_m = -(along * start).sum(axis=0)
        # of each edge, to be multiplied with a place's east and north and 1: how far on the inner
        # side of its line the place is, how far along from its start, and how far on to its end
        self.sights = np.stack(
            [
                np.stack([inward[0], along[0], -along[0]]),
                np.stack([inward[1], along[1], -along[1]]),
                np.stack([-(inward * start).sum(axis=0), back_m, length - back_m]),
            ]
        )

    def __len__(self) -> int:
        return len(self.sights[0, 0])

    def seen_m(self, east_m: float, north_m: float) -> tuple[Floats, Floats]:
        """The edges as a place inside sees them: how far inward, back and on, and how far away."""
        seen = self._seen_m(east_m, north_m)
        distances = _distances(seen)
        upon = distances < IN_VIEW_M
        if upon.any():
            # known to be inside: a hair off the edge, rounding cannot say otherwise
            east_step_m, north_step_m = 2.0 * IN_VIEW_M * self.sights[:2, 0, upon].sum(axis=1)
            seen = self._seen_m(east_m + east_step_m, north_m + north_step_m)
            distances = _distances(seen)
        return seen, distances

    def _seen_m(self, east_m: float, north_m: float) -> Floats:
        place = np.array((east_m, north_m, 1.0))
        seen: Floats = (place @ self.sights.reshape(3, -1)).reshape(3, -1)
        return seen

    def is_in_view(self, east_m: float, north_m: float, within_m: float) -> bool:
        """Whether no edge so near is seen from behind, or almost."""
        seen = self._seen_m(east_m, north_m)
        return bool(_from_behind(seen, _distances(seen), IN_VIEW_M).min() > within_m)

    def holds(self, east_m: float, north_m: float, sigma_m: float, share: float) -> bool:
        """Whether at least so much lies inside, by a glance: may be false where it is true.

        Whatever lies outside lies beyond the line of an edge that is seen from within.
        """
        inward_m = np.array((east_m, north_m, 1.0)) @ self.sights[:, 0]
        steps = (inward_m * (_TAIL_STEPS_PER_SIGMA / sigma_m)).astype(np.int64)
        # of lines seen from behind, as unsigned, a number beyond all others
        beyond = _TAILS.take(np.minimum(steps.view(np.uint64), len(_TAILS) - 1))
        return bool(beyond.sum() <= 1.0 - share)

    def mass(self, east_m: float, north_m: float, sigma_m: float) -> "Mass":
        """What lies inside of a Gaussian around a place inside."""
        seen, distances = self.seen_m(east_m, north_m)
        hidden = _hidden(seen / sigma_m)
        in_view = 1.0 - float(np.maximum(hidden, 0.0).sum())
        return Mass(1.0 - float(hidden.sum()), in_view, float(distances.min()))

    def masses(self, east_m: float, north_m: float, sigmas_m: Floats) -> Floats:
        """The same for each σ."""
        seen, _ = self.seen_m(east_m, north_m)
        return np.asarray(1.0 - _hidden(seen[:, np.newaxis] / sigmas_m[:, np.newaxis]).sum(axis=1))


class Mass(NamedTuple):
    """What lies inside of a Gaussian around a place that is inside; or arrays, of several."""

    share: Any
    #: What of it can be seen from there, at least: all that no edge hides, without what edges that
    #: are seen from behind give back. With a smaller σ no less can, as it is star-shaped.
    in_view: Any
    #: How far the nearest edge is.
    edge_m: Any


def masses(outlines: Sequence[Outline], east_m: Floats, north_m: Floats, sigmas_m: Floats) -> Mass:
    """The mass in each outline, of its own place and σ."""
    counts = np.array([outline.sights.shape[2] for outline in outlines])
    starts = np.cumsum(counts) - counts
    sights = np.concatenate([outline.sights for outline in outlines], axis=2)
    owners = np.repeat(np.arange(len(counts)), counts)
    east_m, north_m, sigma_m = east_m[owners], north_m[owners], sigmas_m[owners]
    seen = _seen(sights, east_m, north_m)
    distances = _distances(seen)
    upon = distances < IN_VIEW_M
    if upon.any():
        # as in `seen_m`
        steps_m = np.add.reduceat(2.0 * IN_VIEW_M * upon * sights[:2, 0], starts, axis=1)
        east_step_m, north_step_m = steps_m[:, owners]
        seen = _seen(sights, east_m + east_step_m, north_m + north_step_m)
        distances = _distances(seen)
    hidden = _hidden(seen / sigma_m)
    outside, out_of_view = np.add.reduceat([hidden, np.maximum(hidden, 0.0)], starts, axis=1)
    return Mass(1.0 - outside, 1.0 - out_of_view, np.minimum.reduceat(distances, starts))


def _seen(sights: Floats, east_m: Floats, north_m: Floats) -> Floats:
    seen: Floats = sights[0] * east_m + sights[1] * north_m + sights[2]
    return seen


def _distances(seen: Floats) -> Floats:
    """How far each edge is."""
    inward, back, on = seen
    distances: Floats = np.hypot(inward, np.minimum(np.minimum(back, on), 0.0))
    return distances


def _from_behind(seen: Floats, distances: Floats, hair: float) -> Floats:
    """How far each edge is that is seen from behind, or almost; others are infinitely far."""
    return np.where(seen[0] < hair, distances, np.inf)


def _hidden(seen: Floats) -> Floats:
    """What each edge hides; lengths in σ. Less than nothing where the edge is seen from behind."""
    inward = seen[0]
    height = np.minimum(np.abs(inward), _FARTHEST)
    from_start, from_end = _owens_t(height, seen[1:])
    hidden: Floats = (from_start + from_end) * np.sign(inward)
    return hidden


def _owens_t(height: Floats, along: Floats) -> Floats:
    """T(h, a), odd in a; h from 0 to `_FARTHEST`.

    The table has what is left without the jump at h = a = 0, where all angles meet.
    """
    reach = np.minimum(np.abs(along), _FARTHEST)
    row, column = height * _STEPS_PER_SIGMA, reach * _STEPS_PER_SIGMA
    above, left = row.astype(np.intp), column.astype(np.intp)
    down, right = row - above, column - left
    corner, rightward, downward, both = _smooth_part().take(above * _WIDTH + left, axis=1)
    smooth = corner + right * rightward + down * (downward + right * both)
    found: Floats = np.copysign(smooth + _jump(height, reach), along)
    return found


def _jump(height: Floats, reach: Floats) -> Floats:
    """Near h = a = 0, T is the angle alone."""
    return np.arctan2(reach, height) * np.exp(-0.5 * height * height) * (0.5 / math.pi)


@cache
def _smooth_part() -> Floats:
    """T(h, a) less `_jump`, between the steps of h and of a.

    Of each cell, its value at the corner and what is added along each side and across: rows of
    a table of cells.
    """
    # one more at each end, for what lies upon the last step
    steps = np.arange(_WIDTH + 1) / _STEPS_PER_SIGMA
    # at h = 0, T is the limit from above
    height, reach = np.maximum(steps, 1e-9)[:, np.newaxis], steps[np.newaxis]
    nodes, weights = np.polynomial.legendre.leggauss(32)
    half_angle = 0.5 * np.arctan2(reach, height)
    total = np.zeros((_WIDTH + 1, _WIDTH + 1))
    for node, weight in zip(nodes, weights, strict=True):
        cosine = np.cos(half_angle * (node + 1.0))
        total += weight * np.exp(-0.5 * (height / cosine) ** 2)
    value = total * half_angle * (0.5 / math.pi) - _jump(height, reach)
    corner, right, down = value[:-1, :-1], value[:-1, 1:], value[1:, :-1]
    across = value[1:, 1:] - right - down + corner
    return np.stack([corner, right - corner, down - corner, across]).reshape(4, -1)
