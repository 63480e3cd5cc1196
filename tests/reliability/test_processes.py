"""What real processes must survive: SIGTERM, several workers, large bodies."""

import http.client
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.error import URLError
from uuid import uuid4

import pytest

from doorstep_server.cli.serving import worker
from served import Served, doorstep, free_port, init, serving
from world import INSIDE, SQUARE


def claim(**members: Any) -> dict[str, Any]:
    fix = {**INSIDE, "accuracy_m": 8, "captured_at": datetime.now(UTC).isoformat()}
    return {"id": str(uuid4()), "purpose": "visit", "fix": fix, **members}


def make_site(server: Served) -> None:
    body = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
    assert server.call("POST", "/v1/sites", body)[0] == 201


def stored_ids(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "doorstep.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0].hex() for row in database.execute("SELECT id FROM check_ins")]


def check_in_until_it_dies(server: Served, token: str, acknowledged: list[str]) -> None:
    while True:
        body = claim()
        try:
            status, _ = server.call("POST", "/v1/check-ins", body, token)
        except (URLError, http.client.HTTPException, OSError):
            return
        if status == 201:
            acknowledged.append(body["id"])


def test_sigterm_under_load_answers_what_it_took_and_exits_0(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as server:
        make_site(server)
        token = server.token()
        acknowledged: list[str] = []
        threads = [
            threading.Thread(target=check_in_until_it_dies, args=(server, token, acknowledged))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 40:
            threading.Event().wait(0.01)
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0
        for thread in threads:
            thread.join()
    assert {i.replace("-", "") for i in acknowledged} <= set(stored_ids(tmp_path / "home"))


def test_sigterm_ends_two_workers_with_0(tmp_path: Path) -> None:
    with serving(tmp_path / "home", workers=2) as server:
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0


def test_sigterm_while_starting_is_not_swallowed(tmp_path: Path) -> None:
    """The first line of the log says that it starts; it serves only later."""
    home = tmp_path / "home"
    init(home)
    command = doorstep(home, "serve", "--port", str(free_port()))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr as log:
        assert '"serving"' in log.readline()
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("workers") / "home", workers=2) as server:
        make_site(server)
        yield server


def test_a_change_is_seen_by_every_worker(two_workers: Served) -> None:
    server = two_workers
    token = server.token()
    for _ in range(8):  # both workers know the sites now
        server.call("POST", "/v1/check-ins", claim(), token)
    elsewhere = {"type": "Circle", "center": [-46.0, -23.0], "radius_m": 100}
    _, site = server.call(
        "POST",
        "/v1/sites",
        {"name": "New", "geofence": elsewhere, "timezone": "America/Sao_Paulo"},
    )

    def all_know() -> bool:
        body = claim(site_id=site["id"])
        answers = [server.call("POST", "/v1/check-ins", body, token)[0] for _ in range(16)]
        return set(answers) == {201}

    assert any(all_know() for _ in range(100)), "a worker never heard of the site"


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body_is_refused_without_being_held(two_workers: Served, announced: bool) -> None:
    """The server stops reading at its limit: it never gets to see the end of this body."""
    host = two_workers.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    with closing(connection):
        connection.putrequest("POST", "/v1/check-ins")
        connection.putheader("Authorization", f"Bearer {two_workers.token()}")
        connection.putheader("Content-Type", "application/json")
        if announced:
            connection.putheader("Content-Length", str(10**9))
        else:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        piece = b"x" * 10_000
        for _ in range(8):
            connection.send(piece if announced else b"2710\r\n" + piece + b"\r\n")
        assert connection.getresponse().status == 413


@pytest.mark.parametrize("first", ["", "serving._leave_no_memory()"])
def test_a_process_that_dies_leaves_no_memory_behind(first: str, tmp_path: Path) -> None:
    """Without the first call there is a core, where the system writes them to files."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not first and (not pattern.exists() or pattern.read_text().startswith(("|", "/"))):
        pytest.skip("cores are not written to where a process runs")
    code = f"import os; from doorstep_server.cli import serving; {first}; os.abort()"
    allowed = 'ulimit -c "$(ulimit -H -c)" && exec "$0" "$@"'
    command = ["sh", "-c", allowed, sys.executable, "-c", code.replace("; ;", ";")]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == -signal.SIGABRT
    assert bool(list(tmp_path.iterdir())) == (not first)


def test_a_worker_that_cannot_start_says_nothing_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOORSTEP_HOME", str(tmp_path / "nowhere"))
    process = get_context("spawn").Process(target=worker)
    process.start()
    process.join()
    assert process.exitcode == 1
    [line] = capfd.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["event"], told["exception"].rpartition(".")[2]) == ("failure", "NotInitialized")


def test_what_is_stuck_when_it_is_to_stop_is_ended() -> None:
    code = (
        "import os, signal, threading\n"
        "from doorstep_server.cli import serving\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "serving._end_in_time(0.1)\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 1
