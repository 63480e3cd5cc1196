"""How a phone's receiver errs: how accurate it says it is, and how far off it then is."""

import random
from bisect import bisect_left

from doorstep_server.demo.walking import Spot

#: The 68 % radius of a circular Gaussian in standard deviations along one axis.
SIGMAS_PER_ACCURACY = 1.51

#: Share of fixes that are at least this accurate, in metres. Computed from the public phone traces
#: in mie-lab/trackintel (MIT licence): 5 % 5 m, 10 % 8 m, 25 % 12 m, 50 % 16 to 24 m, 75 % 48 m,
#: 90 % 64 m, 95 % 96 m.
_QUANTILES = (
    (0.0, 3.0),
    (0.05, 5.0),
    (0.10, 8.0),
    (0.25, 12.0),
    (0.50, 20.0),
    (0.75, 48.0),
    (0.90, 64.0),
    (0.95, 96.0),
)
#: The rest: deep indoors, where only cell towers are heard.
CELL_TOWER_M = (600.0, 1000.0)


def accuracy_m(rng: random.Random) -> float:
    """The 68 % radius that the phone reports."""
    share = rng.random()
    above = bisect_left(_QUANTILES, (share, 0.0))
    if above == len(_QUANTILES):
        return round(rng.uniform(*CELL_TOWER_M))
    (low_share, low_m), (high_share, high_m) = _QUANTILES[max(above - 1, 0)], _QUANTILES[above]
    part = (share - low_share) / (high_share - low_share) if above else 0.0
    return round(low_m + part * (high_m - low_m), 1)


def measured(true: Spot, accuracy: float, rng: random.Random) -> Spot:
    """Where a phone that says this accuracy believes to be."""
    sigma_m = accuracy / SIGMAS_PER_ACCURACY
    return true.moved(rng.gauss(0.0, sigma_m), rng.gauss(0.0, sigma_m))


def source(accuracy: float) -> str:
    """What the position came from."""
    return "gps" if accuracy <= 30 else "network"
