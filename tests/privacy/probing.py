"""Somebody who looks for a secret site by its answers alone: how near they get with how many.

    PYTHONPATH=tests python tests/privacy/probing.py

prints the table that the budget was chosen by. The seeker does what we know to be best: they know
how verdicts are made, keep every place that agrees with all answers so far, and ask next what parts
these places most evenly, by position and by accuracy. Answers are those of the judging itself.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from doorstep_geofences import STANDARD, Fix, Geofence, Outcome, Question, Site, SiteIndex, judge
from doorstep_geofences.gaussian import PLAUSIBLE_ACCURACIES

Points = npt.NDArray[np.float64]

RADIUS_M = 75.0
CAP_M = 100.0
#: metres in a degree of latitude: the seeker's map is flat, and this much wrong at most
DEGREE_M, SLACK_M = 110_574.0, 1.5
#: possible centres that are held at once, and how few are too few
HELD, TOO_FEW = 4_000, 500
QUESTIONS_WEIGHED = 30
#: so near is near enough
ENOUGH_M = 10.0


def place(x_m: float, y_m: float) -> tuple[float, float]:
    """Longitude and latitude of a place on the seeker's map, which lies on the equator."""
    return x_m / 111_319.5, y_m / DEGREE_M


def secret_site(x_m: float, y_m: float) -> Site:
    lon, lat = place(x_m, y_m)
    return Site(
        site_id="secret",
        version=1,
        geofence=Geofence.circle(lon, lat, RADIUS_M),
        tolerance_m=0.0,
        assurance=STANDARD,
        max_accuracy_m=CAP_M,
    )


@dataclass(frozen=True)
class Heard:
    """A question and what was said."""

    x_m: float
    y_m: float
    accuracy_m: float
    outcome: Outcome

    def agrees(self, centres: Points) -> npt.NDArray[np.bool_]:
        """Which centres could have made this answer."""
        beyond_m = np.hypot(centres[:, 0] - self.x_m, centres[:, 1] - self.y_m) - RADIUS_M
        reach_m = PLAUSIBLE_ACCURACIES * self.accuracy_m
        if self.outcome is Outcome.REJECTED:
            return np.asarray(beyond_m > reach_m - SLACK_M)
        within_m = 0.0 if self.outcome is Outcome.ACCEPTED else reach_m
        return np.asarray(beyond_m < within_m + SLACK_M)


Ask = Callable[[float, float, float], Outcome | None]


@dataclass
class Seeker:
    """Knows that the centre lies within a circle around (0, 0), and asks."""

    within_m: float
    rng: np.random.Generator
    heard: list[Heard] = field(default_factory=list)
    centres: Points = field(init=False)

    def __post_init__(self) -> None:
        self.centres = self._scattered(0.0, 0.0, self.within_m)

    def ask(self, answer: Ask) -> bool:
        """Ask what is best asked now; False when there is no answer."""
        x_m, y_m, accuracy_m = self._best_question()
        outcome = answer(x_m, y_m, accuracy_m)
        if outcome is None:
            return False
        self.heard.append(Heard(x_m, y_m, accuracy_m, outcome))
        self.centres = self.centres[self.heard[-1].agrees(self.centres)]
        self._fill_up()
        return True

    def knows(self) -> bool:
        """Whether nothing is left to be asked."""
        return bool(np.ptp(self.centres, axis=0).max() < ENOUGH_M)

    def guess(self) -> tuple[float, float]:
        """The middle of all that is possible."""
        x_m, y_m = self.centres.mean(axis=0)
        return float(x_m), float(y_m)

    def _best_question(self) -> tuple[float, float, float]:
        some = self.centres[:TOO_FEW]
        near = some[self.rng.integers(len(some), size=QUESTIONS_WEIGHED)]
        accuracies_m = np.exp(self.rng.uniform(0.0, math.log(CAP_M), len(near)))
        accuracies_m[::3] = CAP_M
        # in the midst of them, or as far off as makes the edge of one the edge of the answer
        off_m = RADIUS_M + PLAUSIBLE_ACCURACIES * accuracies_m
        angle = self.rng.uniform(0.0, 2 * math.pi, len(near))
        off_m[::2] = 0.0
        places = near + (off_m * np.stack([np.cos(angle), np.sin(angle)])).T
        away_m = np.hypot(*(some[None, :, :] - places[:, None, :]).T).T - RADIUS_M
        outside = (away_m > PLAUSIBLE_ACCURACIES * accuracies_m[:, None]).mean(axis=1)
        best = int(np.abs(outside - 0.5).argmin())
        return float(places[best, 0]), float(places[best, 1]), float(accuracies_m[best])

    def _scattered(self, x_m: float, y_m: float, within_m: float) -> Points:
        radius = within_m * np.sqrt(self.rng.random(HELD))
        angle = self.rng.uniform(0.0, 2 * math.pi, HELD)
        return np.stack([x_m + radius * np.cos(angle), y_m + radius * np.sin(angle)], axis=1)

    def _fill_up(self) -> None:
        """Of few places that are still possible, hold more that lie between."""
        for _ in range(30):
            if len(self.centres) >= TOO_FEW:
                return
            x_m, y_m = self.guess()
            far = np.hypot(*(self.centres - (x_m, y_m)).T).max() if len(self.centres) else 0.0
            fresh = self._scattered(x_m, y_m, 1.1 * far + 1.0)
            fresh = fresh[np.hypot(*fresh.T) <= self.within_m]
            for one in self.heard:
                fresh = fresh[one.agrees(fresh)]
            self.centres = np.concatenate([self.centres, fresh])


@dataclass
class Secret:
    """A site somewhere, and how many of its answers counted."""

    x_m: float
    y_m: float
    counted: int = 0

    def __post_init__(self) -> None:
        self._index = SiteIndex([secret_site(self.x_m, self.y_m)])

    def outcome(self, x_m: float, y_m: float, accuracy_m: float) -> Outcome:
        lon, lat = place(x_m, y_m)
        fix = Fix(lat=lat, lon=lon, accuracy_m=accuracy_m)
        [verdict] = judge([Question(fix=fix, site_id="secret")], self._index)
        self.counted += verdict.outcome is not Outcome.ACCEPTED
        return verdict.outcome

    def away_m(self, guess: tuple[float, float]) -> float:
        return math.hypot(guess[0] - self.x_m, guess[1] - self.y_m)


def hidden(within_m: float, rng: np.random.Generator) -> Secret:
    radius, angle = within_m * math.sqrt(rng.random()), rng.uniform(0.0, 2 * math.pi)
    return Secret(radius * math.cos(angle), radius * math.sin(angle))


def sought(within_m: float, answers: list[int], seed: int) -> list[float]:
    """How far off the seeker is after so many counted answers."""
    rng = np.random.default_rng(seed)
    secret, seeker = hidden(within_m, rng), Seeker(within_m, rng)
    away_m = []
    for wanted in answers:
        while secret.counted < wanted and not seeker.knows():
            seeker.ask(secret.outcome)
        away_m.append(secret.away_m(seeker.guess()))
    return away_m


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--within-m", type=float, nargs="+", default=[1_000.0, 5_000.0])
    parser.add_argument("--answers", type=int, nargs="+", default=[5, 10, 22, 34, 58, 106])
    wanted = parser.parse_args()
    for within_m in wanted.within_m:
        found = [sought(within_m, wanted.answers, seed) for seed in range(wanted.runs)]
        print(f"somewhere within {within_m:.0f} m; metres off, half and nine of ten seekers:")
        for answers, away_m in zip(wanted.answers, zip(*found, strict=True), strict=True):
            nine = statistics.quantiles(away_m, n=10)
            known = sum(a <= RADIUS_M for a in away_m) / len(away_m)
            print(
                f"  {answers:4} answers: {statistics.median(away_m):7.1f} {nine[-1]:7.1f}"
                f"   found to the fence's radius: {known:.0%}"
            )


if __name__ == "__main__":
    main()
