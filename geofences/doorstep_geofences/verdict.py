"""Judging: was this fix at this site, or at any?

The rule behind every order of checks here: all else equal, a worse accuracy may turn an
accepted or a rejected fix into an uncertain one, and changes nothing else.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np

from .area import Area, probability_inside
from .clock import Freshness
from .fix import Fix
from .gaussian import LADDER_M, PLAUSIBLE_ACCURACIES, accuracies_to_clear
from .site import Site, SiteIndex

#: No two places on Earth are so far apart; keeps absurd accuracies finite.
_EVERYWHERE_M = 1e9


class Outcome(StrEnum):
    """The answer."""

    ACCEPTED = "accepted"
    UNCERTAIN = "uncertain"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why: a stable code, the outcome it goes with, and its meaning."""

    outcome: Outcome
    meaning: str

    def __new__(cls, code: str, outcome: Outcome, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.outcome = outcome
        member.meaning = meaning
        return member

    INSIDE = ("inside", Outcome.ACCEPTED, "The fix is inside the site, probably enough.")
    OUTSIDE = (
        "outside",
        Outcome.REJECTED,
        "The fix is farther from the site than its accuracy can explain.",
    )
    NO_SITE_NEAR = (
        "no_site_near",
        Outcome.REJECTED,
        "No site is so near that the accuracy of the fix could explain the distance.",
    )
    MOCKED = ("mocked", Outcome.REJECTED, "The platform says that an app made the position up.")
    NULL_ISLAND = (
        "null_island",
        Outcome.REJECTED,
        "The fix is latitude 0, longitude 0: what broken software reports for no position.",
    )
    NEAR_BOUNDARY = (
        "near_boundary",
        Outcome.UNCERTAIN,
        "The fix is so near to the site's edge that its accuracy cannot tell the sides apart.",
    )
    ACCURACY_TOO_LOW = (
        "accuracy_too_low",
        Outcome.UNCERTAIN,
        "The accuracy of the fix is worse than the site allows.",
    )
    ACCURACY_UNKNOWN = (
        "accuracy_unknown",
        Outcome.UNCERTAIN,
        "The device did not say how accurate the fix is.",
    )
    STALE_FIX = ("stale_fix", Outcome.UNCERTAIN, "The fix was too old when it arrived.")
    CLOCK_SKEW = (
        "clock_skew",
        Outcome.UNCERTAIN,
        "The fix claims to be from the future: the device's clock is wrong.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Was this fix at the claimed site; or, when none is claimed, at any that admits it?"""

    fix: Fix
    site_id: Hashable | None = None
    freshness: Freshness = Freshness.FRESH
    #: Which sites may answer when none is claimed; all when None.
    admits: Callable[[Site], bool] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer to a question. It has no slot for a distance or a probability."""

    outcome: Outcome
    reason: Reason
    #: The claimed site, or the one found to accept.
    site: Site | None


def judge(questions: Sequence[Question], index: SiteIndex) -> list[Verdict]:
    """Answer each question; KeyError if a claimed site is not in the index."""
    return [_without_search(q, index) or _searched(q, index) for q in questions]


def _without_search(question: Question, index: SiteIndex) -> Verdict | None:
    """The answer, unless sites must be searched for it."""
    site = None if question.site_id is None else index[question.site_id]
    reason = _reason_without_place(question, site)
    if reason is None and site is not None:
        reason = _reason_at(question.fix, site)
    return None if reason is None else _verdict(reason, site)


def _reason_without_place(question: Question, site: Site | None) -> Reason | None:
    """Why the question is settled before any site is looked at, if it is.

    The accuracy comes before the clocks: above the cap nothing of place may be kept, whatever
    else is wrong. A fix above the claimed site's cap is no evidence at all, not even of being
    elsewhere.
    """
    fix = question.fix
    if fix.mocked:
        return Reason.MOCKED
    if fix.lat == 0.0 and fix.lon == 0.0:
        return Reason.NULL_ISLAND
    if fix.accuracy_m is None:
        return Reason.ACCURACY_UNKNOWN
    if site is not None and fix.accuracy_m > site.max_accuracy_m:
        return Reason.ACCURACY_TOO_LOW
    if question.freshness is Freshness.SKEWED:
        return Reason.CLOCK_SKEW
    return Reason.STALE_FIX if question.freshness is Freshness.STALE else None


def _reason_at(fix: Fix, site: Site) -> Reason:
    """What a fix within the site's cap says of being there."""
    area = site.area
    covered = area.covers(fix.lon, fix.lat)
    if not covered and not area.edge_within(fix.lon, fix.lat, _reach_m(fix)):
        return Reason.OUTSIDE
    if covered and _is_assured(fix, area, site.assurance):
        return Reason.INSIDE
    return Reason.NEAR_BOUNDARY


def _is_assured(fix: Fix, area: Area, assurance: float) -> bool:
    """Whether a covered fix is probable enough at every rung up to its accuracy.

    A rung is passed at once when the fix is far enough from the edge for any shape; what
    passes the worst rung so passes them all. The others take the quadrature. Each rung's
    answer depends on nothing but the fix and the rung.
    """
    rungs = LADDER_M[: _rung(fix) + 1]
    to_clear = accuracies_to_clear(assurance)
    if not area.edge_within(fix.lon, fix.lat, to_clear * rungs[-1]):
        return True
    edge_m = area.distance_m(fix.lon, fix.lat)
    doubtful = np.array([rung for rung in rungs if to_clear * rung > edge_m])
    # The worst rung first: it is the one most often failed, and the others are many.
    return all(
        (probability_inside(area, fix.lon, fix.lat, some) >= assurance).all()
        for some in (doubtful[-1:], doubtful[:-1])
    )


def _rung(fix: Fix) -> int:
    """The first rung that is not better than the accuracy."""
    return bisect_left(LADDER_M, _known_accuracy_m(fix))


def _known_accuracy_m(fix: Fix) -> float:
    assert fix.accuracy_m is not None
    return fix.accuracy_m


def _reach_m(fix: Fix) -> float:
    """How far from the fix the device may plausibly be."""
    return min(PLAUSIBLE_ACCURACIES * _known_accuracy_m(fix), _EVERYWHERE_M)


def _searched(question: Question, index: SiteIndex) -> Verdict:
    """The site that accepts, or why none does.

    A site whose cap is exceeded can at best make the answer uncertain: its box being within
    reach is enough for that, so its area is not asked and the first such site settles it. One
    that is too far to be meant is left out even then: the tenant's other sites, however far
    and strict, change nothing.
    """
    fix = question.fix
    near = index.near(fix, _reach_m(fix))
    admitted = filter(question.admits or (lambda _: True), near.within_cap)
    reasons = {site: _reason_at(fix, site) for site in admitted}
    accepting = [site for site, reason in reasons.items() if reason is Reason.INSIDE]
    if accepting:
        return _verdict(Reason.INSIDE, _likeliest(fix, accepting))
    if Reason.NEAR_BOUNDARY in reasons.values():
        return _verdict(Reason.NEAR_BOUNDARY, None)
    if any(question.admits is None or question.admits(site) for site in near.above_cap):
        return _verdict(Reason.ACCURACY_TOO_LOW, None)
    return _verdict(Reason.NO_SITE_NEAR, None)


def _likeliest(fix: Fix, sites: Sequence[Site]) -> Site:
    """The most probable site; of equals (a shop in a mall) the smallest; then the first."""
    if len(sites) == 1:
        return sites[0]
    rung = np.array([LADDER_M[_rung(fix)]])

    def preference(site: Site) -> tuple[float, float]:
        probability = probability_inside(site.area, fix.lon, fix.lat, rung)
        return -float(probability[0]), site.area.size_m2()

    return min(sites, key=preference)


def _verdict(reason: Reason, site: Site | None) -> Verdict:
    return Verdict(outcome=reason.outcome, reason=reason, site=site)
