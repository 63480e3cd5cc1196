"""Whether a fix near the edge of an area is inside it, and how probable that is.

A covered fix is assured if the inside is probable enough at every rung of the ladder up to its
accuracy. Whether a rung is passed depends on nothing but the area, the fix's place and the rung; so
a worse accuracy must pass all that a better one passes.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .area import Area, covered, probabilities
from .discs import ASSURED, BEYOND, NEAR, NOT_BEYOND, clear_and_size
from .gaussian import (
    LADDER_M,
    PLAUSIBLE_ACCURACIES,
    SIGMAS_PER_ACCURACY,
    accuracies_to_clear,
    worst_rung_m,
    worst_rungs_m,
)
from .outline import MASS_ERROR, Mass
from .places import Bools, Floats, Numbers, Places

#: So few are looked at one by one: of more, all are worked out sooner together.
FEW = 4


class Asked(NamedTuple):
    """A fix, an area, and how probable its inside must be."""

    area: Area
    assurance: float
    lon: float
    lat: float
    accuracy_m: float

    @property
    def worst_m(self) -> float:
        """The worst rung of the ladder up to its accuracy."""
        return worst_rung_m(self.accuracy_m)

    @property
    def sigma_m(self) -> float:
        """σ at the worst rung."""
        return self.worst_m / SIGMAS_PER_ACCURACY


def standing(asked: Asked, seen: int) -> int:
    """What a fix is to an area, by its edge, where a glance left that open.

    Covered: assured if that is probable enough. Not covered: beyond if it is out of reach.
    """
    if asked.area.covers(asked.lon, asked.lat):
        return ASSURED if _is_assured(asked) else NEAR
    return NEAR if seen == NOT_BEYOND or _is_reached(asked) else BEYOND


def standings(
    areas: Sequence[Area], assurances: Sequence[float], places: Places, seen: Numbers
) -> Numbers:
    """What `standing` says of each place and an area of its own."""
    each = list(map(Asked, areas, assurances, *places.numbers()))
    if len(areas) < FEW:
        return np.array(list(map(standing, each, seen.tolist())))
    is_covered = covered(areas, places.lon, places.lat)
    found = np.full(len(areas), NEAR)
    for i in np.flatnonzero(~is_covered & (seen != NOT_BEYOND)).tolist():
        if not _is_reached(each[i]):
            found[i] = BEYOND
    inside = np.flatnonzero(is_covered)
    is_assured = _are_assured([each[i] for i in inside.tolist()], places.at(inside))
    found[inside[is_assured]] = ASSURED
    return found


def _is_reached(asked: Asked) -> bool:
    within_m = PLAUSIBLE_ACCURACIES * asked.accuracy_m
    return asked.area.reaches(asked.lon, asked.lat, within_m)


def _is_assured(asked: Asked) -> bool:
    """Whether a covered fix is probable enough at every rung up to its accuracy.

    The worst rung comes first: it is the one most often failed. Where what is in view from the fix
    passes it, all are passed: what is in view at one distance is in view at every shorter one.
    """
    area, assurance, lon, lat, _ = asked
    clear_m = accuracies_to_clear(assurance) * asked.worst_m
    # No shape of a given area holds more than the disc around the mean. What passes here at one
    # rung passes at every better one.
    if clear_m > area.discs.size_m:
        return False
    if area.surely_holds(lon, lat, asked.sigma_m, assurance):
        return True
    worst = area.probability(lon, lat, asked.sigma_m)
    if _are_passed(worst, assurance, clear_m):
        return True
    return _passes(worst.share, assurance) and _passes_better_rungs(asked, worst.edge_m)


def _are_assured(asked: Sequence[Asked], places: Places) -> Bools:
    """As `_is_assured`, of each; outlines are asked all at once."""
    found: Bools = np.zeros(len(asked), dtype=np.bool_)
    if not asked:
        return found
    clear, size_m = clear_and_size([each.area.discs for each in asked])
    clear_m = clear * worst_rungs_m(places.accuracy_m)
    is_exact = np.array([each.area.is_exact for each in asked])
    together = np.flatnonzero(is_exact & (clear_m <= size_m))
    alone = np.arange(len(asked))
    if len(together) >= FEW:
        alone = np.flatnonzero(~is_exact)
        some = [asked[i] for i in together.tolist()]
        found[together] = _are_assured_together(some, clear_m[together], places.at(together))
    for i in alone.tolist():
        found[i] = _is_assured(asked[i])
    return found


def _are_assured_together(asked: Sequence[Asked], clear_m: Floats, places: Places) -> Bools:
    """As `_is_assured`, where the size says nothing. A glance at each costs more than it saves."""
    sigmas_m = worst_rungs_m(places.accuracy_m) / SIGMAS_PER_ACCURACY
    worst = probabilities([each.area for each in asked], places.lon, places.lat, sigmas_m)
    assurances = np.array([each.assurance for each in asked])
    found: Bools = _are_passed(worst, assurances, clear_m)
    for i in np.flatnonzero(~found & _passes(worst.share, assurances)).tolist():
        found[i] = _passes_better_rungs(asked[i], worst.edge_m[i].item())
    return found


def _are_passed(worst: Mass, assurance: Any, clear_m: Any) -> Any:
    """Whether what is found at the worst rung says that all are passed."""
    return _passes(worst.in_view, assurance + 2 * MASS_ERROR) | (worst.edge_m > clear_m)


def _passes_better_rungs(asked: Asked, edge_m: float) -> bool:
    """Whether those rungs are passed that are better than the worst; the edge is that far."""
    clear_of_m = edge_m / accuracies_to_clear(asked.assurance)
    better = LADDER_M[: bisect_left(LADDER_M, asked.worst_m)]
    rungs_m = np.array([rung_m for rung_m in better if rung_m > clear_of_m])
    if not len(rungs_m):
        return True
    shares = asked.area.probabilities(asked.lon, asked.lat, rungs_m / SIGMAS_PER_ACCURACY)
    return bool(_passes(shares.min(), asked.assurance))


def _passes(found: Any, assurance: Any) -> Any:
    """Upon a straight edge the odds are even; no error of ours may say otherwise."""
    return found >= assurance - MASS_ERROR


def shares_of(asked: Sequence[Asked]) -> list[float]:
    """How probable the inside is of each covered fix, at the worst rung."""
    if len(asked) < FEW:
        return [each.area.probability(each.lon, each.lat, each.sigma_m).share for each in asked]
    areas, _, lon, lat, _ = zip(*asked, strict=True)
    sigmas_m = np.array([each.sigma_m for each in asked])
    return list(probabilities(areas, np.array(lon), np.array(lat), sigmas_m).share.tolist())
