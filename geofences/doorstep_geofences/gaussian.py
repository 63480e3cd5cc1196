"""What an accuracy means: the device's true place is spread around the fix as a Gaussian.

`accuracy_m` is the radius of the circle that holds the device with 68 % probability (that
is how Android defines it). For a circular Gaussian the probability within r is
1 - exp(-r²/2σ²), so σ = accuracy / √(-2·ln 0.32) = accuracy / 1.51, and 99 % lie within
σ·√(-2·ln 0.01) = 2.01 · accuracy.
"""

import math
from bisect import bisect_left
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

SIGMAS_PER_ACCURACY = 1.51
#: The device is farther from the fix than this many accuracies with 1 % probability.
PLAUSIBLE_ACCURACIES = 2.01

#: An accuracy is judged as if it were each of these in turn, up to the first that is not
#: better. So a worse accuracy must pass all that a better one passes, and can never help.
LADDER_M: tuple[float, ...] = tuple(2.0 ** (step / 4) for step in range(69))


def worst_rung_m(accuracy_m: float) -> float:
    """The first rung of the ladder that is not better than an accuracy."""
    return LADDER_M[bisect_left(LADDER_M, accuracy_m)]


def worst_rungs_m(accuracies_m: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """As `worst_rung_m`, of many."""
    return _RUNGS_M.take(np.searchsorted(_RUNGS_M, accuracies_m))


_RUNGS_M = np.array(LADDER_M)
_GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


def _node_offsets(pairs: int) -> npt.NDArray[np.float64]:
    """Equally likely offsets from the mean, in σ, east and north: the nodes of a quadrature.

    A sunflower (H. Vogel, A better way to construct the sunflower head, 1979): radii split
    the probability evenly, angles advance by the golden ratio, here of a half turn, since
    every node has its opposite. Pairs make a straight edge exact: of two opposite nodes at
    least one lies on the side of the fix, so a fix inside or upon a straight edge has a
    probability of at least 1/2 to the last bit and its verdict cannot flicker.

    Fibonacci numbers of pairs are where such spirals are most even.
    """
    turn = np.arange(pairs)
    radius = np.sqrt(-2.0 * np.log(1.0 - (turn + 0.5) / pairs))
    # The start keeps nodes off the axes, along which many fences have their edges.
    angle = math.pi * (0.03 + turn / _GOLDEN_RATIO)
    half = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
    return np.concatenate([half, -half], axis=1)


#: The error for any half-plane is below 0.018; wedges and discs stay below that too.
NODES_ERROR = 0.02
NODES = _node_offsets(144)
#: How far the farthest of them is, in σ.
FARTHEST_NODE = float(np.hypot(*NODES).max())


@cache
def accuracies_to_clear(assurance: float) -> float:
    """How many accuracies inside the edge a fix is assured whatever the shape of the fence.

    All within |d| of the fix is inside then, which alone has the probability
    1 - exp(-d²/2σ²).
    """
    return math.sqrt(-2.0 * math.log(1.0 - assurance)) / SIGMAS_PER_ACCURACY


#: Discs are told apart by so many steps of their radius to an accuracy, and no larger ones.
RIM_STEPS = 20
LAST_RIM = 4 * RIM_STEPS


@lru_cache(maxsize=100)
def rims(assurance: float, error: float) -> tuple[float, ...]:
    """How many accuracies inside the rim of a disc a fix is assured by that disc alone.

    For radii from 0 in steps of an accuracy; of any larger disc no more is needed than of the last.
    The disc holds so much more as a probability may be wrong by; or the fix is clear of its edge.
    """
    clear = accuracies_to_clear(assurance)
    radii, held = _held_by_discs()
    # how far from the centre a fix may be
    enough = (held >= min(assurance + error, 1.0)).sum(axis=0)
    inside = np.where(enough > 0, radii - radii[enough - 1], math.inf)
    return tuple(np.minimum(inside, np.where(radii >= clear, clear, math.inf)).tolist())


@cache
def _held_by_discs() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Radii; and how much of a Gaussian lies in the disc of each, a row for each of its offsets.

    Offsets are the same numbers as the radii, all in accuracies. The density of the distance r
    from the centre is r·exp(-(r²+d²)/2)·I₀(rd), in σ. What is found errs by less than 0.0005,
    which is taken off.
    """
    count = LAST_RIM + 1
    step = SIGMAS_PER_ACCURACY / RIM_STEPS
    offset = step * np.arange(count)[:, np.newaxis]
    distance = step * (np.arange(count - 1) + 0.5)
    density = distance * np.exp(-0.5 * (distance**2 + offset**2)) * np.i0(distance * offset)
    held = np.concatenate([np.zeros((count, 1)), np.cumsum(step * density, axis=1)], axis=1)
    return np.arange(count) / RIM_STEPS, held - 0.0005
