"""Slowing down guesses, in memory only.

Who asks is remembered as a hash under a key that dies with the process: no address is kept.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field


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
