"""Two nodes on one PostgreSQL: directly, and through pgbouncer in transaction mode."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from uuid import UUID

import pytest
from sqlalchemy import text

from conftest import require
from doorstep_server.store.opening import database_at
from doorstep_server.store.reach import OWNER
from pgbouncer import Pgbouncer, pooled, why_no_pgbouncer
from postgres import ScratchDatabase, Server, wait_until
from served import Served, init, serving
from troubled import claim
from world import SQUARE


@dataclass(frozen=True)
class Nodes:
    """Two servers with homes of their own; what they share is the database and the keyring."""

    one: Served
    other: Served
    database: ScratchDatabase

    def stored(self) -> set[str]:
        return {str(row[0]) for row in self.database.sql("SELECT id FROM check_ins")}


@contextmanager
def nodes(server: Server, folder: Path, bouncer: Pgbouncer | None) -> Iterator[Nodes]:
    database, keyring = server.new_database(), server.new_database()

    def way(url: str) -> str:
        return url if bouncer is None else bouncer.through(url)

    variables = {
        "DOORSTEP_DATABASE_URL": way(database.url),
        "DOORSTEP_ADMIN_DATABASE_URL": database.admin_url,
        "DOORSTEP_KEYRING": way(keyring.admin_url),
        "DOORSTEP_KEYRING_ROOT": f"file://{folder}/keyring.root",
    }
    key = init(folder / "one", variables)
    with ExitStack() as running:
        one, other = (
            running.enter_context(
                serving(folder / name, api_key=key, environment=variables, workers=workers)
            )
            for name, workers in (("one", 1), ("other", 2))
        )
        yield Nodes(one, other, database)


@pytest.fixture(scope="module", params=["directly", "pgbouncer"])
def two(
    request: pytest.FixtureRequest,
    postgres_server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    if request.param == "directly":
        with nodes(postgres_server, folder, None) as found:
            yield found
        return
    require(why_no_pgbouncer())
    with (
        pooled(postgres_server) as bouncer,
        nodes(postgres_server, folder, bouncer) as found,
    ):
        yield found


def test_a_change_at_one_node_is_seen_at_the_other(two: Nodes) -> None:
    """Sites, devices, keys: by every worker, whoever was asked before."""
    one, other = two.one, two.other
    site = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
    status, made = one.call("POST", "/v1/sites", site)
    assert status == 201
    token = one.token()

    def check_in() -> int:
        return other.call("POST", "/v1/check-ins", claim(site_id=made["id"]), token)[0]

    wait_until(lambda: {check_in() for _ in range(8)} == {201}, "the site is known")
    _, new = one.call("POST", "/v1/api-keys", {"name": "x", "scopes": ["sites:read"]})
    assert {other.call("GET", "/v1/sites", token=new["api_key"])[0] for _ in range(8)} == {200}
    assert one.call("DELETE", f"/v1/api-keys/{new['id']}")[0] == 204

    def revoked() -> bool:
        answers = [other.call("GET", "/v1/sites", token=new["api_key"])[0] for _ in range(8)]
        return set(answers) == {401}

    wait_until(revoked, "the key is revoked")
    device = other.call("GET", "/v1/device", token=token)[1]["device_id"]
    assert one.call("DELETE", f"/v1/devices/{device}")[0] == 204
    # at once: whether a device may act is read where it acts
    assert check_in() == 401


def test_a_node_that_is_killed_takes_nothing_acknowledged_with_it(two: Nodes) -> None:
    """Of both; and a claim that was sent to one is a replay at the other."""
    token = two.one.token()
    taken: list[str] = []
    unanswered: list[dict[str, object]] = []

    def go_on(node: Served) -> None:
        while True:
            body = claim()
            try:
                status, _ = node.call("POST", "/v1/check-ins", body, token)
            except (URLError, HTTPException, OSError):
                unanswered.append(body)
                return
            if status == 201:
                taken.append(body["id"])

    with ThreadPoolExecutor(4) as threads:
        phones = [threads.submit(go_on, two.one) for _ in range(4)]
        wait_until(lambda: len(taken) > 60, "check-ins are taken")
        two.one.kill()
        for phone in phones:
            phone.result()
    assert {str(UUID(i)) for i in taken} <= two.stored()
    for body in unanswered:
        assert two.other.call("POST", "/v1/check-ins", body, token)[0] == 201
    stored = [str(row[0]) for row in two.database.sql("SELECT id FROM check_ins")]
    assert len(stored) == len(set(stored))
    assert {str(UUID(str(body["id"]))) for body in unanswered} <= set(stored)


def test_without_being_told_of_pgbouncer_statements_are_not_found(postgres_server: Server) -> None:
    """So the other tests show something."""
    require(why_no_pgbouncer())
    database = postgres_server.new_database()

    async def ask(url: str) -> int:
        """How many of many transactions failed."""
        opened = database_at(url)

        def work(connection) -> None:
            for number in range(5):
                found = connection.execute(text(f"SELECT {number} + :more"), {"more": 1}).scalar()
                assert found == number + 1

        try:
            done = await asyncio.gather(
                *(opened.write(OWNER, work) for _ in range(40)), return_exceptions=True
            )
        finally:
            await opened.close()
        return sum(isinstance(result, Exception) for result in done)

    with pooled(postgres_server) as bouncer:
        assert asyncio.run(ask(bouncer.through(database.url, says_so=False))) > 0
        assert asyncio.run(ask(bouncer.through(database.url))) == 0
