"""The tools that break PostgreSQL do what tests rely on them for."""

import asyncio
import os
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from postgres import Cluster, Proxy, ScratchDatabase, Server, session, sql, wait_until


@pytest.fixture
def visits(postgres_database: ScratchDatabase) -> ScratchDatabase:
    """A database with a table that the application may fill."""
    postgres_database.sql("CREATE TABLE visits (id int PRIMARY KEY)")
    postgres_database.sql("GRANT SELECT, INSERT ON visits TO PUBLIC")
    return postgres_database


@pytest.fixture
def proxy(visits: ScratchDatabase) -> Iterator[Proxy]:
    with Proxy(visits.admin_url) as proxy:
        yield proxy


def stored(database: ScratchDatabase) -> list[int]:
    return [row[0] for row in database.sql("SELECT id FROM visits ORDER BY id")]


def insert(url: str, visit: int) -> None:
    """As the application does: asyncpg's own transaction commits by a simple query."""

    async def inserted() -> None:
        connection = await asyncpg.connect(url, timeout=30)
        try:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute("INSERT INTO visits VALUES ($1)", visit)
        finally:
            connection.terminate()

    asyncio.run(inserted())


def insert_by_statements(url: str, visit: int) -> None:
    """Every statement prepared, COMMIT too."""
    with session(url) as held:
        held.run("BEGIN")
        held.run("INSERT INTO visits VALUES ($1)", visit)
        held.run("COMMIT")


@pytest.mark.parametrize("way", [insert, insert_by_statements])
def test_a_commit_whose_answer_is_cut_off_is_in_the_database(
    way: Callable[[str, int], None], visits: ScratchDatabase, proxy: Proxy
) -> None:
    url = proxy.through(visits.url)
    cut = proxy.cut_after_commit()
    with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        way(url, 1)
    assert cut.wait(10)
    assert (proxy.cuts, stored(visits)) == (1, [1])
    way(url, 2)
    assert (proxy.cuts, stored(visits)) == (1, [1, 2])


def test_only_a_real_commit_is_cut(visits: ScratchDatabase, proxy: Proxy) -> None:
    """Not words that look like one, not a COMMIT that rolls back."""
    cut = proxy.cut_after_commit()
    with session(proxy.through(visits.url)) as held:
        assert held.run("SELECT 'COMMIT'") == [("COMMIT",)]
        held.run("BEGIN ISOLATION LEVEL READ COMMITTED")
        with pytest.raises(asyncpg.UndefinedTableError):
            held.run("SELECT * FROM nowhere")
        held.run("COMMIT")
        assert not cut.is_set()


def test_what_is_large_passes_the_proxy_both_ways(visits: ScratchDatabase, proxy: Proxy) -> None:
    large = "0123456789abcdef" * 500_000
    assert sql(proxy.through(visits.url), "SELECT $1::text", large) == [(large,)]


def test_the_proxy_cuts_what_is_open_and_refuses_what_is_new(
    visits: ScratchDatabase, proxy: Proxy
) -> None:
    url = proxy.through(visits.url)
    with session(url) as held:
        proxy.refuse()
        assert held.run("SELECT 1") == [(1,)]
        with pytest.raises(ConnectionRefusedError):
            sql(url, "SELECT 1")
        proxy.cut_all()
        assert proxy.connections == 0
        with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            held.run("SELECT 1")
    proxy.allow()
    assert sql(url, "SELECT 1") == [(1,)]


def test_a_test_can_hold_a_lock_and_see_another_wait(visits: ScratchDatabase) -> None:
    with visits.session() as one, visits.session(as_admin=False) as other:
        one.run("BEGIN")
        one.run("INSERT INTO visits VALUES (1)")
        waiting = other.start("INSERT INTO visits VALUES (1) ON CONFLICT DO NOTHING RETURNING id")
        waits = "SELECT true FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'"
        wait_until(lambda: visits.sql(waits, other.pid) == [(True,)], "the other waits")
        one.run("COMMIT")
        assert waiting.result(30) == []


def test_sql_runs_inside_of_a_running_loop_too(visits: ScratchDatabase) -> None:
    async def asked() -> list[tuple[object, ...]]:
        return visits.sql("SELECT 1")

    assert asyncio.run(asked()) == [(1,)]


def test_the_application_has_no_privilege_and_postgis_is_there(
    postgres_server: Server, postgres_database: ScratchDatabase
) -> None:
    rows = postgres_database.sql(
        "SELECT current_user::text, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb"
        " FROM pg_roles WHERE rolname = current_user",
        as_admin=False,
    )
    assert rows == [(postgres_server.login, False, False, False, False)]
    assert postgres_database.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [
        (True,)
    ]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        postgres_database.sql("CREATE TABLE mine (id int)", as_admin=False)
    nearby = "SELECT ST_DWithin('POINT(0 0)'::geography, 'POINT(0 0.001)'::geography, 200)"
    assert postgres_database.sql(nearby, as_admin=False) == [(True,)]


def test_databases_are_apart_and_go_away(postgres_server: Server) -> None:
    one, other = postgres_server.new_database(), postgres_server.new_database()
    try:
        one.sql("CREATE TABLE mine (id int)")
        assert other.sql("SELECT to_regclass('mine')::text") == [(None,)]
        with one.session(as_admin=False):
            postgres_server.drop(one)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            one.sql("SELECT 1")
    finally:
        postgres_server.drop(other)


@pytest.mark.parametrize("own_cluster", [{"fsync": "on"}], indirect=True)
def test_a_killed_server_recovers_what_was_committed(own_cluster: Cluster) -> None:
    own_cluster.sql("CREATE TABLE visits (id int)")
    assert own_cluster.sql("SHOW fsync") == [("on",)]
    with session(own_cluster.url()) as open_:
        open_.run("BEGIN")
        open_.run("INSERT INTO visits VALUES (2)")
        own_cluster.sql("INSERT INTO visits VALUES (1)")
        own_cluster.kill()
        assert not own_cluster.running
    with pytest.raises(OSError, match=os.strerror(2)):
        own_cluster.sql("SELECT 1")
    own_cluster.start()
    assert own_cluster.sql("SELECT id FROM visits") == [(1,)]
    assert "was not properly shut down; automatic recovery" in own_cluster.log.read_text()


def test_a_standby_serves_reads_and_refuses_writes(own_cluster: Cluster) -> None:
    own_cluster.sql("CREATE TABLE visits (id int)")
    with own_cluster.standby() as standby:
        own_cluster.sql("INSERT INTO visits VALUES (1)")
        standby.catch_up()
        assert standby.sql("SELECT id FROM visits") == [(1,)]
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            standby.sql("INSERT INTO visits VALUES (2)")


def test_backends_end_and_the_server_restarts(own_cluster: Cluster) -> None:
    with session(own_cluster.url("template1")) as held:
        assert own_cluster.terminate_backends("template1") == 1
        # asyncpg may be in the middle of reading that it was ended
        ended = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
        with pytest.raises((OSError, *ended)):
            held.run("SELECT 1")
    own_cluster.restart()
    assert own_cluster.sql("SELECT 1") == [(1,)]
