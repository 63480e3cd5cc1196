"""Time that moves when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock for a fake server and its network. Without a time it begins at the present."""

    def __init__(self, now: datetime | None = None) -> None:
        self._start = now or datetime.now(UTC)
        self._passed_s = 0.0

    def now(self) -> datetime:
        """What it shows."""
        return self._start + timedelta(seconds=self._passed_s)

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self._passed_s += seconds
