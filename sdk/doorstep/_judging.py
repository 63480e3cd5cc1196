"""Judging on the phone, by the rule of the server's `doorstep_geofences`.

Both agree on every place that is farther than a metre from an edge; nearer, the phone is uncertain.
The answer holds a reason and a site, and no distance or probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from doorstep._area import SCALE_SLACK, SHORTEST_LAT_M, shortest_lon_m
from doorstep._bundle_format import BundledSite
from doorstep._fix import Fix
from doorstep._gaussian import (
    LADDER_M,
    MASS_ERROR,
    NODES_ERROR,
    PLAUSIBLE_ACCURACIES,
    SIGMAS_PER_ACCURACY,
    accuracies_to_clear,
    rung,
)

#: so near to an edge the phone does not decide: its shapes are rounded, and its numbers its own
UNDECIDED_M = 1.0
_EVERYWHERE_M = 1e9
#: boxes are rounded apart from each other: by less than this, in degrees
_SLACK = 1e-9

INSIDE, OUTSIDE, NEAR_BOUNDARY = "inside", "outside", "near_boundary"
ACCURACY_TOO_LOW, OUTSIDE_HOURS = "accuracy_too_low", "outside_hours"
NO_SITE_NEAR = "no_site_near"

#: what a reason goes with
OUTCOMES = {
    INSIDE: "accepted",
    OUTSIDE: "rejected",
    NO_SITE_NEAR: "rejected",
    "mocked": "rejected",
    "null_island": "rejected",
    OUTSIDE_HOURS: "rejected",
    NEAR_BOUNDARY: "uncertain",
    ACCURACY_TOO_LOW: "uncertain",
    "accuracy_unknown": "uncertain",
}


class Found(NamedTuple):
    """Why, and at which site: the claimed one, or the one that was found to accept."""

    reason: str
    site_id: str | None


class _Place(NamedTuple):
    """Where and how surely, as far as judging goes. It does not leave this module."""

    lon: float
    lat: float
    accuracy_m: float

    def __repr__(self) -> str:
        return "<Place redacted>"


def judge_claim(site: BundledSite, fix: Fix) -> Found:
    """Whether a fix is at a site."""
    reason = _without_place(fix, site.max_accuracy_m)
    if reason is None and not _is_open(site, fix.captured_at):
        reason = OUTSIDE_HOURS
    return Found(_at(site, _place(fix)) if reason is None else reason, site.site_id)


def search(sites: Sequence[BundledSite], fix: Fix) -> Found:
    """At which of these sites a fix is, or why at none."""
    cap_m = max((site.max_accuracy_m for site in sites), default=math.inf)
    reason = _without_place(fix, cap_m)
    return Found(reason, None) if reason else _searched(sites, _place(fix), fix.captured_at)


def _without_place(fix: Fix, cap_m: float) -> str | None:
    """Why it is settled before any place is looked at, if it is."""
    if fix.mocked:
        return "mocked"
    if fix.lat == 0.0 and fix.lon == 0.0:
        return "null_island"
    if fix.accuracy_m is None:
        return "accuracy_unknown"
    return ACCURACY_TOO_LOW if fix.accuracy_m > cap_m else None


def _place(fix: Fix) -> _Place:
    assert fix.accuracy_m is not None
    return _Place(fix.lon, fix.lat, fix.accuracy_m)


def _is_open(site: BundledSite, at: datetime) -> bool:
    return site.hours is None or site.hours.is_open(at)


def _at(site: BundledSite, place: _Place) -> str:
    """What a place says of being at a site, its accuracy within the site's cap."""
    covered, edge_m = site.area.stands(place.lon, place.lat)
    if edge_m <= UNDECIDED_M:
        return NEAR_BOUNDARY
    if not covered:
        return OUTSIDE if edge_m > PLAUSIBLE_ACCURACIES * place.accuracy_m else NEAR_BOUNDARY
    worst = rung(place.accuracy_m)
    if edge_m > accuracies_to_clear(site.assurance) * LADDER_M[worst]:
        return INSIDE
    return INSIDE if _is_assured(site, place, worst, edge_m) else NEAR_BOUNDARY


def _is_assured(site: BundledSite, place: _Place, worst: int, edge_m: float) -> bool:
    """Whether the inside is probable enough at every rung up to the worst, which is asked first."""
    if not _may_be_probable(site, worst):
        return False
    least = site.assurance - MASS_ERROR
    found, in_view = _probability(site, place, worst)
    if found < least:
        return False
    if in_view and found >= site.assurance + MASS_ERROR:
        return True
    clear = accuracies_to_clear(site.assurance)
    better = (step for step in reversed(range(worst)) if clear * LADDER_M[step] > edge_m)
    return all(_probability(site, place, step)[0] >= least for step in better)


def _probability(site: BundledSite, place: _Place, step: int) -> tuple[float, bool]:
    return site.area.probability(place.lon, place.lat, LADDER_M[step] / SIGMAS_PER_ACCURACY)


def _may_be_probable(site: BundledSite, step: int) -> bool:
    """Whether an area of that size can hold so much of the Gaussian."""
    sigma_m = LADDER_M[step] / SIGMAS_PER_ACCURACY
    spread = SCALE_SLACK * site.area.size_m2() / (2.0 * math.pi * sigma_m**2)
    return -math.expm1(-spread) >= site.assurance


def _searched(sites: Sequence[BundledSite], place: _Place, at: datetime) -> Found:
    """Acceptance first, then doubt, then the reasons to reject."""
    accepting: list[BundledSite] = []
    above_cap = near_boundary = closed = False
    for site in _near(sites, place):
        if site.max_accuracy_m < place.accuracy_m:
            above_cap = True
            continue
        reason = _at(site, place)
        if reason == OUTSIDE:
            continue
        is_open = _is_open(site, at)
        closed = closed or not is_open
        near_boundary = near_boundary or (is_open and reason == NEAR_BOUNDARY)
        if is_open and reason == INSIDE:
            accepting.append(site)
    if accepting:
        return Found(INSIDE, _likeliest(accepting, place).site_id)
    doubts = (
        (near_boundary, NEAR_BOUNDARY),
        (above_cap, ACCURACY_TOO_LOW),
        (closed, OUTSIDE_HOURS),
    )
    return Found(next((reason for holds, reason in doubts if holds), NO_SITE_NEAR), None)


def _near(sites: Sequence[BundledSite], place: _Place) -> Iterator[BundledSite]:
    """Those whose boxes the device's plausible reach touches."""
    if not sites:
        return
    reach_m = min(PLAUSIBLE_ACCURACIES * place.accuracy_m, _EVERYWHERE_M)
    east = reach_m / shortest_lon_m([site.box for site in sites])
    reach = (east + _SLACK, reach_m / SHORTEST_LAT_M + _SLACK)
    for site in sites:
        if site.box.touches(place.lon, place.lat, reach):
            yield site


def _likeliest(sites: Sequence[BundledSite], place: _Place) -> BundledSite:
    """The most probable; of equals the smallest; of one size the likelier; then the first."""
    if len(sites) == 1:
        return sites[0]
    worst = rung(place.accuracy_m)
    found = [(_probability(site, place, worst)[0], site) for site in sites]
    least = max(share for share, _ in found) - NODES_ERROR
    equals = [each for each in found if each[0] >= least]
    return min(equals, key=lambda each: (each[1].area.size_m2(), -each[0]))[1]
