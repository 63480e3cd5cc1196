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
    claimed: list[int] = []
    claims: list[tuple[Fix, Site]] = []
    searched: list[int] = []
    for number, question in enumerate(questions):
        site = None if question.site_id is None else index[question.site_id]
        cap_m = index.widest_cap_m if site is None else site.max_accuracy_m
        reason = _reason_without_place(question, site, cap_m)
        verdicts.append(None if reason is None else Verdict(reason, site))
        if reason is None and site is None:
            searched.append(number)
        elif reason is None and site is not None:
            claimed.append(number)
            claims.append((question.fix, site))
    for number, reason, (_, site) in zip(claimed, reasons_at(claims), claims, strict=True):
        verdicts[number] = Verdict(reason, site)
    if searched:
        found = _searched([questions[number] for number in searched], index)
        for number, verdict in zip(searched, found, strict=True):
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

    Inside, if the inner disc alone assures it; outside, if the outer disc is beyond reach. Where
    the site is so small that no fix of that accuracy is assured, one that is in reach of the inner
    disc is near the boundary, on either side.
    """
    assert fix.accuracy_m is not None
    discs = site.area.discs
    away_m = discs.away_m(fix.lon, fix.lat)
    rung_m = worst_rung_m(fix.accuracy_m)
    if discs.assure(away_m, rung_m):
        return Reason.INSIDE
    reach_m = PLAUSIBLE_ACCURACIES * fix.accuracy_m
    if away_m > discs.outer_m + reach_m:
        return Reason.OUTSIDE
    is_near = away_m <= discs.inner_m + reach_m
    if is_near and accuracies_to_clear(site.assurance) * rung_m > discs.size_m:
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


def _searched(questions: Sequence[Question], index: SiteIndex) -> list[Verdict]:
    """For each question the site that accepts, or why none does.

    A site whose cap is exceeded can at best make the answer uncertain: its box being within
    reach is enough for that, so its area is not asked and the first such site settles it. One
    that is too far to be meant is left out even then: the tenant's other sites, however far and
    strict, change nothing.
    """
    fixes = [question.fix for question in questions]
    near = index.near(fixes, [PLAUSIBLE_ACCURACIES * _known_accuracy_m(fix) for fix in fixes])
    pairs = [(n, site) for n, site in near.evident if _admits(questions[n], site)]
    heard = _Heard()
    reasons = reasons_at([(fixes[n], site) for n, site in pairs])
    for (n, site), reason in zip(pairs, reasons, strict=True):
        if reason is not Reason.OUTSIDE:
            heard.take_in(n, site, reason if _is_open(questions[n], site) else None)
    return [_answer(n, question, heard, near) for n, question in enumerate(questions)]


class _Heard:
    """What sites said that fixes might be at, each by the number of its question."""

    __slots__ = ("accepting", "closed", "near_boundary")

    def __init__(self) -> None:
        self.accepting: dict[int, list[Site]] = {}
        self.near_boundary: set[int] = set()
        self.closed: set[int] = set()

    def take_in(self, number: int, site: Site, reason: Reason | None) -> None:
        """One site's reason, or none where it is closed."""
        if reason is Reason.INSIDE:
            self.accepting.setdefault(number, []).append(site)
        elif reason is None:
            self.closed.add(number)
        else:
            self.near_boundary.add(number)


def _answer(number: int, question: Question, heard: _Heard, near: NearSites) -> Verdict:
    """Acceptance first, then doubt, then the reasons to reject."""
    accepting = heard.accepting.get(number)
    if accepting is not None:
        return Verdict(Reason.INSIDE, _likeliest(question.fix, accepting))
    if number in heard.near_boundary:
        return Verdict(Reason.NEAR_BOUNDARY, None)
    if number in near.above_cap and _is_above_a_cap(question, near.above_cap[number]):
        return Verdict(Reason.ACCURACY_TOO_LOW, None)
    return Verdict(Reason.OUTSIDE_HOURS if number in heard.closed else Reason.NO_SITE_NEAR, None)


def _is_above_a_cap(question: Question, sites: Iterable[Iterable[Site]]) -> bool:
    """Where so many are within reach that asking takes too long, one of them is meant."""
    above = chain.from_iterable(sites)
    some = islice(above, MOST_ASKED)
    return any(_admits(question, site) for site in some) or next(above, None) is not None


def _admits(question: Question, site: Site) -> bool:
    return question.admits is None or question.admits(site)


def _likeliest(fix: Fix, sites: Sequence[Site]) -> Site:
    """The most probable site; of equals (a shop in a mall) the smallest; then the first."""
    if len(sites) == 1:
        return sites[0]
    found = probabilities_of([_covered(fix, site) for site in sites])
    by_preference = zip(found, sites, strict=True)
    return min(by_preference, key=lambda each: (-each[0].share, each[1].area.size_m2()))[1]
