"""People with habits, for the evaluation of a stolen database: who checks in where, and when.

Everybody comes and leaves at about their own time, to the minute; most have a branch, some the
headquarters; half go to customers in between, some of whom only they visit. Some are away for
weeks, some grant the permission for one use at a time, some are without a network until the evening
and send their day at once. All of it follows from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from world import NOON

#: time slots of the purpose
SLOT_S = 900
#: the first midnight
START = NOON.replace(hour=0)
#: of 100 people: with the headquarters for home, going to customers, without a network on some
#: days, granting once at a time, away once for more than a week
AT_HEADQUARTERS, IN_THE_FIELD, OFTEN_OFFLINE, GRANTING_ONCE, AWAY = 25, 50, 20, 10, 30
#: people of a branch, and customers whom nobody else visits, of those who have some
BRANCH_SIZE, OWN_CUSTOMERS = 12, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One check-in to come."""

    person: int
    site: int
    action: str | None
    #: seconds since the first midnight: when the position is captured, and when it is sent
    captured_s: int
    sent_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """How one person lives."""

    number: int
    home: int
    customers: tuple[int, ...]
    #: of the day, in minutes, and how far a day may be off it
    comes: float
    leaves: float
    spread: float
    present: float
    #: on how many days of those with a network only in the evening
    offline: float
    grants_once: bool
    #: the first day away, and how many
    away: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Everybody, and how many sites there are for them."""

    people: list[Person]
    sites: int


def populate(rng: random.Random, count: int, days: int) -> Population:
    """So many people. Site 0 is the headquarters, then branches, customers, own customers."""
    branches = max(1, count * (100 - AT_HEADQUARTERS) // 100 // BRANCH_SIZE)
    customers = max(3, count // 3)
    shared = range(1 + branches, 1 + branches + customers)
    own = shared.stop
    people = []
    for number in range(count):
        home = 0 if rng.randrange(100) < AT_HEADQUARTERS else 1 + rng.randrange(branches)
        known = rng.sample(shared, 3) if rng.randrange(100) < IN_THE_FIELD else []
        if known and rng.randrange(2):
            known += range(own, own + OWN_CUSTOMERS)
            own += OWN_CUSTOMERS
        people.append(_person(rng, number, home, tuple(known), days))
    return Population(people=people, sites=own)


def _person(
    rng: random.Random, number: int, home: int, customers: tuple[int, ...], days: int
) -> Person:
    away = rng.randrange(8, 15) if rng.randrange(100) < AWAY and days > 20 else 0
    return Person(
        number=number,
        home=home,
        customers=customers,
        comes=rng.gauss(9 * 60, 30),
        leaves=rng.gauss(18 * 60, 30),
        spread=rng.uniform(4, 15),
        present=rng.uniform(0.6, 0.95),
        offline=0.3 if rng.randrange(100) < OFTEN_OFFLINE else 0.0,
        grants_once=rng.randrange(100) < GRANTING_ONCE,
        away=(rng.randrange(days), away),
    )


def visits_of_day(rng: random.Random, population: Population, day: int) -> list[Visit]:
    """Everybody's check-ins of a day, in the order in which they are sent."""
    visits = [visit for person in population.people for visit in _day_of(rng, person, day)]
    return sorted(visits, key=lambda visit: (visit.sent_s, visit.person, visit.captured_s))


def _day_of(rng: random.Random, person: Person, day: int) -> Iterator[Visit]:
    first, length = person.away
    if first <= day < first + length or rng.random() > person.present:
        return
    stops = [(rng.gauss(person.comes, person.spread), person.home, "in")]
    for _ in range(rng.randrange(4) if person.customers else 0):
        stops += [(rng.uniform(10 * 60, 17 * 60), rng.choice(person.customers), None)]
    stops.append((rng.gauss(person.leaves, person.spread), person.home, "out"))
    midnight_s = day * 86_400
    times = sorted(midnight_s + int(min(max(minute, 5), 1_430) * 60) for minute, _, _ in stops)
    offline = rng.random() < person.offline
    for captured_s, (_, site, action) in zip(times, sorted(stops), strict=True):
        sent_s = times[-1] if offline else captured_s
        yield Visit(
            person=person.number, site=site, action=action, captured_s=captured_s, sent_s=sent_s
        )


def instant_of(seconds: int) -> timedelta:
    """Since the first midnight."""
    return timedelta(seconds=seconds)
