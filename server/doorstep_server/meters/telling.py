"""The numbers of all processes together, in Prometheus's text format."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from doorstep_server.meters.families import AnyFamily, Combined, Described, Histogram, Sample

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Value:
    """One line: what follows the family's name, its labels, and its number."""

    suffix: str
    labels: Mapping[str, str]
    number: float


class Processes:
    """The rows of numbers of several processes, of which some may have died."""

    def __init__(self, rows: Sequence[Sequence[float]], pid_place: int) -> None:
        self._rows = rows
        self._pids = {i: int(row[pid_place]) for i, row in enumerate(rows)}
        self._alive = [i for i, pid in self._pids.items() if _is_alive(pid)]

    def values(self, family: AnyFamily) -> list[Value]:
        """What a family comes to."""
        if isinstance(family, Histogram):
            return list(self._histogram(family))
        values = [
            Value(sample.suffix, sample.labels, self._together(family.said, sample))
            for sample in family.samples()
        ]
        return [value for value in values if value.number or not family.said.sparse]

    def _histogram(self, family: Histogram) -> Iterator[Value]:
        below = 0.0
        for sample in family.samples():
            number = self._sum(sample.place)
            if sample.suffix == "_bucket":
                below += number
                yield Value(sample.suffix, sample.labels, below)
            else:
                yield Value(sample.suffix, sample.labels, number)
        yield Value("_count", {}, below)

    def _together(self, said: Described, sample: Sample) -> float:
        if said.kind == "counter":
            return self._sum(sample.place)
        # how much there is of something, a process that has died does not say
        alive = [self._rows[i][sample.place] for i in self._alive]
        return max(alive, default=0.0) if said.combined is Combined.MAX else sum(alive)

    def _sum(self, place: int) -> float:
        return sum(row[place] for row in self._rows)

    def count(self) -> list[Value]:
        """How many are alive."""
        return [Value("", {}, len(self._alive))]

    def each(self, place: int) -> list[Value]:
        """Of each that is alive."""
        return [Value("", {"worker": str(i)}, self._rows[i][place]) for i in self._alive]

    def resident(self) -> list[Value]:
        """Of each that is alive, the memory that it holds; none where that cannot be read."""
        found = {i: _resident_bytes(self._pids[i]) for i in self._alive}
        return [Value("", {"worker": str(i)}, size) for i, size in found.items() if size]

    def age(self, place: int) -> list[Value]:
        """How long ago something was, at the process where that is longest."""
        since = [self._rows[i][place] for i in self._alive if self._rows[i][place]]
        return [Value("", {}, round(time.monotonic() - min(since), 3))] if since else []


def told(said: Described, values: Sequence[Value]) -> Iterator[str]:
    """The lines of a family."""
    yield f"# HELP {said.name} {said.help}"
    yield f"# TYPE {said.name} {said.kind}"
    for value in values:
        yield f"{said.name}{value.suffix}{_labels(value.labels)} {_number(value.number)}"


def _labels(labels: Mapping[str, str]) -> str:
    # values are of closed sets of ours, and none of them has a quote in it
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _number(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
