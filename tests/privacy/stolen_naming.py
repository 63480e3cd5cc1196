"""Whose a row is, by the habits of people who are known at a few places and times, and by evidence.

Who was seen at a site comes again, at about the same time of day: that an ideal copy shows as well.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from privacy.stolen_copies import Copy, Row
from privacy.stolen_people import SLOT_S

DAY_MINUTES = 1_440
#: minutes by which a habit is off, and by which it is off when known to the minute
COARSE, FINE = 45.0, 8.0
#: how much a stranger is to be expected at a site, beside who is known there
STRANGER = 0.01

#: of which rows it is known whose they are
Known = Mapping[int, Sequence[int]]
#: whose each row may be: all whom its best score names alike
Named = dict[int, frozenset[int]]
Bonus = dict[int, dict[int, float]]


@dataclass(slots=True)
class Evidence:
    """What an attacker makes of a copy, beside habits."""

    #: rows of one person each
    lots: list[list[int]] = field(default_factory=list)
    #: minutes since the first midnight, finer than a slot
    minutes: dict[int, float] = field(default_factory=dict)
    #: sets of rows of which each has one of an entity's
    traces: dict[bytes, list[frozenset[int]]] = field(default_factory=dict)


class Habits:
    """What four places and times say of each person."""

    def __init__(self, copy: Copy, known: Known, minutes: Mapping[int, float]) -> None:
        self._rows = copy.rows
        self._minutes = minutes
        self.at: dict[tuple[bytes, int], list[int]] = defaultdict(list)
        for number, row in enumerate(copy.rows):
            self.at[row.site, row.slot].append(number)
        self._seen: dict[bytes, list[tuple[int, float, int]]] = defaultdict(list)
        for person, rows in known.items():
            for number in rows:
                row = copy.rows[number]
                self._seen[row.site].append((person, self._minute_seen(row), row.slot))
        self._scores: dict[tuple[bytes, int, float], dict[int, float]] = {}
        self._best: dict[tuple[bytes, int, float], frozenset[int]] = {}

    def _minute_seen(self, row: Row) -> float:
        """When somebody was there: of all rows that it may be, the middle."""
        alike = self.at[row.site, row.slot]
        return sum(self.minute(number) for number in alike) / len(alike)

    def minute(self, number: int) -> float:
        """When a row came, as exactly as is known."""
        middle = (self._rows[number].slot + SLOT_S / 2) / 60
        return self._minutes.get(number, middle)

    def scores(self, number: int) -> dict[int, float]:
        """How much more likely than a stranger each person is, in logarithms."""
        place = self._place(number)
        if place not in self._scores:
            self._scores[place] = self._scored(self._rows[number], place[2])
        return self._scores[place]

    def best(self, number: int) -> frozenset[int]:
        """Who is likeliest."""
        place = self._place(number)
        if place not in self._best:
            self._best[place] = likeliest(self.scores(number))
        return self._best[place]

    def _place(self, number: int) -> tuple[bytes, int, float]:
        row = self._rows[number]
        return row.site, row.slot, round(self.minute(number) * 2) / 2

    def _scored(self, row: Row, minute: float) -> dict[int, float]:
        expected: dict[int, float] = defaultdict(float)
        for person, seen, slot in self._seen[row.site]:
            if slot == row.slot:
                expected[person] += 50 / len(self.at[row.site, row.slot])
                continue
            off = abs(minute - seen) % DAY_MINUTES
            off = min(off, DAY_MINUTES - off)
            fine = math.exp(-((off / FINE) ** 2) / 2)
            expected[person] += 0.05 + math.exp(-off / COARSE) * (0.3 + fine)
        return {who: math.log1p(much / STRANGER) for who, much in expected.items()}


def name(copy: Copy, known: Known, evidence: Evidence, wanted: Iterable[int]) -> Named:
    """Who each of these rows may be."""
    habits = Habits(copy, known, evidence.minutes)
    bonus = _bonus(habits, known, copy, evidence.traces)
    lots = {number: lot for lot in evidence.lots for number in lot}
    named: Named = {}
    for number in wanted:
        lot = lots.get(number, [number])
        if len(lot) == 1 and number not in bonus:
            named[number] = habits.best(number)
        elif number not in named:
            whose = likeliest(_summed(habits, bonus, lot))
            named |= dict.fromkeys(lot, whose)
    return named


def _summed(habits: Habits, bonus: Bonus, lot: Sequence[int]) -> dict[int, float]:
    total: dict[int, float] = defaultdict(float)
    for number in lot:
        for scores in (habits.scores(number), bonus.get(number, {})):
            for person, score in scores.items():
                total[person] += score
    return total


def likeliest(scores: Mapping[int, float]) -> frozenset[int]:
    """All who are as likely as the likeliest; nobody, where nobody is known."""
    best = max(scores.values(), default=0.0)
    return frozenset(person for person, score in scores.items() if score > best - 1e-9)


def _bonus(
    habits: Habits, known: Known, copy: Copy, traces: Mapping[bytes, list[frozenset[int]]]
) -> Bonus:
    """How much more likely a row is whose, by traces of the rows about them."""
    by_row: dict[int, list[tuple[bytes, frozenset[int]]]] = defaultdict(list)
    for entity, sets in traces.items():
        for one in sets:
            for number in one:
                by_row[number].append((entity, one))
    bonus: Bonus = defaultdict(dict)
    for person, rows in known.items():
        entities, sure = _entities(habits, copy, [copy.rows[n] for n in rows], by_row)
        for entity in entities:
            for one in traces[entity]:
                for number in one:
                    more = math.log1p(sure * len(known) / len(one) / len(entities))
                    bonus[number][person] = max(more, bonus[number].get(person, 0.0))
    return bonus


def _entities(
    habits: Habits,
    copy: Copy,
    seen: Iterable[Row],
    by_row: Mapping[int, list[tuple[bytes, frozenset[int]]]],
) -> tuple[list[bytes], float]:
    """Which person's rows these may be, and how sure that is."""
    total: dict[bytes, float] = defaultdict(float)
    for row in seen:
        alike = habits.at[row.site, row.slot]
        best: dict[bytes, float] = defaultdict(float)
        for number in alike:
            for entity, one in by_row.get(number, ()):
                best[entity] = max(best[entity], 1 / len(alike) / len(one))
        for entity, weight in best.items():
            total[entity] += math.log1p(1_000 * weight)
    if not total:
        return [], 0.0
    top = max(total.values())
    found = [entity for entity, score in total.items() if score > top - 1e-9]
    return found, min(1.0, math.expm1(top) / 1_000)
