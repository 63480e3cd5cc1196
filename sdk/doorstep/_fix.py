"""One position of the device. It is made to be sent once and forgotten."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, NoReturn, Self

from doorstep._clock import SYSTEM, Moment, elapsed_between_s
from doorstep._value import Unpicklable

_MAX_ACCURACY_M = 1e7
_SOURCE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


class Fix(Unpicklable):
    """One position: where, how sure, and when.

    It prints as `<Fix redacted>` and cannot be pickled. `accuracy_m` is the radius that holds the
    true place with 68 % probability; None means unknown, and so does the 0 that Android reports.
    `elapsed_s` is the reading of a clock that nobody sets, taken with the position (on Android
    `Location.elapsedRealtimeNanos / 1e9`); with it, the age is right whatever the wall clock says.
    """

    __slots__ = ("accuracy_m", "captured_at", "elapsed_s", "lat", "lon", "mocked", "source")

    lat: float
    lon: float
    accuracy_m: float | None
    captured_at: datetime
    mocked: bool | None
    source: str | None
    elapsed_s: float | None

    def __init__(  # noqa: PLR0913 (this is the struct)
        self,
        *,
        lat: float,
        lon: float,
        accuracy_m: float | None = None,
        captured_at: datetime,
        mocked: bool | None = None,
        source: str | None = None,
        elapsed_s: float | None = None,
    ) -> None:
        _keep(self, lat=lat, lon=lon, accuracy_m=accuracy_m or None, captured_at=captured_at)
        _keep(self, mocked=mocked, source=source, elapsed_s=elapsed_s)
        # some crash reporters print the variables of every frame: leave no place here
        del lat, lon, accuracy_m
        _check(self)

    @classmethod
    def now(
        cls,
        *,
        lat: float,
        lon: float,
        accuracy_m: float | None = None,
        mocked: bool | None = None,
        source: str | None = None,
    ) -> Self:
        """A position that the device has taken this instant."""
        fix = cls.__new__(cls)
        taken = SYSTEM.moment()
        _keep(fix, lat=lat, lon=lon, accuracy_m=accuracy_m or None, captured_at=taken.wall)
        _keep(fix, mocked=mocked, source=source, elapsed_s=taken.elapsed_s)
        del lat, lon, accuracy_m
        _check(fix)
        return fix

    def age_s(self, now: Moment) -> float | None:
        """How old it is by the clock that nobody sets; None without a reading or after a reboot."""
        return elapsed_between_s(self.elapsed_s, now)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Fix is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Fix is frozen")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return "<Fix redacted>"


def _keep(fix: Fix, **members: Any) -> None:
    for name, value in members.items():
        object.__setattr__(fix, name, value)


def _check(fix: Fix) -> None:
    """Refuse what is no position. The messages never say the value."""
    if not _within(fix.lat, -90, 90):
        raise ValueError("lat must be a number of degrees from -90 to 90; nothing was kept")
    if not _within(fix.lon, -180, 180):
        raise ValueError("lon must be a number of degrees from -180 to 180; nothing was kept")
    if fix.accuracy_m is not None and not _within(fix.accuracy_m, 0, _MAX_ACCURACY_M):
        raise ValueError(
            "accuracy_m must be metres, or None when unknown; "
            "a negative one means that the platform has no position"
        )
    if not _is_aware(fix.captured_at):
        raise ValueError("captured_at must be a datetime with a zone, e.g. datetime.now(UTC)")
    if fix.elapsed_s is not None and not _within(fix.elapsed_s, 0, math.inf):
        raise ValueError("elapsed_s must be seconds on a clock that nobody sets, or None")
    _check_marks(fix)


def _check_marks(fix: Fix) -> None:
    if not _is_flag(fix.mocked):
        raise ValueError("mocked must be True, False, or None when the platform does not tell")
    if fix.source is not None and not _is_source(fix.source):
        raise ValueError("source must be a short word of a-z, 0-9, _ and -, such as 'gps'")


def _within(value: object, low: float, high: float) -> bool:
    """False for NaN, for infinity and for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high and value != math.inf


def _is_aware(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _is_flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_source(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 32 and not set(value) - _SOURCE_LETTERS
