"""The seam to the platform's location: what an app's framework must be able to say.

Adapters for Toga, Flet, Plyer and plain functions are in `doorstep.providers`; all of them pass the
same conformance suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar, Protocol

from doorstep._endpoints import PermissionState
from doorstep._errors import DoorstepError
from doorstep._fix import Fix


class LocationError(DoorstepError):
    """There is no position that a check-in could be made from."""

    advice = "There is no usable position now: try again, or check in another way."


class Unavailable(LocationError):
    """The platform gives no position: it is switched off, not allowed, or none came in time."""

    advice: ClassVar[str] = (
        "The device gave no position in time. Check that location is on and allowed for this app, "
        "go where the sky can be seen, and try again; or check in another way."
    )


class Stale(LocationError):
    """The platform gives only an old position."""

    advice: ClassVar[str] = (
        "The device gave only a position that is older than max_age_s. Nothing was made from it: "
        "try again in a moment."
    )


class Imprecise(LocationError):
    """The position is too uncertain for what the app asked."""

    advice: ClassVar[str] = (
        "The position is too uncertain to check in from. Ask for precise location, or try again "
        "where the sky can be seen."
    )


class Mocked(LocationError):
    """The platform says that the position was made up."""

    advice: ClassVar[str] = (
        "The device says that its position is a mock. Switch the mock location app off and try "
        "again."
    )


class LocationProvider(Protocol):
    """Where fixes come from, and what the person has allowed."""

    async def permission(self) -> PermissionState:
        """What is allowed at this moment, read from the platform again at every call."""
        ...

    async def request_permission(self) -> PermissionState:
        """Ask the person, where the platform lets an app ask, and say how it stands then."""
        ...

    async def current(self, *, max_age_s: float, timeout_s: float) -> Fix:
        """One position that is at most so old. `max_age_s` has no default, for a reason:
        a cached position of an hour ago is how people check in where they no longer are.

        Raises `Unavailable`, `Stale` or `Mocked`, never gives a position that is none.
        """
        ...

    def watch(self) -> AsyncIterator[Fix]:
        """Position after position while it is iterated: for an app that waits for a good one."""
        ...
