"""When to send again, and how long to wait before."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime

from doorstep._errors import ApiError, DoorstepError, TransportError, UntrustedServer
from doorstep._value import Value

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
#: nobody means a longer one; some proxies send garbage
_RETRY_AFTER_CAP_S = 86_400.0


class Timeout(Value):
    """Seconds for making a connection, and for a whole call with all its attempts and waits."""

    connect: float = 5.0
    total: float = 15.0

    def _check(self) -> None:
        if not (self.connect > 0 and self.total > 0):
            raise ValueError("connect and total must be seconds above 0")


class Retry(Value):
    """How often a call is sent, and how the waits between grow: full jitter, doubling.

    Over time at most `budget_ratio` of the calls are sent again, after a reserve of
    `budget_reserve`: a struggling server is not buried by those who love it.
    """

    attempts: int = 3
    base_s: float = 0.25
    cap_s: float = 8.0
    budget_ratio: float = 0.2
    budget_reserve: float = 10.0

    def _check(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be 1 or more; 1 means that nothing is sent again")
        if min(self.base_s, self.cap_s, self.budget_ratio, self.budget_reserve) < 0:
            raise ValueError("base_s, cap_s, budget_ratio and budget_reserve must be 0 or more")


DEFAULT_TIMEOUT = Timeout()
DEFAULT_RETRY = Retry()


class Budget:
    """How many retries are left: each call adds a little, each retry takes one."""

    def __init__(self, retry: Retry) -> None:
        self._ratio = retry.budget_ratio
        self._most = max(retry.budget_reserve, 1.0)
        self._left = retry.budget_reserve
        self._lock = threading.Lock()

    def deposit(self) -> None:
        with self._lock:
            self._left = min(self._most, self._left + self._ratio)

    def withdraw(self) -> bool:
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


def should_retry(failure: DoorstepError) -> bool:
    """Whether the same request may fare better later."""
    if isinstance(failure, ApiError):
        return failure.status in RETRIED_STATUSES
    return isinstance(failure, TransportError) and not isinstance(failure, UntrustedServer)


def backoff_s(retry: Retry, attempt: int, chance: float, retry_after_s: float | None) -> float:
    """How long to wait after the attempt (1, 2, …): never less than the server asks for.

    The jitter comes on top of Retry-After, so that phones told the same do not return as one.
    """
    jitter = chance * min(retry.cap_s, retry.base_s * 2.0 ** min(attempt - 1, 32))
    return jitter + (retry_after_s or 0.0)


def retry_after_s(written: str | None, now: datetime) -> float | None:
    """Read a Retry-After header: whole or broken seconds, or a date; None for anything else."""
    if not written or len(written) > 64:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = _until(written, now)
    return _bounded(seconds)


def told_retry_after_s(told: object) -> float | None:
    """Read the member of a problem, as an item of a batch has it; None for anything but seconds."""
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    return _bounded(told)


def _bounded(seconds: float) -> float | None:
    # a whole number may be too large for a float
    is_number = isinstance(seconds, int) or not math.isnan(seconds)
    return float(min(max(seconds, 0.0), _RETRY_AFTER_CAP_S)) if is_number else None


def http_date(written: str | None) -> datetime | None:
    """Read an HTTP date; None for anything else."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 (rare, and slow to import)

    try:
        moment = parsedate_to_datetime(written or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _until(written: str, now: datetime) -> float:
    moment = http_date(written)
    return (moment - now).total_seconds() if moment else math.nan
