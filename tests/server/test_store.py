"""The database: its schema is what the migrations make, and every column has its place."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from doorstep_server import deployment
from doorstep_server.deployment import NotInitialized
from doorstep_server.keyring import Keyring, KeyringUnusable
from doorstep_server.privacy.data_map import DATA_MAP
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, migrate, tenants
from doorstep_server.store.database import (
    Database,
    DatabaseDamaged,
    DatabaseUnavailable,
    UnsupportedDatabase,
)
from doorstep_server.store.migrate import SchemaOutdated
from doorstep_server.store.schema import metadata, site_versions
from world import NOON, opened

#: made for PostgreSQL only
ELSEWHERE = {"ix_site_versions_shape"}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create(f"sqlite:///{tmp_path / 'test.db'}")


def test_the_migrations_make_what_the_schema_says(database: Database) -> None:
    with database.writing() as connection:
        migrate.migrate(connection)
        options = {
            "compare_type": True,
            "include_object": lambda _, name, *__: name not in ELSEWHERE,
        }
        assert (
            compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        )
    database.close()


def test_the_migrations_can_be_taken_back(database: Database) -> None:
    with database.writing() as connection:
        migrate.migrate(connection)
    with database.writing() as connection:
        migrate.downgrade(connection, "base")
    with database.reading() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(RuntimeError), database.writing() as connection:
        _fail_after_migrating(connection)
    with database.reading() as connection:
        assert migrate.is_empty(connection)
    database.close()


def _fail_after_migrating(connection: Connection) -> None:
    migrate.migrate(connection)
    raise RuntimeError


def test_every_connection_is_durable_and_overwrites_what_it_deletes(database: Database) -> None:
    for opening in (database.writing, database.reading):
        with opening() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
            }
        assert pragmas == {
            "journal_mode": "wal",
            "synchronous": 2,
            "secure_delete": 1,
            "foreign_keys": 1,
        }
    database.close()


def test_keys_begin_with_the_tenant() -> None:
    for table in metadata.tables.values():
        if table.name == "deployment":
            continue
        assert next(iter(table.primary_key.columns)).name == "tenant_id", table.name
        for index in table.indexes - {i for i in table.indexes if i.name in ELSEWHERE}:
            assert next(iter(index.columns)).name == "tenant_id", index.name
        for foreign in table.foreign_key_constraints:
            assert "tenant_id" in foreign.column_keys


def test_every_column_is_mapped_to_purpose_basis_and_retention(tmp_path: Path) -> None:
    stored = {table.name: set(table.columns.keys()) for table in metadata.tables.values()}
    Keyring.create(tmp_path / "keyring.db")
    with sqlite3.connect(tmp_path / "keyring.db") as connection:
        tables = [
            n
            for (n,) in connection.execute("SELECT name FROM sqlite_master")
            if not n.startswith("sqlite_")
        ]
        stored |= {
            t: {row[1] for row in connection.execute(f"PRAGMA table_info({t})")} for t in tables
        }
    connection.close()
    assert {table: set(columns) for table, columns in DATA_MAP.items()} == stored


def test_no_column_could_hold_a_coordinate_of_a_person() -> None:
    """Numbers with a fraction stand in the table of sites only."""
    fractional = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if column.type.python_type is float
    }
    assert {table for table, _ in fractional} == {"site_versions"}


def test_the_same_schema_serves_postgresql() -> None:
    statement = str(CreateTable(site_versions).compile(dialect=postgresql.dialect()))
    assert "shape geometry(GEOMETRY,4326) NOT NULL" in statement


@pytest.mark.parametrize("url", ["postgresql://localhost/x", "sqlite://", "sqlite:///:memory:"])
def test_another_database_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="DOORSTEP_DATABASE_URL"):
        Database.create(url)


# -- deployments -----------------------------------------------------------------------------


def test_an_existing_home_is_left_as_it_is(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    first = deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    assert first is not None
    assert deployment.initialize(settings, NOON, tenant=deployment.new_tenant("Second")) is None
    database, _ = deployment.open_deployment(settings)
    with database.reading() as connection:
        assert [t.name for t in tenants.all_tenants(connection)] == ["First"]
    database.close()


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as world:
        modes = {f.name: f.stat().st_mode & 0o777 for f in world.settings.home.iterdir()}
        assert world.settings.home.stat().st_mode & 0o777 == 0o700
    assert {mode for name, mode in modes.items()} == {0o600}


def test_without_a_deployment_nothing_opens(tmp_path: Path) -> None:
    with pytest.raises(NotInitialized, match="doorstep init"):
        deployment.open_deployment(Settings(home=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_foreign_keyring_keeps_the_server_from_starting(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    settings.keyring_path().rename(tmp_path / "away")
    with pytest.raises(KeyringUnusable, match="missing"):
        deployment.open_deployment(settings)
    Keyring.create(settings.keyring_path())
    with pytest.raises(KeyringUnusable, match="another database"):
        deployment.open_deployment(settings)
    settings.keyring_path().write_bytes(b"no database at all" * 100)
    with pytest.raises(KeyringUnusable, match="cannot be read"):
        deployment.open_deployment(settings)


def test_a_damaged_database_is_told_and_left_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    file = settings.home / "doorstep.db"
    file.write_bytes(b"no database at all" * 1000)
    before = file.read_bytes()
    with pytest.raises(DatabaseDamaged, match="put a good copy in its place"):
        deployment.open_deployment(settings)
    assert file.read_bytes() == before


def test_a_locked_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doorstep_server.store.database.BUSY_TIMEOUT_MS", 10)
    database = Database.create(f"sqlite:///{tmp_path / 'test.db'}")
    other = Database.create(f"sqlite:///{tmp_path / 'test.db'}")
    with (
        database.writing(),
        pytest.raises(DatabaseUnavailable, match="SQLITE_BUSY"),
        other.writing(),
    ):
        pass
    database.close()
    other.close()


def test_a_lost_database_is_never_made_anew_beside_its_keyring(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    (settings.home / "doorstep.db").write_bytes(b"")
    with pytest.raises(KeyringUnusable, match="Put the database back"):
        deployment.open_deployment(settings)
    with pytest.raises(KeyringUnusable, match="Put the database back"):
        deployment.initialize(settings, NOON, tenant=deployment.new_tenant("Second"))


def test_a_keyring_that_lacks_a_tenant_keeps_the_server_from_starting(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    old = settings.keyring_path().read_bytes()
    database, keyring = deployment.open_deployment(settings)
    with database.writing() as connection:
        deployment.add_tenant(connection, keyring, deployment.new_tenant("Second"), NOON)
    database.close()
    settings.keyring_path().write_bytes(old)
    with pytest.raises(KeyringUnusable, match="older than the database"):
        deployment.open_deployment(settings)


def test_several_that_initialize_at_once_make_one_deployment(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    def initialize(number: int) -> bool:
        tenant = deployment.new_tenant(f"Tenant {number}")
        return deployment.initialize(settings, NOON, tenant=tenant) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(initialize, range(6))) == [False] * 5 + [True]
    database, _ = deployment.open_deployment(settings)
    with database.reading() as connection:
        assert len(tenants.all_tenants(connection)) == 1
    database.close()


def test_who_waits_behind_a_lock_too_long_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for the lock; the others, whose time ran out behind it, are answered at once."""
    monkeypatch.setattr("doorstep_server.store.database.BUSY_TIMEOUT_MS", 50)
    database = Database.create(f"sqlite:///{tmp_path / 'test.db'}")
    other = Database.create(f"sqlite:///{tmp_path / 'test.db'}")
    tried: list[str] = []

    async def write_three_times() -> list[object]:
        writes = [database.write(lambda _, n=n: tried.append(n)) for n in "abc"]
        return list(await asyncio.gather(*writes, return_exceptions=True))

    with other.writing():
        refused = asyncio.run(write_three_times())
    assert tried == []
    assert [str(error) for error in refused if "waited too long" in str(error)]
    assert all(isinstance(error, DatabaseUnavailable) for error in refused)
    database.close()
    other.close()


def test_a_schema_of_another_version_keeps_the_server_from_starting(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    database = Database(settings.database())
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(SchemaOutdated, match="doorstep migrate"):
        deployment.open_deployment(settings)
