"""How probable it is that a device is inside, given that its fix is.

A fix is assured if the inside is probable enough at every rung of the ladder up to its accuracy.
Whether a rung is passed depends on nothing but the area, the fix's place and the rung; so a worse
accuracy must pass all that a better one passes.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .area import Area, probabilities
from .gaussian import LADDER_M, SIGMAS_PER_ACCURACY, accuracies_to_clear
from .outline import MASS_ERROR, Mass

#: So few are looked at one by one: of more, all are worked out sooner together.
_FEW = 4


class Covered(NamedTuple):
    """A covered fix near the edge, and how probable the inside must be."""

    area: Area
    lon: float
    lat: float
    #: The worst rung of the ladder up to its accuracy.
    worst_m: float
    assurance: float

    @property
    def sigma_m(self) -> float:
        """σ at the worst rung."""
        return self.worst_m / SIGMAS_PER_ACCURACY

    @property
    def clear_m(self) -> float:
        """Where the edge is farther, the inside is probable enough, at every rung."""
        return accuracies_to_clear(self.assurance) * self.worst_m


def worst_rung_m(accuracy_m: float) -> float:
    """The first rung of the ladder that is not better than an accuracy."""
    return LADDER_M[bisect_left(LADDER_M, accuracy_m)]


def assured(fixes: Sequence[Covered]) -> list[bool]:
    """Whether each covered fix is probable enough at every rung up to its accuracy.

    The worst rung comes first: it is the one most often failed. Where what is in view from the fix
    passes it, all are passed: what is in view at one distance is in view at every shorter one.
    """
    passed = [_may_be_probable(fix) for fix in fixes]
    asked = [i for i, passes in enumerate(passed) if passes]
    if len(asked) < _FEW:
        asked = [i for i in asked if not _is_surely_assured(fixes[i])]
    else:
        # of those that are worked out together, a look at each one costs more than it saves
        asked = [i for i in asked if fixes[i].area.is_exact or not _is_surely_assured(fixes[i])]
    better: list[tuple[int, Covered]] = []
    for i, worst in zip(asked, probabilities_of([fixes[i] for i in asked]), strict=True):
        rungs = _rungs_to_try(fixes[i], worst)
        passed[i] = rungs is not None
        better += [(i, fixes[i]._replace(worst_m=rung_m)) for rung_m in rungs or ()]
    for (i, fix), found in zip(better, probabilities_of([fix for _, fix in better]), strict=True):
        passed[i] = passed[i] and _passes(found.share, fix.assurance)
    return passed


def _may_be_probable(fix: Covered) -> bool:
    """Whether an area of that size can hold so much of the Gaussian at the worst rung.

    No shape of a given area holds more than the disc around the mean. What passes here at one rung
    passes at every better one.
    """
    return fix.clear_m <= fix.area.discs.size_m


def _is_surely_assured(fix: Covered) -> bool:
    return fix.area.surely_holds(fix.lon, fix.lat, fix.sigma_m, fix.assurance)


def probabilities_of(fixes: Sequence[Covered]) -> Sequence[Mass]:
    """How probable the inside is of each, at the worst rung."""
    if len(fixes) < _FEW:
        return [fix.area.probability(fix.lon, fix.lat, fix.sigma_m) for fix in fixes]
    lon, lat, sigmas_m = np.array([(fix.lon, fix.lat, fix.sigma_m) for fix in fixes]).T
    return probabilities([fix.area for fix in fixes], lon, lat, sigmas_m)


def _rungs_to_try(fix: Covered, worst: Mass) -> Sequence[float] | None:
    """The better rungs that are not known to be passed, if the worst is passed."""
    if _passes(worst.in_view, fix.assurance + 2 * MASS_ERROR) or worst.edge_m > fix.clear_m:
        return ()
    if not _passes(worst.share, fix.assurance):
        return None
    clear_of_m = worst.edge_m / accuracies_to_clear(fix.assurance)
    better = LADDER_M[: bisect_left(LADDER_M, fix.worst_m)]
    return [rung_m for rung_m in better if rung_m > clear_of_m]


def _passes(found: float, assurance: float) -> bool:
    """Upon a straight edge the odds are even; no error of ours may say otherwise."""
    return found >= assurance - MASS_ERROR
