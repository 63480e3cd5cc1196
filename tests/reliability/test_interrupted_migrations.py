"""`doorstep init` and `doorstep migrate`, killed at moments spread over all that they do.

The next start completes what was begun, or refuses with a sentence that says what to do; and doing
that works.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import require
from doorstep_server import deployment
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, migrate
from doorstep_server.store.database import Database
from doorstep_server.store.migrate import SchemaOutdated
from dying import Commands, Done
from postgres import Cluster, ScratchDatabase, Server, why_no_cluster
from served import serving
from troubled import variables
from world import DATABASES, behind

KILLED = -9
#: moments that are tried: a few of all, and every second of the last, where the files change
SPREAD = 2
LAST = 6

Where = dict[str, str]


@pytest.fixture(scope="module")
def module_cluster() -> Iterator[Cluster]:
    """It is not the server that dies here: nothing has to reach a disk."""
    require(why_no_cluster())
    with Cluster() as cluster:
        yield cluster


class Place(NamedTuple):
    """Where a deployment is made."""

    home: Path
    where: Where
    database: ScratchDatabase | None


@dataclass
class Places:
    """Where deployments are made, each in a place of its own."""

    folder: Path
    server: Server | None
    made: int = 0

    def fresh(self, like: ScratchDatabase | None = None) -> Place:
        database = None if self.server is None else self.server.new_database(like)
        where = {} if database is None else variables(database)
        return Place(self.next() / "home", where, database)

    def next(self) -> Path:
        self.made += 1
        folder = self.folder / str(self.made)
        folder.mkdir()
        return folder


@pytest.fixture(params=DATABASES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def places(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    if kind == "sqlite":
        return Places(tmp_path, None)
    # whose making has made the role: that is done once on a server
    request.getfixturevalue("made_on_cluster")
    return Places(tmp_path, request.getfixturevalue("databases"))


def moments(whole: Done) -> list[int]:
    """Those at which a command that had so many is killed."""
    assert whole.status == 0, whole.output
    late = range(whole.moments, max(whole.moments - LAST, 0), -2)
    early = range(1, late[-1], max(late[-1] // SPREAD, 1))
    return [*early, *reversed(late)]


def key_in(done: Done) -> str:
    """The admin key that a command shows once."""
    assert done.status == 0, done.output
    [key] = [word for word in done.output.split() if word.startswith("dsk_")]
    return key


def test_init_that_was_killed_is_completed_or_says_what_to_do(
    doorstep: Commands, places: Places
) -> None:
    home, where, _ = places.fresh()
    outcomes = set()
    for moment in moments(doorstep.run(home, "init", where=where)):
        home, where, _ = places.fresh()
        assert doorstep.run(home, "init", where=where, until=moment).status == KILLED
        again = doorstep.run(home, "init", where=where)
        outcome, follow = told(again)
        key = follow(doorstep, home, where, again)
        if outcome == "made" or outcome in outcomes:
            # which opens the same as a server does
            listed = doorstep.run(home, "tenants", "list", where=where)
            assert listed.status == 0, listed.output
        else:
            with serving(home, api_key=key, environment=where) as server:
                assert server.call("GET", "/v1/sites")[0] == 200
        outcomes.add(outcome)
    # each of them happens to whoever is unlucky
    assert outcomes == {"made", "keyring alone", "made before"}


Follow = Callable[[Commands, Path, Where, Done], str]


def told(again: Done) -> tuple[str, Follow]:
    """What a second `init` found, and how to follow what it says."""
    if again.status == 0 and "dsk_" in again.output:
        return "made", lambda _, __, ___, done: key_in(done)
    if again.status == 0:
        assert "`doorstep tenants create`" in again.output
        return "made before", make_tenant
    assert again.output.startswith("Error: There is a keyring here, but not the database"), again
    assert "move the keyring away and run `doorstep init`" in again.output
    return "keyring alone", move_keyring_away


def make_tenant(doorstep: Commands, home: Path, where: Where, _: Done) -> str:
    return key_in(doorstep.run(home, "tenants", "create", "Second", where=where))


def move_keyring_away(doorstep: Commands, home: Path, where: Where, _: Done) -> str:
    (home / "keyring.db").rename(home / "keyring.db.away")
    return key_in(doorstep.run(home, "init", where=where))


@dataclass(frozen=True)
class Outdated:
    """A place whose database has the schema of an earlier revision."""

    home: Path
    where: Where
    database: ScratchDatabase | None

    def copy(self, places: Places) -> Outdated:
        """Another as it is now, while nobody uses it: that is faster than making one."""
        place = places.fresh(like=self.database)
        shutil.copytree(self.home, place.home)
        return Outdated(*place)

    def open(self) -> AbstractContextManager[Database]:
        return deployment.closed_after(deployment.database(self.settings))

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.home,
            database_url=self.where.get("DOORSTEP_DATABASE_URL"),
            admin_database_url=self.where.get("DOORSTEP_ADMIN_DATABASE_URL"),
        )

    def contents(self) -> list[list[tuple[Any, ...]]]:
        """Of every table that tells what was there."""
        tables = ("alembic_version", "deployment", "tenants", "subjects", "check_ins")
        return [behind(self.settings, f"SELECT * FROM {table}") for table in tables]


def outdated(places: Places, revision: str) -> Outdated:
    """A schema in which nothing was made, as of a revision."""
    made = Outdated(*places.fresh())
    made.home.mkdir()
    with made.open() as database:
        database.administer(lambda connection: migrate.migrate(connection, revision))
    return made


#: before and after external ids came into the keyring
REVISIONS = ["0001", "0004"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_that_was_killed_is_completed_by_the_next(
    doorstep: Commands, places: Places, revision: str
) -> None:
    old = outdated(places, revision)
    first = old.copy(places)
    found = set()
    for moment in moments(doorstep.run(first.home, "migrate", where=first.where)):
        one = old.copy(places)
        killed = doorstep.run(one.home, "migrate", where=one.where, until=moment)
        assert killed.status == KILLED
        with one.open() as database:
            found.add(database.administer(has_this_schema))
        completed = doorstep.run(one.home, "migrate", where=one.where)
        assert completed.status == 0, completed.output
        with one.open() as database:
            assert database.administer(has_this_schema)
    assert found == {False, True}
    # and a deployment is made in it, as in any
    key = key_in(doorstep.run(one.home, "init", where=one.where))
    with serving(one.home, api_key=key, environment=one.where) as server:
        assert server.call("GET", "/v1/sites")[0] == 200


def has_this_schema(connection: Connection) -> bool:
    try:
        migrate.require_current(connection)
    except SchemaOutdated:
        return False
    return True


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_that_was_made_before_ids_were_sealed_is_refused_and_left_as_it_is(
    doorstep: Commands, places: Places, revision: str
) -> None:
    """Whenever it is killed, too: there is no half of what cannot be done."""
    old = outdated(places, revision)
    new_id = "'07070707-0707-0707-0707-070707070707'" if old.where else f"x'{'07' * 16}'"
    behind(old.settings, f'INSERT INTO deployment ("only", keyring_id) VALUES (1, {new_id})')
    behind(
        old.settings,
        "INSERT INTO subjects (tenant_id, subject_id, external_id, groups) "
        f"VALUES ({new_id}, {new_id}, 'ana', '[]')",
    )
    before = old.contents()
    whole = doorstep.run(old.home, "migrate", where=old.where)
    assert whole.status == 1
    assert whole.output.startswith("Error: This database was made by a version before")
    assert "make a new home with `doorstep init`" in whole.output
    assert old.contents() == before
    for moment in (whole.moments // 2, whole.moments):
        killed = doorstep.run(old.home, "migrate", where=old.where, until=moment)
        assert killed.status == KILLED
        assert old.contents() == before
    listed = doorstep.run(old.home, "tenants", "list", where=old.where)
    assert (listed.status, "run `doorstep migrate`" in listed.output) == (1, True)
