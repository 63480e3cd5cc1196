"""How old a fix was when it arrived, and whether the device's clock can be believed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

#: A live fix is at most this old. The same span is how far clocks may disagree.
FRESH_FOR_S = 120.0
#: The most that age_s may be: no phone stays on for longer, and subtracting it from any date of
#: this era is still a date.
LONGEST_AGE_S = 10 * 365 * 86_400.0


class Freshness(StrEnum):
    """What the clocks say of a fix."""

    FRESH = "fresh"
    STALE = "stale"
    #: Captured in the future, as far as the clocks can tell.
    SKEWED = "skewed"


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptureTimes:
    """When a fix was taken, sent and received; all datetimes aware."""

    #: The device's wall clock at the fix.
    captured_at: datetime
    #: The server's clock at the arrival.
    received_at: datetime
    #: The device's wall clock at the sending.
    sent_at: datetime | None = None
    #: How long ago the fix was taken, on the device's monotonic clock.
    age_s: float | None = None

    def __post_init__(self) -> None:
        _require_zone("captured_at", self.captured_at)
        _require_zone("received_at", self.received_at)
        if self.sent_at is not None:
            _require_zone("sent_at", self.sent_at)
        if self.age_s is not None and not 0.0 <= self.age_s <= LONGEST_AGE_S:
            raise ValueError("age_s must be a number of seconds, not negative, below ten years")


class Clocks(NamedTuple):
    """What the clocks say of a fix when it arrives."""

    #: A monotonic clock cannot be set, so it is preferred. Of two wall clocks the older reading
    #: counts: a wrong clock may make a fix look old, never fresh.
    age_s: float
    #: Whether the fix claims to come from the future, of the server or of its own device.
    is_skewed: bool
    #: The best knowledge of when the fix was taken.
    captured_at: datetime

    @classmethod
    def of(cls, times: CaptureTimes) -> "Clocks":
        """Read them."""
        if times.age_s is not None:
            age = timedelta(seconds=times.age_s)
            return cls(times.age_s, False, times.received_at - age)
        ahead_s = _ahead_s(times)
        return cls(max(-min(ahead_s), 0.0), max(ahead_s) > FRESH_FOR_S, times.captured_at)

    @property
    def freshness(self) -> Freshness:
        """What they say of a live fix."""
        if self.is_skewed:
            return Freshness.SKEWED
        return Freshness.STALE if self.age_s > FRESH_FOR_S else Freshness.FRESH


def _ahead_s(times: CaptureTimes) -> list[float]:
    """How far the capture lies ahead of the receipt, and of the sending if that is known.

    Timestamps, because Python subtracts two datetimes of one zone by their wall clocks and
    is an hour off when summer time begins or ends in between.
    """
    captured = times.captured_at.timestamp()
    later = [times.received_at] if times.sent_at is None else [times.received_at, times.sent_at]
    return [captured - moment.timestamp() for moment in later]


def _require_zone(name: str, moment: datetime) -> None:
    if moment.utcoffset() is None:
        raise ValueError(f"{name} must name its time zone")
