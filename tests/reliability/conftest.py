"""Deployments whose database may be broken, on a PostgreSQL server that may be broken as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import require
from dying import Commands, commands
from postgres import Cluster, Server, why_no_cluster
from troubled import Deployed, copied, make, variables


@pytest.fixture(scope="module")
def module_cluster() -> Iterator[Cluster]:
    """Of its own for a module; what it acknowledged survives a crash, as in production."""
    require(why_no_cluster())
    with Cluster({"fsync": "on", "full_page_writes": "on"}) as cluster:
        yield cluster


@pytest.fixture
def cluster(module_cluster: Cluster) -> Cluster:
    """A running server, however the test before left it."""
    if not module_cluster.running:
        module_cluster.start()
    return module_cluster


@pytest.fixture(scope="module")
def databases(module_cluster: Cluster) -> Iterator[Server]:
    with Server(module_cluster.url()) as server:
        yield server


@pytest.fixture(scope="module")
def made_in_file(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return make(tmp_path_factory.mktemp("made") / "home", {}, None)


@pytest.fixture(scope="module")
def made_on_cluster(databases: Server, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    database = databases.new_database()
    return make(tmp_path_factory.mktemp("made") / "home", variables(database), database)


@pytest.fixture(scope="session")
def doorstep() -> Iterator[Commands]:
    """The command line, quickly."""
    with commands() as running:
        yield running


@pytest.fixture
def in_file(made_in_file: Deployed, tmp_path: Path) -> Deployed:
    return copied(made_in_file, tmp_path)


@pytest.fixture
def on_cluster(
    cluster: Cluster, databases: Server, made_on_cluster: Deployed, tmp_path: Path
) -> Deployed:
    return copied(made_on_cluster, tmp_path, databases)
