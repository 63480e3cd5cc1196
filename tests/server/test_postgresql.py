"""What PostgreSQL itself keeps: roles, row level security, partitions; that indexes are used."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import InsufficientPrivilegeError, RaiseError
from shapely import box
from sqlalchemy import text

from doorstep_server import deployment
from doorstep_server.keyring.opening import entries_at
from doorstep_server.privacy.unlinkable import TokenSeries
from doorstep_server.retention import run as retention_run
from doorstep_server.settings import Settings
from doorstep_server.store import (
    Connection,
    check_ins,
    devices,
    driver,
    migrate,
    mixing,
    retention,
    sites,
    tokens,
)
from doorstep_server.store.check_ins import Filter
from doorstep_server.store.database import (
    AccessRefused,
    Database,
    DatabaseUnavailable,
    LoginRefused,
    UnsupportedDatabase,
)
from doorstep_server.store.postgres import CONNECTIONS, DOING_MUCH
from doorstep_server.store.reach import NOTHING, Reach
from doorstep_server.store.schema import metadata
from doorstep_server.store.tokens import NextNumbers
from postgres import Cluster, ScratchDatabase, Server, Session, session, sql, wait_until
from spoken import listening
from world import FAR_OUTSIDE, NOON, Phone, Tenancy, World, initialized, on_postgres, opened

OF_TENANTS = sorted(table.name for table in metadata.tables.values() if "tenant_id" in table.c)
TODAY = NOON.date()


@pytest.fixture
def world(worlds: Callable[[str], AbstractContextManager[World]]) -> Iterator[World]:
    with worlds("postgresql") as world:
        yield world


@pytest.fixture(scope="module")
def secured(worlds: Callable[[str], AbstractContextManager[World]]) -> Iterator[World]:
    """For tests that look at what row level security and rights leave, and change none of them."""
    with worlds("postgresql") as world:
        yield world


@pytest.fixture
def two(secured: World) -> tuple[UUID, UUID]:
    """Two tenants with rows in every table, and no others."""
    secured.begin_anew()
    for tenancy in (secured.first, other := secured.tenant("Other")):
        tenancy.site()
        phone = tenancy.phone()
        assert phone.check_in(phone.claim()).status_code == 201
        assert phone.check_in(phone.claim(FAR_OUTSIDE)).status_code == 201
        _add_rights(tenancy)
    return secured.first.new.tenant.tenant_id, other.new.tenant.tenant_id


def _add_rights(tenancy: Tenancy) -> None:
    """A person who was erased while their check-ins, one of them exact, were held."""
    world, tenant_id = tenancy.world, tenancy.tenant_id
    limits = tenancy.admin.get("/v1/settings").json()
    tenancy.admin.put("/v1/settings", limits | {"max_level": "exact"})
    tenancy.purpose("dispute", level="exact")
    stays, gone = tenancy.phone(), tenancy.phone()
    for phone in (stays, gone):
        stored = phone.check_in(phone.claim(purpose="dispute")).json()["stored"]
        assert stored["level"] == "exact"
    hold = {"subject_id": gone.subject_id, "reason": "authority", "expires_on": "2026-12-31"}
    assert tenancy.admin.post("/v1/privacy/holds", hold).status_code == 201
    assert gone.post("/v1/device/erasure").status_code == 202
    world.services.erasures.eraser.finish_all(TODAY)
    later = TODAY + timedelta(days=100)
    world.write(tenant_id, lambda c: retention.count_expired(c, tenant_id, later))


@pytest.fixture
def phone_of_first(world: World) -> Phone:
    world.first.site()
    return world.first.phone()


@contextmanager
def login(world: World) -> Iterator[Session]:
    """As the server connects: with the database's own tools in the server's place."""
    assert world.settings.database_url is not None
    with session(world.settings.database_url) as held:
        yield held


def enter(held: Session, *tenant_ids: UUID) -> None:
    """Begin a transaction as the server does."""
    held.run("BEGIN")
    held.run("SELECT set_config('role', 'doorstep_app', true)")
    named = ",".join(str(tenant_id) for tenant_id in tenant_ids)
    held.run(f"SELECT set_config('doorstep.tenants', '{named}', true)")


def counts(held: Session) -> dict[str, int]:
    return {table: held.run(f"SELECT count(*) FROM {table}")[0][0] for table in OF_TENANTS}


# -- row level security ------------------------------------------------------------------------


def test_without_a_named_tenant_there_are_no_rows(secured: World, two: tuple[UUID, UUID]) -> None:
    everything = {t: secured.rows(f"SELECT count(*) FROM {t}")[0][0] for t in OF_TENANTS}
    assert all(everything.values()), f"a table without rows proves nothing: {everything}"
    with login(secured) as held:
        enter(held)
        assert set(counts(held).values()) == {0}


def test_only_rows_of_named_tenants_are_there(secured: World, two: tuple[UUID, UUID]) -> None:
    """One connection for all, as the smallest pool: what one transaction named ends with it."""
    everything = {t: secured.rows(f"SELECT count(*) FROM {t}")[0][0] for t in OF_TENANTS}
    with login(secured) as held:
        seen = []
        for named in ((two[0],), (two[1],), two, ()):
            enter(held, *named)
            found = {row[0] for t in OF_TENANTS for row in held.run(f"SELECT tenant_id FROM {t}")}
            assert found == set(named)
            seen.append(counts(held))
            held.run("COMMIT")
        first, second, both, none = seen
        assert {t: first[t] + second[t] for t in OF_TENANTS} == both == everything
        assert set(none.values()) == {0}


def test_a_connection_that_took_no_role_is_bound_as_well(
    secured: World, two: tuple[UUID, UUID]
) -> None:
    with login(secured) as held:
        assert set(counts(held).values()) == {0}
        with pytest.raises(InsufficientPrivilegeError):
            held.run("INSERT INTO sites VALUES ($1, $2, 1, NULL)", two[0], uuid4())


def test_a_row_of_another_tenant_is_not_written(secured: World, two: tuple[UUID, UUID]) -> None:
    mine, theirs = two
    with login(secured) as held:
        enter(held, mine)
        with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
            held.run("INSERT INTO sites VALUES ($1, $2, 1, NULL)", theirs, uuid4())
        held.run("ROLLBACK")
        enter(held, mine)
        held.run("UPDATE sites SET version = 7")
        held.run("DELETE FROM receipts")
        held.run("COMMIT")
    left = "SELECT count(*) FROM receipts WHERE tenant_id = "
    assert secured.rows(f"SELECT version FROM sites WHERE tenant_id = '{theirs}'") == [(1,)]
    assert secured.rows(f"{left}'{theirs}'") == [(3,)]
    assert secured.rows(f"{left}'{mine}'") == [(0,)]


def test_a_tenant_is_found_by_its_handle_and_by_no_other_way(secured: World) -> None:
    handle = secured.first.new.tenant.handle
    secured.tenant("Other")
    with login(secured) as held:
        enter(held)
        held.run(f"SELECT set_config('doorstep.handle', '{handle}', true)")
        assert held.run("SELECT handle FROM tenants") == [(handle,)]
        held.run("SELECT set_config('doorstep.handle', '', true)")
        assert held.run("SELECT handle FROM tenants") == []


def test_every_table_of_tenants_is_secured_and_binds_its_owner(secured: World) -> None:
    """From the catalog, so that a new table is covered on the day it is added."""
    found = secured.rows(
        "SELECT relname FROM pg_class c WHERE relrowsecurity AND relforcerowsecurity "
        "AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)"
    )
    assert sorted(name for (name,) in found) == OF_TENANTS


def test_the_role_may_do_what_the_server_does_and_no_more(secured: World) -> None:
    [attributes] = secured.rows(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin "
        "FROM pg_roles WHERE rolname = 'doorstep_app'"
    )
    assert not any(attributes)
    assert secured.rows(
        "SELECT count(*) FROM pg_class WHERE relowner = 'doorstep_app'::regrole"
    ) == [(0,)]
    for forbidden in (
        "UPDATE check_ins SET reason = 'inside'",
        "UPDATE check_ins SET token = token",
        "UPDATE receipts SET expires_on = expires_on",
        "UPDATE exact_positions SET sealed = sealed",
        "UPDATE held_check_ins SET sealed = sealed",
        "UPDATE legal_holds SET expires_on = expires_on",
        "DELETE FROM tallies",
        "UPDATE expired_counts SET count = 0",
        "DELETE FROM deployment",
        "TRUNCATE receipts",
        "DELETE FROM tenants",
        "UPDATE tenants SET name = 'x'",
        "UPDATE deployment SET keyring_id = keyring_id",
        "UPDATE alembic_version SET version_num = 'x'",
        "UPDATE deployment SET database_id = database_id",
        "CLUSTER devices USING pk_devices",
        "UPDATE site_versions SET name = 'x'",
        "SELECT * FROM check_ins_default",
        "SELECT * FROM check_ins_20260309",
        "ALTER TABLE sites DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (x integer)",
        "DROP TABLE check_ins_20260309",
    ):
        with login(secured) as held:
            enter(held, secured.first.new.tenant.tenant_id)
            with pytest.raises(InsufficientPrivilegeError):
                held.run(forbidden)


@pytest.mark.parametrize("name", ["tenants", "sites", "pg_authid", "check_ins", "check_ins_x"])
def test_the_role_has_no_other_table_written_anew(secured: World, name: str) -> None:
    with login(secured) as held:
        enter(held, secured.first.tenant_id)
        with pytest.raises(RaiseError, match="no such table"):
            held.run(f"SELECT doorstep_rewrite('{name}')")


def test_a_group_that_spans_tenants_names_exactly_them(world: World) -> None:
    """Phones of two tenants at once, so that groups mix; a third tenant looks on."""
    tenancies = [world.first, world.tenant("Second"), world.tenant("Third")]
    phones = []
    for tenancy in tenancies[:2]:
        tenancy.site()
        phones.append(tenancy.phone())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: phones[n % 2].check_in(phones[n % 2].claim()), range(40)))
    assert {answer.status_code for answer in answers} == {201}
    by_tenant = world.rows("SELECT tenant_id, count(*) FROM check_ins GROUP BY 1")
    ids = [tenancy.new.tenant.tenant_id for tenancy in tenancies]
    assert dict(by_tenant) == {ids[0]: 20, ids[1]: 20}


# -- who makes and who serves ------------------------------------------------------------------


def test_a_server_that_cannot_take_the_role_does_not_start(world: World) -> None:
    [(user,)] = sql(str(world.settings.database_url), "SELECT session_user")
    world.rows(f'REVOKE doorstep_app FROM "{user}"')
    with pytest.raises(AccessRefused, match="DOORSTEP_ADMIN_DATABASE_URL"):
        deployment.open_deployment(world.settings)
    answer = world.client.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    world.rows(f'GRANT doorstep_app TO "{user}"')
    assert world.client.get("/health/ready").status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE check_ins DISABLE ROW LEVEL SECURITY",
        "ALTER ROLE doorstep_app BYPASSRLS",
        "ALTER DATABASE {} SET default_transaction_read_only = on",
    ],
)
def test_a_server_that_nothing_binds_or_that_may_not_write_is_not_ready(
    world: World, statement: str
) -> None:
    assert world.client.get("/health/ready").status_code == 200
    [(name,)] = world.rows("SELECT current_database()")
    try:
        world.rows(statement.format(f'"{name}"'))
        # what was set for a database holds for new connections
        world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        # the first finds its connection gone, the second is on a new one
        for _ in range(2):
            assert world.client.get("/health/ready").status_code == 503
        assert world.client.get("/health/live").status_code == 200
    finally:
        if "BYPASSRLS" in statement:  # of all databases of the server
            sql(str(world.settings.admin_database_url), "ALTER ROLE doorstep_app NOBYPASSRLS")


def test_an_owner_need_not_be_a_superuser(
    postgres_server: Server, postgres_database: ScratchDatabase, tmp_path: Path
) -> None:
    """Where a superuser has made PostGIS, an owner who may make roles makes the rest.

    It is bound by row level security as everybody: it makes the schema, and reads nothing.
    """
    owner = f"doorstep_test_{uuid4().hex[:8]}"
    postgres_database.sql(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'x'")
    postgres_database.sql(f'ALTER DATABASE "{postgres_database.name}" OWNER TO {owner}')
    as_owner = postgres_server.url_of(postgres_database.name, owner, "x")
    settings = Settings(
        home=tmp_path / "home",
        database_url=postgres_database.url,
        admin_database_url=as_owner,
    )
    try:
        with opened(settings, initialized(settings)) as world:
            world.first.site()
            phone = world.first.phone()
            assert phone.check_in(phone.claim()).json()["outcome"] == "accepted"
            assert world.rows("SELECT count(*) FROM check_ins") == [(0,)]
            assert postgres_database.sql("SELECT count(*) FROM check_ins") == [(1,)]
            report = asyncio.run(_retention(settings, date(2026, 9, 1)))
            assert report.partitions_dropped > 0
        with deployment.closed_after(deployment.database(settings)) as database:
            database.administer(lambda c: migrate.downgrade(c, "0001"))
            database.administer(migrate.migrate)
    finally:
        postgres_database.sql(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
        postgres_database.sql(f"DROP OWNED BY {owner}")
        postgres_database.sql(f"DROP ROLE {owner}")


async def _retention(settings: Settings, today: date) -> Any:
    database, keyring = deployment.open_deployment(settings)
    try:
        return await retention_run(database, keyring, today)
    finally:
        await database.close()


def test_what_is_acknowledged_is_on_disk_whatever_the_server_is_set_to(world: World) -> None:
    [(name,)] = world.rows("SELECT current_database()")
    shown = text("SELECT current_setting('synchronous_commit')")
    for is_set, is_used in (("off", "on"), ("remote_apply", "remote_apply")):
        world.rows(f'ALTER DATABASE "{name}" SET synchronous_commit = {is_set}')
        # a new one: connections that are open already keep the setting that they began with
        with deployment.closed_after(deployment.database(world.settings)) as database:
            assert database.write_now(NOTHING, lambda c: c.execute(shown).scalar()) == is_used


def refused(settings: Settings, because: str, kind: type[Exception] = UnsupportedDatabase) -> None:
    with pytest.raises(kind, match=because):
        initialized(settings)
    assert not entries_at(settings).exists()


def test_a_database_that_cannot_hold_every_text_is_refused(
    own_cluster: Cluster, tmp_path: Path
) -> None:
    own_cluster.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    url = own_cluster.url("latin")
    refused(Settings(home=tmp_path, database_url=url), "ENCODING 'UTF8'")


def test_who_is_not_let_in_is_told_to_mend_the_url(own_cluster: Cluster, tmp_path: Path) -> None:
    url = own_cluster.url("postgres", "nobody-of-this-name")
    refused(Settings(home=tmp_path, database_url=url), "user or the password", LoginRefused)


def test_an_option_that_nobody_knows_is_told(own_cluster: Cluster, tmp_path: Path) -> None:
    url = own_cluster.url() + "&channel_binding=prefer"
    refused(Settings(home=tmp_path, database_url=url), "cannot be used")


def test_deployments_on_one_server_are_closed_to_each_other(
    postgres_server: Server, postgres_database: ScratchDatabase, tmp_path: Path
) -> None:
    """They share the role, which belongs to the whole server: so nobody else may connect at all."""
    stranger = f"doorstep_test_{uuid4().hex[:8]}"
    as_stranger = postgres_server.url_of(postgres_database.name, stranger, "x")
    initialized(on_postgres(tmp_path, postgres_database))
    postgres_database.sql(f"CREATE ROLE {stranger} LOGIN PASSWORD 'x' IN ROLE doorstep_app")
    try:
        with pytest.raises(InsufficientPrivilegeError, match="CONNECT"):
            sql(as_stranger, "SELECT 1")
        assert postgres_database.sql("SELECT 1", as_admin=False) == [(1,)]
    finally:
        postgres_database.sql(f"DROP ROLE {stranger}")


def test_functions_of_the_owner_are_bound(secured: World) -> None:
    """To the schema, so that nothing planted runs as the owner; and to a short wait."""
    functions = secured.rows("SELECT proconfig FROM pg_proc WHERE proname LIKE 'doorstep\\_%'")
    assert len(functions) == 7
    for (settings,) in functions:
        assert set(settings) == {"search_path=public, pg_temp", "lock_timeout=2s"}


def test_a_process_does_not_open_connections_without_end(world: World) -> None:
    """Many tenants' sites asked for at once: few are read at the same time."""
    reading, most, counting = 0, 0, threading.Lock()

    def count(connection: Connection) -> None:
        nonlocal reading, most
        with counting:
            reading += 1
            most = max(most, reading)
        connection.execute(text("SELECT pg_sleep(0.05)"))
        with counting:
            reading -= 1

    async def ask() -> None:
        database, _ = deployment.open_deployment(world.settings)
        await asyncio.gather(*(database.read_much(NOTHING, count) for _ in range(12)))
        await database.close()

    asyncio.run(ask())
    assert most <= DOING_MUCH


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def all_at_once(database: Database, statement: str) -> "asyncio.Future[list[Any]]":
    """On each connection of the pool."""

    def run(connection: Connection) -> Any:
        # as check-ins are written: of what SQLAlchemy is told it would notice by itself
        return driver.fetch(connection, statement, ())[0][0]

    return asyncio.gather(*(database.write(NOTHING, run) for _ in range(CONNECTIONS)))


def test_connections_that_ended_while_nobody_used_them_are_missed_by_nobody(world: World) -> None:
    """A server that was started anew, something between that cuts what is idle."""

    async def ask() -> None:
        database, _ = deployment.open_deployment(world.settings)
        before = await all_at_once(database, "SELECT pg_backend_pid() FROM pg_sleep(0.05)")
        assert len(set(before)) == CONNECTIONS
        await asyncio.to_thread(end, before)
        after = await all_at_once(database, "SELECT pg_backend_pid() FROM pg_sleep(0.05)")
        assert len(set(after)) == CONNECTIONS
        assert set(after).isdisjoint(before)
        await database.close()

    def end(backends: list[int]) -> None:
        listed = ", ".join(map(str, backends))
        world.rows(f"SELECT pg_terminate_backend(n) FROM unnest(ARRAY[{listed}]) AS n")
        alive = f"SELECT count(*) FROM pg_stat_activity WHERE pid IN ({listed})"
        wait_until(lambda: world.rows(alive) == [(0,)], "they ended")

    asyncio.run(ask())


@pytest.mark.parametrize("times", [1, 2])
def test_who_goes_away_leaves_a_connection_as_it_was(world: World, times: int) -> None:
    """Once in the middle of a statement; then perhaps while that is rolled back."""

    async def ask() -> None:
        database, _ = deployment.open_deployment(world.settings)
        waiting = asyncio.ensure_future(all_at_once(database, "SELECT pg_sleep(15)"))
        await asyncio.to_thread(wait_until, lambda: busy() == CONNECTIONS, "all of them wait")
        for _ in range(times):
            waiting.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        after = await all_at_once(database, "SELECT pg_backend_pid() FROM pg_sleep(0.05)")
        assert len(set(after)) == CONNECTIONS
        assert world.rows(f"{_OTHERS} AND state LIKE 'idle in transaction%'") == [(0,)]
        await database.close()

    def busy() -> int:
        return int(world.rows(f"{_OTHERS} AND wait_event = 'PgSleep'")[0][0])

    asyncio.run(ask())


# -- partitions and retention ------------------------------------------------------------------


def partitions(world: World) -> list[date]:
    """The weeks that have one."""
    names = world.rows(
        "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
        "WHERE inhparent = 'check_ins'::regclass AND relname <> 'check_ins_default' ORDER BY 1"
    )
    return [datetime.strptime(name[-8:], "%Y%m%d").date() for (name,) in names]  # noqa: DTZ007


def where_rows_are(world: World) -> set[str]:
    found = world.rows("SELECT DISTINCT tableoid::regclass::text FROM check_ins")
    return {name for (name,) in found}


def keep(world: World, today: date) -> Any:
    return asyncio.run(_retention(world.settings, today))


def test_partitions_are_there_eight_weeks_before_a_check_in_needs_them(world: World) -> None:
    keep(world, TODAY)
    weeks = partitions(world)
    assert weeks == [weeks[0] + timedelta(weeks=n) for n in range(len(weeks))]
    assert weeks[0] <= TODAY
    assert weeks[-1] + timedelta(days=6) >= TODAY + timedelta(days=60, weeks=8)
    assert all(week.isoweekday() == 1 for week in weeks)


def test_a_row_goes_into_its_week_and_what_is_further_ahead_into_the_default(
    world: World, phone_of_first: Phone
) -> None:
    phone = phone_of_first
    assert phone.check_in(phone.claim()).status_code == 201
    assert where_rows_are(world) == {"check_ins_20260504"}  # 60 days after 10 March is 9 May
    world.first.purpose("proof", retention_days=365)
    assert phone.check_in(phone.claim() | {"purpose": "proof"}).status_code == 201
    assert where_rows_are(world) == {"check_ins_20260504", "check_ins_default"}
    before = world.rows("SELECT * FROM check_ins ORDER BY id")
    assert keep(world, TODAY).partitions_made > 0
    assert where_rows_are(world) == {"check_ins_20260504", "check_ins_20270308"}
    assert world.rows("SELECT * FROM check_ins ORDER BY id") == before


def test_a_partition_is_dropped_when_all_in_it_has_expired(
    world: World, phone_of_first: Phone
) -> None:
    phone = phone_of_first
    phone.check_in(phone.claim())  # expires on Saturday, 9 May, in the week of the 4th
    assert keep(world, date(2026, 5, 9)).partitions_dropped > 0
    assert where_rows_are(world) == {"check_ins_20260504"}
    assert keep(world, date(2026, 5, 10)).partitions_dropped == 1
    assert where_rows_are(world) == set()
    assert partitions(world)[0] == date(2026, 5, 11)
    assert keep(world, date(2026, 5, 10)).partitions_dropped == 0


def test_who_asks_cannot_make_time_pass(world: World, phone_of_first: Phone) -> None:
    """The server's role may have expired partitions dropped; the database looks at the clock."""
    world.clock.now = datetime.now(UTC)
    phone_of_first.report("precise")
    assert phone_of_first.check_in(phone_of_first.claim()).status_code == 201
    with login(world) as held:
        enter(held)
        held.run("SELECT doorstep_drop_expired('2199-01-01')")
        held.run("COMMIT")
    assert world.rows("SELECT count(*) FROM check_ins") == [(1,)]


def test_expired_rows_in_the_default_go_as_well(world: World, phone_of_first: Phone) -> None:
    phone_of_first.check_in(phone_of_first.claim())
    phone_of_first.check_in(phone_of_first.claim())
    # in a week that is over when anybody looks after partitions again: it never gets one
    world.rows("UPDATE check_ins SET expires_on = '2026-01-15'")
    assert where_rows_are(world) == {"check_ins_default"}
    keep(world, date(2026, 2, 1))
    assert where_rows_are(world) == set()


def test_making_partitions_does_not_hold_up_check_ins_for_long(
    world: World, phone_of_first: Phone
) -> None:
    """A transaction that uses the table for long: the work gives up, and comes again later."""
    with session(str(world.settings.admin_database_url)) as other:
        other.run("BEGIN")
        other.run("SELECT count(*) FROM check_ins")
        with pytest.raises(DatabaseUnavailable, match="55P03"):
            keep(world, date(2026, 9, 1))
        assert phone_of_first.check_in(phone_of_first.claim()).status_code == 201
        other.run("COMMIT")
    assert keep(world, date(2026, 9, 1)).partitions_dropped > 0


def written_by(world: World) -> list[tuple[str, ...]]:
    """Transactions that wrote check-ins, in the order in which the rows lie."""
    return world.rows("SELECT xmin::text FROM check_ins ORDER BY ctid")


def sent_together(phone: Phone, count: int) -> None:
    claims = [phone.claim() for _ in range(count)]
    answer = phone.post("/v1/check-ins/batch", {"check_ins": claims})
    assert [item["status"] for item in answer.json()["results"]] == [201] * count


def test_when_a_day_is_over_no_row_shows_which_it_came_with(
    world: World, phone_of_first: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_together(phone_of_first, 3)
    assert phone_of_first.check_in(phone_of_first.claim()).status_code == 201
    assert len(set(written_by(world))) == 2
    before = world.rows("SELECT * FROM check_ins ORDER BY id")

    monkeypatch.setattr(mixing, "VERY_SMALL_BYTES", 0)
    assert keep(world, TODAY).check_ins_mixed == 0  # more may come today
    assert len(set(written_by(world))) == 2

    tomorrow = TODAY + timedelta(days=1)
    assert keep(world, tomorrow).check_ins_mixed == 4
    assert len(written_by(world)) == 4
    assert len(set(written_by(world))) == 1
    assert world.rows("SELECT * FROM check_ins ORDER BY id") == before
    by_place = world.rows("SELECT id FROM check_ins ORDER BY ctid")
    assert by_place == world.rows("SELECT id FROM check_ins ORDER BY id")
    assert keep(world, tomorrow).check_ins_mixed == 0


def test_while_a_day_lasts_its_rows_are_mixed_where_they_are_few(
    world: World, phone_of_first: Phone
) -> None:
    for together in (1, 2):
        sent_together(phone_of_first, together)
        sent_together(phone_of_first, 3)
        assert len(set(written_by(world))) >= 2
        assert keep(world, TODAY).check_ins_mixed == len(written_by(world))
        assert len(set(written_by(world))) == 1
    assert keep(world, TODAY).check_ins_mixed == 0


def test_nothing_is_left_of_what_the_rows_were_before(world: World, phone_of_first: Phone) -> None:
    sent_together(phone_of_first, 3)
    assert phone_of_first.check_in(phone_of_first.claim()).status_code == 201
    [(table,)] = world.rows("SELECT DISTINCT tableoid::regclass::text FROM check_ins")
    world.rows("CREATE EXTENSION pageinspect")
    looking = (
        "SELECT DISTINCT t_xmin::text, t_xmax::text FROM "
        f"generate_series(0, pg_relation_size('{table}') / 8192 - 1) AS page, "
        f"heap_page_items(get_raw_page('{table}', page::int))"
    )
    assert len(world.rows(looking)) == 2
    keep(world, TODAY + timedelta(days=1))
    assert world.rows(looking) == [(*written_by(world)[0], "0")]


def test_who_erases_a_row_that_is_being_mixed_finds_it_afterwards(
    world: World, phone_of_first: Phone
) -> None:
    sent_together(phone_of_first, 2)
    assert phone_of_first.check_in(phone_of_first.claim()).status_code == 201
    with session(str(world.settings.admin_database_url)) as mixing, login(world) as erasing:
        mixing.run("BEGIN")
        assert mixing.run(f"SELECT doorstep_mix('{TODAY + timedelta(days=60)}')") == [(3,)]
        enter(erasing, world.first.tenant_id)
        with ThreadPoolExecutor(1) as pool:
            deleted = pool.submit(erasing.run, "DELETE FROM check_ins RETURNING id")
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
            wait_until(lambda: bool(world.rows(waiting)), "the erasure waits")
            mixing.run("COMMIT")
            assert len(deleted.result()) == 3
        erasing.run("COMMIT")
    assert written_by(world) == []


def test_a_row_that_is_being_erased_is_not_waited_for(world: World, phone_of_first: Phone) -> None:
    sent_together(phone_of_first, 2)
    assert phone_of_first.check_in(phone_of_first.claim()).status_code == 201
    [(one,)] = world.rows("SELECT id FROM check_ins LIMIT 1")
    with session(str(world.settings.admin_database_url)) as mixing, login(world) as erasing:
        enter(erasing, world.first.tenant_id)
        erasing.run(f"DELETE FROM check_ins WHERE id = '{one}'")
        assert mixing.run(f"SELECT doorstep_mix('{TODAY + timedelta(days=60)}')") == [(2,)]
        erasing.run("COMMIT")


def test_one_process_at_a_time_does_such_work(world: World) -> None:
    database = world.services.database
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with ThreadPoolExecutor(1) as another:

        def held(connection: Connection) -> Any:
            retention.alone(connection)
            second = another.submit(database.write_now, NOTHING, retention.alone)
            wait_until(lambda: world.rows(waiting) == [(1,)], "the second waits")
            return second

        database.write_now(NOTHING, held).result()


# -- indexes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(worlds: Callable[[str], AbstractContextManager[World]]) -> Iterator[World]:
    """Enough rows that it matters how they are found."""
    with worlds("postgresql") as world:
        tenant_id = world.first.new.tenant.tenant_id
        world.first.site()
        phone = world.first.phone()
        assert phone.check_in(phone.claim()).status_code == 201
        world.rows(
            f"""
            WITH made AS (
                INSERT INTO sites SELECT '{tenant_id}', gen_random_uuid(), 1, NULL
                FROM generate_series(1, 20000) RETURNING *
            )
            INSERT INTO site_versions (tenant_id, site_id, version, name, shape, radius_m, extent,
                tolerance_m, assurance, max_accuracy_m, timezone, purposes, groups, active,
                valid_from)
            SELECT tenant_id, site_id, 1, 'x', place, 50, ST_Expand(place, 0.001), 0, 'standard',
                100, 'UTC', '[]', '[]', true, now()
            FROM (SELECT *, ST_SetSRID(ST_Point(random() * 340 - 170, random() * 160 - 80), 4326)
                  AS place FROM made) AS placed
            """
        )
        add_check_ins(world, 20_000, days=50)
        add_people(world, 20_000)
        world.rows("ANALYZE")
        yield world


def add_check_ins(world: World, count: int, days: int) -> None:
    """With a receipt each, like the one that there is, of so many days."""
    copied = "purpose, policy_version, legal_basis, level, site_id, site_version, action"
    world.rows(
        f"""
        INSERT INTO check_ins (tenant_id, expires_on, id, token, sealed, time, {copied},
            outcome, reason, evidence)
        SELECT tenant_id, expires_on - (n % {days}), gen_random_uuid(),
            uuid_send(gen_random_uuid()), sealed, time - n * interval '1 minute', {copied},
            outcome, reason, evidence
        FROM check_ins, generate_series(1, {count}) AS n
        """
    )
    world.rows(
        f"""
        INSERT INTO receipts SELECT '{world.first.tenant_id}', uuid_send(gen_random_uuid()),
            '\\x0000', DATE '2026-03-19' - n % 7, NULL, NULL
        FROM generate_series(1, {count}) AS n
        """
    )


def add_people(world: World, count: int) -> None:
    """With a device and a token each."""
    sealed = "uuid_send(gen_random_uuid())"
    world.rows(
        f"""
        WITH people AS (
            INSERT INTO subjects SELECT '{world.first.tenant_id}', gen_random_uuid(), {sealed}
            FROM generate_series(1, {count}) RETURNING *
        ), enrolled AS (
            INSERT INTO devices SELECT tenant_id, gen_random_uuid(), subject_id, {sealed},
                {sealed}, false FROM people RETURNING *
        )
        INSERT INTO device_tokens
        SELECT tenant_id, substr(md5(random()::text), 1, 16), device_id, {sealed}, false
        FROM enrolled
        """
    )


def plan(world: World, function: Callable[[Connection], object]) -> str:
    """How PostgreSQL runs a store function's statements, bound as the server is."""
    tenant_id = world.first.new.tenant.tenant_id
    plans: list[str] = []

    def collected(connection: Connection) -> None:
        with listening(connection) as statements:
            function(connection)
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", parameters)
            plans.extend(row[0] for row in rows)

    world.services.database.read_now(Reach.of(tenant_id), collected)
    return "\n".join(plans)


def test_searching_an_area_uses_its_index(full: World) -> None:
    tenant_id = full.first.new.tenant.tenant_id
    shown = plan(
        full,
        lambda c: sites.page_within(c, tenant_id, box(10, 10, 11, 11), after=None, limit=51),
    )
    assert "ix_site_versions_extent" in shown, shown


def test_without_the_owners_word_the_search_still_finds_what_is_there(full: World) -> None:
    """The index serves only what is known to leak nothing; a superuser has said so of `&&`."""
    tenant_id = full.first.new.tenant.tenant_id

    def look(connection: Connection) -> object:
        return sites.page_within(connection, tenant_id, box(10, 10, 40, 40), after=None, limit=500)

    with_index = full.read(tenant_id, look)
    full.rows("ALTER FUNCTION geometry_overlaps(geometry, geometry) NOT LEAKPROOF")
    try:
        assert "ix_site_versions_extent" not in plan(full, look)
        assert full.read(tenant_id, look) == with_index
    finally:
        full.rows("ALTER FUNCTION geometry_overlaps(geometry, geometry) LEAKPROOF")


def test_the_way_of_a_check_in_reads_no_table_from_end_to_end(full: World) -> None:
    tenant_id = full.first.new.tenant.tenant_id
    [(expires_on, check_in_id)] = full.rows("SELECT expires_on, id FROM check_ins LIMIT 1")
    shown = plan(
        full,
        lambda c: (
            check_ins._receipts(c, tenant_id, [random.randbytes(16) for _ in range(20)]),
            check_ins._stored(c, tenant_id, {(expires_on, check_in_id)}),
            check_ins.page(c, tenant_id, Filter(today=TODAY), before=None, limit=51),
            devices.standings(c, tenant_id, ["a" * 16]),
            devices.find_token(c, tenant_id, "a" * 16),
        ),
    )
    scanned = {
        line.split(" on ")[1].split()[0] for line in shown.splitlines() if "Seq Scan" in line
    }
    assert scanned == set(), shown


def test_tokens_are_looked_up_one_by_one_before_there_are_statistics(world: World) -> None:
    """In a new deployment's first minute, and all minutes of a server that gathers none."""
    add_people(world, 2_000)
    shown = plan(
        world,
        lambda c: (
            devices.standings(c, world.first.tenant_id, ["a" * 16] * 20),
            devices.find_token(c, world.first.tenant_id, "a" * 16),
        ),
    )
    used = [line.split(" using ")[1].split()[0] for line in shown.splitlines() if "Scan us" in line]
    assert used == ["pk_device_tokens", "pk_devices", "pk_subjects"] * 2, shown


def test_plans_of_tables_that_were_empty_are_not_kept(world: World) -> None:
    """A connection keeps plans; until there are statistics nothing but time makes it plan anew."""
    tenant, phone = world.first, (world.first.site(), world.first.phone())[1]
    assert phone.check_in(phone.claim()).status_code == 201
    keys = tenant.keys_of(phone.subject_id)
    expires_on = world.clock.now.date() + timedelta(days=60)

    def look(connection: Connection) -> None:
        series = [TokenSeries(keys, f"purpose {n}", expires_on) for n in range(20)]
        tokens.next_tokens(connection, tenant.tenant_id, series, NextNumbers())
        receipt_keys = [random.randbytes(16) for _ in range(20)]
        check_ins._receipts(connection, tenant.tenant_id, receipt_keys)
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")

    def look_often() -> None:
        # always on the same connection
        for _ in range(16):
            world.services.database.read_now(Reach.of(tenant.tenant_id), look)

    def read() -> int:
        """Rows that were gone through."""
        [(count,)] = world.rows(
            "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes "
            "WHERE relname LIKE 'check\\_ins%' OR relname = 'receipts'"
        )
        return int(count)

    look_often()
    add_check_ins(world, 20_000, days=1)
    look_often()
    before = read()
    look_often()
    assert read() - before < 20_000


def test_a_retry_looks_into_one_partition(full: World) -> None:
    tenant_id = full.first.new.tenant.tenant_id
    places = {
        (day, check_in_id)
        for day, check_in_id in full.rows(
            "SELECT expires_on, id FROM check_ins WHERE expires_on = "
            "(SELECT max(expires_on) FROM check_ins) LIMIT 3"
        )
    }
    shown = plan(full, lambda c: check_ins._stored(c, tenant_id, places))
    partitions = {word for word in shown.split() if word.startswith("check_ins_2")}
    assert len({partition.partition("_pkey")[0] for partition in partitions}) == 1, shown


def test_the_log_of_the_database_leaves_out_what_statements_carry(
    postgres_database: ScratchDatabase, tmp_path: Path
) -> None:
    """As a superuser has said for every connection to it: the server itself may not say so."""
    initialized(on_postgres(tmp_path / "home", postgres_database))
    for setting, value in (
        ("log_parameter_max_length", "0"),
        ("log_parameter_max_length_on_error", "0"),
        ("log_error_verbosity", "terse"),
    ):
        assert postgres_database.sql(f"SHOW {setting}", as_admin=False) == [(value,)]
