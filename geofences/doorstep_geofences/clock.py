"""How old a fix was when it arrived, and whether the device's clock can be believed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

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
        for name in ("captured_at", "received_at", "sent_at"):
            moment = getattr(self, name)
            if moment is not None and moment.utcoffset() is None:
                raise ValueError(f"{name} must name its time zone")
        if self.age_s is not None and not 0.0 <= self.age_s <= LONGEST_AGE_S:
            raise ValueError("age_s must be a number of seconds, not negative, below ten years")


def age_s(times: CaptureTimes) -> float:
    """How old the fix was when it was received.

    A monotonic clock cannot be set, so it is preferred. Of two wall clocks the older
    reading counts: a wrong clock may make a fix look old, never fresh.
    """
    if times.age_s is not None:
        return times.age_s
    return max(-min(_ahead_s(times)), 0.0)


def is_skewed(times: CaptureTimes) -> bool:
    """Whether the fix claims to come from the future, of the server or of its own device."""
    if times.age_s is not None:
        return False
    return max(_ahead_s(times)) > FRESH_FOR_S


def freshness(times: CaptureTimes) -> Freshness:
    """What the clocks say of a live fix."""
    if is_skewed(times):
        return Freshness.SKEWED
    return Freshness.STALE if age_s(times) > FRESH_FOR_S else Freshness.FRESH


def captured_instant(times: CaptureTimes) -> datetime:
    """The best knowledge of when the fix was taken."""
    if times.age_s is None:
        return times.captured_at
    return times.received_at - timedelta(seconds=times.age_s)


def _ahead_s(times: CaptureTimes) -> list[float]:
    """How far the capture lies ahead of the receipt, and of the sending if that is known.

    Timestamps, because Python subtracts two datetimes of one zone by their wall clocks and
    is an hour off when summer time begins or ends in between.
    """
    captured = times.captured_at.timestamp()
    later = [times.received_at] if times.sent_at is None else [times.received_at, times.sent_at]
    return [captured - moment.timestamp() for moment in later]
