"""Attackers: what each makes of a copy, beside the habits that all of them know.

They use what a real copy may betray: equal bytes (*equal*), the order in which rows came (*order*),
rows that came together (*together*), and writes about people or devices near to a row (*near*);
*all* uses everything at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from privacy.stolen_copies import Copy
from privacy.stolen_naming import Evidence
from privacy.stolen_people import SLOT_S

#: beginnings and ends of values that are compared: fewer bytes are equal by chance, and what leads
#: ids and tokens is a day, which is visible by design
COMPARED = (8, 16)
#: rows of one person in one transaction
LONGEST_LOT = 5
#: a write of more people's rows than this is no one's in particular
FEW = 3
#: transaction numbers between a person's row and their check-in
NEAR = 3

Attack = Callable[[Copy], Evidence]


def nothing(copy: Copy) -> Evidence:
    """Habits only."""
    return Evidence()


def equal(copy: Copy) -> Evidence:
    """Values that are equal, or begin or end alike, in any two rows of any tables."""
    groups: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    for number, row in enumerate(copy.rows):
        for part in set(_parts(row.secrets)):
            groups[part].append(number)
    for index, (entity, values) in enumerate(copy.values):
        for part in set(_parts((entity, *values))):
            groups[part].append(-1 - index)
    few = max(20, len(copy.rows) // 50)
    joined = _Joined()
    for members in groups.values():
        if 1 < len(members) <= few:
            joined.join(members)
    lots = [[n for n in lot if n >= 0] for lot in joined.lots()]
    return Evidence(lots=[lot for lot in lots if len(lot) > 1])


def _parts(values: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    for value in values:
        for length in COMPARED:
            if length <= len(value):
                yield "begins", value[:length]
                yield "ends", value[-length:]


class _Joined:
    """Which numbers belong together."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}

    def _top(self, one: int) -> int:
        while (above := self._of.setdefault(one, one)) != one:
            self._of[one] = self._of.get(above, above)
            one = above
        return one

    def join(self, members: Sequence[int]) -> None:
        """These do."""
        top = self._top(members[0])
        for member in members[1:]:
            self._of[self._top(member)] = top

    def lots(self) -> Iterator[list[int]]:
        """All that do."""
        found: dict[int, list[int]] = defaultdict(list)
        for one in list(self._of):
            found[self._top(one)].append(one)
        yield from found.values()


def arrivals(copy: Copy) -> list[list[int]]:
    """Rows in the order in which they came, as far as a copy tells: one list, or one a page.

    Transactions, or the numbers of rows, are in one order; else a page at least is in its own.
    """
    rows = copy.rows
    numbers = range(len(rows))
    if rows and rows[0].order is not None:
        return [sorted(numbers, key=lambda n: rows[n].order or 0)]
    if all(row.transaction is not None for row in rows):
        return [sorted(numbers, key=lambda n: (rows[n].transaction or 0, rows[n].place))]
    pages: dict[int, list[int]] = defaultdict(list)
    for number in sorted(numbers, key=lambda n: rows[n].place):
        pages[rows[number].place[0]].append(number)
    return [_last_come(copy, page) for page in pages.values()]


def _last_come(copy: Copy, page: list[int]) -> list[int]:
    """The rows that came since a page was split, which puts those before them in order of keys."""
    first = len(page) - 1
    while first > 0 and copy.rows[page[first - 1]].slot <= copy.rows[page[first]].slot:
        first -= 1
    return page[first:]


def order(copy: Copy) -> Evidence:
    """When rows came, finer than their slots: by their rank among those of a slot."""
    minutes: dict[int, float] = {}
    for numbers in arrivals(copy):
        for slot, of_slot in _by_clock(copy, numbers):
            for rank, number in enumerate(of_slot):
                # a row of an earlier slot came late: this says nothing of it
                if copy.rows[number].slot == slot:
                    minutes[number] = (slot + SLOT_S * (rank + 0.5) / len(of_slot)) / 60
    return Evidence(minutes=minutes)


def _by_clock(copy: Copy, numbers: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """The rows that came within each slot: the clock only goes forward."""
    clock, of_slot = -1, list[int]()
    for number in numbers:
        if copy.rows[number].slot > clock:
            if of_slot:
                yield clock, of_slot
            clock, of_slot = copy.rows[number].slot, []
        of_slot.append(number)
    if of_slot:
        yield clock, of_slot


def together(copy: Copy) -> Evidence:
    """Rows that came late, side by side or in one transaction: a phone that had no network."""
    lots: list[list[int]] = []
    for numbers in arrivals(copy):
        late = [n for slot, some in _by_clock(copy, numbers) for n in _late(copy, slot, some)]
        lots += _runs(copy, numbers, set(late))
    return Evidence(lots=[lot for lot in lots if len(lot) > 1])


def _late(copy: Copy, clock: int, numbers: Sequence[int]) -> list[int]:
    return [number for number in numbers if copy.rows[number].slot < clock - SLOT_S]


def _runs(copy: Copy, numbers: Sequence[int], late: set[int]) -> Iterator[list[int]]:
    """What came side by side and late, with what came with it in a transaction of its own."""
    with_numbers = all(copy.rows[n].transaction is not None for n in numbers)
    sizes = Counter(copy.rows[n].transaction for n in numbers)
    if with_numbers and _is_sorted(copy, numbers):
        groups: dict[int | None, list[int]] = defaultdict(list)
        for number in numbers:
            transaction = copy.rows[number].transaction
            if number in late or sizes[transaction] <= LONGEST_LOT:
                groups[transaction].append(number)
        yield from (g for g in groups.values() if _is_one_day(copy, g, late))
        return
    run: list[int] = []
    for number in numbers:
        goes_on = run and number in late and copy.rows[number].slot >= copy.rows[run[-1]].slot
        if not goes_on:
            yield run
            run = [number] if number in late else []
        else:
            run.append(number)
    yield run


def _is_one_day(copy: Copy, lot: list[int], late: set[int]) -> bool:
    """Whether it may be the day of one person."""
    slots = {copy.rows[number].slot for number in lot}
    return len(lot) <= LONGEST_LOT and len(slots) == len(lot) and not late.isdisjoint(lot)


def _is_sorted(copy: Copy, numbers: Sequence[int]) -> bool:
    """Whether rows of a transaction lie in the order of their ids: then it tells nothing."""
    pairs = sorted_pairs = 0
    for one, other in pairwise(numbers):
        a, b = copy.rows[one], copy.rows[other]
        if a.transaction == b.transaction and a.place[0] == b.place[0]:
            pairs += 1
            sorted_pairs += a.secrets[0] < b.secrets[0]
    return sorted_pairs > 0.9 * pairs


def near(copy: Copy) -> Evidence:
    """Rows about people that were written with a check-in, just before it, or in the same hour."""
    by_transaction, by_hour = _rows_by(copy)
    numbers = sorted(by_transaction)
    touched = Counter((t.transaction, t.hour) for t in copy.touches)
    everybody = len({touch.entity for touch in copy.touches})
    traces: dict[bytes, list[frozenset[int]]] = defaultdict(list)
    for touch in copy.touches:
        several = touched[touch.transaction, touch.hour]
        if touch.transaction is not None:
            found = by_transaction.get(touch.transaction)
            if found is None and several <= FEW:
                found = _next(by_transaction, numbers, touch.transaction)
        else:
            found = by_hour.get(touch.hour or 0) if several < 0.6 * everybody else None
        if found:
            traces[touch.entity].append(frozenset(found))
    return Evidence(traces={e: list(dict.fromkeys(sets)) for e, sets in traces.items()})


def _rows_by(copy: Copy) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    by_transaction: dict[int, list[int]] = defaultdict(list)
    by_hour: dict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(copy.rows):
        if row.transaction is not None:
            by_transaction[row.transaction].append(number)
        if row.hour is not None:
            by_hour[row.hour].append(number)
    return dict(by_transaction), dict(by_hour)


def _next(
    by_transaction: Mapping[int, list[int]], numbers: Sequence[int], after: int
) -> list[int] | None:
    at = bisect_right(numbers, after)
    if at < len(numbers) and numbers[at] - after <= NEAR:
        return by_transaction[numbers[at]]
    return None


def everything(copy: Copy) -> Evidence:
    """All of it at once."""
    joined = _Joined()
    for lot in [*equal(copy).lots, *together(copy).lots]:
        joined.join(lot)
    return Evidence(lots=list(joined.lots()), minutes=order(copy).minutes, traces=near(copy).traces)


ATTACKS: dict[str, Attack] = {
    "habits": nothing,
    "equal": equal,
    "order": order,
    "together": together,
    "near": near,
    "all": everything,
}
