"""The examples run: Toga on its dummy backend; Kivy where it is installed, and its logic anyway."""

import asyncio
import compileall
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import doorstep
from doorstep import AsyncClient, Fix, Retry, Unavailable
from doorstep.providers import FakeProvider, TogaProvider
from doorstep.testing import AsyncFaultTransport, DropBefore, FakeServer, Fault
from sdk.rigs import TogaRig, toga_app

EXAMPLES = Path(doorstep.__file__).parents[1] / "examples"
HERE = {"lat": 52.3702157, "lon": 4.8951679}

assert toga_app  # the dummy backend is chosen there, before Toga is imported


@pytest.fixture(autouse=True)
def examples_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def here() -> Fix:
    return Fix.now(**HERE, accuracy_m=8.0)


def world(*faults: Fault | None) -> tuple[FakeServer, AsyncClient, FakeProvider]:
    server = FakeServer()
    server.add_site(**HERE)
    network = AsyncFaultTransport(server.async_transport(), faults)
    client = AsyncClient(server.url, transport=network, retry=Retry(attempts=1))
    return server, client, FakeProvider([here()])


def shown(
    scene: Callable[[Any, FakeServer, FakeProvider], Any], file: Path, *faults: Fault | None
) -> str:
    """What the Toga app shows at the end of a scene."""
    from toga_visit.app import VisitApp  # noqa: PLC0415 (found by the fixture)

    async def played() -> str:
        server, client, provider = world(*faults)
        names = ("Visits", "org.example.visits")
        app = VisitApp(*names, client=client, provider=provider, outbox=file)
        app._startup()
        await scene(app, server, provider)
        await app.session.suspend()
        return str(app.result.text)

    return asyncio.run(played())


async def press(button: Any) -> None:
    """As a finger does, and until what it began is done."""
    before = asyncio.all_tasks()
    button._impl.simulate_press()
    begun = asyncio.all_tasks() - before
    # the session's own goes on
    await asyncio.gather(*(task for task in begun if "handler" in task.get_coro().__name__))


async def enrolled(app: Any, server: FakeServer) -> None:
    app.code.value = server.code()
    await press(app.enroll_button)


async def a_visit(app: Any, server: FakeServer, _: FakeProvider) -> None:
    assert not app.check_in_button.enabled
    await enrolled(app, server)
    assert app.check_in_button.enabled
    await press(app.check_in_button)
    assert [one["outcome"] for one in server.stored()] == ["accepted"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "outbox.db"


def test_the_toga_app_checks_in(file: Path) -> None:
    assert shown(a_visit, file) == "Checked in."


async def a_wrong_code(app: Any, _: FakeServer, __: FakeProvider) -> None:
    app.code.value = "AAAAAA"
    await press(app.enroll_button)
    assert not app.check_in_button.enabled


def test_the_toga_app_tells_of_a_wrong_code(file: Path) -> None:
    assert "enrollment-code-invalid" in shown(a_wrong_code, file)


async def nowhere(app: Any, server: FakeServer, provider: FakeProvider) -> None:
    await enrolled(app, server)
    provider.go(Unavailable())
    provider.state = "denied"
    await press(app.check_in_button)
    await app.session.flush()
    assert (await app.client.device.status()).permission == "denied"


def test_the_toga_app_tells_that_there_is_no_position_and_the_server_why(file: Path) -> None:
    assert "gave no position" in shown(nowhere, file)


async def without_a_network(app: Any, server: FakeServer, _: FakeProvider) -> None:
    await enrolled(app, server)
    await press(app.check_in_button)
    assert await app.session.waiting() == 1
    assert server.stored() == []


def test_the_toga_app_stores_what_cannot_be_sent(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toga_visit import app  # noqa: PLC0415

    monkeypatch.setattr(app, "PATIENCE_S", 0.2)
    never = [None, *[DropBefore()] * 1_000]
    assert shown(without_a_network, file, *never).startswith("Stored.")


def test_the_toga_app_takes_its_positions_from_toga() -> None:
    from toga_visit.app import VisitApp  # noqa: PLC0415

    async def played() -> Any:
        return VisitApp("Visits", "org.example.visits", client=world()[1]).provider

    assert isinstance(asyncio.run(played()), TogaProvider)
    assert TogaRig.cannot


def test_the_kivy_apps_logic_checks_in() -> None:
    from kivy_visit.visits import Visits  # noqa: PLC0415

    async def played() -> list[str]:
        server, client, provider = world()
        visits = Visits(client, provider)
        said = [await visits.enroll("AAAAAA"), await visits.enroll(server.code())]
        said.append(await visits.check_in())
        provider.go(Fix.now(lat=1.0, lon=1.0, accuracy_m=8.0))
        said.append(await visits.check_in())
        provider.go(Unavailable())
        return [*said, await visits.check_in()]

    refused, enrolled, inside, outside, nowhere = asyncio.run(played())
    assert "enrollment-code-invalid" in refused
    assert enrolled.startswith("Enrolled")
    assert (inside, outside) == ("Checked in.", "You do not seem to be at a site.")
    assert "gave no position" in nowhere


@pytest.mark.skipif(
    find_spec("kivy") is None,
    reason="the Kivy example did NOT run: there is no Kivy here (pip install kivy)",
)
def test_the_kivy_app_enrolls_and_checks_in_by_its_buttons(tmp_path: Path) -> None:
    """In a process of its own: Kivy takes over logging, arguments and the main thread."""
    found = {"PYTHONPATH": os.pathsep.join(sys.path), "KIVY_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("kivy_app.py")],
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "shown": ["Enrolled. Check in when you are there.", "Checked in."],
        "stored": ["accepted"],
    }


def test_every_example_is_python(tmp_path: Path) -> None:
    assert compileall.compile_dir(EXAMPLES, quiet=1, legacy=False)
    assert sys.version_info >= (3, 11)
