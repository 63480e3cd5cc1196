"""Several workers: their metrics together, overload, bad connections, and stopping in order."""

from __future__ import annotations

import array
import fcntl
import http.client
import os
import random
import re
import signal
import socket
import termios
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from doorstep_geofences import Outcome, Reason
from doorstep_server import __version__
from doorstep_server.app import templates
from doorstep_server.meters.meters import COMMITTED, DELETED, METHODS, NOT_TAKEN, RUNS, STATUSES
from doorstep_server.problems import TYPES
from postgres import _children, wait_until
from served import Served, serving
from troubled import claim
from world import FAR_OUTSIDE, SQUARE

WORKERS = 2
#: every value that a label may have
CLOSED: dict[str, set[str]] = {
    "route": {*templates(), "unmatched"},
    "method": set(METHODS),
    "status": set(STATUSES),
    "code": set(TYPES),
    "outcome": {str(outcome) for outcome in Outcome},
    "reason": {*(str(reason) for reason in Reason), *NOT_TAKEN},
    "result": {*COMMITTED, *RUNS, "done", "failed"},
    "what": set(DELETED),
    "kind": {"whole", "changes"},
    "version": {__version__},
    "worker": {str(number) for number in range(64)},
}
_LINE = re.compile(r"(doorstep_[a-z_]+)(?:\{(.*)\})? (\S+)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("workers") / "home", workers=WORKERS) as served:
        site = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
        assert served.call("POST", "/v1/sites", site)[0] == 201
        yield served


def metrics(server: Served) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every number by its name and labels; no line is anything else."""
    found = {}
    for line in server.ask("GET", "/metrics").content.decode().splitlines():
        if line.startswith("# "):
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, line
        labels = frozenset(re.findall(r'([a-z]+)="([^"]*)"', match[2] or ""))
        found[match[1], labels] = float(match[3])
    return found


def number(server: Served, name: str, **labels: str) -> float:
    return metrics(server).get((f"doorstep_{name}", frozenset(labels.items())), 0.0)


def test_whoever_answers_tells_what_all_have_counted(server: Served) -> None:
    token, rng = server.token(), random.Random(1)
    before = metrics(server)
    sent: Counter[str] = Counter()
    for _ in range(40):
        kind = rng.choice(["inside", "outside", "unknown", "batch"])
        sent[kind] += 1
        if kind == "inside":
            assert server.call("POST", "/v1/check-ins", claim(), token)[0] == 201
        elif kind == "outside":
            assert server.call("POST", "/v1/check-ins", claim(fix=far()), token)[0] == 201
        elif kind == "unknown":
            assert server.call("POST", "/v1/check-ins", claim(purpose="x"), token)[0] == 404
        else:
            items = {"check_ins": [claim(), claim(purpose="x"), {}]}
            assert server.call("POST", "/v1/check-ins/batch", items, token)[0] == 200
    expected = {
        ("requests_total", ("method", "POST"), ("route", "/v1/check-ins"), ("status", "2xx")): (
            sent["inside"] + sent["outside"]
        ),
        ("requests_total", ("method", "POST"), ("route", "/v1/check-ins"), ("status", "4xx")): (
            sent["unknown"]
        ),
        (
            "requests_total",
            ("method", "POST"),
            ("route", "/v1/check-ins/batch"),
            ("status", "2xx"),
        ): sent["batch"],
        ("check_ins_total", ("outcome", "accepted"), ("reason", "inside")): (
            sent["inside"] + sent["batch"]
        ),
        ("check_ins_total", ("outcome", "rejected"), ("reason", "no_site_near")): sent["outside"],
        ("refusals_total", ("code", "purpose-unknown")): sent["unknown"] + sent["batch"],
        ("refusals_total", ("code", "invalid-body")): sent["batch"],
        ("journal_group_size_sum",): sent.total() + sent["batch"],
    }
    # each connection may be another worker's
    for _ in range(8):
        now = metrics(server)
        for (name, *labels), count in expected.items():
            series = (f"doorstep_{name}", frozenset(labels))
            assert now.get(series, 0) - before.get(series, 0) == count, series
        assert now["doorstep_workers", frozenset()] == WORKERS


def far() -> dict[str, object]:
    return {**claim()["fix"], **FAR_OUTSIDE}


def test_no_label_is_outside_its_closed_set_whatever_is_sent(server: Served) -> None:
    rng = random.Random(2)
    for _ in range(150):
        ask_anything(server, rng)
    for name, labels in metrics(server):
        for label, value in labels:
            if label == "le":
                float(value)
            else:
                assert value in CLOSED[label], (name, label, value)


def ask_anything(server: Served, rng: random.Random) -> None:
    pieces = [
        "v1",
        "check-ins",
        "sites",
        "person-0417",
        "-23.5613",
        "%2e%2e",
        "%00",
        "é",
        "metrics",
    ]
    path = "/" + "/".join(rng.choice(pieces) for _ in range(rng.randint(0, 4)))
    path += rng.choice(["", "?lat=-23.5613", '?a="\n'.replace("\n", "%0a")])
    method = rng.choice(["GET", "POST", "BREW", "get", "DELETE", "TRACE", "CONNECT", "X" * 90])
    token = rng.choice([server.api_key, "dst_x", 'x"} 1'])
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    body = rng.choice(["", "{}", '{"id": "person-0417"}', "\x00"])
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with connected(server) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n{body}".encode())
        while connection.recv(65536):
            pass


def connected(server: Served) -> socket.socket:
    place = urlsplit(server.url)
    assert place.hostname is not None
    return socket.create_connection((place.hostname, place.port or 0), timeout=60)


def workers_of(server: Served) -> list[int]:
    """The processes that answer; there is one more, which looks after what they share."""
    return [child for child in _children(server.process.pid) if b"spawn_main" in _command(child)]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it ended meanwhile


def test_a_worker_that_is_killed_takes_no_count_with_it(server: Served) -> None:
    token = server.token()
    assert server.call("POST", "/v1/check-ins", claim(), token)[0] == 201
    before = metrics(server)
    killed, *_ = workers_of(server)
    os.kill(killed, signal.SIGKILL)

    def replaced() -> bool:
        alive = workers_of(server)
        return killed not in alive and len(alive) == WORKERS

    wait_until(replaced, "another worker took its place")
    wait_until(lambda: answered(server, "workers") == WORKERS, "it counts")
    after = metrics(server)
    counted = [
        series for series in before if series[0].endswith(("_total", "_bucket", "_sum", "_count"))
    ]
    assert counted
    for series in counted:
        assert after[series] >= before[series], series


def answered(server: Served, name: str) -> float:
    try:
        return number(server, name)
    except (OSError, http.client.HTTPException):
        return -1.0


# --- connections that do nothing, and stopping ---------------------------------------------------

IMPATIENT = {"DOORSTEP_PATIENCE_S": "1", "DOORSTEP_STOP_WITHIN_S": "1"}


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "home", workers=WORKERS, environment=IMPATIENT) as served:
        site = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
        assert served.call("POST", "/v1/sites", site)[0] == 201
        yield served


def head(token: str, length: int) -> bytes:
    return (
        "POST /v1/check-ins HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def rest_of(connection: socket.socket) -> bytes:
    """All that still comes, until the server closes it."""
    with connection:
        try:
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionResetError:
            return b""


def test_connections_that_do_nothing_are_closed_and_a_stuck_one_holds_up_no_end(
    impatient: Served,
) -> None:
    """One server for both: what stands still while it serves, and what does when it ends."""
    token = impatient.token()
    idle = [connected(impatient) for _ in range(300)]
    half_heads = [connected(impatient) for _ in range(50)]
    slow_bodies = [connected(impatient) for _ in range(20)]
    for connection in half_heads:
        connection.sendall(head(token, 100)[:40])
    for connection in slow_bodies:
        connection.sendall(head(token, 100) + b"{")
    for _ in range(8):
        assert impatient.call("GET", "/health/ready")[0] == 200
        assert impatient.call("POST", "/v1/check-ins", claim(), token)[0] == 201
    assert {rest_of(connection) for connection in idle + half_heads} == {b""}
    for connection in slow_bodies:
        answer = rest_of(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body-incomplete" in answer
    # one whose body is long enough to come slowly, and never to its end
    with connected(impatient) as stuck:
        stuck.sendall(head(token, 60_000) + b" " * 50_000)
        wait_until(lambda: waits(stuck), "its body arrived so far")
        impatient.process.terminate()
        assert impatient.process.wait(timeout=60) == 0
        answer = rest_of(stuck)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in answer


def waits(connection: socket.socket) -> bool:
    """Whether everything that was sent was taken."""
    unsent = array.array("i", [0])
    fcntl.ioctl(connection, termios.TIOCOUTQ, unsent)
    return unsent[0] == 0
