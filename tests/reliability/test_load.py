"""The load test itself works: a few seconds of each shape, in processes of its own (gevent)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from doorstep_server.demo.child import free_port
from postgres import wait_until
from served import Served, serving
from shapes import SHAPES

LOADTESTS = Path(__file__).parents[2] / "loadtests"
ROUTES = {
    "/v1/check-ins",
    "/v1/check-ins/batch",
    "/v1/device",
    "/v1/device/permission",
    "/v1/enrollments",
    "/v1/sites",
    "/v1/sites/{site_id}",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load")


@pytest.fixture(scope="module")
def loaded(out: Path) -> str:
    """All shapes."""
    options = ["--shape", "all", "--users", "4", "--spawn-rate", "10", "--run-time", "4s"]
    # how fast anything is is not looked at
    options += ["--p99-ms", "600000"]
    done = subprocess.run(
        [sys.executable, str(LOADTESTS / "run.py"), *options, "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_answer_has_its_row_and_every_row_its_answer(loaded: str) -> None:
    assert "ok   acknowledged but missing = 0: 0" in loaded
    assert "ok   double = 0: 0" in loaded
    assert "ok   stored but never acknowledged = 0: 0" in loaded
    found = re.search(r"check-ins were stored: (\d+) acknowledged, (\d+) rows", loaded)
    assert found is not None
    # those that were offline sent fifty each
    assert int(found[1]) == int(found[2]) > 50


@pytest.mark.usefixtures("postgres_server")
def test_it_runs_on_postgresql_as_well() -> None:
    options = ["--database", "postgresql", "--users", "2", "--run-time", "2s"]
    tests = str(LOADTESTS.parent / "tests")
    done = subprocess.run(
        [sys.executable, str(LOADTESTS / "run.py"), *options, "--p99-ms", "600000"],
        env={**os.environ, "PYTHONPATH": tests},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   acknowledged but missing = 0: 0" in done.stdout


def test_requests_are_named_by_their_routes_only(loaded: str) -> None:
    named = dict.fromkeys(re.findall(r"^(?:POST|PUT|GET)[^/]*(/\S*) ", loaded, re.MULTILINE))
    assert set(named) == ROUTES


def test_each_shape_has_its_users_and_its_reports(loaded: str, out: Path) -> None:
    for name, shape in SHAPES.items():
        assert f"{name}: {shape.title}" in loaded
        assert "<html" in (out / name / "report.html").read_text()
        told = (out / name / "stats_stats.csv").read_text()
        assert "/v1/check-ins" in told
    kinds = re.findall(r'"(\w+)": [1-9]', loaded)
    assert set(kinds) == {user for shape in SHAPES.values() for user in shape.users}
    # a withdrawal was answered, and what came then was refused
    assert "POST 403,/v1/check-ins," in (out / "withdrawals" / "stats_stats.csv").read_text()
    flood = (out / "flood" / "stats_stats.csv").read_text()
    assert "POST (quiet),/v1/check-ins," in flood
    assert "POST 429,/v1/check-ins," in flood


# --- gates ---------------------------------------------------------------------------------------

#: Locust patches what it is imported into: so this is a process of its own
INSIDE = """
import json
from types import SimpleNamespace
import gates
from doorstep import Request, Response, Timeout
from locust.stats import RequestStats
from measured import Measured

def kept(shape, p99_ms, errors=0, refused=True):
    stats = RequestStats()
    for milliseconds in range(1, 101):
        stats.log_request("POST", "/v1/check-ins", milliseconds * 10, 1)
        stats.log_request("POST (quiet)", "/v1/check-ins", 5, 1)
        if refused:
            stats.log_request("POST 429", "/v1/check-ins", 100_000, 1)
    for _ in range(errors):
        stats.log_error("POST", "/v1/check-ins", "500")
    chosen = SimpleNamespace(shape=shape, p99_ms=p99_ms, gate_error_share=-1.0)
    return all(gate.holds for gate in gates.of_stats(stats, chosen))

told = []
def fire(request_type, name, exception, **_):
    told.append([request_type, name, str(exception or "")])
environment = SimpleNamespace(events=SimpleNamespace(request=SimpleNamespace(fire=fire)))

def send(path, status, headers, meant):
    answer = Response(status=status, headers=headers, body=b"")
    transport = SimpleNamespace(send=lambda request, timeout: answer)
    request = Request(method="POST", url="http://x" + path, headers={}, body=None)
    Measured(environment, transport, frozenset(meant)).send(request, timeout=Timeout())

send("/v1/check-ins", 201, {}, [])
send("/v1/check-ins", 429, {"Retry-After": "1"}, [])
send("/v1/check-ins", 429, {"retry-after": "1"}, [429])
send("/v1/check-ins", 503, {}, [429, 503])
send("/v1/sites/0f7f4a1e-95a5-4a3f-8b7c-0d9a38a9a3f1?x=1", 200, {}, [])
send("/v1/subjects/0f7f4a1e-95a5-4a3f-8b7c-0d9a38a9a3f1", 200, {}, [])
print(json.dumps({"told": told, "kept": [
    kept("steady", 1000.0), kept("steady", 900.0), kept("steady", 1000.0, errors=1),
    kept("flood", 10.0), kept("flood", 4.0), kept("flood", 10.0, refused=False)]}))
"""


@pytest.fixture(scope="module")
def inside() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", INSIDE],
        env={**os.environ, "PYTHONPATH": str(LOADTESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_gates_ask_for_latencies_and_failures_of_those_who_count(inside: dict[str, Any]) -> None:
    quick, slow, failing, quiet, quiet_and_slow, never_refused = inside["kept"]
    # the slowest of a hundred takes 1,000 ms
    assert quick
    assert not slow
    assert not failing
    # only the quiet ones are looked at, and none of what was refused
    assert quiet
    assert not quiet_and_slow
    # and the one that floods must be told so
    assert not never_refused


def test_a_refusal_is_no_failure_where_it_is_meant_and_says_when_to_come_back(
    inside: dict[str, Any],
) -> None:
    assert [tuple(one) for one in inside["told"]] == [
        ("POST", "/v1/check-ins", ""),
        ("POST 429", "/v1/check-ins", "429"),
        ("POST 429", "/v1/check-ins", ""),
        ("POST 503", "/v1/check-ins", "503 without Retry-After"),
        ("POST", "/v1/sites/{site_id}", ""),
        ("POST", "other", ""),
    ]


def test_users_come_and_go_as_a_shape_says() -> None:
    nine = SHAPES["nine"]
    assert nine.share(0.0) == nine.share(0.25) == pytest.approx(0.1)
    assert nine.share(0.3) == pytest.approx(0.55)
    assert nine.share(0.5) == pytest.approx(1.0)
    assert nine.share(1.0) == pytest.approx(0.1)
    assert SHAPES["steady"].share(0.7) == pytest.approx(1.0)


# --- Locust's page -------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Served, str]]:
    """Locust as one starts it for its page, with two processes that make the load."""
    with serving(tmp_path / "home", environment={"DOORSTEP_PROBE_BUDGET": "off"}) as server:
        circle = {"type": "Circle", "center": [-46.6, -23.5], "radius_m": 100}
        site = {"name": "Office", "geofence": circle, "timezone": "America/Sao_Paulo"}
        assert server.call("POST", "/v1/sites", site)[0] == 201
        port, meeting = free_port(0), str(free_port(0))
        command = ["-m", "locust", "-f", str(LOADTESTS / "locustfile.py"), "--host", server.url]
        command += ["--web-host", "127.0.0.1", "--web-port", str(port), "--processes", "2"]
        command += ["--master-bind-port", meeting, "--master-port", meeting]
        with (tmp_path / "locust.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdout=log,
                stderr=log,
                env={**os.environ, "DOORSTEP_LOAD_API_KEY": server.api_key},
            )
        try:
            yield server, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_the_page_starts_a_run_and_shows_it(page: tuple[Served, str]) -> None:
    server, locust = page

    def get(path: str, form: dict[str, Any] | None = None) -> str:
        data = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(locust + path, data, timeout=60) as answer:
            return str(answer.read().decode())

    def answers() -> bool:
        try:
            return "<html" in get("/")
        except OSError:
            return False

    def stats() -> Any:
        return json.loads(get("/stats/requests"))

    wait_until(answers, "Locust's page answers")
    wait_until(lambda: len(stats().get("workers", [])) == 2, "both processes are there")
    form = {"user_count": 4, "spawn_rate": 10, "run_time": "60s", "shape": "steady"}
    started = json.loads(get("/swarm", form | {"host": server.url}))
    assert started["success"], started
    assert "Traffic" in started["message"]

    def checked_in() -> bool:
        return any(
            one["name"] == "/v1/check-ins" and one["num_requests"] > 5 for one in stats()["stats"]
        )

    wait_until(checked_in, "check-ins are shown")
    get("/stop", {"now": "yes"})
    wait_until(lambda: stats()["state"] in {"stopped", "ready"}, "the run stops")
    assert "/v1/check-ins" in get("/stats/report")
    assert stats()["fail_ratio"] == 0
    # who has seen nothing but the page knows no key
    assert server.api_key not in get("/") + get("/stats/report")
