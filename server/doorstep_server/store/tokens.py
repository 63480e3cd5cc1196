"""Finding a person's rows by their tokens, and giving new rows the next one.

The rows of one person, for one purpose, that expire on one day have the tokens of a series: number
0, 1, 2, … without gaps, since rows go by whole days or with the person. So all of them are found
by asking for the first few, and for more while there are more.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, Connection, Row, Select, bindparam

from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.unlinkable import TokenSeries
from doorstep_server.store.driver import Row as Values
from doorstep_server.store.lookups import looked_up
from doorstep_server.store.prepared import Prepared, in_lists
from doorstep_server.store.schema import check_ins

Found = TypeVar("Found")

#: tokens asked for in one statement: SQLite takes 32,766 values
ASKED_AT_ONCE = 10_000
#: of a series at first, to give out the next: most often there is none after the last one known
FIRST_ASKED = 1
#: and then, doubled until one is free: few check in more often on a day for one purpose
NEXT_ASKED = 4
#: of a series at first, to list it: on most days there is none
FIRST_LISTED = 1


class NextNumbers:
    """Where series are known to have got to: a hint in memory, so that a long one is not walked.

    What a transaction gave out is staged, and is a hint only when it was committed: a number that
    is too high would leave a gap.
    """

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        # by tenant (a number is hashed faster than an id is) and first token, so that no person is
        # named
        self._known: OrderedDict[tuple[int, bytes], int] = OrderedDict()
        self._staged: dict[tuple[int, bytes], int] = {}

    def guess(self, tenant_id: UUID, first: bytes) -> int:
        """A number that is not too high."""
        return self._known.get((tenant_id.int, first), 0)

    def stage(self, tenant_id: UUID, first: bytes, number: int) -> None:
        """The next number, if the transaction commits."""
        self._staged[tenant_id.int, first] = number

    def forget_staged(self) -> None:
        """Another transaction begins."""
        self._staged = {}

    def committed(self) -> None:
        """What was staged holds."""
        for key, number in self._staged.items():
            self._known[key] = number
            self._known.move_to_end(key)
        self._staged = {}
        while len(self._known) > self._limit:
            self._known.popitem(last=False)


@dataclass(slots=True)
class _Search:
    """For the next free numbers of one person's series."""

    series: TokenSeries
    #: the token of number 0
    first: bytes
    #: no lower one is free
    number: int
    #: of this number and those after it: which of them are there is asked
    asked: list[bytes]
    #: how many of them are there, which are always the first ones, or were given out
    taken: int = 0

    @classmethod
    def of(cls, series: TokenSeries, first: bytes, guess: int) -> "_Search":
        search = cls(series, first, guess, [])
        search._ask(FIRST_ASKED)
        return search

    def goes_on(self) -> bool:
        """Whether more must be asked for, since all those asked for are there."""
        if self.taken < len(self.asked):
            return False
        self.number, self.taken = self.number + self.taken, 0
        self._ask(max(2 * len(self.asked), NEXT_ASKED))
        return True

    def give_out(self) -> bytes:
        """The token of the next free number."""
        place, self.taken = self.taken, self.taken + 1
        if place < len(self.asked):
            return self.asked[place]
        return self.series.token(self.number + place)

    def _ask(self, count: int) -> None:
        self.asked = [
            self.series.token(number) if number else self.first
            for number in range(self.number, self.number + count)
        ]


def next_tokens(
    connection: Connection, tenant_id: UUID, wanted: Sequence[TokenSeries], numbers: NextNumbers
) -> list[bytes]:
    """For each new row the next free token of its series, in their order.

    Another process may take the same at the same time: then the unique index refuses one of them.
    """
    searches: dict[bytes, _Search] = {}
    for_rows = []
    for series in wanted:
        first = series.token(0)
        search = searches.get(first)
        if search is None:
            guess = numbers.guess(tenant_id, first)
            search = searches[first] = _Search.of(series, first, guess)
        for_rows.append(search)
    searching = list(searches.values())
    while searching:
        _look(connection, tenant_id, searching)
        searching = [search for search in searching if search.goes_on()]
    tokens = [search.give_out() for search in for_rows]
    for first, search in searches.items():
        numbers.stage(tenant_id, first, search.number + search.taken)
    return tokens


def prepared(*columns: Column[Any]) -> Prepared:
    """A look at these columns of rows, after their token: see `values_of`."""
    return Prepared(lambda dialect: _looking(dialect, columns))


def _looking(dialect: str, columns: Sequence[Column[Any]]) -> Select[Any]:
    wanted = (check_ins.c.token, *columns)
    if dialect != "postgresql":
        # a token alone says on which day its row expires
        return looked_up(wanted, check_ins.c.token, "tokens", dialect)
    # which partitions there is to look into
    days = check_ins.c.expires_on.between(bindparam("first_day"), bindparam("last_day"))
    return looked_up(wanted, check_ins.c.token, "tokens", dialect, days)


_LOOK = prepared()


def _look(connection: Connection, tenant_id: UUID, searching: Sequence[_Search]) -> None:
    """Count for each how many of the tokens asked for there are."""
    owners = {token: search for search in searching for token in search.asked}
    days = [search.series.expires_on for search in searching]
    values = {"tenant_id": tenant_id, "first_day": min(days), "last_day": max(days)}
    for some in in_lists(list(owners)):
        for (token,) in _LOOK.rows(connection, values | {"tokens": some}, "tokens"):
            owners[token].taken += 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonRows:
    """Where one person's rows can be: of which purposes, expiring on which days."""

    keys: SubjectKeys = field(repr=False)
    purposes: Sequence[str]
    expires_on: Sequence[date]


def series_of(persons: Sequence[PersonRows]) -> dict[TokenSeries, list[int]]:
    """Those in which their rows are, each with the places of whose it is."""
    found: dict[TokenSeries, list[int]] = {}
    for place, person in enumerate(persons):
        for day in person.expires_on:
            for purpose in person.purposes:
                found.setdefault(TokenSeries(person.keys, purpose, day), []).append(place)
    return found


def rows_of(
    connection: Connection, tenant_id: UUID, series: Sequence[TokenSeries]
) -> Iterator[tuple[int, Row[Any]]]:
    """The rows of these series, which are all different, each with its series' place."""

    def look(tokens: Sequence[bytes], days: Collection[date]) -> Iterator[tuple[bytes, Row[Any]]]:
        for some in _batches(tokens):
            # one statement for whatever number of them
            query = looked_up(
                list(check_ins.c),
                check_ins.c.token,
                "tokens",
                connection.dialect.name,
                *_days(connection, days),
            )
            for row in connection.execute(query, {"tenant_id": tenant_id, "tokens": some}):
                yield row.token, row

    return _walk(series, look)


def values_of(
    connection: Connection, tenant_id: UUID, series: Sequence[TokenSeries], columns: Prepared
) -> Iterator[tuple[int, Values]]:
    """As `rows_of`, of each the token and what `columns` looks at, as the driver gives it."""

    def look(tokens: Sequence[bytes], days: Collection[date]) -> Iterator[tuple[bytes, Values]]:
        values = {"tenant_id": tenant_id, "first_day": min(days), "last_day": max(days)}
        for some in in_lists(tokens):
            for row in columns.rows(connection, values | {"tokens": some}, "tokens"):
                yield row[0], row

    return _walk(series, look)


def _walk(
    series: Sequence[TokenSeries],
    look: Callable[[Sequence[bytes], Collection[date]], Iterator[tuple[bytes, Found]]],
) -> Iterator[tuple[int, Found]]:
    start, asked = 0, FIRST_LISTED
    searched = list(range(len(series)))
    while searched:
        numbers = range(start, start + asked)
        owners = {series[place].token(n): place for place in searched for n in numbers}
        counts: Counter[int] = Counter()
        for token, row in look(list(owners), {series[place].expires_on for place in searched}):
            place = owners[token]
            counts[place] += 1
            yield place, row
        searched = [place for place in searched if counts[place] == asked]
        start, asked = start + asked, asked * 4


def _days(connection: Connection, days: Collection[date]) -> list[Any]:
    """Which partitions there is to look into; a token alone says on which day its row expires.

    A range, for that: a list would be looked up together with each token.
    """
    if connection.dialect.name != "postgresql":
        return []
    return [check_ins.c.expires_on.between(min(days), max(days))]


def _batches(tokens: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (tokens[i : i + ASKED_AT_ONCE] for i in range(0, len(tokens), ASKED_AT_ONCE))
