"""`make bench`: what a check-in costs, beside an empty handler and beside the usual design.

One run, in turns: raw ASGI, an empty Litestar handler, Doorstep on SQLite and on PostgreSQL, the
usual design on PostGIS; single check-ins at a claimed site and at one that is searched for, batches
of 100; empty tables and full ones; latencies at shares of the capacity; few fences and very many;
memory over many check-ins. What serves has one core, its database too; the generator has another.

Only the answers are tested: exits with 1 when one was not an accepted check-in, or when what is
stored is not what was acknowledged. Needs `tests` in PYTHONPATH, for a PostgreSQL to throw away.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import contenders as servers
import postgres
import results
import wrk
from contenders import POSTGRESQL, SQLITE, Contender, Running, started
from costs import Pinned, cores, load, machine, pin, resident_mb
from deployed import Deployed
from doorstep_server.demo.child import ServerEnded
from doorstep_server.settings import Settings
from ledger import Ledger
from rounds import Generator, Latencies, Load, Round
from usual_design import Usual

BATCH = 100
#: PostgreSQL as it is run for data that matters, unlike the one that tests use
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
#: devices take turns in any order: when each has come so often on average, nearly all have come
FIRST = 3
#: of the capacity
SHARES = (0.3, 0.5, 0.7, 0.9)
FEW_SITES = 100
#: where the curve is looked at, as parts of what is stored at its end
CURVE = (0.01, 0.1, 0.25, 0.5)
PARTS = ("rates", "latency", "fences", "soak")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Rounds of several servers under one load."""

    load: Load
    #: check-ins in the tables before, and fences
    stored: int
    sites: int
    rounds: dict[str, list[Round]]


@dataclass(kw_only=True, slots=True)
class Report:
    """All that was measured."""

    began: str
    machine: dict[str, str]
    options: dict[str, Any]
    comparisons: list[Comparison] = field(default_factory=list)
    #: by server and share of the capacity
    latencies: dict[str, dict[str, list[Latencies]]] = field(default_factory=dict)
    #: of few fences and of many, by server
    fences: list[Comparison] = field(default_factory=list)
    #: by server: how many bytes each check-in that was filled in takes, with its receipt
    row_bytes: dict[str, float] = field(default_factory=dict)
    #: by server: check-ins so far, and its memory
    soak: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    failures: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether all was accepted, and all of it is there once."""
        return all(ledger.is_true for ledger in self.ledgers.values()) and not self.failures


@dataclass(kw_only=True, slots=True)
class Bench:
    """A run."""

    wanted: argparse.Namespace
    folder: Path
    pinned: Pinned
    generator: Generator
    report: Report
    cluster: postgres.Server | None
    database_pid: int | None
    _all: list[Contender] = field(default_factory=list)

    def run(self) -> None:
        """All parts that are wanted. Raises `ServerEnded`."""
        contenders = self._contenders()
        for stored in self._points():
            self._fill(contenders, stored)
            with self._serving(contenders) as running:
                self._at(running, stored)
        if "fences" in self.wanted.parts:
            self._compare_fences()
        self._settle()

    def _at(self, running: list[Running], stored: int) -> None:
        """What is asked at a point of the curve: all of it at its ends."""
        self._warm_up(running)
        points = self._points()
        is_end = stored in {points[0], points[-1]}
        if "rates" in self.wanted.parts:
            for one in self._loads() if is_end else self._loads()[:1]:
                self._compare(running, one, stored)
        if stored == points[-1]:
            ours = [at for at in running if at.contender.name in {SQLITE, POSTGRESQL}]
            if "latency" in self.wanted.parts:
                self._look_at_latencies(ours)
            if "soak" in self.wanted.parts and self.wanted.soak:
                self._soak(ours)

    # --- what there is to compare ---

    def _contenders(self) -> list[Contender]:
        sources: list[Contender] = []
        sqlite = self._deployed("sqlite", self.wanted.sites, on_postgresql=False)
        sources += [servers.echo(sqlite), servers.empty(sqlite)]
        if "sqlite" in self.wanted.databases:
            sources.append(servers.doorstep(SQLITE, sqlite))
        if self.cluster is not None:
            deployed = self._deployed("postgresql", self.wanted.sites, on_postgresql=True)
            sources += [servers.doorstep(POSTGRESQL, deployed), servers.usual(self._usual())]
        self._all += sources
        return sources

    def _deployed(self, name: str, sites: int, *, on_postgresql: bool) -> Deployed:
        settings = Settings(home=self.folder / name)
        if on_postgresql:
            assert self.cluster is not None
            made = self.cluster.new_database()
            settings = replace(settings, database_url=made.url, admin_database_url=made.admin_url)
        deployed = Deployed(
            settings=settings, database_pid=self.database_pid if on_postgresql else None
        )
        self._tell(f"{name}: {self.wanted.devices:,} devices, {sites:,} sites")
        deployed.furnish(self.wanted.devices, sites)
        return deployed

    def _usual(self) -> Usual:
        assert self.cluster is not None
        usual = Usual(url=self.cluster.new_database().admin_url, database_pid=self.database_pid)
        usual.furnish(self.wanted.devices, self.wanted.sites)
        return usual

    def _points(self) -> list[int]:
        """How many check-ins are stored each time."""
        end = max(self.wanted.stored)
        way = [int(end * part) for part in CURVE] if self.wanted.curve else []
        return sorted({*self.wanted.stored, *way})

    def _fill(self, contenders: Sequence[Contender], stored: int) -> None:
        for one in contenders:
            if one.stores and stored > one.source.stored:
                self._tell(f"{one.name}: {stored:,} stored")
                before, already = one.source.size_bytes(), one.source.stored
                one.source.fill(stored)
                grown = one.source.size_bytes() - before
                self.report.row_bytes[one.name] = grown / (stored - already)

    def _loads(self) -> list[Load]:
        many = self.wanted.connections
        single = Load(name="single", size=1, connections=many, is_claimed=True)
        search = Load(name="searching", size=1, connections=many, is_claimed=False)
        few = self.wanted.batch_connections
        batch = Load(name=f"batches of {BATCH}", size=BATCH, connections=few, is_claimed=True)
        return [single, search, batch]

    @contextmanager
    def _serving(self, contenders: Sequence[Contender]) -> Iterator[list[Running]]:
        """All of them, on the core of what serves."""
        with ExitStack() as stack:
            pin(self.pinned, 0)
            running = [
                stack.enter_context(started(one, self.folder, self.told)) for one in contenders
            ]
            pin(self.pinned, 1)
            yield running
        for one in contenders:
            # what a server says is nobody's business here, and much
            (self.folder / f"{one.name}.log").unlink(missing_ok=True)

    @property
    def told(self) -> dict[str, str]:
        """Settings that were asked for."""
        return dict(setting.split("=", 1) for setting in self.wanted.set)

    # --- parts ---

    def _warm_up(self, running: Sequence[Running]) -> None:
        """Until each device has come, or nearly: its first check-in costs more.

        That is another question, and the more of it is asked the slower a server is.
        """
        one = self._loads()[0]
        for at in running:
            self._tell(f"first check-ins, {at.contender.name}")
            came = 0
            while came < FIRST * self.wanted.devices and not at.contender.failures:
                came += self.generator.round(at, one, self.wanted.warm_up).check_ins

    def _compare(self, running: Sequence[Running], one: Load, stored: int) -> None:
        taking = [at for at in running if one.size == 1 or at.contender.takes_batches]
        self._tell(f"{one.name}, {stored:,} stored")
        self.generator.take_turns(taking, one, 1, self.wanted.warm_up)
        rounds = self.generator.take_turns(taking, one, self.wanted.rounds, self.wanted.seconds)
        self.report.comparisons.append(
            Comparison(load=one, stored=stored, sites=self.wanted.sites, rounds=rounds)
        )
        self._save()

    def _save(self) -> None:
        """What was found so far is there, whatever comes."""
        if self.wanted.out:
            results.write_figures(figures_of(self.report), self.wanted.out)

    def _look_at_latencies(self, ours: Sequence[Running]) -> None:
        """In each round a server's capacity, then shares of that."""
        one = self._loads()[0]
        for _ in range(self.wanted.rounds):
            for at in ours:
                self._tell(f"latencies, {at.contender.name}")
                capacity = self.generator.round(at, one, self.wanted.seconds).rate
                found = self.report.latencies.setdefault(at.contender.name, {})
                for share in SHARES:
                    latencies = self.generator.latencies(
                        at, one, capacity * share, self.wanted.seconds
                    )
                    found.setdefault(str(share), []).append(latencies)

    def _compare_fences(self) -> None:
        """A tenant with few sites and one with very many, on each database."""
        contenders = []
        for name in [SQLITE, *([POSTGRESQL] if self.cluster else [])]:
            for sites in (FEW_SITES, self.wanted.many_sites):
                source = self._deployed(f"{name}-{sites}", sites, on_postgresql=name != SQLITE)
                contenders.append(servers.doorstep(f"{name}, {sites:,} fences", source))
        self._all += contenders
        with self._serving(contenders) as running:
            self._warm_up(running)
            for one in self._loads()[:2]:
                self._tell(f"fences, {one.name}")
                self.generator.take_turns(running, one, 1, self.wanted.warm_up)
                rounds = self.generator.take_turns(
                    running, one, self.wanted.rounds, self.wanted.seconds
                )
                self.report.fences.append(
                    Comparison(load=one, stored=0, sites=self.wanted.many_sites, rounds=rounds)
                )

    def _soak(self, ours: Sequence[Running]) -> None:
        """Many check-ins, one server after the other, with a look at its memory.

        Single ones and batches in turns: both ways must let go of what they hold.
        """
        single, _, batch = self._loads()
        for at in ours:
            self._tell(f"{self.wanted.soak:,} check-ins for {at.contender.name}")
            begun, points = len(at.contender.acknowledged), self.report.soak
            points[at.contender.name] = found = [(0, resident_mb(at.pid) or 0.0)]
            loads = cycle((single, batch))
            while found[-1][0] < self.wanted.soak and not at.contender.failures:
                self.generator.round(at, next(loads), self.wanted.seconds)
                stored = len(at.contender.acknowledged) - begun
                found.append((stored, resident_mb(at.pid) or 0.0))

    def _settle(self) -> None:
        """Read what is stored, when all servers have stopped."""
        for one in self._all:
            if one.failures:
                self.report.failures[one.name] = dict(one.failures)
            if one.stores:
                self._tell(f"looking at what {one.name} stored")
                ids = (bytes.fromhex(i.decode().replace("-", "")) for i in one.acknowledged)
                ledger = Ledger.of(ids, one.source.rows())
                self.report.ledgers[one.name] = ledger.without(one.source.stored)

    def _tell(self, what: str) -> None:
        print(f"[{datetime.now(UTC):%H:%M:%S}] {what}", flush=True)


@contextmanager
def cluster(wanted: argparse.Namespace) -> Iterator[tuple[postgres.Server | None, int | None]]:
    """A PostgreSQL to throw away, and its first process; none where there can be none."""
    missing = postgres.why_no_server()
    if "postgresql" not in wanted.databases:
        yield None, None
    elif missing is not None:
        print(f"NOT COMPARED: PostgreSQL. {missing}.\n", flush=True)
        yield None, None
    elif os.environ.get(postgres.URL_VARIABLE):
        with postgres.opened() as server:
            yield server, None
    else:
        with postgres.Cluster(DURABLE) as made, postgres.Server(made.url()) as server:
            yield server, int((made.data / "postmaster.pid").read_text().split()[0])


def measured(wanted: argparse.Namespace, folder: Path) -> Report:
    """Raises `ServerEnded`."""
    pinned = cores()
    pin(pinned, 0)
    with cluster(wanted) as (server, database_pid):
        told = machine(folder)
        told["generator"] = "wrk" if _is_wrk(wanted) else "our own"
        if server is not None:
            told[POSTGRESQL] = _shown(server)
        report = Report(
            began=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            machine=told,
            options={name: value for name, value in vars(wanted).items() if name != "out"},
        )
        Bench(
            wanted=wanted,
            folder=folder,
            pinned=pinned,
            generator=Generator(pinned=pinned, by_wrk=_is_wrk(wanted)),
            report=report,
            cluster=server,
            database_pid=database_pid,
        ).run()
        told["load at the end"] = load()
    return report


def _is_wrk(wanted: argparse.Namespace) -> bool:
    return wanted.generator == "wrk" or (wanted.generator == "any" and wrk.is_here())


def figures_of(report: Report) -> results.Figures:
    """As they are written down."""
    figures: results.Figures = json.loads(json.dumps(asdict(report)))
    return figures


def _shown(server: postgres.Server) -> str:
    found = [
        f"{name} = {postgres.sql(server.admin_url, f'SHOW {name}')[0][0]}"
        for name in ("server_version", *DURABLE)
    ]
    return ", ".join(found)


def main(arguments: Sequence[str]) -> int:
    """Run; the exit code."""
    # whoever ends it ends what it started, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wanted = _parser().parse_args(arguments)
    if wanted.quick:
        wanted.stored, wanted.curve, wanted.parts = [0], False, ["rates"]
    with tempfile.TemporaryDirectory(prefix="doorstep-bench-") as folder:
        report = measured(wanted, Path(folder))
    figures = figures_of(report)
    print("\n" + results.markdown(figures), flush=True)
    if wanted.out:
        results.write(figures, wanted.out)
    return 0 if report.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a folder for tables, plots and raw figures")
    parser.add_argument("--quick", action="store_true", help="only rates, with empty tables")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    kinds = ["sqlite", "postgresql"]
    parser.add_argument("--databases", nargs="*", choices=kinds, default=kinds)
    parser.add_argument(
        "--generator", choices=["any", "own", "wrk"], default="any", help="any: wrk where it is"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds, of each server")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--batch-connections", type=int, default=8)
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--sites", type=int, default=10_000)
    parser.add_argument("--many-sites", type=int, default=170_000)
    parser.add_argument(
        "--stored", type=int, nargs="+", default=[0, 1_000_000], help="check-ins in the tables"
    )
    parser.add_argument("--curve", action="store_true", help="also on the way to the most")
    parser.add_argument("--soak", type=int, default=0, help="check-ins to watch memory over")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of Doorstep's servers"
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerEnded as error:
        sys.exit(str(error))
