"""Kivy's way to a position: `plyer.gps`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from doorstep._endpoints import PermissionState
from doorstep._fix import Fix
from doorstep.providers._handed import Handed
from doorstep.providers._taking import Gone, fix_of, taken

_FINE = "android.permission.ACCESS_FINE_LOCATION"
_COARSE = "android.permission.ACCESS_COARSE_LOCATION"
#: what iOS says in a status, after the provider's name
_OF_IOS: dict[str, PermissionState] = {
    "notDetermined": "unknown",
    "restricted": "restricted",
    "denied": "denied",
    "authorizedAlways": "precise",
    "authorizedWhenInUse": "precise",
}


class PlyerProvider:
    """Takes positions from `plyer.gps`, which runs only while somebody waits for one.

    Plyer does not say when a position was taken nor whether it is a mock: a position is of the
    moment at which it is handed over, and one that came before it was asked for is never given. On
    Android the permission is that of python-for-android's `android.permissions`, elsewhere what
    plyer's status says; or pass `permission`, a function.
    """

    def __init__(
        self, *, gps: Any = None, permission: Callable[[], PermissionState] | None = None
    ) -> None:
        self._gps = gps
        self._permission = permission
        self._said: PermissionState = "unknown"

    async def permission(self) -> PermissionState:
        """What is allowed at this moment, as far as it can be told."""
        if self._permission is not None:
            return self._permission()
        android = _android_permissions()
        if android is None or self._said == "services_off":
            return self._said
        if android.check_permission(_FINE):
            return "precise"
        return "approximate" if android.check_permission(_COARSE) else "denied"

    async def request_permission(self) -> PermissionState:
        """Ask the person, where the platform lets an app ask, and say how it stands then."""
        android = _android_permissions()
        if android is not None:
            answered, loop = asyncio.Event(), asyncio.get_running_loop()

            def answer(*_: object) -> None:
                loop.call_soon_threadsafe(answered.set)

            android.request_permissions([_FINE, _COARSE], answer)
            await answered.wait()
        return await self.permission()

    async def current(self, *, max_age_s: float, timeout_s: float) -> Fix:
        """One position, newly taken."""
        with self._running() as handed:
            return await taken(handed.next, max_age_s=max_age_s, timeout_s=timeout_s)

    async def watch(self) -> AsyncIterator[Fix]:
        """Position after position while it is iterated."""
        with self._running() as handed:
            while True:
                fix = await handed.next()
                if fix is not None:
                    yield fix

    @contextmanager
    def _running(self) -> Generator[_Running, None, None]:
        running = _Running(self._gps or import_module("plyer").gps, self._hear)
        running.start()
        try:
            yield running
        finally:
            running.stop()

    def _hear(self, kind: str, status: str) -> None:
        """A status, in plyer's words."""
        said = _OF_IOS.get(status.rpartition(": ")[2])
        if said is not None:
            self._said = said
        elif kind == "provider-disabled":
            self._said = "services_off"
        elif kind == "provider-enabled":
            self._said = "unknown"


class _Running:
    """The receiver, switched on."""

    def __init__(self, gps: Any, on_status: Callable[[str, str], None]) -> None:
        self._gps = gps
        self._on_status = on_status
        self._handed = Handed()
        self._works = True

    def start(self) -> None:
        try:
            self._gps.configure(on_location=self._hear, on_status=self._on_status)
            self._gps.start(minTime=0, minDistance=0)
        except Exception:  # noqa: BLE001 - what a platform raises is the platform's
            self._works = False

    def stop(self) -> None:
        if self._works:
            self._gps.stop()

    async def next(self) -> Fix | None:
        if not self._works:
            raise Gone
        return await self._handed.next()

    def _hear(self, **said: Any) -> None:
        fix = fix_of(lat=said.get("lat"), lon=said.get("lon"), accuracy_m=said.get("accuracy"))
        said.clear()
        self._handed.hand(fix)


def _android_permissions() -> Any:
    """Of python-for-android; None elsewhere."""
    try:
        return import_module("android.permissions")
    except ImportError:
        return None
