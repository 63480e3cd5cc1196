"""Authorized locations."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from .area import Area, area_of
from .bounds import Bounds
from .discs import Discs
from .geofence import Geofence
from .hours import OpeningHours

#: How probable being inside must be to be accepted.
STANDARD = 0.5
STRICT = 0.9
MAX_TOLERANCE_M = 10_000.0
#: The cap on accuracy that a site may set, at most.
WORST_ACCURACY_M = 100_000.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Site:
    """An authorized location, in one of its versions."""

    site_id: Hashable
    version: int
    geofence: Geofence
    #: The fence is grown by this much.
    tolerance_m: float = 0.0
    #: The probability of being inside that is enough to be accepted, in [0.5, 1).
    assurance: float = STANDARD
    #: A fix with a worse accuracy is not evidence here.
    max_accuracy_m: float = 100.0
    #: When check-ins are taken, by the site's clocks; None: always.
    hours: OpeningHours | None = None
    zone: tzinfo = UTC
    #: For whom and what check-ins are taken; empty: for everyone, and for everything.
    groups: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    #: Since which version of the whole set of sites it is as it is.
    since: int = 0
    _area: Area | None = field(default=None, init=False, repr=False)
    #: The area's, kept here as well: most fixes are judged by them, without a look at the area.
    _discs: Discs | None = field(default=None, init=False, repr=False)
    _bounds: Bounds | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.tolerance_m <= MAX_TOLERANCE_M:
            raise ValueError(f"tolerance_m must be from 0 to {MAX_TOLERANCE_M:.0f}")
        if not STANDARD <= self.assurance < 1.0:
            raise ValueError("assurance must be at least 0.5 and below 1")
        if not 0.0 < self.max_accuracy_m <= WORST_ACCURACY_M:
            raise ValueError(f"max_accuracy_m must be above 0 and at most {WORST_ACCURACY_M:.0f}")

    @property
    def area(self) -> Area:
        """The shape to judge against; built when first asked for, which most sites are not."""
        if self._area is None:
            # Two threads may both build it, to the same end.
            area = area_of(self.geofence, self.tolerance_m, self.assurance)
            object.__setattr__(self, "_area", area)
        assert self._area is not None
        return self._area

    @property
    def discs(self) -> Discs:
        """What says of most places how they stand to the area."""
        if self._discs is None:
            object.__setattr__(self, "_discs", self.area.discs)
        assert self._discs is not None
        return self._discs

    @property
    def bounds(self) -> Bounds:
        """The box around the area; made when first asked for."""
        if self._bounds is None:
            object.__setattr__(self, "_bounds", Bounds.of(self.geofence, self.tolerance_m))
        assert self._bounds is not None
        return self._bounds

    def admits(self, groups: frozenset[str], purpose: str) -> bool:
        """Whether somebody of these groups may check in here for this purpose."""
        return (not self.groups or not self.groups.isdisjoint(groups)) and (
            not self.purposes or purpose in self.purposes
        )

    def is_open(self, at: datetime) -> bool:
        """Whether check-ins are taken at that moment, an aware one."""
        return self.hours is None or self.hours.is_open(at, self.zone)
