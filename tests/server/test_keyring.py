"""The keyring: it and its database know each other, and without the right one nothing starts."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

import postgres
from doorstep_server import deployment, sweeping
from doorstep_server.cli import main
from doorstep_server.keyring import Keyring, KeyringUnusable
from doorstep_server.keyring.entries import Entries, EntryName, Head, Kind
from doorstep_server.keyring.opening import create_root, entries_at, open_root
from doorstep_server.privacy.data_map import DATA_MAP
from doorstep_server.settings import InvalidSetting, Settings
from doorstep_server.store import tenants
from doorstep_server.store.reach import DIRECTORY, NOTHING, Reach
from postgres import Server
from world import DATABASES, NOON, World, behind_file, initialized, opened

TODAY = NOON.date()


@pytest.fixture
def keyring_database(postgres_server: Server) -> str:
    """A database for a keyring alone, whose user may make tables there and nothing else."""
    database = postgres_server.new_database()
    database.sql(f'GRANT CREATE ON SCHEMA public TO "{postgres_server.login}"')
    # of a test's server, so it goes when the server does
    return database.url


@pytest.fixture(params=DATABASES)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Where a keyring can be made: once in each kind of store."""
    if request.param == "sqlite":
        return Settings(home=tmp_path)
    return Settings(home=tmp_path, keyring=request.getfixturevalue("keyring_database"))


@pytest.fixture
def entries(kept: Settings) -> Entries:
    return entries_at(kept)


@pytest.fixture
def keyring(kept: Settings, entries: Entries) -> Keyring:
    return Keyring.create(entries, create_root(kept), UUID(int=9))


def refused(settings: Settings, sentence: str) -> None:
    with pytest.raises(KeyringUnusable, match=sentence):
        deployment.open_deployment(settings)


def starts(settings: Settings) -> None:
    with deployment.closed_after(deployment.open_deployment(settings)[0]):
        pass


# -- which keyring -----------------------------------------------------------------------------


def test_without_its_keyring_nothing_starts(settings: Settings) -> None:
    initialized(settings)
    file = settings.home / "keyring.db"
    file.rename(settings.home / "away")
    refused(settings, "The keyring is missing")
    assert not file.exists()
    (settings.home / "away").rename(file)
    starts(settings)


def test_without_its_root_nothing_starts(settings: Settings) -> None:
    initialized(settings)
    file = settings.home / "keyring.root"
    root = file.read_bytes()
    file.unlink()
    refused(settings, "root is missing")
    assert not file.exists()
    file.write_bytes(root[:-1])
    refused(settings, "cannot be opened with this root")
    file.write_bytes(bytes(reversed(root)))
    refused(settings, "cannot be opened with this root")
    file.write_bytes(root)
    starts(settings)


def test_the_keyring_of_another_database_is_not_taken(settings: Settings) -> None:
    initialized(settings)
    file = settings.home / "keyring.db"
    file.rename(settings.home / "away")
    # with the same root: it can be read, and is another's
    Keyring.create(entries_at(settings), open_root(settings), uuid4())
    refused(settings, "belongs to another database")


def test_a_damaged_keyring_is_told(settings: Settings) -> None:
    initialized(settings)
    (settings.home / "keyring.db").write_bytes(b"no database at all" * 100)
    refused(settings, "cannot be read or written now")


def copied(settings: Settings) -> Callable[[], None]:
    """Takes a copy of the keyring; what it gives puts it back."""
    files = {f.name: f.read_bytes() for f in settings.home.glob("keyring.db*")}

    def put_back() -> None:
        for file in settings.home.glob("keyring.db*"):
            file.unlink()
        for name, content in files.items():
            (settings.home / name).write_bytes(content)

    return put_back


def test_a_keyring_from_before_a_tenant_was_made_is_not_taken(settings: Settings) -> None:
    initialized(settings)
    put_back = copied(settings)
    with opened(settings) as world:
        world.tenant("Second")
    put_back()
    refused(settings, "older than the database")


def test_a_keyring_from_before_a_person_was_known_is_not_taken(settings: Settings) -> None:
    new = initialized(settings)
    put_back = copied(settings)
    with opened(settings, new) as world:
        world.first.subject("ana")
    put_back()
    refused(settings, "older than the database")


def test_a_keyring_from_before_somebody_was_erased_is_not_taken(settings: Settings) -> None:
    new = initialized(settings)
    with opened(settings, new) as world:
        phone = world.first.phone()
        put_back = copied(settings)
        assert phone.post("/v1/device/erasure").status_code == 202
        world.services.erasures.eraser.finish_all(TODAY)
    put_back()
    refused(settings, "older than the database")


def test_a_keyring_that_lacks_a_tenant_is_not_taken(settings: Settings) -> None:
    new = initialized(settings)
    names = [EntryName(str(new.tenant.tenant_id), Kind.TENANT, n) for n in ("labels", "seals")]
    rows = entries_at(settings).names(str(new.tenant.tenant_id), Kind.ROWS)
    names += [EntryName(str(new.tenant.tenant_id), Kind.ROWS, month) for month in rows]
    entries_at(settings).destroy(names, counted=False)
    refused(settings, "lacks a key")


# -- a keyring that is ahead -----------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process is about to write."""
    monkeypatch.setattr(sweeping, "PATIENCE_S", 0.0)


def generations(settings: Settings) -> tuple[int, int]:
    with deployment.closed_after(deployment.database(settings)) as database:
        binding = database.read_now(NOTHING, tenants.binding)
    assert binding is not None
    return entries_at(settings).head().generation, binding.keyring_generation


@pytest.mark.usefixtures("impatient")
def test_rows_of_who_has_no_key_any_more_are_removed_before_the_first_answer(
    settings: Settings,
) -> None:
    """A backup of the database was put back that is from before they were erased."""
    new = initialized(settings)
    with opened(settings, new) as world:
        tenant = world.first
        # which months have ended is asked at the start, of the machine's clock
        world.clock.now = datetime.now(UTC)
        tenant.site()
        gone, stays = tenant.phone(), tenant.phone()
        for phone in (gone, stays, gone):
            phone.check_in(phone.claim())
        kept = stays.get("/v1/check-ins").json()
        world.services.keyring.destroy_subject(tenant.keys, tenant.tenant_id, UUID(gone.subject_id))
    ahead, known = generations(settings)
    assert ahead > known
    with opened(settings, new) as world:
        world.clock.now = gone.clock.now
        gone.client = stays.client = world.client
        assert generations(settings) == (ahead, ahead)
        assert gone.get("/v1/device").status_code == 401
        assert stays.get("/v1/check-ins").json() == kept
        for table, count in {"check_ins": 1, "receipts": 1, "devices": 1, "subjects": 1}.items():
            assert world.rows(f"SELECT count(*) FROM {table}") == [(count,)], table
        # it is no copy: what others were granted still holds
        assert stays.check_in(stays.claim()).status_code == 201


@pytest.mark.usefixtures("impatient")
def test_a_person_whom_only_the_keyring_knows_takes_nothing_from_anybody(
    settings: Settings,
) -> None:
    """A server died between the two."""
    new = initialized(settings)
    with opened(settings, new) as world:
        tenant = world.first
        world.clock.now = datetime.now(UTC)
        tenant.site()
        phone = tenant.phone()
        phone.check_in(phone.claim())
        known = world.services.keyring.subject_named(tenant.keys, tenant.tenant_id, "ana")
    assert generations(settings)[0] > generations(settings)[1]
    with opened(settings, new) as world:
        assert world.rows("SELECT count(*) FROM check_ins") == [(1,)]
        assert world.first.subject("ana")["id"] == str(known.subject_id)
    assert generations(settings)[0] == generations(settings)[1]


def test_a_keyring_that_is_as_old_as_its_database_is_not_swept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = initialized(settings)
    with opened(settings, new) as world:
        world.first.phone()

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(sweeping, "sweep", never)
    starts(settings)


# -- in a database of its own ----------------------------------------------------------------------


def test_a_keyring_in_postgresql_serves_everything(
    settings: Settings, keyring_database: str
) -> None:
    settings = replace(settings, keyring=keyring_database)
    new = initialized(settings)
    assert not (settings.home / "keyring.db").exists()
    with opened(settings, new) as world:
        tenant = world.first
        tenant.site()
        phone, other = tenant.phone(), tenant.phone()
        for one in (phone, other):
            assert one.check_in(one.claim()).status_code == 201
        erasure = phone.post("/v1/device/erasure").json()["erasure"]
        world.services.erasures.eraser.finish_all(TODAY)
        assert world.client.get(f"/v1/erasures/{erasure}").json()["status"] == "done"
        assert world.rows("SELECT count(*) FROM check_ins") == [(1,)]
        assert other.check_in(other.claim()).status_code == 201
    done = doorstep(settings, "subjects", "enroll", "ana")
    assert done.exit_code == 0, done.output
    columns = postgres.sql(
        keyring_database,
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name LIKE 'keyring%'",
    )
    assert {(table, column) for table, column in columns} == {
        (table, column) for table in ("keyring", "keyring_entries") for column in DATA_MAP[table]
    }


def test_a_keyring_in_postgresql_that_is_missing_or_away_is_told(
    tmp_path: Path, keyring_database: str, postgres_server: Server
) -> None:
    settings = Settings(home=tmp_path / "home", keyring=keyring_database)
    initialized(settings)
    empty = postgres_server.new_database()
    refused(replace(settings, keyring=empty.url), "The keyring is missing")
    away = f"postgresql:///x?host={tmp_path}"
    refused(replace(settings, keyring=away), r"cannot be read or written now \(cannot be reached\)")
    starts(settings)


def doorstep(settings: Settings, *arguments: str) -> Any:
    environment = {
        "DOORSTEP_KEYRING": settings.keyring,
        "DOORSTEP_DATABASE_URL": settings.database_url,
        "DOORSTEP_ADMIN_DATABASE_URL": settings.admin_database_url,
    }
    return CliRunner(env=environment).invoke(main, ["--home", str(settings.home), *arguments])


def test_commands_make_and_use_a_keyring_in_postgresql(
    settings: Settings, keyring_database: str
) -> None:
    settings = replace(settings, keyring=keyring_database)
    for command in (("init",), ("tenants", "list"), ("subjects", "enroll", "ana")):
        done = doorstep(settings, *command)
        assert done.exit_code == 0, done.output
    # with another keyring each says what is wrong
    done = doorstep(replace(settings, keyring=None), "tenants", "list")
    assert done.exit_code == 1
    assert "The keyring is missing" in done.output


def test_a_keyring_at_another_path_is_found(tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    settings = Settings(
        home=tmp_path / "home",
        keyring=f"sqlite:///{tmp_path}/apart/keys",
        keyring_root=f"file:///{str(tmp_path).lstrip('/')}/apart/root",
    )
    initialized(settings)
    assert {f.name for f in (tmp_path / "apart").iterdir()} >= {"keys", "root"}
    assert not list((tmp_path / "home").glob("keyring*"))
    starts(settings)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "keyring.db", "sqlite:///"])
def test_another_keyring_is_refused_with_a_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match="DOORSTEP_KEYRING must be"):
        entries_at(Settings(home=tmp_path, keyring=url))


@pytest.mark.parametrize("url", ["kms://key", "file://root", "root"])
def test_another_root_is_refused_with_a_sentence(tmp_path: Path, url: str) -> None:
    settings = Settings(home=tmp_path, keyring_root=url)
    for opening in (create_root, open_root):
        with pytest.raises(InvalidSetting, match="DOORSTEP_KEYRING_ROOT must be"):
            opening(settings)


def test_settings_do_not_print_where_the_keyring_is(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, keyring="postgresql://someone:hunter2@localhost/x")
    assert "hunter2" not in repr(settings)


# -- entries -------------------------------------------------------------------------------------


def test_a_store_makes_one_keyring(entries: Entries, keyring: Keyring, kept: Settings) -> None:
    before = entries.head()
    with pytest.raises(KeyringUnusable, match="not the database that it belongs to"):
        Keyring.create(entries_at(kept), create_root(kept), UUID(int=10))
    with pytest.raises(KeyringUnusable, match="not the database that it belongs to"):
        entries.create(Head(keyring_id=uuid4(), database_id=uuid4(), generation=1), {})
    assert entries.head() == before
    assert before.database_id == UUID(int=9)
    keyring.remove()
    assert not entries.exists()


def test_entries_come_all_or_none_and_never_in_anothers_place(
    entries: Entries, keyring: Keyring
) -> None:
    one, two = (EntryName("t", Kind.SUBJECT, name) for name in "ab")
    generation = entries.head().generation
    assert entries.add({one: b"1"}, counted=True)
    assert not entries.add({two: b"2", one: b"other"}, counted=True)
    assert entries.read([one, two]) == {one: b"1"}
    assert entries.head().generation == generation + 1
    assert entries.add({two: b"2"}, counted=False)
    assert entries.head().generation == generation + 1
    assert entries.names("t", Kind.SUBJECT) == ["a", "b"]
    assert entries.names("t", Kind.EXTERNAL) == entries.names("x", Kind.SUBJECT) == []
    assert entries.tenants() == {"t"}
    entries.destroy([one], counted=True)
    assert entries.read([one, two]) == {two: b"2"}
    assert entries.head().generation == generation + 2


def test_an_entry_does_not_stand_in_for_another(entries: Entries, keyring: Keyring) -> None:
    tenant_id = UUID(int=1)
    keys = keyring.add_tenant(tenant_id, TODAY)
    ana, bob = (keyring.subject_named(keys, tenant_id, name).subject_id for name in ("ana", "bob"))
    names = [EntryName(str(tenant_id), Kind.SUBJECT, s.hex) for s in (ana, bob)]
    wrapped = entries.read(names)
    entries.destroy(names, counted=False)
    entries.add({names[0]: wrapped[names[1]], names[1]: wrapped[names[0]]}, counted=False)
    with pytest.raises(KeyringUnusable, match="cannot be opened with this root"):
        keyring.subject(tenant_id, ana)


def test_many_that_name_a_person_at_once_name_one(keyring: Keyring) -> None:
    tenant_id = UUID(int=1)
    keys = keyring.add_tenant(tenant_id, TODAY)
    with ThreadPoolExecutor(8) as pool:
        named = list(pool.map(lambda _: keyring.subject_named(keys, tenant_id, "ana"), range(16)))
    assert {(known.subject_id, known.keys) for known in named} == {
        (named[0].subject_id, named[0].keys)
    }
    assert keyring.subject_ids(tenant_id) == {named[0].subject_id}


def test_who_was_destroyed_is_somebody_else_when_named_again(keyring: Keyring) -> None:
    tenant_id = UUID(int=1)
    keys = keyring.add_tenant(tenant_id, TODAY)
    before = keyring.subject_named(keys, tenant_id, "ana")
    keyring.exact_key(tenant_id, before.subject_id, TODAY)
    other = keyring.subject_named(keys, tenant_id, "bob")
    keyring.destroy_subject(keys, tenant_id, before.subject_id)
    assert keyring.subject(tenant_id, before.subject_id) is None
    assert keyring.find_named(keys, tenant_id, "ana") is None
    assert keyring.find_exact_key(tenant_id, before.subject_id, TODAY) is None
    again = keyring.subject_named(keys, tenant_id, "ana")
    assert again.subject_id != before.subject_id
    assert again.keys != before.keys
    assert keyring.find_named(keys, tenant_id, "bob") == other
    # once more is nothing more
    keyring.destroy_subject(keys, tenant_id, before.subject_id)
    assert keyring.find_named(keys, tenant_id, "ana") == again


def test_keys_of_rows_are_there_for_a_year_and_go_with_their_month(keyring: Keyring) -> None:
    tenant_id = UUID(int=1)
    before = keyring.add_tenant(tenant_id, TODAY)
    assert min(before.rows) == "2026-03"
    assert max(before.rows) >= "2027-04"
    assert len(set(before.rows.values())) == len(before.rows)
    later = date(2026, 5, 1)
    assert keyring.destroy_ended_row_keys(tenant_id, later) == 2
    assert keyring.destroy_ended_row_keys(tenant_id, later) == 0
    after = keyring.tenant(tenant_id, later)
    assert min(after.rows) == "2026-05"
    shared = before.rows.keys() & after.rows.keys()
    assert {month: before.rows[month] for month in shared} == {
        month: after.rows[month] for month in shared
    }


def test_keys_of_exact_positions_are_of_a_person_and_a_day(keyring: Keyring) -> None:
    tenant_id, nobody = UUID(int=1), UUID(int=2)
    keys = keyring.add_tenant(tenant_id, TODAY)
    ana, bob = (keyring.subject_named(keys, tenant_id, name).subject_id for name in ("ana", "bob"))
    days = [date(2026, 3, day) for day in (9, 10, 11)]
    made = {
        (who, day): keyring.exact_key(tenant_id, who, day) for who in (ana, bob) for day in days
    }
    assert len(set(made.values())) == 6
    assert keyring.exact_key(tenant_id, ana, TODAY) == made[ana, TODAY]
    assert keyring.destroy_ended_exact_keys(tenant_id, days[1]) == 2
    keyring.destroy_exact_keys(tenant_id, ana)
    left = {key for key in made if keyring.find_exact_key(tenant_id, *key) is not None}
    assert left == {(bob, day) for day in days[1:]}
    # of who is not known, none is kept
    assert len(keyring.exact_key(tenant_id, nobody, TODAY)) == 32
    assert keyring.find_exact_key(tenant_id, nobody, TODAY) is None


def test_what_is_destroyed_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    entries = entries_at(settings)
    keyring = Keyring.create(entries, create_root(settings), UUID(int=9))
    tenant_id = UUID(int=1)
    keys = keyring.add_tenant(tenant_id, TODAY)
    gone = keyring.subject_named(keys, tenant_id, "ana").subject_id
    for number in range(50):
        keyring.subject_named(keys, tenant_id, f"person {number}")
    [wrapped] = entries.read([EntryName(str(tenant_id), Kind.SUBJECT, gone.hex)]).values()

    def at_rest() -> bytes:
        return b"".join(f.read_bytes() for f in tmp_path.glob("keyring.db*"))

    assert wrapped in at_rest()
    assert gone.hex.encode() in at_rest()
    keyring.destroy_subject(keys, tenant_id, gone)
    assert wrapped not in at_rest()
    assert gone.hex.encode() not in at_rest()
    assert b"ana" not in at_rest()


def test_an_entry_says_nothing_without_the_root(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    keyring = Keyring.create(entries_at(settings), create_root(settings), UUID(int=9))
    keys = keyring.add_tenant(UUID(int=1), TODAY)
    keyring.subject_named(keys, UUID(int=1), "an-external-id")
    copy = tmp_path / "copy.db"
    shutil.copy(tmp_path / "keyring.db", copy)
    shown = repr(behind_file(copy, "SELECT * FROM keyring_entries")).encode() + copy.read_bytes()
    for secret in (keys.labels, keys.seals, keyring.pepper(), b"an-external-id"):
        assert secret not in shown
        assert secret.hex().encode() not in shown


def test_a_database_knows_which_tenants_its_keyring_must(world: World) -> None:
    second = world.tenant("Second")
    found = world.services.database.read_now(DIRECTORY, tenants.all_tenants)
    assert {t.tenant_id for t in found} == {world.first.tenant_id, second.tenant_id}
    binding = world.services.database.read_now(Reach.of(second.tenant_id), tenants.binding)
    assert binding is not None
    assert binding.keyring_generation == world.services.keyring.head().generation
