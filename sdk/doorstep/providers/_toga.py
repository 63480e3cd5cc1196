"""Toga's way to a position: `app.location`, with what the native object knows beside it.

Toga 0.5 gives latitude, longitude and altitude. How sure they are, when they were taken and
whether they are mocks stands in the platform's own object, which the backend keeps. Where there is
one it is asked itself, which also goes round two traps: on Apple's systems Toga hands out a cached
position of any age, and on Android it fails where there is none (toga#2878).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from doorstep._endpoints import PermissionState
from doorstep._fix import Fix
from doorstep.providers._handed import Handed
from doorstep.providers._taking import AGAIN_S, Gone, age_s, fix_of, from_epoch_s, taken

_FINE = "android.permission.ACCESS_FINE_LOCATION"
_COARSE = "android.permission.ACCESS_COARSE_LOCATION"
_FUSED = "fused"
#: CLAuthorizationStatus
_AUTHORIZATIONS: dict[int, PermissionState] = {
    0: "unknown",
    1: "restricted",
    2: "denied",
    3: "precise",
    4: "precise",
}
_REDUCED_ACCURACY = 1


class _Way(Protocol):
    """How positions are had of a backend."""

    def permission(self) -> PermissionState: ...

    def begin(self) -> None: ...

    async def next(self) -> Fix | None: ...

    def end(self) -> None: ...


class TogaProvider:
    """Takes positions from a Toga app's `location`.

    On backends without a native object that is known here, a position has no accuracy and counts
    as taken when it is handed over: at best uncertain for the server. A mocked position raises
    `Mocked`, unless `allow_mocked`.
    """

    def __init__(self, app: Any, *, allow_mocked: bool = False) -> None:
        self._app = app
        self._allow_mocked = allow_mocked

    async def permission(self) -> PermissionState:
        """What is allowed at this moment. Where Toga tells yes or no only, no means `denied`."""
        return self._way().permission()

    async def request_permission(self) -> PermissionState:
        """Ask the person, and say how it stands then."""
        await self._app.location.request_permission()
        return self._way().permission()

    async def current(self, *, max_age_s: float, timeout_s: float) -> Fix:
        """One position that is at most so old."""
        way = self._way()
        way.begin()
        try:
            return await taken(
                way.next, max_age_s=max_age_s, timeout_s=timeout_s, allow_mocked=self._allow_mocked
            )
        finally:
            way.end()

    async def watch(self) -> AsyncIterator[Fix]:
        """Position after position while it is iterated; a handler of the app's is called, too."""
        way = self._way()
        way = way if isinstance(way, _Native) else _Tracking(self._app.location)
        way.begin()
        last: Fix | None = None
        try:
            while True:
                fix = await way.next()
                if fix is not None and (last is None or fix.captured_at > last.captured_at):
                    last = fix
                    yield fix
                elif isinstance(way, _Native):
                    await asyncio.sleep(AGAIN_S)
        finally:
            way.end()

    def _way(self) -> _Way:
        location = self._app.location
        native = getattr(location._impl, "native", None)  # noqa: SLF001 - the only way to it
        if hasattr(native, "getLastKnownLocation"):
            return _Android(location, native)
        if hasattr(native, "requestLocation"):
            return _Apple(native)
        return _Plain(location)


class _Plain:
    """Toga alone."""

    def __init__(self, location: Any) -> None:
        self._location = location

    def permission(self) -> PermissionState:
        return "precise" if self._location.has_permission else "denied"

    def begin(self) -> None:
        """Nothing is switched on."""

    async def next(self) -> Fix | None:
        place, gives = None, True
        try:
            place = await self._location.current_location()
        except Exception:  # noqa: BLE001 - no permission, or what a backend raises
            gives = False
        if not gives:
            raise Gone
        return _fix_of_toga(place)

    def end(self) -> None:
        """Nothing was."""


class _Tracking(_Plain):
    """Toga's own updates, for a backend that has nothing else."""

    def __init__(self, location: Any) -> None:
        super().__init__(location)
        self._handed = Handed()
        # Toga wraps handlers; what was wrapped is what is set again
        self._before = getattr(location.on_change, "_raw", None)

    def begin(self) -> None:
        self._location.on_change = self._hear
        if self._location.has_permission:
            self._location.start_tracking()

    async def next(self) -> Fix | None:
        return await self._handed.next()

    def end(self) -> None:
        if self._location.has_permission:
            self._location.stop_tracking()
        self._location.on_change = self._before

    def _hear(self, service: Any, location: Any = None, **more: Any) -> None:
        self._handed.hand(_fix_of_toga(location))
        if self._before is not None:
            self._before(service, location=location, **more)


class _Native:
    """A platform's own object. What it has at first may be old: it is asked for more meanwhile."""

    def __init__(self) -> None:
        self._asked = False

    def permission(self) -> PermissionState:
        raise NotImplementedError

    def begin(self) -> None:
        """Only when what is there is too old."""

    async def next(self) -> Fix | None:
        if self.permission() not in {"precise", "approximate"}:
            raise Gone
        fix = self._read()
        if not self._asked and (fix is None or age_s(fix) > 0.0):
            self._asked = True
            self._ask()
        return fix

    def end(self) -> None:
        if self._asked:
            self._leave()

    def _read(self) -> Fix | None:
        raise NotImplementedError

    def _ask(self) -> None:
        raise NotImplementedError

    def _leave(self) -> None:
        raise NotImplementedError


class _Apple(_Native):
    """CLLocationManager, of iOS and macOS."""

    def __init__(self, native: Any) -> None:
        super().__init__()
        self._native = native

    def permission(self) -> PermissionState:
        if not getattr(self._native, "locationServicesEnabled", True):
            return "services_off"
        state = _AUTHORIZATIONS.get(int(self._native.authorizationStatus), "unknown")
        reduced = getattr(self._native, "accuracyAuthorization", 0) == _REDUCED_ACCURACY
        return "approximate" if reduced and state == "precise" else state

    def _read(self) -> Fix | None:
        native = self._native.location
        if native is None:
            return None
        origin = getattr(native, "sourceInformation", None)
        return fix_of(
            lat=native.coordinate.latitude,
            lon=native.coordinate.longitude,
            accuracy_m=native.horizontalAccuracy,
            captured_at=from_epoch_s(native.timestamp.timeIntervalSince1970),
            mocked=None if origin is None else bool(origin.isSimulatedBySoftware),
        )

    def _ask(self) -> None:
        self._native.startUpdatingLocation()

    def _leave(self) -> None:
        self._native.stopUpdatingLocation()


class _Android(_Native):
    """LocationManager, with Toga's listener: it is never handed a null."""

    def __init__(self, location: Any, native: Any) -> None:
        super().__init__()
        self._location = location
        self._native = native

    def permission(self) -> PermissionState:
        if not self._native.isLocationEnabled():
            return "services_off"
        check = self._location.app._impl._native_checkSelfPermission  # noqa: SLF001
        if check(_FINE) == 0:
            return "precise"
        return "approximate" if check(_COARSE) == 0 else "denied"

    def _read(self) -> Fix | None:
        native = self._native.getLastKnownLocation(_FUSED)
        if native is None:
            return None
        is_mock = getattr(native, "isMock", None) or native.isFromMockProvider
        return fix_of(
            lat=native.getLatitude(),
            lon=native.getLongitude(),
            accuracy_m=native.getAccuracy() if native.hasAccuracy() else None,
            captured_at=from_epoch_s(native.getTime() / 1e3),
            elapsed_s=native.getElapsedRealtimeNanos() / 1e9,
            mocked=bool(is_mock()),
        )

    def _ask(self) -> None:
        self._location.start_tracking()

    def _leave(self) -> None:
        self._location.stop_tracking()


def _fix_of_toga(place: Any) -> Fix | None:
    """Without accuracy, and of now: more is not told."""
    return None if place is None else fix_of(lat=place.lat, lon=place.lng)
