"""Families of numbers: counters, gauges and histograms, each number at a place of its own.

Every label has a closed set of values, known when the family is made. So there is no number for a
value that nobody thought of, and none that tells of a tenant, a person, a device or a place. And to
count is to add to one of a row of numbers: well under a microsecond. Only the event loop may do it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

Labels = tuple[str, ...]


class Numbers(Protocol):
    """A row of numbers: of this process alone, or in a file that others read."""

    def __getitem__(self, place: int) -> float: ...

    def __setitem__(self, place: int, value: float) -> None: ...


class Row:
    """Where the numbers of all families stand."""

    def __init__(self) -> None:
        self.length = 0
        self.numbers: Numbers = []

    def take(self, count: int) -> int:
        """So many places more: the first of them."""
        first = self.length
        self.length += count
        return first


class Kind(StrEnum):
    """As Prometheus calls them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Combined(StrEnum):
    """What the numbers of several processes are together."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """A family as it is told."""

    name: str
    help: str
    kind: Kind
    labels: Labels = ()
    combined: Combined = Combined.SUM
    #: whether numbers that are 0 are left out, where there are very many
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: what follows the family's name, the labels, and the place of its number."""

    suffix: str
    labels: Mapping[str, str]
    place: int


class Family:
    """Numbers under one name, one for each combination of labels."""

    def __init__(
        self,
        row: Row,
        said: Described,
        combinations: Iterable[Labels] = ((),),
    ) -> None:
        self.said = said
        self._row = row
        self._places = {each: row.take(1) for each in combinations}

    def knows(self, *labels: str) -> bool:
        """Whether there is a number for these labels."""
        return labels in self._places

    @property
    def places(self) -> list[int]:
        """Where its numbers stand."""
        return list(self._places.values())

    def samples(self) -> Iterator[Sample]:
        """Every number."""
        for labels, place in self._places.items():
            yield Sample("", dict(zip(self.said.labels, labels, strict=True)), place)


class Counter(Family):
    """How often something happened. It never goes back."""

    def add(self, *labels: str, count: float = 1) -> None:
        """So often more."""
        self._row.numbers[self._places[labels]] += count


class Gauge(Family):
    """How much of something there is now."""

    def set(self, value: float, *labels: str) -> None:
        """So much."""
        self._row.numbers[self._places[labels]] = value


class Histogram:
    """How often something was how much: by bounds, with the sum."""

    def __init__(self, row: Row, said: Described, bounds: Sequence[float]) -> None:
        self.said = said
        self._row = row
        self._bounds = tuple(bounds)
        # one more, for what is beyond all bounds; and the sum
        self._first = row.take(len(bounds) + 2)
        self._sum = self._first + len(bounds) + 1

    def add(self, value: float) -> None:
        """It was so much once more."""
        numbers = self._row.numbers
        numbers[self._first + bisect_left(self._bounds, value)] += 1
        numbers[self._sum] += value

    def samples(self) -> Iterator[Sample]:
        """The number of each bucket alone; whoever tells them adds up those below."""
        for i, bound in enumerate((*self._bounds, float("inf"))):
            name = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield Sample("_bucket", {"le": name}, self._first + i)
        yield Sample("_sum", {}, self._sum)


AnyFamily = Family | Histogram
