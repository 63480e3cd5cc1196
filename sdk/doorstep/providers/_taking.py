"""What all providers do alike: make fixes of what platforms say, and wait for one that is good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from doorstep._clock import SYSTEM
from doorstep._fix import Fix
from doorstep._location import Mocked, Stale, Unavailable

#: between two looks at a platform that has nothing good yet
AGAIN_S = 0.2

#: gives the platform's next answer: None where it has no position
Next = Callable[[], Awaitable[Fix | None]]


class Gone(Exception):
    """The platform gives no position, and will not in this call."""


def fix_of(  # noqa: PLR0913 (what a platform says)
    *,
    lat: object,
    lon: object,
    accuracy_m: object = None,
    captured_at: datetime | None = None,
    elapsed_s: float | None = None,
    mocked: bool | None = None,
    source: str | None = None,
) -> Fix | None:
    """The fix that a platform's answer is; None where it is none. Without a time, it is of now."""
    moment = SYSTEM.moment()
    if captured_at is None:
        captured_at, elapsed_s = moment.wall, moment.elapsed_s
    try:
        return Fix(
            lat=_number(lat),
            lon=_number(lon),
            accuracy_m=None if accuracy_m is None else _number(accuracy_m),
            captured_at=captured_at,
            elapsed_s=elapsed_s,
            mocked=mocked,
            source=source,
        )
    except (TypeError, ValueError):
        # no number, no place, or an accuracy below zero: how platforms say that they have none
        return None
    finally:
        del lat, lon, accuracy_m


def _number(value: object) -> float:
    """Platforms give numbers of kinds of their own."""
    if isinstance(value, bool) or value is None:
        raise TypeError
    return float(value)  # type: ignore[arg-type]


def from_epoch_s(seconds: float) -> datetime:
    """A platform's time, as seconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def age_s(fix: Fix) -> float:
    """How old a fix is, by the clock that nobody sets where it has a reading of it."""
    moment = SYSTEM.moment()
    by_clock = fix.age_s(moment)
    if by_clock is not None:
        return by_clock
    return (moment.wall - fix.captured_at).total_seconds()


async def taken(
    next_fix: Next, *, max_age_s: float, timeout_s: float, allow_mocked: bool = False
) -> Fix:
    """The first position that is young enough. Raises `Unavailable`, `Stale` or `Mocked`."""
    stale = False
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                fix = await next_fix()
                if fix is not None and age_s(fix) <= max_age_s:
                    break
                stale = stale or fix is not None
                del fix
                await asyncio.sleep(AGAIN_S)
    except (TimeoutError, Gone):
        fix = None
    if fix is None:
        raise Stale if stale else Unavailable
    if fix.mocked and not allow_mocked:
        del fix
        raise Mocked
    return fix
