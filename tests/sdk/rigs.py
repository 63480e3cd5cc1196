"""Platforms for the providers' conformance suite: each says what a test has it say.

Toga and Flet are the real packages, with the dummy backend of the one and the other's service
class, whose calls to the phone are answered here. Plyer is the real package, with its facade
implemented.
What Toga's backends keep of iOS and Android has the members that CLLocationManager and
LocationManager have.
"""

# ruff: noqa: N802 (names that are not ours)

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

from flet_geolocator import Geolocator, GeolocatorPosition
from plyer.facades import GPS

from doorstep import Fix, LocationProvider
from doorstep._clock import elapsed
from doorstep.providers import (
    CallbackProvider,
    FakeProvider,
    FletProvider,
    PlyerProvider,
    TogaProvider,
)

os.environ["TOGA_BACKEND"] = "toga_dummy"
import toga

LAT, LON = 52.3702157, 4.8951679


@dataclass(frozen=True)
class Place:
    """What a platform has. Accuracy 0.0 is how many say that they do not know it."""

    lat: Any = LAT
    lon: Any = LON
    accuracy_m: Any = 8.5
    age_s: float = 0.0
    mocked: bool = False


class Rig:
    """A provider and its platform."""

    provider: LocationProvider
    #: what this platform cannot say
    cannot: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.place: Place | None = Place()
        #: the platform does not answer at all
        self.hangs = False
        #: whether something is switched on that uses power
        self.is_on = False

    def permit(self, state: str) -> None:
        raise NotImplementedError

    def states(self) -> dict[str, str]:
        """What the platform can say of its permission, and what that is in our words."""
        raise NotImplementedError

    def say(self) -> None:
        """Hand over what there is, where a platform does so by itself."""


class CallbackRig(Rig):
    def __init__(self) -> None:
        super().__init__()
        self._state = "precise"
        self.provider = CallbackProvider(self._position, self._permission, interval_s=0.0)

    async def _position(self) -> Fix | None:
        if self.hangs:
            await asyncio.Event().wait()
        return None if self.place is None else _fix(self.place)

    def _permission(self) -> Any:
        return self._state

    def permit(self, state: str) -> None:
        self._state = state

    def states(self) -> dict[str, str]:
        names = "unknown denied restricted services_off approximate precise_once precise"
        return {name: name for name in names.split()}


class FakeRig(Rig):
    def __init__(self) -> None:
        super().__init__()
        self.fake = self.provider = FakeProvider()

    def say(self) -> None:
        self.fake.go(*[None if self.place is None else _fix(self.place)] * 50)
        self.fake._next = self._next  # type: ignore[method-assign]

    async def _next(self) -> Fix | None:
        if self.hangs:
            await asyncio.Event().wait()
        return await FakeProvider._next(self.fake)

    def permit(self, state: Any) -> None:
        self.fake.state = state

    def states(self) -> dict[str, str]:
        return {"denied": "denied", "precise": "precise", "approximate": "approximate"}


def _fix(place: Place) -> Fix | None:
    taken = datetime.now(UTC) - timedelta(seconds=place.age_s)
    if place.lat is None or (place.accuracy_m is not None and place.accuracy_m < 0):
        return None
    return Fix(
        lat=place.lat,
        lon=place.lon,
        accuracy_m=place.accuracy_m,
        captured_at=taken,
        mocked=place.mocked,
    )


# -- Toga --------------------------------------------------------------------------------------


def toga_app() -> Any:
    return toga.App("Visits", "org.example.visits")


class TogaRig(Rig):
    """Toga alone: no accuracy, no time, no mock flag."""

    cannot = frozenset({"accuracy", "age", "mocked"})

    def __init__(self) -> None:
        super().__init__()
        self.app = toga_app()
        self.impl = self.app.location._impl
        self.impl._has_permission = 1
        self.impl.current_location = self._current
        self.impl.start_tracking = lambda: setattr(self, "is_on", True)
        self.impl.stop_tracking = lambda: setattr(self, "is_on", False)
        self.provider = TogaProvider(self.app)

    def _current(self, result: Any) -> None:
        if not self.hangs:
            result.set_result(self._latlng())

    def _latlng(self) -> Any:

        if self.place is None or self.place.lat is None:
            return None
        return toga.LatLng(self.place.lat, self.place.lon)

    def say(self) -> None:
        if self.is_on:
            self.app.location.on_change(location=self._latlng(), altitude=None)

    def permit(self, state: str) -> None:
        self.impl._has_permission = {"no": 0, "not asked": -1, "yes": 1}[state]

    def states(self) -> dict[str, str]:
        return {"no": "denied", "not asked": "denied", "yes": "precise"}


class AppleRig(Rig):
    """Toga on iOS and macOS: with a CLLocationManager."""

    def __init__(self) -> None:
        super().__init__()
        self.app = toga_app()
        self.authorizationStatus = 4
        self.accuracyAuthorization = 0
        self.locationServicesEnabled = True
        self.app.location._impl.native = self
        self.provider = TogaProvider(self.app)

    @property
    def location(self) -> Any:
        return None if self.place is None or self.hangs else AppleLocation(self.place)

    def requestLocation(self) -> None:
        raise AssertionError("it ends by itself, and says nothing of when")

    def startUpdatingLocation(self) -> None:
        self.is_on = True

    def stopUpdatingLocation(self) -> None:
        self.is_on = False

    def permit(self, state: str) -> None:
        self.locationServicesEnabled = state != "off"
        self.accuracyAuthorization = int(state == "reduced")
        numbers = {"not determined": 0, "restricted": 1, "denied": 2, "always": 3}
        self.authorizationStatus = numbers.get(state, 4)

    def states(self) -> dict[str, str]:
        return {
            "off": "services_off",
            "reduced": "approximate",
            "not determined": "unknown",
            "restricted": "restricted",
            "denied": "denied",
            "always": "precise",
            "when in use": "precise",
        }


class AppleLocation:
    def __init__(self, place: Place) -> None:
        known = place.accuracy_m is not None and place.lat is not None
        self.horizontalAccuracy = place.accuracy_m if known else -1.0
        self.coordinate = type("Coordinate", (), {})()
        self.coordinate.latitude, self.coordinate.longitude = place.lat, place.lon
        self.timestamp = type("NSDate", (), {})()
        self.timestamp.timeIntervalSince1970 = datetime.now(UTC).timestamp() - place.age_s
        self.sourceInformation = type("Source", (), {})()
        self.sourceInformation.isSimulatedBySoftware = place.mocked


class AndroidRig(Rig):
    """Toga on Android: with a LocationManager."""

    def __init__(self) -> None:
        super().__init__()
        self.app = toga_app()
        impl = self.app.location._impl
        impl._has_permission = 1
        impl.start_tracking = lambda: setattr(self, "is_on", True)
        impl.stop_tracking = lambda: setattr(self, "is_on", False)
        impl.current_location = self._null
        impl.native = self
        self.app._impl._native_checkSelfPermission = self._check
        self._granted = {"FINE", "COARSE"}
        self._enabled = True
        self.provider = TogaProvider(self.app)

    def _null(self, result: Any) -> None:
        raise AttributeError("'NoneType' object has no attribute 'getLatitude'")

    def _check(self, permission: str) -> int:
        return 0 if permission.split("_")[-2] in self._granted else -1

    def isLocationEnabled(self) -> bool:
        return self._enabled

    def getLastKnownLocation(self, provider: str) -> Any:
        assert provider == "fused"
        return None if self.place is None or self.hangs else AndroidLocation(self.place)

    def permit(self, state: str) -> None:
        self._enabled = state != "off"
        self._granted = {"fine": {"FINE", "COARSE"}, "coarse": {"COARSE"}}.get(state, set())

    def states(self) -> dict[str, str]:
        return {
            "off": "services_off",
            "none": "denied",
            "coarse": "approximate",
            "fine": "precise",
        }


class AndroidLocation:
    def __init__(self, place: Place) -> None:
        self._place = place

    def getLatitude(self) -> Any:
        return self._place.lat

    def getLongitude(self) -> Any:
        return self._place.lon

    def hasAccuracy(self) -> bool:
        return self._place.accuracy_m not in {None, 0.0}

    def getAccuracy(self) -> float:
        return self._place.accuracy_m or 0.0

    def getTime(self) -> int:
        return int(1e3 * (datetime.now(UTC).timestamp() - self._place.age_s))

    def getElapsedRealtimeNanos(self) -> int:
        return int(1e9 * (elapsed() - self._place.age_s))

    def isFromMockProvider(self) -> bool:
        return self._place.mocked


# -- Flet --------------------------------------------------------------------------------------


class FletRig(Rig):
    """The service class of flet-geolocator; the other side of its calls is here."""

    def __init__(self) -> None:
        super().__init__()
        rig = self

        class Connected(Geolocator):
            async def _invoke_method(self, method_name: str, *_: Any, **__: Any) -> Any:
                return await rig._answer(method_name)

        self._status, self._enabled = "whileInUse", True
        self.geolocator = Connected()
        self.provider = FletProvider(self.geolocator)

    async def _answer(self, method: str) -> Any:
        match method:
            case "get_current_position":
                if self.hangs:
                    await asyncio.Event().wait()
                if self.place is None:
                    raise RuntimeError(f"no position near {LAT}, {LON}")
                return _position(self.place)
            case "is_location_service_enabled":
                return self._enabled
        return self._status

    def say(self) -> None:
        if self.geolocator.on_position_change is not None and self.place is not None:
            event = type("Event", (), {})()
            event.position = GeolocatorPosition(**_position(self.place))
            self.geolocator.on_position_change(event)

    def permit(self, state: str) -> None:
        self._enabled = state != "off"
        self._status = state if self._enabled else "whileInUse"

    def states(self) -> dict[str, str]:
        return {
            "off": "services_off",
            "denied": "denied",
            "deniedForever": "denied",
            "whileInUse": "precise",
            "always": "precise",
            "unableToDetermine": "unknown",
        }


def _position(place: Place) -> dict[str, Any]:
    return {
        "latitude": place.lat,
        "longitude": place.lon,
        # so it says that it does not know
        "accuracy": 0.0 if place.accuracy_m is None else place.accuracy_m,
        "altitude": 0.0,
        "speed": 0.0,
        "timestamp": datetime.now(UTC) - timedelta(seconds=place.age_s),
        "mocked": place.mocked,
    }


# -- Plyer -------------------------------------------------------------------------------------


class PlyerRig(Rig):
    """Plyer's facade, whose callbacks come from a thread of its own, as on Android."""

    cannot = frozenset({"age", "mocked"})

    def __init__(self) -> None:
        super().__init__()
        rig = self

        class Backend(GPS):  # type: ignore[misc]
            def _configure(self) -> None:
                pass

            def _start(self, **_: Any) -> None:
                rig.is_on = True
                rig.say()

            def _stop(self) -> None:
                rig.is_on = False

        self.gps = Backend()
        self.provider = PlyerProvider(gps=self.gps)

    def say(self) -> None:
        if not self.is_on or self.hangs or self.place is None:
            return
        said = {"lat": self.place.lat, "lon": self.place.lon, "altitude": 1.0, "speed": 0.0}
        if self.place.accuracy_m is not None:
            said["accuracy"] = self.place.accuracy_m
        elsewhere = Thread(target=self.gps.on_location, kwargs=said)
        elsewhere.start()
        elsewhere.join()

    def permit(self, state: str) -> None:
        self.gps.configure(on_location=lambda **_: None, on_status=self.provider._hear)  # type: ignore[attr-defined]
        kind, status = {
            "off": ("provider-disabled", "gps"),
            "on": ("provider-enabled", "gps"),
        }.get(state, ("provider-enabled", f"standard-ios-provider: {state}"))
        self.gps.on_status(kind, status)

    def states(self) -> dict[str, str]:
        return {
            "off": "services_off",
            "on": "unknown",
            "notDetermined": "unknown",
            "restricted": "restricted",
            "denied": "denied",
            "authorizedAlways": "precise",
            "authorizedWhenInUse": "precise",
        }


RIGS: dict[str, Callable[[], Rig]] = {
    "callback": CallbackRig,
    "fake": FakeRig,
    "flet": FletRig,
    "plyer": PlyerRig,
    "toga": TogaRig,
    "toga-on-android": AndroidRig,
    "toga-on-apple": AppleRig,
}
