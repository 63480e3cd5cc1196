"""From the benchmark's figures to what a node, a PostgreSQL and a Citus cluster carry.

    python loadtests/capacity.py bench/results.json

prints the tables; `--write` puts them into `CAPACITY.md`, between its marks.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import results
from results import POSTGRESQL, SQLITE, USUAL, Figures

PAGE = Path(__file__).with_name("CAPACITY.md")
#: of the core of what serves, what others than server, database and nobody may have used
OTHERS = 0.1
BEGIN, END = "<!-- begin: capacity.py -->", "<!-- end: capacity.py -->"


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumed:
    """What no benchmark tells. Each can be given on the command line."""

    #: of a core, before latencies grow
    utilization: float = 0.7
    #: check-ins of a person on a working day, and kept for how many days
    a_day: float = 16.0
    days_kept: float = 60.0
    #: of all people's first check-in of the day, so many within so many seconds
    rush_share: float = 0.5
    rush_s: float = 900.0
    #: what a query through a Citus coordinator costs beside one without: not measured
    citus_overhead: float = 1.5

    @property
    def peak(self) -> float:
        """Check-ins a second of each person, at nine."""
        return self.rush_share / self.rush_s

    def people(self, rate: float) -> float:
        """For how many a rate is enough at nine."""
        return rate / self.peak


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a single check-in costs, with full tables: CPU in microseconds, and bytes on disk."""

    server_us: float
    database_us: float
    row_bytes: float | None

    def server_rate(self, utilization: float) -> float:
        """Check-ins a second of one core of servers."""
        return utilization * 1e6 / self.server_us

    def database_rate(self, utilization: float) -> float:
        """Check-ins a second of one core of a database."""
        return utilization * 1e6 / self.database_us


def cost(figures: Figures, name: str) -> Cost | None:
    """Of a server; None where it was not measured."""
    stored = max(figures["options"]["stored"])
    rounds = results.found(figures, "single", stored).get(name)
    if rounds is None:
        return None
    server = results.of(rounds, "server_us")
    if server is None:
        return None
    return Cost(
        server_us=server,
        database_us=results.of(rounds, "database_us") or 0.0,
        row_bytes=figures["row_bytes"].get(name),
    )


def used_by_others(figures: Figures) -> float:
    """The part of the core of what serves that neither it nor its database used, nor nobody."""
    stored = max(figures["options"]["stored"])
    shares = [
        1.0 - (results.of(rounds, "serving") or 0.0) - (results.of(rounds, "idle") or 0.0)
        for rounds in results.found(figures, "single", stored).values()
        if results.of(rounds, "idle") is not None
    ]
    return max(shares, default=0.0)


def lines(figures: Figures, assumed: Assumed) -> Iterator[str]:
    """The tables, as Markdown."""
    processor, _, _ = figures["machine"]["processor"].partition(", load")
    yield f"Measured on {figures['began']}: {processor}."
    if used_by_others(figures) > OTHERS:
        yield ""
        yield (
            "**That machine did other work meanwhile**, which makes each check-in cost more CPU: "
            "these figures show how it is worked out, and are too low. Measure on a quiet one."
        )
    yield ""
    costs = {name: cost(figures, name) for name in (SQLITE, POSTGRESQL, USUAL)}
    yield from _costs({name: one for name, one in costs.items() if one is not None})
    if costs[SQLITE] is not None:
        yield from _one_node(costs[SQLITE], assumed)
    if costs[POSTGRESQL] is not None and costs[POSTGRESQL].database_us:
        yield from _one_postgresql(costs[POSTGRESQL], assumed)
        yield from _citus(costs[POSTGRESQL], assumed)


def _costs(costs: dict[str, Cost]) -> Iterator[str]:
    yield "| a check-in on | CPU of the server | CPU of the database | bytes on disk |"
    yield "|---|---|---|---|"
    for name, one in costs.items():
        size = "not measured" if one.row_bytes is None else f"{one.row_bytes:.0f}"
        yield f"| {name} | {one.server_us:.0f} µs | {one.database_us:.0f} µs | {size} |"
    yield ""


def _one_node(one: Cost, assumed: Assumed) -> Iterator[str]:
    rate = one.server_rate(assumed.utilization)
    yield "### One node with SQLite, one worker"
    yield ""
    yield (
        f"{assumed.utilization:g} × 1,000,000 / {one.server_us:.0f} µs = **{rate:,.0f} check-ins a "
        f"second**: at nine o'clock {_people(rate, assumed)}."
    )
    yield from _disk(one, rate, assumed)


def _one_postgresql(one: Cost, assumed: Assumed) -> Iterator[str]:
    per_core = one.database_rate(assumed.utilization)
    servers = one.server_us / one.database_us
    yield "### One PostgreSQL, and nodes before it"
    yield ""
    yield (
        f"A core of the database carries {assumed.utilization:g} × 1,000,000 / "
        f"{one.database_us:.0f} µs = {per_core:,.0f} a second, and keeps {one.server_us:.0f} / "
        f"{one.database_us:.0f} = {servers:.1f} cores of servers busy, a worker on each."
    )
    yield ""
    yield "| cores of PostgreSQL | check-ins a second | cores of servers | people at nine o'clock |"
    yield "|---|---|---|---|"
    for cores in (1, 4, 16, 32):
        rate = cores * per_core
        people = assumed.people(rate)
        yield f"| {cores} | {rate:,.0f} | {cores * servers:,.1f} | {people:,.0f} |"
    yield ""
    yield from _disk(one, 16 * per_core, assumed)


def _citus(one: Cost, assumed: Assumed) -> Iterator[str]:
    per_core = one.database_rate(assumed.utilization) / assumed.citus_overhead
    yield "### A Citus cluster, distributed by tenant"
    yield ""
    yield (
        f"With {assumed.citus_overhead:g} × the database's cost (assumed), a core carries "
        f"{per_core:,.0f} a second. A tenant lives on one node: the largest tenant is at most what "
        "one node carries."
    )
    yield ""
    yield "| nodes of 16 cores | check-ins a second | the largest tenant | people at nine o'clock |"
    yield "|---|---|---|---|"
    for nodes in (2, 4, 8, 16):
        node, people = 16 * per_core, assumed.people(nodes * 16 * per_core)
        yield f"| {nodes} | {nodes * node:,.0f} | {node:,.0f} | {people:,.0f} |"
    yield ""


def _people(rate: float, assumed: Assumed) -> str:
    return (
        f"{assumed.people(rate):,.0f} people, of whom {assumed.rush_share:.0%} check in within "
        f"{assumed.rush_s / 60:g} minutes ({assumed.rush_share:g} / {assumed.rush_s:g} s each)"
    )


def _disk(one: Cost, rate: float, assumed: Assumed) -> Iterator[str]:
    if one.row_bytes is not None:
        rows = assumed.people(rate) * assumed.a_day * assumed.days_kept
        yield ""
        yield (
            f"If so many people check in {assumed.a_day:g} times a day and it is kept for "
            f"{assumed.days_kept:g} days, that is {rows:,.0f} rows of {one.row_bytes:.0f} bytes: "
            f"{rows * one.row_bytes / 1e12:,.2f} TB. Most often the disk is the smaller of the two."
        )
    yield ""


def written(page: str, block: str) -> str:
    """A page with the tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    assert rest, "the page has no marks"
    return f"{before}{BEGIN}\n{block}\n{END}{rest.partition(END)[2]}"


def main(arguments: Sequence[str]) -> int:
    """Parse, work it out, print or write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path, help="results.json of the benchmark")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    usual = Assumed()
    for name in Assumed.__dataclass_fields__:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=getattr(usual, name))
    chosen = vars(parser.parse_args(arguments))
    assumed = Assumed(**{name: chosen[name] for name in Assumed.__dataclass_fields__})
    block = "\n".join(lines(json.loads(chosen["figures"].read_text()), assumed)).strip()
    if chosen["write"]:
        PAGE.write_text(written(PAGE.read_text(), block))
    else:
        print(block)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
