"""What is measured with one fix a claim."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from doorstep_geofences import STANDARD, STRICT
from doorstep_geofences.gaussian import PLAUSIBLE_ACCURACIES

from .accuracies import Accuracies
from .claims import ERROR_MODELS, Claims, Kind, Scene
from .fences import FenceSet, circle
from .records import Record, Sample, Setting, measure
from .rules import CAP_M, Answers, Rule, compared, ours, signed_distance_m

CIRCLE_M = 75.0
TOLERANCE_M = 25.0
RADII_M = (10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 250.0)
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
CAPS_M = (50.0, CAP_M, 200.0, 1_000.0)
REACHES = (PLAUSIBLE_ACCURACIES, 2.5, 3.0)
SAME_ACCURACY = 0.8
#: At most so many false accepts and false rejects: what `make judge` holds the rule to.
MOST_FALSE_ACCEPTS = 0.005
MOST_FALSE_REJECTS = 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class World:
    """What claims are drawn from, and how many."""

    footprints: FenceSet
    accuracies: Sequence[Accuracies]
    count: int
    seed: int
    #: How probable it is that a later fix of a claim is as accurate as the first.
    same_accuracy: float = SAME_ACCURACY

    def scenes(self, *sets: FenceSet) -> list[Scene]:
        """Every fence set with every distribution of accuracies."""
        return [Scene(fences=f, accuracies=a) for f in sets for a in self.accuracies]

    def sample(self, number: int, *kinds: Kind, part: int = 1) -> Sample:
        """A part of the claims, from a stream of random numbers of its own."""
        rng = np.random.default_rng([self.seed, number])
        return Sample(kinds=kinds, count=max(self.count // part, 10), rng=rng)


def rules(world: World) -> Iterator[Record]:
    """Our rule and the others."""
    sample = world.sample(1, *Kind)
    for fences, tolerance_m in (
        (circle(CIRCLE_M), 0.0),
        (world.footprints, 0.0),
        (world.footprints, TOLERANCE_M),
    ):
        for scene in world.scenes(fences):
            setting = Setting.of("rules", scene, tolerance_m=tolerance_m)
            yield from measure(setting, scene, compared(tolerance_m), sample)


def levels(world: World) -> Iterator[Record]:
    """What each assurance costs and gives; none at all is what `judge` does not allow."""
    levelled = [
        Rule(name="0", answers=_covered),
        *(Rule(name=f"{level:g}", answers=ours(assurance=level)) for level in LEVELS),
    ]
    sample = world.sample(2, Kind.INSIDE, Kind.NEAR, Kind.FAR, part=2)
    for scene in world.scenes(circle(CIRCLE_M), world.footprints):
        yield from measure(Setting.of("levels", scene), scene, levelled, sample)


def sizes(world: World) -> Iterator[Record]:
    """How large a circle has to be for the accuracies that phones have."""
    standard = Rule(name="ours, standard", answers=ours(assurance=STANDARD))
    sample = world.sample(3, Kind.INSIDE, Kind.FAR, part=2)
    for scene in world.scenes(*map(circle, RADII_M)):
        yield from measure(Setting.of("sizes", scene), scene, [standard], sample)


def caps(world: World) -> Iterator[Record]:
    """What the cap on the accuracy changes."""
    capped = [
        Rule(name=f"{cap_m:g}", answers=ours(assurance=STANDARD, max_accuracy_m=cap_m))
        for cap_m in CAPS_M
    ]
    sample = world.sample(4, Kind.INSIDE, Kind.FAR, part=2)
    for scene in world.scenes(circle(CIRCLE_M), circle(2 * CIRCLE_M)):
        yield from measure(Setting.of("caps", scene), scene, capped, sample)


def errors(world: World) -> Iterator[Record]:
    """What happens when phones are wrong about how accurate they are."""
    judged = [
        Rule(name="ours, standard", answers=ours(assurance=STANDARD)),
        Rule(name="ours, strict", answers=ours(assurance=STRICT)),
    ]
    sample = world.sample(5, *Kind, part=4)
    for scene in _erring(world, circle(CIRCLE_M), world.footprints):
        yield from measure(Setting.of("errors", scene), scene, judged, sample)


def reaches(world: World) -> Iterator[Record]:
    """How many accuracies away a fix must be to be rejected."""
    sample = world.sample(6, Kind.INSIDE, Kind.FAR)
    for scene in _erring(world, circle(CIRCLE_M), world.footprints):
        yield from measure(Setting.of("reaches", scene), scene, reaching(), sample)


def reaching() -> list[Rule]:
    """Rules that reject from other distances, and accept nothing."""
    return [Rule(name=f"{reach:g}", answers=_rejects_beyond(reach)) for reach in REACHES]


def missed_bars(records: Sequence[Record]) -> list[str]:
    """Where our rule is worse than it must be, beyond what chance explains."""
    missed = []
    for record in records:
        if record.setting.section != "rules" or not record.rule.startswith("ours"):
            continue
        false, most = record.tally.rejected, MOST_FALSE_REJECTS
        if record.kind is Kind.FAR:
            false, most = record.tally.accepted, MOST_FALSE_ACCEPTS
        elif record.kind is Kind.NEAR:
            continue
        if false.interval[0] > most:
            at = record.setting
            missed.append(
                f"{record.rule}, {at.fences}, {at.accuracies}, {record.kind.value}: "
                f"{false} is more than {most:.1%}"
            )
    return missed


def _erring(world: World, *sets: FenceSet) -> list[Scene]:
    return [replace(scene, errors=e) for scene in world.scenes(*sets) for e in ERROR_MODELS]


def _covered(claims: Claims) -> Answers:
    """What would be accepted if the cap and being covered were all that is asked."""
    rejected = _rejects_beyond(PLAUSIBLE_ACCURACIES)(claims).rejected
    accepted = (claims.accuracy_m <= CAP_M) & (signed_distance_m(claims) <= 0.0)
    return Answers(accepted=accepted, rejected=rejected)


def _rejects_beyond(reach: float) -> Callable[[Claims], Answers]:
    def answers(claims: Claims) -> Answers:
        evidence = claims.accuracy_m <= CAP_M  # not of those that are not a number
        rejected = evidence & (signed_distance_m(claims) > reach * claims.accuracy_m)
        return Answers(accepted=np.zeros_like(rejected), rejected=rejected)

    return answers
