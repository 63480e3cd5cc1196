"""`make rates`: check-ins a second of one worker, beside those of an empty Litestar handler.

Three servers, each a process with one worker: an empty handler that decodes the same body, Doorstep
on SQLite, Doorstep on PostgreSQL. They take turns, so that what else the machine does meets all of
them. Only the answers are tested: exits with 1 when one was not an accepted check-in, or when the
rows stored are not those answered.

Whatever serves shares one core, PostgreSQL's processes too: the same hardware for each. The
generator has another one. Needs `tests` in PYTHONPATH, for a PostgreSQL to throw away.
"""

import argparse
import json
import os
import platform
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from uuid import UUID

import uvloop

import postgres
from contenders import EMPTY, POSTGRESQL, SQLITE, Contender, Deployed, started
from doorstep_server.demo.child import ServerEnded
from doorstep_server.settings import Settings
from driving import Case, Pinned, Round, cores, drive, pin

BATCH = 100
#: PostgreSQL as it is run for data that matters, unlike the one that tests use
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
#: a core that idles less than this has no more to give
FULL = 0.1


# --- what comes of it ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """What was answered, against what is there."""

    answered: int
    rows: int
    missing: int
    double: int
    unknown: int

    @classmethod
    def of(cls, acknowledged: Sequence[str], rows: Sequence[UUID]) -> "Ledger":
        """Of ids."""
        said, there = {UUID(i) for i in acknowledged}, set(rows)
        return cls(
            answered=len(acknowledged),
            rows=len(rows),
            missing=len(said - there),
            double=len(rows) - len(there),
            unknown=len(there - said),
        )

    def is_true(self) -> bool:
        """Whether each answer has its one row, each row its answer, and there are any."""
        return self.answered == self.rows > 0 == self.missing + self.double + self.unknown


#: the rounds of each case: name of a contender, its rounds
Results = dict[str, dict[str, list[Round]]]


def mid(values: Sequence[float | None]) -> float | None:
    """The median; None where the system told nothing."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def limit(rounds: Sequence[Round]) -> str:
    """What kept a contender from being faster."""
    idle, generator = mid([r.idle for r in rounds]), mid([r.generator_idle for r in rounds])
    if idle is None or generator is None:
        return "unknown: not pinned"
    if idle < FULL:
        serving = mid([r.serving for r in rounds]) or 0.0
        return "its core" if serving > 1 - 2 * FULL else "its core, which others used too"
    return "the generator's core" if generator < FULL else "waiting (for its disk, mostly)"


def table(case: Case, results: dict[str, list[Round]]) -> list[str]:
    """Rates first, then what they cost."""
    count = len(results[EMPTY])
    rounds = "".join(f"{f'round {n + 1}':>9}" for n in range(count))
    lines = [f"{case.name}, {case.connections} connections: check-ins a second"]
    lines += [f"{'':14}{rounds}{'median':>9}{'of empty':>10}"]
    for name, got in results.items():
        shares = [r.rate / max(e.rate, 1e-9) for r, e in zip(got, results[EMPTY], strict=True)]
        figures = "".join(f"{r.rate:9,.0f}" for r in got)
        lines += [f"{name:14}{figures}{median(r.rate for r in got):9,.0f}{median(shares):10.1%}"]
    lines += ["", f"{'':14}{'CPU s per 1,000':^31}{'its core':^25}{'generator':>11}"]
    lines += [f"{'':14}{'server':>9}{'database':>11}{'generator':>11}"]
    lines[-1] += f"{'serving':>9}{'others':>8}{'idle':>8}{'busy':>11}  limited by"
    lines += [_costs(name, got) for name, got in results.items()]
    lines += ["", "check-ins a second of CPU, server and database together"]
    whole = {name: mid([r.per_cpu_second for r in got]) for name, got in results.items()}
    if POSTGRESQL in whole and mid([r.database_cpu for r in results[POSTGRESQL]]) is None:
        # a PostgreSQL that is not ours: what it used is not known
        whole[POSTGRESQL] = None
    first = whole[EMPTY]
    for name, per in whole.items():
        share = per / first if per and first else None
        lines += [f"{name:14}{_shown(per, '9,.0f')}{_shown(share, '10.1%')} of empty"]
    return [*lines, f"the generator could send {_ceiling(results):,.0f} a second", ""]


def _ceiling(results: dict[str, list[Round]]) -> float:
    """With a core for itself, at what one cost it where it was busiest."""
    return 1000 / max(median(r.generator_cpu for r in results[EMPTY]), 1e-9)


def _costs(name: str, rounds: Sequence[Round]) -> str:
    server, database = mid([r.server_cpu for r in rounds]), mid([r.database_cpu for r in rounds])
    serving, idle = mid([r.serving for r in rounds]), mid([r.idle for r in rounds])
    others = None if serving is None or idle is None else max(0.0, 1 - serving - idle)
    line = f"{name:14}{_shown(server, '9.3f')}{_shown(database, '11.3f')}"
    line += _shown(mid([r.generator_cpu for r in rounds]), "11.3f")
    line += f"{_shown(serving, '9.0%')}{_shown(others, '8.0%')}{_shown(idle, '8.0%')}"
    return line + f"{_shown(mid([r.generator_busy for r in rounds]), '11.0%')}  {limit(rounds)}"


def _shown(value: float | None, form: str) -> str:
    return f"{'-':>{form.partition('.')[0]}}" if value is None else format(value, form)


def surroundings(folder: Path, on_postgresql: Deployed | None) -> dict[str, str]:
    """The machine and the versions."""
    names = ["litestar", "msgspec", "uvicorn", "uvloop", "httptools", "sqlalchemy", "asyncpg"]
    told = {
        "processor": f"{_processor()}, {os.cpu_count()} cores, load {_load()} at the beginning",
        "disk": f"{_sync_ms(folder):.2f} ms to write 8 KiB and wait for the disk (median)",
        "Python": ", ".join([platform.python_version(), *(f"{n} {version(n)}" for n in names)]),
        SQLITE: f"{sqlite3.sqlite_version}, WAL, synchronous = FULL",
    }
    if on_postgresql is not None:
        settings = ", ".join(f"{name} = {on_postgresql.shown(name)}" for name in DURABLE)
        told[POSTGRESQL] = f"{on_postgresql.shown('server_version')}, {settings}"
    return told


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found is not None:
            return found[1]
    return platform.processor() or platform.machine()


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _sync_ms(folder: Path) -> float:
    """What each commit waits for at least."""
    took = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(8192))
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return median(took)


# --- the whole -----------------------------------------------------------------------------------


@contextmanager
def on_postgresql(wanted: argparse.Namespace, home: Path) -> Iterator[Deployed | None]:
    """On the database that was named, else on a PostgreSQL to throw away, if there may be one."""
    missing = postgres.why_no_cluster()
    if wanted.database_url:
        admin = wanted.admin_database_url
        yield Deployed(
            settings=Settings(home=home, database_url=wanted.database_url, admin_database_url=admin)
        )
    elif missing is not None:
        print(f"NOT COMPARED: {POSTGRESQL}. {missing}; or use --database-url.\n", flush=True)
        yield None
    else:
        with postgres.Cluster(DURABLE) as cluster, postgres.Server(cluster.url()) as server:
            made = server.new_database()
            pid = int((cluster.data / "postmaster.pid").read_text().split()[0])
            settings = Settings(home=home, database_url=made.url, admin_database_url=made.admin_url)
            yield Deployed(settings=settings, database_pid=pid)


@dataclass(kw_only=True, slots=True)
class Report:
    """All that was measured."""

    told: dict[str, str]
    cases: list[Case]
    results: Results = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    def is_good(self) -> bool:
        """Whether all was accepted, and all of it is there."""
        kept = all(ledger.is_true() for ledger in self.ledgers.values())
        return kept and not any(self.failures.values())

    def lines(self) -> list[str]:
        """What to print at the end."""
        lines = [line for case in self.cases for line in table(case, self.results[case.name])]
        for name, ledger in self.ledgers.items():
            lines.append(
                f"{name}: {ledger.answered} accepted, {ledger.rows} rows stored, {ledger.missing} "
                f"missing, {ledger.double} double, {ledger.unknown} that nobody was told of"
            )
        for name, failures in self.failures.items():
            lines += [f"FAILED {len(failures)} times: {name}: {failures[0]}"] if failures else []
        return [*lines, f"load {_load()} at the end"]


def compare(wanted: argparse.Namespace, folder: Path) -> Report:
    """Raises `ServerEnded`. What is stored is read when all servers have stopped."""
    pinned = cores()
    pin(pinned, 0)
    with on_postgresql(wanted, folder / "postgresql") as second:
        deployed = {SQLITE: Deployed(settings=Settings(home=folder / "sqlite"))}
        deployed |= {POSTGRESQL: second} if second else {}
        for made in deployed.values():
            made.furnish(wanted.devices, wanted.sites)
        report = Report(told=surroundings(folder, second), cases=cases(wanted))
        print("\n".join(f"{name:12}{value}" for name, value in report.told.items()), flush=True)
        with ExitStack() as running:
            contenders = [
                running.enter_context(started(name, made, folder))
                for name, made in {EMPTY: deployed[SQLITE], **deployed}.items()
            ]
            pin(pinned, 1)
            for case in report.cases:
                report.results[case.name] = take_turns(contenders, case, wanted, pinned)
        report.failures = {at.name: at.failures for at in contenders}
        report.ledgers = {
            at.name: Ledger.of(at.acknowledged, at.deployed.rows())
            for at in contenders
            if at.name != EMPTY
        }
    return report


def cases(wanted: argparse.Namespace) -> list[Case]:
    """One check-in in each request, and many."""
    return [
        Case(name="single check-ins", size=1, connections=wanted.connections),
        Case(name=f"batches of {BATCH}", size=BATCH, connections=wanted.batch_connections),
    ]


def take_turns(
    contenders: Sequence[Contender], case: Case, wanted: argparse.Namespace, pinned: Pinned
) -> dict[str, list[Round]]:
    """A B C A B C: what else the machine does meets all of them. The warm-up is not shown."""
    rounds: dict[str, list[Round]] = {at.name: [] for at in contenders}
    for at in contenders:
        uvloop.run(drive(at, case, wanted.warm_up, pinned))
    for _ in range(wanted.rounds):
        for at in contenders:
            rounds[at.name].append(uvloop.run(drive(at, case, wanted.seconds, pinned)))
    return rounds


def main(arguments: Sequence[str]) -> int:
    """Run; the exit code."""
    wanted = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="doorstep-rates-") as folder:
        report = compare(wanted, Path(folder))
    print("\n" + "\n".join(report.lines()), flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps(asdict(report), indent=2) + "\n")
    return 0 if report.is_good() else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds, of each server")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--batch-connections", type=int, default=8)
    parser.add_argument("--devices", type=int, default=64)
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--database-url", help="an empty PostgreSQL database to use")
    parser.add_argument("--admin-database-url", help="the same as its owner")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerEnded as error:
        sys.exit(str(error))
