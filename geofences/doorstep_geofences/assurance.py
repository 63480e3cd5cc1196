"""How probable it is that a device is inside, given that its fix is.

A fix is assured if the inside is probable enough at every rung of the ladder up to its accuracy.
Whether a rung is passed depends on nothing but the area, the fix's place and the rung; so a worse
accuracy must pass all that a better one passes.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .area import SCALE_SLACK, Area, Floats, probabilities
from .gaussian import LADDER_M, SIGMAS_PER_ACCURACY, accuracies_to_clear
from .outline import MASS_ERROR

_LADDER_M = np.array(LADDER_M)
#: So few are looked at one by one: of more, all are worked out sooner together.
_FEW = 4


class Covered(NamedTuple):
    """A covered fix near the edge, and how probable the inside must be."""

    area: Area
    lon: float
    lat: float
    accuracy_m: float
    assurance: float


def worst_rung_m(accuracy_m: float) -> float:
    """The first rung of the ladder that is not better than an accuracy."""
    return LADDER_M[_rung(accuracy_m)]


def worst_rungs_m(accuracies_m: Floats) -> Floats:
    """The same of many."""
    return _LADDER_M[np.searchsorted(_LADDER_M, accuracies_m)]


def _rung(accuracy_m: float) -> int:
    return bisect_left(LADDER_M, accuracy_m)


def assured(fixes: Sequence[Covered]) -> list[bool]:
    """Whether each covered fix is probable enough at every rung up to its accuracy.

    The worst rung comes first: it is the one most often failed. Where all that matters is in view
    from the fix, passing it is passing all: what is inside at one distance is inside at every
    shorter one.
    """
    passed = [_may_be_probable(fix) for fix in fixes]
    asked = [i for i, passes in enumerate(passed) if passes]
    if len(asked) < _FEW:
        asked = [i for i in asked if not _is_surely_assured(fixes[i])]
    answers = worst_probabilities([fixes[i] for i in asked])
    for i, (found, in_view) in zip(asked, answers, strict=True):
        fix = fixes[i]
        passed[i] = _passes(found, fix.assurance) and (
            (_passes(found, fix.assurance + 2 * MASS_ERROR) and in_view)
            or _passes_better_rungs(fix)
        )
    return passed


def _is_surely_assured(fix: Covered) -> bool:
    return fix.area.surely_holds(fix.lon, fix.lat, _sigma_m(fix.accuracy_m), fix.assurance)


def _passes(found: float, assurance: float) -> bool:
    """Upon a straight edge the odds are even; no error of ours may say otherwise."""
    return found >= assurance - MASS_ERROR


def _sigma_m(accuracy_m: float) -> float:
    """σ at the worst rung of an accuracy."""
    return worst_rung_m(accuracy_m) / SIGMAS_PER_ACCURACY


def _may_be_probable(fix: Covered) -> bool:
    """Whether an area of that size can hold so much of the Gaussian at the worst rung.

    No shape of a given area holds more than the disc around the mean: 1 - exp(-A/2πσ²). What
    passes here at one rung passes at every better one.
    """
    spread = SCALE_SLACK * fix.area.size_m2() / (2.0 * math.pi * _sigma_m(fix.accuracy_m) ** 2)
    return -math.expm1(-spread) >= fix.assurance


def _passes_better_rungs(fix: Covered) -> bool:
    """Whether all but the worst are passed; those that the edge is far enough for at once."""
    edge_m, to_clear = fix.area.distance_m(fix.lon, fix.lat), accuracies_to_clear(fix.assurance)
    better = LADDER_M[: _rung(fix.accuracy_m)]
    sigmas_m = [rung / SIGMAS_PER_ACCURACY for rung in better if to_clear * rung > edge_m]
    found = fix.area.probabilities(fix.lon, fix.lat, np.array(sigmas_m))
    return all(_passes(each, fix.assurance) for each in found.tolist())


class Probability(NamedTuple):
    """That a device is in its area, at the worst rung of its accuracy."""

    value: float
    #: It is known that with every smaller σ it is no less.
    in_view: bool


def worst_probabilities(fixes: Sequence[Covered]) -> list[Probability]:
    """How probable it is of each."""
    if len(fixes) < _FEW:
        return [
            Probability(*f.area.probability(f.lon, f.lat, _sigma_m(f.accuracy_m))) for f in fixes
        ]
    lon, lat = np.array([(fix.lon, fix.lat) for fix in fixes]).T
    sigmas_m = np.array([_sigma_m(fix.accuracy_m) for fix in fixes])
    found, in_view = probabilities([fix.area for fix in fixes], lon, lat, sigmas_m)
    return list(map(Probability, found.tolist(), in_view.tolist()))
