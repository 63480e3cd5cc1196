"""Places in metres, and walking between them in small steps."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from doorstep_geofences.plane import Plane

STEP_S = 5.0
SLOWEST_M_S, FASTEST_M_S = 1.1, 1.6
#: how far a step may turn away from the goal
WAVER_RAD = math.radians(25)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Spot:
    """A position in WGS84 degrees. It does not print itself: the demo shows no coordinate."""

    lat: float
    lon: float

    def moved(self, east_m: float, north_m: float) -> "Spot":
        """The spot so many metres away."""
        plane = Plane.at(self.lat)
        return Spot(
            lat=self.lat + north_m / plane.lat_degree_m, lon=self.lon + east_m / plane.lon_degree_m
        )

    def metres_to(self, other: "Spot") -> tuple[float, float]:
        """How far east and north the other is."""
        plane = Plane.at(self.lat)
        return (
            (other.lon - self.lon) * plane.lon_degree_m,
            (other.lat - self.lat) * plane.lat_degree_m,
        )

    def distance_m(self, other: "Spot") -> float:
        """How far the other is."""
        return math.hypot(*self.metres_to(other))


def walk(start: Spot, goal: Spot, rng: random.Random) -> Iterator[Spot]:
    """Every `STEP_S` seconds a spot on the way, wavering a little; the last one is the goal."""
    pace_m_s = rng.uniform(SLOWEST_M_S, FASTEST_M_S)
    here = start
    while (left_m := here.distance_m(goal)) > pace_m_s * STEP_S:
        east_m, north_m = here.metres_to(goal)
        heading = math.atan2(north_m, east_m) + rng.uniform(-WAVER_RAD, WAVER_RAD)
        step_m = min(pace_m_s * STEP_S, left_m)
        here = here.moved(step_m * math.cos(heading), step_m * math.sin(heading))
        yield here
    yield goal
