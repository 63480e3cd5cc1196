"""Does only uncertain grow? A worse accuracy makes verdicts uncertain, and changes nothing else.

    python tests/grows.py --cases 1000000

A case is a random shape (circles, stars, holes, islands in holes; tolerances and assurances), a
random fix and a pair of accuracies. Half are claims, half searches among five sites.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator

from doorstep_geofences import Fix, Outcome, Question, SiteIndex, Verdict, judge
from geofences.making import random_fix_place, random_site

#: sites that are drawn together, and cases for each such set
SITES = 5
OF_EACH = 500

Pair = tuple[Outcome, Outcome]


def cases(rng: random.Random, count: int) -> Iterator[Pair]:
    """The outcomes at the better and at the worse accuracy."""
    for start in range(0, count, OF_EACH):
        index = SiteIndex(random_site(rng, number) for number in range(SITES))
        pairs = [_questions(rng) for _ in range(min(OF_EACH, count - start))]
        answers: list[Verdict] = judge([q for pair in pairs for q in pair], index)
        outcomes = [answer.outcome for answer in answers]
        yield from zip(outcomes[::2], outcomes[1::2], strict=True)


def _questions(rng: random.Random) -> tuple[Question, Question]:
    where = random_fix_place(rng)
    better_m, worse_m = sorted(10 ** rng.uniform(-1, 3.5) for _ in range(2))
    claimed = rng.choice((None, rng.randrange(SITES)))
    fixes = (Fix(**where, accuracy_m=better_m), Fix(**where, accuracy_m=worse_m))
    better, worse = (Question(fix=fix, site_id=claimed) for fix in fixes)
    return better, worse


def is_kept(pair: Pair) -> bool:
    """Whether a pair is as the rule says."""
    better, worse = pair
    return worse in {better, Outcome.UNCERTAIN}


def main() -> int:
    parser = argparse.ArgumentParser(description="Look for accuracies that help by being worse.")
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", default=os.urandom(4).hex(), help="of what is chosen by chance")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    seen = Counter(cases(random.Random(chosen.seed), chosen.cases))
    for (better, worse), count in sorted(seen.items()):
        told = "" if is_kept((better, worse)) else "  WRONG"
        print(f"{better:>9} -> {worse:<9} {count:>9,}{told}")
    return 0 if all(map(is_kept, seen)) else 1


if __name__ == "__main__":
    sys.exit(main())
