"""Time and chance, in one place so that tests can hold them still."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from doorstep._value import Value


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _suspend_inclusive_clock() -> int | None:
    apple = sys.platform in {"darwin", "ios"}
    return getattr(time, "CLOCK_MONOTONIC_RAW" if apple else "CLOCK_BOOTTIME", None)


_ELAPSED_CLOCK = _suspend_inclusive_clock()


def elapsed() -> float:
    """Seconds on a clock that nobody sets and that goes on while the phone sleeps.

    `time.monotonic()` stands still in suspend on phones; a position must age there all the same.
    """
    if _ELAPSED_CLOCK is None:
        return time.monotonic()
    return time.clock_gettime(_ELAPSED_CLOCK)


def chance() -> float:
    """A random number in [0, 1)."""
    return int.from_bytes(os.urandom(6), "big") / 2**48


class Moment(Value):
    """Now, on both clocks."""

    wall: datetime
    elapsed_s: float


def elapsed_between_s(then_s: float | None, now: Moment) -> float | None:
    """How long ago a reading was taken; None without one, or when the clock began anew since."""
    if then_s is None or then_s > now.elapsed_s:
        return None
    return round(now.elapsed_s - then_s, 3)


class System(Value):
    """Where the client gets time and chance from."""

    wall: Callable[[], datetime]
    monotonic: Callable[[], float]
    elapsed: Callable[[], float]
    chance: Callable[[], float]
    entropy: Callable[[int], bytes]

    def moment(self) -> Moment:
        return Moment(wall=self.wall(), elapsed_s=self.elapsed())


SYSTEM = System(
    wall=_utc_now,
    monotonic=time.monotonic,
    elapsed=elapsed,
    chance=chance,
    entropy=os.urandom,
)
