"""An erased person is in no byte of the database, whenever it was interrupted and whatever was put
back. The long versions: `python tests/privacy/erasure.py`, with and without `--killed`."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event

from conftest import require
from doorstep_server import erasing, sweeping
from doorstep_server.deployment import open_deployment
from doorstep_server.erasing import Eraser
from doorstep_server.keyring import Keyring
from doorstep_server.keyring.entries import Kind
from doorstep_server.keyring.file_entries import FileEntries
from doorstep_server.keyring.postgres_entries import PostgresEntries
from doorstep_server.keyring.root import FileRoot
from doorstep_server.store import people, scrubbing
from doorstep_server.store.database import DatabaseUnavailable
from doorstep_server.store.reach import Reach
from dying import Commands, commands
from postgres import Cluster, ScratchDatabase, wait_until, why_no_cluster
from privacy import erasure
from privacy.erasure import Beside, Made, answers_to, kill_and_finish, looked, started
from world import DATABASES, World, behind

TODAY = date(2026, 3, 10)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server whose files can be looked at."""
    require(why_no_cluster())
    with Cluster(erasure.CLUSTER) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def doorstep() -> Iterator[Commands]:
    with commands() as running:
        yield running


@pytest.fixture(scope="module", params=DATABASES)
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    """A deployment to copy: someone to erase, and someone beside."""
    kind = request.param
    folder = tmp_path_factory.mktemp("made") / kind
    cluster = request.getfixturevalue("cluster") if kind == "postgresql" else None
    with erasure.made_in(kind, folder, cluster) as made:
        yield made


@pytest.fixture
def made(whole: Made, tmp_path: Path) -> Iterator[Made]:
    copy = whole.copy(tmp_path / "copy")
    yield copy
    copy.drop()


# --- no byte -------------------------------------------------------------------------------------


def test_no_byte_is_left_of_who_was_erased_while_others_check_in(whole: Made, made: Made) -> None:
    place, one = made.place, made.one
    # all of it was there, and nothing in the clear; a server could be writing tables anew
    assert {what for _, what in place.left(made.needles.stored)} == made.needles.named("stored")
    in_keyring = {what for _, what in place.left(made.needles.in_keyring)}
    assert in_keyring == {"keyring.name", "keyring.wrapped"}
    if place.database is not None:
        assert "check_ins" in place.statistics()
    with erasure.served(place, api_key=made.api_key) as server:
        others = [made.other, erasure.somebody(server, devices=1)]
        with Beside(server, others) as beside:
            code = erasure.ask(server, one, as_device=True)
            done: list[str] = []
            wait_until(lambda: bool(done.extend(_receipt(server, code)) or done), "it is done")
        assert beside.refused == {}
        assert place.left(made.needles.every) == {}
        for other in others:
            assert set(other.check_ins) == other.stored(server)
        keys = server.call("GET", "/v1/privacy/signing-keys")[1]["keys"]
        said = erasure.checked(keys, done[0])
    assert place.left(made.needles.every) == {}
    assert looked(made.needles.plain, place.log_files()) == {}
    # what a log may still hold is said
    in_log = looked(made.needles.stored, place.log_files())
    assert bool(in_log) == (place.kind == "postgresql")
    assert said["wal_known"] is True
    assert (said["wal_since"] is not None) == (place.kind == "postgresql")
    # and to whom it happened is not
    text = done[0].encode() + str(said).encode()
    assert [what for value, what in made.needles.every.items() if value in text] == []


def _receipt(server: Any, code: str) -> list[str]:
    found = erasure.receipt(server, code)
    return [found] if found else []


def test_who_holds_the_database_without_its_keyring_holds_no_name(
    made: Made, doorstep: Commands
) -> None:
    """Before any erasure: a stolen database, or a backup of one."""
    files = made.place.table_files()
    assert looked(made.needles.plain, files) == {}
    assert looked(made.needles.plain, made.place.log_files()) == {}
    (made.place.settings.home / "keyring.db").unlink()
    for told in (
        made.run(doorstep, "tenants", "list"),
        made.run(doorstep, "subjects", "enroll", "x"),
    ):
        assert told.status == 1
        assert told.output.startswith("Error: The keyring is missing. Put the keyring")


# --- killed --------------------------------------------------------------------------------------

#: moments that are tried, of all from the first change to the last, spread evenly
TRIED = 5


def test_an_erasure_that_was_killed_is_finished_before_the_first_answer(
    whole: Made, doorstep: Commands, tmp_path: Path
) -> None:
    first = whole.copy(tmp_path / "first")
    moments = erasure.moments_of_erasing(doorstep, first)
    first.drop()
    outcomes = []
    # what comes before the intent is a third of them
    for tried in range(TRIED):
        moment = moments - tried * (2 * moments // 3) // (TRIED - 1)
        copy = whole.copy(tmp_path / str(moment))
        outcomes.append(kill_and_finish(doorstep, copy, moment))
        copy.drop()
    assert {"named", "unnamed"} <= set(outcomes)


class Interrupted(Exception):
    """As if the process ended here."""


@contextmanager
def interrupted(statement: str, *, after: int) -> Iterator[None]:
    """The transaction that executes a statement for the so many-th time does not live to commit."""
    seen = 0

    def look(_: Connection, __: Any, executed: str, *___: Any) -> None:
        nonlocal seen
        seen += executed.startswith(statement)
        if seen > after:
            raise Interrupted

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def test_rows_that_were_removed_in_part_are_no_reason_not_to_find_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are found one after the other, up to the first that is missing."""
    monkeypatch.setattr(erasing, "AT_ONCE", 4)
    tenant, phone = world.first, world.first.phone()
    tenant.site()
    for _ in range(23):
        assert phone.check_in(phone.claim()).status_code == 201
    phone.post("/v1/device/erasure")
    eraser = world.services.erasures.eraser
    with interrupted("DELETE FROM check_ins", after=2), pytest.raises(Interrupted):
        eraser.finish_all(TODAY)
    assert world.rows("SELECT count(*) FROM check_ins") == [(15,)]
    eraser.finish_all(TODAY)
    assert world.rows("SELECT count(*) FROM check_ins") == [(0,)]
    assert world.rows("SELECT count(*) FROM receipts") == [(0,)]


def test_an_erasure_has_its_receipt_only_when_the_files_are_clean(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that said whom it was about is the last to go, and must not be forgotten."""
    database, keyring = open_deployment(made.place.settings)
    [(tenant_id,)] = behind(made.place.settings, "SELECT tenant_id FROM tenants")
    tenant_id = UUID(bytes=erasure._raw(tenant_id))
    eraser, today = Eraser(database, keyring), datetime.now(UTC).date()

    def no_scrub(_: object) -> None:
        raise DatabaseUnavailable("not now")

    try:
        begun = eraser.ask(tenant_id, made.one.subject_id, today)
        with monkeypatch.context() as patch:
            patch.setattr(type(database), "scrub_now", lambda self, days: no_scrub(days))
            with pytest.raises(DatabaseUnavailable):
                eraser.finish_all(today)
        found = database.read_now(
            Reach.of(tenant_id), lambda c: people.find_erasure(c, tenant_id, begun.erasure_id)
        )
        # nobody can be found any more, and yet it is not done
        assert found is not None
        assert (found.subject_id, found.receipt) == (None, None)
        assert keyring.subject(tenant_id, made.one.subject_id) is None
        # another process goes on with it
        assert Eraser(database, keyring).finish_all(today) == 1
        assert eraser.finish_all(today) == 0
        assert made.place.left(made.needles.every) == {}
    finally:
        database.close_now()


# --- others that look ----------------------------------------------------------------------------


@pytest.mark.parametrize("whole", ["postgresql"], indirect=True)
@pytest.mark.parametrize("mode", ["READ ONLY", "READ WRITE"])
def test_what_somebody_could_still_see_is_waited_for(
    made: Made, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL takes rows along that an older transaction could see, though they are deleted."""
    place = made.place
    assert place.database is not None
    database, keyring = open_deployment(place.settings)
    [(tenant_id,)] = behind(place.settings, "SELECT tenant_id FROM tenants")
    tenant_id = UUID(bytes=erasure._raw(tenant_id))
    eraser, today = Eraser(database, keyring), datetime.now(UTC).date()
    monkeypatch.setattr(scrubbing, "OLDER_WAIT_S", 0.3)
    with place.database.session() as older:
        older.run(f"BEGIN ISOLATION LEVEL REPEATABLE READ {mode}")
        # it holds no lock on what is written anew, and could still look
        older.run("SELECT count(*) FROM tenants")
        if mode == "READ WRITE":
            older.run("SELECT pg_current_xact_id()::text")
        begun = eraser.ask(tenant_id, made.one.subject_id, today)
        with pytest.raises(DatabaseUnavailable, match="older transactions have not ended"):
            eraser.finish_all(today)
        # nobody waits for that to be unreadable
        assert keyring.subject(tenant_id, made.one.subject_id) is None
        assert {what for _, what in place.left(made.needles.stored)} != set()
        older.run("COMMIT")
        assert eraser.finish_all(today) == 1
    found = database.read_now(
        Reach.of(tenant_id), lambda c: people.find_erasure(c, tenant_id, begun.erasure_id)
    )
    assert found is not None
    assert found.receipt is not None
    assert place.left(made.needles.every) == {}
    database.close_now()


@pytest.mark.parametrize("whole", ["postgresql"], indirect=True)
def test_who_looks_at_other_databases_of_the_server_is_not_waited_for(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "OLDER_WAIT_S", 0.3)
    assert made.machine is not None
    elsewhere = made.machine.new_database()
    database, _ = open_deployment(made.place.settings)
    with elsewhere.session() as older:
        older.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        older.run("SELECT pg_current_xact_id()::text")
        assert database.scrub_now(()).wal_known
    made.machine.drop(elsewhere)
    database.close_now()


# --- put back ------------------------------------------------------------------------------------


def back_up(made: Made, folder: Path) -> Callable[[], Made]:
    """A plain copy of the database, as it is now; what it gives puts that back."""
    if made.machine is None:
        kept = folder / "kept.db"
        with (
            closing(sqlite3.connect(made.place.settings.home / "doorstep.db")) as source,
            closing(sqlite3.connect(kept)) as copy,
        ):
            source.backup(copy)

        def put_back() -> Made:
            for file in made.place.table_files():
                file.unlink()
            shutil.copyfile(kept, made.place.settings.home / "doorstep.db")
            return made

        return put_back
    kept_database = made.copied_database()
    place = made.with_database(kept_database, made.place.settings.home)
    return lambda: replace(made, place=place)


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_backup_that_is_put_back_is_swept_before_the_first_answer(
    made: Made, doorstep: Commands, tmp_path: Path, is_marked: bool
) -> None:
    before = made.counts()
    put_back = back_up(made, tmp_path)
    assert made.run(doorstep, "privacy", "erase", made.one.external_id).status == 0
    restored = put_back()
    assert restored.counts() == before
    if is_marked:
        behind(restored.place.settings, "UPDATE deployment SET is_copy = true")
    with started(restored.place) as client:
        assert restored.counts() == {table: count // 2 for table, count in before.items()}
        assert restored.place.left(made.needles.every) == {}
        assert [answers_to(client, device) for device in made.one.devices] == [401, 401]
        for device in made.other.devices:
            headers = {"Authorization": f"Bearer {device.token}"}
            status = client.get("/v1/device", headers=headers).json()
            assert status["permission"] == ("unknown" if is_marked else "precise")
            said = client.post("/v1/check-ins", headers=headers, json=made.other.claim())
            if is_marked:
                assert (said.status_code, said.json()["code"]) == (403, "permission-unknown")
            else:
                assert said.status_code == 201
        path = "/v1/check-ins?limit=100"
        listed = client.get(path, headers=headers).json()["items"]
        assert set(made.other.check_ins) <= {UUID(item["id"]) for item in listed}
    if restored is not made:
        restored.drop()


def test_a_keyring_from_before_an_erasure_is_not_taken(
    made: Made, doorstep: Commands, tmp_path: Path
) -> None:
    """It would bring back who was erased."""
    keyring = made.place.settings.home / "keyring.db"
    older = tmp_path / "older.db"
    shutil.copyfile(keyring, older)
    assert made.run(doorstep, "privacy", "erase", made.one.external_id).status == 0
    newer = keyring.read_bytes()
    shutil.copyfile(older, keyring)
    told = made.run(doorstep, "tenants", "list")
    assert told.status == 1
    assert told.output.startswith(
        "Error: The keyring lacks a key that the database needs, or is old"
    )
    keyring.write_bytes(newer)
    assert made.run(doorstep, "tenants", "list").status == 0


def test_the_keyring_of_another_deployment_is_not_taken(
    made: Made, doorstep: Commands, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert doorstep.run(other, "init", where={}).status == 0
    for name in ("keyring.db", "keyring.root"):
        shutil.copyfile(other / name, made.place.settings.home / name)
    told = made.run(doorstep, "tenants", "list")
    assert told.status == 1
    assert told.output.startswith("Error: This keyring belongs to another database.")


# --- between keyring and database ----------------------------------------------------------------


@pytest.mark.parametrize("command", [("subjects", "enroll", "new"), ("tenants", "create", "New")])
def test_what_was_killed_between_keyring_and_database_is_made_once(
    whole: Made, doorstep: Commands, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Of whom nobody was told yet, that is. Nobody else loses anything."""
    table = "subjects" if command[0] == "subjects" else "tenants"
    first = whole.copy(tmp_path / "first")
    moments = first.run(doorstep, *command).moments
    first.drop()
    ahead = set()
    # the keyring is written before the last transaction, the database in it
    for moment in range(moments - 1, moments - 16, -5):
        copy = whole.copy(tmp_path / str(moment))
        before = copy.counts()
        assert copy.run(doorstep, *command, until=moment).status < 0
        ahead.add(_is_ahead(copy))
        assert copy.run(doorstep, *command).status == 0
        made = copy.count(table)
        assert made - whole.count(table) == 1 or (table == "tenants" and made == 3)
        assert {**copy.counts(), "subjects": 0, "enrollment_codes": 0} == {
            **before,
            "subjects": 0,
            "enrollment_codes": 0,
        }
        copy.drop()
    # the moment that matters was among them
    assert True in ahead


def _is_ahead(made: Made) -> bool:
    with closing(sqlite3.connect(made.place.settings.home / "keyring.db")) as keyring:
        [(generation,)] = keyring.execute("SELECT generation FROM keyring").fetchall()
    known = behind(made.place.settings, "SELECT keyring_generation FROM deployment")
    return bool(generation > known[0][0])


def test_a_sweep_takes_nothing_from_who_is_new_meanwhile(world: World) -> None:
    """A process that starts may have to sweep while another serves."""
    tenant = world.first
    tenant.site()
    one = sweeping._Tenant(
        world.services.database, world.services.keyring, tenant.tenant_id, tenant.keys
    )
    phone = tenant.phone()
    assert phone.check_in(phone.claim()).status_code == 201
    one.sweep_people()
    one.sweep_rows()
    assert phone.get("/v1/device").status_code == 200
    assert len(phone.get("/v1/check-ins").json()["items"]) == 1


def test_a_sweep_takes_nothing_back_that_was_withdrawn_meanwhile(world: World) -> None:
    """Another process serves already, and a device has reported since."""
    tenant, phone = world.first, world.first.phone()
    database, seen = world.services.database, []

    class Late(sweeping._Tenant):
        def _read(self, function: Callable[..., Any], *arguments: object) -> Any:
            found = super()._read(function, *arguments)
            if not seen:
                seen.append(phone.report("denied").status_code)
            return found

    Late(database, world.services.keyring, tenant.tenant_id, tenant.keys).forget_grants()
    assert seen == [200]
    kept = tenant.device_details(phone).permission
    assert (kept.state, kept.epoch, kept.restored) == ("denied", 2, True)


# --- keys that come late -------------------------------------------------------------------------


@pytest.fixture(params=DATABASES)
def keyring(request: pytest.FixtureRequest, tmp_path: Path) -> Keyring:
    """A keyring in each kind of store."""
    if request.param == "sqlite":
        entries: Any = FileEntries(tmp_path / "keyring.db")
    else:
        database: ScratchDatabase = request.getfixturevalue("postgres_database")
        entries = PostgresEntries(database.admin_url)
    return Keyring.create(entries, FileRoot.create(tmp_path / "root"), UUID(int=1))


def test_of_who_was_erased_no_key_is_made_by_what_was_under_way(keyring: Keyring) -> None:
    """A check-in with an exact position asks for its day's key, and is refused only later."""
    tenant_id = UUID(int=2)
    keys = keyring.add_tenant(tenant_id, TODAY)
    one, other = (keyring.subject_named(keys, tenant_id, name).subject_id for name in "ab")
    kept = keyring.exact_key(tenant_id, one, TODAY)
    assert keyring.exact_key(tenant_id, one, TODAY) == kept
    keyring.destroy_subject(keys, tenant_id, one)
    assert len(keyring.exact_key(tenant_id, one, TODAY)) == 32
    assert keyring.find_exact_key(tenant_id, one, TODAY) is None
    keyring.exact_key(tenant_id, other, TODAY)
    names = keyring._entries.names(str(tenant_id), Kind.EXACT)
    assert [name[:32] for name in names] == [other.hex]


def test_keys_that_are_asked_for_while_someone_is_erased_are_none_afterwards(
    keyring: Keyring,
) -> None:
    tenant_id = UUID(int=2)
    keys = keyring.add_tenant(tenant_id, TODAY)
    for number in range(6):
        subject_id = keyring.subject_named(keys, tenant_id, str(number)).subject_id
        with ThreadPoolExecutor(4) as threads:
            asked = [
                threads.submit(keyring.exact_key, tenant_id, subject_id, date(2026, 3, day))
                for day in range(1, 5)
            ]
            keyring.destroy_subject(keys, tenant_id, subject_id)
            assert {len(one.result()) for one in asked} == {32}
    assert keyring._entries.names(str(tenant_id), Kind.EXACT) == []


# --- enrolling meanwhile -------------------------------------------------------------------------


def test_a_code_that_is_redeemed_while_its_owner_is_erased_leaves_no_device(world: World) -> None:
    tenant, phone = world.first, world.first.phone()
    code, subject_id = tenant.code(phone.subject_id), UUID(phone.subject_id)
    eraser, on_postgres = world.services.erasures.eraser, world.settings.admin_database_url
    found: list[str] = []
    asked: list[Future[Any]] = []
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    def look(_: Connection, __: Any, executed: str, *___: Any) -> None:
        if "FROM enrollment_codes" in executed and "SELECT" in executed and not asked:
            found.append(executed)
            # the second time it is in the transaction that uses the code
            if len(found) == 2:
                asked.append(threads.submit(eraser.ask, tenant.tenant_id, subject_id, TODAY))
                if on_postgres:
                    wait_until(
                        lambda: asked[0].done() or world.rows(waiting) == [(1,)],
                        "the erasure waits, or is done",
                    )

    with ThreadPoolExecutor(1) as threads:
        event.listen(Engine, "after_cursor_execute", look)
        try:
            tenant.enroll(code)
        finally:
            event.remove(Engine, "after_cursor_execute", look)
        assert asked[0].result(60).subject_id == subject_id
    tables = ("subjects", "devices", "device_tokens", "enrollment_codes")
    assert [world.rows(f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 4
