"""The rules that are compared: ours, through `judge` itself, and three that others use.

Each answers all claims at once. What others call inside is described here, not copied; where
a product's documentation or source says so, README.md names it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from doorstep_geofences import STANDARD, STRICT, Fix, Outcome, Question, Site, SiteIndex, judge

from .accuracies import Floats
from .claims import Claims
from .shares import Share

Bools = npt.NDArray[np.bool_]

CAP_M = 100.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """The outcome of each claim; uncertain is what is neither."""

    accepted: Bools
    rejected: Bools

    @property
    def uncertain(self) -> Bools:
        """The rest."""
        return ~(self.accepted | self.rejected)

    def tally(self) -> "Tally":
        """How many of each."""
        return Tally(
            accepted=_share(self.accepted),
            uncertain=_share(self.uncertain),
            rejected=_share(self.rejected),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """The parts of a batch of claims."""

    accepted: Share
    uncertain: Share
    rejected: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A way to answer claims."""

    name: str
    answers: Callable[[Claims], Answers] = field(repr=False)


def ours(
    *, assurance: float, tolerance_m: float = 0.0, max_accuracy_m: float = CAP_M
) -> Callable[[Claims], Answers]:
    """What `judge` says for sites of these settings."""

    def answers(claims: Claims) -> Answers:
        sites = [
            Site(
                site_id=int(number),
                version=1,
                geofence=claims.fences.fences[number].geofence,
                tolerance_m=tolerance_m,
                assurance=assurance,
                max_accuracy_m=max_accuracy_m,
            )
            for number in np.unique(claims.fence)
        ]
        verdicts = judge(_questions(claims), SiteIndex(sites))
        outcomes = np.array([verdict.outcome for verdict in verdicts], dtype=object)
        return Answers(accepted=outcomes == Outcome.ACCEPTED, rejected=outcomes == Outcome.REJECTED)

    return answers


def _questions(claims: Claims) -> list[Question]:
    positions = claims.fences.in_degrees(claims.fence, claims.fix_m).tolist()
    accuracies_m = np.nan_to_num(claims.accuracy_m).tolist()
    return [
        Question(fix=Fix(lon=lon, lat=lat, accuracy_m=accuracy_m), site_id=fence)
        for (lon, lat), accuracy_m, fence in zip(
            positions, accuracies_m, claims.fence.tolist(), strict=True
        )
    ]


def by_distance(
    accepts: Callable[[Floats, Floats], Bools], tolerance_m: float = 0.0
) -> Callable[[Claims], Answers]:
    """What a rule says that knows the signed distance and the accuracy, and no doubt.

    An accuracy that the phone does not say counts as 0.
    """

    def answers(claims: Claims) -> Answers:
        distance_m = signed_distance_m(claims) - tolerance_m
        accepted = accepts(distance_m, np.nan_to_num(claims.accuracy_m))
        return Answers(accepted=accepted, rejected=~accepted)

    return answers


def signed_distance_m(claims: Claims) -> Floats:
    """How far each fix is from its fence; negative inside."""
    shapes = claims.fences.shapes[claims.fence]
    fixes = shapely.points(claims.fix_m)
    inside = shapely.intersects_xy(shapes, claims.fix_m[:, 0], claims.fix_m[:, 1])
    to_edge_m = shapely.distance(shapely.boundary(shapes), fixes)
    return np.where(inside, -to_edge_m, to_edge_m)


def compared(tolerance_m: float = 0.0) -> list[Rule]:
    """Ours at both levels, and the others, which get the tolerance too."""
    return [
        *(
            Rule(name=name, answers=ours(assurance=level, tolerance_m=tolerance_m))
            for name, level in (("ours, standard", STANDARD), ("ours, strict", STRICT))
        ),
        Rule(name="centre inside", answers=by_distance(lambda d, _: d <= 0.0, tolerance_m)),
        Rule(name="d ≤ accuracy", answers=by_distance(lambda d, a: d <= a, tolerance_m)),
        Rule(name="d − accuracy < 0", answers=by_distance(lambda d, a: d - a < 0.0, tolerance_m)),
    ]


def _share(these: Bools) -> Share:
    return Share(count=int(these.sum()), of=len(these))
