"""The pure domain of Doorstep: fixes, geofences, sites and verdicts.

No input or output, no clock, no logging: time comes in as arguments, documents as parsed
JSON. The way through it is `judge` in `verdict`; the order of latitude and longitude in the
outside world is settled in `fix` and `geofence`.
"""

from .area import Bounds
from .clock import (
    FRESH_FOR_S,
    LONGEST_AGE_S,
    CaptureTimes,
    Freshness,
    age_s,
    captured_instant,
    freshness,
    is_skewed,
)
from .fix import Fix
from .flaws import Flaw, InvalidGeofence
from .geofence import MAX_RADIUS_M, MAX_VERTICES, Geofence
from .geojson import ParsedFeature, RejectedFeature, read_features
from .site import MAX_TOLERANCE_M, STANDARD, STRICT, WORST_ACCURACY_M, Site, SiteIndex
from .verdict import Outcome, Question, Reason, Verdict, judge

__all__ = [
    "FRESH_FOR_S",
    "LONGEST_AGE_S",
    "MAX_RADIUS_M",
    "MAX_TOLERANCE_M",
    "MAX_VERTICES",
    "STANDARD",
    "STRICT",
    "WORST_ACCURACY_M",
    "Bounds",
    "CaptureTimes",
    "Fix",
    "Flaw",
    "Freshness",
    "Geofence",
    "InvalidGeofence",
    "Outcome",
    "ParsedFeature",
    "Question",
    "Reason",
    "RejectedFeature",
    "Site",
    "SiteIndex",
    "Verdict",
    "age_s",
    "captured_instant",
    "freshness",
    "is_skewed",
    "judge",
    "read_features",
]
