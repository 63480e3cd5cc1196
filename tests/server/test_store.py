"""The database: its schema is what the migrations make, and every column has its place."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import MetaData, Table, UniqueConstraint, inspect

from doorstep_geofences import Geofence
from doorstep_server import deployment
from doorstep_server.cli import main
from doorstep_server.deployment import NewTenant, NotInitialized
from doorstep_server.keyring import KeyringUnusable
from doorstep_server.keyring.opening import entries_at
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, migrate, sites, tenants
from doorstep_server.store.database import (
    DatabaseDamaged,
    DatabaseUnavailable,
    UnsupportedDatabase,
)
from doorstep_server.store.migrate import ForeignDatabase, SchemaOutdated
from doorstep_server.store.opening import database_at
from doorstep_server.store.reach import DIRECTORY, NOTHING, Reach
from doorstep_server.store.schema import metadata
from doorstep_server.store.sites import SiteContent, StoredSite
from doorstep_server.store.sqlite import SqliteDatabase
from postgres import wait_until
from world import NOON, SQUARE, behind, opened

#: of one database for all tenants, or the list of tenants itself: not distributed on a cluster
SHARED = {"deployment", "tenants"}


def administer(settings: Settings, function: Callable[[Connection], Any]) -> Any:
    with deployment.closed_after(deployment.database(settings)) as database:
        return database.administer(function)


def initialize(settings: Settings, name: str = "First") -> NewTenant:
    new = deployment.initialize(settings, NOON, tenant=deployment.new_tenant(name))
    assert new is not None
    return new


def tenant_names(settings: Settings) -> list[str]:
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        return [t.name for t in database.read_now(DIRECTORY, tenants.all_tenants)]


# -- the schema ------------------------------------------------------------------------------


def difference(connection: Connection) -> list[Any]:
    """What Alembic would change; of PostGIS and of partitions it is not asked."""
    ours = set(metadata.tables)
    elsewhere = set() if connection.dialect.name == "postgresql" else {"ix_site_versions_extent"}

    def of_ours(thing: Any, name: str, kind: str, *_: Any) -> bool:
        table = name if kind == "table" else thing.table.name
        return table in ours and name not in elsewhere

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "include_object": of_ours}
    )
    return list(compare_metadata(context, metadata))


def test_the_migrations_make_what_the_schema_says(settings: Settings) -> None:
    initialize(settings)
    assert administer(settings, difference) == []


def test_a_forgotten_column_would_be_seen(settings: Settings) -> None:
    initialize(settings)
    behind(settings, "ALTER TABLE sites ADD COLUMN forgotten INTEGER")
    assert len(administer(settings, difference)) == 1


def test_the_migrations_can_be_taken_back_and_made_again(settings: Settings) -> None:
    initialize(settings)
    administer(settings, lambda c: migrate.downgrade(c, "base"))
    left = administer(settings, lambda c: set(inspect(c).get_table_names()))
    assert left - {"spatial_ref_sys"} == {"alembic_version"}
    administer(settings, migrate.migrate)
    assert administer(settings, difference) == []


def test_sites_are_the_same_after_every_migration_down_and_up(settings: Settings) -> None:
    """Revision 0001 had no extents: they are worked out again from the fences."""
    new = initialize(settings)
    tenant_id = new.tenant.tenant_id
    across = {"type": "Circle", "center": [179.9999, -17.0], "radius_m": 500}
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        for number, fence in enumerate((SQUARE, across)):
            site = _site(UUID(int=number), Geofence.parse(fence))
            database.write_now(
                Reach.of(tenant_id), lambda c, site=site: sites.add(c, tenant_id, site)
            )

        def extents() -> list[Any]:
            return behind(settings, "SELECT site_id, extent FROM site_versions ORDER BY 1")

        before = extents()
        assert len(before) == 2
        database.administer(lambda c: migrate.downgrade(c, "0001"))
        with pytest.raises(SchemaOutdated, match="doorstep migrate"):
            deployment.open_deployment(settings)
        database.administer(migrate.migrate)
        assert extents() == before
        assert database.administer(difference) == []


def _site(site_id: UUID, fence: Geofence) -> StoredSite:
    content = SiteContent(
        name="Office",
        external_id=None,
        geofence=fence,
        tolerance_m=25.0,
        assurance="standard",
        max_accuracy_m=100.0,
        timezone="UTC",
        purposes=[],
        groups=[],
        active=True,
    )
    return StoredSite(site_id=site_id, version=1, valid_from=NOON, content=content)


def test_a_migration_that_fails_leaves_nothing_behind(settings: Settings) -> None:
    def fail(connection: Connection) -> None:
        migrate.migrate(connection)
        raise RuntimeError("on purpose")

    settings.home.mkdir()
    with pytest.raises(RuntimeError, match="on purpose"):
        administer(settings, fail)
    assert administer(settings, migrate.is_empty)


def keys_without_tenant(metadata: MetaData) -> set[str]:
    """Keys that keep a table from being spread over nodes by tenant (and by day, if by parts)."""

    def lacks(table: Table, columns: set[str]) -> bool:
        by_parts = table.dialect_options["postgresql"]["partition_by"]
        return not ({"tenant_id"} | ({"expires_on"} if by_parts else set())) <= columns

    return {
        str(constraint.name)
        for table in metadata.tables.values()
        if table.name not in SHARED
        for constraint in (
            table.primary_key,
            *(c for c in table.constraints if isinstance(c, UniqueConstraint)),
            *table.foreign_key_constraints,
            *(index for index in table.indexes if index.unique),
        )
        if lacks(table, set(constraint.columns.keys()))
    }


def test_every_key_contains_the_tenant_so_that_tables_can_be_distributed() -> None:
    assert keys_without_tenant(metadata) == set()


def test_a_key_without_the_tenant_would_be_seen() -> None:
    changed = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["sites"].append_constraint(UniqueConstraint("external_id", name="planted"))
    parts = changed.tables["check_ins"]
    parts.append_constraint(UniqueConstraint("tenant_id", "id", name="planted too"))
    assert keys_without_tenant(changed) == {"planted", "planted too"}


def test_keys_begin_with_the_tenant() -> None:
    for table in metadata.tables.values():
        if table.name == "deployment":
            continue
        assert next(iter(table.primary_key.columns)).name == "tenant_id", table.name
        for index in table.indexes:
            first = next(iter(index.columns)).name
            assert first == "tenant_id" or index.name == "ix_site_versions_extent", index.name


def test_no_column_could_hold_a_coordinate_of_a_person() -> None:
    """Numbers with a fraction, and shapes, stand in the table of sites only."""
    fractional = {
        table.name
        for table in metadata.tables.values()
        for column in table.columns
        if column.type.python_type is float or column.name in {"shape", "extent"}
    }
    assert fractional == {"site_versions"}


# -- which database --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "no url", "postgres"]
)
def test_another_database_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="DOORSTEP_DATABASE_URL"):
        database_at(url)


def test_a_url_that_says_too_much_is_refused_without_being_quoted(tmp_path: Path) -> None:
    url = "postgresql://someone:hunter2@localhost/x?sslmode=perhaps"
    settings = Settings(home=tmp_path, database_url=url)
    assert "hunter2" not in repr(settings)
    with pytest.raises(UnsupportedDatabase, match="DOORSTEP_DATABASE_URL") as refused:
        deployment.open_deployment(settings)
    assert "hunter2" not in str(refused.value)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=f"postgresql:///x?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable, match="may not be running"):
        deployment.open_deployment(settings)


def test_the_place_of_something_else_is_left_alone(settings: Settings) -> None:
    settings.home.mkdir()
    behind(settings, "CREATE TABLE theirs (x INTEGER)")
    with pytest.raises(ForeignDatabase, match="a database of its own"):
        initialize(settings)
    assert not entries_at(settings).exists()
    with pytest.raises(ForeignDatabase):
        deployment.open_deployment(settings)


def test_the_migrations_of_something_else_are_not_ours(settings: Settings) -> None:
    settings.home.mkdir()
    behind(settings, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    behind(settings, "CREATE TABLE theirs (x INTEGER)")
    with pytest.raises(ForeignDatabase):
        initialize(settings)
    with pytest.raises(ForeignDatabase):
        deployment.open_deployment(settings)


# -- deployments -----------------------------------------------------------------------------


def test_an_existing_home_is_left_as_it_is(settings: Settings) -> None:
    initialize(settings)
    assert deployment.initialize(settings, NOON, tenant=deployment.new_tenant("Second")) is None
    assert tenant_names(settings) == ["First"]


def test_files_are_their_owners_alone(settings: Settings) -> None:
    with opened(settings) as world:
        modes = {f.name: f.stat().st_mode & 0o777 for f in world.settings.home.iterdir()}
        assert world.settings.home.stat().st_mode & 0o777 == 0o700
    assert {mode for name, mode in modes.items()} == {0o600}


def test_a_deployment_that_was_not_made_leaves_no_keyring(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever keeps the database from being made: the next `init` finds nothing in its way."""

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(tenants, "bind_keyring", fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            initialize(settings)
    assert not entries_at(settings).exists()
    initialize(settings)


@pytest.mark.parametrize("arguments", [["init", "--tenant", "x" * 201], ["init", "--tenant", ""]])
def test_a_name_that_does_not_fit_is_told(settings: Settings, arguments: list[str]) -> None:
    done = CliRunner().invoke(main, ["--home", str(settings.home), *arguments])
    assert done.exit_code == 2
    assert "1 to 200 characters" in done.output
    assert not settings.home.exists()


def test_without_a_deployment_nothing_opens(settings: Settings) -> None:
    with pytest.raises(NotInitialized, match="doorstep init"):
        deployment.open_deployment(settings)
    assert not settings.home.exists()


def test_a_lost_database_is_never_made_anew_beside_its_keyring(settings: Settings) -> None:
    initialize(settings)
    if settings.admin_database_url is None:
        (settings.home / "doorstep.db").write_bytes(b"")
    else:
        behind(settings, "DROP SCHEMA public CASCADE")
        behind(settings, "CREATE SCHEMA public")
        behind(settings, "CREATE EXTENSION postgis")
    with pytest.raises(KeyringUnusable, match="Put the database back"):
        deployment.open_deployment(settings)
    with pytest.raises(KeyringUnusable, match="Put the database back"):
        initialize(settings, "Second")


def test_several_that_initialize_at_once_make_one_deployment(settings: Settings) -> None:
    def make(number: int) -> bool:
        tenant = deployment.new_tenant(f"Tenant {number}")
        return deployment.initialize(settings, NOON, tenant=tenant) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(make, range(6))) == [False] * 5 + [True]
    assert len(tenant_names(settings)) == 1


def test_a_schema_of_another_version_keeps_the_server_from_starting(settings: Settings) -> None:
    initialize(settings)
    behind(settings, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaOutdated, match="doorstep migrate"):
        deployment.open_deployment(settings)


def test_a_read_shows_one_state(settings: Settings) -> None:
    """What is committed between two statements of a read is not seen by the second."""
    new = initialize(settings)
    tenant_id = new.tenant.tenant_id
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:

        def look_twice(connection: Connection) -> tuple[int, int]:
            before = tenants.version(connection, tenant_id)
            with ThreadPoolExecutor(1) as another:
                another.submit(behind, settings, "UPDATE changes SET version = 99").result()
            return before, tenants.version(connection, tenant_id)

        before, after = database.read_now(Reach.of(tenant_id), look_twice)
        assert before == after
        assert database.read_now(Reach.of(tenant_id), look_twice) == (99, 99)


def test_who_changed_the_configuration_first_is_seen_by_the_next(settings: Settings) -> None:
    """Sixteen that add a site with one external id at once: one does, the others are told."""
    with opened(settings) as world:

        def add(number: int) -> int:
            body = {
                "name": f"Site {number}",
                "external_id": "the one",
                "geofence": SQUARE,
                "timezone": "UTC",
            }
            return int(world.first.admin.post("/v1/sites", json=body).status_code)

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(add, range(16))) == [201] + [409] * 15
        assert world.rows("SELECT count(*) FROM sites") == [(1,)]


# -- SQLite alone ----------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


def test_every_connection_is_durable_and_overwrites_what_it_deletes(file: Path) -> None:
    def pragmas(connection: Connection) -> dict[str, Any]:
        names = ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}

    with deployment.closed_after(SqliteDatabase(file)) as database:
        for run in (database.write_now, database.read_now):
            assert run(NOTHING, pragmas) == {
                "journal_mode": "wal",
                "synchronous": 2,
                "secure_delete": 1,
                "foreign_keys": 1,
            }


def test_a_damaged_database_is_told_and_left_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    initialize(settings)
    file = settings.home / "doorstep.db"
    file.write_bytes(b"no database at all" * 1000)
    before = file.read_bytes()
    with pytest.raises(DatabaseDamaged, match="put a good copy in its place"):
        deployment.open_deployment(settings)
    assert file.read_bytes() == before


def test_a_locked_database_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doorstep_server.store.sqlite.WAIT_S", 0.01)
    with (
        deployment.closed_after(SqliteDatabase(file)) as database,
        deployment.closed_after(SqliteDatabase(file)) as other,
    ):

        def meanwhile(_: Connection) -> None:
            with pytest.raises(DatabaseUnavailable, match="SQLITE_BUSY"):
                other.write_now(NOTHING, lambda _: None)

        database.write_now(NOTHING, meanwhile)


def test_a_group_does_not_wait_for_the_event_loop(settings: Settings) -> None:
    """Which under overload is never idle, and tells thousands to come again."""
    initialize(settings)

    async def ask() -> None:
        database, _ = deployment.open_deployment(settings)

        def known() -> int:
            found = database.read_now(NOTHING, tenants.binding)
            return 0 if found is None else found.keyring_generation

        group = database.write_group(NOTHING, lambda c: tenants.note_keyring(c, 1_000))
        writing = asyncio.ensure_future(group)
        await asyncio.sleep(0)
        # nothing else runs in this loop before it is committed
        wait_until(lambda: known() == 1_000, "it is committed")
        assert not writing.done()
        await writing
        await database.close()

    asyncio.run(ask())


def test_who_waits_behind_a_lock_too_long_is_not_tried(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for the lock; the others, whose time ran out behind it, are answered at once."""
    monkeypatch.setattr("doorstep_server.store.sqlite.WAIT_S", 0.05)
    tried: list[str] = []
    with (
        deployment.closed_after(SqliteDatabase(file)) as database,
        deployment.closed_after(SqliteDatabase(file)) as other,
    ):

        async def write_three_times() -> list[object]:
            writes = [database.write(NOTHING, lambda _, n=n: tried.append(n)) for n in "abc"]
            return list(await asyncio.gather(*writes, return_exceptions=True))

        refused = other.write_now(NOTHING, lambda _: asyncio.run(write_three_times()))
    assert tried == []
    assert [str(error) for error in refused if "waited too long" in str(error)]
    assert all(isinstance(error, DatabaseUnavailable) for error in refused)
