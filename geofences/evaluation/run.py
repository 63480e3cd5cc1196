"""`make judge`: how often the rule of `judge` is wrong, beside the rules of others.

Prints tables, writes them and the plots into a folder, and exits with 1 if our rule accepts or
rejects falsely more often than it may.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation import accuracies, fences, plots, studies, tables
from evaluation.fixes import fixes
from evaluation.records import Record, write_csv
from evaluation.studies import World

SEED = 20_260_101
SECTIONS: dict[str, Callable[[World], Iterator[Record]]] = {
    "rules": studies.rules,
    "levels": studies.levels,
    "sizes": studies.sizes,
    "caps": studies.caps,
    "errors": studies.errors,
    "reaches": studies.reaches,
    "fixes": fixes,
}


def main(arguments: Sequence[str]) -> int:
    """Run; the exit code."""
    wanted = _parser().parse_args(arguments)
    world = World(
        footprints=_footprints(wanted),
        accuracies=accuracies.read(),
        count=wanted.claims,
        seed=wanted.seed,
        same_accuracy=wanted.same_accuracy,
    )
    print(f"{wanted.claims} claims of each kind, seed {wanted.seed}\n", flush=True)
    records: list[Record] = []
    for section in wanted.only or SECTIONS:
        found = list(SECTIONS[section](world))
        print(tables.tables(found), flush=True)
        records += found
    _write(records, wanted)
    missed = studies.missed_bars(records)
    print("\n".join(missed) if missed else "No bar is missed.")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=3_000, help="of each kind, in each scene")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--footprints", type=Path, help="GeoJSON of polygons, may be .gz")
    parser.add_argument("--least-area", type=float, default=0.0, help="of a footprint, in m²")
    parser.add_argument("--only", nargs="+", choices=SECTIONS)
    parser.add_argument(
        "--same-accuracy",
        type=float,
        default=studies.SAME_ACCURACY,
        help="how probable it is that a later fix of a claim is as accurate as the first",
    )
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="a folder; one for temporary files by default")
    return parser


def _footprints(wanted: argparse.Namespace) -> fences.FenceSet:
    found = fences.made_up()
    if wanted.footprints is not None:
        rng = np.random.default_rng([wanted.seed, 0])
        found = fences.footprints(wanted.footprints, rng, wanted.least_area)
    return found


def _write(records: Sequence[Record], wanted: argparse.Namespace) -> None:
    folder = wanted.out or Path(tempfile.gettempdir()) / "doorstep-judge"
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(records, folder / "judge.csv")
    (folder / "judge.md").write_text(tables.tables(records), encoding="utf-8")
    written = ["judge.csv", "judge.md"]
    if wanted.plots:
        written += plots.write(records, folder)
    print(f"{folder}: {', '.join(written)}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
