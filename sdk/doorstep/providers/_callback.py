"""A provider of two functions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from doorstep._endpoints import PermissionState
from doorstep._fix import Fix
from doorstep.providers._taking import taken

T = TypeVar("T")


class CallbackProvider:
    """Asks functions of the app, plain or async.

    `position` gives the platform's newest fix, with the time at which the platform took it, or
    None. `permission` says what is allowed now, and `request` asks the person. `watch` asks for a
    position every `interval_s` seconds. A mocked one raises `Mocked`, unless `allow_mocked`.
    """

    def __init__(
        self,
        position: Callable[[], Fix | Awaitable[Fix | None] | None],
        permission: Callable[[], PermissionState | Awaitable[PermissionState]],
        *,
        request: Callable[[], PermissionState | Awaitable[PermissionState]] | None = None,
        interval_s: float = 1.0,
        allow_mocked: bool = False,
    ) -> None:
        self._position = position
        self._permission = permission
        self._request = request or permission
        self._interval_s = interval_s
        self._allow_mocked = allow_mocked

    async def permission(self) -> PermissionState:
        """What is allowed at this moment."""
        return await _awaited(self._permission())

    async def request_permission(self) -> PermissionState:
        """Ask the person, if there is a function for it, and say how it stands then."""
        return await _awaited(self._request())

    async def current(self, *, max_age_s: float, timeout_s: float) -> Fix:
        """One position that is at most so old."""
        return await taken(
            self._next, max_age_s=max_age_s, timeout_s=timeout_s, allow_mocked=self._allow_mocked
        )

    async def watch(self) -> AsyncIterator[Fix]:
        """Position after position while it is iterated."""
        while True:
            fix = await self._next()
            if fix is not None:
                yield fix
            await asyncio.sleep(self._interval_s)

    async def _next(self) -> Fix | None:
        return await _awaited(self._position())


async def _awaited(value: T | Awaitable[T]) -> T:
    if inspect.isawaitable(value):
        found: T = await value
        return found
    return value
