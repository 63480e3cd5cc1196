"""Judging: was this fix at this site, or at any?

The rule behind every order of checks here: all else equal, a worse accuracy may turn an
accepted or a rejected fix into an uncertain one, and changes nothing else.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain, compress, islice, starmap
from typing import NamedTuple, Self

import numpy as np

from .area import covered
from .assurance import Covered, assured, probabilities_of, worst_rung_m
from .clock import Freshness
from .fix import Fix
from .gaussian import PLAUSIBLE_ACCURACIES, accuracies_to_clear
from .index import NearSites, SiteIndex
from .site import Site

#: No two places on Earth are so far apart; keeps absurd accuracies finite.
_EVERYWHERE_M = 1e9
#: So many sites whose cap is exceeded are asked whether they would admit the person.
MOST_ASKED = 1_000
#: So few fixes are judged one by one: arrays cost more than they save.
_FEW = 4


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
    IN_CELL = (
        "in_cell",
        Outcome.ACCEPTED,
        "The purpose has no sites, and the fix is good enough to name the cell that it is in.",
    )
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
    OUTSIDE_HOURS = (
        "outside_hours",
        Outcome.REJECTED,
        "The fix was taken when the site is closed, by the site's opening hours and time zone.",
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
    IMPLAUSIBLE_TRAVEL = (
        "implausible_travel",
        Outcome.UNCERTAIN,
        "The person's last check-in was too far away, too short a time ago.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Was this fix at the claimed site; or, when none is claimed, at any that admits it?"""

    fix: Fix
    site_id: Hashable | None = None
    freshness: Freshness = Freshness.FRESH
    #: When the fix was taken, aware: opening hours are not asked when it is None.
    at: datetime | None = None
    #: Which sites may answer when none is claimed; all when None.
    admits: Callable[[Site], bool] | None = None


class Verdict(NamedTuple):
    """The answer to a question. It has no slot for a distance or a probability."""

    reason: Reason
    #: The claimed site, or the one found to accept.
    site: Site | None

    @property
    def outcome(self) -> Outcome:
        """What the reason goes with."""
        return self.reason.outcome


def judge(questions: Sequence[Question], index: SiteIndex) -> list[Verdict]:
    """Answer each question; KeyError if a claimed site is not in the index."""
    verdicts: list[Verdict | None] = []
    claims: list[tuple[int, Site]] = []
    searches: list[int] = []
    site_of = index.__getitem__
    for number, question in enumerate(questions):
        site = None if question.site_id is None else site_of(question.site_id)
        cap_m = index.widest_cap_m if site is None else site.max_accuracy_m
        reason = _reason_without_place(question, site, cap_m)
        verdicts.append(None if reason is None else Verdict(reason, site))
        if reason is None and site is None:
            searches.append(number)
        elif reason is None and site is not None:
            claims.append((number, site))
    if claims:
        reasons = reasons_at([(questions[number].fix, site) for number, site in claims])
        for (number, site), reason in zip(claims, reasons, strict=True):
            verdicts[number] = Verdict(reason, site)
    if searches:
        found = _searched([questions[number] for number in searches], index)
        for number, verdict in zip(searches, found, strict=True):
            verdicts[number] = verdict
    return verdicts  # type: ignore[return-value]


def judge_cell(question: Question, max_accuracy_m: float) -> Verdict:
    """Whether a fix is good enough to say in which cell it is, for a purpose without sites."""
    reason = _reason_without_place(question, None, max_accuracy_m)
    return Verdict(reason or Reason.IN_CELL, None)


def _reason_without_place(question: Question, site: Site | None, cap_m: float) -> Reason | None:
    """Why the question is settled before any place is looked at, if it is.

    The accuracy comes before the clocks: above the cap nothing of place may be kept, whatever
    else is wrong. A fix above the claimed site's cap, or above every site's, is no evidence at
    all, not even of being elsewhere: so whoever makes accuracies up does not learn by one answer
    whether a site is within some kilometres. The clocks come before the hours, which go by them.
    """
    fix = question.fix
    if fix.mocked:
        return Reason.MOCKED
    if fix.lat == 0.0 and fix.lon == 0.0:
        return Reason.NULL_ISLAND
    if fix.accuracy_m is None:
        return Reason.ACCURACY_UNKNOWN
    if fix.accuracy_m > cap_m:
        return Reason.ACCURACY_TOO_LOW
    if question.freshness is Freshness.FRESH and (site is None or site.hours is None):
        return None
    return _reason_of_time(question, site)


def _reason_of_time(question: Question, site: Site | None) -> Reason | None:
    if question.freshness is Freshness.SKEWED:
        return Reason.CLOCK_SKEW
    if question.freshness is Freshness.STALE:
        return Reason.STALE_FIX
    return None if site is None or _is_open(question, site) else Reason.OUTSIDE_HOURS


def _is_open(question: Question, site: Site) -> bool:
    return site.hours is None or question.at is None or site.is_open(question.at)


def reasons_at(fixes: Sequence[tuple[Fix, Site]]) -> list[Reason]:
    """What each fix, within the site's cap, says of being there."""
    reasons = list(starmap(_reason_at_a_glance, fixes))
    unclear = [i for i, reason in enumerate(reasons) if reason is None]
    if unclear:
        answers = _reasons_by_the_edge([fixes[i] for i in unclear])
        for i, reason in zip(unclear, answers, strict=True):
            reasons[i] = reason
    return reasons  # type: ignore[return-value]


def _reason_at_a_glance(fix: Fix, site: Site) -> Reason | None:
    """What one distance says, to the centre of the site's discs, if that is enough.

    Inside, if no edge is so near that the device might be beyond it; outside, if it is beyond reach.
    And where the site is so small that no fix of that accuracy is assured, whatever is within reach
    is near its boundary, on either side.
    """
    accuracy_m = _known_accuracy_m(fix)
    discs = site.area.discs
    away_m = discs.away_m(fix.lon, fix.lat)
    # what clears the worst rung so clears them all
    clear_m = accuracies_to_clear(site.assurance) * worst_rung_m(accuracy_m)
    if away_m + clear_m <= discs.inner_m:
        return Reason.INSIDE
    reach_m = PLAUSIBLE_ACCURACIES * accuracy_m
    if away_m > discs.outer_m + reach_m:
        return Reason.OUTSIDE
    if clear_m > discs.size_m and away_m <= discs.inner_m + reach_m:
        return Reason.NEAR_BOUNDARY
    return None


def _reasons_by_the_edge(fixes: Sequence[tuple[Fix, Site]]) -> list[Reason]:
    """Covered: inside if assured, else too near. Not covered: outside if it is beyond reach."""
    is_covered = _are_covered(fixes)
    answers = iter(assured([_covered(*each) for each in compress(fixes, is_covered)]))
    return [
        _OF_COVERED[next(answers)] if covers else _reason_outside(*each)
        for each, covers in zip(fixes, is_covered, strict=True)
    ]


_OF_COVERED = {True: Reason.INSIDE, False: Reason.NEAR_BOUNDARY}


def _reason_outside(fix: Fix, site: Site) -> Reason:
    reach_m = PLAUSIBLE_ACCURACIES * _known_accuracy_m(fix)
    is_near = site.area.reaches(fix.lon, fix.lat, reach_m)
    return Reason.NEAR_BOUNDARY if is_near else Reason.OUTSIDE


def _are_covered(fixes: Sequence[tuple[Fix, Site]]) -> list[bool]:
    if len(fixes) < _FEW:
        return [site.area.covers(fix.lon, fix.lat) for fix, site in fixes]
    lon, lat = np.array([(fix.lon, fix.lat) for fix, _ in fixes]).T
    return covered([site.area for _, site in fixes], lon, lat)


def _covered(fix: Fix, site: Site) -> Covered:
    worst_m = worst_rung_m(_known_accuracy_m(fix))
    return Covered(site.area, fix.lon, fix.lat, worst_m, site.assurance)


def _known_accuracy_m(fix: Fix) -> float:
    assert fix.accuracy_m is not None
    return fix.accuracy_m


def _reach_m(fix: Fix) -> float:
    """How far from the fix the device may plausibly be."""
    return min(PLAUSIBLE_ACCURACIES * _known_accuracy_m(fix), _EVERYWHERE_M)


def _searched(questions: Sequence[Question], index: SiteIndex) -> list[Verdict]:
    """For each question the site that accepts, or why none does."""
    near = index.near([q.fix for q in questions], [_reach_m(q.fix) for q in questions])
    searches = list(map(_Search, questions, near))
    candidates = [(search, site) for search in searches for site in search.candidates()]
    reasons = reasons_at([(search.question.fix, site) for search, site in candidates])
    for (search, site), reason in zip(candidates, reasons, strict=True):
        search.hear(site, reason)
    return [search.verdict() for search in searches]


class _Search:
    """What the sites near one fix say.

    A site whose cap is exceeded can at best make the answer uncertain: its box being within
    reach is enough for that, so its area is not asked and the first such site settles it. One
    that is too far to be meant is left out even then: the tenant's other sites, however far and
    strict, change nothing.
    """

    __slots__ = ("_accepting", "_closed", "_near", "_near_boundary", "question")

    def __init__(self, question: Question, near: NearSites) -> None:
        self.question = question
        self._near = near
        self._accepting: list[Site] = []
        self._near_boundary = self._closed = False

    def candidates(self) -> Iterable[Site]:
        """The sites that may answer, and to which the fix is evidence."""
        evident = self._near.evident
        return evident if self.question.admits is None else filter(self.question.admits, evident)

    def _admits(self, site: Site) -> bool:
        return self.question.admits is None or self.question.admits(site)

    def hear(self, site: Site, reason: Reason) -> None:
        """Take in what one site says of the fix."""
        if reason is Reason.OUTSIDE:
            return
        if not _is_open(self.question, site):
            self._closed = True
        elif reason is Reason.INSIDE:
            self._accepting.append(site)
        else:
            self._near_boundary = True

    def verdict(self) -> Verdict:
        """Acceptance first, then doubt, then the reasons to reject."""
        if self._accepting:
            return Verdict(Reason.INSIDE, _likeliest(self.question.fix, self._accepting))
        if self._near_boundary:
            return Verdict(Reason.NEAR_BOUNDARY, None)
        if self._is_above_a_cap():
            return Verdict(Reason.ACCURACY_TOO_LOW, None)
        return Verdict(Reason.OUTSIDE_HOURS if self._closed else Reason.NO_SITE_NEAR, None)

    def _is_above_a_cap(self) -> bool:
        """Where so many are within reach that asking takes too long, one of them is meant."""
        above = chain.from_iterable(self._near.above_cap)
        return any(map(self._admits, islice(above, MOST_ASKED))) or next(above, None) is not None


def _likeliest(fix: Fix, sites: Sequence[Site]) -> Site:
    """The most probable site; of equals (a shop in a mall) the smallest; then the first."""
    if len(sites) == 1:
        return sites[0]
    found = probabilities_of([_covered(fix, site) for site in sites])
    by_preference = zip(found, sites, strict=True)
    return min(by_preference, key=lambda each: (-each[0].share, each[1].area.size_m2()))[1]
