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


def boot_id() -> str:
    """Names this run of the system: readings of `elapsed` compare within one only.

    Where the system tells no name, it is the time of the boot by the wall clock. If that is set, it
    looks like another boot: then less is believed, not more.
    """
    return _linux_boot() or _apple_boot() or f"at:{round((time.time() - elapsed()) / 60)}"


def _linux_boot() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:  # noqa: PTH123 (pathlib is slow to import)
            return source.read().strip() or None
    except (OSError, ValueError):
        return None


def _apple_boot() -> str | None:
    apple = sys.platform in {"darwin", "ios"}
    if not apple:
        return None
    import ctypes  # noqa: PLC0415 (only where it is needed)

    name = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(name))
    ask = ctypes.CDLL(None).sysctlbyname
    failed = ask(b"kern.bootsessionuuid", name, ctypes.byref(size), None, 0)
    return None if failed else name.value.decode("ascii", "replace")


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
    boot: Callable[[], str] = boot_id

    def moment(self) -> Moment:
        return Moment(wall=self.wall(), elapsed_s=self.elapsed())


SYSTEM = System(
    wall=_utc_now,
    monotonic=time.monotonic,
    elapsed=elapsed,
    chance=chance,
    entropy=os.urandom,
)
