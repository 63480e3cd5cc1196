"""The pure domain of Doorstep: fixes, geofences, sites and verdicts.

No input or output, no clock, no logging: time comes in as arguments, documents as parsed
JSON. The way through it is `judge` in `verdict`; the order of latitude and longitude in the
outside world is settled in `fix` and `geofence`.
"""

from . import travel
from .bounds import Bounds
from .clock import (
    FRESH_FOR_S,
    LONGEST_AGE_S,
    CaptureTimes,
    Clocks,
    Freshness,
)
from .fix import Fix
from .flaws import Flaw, InvalidGeofence
from .geofence import MAX_RADIUS_M, Geofence, Reading, read_geofence, read_shape
from .geojson import ParsedFeature, RejectedFeature, read_feature, read_features
from .hints import Overlaps, hints, overlaps, shares
from .hours import HoursFlaw, InvalidHours, OpeningHours
from .index import SiteIndex
from .notes import Note
from .rings import MAX_VERTICES
from .site import MAX_TOLERANCE_M, STANDARD, STRICT, WORST_ACCURACY_M, Site
from .verdict import Outcome, Question, Reason, Verdict, judge, judge_cell

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
    "Clocks",
    "Fix",
    "Flaw",
    "Freshness",
    "Geofence",
    "HoursFlaw",
    "InvalidGeofence",
    "InvalidHours",
    "Note",
    "OpeningHours",
    "Outcome",
    "Overlaps",
    "ParsedFeature",
    "Question",
    "Reading",
    "Reason",
    "RejectedFeature",
    "Site",
    "SiteIndex",
    "Verdict",
    "hints",
    "judge",
    "judge_cell",
    "overlaps",
    "read_feature",
    "read_features",
    "read_geofence",
    "read_shape",
    "shares",
    "travel",
]
