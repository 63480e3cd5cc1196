"""Databases for every test; what needs PostgreSQL says so where there is none."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

import postgres
import served
from doorstep_server.deployment import NewTenant
from doorstep_server.settings import Settings
from postgres import Cluster, ScratchDatabase, Server, why_no_cluster, why_no_server
from world import DATABASES, World, initialized, on_postgres, opened

# how long an example takes depends on what else runs: no test measures it
hypothesis.settings.register_profile("doorstep", deadline=None)
hypothesis.settings.load_profile("doorstep")

#: where Linux keeps files in memory, and what a run may need there
IN_MEMORY, ROOM_BYTES = Path("/dev/shm"), 4_000_000_000


def keep_files_in_memory() -> None:
    """Commits of tests wait for no disk. Whoever sets TMPDIR chooses another place."""
    if "TMPDIR" in os.environ or not os.access(IN_MEMORY, os.W_OK):
        return
    if shutil.disk_usage(IN_MEMORY).free > ROOM_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)


keep_files_in_memory()


def require(missing: str | None) -> None:
    """Without PostgreSQL these tests are skipped, but continuous integration must have it."""
    if missing is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    require(why_no_server())
    with postgres.opened() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: Server) -> Iterator[ScratchDatabase]:
    database = postgres_server.new_database()
    yield database
    postgres_server.drop(database)


@pytest.fixture(scope="session")
def environments(request: pytest.FixtureRequest) -> Callable[[str], dict[str, str]]:
    """What a process needs in its environment to use a kind of database, a new one each time."""

    def of(kind: str) -> dict[str, str]:
        if kind == "sqlite":
            return {}
        server: Server = request.getfixturevalue("postgres_server")
        database = server.new_database()
        # of a module's fixture, so it goes when the server does
        return served.on_postgres(database)

    return of


@pytest.fixture
def own_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A server that the test may break; an indirect parameter gives its settings."""
    require(why_no_cluster())
    with Cluster(getattr(request, "param", None)) as cluster:
        yield cluster


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Where nothing was made yet: once on each kind of database."""
    home = tmp_path / "home"
    if request.param == "sqlite":
        return Settings(home=home)
    return on_postgres(home, request.getfixturevalue("postgres_database"))


@dataclass(frozen=True)
class Made:
    """A deployment that was just initialized, to be copied: that is faster than making it."""

    settings: Settings
    new: NewTenant
    database: ScratchDatabase | None = None


@pytest.fixture(scope="session")
def made_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Made:
    settings = Settings(home=tmp_path_factory.mktemp("made") / "home")
    return Made(settings, initialized(settings))


@pytest.fixture(scope="session")
def made_on_postgresql(
    postgres_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    database = postgres_server.new_database()
    settings = on_postgres(tmp_path_factory.mktemp("made") / "home", database)
    yield Made(settings, initialized(settings), database)
    postgres_server.drop(database)


@pytest.fixture(scope="session")
def worlds(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AbstractContextManager[World]]:
    """Opens a deployment with its first tenant, on a kind of database."""

    @contextmanager
    def on(kind: str) -> Iterator[World]:
        made: Made = request.getfixturevalue(f"made_on_{kind}")
        home = tmp_path_factory.mktemp("world") / "home"
        shutil.copytree(made.settings.home, home)
        if made.database is None:
            with opened(Settings(home=home), made.new) as world:
                yield world
            return
        server: Server = request.getfixturevalue("postgres_server")
        database = server.new_database(like=made.database)
        try:
            with opened(on_postgres(home, database), made.new) as world:
                yield world
        finally:
            server.drop(database)

    return on


@pytest.fixture(scope="module", params=DATABASES)
def shared_world(
    request: pytest.FixtureRequest, worlds: Callable[[str], AbstractContextManager[World]]
) -> Iterator[World]:
    """One deployment for all tests of a module that need no fresh one."""
    with worlds(request.param) as world:
        yield world


@pytest.fixture(scope="module", params=DATABASES)
def emptied_world(
    request: pytest.FixtureRequest, worlds: Callable[[str], AbstractContextManager[World]]
) -> Iterator[World]:
    """What `world` empties."""
    with worlds(request.param) as world:
        yield world


@pytest.fixture
def world(emptied_world: World) -> World:
    """A deployment with its first tenant and nothing else: once on each kind of database.

    The server is one for all tests of the module, which do not know each other's tenants. A test
    that changes the server or its settings, or looks at more than tenants, takes a `new_world`.
    """
    emptied_world.begin_anew()
    return emptied_world


@pytest.fixture(params=DATABASES)
def new_world(
    request: pytest.FixtureRequest, worlds: Callable[[str], AbstractContextManager[World]]
) -> Iterator[World]:
    """A deployment of a test's own, with its first tenant: once on each kind of database."""
    with worlds(request.param) as world:
        yield world
