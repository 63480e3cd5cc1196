"""Finding a person's rows by their tokens, and giving new rows the next one.

The rows of one person, for one purpose, that expire on one day have the tokens of a series: number
0, 1, 2, … without gaps, since rows go by whole days or with the person. So all of them are found
by asking for the first few, and for more while there are more.
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select

from doorstep_server.privacy.unlinkable import TokenSeries
from doorstep_server.store.schema import check_ins

#: tokens asked for in one statement: SQLite takes 32,766 values
ASKED_AT_ONCE = 10_000
#: of a series at first, to give out the next: few check in more often on a day for one purpose
FIRST_ASKED = 4
#: of a series at first, to list it: on most days there is none
FIRST_LISTED = 1

_Wanted = tuple[UUID, TokenSeries]


class NextNumbers:
    """Where series are known to have got to: a hint in memory, so that a long one is not walked.

    What a transaction gave out is staged, and is a hint only when it was committed: a number that
    is too high would leave a gap.
    """

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        # by tenant and first token, so that no person is named
        self._known: OrderedDict[tuple[UUID, bytes], int] = OrderedDict()
        self._staged: dict[tuple[UUID, bytes], int] = {}

    def guess(self, tenant_id: UUID, first: bytes) -> int:
        """A number that is not too high."""
        return self._known.get((tenant_id, first), 0)

    def stage(self, tenant_id: UUID, first: bytes, number: int) -> None:
        """The next number, if the transaction commits."""
        self._staged[tenant_id, first] = number

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


def next_tokens(
    connection: Connection, wanted: Sequence[_Wanted], numbers: NextNumbers
) -> list[bytes]:
    """For each new row the next free token of its series, in their order.

    Another process may take the same at the same time: then the unique index refuses one of them.
    """
    firsts = {one: one[1].token(0) for one in dict.fromkeys(wanted)}
    free = {one: numbers.guess(one[0], first) for one, first in firsts.items()}
    searched, asked = list(firsts), FIRST_ASKED
    while searched:
        found = _existing(connection, searched, free, asked)
        for one in searched:
            free[one] += found[one]
        searched, asked = [one for one in searched if found[one] == asked], asked * 2
    tokens = []
    for one in wanted:
        tokens.append(one[1].token(free[one]))
        free[one] += 1
    for one, number in free.items():
        numbers.stage(one[0], firsts[one], number)
    return tokens


def _existing(
    connection: Connection, searched: Sequence[_Wanted], start: dict[_Wanted, int], asked: int
) -> Counter[_Wanted]:
    """How many of the next tokens of each series there are: always the first ones."""
    owners = {(one[0], one[1].token(start[one] + i)): one for one in searched for i in range(asked)}
    counts: Counter[_Wanted] = Counter()
    for tenant_id in {one[0] for one in searched}:
        days = {one[1].expires_on for one in searched if one[0] == tenant_id}
        tokens = [token for owner, token in owners if owner == tenant_id]
        query = select(check_ins.c.token).where(
            check_ins.c.tenant_id == tenant_id, *_days(connection, days)
        )
        for some in _batches(tokens):
            there = connection.execute(query.where(check_ins.c.token.in_(some))).scalars()
            counts.update(owners[tenant_id, token] for token in there)
    return counts


def rows_of(
    connection: Connection, tenant_id: UUID, series: Sequence[TokenSeries]
) -> Iterator[Row[Any]]:
    """The rows of these series."""
    start, asked = 0, FIRST_LISTED
    searched = list(series)
    while searched:
        owners = {one.token(start + i): one for one in searched for i in range(asked)}
        counts: Counter[TokenSeries] = Counter()
        for some in _batches(list(owners)):
            query = select(check_ins).where(
                check_ins.c.tenant_id == tenant_id,
                *_days(connection, {owners[token].expires_on for token in some}),
                check_ins.c.token.in_(some),
            )
            for row in connection.execute(query):
                counts[owners[row.token]] += 1
                yield row
        searched = [one for one in searched if counts[one] == asked]
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
