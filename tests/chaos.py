"""`make chaos`: everything that must not break a promise, in full, and a report of it.

The tests that always run do the same in short. Each proof is a command: what it printed last and
how long it took stand in the report. Exits with 1 if one failed. `--only WORD` runs those whose
name has that word, `--short` all of them with small counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from world import DATABASES

ROOT = Path(__file__).parents[1]
_PATHS = ("tests", "loadtests")


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One of them."""

    name: str
    #: what must happen: see the list in the report
    rules: str
    command: tuple[str, ...]


#: what is proved, by the numbers that proofs name
RULES = {
    "1": "the same id and content: the same answer, one row",
    "2": "the same id with other content: refused, the row unchanged",
    "3": "fifty identical posts at once: one row",
    "4": "an invalid first attempt does not burn the id",
    "5": "the same id from another tenant or device: independent, or refused",
    "6": "ids that tell time or hardware, and content after its receipt's time: refused",
    "7": "kill -9: nothing acknowledged is lost, nothing is there twice, the database is whole",
    "8": "a full disk: 503, never 201, and it recovers",
    "9": "a damaged database: refused, never replaced by an empty one",
    "10": "a write lock that another process holds: a bounded wait, then 503",
    "11": "PostgreSQL restarted, connections ended: 503, and it recovers",
    "12": "a connection cut after COMMIT: the retry gets the stored answer",
    "13": "a standby: reads, no writes, not ready",
    "14": "kill -9 in a migration: completed or refused at the next start",
    "15": "five times the capacity, and floods: refused and told until when, it recovers",
    "16": "bodies that come slowly or never, connections that do nothing: given up",
    "17": "told to stop under load: what was taken is answered, exit 0",
    "18": "told to stop while a request is stuck: it stops in time",
    "19": "a client gone in the middle: all or nothing",
    "20": "clocks that step: limits and expiries do not lock up",
    "21": "a device or a tenant that floods: refused, and nobody else",
    "22": "a withdrawal: no row after its answer, none of an earlier epoch ever",
}


def proofs(*, short: bool) -> Iterator[Proof]:
    """All of them, the most telling first."""
    for database in DATABASES:
        yield from _on(database, short=short)
    server, reliability = "tests/server", "tests/reliability"
    for name, rules, files in (
        ("retries", "1, 2, 4, 5, 6", [f"{server}/test_check_ins.py", f"{server}/test_front.py"]),
        ("the database's trouble", "8, 9, 10", [f"{reliability}/test_database_trouble.py"]),
        ("PostgreSQL's trouble", "11, 12, 13", [f"{reliability}/test_postgres_trouble.py"]),
        ("migrations", "14", [f"{reliability}/test_interrupted_migrations.py"]),
        (
            "processes",
            "16, 17, 18",
            [
                f"{reliability}/test_processes.py",
                f"{reliability}/test_workers.py",
                f"{server}/test_asgi.py",
            ],
        ),
        ("several nodes", "7", [f"{reliability}/test_nodes.py"]),
        (
            "limits and leases",
            "20, 21",
            [
                f"{server}/test_overload.py",
                f"{server}/test_throttle.py",
                f"{server}/test_leases.py",
            ],
        ),
        ("withdrawals, step by step", "22", [f"{reliability}/test_withdrawals.py"]),
    ):
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files)
        yield Proof(name=name, rules=rules, command=command)


def _on(database: str, *, short: bool) -> Iterator[Proof]:
    run_time = "3s" if short else "60s"
    flood = ("loadtests/run.py", "--shape", "flood", "--users", "20", "--run-time", run_time)
    command = (sys.executable, *flood, "--database", database)
    yield Proof(name=f"a device that floods, {run_time} on {database}", rules="21", command=command)
    for name, rules, program, option, full, few in (
        ("servers that die", "3, 7, 17, 19", "kills.py", "--rounds", 200, 3),
        ("floods", "15, 21", "floods.py", "--seconds", 60, 5),
        ("five times the capacity, seconds", "15", "overload.py", "--seconds", 60, 5),
        ("races of withdrawals, two processes", "22", "races.py", "--races", 20_000, 50),
        ("races of withdrawals, two connections", "22", "store_races.py", "--races", 100_000, 200),
    ):
        count = str(few if short else full)
        program_of = (sys.executable, f"tests/{program}", option, count, "--database", database)
        yield Proof(name=f"{name}, {count} on {database}", rules=rules, command=program_of)


@dataclass(frozen=True, kw_only=True)
class Proved:
    """What came of a proof."""

    proof: Proof
    holds: bool
    took_s: float
    said: list[str]


def prove(proof: Proof, log: Path) -> Proved:
    """Run it; all that it prints goes into a file."""
    print(f"[{datetime.now(UTC):%H:%M:%S}] {proof.name}", flush=True)
    began = time.monotonic()
    path = os.pathsep.join(str(ROOT / part) for part in _PATHS)
    with log.open("w") as out:
        done = subprocess.run(
            proof.command,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    said = [line for line in log.read_text().splitlines() if line.strip()]
    return Proved(
        proof=proof,
        holds=done.returncode == 0,
        took_s=time.monotonic() - began,
        said=said[-5:] if done.returncode == 0 else said[-30:],
    )


def report(found: Sequence[Proved]) -> str:
    """As Markdown."""
    held = sum(one.holds for one in found)
    where = f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    lines = [
        f"# Chaos, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"{held} of {len(found)} proofs hold. {where}, {os.cpu_count()} cores.",
        "",
        "| proof | of | holds | minutes |",
        "|---|---|---|---|",
    ]
    for one in found:
        holds = "yes" if one.holds else "**no**"
        lines.append(f"| {one.proof.name} | {one.proof.rules} | {holds} | {one.took_s / 60:.1f} |")
    lines += ["", *(f"{number}. {rule}" for number, rule in RULES.items()), ""]
    for one in found:
        lines += [f"## {one.proof.name}", "", "```", *one.said, "```", ""]
    return "\n".join(lines)


def main() -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(description="All proofs of reliability, and a report.")
    parser.add_argument("--out", type=Path, default=Path("chaos"), help="a folder for the report")
    parser.add_argument("--only", default="", help="a word of the names of those to run")
    parser.add_argument("--short", action="store_true", help="with small counts")
    chosen = parser.parse_args()
    wanted = [one for one in proofs(short=chosen.short) if chosen.only in one.name]
    if not wanted:
        parser.error("no proof has that word in its name")
    chosen.out.mkdir(parents=True, exist_ok=True)
    found: list[Proved] = []
    for number, proof in enumerate(wanted):
        found.append(prove(proof, chosen.out / f"{number:02}.log"))
        # what was found so far is there, whatever comes
        (chosen.out / "report.md").write_text(report(found))
    print(report(found), flush=True)
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
