"""One suite for every provider of positions: what a check-in may be made from, and what never."""

import asyncio
import logging
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from plyer.facades import GPS

import doorstep
from doorstep import Fix, LocationError, Mocked, Stale, Unavailable
from doorstep.providers import FakeProvider, PlyerProvider, TogaProvider
from sdk.rigs import LAT, LON, RIGS, FletRig, Place, PlyerRig, Rig, TogaRig

T = TypeVar("T")

ALL = sorted(RIGS)
#: long for a test that has what it waits for, and short for one that has not
SOON_S = 0.05


def those_that_can(said: str) -> list[str]:
    return [name for name in ALL if said not in RIGS[name].cannot]  # type: ignore[attr-defined]


def run(name: str, scene: Callable[[Rig], Awaitable[T]]) -> T:
    """In an event loop, as an app's: some platforms want one from the beginning."""

    async def played() -> T:
        return await scene(RIGS[name]())

    return asyncio.run(played())


async def current(rig: Rig, *, max_age_s: float = 30.0, timeout_s: float = 5.0) -> Fix:
    rig.say()
    return await rig.provider.current(max_age_s=max_age_s, timeout_s=timeout_s)


@pytest.mark.parametrize("name", ALL)
def test_a_position_is_the_platforms(name: str) -> None:
    fix = run(name, current)
    assert (fix.lat, fix.lon) == (LAT, LON)
    assert abs((doorstep.Fix.now(lat=0, lon=1).captured_at - fix.captured_at).total_seconds()) < 60


@pytest.mark.parametrize("name", those_that_can("accuracy"))
def test_accuracy_is_the_platforms(name: str) -> None:
    assert run(name, current).accuracy_m == 8.5


#: CLLocation says so by an accuracy below zero, which is no position
UNKNOWN = [(name, how) for name in ALL for how in (None, 0.0) if (name, how) != (ALL[-1], None)]


@pytest.mark.parametrize(("name", "unknown"), UNKNOWN)
def test_an_accuracy_that_is_not_known_is_none(name: str, unknown: float | None) -> None:
    async def scene(rig: Rig) -> Fix:
        rig.place = Place(accuracy_m=unknown)
        return await current(rig)

    assert run(name, scene).accuracy_m is None


@pytest.mark.parametrize("name", those_that_can("accuracy"))
def test_an_accuracy_below_zero_is_no_position(name: str) -> None:
    async def scene(rig: Rig) -> None:
        rig.place = Place(accuracy_m=-1.0)
        await current(rig, timeout_s=SOON_S)

    with pytest.raises(Unavailable):
        run(name, scene)


@pytest.mark.parametrize("name", ALL)
def test_no_position_is_unavailable_and_no_crash(name: str) -> None:
    async def scene(rig: Rig) -> None:
        rig.place = None
        await current(rig, timeout_s=SOON_S)

    with pytest.raises(Unavailable):
        run(name, scene)


@pytest.mark.parametrize("name", ALL)
def test_a_position_of_nothing_is_none(name: str) -> None:
    async def scene(rig: Rig) -> None:
        rig.place = Place(lat=None, lon=None)
        await current(rig, timeout_s=SOON_S)

    with pytest.raises(Unavailable):
        run(name, scene)


@pytest.mark.parametrize("name", ["flet", "plyer", "toga-on-android", "toga-on-apple"])
@pytest.mark.parametrize("wrong", [float("nan"), 91.0, "here"])
def test_a_position_that_is_no_place_is_none(name: str, wrong: Any) -> None:
    async def scene(rig: Rig) -> None:
        rig.place = Place(lat=wrong)
        await current(rig, timeout_s=SOON_S)

    with pytest.raises(Unavailable):
        run(name, scene)


@pytest.mark.parametrize("name", those_that_can("age"))
def test_an_old_position_is_stale_and_never_given(name: str) -> None:
    async def scene(rig: Rig) -> None:
        rig.place = Place(age_s=3_600)
        await current(rig, timeout_s=SOON_S)

    with pytest.raises(Stale):
        run(name, scene)


@pytest.mark.parametrize("name", those_that_can("age"))
def test_a_fresh_one_is_waited_for(name: str) -> None:
    async def scene(rig: Rig) -> Fix:
        rig.place = Place(lat=1.0, age_s=3_600)
        asked = asyncio.create_task(current(rig))
        await asyncio.sleep(0)
        rig.place = Place()
        rig.say()
        return await asked

    assert run(name, scene).lat == LAT


@pytest.mark.parametrize("name", those_that_can("mocked"))
def test_a_mock_is_told(name: str) -> None:
    async def scene(rig: Rig) -> None:
        rig.place = Place(mocked=True)
        await current(rig)

    with pytest.raises(Mocked):
        run(name, scene)


@pytest.mark.parametrize("name", those_that_can("mocked"))
def test_a_mock_that_is_allowed_is_flagged(name: str) -> None:
    """On simulators every position is one."""

    async def scene(rig: Rig) -> Fix:
        rig.place = Place(mocked=True)
        rig.provider._allow_mocked = True  # type: ignore[attr-defined]
        return await current(rig)

    assert run(name, scene).mocked is True


@pytest.mark.parametrize("name", ALL)
def test_a_platform_that_does_not_answer_times_out(name: str) -> None:
    async def scene(rig: Rig) -> bool:
        rig.hangs = True
        with pytest.raises(Unavailable):
            await current(rig, timeout_s=SOON_S)
        return rig.is_on

    assert run(name, scene) is False, "what was switched on is switched off"


@pytest.mark.parametrize("name", ALL)
def test_who_goes_away_leaves_nothing_on(name: str) -> None:
    async def scene(rig: Rig) -> bool:
        rig.hangs = True
        asked = asyncio.create_task(current(rig, timeout_s=60))
        for _ in range(5):
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        return rig.is_on

    assert run(name, scene) is False


@pytest.mark.parametrize("name", ALL)
def test_permission_is_read_again_each_time(name: str) -> None:
    async def scene(rig: Rig) -> dict[str, str]:
        found = {}
        for state in rig.states():
            rig.permit(state)
            found[state] = await rig.provider.permission()
        return found

    assert run(name, scene) == run(name, _states)


async def _states(rig: Rig) -> dict[str, str]:
    return rig.states()


@pytest.mark.parametrize("name", ALL)
def test_asking_the_person_says_how_it_stands_then(name: str) -> None:
    async def scene(rig: Rig) -> str:
        return await rig.provider.request_permission()

    assert run(name, scene) in {"precise", "unknown"}


@pytest.mark.parametrize("name", ["toga", "toga-on-android", "toga-on-apple"])
def test_without_permission_there_is_no_position(name: str) -> None:
    async def scene(rig: Rig) -> None:
        rig.permit({"toga": "no", "toga-on-android": "none"}.get(name, "denied"))
        await current(rig)

    with pytest.raises(Unavailable):
        run(name, scene)


@pytest.mark.parametrize("name", ALL)
def test_a_watch_gives_positions_until_it_is_left(name: str) -> None:
    async def scene(rig: Rig) -> tuple[list[Fix], bool]:
        rig.say()
        watch = rig.provider.watch()
        found = []
        for _ in range(2):
            asked = asyncio.ensure_future(anext(watch))
            for _ in range(5):
                await asyncio.sleep(0)
            rig.say()
            found.append(await asyncio.wait_for(asked, 5))
        await watch.aclose()  # type: ignore[attr-defined]
        return found, rig.is_on

    found, is_on = run(name, scene)
    assert [(fix.lat, fix.lon) for fix in found] == [(LAT, LON)] * 2
    assert is_on is False


@pytest.mark.parametrize("name", ["flet", "toga"])
def test_a_handler_of_the_apps_goes_on_hearing(name: str) -> None:
    heard: list[Any] = []

    async def scene(rig: Any) -> Any:
        if isinstance(rig, FletRig):
            rig.geolocator.on_position_change = heard.append
        else:
            rig.app.location.on_change = lambda service, **said: heard.append(said)
        watch = rig.provider.watch()
        asked = asyncio.ensure_future(anext(watch))
        for _ in range(3):
            await asyncio.sleep(0)
        rig.say()
        await asked
        await watch.aclose()
        rig.is_on = True
        rig.say()

    run(name, scene)
    assert len(heard) == 2


#: Of an app's own fix, and of Toga's, numbers are numbers.
TELLTALE = [
    (name, place)
    for name in ALL
    for place in (None, Place(age_s=3_600), Place(mocked=True), Place(lat="52.3702157x"))
    if place is None or not isinstance(place.lat, str) or name not in {"callback", "fake", "toga"}
]


@pytest.mark.parametrize(("name", "place"), TELLTALE)
def test_no_coordinate_is_in_a_repr_a_log_or_an_error(
    name: str, place: Place | None, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)

    async def scene(rig: Rig) -> tuple[str, str]:
        rig.place = place
        try:
            said = repr(await current(rig, timeout_s=SOON_S))
        except LocationError as error:
            said = "".join(traceback.format_exception(error))
        return said, repr(rig.provider)

    said = [*run(name, scene), caplog.text, *capfd.readouterr()]
    assert not [text for text in said if _has_digits(text)]


def _has_digits(text: str) -> bool:
    return any(digits in text for digits in ("52.37", "4.895", "3702157", "8951679"))


# -- what is one platform's own ------------------------------------------------------------------


def test_plyer_without_a_platform_is_unavailable() -> None:
    """On this machine plyer has no GPS."""

    async def scene() -> None:
        await PlyerProvider(gps=GPS()).current(max_age_s=5, timeout_s=5)

    with pytest.raises(Unavailable):
        asyncio.run(scene())


def test_plyer_gives_nothing_that_came_before_it_was_asked() -> None:
    async def scene(rig: Rig) -> Fix:
        assert isinstance(rig, PlyerRig)
        rig.place = Place(lat=1.0)
        await current(rig)
        rig.place = Place()
        return await current(rig)

    assert run("plyer", scene).lat == LAT


def test_toga_alone_knows_no_accuracy() -> None:
    """So the server will at best be uncertain, whatever is beneath."""
    assert run("toga", current).accuracy_m is None


def test_androids_elapsed_clock_is_taken_over() -> None:
    fix = run("toga-on-android", current)
    assert fix.elapsed_s is not None


def test_the_dummy_backend_as_it_is() -> None:
    async def scene() -> Fix:
        app = TogaRig().app
        del app.location._impl.current_location
        provider = TogaProvider(app)
        assert await provider.request_permission() == "precise"
        return await provider.current(max_age_s=5, timeout_s=5)

    assert asyncio.run(scene()).lat == 13.0


def test_a_fake_raises_its_faults_and_stays_at_its_end() -> None:
    async def scene() -> list[Any]:
        fix = Fix.now(lat=LAT, lon=LON)
        fake, found = FakeProvider([Unavailable(), fix]), []
        for _ in range(3):
            try:
                found.append(await fake.current(max_age_s=30, timeout_s=1))
            except Unavailable:
                found.append("unavailable")
        return [one if one == "unavailable" else one.lat for one in found]

    assert asyncio.run(scene()) == ["unavailable", LAT, LAT]


def test_no_framework_is_imported_before_it_is_used() -> None:
    frameworks = "toga flet flet_geolocator plyer android java rubicon"
    program = (
        "import sys, doorstep.providers as p; p.TogaProvider(None); p.FletProvider(None); "
        f"p.PlyerProvider(); print(*(set({frameworks!r}.split()) & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_providers_are_what_the_protocol_says() -> None:
    takes: list[doorstep.LocationProvider] = [TogaProvider(None), FakeProvider(), PlyerProvider()]
    assert len(takes) == 3
    assert (Path(doorstep.__file__).parent / "providers").is_dir()
