"""A database that is full, held, or damaged under a real server: told, never made up for."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from conftest import require
from dying import Commands
from postgres import Cluster
from served import free_port
from troubled import Deployed, claim, copied
from world import DATABASES

#: more than the database waits for a lock, less than a test would wait for an answer that hangs
BOUNDED_S = 15


# --- a full disk ---------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own that is quickly full."""
    if sys.platform != "linux" or os.geteuid() != 0:
        require("only root on Linux can mount a small disk to fill up")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        require(f"a small disk to fill up cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # lazily: who still holds a file of it must not keep it
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as out:
        for size in (65536, 4096, 1):
            try:
                while out.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0
    return filler


@contextmanager
def file_on_small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple]:
    home = tmp_path / "home"
    with small_disk(home, "8m") as disk:
        yield copied(request.getfixturevalue("made_in_file"), tmp_path), disk


@contextmanager
def tables_on_small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple]:
    """The database's tables; what the server itself needs to go on is elsewhere."""
    deployed: Deployed = request.getfixturevalue("on_cluster")
    cluster: Cluster = request.getfixturevalue("cluster")
    assert deployed.database is not None
    # where the server's user may enter
    with small_disk(cluster.folder / "disk", "64m") as disk:
        shutil.chown(disk, "postgres")
        place = disk / "tables"
        place.mkdir()
        shutil.chown(place, "postgres")
        name = deployed.database.name
        cluster.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        try:
            cluster.sql(f'ALTER DATABASE "{name}" SET TABLESPACE small')
            yield deployed, disk
        finally:
            cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')
            cluster.sql("DROP TABLESPACE small")


SMALL = {"sqlite": file_on_small_disk, "postgresql": tables_on_small_disk}


@pytest.mark.parametrize("kind", DATABASES)
def test_a_full_disk_is_told_and_nothing_is_acknowledged_that_is_not_there(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    on_small_disk: Callable[..., AbstractContextManager[tuple[Deployed, Path]]] = SMALL[kind]
    with on_small_disk(request, tmp_path) as (deployed, disk), deployed.serving() as server:
        acknowledged = set(deployed.stored())
        filler = fill(disk)
        # there is room in pages that were made before
        for _ in range(2000):
            body = claim()
            status = server.check_in(body).status
            if status == 503:
                break
            assert status == 201
            acknowledged.add(body["id"].replace("-", ""))
        assert status == 503
        for _ in range(3):
            assert server.check_in().status == 503
        assert server.live == 200
        assert server.get("/v1/sites") == server.own_check_ins() == 200
        filler.unlink()
        # by itself, and at once
        assert server.check_in(body).status == 201
        acknowledged.add(body["id"].replace("-", ""))
        assert server.ready == 200
        assert deployed.stored() == sorted(acknowledged)


# --- a held lock ---------------------------------------------------------------------------------


@contextmanager
def file_held(deployed: Deployed) -> Iterator[None]:
    file = deployed.home / "doorstep.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def table_held(deployed: Deployed) -> Iterator[None]:
    assert deployed.database is not None
    with deployed.database.session() as other:
        other.run("BEGIN")
        other.run("LOCK TABLE check_ins IN ACCESS EXCLUSIVE MODE")
        yield
        other.run("ROLLBACK")


@pytest.mark.parametrize(
    ("made", "held"), [("in_file", file_held), ("on_cluster", table_held)], ids=DATABASES
)
def test_who_waits_for_a_lock_waits_for_a_bounded_time(
    made: str,
    held: Callable[[Deployed], AbstractContextManager[None]],
    request: pytest.FixtureRequest,
) -> None:
    deployed: Deployed = request.getfixturevalue(made)
    with deployed.serving() as server:
        assert server.check_in().status == 201
        body = claim()
        with held(deployed):
            asked = time.monotonic()
            assert server.check_in(body).status == 503
            assert time.monotonic() - asked < BOUNDED_S
            assert server.live == 200
            assert server.get("/v1/sites") == 200
        assert server.check_in(body).status == 201
        assert server.ready == 200
        assert body["id"].replace("-", "") in deployed.stored()


# --- damage --------------------------------------------------------------------------------------

PAGE = 4096
REMEDIES = ("Put the database back", "put a good copy in its place", "a database of its own")


def overwrite(file: Path, start: int, length: int) -> None:
    with file.open("r+b") as damaged:
        damaged.seek(start)
        damaged.write(b"\xa5" * length)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda file: os.truncate(file, 0),
    "cut to its first bytes": lambda file: os.truncate(file, 50),
    "cut to its first page": lambda file: os.truncate(file, PAGE),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "another kind of file": lambda file: file.write_bytes(b"not a database\n" * 1000),
    "without its header": lambda file: overwrite(file, 0, 100),
    "without its schema": lambda file: overwrite(file, 100, PAGE - 100),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_and_left_as_it_is(
    damage: Callable[[Path], object], in_file: Deployed, doorstep: Commands
) -> None:
    """Never taken for a new one. What is lacking within the last page, SQLite does not miss."""
    file = in_file.home / "doorstep.db"
    damage(file)
    damaged = file.read_bytes()
    for command in (["serve", "--port", str(free_port())], ["migrate"], ["tenants", "list"]):
        done = doorstep.run(in_file.home, *command, where={})
        said = in_file.told(done.status, done.output)
        assert any(remedy in said for remedy in REMEDIES), said
        assert file.read_bytes() == damaged
    for command in (["init"], ["tenants", "list"]):
        done = doorstep.run(in_file.home, *command, where={})
        assert any(remedy in in_file.told(done.status, done.output) for remedy in REMEDIES)


@pytest.mark.parametrize("table", ["check_ins", "receipts"])
def test_a_damaged_page_is_told_by_whatever_needs_it_and_by_nothing_else(
    table: str, in_file: Deployed
) -> None:
    """Found when it is read, not at the start. SQLite keeps no checksums: what is damaged within a
    row, so that the page is still one, nobody can find."""
    file = in_file.home / "doorstep.db"
    with closing(sqlite3.connect(file)) as looked_into:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        [[page]] = looked_into.execute(query, [table])
    overwrite(file, (page - 1) * PAGE, PAGE)
    with in_file.serving() as server:
        for _ in range(3):
            assert server.check_in().status == 503
        assert server.own_check_ins() == (503 if table == "check_ins" else 200)
        assert server.get("/v1/sites") == 200
        assert server.live == 200


def test_a_table_that_is_gone_is_told(on_cluster: Deployed) -> None:
    assert on_cluster.database is not None
    with on_cluster.serving() as server:
        on_cluster.database.sql("DROP TABLE check_ins")
        assert server.check_in().status == 503
        assert server.own_check_ins() == 503
        assert server.ready == 503
        assert server.live == 200
        assert server.get("/v1/sites") == 200
    on_cluster.database.sql("DROP TABLE tenants")
    assert "The database is damaged" in on_cluster.refusal("serve", "--port", "1")
