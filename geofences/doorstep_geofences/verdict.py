"""Judging: was this fix at this site, or at any?

The rule behind every order of checks here: all else equal, a worse accuracy may turn an
accepted or a rejected fix into an uncertain one, and changes nothing else.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from itertools import chain, compress, islice
from typing import NamedTuple, Self

import numpy as np

from .assurance import FEW, Asked, shares_of, standing, standings
from .clock import Freshness
from .discs import NOT_BEYOND, glances
from .fix import Fix
from .gaussian import NODES_ERROR, PLAUSIBLE_ACCURACIES
from .index import NearSites, SiteIndex
from .places import Places
from .site import Site

#: So many sites whose cap is exceeded are asked whether they would admit the person.
MOST_ASKED = 1_000


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


#: The usual ones by name: what an enumeration is asked for costs more than a variable.
_INSIDE, _OUTSIDE, _NEAR_BOUNDARY = Reason.INSIDE, Reason.OUTSIDE, Reason.NEAR_BOUNDARY


class Verdict(NamedTuple):
    """The answer to a question. It has no slot for a distance or a probability."""

    reason: Reason
    #: The claimed site, or the one found to accept.
    site: Site | None

    @property
    def outcome(self) -> Outcome:
        """What the reason goes with."""
        return self.reason.outcome


Said = tuple[Reason, Site | None]
#: A verdict of what is said: it takes half the time that naming the fields does.
_verdict: Callable[[Said], Verdict] = partial(tuple.__new__, Verdict)


def judge(questions: Sequence[Question], index: SiteIndex) -> list[Verdict]:
    """Answer each question; KeyError if a claimed site is not in the index."""
    sites = [None if q.site_id is None else index[q.site_id] for q in questions]
    asked = zip(questions, sites, strict=True)
    widest_m = index.widest_cap_m
    reasons = [
        _reason_without_place(question, site, widest_m if site is None else site.max_accuracy_m)
        for question, site in asked
    ]
    claimed: list[int] = []
    claims: list[tuple[Fix, Site]] = []
    searched: list[int] = []
    for number, site in enumerate(sites):
        if reasons[number] is None and site is None:
            searched.append(number)
        elif reasons[number] is None and site is not None:
            claimed.append(number)
            claims.append((questions[number].fix, site))
    for number, reason in zip(claimed, reasons_at(claims), strict=True):
        reasons[number] = reason
    if searched:
        found = _searched([questions[number] for number in searched], index)
        for number, (reason, site) in zip(searched, found, strict=True):
            reasons[number], sites[number] = reason, site
    return list(map(_verdict, zip(reasons, sites, strict=True)))  # type: ignore[arg-type]


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
    """What each fix, within the site's cap, says of being there.

    A glance at the discs of the site is enough for most; where it is not, the edge decides.
    """
    if len(fixes) < FEW:
        return [_reason_at(s, fix.lon, fix.lat, _known_accuracy_m(fix)) for fix, s in fixes]
    return _reasons_at([site for _, site in fixes], Places.of([fix for fix, _ in fixes]))


def _reasons_at(sites: Sequence[Site], places: Places) -> list[Reason]:
    """The same of each place and a site of its own."""
    if len(sites) < FEW:
        return list(map(_reason_at, sites, *places.numbers()))
    seen = glances([site.discs for site in sites], places)
    unclear = np.flatnonzero(seen >= NOT_BEYOND)
    if len(unclear):
        some = [sites[i] for i in unclear.tolist()]
        areas, assurances = [site.area for site in some], [site.assurance for site in some]
        seen[unclear] = standings(areas, assurances, places.at(unclear), seen[unclear])
    return [_REASONS[each] for each in seen.tolist()]


#: What a fix that is assured, beyond or near says.
_REASONS = (_INSIDE, _OUTSIDE, _NEAR_BOUNDARY)


def _reason_at(site: Site, lon: float, lat: float, accuracy_m: float) -> Reason:
    seen = site.discs.glance(lon, lat, accuracy_m)
    if seen >= NOT_BEYOND:
        seen = standing(Asked(site.area, site.assurance, lon, lat, accuracy_m), seen)
    return _REASONS[seen]


def _known_accuracy_m(fix: Fix) -> float:
    assert fix.accuracy_m is not None
    return fix.accuracy_m


def _searched(questions: Sequence[Question], index: SiteIndex) -> list[Said]:
    """For each question the site that accepts, or why none does.

    A site whose cap is exceeded can at best make the answer uncertain: its box being within
    reach is enough for that, so its area is not asked and the first such site settles it. One
    that is too far to be meant is left out even then: the tenant's other sites, however far and
    strict, change nothing.
    """
    places = Places.of([question.fix for question in questions])
    near = index.near_places(places, PLAUSIBLE_ACCURACIES * places.accuracy_m)
    numbers, sites = near.numbers, near.evident
    if any(question.admits is not None for question in questions):
        pairs = zip(numbers, sites, strict=True)
        admitted = [_admits(questions[number], site) for number, site in pairs]
        numbers, sites = list(compress(numbers, admitted)), list(compress(sites, admitted))
    reasons = _reasons_at(sites, places.at(np.array(numbers, dtype=np.intp)))
    heard = _Heard()
    for number, site, reason in zip(numbers, sites, reasons, strict=True):
        if reason is not _OUTSIDE:
            is_open = site.hours is None or _is_open(questions[number], site)
            heard.take_in(number, site, reason if is_open else None)
    return heard.answers(questions, near)


class _Heard:
    """What sites said that fixes might be at, each by the number of its question."""

    __slots__ = ("accepting", "closed", "near_boundary")

    def __init__(self) -> None:
        self.accepting: dict[int, list[Site]] = {}
        self.near_boundary: set[int] = set()
        self.closed: set[int] = set()

    def take_in(self, number: int, site: Site, reason: Reason | None) -> None:
        """One site's reason, or none where it is closed."""
        if reason is _INSIDE:
            if number in self.accepting:
                self.accepting[number].append(site)
            else:
                self.accepting[number] = [site]
        elif reason is None:
            self.closed.add(number)
        else:
            self.near_boundary.add(number)

    def answers(self, questions: Sequence[Question], near: NearSites) -> list[Said]:
        """Acceptance first, then doubt, then the reasons to reject: what comes last is said."""
        said: list[Said] = [(Reason.NO_SITE_NEAR, None)] * len(questions)
        for number in self.closed:
            said[number] = (Reason.OUTSIDE_HOURS, None)
        for number, sites in near.above_cap.items():
            is_said = number in self.accepting or number in self.near_boundary
            if not is_said and _is_above_a_cap(questions[number], sites):
                said[number] = (Reason.ACCURACY_TOO_LOW, None)
        for number in self.near_boundary:
            said[number] = (_NEAR_BOUNDARY, None)
        for number, accepting in self.accepting.items():
            alone = accepting[0] if len(accepting) == 1 else None
            said[number] = (_INSIDE, alone or _likeliest(questions[number].fix, accepting))
        return said


def _is_above_a_cap(question: Question, sites: Iterable[Iterable[Site]]) -> bool:
    """Where so many are within reach that asking takes too long, one of them is meant."""
    above = chain.from_iterable(sites)
    some = islice(above, MOST_ASKED)
    return any(_admits(question, site) for site in some) or next(above, None) is not None


def _admits(question: Question, site: Site) -> bool:
    return question.admits is None or question.admits(site)


def _likeliest(fix: Fix, sites: Sequence[Site]) -> Site:
    """The most probable site; of equals (a shop in a mall) the smallest.

    Equal are those that differ by no more than what a probability is known to. Of equals of one
    size it is the likelier one, then the first.
    """
    place = fix.lon, fix.lat, _known_accuracy_m(fix)
    shares = shares_of([Asked(site.area, site.assurance, *place) for site in sites])
    least = max(shares) - NODES_ERROR
    equals = [each for each in zip(shares, sites, strict=True) if each[0] >= least]
    return min(equals, key=lambda each: (each[1].area.size_m2(), -each[0]))[1]
