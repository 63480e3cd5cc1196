"""What several fixes of one claim would give.

The errors of fixes that a phone takes within a minute are alike: the same satellites, the same
reflections, the same access points. Here each error is a part that all fixes of a claim share,
and a part of its own; their correlation is an assumption, and so is that a later fix has the
accuracy of the first unless it is drawn anew.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from doorstep_geofences import STANDARD
from doorstep_geofences.gaussian import SIGMAS_PER_ACCURACY

from .accuracies import Floats
from .claims import Claims, Kind, Scene, places
from .fences import circle
from .records import Record, Sample, Setting
from .rules import Answers, ours
from .studies import CIRCLE_M, World

COUNTS = (1, 2, 3, 5)
MOST = max(COUNTS)
CORRELATIONS = (0.0, 0.5, 0.8, 0.95)

_JUDGED = ours(assurance=STANDARD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taking:
    """How the fixes of a claim are taken."""

    fixes: int
    #: Of their errors.
    correlation: float
    #: How probable it is that a later fix is as accurate as the first.
    same_accuracy: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Several:
    """Claims of some fixes each: the last axes are the fix, and east and north."""

    claims: Claims
    fixes_m: Floats
    #: Not a number where the phone does not say.
    accuracies_m: Floats
    correlation: float

    @cached_property
    def judged(self) -> list[Answers]:
        """What `judge` says of each fix."""
        return [
            _JUDGED(self.with_one(self.fixes_m[:, i], self.accuracies_m[:, i]))
            for i in range(self.fixes_m.shape[1])
        ]

    def with_one(self, fix_m: Floats, accuracy_m: Floats) -> Claims:
        """The claims, with one fix each."""
        return replace(self.claims, fix_m=fix_m, accuracy_m=accuracy_m)


def several(scene: Scene, kind: Kind, taking: Taking, sample: Sample) -> Several:
    """Claims of people of that kind, with so many fixes each.

    The most are always drawn: the same random numbers make what is compared the same people.
    """
    rng, count = sample.rng, sample.count
    fence, true_m = places(scene.fences, kind, count, rng)
    reported_m, erring_m = _accuracies(scene, taking.same_accuracy, count, rng)
    shared = rng.standard_normal((count, 1, 2))
    own = rng.standard_normal((count, MOST, 2))
    rho = taking.correlation
    errors = np.sqrt(rho) * shared + np.sqrt(1.0 - rho) * own
    fixes_m = true_m[:, np.newaxis] + errors * (erring_m / SIGMAS_PER_ACCURACY)[:, :, np.newaxis]
    return Several(
        claims=Claims(
            fences=scene.fences,
            fence=fence,
            true_m=true_m,
            fix_m=fixes_m[:, 0],
            accuracy_m=reported_m[:, 0],
        ),
        fixes_m=fixes_m[:, : taking.fixes],
        accuracies_m=reported_m[:, : taking.fixes],
        correlation=rho,
    )


def _accuracies(
    scene: Scene, same_accuracy: float, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """The accuracies that are reported, and those of the errors."""
    drawn = rng.random((2, count, MOST))
    same = rng.random((count, MOST)) < same_accuracy
    level, of_unknown = np.where(same, drawn[:, :, :1], drawn)
    reported_m = scene.accuracies.at(level)
    unknown = reported_m == 0.0
    erring_m = np.where(unknown, scene.accuracies.of_known_at(of_unknown), reported_m)
    return np.where(unknown, np.nan, reported_m), erring_m


def one(some: Several) -> Answers:
    """The first fix alone."""
    return some.judged[0]


def best(some: Several) -> Answers:
    """The fix of the best accuracy alone, which a phone can choose by itself."""
    number = np.argmin(np.nan_to_num(some.accuracies_m, nan=np.inf), axis=1)
    claim = np.arange(len(number))
    return _JUDGED(some.with_one(some.fixes_m[claim, number], some.accuracies_m[claim, number]))


def mean_as_if_independent(some: Several) -> Answers:
    """The mean, taken to be as accurate as if errors were independent."""
    return _JUDGED(mean(some, 0.0))


def mean_of_known_correlation(some: Several) -> Answers:
    """The mean, taken to be as accurate as it is: the correlation is known."""
    return _JUDGED(mean(some, some.correlation))


def all_agree(some: Several) -> Answers:
    """Each fix is judged; what not all say is uncertain."""
    return Answers(
        accepted=np.logical_and.reduce([a.accepted for a in some.judged]),
        rejected=np.logical_and.reduce([a.rejected for a in some.judged]),
    )


def tried_again(some: Several) -> Answers:
    """Each fix is a claim of its own, until one is accepted: what retries give anyone today."""
    return Answers(
        accepted=np.logical_or.reduce([a.accepted for a in some.judged]),
        rejected=np.logical_and.reduce([a.rejected for a in some.judged]),
    )


COMBINING: dict[str, Callable[[Several], Answers]] = {
    "best accuracy alone": best,
    "mean, correlation known": mean_of_known_correlation,
    "mean, as if independent": mean_as_if_independent,
    "all must agree": all_agree,
    "tried again until accepted": tried_again,
}


def fixes(world: World) -> Iterator[Record]:
    """Every way of combining, for each number of fixes and each correlation."""
    scenes = world.scenes(circle(CIRCLE_M))
    for scene, number, kind in product(scenes, COUNTS, (Kind.INSIDE, Kind.NEAR, Kind.FAR)):
        for correlation in CORRELATIONS if number > 1 else (0.0,):
            taking = Taking(
                fixes=number, correlation=correlation, same_accuracy=world.same_accuracy
            )
            some = several(scene, kind, taking, world.sample(7, kind, part=4))
            setting = Setting.of("fixes", scene)
            yield from _measured(
                replace(setting, fixes=number, correlation=correlation), kind, some
            )


def _measured(setting: Setting, kind: Kind, some: Several) -> Iterator[Record]:
    ways = COMBINING if setting.fixes > 1 else {"one fix": one}
    for name, answers in ways.items():
        yield Record(setting=setting, rule=name, kind=kind, tally=answers(some).tally())


def mean(some: Several, correlation: float) -> Claims:
    """The mean of each claim's fixes by inverse variance, and what its accuracy would be.

    Of fixes whose accuracies are all unknown it is the first.
    """
    weights = np.nan_to_num(some.accuracies_m**-2.0)
    weights[~weights.any(axis=1), 0] = 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    parts = np.where(weights > 0.0, weights * some.accuracies_m, 0.0)
    shared, own = parts.sum(axis=1) ** 2, (parts**2).sum(axis=1)
    return some.with_one(
        np.einsum("cf,cfp->cp", weights, some.fixes_m),
        np.sqrt(correlation * shared + (1.0 - correlation) * own),
    )
