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
from typing import NamedTuple

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

    __slots__ = ("lines", "sights")

    def __init__(self, shape: Polygon | MultiPolygon, to_plane: Callable[[Floats], Floats]) -> None:
        polygons = shapely.get_parts(shapely.orient_polygons(shape))
        rings = [to_plane(shapely.get_coordinates(ring)) for ring in shapely.get_rings(polygons)]
        # from and to, the fence's inside to the left
        ends = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
        start, along = ends[:, 0], ends[:, 1] - ends[:, 0]
        length = np.hypot(along[:, 0], along[:, 1])
        along = along / length[:, np.newaxis]
        inward = np.stack([-along[:, 1], along[:, 0]], axis=1)
        # a place times these, and these added: how far on the inner side of each edge's line it
        # is, how far along from the edge's start, and how far from there to its end
        self.lines = np.column_stack(
            [
                inward,
                -(inward * start).sum(axis=1),
                along,
                -(along * start).sum(axis=1),
                length,
            ]
        )

        # the same of all edges, one after the other, for a place and 1
        inwards, backs, lengths = self.lines[:, :3], self.lines[:, 3:6], self.lines[:, 6:]
        onwards = np.column_stack([-backs[:, :2], lengths - backs[:, 2:]])
        self.sights = np.concatenate([inwards, backs, onwards])

    def __len__(self) -> int:
        return len(self.lines)

    def is_in_view(self, east_m: float, north_m: float, within_m: float) -> bool:
        """Whether no edge so near is seen from behind, or almost."""
        seen = (self.sights @ np.array((east_m, north_m, 1.0))).reshape(3, -1)
        return bool(_from_behind(seen[0], seen[1], seen[2], IN_VIEW_M).min() > within_m)

    def holds(self, east_m: float, north_m: float, sigma_m: float, share: float) -> bool:
        """Whether at least so much lies inside, by a glance: may be false where it is true.

        Whatever lies outside lies beyond the line of an edge that is seen from within.
        """
        inward_m = self.sights[: len(self)] @ np.array((east_m, north_m, 1.0))
        steps = (inward_m * (_TAIL_STEPS_PER_SIGMA / sigma_m)).astype(np.int64)
        # of lines seen from behind, as unsigned, a number beyond all others
        beyond = _TAILS.take(np.minimum(steps.view(np.uint64), len(_TAILS) - 1))
        return bool(beyond.sum() <= 1.0 - share)

    def masses(self, east_m: float, north_m: float, sigmas_m: Floats) -> Floats:
        """What lies inside of a Gaussian around a place inside, for each σ."""
        seen = _seen([self], np.array([east_m]), np.array([north_m]))
        hidden = _hidden(*(each / sigmas_m[:, np.newaxis] for each in seen.lengths_m))
        return np.asarray(1.0 - hidden.sum(axis=1))


def mass(outline: Outline, east_m: float, north_m: float, sigma_m: float) -> tuple[float, bool]:
    """As `masses`, of one."""
    seen = (outline.sights @ np.array((east_m, north_m, 1.0))) / sigma_m
    inward, back, on = seen.reshape(3, -1)
    in_view = True
    if inward.min() * sigma_m < IN_VIEW_M:
        nearest = float(_from_behind(inward, back, on, IN_VIEW_M / sigma_m).min())
        if nearest * sigma_m < 2.0 * IN_VIEW_M:
            [found], [in_view] = masses([outline], *np.array([[east_m], [north_m], [sigma_m]]))
            return float(found), bool(in_view)
        in_view = nearest > _FARTHEST
    return 1.0 - float(_hidden(inward, back, on).sum()), in_view


def masses(
    outlines: Sequence[Outline], east_m: Floats, north_m: Floats, sigmas_m: Floats
) -> tuple[Floats, Bools]:
    """What lies inside each outline of the Gaussian around its own place, which is inside.

    And whether all of the outline that matters is in view from there: no edge so near is seen
    from behind, or almost. Then, with a smaller σ, no less lies inside.
    """
    seen, starts, counts = _seen(outlines, east_m, north_m)
    sigma_m = np.repeat(sigmas_m, counts)
    inward, back, on = (each / sigma_m for each in seen)
    behind = _from_behind(inward, back, on, IN_VIEW_M / sigma_m)
    in_view = np.minimum.reduceat(behind, starts) > _FARTHEST
    return 1.0 - np.add.reduceat(_hidden(inward, back, on), starts), in_view


def _from_behind(inward: Floats, back: Floats, on: Floats, hair: Floats | float) -> Floats:
    """How far each edge is that is seen from behind, or almost; others are infinitely far."""
    beside = np.maximum(0.0, -np.minimum(back, on))
    return np.where(inward < hair, np.hypot(inward, beside), np.inf)


class _Seen(NamedTuple):
    """Edges as their places see them, one outline after the other."""

    #: To each edge's line; along it back to the edge's start, and on to its end.
    lengths_m: tuple[Floats, Floats, Floats]
    #: Where each outline's edges begin, and how many they are.
    starts: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]


def _seen(outlines: Sequence[Outline], east_m: Floats, north_m: Floats) -> _Seen:
    counts = np.array([len(outline) for outline in outlines])
    starts = np.cumsum(counts) - counts
    lines = np.concatenate([outline.lines for outline in outlines])
    lengths_m = _lengths_m(lines, np.repeat(east_m, counts), np.repeat(north_m, counts))
    inward_m, back_m, on_m = lengths_m
    upon = (np.abs(inward_m) < IN_VIEW_M) & (back_m > -IN_VIEW_M) & (on_m > -IN_VIEW_M)
    if upon.any():
        # known to be inside: a hair off the edge, rounding cannot say otherwise
        step_m = 2.0 * IN_VIEW_M * upon[:, np.newaxis] * lines[:, :2]
        east_step_m, north_step_m = np.add.reduceat(step_m, starts).T
        lengths_m = _lengths_m(
            lines,
            np.repeat(east_m + east_step_m, counts),
            np.repeat(north_m + north_step_m, counts),
        )
    return _Seen(lengths_m, starts, counts)


def _lengths_m(lines: Floats, east_m: Floats, north_m: Floats) -> tuple[Floats, Floats, Floats]:
    inward_m = lines[:, 0] * east_m + lines[:, 1] * north_m + lines[:, 2]
    back_m = lines[:, 3] * east_m + lines[:, 4] * north_m + lines[:, 5]
    return inward_m, back_m, lines[:, 6] - back_m


def _hidden(inward: Floats, back: Floats, on: Floats) -> Floats:
    """What each edge hides; lengths in σ. Less than nothing where the edge is seen from behind."""
    height = np.minimum(np.abs(inward), _FARTHEST)
    hidden: Floats = _owens_t(height, np.stack([back, on])).sum(axis=0) * np.sign(inward)
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
