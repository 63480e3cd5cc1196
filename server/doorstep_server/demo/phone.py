"""A simulated person with a phone: where they walk, what they claim, what goes wrong.

Pure: it says what to do next as an episode of steps, and somebody else does it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from doorstep_server.demo import receiver
from doorstep_server.demo.city import Place
from doorstep_server.demo.walking import Spot, walk

Action = Literal["in", "out"]
State = Literal["precise", "denied", "restricted", "services_off"]
WITHDRAWALS: tuple[State, ...] = ("denied", "restricted", "services_off")

#: People go on to one of the sites nearby.
_NEIGHBOURS = 5


class Kind(StrEnum):
    """What an episode is about."""

    CLAIMED = "claims the site they are at"
    SEARCHED = "names no site"
    ELSEWHERE = "claims a site they are not at"
    MOCKED = "uses an app that makes positions up"
    LOST_ANSWER = "repeats a check-in whose answer got lost"
    OFFLINE = "was offline and sends a batch"
    WITHDRAWN = "withdraws the permission"
    STILL_WITHDRAWN = "tries without permission"
    GRANTED = "grants the permission again"


_WHILE_GRANTED = {
    Kind.CLAIMED: 44,
    Kind.SEARCHED: 16,
    Kind.ELSEWHERE: 10,
    Kind.MOCKED: 6,
    Kind.LOST_ANSWER: 9,
    Kind.OFFLINE: 7,
    Kind.WITHDRAWN: 8,
}
_WHILE_WITHDRAWN = {Kind.STILL_WITHDRAWN: 1, Kind.GRANTED: 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One check-in: what is claimed, what the phone measured, and the truth it does not tell."""

    claimed: Place | None
    action: Action | None
    fix: Spot
    accuracy_m: float
    source: str
    mocked: bool
    #: how long ago the position was taken
    age_s: float
    #: how far the person really is from what they claim, or from any site
    off_m: float


@dataclass(frozen=True, slots=True)
class Report:
    """Report the location permission."""

    state: State


@dataclass(frozen=True, slots=True)
class Keep:
    """Take a position now and keep the check-in for later."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Send:
    """Check in."""

    attempt: Attempt
    #: the answer never arrives, and the phone asks again
    answer_lost: bool = False


@dataclass(frozen=True, slots=True)
class SendKept:
    """Send everything that was kept."""


Step = Report | Keep | Send | SendKept


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """A few steps that belong together."""

    kind: Kind
    steps: tuple[Step, ...]

    def check_ins(self) -> int:
        """How many check-ins it takes to the server, or keeps for it."""
        return sum(isinstance(step, Keep | Send) for step in self.steps)


class Phone:
    """One person's day, episode by episode."""

    def __init__(
        self, *, groups: frozenset[str], places: Sequence[Place], rng: random.Random
    ) -> None:
        self._groups = groups
        self._rng = rng
        self._places = places
        self._withdrawn = False
        #: the site they are in, having checked in
        self._in: Place | None = None
        self.spot = rng.choice(places).spot_inside(rng)

    def next(self) -> Episode:
        """What happens next."""
        weights = _WHILE_WITHDRAWN if self._withdrawn else _WHILE_GRANTED
        [kind] = self._rng.choices(list(weights), list(weights.values()))
        return Episode(kind=kind, steps=self._steps(kind))

    def _steps(self, kind: Kind) -> tuple[Step, ...]:
        ways: dict[Kind, Callable[[], tuple[Step, ...]]] = {
            Kind.CLAIMED: lambda: (Send(self._visit()),),
            Kind.SEARCHED: lambda: (Send(self._search()),),
            Kind.ELSEWHERE: lambda: (Send(self._lie()),),
            Kind.MOCKED: lambda: (Send(self._fake()),),
            Kind.LOST_ANSWER: lambda: (Send(self._visit(), answer_lost=True),),
            Kind.OFFLINE: self._offline,
            Kind.WITHDRAWN: self._withdraw,
            Kind.STILL_WITHDRAWN: lambda: (Send(self._visit()),),
            Kind.GRANTED: self._grant,
        }
        return ways[kind]()

    def _visit(self) -> Attempt:
        """Leave the site they are in, or go to another one."""
        if self._in is not None:
            left, self._in = self._in, None
            return self._attempt(left, action="out")
        self._in = self._destination()
        self._go(self._in.spot_inside(self._rng))
        return self._attempt(self._in, action="in")

    def _search(self) -> Attempt:
        """Check in wherever they are: mostly at a site, sometimes on the way to one."""
        if self._rng.random() < 0.3:
            self._walk_part_of_the_way(self._destination())
            return self._attempt(None)
        return replace(self._visit(), claimed=None)

    def _lie(self) -> Attempt:
        place = self._destination()
        self._walk_part_of_the_way(place)
        return self._attempt(place, action="in")

    def _fake(self) -> Attempt:
        place = self._destination()
        self._walk_part_of_the_way(place)
        honest = self._attempt(place, action="in")
        accuracy_m = round(self._rng.uniform(3.0, 6.0), 1)
        invented = place.spot_inside(self._rng)
        return replace(honest, fix=invented, accuracy_m=accuracy_m, source="gps", mocked=True)

    def _offline(self) -> tuple[Step, ...]:
        """The oldest first; minutes lie between them."""
        count = self._rng.randint(2, 4)
        ages_s = [60.0 * (4 * (count - i) + self._rng.randint(0, 3)) for i in range(count)]
        kept = [Keep(replace(self._visit(), age_s=age_s)) for age_s in ages_s]
        return (*kept, SendKept())

    def _withdraw(self) -> tuple[Step, ...]:
        """One check-in is captured before and waits; one is tried after."""
        self._withdrawn = True
        state = self._rng.choice(WITHDRAWALS)
        return (Keep(self._visit()), Report(state), Send(self._visit()))

    def _grant(self) -> tuple[Step, ...]:
        """What was captured before the withdrawal is sent now, and is still refused."""
        self._withdrawn = False
        return (Report("precise"), SendKept(), Send(self._visit()))

    def _destination(self) -> Place:
        """One of the sites nearby that admits them; now and then one that does not."""
        others = [place for place in self._places if place is not self._in]
        if self._rng.random() < 0.97:
            others = [p for p in others if p.admits(self._groups)] or others
        nearest = sorted(others, key=lambda place: place.distance_m(self.spot))
        return self._rng.choice(nearest[:_NEIGHBOURS])

    def _go(self, goal: Spot) -> None:
        for step in walk(self.spot, goal, self._rng):
            self.spot = step

    def _walk_part_of_the_way(self, place: Place) -> None:
        """Stop on the street, 60 to 400 metres from the site."""
        self._in = None
        stop_m = self._rng.uniform(60.0, 400.0)
        if place.distance_m(self.spot) < stop_m:
            self._go(place.middle().moved(stop_m + 150.0, 0.0))
            return
        for step in walk(self.spot, place.middle(), self._rng):
            if place.distance_m(step) < stop_m:
                return
            self.spot = step

    def _attempt(self, claimed: Place | None, *, action: Action | None = None) -> Attempt:
        accuracy_m = receiver.accuracy_m(self._rng)
        near = self._places if claimed is None else [claimed]
        return Attempt(
            claimed=claimed,
            action=action,
            fix=receiver.measured(self.spot, accuracy_m, self._rng),
            accuracy_m=accuracy_m,
            source=receiver.source(accuracy_m),
            mocked=False,
            age_s=0.0,
            off_m=min(place.distance_m(self.spot) for place in near),
        )


def attempts(episode: Episode) -> list[Attempt]:
    """The check-ins of an episode, sent or kept."""
    return [step.attempt for step in episode.steps if isinstance(step, Keep | Send)]
