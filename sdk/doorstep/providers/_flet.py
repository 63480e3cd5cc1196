"""Flet's way to a position: the service `flet_geolocator.Geolocator`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from doorstep._endpoints import PermissionState
from doorstep._fix import Fix
from doorstep.providers._handed import Handed
from doorstep.providers._taking import Gone, fix_of, taken

#: by the values of `GeolocatorPermissionStatus`; it does not tell whether places are approximate
_STATES: dict[str, PermissionState] = {
    "denied": "denied",
    "deniedForever": "denied",
    "whileInUse": "precise",
    "always": "precise",
    "unableToDetermine": "unknown",
}


class FletProvider:
    """Asks a `flet_geolocator.Geolocator` that is among the page's services.

    Its 0.0 for an accuracy that is not known becomes None. A mocked position raises `Mocked`,
    unless `allow_mocked`.
    """

    def __init__(self, geolocator: Any, *, allow_mocked: bool = False) -> None:
        self._geolocator = geolocator
        self._allow_mocked = allow_mocked

    async def permission(self) -> PermissionState:
        """What is allowed at this moment."""
        return await self._state("get_permission_status")

    async def request_permission(self) -> PermissionState:
        """Ask the person, and say how it stands then."""
        return await self._state("request_permission")

    async def current(self, *, max_age_s: float, timeout_s: float) -> Fix:
        """One position that is at most so old."""
        return await taken(
            self._next, max_age_s=max_age_s, timeout_s=timeout_s, allow_mocked=self._allow_mocked
        )

    async def watch(self) -> AsyncIterator[Fix]:
        """Position after position while it is iterated; a handler of the app's is called, too."""
        handed, before = Handed(), self._geolocator.on_position_change

        def hear(event: Any) -> None:
            handed.hand(_fix(event.position))
            if before is not None:
                before(event)

        self._geolocator.on_position_change = hear
        try:
            while True:
                fix = await handed.next()
                if fix is not None:
                    yield fix
        finally:
            self._geolocator.on_position_change = before

    async def _next(self) -> Fix | None:
        position, gives = None, True
        try:
            position = await self._geolocator.get_current_position()
        except Exception:  # noqa: BLE001 - its messages may hold anything
            gives = False
        if not gives:
            raise Gone
        return _fix(position)

    async def _state(self, method: str) -> PermissionState:
        try:
            if not await self._geolocator.is_location_service_enabled():
                return "services_off"
            status = await getattr(self._geolocator, method)()
        except Exception:  # noqa: BLE001
            return "unknown"
        return _STATES.get(getattr(status, "value", status), "unknown")


def _fix(position: Any) -> Fix | None:
    """None where the platform has no position, or does not say when it took it."""
    if position is None or position.timestamp is None:
        return None
    return fix_of(
        lat=position.latitude,
        lon=position.longitude,
        accuracy_m=position.accuracy,
        # without a zone it is the phone's own
        captured_at=position.timestamp.astimezone(),
        mocked=position.mocked,
    )
