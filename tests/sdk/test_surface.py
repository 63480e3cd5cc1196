"""What is public, what it costs to import, and that both clients are one."""

import inspect
import re
import subprocess
import sys
import tomllib
import typing
from importlib.metadata import version
from pathlib import Path

import pytest

import doorstep
from doorstep import AsyncClient, Client
from sdk.scripted import TOKEN

SDK = Path(doorstep.__file__).parents[1]
#: imported by those who need them
SUBMODULES = {"providers", "testing"}
RESOURCES = ["check_ins", "device", "permission", "privacy", "sites"]


def test_all_is_what_is_public():
    public = {name for name in dir(doorstep) if not name.startswith("_")}
    imported = {"TYPE_CHECKING", *SUBMODULES}
    assert public - imported == set(doorstep.__all__) - {"__version__"}
    assert doorstep.__all__ == sorted(doorstep.__all__, key=isort_order)
    for name in doorstep.__all__:
        assert getattr(doorstep, name) is not None


def isort_order(name):
    return (name[:1].islower(), name[:1] == "_", name) if name[:1] != "_" else (True, False, name)


def test_every_other_module_is_private():
    """But for what an app imports by itself, since most do not need it."""
    public = {p.relative_to(SDK) for p in (SDK / "doorstep").rglob("*") if p.name[0] != "_"}
    modules = {p.with_suffix("") for p in public if p.suffix == ".py" or (SDK / p).is_dir()}
    assert {".".join(p.parts[1:]) for p in modules} == SUBMODULES
    assert (SDK / "doorstep" / "py.typed").exists()


def test_an_unknown_name_is_missing():
    with pytest.raises(AttributeError, match="Sesion"):
        _ = doorstep.Sesion


def members(thing):
    return {name: value for name, value in vars(type(thing)).items() if not name.startswith("_")}


def shape(function):
    signature = inspect.signature(function)
    return [(one.name, one.kind, one.default) for one in signature.parameters.values()]


def test_both_clients_are_made_alike():
    assert shape(Client) == shape(AsyncClient)


@pytest.mark.parametrize("resource", [None, *RESOURCES])
def test_both_clients_have_the_same_surface(resource):
    sync, awaited = Client("https://x.test"), AsyncClient("https://x.test")
    left = getattr(sync, resource) if resource else sync
    right = getattr(awaited, resource) if resource else awaited
    assert {*vars(left)} - {"_runner"} == {*vars(right)} - {"_runner"}
    assert members(left).keys() == members(right).keys()
    for name, function in members(left).items():
        twin = members(right)[name]
        assert shape(function) == shape(twin)
        assert function.__doc__ == twin.__doc__
        assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin)
        assert not inspect.iscoroutinefunction(function)
        assert result(function) == result(twin)


def result(function):
    written = function.__annotations__["return"]
    return re.sub(r"^Async(?=Iterator)", "", written)


def test_every_public_name_is_documented():
    readme = (SDK / "README.md").read_text()
    undocumented = [
        name
        for name in doorstep.__all__
        if inspect.isclass(value := getattr(doorstep, name))
        and not typing.get_origin(value)
        and not value.__doc__
    ]
    assert undocumented == []
    assert [name for name in doorstep.__all__ if f"`{name}" not in readme] == []


def test_the_version_is_one():
    project = tomllib.loads((SDK / "pyproject.toml").read_text())["project"]
    assert doorstep.__version__ == project["version"] == version("doorstep")
    assert f"## {doorstep.__version__}" in (SDK / "CHANGELOG.md").read_text()
    assert project["dependencies"] == []


def test_importing_it_brings_nothing_slow():
    slow = "ssl asyncio http.client socket dataclasses inspect uuid urllib.parse email logging"
    program = f"import doorstep, sys; print(*({slow.split()!r} & sys.modules.keys()))"
    program = program.replace("[", "{").replace("]", "}")
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(SDK)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_it_needs_the_standard_library_only():
    names = sys.stdlib_module_names | {"doorstep", "certifi", "httpx"}
    for path in (SDK / "doorstep").rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        assert set(imported) <= names, path.name


@pytest.mark.parametrize(
    "url",
    [
        "https://doorstep.example",
        "https://doorstep.example:8443/prefix/",
        "http://127.0.0.1:8000",
        "http://127.9.9.9",
        "http://[::1]:8000",
        "http://localhost:8000/",
        "HTTP://LOCALHOST",
    ],
)
def test_an_address_over_tls_or_on_this_machine_is_taken(url):
    Client(url).close()


@pytest.mark.parametrize(
    "url",
    [
        "http://doorstep.example",
        "http://127.0.0.1.doorstep.example",
        "http://localhost.doorstep.example",
        "http://10.0.2.2:8000",
        "http://0.0.0.0:8000",
        "http://[::ffff:10.0.0.1]",
    ],
)
def test_an_address_in_the_clear_is_refused_unless_it_is_meant(url):
    with pytest.raises(ValueError, match="in the clear") as refused:
        Client(url, token=TOKEN)
    assert url not in str(refused.value)
    Client(url, allow_insecure=True).close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "doorstep.example",
        "ftp://doorstep.example",
        "https://",
        "https://user:secret@doorstep.example",
        "https://doorstep.example?token=secret",
        "https://doorstep.example#secret",
        "https://doorstep.example:secret",
        "https://door step.example/secret",
        "https://doorstep.example/\r\nsecret: 1",
        "https://[doorstep.example/secret",
    ],
)
def test_an_address_without_sense_is_refused_without_saying_it(url):
    with pytest.raises(ValueError, match="base_url") as refused:
        Client(url)
    assert "secret" not in str(refused.value)
