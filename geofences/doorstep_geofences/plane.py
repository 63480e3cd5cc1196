"""Metres near a place: the local affine scale of the WGS84 ellipsoid.

Multiplying longitudes and latitudes by two constants keeps straight lines straight, so an
edge of a fence means the same in degrees and in metres.
"""

import math
from dataclasses import dataclass
from typing import Self

_EQUATORIAL_RADIUS_M = 6_378_137.0
_ECCENTRICITY_SQUARED = 0.006_694_379_990_14


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """The size of a degree where it was taken."""

    lon_degree_m: float
    lat_degree_m: float

    @classmethod
    def at(cls, lat: float) -> Self:
        """The scale at a latitude.

        A degree of latitude follows the meridian's radius of curvature
        M = a(1-e²)/(1-e²sin²φ)^(3/2), one of longitude the circle of radius N·cos φ with
        N = a/√(1-e²sin²φ): J. P. Snyder, Map Projections: A Working Manual, USGS
        Professional Paper 1395 (1987), equations 4-18 and 4-20.
        """
        phi = math.radians(lat)
        flattened = 1.0 - _ECCENTRICITY_SQUARED * math.sin(phi) ** 2
        prime_vertical_m = _EQUATORIAL_RADIUS_M / math.sqrt(flattened)
        meridian_m = prime_vertical_m * (1.0 - _ECCENTRICITY_SQUARED) / flattened
        return cls(
            lon_degree_m=math.radians(prime_vertical_m * math.cos(phi)),
            lat_degree_m=math.radians(meridian_m),
        )


#: Nowhere is a degree of latitude shorter than at the equator.
SHORTEST_LAT_DEGREE_M = Plane.at(0.0).lat_degree_m
#: At the pole itself a degree of longitude is no length.
NEARLY_90 = math.nextafter(90.0, 0.0)
