"""What check-ins cost here beside another checkout, say of before a change, in one run.

    git worktree add ../before COMMIT
    python loadtests/before.py ../before

Both checkouts' own `bench.py --quick` take turns, a round each time, so that what else the machine
does meets both. Check-ins a second of CPU (server and database together) are compared as a share of
the empty handler's in the same round: that handler is the same in both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import results

HERE = Path(__file__).parent.parent
#: what is on the path of a checkout's programs, before what is installed
_PARTS = ("server", "geofences", "sdk", "tests", "loadtests")

#: by load and server: the share of the empty handler's rate, one a round
Shares = dict[tuple[str, str], list[float]]


def measure(checkout: Path, seconds: float, folder: Path) -> dict[tuple[str, str], float]:
    """One round of a checkout."""
    path = os.pathsep.join(str(checkout / part) for part in _PARTS)
    command = [sys.executable, str(checkout / "loadtests" / "bench.py"), "--quick"]
    options = ["--rounds", "1", "--seconds", str(seconds), "--out", str(folder)]
    subprocess.run(  # noqa: S603
        [*command, *options],
        check=True,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )
    figures = json.loads((folder / "results.json").read_text())
    return {
        (one["load"]["name"], name): _cost(one["rounds"][results.EMPTY]) / _cost(rounds)
        for one in figures["comparisons"]
        for name, rounds in one["rounds"].items()
        if name != results.EMPTY
    }


def _cost(rounds: list[dict[str, Any]]) -> float:
    """CPU: of all figures the one that others disturb least."""
    cost = results.cpu_us(rounds)
    assert cost, "this system does not tell what processes use"
    return cost


def main() -> int:
    """Parse, take turns, print."""
    parser = argparse.ArgumentParser(description="Compare with another checkout.")
    parser.add_argument("before", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    shares: dict[str, Shares] = {"before": defaultdict(list), "now": defaultdict(list)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(chosen.rounds):
            for name, checkout in (("before", chosen.before.absolute()), ("now", HERE)):
                for key, share in measure(checkout, chosen.seconds, Path(folder)).items():
                    shares[name][key].append(share)
    for key, now in shares["now"].items():
        before = shares["before"][key]
        print(
            f"{key[0]}, {key[1]}: {median(before):.1%} of the empty handler before, "
            f"{median(now):.1%} now: x {median(now) / median(before):.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
