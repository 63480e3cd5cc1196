"""Everything that is stored is in the data map, and everything in the data map is stored."""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner

from doorstep_server.cli import main
from doorstep_server.keyring import Keyring
from doorstep_server.keyring.opening import create_root, entries_at
from doorstep_server.privacy import data_map
from doorstep_server.privacy.categories import (
    APART,
    DATA_SUBJECTS,
    DESCRIPTIONS,
    OF_TABLE,
    Category,
)
from doorstep_server.privacy.data_map import DATA_MAP, Concerns, Kept
from doorstep_server.privacy.places import FILES, FUNCTIONS, STATISTICS
from doorstep_server.settings import Settings
from doorstep_server.store.schema import metadata
from postgres import ScratchDatabase
from privacy import stored
from world import DATABASES, FAR_OUTSIDE, World


def mapped(categories: Collection[Category]) -> set[str]:
    return {
        f"{table}.{column}"
        for table, columns in DATA_MAP.items()
        if OF_TABLE[table] in categories
        for column in columns
    }


IN_DATABASE = set(Category) - APART
IN_KEYRING = {Category.KEYRING}


def known(world: World) -> set[str]:
    """What the map says is in a database."""
    if world.settings.admin_database_url is None:
        return mapped(IN_DATABASE) | STATISTICS.keys()
    return mapped(IN_DATABASE) | {f"function {name}" for name in FUNCTIONS}


def live(world: World) -> None:
    """Whatever makes tables, rows and files while a deployment is used."""
    tenant = world.first
    tenant.purpose("short", retention_days=1)
    tenant.site()
    phone = tenant.phone()
    for place in (None, FAR_OUTSIDE):
        claim = phone.claim(place) if place else phone.claim(purpose="short")
        assert phone.check_in(claim).status_code == 201
    world.clock.advance(days=30)
    command(world, "retention", "run")
    assert tenant.admin.get("/v1/sites/export?format=kml").status_code == 200


def command(world: World, *arguments: str) -> str:
    settings = world.settings
    urls = {
        "DOORSTEP_DATABASE_URL": settings.database_url,
        "DOORSTEP_ADMIN_DATABASE_URL": settings.admin_database_url,
    }
    done = CliRunner().invoke(main, ["--home", str(settings.home), *arguments], env=urls)
    assert done.exit_code == 0, done.output
    return done.stdout


# -- columns ---------------------------------------------------------------------------------


def test_every_column_is_mapped_to_purpose_basis_and_retention(world: World) -> None:
    """As the migrations made them, and as they are after some weeks of use."""
    assert stored.in_database(world) == known(world)
    live(world)
    assert stored.in_database(world) == known(world)


def test_every_column_of_the_schema_is_mapped() -> None:
    columns = {str(column) for table in metadata.tables.values() for column in table.columns}
    # Alembic's own is in no schema of ours
    assert columns == mapped(IN_DATABASE) - {"alembic_version.version_num"}


def test_every_column_of_the_keyring_is_mapped(world: World) -> None:
    live(world)
    assert stored.in_file(world.settings.home / "keyring.db") == mapped(IN_KEYRING)


def test_so_is_that_of_a_keyring_in_postgresql(
    postgres_database: ScratchDatabase, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, keyring=postgres_database.admin_url)
    Keyring.create(entries_at(settings), create_root(settings), UUID(int=1))
    assert stored.in_postgresql(postgres_database.sql) == mapped(IN_KEYRING)


PLANTED = {
    "a column": "ALTER TABLE tenants ADD COLUMN forgotten INTEGER",
    "a column of a partition's table": "ALTER TABLE check_ins ADD COLUMN forgotten INTEGER",
    "a table": "CREATE TABLE forgotten (value INTEGER)",
    "an index of an expression": "CREATE INDEX forgotten ON tenants (lower(name))",
    "a part of an index": "CREATE INDEX forgotten ON check_ins (tenant_id, (site_version + 1))",
    "a view": "CREATE VIEW forgotten AS SELECT 1 AS one",
}
PLANTED_ON_SQLITE = {
    "a generated column": "ALTER TABLE check_ins ADD COLUMN forgotten INT AS (site_version + 1)",
    "a trigger": "CREATE TRIGGER forgotten AFTER INSERT ON check_ins BEGIN SELECT 1; END",
}
PLANTED_ON_POSTGRESQL = {
    "a partition that is none any more": "ALTER TABLE check_ins DETACH PARTITION check_ins_default",
    "a copy": "CREATE MATERIALIZED VIEW forgotten AS SELECT 1 AS one",
    "a schema": "CREATE SCHEMA other CREATE TABLE forgotten (value INTEGER)",
    "a function": "CREATE FUNCTION forgotten() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "another function": (
        "CREATE FUNCTION doorstep_drop_expired() RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    ),
    "a sequence": "CREATE SEQUENCE forgotten",
    "statistics": "CREATE STATISTICS forgotten ON site_id, purpose FROM check_ins",
    "a rule": "CREATE RULE forgotten AS ON UPDATE TO tallies DO ALSO SELECT 1",
    "a publication": "CREATE PUBLICATION forgotten FOR ALL TABLES",
    "a large object": "SELECT lo_create(0)",
    "an extension": "CREATE EXTENSION pgcrypto",
}
CASES = [
    *((database, what) for database in DATABASES for what in PLANTED),
    *(("sqlite", what) for what in PLANTED_ON_SQLITE),
    *(("postgresql", what) for what in PLANTED_ON_POSTGRESQL),
]


@pytest.fixture
def planted(
    request: pytest.FixtureRequest, worlds: Callable[[str], AbstractContextManager[World]]
) -> Iterator[World]:
    database, what = request.param
    with worlds(database) as world:
        world.rows((PLANTED | PLANTED_ON_SQLITE | PLANTED_ON_POSTGRESQL)[what])
        yield world


@pytest.mark.parametrize("planted", CASES, indirect=True, ids=": ".join)
def test_what_is_not_mapped_would_be_found(planted: World) -> None:
    assert stored.in_database(planted) - known(planted)


def test_what_is_mapped_and_not_there_would_be_found(new_world: World) -> None:
    new_world.rows("ALTER TABLE tenants DROP COLUMN max_speed_kmh")
    assert known(new_world) - stored.in_database(new_world) == {"tenants.max_speed_kmh"}


# -- files -----------------------------------------------------------------------------------


def files(world: World) -> set[str]:
    home = world.settings.home
    return {str(file.relative_to(home)) for file in home.rglob("*")}


def test_every_file_in_the_home_is_known(world: World) -> None:
    live(world)
    while_running = files(world)
    assert while_running <= FILES.keys()
    on_sqlite = {"doorstep.db", "doorstep.db-wal", "doorstep.db-shm"}
    assert on_sqlite <= while_running or world.settings.admin_database_url
    assert "keyring.db" in while_running


def test_commands_leave_no_other_file(world: World) -> None:
    command(world, "subjects", "enroll", "ana")
    command(world, "privacy", "record")
    command(world, "sites", "export", "--format", "csv")
    command(world, "privacy", "erase", "ana")
    assert files(world) <= FILES.keys()


# -- what the entries say --------------------------------------------------------------------


def says_how_long(kept: Kept) -> bool:
    """Until something that comes, or for so many minutes or days."""
    return bool(re.match(r"until |a year|[0-9]+ (to [0-9]+ )?(minutes|hours|days)", kept))


def for_ever(entries: dict[str, dict[str, data_map.Entry]]) -> list[str]:
    """Columns that concern persons and have no end."""
    return [
        f"{table}.{column}"
        for table, columns in entries.items()
        for column, entry in columns.items()
        if entry.concerns in DATA_SUBJECTS and not says_how_long(entry.kept)
    ]


def test_nothing_about_persons_is_kept_as_long_as_there_is_a_tenant_or_a_deployment() -> None:
    assert for_ever(DATA_MAP) == []


@pytest.mark.parametrize("kept", [k for k in Kept if k.startswith("as long as")])
def test_what_is_kept_without_an_end_would_be_found(kept: Kept) -> None:
    entry = replace(DATA_MAP["devices"]["sealed"], kept=kept)
    assert for_ever({"devices": {"sealed": entry}}) == ["devices.sealed"]


def test_every_entry_says_what_for() -> None:
    for columns in DATA_MAP.values():
        for entry in columns.values():
            assert entry.purpose.strip()


def test_every_table_has_a_category_and_every_category_a_table() -> None:
    assert OF_TABLE.keys() == DATA_MAP.keys()
    assert set(OF_TABLE.values()) == DESCRIPTIONS.keys() == set(Category)


def test_whoever_data_concern_are_a_category_of_people_or_nobody() -> None:
    assert DATA_SUBJECTS.keys() | {Concerns.NOBODY, Concerns.TENANT} == set(Concerns)
