"""The issue's story, as somebody with curl would live it: a real server, real HTTP."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from served import Served, serving
from world import DATABASES, FAR_OUTSIDE, INSIDE, SQUARE


@pytest.fixture(scope="module", params=DATABASES)
def server(
    request: pytest.FixtureRequest,
    environments: Callable[[str], dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("story") / "home"
    with serving(home, environment=environments(request.param)) as server:
        body = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
        assert server.call("POST", "/v1/sites", body)[0] == 201
        yield server


def claim(place: dict[str, float], **members: Any) -> dict[str, Any]:
    fix = {**place, "accuracy_m": 8, "captured_at": datetime.now(UTC).isoformat()}
    return {"id": str(uuid4()), "purpose": "visit", "fix": fix, **members}


def test_a_check_in_from_first_to_last(server: Served) -> None:
    token = server.token()

    def check_in(body: dict[str, Any]) -> tuple[int, Any]:
        return server.call("POST", "/v1/check-ins", body, token)

    def report(state: str, sequence: int) -> int:
        body = {"state": state, "sequence": sequence, "observed_at": "2026-01-01T00:00:00Z"}
        return server.call("PUT", "/v1/device/permission", body, token)[0]

    def mine() -> int:
        return len(server.call("GET", "/v1/check-ins", token=token)[1]["items"])

    first = claim(INSIDE)
    status, accepted = check_in(first)
    assert (status, accepted["outcome"], accepted["stored"]["level"]) == (201, "accepted", "site")
    assert check_in(first) == (201, accepted)
    status, refused = check_in(first | {"action": "out"})
    assert (status, refused["code"]) == (422, "id-reused")
    status, rejected = check_in(claim(FAR_OUTSIDE))
    assert (status, rejected["outcome"], rejected["stored"]["level"]) == (201, "rejected", "none")
    assert mine() == 1
    assert report("denied", 2) == 200
    status, withdrawn = check_in(claim(INSIDE))
    assert (status, withdrawn["code"]) == (403, "permission-withdrawn")
    assert mine() == 1
    assert report("precise", 3) == 200
    assert check_in(claim(INSIDE, permission_epoch=2))[1]["outcome"] == "accepted"
    assert mine() == 2


def test_fifty_identical_posts_at_once_make_one_row(server: Served) -> None:
    token, body = server.token(), claim(INSIDE)
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: server.call("POST", "/v1/check-ins", body, token), range(50))
        )
    assert answers == [answers[0]] * 50
    assert answers[0][0] == 201
    assert len(server.call("GET", "/v1/check-ins", token=token)[1]["items"]) == 1


@pytest.mark.parametrize("database", DATABASES)
def test_the_log_names_requests_by_route_and_code_only(
    database: str, environments: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    """Read when the server has ended: a line is written after its request was answered."""
    environment = environments(database)
    with serving(tmp_path / "home", environment=environment) as server:
        token = server.token()
        secret = token.rpartition("_")[2]
        canary = uuid4().hex
        server.call("GET", f"/v1/sites/{uuid4()}?{canary}=1")
        server.call("POST", f"/{canary}", {"x": canary}, token)
        server.call("POST", "/v1/check-ins", claim(INSIDE, site_id=f"x{canary}"), token)
    text = server.log.read_text()
    assert '"route":"/v1/check-ins"' in text
    assert '"code":"invalid-body"' in text
    for leaked in (canary, secret, "127.0.0.1", str(INSIDE["lat"]), *environment.values()):
        assert leaked not in text
