"""Do canaries turn up where they must not?

    python tests/privacy/canary.py --database sqlite|postgresql [--seed N] [--keep DIR]

Coordinates, credentials, addresses and persons' ids, each of them unique, are sent through every
route, rightly and wrongly, through faults and past careless code. Then every byte that is left is
looked through: database, write-ahead log, temporary files, logs at debug, answers, crashes, output
of commands; on PostgreSQL its whole folder and its log of every statement. `EXPECTED` says where a
canary may be; anything else is a hit, and the exit code is 1.

    python tests/privacy/canary.py --database sqlite --without log-allow-list
    python tests/privacy/canary.py --database sqlite --guards

take away one guard, or each of them in turn (`unguarded.py`): then there must be hits.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from postgres import why_no_cluster
from privacy import unguarded
from privacy.canaries import Canary, Finder, Kind
from privacy.canary_scenes import Scene, place_of, played
from privacy.unguarded import DATABASES, Guard

DATABASE = ("database", "database as killed", "write-ahead log")
#: where each kind may be found, by the names of places (`place_of`): whatever is not here is a hit
EXPECTED: dict[Kind, tuple[str, ...]] = {
    Kind.POSITION: (),
    Kind.ACCURACY: (),
    Kind.EXACT: ("answer GET /v1/check-ins/{check_in_id}/position",),
    Kind.FENCE: (*DATABASE, "answer * /v1/sites*"),
    # shown once, to whom they are made for
    Kind.DEVICE_TOKEN: ("answer POST /v1/enrollments", "answer POST /v1/device/token"),
    Kind.API_KEY: ("command", "answer POST /v1/api-keys"),
    Kind.CODE: ("command", "answer POST /v1/subjects/{subject_id}/enrollments"),
    Kind.KID: (*DATABASE, "command", "answer *"),
    Kind.FORGED: (),
    Kind.ADDRESS: (),
    # of persons: in the keyring, and sealed
    Kind.EXTERNAL_ID: (
        "answer * /v1/subjects*",
        "answer GET /v1/check-ins",
        "answer GET /v1/privacy/holds/*",
    ),
    Kind.MODEL: ("answer GET /v1/devices",),
    Kind.INSTALLATION: (),
    Kind.NAME: (*DATABASE, "command", "answer *"),
    Kind.REPLACED: ("database as killed", "answer * /v1/sites*"),
    Kind.ERASED: ("database as killed", "keyring as killed", "answer *"),
    Kind.STRAY: (),
    Kind.PASSWORD: (),
    Kind.KEYRING: (),
    Kind.ROOT: ("keyring", "keyring as killed"),
}
#: PostgreSQL keeps a row that was changed until it is vacuumed, and its log until that is recycled
EXPECTED_OF: dict[str, dict[Kind, tuple[str, ...]]] = {
    "sqlite": {},
    "postgresql": {
        Kind.REPLACED: ("database", "write-ahead log"),
        Kind.ERASED: ("write-ahead log",),
    },
}
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


#: hits by place, kind and what they were sent as
Signatures = frozenset[tuple[str, str, str]]


@dataclass(frozen=True, order=True)
class Found:
    """Canaries of one kind that were sent alike and lie in one place."""

    place: str
    kind: str
    sent: str
    form: str


@dataclass
class Findings:
    """What a scan came to."""

    database: str
    seed: int
    hits: Counter[Found] = field(default_factory=Counter)
    expected: Counter[tuple[str, str]] = field(default_factory=Counter)
    files: int = 0
    bytes: int = 0
    canaries: int = 0

    def add(self, place: str, canary: Canary, form: str) -> None:
        if may_be(canary.kind, place, self.database):
            self.expected[canary.kind.value, place] += 1
        else:
            self.hits[Found(place, canary.kind.value, canary.sent, form)] += 1

    @property
    def signatures(self) -> Signatures:
        """What was found where, however it is spelled."""
        return frozenset((hit.place, hit.kind, hit.sent) for hit in self.hits)


def may_be(kind: Kind, place: str, database: str) -> bool:
    """Whether a canary of a kind is expected in a place."""
    patterns = (*EXPECTED[kind], *EXPECTED_OF[database].get(kind, ()))
    return any(fnmatchcase(place, pattern) for pattern in patterns)


def look(scene: Scene, database: str, seed: int) -> Findings:
    """Look through every file that a scene left."""
    findings = Findings(database, seed, canaries=len(scene.canaries.all))
    finder = Finder(scene.canaries.all)
    for place, file in files(scene):
        # what was written before there was any canary holds none; in full it is looked at as well
        if not scene.full and file.stat().st_mtime < scene.began - 1:
            continue
        content = file.read_bytes()
        findings.files += 1
        findings.bytes += len(content)
        for hit in finder.hits(content):
            findings.add(place, hit.canary, hit.form)
    return findings


def files(scene: Scene) -> Iterator[tuple[str, Path]]:
    """Every file of a scene, with its place."""
    roots = [(scene.folder, Path())]
    if scene.cluster is not None:
        roots.append((scene.cluster.folder, Path("postgres")))
    for root, under in roots:
        for file in sorted(root.rglob("*")):
            if file.is_file() and not file.is_symlink():
                yield place_of(under / file.relative_to(root)), file


def scan(folder: Path, database: str, seed: int, **how: Any) -> Findings:
    """Play scenes in a folder (`played`), and look; all that they left is in the folder then."""
    with played(folder, database, seed, **how) as scene:
        findings = look(scene, database, seed)
        if scene.cluster is not None:
            shutil.copytree(scene.cluster.folder, folder / "postgres")
        return findings


# -- guards ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What became of taking a guard away."""

    guard: Guard
    #: without it alone
    alone: Signatures
    #: more, without those before it as well
    behind: Signatures

    def line(self) -> str:
        kinds = sorted({f"{kind} in {place}" for place, kind, _ in self.alone or self.behind})
        if self.alone:
            verdict = "needed"
        elif self.behind:
            verdict = f"needed behind {', '.join(self.guard.behind)}"
        else:
            verdict = "REDUNDANT"
        shown = "; ".join(kinds[:4]) + (f"; {len(kinds) - 4} more" if len(kinds) > 4 else "")
        return f"{self.guard.name:22} {verdict}: {shown}"


def judge(database: str, seed: int, guard: Guard) -> Judged:
    """Take a guard away: alone, and where that shows nothing, with those that stand before it.

    First in the scene that should show it; in all of them before it is called redundant.
    """
    for scenes in ((guard.scene,), ()):
        look_for = partial(_signatures, database, seed, scenes)
        alone, behind = look_for((guard.name,)), frozenset[tuple[str, str, str]]()
        if not alone and guard.behind:
            behind = look_for((*guard.behind, guard.name)) - look_for(guard.behind)
        if alone or behind:
            break
    return Judged(guard, alone, behind)


def _signatures(
    database: str, seed: int, scenes: tuple[str, ...], without: tuple[str, ...]
) -> Signatures:
    key = (database, seed, scenes, without)
    if key not in _scanned:
        with tempfile.TemporaryDirectory() as folder:
            where, how = Path(folder) / "scene", {"thin": THINNER, "only": scenes}
            found = scan(where, database, seed, without=without, **how)
        _scanned[key] = found.signatures
    return _scanned[key]


#: tests scan with, and guards are judged by, fewer of the wrong requests
THIN, THINNER = 10, 20
_scanned: dict[tuple[str, int, tuple[str, ...], tuple[str, ...]], Signatures] = {}


# -- the command -----------------------------------------------------------------------------------


def report(findings: Findings, seconds: float) -> Iterator[str]:
    """What was found, for people: kinds and places, never values."""
    yield (
        f"{findings.database}, seed {findings.seed}: {findings.canaries:,} canaries looked for in "
        f"{findings.files:,} files, {findings.bytes / 1e6:,.0f} MB, {seconds:.0f} s"
    )
    if CORE_PATTERN.exists() and CORE_PATTERN.read_text().startswith(("|", "/")):
        yield f"cores go elsewhere here and were not looked for: {CORE_PATTERN} says where"
    for (kind, place), number in sorted(findings.expected.items()):
        yield f"  expected  {kind} in {place}: {number:,}"
    for hit, number in sorted(findings.hits.items()):
        yield f"  HIT       {hit.kind} in {hit.place}: {hit.form}, sent as {hit.sent}: {number:,}"
    yield f"{findings.hits.total():,} hits"


def main() -> int:
    parser = argparse.ArgumentParser(description="Look for canaries where they must not be.")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave all files there")
    parser.add_argument("--thin", type=int, default=1, help="every how many wrong requests")
    parser.add_argument(
        "--without", action="append", default=[], choices=unguarded.BY_NAME, metavar="GUARD"
    )
    parser.add_argument(
        "--guards", nargs="*", metavar="GUARD", help="take each of these away in turn, or of all"
    )
    chosen = parser.parse_args()
    if chosen.database == "postgresql" and (missing := why_no_cluster()):
        print(missing)
        return 2
    if chosen.keep is not None and chosen.keep.exists():
        parser.error("--keep names a folder that is not there yet")
    if chosen.guards is not None:
        return _judge(chosen.database, chosen.seed, chosen.guards or list(unguarded.BY_NAME))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        where = chosen.keep or Path(folder) / "scene"
        findings = scan(
            where, chosen.database, chosen.seed, without=chosen.without, thin=chosen.thin
        )
    for line in report(findings, time.monotonic() - started):
        print(line)
    return 1 if findings.hits else 0


def _judge(database: str, seed: int, names: Sequence[str]) -> int:
    """0 if each guard is needed."""
    idle = 0
    for guard in map(unguarded.BY_NAME.__getitem__, names):
        if database in guard.databases:
            judged = judge(database, seed, guard)
            idle += not (judged.alone or judged.behind)
            print(judged.line(), flush=True)
    return 1 if idle else 0


if __name__ == "__main__":
    sys.exit(main())
