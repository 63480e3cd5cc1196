"""`doorstep init` and `doorstep migrate`, killed at moments spread over all that they do.

The next start completes what was begun, or refuses with a sentence that says what to do; and doing
that works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conftest import require
from doorstep_server import deployment
from doorstep_server.settings import Settings
from doorstep_server.store import migrate
from dying import Commands, Done
from postgres import Cluster, Server, why_no_cluster
from served import serving
from troubled import Deployed, copied, variables
from world import DATABASES

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


@dataclass
class Places:
    """Where deployments are made, each in a place of its own."""

    folder: Path
    server: Server | None
    made: int = 0

    def fresh(self) -> tuple[Path, Where]:
        where = {} if self.server is None else variables(self.server.new_database())
        return self.next() / "home", where

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
    home, where = places.fresh()
    outcomes = set()
    for moment in moments(doorstep.run(home, "init", where=where)):
        home, where = places.fresh()
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


@pytest.fixture
def outdated(kind: str, request: pytest.FixtureRequest, places: Places) -> Deployed:
    """A deployment in use, with the schema of the version before."""
    made: Deployed = request.getfixturevalue(
        "made_in_file" if kind == "sqlite" else "made_on_cluster"
    )
    deployed = copied(made, places.next(), places.server)
    where = deployed.where
    settings = Settings(
        home=deployed.home,
        database_url=where.get("DOORSTEP_DATABASE_URL"),
        admin_database_url=where.get("DOORSTEP_ADMIN_DATABASE_URL"),
    )
    with deployment.closed_after(deployment.database(settings)) as database:
        database.administer(lambda connection: migrate.downgrade(connection, "0001"))
    return deployed


def test_a_migration_that_was_killed_is_completed_by_the_next(
    doorstep: Commands, places: Places, outdated: Deployed
) -> None:
    stored = outdated.stored()
    first = copied(outdated, places.next(), places.server)
    found = set()
    for moment in moments(doorstep.run(first.home, "migrate", where=first.where)):
        deployed = copied(outdated, places.next(), places.server)
        killed = doorstep.run(deployed.home, "migrate", where=deployed.where, until=moment)
        assert killed.status == KILLED
        opened = doorstep.run(deployed.home, "tenants", "list", where=deployed.where)
        if opened.status:
            assert "run `doorstep migrate`" in opened.output
        found.add(opened.status)
        completed = doorstep.run(deployed.home, "migrate", where=deployed.where)
        assert completed.status == 0, completed.output
        assert doorstep.run(deployed.home, "tenants", "list", where=deployed.where).status == 0
        assert deployed.stored() == stored
    assert found == {0, 1}
    with replace(deployed).serving() as server:
        assert server.check_in().status == 201
        assert server.get("/v1/sites") == 200
