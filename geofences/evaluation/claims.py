"""Claims of presence: where people truly are, and what their phones report."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import shapely

from doorstep_geofences.gaussian import SIGMAS_PER_ACCURACY

from .accuracies import Accuracies, Floats
from .fences import FenceSet, Shapes

Ints = npt.NDArray[np.intp]

ENTRANCE_M = 10.0


class Kind(Enum):
    """Where the one who claims to be at a fence truly is."""

    INSIDE = "anywhere inside"
    ENTRANCE = f"inside, within {ENTRANCE_M:.0f} m of the edge"
    NEAR = "0–50 m beyond the edge"
    FAR = "50–500 m beyond the edge"


HONEST = (Kind.INSIDE, Kind.ENTRANCE)
_BEYOND_M = {Kind.NEAR: (0.0, 50.0), Kind.FAR: (50.0, 500.0)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorModel:
    """How the errors of fixes relate to the accuracies that phones report."""

    name: str
    #: True accuracy over reported accuracy.
    understated: float = 1.0
    #: Of Student's t; a Gaussian when None.
    degrees_of_freedom: int | None = None

    def errors_m(self, accuracy_m: Floats, rng: np.random.Generator) -> Floats:
        """East and north errors whose 68 % radius is the true accuracy."""
        unit = rng.standard_normal((len(accuracy_m), 2)) / SIGMAS_PER_ACCURACY
        if self.degrees_of_freedom is not None:
            unit *= self._tails(len(accuracy_m), rng)[:, np.newaxis]
        return unit * (self.understated * accuracy_m)[:, np.newaxis]

    def _tails(self, count: int, rng: np.random.Generator) -> Floats:
        """What makes a Gaussian Student's t of the same 68 % radius.

        For the bivariate t of ν degrees of freedom, P(R > r) = (1 + r²/ν)^(-ν/2).
        """
        nu = self.degrees_of_freedom
        assert nu is not None
        radius = np.sqrt(nu * (0.32 ** (-2.0 / nu) - 1.0))
        return np.asarray(np.sqrt(nu / rng.chisquare(nu, count)) * SIGMAS_PER_ACCURACY / radius)


AS_REPORTED = ErrorModel(name="as reported")
ERROR_MODELS = (
    AS_REPORTED,
    ErrorModel(name="understated 1.5 times", understated=1.5),
    ErrorModel(name="understated 2 times", understated=2.0),
    ErrorModel(name="heavy tails (Student's t, 3)", degrees_of_freedom=3),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Claims:
    """Claims to be at a fence each; places are in metres from the middle of it."""

    fences: FenceSet
    #: The number of each claim's fence.
    fence: Ints
    true_m: Floats
    fix_m: Floats
    #: Not a number where the phone does not say.
    accuracy_m: Floats

    def __len__(self) -> int:
        return len(self.fence)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """What a batch of claims is drawn from."""

    fences: FenceSet
    accuracies: Accuracies
    errors: ErrorModel = AS_REPORTED

    def claims(self, kind: Kind, count: int, rng: np.random.Generator) -> Claims:
        """Claims of people of that kind."""
        fence, true_m = places(self.fences, kind, count, rng)
        accuracy_m = self.accuracies.at(rng.random(count))
        unknown = accuracy_m == 0.0
        # A phone that does not say how accurate it is still errs, as those that do.
        erring_m = np.where(unknown, self.accuracies.of_known_at(rng.random(count)), accuracy_m)
        return Claims(
            fences=self.fences,
            fence=fence,
            true_m=true_m,
            fix_m=true_m + self.errors.errors_m(erring_m, rng),
            accuracy_m=np.where(unknown, np.nan, accuracy_m),
        )


def places(
    fences: FenceSet, kind: Kind, count: int, rng: np.random.Generator
) -> tuple[Ints, Floats]:
    """Fences drawn at random, and a true place for each."""
    fence = rng.integers(len(fences.fences), size=count)
    shapes = fences.shapes[fence]
    if kind in _BEYOND_M:
        return fence, _beyond(shapes, rng.uniform(*_BEYOND_M[kind], count), rng)
    if kind is Kind.INSIDE:
        return fence, _inside(shapes, shapely.contains_xy, rng)
    return fence, _inside(shapes, _within_the_entrance, rng)


def _within_the_entrance(shapes: Shapes, east_m: Floats, north_m: Floats) -> npt.NDArray[np.bool_]:
    inside = np.asarray(shapely.contains_xy(shapes, east_m, north_m))
    there = shapely.points(east_m[inside], north_m[inside])
    inside[inside] = shapely.dwithin(shapely.boundary(shapes[inside]), there, ENTRANCE_M)
    return inside


def _inside(
    shapes: Shapes,
    fits: Callable[[Shapes, Floats, Floats], npt.NDArray[np.bool_]],
    rng: np.random.Generator,
) -> Floats:
    """A place in each shape, all that fit being equally likely: from its box until one does."""
    drawn_m = np.empty((len(shapes), 2))
    bounds = shapely.bounds(shapes)
    left = np.arange(len(shapes))
    while left.size:
        low, high = bounds[left, :2], bounds[left, 2:]
        drawn_m[left] = rng.uniform(low, high)
        left = left[~fits(shapes[left], drawn_m[left, 0], drawn_m[left, 1])]
    return drawn_m


def _beyond(shapes: Shapes, beyond_m: Floats, rng: np.random.Generator) -> Floats:
    """A place so far from each shape, all along the line that is so far being equally likely.

    The line is a polygon's: it is at most 0.2 m too near at 500 m.
    """
    lines = shapely.boundary(shapely.buffer(shapes, beyond_m, quad_segs=32))
    points = shapely.line_interpolate_point(lines, rng.random(len(shapes)), normalized=True)
    return np.asarray(shapely.get_coordinates(points))
