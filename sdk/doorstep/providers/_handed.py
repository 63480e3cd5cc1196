"""Positions that a framework hands to a callback, perhaps from another thread, to who waits."""

from __future__ import annotations

import asyncio

from doorstep._fix import Fix


class Handed:
    """The newest position that was handed over and not taken yet: older ones are let go."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._newest: Fix | None = None
        self._came = asyncio.Event()

    def hand(self, fix: Fix | None) -> None:
        """From any thread."""
        if fix is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, fix)

    async def next(self) -> Fix | None:
        """The next one, whenever it comes."""
        await self._came.wait()
        self._came.clear()
        fix, self._newest = self._newest, None
        return fix

    def _put(self, fix: Fix) -> None:
        self._newest = fix
        self._came.set()
