"""PostgreSQL that restarts, crashes, goes away, or takes away rights under a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from doorstep_server.store.postgres import CONNECTIONS, DOING_MUCH, FOLLOWING
from doorstep_server.store.reach import APP_ROLE
from dying import Commands
from postgres import Cluster, Proxy, Session, aimed, urlsplit, wait_until
from served import free_port
from troubled import Deployed, Troubled, claim, until_taken, variables

#: within which a server finds its database again
RECOVERY_S = 5
PARALLEL = 4 * CONNECTIONS
#: connections of a server that is not at fault; one is for groups
MOST = CONNECTIONS + DOING_MUCH + FOLLOWING + 1


@contextmanager
def checking_in(server: Troubled, people: int = 4) -> Iterator[list[tuple[str, int]]]:
    """Phones that check in all the time: what they sent and what they were answered.

    An answer that is none of 201 and 503 ends the test.
    """
    answers: list[tuple[str, int]] = []
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            body = claim()
            answer = server.check_in(body)
            assert answer.status in {201, 503}
            answers.append((body["id"].replace("-", ""), answer.status))

    with ThreadPoolExecutor(people) as threads:
        phones = [threads.submit(go_on) for _ in range(people)]
        try:
            yield answers
        finally:
            over.set()
        for phone in phones:
            phone.result()


def taken(answers: list[tuple[str, int]]) -> set[str]:
    return {check_in for check_in, status in answers if status == 201}


def refusals(answers: list[tuple[str, int]]) -> int:
    return sum(status == 503 for _, status in answers)


def backends(deployed: Deployed, admin: Session) -> int:
    """Connections of the server, as the database sees them."""
    assert deployed.database is not None
    login = urlsplit(deployed.database.url).username
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = $2"
    [(number,)] = admin.run(query, deployed.database.name, login)
    return int(number)


def assert_pool_is_whole(server: Troubled) -> None:
    """More at the same time than there are connections: all are served, by no more than those."""
    deployed = server.deployed
    assert deployed.database is not None
    requests = [
        *[lambda: server.get("/v1/sites")] * PARALLEL,
        *[lambda: server.ready] * PARALLEL,
    ]
    with deployed.database.session() as admin, ThreadPoolExecutor(PARALLEL) as threads:
        # what was cut off is over in a moment
        wait_until(lambda: backends(deployed, admin) <= MOST, "no connection leaked")
        under_way = [threads.submit(request) for request in requests]
        most = 0
        while not all(request.done() for request in under_way):
            most = max(most, backends(deployed, admin))
        assert {request.result() for request in under_way} == {200}
        assert {a.status for a in threads.map(lambda _: server.check_in(), requests)} == {201}
        assert 0 < most <= MOST


def restart(cluster: Cluster, _: Deployed) -> None:
    cluster.restart()


def terminate(cluster: Cluster, deployed: Deployed) -> None:
    assert deployed.database is not None
    assert cluster.terminate_backends(deployed.database.name) > 0


def crash(cluster: Cluster, _: Deployed) -> None:
    cluster.kill()
    cluster.start()


@pytest.mark.parametrize("fault", [restart, terminate, crash])
def test_what_was_acknowledged_survives_and_the_server_recovers_by_itself(
    fault: Callable[[Cluster, Deployed], None], cluster: Cluster, on_cluster: Deployed
) -> None:
    before = set(on_cluster.stored())
    with on_cluster.serving() as server:
        with checking_in(server) as answers:
            wait_until(lambda: len(taken(answers)) > 40, "check-ins are taken")
            fault(cluster, on_cluster)
            back, so_far = time.monotonic(), len(answers)
            assert server.live == 200
            wait_until(lambda: bool(taken(answers[so_far + 8 :])), "check-ins are taken again")
            assert time.monotonic() - back < RECOVERY_S
        # between two groups, another connection is taken
        assert fault is terminate or refusals(answers) > 0
        assert_pool_is_whole(server)
        stored = on_cluster.stored()
        assert len(set(stored)) == len(stored)
        assert before | taken(answers) <= set(stored)
        assert server.ready == 200


def test_a_database_that_is_away_is_told_once_and_again_when_it_is_back(
    cluster: Cluster, on_cluster: Deployed
) -> None:
    with on_cluster.serving() as server:
        until_taken(server)
        cluster.stop()
        for _ in range(3):
            assert server.check_in().status == 503
            assert server.ready == 503
            assert server.get("/v1/sites") == 503
            assert server.own_check_ins() == 503
            assert server.live == 200
        wait_until(lambda: "database-unavailable" in events(server), "it was told")
        asked = time.monotonic()
        # it is asked four times a second all the while
        wait_until(lambda: time.monotonic() - asked > 1, "it was asked again and again")
        cluster.start()
        wait_until(lambda: "database-available" in events(server), "it was told that it is back")
        assert events(server).count("database-unavailable") == 1
        assert server.failures() == []
        # and each request that was refused for it says why
        refused = [line for line in server.log() if line.get("route") == "/v1/sites"]
        assert {line.get("cause") for line in refused if line["status"] == 503} <= {
            "cannot be reached",
            *(f"SQLSTATE {state}" for state in ("08003", "57P01", "57P03")),
        }
        until_taken(server)
        assert_pool_is_whole(server)


def events(server: Troubled) -> list[str]:
    return [str(line["event"]) for line in server.log()]


def test_a_commit_whose_answer_was_cut_off_is_answered_when_it_is_sent_again(
    on_cluster: Deployed,
) -> None:
    assert on_cluster.database is not None
    with Proxy(on_cluster.database.admin_url) as proxy:
        through = replace(
            on_cluster,
            where=variables(on_cluster.database, proxy.through(on_cluster.database.url)),
        )
        with through.serving() as server:
            until_taken(server)
            body = claim()
            before = len(through.stored())
            cut = cut_when_inserting(proxy, server, body)
            assert cut
            assert len(through.stored()) == before + 1
            again = server.check_in(body)
            assert (again.status, again.headers["Doorstep-Replayed"]) == (201, "true")
            assert again.body["id"] == body["id"]
            assert server.check_in(body).content == again.content
            assert len(through.stored()) == before + 1
            assert body["id"].replace("-", "") in through.stored()
            proxy.refuse()
            proxy.cut_all()
            assert server.check_in().status == 503
            assert server.live == 200
            proxy.allow()
            until_taken(server)
            assert_pool_is_whole(server)


def cut_when_inserting(proxy: Proxy, server: Troubled, body: dict[str, object]) -> bool:
    """Send a check-in whose commit happens and is never heard of."""
    proxy.cut_after_commit(100)
    answer = server.check_in(body)
    proxy.cut_after_commit(0)
    return answer.status == 503


def test_a_standby_is_read_from_and_not_written_to(cluster: Cluster, on_cluster: Deployed) -> None:
    database = on_cluster.database
    assert database is not None
    with cluster.standby() as standby:
        login = str(urlsplit(database.url).username)
        url = aimed(standby.url(), database=database.name, user=login)
        on_standby = replace(on_cluster, where=variables(database, url))
        with on_standby.serving(until="/health/live") as server:
            assert server.get("/v1/sites") == 200
            assert server.own_check_ins() == 200
            assert server.ready == 503
            assert server.live == 200
            for _ in range(2):
                assert server.check_in().status == 503
            site = server.ask("POST", "/v1/subjects", {"external_id": "x"})
            assert site.status == 503
            assert len(on_cluster.stored()) == 1


def test_a_right_that_is_taken_away_is_told_until_it_is_given_back(on_cluster: Deployed) -> None:
    database = on_cluster.database
    assert database is not None
    login = urlsplit(database.url).username
    with on_cluster.serving() as server:
        until_taken(server)
        database.sql(f'REVOKE {APP_ROLE} FROM "{login}"')
        try:
            for _ in range(2):
                assert server.check_in().status == 503
                assert server.ready == 503
            assert server.live == 200
            assert "is missing" in on_cluster.refusal("serve", "--port", str(free_port()))
        finally:
            database.sql(f'GRANT {APP_ROLE} TO "{login}"')
        assert server.check_in().status == 201
        assert server.ready == 200
        assert_pool_is_whole(server)


def test_a_server_that_row_level_security_does_not_bind_is_not_ready(on_cluster: Deployed) -> None:
    database = on_cluster.database
    assert database is not None
    with on_cluster.serving() as server:
        database.sql("ALTER TABLE check_ins DISABLE ROW LEVEL SECURITY")
        assert server.ready == 503
        assert server.live == 200
        database.sql("ALTER TABLE check_ins ENABLE ROW LEVEL SECURITY")
        assert server.ready == 200
        assert server.check_in().status == 201


def test_what_cannot_be_reached_is_told_in_a_sentence_at_the_start(
    cluster: Cluster, on_cluster: Deployed, doorstep: Commands
) -> None:
    cluster.stop()
    # the whole way once; the others by a shorter one
    said = on_cluster.refusal("serve", "--port", str(free_port()))
    assert "The database cannot be used now" in said
    for command in (["migrate"], ["init"], ["tenants", "list"]):
        done = doorstep.run(on_cluster.home, *command, where=on_cluster.where)
        assert on_cluster.told(done.status, done.output) == said
    cluster.start()
    with on_cluster.serving() as server:
        assert server.check_in().status == 201
