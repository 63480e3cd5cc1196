"""Slowing down guesses, in memory only.

Who asks is remembered as a hash under a key that dies with the process: no address and no id is
kept. Times are of a clock that is never set.
"""

import hashlib
import heapq
import hmac
import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

#: sums of times are that inexact at most
_ROUNDING_S = 0.001


@dataclass(slots=True)
class FailureThrottle:
    """Allows each caller a number of failures in a window of time."""

    monotonic: Callable[[], float]
    failures: int = 10
    window_s: float = 60.0
    callers: int = 10_000
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _seen: OrderedDict[bytes, list[float]] = field(default_factory=OrderedDict, repr=False)

    def wait_s(self, caller: str) -> int:
        """Seconds until this caller may try again; 0 when it may now."""
        now = self.monotonic()
        recent = [t for t in self._seen.get(self._label(caller), []) if t > now - self.window_s]
        if len(recent) < self.failures:
            return 0
        return max(1, round(recent[-self.failures] + self.window_s - now))

    def failed(self, caller: str) -> None:
        """Remember a failure; the callers longest unseen are forgotten first."""
        label, now = self._label(caller), self.monotonic()
        recent = [t for t in self._seen.pop(label, []) if t > now - self.window_s]
        self._seen[label] = [*recent[-self.failures :], now]
        while len(self._seen) > self.callers:
            self._seen.popitem(last=False)

    def _label(self, caller: str) -> bytes:
        return hmac.digest(self._key, caller.encode(), hashlib.sha256)


class Allowance:
    """Gives each caller a number of things at once, and another one each so often: a token bucket.

    Of each is remembered when its bucket will be full again, and nothing of those whose bucket is.
    Where that is too much, those that are full again soonest are forgotten: who has taken much is
    remembered longer than any number of callers who have taken little.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        at_once: int,
        each_s: float,
        callers: int = 100_000,
    ) -> None:
        self.monotonic = monotonic
        self._at_once = at_once
        self._each_s = each_s
        self._callers = callers
        self._key = secrets.token_bytes(32)
        self._full_at: dict[bytes, float] = {}
        # who asks for much is served in a thread
        self._lock = threading.Lock()

    def wait_s(self, caller: bytes) -> int:
        """Seconds until there is one for this caller; 0 when there is one now."""
        with self._lock:
            return math.ceil(self._missing_s(self._label(caller), self.monotonic()))

    def left(self, caller: bytes) -> int:
        """How many there are for this caller now."""
        with self._lock:
            return self._left(self._label(caller), self.monotonic())

    def take(self, caller: bytes) -> bool:
        """Take one, if there is one."""
        return self.take_some(caller, 1) == 1

    def take_some(self, caller: bytes, wanted: int) -> int:
        """Take as many as are wanted and there; how many."""
        label, now = self._label(caller), self.monotonic()
        with self._lock:
            taken = min(wanted, self._left(label, now))
            if taken:
                full_at = max(now, self._full_at.get(label, now))
                self._full_at[label] = full_at + taken * self._each_s
                if len(self._full_at) > self._callers:
                    self._forget(now)
            return taken

    def give_back(self, caller: bytes) -> None:
        """Give back one that was taken."""
        label, now = self._label(caller), self.monotonic()
        with self._lock:
            full_at = self._full_at.pop(label, now) - self._each_s
            if full_at > now:
                self._full_at[label] = full_at

    def _left(self, label: bytes, now: float) -> int:
        full_at = self._full_at.get(label)
        if full_at is None or full_at <= now:
            return self._at_once
        return max(0, self._at_once - math.ceil((full_at - now - _ROUNDING_S) / self._each_s))

    def _missing_s(self, label: bytes, now: float) -> float:
        """How long until a bucket has another one in it; 0 when it has one."""
        missing_s = self._full_at.get(label, now) - now - (self._at_once - 1) * self._each_s
        return missing_s if missing_s > _ROUNDING_S else 0.0

    def _forget(self, now: float) -> None:
        """Whose bucket is full; and of what is still too much an eighth, the fullest."""
        held = {label: full_at for label, full_at in self._full_at.items() if full_at > now}
        if len(held) > self._callers:
            for label in heapq.nsmallest(len(held) // 8 + 1, held, key=held.__getitem__):
                del held[label]
        self._full_at = held

    def _label(self, caller: bytes) -> bytes:
        # keyed by itself, in a fraction of the time of an HMAC
        return hashlib.blake2b(caller, key=self._key, digest_size=16).digest()
