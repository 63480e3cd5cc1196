"""What an accuracy means: the device's true place is spread around the fix as a Gaussian.

`accuracy_m` is the radius of the circle that holds the device with 68 % probability (that
is how Android defines it). For a circular Gaussian the probability within r is
1 - exp(-r²/2σ²), so σ = accuracy / √(-2·ln 0.32) = accuracy / 1.51, and 99 % lie within
σ·√(-2·ln 0.01) = 2.01 · accuracy.
"""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

SIGMAS_PER_ACCURACY = 1.51
#: The device is farther from the fix than this many accuracies with 1 % probability.
PLAUSIBLE_ACCURACIES = 2.01

#: An accuracy is judged as if it were each of these in turn, up to the first that is not
#: better. So a worse accuracy must pass all that a better one passes, and can never help.
LADDER_M: tuple[float, ...] = tuple(2.0 ** (step / 4) for step in range(69))

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
