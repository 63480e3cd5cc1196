"""The probe budget: answers must not be a way to measure where a secret site is.

Whoever may check in could try one made-up position after the other. So of the answers that tell
something of a place, short of being there, each person gets a number at once and then another one
every so often: for each site that they claim, and for all searches together. Whoever has none left
is refused before anything is judged, wherever they are: what is refused tells nothing.

Not counted are an answer that the person is inside (whoever gets it stands there, or knows where to
stand) and those that would be the same in any place. Nor is a replay: it tells what was told. A
purpose that has no sites has no budget.

By person, not by device: each device is enrolled with a code that the tenant gives, but none is to
bring a budget of its own. In memory: each process counts for itself, and anew when it starts.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from doorstep_geofences import Reason
from doorstep_server.check_ins.journal import Result
from doorstep_server.privacy.minimize import Judged
from doorstep_server.store.check_ins import Settled
from doorstep_server.throttle import Allowance

RATE_LIMITED = "rate-limited"

#: Who stands at an edge, or indoors, tries a few times in the morning and again in the evening.
#: Whoever measures finds a site that they know within 1 km with some twenty answers, so in a day
#: of these; any number that would prevent it keeps honest people out. server/docs/privacy.md says
#: what it does prevent.
AT_ONCE_AT_A_SITE = 10
EACH_S_AT_A_SITE = 2 * 3600.0
#: Searches are of all the places that somebody goes to in a day.
AT_ONCE_SEARCHING = 20
EACH_S_SEARCHING = 3600.0

#: The reasons that come before any place is looked at when a site is claimed …
_PLACELESS = frozenset({
    Reason.MOCKED, Reason.NULL_ISLAND, Reason.ACCURACY_UNKNOWN, Reason.ACCURACY_TOO_LOW,
    Reason.CLOCK_SKEW, Reason.STALE_FIX, Reason.OUTSIDE_HOURS,
})  # fmt: skip
#: … and when none is: which caps and which hours count depends on what is near.
_PLACELESS_SEARCHING = _PLACELESS - {Reason.ACCURACY_TOO_LOW, Reason.OUTSIDE_HOURS}
#: Only who is inside is told so.
_INSIDE = frozenset({Reason.INSIDE, Reason.IMPLAUSIBLE_TRAVEL})

#: Judges the claims with these places in the request.
Judge = Callable[[Sequence[int]], Sequence[Judged | str]]


class Claimant(NamedTuple):
    """A person, and the site that they claim; none when they search."""

    #: what is counted by; only a keyed hash of it is remembered
    key: bytes
    searches: bool

    @classmethod
    def of(cls, tenant_id: UUID, subject_id: UUID, site_id: UUID | None) -> "Claimant":
        """By whose budget a claim is judged."""
        person = tenant_id.bytes + subject_id.bytes
        return cls(person, True) if site_id is None else cls(person + site_id.bytes, False)


#: Whose each claim of a request is; None for one that no site is asked about.
Claimants = Sequence[Claimant | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeBudget:
    """What is left to each person: at each site that they claim, and for searches."""

    claims: Allowance
    searches: Allowance
    is_on: bool = True

    @classmethod
    def usual(cls, monotonic: Callable[[], float], *, is_on: bool = True) -> "ProbeBudget":
        """With its usual numbers."""
        return cls(
            claims=Allowance(monotonic, at_once=AT_ONCE_AT_A_SITE, each_s=EACH_S_AT_A_SITE),
            searches=Allowance(monotonic, at_once=AT_ONCE_SEARCHING, each_s=EACH_S_SEARCHING),
            is_on=is_on,
        )

    def wait_s(self, claimant: Claimant) -> int:
        """Seconds until a claim will be judged again; 0 when it is now."""
        return self._allowance(claimant).wait_s(claimant.key)

    def judge(self, claimants: Claimants, judge: Judge) -> list[Judged | str]:
        """Judge claims while there is something left for them; the others are refused unjudged.

        In their order, and in turns: in each, as many as may be answered if all answers count.
        """
        if not self.is_on:
            return list(judge(range(len(claimants))))
        outcomes: list[Judged | str] = [RATE_LIMITED] * len(claimants)
        waiting = _by_claimant(claimants)
        while turn := [i for claimant, places in waiting for i in self._next(claimant, places)]:
            for i, one in zip(turn, judge(turn), strict=True):
                # in another thread the same person may have been faster
                if not _counts(one) or self._take(claimants[i]):
                    outcomes[i] = one
        return outcomes

    def settle(
        self, claimants: Claimants, judged: Sequence[Judged | str], results: Sequence[Result]
    ) -> None:
        """Give back what was taken for answers that were not given, or not for the first time."""
        for claimant, one, result in zip(claimants, judged, results, strict=True):
            is_new = isinstance(result, Settled) and not result.replayed
            if _counts(one) and not is_new:
                self._give_back(claimant)

    def _next(self, claimant: Claimant | None, waiting: deque[int]) -> list[int]:
        """The next ones of those that wait, as many as there is something left for."""
        if not waiting:
            return []
        if claimant is None:
            left = len(waiting)
        else:
            left = min(len(waiting), self._allowance(claimant).left(claimant.key))
        return [waiting.popleft() for _ in range(left)]

    def _take(self, claimant: Claimant | None) -> bool:
        return claimant is None or self._allowance(claimant).take(claimant.key)

    def _give_back(self, claimant: Claimant | None) -> None:
        if claimant is not None:
            self._allowance(claimant).give_back(claimant.key)

    def _allowance(self, claimant: Claimant) -> Allowance:
        return self.searches if claimant.searches else self.claims


def tells_of_a_place(claimed_site_id: UUID | None, reason: Reason) -> bool:
    """Whether an answer tells something of where a site is, short of being there."""
    placeless = _PLACELESS_SEARCHING if claimed_site_id is None else _PLACELESS
    return reason not in placeless and reason not in _INSIDE


def _counts(one: Judged | str) -> bool:
    """The code of a refusal tells nothing of a place."""
    return isinstance(one, Judged) and tells_of_a_place(one.claimed_site_id, one.verdict.reason)


def _by_claimant(claimants: Claimants) -> list[tuple[Claimant | None, deque[int]]]:
    """The places in the request of each one's claims."""
    found: dict[Claimant | None, deque[int]] = {}
    for i, claimant in enumerate(claimants):
        found.setdefault(claimant, deque()).append(i)
    return list(found.items())
