"""What a thief of the database learns: who checked in where, beside what they knew.

    python tests/privacy/stolen.py --database sqlite --people 1000 --days 60

Fills a database with the check-ins of people with habits, through the server's own code; copies it
every hour for two days, and whole in the end. Attackers know each person at four places and times
and name all other rows, in the real copy and in the ideal one, which shows nothing but what is
visible by design. A real copy may yield half a point more, not counting chance. With the keyring
all rows must be named, and with each fault that is planted the evaluation must fail.

The population, what is known and the ideal copy follow from the seed; keys, ids and nonces do not.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

import postgres
from doorstep_server.privacy.unlinkable import unseal_subject
from doorstep_server.settings import Settings
from privacy.stolen_attacks import ATTACKS, Attack
from privacy.stolen_copies import DAY_BYTES, Copier, Copy, ideal
from privacy.stolen_faults import Fault, faults_of
from privacy.stolen_filling import Filled, fill, is_alone, last_copied
from privacy.stolen_naming import Known, Named, name
from privacy.stolen_people import populate
from privacy.stolen_postgres import PostgresCopier
from privacy.stolen_sqlite import SqliteCopier
from world import DATABASES, on_postgres

EPOCH = date(1970, 1, 1)
#: points that are known of each person
KNOWN = 4
#: of the day that is copied, where a thief watches: so many of them are of that day
KNOWN_THAT_DAY = 2
#: points of a percentage by which a real copy may yield more
BAR = 0.5
#: but for what is chance: so many standard errors
CHANCE = 3.0
#: controls run with this many people and days
SMALL = (150, 24)
#: which attack finds which fault
FINDS = {
    Fault.FOR_SHARE: "near",
    Fault.ARRIVAL_ORDER: "together",
    Fault.LAST_SEEN: "near",
    Fault.REPEATED_SLOT: "equal",
    Fault.SAME_SEAL: "equal",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stolen:
    """A real copy, the ideal one, and the truth."""

    real: Copy
    ideal: Copy
    #: whose each row is
    owners: list[int]
    #: each person's rows, in the order of their lives
    lives: dict[int, list[int]]
    #: rows that a phone sent together
    together: frozenset[int]
    #: the days that were copied every hour
    copied: tuple[int, ...]
    #: of all rows, with the keyring
    with_keyring: float

    def day_of(self, number: int) -> int:
        """When a row was written; but for what was sent after midnight."""
        return self.real.rows[number].slot // 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """How much an attack names in some of the rows, in points of a percentage."""

    attack: str
    rows: str
    real: float
    ideal: float
    error: float

    @property
    def difference(self) -> float:
        """What the real copy yields more."""
        return self.real - self.ideal

    @property
    def leaks(self) -> bool:
        """Whether that is more than it may be, and not chance."""
        return self.difference > BAR and self.difference > CHANCE * self.error

    def __str__(self) -> str:
        return (
            f"{self.rows:<28} {self.attack:<9} {self.real:7.2f} {self.ideal:7.2f} "
            f"{self.difference:+7.2f} ± {self.error:.2f}{'  MISSED' if self.leaks else ''}"
        )


HEAD = f"{'rows':<28} {'attack':<9} {'real':>7} {'ideal':>7} {'more':>7}   standard error"


# --- stealing ------------------------------------------------------------------------------------


def steal(
    settings: Settings, people: int, days: int, seed: int, faults: Collection[Fault] = ()
) -> Stolen:
    """Fill a database and take it."""
    rng = random.Random(seed)
    population = populate(rng, people, days)
    latest = last_copied(days)
    copied = (latest - 1, latest)
    thieves: list[Copier] = []

    def thief_of(filled: Filled) -> Copier:
        on_postgres = filled.settings.admin_database_url is not None
        thieves.append(PostgresCopier(filled) if on_postgres else SqliteCopier(filled))
        return thieves[0]

    filled = fill(settings, population, days, rng, faults=faults, copied=copied, thief_of=thief_of)
    real = thieves[0].copy
    assert real is not None
    ids = [row.secrets[0] for row in real.rows]
    owners = [filled.owners[row_id] for row_id in ids]
    return Stolen(
        real=real,
        ideal=ideal(real, random.Random(f"{seed} ideal")),
        owners=owners,
        lives=_lives(filled, ids),
        together=frozenset(n for n, i in enumerate(ids) if i in filled.sent_together),
        copied=copied,
        with_keyring=_with_keyring(filled, real, owners),
    )


def _lives(filled: Filled, ids: Sequence[bytes]) -> dict[int, list[int]]:
    numbers = {row_id: number for number, row_id in enumerate(ids)}
    lives: dict[int, list[int]] = {caller: [] for caller in range(len(filled.callers))}
    for row_id, owner in filled.owners.items():
        lives[owner].append(numbers[row_id])
    return lives


def _with_keyring(filled: Filled, copy: Copy, owners: Sequence[int]) -> float:
    """What the holder of the keyring names, in percent."""
    numbers = {caller.subject_id: number for number, caller in enumerate(filled.callers)}
    right = 0
    for row, owner in zip(copy.rows, owners, strict=True):
        row_id, token, sealed = row.secrets
        expires_on = EPOCH + timedelta(days=int.from_bytes(token[:DAY_BYTES]))
        subject_id = unseal_subject(filled.policy.keys, UUID(bytes=row_id), expires_on, sealed)
        right += numbers[subject_id] == owner
    return 100 * right / len(owners)


# --- judging -------------------------------------------------------------------------------------

#: some of a copy's rows, by their numbers
Rows = set[int]
#: what is known of people, and of which rows it is asked whose they are
Question = tuple[Known, dict[str, Rows]]


def evaluate(stolen: Stolen, seed: int, attacks: Sequence[str] = tuple(ATTACKS)) -> list[Finding]:
    """Every attack on all rows, and on the rows of each day that was copied."""
    rng = random.Random(f"{seed} known")
    everything, lives = set(range(len(stolen.owners))), stolen.lives
    anywhere = {person: rng.sample(rows, min(KNOWN, len(rows))) for person, rows in lives.items()}
    questions: list[Question] = [(anywhere, _parts(stolen, everything))]
    for day in stolen.copied:
        of_day = {n for n in everything if stolen.day_of(n) == day}
        watched = {person: _watched(rng, rows, of_day) for person, rows in lives.items()}
        questions.append((watched, {f"of the day copied, {_mode(day)}": of_day}))
    # an attacker who knows what is noise follows habits, so what these yield is the least
    habits = _named(stolen.ideal, questions, ATTACKS["habits"])
    findings: list[Finding] = []
    for attack in attacks:
        real = _named(stolen.real, questions, ATTACKS[attack])
        drawn = _named(stolen.ideal, questions, ATTACKS[attack])
        for question, *named in zip(questions, real, drawn, habits, strict=True):
            findings += _found(attack, stolen.owners, question, named)
    return findings


def _mode(day: int) -> str:
    return "single" if is_alone(day) else "batched"


def _watched(rng: random.Random, rows: Sequence[int], of_day: Rows) -> list[int]:
    """What is known of a person whom the thief sees on the day of the copies."""
    there = [number for number in rows if number in of_day]
    others = [number for number in rows if number not in of_day]
    seen = rng.sample(there, min(KNOWN_THAT_DAY, max(0, len(there) - 1)))
    return seen + rng.sample(others, min(KNOWN - len(seen), len(others)))


def _parts(stolen: Stolen, everything: Rows) -> dict[str, Rows]:
    """What is looked at apart."""
    visitors: dict[bytes, set[int]] = defaultdict(set)
    for row, owner in zip(stolen.real.rows, stolen.owners, strict=True):
        visitors[row.site].add(owner)
    alone = {n for n in everything if is_alone(stolen.day_of(n))}
    lonely = {n for n in everything if len(visitors[stolen.real.rows[n].site]) == 1}
    return {
        "all": everything,
        "single commits": alone,
        "batched commits": everything - alone,
        "sites of one visitor": lonely,
        "sent together": set(stolen.together),
    }


def _named(copy: Copy, questions: Sequence[Question], attack: Attack) -> list[Named]:
    """Who an attacker takes all asked rows for, for each thing that is asked."""
    evidence = attack(copy)
    return [
        name(copy, known, evidence, sorted(set[int]().union(*parts.values())))
        for known, parts in questions
    ]


def _found(
    attack: str, owners: Sequence[int], question: Question, named: Sequence[Named]
) -> Iterator[Finding]:
    known, parts = question
    given = {number for rows in known.values() for number in rows}
    for rows, numbers in parts.items():
        if others := numbers - given:
            yield _finding(attack, rows, owners, others, named)


def _finding(
    attack: str, rows: str, owners: Sequence[int], others: Rows, named: Sequence[Named]
) -> Finding:
    """In the ideal copy an attacker is free not to follow what is noise: habits always remain."""
    counts = [defaultdict[int, float](float) for _ in named]
    sizes = Counter(owners[number] for number in others)
    for right, whose in zip(counts, named, strict=True):
        for number in others:
            if owners[number] in whose[number]:
                right[owners[number]] += 1 / len(whose[number])
    real, drawn, habits = counts
    best = max(drawn, habits, key=lambda right: sum(right.values()))
    more = (sum(real.values()) - sum(best.values())) / len(others)
    squares = sum((real[p] - best[p] - more * size) ** 2 for p, size in sizes.items())
    return Finding(
        attack=attack,
        rows=rows,
        real=100 * sum(real.values()) / len(others),
        ideal=100 * sum(best.values()) / len(others),
        error=100 * math.sqrt(squares) / len(others),
    )


# --- the command ---------------------------------------------------------------------------------


@contextmanager
def places(kind: str) -> Iterator[Callable[[], Settings]]:
    """Makes places for deployments on a kind of database."""
    with tempfile.TemporaryDirectory(prefix="stolen-") as folder:
        homes = (Path(folder) / str(number) for number in count())
        if kind == "sqlite":
            yield lambda: Settings(home=next(homes))
            return
        with postgres.opened() as server:
            yield lambda: on_postgres(next(homes), server.new_database())


def told(line: object = "") -> None:
    """Print at once: this takes long."""
    print(line, flush=True)


def controls(place: Callable[[], Settings], kind: str, seed: int) -> Iterator[tuple[Fault, bool]]:
    """Each fault, and whether the evaluation tells."""
    people, days = SMALL
    for fault in faults_of(kind):
        stolen = steal(place(), people, days, seed, [fault])
        findings = evaluate(stolen, seed, [FINDS[fault]])
        worst = max(findings, key=lambda finding: (finding.leaks, finding.difference))
        told(f"{fault.value:<18} {worst}")
        yield fault, worst.leaks


def run(place: Callable[[], Settings], options: argparse.Namespace) -> bool:
    """All of it; whether the bar was kept and every control was told."""
    started = time.monotonic()
    stolen = steal(place(), options.people, options.days, options.seed)
    told(f"{len(stolen.owners):,} rows in {time.monotonic() - started:.0f} s")
    findings = evaluate(stolen, options.seed)
    told(HEAD)
    for finding in findings:
        told(finding)
    told(f"with the keyring: {stolen.with_keyring:.2f} % named")
    told(
        f"\ncontrols, which must miss the bar ({SMALL[0]} people, {SMALL[1]} days)\n{'':<18} {HEAD}"
    )
    missed = [
        fault for fault, found in controls(place, options.database, options.seed) if not found
    ]
    kept = not any(f.leaks for f in findings) and stolen.with_keyring == 100
    told(f"\n{'kept' if kept else 'MISSED'}; controls not told: {missed or 'none'}")
    return kept and not missed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--people", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    told(f"{options.database}: {options.people:,} people, {options.days} days, seed {options.seed}")
    with places(options.database) as place:
        return 0 if run(place, options) else 1


_Raw = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    sys.exit(main())
