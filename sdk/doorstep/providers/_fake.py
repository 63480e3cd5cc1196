"""A provider for tests: routes and faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from doorstep._endpoints import PermissionState
from doorstep._fix import Fix
from doorstep._location import LocationError
from doorstep.providers._taking import taken

#: a fix, a fault that is raised, or None: the platform has no position
Step = Fix | LocationError | None


class FakeProvider:
    """Goes along a route, one step each time it is asked, and stays at its end.

    Without a route it has no position. `permission` and `answer`, what the person says when asked,
    may be set at any time: `provider.state = "denied"`.
    """

    def __init__(
        self,
        route: Iterable[Step] = (),
        *,
        permission: PermissionState = "precise",
        answer: PermissionState = "precise",
        interval_s: float = 0.0,
        allow_mocked: bool = False,
    ) -> None:
        self._route = list(route)
        self._at = 0
        self._interval_s = interval_s
        self._allow_mocked = allow_mocked
        #: what is allowed now
        self.state: PermissionState = permission
        #: what becomes of it when the person is asked
        self.answer: PermissionState = answer

    def go(self, *steps: Step) -> None:
        """Go on along these, from now on."""
        self._route, self._at = list(steps), 0

    async def permission(self) -> PermissionState:
        """What is allowed at this moment."""
        return self.state

    async def request_permission(self) -> PermissionState:
        """Ask the person, who says `answer`."""
        self.state = self.answer
        return self.state

    async def current(self, *, max_age_s: float, timeout_s: float) -> Fix:
        """One position that is at most so old."""
        return await taken(
            self._next, max_age_s=max_age_s, timeout_s=timeout_s, allow_mocked=self._allow_mocked
        )

    async def watch(self) -> AsyncIterator[Fix]:
        """The rest of the route; it ends where the route does."""
        while self._at < len(self._route):
            fix = await self._next()
            if fix is not None:
                yield fix
            await asyncio.sleep(self._interval_s)

    async def _next(self) -> Fix | None:
        if not self._route:
            return None
        step = self._route[min(self._at, len(self._route) - 1)]
        self._at += 1
        if isinstance(step, LocationError):
            raise step
        return step

    def __repr__(self) -> str:
        return f"<FakeProvider {self.state}>"
